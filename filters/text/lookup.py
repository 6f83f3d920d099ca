"""Look-up of 64-bit hashes in a table of slots (open addressing, at most half full)."""

from __future__ import annotations

import numpy as np

from filters.text.compiled import inlined


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
    return np.int64(-1)
