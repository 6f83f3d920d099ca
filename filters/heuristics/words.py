"""Words and characters: how many there are, how long, and of what kind. Words are whitespace words.

The kernel only counts, in whole numbers; ratios are divisions of two tallies afterwards. Words and characters of ASCII
are found 64 at a time, as masks, and so is what a word holds (`_holders`); only its length, and whether it is a stop
word, are looked up word by word. Characters beyond ASCII are decoded one by one, so Chinese is slower than English.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np

from filters.columns import INF, count, ratio, real, tallied
from filters.text import masks, pages
from filters.text.bits import NO_BITS, ONE_BIT, count_bits, lowest_bits, places
from filters.text.classes import ALPHABETIC, DIGIT, PUNCTUATION, UPPERCASE, character_classes
from filters.text.compiled import inlined, kernel, loop
from filters.text.english import STOP_WORDS, STOPS, find_stop_word

COMMON_LENGTHS = 64  # words shorter than this many characters are counted by length, the others sorted

Tally = IntEnum("Tally", [
    "BYTES", "CHARACTERS", "DIGITS", "CAPITALS", "LETTERS", "PUNCTUATION", "NON_ASCII", "HASHES", "ELLIPSES", "NEWLINES",
    "WORDS", "WORD_CHARACTERS", "CORE_WORDS", "CORE_WORD_CHARACTERS", "ALPHABETIC_WORDS", "SYMBOL_WORDS",
    "LONGEST_WORD", "DOUBLED_MEDIAN",  # in characters; the median twice, since a whole number is counted
    "STOP_WORDS", "DISTINCT_STOP_WORDS",
], start=0)  # fmt: skip

symbol_mask = masks.in_ranges((0x23, 0x23), (0xE2, 0xE2))  # "#", and what may begin "…"
punctuation_mask = masks.in_ranges((0x00, 0x1F), (0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7F))


@inlined
def _add_ascii(page, block, text, tally):
    """Count the ASCII characters among the 64 bytes from `block`; `text` has a bit for each byte of text.

    Returns (letters, punctuation) as masks.
    """
    letters, punctuation = masks.letter_mask(page, block) & text, punctuation_mask(page, block) & text
    tally[Tally.DIGITS] += count_bits(masks.digit_mask(page, block) & text)
    tally[Tally.CAPITALS] += count_bits(masks.capital_mask(page, block) & text)
    tally[Tally.LETTERS] += count_bits(letters)
    tally[Tally.PUNCTUATION] += count_bits(punctuation)
    return letters, punctuation


@inlined
def _add_others(page, block, others, classes, tally):
    """Count the characters beyond ASCII that begin at these bits; returns (letters, punctuation) as masks."""
    letters = punctuation = NO_BITS
    tally[Tally.NON_ASCII] += count_bits(others)
    for at in places(others, 0):
        code, _ = pages.decode(page, block + at)
        kind = classes[code]
        tally[Tally.DIGITS] += (kind & DIGIT) != 0
        tally[Tally.CAPITALS] += (kind & UPPERCASE) != 0
        letters |= np.uint64((kind & ALPHABETIC) != 0) << np.uint64(at)
        punctuation |= np.uint64((kind & PUNCTUATION) != 0) << np.uint64(at)
    tally[Tally.LETTERS] += count_bits(letters)
    tally[Tally.PUNCTUATION] += count_bits(punctuation)
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
    ended = 0  # words so far
    goes_on = lettered = cored = NO_BITS  # 1 if a word reaches the block's end, holds a letter, is core
    for block in range(0, length + 1, 64):  # one more, where the last word may end
        text = lowest_bits(length - block)
        word = blocks[block // 64] if text else NO_BITS
        letters, punctuation = _add_ascii(page, block, text, tally)
        beyond = masks.non_ascii_mask(page, block) & text
        if beyond:
            continued = masks.continuation_mask(page, block)
            more_letters, more_punctuation = _add_others(page, block, beyond & ~continued, classes, tally)
            letters |= more_letters
            punctuation |= more_punctuation | beyond & continued
        ends = (word << ONE_BIT | goes_on) & ~word
        with_letter, lettered = _holders(word, letters, lettered)
        core, cored = _holders(word, ~punctuation, cored)
        tally[Tally.ALPHABETIC_WORDS] += count_bits(with_letter & ends)
        tally[Tally.CORE_WORDS] += count_bits(core & ends)
        for at in places(ends & ~core, 0):
            k = ended + count_bits(ends & lowest_bits(at))
            tally[Tally.CORE_WORD_CHARACTERS] -= character_edges[2 * k + 1] - character_edges[2 * k]
        ended += count_bits(ends)
        goes_on = word >> np.uint64(63)
        lettered &= goes_on
        cored &= goes_on


@loop
def _add_symbol_words(page, length, byte_edges, words, tally):
    """Words that hold a "#" or a "…"."""
    word, counted = 0, -1
    for block in range(0, length, 64):
        for at in places(symbol_mask(page, block) & lowest_bits(length - block), block):
            if page[at] == 0xE2 and not (page[at + 1] == 0x80 and page[at + 2] == 0xA6):
                continue
            while word < words and byte_edges[2 * word + 1] <= at:
                word += 1
            tally[Tally.SYMBOL_WORDS] += word != counted
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
        tally[Tally.WORD_CHARACTERS] += characters
        lengths[min(characters, COMMON_LENGTHS)] += 1
        if characters >= COMMON_LENGTHS:
            tally[Tally.LONGEST_WORD] = max(tally[Tally.LONGEST_WORD], characters)
        is_stop_word, slot = find_stop_word(page, start, size, stops, NO_BITS)
        tally[Tally.STOP_WORDS] += is_stop_word
        seen |= np.uint64(is_stop_word) << slot
    tally[Tally.DISTINCT_STOP_WORDS] = count_bits(seen)
    if words:
        for characters in range(COMMON_LENGTHS):
            if lengths[characters]:
                tally[Tally.LONGEST_WORD] = max(tally[Tally.LONGEST_WORD], characters)
        tally[Tally.DOUBLED_MEDIAN] = _doubled_median(character_edges, words, lengths)


@kernel
def _count(offsets, data, classes, stops, tallies):
    """Fill in int64 [tallies, documents]."""
    longest = pages.longest_document(offsets)
    page = np.empty(longest + pages.PADDING, np.uint8)
    byte_edges, character_edges = np.empty(longest + 10, np.int32), np.empty(longest + 10, np.int32)
    blocks = np.empty(pages.blocks_of(longest), np.uint64)
    lengths = np.empty(COMMON_LENGTHS + 1, np.int64)
    tally = np.empty(len(tallies), np.int64)
    for i in range(len(offsets) - 1):
        length = pages.open_page(page, data, offsets[i], offsets[i + 1])
        tally[:] = 0
        words, characters = pages.find_words(page, length, byte_edges, character_edges, blocks)
        tally[Tally.BYTES], tally[Tally.CHARACTERS], tally[Tally.WORDS] = length, characters, words
        tally[Tally.NEWLINES], tally[Tally.HASHES], tally[Tally.ELLIPSES] = pages.count_marks(page, length)
        _add_characters(page, length, blocks, character_edges, classes, tally)
        _add_words(page, byte_edges, character_edges, words, lengths, stops, tally)
        tally[Tally.CORE_WORD_CHARACTERS] += tally[Tally.WORD_CHARACTERS]  # less those of words that are none
        _add_symbol_words(page, length, byte_edges, words, tally)
        tallies[:, i] = tally


def _whitespace(measured: Any) -> np.ndarray:
    return measured.tallies[Tally.CHARACTERS] - measured.tallies[Tally.WORD_CHARACTERS]


SIGNALS = (
    count("byte_count", "bytes", Tally.BYTES, "bytes of UTF-8"),
    count("character_count", "characters", Tally.CHARACTERS, "code points"),
    count("word_count", "words", Tally.WORDS, "words, split on whitespace"),
    count("core_word_count", "words", Tally.CORE_WORDS, "words with a character that is no punctuation (Gopher)"),
    ratio("mean_word_length", Tally.WORD_CHARACTERS, Tally.WORDS, "characters of a word, on average",
          unit="characters", high=INF),
    ratio("mean_core_word_length", Tally.CORE_WORD_CHARACTERS, Tally.CORE_WORDS,
          "characters of a core word, on average (Gopher)", unit="characters", high=INF),
    real("median_word_length", "characters", lambda measured: measured.tallies[Tally.DOUBLED_MEDIAN] / 2,
         "characters of a word, the median (Dolma)"),
    count("longest_word_length", "characters", Tally.LONGEST_WORD, "characters of the longest word"),
    ratio("alphabetic_word_ratio", Tally.ALPHABETIC_WORDS, Tally.WORDS, "words with a letter / words (Gopher)"),
    count("stop_word_count", "words", Tally.DISTINCT_STOP_WORDS,
          f"how many of {', '.join(STOP_WORDS)} occur (Gopher)", high=8.0),
    count("stop_word_occurrence_count", "words", Tally.STOP_WORDS, "occurrences of those stop words (Dolma)"),
    ratio("hash_word_ratio", Tally.HASHES, Tally.WORDS, '"#" characters / words (Gopher)', high=INF),
    ratio("ellipsis_word_ratio", Tally.ELLIPSES, Tally.WORDS, '"..." and "…" / words (Gopher)', high=INF),
    ratio("symbol_word_ratio", Tally.SYMBOL_WORDS, Tally.WORDS, 'words with a "#" or a "…" / words (Dolma)'),
    ratio("newline_word_ratio", Tally.NEWLINES, Tally.WORDS, "newlines / words (FineWeb)", high=INF),
    ratio("whitespace_character_ratio", _whitespace, Tally.CHARACTERS, "whitespace / characters"),
    ratio("alphabetic_character_ratio", Tally.LETTERS, Tally.CHARACTERS, "letters of any script / characters"),
    ratio("uppercase_character_ratio", Tally.CAPITALS, Tally.CHARACTERS, "upper-case letters / characters"),
    ratio("digit_character_ratio", Tally.DIGITS, Tally.CHARACTERS, "decimal digits of any script / characters"),
    ratio("punctuation_character_ratio", Tally.PUNCTUATION, Tally.CHARACTERS,
          "punctuation, symbols and controls / characters"),
    ratio("non_ascii_character_ratio", Tally.NON_ASCII, Tally.CHARACTERS, "characters beyond ASCII / characters"),
)  # fmt: skip

FAMILY = tallied("words", 2, SIGNALS, Tally, _count, character_classes, lambda: STOPS)
