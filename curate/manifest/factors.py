"""Factors: what else matters to the loss, one knob at a time off a base cell.

    [base]                                   level, tokens, seeds and knobs; the grid's where it says nothing
    level = "unique"

    [[factor]]
    name = "structure"
    model = { mixer = ["lstm", "convolution"], window = [16] }

    [[factor]]
    name = "quantity"
    tokens = ["50k", "200k"]

Every value of every list is one change of the base, all else equal: so few runs tell what each change does here, and
nothing of how changes act together, for which a knob that is a list in [grid] gives the product.

The rate is the base's, unless it is the change: that a structure would do better at a rate of its own is not ruled
out. `rates = [0.3, 1, 3]` in [base] rules it out for that many times the price: the base and every change but those of
a rate are trained at each of these shares of the usual rate, and each is told at the one where its loss on the text it
learned from ends lowest, so that the held-out text chooses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curate.quantities import short_count
from train.config import RUN_KNOBS

if TYPE_CHECKING:
    from curate.manifest.studies import StudyTables

GRID_KNOBS = (*(knob for knob in RUN_KNOBS if knob != "epochs"), "model", "optimizer")
STUDY = "factors"
BASE = "base"


@dataclass(frozen=True)
class Change:
    """One value of one knob, instead of the base's. `knob`: "level", "tokens", "epochs", "loss", "model.mixer" ..."""

    factor: str
    knob: str
    value: Any

    @property
    def name(self) -> str:
        said = short_count(self.value) if self.knob == "tokens" else str(self.value).lower()
        return f"{self.knob} = {said}"


@dataclass(frozen=True)
class Factors:
    level: str
    tokens: int
    seeds: int
    knobs: dict
    changes: tuple[Change, ...]
    rates: tuple[float, ...] = (1.0,)  # shares of the usual rate


def factors(reader: StudyTables) -> Factors:
    """[base] and every [[factor]], checked; each change must make a cell."""
    table = reader.table("base")
    reader.known("[base]", table, ("level", "tokens", "seeds", "rates", *GRID_KNOBS))
    level = reader.level("[base]", table, "level", reader.grid["levels"][-1])
    common = reader.common("[base]", table)
    changes = [change for one in reader.tables("factor") for change in _changes(reader, one, common)]
    if not changes:
        raise reader.fail("[base]", 'has no [[factor]]; add one, such as name = "loss", loss = ["reinforce"]')
    names = [change.name for change in changes]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise reader.fail("[[factor]]", f"{twice[0]} is named twice; drop one")
    return Factors(
        level, common["tokens"], common["seeds"], common["knobs"], tuple(changes), _rates(table, reader)
    )


def _rates(table: dict, reader: StudyTables) -> tuple[float, ...]:
    rates = table.get("rates", [1.0])
    numbers = isinstance(rates, list) and all(
        type(rate) in (int, float) and 0 < rate <= 100 for rate in rates
    )
    if not numbers or not rates or len(set(rates)) < len(rates):
        raise reader.fail("[base]", f"rates = {rates!r}: shares of the usual rate, such as [0.3, 1, 3]")
    return tuple(sorted(map(float, rates)))


def _changes(reader: StudyTables, table: dict, common: dict) -> list[Change]:
    from train.grid import expand

    name = reader.typed("[[factor]]", table, "name", str)
    if not name:
        raise reader.fail("[[factor]]", 'has no name; add name = "..."')
    where = f'factor "{name}"'
    reader.known(where, table, ("name", "level", "tokens", "epochs", *GRID_KNOBS))
    changes = []
    for knob, value in _flat({k: v for k, v in table.items() if k != "name"}):
        for one in value if isinstance(value, list) else [value]:
            if knob == "tokens":
                one = reader.count(where, knob, one)
                if one > max(reader.sizes):
                    raise reader.fail(where, f"tokens = {one:,} is more than the largest of [sizes]")
            elif knob == "level":
                reader.level(where, {knob: one}, knob, one)
            else:
                try:
                    expand(changed(common["knobs"], knob, one))
                except ValueError as error:
                    raise reader.fail(where, str(error)) from None
            changes.append(Change(name, knob, one))
    return changes


def _flat(table: dict, prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return found


def changed(knobs: dict, knob: str, value: Any) -> dict:
    table, _, inner = knob.partition(".")
    return knobs | {table: {**knobs.get(table, {}), inner: value} if inner else value}
