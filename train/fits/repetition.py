"""Unique tokens and passes over them: what repeating is worth, and when it does harm.

Muennighoff et al. (2023): D tokens of which U are unique count as U + U R* (1 - exp(-R / R*)), R = D / U - 1 being the
repetitions.

That law only ever falls. Where a model can learn its corpus by heart, loss rises again with repetition, so here is
a second law with an additive penalty c R / U^p, p = 1: over-fitting grows with the passes and shrinks with the
unique tokens. Which of both is used is decided by predicting the cells with most passes from the others.

Shapes: R cell, N replicate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import nnls

from train.fits.laws import FitError

EXPONENT_GRID = np.geomspace(0.03, 1.0, 16)
HALF_LIVES = np.geomspace(0.25, 64.0, 13)  # R*: repetitions after which a pass adds 1/e of what the first did


def _effective(unique, repetitions, star):
    return unique + unique * star * (1 - np.exp(-repetitions / star))


@dataclass(frozen=True)
class RepetitionLaw:
    """L(U, D) of one model: E + B / U_eff^b + c R / U. `penalty` is whether c was fitted at all."""

    E: float
    B: float
    b: float
    star: float
    c: float
    penalty: bool
    held_out_error: float | None = None  # |log| error at the most passes, foretold from fewer
    other_error: float | None = None  # of the other form
    at_bound: bool = False  # R* at an end of its grid: these passes do not determine it

    def loss(self, unique, tokens):
        unique, tokens = np.asarray(unique, dtype=float), np.asarray(tokens, dtype=float)
        repetitions = np.maximum(tokens / unique - 1, 0)
        effective = _effective(unique, repetitions, self.star)
        return self.E + self.B * effective**-self.b + self.c * repetitions / unique

    def best_tokens(self, unique: float, most: float) -> float:
        """Tokens up to `most` at which the loss is least: beyond it another pass does harm."""
        tokens = np.geomspace(unique, max(most, unique * 1.001), 400)
        return float(tokens[int(np.argmin(self.loss(unique, tokens)))])


def fit_repetition(unique, tokens, losses) -> RepetitionLaw:
    """Raises FitError where there are fewer than three numbers of passes or five cells."""
    unique, tokens, losses = (np.asarray(x, dtype=float) for x in (unique, tokens, losses))
    passes = np.round(tokens / unique, 2)
    cells = len(set(zip(unique, passes, strict=True)))
    if len(np.unique(passes)) < 3 or cells < 5:
        raise FitError(
            f"a law of repetition needs three numbers of passes and five cells; there are "
            f"{len(np.unique(passes))} and {cells}"
        )
    most = passes == passes.max()
    errors = {}
    for penalty in (False, True):
        law = _fit(unique[~most], tokens[~most], losses[~most], penalty)
        predicted = law.loss(unique[most], tokens[most])
        errors[penalty] = float(np.abs(np.log(predicted / losses[most])).mean())
    chosen = errors[True] < errors[False]
    law = _fit(unique, tokens, losses, chosen)
    return replace(law, held_out_error=errors[chosen], other_error=errors[not chosen])


def _fit(unique: np.ndarray, tokens: np.ndarray, losses: np.ndarray, penalty: bool) -> RepetitionLaw:
    """Least squares on relative residuals: E, B and c by NNLS for every b and R* of the grid."""
    repetitions, best = (
        np.maximum(tokens / unique - 1, 0),
        (math.inf, EXPONENT_GRID[0], HALF_LIVES[0], np.zeros(3)),
    )
    scale = float(np.exp(np.log(unique).mean()))
    columns = [np.ones_like(unique)]
    if penalty:
        columns.append(repetitions * scale / unique)
    for star in HALF_LIVES:
        effective = _effective(unique, repetitions, star) / scale
        for b in EXPONENT_GRID:
            design = np.stack([*columns, effective**-b], 1) / losses[:, None]
            solution, error = nnls(design, np.ones_like(losses))
            if error < best[0]:
                best = (error, b, star, solution)
    _, b, star, solution = best
    c = float(solution[1] * scale) if penalty else 0.0
    edge = bool(star in (HALF_LIVES[0], HALF_LIVES[-1]))
    return RepetitionLaw(
        float(solution[0]), float(solution[-1] * scale**b), float(b), float(star), c, penalty, at_bound=edge
    )


def refit_repetition(law: RepetitionLaw, unique, tokens, losses_NR: np.ndarray) -> list[RepetitionLaw]:
    """The same form through every replicate."""
    unique, tokens = np.asarray(unique, dtype=float), np.asarray(tokens, dtype=float)
    return [_fit(unique, tokens, losses_R, law.penalty) for losses_R in losses_NR]
