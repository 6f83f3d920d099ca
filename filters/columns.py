"""A signal is declared where it is computed: its name, its unit, what it is made of, and its definition.

    SIGNALS = (
        count("line_count", "lines", Tally.LINES, "lines of str.splitlines(), blank ones included"),
        ratio("bullet_line_ratio", Tally.BULLETS, Tally.LINES, 'lines that begin with "•" or "-" / lines (Gopher)'),
    )

A kernel fills in whole-number *tallies*: int64, a row for each member of the family's IntEnum, a column for each
document. A signal is made of such rows, of another array that the pass has found (by its name), or of what a function
makes of both. `columns` turns what was found into a column for each signal, in the order of the declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from filters.family import Family, Signal
from filters.text.batches import valid

INF = float("inf")
FLOAT, INTEGER = pa.float64(), pa.int64()
VECTORS = pa.list_(pa.float16())
SPANS = pa.large_list(pa.struct([("start", pa.int64()), ("end", pa.int64())]))

# A row of the tallies, an array by its name, or a function of all that was found.
Source = IntEnum | str | Callable[[Any], Any]


def count(
    name: str, unit: str, of: Source, says: str, *, high: float = INF, missing: str | None = None
) -> Signal:
    """A whole number: 0 for an empty document, or null where the array called `missing` says so."""
    return _number(name, unit, 0.0, high, 0, says, INTEGER, of, missing)


def real(
    name: str, unit: str, of: Source, says: str, *, low: float = 0.0, high: float = INF, empty: float = 0.0,
    missing: str | None = None, kind: pa.DataType = FLOAT,
) -> Signal:  # fmt: skip
    """A real number: `empty` for an empty document, or null where the array called `missing` says so."""
    return _number(name, unit, low, high, empty, says, kind, of, missing)


def ratio(
    name: str, part: Source, whole: Source, says: str, *, unit: str = "ratio", high: float = 1.0
) -> Signal:
    """part / whole, 0.0 where the whole is 0."""
    return real(
        name, unit, lambda measured: divided(rows(part, measured), rows(whole, measured)), says, high=high
    )


def label(name: str, of: Source, says: str) -> Signal:
    """A label; null for an empty document."""
    return Signal(name, "label", None, None, None, says, pa.string(), lambda measured: rows(of, measured))


def vector(name: str, of: str, says: str) -> Signal:
    """Numbers that are compared with those of other documents; nothing bounds them. Null for an empty document."""
    return Signal(name, "vector", None, None, None, says, VECTORS, lambda measured: rows(of, measured))


def span(name: str, of: Source, edges: str, says: str) -> Signal:
    """Stretches of a document's UTF-8, which a level may cut or mask; none in an empty document.

    `of`: how many each document has; `edges`: the array of where they begin (even places) and end (odd ones).
    """

    def formula(measured: Any) -> pa.Array:
        firsts, places = np.concatenate([[0], np.cumsum(rows(of, measured))]), getattr(measured, edges)
        return spans(firsts, places[::2], places[1::2])

    return Signal(name, "spans", None, None, [], says, SPANS, formula)


def columns(signals: Iterable[Signal], **measured: Any) -> dict[str, pa.Array]:
    """A column for each signal, from what one pass has found: `tallies`, and arrays by the names that signals use."""
    everything = SimpleNamespace(**measured)
    return {signal.name: signal.formula(everything) for signal in signals if signal.formula}


def tallied(
    name: str, version: int, signals: tuple[Signal, ...], tally: type[IntEnum], kernel: Callable[..., Any],
    *tables: Callable[[], Any],
) -> Family:  # fmt: skip
    """A family of which `kernel(offsets, data, tables ..., tallies)` fills in all tallies. What it returns are the `edges`
    of spans. An empty text has 0 of everything."""

    def measure(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
        offsets, data = valid(texts)
        tallies = np.zeros((len(tally), len(offsets) - 1), np.int64)
        edges = kernel(offsets, data, *(table() for table in tables), tallies)
        return columns(signals, tallies=tallies, edges=edges)

    return Family(name, version, measure, signals)


def rows(of: Source, measured: Any) -> Any:
    """The numbers, one a document, that a source names."""
    if isinstance(of, str):
        return getattr(measured, of)
    return measured.tallies[of] if isinstance(of, IntEnum) else of(measured)


def divided(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """float64 part / whole; 0.0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole != 0)


def spans(offsets: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> pa.Array:
    """A column of spans: document i has [starts[k], ends[k]) for k in offsets[i]..offsets[i + 1].

    Bytes are counted from the document's own beginning. Spans lie on characters' borders, are not empty, in
    ascending order, and do not overlap.
    """
    pairs = pa.StructArray.from_arrays(
        [pa.array(starts, pa.int64()), pa.array(ends, pa.int64())], ["start", "end"]
    )
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pairs)


def vectors_of(rows_ND: np.ndarray, there: np.ndarray) -> pa.Array:
    """A column of VECTORS; null where `there` (bool [n]) says so."""
    size = rows_ND.shape[1]
    ends = np.concatenate([[0], np.cumsum(there) * size]).astype(np.int32)
    ends = pa.array(ends, mask=np.append(~there, False))
    return pa.ListArray.from_arrays(ends, pa.array(rows_ND[there].astype(np.float16).ravel()), type=VECTORS)


def _number(
    name: str, unit: str, low: float, high: float, empty: float, says: str, kind: pa.DataType, of: Source,
    missing: str | None,
) -> Signal:  # fmt: skip
    def formula(measured: Any) -> pa.Array:
        return pa.array(rows(of, measured), kind, mask=getattr(measured, missing) if missing else None)

    return Signal(name, unit, low, high, None if missing else empty, says, kind, formula)
