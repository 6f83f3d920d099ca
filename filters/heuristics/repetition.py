"""Repetition: lines, paragraphs and n-grams of words that a document says again.

A repeat is an occurrence after the first, a copy any occurrence of what occurs more than once. How they are
found exactly and in linear time: `filters/text/ngrams.py`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
import pyarrow as pa

from filters.columns import INF, Source, columns, count, ratio, real
from filters.family import Family, Signal
from filters.text import ngrams, pages
from filters.text.batches import valid
from filters.text.classes import character_classes
from filters.text.compiled import kernel, loop
from filters.text.vocabulary import read_names, tokens_to_spend, words_of

Tally = IntEnum("Tally", [
    "WORDS", "DISTINCT_WORDS", "WORD_CHARACTERS", "LONGEST_WORD_RUN", "NEWLINES",
    "LINES", "REPEATED_LINES", "REPEATED_LINE_CHARACTERS", "REPEATED_TEXT_LINE_CHARACTERS",
    "PARAGRAPHS", "REPEATED_PARAGRAPHS", "REPEATED_PARAGRAPH_CHARACTERS",
    "SPLIT_LINES", "COPIED_LINES", "COPIED_LINE_CHARACTERS",
], start=0)  # fmt: skip

# Characters of n-grams, for each n: of the most common one (also with the spaces between its words), of repeats, of
# copies, of every n-gram.
Gram = IntEnum("Gram", ["TOP_SPACED", "TOP", "REPEATED", "COPIED", "ALL"], start=0)

# ---- N-grams --------------------------------------------------------------------------------------------


@loop
def _top_characters(table, known, words_before, n):
    """(characters of the most common n-gram without spaces, its occurrences); of equals the first seen."""
    top_count, place = np.uint32(1), np.int64(0)  # where nothing repeats, the first n-gram is the most common
    for times in table.counts[:known]:
        top_count = max(top_count, times)
    if top_count > 1:
        place = np.int64(2**32)
        for name in range(known):
            if table.counts[name] == top_count:
                place = min(place, np.int64(table.firsts[name]))
    return ngrams.gram_characters(words_before, place, n), np.int64(top_count)


@loop
def _repeated_characters(places, names, known, grams, words_before, n, seen):
    """Characters of n-grams seen before, scanning from the left and jumping over each one found."""
    seen[:known] = 0
    characters, free_from = 0, 0
    for k in range(grams):
        place = np.int64(places[k])
        if place < free_from:
            continue
        if seen[names[k]]:
            characters += ngrams.gram_characters(words_before, place, n)
            free_from = place + n
        seen[names[k]] = 1
    return characters


@loop
def _copied_characters(places, names, counts, grams, words_before, n):
    """Characters of every occurrence of a repeated n-gram, the first one included, those that overlap twice."""
    characters = 0
    for k in range(grams):
        place = np.int64(places[k])
        characters += ngrams.gram_characters(words_before, place, n) * (counts[names[k]] >= 2)
    return characters


@loop
def _all_characters(words, words_before, n):
    """Characters of every n-gram: a sum of words_before[i + n] - words_before[i], of which most cancel out."""
    characters = 0
    for k in range(n):
        characters += words_before[words - k] - words_before[k]
    return characters


@loop
def _longest_run(names, words):
    """The longest run of one word."""
    same = 0
    for i in range(1, words):
        same += names[i] == names[i - 1]
    if same == 0:
        return min(words, 1)
    longest = run = 1
    for i in range(1, words):
        run = run + 1 if names[i] == names[i - 1] else 1
        longest = max(longest, run)
    return longest


@loop
def _sum_of_logarithms(counts, logarithms):
    """The sum of count * log2(count). `logarithms` are those of the first counts."""
    total = 0.0
    for times in counts:
        total += logarithms[times] if times < len(logarithms) else times * np.log2(times)
    return total


@loop
def _add_ngrams(words, places, names, of, to, scratch, hash_key, seen, words_before, sizes):
    """Fill in the sizes of the n-grams of so many words at these places, of these names, counted in the table `of`.

    Overwrites the places, the names, and the other two tables.
    """
    grams, known = words, 0
    for n in range(2, ngrams.LONGEST_NGRAM + 1):
        if words < n:
            break
        if grams:
            grams, known = ngrams.longer_grams(places, names, grams, of, to, scratch, hash_key)
            of, to = to, of
        if n <= 4:
            size, top = _top_characters(of, known if grams else 0, words_before, n)
            sizes[n, Gram.TOP_SPACED], sizes[n, Gram.TOP] = (size + n - 1) * top, size * top
            continue
        sizes[n, Gram.ALL] = _all_characters(words, words_before, n)
        if grams:
            sizes[n, Gram.REPEATED] = _repeated_characters(places, names, known, grams, words_before, n, seen)
            sizes[n, Gram.COPIED] = _copied_characters(places, names, of.counts, grams, words_before, n)


# ---- Lines and paragraphs -------------------------------------------------------------------------------


@loop
def _find_lines(page, length, edges, characters):
    """Byte edges (begin, end) of the stretches without "\\n" that are not empty, and characters of each.

    Returns (stretches, newlines).
    """
    lines = newlines = start = 0
    while start <= length:
        end, size = pages.line_from(page, start, length)
        newlines += end < length
        if end > start:
            edges[2 * lines], edges[2 * lines + 1] = start, end
            characters[lines] = size
            lines += 1
        start = end + 1
    return lines, newlines


@loop
def _add_lines(page, length, edges, characters, lines, names, first, classes, tally):
    """Gopher's lines are split at runs of "\\n", so an empty one comes first or last where a run does.

    FineWeb's are the same stretches without the blank ones.
    """
    leading = length > 0 and page[0] == 0x0A
    trailing = length > 0 and page[length - 1] == 0x0A
    tally[Tally.LINES] = lines + leading + trailing
    tally[Tally.REPEATED_LINES] = leading and trailing
    for i in range(lines):
        if first[names[i]] == i:
            continue
        tally[Tally.REPEATED_LINES] += 1
        tally[Tally.REPEATED_LINE_CHARACTERS] += characters[i]
        start, end = pages.strip(page, edges[2 * i], edges[2 * i + 1], classes)
        if start < end:
            tally[Tally.REPEATED_TEXT_LINE_CHARACTERS] += characters[i]


@loop
def _add_copied_lines(length, newlines, characters, lines, names, counts, tally):
    """Dolma's lines are those of `split("\\n")`, empty ones included; every copy of one counts, the first too."""
    tally[Tally.SPLIT_LINES] = newlines + 1 if length else 0
    empty = tally[Tally.SPLIT_LINES] - lines
    tally[Tally.COPIED_LINES] = empty if empty > 1 else 0
    for i in range(lines):
        if counts[names[i]] > 1:
            tally[Tally.COPIED_LINES] += 1
            tally[Tally.COPIED_LINE_CHARACTERS] += characters[i]


