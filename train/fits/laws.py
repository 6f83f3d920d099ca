"""Laws of loss against tokens, L(D) = E + B / D^b, of one level or of several that share the exponent.

With four sizes E and b are strongly correlated and B has no meaning apart from them, so laws are bounded
(0 <= E < smallest loss, 0.02 <= b <= 1), a law that ends at a bound says so, and B gets no interval.

Shapes: N replicate, D size in tokens, X exponent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize

HUBER_DELTA = 1e-3  # log residuals beyond 0.1 % count linearly (as in Hoffmann et al. 2022)
EXPONENTS = (0.02, 1.0)
SMALLEST_E = 1e-4  # as a fraction of the smallest loss; the log form cannot reach 0


class FitError(ValueError):
    """The runs cannot answer the question; the message says what is missing."""


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


@dataclass(frozen=True)
class _Data:
    """The runs of a law on logarithmic scales, centred: the amplitude at the middle size is far less correlated with
    b than B is. `bounds` are those of log E, the amplitude and b."""

    log_tokens: np.ndarray
    log_losses: np.ndarray
    centre: float
    bounds: list[tuple[float, float]]

    @classmethod
    def of(cls, tokens: np.ndarray, losses: np.ndarray) -> _Data:
        log_tokens, log_losses = np.log(tokens), np.log(losses)
        top = float(log_losses.min())
        bottom = top + math.log(SMALLEST_E)
        two_sizes = len(np.unique(tokens)) < 3
        bounds = [(bottom, bottom if two_sizes else top - 1e-6), (-40.0, 40.0), EXPONENTS]
        return cls(log_tokens, log_losses, float(log_tokens.mean()), bounds)

    def law(self, log_E: float, amplitude: float, b: float) -> Law:
        no_floor = bool(log_E <= self.bounds[0][0] + math.log(10))
        floor = 0.0 if no_floor else math.exp(log_E)
        bounded = (["E"] if no_floor else []) + (["b"] if not EXPONENTS[0] < b < EXPONENTS[1] else [])
        law = Law(floor, math.exp(amplitude + b * self.centre), float(b), tuple(bounded))
        residual = np.abs(self.log_losses - np.log(law.loss(np.exp(self.log_tokens)))).max()
        return replace(law, largest_residual=float(residual))


def fit_power_law(tokens, losses) -> Law:
    """Huber loss on log residuals, in log-sum-exp form; L-BFGS-B from the least-squares law and the
    best 3 of 30 starts on a grid of E and b.

    Two sizes leave E free to be anything: it is then fixed at 0 and named in `at_bound`.
    """
    tokens, losses = _checked(tokens, losses)
    data = _Data.of(tokens, losses)
    top, mean = data.log_losses.min(), data.log_losses.mean()
    starts = [
        (top + math.log(fraction), mean + math.log1p(-fraction), b)
        for fraction in (SMALLEST_E, 0.25, 0.5, 0.75, 0.9)
        for b in (0.05, 0.1, 0.2, 0.35, 0.6, 0.9)
    ]
    E, B, b = (float(x[0]) for x in quick_laws(tokens, losses[None]))
    squares = (math.log(max(E, 1e-300)), math.log(max(B, 1e-300)) - b * data.centre, b)
    lowest, highest = np.array(data.bounds).T
    seen = (data.log_tokens - data.centre, data.log_losses)
    tried = sorted((np.clip(x, lowest, highest) for x in starts), key=lambda x: objective(x, *seen)[0])
    fits = [
        minimize(objective, x, seen, "L-BFGS-B", jac=True, bounds=data.bounds)
        for x in (np.clip(squares, lowest, highest), *tried[:3])
    ]
    return data.law(*min(fits, key=lambda fit: fit.fun).x)


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


def objective(parameters, log_tokens, log_losses):
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


def quick_laws(tokens_D: np.ndarray, loss_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(E, B, b) of every row at once, by least squares: replicates need thousands of fits and no guard against
    outliers."""
    return quick_shared_laws([(tokens_D, loss_ND)])[0][0]


