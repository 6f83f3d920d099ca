"""Words and characters: how many there are, how long, and of what kind. Words are whitespace words.

The kernel only counts, in whole numbers, one row a tally; ratios are divisions of two rows afterwards. Two
passes over a page: one finds the words (64 bytes at a time), one looks at each word, mostly at its first
character only, since a word that begins with a letter is neither a number nor punctuation. Characters of
ASCII are counted by masks, all others are decoded one by one, which is why Chinese is slower than English.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from filters import Family
from filters.columns import INF, count_signal, ratio, real_signal
from filters.text import (
    ALPHABETIC,
    DIGIT,
    NO_BITS,
    ONE_BIT,
    PADDING,
    PUNCTUATION,
    UPPERCASE,
    character_classes,
    continuation_mask,
    count_bits,
    decode,
    eight_bytes,
    find_words,
    in_ranges,
    inlined,
    kernel,
    longest_document,
    loop,
    lowest_bit,
    lowest_bits,
    newline_mask,
    non_ascii_mask,
    open_page,
    valid,
)

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # case-sensitive, at most 8 bytes each
_STOP_WORDS = np.array([int.from_bytes(word.encode(), "little") for word in STOP_WORDS], np.uint64)
_STOP_WORD_BYTES = np.array([len(word) for word in STOP_WORDS])  # "the" and "the\\0" are the same number

TALLIES = (
    "characters",
    "words",
    "word_characters",
    "core_words",
    "core_word_characters",
    "alphabetic_words",
    "longest_word_characters",
    "doubled_median",  # twice the median word length, a whole number
    "stop_words",
    "distinct_stop_words",
    "hashes",
    "ellipses",
    "newlines",
    "digits",
    "uppercase",
    "alphabetic",
    "punctuation",
    "non_ascii",
    "symbol_words",
)
(
    CHARACTERS,
    WORDS,
    WORD_CHARACTERS,
    CORE_WORDS,
    CORE_WORD_CHARACTERS,
    ALPHABETIC_WORDS,
    LONGEST_WORD_CHARACTERS,
    DOUBLED_MEDIAN,
    STOP,
    DISTINCT_STOP,
    HASHES,
    ELLIPSES,
    NEWLINES,
    DIGITS,
    UPPERCASES,
    ALPHABETICS,
    PUNCTUATIONS,
    NON_ASCII,
    SYMBOL_WORDS,
) = range(len(TALLIES))

COMMON_LENGTHS = 64  # words shorter than this many characters are counted by length, the others sorted

hash_mask = in_ranges((0x23, 0x23))
symbol_mask = in_ranges((0x23, 0x23), (0xE2, 0xE2))  # "#", and what may begin "…"
dot_mask = in_ranges((0x2E, 0x2E))
digit_mask = in_ranges((0x30, 0x39))
uppercase_mask = in_ranges((0x41, 0x5A))
letter_mask = in_ranges((0x41, 0x5A), (0x61, 0x7A))
punctuation_mask = in_ranges((0x00, 0x1F), (0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7F))


@inlined
def _add_ascii(page, block, text, tally):
    """Count the ASCII characters among the 64 bytes from `block`; `text` has a bit for each byte of text."""
    tally[HASHES] += count_bits(hash_mask(page, block) & text)
    tally[NEWLINES] += count_bits(newline_mask(page, block) & text)
    tally[DIGITS] += count_bits(digit_mask(page, block) & text)
    tally[UPPERCASES] += count_bits(uppercase_mask(page, block) & text)
    tally[ALPHABETICS] += count_bits(letter_mask(page, block) & text)
    tally[PUNCTUATIONS] += count_bits(punctuation_mask(page, block) & text)


@inlined
def _add_others(page, block, text, classes, tally):
    """Count the characters beyond ASCII that begin among the 64 bytes from `block`."""
    others = non_ascii_mask(page, block) & ~continuation_mask(page, block) & text
    tally[NON_ASCII] += count_bits(others)
    while others:
        code, _ = decode(page, block + lowest_bit(others))
        others &= others - ONE_BIT
        kind = classes[code]
        tally[DIGITS] += (kind & DIGIT) != 0
        tally[UPPERCASES] += (kind & UPPERCASE) != 0
        tally[ALPHABETICS] += (kind & ALPHABETIC) != 0
        tally[PUNCTUATIONS] += (kind & PUNCTUATION) != 0
        tally[ELLIPSES] += code == 0x2026  # "…"


@loop
def _add_characters(page, length, classes, tally):
    dots = 0  # dots just before, less the three of every ellipsis counted: "....." is one "..."
    last_dot = -1
    for block in range(0, length, 64):
        text = lowest_bits(length - block)
        _add_ascii(page, block, text, tally)
        _add_others(page, block, text, classes, tally)
        found = dot_mask(page, block) & text
        while found:
            at = block + lowest_bit(found)
            found &= found - ONE_BIT
            dots = dots + 1 if at == last_dot + 1 else 1
            last_dot = at
            if dots == 3:
                tally[ELLIPSES] += 1
                dots = 0


@loop
def _add_symbol_words(page, length, byte_edges, words, tally):
    """Words that hold a "#" or a "…"."""
    word, counted = 0, -1
    for block in range(0, length, 64):
        found = symbol_mask(page, block) & lowest_bits(length - block)
        while found:
            at = block + lowest_bit(found)
            found &= found - ONE_BIT
            if page[at] == 0xE2 and not (page[at + 1] == 0x80 and page[at + 2] == 0xA6):
                continue
            while word < words and byte_edges[2 * word + 1] <= at:
                word += 1
            tally[SYMBOL_WORDS] += word != counted
            counted = word


@inlined
def _word_classes(page, start, end, classes):
    """(has a letter, has a character that is no punctuation) of a word that begins with no ASCII letter."""
    core = False
    at = start
    while at < end:
        code, width = decode(page, at)
        kind = classes[code]
        if kind & ALPHABETIC:
            return True, True
        core |= not kind & PUNCTUATION
        at += width
    return False, core


@inlined
def _stop_word(page, start, end):
    """Place of a word among the stop words, or -1."""
    if end - start > 8:
        return -1
    word = eight_bytes(page, start) & lowest_bits(8 * (end - start))
    for k in range(len(_STOP_WORDS)):
        if word == _STOP_WORDS[k] and end - start == _STOP_WORD_BYTES[k]:
            return k
    return -1


@kernel
def _doubled_median(character_edges, words, lengths):
    """Twice the median length of words. `lengths[k]` says how many have k characters, for short ones."""
    below, middle = (words - 1) // 2, words // 2  # places of the two middle words among all, sorted by length
    doubled, passed = 0, 0
    for length in range(COMMON_LENGTHS):
        if passed <= below < passed + lengths[length]:
            doubled += length
        if passed <= middle < passed + lengths[length]:
            doubled += length
        passed += lengths[length]
    if middle < passed:
        return doubled
    long_words = np.empty(words - passed, np.int64)
    k = 0
    for i in range(words):
        length = character_edges[2 * i + 1] - character_edges[2 * i]
        if length >= COMMON_LENGTHS:
            long_words[k] = length
            k += 1
    long_words.sort()
    if below >= passed:
        doubled += long_words[below - passed]
    return doubled + long_words[middle - passed]


@kernel
def _add_words(page, byte_edges, character_edges, words, classes, lengths, tally):
    lengths[:] = 0
    seen = NO_BITS  # bit k: stop word k
    for i in range(words):
        start, end = byte_edges[2 * i], byte_edges[2 * i + 1]
        characters = character_edges[2 * i + 1] - character_edges[2 * i]
        tally[WORD_CHARACTERS] += characters
        if characters < COMMON_LENGTHS:
            lengths[characters] += 1
        tally[LONGEST_WORD_CHARACTERS] = max(tally[LONGEST_WORD_CHARACTERS], characters)
        folded = page[start] | 0x20
        alphabetic = core = 0x61 <= folded <= 0x7A
        if not core:
            alphabetic, core = _word_classes(page, start, end, classes)
        tally[ALPHABETIC_WORDS] += alphabetic
        tally[CORE_WORDS] += core
        tally[CORE_WORD_CHARACTERS] += characters if core else 0
        stop = _stop_word(page, start, end)
        if stop >= 0:
            tally[STOP] += 1
            seen |= ONE_BIT << np.uint64(stop)
    tally[DISTINCT_STOP] = count_bits(seen)
    if words:
        tally[DOUBLED_MEDIAN] = _doubled_median(character_edges, words, lengths)


@kernel
def _count(offsets, data, classes, tallies):
    """Fill in int64 [tallies, documents]."""
    longest = longest_document(offsets)
    page = np.empty(longest + PADDING, np.uint8)
    byte_edges = np.empty(longest + 2, np.int64)
    character_edges = np.empty(longest + 2, np.int64)
    lengths = np.empty(COMMON_LENGTHS, np.int64)
    tally = np.empty(len(tallies), np.int64)
    for i in range(len(offsets) - 1):
        length = open_page(page, data, offsets[i], offsets[i + 1])
        tally[:] = 0
        words, characters = find_words(page, length, byte_edges, character_edges)
        tally[WORDS], tally[CHARACTERS] = words, characters
        _add_characters(page, length, classes, tally)
        _add_words(page, byte_edges, character_edges, words, classes, lengths, tally)
        _add_symbol_words(page, length, byte_edges, words, tally)
        tallies[:, i] = tally


def measure(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Word and character signals of every text; all are 0 for an empty one."""
    offsets, data = valid(texts)
    tallies = np.zeros((len(TALLIES), len(offsets) - 1), np.int64)
    _count(offsets, data, character_classes(), tallies)
    n = dict(zip(TALLIES, tallies, strict=True))
    return {
        "byte_count": pa.array(np.diff(offsets)),
        "character_count": pa.array(n["characters"]),
        "word_count": pa.array(n["words"]),
        "core_word_count": pa.array(n["core_words"]),
        "mean_word_length": ratio(n["word_characters"], n["words"]),
        "mean_core_word_length": ratio(n["core_word_characters"], n["core_words"]),
        "median_word_length": pa.array(n["doubled_median"] / 2),
        "longest_word_length": pa.array(n["longest_word_characters"]),
        "alphabetic_word_ratio": ratio(n["alphabetic_words"], n["words"]),
        "stop_word_count": pa.array(n["distinct_stop_words"]),
        "stop_word_occurrence_count": pa.array(n["stop_words"]),
        "hash_word_ratio": ratio(n["hashes"], n["words"]),
        "ellipsis_word_ratio": ratio(n["ellipses"], n["words"]),
        "symbol_word_ratio": ratio(n["symbol_words"], n["words"]),
        "newline_word_ratio": ratio(n["newlines"], n["words"]),
        "whitespace_character_ratio": ratio(n["characters"] - n["word_characters"], n["characters"]),
        "alphabetic_character_ratio": ratio(n["alphabetic"], n["characters"]),
        "uppercase_character_ratio": ratio(n["uppercase"], n["characters"]),
        "digit_character_ratio": ratio(n["digits"], n["characters"]),
        "punctuation_character_ratio": ratio(n["punctuation"], n["characters"]),
        "non_ascii_character_ratio": ratio(n["non_ascii"], n["characters"]),
    }


