"""Numbers with the same bits on every machine. Libraries take logarithms and sums of products by other code on other
processors, and what comes of it differs in the last places.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

PLACES = 40  # binary, of 53
MEMORY = 10  # steps that `least` remembers
ENOUGH = 1e-9  # of the value, below which a step gains too little to go on


def agreed(values: np.ndarray) -> np.ndarray:
    """float64: what NumPy made of float64 by exp or log, to the places in which all processors agree."""
    mantissa, exponent = np.frexp(values)
    with np.errstate(over="ignore"):  # of infinity
        return np.ldexp(np.round(mantissa * 2.0**PLACES), exponent - PLACES)


def dot(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum())


def least(
    function: Callable[[np.ndarray], tuple[float, np.ndarray]], start: np.ndarray, steps: int
) -> np.ndarray:
    """Where a smooth convex function is least, by at most so many steps of L-BFGS (Nocedal 1980). `function` gives its
    value and slope."""
    x, (value, slope) = start, function(start)
    past: deque[tuple[np.ndarray, np.ndarray, float]] = deque(maxlen=MEMORY)
    for _ in range(steps):
        if not slope.any():
            break
        way, shares = -slope, []
        for step, change, curvature in reversed(past):
            shares.append(dot(step, way) / curvature)
            way = way - shares[-1] * change
        way = way * (past[-1][2] / dot(past[-1][1], past[-1][1]) if past else min(1, 1 / np.abs(slope).sum()))
        for (step, change, curvature), share in zip(past, reversed(shares), strict=True):
            way = way + (share - dot(change, way) / curvature) * step
        size, falls = 1.0, dot(slope, way)
        while (found := function(x + size * way))[0] > value + 1e-4 * size * falls and size > 1e-10:
            size /= 2
        gained, step, change = value - found[0], size * way, found[1] - slope
        if gained <= ENOUGH * abs(value):
            return x + step if gained > 0 else x
        x, (value, slope) = x + step, found
        if (curvature := dot(step, change)) > 0:
            past.append((step, change, curvature))
    return x
