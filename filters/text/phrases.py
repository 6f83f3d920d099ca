"""Words and phrases that a kernel looks for on a page, in upper or lower case of ASCII; and kinds of ASCII's bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from filters.text.compiled import inlined


def table_of(phrases: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 [phrases, bytes of the longest], int64 [phrases]: the bytes of each). Phrases are in lower case."""
    raw = [phrase.encode() for phrase in phrases]
    longest = max(map(len, raw))
    table = np.array([list(phrase.ljust(longest, b"\0")) for phrase in raw], np.uint8)
    return table, np.array([len(phrase) for phrase in raw])


@inlined
def is_phrase(page, start, end, texts, sizes, k):
    """Phrase k of a table begins at a byte, in upper or lower case, and ends by `end`."""
    if start + sizes[k] > end:
        return False
    same = 0
    while same < sizes[k] and lower(page[start + same]) == texts[k, same]:
        same += 1
    return same == sizes[k]


@inlined
def lower(byte):
    return byte | np.uint8(0x20) if 0x41 <= byte <= 0x5A else byte


@inlined
def is_digit(byte):
    return 0x30 <= byte <= 0x39


@inlined
def is_letter(byte):
    return 0x61 <= byte | np.uint8(0x20) <= 0x7A


@inlined
def stands_at(page, at, end, text):
    """These bytes stand at a place, and end by `end`; nothing stands before a page."""
    if at < 0 or at + len(text) > end:
        return False
    same = True
    for k in range(len(text)):
        same &= page[at + k] == text[k]
    return same


@inlined
def ends_in(page, start, end, text):
    """page[start:end] ends in these bytes."""
    return end - len(text) >= start and stands_at(page, end - len(text), end, text)


@inlined
def is_space(byte):
    """White space of `str.split()`."""
    return 0x09 <= byte <= 0x0D or 0x1C <= byte <= 0x20


@inlined
def is_one_of(byte, members):
    """A byte is one of these."""
    same = False
    for k in range(len(members)):
        same |= byte == members[k]
    return same
