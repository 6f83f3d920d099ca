"""Lines: how many, how long, how they begin and end. No line is compared with another here.

Two published ideas of a line live side by side. Gopher's are those of `str.splitlines()`, blank ones
included. FineWeb's are split at "\\n" alone and neither stripped nor counted when blank, so the lines of a
text with "\\r\\n" end in "\\r" and in no terminal mark. Both are found 64 bytes at a time.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from filters.columns import INF, count, ratio, tallied
from filters.text import pages
from filters.text.classes import TERMINAL, character_classes
from filters.text.compiled import kernel, loop
from filters.text.phrases import ends_in, is_one_of

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
    start, end = pages.strip(page, start, end, classes)
    if start == end:
        return
    first, _ = pages.decode(page, start)
    tally[Tally.BULLETS] += first == 0x2D or first == 0x2022
    tally[Tally.ELLIPSES] += ends_in(page, start, end, b"\xe2\x80\xa6") or ends_in(page, start, end, b"...")


@loop
def _add_split_lines(page, length, classes, tally):
    start = 0
    while start < length:  # as str.splitlines(): no empty line after the last break
        end, next_start = pages.split_line(page, start, length)
        _add_line(page, start, end, classes, tally)
        start = next_start


@loop
def _add_text_line(page, start, end, characters, classes, tally):
    """A line between two "\\n", with whitespace left as it is. Blank ones count only among split lines."""
    tally[Tally.SPLIT_LINES] += 1
    tally[Tally.SPLIT_SHORT] += characters <= SHORT_LINE
    if start < end:
        tally[Tally.SPLIT_BULLETS] += page[start] == 0x2A or page[start] == 0x2D
        tally[Tally.SPLIT_ELLIPSES] += ends_in(page, start, end, b"\xe2\x80\xa6")
        tally[Tally.SPLIT_TERMINALS] += is_one_of(page[end - 1], b".!?\"'")
    bare_start, bare_end = pages.strip(page, start, end, classes)
    if bare_start == bare_end:
        return
    tally[Tally.TEXT_LINES] += 1
    tally[Tally.TEXT_LINE_CHARACTERS] += characters
    tally[Tally.SHORT_LINES] += characters <= SHORT_LINE
    last, _ = pages.decode(page, pages.last_character(page, start, end))
    tally[Tally.TERMINAL_LINES] += (classes[last] & TERMINAL) != 0


@loop
def _add_text_lines(page, length, classes, tally):
    start = 0
    while start <= length:
        end, characters = pages.line_from(page, start, length)
        _add_text_line(page, start, end, characters, classes, tally)
        start = end + 1


@kernel
def _count(offsets, data, classes, tallies):
    """Fill in int64 [tallies, documents]."""
    page = np.empty(pages.longest_document(offsets) + pages.PADDING, np.uint8)
    tally = np.empty(len(tallies), np.int64)
    for i in range(len(offsets) - 1):
        length = pages.open_page(page, data, offsets[i], offsets[i + 1])
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

FAMILY = tallied("lines", 2, SIGNALS, Tally, _count, character_classes)
