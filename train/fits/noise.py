"""How much a loss varies from seed to seed, as a distribution of variances that can be drawn from.

With two or three seeds, resampling seeds gives intervals that are far too narrow (by sqrt(1-1/S), and as if the
variance were known). So the noise is modelled: a variance for every level, since levels differ much in how unlike
their documents are, and one correlation between the levels of a seed.

With few seeds a level alone knows its variance badly, and one variance for all would give a noisy level intervals
that are too narrow and a quiet one intervals that are too wide. So the levels learn from each other as far as they
are alike: log variances lie about a common centre with a spread that the levels themselves tell (a hierarchical
model with half-Cauchy priors, as Gelman 2006 advises). They are Cauchy about it, so that one level that is far
noisier than the rest keeps its own. Variances are drawn from what the runs leave possible. For one level that is
Student's t; for levels that are alike it is nearly the t of all their runs together.

The sizes of one (level, seed) share a trunk, so that their noise is correlated; that costs degrees of freedom
(Satterthwaite).

The price: one variance for all sizes of a level. Where small sizes are noisier than large ones, intervals at large
sizes are too wide.

Shapes: N replicate, L level, D size in tokens, S seed, X log variance, M common centre of log variances, T spread about
it, C correlation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

PRIOR_RHO, PRIOR_TRUNKS = 0.75, 2.0  # correlation within a trunk before any is seen, and its weight
PRIOR_FITS = 0.5  # degrees of freedom with which laws hold to within the noise, before any residual is seen
# Spreads of log variances; of 2.2 are levels that differ three times in standard deviation.
SPREADS_T = np.geomspace(0.1, 6.0, 8)
USUAL_SPREAD = 3.0  # scale of a half-Cauchy prior of the spread
CORRELATIONS_C = np.linspace(0.0, 0.98, 50)
MARGIN, STEP = 9.0, 0.25  # of the grid of log variances, beyond those that were measured


@dataclass(frozen=True)
class SeedNoise:
    """Of one run in units of the loss, by level; `degrees` of freedom of each level's variance, 0 where it has one seed."""

    variance_L: np.ndarray
    degrees_L: np.ndarray
    rho: float  # correlation between the sizes of one trunk
    correlation_C: np.ndarray  # weights of CORRELATIONS_C, between the levels of one seed

    @property
    def sigma(self) -> float:
        """Standard deviation of one run of a usual level, what a seed does to all levels alike left out."""
        return self.sigma_of(range(len(self.variance_L)))

    def sigma_of(self, levels: Iterable[int]) -> float:
        """As `sigma`, of these levels by number; of all where none of them has two seeds."""
        known = [level for level in levels if self.degrees_L[level] > 0] or np.flatnonzero(self.degrees_L > 0)
        usual = float(np.average(self.variance_L[known], weights=self.degrees_L[known]))
        return math.sqrt(usual * (1 - float(self.correlation_C @ CORRELATIONS_C)))

    @property
    def degrees(self) -> float:
        """Of freedom of sigma: the levels together, one given up for what a seed does to all."""
        levels = int((self.degrees_L > 0).sum())
        return float(self.degrees_L.sum()) * max(1, levels - 1) / levels

    def draw(self, rng: np.random.Generator, shape_NLDS: tuple[int, int, int, int]) -> np.ndarray:
        n, levels, sizes, seeds = shape_NLDS
        sigma_NL = np.exp(self._log_variances(rng, n) / 2)
        shared_N = rng.choice(CORRELATIONS_C, n, p=self.correlation_C)[:, None, None, None]
        trunk, rest = math.sqrt(self.rho), math.sqrt(1 - self.rho)

        def normal(count: int) -> np.ndarray:
            between = trunk * rng.standard_normal((n, count, 1, seeds))
            return between + rest * rng.standard_normal((n, count, sizes, seeds))

        mixed_NLDS = np.sqrt(1 - shared_N) * normal(levels) + np.sqrt(shared_N) * normal(1)
        return sigma_NL[:, :, None, None] * mixed_NLDS

    def _log_variances(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Of every level, n times, from their posterior on a grid."""
        log_L = np.log(self.variance_L[self.degrees_L > 0])
        x_X = np.arange(log_L.min() - MARGIN, log_L.max() + MARGIN, STEP)
        ratio_LX = np.exp(np.log(self.variance_L)[:, None] - x_X)
        fit_LX = -self.degrees_L[:, None] / 2 * (x_X + ratio_LX)
        fit_LX = np.exp(fit_LX - fit_LX.max(1, keepdims=True))
        spread_T11 = SPREADS_T[:, None, None]
        kernel_TMX = 1 / (spread_T11 + (x_X[:, None] - x_X) ** 2 / spread_T11)
        evidence_TM = np.log(kernel_TMX @ fit_LX.T).sum(2)
        evidence_TM += np.log(SPREADS_T / (1 + (SPREADS_T / USUAL_SPREAD) ** 2))[:, None]
        weights_TM = np.exp(evidence_TM - evidence_TM.max())
        centre_N = rng.choice(weights_TM.size, n, p=weights_TM.ravel() / weights_TM.sum())
        kernel_NX = kernel_TMX.reshape(-1, len(x_X))[centre_N]
        place_NL = np.stack([_place(rng, kernel_NX * fit_X) for fit_X in fit_LX], 1)
        return x_X[place_NL] + STEP * (rng.random(place_NL.shape) - 0.5)


def _place(rng: np.random.Generator, weights_NX: np.ndarray) -> np.ndarray:
    """One of every row, by its weights."""
    total_NX = weights_NX.cumsum(1)
    return (total_NX < rng.random((len(total_NX), 1)) * total_NX[:, -1:]).sum(1)


def seed_noise(loss_LDS: np.ndarray) -> SeedNoise | None:
    """Noise of loss = level x size + noise; None where no cell has two seeds."""
    known_LDS = ~np.isnan(loss_LDS)
    count_LD = known_LDS.sum(2)
    freedom_L = np.maximum(count_LD - 1, 0).sum(1)
    if not freedom_L.any():
        return None
    means_LD = np.where(known_LDS, loss_LDS, 0.0).sum(2) / np.maximum(count_LD, 1)
    known_LDS &= count_LD[:, :, None] > 1
    residual_LDS = np.where(known_LDS, loss_LDS - means_LD[:, :, None], 0.0)
    variance_L = (residual_LDS**2).sum((1, 2)) / np.maximum(freedom_L, 1)
    alike = 1e-12 * float(np.nanmean(loss_LDS)) ** 2  # seeds that agree to the last digit
    variance_L = np.maximum(variance_L, alike)
    standard_LDS = residual_LDS / np.sqrt(variance_L)[:, None, None]
    sizes = int(known_LDS.any((0, 2)).sum())
    rho = _trunk_correlation(standard_LDS, known_LDS, freedom_L.sum() / sizes)
    inflation = 1 + (sizes - 1) * rho**2
    return SeedNoise(variance_L, freedom_L / inflation, rho, _correlation(standard_LDS, known_LDS, inflation))


def lack_of_fit(squares: float, by_noise: float, freedom: int, draws: int) -> np.ndarray:
    """How far means lie from their law beyond noise, as a share of the loss: standard deviations drawn from what residuals
    leave possible.

    `squares`: the sum of squared relative residuals of `freedom` degrees; `by_noise`: what it would be by noise alone.
    0 where a law is as free as its means are many.
    """
    if freedom <= 0:
        return np.zeros(draws)
    noise = by_noise / freedom
    chi_N = np.random.default_rng(0).chisquare(freedom + PRIOR_FITS, draws)
    return np.sqrt(np.maximum(0.0, (squares + PRIOR_FITS * noise) / chi_N - noise))


def simulated(exact_R: np.ndarray, noise_NR: np.ndarray, lack_N: np.ndarray) -> np.ndarray:
    """Losses of other runs of a law, replicate by replicate: what it says, with lack of fit and noise."""
    off_NR = lack_N[:, None] * np.random.default_rng(1).standard_normal(noise_NR.shape)
    return np.maximum(exact_R * (1 + off_NR) + noise_NR, 1e-3 * exact_R)


def _trunk_correlation(standard_LDS: np.ndarray, known_LDS: np.ndarray, trunks: float) -> float:
    """Mean product over pairs of sizes, over the mean square; drawn to 1/2 where trunks are few."""
    count = known_LDS.sum(1)
    pairs = (count * (count - 1)).sum()
    square = (standard_LDS**2).sum() / max(known_LDS.sum(), 1)
    products = (standard_LDS.sum(1) ** 2 - (standard_LDS**2).sum(1)).sum()
    measured = products / pairs / square if pairs and square > 0 else PRIOR_RHO
    return float(np.clip((trunks * measured + PRIOR_TRUNKS * PRIOR_RHO) / (trunks + PRIOR_TRUNKS), 0.0, 0.98))


def _correlation(standard_LDS: np.ndarray, known_LDS: np.ndarray, inflation: float) -> np.ndarray:
    """Weights of CORRELATIONS_C: the likelihood of one correlation for all levels, and a prior that leans to none, since a
    difference whose levels are wrongly thought to move together would have too narrow an interval."""
    levels_DS = known_LDS.sum(0)[..., None]
    seeds = np.maximum(known_LDS.any(0).sum(1), 1)[:, None, None]
    squares_DS = (standard_LDS**2).sum(0)[..., None]
    common_DS = standard_LDS.sum(0)[..., None] ** 2 / np.maximum(levels_DS, 1)
    apart_C, together_DSC = 1 - CORRELATIONS_C, 1 + (levels_DS - 1) * CORRELATIONS_C
    count = (seeds - 1) / seeds
    fit_DSC = count * ((levels_DS - 1) * np.log(apart_C) + np.log(together_DSC))
    fit_DSC = fit_DSC + (squares_DS - common_DS) / apart_C + common_DS / together_DSC
    fit_C = -np.where(levels_DS > 1, fit_DSC, 0.0).sum((0, 1)) / 2 / inflation
    weights_C = np.exp(fit_C - fit_C.max()) * (1 - CORRELATIONS_C) ** 2
    return weights_C / weights_C.sum()
