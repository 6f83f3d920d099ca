"""Knobs: names a user may set. A misspelt one is an error with a suggestion, never silently a default."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

# Names that knobs had; the identities of runs still hold them.
FORMER_NAMES = {
    "rate": "learning_rate",
    "table_rate": "embedding_learning_rate",
    "turns": "muon_interval",
    "clip": "grad_clip",
    "start": "init_scale",
}
COOLDOWN = 0.25  # share of a run's steps in which the rate decays, where a cell does not say


def knob_names(config: type) -> list[str]:
    """The fields of a dataclass."""
    return [field.name for field in fields(config)]


def check_knobs(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse the first knob that is not known. `where` is the path to it: "model", "" for the top."""
    names = sorted(known)
    for name in sorted(set(given) - set(names)):
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
        if FORMER_NAMES.get(name) in names:
            hint = f"is now called {FORMER_NAMES[name]}"
        raise ValueError(f"{where}.{name}: {hint}" if where else f"{name}: {hint}")


def current_names(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs of a record, which may be older than their names."""
    return {FORMER_NAMES.get(name, name): value for name, value in knobs.items()}


def check_value(name: str, value: object, allowed: tuple) -> None:
    """Refuse a value that is none of the words allowed, or not of (kind, least, most)."""
    if isinstance(allowed[0], str):
        if value not in allowed:
            raise ValueError(f"{name} = {value!r}: must be one of {', '.join(allowed)}")
        return
    kind, *limits = allowed
    said = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}[kind]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and (kind is float or isinstance(value, int)) if limits else isinstance(value, kind)):
        raise ValueError(f"{name} = {value!r}: must be {said}")
    if limits and not limits[0] <= value <= limits[1]:  # type: ignore[operator]
        raise ValueError(f"{name} = {value!r}: must be {said} of {limits[0]:g} to {limits[1]:g}")
