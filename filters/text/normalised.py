"""Texts as they are compared with others: in NFC (UAX #15), without the code points that nobody sees.

A letter with its accent is one code point or two, and a soft hyphen or a zero-width space stands between any two letters:
the text reads the same, so it is compared as the same. Default_Ignorable_Code_Point (UAX #44) says what is not seen.

A kernel finds the documents that may have anything to change; only these are rewritten, so others cost one look at
their bytes beyond ASCII. A run of more than MOST_MARKS combining marks, which no language has, is put in order in pieces of
so many: sorting it as a whole would take the square of its length. Spans that were found in a rewritten text are put
back to the bytes they stand for.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pyarrow as pa

from filters.text.batches import shared, valid
from filters.text.compiled import kernel
from filters.text.masks import non_ascii_mask
from filters.text.pages import decode

# Default_Ignorable_Code_Point of Unicode 15.1, DerivedCoreProperties.txt. The property does not shrink.
IGNORABLE = (
    (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
JAMO = (
    *range(0x1161, 0x1176),
    *range(0x11A8, 0x11C3),
)  # vowels and finals: they compose with what is before them
DECOMPOSABLE = 0x30000  # above it no character has a decomposition or a combining class
MOST_MARKS = 64  # in a row; the Stream-Safe Text Format of UAX #15 has 30
CHANGES, IGNORED = 255, 254  # no combining class is so high
# What a document has: ignorable code points, what NFC may change, many marks in a row.
UNSEEN, OTHERWISE, LONG_RUN = 1, 2, 4


def _ranges(codes: set[int]) -> list[tuple[int, int]]:
    each = np.array(sorted(codes))
    breaks = np.flatnonzero(np.diff(each) > 1)
    return list(zip(each[np.r_[0, breaks + 1]].tolist(), each[np.r_[breaks, -1]].tolist(), strict=True))


def _class(ranges: Iterable[tuple[int, int]]) -> str:
    return "".join(f"{re.escape(chr(low))}-{re.escape(chr(high))}" for low, high in ranges)


_IGNORABLE = re.compile(f"[{_class(IGNORABLE)}]+")


@dataclass(frozen=True)
class _Characters:
    # uint8 [code points]: the combining class; CHANGES where NFC_Quick_Check is not Yes; IGNORED
    classes: np.ndarray
    long_runs: re.Pattern  # MOST_MARKS combining marks
    spots: re.Pattern  # a character with all that joins it, and a single one that NFC writes otherwise


@lru_cache(maxsize=1)
def _characters() -> _Characters:
    """By this Python's Unicode. Takes some 0.1 s."""
    classes = np.zeros(sys.maxunicode + 1, np.uint8)
    seconds, singles = set(JAMO), set()
    for code in range(DECOMPOSABLE):
        character = chr(code)
        classes[code] = unicodedata.combining(character)
        if parts := unicodedata.decomposition(character):
            if not unicodedata.is_normalized("NFC", character):
                singles.add(code)
            elif not parts.startswith("<") and " " in parts:
                seconds.add(int(parts.split()[1], 16))
    marks = set(np.flatnonzero(classes).tolist())
    joining = seconds | marks
    joining |= {code for code in singles if unicodedata.combining(unicodedata.normalize("NFC", chr(code))[0])}
    joining |= {code for low, high in IGNORABLE for code in range(low, high + 1)}
    classes[[*seconds, *singles]] = CHANGES
    for low, high in IGNORABLE:
        classes[low : high + 1] = IGNORED
    joins, alone = _class(_ranges(joining)), _class(_ranges(singles - joining))
    classes.flags.writeable = False
    long_runs = re.compile(f"[{_class(_ranges(marks))}]{{{MOST_MARKS}}}")
    return _Characters(classes, long_runs, re.compile(f"[^{joins}]?[{joins}]+|[{alone}]"))


def normalised_text(text: str) -> str:
    """In NFC, without ignorable code points."""
    return _rewritten(text, UNSEEN | OTHERWISE | LONG_RUN)


def _rewritten(text: str, why: int) -> str:
    """`why`: what the kernel saw in it, so that nothing is looked for in vain."""
    text = _IGNORABLE.sub("", text) if why & UNSEEN else text
    if not why & OTHERWISE:
        return text
    if not why & LONG_RUN or len(text) <= MOST_MARKS:
        return unicodedata.normalize("NFC", text)
    cuts = [0, *(run.end() for run in _characters().long_runs.finditer(text)), len(text)]
    return "".join(unicodedata.normalize("NFC", text[a:b]) for a, b in pairwise(cuts))


