"""Shingles: the set of word n-grams of a document, for comparing documents by what they share.

Words are what `re.findall(r"\\w+", text)` finds (letters, digits, `_`), lower-cased character by character.
In scripts written without spaces (Han, kana, Thai, Lao, Khmer, Myanmar) every such character is a word of
its own, so that a 5-gram is five characters there. A shingle is the 64-bit hash of n consecutive words. A
document of fewer than n words has one shingle, all its words; one without words has one, its raw bytes. So
every document has at least one shingle, and nothing short is ever skipped.

Two different n-grams share a hash with probability 2^-64; sets are called equal when their hashes are.
"""

from __future__ import annotations

import sys
from functools import lru_cache

import numba
import numpy as np
import pyarrow as pa

from filters.arrow import utf8

kernel = numba.njit(cache=True, nogil=True, error_model="numpy")
inlined = numba.njit(forceinline=True, nogil=True, error_model="numpy")

ALONE = np.uint32(1 << 31)  # set in the table where a character is a word of its own
NO_SPACES = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3040, 0x30FF), (0x31F0, 0x31FF),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0xF900, 0xFAFF), (0xFF66, 0xFF9F),
    (0x20000, 0x323AF),
)  # fmt: skip

FNV_OFFSET, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
WORD_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@lru_cache(maxsize=1)
def word_characters() -> np.ndarray:
    """uint32 [code points]: 0 for what belongs to no word, else the lower-case code point (with ALONE where it
    is a word by itself)."""
    codes = np.arange(sys.maxunicode + 1, dtype=np.uint32)
    characters = codes.view("<U1")
    lower = np.char.lower(characters)
    folded = lower.astype("<U1").view(np.uint32).copy()
    table = np.where(np.char.isalnum(characters), folded, np.uint32(0))
    table[ord("_")] = ord("_")
    for low, high in NO_SPACES:
        span = table[low : high + 1]
        span[span > 0] |= ALONE
    table.flags.writeable = False
    return table


