"""Loss as a function of the shares of sources in a corpus, from a few runs, and the shares that minimise it.

Two forms, as in the regressions of RegMix (Liu et al. 2024) and the laws of data mixing (Ye et al. 2024):

- *linear*: L = c + sum of t_s w_s
- *log*: L = c - sum of t_s ln(w_s + 0.02), t_s >= 0: every source has diminishing returns, so the best is inside.

Which is used is decided by leaving one mixture out in turn; and where neither foretells the left-out mixture better
than the mean of the others does, nothing is recommended. Ridge of 1e-3 keeps few runs of many sources apart.

Shapes: M mixture, S source, N replicate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from train.fits.laws import FitError

FLOOR = 0.02  # what a source is worth that the corpus has none of: other sources teach a little of it
RIDGE = 1e-3


@dataclass(frozen=True)
class MixtureLaw:
    form: str  # linear | log
    c: float
    t_S: np.ndarray
    error: float  # root mean square of leave-one-out errors, in the unit of the loss
    error_of_mean: float

    def loss(self, shares: np.ndarray) -> np.ndarray:
        """Of shares [..., S] that sum to 1."""
        return self.c + features(self.form, np.asarray(shares)) @ self.t_S

    @property
    def foretells(self) -> bool:
        return self.error < self.error_of_mean


def features(form: str, shares: np.ndarray) -> np.ndarray:
    return shares if form == "linear" else -np.log(shares + FLOOR)


def fit_mixture(shares_MS: np.ndarray, loss_M: np.ndarray) -> MixtureLaw:
    """The better of both forms. Raises FitError for fewer than four mixtures, or fewer than sources plus two."""
    mixtures, sources = shares_MS.shape
    if mixtures < max(4, sources + 2):
        raise FitError(
            f"{mixtures} mixtures of {sources} sources: a regression needs at least {max(4, sources + 2)}"
        )
    mean_error = _rms([loss_M[m] - np.delete(loss_M, m).mean() for m in range(mixtures)])
    laws = []
    for form in ("log", "linear"):
        left = []
        for m in range(mixtures):
            c, t_S = _regress(form, np.delete(shares_MS, m, 0), np.delete(loss_M, m))
            left.append(loss_M[m] - c - features(form, shares_MS[m]) @ t_S)
        laws.append(MixtureLaw(form, *_regress(form, shares_MS, loss_M), _rms(left), mean_error))
    return min(laws, key=lambda law: law.error)


def _rms(errors: list) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


def _regress(form: str, shares_MS: np.ndarray, loss_M: np.ndarray) -> tuple[float, np.ndarray]:
    x = features(form, shares_MS)
    centre, mean = x.mean(0), loss_M.mean()
    design = np.vstack([x - centre, np.eye(x.shape[1]) * np.sqrt(RIDGE * len(x))])
    target = np.concatenate([loss_M - mean, np.zeros(x.shape[1])])
    t_S = nnls(design, target)[0] if form == "log" else np.linalg.lstsq(design, target, rcond=None)[0]
    return float(mean - centre @ t_S), t_S


def best_shares(law: MixtureLaw, most_S: np.ndarray) -> np.ndarray:
    """Shares of least loss, each at most `most_S` (what a source holds without being repeated).

    Of the linear form the cheapest sources are filled up in turn. Of the log form all sources that are neither empty
    nor full have the same slope t / (w + FLOOR), which is found by bisection.
    """
    most_S = np.minimum(most_S, 1.0)
    if most_S.sum() < 1:
        raise FitError("all sources together hold less than this size; ask for fewer tokens")
    if law.form == "linear" or not (law.t_S > 0).any():
        return _filled(
            np.zeros_like(most_S), law.t_S if law.form == "linear" else np.zeros_like(most_S), most_S
        )
    low, high = -40.0, 40.0  # log of the slope
    for _ in range(60):
        middle = (low + high) / 2
        total = np.clip(law.t_S * np.exp(-middle) - FLOOR, 0, most_S).sum()
        low, high = (middle, high) if total > 1 else (low, middle)
    shares = np.clip(law.t_S * np.exp(-high) - FLOOR, 0, most_S)
    return _filled(shares, -law.t_S, most_S)  # what useful sources cannot fill goes to the others


def _filled(shares: np.ndarray, cost_S: np.ndarray, most_S: np.ndarray) -> np.ndarray:
    """Up to a sum of 1, sources of equal cost alike."""
    shares = shares.copy()
    for cost in np.unique(cost_S):
        here = cost_S == cost
        room = np.where(here, most_S - shares, 0.0)
        if room.sum() > 0:
            shares += room * min(1.0, max(0.0, 1 - shares.sum()) / room.sum())
    return shares


def refit_mixtures(
    law: MixtureLaw, shares_MS: np.ndarray, loss_NM: np.ndarray, rng_seed: int = 0
) -> list[MixtureLaw]:
    """The same form through every replicate, row 0 as measured. Where mixtures that are left out are foretold worse than
    seeds and documents explain, the others are drawn as far about the law as that error says."""
    error_NM = loss_NM[1:] - loss_NM[0]
    spread = (error_NM - error_NM.mean(1, keepdims=True)).std() if len(error_NM) else 0.0
    lack = np.sqrt(max(0.0, law.error**2 - spread**2))
    drawn_NM = loss_NM.copy()
    drawn_NM[1:] += np.random.default_rng(rng_seed).normal(0, lack, error_NM.shape)
    return [
        MixtureLaw(law.form, *_regress(law.form, shares_MS, loss_M), law.error, law.error_of_mean)
        for loss_M in drawn_NM
    ]
