"""Words and phrases of a list of the user's: how often a document says them, and how many different ones.

What is compared are runs of Unicode tokens (UAX #29) that have a letter or a digit, in lower case, whatever stands
between them: "Lorem-Ipsum" is the entry "lorem ipsum", and "class" is not "ass". Ideographs, kana and the like are
tokens by themselves, so there an entry is found wherever its characters stand side by side.

At each token the longest entry that begins there counts. Tokens and entries are looked up by hashes of 64 bits.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from filters.columns import columns, count, ratio
from filters.family import Family
from filters.files import loaded_once, read_list
from filters.text.batches import valid
from filters.text.classes import character_classes
from filters.text.compiled import inlined, kernel, loop
from filters.text.lookup import slot_of, table_of_keys
from filters.text.pages import PADDING, decode, longest_document, open_page
from filters.text.segments import WORD, find_tokens, word_breaks
from filters.text.units import lower_characters

Tally = IntEnum("Tally", ["OCCURRENCES", "DISTINCT", "WORDS"], start=0)
PREFIX = "word_list."  # of the names of their families
START, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x9E3779B97F4A7C15)
BETWEEN = np.uint64(0x110000)  # after each token: no code point


class Entries(NamedTuple):
    """A list as one table of the beginnings of its entries, token by token."""

    slots: np.ndarray  # uint64 [a power of two]: hash of the first tokens of an entry, 0 where free
    numbers: np.ndarray  # int64: the entry's number where that is all of it, -1 where it goes on
    size: int  # how many entries


@lru_cache(maxsize=1)
def lower_case() -> np.ndarray:
    """uint32 [code points]: each in lower case, where that is one character."""
    codes = lower_characters().copy()
    codes[0x130] = 0x130  # the one that is two
    codes.flags.writeable = False
    return codes


@inlined
def _more(key, code):
    """A hash with one more code point."""
    key = (key ^ code) * PRIME
    return key ^ (key >> np.uint64(29))


@loop
def _find_words(page, length, breaks, classes, edges, character_edges, flags):
    """Fill in the byte edges of the words; returns how many there are."""
    tokens, _ = find_tokens(page, length, edges, character_edges, flags, breaks, classes)
    words = 0
    for k in range(tokens):
        if flags[k] & WORD:
            edges[2 * words], edges[2 * words + 1] = edges[2 * k], edges[2 * k + 1]
            words += 1
    return words


@kernel
def _beginnings(page, length, breaks, classes, lower, keys):
    """The hash after each word of a text; returns how many words there are."""
    edges, character_edges = np.empty(2 * length + 2, np.int64), np.empty(2 * length + 2, np.int64)
    words = _find_words(page, length, breaks, classes, edges, character_edges, np.empty(length + 1, np.uint8))
    key = START
    for k in range(words):
        key = keys[k] = _token(key, page, edges[2 * k], edges[2 * k + 1], lower)
    return words


@inlined
def _token(key, page, at, end, lower):
    while at < end:
        code, width = decode(page, at)
        key = _more(key, np.uint64(lower[code]))
        at += width
    return _more(key, BETWEEN)


def entries(words: list[str]) -> Entries:
    """The table of a list. Raises ValueError where an entry has no letter or digit."""
    beginnings: dict[int, int] = {}
    for number, entry in enumerate(words):
        raw = np.frombuffer(entry.encode() + bytes(PADDING), np.uint8).copy()
        keys = np.empty(len(raw), np.uint64)
        size = len(raw) - PADDING
        words_of_it = _beginnings(raw, size, word_breaks(), character_classes(), lower_case(), keys)
        if words_of_it == 0:
            raise ValueError(f'the entry "{entry}" has no letter or digit, it is found nowhere')
        for k in range(words_of_it):
            key, last = int(keys[k]), k == words_of_it - 1
            known = beginnings.get(key, -1)
            beginnings[key] = number if last and known < 0 else known
    return Entries(*table_of_keys(beginnings), len(words))


@kernel
def _count(offsets, data, entries, breaks, classes, lower, tallies):
    """Fill in int64 [tallies, documents]."""
    longest = longest_document(offsets)
    page = np.empty(longest + PADDING, np.uint8)
    edges, character_edges = np.empty(2 * longest + 2, np.int64), np.empty(2 * longest + 2, np.int64)
    flags = np.empty(longest + 1, np.uint8)
    seen = np.full(entries.size, -1)
    for i in range(len(offsets) - 1):
        length = open_page(page, data, offsets[i], offsets[i + 1])
        words = _find_words(page, length, breaks, classes, edges, character_edges, flags)
        tallies[Tally.WORDS, i] = words
        for first in range(words):
            key, best = START, np.int64(-1)
            for last in range(first, words):
                key = _token(key, page, edges[2 * last], edges[2 * last + 1], lower)
                slot = slot_of(key, entries.slots)
                if slot < 0:
                    break
                if entries.numbers[slot] >= 0:
                    best = entries.numbers[slot]
            if best >= 0:
                tallies[Tally.OCCURRENCES, i] += 1
                tallies[Tally.DISTINCT, i] += seen[best] != i
                seen[best] = i


@loaded_once
def _entries(path: Path) -> Entries:
    return entries(read_list(path).to_pylist())


def family(name: str) -> Family:
    """The family `word_list.NAME`, which measures a list by its path (parameter `list`)."""
    name = name.removeprefix(PREFIX)
    signals = (
        count(f"{name}_count", "occurrences", Tally.OCCURRENCES, f"occurrences of entries of your list {name}"),
        ratio(f"{name}_ratio", Tally.OCCURRENCES, Tally.WORDS, f"occurrences of entries of {name} / Unicode words"),
        count(f"{name}_distinct_count", "entries", Tally.DISTINCT, f"different entries of your list {name}"),
    )  # fmt: skip

    def measure(texts: pa.Array | pa.ChunkedArray, list: str) -> dict[str, pa.Array]:
        offsets, data = valid(texts)
        tallies = np.zeros((len(Tally), len(offsets) - 1), np.int64)
        _count(offsets, data, _entries(list), word_breaks(), character_classes(), lower_case(), tallies)
        return columns(signals, tallies=tallies)

    return Family(PREFIX + name, 1, measure, signals)
