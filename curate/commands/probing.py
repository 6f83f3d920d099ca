"""`curate probe`: the questions of `train.probes.probing`, asked of one run or of all runs of a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curate.commands.summary import table
from curate.errors import CurateError
from curate.progress import say
from curate.quantities import short_count
from curate.results.probes import probe_finding
from curate.results.scores import series_name


def probe(run: Path, steps: int | None, families: tuple[str, ...]) -> dict[str, Any]:
    """The record of one finished run, made where it is not there yet."""
    from train.probes.probing import probe_run
    from train.probes.puzzles import FAMILIES
    from train.probes.tuning import Tuning

    try:
        tuning = Tuning() if steps is None else Tuning(steps=steps)
        return probe_run(run, tuning, families or FAMILIES)
    except (ValueError, OSError) as error:
        raise CurateError(str(error)) from None


def probe_all(runs: list[dict], steps: int | None, families: tuple[str, ...]) -> list[dict]:
    """The finished runs of the grid, each with its probes."""
    done = [run for run in runs if "losses" in run and not run.get("study")]
    if not done:
        raise CurateError("no finished run to probe; `curate train` makes them")
    probed = []
    for number, run in enumerate(sorted(done, key=lambda run: (run["seed"], -run["size"])), 1):
        where = f"{series_name(run)}, {short_count(run['size'])} tokens, seed {run['seed']}"
        say(f"probe      {number} of {len(done)}: {where}")
        probed.append(run | {"probes": probe(Path(run["directory"]), steps, families)})
    return probed


def probe_text(record: dict[str, Any]) -> str:
    """A table: a row for every family and way."""
    rows = []
    for family in record["families"]:
        for way, answered in record["ways"].items():
            one = answered["families"][family]
            spans = [f"{a['value']:.3f} [{a['low']:.3f}, {a['high']:.3f}]"
                     for a in (one["accuracy"], one["accuracy_per_byte"], one["bits"])]  # fmt: skip
            rows.append([family, way, *spans, f"{one['chance']:.2f}", one["items"]])
    header = ["probe", "way", "accuracy", "by nats a byte", "bits of the right one", "chance", "questions"]
    return table(rows, header)


def probes_text(runs: list[dict]) -> str:
    """The finding of the report: its sentences, and its first two tables."""
    found = probe_finding(runs)
    assert found is not None, "runs were probed"
    tables = [table(one["rows"], one["columns"]) for one in found["tables"][:2]]
    return "\n\n".join([*tables, *found["sentences"]])
