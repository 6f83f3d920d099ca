"""Edits: text without the spans that a level cuts, or with a mask in the place of each.

Spans of several signals may overlap. They are taken in the order in which they begin (of those that begin
together the first signal's first); one that overlaps or begins inside the one before is joined to it, and the
joined stretch gets the edit of the span that began it. So nothing that any signal names is left over.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.arrow import from_utf8, utf8
from filters.text.compiled import kernel


@kernel
def _appended(out, at, source, begin, end):
    """Write a stretch behind what `out` holds, if it has room for any; returns where it ends."""
    if len(out):
        out[at : at + end - begin] = source[begin:end]
    return at + end - begin


@kernel
def _write(offsets, data, firsts, starts, ends, which, masks, mask_offsets, new_offsets, out):
    """Fill in where each document ends after its edits, and its bytes; of an `out` without room the first alone."""
    at = 0
    for i in range(len(offsets) - 1):
        begin, free = offsets[i], 0
        for k in range(firsts[i], firsts[i + 1]):
            if starts[k] >= free:
                at = _appended(out, at, data, begin + free, begin + starts[k])
                at = _appended(out, at, masks, mask_offsets[which[k]], mask_offsets[which[k] + 1])
            free = max(free, ends[k])
        at = _appended(out, at, data, begin + free, offsets[i + 1])
        new_offsets[i + 1] = at


def _merged(columns: list[pa.Array]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(firsts int64 [n + 1], starts, ends, which column): all spans, by document and by where they begin."""
    documents, starts, ends, which = [], [], [], []
    for number, column in enumerate(columns):
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        bounds = column.offsets.to_numpy()
        spans = column.values.slice(int(bounds[0]), int(bounds[-1] - bounds[0]))  # a slice keeps all values
        documents.append(np.repeat(np.arange(len(column)), np.diff(bounds)))
        starts.append(spans.field("start").to_numpy())
        ends.append(spans.field("end").to_numpy())
        which.append(np.full(len(spans), number))
    document, start, end, of = map(np.concatenate, (documents, starts, ends, which))
    order = np.lexsort((of, start, document))
    firsts = np.searchsorted(document[order], np.arange(len(columns[0]) + 1))
    return firsts, start[order], end[order], of[order]


def edited_sizes(texts: pa.Array, columns: list[pa.Array], masks: list[str]) -> np.ndarray:
    """int64 [documents]: bytes of each text after its edits, without making it."""
    return np.diff(_edited(texts, columns, masks, np.empty(0, np.uint8)))


def edit(texts: pa.Array, columns: list[pa.Array], masks: list[str]) -> pa.LargeStringArray:
    """The texts with the spans of column k replaced by masks[k]; "" cuts them.

    Spans (`columns.SPANS`) count bytes from each document's beginning and lie on characters' borders.
    """
    offsets, _ = utf8(texts)
    longest = sum(
        len(mask.encode()) * int(pc.sum(pc.list_value_length(c)).as_py() or 0)
        for mask, c in zip(masks, columns, strict=True)
    )
    out = np.empty(int(offsets[-1] - offsets[0]) + longest, np.uint8)  # what stays free takes no memory
    new_offsets = _edited(texts, columns, masks, out)
    return from_utf8(new_offsets, out[: new_offsets[-1]])


def _edited(texts: pa.Array, columns: list[pa.Array], masks: list[str], out: np.ndarray) -> np.ndarray:
    """int64 [documents + 1]: the offsets of the edited texts, whose bytes are written to `out` if it has room."""
    offsets, data = utf8(texts)
    joined = np.frombuffer("".join(masks).encode() + b"\0", np.uint8)
    mask_offsets = np.cumsum([0, *(len(mask.encode()) for mask in masks)])
    new_offsets = np.zeros(len(offsets), np.int64)
    _write(offsets, data, *_merged(columns), joined, mask_offsets, new_offsets, out)
    return new_offsets
