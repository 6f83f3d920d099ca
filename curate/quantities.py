"""Numbers as people write them: "0.5M" tokens, "64 MB", and back."""

from __future__ import annotations

import re

BYTES_A_TOKEN = 4  # of text, where no tokenizer has been asked yet

_SUFFIX = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12}


def parse_count(text: str | int | float) -> int:
    """ "0.5M" -> 500000. Decimal suffixes k M G T (B for a billion, as of tokens), and a unit that is passed over: "64 MB".

    Raises ValueError where it is no positive number.
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        value = float(text)
    else:
        found = re.fullmatch(r"\s*([0-9_]*\.?[0-9]+)\s*([kmgbt]?)\s*(b|bytes|tokens)?\s*", str(text).lower())
        if not found:
            raise ValueError(f'"{text}" is no quantity; write a number such as 500000, "0.5M" or "64 MB"')
        value = float(found[1].replace("_", "")) * _SUFFIX[found[2]]
    if not 1 <= value <= 2**60 or isinstance(text, float) and value != round(value):
        raise ValueError(f'"{text}" is not a whole positive quantity')
    return round(value)


def parse_tokens(text: str | int | float) -> int:
    """As `parse_count`, of tokens: "10MB" is refused, since a reader would take it for bytes. Raises ValueError."""
    if re.fullmatch(r"[^a-z]*([kmgt]b|bytes)\s*", str(text).lower()):
        raise ValueError(
            f'"{text}" is bytes; write tokens, such as "10M", each some {BYTES_A_TOKEN} bytes of text'
        )
    return parse_count(text)


def short_count(value: float) -> str:
    """500000 -> "500k", 1234567 -> "1.23M": at most three digits."""
    for size, suffix in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= 0.9995 * size:  # 999,600 is 1M, not 1e+03k
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"


def short_bytes(value: float) -> str:
    return (
        f"{short_count(value)}B" if value < 999.5 else f"{short_count(value)[:-1]} {short_count(value)[-1]}B"
    )


def short_time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
