"""Edits: text without the spans that a level cuts, or with a mask in the place of each.

Spans of several signals may overlap. They are taken in the order in which they begin (of those that begin
together the first signal's first); one that overlaps or begins inside the one before is joined to it, and the
joined stretch gets the edit of the span that began it. So nothing that any signal names is left over.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from filters.arrow import from_utf8, utf8
from filters.text.compiled import kernel, loop


@loop
def _measure(offsets, firsts, starts, ends, which, mask_sizes, sizes):
    """Fill in the bytes of each document after its edits."""
    for i in range(len(offsets) - 1):
        size = offsets[i + 1] - offsets[i]
        free = 0
        for k in range(firsts[i], firsts[i + 1]):
            if starts[k] >= free:
                size += mask_sizes[which[k]]
            size -= max(0, ends[k] - max(starts[k], free))
            free = max(free, ends[k])
        sizes[i] = size


@kernel
def _write(offsets, data, firsts, starts, ends, which, masks, mask_offsets, new_offsets, out):
    for i in range(len(offsets) - 1):
        at, begin = new_offsets[i], offsets[i]
        free = 0
        for k in range(firsts[i], firsts[i + 1]):
            if starts[k] >= free:
                n = starts[k] - free
                out[at : at + n] = data[begin + free : begin + free + n]
                at += n
                n = mask_offsets[which[k] + 1] - mask_offsets[which[k]]
                out[at : at + n] = masks[mask_offsets[which[k]] : mask_offsets[which[k]] + n]
                at += n
            free = max(free, ends[k])
        n = offsets[i + 1] - begin - free
        out[at : at + n] = data[begin + free : begin + free + n]


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
    offsets, _ = utf8(texts)
    sizes = np.zeros(len(offsets) - 1, np.int64)
    mask_sizes = np.array([len(mask.encode()) for mask in masks])
    _measure(offsets, *_merged(columns), mask_sizes, sizes)
    return sizes


def edit(texts: pa.Array, columns: list[pa.Array], masks: list[str]) -> pa.LargeStringArray:
    """The texts with the spans of column k replaced by masks[k]; "" cuts them.

    Spans (`columns.SPANS`) count bytes from each document's beginning and lie on characters' borders.
    """
    offsets, data = utf8(texts)
    merged = _merged(columns)
    mask_offsets = np.cumsum([0, *(len(mask.encode()) for mask in masks)])
    sizes = np.zeros(len(offsets) - 1, np.int64)
    _measure(offsets, *merged, np.diff(mask_offsets), sizes)
    new_offsets = np.concatenate([[0], np.cumsum(sizes)])
    joined = np.frombuffer("".join(masks).encode() + b"\0", np.uint8).copy()
    out = np.empty(int(new_offsets[-1]), np.uint8)
    _write(offsets, data, *merged, joined, mask_offsets, new_offsets, out)
    return from_utf8(new_offsets, out)
