"""Shingles: the set of n-grams of a document, for comparing documents by what they share.

A shingle is the 64-bit hash of n consecutive units (see `filters.text.units`) of the text in NFC, without ignorable code
points (see `filters.text.normalised`). A document of fewer than n units has
one shingle, all of them; one without units has one, its bytes. So every document has at least one shingle, and
nothing short is ever skipped.

Two different n-grams share a hash with probability 2^-64; sets are called equal when their hashes are.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from filters.text import ngrams
from filters.text.compiled import inlined, kernel, loop
from filters.text.normalised import normalised
from filters.text.pages import longest_document
from filters.text.units import (
    CHARACTERS,
    UNITS,
    WORD_FACTOR,
    _hash_bytes,
    character_tables,
    mix,
    room_for,
    units_of,
    windows_of,
)

FREE = np.uint64(0)  # marks an empty slot of a table of shingles


@loop
def shingles_of(data, start, end, tables, unit, ngram, room, shingles):
    """Fill in the shingles of data[start:end] in the order of the text, repeats included; returns their number."""
    units = units_of(data, start, end, tables, unit, room)
    if units == 0:
        h = np.uint64(0)
        if end > start:
            h, _ = _hash_bytes(room[0], 0, end - start, np.uint64(0))
        shingles[0] = mix(np.uint64(h + WORD_FACTOR))
        return 1
    return windows_of(room[2], 0, units, min(ngram, units), np.uint64(0), shingles)


@inlined
def slots_for(n):
    """The size of a table of slots for n keys, less one: a power of two, at least half of it free."""
    return np.uint64(ngrams.slots_for(n) - 1)


@inlined
def clear(table, last):
    for slot in range(np.int64(last) + 1):
        table[slot] = FREE


@inlined
def insert(key, last, table):
    """Put a key into a table that `clear` has emptied; False where it was in already."""
    slot, is_new = _slot_of(key, last, table)
    if is_new:
        table[slot] = _not_free(key)
    return is_new


@inlined
def _not_free(key):
    """No key is FREE: that is 1."""
    return np.uint64(key + np.uint64(key == FREE))


@inlined
def _slot_of(key, last, table):
    """(the slot of a key, or the one where it would be put; whether that is free)."""
    key = _not_free(key)
    slot = key & last
    while table[slot] != FREE and table[slot] != key:
        slot = (slot + np.uint64(1)) & last
    return slot, table[slot] == FREE


@kernel
def _sets(offsets, data, tables, unit, ngram, set_offsets, values):
    room = room_for(offsets)
    most = len(room[2])
    shingles = np.empty(most, np.uint64)
    table = np.empty(slots_for(most) + np.uint64(1), np.uint64)
    filled = np.uint64(0)
    for i in range(len(offsets) - 1):
        n = shingles_of(data, offsets[i], offsets[i + 1], tables, unit, ngram, room, shingles)
        last = slots_for(n)
        clear(table, last)
        for k in range(n):
            values[filled] = shingles[k]
            filled += np.uint64(insert(shingles[k], last, table))
        set_offsets[i + 1] = filled


def shingle_sets(
    texts: pa.Array | pa.ChunkedArray, ngram: int = 5, unit: str = "words"
) -> tuple[np.ndarray, np.ndarray]:
    """(offsets int64 [n + 1], shingles uint64): document i's set is `shingles[offsets[i]:offsets[i + 1]]`.

    Each shingle is there once, where it first stands in the text.
    """
    compared = normalised(texts)
    offsets, data = compared.offsets, compared.data
    set_offsets = np.zeros(len(offsets), np.int64)
    number = UNITS.index(unit)
    size = int(offsets[-1] - offsets[0])
    # A word takes two bytes with the one behind it; what is reserved beyond those there are is never touched.
    values = np.empty((size if number == CHARACTERS else size // 2) + 2 * len(offsets), np.uint64)
    _sets(offsets, data, character_tables(), number, ngram, set_offsets, values)
    return set_offsets, values[: set_offsets[-1]]


@kernel
def table_for(set_offsets):
    """A table that holds the largest of these sets."""
    return np.empty(slots_for(longest_document(set_offsets)) + np.uint64(1), np.uint64)


@loop
def fill_table(set_offsets, values, i, table):
    """Make the table hold set i and nothing else."""
    last = slots_for(set_offsets[i + 1] - set_offsets[i])
    clear(table, last)
    for k in range(set_offsets[i], set_offsets[i + 1]):
        insert(values[k], last, table)


@loop
def jaccard_with_table(set_offsets, values, i, j, table):
    """Jaccard similarity of sets i and j; the table holds set i."""
    size = set_offsets[i + 1] - set_offsets[i]
    last = slots_for(size)
    shared = 0
    for k in range(set_offsets[j], set_offsets[j + 1]):
        shared += not _slot_of(values[k], last, table)[1]
    return shared / (size + set_offsets[j + 1] - set_offsets[j] - shared)


@kernel
def _jaccard_of_pairs(set_offsets, values, left, right, out):
    table = table_for(set_offsets)
    for k in range(len(out)):
        if k == 0 or left[k] != left[k - 1]:
            fill_table(set_offsets, values, left[k], table)
        out[k] = jaccard_with_table(set_offsets, values, left[k], right[k], table)


def jaccard(
    texts: pa.Array, left: np.ndarray, right: np.ndarray, ngram: int = 5, unit: str = "words"
) -> np.ndarray:
    """float64 [pairs]: exact Jaccard similarity of the shingle sets of rows `left[k]` and `right[k]`."""
    set_offsets, values = shingle_sets(texts, ngram, unit)
    out = np.empty(len(left))
    _jaccard_of_pairs(set_offsets, values, np.asarray(left, np.int64), np.asarray(right, np.int64), out)
    return out
