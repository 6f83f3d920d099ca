"""Groups of rows that share a key, for any number of rows: one column of keys at a time, cut by prefix.

Rows that share a key in any column are connected; what is wanted are the connected components. Each column is cut by
the first bits of its keys, so that a cut fits in memory; a cut gives pairs of rows; and a union of all pairs, which
takes eight bytes a row and nothing else, gives the components. Nearly all keys stand alone: a filter of bits finds
those that may not, and only these are sorted.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import DTypeLike

from filters.text.compiled import inlined, kernel, loop

BYTES_A_KEY = (
    40  # what `pairs_of` needs for each key of a cut: key, row, their copies where suspected, filter
)


@loop
def _suspects(keys, once, twice, mask):
    """Mark places of keys in `once` when first met and in `twice` when met again."""
    for key in keys:
        slot = key & mask
        word, bit = slot >> np.uint64(6), np.uint64(1) << (slot & np.uint64(63))
        if once[word] & bit:
            twice[word] |= bit
        else:
            once[word] |= bit


@loop
def _suspected(keys, rows, twice, mask, chosen_keys, chosen_rows):
    n = 0
    for i in range(len(keys)):
        slot = keys[i] & mask
        chosen_keys[n], chosen_rows[n] = keys[i], rows[i]
        n += (twice[slot >> np.uint64(6)] >> (slot & np.uint64(63))) & np.uint64(1) != 0
    return n


def pairs_of(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """int64 [k, 2]: every row with the lowest row that has the same key. `keys` uint64 [n], `rows` int64 [n]."""
    if len(keys) < 2:
        return np.empty((0, 2), np.int64)
    words = 1 << max(0, (8 * len(keys) // 64).bit_length())
    once, twice = np.zeros(words, np.uint64), np.zeros(words, np.uint64)
    mask = np.uint64(64 * words - 1)
    _suspects(keys, once, twice, mask)
    chosen = np.empty(len(keys) + 1, np.uint64), np.empty(len(keys) + 1, np.int64)
    n = _suspected(keys, rows, twice, mask, *chosen)
    order = np.lexsort((chosen[1][:n], chosen[0][:n]))
    keys, rows = chosen[0][order], chosen[1][order]
    same = keys[1:] == keys[:-1]
    begins = np.r_[True, ~same]
    lowest = rows[np.maximum.accumulate(np.where(begins, np.arange(n), 0))] if n else rows
    return np.stack([lowest[1:][same], rows[1:][same]], axis=1)


@inlined
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@loop
def _join(parent, pairs):
    for k in range(len(pairs)):
        a, b = _root(parent, pairs[k, 0]), _root(parent, pairs[k, 1])
        parent[max(a, b)] = min(a, b)


@loop
def _label(parent):
    for i in range(len(parent)):
        parent[i] = _root(parent, i)


def components(n: int, pairs: Iterable[np.ndarray], kind: DTypeLike = np.int64) -> np.ndarray:
    """`kind` [n]: the connected component of each row, named after its lowest row."""
    parent = np.arange(n, dtype=kind)
    for some in pairs:
        _join(parent, some)
    _label(parent)
    return parent


def cuts_of(n: int, memory: int) -> int:
    """Into how many cuts, a power of two, a column of n keys goes so that one fits into so many bytes."""
    cuts = 1
    while n * BYTES_A_KEY > cuts * memory and cuts < 1 << 16:
        cuts *= 2
    return cuts


@kernel
def _chosen(keys, first_row, shift, cut, chosen_keys, chosen_rows):
    n = 0
    for i in range(len(keys)):
        if keys[i] >> shift == cut:
            chosen_keys[n], chosen_rows[n] = keys[i], first_row + i
            n += 1
    return n


def cut_of(columns: Iterable[np.ndarray], cut: int, cuts: int) -> tuple[np.ndarray, np.ndarray]:
    """(keys, rows) of those keys of a column, given piece by piece, that belong to one of its cuts."""
    keys, rows, first = [], [], 0
    bits = cuts.bit_length() - 1
    for piece in columns:
        if bits == 0:
            keys.append(piece)
            rows.append(np.arange(first, first + len(piece)))
        else:
            room = np.empty(len(piece), np.uint64), np.empty(len(piece), np.int64)
            n = _chosen(piece, first, np.uint64(64 - bits), np.uint64(cut), *room)
            keys.append(room[0][:n].copy())
            rows.append(room[1][:n].copy())
        first += len(piece)
    if not keys:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    return np.concatenate(keys), np.concatenate(rows)
