"""Which documents say much the same in other words: the most similar vector among those of earlier documents.

As SemDeDup (Abbas et al. 2023, arXiv:2303.09540) does it: vectors are clustered, and within a cluster each document is
compared with all that are preferred to it. A bound on the similarity then decides how much alike is too much. Whether the
document that it resembles stays itself is not asked.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from filters.columns import label, real
from filters.family import Family, of_the_pool
from filters.models.clusters import clustered, nearest_of
from filters.text.compiled import kernel

CLUSTERS, SAMPLE = 64, 16_384  # at a time, and rows that their centres are learned from
MOST = 4096  # rows of a cluster, beyond which it is clustered again
BLOCK = 256  # earlier rows that are compared together

SIGNALS = (
    label("semantic_duplicate_of", "of", "the id of the document most like it in meaning, of those preferred to it"),
    real("semantic_similarity", "cosine", "cosine", low=-1.0, high=1.0,
         says="cosine of the vectors of both (as in SemDeDup, Abbas et al. 2023); 0 where there is none"),
)  # fmt: skip


@kernel
def _compare_earlier(rows_ND, earlier, cosine):
    n, size = rows_ND.shape
    block_DT, dots = np.empty((size, BLOCK), np.float32), np.empty(BLOCK, np.float32)
    for first in range(0, n, BLOCK):
        for t in range(first, min(first + BLOCK, n)):
            for d in range(size):
                block_DT[d, t - first] = rows_ND[t, d]
        for i in range(first + 1, n):
            dots[:] = 0
            for d in range(size):
                value = rows_ND[i, d]
                for t in range(BLOCK):
                    dots[t] += value * block_DT[d, t]
            for t in range(min(i - first, BLOCK)):
                if earlier[i] < 0 or dots[t] > cosine[i]:
                    earlier[i], cosine[i] = first + t, dots[t]


def centres_of(sample_ND: np.ndarray, documents: int) -> np.ndarray:
    """float32 [D, T]: centres of at most CLUSTERS clusters, of one where so few documents can all be compared. Learned from
    rows of length 1, float32, at least one."""
    return clustered(sample_ND, CLUSTERS if documents > MOST else 1, np.random.default_rng(0))


def most_alike(rows_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int64 [n] the most similar earlier row, -1 of none; float32 [n] their cosine, 0 of none): float32 rows of length 1,
    the preferred ones first. More than MOST are clustered first, and only those of one cluster are compared."""
    earlier, cosine = np.full(len(rows_ND), np.int64(-1)), np.zeros(len(rows_ND), np.float32)
    for rows in _clusters(np.arange(len(rows_ND)), rows_ND):
        own, alike = np.full(len(rows), np.int64(-1)), np.zeros(len(rows), np.float32)
        _compare_earlier(rows_ND[rows], own, alike)
        earlier[rows], cosine[rows] = np.where(own < 0, -1, rows[own]), np.clip(alike, -1, 1)
    return earlier, cosine


def _clusters(rows: np.ndarray, rows_ND: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of each, ascending."""
    if len(rows) <= MOST:
        yield rows
        return
    chance = np.random.default_rng(0)
    sample = rows[np.sort(chance.permutation(len(rows))[:SAMPLE])]
    nearest, _ = nearest_of(rows_ND[rows], clustered(rows_ND[sample], CLUSTERS, chance))
    parts = [rows[nearest == cluster] for cluster in np.unique(nearest)]
    if len(parts) == 1:  # what no centre tells apart is cut as it comes
        parts = np.array_split(rows, -(-len(rows) // MOST))
    for part in parts:
        yield from _clusters(part, rows_ND)


FAMILY = Family("semantic_duplicates", 1, of_the_pool, SIGNALS)
