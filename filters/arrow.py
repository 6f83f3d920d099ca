"""The only door to raw bytes: a text column as offsets and UTF-8, without a copy.

A kernel reads document i as `data[offsets[i]:offsets[i + 1]]`. Offsets of a sliced column do not begin
at 0, buffers of a memory-mapped file are read-only, and a document may be missing (null): all of that
is known here and nowhere else. Both arrays come back read-only, whatever they lie on, so that numba
compiles one signature for fresh arrays and for memory maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)

BATCH = 4_000_000  # bytes of text that all families are measured on, one after another: it stays in the cache


def text_column(texts: pa.Array | pa.ChunkedArray, missing: str | None = "") -> pa.LargeStringArray:
    """One contiguous `large_string` array, in which `missing` stands for nulls. Copies only if it must."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.chunk(0) if texts.num_chunks == 1 else texts.combine_chunks()
    if not pa.types.is_large_string(texts.type):
        texts = texts.cast(pa.large_string())
    return texts.fill_null(missing) if texts.null_count and missing is not None else texts


def any_column(texts: Any) -> pa.Array:
    """A text column of any library as one Arrow array, nulls included. Raises TypeError where it holds no text."""
    if isinstance(texts, str | bytes) or not (
        hasattr(texts, "__len__") or hasattr(texts, "__arrow_c_stream__")
    ):
        raise TypeError(
            f"{type(texts).__name__} is no column of texts; give an Arrow array, a series or a list"
        )
    if hasattr(texts, "source") and hasattr(texts, "column_name"):  # a column of `datasets`
        texts = texts.source.with_format("arrow", columns=[texts.column_name])[:].column(0)
    if isinstance(texts, pa.Array | pa.ChunkedArray):
        column = texts
    elif type(texts).__module__.startswith("pandas"):
        column = pa.array(texts, from_pandas=True)  # NaN is a missing text
    elif hasattr(texts, "__arrow_c_stream__"):
        column = pa.chunked_array(texts)
    else:
        column = pa.array(list(texts), None if len(texts) else pa.large_string())
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_null(column.type) or pa.types.is_dictionary(column.type):
        column = column.cast(pa.large_string())
    if not any(kind(column.type) for kind in TEXTS):
        raise TypeError(f"a column of {column.type} is no column of texts")
    return column


def batches(texts: pa.LargeStringArray, size: int = BATCH) -> list[tuple[int, int]]:
    """Rows [first, last) of some `size` bytes each; a document of more is alone, and there is one batch at least."""
    offsets = utf8(texts)[0]
    firsts = [0]
    while firsts[-1] < len(texts):
        first = firsts[-1]
        last = int(np.searchsorted(offsets, offsets[first] + size, side="right")) - 1
        firsts.append(max(first + 1, min(last, len(texts))))
    return list(pairwise(firsts)) or [(0, 0)]


def utf8(texts: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """(offsets int64 [n + 1], data uint8): the bytes of document i are `data[offsets[i]:offsets[i + 1]]`."""
    texts = text_column(texts)
    _, offset_buffer, data_buffer = texts.buffers()
    if len(texts) == 0 or offset_buffer is None:
        offsets = np.zeros(len(texts) + 1, np.int64)
    else:
        offsets = np.frombuffer(offset_buffer, np.int64, count=len(texts) + 1, offset=8 * texts.offset)
    has_bytes = data_buffer is not None and data_buffer.size
    data = np.frombuffer(data_buffer, np.uint8) if has_bytes else np.zeros(1, np.uint8)
    offsets, data = offsets.view(), data.view()
    offsets.flags.writeable = data.flags.writeable = False
    return offsets, data


def from_utf8(offsets: np.ndarray, data: np.ndarray) -> pa.LargeStringArray:
    """The inverse of `utf8`: a text column over these offsets (int64 [n + 1]) and bytes, without a copy."""
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)


def take(pieces: Sequence[pa.Array], rows: np.ndarray) -> pa.Array:
    """These rows of all pieces, one behind the other, in this order; there is at least one piece.

    Pieces are not joined to take a few rows of each: that would copy all of them.
    """
    order = np.argsort(rows, kind="stable")
    begins = np.cumsum([0, *map(len, pieces)])
    edges = np.searchsorted(rows[order], begins)
    some = zip(pieces, begins, edges, edges[1:], strict=False)
    taken = [piece.take(pa.array(rows[order[a:b]] - begin)) for piece, begin, a, b in some if b > a]
    if (order[1:] > order[:-1]).all():
        return taken[0] if len(taken) == 1 else pa.concat_arrays(taken or [pieces[0].slice(0, 0)])
    return pa.concat_arrays(taken).take(pa.array(np.argsort(order)))
