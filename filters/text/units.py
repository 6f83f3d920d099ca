"""Units: the words, characters or templates of a document as 64-bit hashes, for comparing documents with others.

Words are what `re.findall(r"\\w+", text)` finds (letters, digits, `_`), lower-cased character by character. In scripts
written without spaces (Han, kana, Thai, Lao, Khmer, Myanmar) every such character is a word of its own, so that a
5-gram is five characters there. The *units* of a document are its

- `words`: those words;
- `characters`: lower-cased characters, where a run of white space is one space;
- `templates`: words, but a run of words with a digit inside is one placeholder, and so is a run of words
  that begin with a capital. Documents that differ in numbers, dates and names only have the same templates.
"""

from __future__ import annotations

import sys
from functools import lru_cache

import numpy as np

from filters.text.bits import ALL_BITS, count_bits, eight_bytes, lowest_bit, lowest_bits
from filters.text.classes import DIGIT, UPPERCASE, WHITESPACE, character_classes
from filters.text.compiled import inlined, kernel, loop
from filters.text.masks import in_ranges
from filters.text.pages import PADDING, decode, longest_document, open_page

UNITS = ("words", "characters", "templates")
WORDS, CHARACTERS, TEMPLATES = range(3)
ALONE = np.uint32(1 << 31)  # set in the table where a character is a word of its own
NO_SPACES = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3040, 0x30FF), (0x31F0, 0x31FF),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0xF900, 0xFAFF), (0xFF66, 0xFF9F),
    (0x20000, 0x323AF),
)  # fmt: skip
FNV_OFFSET, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
WORD_FACTOR = np.uint64(0x9E3779B97F4A7C15)
EIGHT_HIGH_BITS, EIGHT_CASE_BITS = np.uint64(0x8080808080808080), np.uint64(0x2020202020202020)
UNDERSCORE, FOLDED_UNDERSCORE = np.uint8(0x5F), np.uint8(0x7F)  # what the case bit makes of it
NUMBER, NAME = np.uint64(0x6E756D626572), np.uint64(0x6E616D65)  # placeholders in templates
word_mask = in_ranges((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A), (0x80, 0xFF))


@lru_cache(maxsize=1)
def lower_characters() -> np.ndarray:
    """uint32 [code points]: the lower-case code point of each character (the first, where there are several)."""
    codes = np.arange(sys.maxunicode + 1, dtype=np.uint32)
    table = np.char.lower(codes.view("<U1")).astype("<U1").view(np.uint32).copy()
    table[0] = 0
    table.flags.writeable = False
    return table


@lru_cache(maxsize=1)
def word_characters() -> np.ndarray:
    """uint32 [code points]: 0 for what belongs to no word, else the lower-case code point (with ALONE where it
    is a word by itself)."""
    characters = np.arange(sys.maxunicode + 1, dtype=np.uint32).view("<U1")
    table = np.where(np.char.isalnum(characters), lower_characters(), np.uint32(0))
    table[ord("_")] = ord("_")
    for low, high in NO_SPACES:
        span = table[low : high + 1]
        span[span > 0] |= ALONE
    table.flags.writeable = False
    return table


