"""The page: locks, runs and fits as statements a data team can act on, with intervals.

`facts` computes everything that is shown (and is what `report.json` holds), `render` only lays it out.
A run that is missing or failed is named, never filled in; a difference inside the noise is called not
distinguishable.
"""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from curate import charts
from curate.quantities import short_bytes, short_count
from curate.store import atomic, write_json
from train import fits

CURVE_POINTS = 40


def facts(lock: dict, runs: list[dict], examples: dict) -> dict:
    """Everything the page says. `examples`: {"levels": {level: {rule: ...}}, "near_duplicates": [...]}."""
    done = [run for run in runs if "losses" in run]
    holdouts = {name: _holdout(name, lock, done) for name in lock["holdouts"]} if done else {}
    statements = [_statement(name, h) for name, h in holdouts.items() if h["exchange"]]
    return {
        "name": lock["name"],
        "headline": " ".join(statements) or "No run is finished yet, so nothing is measured.",
        "holdouts": holdouts,
        "levels": lock["levels"],
        "funnel": _funnel(lock),
        "ledger": lock["ledger"],
        "examples": examples.get("levels", {}),
        "near_duplicates": examples.get("near_duplicates", []),
        "runs": [_run_row(run) for run in done],
        "missing": [
            {k: run.get(k) for k in ("level", "size", "seed", "failed")} for run in runs if "failed" in run
        ],
        "warnings": lock.get("warnings", []),
        "lock": lock,
    }


def series_name(run: dict) -> str:
    """A run's curve: its level and, where the grid has further axes, its place on them."""
    return ", ".join([run["level"], *(f"{k} = {v}" for k, v in sorted(run.get("tags", {}).items()))])


def _holdout(name: str, lock: dict, runs: list[dict]) -> dict:
    """Curves, differences and exchange rates on one holdout."""
    runs = [run for run in runs if name in run["losses"]]
    order = {level["name"]: i for i, level in enumerate(lock["levels"])}
    runs = sorted(runs, key=lambda run: (order.get(run["level"], len(order)), series_name(run)))
    grid = _grid(name, runs)
    names = list(dict.fromkeys(map(series_name, runs)))
    # Bits per byte and nats per token differ by one factor a holdout: the tokenizer is the same for all runs.
    one = runs[0]["losses"][name]
    return {
        "level": lock["holdouts"][name]["level"],
        "documents": lock["holdouts"][name]["documents"],
        "tokens": lock["holdouts"][name]["tokens"],
        "bits_per_byte_a_nat": one["bits_per_byte"] / one["nats_per_token"],
        "levels": {series: _series(grid, series) for series in names},
        "exchange": [_exchange(grid, series, names[0]) for series in names[1:]],
        "steps": [
            _exchange(grid, later, earlier) for earlier, later in zip(names[1:], names[2:], strict=False)
        ],
        "caveats": grid.caveats,
    }


def _grid(name: str, runs: list[dict]) -> fits.Grid:
    points = []
    for run in runs:
        path = Path(run["directory"]) / f"holdout-{name}.npy" if run.get("directory") else None
        nats = np.load(path) if path and path.exists() else None
        loss = run["losses"][name]["nats_per_token"]
        points.append(fits.Point(series_name(run), run["size"], run["seed"], loss, nats))
    return fits.Grid(points)


def _series(grid: fits.Grid, series: str) -> dict:
    tokens = sorted({p.tokens for p in grid.points if p.level == series})
    points = []
    for size in tokens:
        mean = fits.mean(grid, series, size)
        seeds = {str(p.seed): p.loss for p in grid.points if p.level == series and p.tokens == size}
        points.append(
            {"tokens": size, "mean": mean.value, "low": mean.low, "high": mean.high, "seeds": seeds}
        )
    if len(tokens) < 2:
        return {"points": points, "curve": [], "law": None}
    law = fits.fit(grid, series)
    at = np.geomspace(tokens[0], tokens[-1], CURVE_POINTS)
    low, high = fits.band(grid, series, at)
    curve = [list(map(float, row)) for row in zip(at, law.law.loss(at), low, high, strict=True)]
    return {
        "points": points,
        "curve": curve,
        "law": {
            "E": law.law.E, "E_low": law.E.low, "E_high": law.E.high, "b": law.law.b, "b_low": law.b.low,
            "b_high": law.b.high, "at_bound": list(law.law.at_bound), "largest_residual": law.law.largest_residual,
        },
    }  # fmt: skip


def _exchange(grid: fits.Grid, level: str, of: str) -> dict:
    """Exchange rate and loss difference of two levels; None where their runs cannot say."""
    answer: dict[str, Any] = {"level": level, "of": of, "rate": None, "difference": None}
    try:
        answer["difference"] = _finite(vars(fits.difference(grid, level, of)))
        answer["rate"] = _finite(vars(fits.exchange_rate(grid, level, of)))
    except fits.FitError as error:
        answer["why_not"] = str(error)
    return answer


