"""The page: facts as figures, tables and sentences. `curate.report.facts` computes everything that is shown; this only
lays it out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import jinja2
from markupsafe import Markup

from curate.differences import marked_difference, runs_of
from curate.quantities import short_bytes, short_count, short_time
from curate.report import charts, panels
from curate.results.words import bound_text, difference_text, keep_together, rate_text, text_of
from curate.store import atomic, write_json

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # no text in HTML, though documents hold them


DRAWINGS: dict[str, Callable[[dict, str], str]] = {
    "attribution": panels.worths,
    "factors": lambda figures, title: charts.tornado(figures["rows"], f"{title}, bits per byte"),
    "axes": panels.gaps,
    "context": panels.positions,
    "surface": panels.isoflops,
    "probes": panels.probe_panels,
}


def draw(facts: dict) -> dict[str, str]:
    """Name -> SVG of every figure: for each holdout and setting the losses, and what tokens are worth."""
    figures = {}
    for number, (name, holdout) in enumerate(facts["holdouts"].items(), 1):
        settings = dict.fromkeys(one["setting"] for one in holdout["levels"].values())
        for part, where in enumerate(settings, 1):
            series = {s: one for s, one in holdout["levels"].items() if one["setting"] == where}
            key = f"{number}-{part}-{re.sub('[^A-Za-z0-9_.-]', '-', name)}"
            what = ", ".join(filter(None, [f"{text_of(name)}", where]))
            named = {one["level"]: one for one in series.values()}
            figures[f"loss-{key}"] = charts.loss_curves(named, f"Loss on {what} against training tokens")
            rates = [
                e["rate"] | {"level": series[e["level"]]["level"], "colour": list(series).index(e["level"])}
                for e in holdout["exchange"] if e["rate"] and e["level"] in series
            ]  # fmt: skip
            if rates:
                of = next(iter(named))
                figures[f"rates-{key}"] = charts.exchange_rates(rates, of, f"Exchange rates on {what}")
    if any(one["saved"][-1] for one in facts["duplicates"].get("novelty", {}).get("by_source", {}).values()):
        figures["duplicates"] = panels.lost_with_duplicates(facts["duplicates"]["novelty"]["by_source"])
    for number, found in enumerate(facts["findings"], 1):
        there = found["figures"].get("rows") or found["figures"].get("parts")
        if there and (drawing := DRAWINGS.get(found["key"])):
            figures[f"{found['key']}-{number}"] = drawing(found["figures"], found["title"])
    return figures


def render(facts: dict) -> str:
    """The page as one string of HTML: no script, no network, every document's text escaped."""
    return _page(facts, draw(facts))


def _page(facts: dict, figures: dict[str, str]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("curate.report", "page"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "count": short_count, "size": short_bytes, "time": short_time,
        "rate": rate_text, "gap": difference_text, "bound": bound_text,
        "by_cause": by_cause, "idle_as_one": idle_as_one, "together": keep_together, "text_of": text_of, "runs": runs_of,
        "histogram": lambda counts, label: Markup(charts.histogram(counts, label)),
    }  # fmt: skip
    drawn = {name: Markup(charts.inside_page(svg, name)) for name, svg in figures.items()}
    pairs = [
        pair | {"marked": marked_difference(pair["text"], pair["of_text"])}
        for pair in facts["near_duplicates"]
    ]
    template = environment.get_template("report.html")
    page = template.render(f=facts, figures=drawn, pairs=pairs, light=charts.LIGHT, dark=charts.DARK)
    return CONTROL.sub("\ufffd", page).strip() + "\n"


def by_cause(missing: list[dict]) -> list[dict[str, str]]:
    """Missing runs of one level and one cause as one row: {level, setting, sizes, seeds, why}."""
    rows: dict[tuple, list[dict]] = {}
    for run in missing:
        rows.setdefault((run["level"], run["setting"], run["why"]), []).append(run)
    return [
        {"level": level, "setting": where, "why": why,
         "sizes": ", ".join(dict.fromkeys(short_count(run["size"]) if run["size"] else "all" for run in some)),
         "seeds": ", ".join(map(str, sorted({run["seed"] for run in some})))}
        for (level, where, why), some in rows.items()
    ]  # fmt: skip


def idle_as_one(funnel: list[dict]) -> Iterator[dict]:
    """The steps of a funnel; those that follow each other and drop nothing are one, with the names of `idle` rules."""
    for idle, found in groupby(funnel, lambda s: bool(s["rule"]) and not s["dropped"] and not s["alone"]):
        steps = list(found)
        several = idle and len(steps) > 1
        yield from [steps[-1] | {"idle": [step["rule"] for step in steps]}] if several else steps


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
