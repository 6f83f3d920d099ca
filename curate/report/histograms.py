"""How a signal is spread over the documents that a rule was asked about: what a bound is judged by."""

from __future__ import annotations

import math

import numpy as np

from curate.spec.bounds import Bound

BARS = 48
TAIL = 0.005  # of the documents on either side stand in the first and the last bar
WIDE = 20  # a signal whose largest value is so many times its median is drawn on a logarithmic scale


def histogram(values: np.ndarray, bound: Bound) -> dict | None:
    """Counts between `edges` of the values (float64, NaN where null); None where there is nothing to draw.

    What lies below the first edge or above the last is counted in the bar there.
    """
    known = values[np.isfinite(values)]
    limits = [limit for limit in (bound.low, bound.high) if math.isfinite(limit)]
    if not len(known) or not limits:
        return None
    low, high = np.quantile(known, [TAIL, 1 - TAIL])
    low, high = min(low, *limits), max(high, *limits)
    if low == high:
        low, high = low - 0.5, high + 0.5
    logarithmic = bool(low >= 0 and high > WIDE * max(1.0, float(np.median(known))))
    if logarithmic:
        edges = np.expm1(np.linspace(np.log1p(low), np.log1p(high), BARS + 1))
    else:
        edges = np.linspace(low, high, BARS + 1)
    counts = np.histogram(np.clip(known, edges[0], edges[-1]), edges)[0]
    return {
        "edges": [float(f"{edge:.6g}") for edge in edges],
        "counts": counts.tolist(),
        "bounds": limits,
        "keeps": [None if math.isinf(limit) else limit for limit in (bound.low, bound.high)],
        "logarithmic": logarithmic,
        "documents": len(values),
        "missing": len(values) - len(known),
    }
