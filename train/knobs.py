"""Knobs: names a user may set. A misspelt one is an error with a suggestion, never silently a default."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import fields


def knob_names(config: type) -> list[str]:
    """The fields of a dataclass."""
    return [field.name for field in fields(config)]


def check_knobs(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse the first knob that is not known. `where` is the path to it: "model", "" for the top."""
    names = sorted(known)
    for name in sorted(set(given) - set(names)):
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
        raise ValueError(f"{where}.{name}: {hint}" if where else f"{name}: {hint}")
