"""From whole-number tallies to columns, and how the columns are declared."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from filters import Signal

INF = float("inf")


def ratio(part: np.ndarray, whole: np.ndarray) -> pa.Array:
    """float64 part / whole; 0.0 where the whole is 0."""
    return pa.array(np.divide(part, whole, out=np.zeros(len(part)), where=whole != 0))


def count_signal(name: str, unit: str, says: str, high: float = INF) -> Signal:
    """A whole number, 0 for an empty document."""
    return Signal(name, unit, 0.0, high, 0, says, pa.int64())


def real_signal(name: str, unit: str, high: float, says: str) -> Signal:
    """A real number, 0.0 for an empty document."""
    return Signal(name, unit, 0.0, high, 0.0, says, pa.float64())
