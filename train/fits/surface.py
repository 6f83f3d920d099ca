"""Loss against parameters and tokens, L(N, D) = E + A / N^alpha + B / D^beta, and what is optimal for a budget.

Fitted as Hoffmann et al. (2022) and Besiroglu et al. (2024) do: log L = LSE(a - alpha ln N, b - beta ln D, e), Huber
loss of 1e-3 on log residuals, L-BFGS-B with the analytic gradient. Starts: for every pair of exponents on a grid,
E, A and B are non-negative least squares on relative residuals, and the best few are finished. ln N and ln D are
centred, since A and B have no meaning apart from the exponents; they get no interval.

Shapes: R run, N replicate, C compute budget.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, nnls

from train.fits.laws import FitError
from train.fits.noise import lack_of_fit, simulated

HUBER_DELTA = 1e-3  # log residuals beyond 0.1 % count linearly
STARTS = 4
FEW = 30  # replicates that tell how large residuals are by noise alone
ALONG = np.linspace(0.05, 1.2, 12)  # exponents of the grid of starts
BOUNDS = [(-60.0, 20.0), (-60.0, 20.0), (-60.0, 20.0), (0.01, 2.0), (0.01, 2.0)]


@dataclass(frozen=True)
class Surface:
    """`A` and `B` are for computing with; only E, alpha, beta and predictions are determined by data."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    largest_residual: float = 0.0  # |log(loss / law)|

    def loss(self, parameters, tokens):
        n, d = np.asarray(parameters, dtype=float), np.asarray(tokens, dtype=float)
        return self.E + self.A * n**-self.alpha + self.B * d**-self.beta

    def best(self, flops: float, flops_a_parameter_token: float = 6.0) -> tuple[float, float]:
        """(parameters, tokens) of least loss for this compute: N^alpha / D^beta = alpha A / (beta B)."""
        product = flops / flops_a_parameter_token
        log_g = math.log(self.alpha * self.A / (self.beta * self.B)) / (self.alpha + self.beta)
        log_n = log_g + math.log(product) * self.beta / (self.alpha + self.beta)
        return math.exp(log_n), product / math.exp(log_n)

    @property
    def share_of_parameters(self) -> float:
        """The exponent with which the best N grows with compute."""
        return self.beta / (self.alpha + self.beta)


def fit_surface(parameters, tokens, losses, start: Surface | None = None) -> Surface:
    """The law through these runs; with `start`, from there alone. Raises FitError where it is not determined."""
    n, d, y = (np.log(np.asarray(x, dtype=float)) for x in (parameters, tokens, losses))
    if not (np.isfinite(n).all() and np.isfinite(d).all() and np.isfinite(y).all()):
        raise FitError("parameters, tokens and losses must be finite and positive; leave failed runs out")
    if len(np.unique(n)) < 3 or len(np.unique(d)) < 3 or len(set(zip(n, d, strict=True))) < 6:
        raise FitError(
            f"L(N, D) needs three model sizes, three token counts and six cells; there are "
            f"{len(np.unique(n))}, {len(np.unique(d))} and {len(set(zip(n, d, strict=True)))}"
        )
    middle = n.mean(), d.mean()
    data = (n - middle[0], d - middle[1], y)
    starts = [_centred(start, *middle)] if start else _starts(*data)
    fits = [minimize(surface_objective, x, data, "L-BFGS-B", jac=True, bounds=BOUNDS) for x in starts]
    e, a, b, alpha, beta = min(fits, key=lambda fit: fit.fun).x
    A, B = math.exp(a + alpha * middle[0]), math.exp(b + beta * middle[1])
    law = Surface(math.exp(e), A, B, float(alpha), float(beta))
    residual = float(np.abs(y - np.log(law.loss(np.exp(n), np.exp(d)))).max())
    return Surface(law.E, law.A, law.B, law.alpha, law.beta, residual)


def _centred(law: Surface, n: float, d: float) -> np.ndarray:
    a, b = math.log(law.A) - law.alpha * n, math.log(law.B) - law.beta * d
    return np.array([math.log(max(law.E, 1e-20)), a, b, law.alpha, law.beta])


def _starts(n: np.ndarray, d: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    weight, tried = np.exp(-y), []
    for alpha in ALONG:
        for beta in ALONG:
            design = np.stack([np.ones_like(n), np.exp(-alpha * n), np.exp(-beta * d)], 1)
            solution, error = nnls(design * weight[:, None], np.ones_like(n))
            tried.append((error, np.array([*np.log(np.maximum(solution, 1e-8)), alpha, beta])))
    return [x for _, x in sorted(tried, key=lambda t: t[0])[:STARTS]]


def surface_objective(x: np.ndarray, n: np.ndarray, d: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Huber loss in units of delta^2, and its gradient in (e, a, b, alpha, beta)."""
    e, a, b, alpha, beta = x
    terms_3R = np.stack([np.full_like(n, e), a - alpha * n, b - beta * d])
    top = terms_3R.max(0)
    predicted = top + np.log(np.exp(terms_3R - top).sum(0))
    residual = (predicted - y) / HUBER_DELTA
    size = np.abs(residual)
    value = np.where(size <= 1, 0.5 * residual**2, size - 0.5).sum()
    pull = np.clip(residual, -1, 1) / HUBER_DELTA
    share_3R = np.exp(terms_3R - predicted)
    slopes = (pull * share_3R).sum(1)
    return float(value), np.array([*slopes, -(pull * share_3R[1] * n).sum(), -(pull * share_3R[2] * d).sum()])


def fit_surfaces(parameters, tokens, loss_NR) -> tuple[Surface, list[Surface]]:
    """(the law, the law of every replicate), of losses whose first row is measured and whose others have noise added. As in
    `curves`, a replicate is the law with that noise and the lack of fit, fitted again from the measured law."""
    n, d = np.asarray(parameters, dtype=float), np.asarray(tokens, dtype=float)
    law = fit_surface(n, d, loss_NR[0])
    exact_R, noise_NR = law.loss(n, d), loss_NR[1:] - loss_NR[0]
    by_noise = [_squares(fit_surface(n, d, row, start=law), n, d, row) for row in (exact_R + noise_NR)[:FEW]]
    freedom = len(exact_R) - len(BOUNDS)
    squares = _squares(law, n, d, loss_NR[0])
    lack_N = lack_of_fit(squares, float(np.median(by_noise)), freedom, len(noise_NR))
    return law, [fit_surface(n, d, row, start=law) for row in simulated(exact_R, noise_NR, lack_N)]


def _squares(law: Surface, parameters: np.ndarray, tokens: np.ndarray, losses: np.ndarray) -> float:
    return float(((losses / law.loss(parameters, tokens) - 1) ** 2).sum())
