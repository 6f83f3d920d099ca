"""What a grid can tell apart: signal against noise, the smallest difference it would find, and seeds that would do.

All are for the mean difference of two levels at one size, whose variance is 2 sigma^2 / seeds from training and
`documents`^2 from the choice of holdout documents, which no number of seeds removes. Bonferroni for comparisons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from train.fits.grid import Grid
from train.fits.laws import FitError

POWER = 0.8  # how often a difference of the stated size would be found
MOST_SEEDS = 100


@dataclass(frozen=True)
class Signal:
    """At `tokens`: the spread of the levels against what one run differs from another of its level."""

    tokens: int
    signal: float  # largest minus smallest mean loss of the levels
    noise: float  # standard deviation of one run, what its seed does to all levels left out
    levels: int
    seeds: int
    smallest: float  # the smallest difference that this grid would find with power 0.8

    @property
    def ratio(self) -> float:
        return self.signal / self.noise if self.noise else math.inf


def signal_to_noise(grid: Grid, comparisons: int = 1) -> Signal:
    """At the largest size that all levels have. Raises FitError for one level or one seed."""
    if grid.noise is None or len(grid.levels) < 2:
        raise FitError("signal against noise needs two levels and two seeds")
    known_LD = ~np.isnan(grid.loss_LDS).all(2)
    if not known_LD.all(0).any():
        raise FitError("the levels have no size in common")
    at = int(np.flatnonzero(known_LD.all(0))[-1])
    means_L = np.nanmean(grid.loss_LDS[:, at], axis=1)
    seeds = int((~np.isnan(grid.loss_LDS[:, at])).sum(1).min())
    smallest = detectable(
        grid.noise.sigma, seeds, grid.noise.degrees, comparisons=comparisons, confidence=grid.confidence
    )
    return Signal(
        grid.tokens[at], float(np.ptp(means_L)), grid.noise.sigma, len(grid.levels), seeds, smallest
    )


def detectable(
    sigma: float,
    seeds: int,
    degrees: float | None = None,
    documents: float = 0.0,
    comparisons: int = 1,
    confidence: float = 0.95,
) -> float:
    """The smallest difference that is found with POWER; `degrees` of freedom of sigma, None where it is known."""
    tail = 1 - (1 - confidence) / 2 / comparisons
    spread = math.sqrt(2 * sigma**2 / seeds + documents**2)
    t = stats.norm if degrees is None else stats.t(max(degrees, 1.0))
    return float((t.ppf(tail) + t.ppf(POWER)) * spread)


def seeds_needed(
    difference: float,
    sigma: float,
    documents: float = 0.0,
    comparisons: int = 1,
    levels: int = 2,
    confidence: float = 0.95,
) -> int | None:
    """Seeds with which a true difference of this size would be found; None: more than MOST_SEEDS, or none would do."""
    for seeds in range(2, MOST_SEEDS + 1):
        degrees = (levels - 1) * (seeds - 1)
        if detectable(sigma, seeds, degrees, documents, comparisons, confidence) <= abs(difference):
            return seeds
    return None


def document_spread(grid: Grid, level: str, than: str, tokens: int) -> float:
    """Standard deviation that the choice of holdout documents gives a difference; 0 where it is not known."""
    if not grid.documents:
        return 0.0
    at = grid.tokens.index(tokens)
    rows = [grid.levels.index(level), grid.levels.index(than)]
    noise_NDS = grid.document_replicates_NLDS[:, rows[0]] - grid.document_replicates_NLDS[:, rows[1]]
    return float(np.nanmean(noise_NDS[:, at], axis=1).std())
