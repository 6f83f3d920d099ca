"""The families that a manifest measures, shipped or its own: found by name, and put in an order to measure them."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from curate.signals import custom, loss
from filters import Family, Signal
from filters.heuristics import word_lists
from filters.models import distilled
from filters.registry import FAMILIES, OF_THE_POOL

WORD_LIST = "word_list."  # of the names of families that look for a list of words
DISTILLED = "distilled."  # of those that foretell what a judge says
FILES = ("model", "domains", "words", "list", "run")  # parameters that are the path of a file


def shipped() -> dict[str, Family]:
    """Every family that a manifest can ask for by its name."""
    return {**FAMILIES, loss.FAMILY.name: loss.FAMILY, **of_the_pool()}


def of_the_pool() -> dict[str, Family]:
    """Families that are measured over all documents together, after every other."""
    return OF_THE_POOL


def shipped_signals() -> dict[str, tuple[str, Signal]]:
    """Signal -> (its family, itself)."""
    return {signal.name: (name, signal) for name, family in shipped().items() for signal in family.signals}


def described() -> list[dict]:
    """Every shipped signal for a reader: family, version, what it takes, unit, range, empty value, definition."""
    return [
        {
            "name": signal.name, "family": name, "version": family.version, "takes": list(family.takes), "unit": signal.unit,
            "range": "" if signal.low is None else f"{signal.low:g} to {signal.high:g}".replace("inf", "∞"),
            "empty": "none" if signal.empty == [] else "null" if signal.empty is None else f"{signal.empty:g}",
            "says": signal.says,
        }
        for name, family in shipped().items()
        for signal in family.signals
    ]  # fmt: skip


def family_of(name: str, parameters: dict) -> Family:
    """A family by its name in `Manifest.families`, with the parameters it has there."""
    if name.startswith(WORD_LIST):
        return word_lists.family(name)
    if name.startswith(DISTILLED):
        return distilled.family(name, parameters["labels"])
    if not name.startswith(custom.PREFIX):
        return shipped()[name]
    signal = name.removeprefix(custom.PREFIX)
    spans = parameters.get("spans", False)
    no_number = any(parameters.get(key, False) for key in (*custom.LISTS, "labels"))
    low, high = (None, None) if no_number else (parameters["low"], parameters["high"])
    empty: object
    unit, empty = ("spans", []) if spans else (parameters["unit"], None)
    says = f"custom signal {parameters['function']}"
    described = Signal(signal, unit, low, high, empty, says, custom.type_of(parameters))
    takes = tuple(parameters.get("takes", ()))
    return Family(name, parameters["version"], _not_alone, (described,), takes=takes)


def _not_alone(texts: pa.Array, **parameters: object) -> dict[str, pa.Array]:
    raise AssertionError("a custom signal takes whole documents, see custom.measure")


def signals_of(families: dict[str, dict]) -> dict[str, str]:
    """Signal -> the family that measures it."""
    return {
        signal.name: name
        for name, parameters in families.items()
        for signal in family_of(name, parameters).signals
    }


def in_order(families: dict[str, dict]) -> list[str]:
    """Names such that a family comes after those whose signals it takes, and those that want to be first come first."""
    owner = signals_of(families)
    ordered: list[str] = []

    def add(name: str) -> None:
        if name not in ordered:
            for taken in taken_from(name, families, owner):
                add(taken)
            ordered.append(name)

    for name in sorted(families, key=lambda name: not family_of(name, families[name]).first):
        add(name)
    return ordered


def taken_from(name: str, families: dict[str, dict], owner: dict[str, str]) -> Iterable[str]:
    """The families whose signals this one takes; what no family measures is a column of the documents."""
    takes = family_of(name, families[name]).takes
    return dict.fromkeys(owner[signal] for signal in takes if signal in owner)
