"""Rehydration: a level that drops duplicates may write what is left as often as the size of its cluster says.

What many pages repeat is often better than average, and what thousands repeat is worse; so FineWeb-2 (Penedo et al.
2025, arXiv:2506.20920) keeps one document a cluster and weighs it by the cluster's size: `weights` maps the least size
to a weight, `{ 1 = 1, 2 = 2, 3 = 3, 5 = 5, 100 = 8, 1000 = 1 }` there. The copies of a document stand at independent
places of the level's fixed random order, so sizes nest and every size holds its share of them.
"""

from __future__ import annotations

import numpy as np
from xxhash import xxh3_64_intdigest

from curate.sources.pool import Pool, remixed
from curate.spec.manifest import Weights


def copies_of(weights: Weights, cluster_size: np.ndarray) -> np.ndarray:
    """int64 [documents]: how often each stands in the level."""
    least, copies = np.array(weights).T
    return copies[np.searchsorted(least, np.maximum(cluster_size, 1), "right") - 1]


def in_order(pool: Pool, kept: np.ndarray, copies: np.ndarray | None = None) -> np.ndarray:
    """Pool rows of the kept documents (bool [documents]) in the level's order, each as often as `copies` says."""
    rows = pool.ordered(kept)
    if copies is None:
        return rows
    each = np.repeat(np.arange(len(rows)), copies[rows])
    number = np.arange(len(each)) - np.searchsorted(each, each)
    (ids,) = pool.ids_of([rows[each]])
    copies_key = [xxh3_64_intdigest(id.encode(), copy) for id, copy in zip(ids, number.tolist(), strict=True)]
    key = np.where(number == 0, pool.places[rows[each]], remixed(np.array(copies_key, np.uint64), pool.draw))
    return rows[each[np.lexsort((number, each, key))]]
