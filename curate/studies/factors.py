"""[base] and [[factor]]: what else matters to the loss, one knob at a time off a base cell.

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
from typing import Any

import numpy as np

from curate.quantities import short_count
from curate.results.answers import finite
from curate.results.finding import finding, table
from curate.results.scores import grid_of
from curate.results.tuning import at_best
from curate.results.words import difference_text, text_of
from curate.spec.manifest import Manifest
from curate.studies import context
from curate.studies.study import GRID_KNOBS, Study, StudyTables, Trial, changed, flat, of_study, scored
from train import fits
from train.config import ModelConfig, OptimizerConfig
from train.grid import expand

RATE = "optimizer.learning_rate"
BASE = "base"
READING = ("level = ", "tokens = ")  # how changes are called that read other documents than the base


@dataclass(frozen=True)
class Change:
    """One value of one knob, instead of the base's. `knob`: "level", "tokens", "epochs", "loss", "model.mixer" ..."""

    factor: str
    knob: str
    value: Any

    @property
    def name(self) -> str:
        value = short_count(self.value) if self.knob == "tokens" else str(self.value).lower()
        return BASE if self.knob == BASE else f"{self.knob} = {value}"


@dataclass(frozen=True, kw_only=True)
class Factors(Study):
    key, tables = "factors", ("base", "factor")
    level: str
    tokens: int
    changes: tuple[Change, ...]
    rates: tuple[float, ...] = (1.0,)  # shares of the usual rate

    @classmethod
    def read(cls, tables: StudyTables) -> Factors:
        """Each change must make a cell."""
        table = tables.table("base")
        tables.known("[base]", table, ("level", "tokens", "seeds", "rates", "lock", *GRID_KNOBS))
        level = tables.level("[base]", table, "level", tables.grid["levels"][-1])
        common = tables.common("[base]", table)
        changes = [
            change for factor in tables.tables("factor") for change in _changes(tables, factor, common)
        ]
        if not changes:
            hint = 'add one, such as name = "loss", loss = ["reinforce"]'
            raise tables.fail("[base]", f"has no [[factor]]; {hint}")
        names = [change.name for change in changes]
        for name in names:
            if names.count(name) > 1:
                raise tables.fail("[[factor]]", f"{name} is named twice; drop one")
        return cls(level=level, **common, changes=tuple(changes), rates=_rates(table, tables))

    def outline(self, manifest: Manifest) -> list[Trial]:
        trials = []
        for change in (Change(BASE, BASE, None), *self.changes):
            level = change.value if change.knob == "level" else self.level
            tokens = change.value if change.knob == "tokens" else self.tokens
            knobs = self.knobs
            if change.knob not in (BASE, "level", "tokens"):
                knobs = changed(knobs, change.knob, change.value)
            for share in (1.0,) if change.knob == RATE else self.rates:
                at_rate = knobs if share == 1 else _at_rate(knobs, share)
                about = {"factor": change.factor, "rate_share": share}
                trials.append(self.trial(change.name, level, tokens, about=about, **at_rate))
        return trials

    @classmethod
    def findings(cls, holdout: str, lock: dict, runs: list[dict]) -> list[dict]:
        runs = of_study(runs, cls.key)
        done, losses = at_best(
            scored(runs, holdout), lambda run: run["level"], lambda run: run.get("rate_share", 1.0)
        )
        rates = {name: min(by_rate, key=by_rate.__getitem__) for name, by_rate in losses.items()}
        main = _finding(holdout, lock["studies"][cls.key], runs, done, rates)
        structures = context.context_finding(holdout, BASE, context.uses(holdout, done, _change))
        return [main] if structures is None else [main, structures]


# ------------------------------------------------------------------------------------------- reading, trials


def _rates(table: dict, tables: StudyTables) -> tuple[float, ...]:
    rates = table.get("rates", [1.0])
    numbers = isinstance(rates, list) and all(type(r) in (int, float) and 0 < r <= 100 for r in rates)
    if not numbers or not rates or len(set(rates)) < len(rates):
        raise tables.fail("[base]", f"rates = {rates!r}: shares of the usual rate, such as [0.3, 1, 3]")
    return tuple(sorted(map(float, rates)))


