"""From whole-number tallies to columns, and how the columns are declared."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from filters.family import Signal

INF = float("inf")
SPANS = pa.large_list(pa.struct([("start", pa.int64()), ("end", pa.int64())]))


def ratio(part: np.ndarray, whole: np.ndarray) -> pa.Array:
    """float64 part / whole; 0.0 where the whole is 0."""
    return pa.array(np.divide(part, whole, out=np.zeros(len(part)), where=whole != 0))


def count_signal(name: str, unit: str, says: str, high: float = INF) -> Signal:
    """A whole number, 0 for an empty document."""
    return Signal(name, unit, 0.0, high, 0, says, pa.int64())


def label_signal(name: str, says: str) -> Signal:
    """A label; null for an empty document."""
    return Signal(name, "label", None, None, None, says, pa.string())


def span_signal(name: str, says: str) -> Signal:
    """Stretches of a document's UTF-8, which a level may cut or mask; none in an empty document."""
    return Signal(name, "spans", None, None, [], says, SPANS)


def spans(offsets: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> pa.Array:
    """A column of spans: document i has [starts[k], ends[k]) for k in offsets[i]..offsets[i + 1].

    Bytes are counted from the document's own beginning. Spans lie on characters' borders, are not empty, in
    ascending order, and do not overlap.
    """
    pairs = pa.StructArray.from_arrays(
        [pa.array(starts, pa.int64()), pa.array(ends, pa.int64())], ["start", "end"]
    )
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pairs)


def real_signal(name: str, unit: str, high: float, says: str) -> Signal:
    """A real number, 0.0 for an empty document."""
    return Signal(name, unit, 0.0, high, 0.0, says, pa.float64())
