"""Spherical k-means (Dhillon and Modha 2001) of vectors. Sums are made in one order, by loops that are compiled here: other
libraries order them as the processor likes best, and the same vectors would give other bits elsewhere.
"""

from __future__ import annotations

import numpy as np

from filters.text.compiled import kernel

ROUNDS = 50  # at most


def unit(rows_ND: np.ndarray) -> np.ndarray:
    """Of length 1, where they have one."""
    return rows_ND / np.maximum(np.sqrt((rows_ND * rows_ND).sum(1, keepdims=True)), 1e-9)


@kernel
def _compare(rows_ND, centres_DT, nearest, cosine):
    """By itself for each row, so that its bits do not depend on its neighbours."""
    dots = np.empty(centres_DT.shape[1], np.float32)
    for i in range(len(rows_ND)):
        squares = np.float32(0)
        dots[:] = 0
        for d in range(len(centres_DT)):
            value = rows_ND[i, d]
            squares += value * value
            for t in range(len(dots)):
                dots[t] += value * centres_DT[d, t]
        if squares > 0:
            nearest[i] = np.argmax(dots)
            cosine[i] = min(max(dots[nearest[i]] / np.sqrt(squares), np.float32(-1)), np.float32(1))


def nearest_of(rows_ND: np.ndarray, centres_DT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int64 [n] the nearest centre, -1 for a row of zeros; float32 [n] its cosine). Both float32; centres of length 1."""
    nearest, cosine = np.full(len(rows_ND), np.int64(-1)), np.zeros(len(rows_ND), np.float32)
    _compare(rows_ND, np.ascontiguousarray(centres_DT), nearest, cosine)
    return nearest, cosine


def clustered(rows_ND: np.ndarray, clusters: int, chance: np.random.Generator) -> np.ndarray:
    """float32 [D, T]: at most so many centres of rows of length 1, the first ones drawn far from each other (k-means++)."""
    centres = rows_ND[[int(chance.integers(len(rows_ND)))]]
    far = 1 - nearest_of(rows_ND, centres.T)[1]
    while len(centres) < clusters and (far := np.maximum(far, 0)).sum() > 1e-6 * len(far):
        chosen = rows_ND[[chance.choice(len(far), p=far.astype(float) / far.astype(float).sum())]]
        centres, far = (
            np.concatenate([centres, chosen]),
            np.minimum(far, 1 - nearest_of(rows_ND, chosen.T)[1]),
        )
    before = None
    for _ in range(ROUNDS):
        nearest, _ = nearest_of(rows_ND, centres.T)
        if before is not None and np.array_equal(nearest, before):
            break
        before = nearest
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, rows_ND)
        centres = np.where((sums * sums).sum(1, keepdims=True) > 1e-12, unit(sums), centres)
    return np.ascontiguousarray(centres.T)
