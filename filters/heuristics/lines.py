"""Lines: how many, how long, how they begin and end. No line is compared with another here.

Two published ideas of a line live side by side. Gopher's are those of `str.splitlines()`, blank ones
included. FineWeb's are split at "\\n" alone and neither stripped nor counted when blank, so the lines of a
text with "\\r\\n" end in "\\r" and in no terminal mark. Both are found 64 bytes at a time.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from filters.columns import INF, count_signal, ratio, real_signal
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

TALLIES = (
    "lines",
    "bullet",
    "ellipsis",
    "text_lines",
    "text_line_characters",
    "terminal",
    "short",
    "split_lines",
    "dolma_bullet",
    "dolma_ellipsis",
    "ascii_terminal",
    "short_split",
)
(
    LINES, BULLET, ELLIPSIS, TEXT_LINES, TEXT_LINE_CHARACTERS, TERMINAL_LINES, SHORT, SPLIT_LINES, DOLMA_BULLET,
    DOLMA_ELLIPSIS, ASCII_TERMINAL, SHORT_SPLIT,
) = range(len(TALLIES))  # fmt: skip


@loop
def _add_line(page, start, end, classes, tally):
    """A line of `str.splitlines()`: "•" or "-" begins it, "..." or "…" ends it, after stripping."""
    tally[LINES] += 1
    start, end = strip(page, start, end, classes)
    if start == end:
        return
    first, _ = decode(page, start)
    tally[BULLET] += first == 0x2D or first == 0x2022
    last, _ = decode(page, last_character(page, start, end))
    dots = end - start >= 3 and page[end - 1] == 0x2E and page[end - 2] == 0x2E and page[end - 3] == 0x2E
    tally[ELLIPSIS] += last == 0x2026 or dots


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
    tally[SPLIT_LINES] += 1
    tally[SHORT_SPLIT] += characters <= SHORT_LINE
    if start < end:
        tally[DOLMA_BULLET] += page[start] == 0x2A or page[start] == 0x2D
        byte = page[end - 1]
        tally[DOLMA_ELLIPSIS] += (
            byte == 0xA6 and end - start >= 3 and page[end - 2] == 0x80 and page[end - 3] == 0xE2
        )
        tally[ASCII_TERMINAL] += byte == 0x2E or byte == 0x21 or byte == 0x3F or byte == 0x22 or byte == 0x27
    bare_start, bare_end = strip(page, start, end, classes)
    if bare_start == bare_end:
        return
    tally[TEXT_LINES] += 1
    tally[TEXT_LINE_CHARACTERS] += characters
    tally[SHORT] += characters <= SHORT_LINE
    last, _ = decode(page, last_character(page, start, end))
    tally[TERMINAL_LINES] += (classes[last] & TERMINAL) != 0


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


def measure(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Line signals of every text; all are 0 for an empty one."""
    offsets, data = valid(texts)
    tallies = np.zeros((len(TALLIES), len(offsets) - 1), np.int64)
    _count(offsets, data, character_classes(), tallies)
    n = dict(zip(TALLIES, tallies, strict=True))
    return {
        "line_count": pa.array(n["lines"]),
        "text_line_count": pa.array(n["text_lines"]),
        "mean_text_line_length": ratio(n["text_line_characters"], n["text_lines"]),
        "bullet_line_ratio": ratio(n["bullet"], n["lines"]),
        "ellipsis_line_ratio": ratio(n["ellipsis"], n["lines"]),
        "terminal_line_ratio": ratio(n["terminal"], n["text_lines"]),
        "short_line_ratio": ratio(n["short"], n["text_lines"]),
        "dolma_bullet_line_ratio": ratio(n["dolma_bullet"], n["split_lines"]),
        "dolma_ellipsis_line_ratio": ratio(n["dolma_ellipsis"], n["split_lines"]),
        "ascii_terminal_line_ratio": ratio(n["ascii_terminal"], n["split_lines"]),
        "short_split_line_ratio": ratio(n["short_split"], n["split_lines"]),
    }


FAMILY = Family(
    "lines",
    2,
    measure,
    (
        count_signal("line_count", "lines", "lines of str.splitlines(), blank ones included"),
        count_signal("text_line_count", "lines", 'lines between "\\n" that are not blank'),
        real_signal("mean_text_line_length", "characters", INF, "characters of a text line, on average"),
        real_signal("bullet_line_ratio", "ratio", 1.0, 'lines that begin with "•" or "-" / lines (Gopher)'),
        real_signal("ellipsis_line_ratio", "ratio", 1.0, 'lines that end in "..." or "…" / lines (Gopher)'),
        real_signal(
            "terminal_line_ratio",
            "ratio",
            1.0,
            "text lines that end in a sentence mark / text lines (FineWeb)",
        ),
        real_signal(
            "short_line_ratio",
            "ratio",
            1.0,
            f"text lines of at most {SHORT_LINE} characters / text lines (FineWeb)",
        ),
        real_signal(
            "dolma_bullet_line_ratio",
            "ratio",
            1.0,
            'lines of split("\\n") that begin with "*" or "-" / those lines (Dolma)',
        ),
        real_signal(
            "dolma_ellipsis_line_ratio", "ratio", 1.0, 'lines that end in "…" / the same lines (Dolma)'
        ),
        real_signal(
            "ascii_terminal_line_ratio",
            "ratio",
            1.0,
            "lines that end in . ! ? ' or \" / the same lines, blank ones too (FineWeb's first version)",
        ),
        real_signal(
            "short_split_line_ratio",
            "ratio",
            1.0,
            f"lines of at most {SHORT_LINE} characters / the same lines, blank ones too (FineWeb's first version)",
        ),
    ),
)
