"""Signals: numbers measured on every document. A text column goes in, numbers come out.

A *family* is what one pass of one kernel measures; a *signal* is one column of it. Families are what
is cached, so a family carries the version of its definitions: whoever changes what a signal means
raises the version, and every stored value of the old meaning is measured anew.

Nothing here opens a file of documents, reads a manifest or drops anything.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Family:
    """Signals that one pass measures: `measure(texts, **parameters)` returns a column for each, in order."""

    name: str
    version: int
    measure: Callable[..., dict[str, pa.Array]]
    signals: tuple[Signal, ...]
