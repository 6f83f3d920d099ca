"""Probes of one run or of all runs of a manifest: the questions of `train.probes`, and how data quality moves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from curate.errors import CurateError
from curate.progress import say
from curate.report.answers import series_name
from curate.store import read_json
from train import fits

RECORD = "probes.json"


def probe(run: Path, steps: int | None, families: tuple[str, ...]) -> dict[str, Any]:
    """The record of one finished run, made where it is not there yet."""
    from train.probes import Tuning, probe_run
    from train.puzzles import FAMILIES

    try:
        tuning = Tuning() if steps is None else Tuning(steps=steps)
        return probe_run(run, tuning, families or FAMILIES)
    except (ValueError, OSError) as error:
        raise CurateError(str(error)) from None


def probe_all(runs: list[dict], steps: int | None, families: tuple[str, ...]) -> list[dict]:
    """The finished runs of the grid at the largest size, each with its probes."""
    done = [run for run in runs if "losses" in run and not run.get("study")]
    if not done:
        raise CurateError("no finished run to probe; `curate train` makes them")
    largest = [run for run in done if run["size"] == max(r["size"] for r in done)]
    probed = []
    for number, run in enumerate(largest, 1):
        say(f"probe {number} of {len(largest)}: {series_name(run)}, seed {run['seed']}")
        probed.append(run | {"probes": probe(Path(run["directory"]), steps, families)})
    return probed


def with_probes(run: dict) -> dict:
    """A run's record with what it was asked, where it was."""
    path = Path(run.get("directory") or "") / RECORD
    return run | {"probes": read_json(path)} if run.get("directory") and path.exists() else run


def probe_finding(runs: list[dict]) -> dict | None:
    """Accuracy of every family by level, before and after tuning, and what distinguishes the levels."""
    from curate.report.finding import finding, table

    probed = [run for run in map(with_probes, runs) if "probes" in run]
    if not probed:
        return None
    names = list(dict.fromkeys(series_name(run) for run in probed))
    ways = probed[0]["probes"]["ways"]
    rows, sentences = [], []
    for family in probed[0]["probes"]["families"]:
        for way in ways:
            grid = _grid(probed, way, family)
            if grid is None:
                continue
            told = probed[0]["probes"]["ways"][way]["families"][family]
            means = [fits.mean(grid, name, grid.tokens[-1]) for name in names if name in grid.levels]
            rows.append([family, way, *(f"{m.value:.3f} [{m.low:.3f}, {m.high:.3f}]" for m in means),
                         f"{told['chance']:.2f}", str(told["items"])])  # fmt: skip
            sentences += _moved(grid, names, family, way)
    quiet = "No probe tells the levels apart." if len(names) > 1 else ""
    caption = "Share of held-out questions whose likeliest answer is right"
    columns = ["Probe", "Way", *names, "Chance", "Questions"]
    return finding("probes", "Probes: halfway to everywhere", "", sentences or [quiet or caption + "."],
                   [table(caption, columns, rows)])  # fmt: skip


def _grid(runs: list[dict], way: str, family: str) -> fits.Grid | None:
    """Accuracies as a grid, with their groups of items as what is drawn; None where an accuracy is 0."""
    points, items = [], None
    for run in runs:
        told = run["probes"]["ways"].get(way, {}).get("families", {}).get(family)
        if told is None or told["accuracy"]["value"] <= 0:
            return None
        items = np.array(told["by_group"]["items"], float)
        right = np.array(told["by_group"]["right"], float)
        points.append(
            fits.Point(series_name(run), run["size"], run["seed"], told["accuracy"]["value"], right)
        )
    return fits.Grid(points, items)


def _moved(grid: fits.Grid, names: list[str], family: str, way: str) -> list[str]:
    sentences = []
    for name in names[1:]:
        try:
            gap = fits.difference(grid, name, names[0])
        except fits.FitError:
            continue
        if gap.distinguishable:
            sentences.append(
                f"{family}, {way}: {name} answers {gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}] "
                f"more of the questions than {names[0]}.".replace("-0.", "−0.")
            )
    return sentences


def probe_text(record: dict[str, Any]) -> str:
    """A table: a row for every family and way."""
    from curate.summary import table

    rows = []
    for family in record["families"]:
        for way, told in record["ways"].items():
            one = told["families"][family]
            spans = [f"{a['value']:.3f} [{a['low']:.3f}, {a['high']:.3f}]"
                     for a in (one["accuracy"], one["accuracy_per_byte"], one["bits"])]  # fmt: skip
            rows.append([family, way, *spans, f"{one['chance']:.2f}", one["items"]])
    header = ["probe", "way", "accuracy", "by nats a byte", "bits of the right one", "chance", "questions"]
    return table(rows, header)


def probes_text(probed: list[dict]) -> str:
    found = probe_finding(probed)
    assert found is not None, "runs were probed"
    from curate.summary import table

    (told,) = found["tables"]
    return "\n".join([table(told["rows"], told["columns"]), *found["sentences"]])
