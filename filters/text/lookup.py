"""Look-up of 64-bit hashes in a table of slots (open addressing, at most half full).

A few keys carry their numbers (`table_of_keys`, `slot_of`). Many that are rows of an array stay there: their table holds
rows alone (`table_of_rows`, `row_of`), and a filter of some bits a key ends the search for most that are none of them.
"""

from __future__ import annotations

import numpy as np

from filters.text.compiled import inlined, loop

FILTER_BITS = 16  # of the filter for each key
NONE = np.int64(-1)


def table_of_keys(numbers: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(uint64 [a power of two]: keys, 0 where a slot is free; int64: the number of the key in that slot)."""
    size = 1 << max(4, (2 * len(numbers)).bit_length())
    slots, numbers_of = np.zeros(size, np.uint64), np.full(size, -1)
    for key, number in numbers.items():
        slot = (key ^ (key >> 29)) & (size - 1)
        while slots[slot]:
            slot = (slot + 1) & (size - 1)
        slots[slot], numbers_of[slot] = key, number
    return slots, numbers_of


@inlined
def slot_of(key, slots):
    """The slot of a key, or -1."""
    slot = np.int64((key ^ (key >> np.uint64(29))) & np.uint64(len(slots) - 1))
    while slots[slot] != 0:
        if slots[slot] == key:
            return slot
        slot = (slot + 1) & (len(slots) - 1)
    return NONE


def table_of_rows(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int64 [a power of two]: the row of the key in that slot, or -1; uint64: a bit for each slot of a longer table), of
    different keys."""
    table = np.full(_power_of_two(2 * len(keys)), NONE)
    filter = np.zeros(_power_of_two(FILTER_BITS * len(keys)) // 64, np.uint64)
    _fill(keys, table, filter)
    return table, filter


def _power_of_two(least: int) -> int:
    return 1 << max(6, int(least - 1).bit_length())


@loop
def _fill(keys, table, filter):
    last, all_bits = np.uint64(len(table) - 1), np.uint64(len(filter) * 64 - 1)
    for row in range(len(keys)):
        slot = keys[row] & last
        while table[slot] >= 0:
            slot = (slot + np.uint64(1)) & last
        table[slot] = row
        bit = (keys[row] >> np.uint64(20)) & all_bits
        filter[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))


@inlined
def row_of(key, keys, table, filter):
    """The row of a key, or -1."""
    bit = (key >> np.uint64(20)) & np.uint64(len(filter) * 64 - 1)
    if not (filter[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1):
        return NONE
    last = np.uint64(len(table) - 1)
    slot = key & last
    while table[slot] >= 0:
        if keys[table[slot]] == key:
            return table[slot]
        slot = (slot + np.uint64(1)) & last
    return NONE
