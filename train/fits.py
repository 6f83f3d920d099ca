"""What a grid of runs says: scaling laws, differences and exchange rates between levels, with intervals.

A law is L(D) = E + B / D^b. With four sizes E and b are strongly correlated and B has no meaning apart from
them, so laws are bounded (0 <= E < smallest loss, 0.02 <= b <= 1), a law that ends at a bound says so, and B
gets no interval.

Intervals come from replicates of the whole grid, each with two independent kinds of noise added to every run:

- *documents*: the holdout is a sample. Documents are drawn with replacement, the same draw for all runs, so
  whatever is hard for every model cancels in a difference. Needs the losses of single documents; without them
  it is left out and `Grid.caveats` says so.
- *seeds*: with two or three seeds, resampling seeds gives intervals that are far too narrow (by sqrt(1-1/S),
  and as if the variance were known). So the noise is modelled: loss = level x size + seed x size + rest. The
  variance of the rest is pooled over all cells, redrawn with a chi-square for its few degrees of freedom
  (normal / chi = Student's t), and correlated over the sizes of one (level, seed), since these runs share a
  trunk. The seed x size part is the same for all levels and cancels in differences.

The price: one variance for all levels and sizes. Where small sizes are noisier than large ones, intervals at
large sizes are too wide. Intervals are for one comparison at a time; nothing is corrected for making many.
One seed tells nothing about training noise: then nothing is called distinguishable.

Shapes: N replicate, L level, D size in tokens, S seed, R run, I holdout document, G point of
a curve, X exponent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import minimize

HUBER_DELTA = 1e-3  # log residuals beyond 0.1 % count linearly (as in Hoffmann et al. 2022)
EXPONENTS = (0.02, 1.0)
SMALLEST_E = 1e-4  # as a fraction of the smallest loss; the log form cannot reach 0
REACH = 2.0  # curves are followed this factor beyond the measured sizes, no further
PRIOR_RHO, PRIOR_TRUNKS = 0.5, 2.0  # correlation within a trunk before any is seen, and its weight
FEW_DOCUMENTS = 30  # below this a bootstrap over documents is too narrow


class FitError(ValueError):
    """The runs cannot answer the question; the message says what is missing."""


# ---------------------------------------------------------------------------------------------- laws


@dataclass(frozen=True)
class Law:
    """L(D) = E + B / D^b. `at_bound` names the parameters these sizes do not determine."""

    E: float
    B: float
    b: float
    at_bound: tuple[str, ...] = ()
    largest_residual: float = 0.0  # |log(loss / law)|, so 0.01 is 1 %

    def loss(self, tokens):
        return self.E + self.B * np.asarray(tokens, dtype=float) ** -self.b

    def tokens_for(self, loss: float) -> float:
        """Tokens at which the law reaches this loss; infinite at E and below."""
        if loss <= self.E or self.B <= 0:
            return math.inf
        return math.exp((math.log(self.B) - math.log(loss - self.E)) / self.b)


def fit_power_law(tokens, losses) -> Law:
    """Huber loss on log residuals, in log-sum-exp form; L-BFGS-B from the least-squares law and the
    best 3 of 30 starts on a grid of E and b.

    Two sizes leave E free to be anything: it is then fixed at 0 and named in `at_bound`.
    """
    tokens, losses = _checked(tokens, losses)
    log_tokens, log_losses = np.log(tokens), np.log(losses)
    centre = log_tokens.mean()  # the amplitude at the middle size is far less correlated with b than B is
    top = log_losses.min()
    bottom = top + math.log(SMALLEST_E)
    two_sizes = len(np.unique(tokens)) < 3
    bounds = [(bottom, bottom if two_sizes else top - 1e-6), (-40.0, 40.0), EXPONENTS]
    starts = [
        (top + math.log(fraction), log_losses.mean() + math.log1p(-fraction), b)
        for fraction in (SMALLEST_E, 0.25, 0.5, 0.75, 0.9)
        for b in (0.05, 0.1, 0.2, 0.35, 0.6, 0.9)
    ]
    E, B, b = (float(x[0]) for x in _quick_laws(tokens, losses[None]))
    squares = (math.log(max(E, 1e-300)), math.log(max(B, 1e-300)) - b * centre, b)
    lowest, highest = np.array(bounds).T
    data = (log_tokens - centre, log_losses)
    tried = sorted((np.clip(x, lowest, highest) for x in starts), key=lambda x: _objective(x, *data)[0])
    fits = [
        minimize(_objective, x, data, "L-BFGS-B", jac=True, bounds=bounds)
        for x in (np.clip(squares, lowest, highest), *tried[:3])
    ]
    log_E, amplitude, b = min(fits, key=lambda fit: fit.fun).x
    no_floor = bool(log_E <= bottom + math.log(10))
    floor = 0.0 if no_floor else math.exp(log_E)
    bounded = (["E"] if no_floor else []) + (["b"] if not EXPONENTS[0] < b < EXPONENTS[1] else [])
    law = Law(floor, math.exp(amplitude + b * centre), float(b), tuple(bounded))
    return Law(law.E, law.B, law.b, law.at_bound, float(np.abs(np.log(losses / law.loss(tokens))).max()))


def _checked(tokens, losses) -> tuple[np.ndarray, np.ndarray]:
    tokens, losses = np.asarray(tokens, dtype=float), np.asarray(losses, dtype=float)
    if tokens.shape != losses.shape or tokens.ndim != 1:
        raise FitError(f"{tokens.shape} token counts but {losses.shape} losses; give one loss for each run")
    if not (
        np.isfinite(tokens).all() and np.isfinite(losses).all() and (tokens > 0).all() and (losses > 0).all()
    ):
        raise FitError("token counts and losses must be finite and positive; leave failed runs out")
    if len(np.unique(tokens)) < 2:
        raise FitError("a law needs runs of at least two sizes")
    return tokens, losses


def _objective(parameters, log_tokens, log_losses):
    """Huber loss in units of delta^2 (else L-BFGS-B stops at once on values of 1e-7), and its gradient."""
    log_E, amplitude, b = parameters
    decay = amplitude - b * log_tokens
    predicted = np.logaddexp(log_E, decay)
    residual = (predicted - log_losses) / HUBER_DELTA
    size = np.abs(residual)
    value = np.where(size <= 1, 0.5 * residual**2, size - 0.5).sum()
    pull = np.clip(residual, -1, 1) / HUBER_DELTA
    share = np.exp(decay - predicted)  # of the loss that more tokens still remove
    gradient = np.array(
        [(pull * (1 - share)).sum(), (pull * share).sum(), -(pull * share * log_tokens).sum()]
    )
    return value, gradient


def _quick_laws(tokens_D: np.ndarray, loss_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(E, B, b) of every row at once: for each exponent of a grid E and B are least squares on relative
    residuals; the best exponent wins. Replicates need thousands of fits and no guard against outliers."""
    b_X = np.geomspace(*EXPONENTS, 96)
    scale = np.exp(np.log(tokens_D).mean())
    x_XD = (tokens_D / scale) ** -b_X[:, None]
    w_ND = loss_ND**-2
    sw, sy = w_ND.sum(1)[:, None], (1 / loss_ND).sum(1)[:, None]
    sx, sxx, sxy = w_ND @ x_XD.T, w_ND @ (x_XD**2).T, (1 / loss_ND) @ x_XD.T
    E_NX = (sxx * sy - sx * sxy) / np.maximum(sw * sxx - sx**2, 1e-12)
    if len(tokens_D) < 3:
        E_NX[:] = 0.0
    E_NX = np.clip(E_NX, 0.0, loss_ND.min(1)[:, None] * (1 - 1e-6))
    B_NX = np.maximum((sxy - E_NX * sx) / sxx, 0.0)
    error_NX = (
        len(tokens_D) - 2 * (E_NX * sy + B_NX * sxy) + E_NX**2 * sw + 2 * E_NX * B_NX * sx + B_NX**2 * sxx
    )
    rows, best = np.arange(len(loss_ND)), error_NX.argmin(1)
    b_N = b_X[best]
    return E_NX[rows, best], B_NX[rows, best] * scale**b_N, b_N