@loop
def _find_paragraphs(page, length, edges, characters, lines, names, counts, classes):
    """Turn the edges of lines into those of the paragraphs of the stripped text that may repeat, in place. Returns
    (paragraphs, those that may).

    Lines with one "\\n" between them belong together; that newline is a character of the paragraph. A paragraph repeats
    only if each of its lines does, unless stripping the text shortened a line.
    """
    text_start, text_end = pages.strip(page, 0, length, classes)
    shortened = (
        text_start > 0 and page[text_start - 1] != 0x0A or text_end < length and page[text_end] != 0x0A
    )
    paragraphs = kept = 0
    copied = True  # all lines so far of the last paragraph kept
    line_end = -2  # of the line before
    for i in range(lines):
        start, end = max(edges[2 * i], text_start), min(edges[2 * i + 1], text_end)
        if start >= end:
            continue
        size = characters[i]
        if start > edges[2 * i] or end < edges[2 * i + 1]:
            size = pages.count_characters(page, start, end)
        is_copied = shortened or counts[names[i]] > 1
        if start == line_end + 1:
            edges[2 * kept - 1] = end
            characters[kept - 1] += size + 1
            copied = copied and is_copied
        else:
            kept -= not copied
            edges[2 * kept], edges[2 * kept + 1] = start, end
            characters[kept] = size
            paragraphs, kept, copied = paragraphs + 1, kept + 1, is_copied
        line_end = end
    return paragraphs, kept - (not copied)


@loop
def _add_paragraphs(paragraphs, characters, names, first, tally):
    """Of paragraphs that may repeat."""
    for i in range(paragraphs):
        if first[names[i]] != i:
            tally[Tally.REPEATED_PARAGRAPHS] += 1
            tally[Tally.REPEATED_PARAGRAPH_CHARACTERS] += characters[i]


# ---- The family -----------------------------------------------------------------------------------------


