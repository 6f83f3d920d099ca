"""The page: locks, runs and fits as statements a data team can act on, with intervals.

`facts` computes everything that is shown (and is what `report.json` holds), `render` only lays it out.
A run that is missing or failed is named, never filled in; a difference inside the noise is called not
distinguishable. The headline is about the last level against the first, settled before any result is seen:
the best of several rates would look better than it is.
"""

from __future__ import annotations

import difflib
import math
import re
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from curate import charts
from curate.quantities import short_bytes, short_count, short_time
from curate.store import atomic, write_json
from train import fits

CURVE_POINTS = 40
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # no text in HTML, though documents hold them


def facts(lock: dict, runs: list[dict], examples: dict) -> dict:
    """Everything the page says. `examples`: {"levels": {level: {rule: ...}}, "near_duplicates": [...]}."""
    done = [run for run in runs if "losses" in run]
    order = {level["name"]: i for i, level in enumerate(lock["levels"])}
    holdouts = {}
    for name in sorted(lock["holdouts"], key=lambda name: (order[lock["holdouts"][name]["level"]], name)):
        scored = [run for run in done if name in run["losses"]]
        if scored:
            holdouts[name] = _holdout(name, lock, scored)
    statements = [told for name, holdout in holdouts.items() if (told := statement(name, holdout))]
    return {
        "name": lock["name"],
        "headline": " ".join(statements) or "No level can be compared with another yet.",
        "statements": statements,
        "holdouts": holdouts,
        "levels": lock["levels"],
        "funnel": _funnel(lock),
        "ledger": lock["ledger"],
        "examples": examples.get("levels", {}),
        "near_duplicates": examples.get("near_duplicates", []),
        "duplicates": lock.get("duplicates", {}),
        "runs": [_run_row(run) for run in sorted(done, key=_place)],
        "missing": _missing(lock, runs),
        "warnings": lock.get("warnings", []) + _short_runs(done),
        "lock": lock,
    }


def setting(run: dict) -> str:
    """A run's place on the axes of the grid besides level, size and seed; empty where there are none."""
    return ", ".join(f"{k} = {v}" for k, v in sorted(run.get("tags", {}).items()))


def series_name(run: dict) -> str:
    return ", ".join(filter(None, [run["level"], setting(run)]))


def _place(run: dict) -> tuple:
    return run["level"], setting(run), run["size"], run["seed"]


# ----------------------------------------------------------------------------------------- losses and rates


def _holdout(name: str, lock: dict, runs: list[dict]) -> dict:
    """Curves, differences and exchange rates on one holdout."""
    below = {level["name"]: level["on"] for level in lock["levels"]}
    order = {level: i for i, level in enumerate(below)}
    runs = sorted(runs, key=lambda run: (order.get(run["level"], len(order)), *_place(run)))
    grid = _grid(name, runs)
    # Which documents were held out moves all curves together: shown beside each other, they go without.
    here = _grid(name, runs, documents=False)
    series = {series_name(run): {"level": run["level"], "setting": setting(run)} for run in runs}
    # Bits per byte and nats per token differ by one factor a holdout: the tokenizer is the same for all runs.
    one = runs[0]["losses"][name]
    pairs = [(s, _first(series, s), _below(series, s, below)) for s in series]
    return {
        "level": lock["holdouts"][name]["level"],
        "documents": lock["holdouts"][name]["documents"],
        "tokens": lock["holdouts"][name]["tokens"],
        "bits_per_byte_a_nat": one["bits_per_byte"] / one["nats_per_token"],
        "sizes": grid.tokens,
        "levels": {s: place | _series(here, s) for s, place in series.items()},
        "exchange": [_exchange(grid, s, first) for s, first, _ in pairs if s != first],
        "steps": [_exchange(grid, s, base) for s, first, base in pairs if base and base != first],
        "caveats": grid.caveats,
    }


def _first(series: dict, name: str) -> str:
    """The first level trained in the same setting: what the others are measured against."""
    return next(s for s in series if series[s]["setting"] == series[name]["setting"])


def _below(series: dict, name: str, below: dict[str, str | None]) -> str | None:
    """The nearest level under this one that was trained in the same setting."""
    trained = {s["level"]: n for n, s in series.items() if s["setting"] == series[name]["setting"]}
    level = below.get(series[name]["level"])
    while level and level not in trained:
        level = below.get(level)
    return trained[level] if level else None


def _grid(name: str, runs: list[dict], documents: bool = True) -> fits.Grid:
    points = []
    for run in runs:
        path = Path(run["directory"]) / f"holdout-{name}.npy" if run.get("directory") else None
        nats = np.load(path) if documents and path and path.exists() else None
        loss = run["losses"][name]["nats_per_token"]
        points.append(fits.Point(series_name(run), run["size"], run["seed"], loss, nats))
    return fits.Grid(points, _document_tokens(name, runs[0]))


