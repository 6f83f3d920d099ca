"""Knobs: values that a user may set. Each is declared once, as a field of a dataclass that is a `Config`:

    width: int = knob(64, "width of the stream", "[2, 131072]")

Checks, suggestions for misspelt names, rows of a reference page and JSON schemas are made from these declarations.
A range is an interval: a bracket includes its end, a parenthesis does not.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, Self

KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word"}
SCHEMA_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "str": "string"}


def knob(
    default: Any,
    help: str,
    allowed: str | tuple[str, ...] = "",
    *,
    unset: str = "",
    former: str = "",
    in_identity: bool = True,
) -> Any:
    """A field that a user may set.

    `allowed`: an interval, or the words to choose from. `unset`: what holds where nobody sets it, if the default only
    stands for that. `former`: the name that it had. `in_identity`: whether runs that differ in it are different runs.
    """
    return field(default=default, metadata={"knob": (help, allowed, unset, former, in_identity, True)})


def fact(default: Any, help: str, allowed: str = "") -> Any:
    """A field beside the knobs, which the data or the run sets and no user does; MISSING: it must be given."""
    return field(default=default, metadata={"knob": (help, allowed, "", "", True, False)})


class Row(NamedTuple):
    """A knob on a reference page."""

    name: str
    default: str
    allowed: str
    help: str


@dataclass(frozen=True)
class Knob:
    """What is known of a knob. `kind` is int, float, bool or str."""

    name: str
    kind: str
    optional: bool  # may be None
    default: Any
    help: str
    allowed: str | tuple[str, ...]
    unset: str = ""
    former: str = ""
    in_identity: bool = True
    for_users: bool = True

    def check(self, path: str, value: object) -> None:
        """Raise a ValueError that names `path` unless the value is allowed. What stands for "unset" is."""
        unset = type(value) is type(self.default) and value == self.default
        if not (unset or (value is None and self.optional) or self._allows(value)):
            raise ValueError(f"{path} = {value!r}: must be {self.said}")

    def _allows(self, value: Any) -> bool:
        if isinstance(self.allowed, tuple):
            return value in self.allowed
        if self.kind in ("bool", "str"):
            return isinstance(value, bool if self.kind == "bool" else str)
        number = isinstance(value, int if self.kind == "int" else int | float) and not isinstance(value, bool)
        return number and (not self.allowed or inside(value, self.allowed))

    @property
    def said(self) -> str:
        """What is allowed, in words."""
        if isinstance(self.allowed, tuple):
            return "one of " + ", ".join(self.allowed)
        return KINDS[self.kind] + (f" in {self.allowed}" if self.allowed else "")

    def row(self, path: str) -> Row:
        default = self.default if isinstance(self.default, str) else str(self.default).lower()
        return Row(path, self.unset or default, self.said, self.help)

    def schema(self) -> dict[str, Any]:
        """JSON schema of a value, or of a list of values, which is an axis of a grid."""
        value: dict[str, Any] = {"type": SCHEMA_TYPES[self.kind]}
        if isinstance(self.allowed, tuple):
            value["enum"] = list(self.allowed)
        elif self.allowed:
            low, high, with_low, with_high = ends(self.allowed)
            value["minimum" if with_low else "exclusiveMinimum"] = low
            value["maximum" if with_high else "exclusiveMaximum"] = high
        axis = {"type": "array", "items": value, "minItems": 1, "uniqueItems": True}
        return {"description": self.help, "anyOf": [value, axis]}


def ends(interval: str) -> tuple[float, float, bool, bool]:
    """(low, high, whether low belongs to it, whether high does) of "[0, 1)"."""
    parts = re.fullmatch(r"([\[(])(\S+), (\S+)([\])])", interval)
    assert parts, interval
    opening, low, high, closing = parts.groups()
    return float(low), float(high), opening == "[", closing == "]"


def inside(value: float, interval: str) -> bool:
    low, high, with_low, with_high = ends(interval)
    return (low <= value if with_low else low < value) and (value <= high if with_high else value < high)


class Config:
    """Base of dataclasses whose fields are knobs. `where` is the name of their table, "" at the top."""

    where: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, one in declared(type(self)).items():
            one.check(path_to(self.where, name), getattr(self, name))

    @classmethod
    def of(cls, given: Mapping[str, Any], **facts: Any) -> Self:
        """From plain values (JSON, TOML). An unknown name is an error, never silently a default."""
        known = {f.name for f in fields(cls)} - set(facts)  # type: ignore[arg-type]
        check_names(cls.where, given, known, former_names(cls))
        return cls(**given, **facts)


def declared(config: type) -> dict[str, Knob]:
    """The knobs and facts of a `Config`, in their order."""
    return {f.name: _knob_of(f) for f in fields(config) if "knob" in f.metadata}


def _knob_of(f: Any) -> Knob:
    kind, *rest = f.type.split(" | ")
    return Knob(
        f.name, kind, "None" in rest, None if f.default is MISSING else f.default, *f.metadata["knob"]
    )


def former_names(config: type) -> dict[str, str]:
    """Former name -> name."""
    return {one.former: name for name, one in declared(config).items() if one.former}


def path_to(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def check_names(
    where: str, given: Iterable[str], known: Iterable[str], former: Mapping[str, str] | None = None
) -> None:
    """Refuse the first name that is not known. `where` is the path to it: "model", "" for the top."""
    names = sorted(known)
    for name in sorted(set(given) - set(names)):
        if former and name in former:
            raise ValueError(f"{path_to(where, name)}: is now called {former[name]}")
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
        raise ValueError(f"{path_to(where, name)}: {hint}")