@kernel
def _count_ngrams(tokens, most, overwrite, hash_key, gram_sizes):
    """Fill in int64 [n, kinds of size, documents]. `overwrite`: the tokens' names may be written over."""
    words_before = np.empty(most + 1, np.int32)
    room, places = np.empty(0 if overwrite else most, np.uint32), np.empty(most, np.uint32)
    seen = np.empty(most, np.uint8)
    table, other, scratch = ngrams.tables_for(most)
    for i in range(len(tokens.characters)):
        names = tokens.names[tokens.firsts[i] : tokens.firsts[i + 1]]
        first, last = tokens.known[i], tokens.known[i + 1]
        table.counts[: last - first] = tokens.counts[first:last]
        read_names(names, tokens.lengths[first:last], places, words_before)
        words = len(names)
        if not overwrite:
            room[:words] = names
            names = room
        _add_ngrams(
            words, places, names, table, other, scratch, hash_key, seen, words_before, gram_sizes[:, :, i]
        )


@kernel
def _count_words(words, tallies, entropies):
    """Fill in what words say beside their n-grams: of int64 [tallies, documents], and float64 [documents]."""
    logarithms = np.empty(256)
    for times in range(256):
        logarithms[times] = times * np.log2(times) if times else 0.0
    for i in range(len(words.characters)):
        names = words.names[words.firsts[i] : words.firsts[i + 1]]
        first, last = words.known[i], words.known[i + 1]
        tallies[Tally.WORDS, i], tallies[Tally.DISTINCT_WORDS, i] = len(names), last - first
        tallies[Tally.LONGEST_WORD_RUN, i] = _longest_run(names, len(names))
        for name in range(first, last):
            tallies[Tally.WORD_CHARACTERS, i] += np.int64(words.counts[name]) * words.lengths[name]
        if len(names):  # Shannon's: log2(words) - sum of count * log2(count) / words
            total = _sum_of_logarithms(words.counts[first:last], logarithms)
            entropies[i] = max(0.0, np.log2(len(names)) - total / len(names))


@kernel
def _count_lines(offsets, data, classes, hash_key, tallies):
    """Fill in those of lines and paragraphs: on their own, so that a huge document needs room for one thing at a time."""
    longest, most_lines = pages.longest_document(offsets), pages.most_newlines(offsets, data) + 1
    page = np.empty(longest + pages.PADDING, np.uint8)
    edges, characters = np.empty(2 * most_lines, np.int32), np.empty(most_lines, np.int32)
    names, places = np.empty(most_lines, np.uint32), np.empty(most_lines, np.uint32)
    table, _, scratch = ngrams.tables_for(most_lines)
    for i in range(len(offsets) - 1):
        length, tally = pages.open_page(page, data, offsets[i], offsets[i + 1]), tallies[:, i]
        lines, tally[Tally.NEWLINES] = _find_lines(page, length, edges, characters)
        ngrams.name_spans(page, edges, lines, places, names, table, scratch, hash_key)
        _add_copied_lines(length, tally[Tally.NEWLINES], characters, lines, names, table.counts, tally)
        _add_lines(page, length, edges, characters, lines, names, table.firsts, classes, tally)
        tally[Tally.PARAGRAPHS], paragraphs = _find_paragraphs(
            page, length, edges, characters, lines, names, table.counts, classes
        )
        ngrams.name_spans(page, edges, paragraphs, places, names, table, scratch, hash_key)
        _add_paragraphs(paragraphs, characters, names, table.firsts, tally)


def _ngrams(name: str, n: int, size: Gram, whole: Source, says: str, high: float = 1.0) -> Signal:
    return ratio(name, lambda measured: measured.gram_sizes[n, size], whole, says, high=high)


def _gopher_ngrams(prefix: str, words: str, paper: str) -> list[Signal]:
    """Occurrences of one n-gram overlap ("a a a a"), so those of the most common one can exceed the text."""
    return [
        _ngrams(f"{prefix}top_{n}gram_character_ratio", n, Gram.TOP_SPACED, "characters", high=INF,
                says=f"characters of the most common {n} {words} in a row, spaces between them included, "
                     f"/ characters ({paper})")
        for n in ngrams.TOP_NGRAMS
    ] + [
        _ngrams(f"{prefix}repeated_{n}gram_character_ratio", n, Gram.REPEATED, "characters",
                f"characters of {n} {words} in a row said before, none counted twice, / characters ({paper})")
        for n in ngrams.REPEATED_NGRAMS
    ]  # fmt: skip


