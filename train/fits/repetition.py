"""Unique tokens and passes over them: what repeating is worth, and when it does harm.

Muennighoff et al. (2023): D tokens of which U are unique count as U + U R* (1 - exp(-R / R*)), R = D / U - 1 being the
repetitions.

That law only ever falls. Where a model can learn its corpus by heart, loss rises again with repetition, so here is
a second law with an additive penalty c R / U: over-fitting grows with the passes and shrinks with the unique tokens. A
penalty always fits better, so it must explain more than it would if there were none: more than in 95 % of the
replicates of the law without one. As in `curves`, a replicate is the law with the noise of seeds and documents and the
lack of fit, fitted again.

For every b and R*, E, B and c are non-negative least squares on relative residuals. The best points of a grid of both
are polished on finer and finer grids about them.

Shapes: N replicate, R cell, P point of a grid, K column.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from train.fits.laws import FitError
from train.fits.noise import lack_of_fit, simulated

EXPONENTS = (0.03, 1.0, 32)  # from, to, how many
HALF_LIVES = (0.25, 64.0, 29)  # of R*: repetitions after which a pass adds 1/e of what the first did
STARTS, AROUND, ROUNDS = 6, 3, 9  # polished points, steps to either side of them, halvings of the step
PARAMETERS = 5  # E, B, b, R* and c
REPLICATES = 200  # where nothing is known of the noise
ROUNDING = 1e-10  # of sums of squared relative residuals
SURE = 0.95  # share of replicates without a penalty that one must beat


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
    at_bound: bool = False  # R* at an end of its grid: these passes do not determine it
    chance: float | None = None  # how often chance alone would make a penalty seem as useful

    def loss(self, unique, tokens):
        unique, tokens = np.asarray(unique, dtype=float), np.asarray(tokens, dtype=float)
        repetitions = np.maximum(tokens / unique - 1, 0)
        effective = _effective(unique, repetitions, self.star)
        return self.E + self.B * effective**-self.b + self.c * repetitions / unique

    def best_tokens(self, unique: float, most: float) -> float:
        """Tokens up to `most` at which the loss is least: beyond it another pass does harm."""
        tokens = np.geomspace(unique, max(most, unique * 1.001), 400)
        return float(tokens[int(np.argmin(self.loss(unique, tokens)))])


def fit_repetition(unique, tokens, loss_NR) -> tuple[RepetitionLaw, list[RepetitionLaw]]:
    """(the law, the law of every replicate), of losses whose first row is measured and whose others have noise added.

    One row alone says nothing of noise; then what is left of the law stands for it. Raises FitError where there are
    fewer than three numbers of passes or five cells.
    """
    unique, tokens = np.asarray(unique, dtype=float), np.asarray(tokens, dtype=float)
    loss_NR = np.atleast_2d(np.asarray(loss_NR, dtype=float))
    passes = np.round(tokens / unique, 2)
    cells = len(set(zip(unique, passes, strict=True)))
    if len(np.unique(passes)) < 3 or cells < 5:
        raise FitError(
            f"a law of repetition needs three numbers of passes and five cells; there are "
            f"{len(np.unique(passes))} and {cells}"
        )
    known = len(loss_NR) > 1
    noise_NR = loss_NR[1:] - loss_NR[0] if known else np.zeros((REPLICATES, len(unique)))
    data = _Data(unique, np.maximum(tokens / unique - 1, 0), loss_NR[0])
    forms = [data.fit(loss_NR[:1], penalty, STARTS) for penalty in (False, True)]
    (plain, squares), (harmful, squares_with) = [(laws[0], squares_N[0]) for laws, squares_N in forms]
    lack_N = _lack(data, harmful, squares_with, noise_NR)
    harmless_NR = simulated(plain.loss(unique, tokens), noise_NR, lack_N)
    gain_N = data.fit(harmless_NR, False)[1] - data.fit(harmless_NR, True)[1]
    chance = float((gain_N + ROUNDING >= squares - squares_with).mean())
    judged = known or len(unique) > PARAMETERS  # a penalty goes through five cells, whatever they are
    beats = judged and harmful.c > 0 and chance < 1 - SURE
    law = replace(harmful if beats else plain, chance=chance if judged else None)
    simulated_NR = simulated(law.loss(unique, tokens), noise_NR, lack_N)
    return law, data.fit(simulated_NR, law.penalty)[0]


def _lack(data: _Data, law: RepetitionLaw, squares: float, noise_NR: np.ndarray) -> np.ndarray:
    exact_R = law.loss(data.unique, data.unique * (1 + data.repetitions))
    by_noise = float(np.median(data.fit(exact_R + noise_NR, True)[1])) if noise_NR.any() else 0.0
    return lack_of_fit(squares, by_noise, len(data.unique) - PARAMETERS, len(noise_NR))


@dataclass(frozen=True)
class _Data:
    """The cells, and the measured losses that residuals are relative to."""

    unique: np.ndarray
    repetitions: np.ndarray
    measured: np.ndarray

    def fit(
        self, loss_NR: np.ndarray, penalty: bool, starts: int = 1
    ) -> tuple[list[RepetitionLaw], np.ndarray]:
        """(the law of every row, the sums of its squared relative residuals)."""
        y_NR = loss_NR / self.measured
        b_P, star_P = (x.ravel() for x in np.meshgrid(np.geomspace(*EXPONENTS), np.geomspace(*HALF_LIVES)))
        _, squares_NP = self._solve(y_NR, b_P[None], star_P[None], penalty)
        best_NP = np.argsort(squares_NP, 1)[:, :starts]
        y_NR, b_N, star_N = np.repeat(y_NR, starts, 0), b_P[best_NP].ravel(), star_P[best_NP].ravel()
        steps = [math.log(to / of) / (count - 1) for of, to, count in (EXPONENTS, HALF_LIVES)]
        grid = np.arange(-AROUND, AROUND + 1)
        down_P, across_P = (x.ravel() for x in np.meshgrid(grid, grid))
        rows = np.arange(len(y_NR))
        for halving in range(1, ROUNDS + 1):
            b_NP = b_N[:, None] * np.exp(down_P * steps[0] / 2**halving)
            star_NP = star_N[:, None] * np.exp(across_P * steps[1] / 2**halving)
            b_NP, star_NP = np.clip(b_NP, *EXPONENTS[:2]), np.clip(star_NP, *HALF_LIVES[:2])
            solution_NPK, squares_NP = self._solve(y_NR, b_NP, star_NP, penalty)
            best = squares_NP.argmin(1)
            b_N, star_N, squares_N = b_NP[rows, best], star_NP[rows, best], squares_NP[rows, best]
            solution_NK = solution_NPK[rows, best]
        least = rows.reshape(-1, starts)[
            np.arange(len(rows) // starts), squares_N.reshape(-1, starts).argmin(1)
        ]
        laws = [self._law(solution_NK[n], float(b_N[n]), float(star_N[n]), penalty) for n in least]
        return laws, squares_N[least]

    @property
    def _scale(self) -> float:
        return float(np.exp(np.log(self.unique).mean()))

    def _law(self, solution_K: np.ndarray, b: float, star: float, penalty: bool) -> RepetitionLaw:
        c = float(solution_K[2] * self._scale) if penalty else 0.0
        edge = not HALF_LIVES[0] * 1.01 < star < HALF_LIVES[1] / 1.01
        return RepetitionLaw(
            float(solution_K[0]), float(solution_K[1] * self._scale**b), b, star, c, penalty, edge
        )

    def _solve(
        self, y_NR: np.ndarray, b_NP: np.ndarray, star_NP: np.ndarray, penalty: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """(non-negative E, B and c, sums of squares) at every point: the best of the sets of columns that need no bound."""
        effective_NPR = _effective(self.unique, self.repetitions, star_NP[..., None]) / self._scale
        columns = [np.ones_like(effective_NPR), effective_NPR ** -b_NP[..., None]]
        if penalty:
            columns.append(np.broadcast_to(self.repetitions * self._scale / self.unique, effective_NPR.shape))
        design_NPRK = np.stack(columns, -1) / self.measured[:, None]
        gram_NPKK = np.swapaxes(design_NPRK, -1, -2) @ design_NPRK
        right_NPK = (np.swapaxes(design_NPRK, -1, -2) @ y_NR[:, None, :, None])[..., 0]
        explained_NP = np.full(right_NPK.shape[:2], -np.inf)
        solution_NPK = np.zeros_like(right_NPK)
        for size in range(1, len(columns) + 1):
            for active in map(list, combinations(range(len(columns)), size)):
                inverse = np.linalg.inv(gram_NPKK[..., active, :][..., active] + 1e-13 * np.eye(size))
                part_NPK = (inverse @ right_NPK[..., active, None])[..., 0]
                gain_NP = np.where(
                    (part_NPK >= 0).all(-1), (part_NPK * right_NPK[..., active]).sum(-1), -np.inf
                )
                better_NP = gain_NP > explained_NP
                explained_NP = np.where(better_NP, gain_NP, explained_NP)
                whole_NPK = np.zeros_like(solution_NPK)
                whole_NPK[..., active] = part_NPK
                solution_NPK = np.where(better_NP[..., None], whole_NPK, solution_NPK)
        return solution_NPK, (y_NR**2).sum(1)[:, None] - explained_NP