# ---------------------------------------------------------------------------------------------- noise


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


# ---------------------------------------------------------------------------------------------- the grid


@dataclass(frozen=True)
class Point:
    """One run on one holdout: its loss, and where known the nats of every holdout document in their order."""

    level: str
    tokens: int
    seed: int
    loss: float
    document_nats: np.ndarray | None = None


class Grid:
    """All runs on one holdout, and replicates of them. Same points and `rng_seed`: same intervals.

    `document_units` is the length of every holdout document in what the loss is per: tokens, or bytes. Else
    the total is taken as fixed, which widens intervals where documents differ much in length.
    """

    def __init__(
        self,
        points: Iterable[Point],
        document_units: np.ndarray | None = None,
        draws: int = 1000,
        rng_seed: int = 0,
        confidence: float = 0.95,
    ):
        self.points = sorted(points, key=lambda point: (point.tokens, point.level, point.seed))
        if not self.points:
            raise FitError("no runs to fit; train some first")
        self.levels = list(dict.fromkeys(point.level for point in self.points))
        self.tokens = sorted({point.tokens for point in self.points})
        self.seeds = sorted({point.seed for point in self.points})
        self.draws, self.rng_seed, self.confidence = draws, rng_seed, confidence
        self.loss_LDS = np.full((len(self.levels), len(self.tokens), len(self.seeds)), np.nan)
        for point in self.points:
            self._place(point)
        self._units = document_units

    def _place(self, point: Point) -> None:
        place = self._index(point)
        if not (math.isfinite(point.loss) and point.loss > 0):
            raise FitError(
                f"{point.level}, {point.tokens} tokens, seed {point.seed}: loss {point.loss}; leave it out"
            )
        if not np.isnan(self.loss_LDS[place]):
            raise FitError(
                f"{point.level}, {point.tokens} tokens, seed {point.seed}: two runs; keep one model a grid"
            )
        self.loss_LDS[place] = point.loss

    def _index(self, point: Point) -> tuple[int, int, int]:
        return self.levels.index(point.level), self.tokens.index(point.tokens), self.seeds.index(point.seed)

    @cached_property
    def documents(self) -> int | None:
        """Holdout documents to resample; None where a run lacks them or their number differs."""
        counts = {None if point.document_nats is None else len(point.document_nats) for point in self.points}
        if self._units is not None:
            counts.add(len(self._units))
        return counts.pop() if len(counts) == 1 else None

    @cached_property
    def noise(self) -> SeedNoise | None:
        return seed_noise(self.loss_LDS)

    @property
    def caveats(self) -> list[str]:
        """What the intervals leave out, in words."""
        found = []
        if self.noise is None:
            found.append(
                "one seed only: the noise of training is unknown, so nothing is called distinguishable"
            )
        if self.documents is None:
            found.append(
                "losses of single documents are missing: intervals leave out the choice of holdout documents"
            )
        elif self.documents < FEW_DOCUMENTS:
            found.append(f"{self.documents} holdout documents only: intervals are too narrow")
        return found

    @cached_property
    def replicates_NLDS(self) -> np.ndarray:
        """Row 0 is the grid as measured, the others are grids that might have been; missing runs stay NaN."""
        seeds_rng, documents_rng = np.random.default_rng(self.rng_seed).spawn(2)
        added_NLDS = np.zeros((self.draws, *self.loss_LDS.shape))
        if self.noise is not None:
            added_NLDS += self.noise.draw(seeds_rng, added_NLDS.shape)
        if self.documents:
            added_NLDS += self._document_noise(documents_rng, self.documents)
        floor = 1e-3 * np.nanmin(self.loss_LDS)  # heavy tails must not give a negative loss
        return np.concatenate([self.loss_LDS[None], np.maximum(self.loss_LDS + added_NLDS, floor)])

    def _document_noise(self, rng: np.random.Generator, documents: int) -> np.ndarray:
        nats_RI = np.array([point.document_nats for point in self.points], dtype=float)
        losses = np.array([point.loss for point in self.points])
        units_I = np.full(documents, 1.0) if self._units is None else np.asarray(self._units, dtype=float)
        added_NLDS = np.zeros((self.draws, *self.loss_LDS.shape))
        places = tuple(np.array([self._index(point) for point in self.points]).T)
        for n in range(0, self.draws, 100):  # blocks, since a holdout of 100,000 documents would fill memory
            rows = min(100, self.draws - n)
            counts_NI = rng.multinomial(documents, np.full(documents, 1 / documents), rows).astype(float)
            length_N = counts_NI @ units_I / units_I.sum() if self._units is not None else np.ones(rows)
            ratio_NR = counts_NI @ nats_RI.T / nats_RI.sum(1) / length_N[:, None]
            added_NLDS[(slice(n, n + rows), *places)] = losses * (ratio_NR - 1)
        return added_NLDS

    def interval(self, values_N: np.ndarray) -> tuple[float, float]:
        """Percentiles over replicates (the first row is the measured value and takes no part)."""
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(values_N[1:], [tail, 1 - tail], method="nearest")
        return float(low), float(high)

    def means_ND(self, level: str, partner: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(tokens, means over seeds) of a level; where the partner ran too, over the seeds both have."""
        mine = self._present(level)
        if partner is not None:
            both = mine & self._present(partner)
            mine = np.where(both.any(1, keepdims=True), both, mine)
        known = mine.any(1)
        values_NDS = self.replicates_NLDS[:, self.levels.index(level)]
        sums_ND = np.where(mine, values_NDS, 0.0).sum(2)[:, known]
        return np.array(self.tokens, dtype=float)[known], sums_ND / mine.sum(1)[known]

    def _present(self, level: str) -> np.ndarray:
        if level not in self.levels:
            raise FitError(f'no run of level "{level}"; there are {", ".join(self.levels)}')
        return ~np.isnan(self.loss_LDS[self.levels.index(level)])


# ---------------------------------------------------------------------------------------------- answers


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Fit:
    """A level's law with intervals; the interval of b may end at a bound."""

    law: Law
    E: Estimate
    b: Estimate


@dataclass(frozen=True)
class Difference:
    """Loss of `level` minus loss of `than` at equal tokens: below 0 `level` is better."""

    level: str
    than: str
    tokens: int
    value: float
    low: float
    high: float
    distinguishable: bool


@dataclass(frozen=True)
class ExchangeRate:
    """One token of `level` is worth `rate` tokens of `of`, at `loss`.

    `kind`: measured | extrapolated (up to a factor of two beyond the sizes) | at least | at most (further;
    `rate` is then the bound). An end of the interval that the sizes cannot tell is 0 or infinite.
    """

    level: str
    of: str
    rate: float
    low: float
    high: float
    kind: str
    loss: float
    distinguishable: bool


def fit(grid: Grid, level: str) -> Fit:
    """The law through a level's runs, all seeds, with intervals on E and b."""
    tokens_D, loss_ND = grid.means_ND(level)
    runs = [point for point in grid.points if point.level == level]
    law = fit_power_law([run.tokens for run in runs], [run.loss for run in runs])
    E_N, _, b_N = _quick_laws(tokens_D, loss_ND)
    return Fit(law, Estimate(law.E, *grid.interval(E_N)), Estimate(law.b, *grid.interval(b_N)))


def band(grid: Grid, level: str, tokens_G) -> tuple[np.ndarray, np.ndarray]:
    """Pointwise interval of the law's loss at these token counts."""
    E_N, B_N, b_N = _quick_laws(*grid.means_ND(level))
    loss_NG = E_N[:, None] + B_N[:, None] * np.asarray(tokens_G, dtype=float) ** -b_N[:, None]
    tail = (1 - grid.confidence) / 2
    return np.quantile(loss_NG[1:], tail, axis=0), np.quantile(loss_NG[1:], 1 - tail, axis=0)


def mean(grid: Grid, level: str, tokens: int) -> Estimate:
    """Loss of a cell, over its seeds."""
    tokens_D, loss_ND = grid.means_ND(level)
    at = np.flatnonzero(tokens_D == tokens)
    if not len(at):
        raise FitError(f'no run of level "{level}" with {tokens} tokens')
    column = loss_ND[:, at[0]]
    return Estimate(float(column[0]), *grid.interval(column))


def difference(grid: Grid, level: str, than: str, tokens: int | None = None) -> Difference:
    """Loss difference at equal tokens (by default the largest size both have), over the seeds both have."""
    ours_D, ours_ND = grid.means_ND(level, than)
    theirs_D, theirs_ND = grid.means_ND(than, level)
    common = np.intersect1d(ours_D, theirs_D)
    if tokens is None and len(common):
        tokens = int(common[-1])
    if tokens is None or tokens not in common:
        raise FitError(
            f'levels "{level}" and "{than}" have no run in common at {tokens or "any number of"} tokens'
        )
    value_N = (
        ours_ND[:, np.flatnonzero(ours_D == tokens)[0]] - theirs_ND[:, np.flatnonzero(theirs_D == tokens)[0]]
    )
    low, high = grid.interval(value_N)
    sure = grid.noise is not None and not low <= 0 <= high
    return Difference(level, than, int(tokens), float(value_N[0]), low, high, sure)


def exchange_rate(grid: Grid, level: str, of: str) -> ExchangeRate:
    """How many tokens of `of` one token of `level` replaces, at the lowest loss that both have reached.

    Where `level` is better, that is the loss `of` ends with. So token counts lie inside what was measured
    where that is possible at all, and swapping the two levels gives exactly 1 / rate.
    """
    ours_D, ours_ND = grid.means_ND(level, of)
    theirs_D, theirs_ND = grid.means_ND(of, level)
    if min(len(ours_D), len(theirs_D)) < 2:
        raise FitError(f'an exchange rate between "{level}" and "{of}" needs two sizes of each')
    target_N = np.maximum(ours_ND[:, -1], theirs_ND[:, -1])
    log_N = _log_tokens_at(theirs_D, theirs_ND, target_N) - _log_tokens_at(ours_D, ours_ND, target_N)
    limit = _reached(theirs_D, ours_D)
    kind, value = _kind(log_N[0], theirs_D, ours_D)
    low, high = grid.interval(log_N)
    rate_low = 0.0 if low <= limit[0] else math.exp(low)
    rate_high = math.inf if high >= limit[1] else math.exp(high)
    sure = not rate_low <= 1 <= rate_high and _difference_is_clear(grid, level, of)
    return ExchangeRate(level, of, math.exp(value), rate_low, rate_high, kind, float(target_N[0]), sure)


def _difference_is_clear(grid: Grid, level: str, of: str) -> bool:
    try:
        return difference(grid, level, of).distinguishable
    except FitError:  # no size in common: the curves alone decide
        return grid.noise is not None


def _reached(theirs_D: np.ndarray, ours_D: np.ndarray, reach: float = REACH) -> tuple[float, float]:
    """Extreme log rates curves can show: one level at its last size, the other at its first."""
    low = math.log(theirs_D[0] / reach / ours_D[-1])
    high = math.log(theirs_D[-1] / (ours_D[0] / reach))
    return low + 1e-9, high - 1e-9


def _kind(log_rate: float, theirs_D: np.ndarray, ours_D: np.ndarray) -> tuple[str, float]:
    far, near = _reached(theirs_D, ours_D), _reached(theirs_D, ours_D, 1.0)
    if log_rate >= far[1]:
        return "at least", near[1]
    if log_rate <= far[0]:
        return "at most", near[0]
    return ("measured" if near[0] <= log_rate <= near[1] else "extrapolated"), log_rate


def _log_tokens_at(tokens_D: np.ndarray, loss_ND: np.ndarray, target_N: np.ndarray) -> np.ndarray:
    """Log tokens at which each row's curve first reaches its target. A curve is the law times the deviation
    of the means from it, interpolated over log tokens: it meets every mean and bends as the law does."""
    log_D = np.log(tokens_D)
    log_G = np.linspace(log_D[0] - math.log(REACH), log_D[-1], 256)
    E_N, B_N, b_N = _quick_laws(tokens_D, loss_ND)

    def law(log_tokens):
        return np.log(E_N[:, None] + B_N[:, None] * np.exp(-b_N[:, None] * log_tokens) + 1e-300)

    deviation_ND = np.log(loss_ND) - law(log_D)
    weights_DG = np.array([np.interp(log_G, log_D, row) for row in np.eye(len(log_D))])
    curve_NG = law(log_G) + deviation_ND @ weights_DG
    goal_N1 = np.log(target_N)[:, None] + 1e-12
    below_NG = curve_NG <= goal_N1
    below_NG[:, -1] = True  # the target is the worse of two final losses, so the last size has reached it
    at_N = below_NG.argmax(1)
    rows, before_N = np.arange(len(at_N)), np.maximum(at_N - 1, 0)
    drop_N = curve_NG[rows, before_N] - curve_NG[rows, at_N]
    share_N = np.where(
        drop_N > 0, (curve_NG[rows, before_N] - goal_N1[:, 0]) / np.where(drop_N > 0, drop_N, 1), 1.0
    )
    return log_G[before_N] + np.clip(share_N, 0, 1) * (log_G[at_N] - log_G[before_N])
