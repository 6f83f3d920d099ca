"""What both kinds of index do with candidates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

Signatures = Callable[[np.ndarray], pa.Array]  # of these rows of what is added
VERSION = 2  # of what an index holds: raise it when that changes
MOST_OF_A_BUCKET = 32  # documents of one bucket that a document is compared with, the first to come


def most_similar(
    n: int, rows: np.ndarray, others: np.ndarray, estimate: np.ndarray, target: float
) -> tuple[np.ndarray, np.ndarray]:
    """(int64 [n] which other is most similar to each row, of equals the first to come, -1 where none reaches the
    target; float64 [n] how similar, or 0), of pairs (rows[k], others[k])."""
    best, found = np.full(n, -1, np.int64), np.zeros(n)
    order = np.lexsort((-others, estimate))  # what is written last stays
    order = order[estimate[order] >= target]
    best[rows[order]], found[rows[order]] = others[order], estimate[order]
    return best, found