def _changes(tables: StudyTables, table: dict, common: dict) -> list[Change]:
    name = tables.typed("[[factor]]", table, "name", str)
    if not name:
        raise tables.fail("[[factor]]", 'has no name; add name = "..."')
    where = f'factor "{name}"'
    tables.known(where, table, ("name", "level", "tokens", *GRID_KNOBS))
    return [
        Change(name, knob, _checked(tables, where, common, knob, value))
        for knob, values in flat({k: v for k, v in table.items() if k != "name"})
        for value in (values if isinstance(values, list) else [values])
    ]


def _checked(tables: StudyTables, where: str, common: dict, knob: str, value: Any) -> Any:
    """The value of a change, once it is sure to make a cell."""
    if knob == "level":
        return tables.level(where, {knob: value}, knob, value)
    if knob == "tokens":
        tokens = tables.count(where, knob, value)
        if tokens > max(tables.sizes):
            raise tables.fail(where, f"tokens = {tokens:,} is more than the largest of [sizes]")
        return tokens
    with tables.failing(where):
        expand(changed(common["knobs"], knob, value))
    return value


def _at_rate(knobs: dict, share: float) -> dict:
    model = ModelConfig.of(knobs.get("model", {}), vocabulary=1, context=knobs.get("context", 256))
    peak = OptimizerConfig.of(knobs.get("optimizer", {})).peak_rate(model.width)
    return changed(knobs, RATE, peak * share)


# ------------------------------------------------------------------------------------------- the finding


def _finding(holdout: str, asked: dict, runs: list[dict], done: list[dict], rates: dict[str, float]) -> dict:
    """What every change costs in bits per byte, with intervals over seeds and documents; failures by name."""
    title = f"Which factor mattered on {text_of(holdout)}"
    if BASE not in {run["level"] for run in done}:
        return finding(Factors.key, title, holdout, ["The runs of the base are not there yet."])
    figures = _figures(holdout, asked, done)
    failed = list(dict.fromkeys((r["factor"], _at_share(r), r["failed"]) for r in runs if "failed" in r))
    sentences = [
        _base_sentence(holdout, asked, figures),
        *_rate_sentences(asked, rates),
        *(f"{change} ({factor}) has a run without a result: {why}." for factor, change, why in failed),
    ]
    tables = [_table(asked, figures), *context.positions(context.uses(holdout, done, _change))]
    return finding(
        Factors.key, title, holdout, sentences, tables, rows=figures["rows"], base=figures["base"]["value"],
        failed=[list(one) for one in failed], caveats=figures["caveats"],
    )  # fmt: skip


def _figures(holdout: str, asked: dict, done: list[dict]) -> dict[str, Any]:
    """`rows`: what each change costs in bits per byte, with intervals that hold all changes at once, factors in the order
    of their largest change; `base`: where the base ends."""
    grid = _grid(holdout, asked, done)
    loss = done[0]["losses"][holdout]
    bits = loss["bits_per_byte"] / loss["nats_per_token"]
    gaps = _gaps(holdout, asked, done)
    factor_of = {run["level"]: run["factor"] for run in done}
    rows = [
        finite({"factor": factor_of[gap.level], "change": gap.level, "bits": gap.value * bits, "low": gap.low * bits,
                "high": gap.high * bits, "distinguishable": gap.distinguishable})
        | _of_runs(holdout, gap.level, done)
        for gap in gaps
    ]  # fmt: skip
    reach: dict[str, float] = {}
    for row in rows:
        reach[row["factor"]] = max(reach.get(row["factor"], 0.0), abs(row["bits"]))
    rows.sort(key=lambda row: (-reach[row["factor"]], row["factor"], -abs(row["bits"])))
    mean = fits.mean(grid, BASE, asked["tokens"])
    base = {"value": mean.value * bits, "low": mean.low * bits, "high": mean.high * bits}
    return {
        "rows": rows, "base": base | _of_runs(holdout, BASE, done), "caveats": grid.caveats,
        "order": sorted(reach, key=lambda factor: -reach[factor]),
    }  # fmt: skip


