"""Laws through the levels of a grid, with intervals, residuals, and how well the largest size was foretold.

Levels of one setting are fitted together: with one exponent or with one each, as `choose_form` decides on the
means. Replicates keep the form that the measured grid chose.

Shapes: N replicate, D size in tokens, G point of a curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np

from train.fits.grid import Grid
from train.fits.laws import (
    EXPONENTS,
    FitError,
    Form,
    Law,
    choose_form,
    fit_power_law,
    fit_shared_power_laws,
    quick_laws,
    quick_shared_laws,
)

Laws = tuple[np.ndarray, np.ndarray, np.ndarray]  # E, B, b of every replicate


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Fit:
    """A level's law with intervals; the interval of b may end at a bound. Residuals: log(mean loss / law) by size."""

    law: Law
    E: Estimate
    b: Estimate
    residuals: dict[int, float]


@dataclass(frozen=True)
class Foretold:
    """The loss at the largest size, from the law through the smaller ones, beside what was measured there.

    `low` and `high` are of predicted minus measured; `error` is |log(predicted / measured)|, so 0.01 is 1 %.
    """

    tokens: int
    measured: float
    predicted: float
    low: float
    high: float
    error: float


class Curves:
    """The laws of these levels of a grid (by default of all), whose form is chosen once."""

    def __init__(self, grid: Grid, levels: list[str] | None = None):
        self.grid = grid
        self.levels = [name for name in levels or grid.levels if len(grid.means_ND(name)[0]) > 1]
        if not self.levels:
            raise FitError("a law needs runs of at least two sizes")
        self._means = {name: grid.means_ND(name) for name in self.levels}

    @cached_property
    def form(self) -> Form:
        return choose_form([(tokens_D, loss_ND[0]) for tokens_D, loss_ND in self._means.values()])

    @cached_property
    def replicates(self) -> dict[str, Laws]:
        curves = list(self._means.values())
        if self.form.shared:
            return dict(zip(self.levels, quick_shared_laws(curves)[0], strict=True))
        return {name: quick_laws(*curve) for name, curve in self._means.items()}

    @cached_property
    def laws(self) -> dict[str, Law]:
        """The careful fits, through all runs."""
        runs = {name: [p for p in self.grid.points if p.level == name] for name in self.levels}
        data = [([p.tokens for p in some], [p.loss for p in some]) for some in runs.values()]
        if self.form.shared:
            return dict(zip(self.levels, fit_shared_power_laws(data), strict=True))
        return {name: fit_power_law(*one) for name, one in zip(self.levels, data, strict=True)}

    def fit(self, level: str) -> Fit:
        E_N, _, _ = self.replicates[level]
        tokens_D, loss_ND = self._means[level]
        law, grid = self.laws[level], self.grid
        off = np.log(loss_ND[0] / law.loss(tokens_D))
        residuals = {int(tokens): float(r) for tokens, r in zip(tokens_D, off, strict=True)}
        return Fit(law, Estimate(law.E, *grid.interval(E_N)), self.exponent(level), residuals)

    def exponent(self, level: str) -> Estimate:
        """b with an interval that is log-normal about the estimate: noise added to noise flattens the replicates' laws,
        so that their percentiles lie too low."""
        b_N = self.replicates[level][2]
        half = NormalDist().inv_cdf((1 + self.grid.confidence) / 2) * float(np.log(b_N[1:]).std())
        value = self.laws[level].b
        low, high = (min(max(value * math.exp(x), EXPONENTS[0]), EXPONENTS[1]) for x in (-half, half))
        return Estimate(value, low, high)

    def loss_NG(self, level: str, tokens_G) -> np.ndarray:
        """Loss by the law of every replicate."""
        E_N, B_N, b_N = self.replicates[level]
        return E_N[:, None] + B_N[:, None] * np.asarray(tokens_G, dtype=float) ** -b_N[:, None]

    def band(self, level: str, tokens_G) -> tuple[np.ndarray, np.ndarray]:
        """Pointwise interval of the law's loss at these token counts."""
        tail = (1 - self.grid.confidence) / 2
        low, high = np.quantile(self.loss_NG(level, tokens_G)[1:], [tail, 1 - tail], axis=0)
        return low, high

    def log_tokens_N(self, level: str, loss_N: np.ndarray) -> np.ndarray:
        """Log tokens at which each replicate's law reaches its loss; infinite at E and below."""
        E_N, B_N, b_N = self.replicates[level]
        above_N = np.maximum(loss_N - E_N, 0)
        with np.errstate(divide="ignore"):
            return np.where(above_N > 0, (np.log(np.maximum(B_N, 1e-300)) - np.log(above_N)) / b_N, math.inf)


def foretold(grid: Grid, levels: list[str] | None = None) -> dict[str, Foretold]:
    """For every level with four sizes or more: the largest, from the smaller ones of all these levels."""
    means = {name: grid.means_ND(name) for name in levels or grid.levels}
    means = {name: (tokens_D, loss_ND) for name, (tokens_D, loss_ND) in means.items() if len(tokens_D) > 3}
    if not means:
        return {}
    smaller = [(tokens_D[:-1], loss_ND[:, :-1]) for tokens_D, loss_ND in means.values()]
    if choose_form([(tokens_D, loss_ND[0]) for tokens_D, loss_ND in smaller]).shared:
        laws = quick_shared_laws(smaller)[0]
    else:
        laws = [quick_laws(*one) for one in smaller]
    found = {}
    for (name, (tokens_D, loss_ND)), (E_N, B_N, b_N) in zip(means.items(), laws, strict=True):
        predicted_N = E_N + B_N * tokens_D[-1] ** -b_N
        measured, predicted = float(loss_ND[0, -1]), float(predicted_N[0])
        low, high = grid.interval(predicted_N - loss_ND[:, -1])
        error = abs(math.log(predicted / measured))
        found[name] = Foretold(int(tokens_D[-1]), measured, predicted, low, high, error)
    return found


def mean(grid: Grid, level: str, tokens: int) -> Estimate:
    """Loss of a cell, over its seeds."""
    tokens_D, loss_ND = grid.means_ND(level)
    at = np.flatnonzero(tokens_D == tokens)
    if not len(at):
        raise FitError(f'no run of level "{level}" with {tokens} tokens')
    column = loss_ND[:, at[0]]
    return Estimate(float(column[0]), *grid.interval(column))
