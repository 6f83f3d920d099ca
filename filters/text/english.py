"""The eight English words that Gopher counts (Rae et al. 2021), and how a kernel knows one when it sees it."""

from __future__ import annotations

import numpy as np

from filters.text.bits import eight_bytes, lowest_bits
from filters.text.compiled import inlined

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
LONGEST = 4  # bytes
SPREAD = np.uint64(0xA648A7DD06839EB9)  # times a stop word as a number: the upper four bits differ for each
LOWER_CASE = np.uint64(0x2020202020202020)  # or-ed to eight bytes: this bit makes a letter of nothing else


def _stop_table() -> tuple[np.ndarray, np.ndarray]:
    """(uint64 [16], int64 [16]): the bytes of the stop word of each slot as a number, and how many there are."""
    words, sizes = np.zeros(16, np.uint64), np.zeros(16, np.int64)
    for word in STOP_WORDS:
        number = int.from_bytes(word.encode(), "little")
        slot = (number * int(SPREAD) & (2**64 - 1)) >> 60
        assert sizes[slot] == 0
        assert len(word) <= LONGEST
        words[slot], sizes[slot] = number, len(word)
    return words, sizes


STOPS = _stop_table()


@inlined
def find_stop_word(page, start, size, stops, case):
    """(whether a word is a stop word, its slot). `case`: LOWER_CASE where upper case counts as lower, else no bits."""
    word = (eight_bytes(page, start) | case) & lowest_bits(8 * min(size, LONGEST))
    slot = word * SPREAD >> np.uint64(60)
    return (stops[0][slot] == word) & (stops[1][slot] == size), slot
