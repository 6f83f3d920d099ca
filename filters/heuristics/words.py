"""Words and characters: how many there are, how long, and of what kind. Words are whitespace words.

The kernel only counts, in whole numbers, one row a tally; ratios are divisions of two rows afterwards. Words and
characters of ASCII are found 64 at a time, as masks, and so is what a word holds (`_holders`); only lengths and stop
words are asked of each. Characters beyond ASCII are decoded one by one, which is why Chinese is slower than English.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from filters.columns import INF, count_signal, ratio, real_signal
from filters.family import Family
from filters.text.batches import valid
from filters.text.bits import NO_BITS, ONE_BIT, count_bits, eight_bytes, lowest_bit, lowest_bits
from filters.text.classes import ALPHABETIC, DIGIT, PUNCTUATION, UPPERCASE, character_classes
from filters.text.compiled import inlined, kernel, loop
from filters.text.masks import (
    capital_mask,
    continuation_mask,
    digit_mask,
    dot_mask,
    hash_mask,
    in_ranges,
    letter_mask,
    newline_mask,
    non_ascii_mask,
)
from filters.text.pages import PADDING, blocks_of, decode, find_words, longest_document, open_page

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # case-sensitive
LONGEST_STOP_WORD = 4  # bytes
SPREAD = np.uint64(
    0xA648A7DD06839EB9
)  # times a stop word's bytes as a number: its upper four bits differ for each


def _stop_table() -> tuple[np.ndarray, np.ndarray]:
    """(uint64 [16], int64 [16]): the bytes of the stop word of each slot as a number, and how many there are."""
    words, sizes = np.zeros(16, np.uint64), np.zeros(16, np.int64)
    for word in STOP_WORDS:
        number = int.from_bytes(word.encode(), "little")
        slot = (number * int(SPREAD) & (2**64 - 1)) >> 60
        assert sizes[slot] == 0
        assert len(word) <= LONGEST_STOP_WORD
        words[slot], sizes[slot] = number, len(word)
    return words, sizes


STOPS = _stop_table()

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

symbol_mask = in_ranges((0x23, 0x23), (0xE2, 0xE2))  # "#", and what may begin "…"
punctuation_mask = in_ranges((0x00, 0x1F), (0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7F))


@inlined
def _add_ascii(page, block, text, tally):
    """Count the ASCII characters among the 64 bytes from `block`; `text` has a bit for each byte of text.

    Returns (letters, punctuation) as masks.
    """
    letters, punctuation = letter_mask(page, block) & text, punctuation_mask(page, block) & text
    tally[HASHES] += count_bits(hash_mask(page, block) & text)
    tally[NEWLINES] += count_bits(newline_mask(page, block) & text)
    tally[DIGITS] += count_bits(digit_mask(page, block) & text)
    tally[UPPERCASES] += count_bits(capital_mask(page, block) & text)
    tally[ALPHABETICS] += count_bits(letters)
    tally[PUNCTUATIONS] += count_bits(punctuation)
    return letters, punctuation


@inlined
def _add_others(page, block, others, classes, tally):
    """Count the characters beyond ASCII that begin at these bits; returns (letters, punctuation) as masks."""
    letters = punctuation = NO_BITS
    tally[NON_ASCII] += count_bits(others)
    while others:
        at = lowest_bit(others)
        code, _ = decode(page, block + at)
        others &= others - ONE_BIT
        kind = classes[code]
        tally[DIGITS] += (kind & DIGIT) != 0
        tally[UPPERCASES] += (kind & UPPERCASE) != 0
        letters |= np.uint64((kind & ALPHABETIC) != 0) << np.uint64(at)
        punctuation |= np.uint64((kind & PUNCTUATION) != 0) << np.uint64(at)
        tally[ELLIPSES] += code == 0x2026  # "…"
    tally[ALPHABETICS] += count_bits(letters)
    tally[PUNCTUATIONS] += count_bits(punctuation)
    return letters, punctuation


@inlined
def _holders(words, marks, before):
    """Which words hold a mark: (a bit behind the end of each that does, 1 if the last one holds a mark and goes on).

    Adding the marks of a run of bits to the run carries a bit out behind its end, if there are marks. `before` is 1
    if a word that began in an earlier block holds a mark.
    """
    begun = before & words & ONE_BIT
    added = words + (marks & words | begun)
    return added & ~words | before & ~words & ONE_BIT, np.uint64(added < words)


@loop
def _add_characters(page, length, blocks, character_edges, classes, tally):
    """Count characters by kind, and words by what they hold."""
    dots = 0  # dots just before, less the three of every ellipsis counted: "....." is one "..."
    last_dot = -1
    ended = 0  # words so far
    goes_on = lettered = cored = (
        NO_BITS  # 1 if a word reaches the end of the block before, holds a letter, is core
    )
    for block in range(0, length + 1, 64):  # one more, where the last word may end
        text = lowest_bits(length - block)
        word = blocks[block // 64] if text else NO_BITS
        letters, punctuation = _add_ascii(page, block, text, tally)
        beyond = non_ascii_mask(page, block) & text
        if beyond:
            continued = continuation_mask(page, block)
            more_letters, more_punctuation = _add_others(page, block, beyond & ~continued, classes, tally)
            letters |= more_letters
            punctuation |= more_punctuation | beyond & continued
        ends = (word << ONE_BIT | goes_on) & ~word
        with_letter, lettered = _holders(word, letters, lettered)
        core, cored = _holders(word, ~punctuation, cored)
        tally[ALPHABETIC_WORDS] += count_bits(with_letter & ends)
        tally[CORE_WORDS] += count_bits(core & ends)
        bare = ends & ~core
        while bare:
            at = lowest_bit(bare)
            bare &= bare - ONE_BIT
            k = ended + count_bits(ends & lowest_bits(at))
            tally[CORE_WORD_CHARACTERS] -= character_edges[2 * k + 1] - character_edges[2 * k]
        ended += count_bits(ends)
        goes_on = word >> np.uint64(63)
        lettered &= goes_on
        cored &= goes_on
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
def _add_words(page, byte_edges, character_edges, words, lengths, stops, tally):
    """Lengths of words, and which are stop words."""
    lengths[:] = 0
    seen = NO_BITS  # a bit for each stop word
    for i in range(words):
        start, size = byte_edges[2 * i], byte_edges[2 * i + 1] - byte_edges[2 * i]
        characters = character_edges[2 * i + 1] - character_edges[2 * i]
        lengths[min(characters, COMMON_LENGTHS)] += 1
        if characters >= COMMON_LENGTHS:
            tally[LONGEST_WORD_CHARACTERS] = max(tally[LONGEST_WORD_CHARACTERS], characters)
        word = eight_bytes(page, start) & lowest_bits(8 * min(size, LONGEST_STOP_WORD))
        slot = word * SPREAD >> np.uint64(60)
        found = (stops[0][slot] == word) & (stops[1][slot] == size)
        tally[STOP] += found
        seen |= np.uint64(found) << slot
    tally[DISTINCT_STOP] = count_bits(seen)
    if words:
        for characters in range(COMMON_LENGTHS):
            if lengths[characters]:
                tally[LONGEST_WORD_CHARACTERS] = max(tally[LONGEST_WORD_CHARACTERS], characters)
        tally[DOUBLED_MEDIAN] = _doubled_median(character_edges, words, lengths)


@kernel
def _count(offsets, data, classes, stops, tallies):
    """Fill in int64 [tallies, documents]."""
    longest = longest_document(offsets)
    page = np.empty(longest + PADDING, np.uint8)
    byte_edges, character_edges = np.empty(longest + 10, np.int32), np.empty(longest + 10, np.int32)
    blocks = np.empty(blocks_of(longest), np.uint64)
    lengths = np.empty(COMMON_LENGTHS + 1, np.int64)
    tally = np.empty(len(tallies), np.int64)
    for i in range(len(offsets) - 1):
        length = open_page(page, data, offsets[i], offsets[i + 1])
        tally[:] = 0
        words, characters = find_words(page, length, byte_edges, character_edges, blocks)
        tally[WORDS], tally[CHARACTERS] = words, characters
        for k in range(words):
            tally[WORD_CHARACTERS] += character_edges[2 * k + 1] - character_edges[2 * k]
        tally[CORE_WORD_CHARACTERS] = tally[WORD_CHARACTERS]  # less those of words that are not
        _add_characters(page, length, blocks, character_edges, classes, tally)
        _add_words(page, byte_edges, character_edges, words, lengths, stops, tally)
        _add_symbol_words(page, length, byte_edges, words, tally)
        tallies[:, i] = tally


def measure(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Word and character signals of every text; all are 0 for an empty one."""
    offsets, data = valid(texts)
    tallies = np.zeros((len(TALLIES), len(offsets) - 1), np.int64)
    _count(offsets, data, character_classes(), STOPS, tallies)
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