@dataclass(frozen=True)
class Normalised:
    """Valid UTF-8 of every document as it is compared, and the rows of those that were rewritten."""

    offsets: np.ndarray  # int64 [documents + 1]
    data: np.ndarray  # uint8
    rewritten: np.ndarray  # int64 [rows], ascending

    def in_the_texts(
        self, texts: pa.Array | pa.ChunkedArray, counts: np.ndarray, edges: np.ndarray
    ) -> np.ndarray:
        """Spans int64 [n, 2] found here, `counts[i]` of document i, as the bytes of the texts that they stand for."""
        offsets, data = valid(texts)
        firsts = np.concatenate([[0], np.cumsum(counts)])
        with_spans = self.rewritten[counts[self.rewritten] > 0]
        edges = edges.copy() if len(with_spans) else edges
        for row in with_spans.tolist():
            own = slice(firsts[row], firsts[row + 1])
            text = data[offsets[row] : offsets[row + 1]].tobytes().decode()
            edges[own] = _in_the_text(_changes(text), edges[own])
        return edges


def _changes(text: str) -> np.ndarray:
    """int64 [n, 4]: (begin, end) in bytes of the text that differ in the normalised one, and there."""
    rows, at, before, after = [], 0, 0, 0
    for spot in _characters().spots.finditer(text):
        same = len(text[at : spot.start()].encode())
        before, after = before + same, after + same
        size, normal = len(spot.group().encode()), len(normalised_text(spot.group()).encode())
        rows.append((before, before + size, after, after + normal))
        at, before, after = spot.end(), before + size, after + normal
    return np.array(rows, np.int64).reshape(-1, 4)


def _in_the_text(changes: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """A span that begins or ends inside what changed takes all of it."""
    begin, end, new_begin, new_end = np.vstack([np.zeros((1, 4), np.int64), changes]).T
    starts, stops = edges.T
    k = np.searchsorted(new_begin, starts, "right") - 1  # the last change that begins there or before
    starts = np.where(starts < new_end[k], begin[k], end[k] + starts - new_end[k])
    k = np.maximum(np.searchsorted(new_begin, stops, "left") - 1, 0)  # the last one that begins before
    stops = np.where(stops <= new_end[k], end[k], end[k] + stops - new_end[k])
    return np.stack([starts, stops], axis=1)


@shared
def normalised(texts: pa.Array | pa.ChunkedArray) -> Normalised:
    """Every document as it is compared; where none is to be changed, the texts' own bytes."""
    offsets, data = valid(texts)
    suspects = np.zeros(len(offsets) - 1, np.uint8)
    _suspect(offsets, data, _characters().classes, suspects)
    pieces, rewritten, sizes, at = [], [], np.diff(offsets), offsets[0]
    for row in np.flatnonzero(suspects).tolist():
        old = data[offsets[row] : offsets[row + 1]].tobytes()
        new = _rewritten(old.decode(), int(suspects[row])).encode()
        if new != old:
            pieces += [data[at : offsets[row]], np.frombuffer(new, np.uint8)]
            rewritten.append(row)
            sizes[row], at = len(new), offsets[row + 1]
    if not rewritten:
        return Normalised(offsets, data, np.empty(0, np.int64))
    new_offsets, new_data = np.r_[0, np.cumsum(sizes)], np.concatenate([*pieces, data[at : offsets[-1]]])
    new_offsets.flags.writeable = new_data.flags.writeable = (
        False  # as the texts' own are: one type to kernels
    )
    return Normalised(new_offsets, new_data, np.array(rewritten))


@kernel
def _suspect(offsets, data, classes, suspects):
    """Say of each document what it has that may have to be rewritten, as UNSEEN and others, or-ed."""
    for i in range(len(suspects)):
        at, end = offsets[i], offsets[i + 1]
        before, run, has = np.uint8(0), 0, 0
        while at < end:
            if data[at] < 0x80:
                at += 64 if at + 64 <= end and non_ascii_mask(data, at) == 0 else 1
                before, run = np.uint8(0), 0
                continue
            code, width = decode(data, at)
            at += width
            kind = classes[code]
            if kind == IGNORED:  # what stands on both its sides will stand together
                has |= UNSEEN
                continue
            if kind == CHANGES or 0 < kind < before:
                has |= OTHERWISE
            run = run + 1 if kind else 0
            if run >= MOST_MARKS:
                has |= LONG_RUN
            before = kind
        suspects[i] = has if has != LONG_RUN else 0