def _every_ngram(n: int) -> Source:
    return lambda measured: measured.gram_sizes[n, Gram.ALL]


def _visible(measured: Any) -> np.ndarray:
    """Characters that are no newline."""
    return measured.characters - measured.tallies[Tally.NEWLINES]


SIGNALS = (
    ratio("distinct_word_ratio", Tally.DISTINCT_WORDS, Tally.WORDS, "different words / words"),
    ratio("repeated_paragraph_ratio", Tally.REPEATED_PARAGRAPHS, Tally.PARAGRAPHS,
          "repeated paragraphs / paragraphs (Gopher)"),
    ratio("repeated_paragraph_character_ratio", Tally.REPEATED_PARAGRAPH_CHARACTERS, "characters",
          "characters of repeated paragraphs / characters (Gopher)"),
    ratio("repeated_line_ratio", Tally.REPEATED_LINES, Tally.LINES, "repeated lines / lines (Gopher)"),
    ratio("repeated_line_character_ratio", Tally.REPEATED_LINE_CHARACTERS, "characters",
          "characters of repeated lines / characters (Gopher)"),
    ratio("repeated_text_line_character_ratio", Tally.REPEATED_TEXT_LINE_CHARACTERS, _visible,
          "characters of repeated text lines / characters that are no newline (FineWeb)"),
    *_gopher_ngrams("", "words", "Gopher"),
    ratio("repeated_split_line_character_ratio", Tally.REPEATED_LINE_CHARACTERS, _visible,
          "characters of repeated lines / characters that are no newline (FineWeb's first version)"),
    ratio("copied_line_ratio", Tally.COPIED_LINES, Tally.SPLIT_LINES,
          'lines of split("\\n") that occur more than once, first ones too / lines (Dolma)'),
    ratio("copied_line_character_ratio", Tally.COPIED_LINE_CHARACTERS, Tally.WORD_CHARACTERS,
          "characters of such lines / characters that are no whitespace (Dolma)", high=INF),
    *(_ngrams(f"top_{n}gram_word_character_ratio", n, Gram.TOP, Tally.WORD_CHARACTERS, high=INF,
              says=f"characters of the most common {n} words in a row / characters that are no whitespace (Dolma)")
      for n in ngrams.TOP_NGRAMS),
    *(_ngrams(f"copied_{n}gram_character_ratio", n, Gram.COPIED, _every_ngram(n),
              f"characters of every {n} words in a row that occur more than once / those of all {n} in a row (Dolma)")
      for n in ngrams.REPEATED_NGRAMS),
    count("longest_word_run", "words", Tally.LONGEST_WORD_RUN, "the longest run of one word said again and again"),
    real("word_entropy", "bits", "entropies", "Shannon's entropy of the distribution of words"),
)  # fmt: skip
UNICODE_SIGNALS = tuple(_gopher_ngrams("unicode_", "Unicode tokens", "FineWeb-2"))


def measure(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Repetition signals of every text; all are 0.0 for an empty one."""
    offsets, data = valid(texts)
    documents = len(offsets) - 1
    tallies, entropies = np.zeros((len(Tally), documents), np.int64), np.zeros(documents)
    gram_sizes = _no_ngrams(documents)
    words = words_of(texts)
    characters = words.characters
    _count_words(words, tallies, entropies)
    _count_ngrams(words, words.most(), True, ngrams.KEY, gram_sizes)
    del words
    _count_lines(offsets, data, character_classes(), ngrams.KEY, tallies)
    return columns(
        SIGNALS, tallies=tallies, gram_sizes=gram_sizes, characters=characters, entropies=entropies
    )


def measure_tokens(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Repetition of n-grams of Unicode tokens in every text; all are 0.0 for an empty one."""
    tokens, overwrite = tokens_to_spend(texts)
    gram_sizes = _no_ngrams(len(tokens.characters))
    _count_ngrams(tokens, tokens.most(), overwrite, ngrams.KEY, gram_sizes)
    return columns(UNICODE_SIGNALS, gram_sizes=gram_sizes, characters=tokens.characters)


def _no_ngrams(documents: int) -> np.ndarray:
    return np.zeros((ngrams.LONGEST_NGRAM + 1, len(Gram), documents), np.int64)


FAMILY = Family("repetition", 2, measure, SIGNALS)
UNICODE = Family("unicode_repetition", 1, measure_tokens, UNICODE_SIGNALS)
