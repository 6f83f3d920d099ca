"""Whether an answer holds when it is asked again: two reports beside each other."""

from __future__ import annotations

import math
from typing import Any

Interval = tuple[float, float, float]  # value, low, high


def answers(facts: dict) -> dict[tuple[str, str, str, str], Interval]:
    """(holdout, level, against, "difference" or "rate") -> value and interval. Rates are logarithms, whose ends may be
    infinite."""
    found: dict[tuple[str, str, str, str], Interval] = {}
    for holdout, about in facts["holdouts"].items():
        for one in about["exchange"]:
            where = holdout, one["level"], one["of"]
            if gap := one["difference"]:
                found[*where, "difference"] = gap["value"], gap["low"], gap["high"]
            if rate := one["rate"]:
                found[*where, "rate"] = _log(rate["rate"]), _log(rate["low"]), _log(rate["high"])
    return found


def _log(value: float | None) -> float:
    return math.inf if value is None else math.log(value) if value > 0 else -math.inf


def agree(a: Interval, b: Interval) -> bool:
    """Whether two independent answers differ by no more than both intervals together let them."""
    low, high = (a, b) if a[0] <= b[0] else (b, a)
    return high[0] - low[0] <= math.hypot(low[2] - low[0], high[0] - high[1])


def compared(a: dict, b: dict) -> list[dict[str, Any]]:
    """A row for every answer that both reports give."""
    first, second = answers(a), answers(b)
    rows = []
    for key in first:
        if key in second:
            names = dict(zip(("holdout", "level", "of", "what"), key, strict=True))
            rows.append(
                names
                | {
                    "a": _as_row(key, first[key]),
                    "b": _as_row(key, second[key]),
                    "agree": agree(first[key], second[key]),
                }
            )
    return rows


def _as_row(key: tuple[str, str, str, str], interval: Interval) -> list[float | None]:
    """JSON has no infinity."""
    values = [math.exp(x) if x < 700 else math.inf for x in interval] if key[-1] == "rate" else list(interval)
    return [x if math.isfinite(x) else None for x in values]