FAMILY = Family(
    "words",
    2,
    measure,
    (
        count_signal("byte_count", "bytes", "bytes of UTF-8"),
        count_signal("character_count", "characters", "code points"),
        count_signal("word_count", "words", "words, split on whitespace"),
        count_signal("core_word_count", "words", "words with a character that is no punctuation (Gopher)"),
        real_signal("mean_word_length", "characters", INF, "characters of a word, on average"),
        real_signal(
            "mean_core_word_length", "characters", INF, "characters of a core word, on average (Gopher)"
        ),
        real_signal("median_word_length", "characters", INF, "characters of a word, the median (Dolma)"),
        count_signal("longest_word_length", "characters", "characters of the longest word"),
        real_signal("alphabetic_word_ratio", "ratio", 1.0, "words with a letter / words (Gopher)"),
        count_signal("stop_word_count", "words", f"how many of {', '.join(STOP_WORDS)} occur (Gopher)", 8.0),
        count_signal("stop_word_occurrence_count", "words", "occurrences of those stop words (Dolma)"),
        real_signal("hash_word_ratio", "ratio", INF, '"#" characters / words (Gopher)'),
        real_signal("ellipsis_word_ratio", "ratio", INF, '"..." and "…" / words (Gopher)'),
        real_signal("symbol_word_ratio", "ratio", 1.0, 'words with a "#" or a "…" / words (Dolma)'),
        real_signal("newline_word_ratio", "ratio", INF, "newlines / words (FineWeb)"),
        real_signal("whitespace_character_ratio", "ratio", 1.0, "whitespace / characters"),
        real_signal("alphabetic_character_ratio", "ratio", 1.0, "letters of any script / characters"),
        real_signal("uppercase_character_ratio", "ratio", 1.0, "upper-case letters / characters"),
        real_signal("digit_character_ratio", "ratio", 1.0, "decimal digits of any script / characters"),
        real_signal(
            "punctuation_character_ratio", "ratio", 1.0, "punctuation, symbols and controls / characters"
        ),
        real_signal("non_ascii_character_ratio", "ratio", 1.0, "characters beyond ASCII / characters"),
    ),
)