def _finite(values: dict) -> dict:
    """JSON has no infinity: an open end is null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def _statement(name: str, holdout: dict) -> str:
    """The sentence of a holdout: the level whose tokens are worth most against the first, or that none is."""
    rated = [e["rate"] for e in holdout["exchange"] if e["rate"]]
    if not rated:
        return f"On held-out {name} text too few runs are finished for an exchange rate."
    clear = [r for r in rated if r["distinguishable"]]
    if not clear:
        best = max(rated, key=lambda r: r["rate"])
        return (
            f"On held-out {name} text no level is distinguishable from {best['of']}: one token of {best['level']} "
            f"is worth {rate_text(best)} tokens of {best['of']}."
        )
    best = max(clear, key=lambda r: r["rate"])
    return f"On held-out {name} text one token of {best['level']} is worth {rate_text(best)} tokens of {best['of']}."


def rate_text(rate: dict) -> str:
    """`1.84 [1.51, 2.20]`, with `at least` where the runs show no more."""
    prefix = f"{rate['kind']} " if rate["kind"] in ("at least", "at most") else ""
    high = "∞" if rate["high"] is None else f"{rate['high']:.2f}"
    return f"{prefix}{rate['rate']:.2f} [{rate['low']:.2f}, {high}]"


def _funnel(lock: dict) -> list[dict]:
    """The chain of levels as one list of steps, each with what reaches it and what is left."""
    levels = {level["name"]: level for level in lock["levels"]}
    raw = sum(source["documents"] for source in lock["sources"].values())
    raw_bytes = sum(source["bytes"] for source in lock["sources"].values())
    steps = []
    for level in lock["levels"]:
        base = levels[level["on"]] if level["on"] else {"documents": raw, "bytes": raw_bytes}
        documents, size = base["documents"], base["bytes"]
        for rule in level["rules"]:
            documents, size = documents - rule["dropped"], size - rule["dropped_bytes"]
            steps.append({"level": level["name"], **rule, "documents": documents, "bytes": size,
                          "share": size / raw_bytes})  # fmt: skip
        steps.append({"level": level["name"], "rule": None, "documents": level["documents"], "bytes": level["bytes"],
                      "share": level["bytes"] / raw_bytes})  # fmt: skip
    return steps


def _run_row(run: dict) -> dict:
    keys = (
        "level",
        "size",
        "seed",
        "tokens_trained",
        "parameters",
        "seconds",
        "tokens_per_second",
        "peak_memory_bytes",
    )
    losses = {name: loss["nats_per_token"] for name, loss in run["losses"].items()}
    return {k: run.get(k) for k in keys} | {"series": series_name(run), "losses": losses}


def marked_difference(left: str, right: str) -> tuple[list[tuple[bool, str]], list[tuple[bool, str]]]:
    """Both texts as (differs, words) runs, side by side."""
    a, b = _pieces(left), _pieces(right)
    marked: tuple[list, list] = ([], [])
    for kind, i, j, k, m in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        for side, words in zip(marked, (a[i:j], b[k:m]), strict=True):
            if words:
                side.append((kind != "equal", "".join(words)))
    return marked


def _pieces(text: str) -> list[str]:
    pieces, word = [], ""
    for character in text:
        word += character
        if character.isspace():
            pieces.append(word)
            word = ""
    return [*pieces, word] if word else pieces


def render(facts: dict) -> str:
    """The page as one string of HTML: no script, no network, every document's text escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("curate", "."), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"count": short_count, "size": short_bytes, "rate": rate_text}
    figures = {name: jinja2.utils.markupsafe.Markup(svg) for name, svg in draw(facts).items()}
    pairs = [
        pair | {"marked": marked_difference(pair["text"], pair["of_text"])}
        for pair in facts["near_duplicates"]
    ]
    colours = charts.LIGHT
    return environment.get_template("report.html").render(
        f=facts, figures=figures, pairs=pairs, colours=colours
    )


def draw(facts: dict) -> dict[str, str]:
    """Name -> SVG of every figure."""
    return {
        f"loss-{name}": charts.loss_curves(holdout, f"Loss on held-out {name} text")
        for name, holdout in facts["holdouts"].items()
    }


def write(directory: Path, facts: dict) -> Path:
    """`report.html`, `report.json` and `figures/*.svg` in a folder; each appears whole or not at all."""
    for name, svg in draw(facts).items():
        with atomic(directory / "figures" / f"{name}.svg") as temporary:
            temporary.write_text(charts.standalone(svg), encoding="utf-8")
    write_json(directory / "report.json", facts)
    page = directory / "report.html"
    with atomic(page) as temporary:
        temporary.write_text(render(facts), encoding="utf-8")
    return page
