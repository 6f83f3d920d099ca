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

import numpy as np

from curate.quantities import short_count
from train import fits
from train.grid import RUN_KNOBS

if TYPE_CHECKING:
    from curate.studies import StudyTables

GRID_KNOBS = (*(knob for knob in RUN_KNOBS if knob != "epochs"), "model", "optimizer")
STUDY = "factors"
BASE = "base"
WILD = 5  # times the median spread of seeds


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


# ------------------------------------------------------------------------------------------- what was asked


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


# ------------------------------------------------------------------------------------------- what came of it


def factors_finding(name: str, asked: dict, runs: list[dict]) -> dict:
    """What every change costs in bits per byte, with intervals over seeds and documents; failures by name."""
    from curate.report.finding import finding, table

    title = f"Which factor mattered on held-out {name} text"
    done, chosen = at_best_rate([run for run in runs if name in run.get("losses", {})])
    lost = list(dict.fromkeys((r["factor"], _told_at(r), r["failed"]) for r in runs if "failed" in r))
    if BASE not in {run["level"] for run in done}:
        return finding(STUDY, title, name, ["The runs of the base are not there yet."])
    wild = _wild(name, done)
    grid = _grid(name, asked, [run for run in done if run["level"] not in wild])
    one = done[0]["losses"][name]
    per_nat = one["bits_per_byte"] / one["nats_per_token"]
    factor_of = {run["level"]: run["factor"] for run in done}
    calm = [(level, BASE) for level in grid.levels if level != BASE]
    told = fits.differences(grid, calm, asked["tokens"]) if calm else []
    for level in wild:
        alone = _grid(name, asked, [run for run in done if run["level"] in (level, BASE)])
        told = [*told, fits.difference(alone, level, BASE, asked["tokens"])]
    rows = [
        {"factor": factor_of[d.level], "change": d.level, "bits": d.value * per_nat, "low": d.low * per_nat,
         "high": d.high * per_nat, "distinguishable": d.distinguishable, **_looked(name, d.level, done)}
        for d in told
    ]  # fmt: skip
    reach: dict[str, float] = {}
    for row in rows:
        reach[row["factor"]] = max(reach.get(row["factor"], 0.0), abs(row["bits"]))
    rows.sort(key=lambda row: (-reach[row["factor"]], row["factor"], -abs(row["bits"])))
    base = fits.mean(grid, BASE, asked["tokens"])
    own = _looked(name, BASE, done)
    sentences = [
        f"The base, {short_count(asked['tokens'])} tokens of {asked['level']}, ends at {base.value * per_nat:.3f} "
        f"[{base.low * per_nat:.3f}, {base.high * per_nat:.3f}] bits per byte on held-out {name} text, over "
        f"{asked['seeds']} seeds. One knob at a time: "
        + "; ".join(f"{f} moved it by up to {_signed(_largest(rows, f))}" for f in reach_order(reach)) + ".",
        *_rate_sentences(asked, chosen),
        *(f"{change} ({factor}) has a run without a result: {why}." for factor, change, why in lost),
    ]  # fmt: skip
    cells = [[BASE, "", "", own["said"], own["parameters"]]] + [
        [r["change"], r["factor"], _signed(r) + ("" if r["distinguishable"] else ", not distinguishable"),
         r["said"], r["parameters"]]
        for r in rows
    ]  # fmt: skip
    uses = _context_uses(name, done)
    columns = ["Change", "Factor", "Bits per byte more than the base", "Next words named first", "Parameters"]
    caption = (
        f"Every change of one knob, {asked['seeds']} seeds each, the same seeds and documents in all"
        + (f". Seeds differ far more than elsewhere, so compared alone: {', '.join(wild)}" if wild else "")
    )
    tables = [table(caption, columns, cells), *_positions(uses)]
    return finding(STUDY, title, name, sentences, tables, rows=rows, base=base.value * per_nat,
                   failed=[list(one) for one in lost], caveats=grid.caveats)  # fmt: skip


def structures_finding(name: str, runs: list[dict]) -> dict | None:
    """Where the structures among the changes stop gaining from their context."""
    from curate.report.context import context_finding

    done, _ = at_best_rate([run for run in runs if name in run.get("losses", {})])
    return context_finding(name, BASE, _context_uses(name, done))


