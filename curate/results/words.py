"""What was found, as sentences and figures in words: `1.84 [1.51, 2.20]`, `not distinguishable`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from curate.quantities import short_count

NEGLIGIBLE = 0.01  # share of text that seeds read in common


def text_of(name: str) -> str:
    """What a holdout is called: a level's, or a target."""
    return name if name.startswith("target ") else f"held-out {name} text"


def statement(
    name: str, holdout: dict, tuning: Callable[[tuple[str, str]], str] = lambda pair: ""
) -> str | None:
    """The sentence of a holdout, about the last level and the first, in the first setting of all axes that are not tuned.
    `tuning`: (series, series) -> how both were trained, where that was chosen."""
    here = holdout["levels"]
    setting = here[next(iter(here))]["setting"]
    rows = holdout["exchange"]
    asked = [e for e in rows if here[e["level"]]["setting"] == setting]
    if not asked:
        return None
    last = asked[-1]
    notes = _notes(holdout, last["level"])
    trained = tuning((last["level"], last["of"]))
    return f"On {text_of(name)}, {_comparison(last)}{f', {trained}' if trained else ''}{f' ({notes})' if notes else ''}."


def _notes(holdout: dict, level: str) -> str:
    """What a reader has to know before she believes the sentence."""
    shared = holdout.get("documents_shared", 0.0)
    rests = holdout.get("influence", {}).get(level) or {}
    notes = (
        [f"documents shared: seeds read {shared:.0%} of their text in common"] if shared > NEGLIGIBLE else []
    )
    if rests.get("decided_by_few"):
        notes.append(f"depends on {rests['decisive_documents']:,} of {rests['documents']:,} documents")
    return "; ".join(notes)


def _comparison(asked: dict) -> str:
    level, of, rate, gap = asked["level"], asked["of"], asked["rate"], asked["difference"]
    if rate:
        by_bytes = asked.get("per_byte")
        per_byte = f" ({rate_text(by_bytes)} byte for byte)" if by_bytes else ""
        worth = f"one token of {level} is worth {rate_text(rate)} tokens of {of}{per_byte}"
        return worth if rate["distinguishable"] else f"{level} is not distinguishable from {of}: {worth}"
    if gap:
        how = "" if gap["distinguishable"] else f", not distinguishable from {of}"
        return (
            f"{level} has {difference_text(gap)} nats per token against {of} at {gap['tokens']:,} tokens{how}"
        )
    return f"{level} and {of} cannot be compared: {asked['why_not']}"


def rate_text(rate: dict) -> str:
    """`1.84 [1.51, 2.20]`, with `at least` and the like where the runs show no more."""
    prefix = (
        ""
        if rate["kind"] == "measured"
        else "about "
        if rate["kind"] == "extrapolated"
        else f"{rate['kind']} "
    )
    high = "∞" if rate["high"] is None else _rate(rate["high"])
    return f"{prefix}{_rate(rate['rate'])} [{_rate(rate['low'])}, {high}]"


def _rate(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def difference_text(gap: dict) -> str:
    """`−0.052 [−0.071, −0.033]`, with true minus signs; an end that is not known is infinite."""
    low = "-∞" if gap["low"] is None else _signed(gap["low"])
    high = "+∞" if gap["high"] is None else _signed(gap["high"])
    return f"{gap['value']:+.3f} [{low}, {high}]".replace("-", "−")


def _signed(end: float) -> str:
    """With as many digits as tell it from 0: a verdict is read off the interval."""
    digits = 3 if abs(end) >= 0.0005 or not end else min(9, -math.floor(math.log10(abs(end))))
    return f"{end:+.{digits}f}"


def keep_together(sentence: str) -> str:
    """A value stays on one line with its interval."""
    return re.sub(r"(\S+) \[(\S+), (\S+)\]", "\\1\u00a0[\\2,\u00a0\\3]", sentence)


def bound_text(bound: Any) -> str:
    """`50 to 100,000`, `at least 0.8`, `en, de`."""
    if not isinstance(bound, list):
        return str(bound).lower() if isinstance(bound, bool) else str(bound)
    if len(bound) != 2 or not all(
        x is None or (isinstance(x, int | float) and not isinstance(x, bool)) for x in bound
    ):
        return ", ".join(str(x).lower() if isinstance(x, bool) else str(x) for x in bound)
    low, high = ("" if x is None or not math.isfinite(x) else f"{x:,.6g}" for x in bound)
    return (
        f"{low} to {high}"
        if low and high
        else f"at least {low}"
        if low
        else f"at most {high}"
        if high
        else "any"
    )


def figure_text(value: float, low: float | None, high: float | None, *, digits: int = 3) -> str:
    """`2.31 [2.20, 2.45]`."""
    left, right = ("∞" if x is None or math.isinf(x) else f"{x:,.{digits}f}" for x in (low, high))
    return f"{value:,.{digits}f} [{left}, {right}]".replace("-", "−")


def count_text(value: float, low: float | None, high: float | None) -> str:
    """`1.2M [0.9M, 1.6M]`, of tokens or parameters."""
    left, right = (
        "∞" if x is None or math.isinf(x) else short_count(round(x) if x >= 1 else 0) for x in (low, high)
    )
    return f"{short_count(round(value))} [{left}, {right}]"