def _document_tokens(name: str, run: dict) -> np.ndarray | None:
    """Tokens of each document of a holdout, from what the run was scored on, where that is still there."""
    packed = run.get("cell", {}).get("holdouts", {}).get(name)
    path = Path(packed) / "documents.npy" if packed else None
    return np.diff(np.load(path)) if path and path.exists() else None


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
            "E": law.law.E, "E_low": law.E.low, "E_high": law.E.high,
            "b": law.law.b, "b_low": law.b.low, "b_high": law.b.high,
            "at_bound": list(law.law.at_bound), "largest_residual": law.law.largest_residual,
        },
    }  # fmt: skip


def _exchange(grid: fits.Grid, level: str, of: str) -> dict:
    """Exchange rate and loss difference of two levels; None where their runs cannot say, with the reason."""
    answer: dict[str, Any] = {"level": level, "of": of, "rate": None, "difference": None}
    for key, question in (("difference", fits.difference), ("rate", fits.exchange_rate)):
        try:
            answer[key] = _finite(vars(question(grid, level, of)))
        except fits.FitError as error:
            answer["why_not"] = str(error)
    return answer


def _finite(values: dict) -> dict:
    """JSON has no infinity: an open end is null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


# ----------------------------------------------------------------------------------------- documents and runs


def _funnel(lock: dict) -> list[dict]:
    """The chain of levels as one list of steps, each with what is left after it."""
    levels = {level["name"]: level for level in lock["levels"]}
    sources = lock["sources"].values()
    everything = {
        "documents": sum(s["documents"] for s in sources),
        "bytes": sum(s["bytes"] for s in sources),
    }
    steps = []
    for level in lock["levels"]:
        base = levels[level["on"]] if level["on"] else everything
        documents, size = base["documents"], base["bytes"]
        for rule in level["rules"]:
            documents, size = documents - rule["dropped"], size - rule["dropped_bytes"]
            steps.append({"level": level["name"], **rule, "documents": documents, "bytes": size})
        kept = {"rule": None, "documents": level["documents"], "bytes": level["bytes"]}
        steps.append({"level": level["name"], "on": level["on"]} | kept)
    return [step | {"share": step["bytes"] / max(1, everything["bytes"])} for step in steps]


def _run_row(run: dict) -> dict:
    keys = ("level", "size", "seed", "tokens_trained", "seconds", "tokens_per_second", "flops")
    losses = {name: loss["nats_per_token"] for name, loss in run["losses"].items()}
    parameters = run.get("parameters")
    total = parameters["total"] if isinstance(parameters, dict) else parameters
    return {k: run.get(k) for k in keys} | {"parameters": total, "series": series_name(run), "losses": losses}


def _missing(lock: dict, runs: list[dict]) -> list[dict]:
    """Runs that failed, and cells of the grid that nobody speaks of although their corpus exists."""
    told = [
        {"level": run["level"], "setting": setting(run), "size": run.get("size"), "seed": run["seed"],
         "why": run["failed"]}
        for run in runs
        if "failed" in run
    ]  # fmt: skip
    whole = {
        (run["level"], setting(run), run["seed"]) for run in runs if "failed" in run and not run.get("size")
    }
    known = {_place(run) for run in runs if run.get("size")}
    settings, seeds = {setting(run) for run in runs}, {run["seed"] for run in runs}
    trained = {run["level"] for run in runs}
    silent = [
        {"level": c["level"], "setting": where, "size": c["budget"], "seed": seed,
         "why": "no record of this run"}
        for c in lock.get("corpora", []) if c["level"] in trained
        for where in settings for seed in seeds
        if (c["level"], where, c["budget"], seed) not in known and (c["level"], where, seed) not in whole
    ]  # fmt: skip
    return sorted(told + silent, key=lambda m: (m["level"], m["setting"], m["size"] or 0, m["seed"]))


def _short_runs(done: list[dict]) -> list[str]:
    """Runs that saw another number of tokens than their size: they are compared as if they had seen it."""
    off = [run for run in done if abs(run.get("tokens_trained", run["size"]) / run["size"] - 1) > 0.02]
    return [
        f"{series_name(run)}, size {run['size']:,}, seed {run['seed']}: "
        f"trained on {run['tokens_trained']:,} tokens"
        for run in sorted(off, key=_place)
    ]


# ----------------------------------------------------------------------------------------- words


def statement(name: str, holdout: dict) -> str | None:
    """The sentence of a holdout, about the last level and the first."""
    here = holdout["levels"]
    setting = here[next(iter(here))]["setting"]
    asked = [e for e in holdout["exchange"] if here[e["level"]]["setting"] == setting]
    if not asked:
        return None
    last = asked[-1]
    return f"On held-out {name} text, {_comparison(last)}."


def _comparison(asked: dict) -> str:
    level, of, rate, gap = asked["level"], asked["of"], asked["rate"], asked["difference"]
    if rate:
        worth = f"one token of {level} is worth {rate_text(rate)} tokens of {of}"
        return worth if rate["distinguishable"] else f"{level} is not distinguishable from {of}: {worth}"
    if gap:
        how = "" if gap["distinguishable"] else f", not distinguishable from {of}"
        return (
            f"{level} has {difference_text(gap)} nats per token against {of} at {gap['tokens']:,} tokens{how}"
        )
    return f"{level} and {of} cannot be compared: {asked['why_not']}"


def rate_text(rate: dict) -> str:
    """`1.84 [1.51, 2.20]`, with `at least` and the like where the runs show no more."""
    prefix = (
        ""
        if rate["kind"] == "measured"
        else "about "
        if rate["kind"] == "extrapolated"
        else f"{rate['kind']} "
    )
    high = "∞" if rate["high"] is None else _rate(rate["high"])
    return f"{prefix}{_rate(rate['rate'])} [{_rate(rate['low'])}, {high}]"


def _rate(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def difference_text(gap: dict) -> str:
    """`−0.052 [−0.071, −0.033]`, with true minus signs."""
    return f"{gap['value']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]".replace("-", "−")


def keep_together(sentence: str) -> str:
    """A value stays on one line with its interval."""
    return re.sub(r"(\S+) \[(\S+), (\S+)\]", "\\1\u00a0[\\2,\u00a0\\3]", sentence)


def bound_text(bound: Any) -> str:
    """`50 to 100,000`, `at least 0.8`, `en, de`."""
    if not isinstance(bound, list):
        return str(bound).lower() if isinstance(bound, bool) else str(bound)
    if len(bound) != 2 or not all(
        x is None or (isinstance(x, int | float) and not isinstance(x, bool)) for x in bound
    ):
        return ", ".join(str(x).lower() if isinstance(x, bool) else str(x) for x in bound)
    low, high = ("" if x is None or not math.isfinite(x) else f"{x:,.6g}" for x in bound)
    return (
        f"{low} to {high}"
        if low and high
        else f"at least {low}"
        if low
        else f"at most {high}"
        if high
        else "any"
    )


def marked_difference(left: str, right: str) -> tuple[list[tuple[bool, str]], list[tuple[bool, str]]]:
    """Both texts as runs of (differs, words); joined, they are the texts again."""
    a, b = (re.findall(r"\s+|[^\s]+", text) for text in (left, right))
    marked: tuple[list, list] = ([], [])
    for kind, i, j, k, m in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        for side, words in zip(marked, (a[i:j], b[k:m]), strict=True):
            if words:
                side.append((kind != "equal", "".join(words)))
    return marked


# ----------------------------------------------------------------------------------------- the page


def draw(facts: dict) -> dict[str, str]:
    """Name -> SVG of every figure: for each holdout and setting the losses, and what tokens are worth."""
    figures = {}
    for number, (name, holdout) in enumerate(facts["holdouts"].items(), 1):
        for part, where in enumerate(_settings(holdout), 1):
            series = {s: one for s, one in holdout["levels"].items() if one["setting"] == where}
            key = f"{number}-{part}-{re.sub('[^A-Za-z0-9_.-]', '-', name)}"
            what = ", ".join(filter(None, [f"held-out {name} text", where]))
            named = {one["level"]: one for one in series.values()}
            figures[f"loss-{key}"] = charts.loss_curves(named, f"Loss on {what} against training tokens")
            rates = [
                e["rate"] | {"level": series[e["level"]]["level"], "colour": list(series).index(e["level"])}
                for e in holdout["exchange"] if e["rate"] and e["level"] in series
            ]  # fmt: skip
            if rates:
                of = next(iter(named))
                figures[f"rates-{key}"] = charts.exchange_rates(rates, of, f"Exchange rates on {what}")
    return figures


def _settings(holdout: dict) -> list[str]:
    return list(dict.fromkeys(one["setting"] for one in holdout["levels"].values()))


def render(facts: dict) -> str:
    """The page as one string of HTML: no script, no network, every document's text escaped."""
    return _page(facts, draw(facts))