@inlined
def mix(h):
    """The finaliser of splitmix64: every bit of the result depends on every bit of `h`."""
    h = np.uint64(h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = np.uint64(h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.uint64(h ^ (h >> np.uint64(31)))


@inlined
def _decode(data, at, end):
    """(code point, bytes) at a byte; a broken sequence is one character a byte, and no read passes `end`."""
    first = np.uint32(data[at])
    if first < 0x80:
        return first, 1
    if 0xC2 <= first < 0xE0 and at + 1 < end and data[at + 1] & 0xC0 == 0x80:
        return np.uint32((first & 0x1F) << 6 | data[at + 1] & 0x3F), 2
    if 0xE0 <= first < 0xF0 and at + 2 < end and data[at + 1] & 0xC0 == 0x80:
        return np.uint32((first & 0x0F) << 12 | (data[at + 1] & 0x3F) << 6 | data[at + 2] & 0x3F), 3
    if 0xF0 <= first < 0xF5 and at + 3 < end and data[at + 1] & 0xC0 == 0x80:
        code = (
            (first & 7) << 18 | (data[at + 1] & 0x3F) << 12 | (data[at + 2] & 0x3F) << 6 | data[at + 3] & 0x3F
        )
        return np.uint32(min(code, 0x10FFFF)), 4
    return np.uint32(0xFFFD), 1


@kernel
def word_hashes(data, start, end, table, hashes):
    """Fill in the hash of every word of data[start:end]; returns how many there are."""
    words = 0
    h = FNV_OFFSET
    inside = False
    at = start
    while at < end:
        byte = data[at]
        if byte < 0x80:
            code, width = np.uint32(byte), 1
        else:
            code, width = _decode(data, at, end)
        at += width
        kind = table[code]
        if kind == 0 or kind & ALONE:
            if inside:
                hashes[words] = mix(h)
                words += 1
                h = FNV_OFFSET
                inside = False
            if kind:
                hashes[words] = mix(np.uint64(FNV_OFFSET ^ np.uint64(kind)) * FNV_PRIME)
                words += 1
        else:
            h = np.uint64(h ^ np.uint64(kind)) * FNV_PRIME
            inside = True
    if inside:
        hashes[words] = mix(h)
        words += 1
    return words


@kernel
def shingles_of(data, start, end, table, ngram, hashes, shingles):
    """Fill in the shingles of data[start:end] in the order of the text, repeats included; returns their number."""
    words = word_hashes(data, start, end, table, hashes)
    if words == 0:
        h = FNV_OFFSET
        for at in range(start, end):
            h = np.uint64(h ^ np.uint64(data[at])) * FNV_PRIME
        shingles[0] = mix(np.uint64(h + WORD_FACTOR))
        return 1
    width = min(ngram, words)
    # A polynomial over the window's words: the oldest leaves with the highest power, the newest comes in.
    highest = np.uint64(1)
    for _ in range(width - 1):
        highest = np.uint64(highest * WORD_FACTOR)
    rolling = np.uint64(0)
    for i in range(width):
        rolling = np.uint64(rolling * WORD_FACTOR + hashes[i])
    shingles[0] = mix(rolling)
    for i in range(width, words):
        rolling = np.uint64((rolling - hashes[i - width] * highest) * WORD_FACTOR + hashes[i])
        shingles[i - width + 1] = mix(rolling)
    return words - width + 1


@kernel
def _longest(offsets):
    longest = 0
    for i in range(len(offsets) - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    return longest


@kernel
def _sets(offsets, data, table, ngram, set_offsets, values):
    hashes = np.empty(_longest(offsets) + 1, np.uint64)
    shingles = np.empty(_longest(offsets) + 1, np.uint64)
    filled = 0
    for i in range(len(offsets) - 1):
        n = shingles_of(data, offsets[i], offsets[i + 1], table, ngram, hashes, shingles)
        ordered = np.sort(shingles[:n])
        for k in range(n):
            if k == 0 or ordered[k] != ordered[k - 1]:
                values[filled] = ordered[k]
                filled += 1
        set_offsets[i + 1] = filled
    return filled


@kernel
def _most_shingles(offsets, data):
    """An upper bound of all shingles together: a word begins at a word character after another character."""
    total = 0
    for i in range(len(offsets) - 1):
        total += 1
        before = False
        for at in range(offsets[i], offsets[i + 1]):
            byte = data[at]
            wide = byte >= 0x80
            letter = 0x30 <= byte <= 0x39 or 0x41 <= byte <= 0x5A or byte == 0x5F or 0x61 <= byte <= 0x7A
            total += (letter and not before) or (wide and byte >= 0xC0) or (wide and not before)
            before = letter
    return total


def shingle_sets(texts: pa.Array | pa.ChunkedArray, ngram: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """(offsets int64 [n + 1], shingles uint64): document i's set, sorted, is `shingles[offsets[i]:offsets[i + 1]]`."""
    offsets, data = utf8(texts)
    set_offsets = np.zeros(len(offsets), np.int64)
    values = np.empty(_most_shingles(offsets, data), np.uint64)
    filled = _sets(offsets, data, word_characters(), ngram, set_offsets, values)
    return set_offsets, values[:filled]


@kernel
def overlap(values, a, a_end, b, b_end):
    """Size of the intersection of two sorted sets."""
    shared = 0
    while a < a_end and b < b_end:
        left, right = values[a], values[b]
        shared += left == right
        a += left <= right
        b += right <= left
    return shared


@kernel
def pair_jaccard(set_offsets, values, i, j):
    a, a_end, b, b_end = set_offsets[i], set_offsets[i + 1], set_offsets[j], set_offsets[j + 1]
    shared = overlap(values, a, a_end, b, b_end)
    return shared / (a_end - a + b_end - b - shared)


@kernel
def _jaccard_of_pairs(set_offsets, values, left, right, out):
    for k in range(len(out)):
        out[k] = pair_jaccard(set_offsets, values, left[k], right[k])


def jaccard(texts: pa.Array, left: np.ndarray, right: np.ndarray, ngram: int = 5) -> np.ndarray:
    """float64 [pairs]: exact Jaccard similarity of the shingle sets of rows `left[k]` and `right[k]`."""
    set_offsets, values = shingle_sets(texts, ngram)
    out = np.empty(len(left))
    _jaccard_of_pairs(set_offsets, values, np.asarray(left, np.int64), np.asarray(right, np.int64), out)
    return out
