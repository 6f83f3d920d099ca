"""Laws of loss against tokens, L(D) = E + B / D^b, of one level or of several that share the exponent.

With four sizes E and b are strongly correlated and B has no meaning apart from them, so laws are bounded
(0 <= E < smallest loss, 0.02 <= b <= 1), a law that ends at a bound says so, and B gets no interval.

Laws are least squares on the relative residuals of mean losses. One estimator serves the measured losses and their
replicates, many rows at once: so an interval is of the very figure that stands beside it. A fit that is robust against
single runs (Huber's, as in Hoffmann et al. 2022) would be another estimator than that of the means that are compared.

Shapes: N replicate, D size in tokens, X exponent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EXPONENTS = (0.02, 1.0)
COARSE, FINE, ZOOMS = (
    48,
    9,
    3,
)  # exponents that are tried: so many, then so many between the neighbours of the best

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # E, B, b of every row
Curve = tuple[np.ndarray, np.ndarray]  # tokens_D, loss_ND


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


def law_of(rows: Rows, tokens_D: np.ndarray, loss_D: np.ndarray) -> Law:
    """The law of the first row, beside the losses that it goes through.

    Two sizes leave E free to be anything: it is then fixed at 0 and named in `at_bound`.
    """
    E, B, b = (float(x_N[0]) for x_N in rows)
    inside = EXPONENTS[0] * 1.001 < b < EXPONENTS[1] / 1.001
    bounded = (["E"] if E == 0 else []) + ([] if inside else ["b"])
    residual = np.abs(np.log(loss_D / (E + B * tokens_D**-b))).max()
    return Law(E, B, b, tuple(bounded), float(residual))


def fit_power_laws(tokens_D: np.ndarray, loss_ND: np.ndarray) -> Rows:
    """(E, B, b) of every row. Raises FitError for losses that no law goes through."""
    return fit_shared_power_laws([(tokens_D, loss_ND)])[0][0]


def fit_shared_power_laws(curves: Sequence[Curve]) -> tuple[list[Rows], np.ndarray]:
    """((E, B, b) of every row of each curve, the exponent of a row common to all; sum of squared relative residuals).

    For each exponent E and B are least squares on relative residuals; the best exponent wins.
    """
    curves = [_checked(*curve) for curve in curves]
    rows = np.arange(len(curves[0][1]))
    b_NX = np.geomspace(*EXPONENTS, COARSE)[None]
    step = math.log(EXPONENTS[1] / EXPONENTS[0]) / (COARSE - 1)
    for zoom in range(ZOOMS + 1):
        profiles = [_profile(*curve, b_NX) for curve in curves]
        error_NX = sum((error_NX for _, _, error_NX in profiles), np.zeros(1))
        best = error_NX.argmin(1)
        b_N = np.broadcast_to(b_NX, error_NX.shape)[rows, best]
        if zoom < ZOOMS:
            b_NX = np.clip(b_N[:, None] * np.exp(np.linspace(-step, step, FINE)), *EXPONENTS)
            step *= 2 / (FINE - 1)
    laws = []
    for (tokens_D, _), (E_NX, B_NX, _) in zip(curves, profiles, strict=True):
        laws.append((E_NX[rows, best], B_NX[rows, best] * _middle(tokens_D) ** b_N, b_N))
    return laws, error_NX[rows, best]


def _checked(tokens_D, loss_ND) -> Curve:
    tokens_D, loss_ND = np.asarray(tokens_D, dtype=float), np.asarray(loss_ND, dtype=float)
    if loss_ND.ndim != 2 or loss_ND.shape[1:] != tokens_D.shape:
        raise FitError(
            f"{tokens_D.shape} token counts but {loss_ND.shape} losses; give one loss for each size"
        )
    if not (np.isfinite(loss_ND).all() and (tokens_D > 0).all() and (loss_ND > 0).all()):
        raise FitError("token counts and losses must be finite and positive; leave failed runs out")
    if len(np.unique(tokens_D)) < 2:
        raise FitError("a law needs runs of at least two sizes")
    return tokens_D, loss_ND


def _middle(tokens_D: np.ndarray) -> float:
    return float(np.exp(np.log(tokens_D).mean()))


def _profile(
    tokens_D: np.ndarray, loss_ND: np.ndarray, b_NX: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(E, B at the middle size, sum of squared relative residuals) for every row and exponent."""
    x_NXD = np.exp(-b_NX[..., None] * np.log(tokens_D / _middle(tokens_D)))
    w_ND = loss_ND**-2
    sw, sy = w_ND.sum(1)[:, None], (1 / loss_ND).sum(1)[:, None]
    sx, sxx = np.matmul(x_NXD, w_ND[..., None])[..., 0], np.matmul(x_NXD**2, w_ND[..., None])[..., 0]
    sxy = np.matmul(x_NXD, 1 / loss_ND[..., None])[..., 0]
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


def choose_form(curves: Sequence[Curve]) -> Form:
    """Hurvich and Tsai's AICc of both forms, from (tokens, mean losses in one row) of each level.

    Four sizes of three levels leave free exponents 12 means for 10 parameters: sharing is the default that the
    data must speak against.
    """
    count = sum(len(tokens_D) for tokens_D, _ in curves)
    shared = _aicc(float(fit_shared_power_laws(curves)[1][0]), count, 2 * len(curves) + 1)
    free = _aicc(sum(float(fit_shared_power_laws([curve])[1][0]) for curve in curves), count, 3 * len(curves))
    share = len(curves) > 1 and (free is None or (shared is not None and shared <= free))
    return Form(share, shared, free)


def _aicc(squares: float, count: int, parameters: int) -> float | None:
    """None where there are too few means for it. Rounding stands for no residual at all."""
    parameters += 1  # the variance
    left = count - parameters - 1
    if left <= 0:
        return None
    return count * math.log(max(squares, 1e-13) / count) + 2 * parameters * (1 + (parameters + 1) / left)