@lru_cache(maxsize=1)
def character_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the kernels need to know of characters: (word_characters, lower_characters, character_classes)."""
    return word_characters(), lower_characters(), character_classes()


@inlined
def mix(h):
    """The finaliser of splitmix64: every bit of the result depends on every bit of `h`."""
    h = np.uint64(h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = np.uint64(h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.uint64(h ^ (h >> np.uint64(31)))


@inlined
def encode(code, out, at):
    """Write a character as UTF-8 to out[at:]; returns how many bytes it took."""
    if code < 0x80:
        out[at] = code
        return 1
    if code < 0x800:
        out[at] = 0xC0 | code >> 6
        out[at + 1] = 0x80 | code & 0x3F
        return 2
    if code < 0x10000:
        out[at] = 0xE0 | code >> 12
        out[at + 1] = 0x80 | code >> 6 & 0x3F
        out[at + 2] = 0x80 | code & 0x3F
        return 3
    out[at] = 0xF0 | code >> 18
    out[at + 1] = 0x80 | code >> 12 & 0x3F
    out[at + 2] = 0x80 | code >> 6 & 0x3F
    out[at + 3] = 0x80 | code & 0x3F
    return 4


# ---- Words ----------------------------------------------------------------------------------------------


@inlined
def _hash_bytes(page, begin, end, fold):
    """(hash of page[begin:end], which is not empty, with the bits of `fold` set in every eight bytes, those bytes' high
    bits)"""
    h = np.uint64(end - begin) * WORD_FACTOR
    high = np.uint64(0)
    while begin + 8 < end:
        eight = eight_bytes(page, begin) | fold
        high |= eight
        h = _stirred(h, eight)
        begin += 8
    eight = (eight_bytes(page, begin) | fold) & (ALL_BITS >> np.uint64(64 - 8 * (end - begin)))
    h = np.uint64(_stirred(h, eight) * np.uint64(0xBF58476D1CE4E5B9))
    return h ^ (h >> np.uint64(29)), (high | eight) & EIGHT_HIGH_BITS


@inlined
def _stirred(h, eight):
    h = np.uint64((h ^ eight) * np.uint64(0x94D049BB133111EB))
    return h ^ (h >> np.uint64(32))


@loop
def _folded_hash(page, begin, end, table, lower):
    """The hash of a word that is ASCII in lower case only (a Kelvin sign is a k): as if it had been written so."""
    size, at = 0, begin
    while at < end:
        code, width = decode(page, at)
        lower[size] = FOLDED_UNDERSCORE if code == UNDERSCORE else table[code]
        size += 1
        at += width
    lower[size : size + 8] = 0
    h, _ = _hash_bytes(lower, 0, size, np.uint64(0))
    return h


@inlined
def _wide_hash(page, begin, end, h, wide, table, lower):
    """The hash of a word between characters that were looked up one by one; `wide`: all its code points, or-ed."""
    if wide >= 0x80:
        return mix(h)
    h, high = _hash_bytes(page, begin, end, EIGHT_CASE_BITS)
    return _folded_hash(page, begin, end, table, lower) if high else h


@inlined
def _wide_words(page, begin, end, table, lower, words, hashes, starts, ends):
    """Words of page[begin:end], character by character; returns their number."""
    h, wide = FNV_OFFSET, np.uint32(0)
    start = -1
    at = begin
    while at < end:
        code, width = decode(page, at)
        kind = table[np.uint64(code)]
        if kind == 0 or kind & ALONE:
            if start >= 0:
                hashes[words] = _wide_hash(page, start, at, h, wide, table, lower)
                starts[words], ends[words] = start, at
                words += 1
                h, wide, start = FNV_OFFSET, np.uint32(0), -1
            if kind:
                hashes[words] = mix(np.uint64(kind) * FNV_PRIME)
                starts[words], ends[words] = at, at + width
                words += 1
        else:
            h = np.uint64(h ^ np.uint64(kind)) * FNV_PRIME
            wide |= kind
            if start < 0:
                start = at
        at += width
    if start >= 0:
        hashes[words] = _wide_hash(page, start, end, h, wide, table, lower)
        starts[words], ends[words] = start, end
        words += 1
    return words


@loop
def _edges_of(page, length, edges):
    """Fill in where runs of word characters begin (even places) and end (odd ones); returns how many runs there are.

    Eight edges of a block are written whether it has as many or not, which costs less than to ask: `edges` must have
    room for eight more than there can be.
    """
    n = np.uint64(0)
    carry = np.uint64(0)
    for block in range(0, length, 64):
        inside = word_mask(page, block) & lowest_bits(length - block)
        changes = inside ^ (inside << np.uint64(1) | carry)
        carry = inside >> np.uint64(63)
        after = n + np.uint64(count_bits(changes))
        while n < after:
            for k in range(8):
                edges[n + np.uint64(k)] = block + lowest_bit(changes)
                changes &= changes - np.uint64(1)
            n += np.uint64(8)
        n = after
    if n & np.uint64(1):  # a run up to the very end of the page
        edges[n] = length
        n += np.uint64(1)
    return n >> np.uint64(1)


@loop
def words_of(page, length, table, lower, hashes, starts, ends, edges):
    """Fill in the hash of every word of a page and the bytes [start, end) where it stands; returns their number.

    A run of ASCII is hashed eight bytes at a time, its case folded by a bit; a run with anything else in it
    goes through the table, to the same hashes.
    """
    # Unsigned, as are all places here: a signed one may count from the end, which is checked.
    words = np.uint64(0)
    for run in range(_edges_of(page, length, edges)):
        begin, end = edges[np.uint64(2 * run)], edges[np.uint64(2 * run + 1)]
        h, wide = _hash_bytes(page, begin, end, EIGHT_CASE_BITS)
        if wide:
            words = np.uint64(
                _wide_words(page, begin, end, table, lower, np.int64(words), hashes, starts, ends)
            )
        else:
            hashes[words], starts[words], ends[words] = h, begin, end
            words += np.uint64(1)
    return np.int64(words)


@loop
def _templates_of(page, words, classes, hashes, starts, ends):
    """Put placeholders where words hold a digit or begin with a capital; returns how many units are left."""
    units = 0
    for i in range(words):
        h = hashes[i]
        code, _ = decode(page, starts[i])
        if classes[code] & UPPERCASE:
            h = NAME
        at = starts[i]
        while at < ends[i]:
            code, width = decode(page, at)
            if classes[code] & DIGIT:
                h = NUMBER
                break
            at += width
        if units and h == hashes[units - 1] and h in (NUMBER, NAME):
            ends[units - 1] = ends[i]
            continue
        hashes[units], starts[units], ends[units] = h, starts[i], ends[i]
        units += 1
    return units


@loop
def _characters_of(page, length, lower, classes, hashes, starts, ends):
    """Characters as units, a run of white space as one space."""
    units, at, space = 0, 0, False
    while at < length:
        code, width = decode(page, at)
        if classes[code] & WHITESPACE:
            if space:
                ends[units - 1] = at + width
                at += width
                continue
            code = np.uint32(0x20)
            space = True
        else:
            space = False
        hashes[units] = mix(np.uint64(lower[code]) * WORD_FACTOR)
        starts[units], ends[units] = at, at + width
        units += 1
        at += width
    return units


@kernel
def room_for(offsets):
    """Buffers for the units of any of these documents: (page, lower, hashes, starts, ends, edges)."""
    n = longest_document(offsets)
    return (
        np.empty(n + PADDING, np.uint8),
        np.empty(2 * n + PADDING, np.uint8),
        np.empty(n + 1, np.uint64),
        np.empty(n + 1, np.int32),
        np.empty(n + 1, np.int32),
        np.empty(n + PADDING, np.int32),
    )


@loop
def units_of(data, start, end, tables, unit, room):
    """Fill `room` with the units of data[start:end]; returns how many there are."""
    word_table, lower_table, classes = tables
    page, lower, hashes, starts, ends, edges = room
    length = open_page(page, data, start, end)
    if unit == CHARACTERS:
        return _characters_of(page, length, lower_table, classes, hashes, starts, ends)
    units = words_of(page, length, word_table, lower, hashes, starts, ends, edges)
    if unit == TEMPLATES:
        units = _templates_of(page, units, classes, hashes, starts, ends)
    return units


def words_of_all(offsets: np.ndarray, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(uint64: the words of all texts, one after the other; int64 [texts + 1]: where those of each begin)"""
    words = np.empty(max(1, int(offsets[-1] - offsets[0])), np.uint64)
    ends = np.zeros(len(offsets), np.int64)
    return words[: _words_of_all(offsets, data, character_tables(), words, ends)].copy(), ends


@kernel
def _words_of_all(offsets, data, tables, words, ends):
    room = room_for(offsets)
    filled = 0
    for i in range(len(offsets) - 1):
        n = units_of(data, offsets[i], offsets[i + 1], tables, WORDS, room)
        words[filled : filled + n] = room[2][:n]
        filled += n
        ends[i + 1] = filled
    return filled


# ---- Windows --------------------------------------------------------------------------------------------


@loop
def windows_of(hashes, start, end, width, salt, keys):
    """Fill in the hash of every `width` units in a row of hashes[start:end]; returns how many there are.

    A polynomial over the window's units: the oldest leaves with the highest power, the newest comes in.
    """
    if end - start < width:
        return 0
    highest, rolling = np.uint64(1), np.uint64(0)
    for i in range(start, start + width):
        highest = np.uint64(highest * WORD_FACTOR) if i > start else highest
        rolling = np.uint64(rolling * WORD_FACTOR + hashes[i])
    keys[0] = mix(np.uint64(rolling + salt))
    for i in range(start + width, end):
        rolling = np.uint64((rolling - hashes[i - width] * highest) * WORD_FACTOR + hashes[i])
        keys[i - width - start + 1] = mix(np.uint64(rolling + salt))
    return end - start - width + 1