def quick_shared_laws(
    curves: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[list[tuple[np.ndarray, np.ndarray, np.ndarray]], np.ndarray]:
    """((E, B, b) of every row of each curve, the exponent of a row common to all; sum of squared relative residuals).

    For each exponent of a grid E and B are least squares on relative residuals; the best exponent wins.
    """
    b_X = np.geomspace(*EXPONENTS, 96)
    profiles = [_profile(tokens_D, loss_ND, b_X) for tokens_D, loss_ND in curves]
    error_NX = sum((error for _, _, error in profiles), np.zeros(1))
    best = error_NX.argmin(1)
    rows, b_N = np.arange(len(best)), b_X[best]
    laws = []
    for (tokens_D, _), (E_NX, B_NX, _) in zip(curves, profiles, strict=True):
        laws.append((E_NX[rows, best], B_NX[rows, best] * _middle(tokens_D) ** b_N, b_N))
    return laws, error_NX[rows, best]


def _middle(tokens_D: np.ndarray) -> float:
    return float(np.exp(np.log(tokens_D).mean()))


def _profile(
    tokens_D: np.ndarray, loss_ND: np.ndarray, b_X: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(E, B at the middle size, sum of squared relative residuals) for every row and exponent."""
    x_XD = (tokens_D / _middle(tokens_D)) ** -b_X[:, None]
    w_ND = loss_ND**-2
    sw, sy = w_ND.sum(1)[:, None], (1 / loss_ND).sum(1)[:, None]
    sx, sxx, sxy = w_ND @ x_XD.T, w_ND @ (x_XD**2).T, (1 / loss_ND) @ x_XD.T
    E_NX = (sxx * sy - sx * sxy) / np.maximum(sw * sxx - sx**2, 1e-12)
    if len(tokens_D) < 3:
        E_NX[:] = 0.0
    E_NX = np.clip(E_NX, 0.0, loss_ND.min(1)[:, None] * (1 - 1e-6))
    B_NX = np.maximum((sxy - E_NX * sx) / sxx, 0.0)
    squares = E_NX**2 * sw + 2 * E_NX * B_NX * sx + B_NX**2 * sxx
    return E_NX, B_NX, len(tokens_D) - 2 * (E_NX * sy + B_NX * sxy) + squares


# ------------------------------------------------------------------------------------ one exponent for several levels


@dataclass(frozen=True)
class Form:
    """Whether levels share the exponent: the lower AICc on cell means wins, and one that has none never does."""

    shared: bool
    aicc_shared: float | None
    aicc_free: float | None


def choose_form(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> Form:
    """Hurvich and Tsai's AICc of both forms, from (tokens, mean losses) of each level.

    Four sizes of three levels leave free exponents 12 means for 10 parameters: sharing is the default that the
    data must speak against.
    """
    rows = [(tokens_D, loss_D[None]) for tokens_D, loss_D in curves]
    count = sum(len(tokens_D) for tokens_D, _ in rows)
    shared = _aicc(float(quick_shared_laws(rows)[1][0]), count, 2 * len(rows) + 1)
    free = _aicc(sum(float(quick_shared_laws([row])[1][0]) for row in rows), count, 3 * len(rows))
    share = len(rows) > 1 and (free is None or (shared is not None and shared <= free))
    return Form(share, shared, free)


def _aicc(squares: float, count: int, parameters: int) -> float | None:
    """None where there are too few means for it. Rounding stands for no residual at all."""
    parameters += 1  # the variance
    left = count - parameters - 1
    if left <= 0:
        return None
    return count * math.log(max(squares, 1e-13) / count) + 2 * parameters * (1 + (parameters + 1) / left)


def fit_shared_power_laws(curves: Sequence[tuple[Any, Any]]) -> list[Law]:
    """As `fit_power_law`, for (tokens, losses) of several levels at once, with one exponent."""
    data = [_Data.of(*_checked(tokens, losses)) for tokens, losses in curves]
    quick = quick_shared_laws([_means(tokens, losses) for tokens, losses in curves])[0]
    starts = []
    for b in (float(quick[0][2][0]), 0.1, 0.25, 0.5):
        profiled = [_profile(*_means(tokens, losses), np.array([b])) for tokens, losses in curves]
        starts.append([math.log(max(x[0, 0], 1e-300)) for E, B, _ in profiled for x in (E, B)] + [b])
    bounds = [bound for one in data for bound in one.bounds[:2]] + [EXPONENTS]
    lowest, highest = np.array(bounds).T

    def total(x):
        gradient, value = np.zeros_like(x), 0.0
        for i, one in enumerate(data):
            at = np.array([x[2 * i], x[2 * i + 1], x[-1]])
            part, slope = objective(at, one.log_tokens - one.centre, one.log_losses)
            value += part
            gradient[[2 * i, 2 * i + 1, -1]] += slope
        return value, gradient

    fits = [
        minimize(total, np.clip(x, lowest, highest), (), "L-BFGS-B", jac=True, bounds=bounds) for x in starts
    ]
    best = min(fits, key=lambda fit: fit.fun).x
    return [one.law(best[2 * i], best[2 * i + 1], best[-1]) for i, one in enumerate(data)]


def _means(tokens, losses) -> tuple[np.ndarray, np.ndarray]:
    """(sizes, one row of mean losses)."""
    tokens, losses = np.asarray(tokens, dtype=float), np.asarray(losses, dtype=float)
    sizes = np.unique(tokens)
    return sizes, np.array([[losses[tokens == size].mean() for size in sizes]])
