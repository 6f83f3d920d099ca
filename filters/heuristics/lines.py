"""Lines: how many, how long, how they begin and end. No line is compared with another here.

Two published ideas of a line live side by side. Gopher's are those of `str.splitlines()`, blank ones
included. FineWeb's are split at "\\n" alone and neither stripped nor counted when blank, so the lines of a
text with "\\r\\n" end in "\\r" and in no terminal mark. Both are found 64 bytes at a time.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import pyarrow as pa

from filters.columns import INF, columns, count, ratio
from filters.family import Family
from filters.text.batches import valid
from filters.text.bits import NO_BITS, ONE_BIT, count_bits, lowest_bit, lowest_bits
from filters.text.classes import TERMINAL, character_classes
from filters.text.compiled import kernel, loop
from filters.text.masks import continuation_mask, line_break_mask, newline_mask, wide_break_mask
from filters.text.pages import (
    PADDING,
    break_bytes,
    decode,
    last_character,
    longest_document,
    open_page,
    strip,
)

SHORT_LINE = 30  # characters: FineWeb's lines of at most so many are short

Tally = IntEnum("Tally", [
    "LINES", "BULLETS", "ELLIPSES",  # lines of str.splitlines()
    "TEXT_LINES", "TEXT_LINE_CHARACTERS", "TERMINAL_LINES", "SHORT_LINES",  # lines between two "\n" that are not blank
    "SPLIT_LINES", "SPLIT_BULLETS", "SPLIT_ELLIPSES", "SPLIT_TERMINALS", "SPLIT_SHORT",  # the same, blank ones too
], start=0)  # fmt: skip


@loop
def _add_line(page, start, end, classes, tally):
    """A line of `str.splitlines()`: "•" or "-" begins it, "..." or "…" ends it, after stripping."""
    tally[Tally.LINES] += 1
    start, end = strip(page, start, end, classes)
    if start == end:
        return
    first, _ = decode(page, start)
    tally[Tally.BULLETS] += first == 0x2D or first == 0x2022
    last, _ = decode(page, last_character(page, start, end))
    dots = end - start >= 3 and page[end - 1] == 0x2E and page[end - 2] == 0x2E and page[end - 3] == 0x2E
    tally[Tally.ELLIPSES] += last == 0x2026 or dots


@loop
def _add_split_lines(page, length, classes, tally):
    start = 0
    for block in range(0, length, 64):
        breaks = (line_break_mask(page, block) | wide_break_mask(page, block)) & lowest_bits(length - block)
        while breaks:
            at = block + lowest_bit(breaks)
            breaks &= breaks - ONE_BIT
            width = break_bytes(page, at)
            if width == 0 or at < start:  # at < start: the "\n" of a "\r\n" already dealt with
                continue
            _add_line(page, start, at, classes, tally)
            start = at + width
    if start < length:  # as str.splitlines(): no empty line after the last break
        _add_line(page, start, length, classes, tally)


@loop
def _add_text_line(page, start, end, characters, classes, tally):
    """A line between two "\\n", with whitespace left as it is. Blank ones count only among split lines."""
    tally[Tally.SPLIT_LINES] += 1
    tally[Tally.SPLIT_SHORT] += characters <= SHORT_LINE
    if start < end:
        tally[Tally.SPLIT_BULLETS] += page[start] == 0x2A or page[start] == 0x2D
        byte = page[end - 1]
        tally[Tally.SPLIT_ELLIPSES] += (
            byte == 0xA6 and end - start >= 3 and page[end - 2] == 0x80 and page[end - 3] == 0xE2
        )
        tally[Tally.SPLIT_TERMINALS] += (
            byte == 0x2E or byte == 0x21 or byte == 0x3F or byte == 0x22 or byte == 0x27
        )
    bare_start, bare_end = strip(page, start, end, classes)
    if bare_start == bare_end:
        return
    tally[Tally.TEXT_LINES] += 1
    tally[Tally.TEXT_LINE_CHARACTERS] += characters
    tally[Tally.SHORT_LINES] += characters <= SHORT_LINE
    last, _ = decode(page, last_character(page, start, end))
    tally[Tally.TERMINAL_LINES] += (classes[last] & TERMINAL) != 0


@loop
def _add_text_lines(page, length, classes, tally):
    start = 0  # of this line: its byte, and how many characters come before it
    start_characters = characters = 0
    for block in range(0, length, 64):
        text = lowest_bits(length - block)
        newlines = newline_mask(page, block) & text
        first_bytes = ~continuation_mask(page, block) & text
        while newlines != NO_BITS:
            at = lowest_bit(newlines)
            newlines &= newlines - ONE_BIT
            before = characters + count_bits(first_bytes & lowest_bits(at))
            _add_text_line(page, start, block + at, before - start_characters, classes, tally)
            start, start_characters = block + at + 1, before + 1
        characters += count_bits(first_bytes)
    _add_text_line(page, start, length, characters - start_characters, classes, tally)


@kernel
def _count(offsets, data, classes, tallies):
    """Fill in int64 [tallies, documents]."""
    page = np.empty(longest_document(offsets) + PADDING, np.uint8)
    tally = np.empty(len(tallies), np.int64)
    for i in range(len(offsets) - 1):
        length = open_page(page, data, offsets[i], offsets[i + 1])
        tally[:] = 0
        _add_split_lines(page, length, classes, tally)
        if length:
            _add_text_lines(page, length, classes, tally)
        tallies[:, i] = tally


SIGNALS = (
    count("line_count", "lines", Tally.LINES, "lines of str.splitlines(), blank ones included"),
    count("text_line_count", "lines", Tally.TEXT_LINES, 'lines between "\\n" that are not blank'),
    ratio("mean_text_line_length", Tally.TEXT_LINE_CHARACTERS, Tally.TEXT_LINES, "characters of a text line, on average",
          unit="characters", high=INF),
    ratio("bullet_line_ratio", Tally.BULLETS, Tally.LINES, 'lines that begin with "•" or "-" / lines (Gopher)'),
    ratio("ellipsis_line_ratio", Tally.ELLIPSES, Tally.LINES, 'lines that end in "..." or "…" / lines (Gopher)'),
    ratio("terminal_line_ratio", Tally.TERMINAL_LINES, Tally.TEXT_LINES,
          "text lines that end in a sentence mark / text lines (FineWeb)"),
    ratio("short_line_ratio", Tally.SHORT_LINES, Tally.TEXT_LINES,
          f"text lines of at most {SHORT_LINE} characters / text lines (FineWeb)"),
    ratio("dolma_bullet_line_ratio", Tally.SPLIT_BULLETS, Tally.SPLIT_LINES,
          'lines of split("\\n") that begin with "*" or "-" / those lines (Dolma)'),
    ratio("dolma_ellipsis_line_ratio", Tally.SPLIT_ELLIPSES, Tally.SPLIT_LINES,
          'lines that end in "…" / the same lines (Dolma)'),
    ratio("ascii_terminal_line_ratio", Tally.SPLIT_TERMINALS, Tally.SPLIT_LINES,
          "lines that end in . ! ? ' or \" / the same lines, blank ones too (FineWeb's first version)"),
    ratio("short_split_line_ratio", Tally.SPLIT_SHORT, Tally.SPLIT_LINES,
          f"lines of at most {SHORT_LINE} characters / the same lines, blank ones too (FineWeb's first version)"),
)  # fmt: skip


def measure(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Line signals of every text; all are 0 for an empty one."""
    offsets, data = valid(texts)
    tallies = np.zeros((len(Tally), len(offsets) - 1), np.int64)
    _count(offsets, data, character_classes(), tallies)
    return columns(SIGNALS, tallies=tallies)


FAMILY = Family("lines", 2, measure, SIGNALS)