def at_best_rate(runs: list[dict]) -> tuple[list[dict], dict[str, float]]:
    """(the runs of every change at the best of its rates, that share of the usual rate by change).

    Best by the loss on what was learned from, at the end, over the seeds that ran at every rate.
    """
    tried: dict[str, dict[float, list[dict]]] = {}
    for run in runs:
        tried.setdefault(run["level"], {}).setdefault(run.get("rate_share", 1.0), []).append(run)
    kept, chosen = [], {}
    for change, at in tried.items():
        whole = {rate: some for rate, some in at.items() if len(some) == max(map(len, at.values()))}
        best = min(
            whole, key=lambda rate: np.mean([_tail(run) for run in whole[rate]]) if len(whole) > 1 else 0.0
        )
        kept += whole[best]
        if len(at) > 1:
            chosen[change] = best
    return kept, chosen


def _told_at(run: dict) -> str:
    share = run.get("rate_share", 1.0)
    return run["level"] + ("" if share == 1 else f" at {share:g} times the usual rate")


def _tail(run: dict) -> float:
    return run["train_loss"]["tail"]


def _rate_sentences(asked: dict, chosen: dict[str, float]) -> list[str]:
    if not chosen:
        return ["Each change keeps the rate of the base, unless the rate is the change."]
    rates = asked["rates"]
    own = [f"{change} {share:g}" for change, share in chosen.items()]
    told = [
        f"Each at the best of {len(rates)} rates by the loss on the text it learned from, as a share of the usual rate: "
        f"{', '.join(own)}."
    ]
    at_end = [change for change, share in chosen.items() if share in (min(rates), max(rates))]
    if at_end:
        told.append(
            f"The best rate stands at an end of those tried for {', '.join(at_end)}: a further one may be better."
        )
    return told


def _wild(name: str, runs: list[dict]) -> list[str]:
    """Changes whose seeds differ far more than is usual: their noise must not widen the others' intervals."""
    losses: dict[str, list[float]] = {}
    for run in runs:
        losses.setdefault(run["level"], []).append(run["losses"][name]["nats_per_token"])
    spread = {level: float(np.std(some)) for level, some in losses.items() if len(some) > 1}
    usual = float(np.median(list(spread.values()))) if spread else 0.0
    return [level for level, one in spread.items() if level != BASE and one > WILD * usual > 0]


def reach_order(reach: dict[str, float]) -> list[str]:
    return sorted(reach, key=lambda factor: -reach[factor])


def _largest(rows: list[dict], factor: str) -> dict:
    return max((r for r in rows if r["factor"] == factor), key=lambda r: abs(r["bits"]))


def _signed(row: dict) -> str:
    return f"{row['bits']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]".replace("-", "\u2212")


def _grid(name: str, asked: dict, runs: list[dict]) -> fits.Grid:
    """All at the base's tokens, whatever they were trained on: here other tokens are a change like any other."""
    from curate.report.answers import grid_of

    return grid_of(name, [run | {"size": asked["tokens"], "tags": {}} for run in runs])


def _looked(name: str, level: str, runs: list[dict]) -> dict:
    mine = [run for run in runs if run["level"] == level]
    shares = [used["accuracy"] for run in mine if (used := run.get("context_use", {}).get(name))]
    accuracy = float(np.mean(shares)) if shares else None
    said = "" if accuracy is None else f"{100 * accuracy:.1f} %"
    return {"accuracy": accuracy, "said": said, "parameters": f"{mine[0]['parameters']:,}"}


def _positions(shown: dict[str, list[tuple[int, dict]]]) -> list[dict]:
    """Loss by position as a table."""
    from curate.report.finding import table

    if not shown:
        return []
    rows = [
        [level, *(f"{x:.2f}" for x in np.mean([used["nats"] for _, used in some], 0))]
        for level, some in shown.items()
    ]
    caption = "Nats per token by how many tokens stand before it, in documents as long as the window, mean over seeds"
    return [table(caption, ["Position", *_spans(next(iter(shown.values()))[0][1]["edges"])], rows)]


def _spans(edges: list[int]) -> list[str]:
    return [f"{a} to {b - 1}" if b > a + 1 else str(a) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _context_uses(name: str, runs: list[dict]) -> dict[str, list[tuple[int, dict]]]:
    """What the base and every change of the mixer, the window or the position do with their context, by change."""
    shown: dict[str, list[tuple[int, dict]]] = {}
    for run in runs:
        knob = run["level"].partition(" = ")[0]
        used = run.get("context_use", {}).get(name)
        if used and knob in (BASE, "model.mixer", "model.window", "model.position", "order"):
            shown.setdefault(run["level"], []).append((run["seed"], used))
    lengths = {used["length"] for some in shown.values() for _, used in some}
    return shown if len(lengths) == 1 else {}
