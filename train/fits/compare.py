"""Levels against each other: differences at equal tokens, and exchange rates at equal loss, with intervals.

`difference` and `exchange_rate` are for one comparison at a time; `differences` corrects for making many. A verdict is
read off the interval that stands beside it: `_clear` decides both, and where one seed leaves noise unknown the interval
is everything.

Shapes: N replicate, D size in tokens, G point of a curve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from train.fits.curves import Curves
from train.fits.grid import Grid, Point
from train.fits.laws import FitError, fit_power_laws

REACH = 2.0  # curves are followed this factor beyond the measured sizes, no further
FAR = 10.0  # and a law at most this factor


@dataclass(frozen=True)
class Difference:
    """Loss of `level` minus loss of `than` at equal tokens: below 0 `level` is better.

    `distinguishable`: the interval does not hold 0. `corrected`: nor does the wider one that holds all comparisons
    made together at once; None where only this one was made.
    """

    level: str
    than: str
    tokens: int
    value: float
    low: float
    high: float
    distinguishable: bool
    corrected: bool | None = None
    corrected_low: float | None = None
    corrected_high: float | None = None

    @property
    def together(self) -> Difference:
        """With the interval that holds all comparisons at once, and the verdict of that interval."""
        assert self.corrected_low is not None, "of comparisons that are made together"
        assert self.corrected_high is not None
        return replace(
            self, low=self.corrected_low, high=self.corrected_high, distinguishable=bool(self.corrected)
        )


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


@dataclass(frozen=True)
class Overtaking:
    """Tokens of `dirty` from which it is better than `clean` with its `clean_tokens`, by the laws of both.

    `kind`: measured | extrapolated (up to ten times the sizes that were trained) | too far (further) | never (its
    law ends above). Without an upper end of the interval `high` is infinite.
    """

    dirty: str
    clean: str
    clean_tokens: int
    tokens: float
    low: float
    high: float
    loss: float
    kind: str


def difference(grid: Grid, level: str, than: str, tokens: int | None = None) -> Difference:
    """Loss difference at equal tokens (by default the largest size both have), over the seeds both have."""
    tokens, value_N = _gap(grid, level, than, tokens)
    low, high, clear = _clear(grid, *grid.interval(value_N))
    return Difference(level, than, tokens, float(value_N[0]), low, high, clear)


def _clear(grid: Grid, low: float, high: float, none: float = 0.0) -> tuple[float, float, bool]:
    """(the interval, whether it leaves out `none`, which stands for no difference)."""
    if grid.noise is None:
        low, high = -math.inf, math.inf
    return low, high, not low <= none <= high


def differences(
    grid: Grid, pairs: Sequence[tuple[str, str] | tuple[str, str, int]], tokens: int | None = None
) -> list[Difference]:
    """As `difference` for every pair, some perhaps at tokens of their own, and with intervals that hold all of them at once.

    Those are as many standard errors wide as the largest of all standardised errors in 95 % of the replicates
    (Westfall and Young's max T): what the comparisons have in common, a level or a seed, is not paid for twice. The
    tails of few seeds are heavy, so the middle two thirds of the replicates give the standard error.
    """
    gaps = [_gap(grid, *pair[:2], pair[2] if len(pair) > 2 else tokens) for pair in pairs]
    return _together(grid, [(*pair[:2], *gap) for pair, gap in zip(pairs, gaps, strict=True)])


def paired_differences(grid: Grid, pairs: Sequence[tuple[str, str, int]]) -> list[Difference]:
    """As `differences` at these tokens, of pairs that read the same documents with every seed. What the documents of a seed
    do to both cancels in their difference, so the noise of the differences is what counts. Each has a variance of its own,
    as far as the seeds tell it: what a model learns all at once, some seeds have learned and others not."""
    place = {(point.level, point.tokens, point.seed): point for point in grid.points}
    most = max(point.loss for point in grid.points)
    gaps, names = list[Point](), {pair: f"{pair[0]}, {pair[2]} tokens" for pair in pairs}
    for (level, than, tokens), name in names.items():
        for seed in grid.seeds:
            both = [place.get((one, tokens, seed)) for one in (level, than)]
            if both[0] and both[1]:
                gaps.append(_paired(name, both[0], both[1], most, grid.units))
    if not gaps:
        return []
    of_gaps = Grid(gaps, grid.units, grid.draws, grid.rng_seed, grid.confidence)
    return _together(of_gaps, [
        (*pair, of_gaps.means_ND(name)[1][:, 0] - most) for pair, name in names.items() if name in of_gaps.levels
    ])  # fmt: skip


def _paired(name: str, ours: Point, theirs: Point, more: float, units: np.ndarray | None) -> Point:
    """The difference, and a constant on top that keeps it above 0, as if it were a loss."""
    nats = None
    if ours.document_nats is not None and theirs.document_nats is not None:
        mean = theirs.document_nats.sum() / theirs.loss / len(theirs.document_nats)
        nats = ours.document_nats - theirs.document_nats + more * (mean if units is None else units)
    return Point(name, ours.tokens, ours.seed, more + ours.loss - theirs.loss, nats)


def _together(grid: Grid, gaps: list[tuple[str, str, int, np.ndarray]]) -> list[Difference]:
    """Of (level, than, tokens, difference of every replicate)."""
    if not gaps:
        return []
    value_NP = np.array([value_N for *_, value_N in gaps]).T
    error_NP = value_NP[1:] - value_NP[0]
    spread_P = np.maximum(np.quantile(np.abs(error_NP), 0.68, axis=0), 1e-12)
    width = float(np.quantile(np.abs(error_NP / spread_P).max(1), grid.confidence))
    made = []
    for (level, than, size, value_N), spread in zip(gaps, spread_P, strict=True):
        value, (low, high) = float(value_N[0]), grid.interval(value_N)
        half = max(width * spread, high - value, value - low)
        low, high, clear = _clear(grid, low, high)
        wide_low, wide_high, together = _clear(grid, value - half, value + half)
        made.append(Difference(level, than, size, value, low, high, clear, together, wide_low, wide_high))
    return made


def _gap(grid: Grid, level: str, than: str, tokens: int | None) -> tuple[int, np.ndarray]:
    """(tokens, difference of every replicate)."""
    ours_D, ours_ND = grid.means_ND(level, than)
    theirs_D, theirs_ND = grid.means_ND(than, level)
    common = np.intersect1d(ours_D, theirs_D)
    if tokens is None and len(common):
        tokens = int(common[-1])
    if tokens is None or tokens not in common:
        raise FitError(
            f'levels "{level}" and "{than}" have no run in common at {tokens or "any number of"} tokens'
        )
    ours, theirs = np.flatnonzero(ours_D == tokens)[0], np.flatnonzero(theirs_D == tokens)[0]
    return tokens, ours_ND[:, ours] - theirs_ND[:, theirs]


def exchange_rate(grid: Grid, level: str, of: str) -> ExchangeRate:
    """How many tokens of `of` one token of `level` replaces, at the lowest loss that both have reached.

    Where `level` is better, that is the loss `of` ends with. So token counts lie inside what was measured
    where that is possible at all, and swapping the two levels gives exactly 1 / rate.
    """
    ours_D, ours_ND, theirs_D, theirs_ND = _two_sizes_of_each(grid, level, of)
    target_N = np.maximum(ours_ND[:, -1], theirs_ND[:, -1])
    log_N = _log_tokens_at(theirs_D, theirs_ND, target_N) - _log_tokens_at(ours_D, ours_ND, target_N)
    limit = _reached(theirs_D, ours_D)
    kind, value = _kind(log_N[0], theirs_D, ours_D)
    low, high = grid.interval(log_N)
    low, high = -math.inf if low <= limit[0] else low, math.inf if high >= limit[1] else high
    low, high, clear = _clear(grid, low, high)
    return ExchangeRate(
        level, of, math.exp(value), math.exp(low), math.exp(high), kind, float(target_N[0]), clear
    )


def _two_sizes_of_each(
    grid: Grid, level: str, of: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(tokens, means) of the one, then of the other."""
    ours, theirs = grid.means_ND(level, of), grid.means_ND(of, level)
    if min(len(ours[0]), len(theirs[0])) < 2:
        raise FitError(f'an exchange rate between "{level}" and "{of}" needs two sizes of each')
    return *ours, *theirs


def exchange_rates(grid: Grid, level: str, of: str) -> list[ExchangeRate]:
    """The rate at every loss that `of` has at one of its sizes: what a token is worth early and late."""
    ours_D, ours_ND, theirs_D, theirs_ND = _two_sizes_of_each(grid, level, of)
    rates = []
    for theirs, target_N in zip(theirs_D, theirs_ND.T, strict=True):
        # Tokens of `level` that reach the target, which may be none of ours.
        log_N = math.log(theirs) - _log_tokens_at(ours_D, ours_ND, target_N)
        log_N = np.where(target_N < ours_ND[:, -1], -math.inf, log_N)
        far = math.log(theirs) - math.log(ours_D[0] / REACH) - 1e-9
        low, high = grid.interval(log_N)
        if log_N[0] == -math.inf:
            kind, rate = "at most", theirs / ours_D[-1]
        elif log_N[0] >= far:
            kind, rate = "at least", theirs / ours_D[0]
        else:
            rate = math.exp(log_N[0])
            kind = "measured" if log_N[0] <= math.log(theirs / ours_D[0]) else "extrapolated"
        low, high, clear = _clear(grid, low, math.inf if high >= far else high)
        at = float(target_N[0])
        rates.append(ExchangeRate(level, of, rate, math.exp(low), math.exp(high), kind, at, clear))
    return rates


def overtaking(grid: Grid, curves: Curves, dirty: str, clean: str, clean_tokens: int) -> Overtaking:
    """Where `dirty` overtakes `clean`, of which there are only `clean_tokens`. Raises FitError where the runs cannot say."""
    for level in {dirty, clean} - set(curves.levels):
        raise FitError(f'no law says where "{level}" goes: it needs runs of at least two sizes')
    log_D = np.log(grid.means_ND(clean)[0])
    if math.log(clean_tokens) > log_D[-1] + math.log(FAR):
        raise FitError(
            f"{clean_tokens:,} tokens of {clean} are more than {FAR:g} times the most it was trained on; no law "
            "from these sizes says what they are worth"
        )
    target_N = curves.loss_NG(clean, [clean_tokens])[:, 0]
    log_N = curves.log_tokens_N(dirty, target_N)
    sizes_D = grid.means_ND(dirty)[0]
    low, high = grid.interval(log_N)
    end = math.log(FAR * sizes_D[-1])
    if math.isinf(log_N[0]):
        kind = "never"
    elif log_N[0] > end:
        kind = "too far"
    else:
        inside = math.log(sizes_D[0]) <= log_N[0] <= math.log(sizes_D[-1])
        kind = "measured" if inside else "extrapolated"
    tokens = math.exp(min(log_N[0], end))
    bottom, top = (math.exp(x) if x <= end else math.inf for x in (low, high))
    return Overtaking(dirty, clean, clean_tokens, tokens, bottom, top, float(target_N[0]), kind)


def measured_crossing(grid: Grid, dirty: str, clean: str, clean_tokens: int) -> Overtaking:
    """Where `dirty`, as it was trained, crosses the loss that `clean` has with `clean_tokens`: between two of its sizes, on
    logarithmic scales. `kind`: measured | at most (better from its first size on) | at least (worse even at its last)."""
    target_N = grid.mean_N(clean, clean_tokens)
    sizes_D, loss_ND = grid.means_ND(dirty)
    log_N = np.array(
        [_first_below(np.log(sizes_D), *both) for both in zip(np.log(loss_ND), np.log(target_N), strict=True)]
    )
    low, high = grid.interval(log_N)
    kind = "measured" if math.isfinite(log_N[0]) else "at most" if log_N[0] < 0 else "at least"
    tokens = math.exp(np.clip(log_N[0], math.log(sizes_D[0]), math.log(sizes_D[-1])))
    return Overtaking(
        dirty, clean, clean_tokens, tokens, math.exp(low), math.exp(high), float(target_N[0]), kind
    )


def _first_below(log_D: np.ndarray, log_loss_D: np.ndarray, goal: float) -> float:
    below = log_loss_D <= goal
    if not below.any():
        return math.inf
    i = int(below.argmax())
    if not i:
        return -math.inf
    share = (log_loss_D[i - 1] - goal) / (log_loss_D[i - 1] - log_loss_D[i])
    return float(log_D[i - 1] + share * (log_D[i] - log_D[i - 1]))


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
    E_N, B_N, b_N = fit_power_laws(tokens_D, loss_ND)

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
