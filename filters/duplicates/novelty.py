"""Novelty: which share of a duplicate's shingles is lost when it goes.

Documents of one cluster are met in a stated order, best first. The novelty of each is the share of its distinct
shingles (see `shingles`) that stand in no earlier document of the cluster *that stays*. The first stays, and its
novelty is 1; so does every later one whose novelty is at least a bound. Without a bound none does, and the novelty is
what the first, which stands for all, does not say. Shingles that stand in other clusters count as lost: what is
counted is the most that can be lost.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

from filters.arrow import take, utf8
from filters.duplicates.leaders import AT_ONCE, batches
from filters.duplicates.shingles import _slot_of, clear, insert, shingle_sets, slots_for, table_for
from filters.text.compiled import kernel


@kernel
def _novelty(sets, values, edges, least, novelty):
    """Cluster k has the rows from edges[k] on. The table holds the shingles of what stays of the present one."""
    table = table_for(sets[edges])
    for k in range(len(edges) - 1):
        last = slots_for(sets[edges[k + 1]] - sets[edges[k]])
        clear(table, last)
        for i in range(edges[k], edges[k + 1]):
            own = values[sets[i] : sets[i + 1]]
            new = 0
            for shingle in own:
                new += _slot_of(shingle, last, table)[1]
            novelty[i] = new / len(own)
            if i == edges[k] or novelty[i] >= least:
                for shingle in own:
                    insert(shingle, last, table)


def novelty(
    texts: pa.Array | list[pa.Array],
    cluster: np.ndarray,
    least: float = math.inf,
    ngram: int = 5,
    unit: str = "words",
    places: np.ndarray | None = None,
) -> np.ndarray:
    """float64 [n]: the share of each document's shingles that stand in no earlier one of its cluster that stays.

    Rows are in order of preference, best first; `cluster` int64 [n] names the cluster of each. Later rows stay where
    their novelty is at least `least`. Texts may be pieces, as in `leaders`. Shingles of `AT_ONCE` bytes of text, or of
    one cluster, are held at once, 8 bytes each and a table of 16 to 32.
    """
    pieces = [texts] if isinstance(texts, pa.Array) else texts
    places = np.arange(len(cluster)) if places is None else places
    sizes = np.concatenate([np.empty(0, np.int64), *(np.diff(utf8(piece)[0]) for piece in pieces)])[places]
    found = np.empty(len(cluster))
    for rows in batches(cluster, sizes, AT_ONCE):
        rows = rows[np.argsort(cluster[rows], kind="stable")]
        edges = np.r_[np.flatnonzero(np.diff(cluster[rows], prepend=-1)), len(rows)]
        own = np.empty(len(rows))
        _novelty(*shingle_sets(take(pieces, places[rows]), ngram, unit), edges, least, own)
        found[rows] = own
    return found