def _page(facts: dict, figures: dict[str, str]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("curate", "page"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "count": short_count, "size": short_bytes, "time": short_time,
        "rate": rate_text, "gap": difference_text, "bound": bound_text,
        "together": keep_together,
        "histogram": lambda told, label: Markup(charts.histogram(told, label)),
    }  # fmt: skip
    drawn = {name: Markup(charts.inside_page(svg, name)) for name, svg in figures.items()}
    pairs = [
        pair | {"marked": marked_difference(pair["text"], pair["of_text"])}
        for pair in facts["near_duplicates"]
    ]
    template = environment.get_template("report.html")
    page = template.render(f=facts, figures=drawn, pairs=pairs, light=charts.LIGHT, dark=charts.DARK)
    return CONTROL.sub("\ufffd", page).strip() + "\n"


def write(directory: Path, facts: dict) -> Path:
    """`report.html`, `report.json` and `figures/*.svg`, `.png` in a folder; each appears whole or not at all."""
    figures = draw(facts)
    for name, svg in figures.items():
        alone = charts.standalone(svg)
        with atomic(directory / "figures" / f"{name}.svg") as temporary:
            temporary.write_text(alone, encoding="utf-8")
        with atomic(directory / "figures" / f"{name}.png") as temporary:
            temporary.write_bytes(charts.png(alone))
    write_json(directory / "report.json", facts)
    page = directory / "report.html"
    with atomic(page) as temporary:
        temporary.write_text(_page(facts, figures), encoding="utf-8")
    return page
