"""Rules: bounds over signals, alone or as a named, published set (a profile, TOML beside the code or the manifest)."""

from __future__ import annotations

import hashlib
import math
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from curate.errors import did_you_mean


@dataclass(frozen=True)
class Bound:
    """What a signal may be: in [low, high] (inclusive), one of `labels`, or among the `top` fraction."""

    low: float = -math.inf
    high: float = math.inf
    labels: tuple[str, ...] | None = None
    top: float | None = None
    label: str | None = None  # how it reads where it is none of these

    def text(self) -> str:
        if self.label is not None:
            return self.label
        if self.labels is not None:
            return " | ".join(self.labels)
        if self.top is not None:
            return f"top {self.top:g}"
        return f"[{self.low:g}, {self.high:g}]"

    def as_json(self) -> Any:
        if self.labels is not None or self.label is not None:
            return list(self.labels) if self.labels is not None else self.label
        if self.top is not None:
            return {"top": self.top}
        return [None if math.isinf(x) else x for x in (self.low, self.high)]


@dataclass(frozen=True)
class Rule:
    """A bound on a signal, under the name by which the ledger knows it: `gopher-quality.core_word_count`."""

    name: str
    signal: str
    bound: Bound


@dataclass(frozen=True)
class Profile:
    name: str
    source: str
    rules: tuple[Rule, ...]
    digest: str


def parse_bound(signal: str, value: Any) -> Bound:
    """[low, high], a list of labels, or {top = 0.1}. Raises ValueError saying what is wrong and the fix."""
    if isinstance(value, dict):
        top = value.get("top")
        if set(value) != {"top"} or not isinstance(top, float) or not 0 < top < 1:
            raise ValueError(f"{signal} = {value}: write {{ top = 0.1 }} for the best tenth")
        return Bound(top=top)
    if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        return Bound(labels=_labels(signal, value))
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_number, value)):
        raise ValueError(
            f"{signal} = {value!r}: write [low, high] (inf where a side is open) or a list of labels"
        )
    low, high = map(float, value)
    if math.isnan(low) or math.isnan(high):
        raise ValueError(f"{signal} = {value}: nan bounds nothing; use inf for an open side")
    if low > high:
        raise ValueError(f"{signal} = [{low:g}, {high:g}] keeps nothing; swap the bounds")
    return Bound(low, high)


def _labels(signal: str, labels: list[str]) -> tuple[str, ...]:
    if signal != "language":
        return tuple(labels)
    from filters.codes import canonical

    return tuple(canonical(label) for label in labels)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def shipped_profiles() -> dict[str, Any]:
    folder = files("filters") / "profiles"
    return {f.name.removesuffix(".toml"): f for f in folder.iterdir() if f.name.endswith(".toml")}


def load_profile(name: str, beside: Path) -> Profile:
    """A profile by name: `NAME.toml` beside the manifest first, then the shipped ones."""
    own = [p for p in (beside / f"{name}.toml", beside / "profiles" / f"{name}.toml") if p.is_file()]
    shipped = shipped_profiles()
    if not own and name not in shipped:
        raise ValueError(f'there is no profile "{name}"{did_you_mean(name, shipped)}')
    text = (own[0] if own else shipped[name]).read_text(encoding="utf-8")
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f'profile "{name}": not TOML: {error}') from None
    unknown = set(tree) - {"name", "source", "keep"}
    if unknown or not isinstance(tree.get("keep"), dict):
        raise ValueError(
            f'profile "{name}": write name, source and a table [keep] with a bound for each signal'
        )
    try:
        rules = tuple(Rule(f"{name}.{s}", s, parse_bound(s, value)) for s, value in tree["keep"].items())
    except ValueError as error:
        raise ValueError(f'profile "{name}": {error}') from None
    return Profile(name, str(tree.get("source", "")), rules, hashlib.sha256(text.encode()).hexdigest())
