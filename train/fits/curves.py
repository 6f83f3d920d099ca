"""Laws through the levels of a grid, with intervals, residuals, and how well the largest size was foretold.

Levels of one setting are fitted together: with one exponent or with one each, as `choose_form` decides on the
means. Replicates keep the form that the measured grid chose.

A replicate is what other runs of the same laws would have given: the laws, the noise of seeds and documents, and the
lack of fit, which is how far means lie from their law beyond what that noise explains. Fitted again, it gives every
interval. Noise is added to the laws, not to the measured means, which have theirs already: twice the noise flattens
laws.

Shapes: N replicate, D size in tokens, G point of a curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from train.fits.grid import Grid
from train.fits.laws import Curve, FitError, Form, Law, Rows, choose_form, fit_shared_power_laws, law_of
from train.fits.noise import lack_of_fit


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Fit:
    """A level's law with intervals, which hold its estimates. Residuals: log(mean loss / law) by size."""

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

    @property
    def fails(self) -> bool:
        """The law does not hold: noise and lack of fit do not explain how far it is off."""
        return not self.low <= 0 <= self.high


class Curves:
    """The laws of these levels of a grid (by default of all), whose form is chosen once.

    `ahead`: without the largest size of each level, of those with four or more.
    """

    def __init__(self, grid: Grid, levels: list[str] | None = None, ahead: bool = False):
        self.grid = grid
        means = {name: grid.means_ND(name) for name in levels or grid.levels}
        if ahead:
            means = {name: (tokens_D[:-1], loss_ND[:, :-1]) for name, (tokens_D, loss_ND) in means.items()}
        self._means = {name: curve for name, curve in means.items() if len(curve[0]) > (2 if ahead else 1)}
        self.levels = list(self._means)
        if not self.levels:
            raise FitError("a law needs runs of at least two sizes")

    @cached_property
    def form(self) -> Form:
        return choose_form([(tokens_D, loss_ND[:1]) for tokens_D, loss_ND in self._means.values()])

    def _fitted(self, curves: dict[str, Curve]) -> tuple[dict[str, Rows], np.ndarray]:
        """(laws of every row, the sum of their squared relative residuals)."""
        if self.form.shared:
            rows, squares_N = fit_shared_power_laws(list(curves.values()))
            return dict(zip(curves, rows, strict=True)), squares_N
        each = {name: fit_shared_power_laws([curve]) for name, curve in curves.items()}
        squares_N = np.sum([squares for _, squares in each.values()], axis=0)
        return {name: rows[0] for name, (rows, _) in each.items()}, squares_N

    @cached_property
    def _measured(self) -> tuple[dict[str, Rows], float]:
        rows, squares_N = self._fitted({name: (D, loss_ND[:1]) for name, (D, loss_ND) in self._means.items()})
        return rows, float(squares_N[0])

    @cached_property
    def laws(self) -> dict[str, Law]:
        rows = self._measured[0]
        return {name: law_of(rows[name], D, loss_ND[0]) for name, (D, loss_ND) in self._means.items()}

    def _simulated(self, lack_N: np.ndarray) -> dict[str, Curve]:
        """The means of every replicate, row 0 as measured."""
        rng = np.random.default_rng(self.grid.rng_seed)
        simulated = {}
        for name, (tokens_D, loss_ND) in self._means.items():
            law_D = self.laws[name].loss(tokens_D)
            off_ND = law_D * lack_N[:, None] * rng.standard_normal((len(lack_N), len(tokens_D)))
            noisy_ND = np.maximum(law_D + off_ND + loss_ND[1:] - loss_ND[0], 1e-3 * law_D)
            simulated[name] = (tokens_D, np.concatenate([loss_ND[:1], noisy_ND]))
        return simulated

    @cached_property
    def lack_N(self) -> np.ndarray:
        """How far a mean lies from its law beyond noise, as a share of the loss: a standard deviation of every replicate."""
        sizes = [len(tokens_D) for tokens_D, _ in self._means.values()]
        of_levels = sum(1 if count < 3 else 2 for count in sizes)
        freedom = sum(sizes) - of_levels - (1 if self.form.shared else len(sizes))
        by_noise = self._fitted(self._simulated(np.zeros(self.grid.draws)))[1][1:] if freedom > 0 else 0.0
        return lack_of_fit(self._measured[1], float(np.median(by_noise)), freedom, self.grid.draws)

    @cached_property
    def replicates(self) -> dict[str, Rows]:
        return self._fitted(self._simulated(self.lack_N))[0]

    def fit(self, level: str) -> Fit:
        tokens_D, loss_ND = self._means[level]
        law = self.laws[level]
        off = np.log(loss_ND[0] / law.loss(tokens_D))
        residuals = {int(tokens): float(r) for tokens, r in zip(tokens_D, off, strict=True)}
        E_N, _, b_N = self.replicates[level]
        E, b = (Estimate(float(values_N[0]), *self.grid.interval(values_N)) for values_N in (E_N, b_N))
        return Fit(law, E, b, residuals)

    def loss_NG(self, level: str, tokens_G) -> np.ndarray:
        """Loss by the law of every replicate, row 0 as measured."""
        E_N, B_N, b_N = self.replicates[level]
        return E_N[:, None] + B_N[:, None] * np.asarray(tokens_G, dtype=float) ** -b_N[:, None]

    def runs_NG(self, level: str, tokens_G) -> np.ndarray:
        """Mean loss of other runs at these token counts, within the sizes: the law of every replicate, with noise and lack
        of fit of their own."""
        tokens_D, loss_ND = self._means[level]
        noise_ND = np.roll(loss_ND[1:] - loss_ND[0], len(loss_ND) // 2, 0)  # not that of the replicate itself
        weights_DG = np.array(
            [np.interp(np.log(tokens_G), np.log(tokens_D), row) for row in np.eye(len(tokens_D))]
        )
        law_NG = self.loss_NG(level, tokens_G)
        normal_N = np.random.default_rng(self.grid.rng_seed + 2).standard_normal(self.grid.draws)
        off_NG = law_NG[1:] * (self.lack_N * normal_N)[:, None]
        return np.concatenate([law_NG[:1], law_NG[1:] + off_NG + noise_ND @ weights_DG])

    def band(self, level: str, tokens_G) -> tuple[np.ndarray, np.ndarray]:
        """Pointwise: where the means of other runs would lie at these token counts, within the sizes."""
        runs_NG = self.runs_NG(level, tokens_G)
        tail = (1 - self.grid.confidence) / 2
        low, high = np.quantile(runs_NG[1:], [tail, 1 - tail], axis=0)
        return np.minimum(low, runs_NG[0]), np.maximum(high, runs_NG[0])

    def log_tokens_N(self, level: str, loss_N: np.ndarray) -> np.ndarray:
        """Log tokens at which each replicate's law reaches its loss; infinite at E and below."""
        E_N, B_N, b_N = self.replicates[level]
        above_N = np.maximum(loss_N - E_N, 0)
        with np.errstate(divide="ignore"):
            return np.where(above_N > 0, (np.log(np.maximum(B_N, 1e-300)) - np.log(above_N)) / b_N, math.inf)


def foretold(grid: Grid, levels: list[str] | None = None) -> dict[str, Foretold]:
    """For every level with four sizes or more: the largest, from the smaller ones of all these levels."""
    try:
        curves = Curves(grid, levels, ahead=True)
    except FitError:
        return {}
    rng = np.random.default_rng(grid.rng_seed + 3)
    forecasts = {}
    for name in curves.levels:
        tokens_D, loss_ND = grid.means_ND(name)
        predicted_N = curves.loss_NG(name, tokens_D[-1:])[:, 0]
        noise_N = loss_ND[1:, -1] - loss_ND[0, -1]
        law = float(curves.laws[name].loss(tokens_D[-1]))
        off_N = predicted_N[1:] - law - noise_N + law * curves.lack_N * rng.standard_normal(grid.draws)
        measured, predicted = float(loss_ND[0, -1]), float(predicted_N[0])
        low, high = (predicted - measured + x for x in grid.interval(np.concatenate([[0.0], off_N])))
        error = abs(math.log(predicted / measured))
        forecasts[name] = Foretold(int(tokens_D[-1]), measured, predicted, low, high, error)
    return forecasts


def mean(grid: Grid, level: str, tokens: int) -> Estimate:
    """Loss of a cell, over its seeds."""
    mean_N = grid.mean_N(level, tokens)
    return Estimate(float(mean_N[0]), *grid.interval(mean_N))
