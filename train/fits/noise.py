"""How much a loss varies from seed to seed, as variance components that can be drawn from.

With two or three seeds, resampling seeds gives intervals that are far too narrow (by sqrt(1-1/S), and as if the
variance were known). So the noise is modelled: loss = level x size + seed x size + rest. The variance of the rest
is pooled over all cells, redrawn with a chi-square for its few degrees of freedom (normal / chi = Student's t),
and correlated over the sizes of one (level, seed), since these runs share a trunk. The seed x size part is the
same for all levels and cancels in differences.

The price: one variance for all levels and sizes. Where small sizes are noisier than large ones, intervals at large
sizes are too wide.

Shapes: N replicate, L level, D size in tokens, S seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

PRIOR_RHO, PRIOR_TRUNKS = 0.5, 2.0  # correlation within a trunk before any is seen, and its weight


@dataclass(frozen=True)
class SeedNoise:
    """Standard deviations of one run in units of the loss. `shared` is common to all levels of a seed."""

    sigma: float
    rho: float  # correlation between the sizes of one trunk
    degrees: float  # Satterthwaite's, for correlated sizes
    shared: float
    shared_degrees: float

    def draw(self, rng: np.random.Generator, shape_NLDS: tuple[int, int, int, int]) -> np.ndarray:
        n, levels, sizes, seeds = shape_NLDS
        own = _scaled_t(rng, self.sigma, self.degrees, n)[:, None, None, None]
        common = _scaled_t(rng, self.shared, self.shared_degrees, n)[:, None, None]
        trunk, rest = math.sqrt(self.rho), math.sqrt(1 - self.rho)
        own_NLDS = trunk * rng.standard_normal((n, levels, 1, seeds)) + rest * rng.standard_normal(shape_NLDS)
        shared_NDS = trunk * rng.standard_normal((n, 1, seeds)) + rest * rng.standard_normal(
            (n, sizes, seeds)
        )
        return own * own_NLDS + (common * shared_NDS)[:, None]


def _scaled_t(rng: np.random.Generator, sigma: float, degrees: float, n: int) -> np.ndarray:
    return sigma * np.sqrt(degrees / rng.chisquare(degrees, n))


def seed_noise(loss_LDS: np.ndarray) -> SeedNoise | None:
    """Variance components of loss = level x size + seed x size + rest; None where no cell has two seeds."""
    residual_LDS, degrees_D = _rest(loss_LDS, with_seeds=True)
    paired = degrees_D.sum() > 0
    if not paired:  # one level, or no seed in common: all of the spread between seeds counts as the run's own
        residual_LDS, degrees_D = _rest(loss_LDS, with_seeds=False)
    total = degrees_D.sum()
    if total == 0:
        return None
    sigma2 = float(np.nansum(residual_LDS**2) / total)
    sizes = int((degrees_D > 0).sum())
    rho = _trunk_correlation(residual_LDS, total / sizes)
    inflation = 1 + (sizes - 1) * rho**2
    shared2, shared_degrees = _shared(loss_LDS, sigma2) if paired else (0.0, 1.0)
    return SeedNoise(
        math.sqrt(sigma2), rho, total / inflation, math.sqrt(shared2), shared_degrees / inflation
    )


def _rest(loss_LDS: np.ndarray, with_seeds: bool) -> tuple[np.ndarray, np.ndarray]:
    """Residuals after level (and seed) effects at each size by least squares, so runs may be missing."""
    residual_LDS, degrees_D = np.full_like(loss_LDS, np.nan), np.zeros(loss_LDS.shape[1])
    for d in range(loss_LDS.shape[1]):
        level, seed = np.nonzero(~np.isnan(loss_LDS[:, d]))
        if not len(level):
            continue
        columns = [level[:, None] == np.arange(loss_LDS.shape[0])]
        if with_seeds:
            columns.append(seed[:, None] == np.arange(loss_LDS.shape[2]))
        design, values = np.hstack(columns).astype(float), loss_LDS[level, d, seed]
        solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
        degrees_D[d] = len(values) - rank
        residual_LDS[level, d, seed] = values - design @ solution
    return residual_LDS, degrees_D


def _trunk_correlation(residual_LDS: np.ndarray, trunks: float) -> float:
    """Mean product over pairs of sizes, over the mean square; drawn to 1/2 where trunks are few."""
    known = ~np.isnan(residual_LDS)
    filled = np.where(known, residual_LDS, 0.0)
    count = known.sum(1)
    pairs = (count * (count - 1)).sum()
    square = (filled**2).sum() / max(known.sum(), 1)
    products = (filled.sum(1) ** 2 - (filled**2).sum(1)).sum()
    seen = products / pairs / square if pairs and square > 0 else PRIOR_RHO
    return float(np.clip((trunks * seen + PRIOR_TRUNKS * PRIOR_RHO) / (trunks + PRIOR_TRUNKS), 0.0, 0.98))


def _shared(loss_LDS: np.ndarray, sigma2: float) -> tuple[float, float]:
    """Variance of a seed's effect on all levels at once (never below 0), and its degrees of freedom."""
    complete_LDS = loss_LDS[:, :, ~np.isnan(loss_LDS).any((0, 1))]
    levels, sizes, seeds = complete_LDS.shape
    if seeds < 2:
        return 0.0, 1.0
    variance = float(complete_LDS.mean(0).var(axis=1, ddof=1).mean())
    return max(0.0, variance - sigma2 / levels), float(sizes * (seeds - 1))
