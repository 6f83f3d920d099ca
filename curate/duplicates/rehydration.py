"""Rehydration: a level that drops duplicates may write what is left as often as the size of its cluster says.

What many pages repeat is often better than average, and what thousands repeat is worse; so FineWeb-2 (Penedo et al.
2025, arXiv:2506.20920) keeps one document a cluster and weighs it by the cluster's size: `weights` maps the least size
to a weight, `{ 1 = 1, 2 = 2, 3 = 3, 5 = 5, 100 = 8, 1000 = 1 }` there. The copies of a document stand at independent
places of the level's fixed random order, so sizes nest and every size holds its share of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from xxhash import xxh3_64_intdigest

from curate.spec.manifest import Weights

if TYPE_CHECKING:
    from curate.sources.pool import Pool


def copies_of(weights: Weights, cluster_size: np.ndarray) -> np.ndarray:
    """int64 [documents]: how often each stands in the level."""
    least, copies = np.array(weights).T
    return copies[np.searchsorted(least, np.maximum(cluster_size, 1), "right") - 1]


def in_order(pool: Pool, kept: np.ndarray, copies: np.ndarray | None = None) -> np.ndarray:
    """Pool rows of the kept documents (bool [documents]) in the level's order, each as often as `copies` says."""
    rows = pool.order[kept[pool.order]]
    if copies is None:
        return rows
    each = np.repeat(np.arange(len(rows)), copies[rows])
    number = np.arange(len(each)) - np.searchsorted(each, each)
    ids = pool.ids.take(rows[each]).to_pylist()
    key = np.array(list(map(_place, ids, number.tolist())), np.uint64)
    return rows[each[np.lexsort((number, each, key))]]


def _place(id: str, copy: int) -> int:
    """Where a copy stands, of 2^64 places: the first by the id itself, which is random hexadecimal, others by its hash."""
    return int(id[:16], 16) if copy == 0 else xxh3_64_intdigest(id.encode(), copy)
