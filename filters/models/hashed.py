"""Words and pairs of words by their hashes: how often each bucket stands in a document, and sums of weights over them.

The n-grams are the lower-cased words of `text.units` and every two words in a row. A linear model over them is a table of
weights, a row a bucket; scoring looks up a row for each n-gram, and nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from filters.fasttext.vectors import add_rows
from filters.text.compiled import kernel, loop
from filters.text.normalised import normalised
from filters.text.units import character_tables, room_for, units_of, windows_of

WORDS, PAIRS = 1, 2


@loop
def _buckets_of(data, start, end, tables, room, mask, keys):
    """Fill in the bucket of every word and every two words in a row; returns how many there are."""
    words = units_of(data, start, end, tables, 0, room)
    n = windows_of(room[2], 0, words, WORDS, np.uint64(0), keys)
    n += windows_of(room[2], 0, words, PAIRS, np.uint64(0), keys[n:])
    for k in range(n):
        keys[k] &= mask
    return n


@kernel
def _sums(offsets, data, tables, weights_BK, sums_NK, ngrams_N):
    room = room_for(offsets)
    keys = np.empty(2 * len(room[2]), np.uint64)
    mask = np.uint64(len(weights_BK) - 1)
    for i in range(len(offsets) - 1):
        n = _buckets_of(data, offsets[i], offsets[i + 1], tables, room, mask, keys)
        ngrams_N[i] = n
        add_rows(weights_BK, keys, n, sums_NK[i])


def sums(texts: pa.Array | pa.ChunkedArray, weights_BK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(float32 [n, K] the sum of the weights of each document's n-grams, int64 [n] how many n-grams it has)."""
    compared = normalised(texts)
    n = len(compared.offsets) - 1
    sums_NK, ngrams_N = np.zeros((n, weights_BK.shape[1]), np.float32), np.zeros(n, np.int64)
    _sums(compared.offsets, compared.data, character_tables(), weights_BK, sums_NK, ngrams_N)
    return sums_NK, ngrams_N


@kernel
def _counted(offsets, data, tables, buckets, rows, columns, counts):
    """Fill in the different buckets of each document and how often each stands there; returns how many in all."""
    room = room_for(offsets)
    keys = np.empty(2 * len(room[2]), np.uint64)
    place = np.full(buckets, -1, np.int64)
    filled = 0
    for i in range(len(offsets) - 1):
        first = filled
        n = _buckets_of(data, offsets[i], offsets[i + 1], tables, room, np.uint64(buckets - 1), keys)
        for k in range(n):
            key = np.int64(keys[k])
            if place[key] < first:
                place[key] = filled
                columns[filled], counts[filled] = key, 0
                filled += 1
            counts[place[key]] += 1
        rows[i + 1] = filled
    return filled


def counted(texts: pa.Array | pa.ChunkedArray, buckets: int) -> Any:
    """scipy.sparse.csr_array float32 [n, buckets], a power of two: how often each bucket stands in each document."""
    from scipy.sparse import csr_array

    compared = normalised(texts)
    most = int(compared.offsets[-1] - compared.offsets[0]) + 2 * len(compared.offsets)
    rows = np.zeros(len(compared.offsets), np.int64)
    columns, counts = np.empty(most, np.int32), np.empty(most, np.float32)
    filled = _counted(compared.offsets, compared.data, character_tables(), buckets, rows, columns, counts)
    return csr_array((counts[:filled], columns[:filled], rows), (len(rows) - 1, buckets))
