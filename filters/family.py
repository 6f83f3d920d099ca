"""A signal is one column of numbers or labels; a family is what one pass of one kernel measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class Signal:
    """One column: what it is called, what it counts, and which values it can take."""

    name: str
    unit: str  # "words", "characters", "ratio", "label", ...
    low: float | None  # smallest possible value; None where a range makes no sense (labels)
    high: float | None  # largest possible value, float("inf") where there is none
    empty: object  # the value of an empty document; None is null
    says: str  # the definition in one line, with its source where it was published
    type: pa.DataType = pa.float64()
    # See `columns`.
    formula: Callable[[Any], pa.Array] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Family:
    """Signals that one pass measures: `measure(texts, **parameters)` returns a column for each, in order.

    What `takes` names comes along as keyword arguments, a column each, row by row beside the texts: signals
    of other families, or columns that the documents' source carries (all null where it does not). All families are
    measured one after another on some megabytes, then on the next, so what one finds others can use (`text.shared`);
    one that finds it for all of them goes `first`.
    """

    name: str
    version: int
    measure: Callable[..., dict[str, pa.Array]]
    signals: tuple[Signal, ...]
    takes: tuple[str, ...] = ()
    first: bool = False


def of_the_pool(texts: pa.Array, **parameters: object) -> dict[str, pa.Array]:
    """In the place of `measure`, where all documents of a pool are measured together."""
    raise AssertionError("measured over a whole pool, see duplicates.leaders and duplicates.repeats")