def _gaps(holdout: str, asked: dict, done: list[dict]) -> list[fits.Difference]:
    """Every change against the base, seed by seed. Changes that read what the base reads differ from it by far less noise
    than those that read other documents: so each kind is corrected for its own number, and the two share the chance of
    error."""
    tokens, changes = asked["tokens"], dict.fromkeys(run["level"] for run in done if run["level"] != BASE)
    kinds: dict[bool, list[tuple[str, str, int]]] = {}
    for change in changes:
        kinds.setdefault(change.startswith(READING), []).append((change, BASE, tokens))
    grid = _grid(holdout, asked, done, 1 - 0.05 / max(1, len(kinds)))
    return [gap.together for pairs in kinds.values() for gap in fits.paired_differences(grid, pairs)]


def _grid(holdout: str, asked: dict, runs: list[dict], confidence: float = 0.95) -> fits.Grid:
    """All at the base's tokens, whatever they were trained on: here other tokens are a change like any other."""
    runs = [run | {"size": asked["tokens"], "tags": {}} for run in runs]
    return grid_of(holdout, runs, confidence=confidence)


def _change(run: dict) -> str:
    return run["level"]


def _of_runs(holdout: str, level: str, runs: list[dict]) -> dict:
    """Of a change's runs: the share of next words that they name first, and their parameters, also in words."""
    mine = [run for run in runs if run["level"] == level]
    shares = [used["accuracy"] for run in mine if (used := run.get("context_use", {}).get(holdout))]
    accuracy = float(np.mean(shares)) if shares else None
    said = "" if accuracy is None else f"{100 * accuracy:.1f} %"
    return {"accuracy": accuracy, "said": said, "parameters": f"{mine[0]['parameters']:,}"}


def _base_sentence(holdout: str, asked: dict, figures: dict) -> str:
    base = figures["base"]
    largest = [
        f"{factor} moved it by up to "
        + _signed(max((r for r in figures["rows"] if r["factor"] == factor), key=lambda r: abs(r["bits"])))
        for factor in figures["order"]
    ]
    return (
        f"The base, {short_count(asked['tokens'])} tokens of {asked['level']}, ends at {base['value']:.3f} "
        f"[{base['low']:.3f}, {base['high']:.3f}] bits per byte on {text_of(holdout)}, over {asked['seeds']} seeds. "
        f"One knob at a time: {'; '.join(largest)}."
    )


def _rate_sentences(asked: dict, best: dict[str, float]) -> list[str]:
    if not best:
        return ["Each change keeps the rate of the base, unless the rate is the change."]
    rates = asked["rates"]
    sentences = [
        f"Each at the best of {len(rates)} rates by the loss on the text it learned from, as a share of the usual rate: "
        f"{', '.join(f'{change} {share:g}' for change, share in best.items())}."
    ]
    at_end = [change for change, share in best.items() if share in (min(rates), max(rates))]
    if at_end:
        sentences.append(
            f"The best rate stands at an end of those tried for {', '.join(at_end)}: a further one may be better."
        )
    return sentences


def _at_share(run: dict) -> str:
    share = run.get("rate_share", 1.0)
    return run["level"] + ("" if share == 1 else f" at {share:g} times the usual rate")


def _signed(row: dict) -> str:
    verdict = "" if row["distinguishable"] else ", not distinguishable"
    return difference_text(row | {"value": row["bits"]}) + verdict


def _table(asked: dict, figures: dict) -> dict:
    base = figures["base"]
    rows = [[BASE, "", "", base["said"], base["parameters"]]] + [
        [row["change"], row["factor"],
         _signed(row), row["said"], row["parameters"]]
        for row in figures["rows"]
    ]  # fmt: skip
    caption = (
        f"Every change of one knob, {asked['seeds']} seeds each, the same seeds and documents in all; intervals hold all "
        f"{len(figures['rows'])} changes at once"
    )
    columns = ["Change", "Factor", "Bits per byte more than the base", "Next words named first", "Parameters"]
    return table(caption, columns, rows)
