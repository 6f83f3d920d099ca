"""What probes say of data: by level and size, zero-shot and after fine-tuning, against a model that read nothing.

Verdicts are about accuracy at the largest size, and hold together over all comparisons: those of one family and way by
max T, the families and ways by Bonferroni. Bits of the right answer stand beside it and decide nothing: zero-shot they
say mostly how sure a model is of whatever it prefers.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from curate.quantities import short_count
from curate.results.answers import finite
from curate.results.finding import finding, table
from curate.results.scores import first_of_setting, series_name
from curate.results.words import difference_text
from curate.store import remembered
from train import fits

RECORD = "probes.json"
SCRATCH = "from scratch"
CAPTION = (
    "Share of held-out questions answered right, against the text read first. Filled: after fine-tuning; hollow: "
    "zero-shot; band: the fresh model, fine-tuned alike. Levels stand a little beside each other."
)
TOPS = {"accuracy": 1.0, "bits": float("inf")}
DRAWS = 4000  # corrected intervals lie far out in the tails


def probe_finding(runs: list[dict]) -> dict | None:
    """None where nothing was asked."""
    probed, left_out = _alike(
        [one for run in runs if "losses" in run and "probes" in (one := with_probes(run))]
    )
    if not probed:
        return None
    ways = [way for way in probed[0]["probes"]["ways"] if way != "scratch"]
    families = probed[0]["probes"]["families"]
    asked = [(family, way) for family in families for way in ways]
    rows, gaps = [], []
    for family, way in asked:
        found = _rows(probed, family, way)
        rows += found
        gaps += _gaps(probed, family, way, 0.05 / len(asked))
    size = max(run["size"] for run in probed)
    caveats = _grid(probed, families[0], ways[-1], "right").caveats
    sentences = [_quality(gaps, size), *_text(gaps, rows, size), *_chance(rows, size)]
    if left_out:
        were = (
            "record was asked otherwise and is" if left_out == 1 else "records were asked otherwise and are"
        )
        sentences.append(f"{left_out} {were} left out; `curate probe` asks again.")
    return finding("probes", "Probes: halfway to everywhere", "", sentences, _tables(rows, gaps, size),
                   caption=CAPTION, caveats=caveats, rows=rows, comparisons=gaps, size=size)  # fmt: skip


def with_probes(run: dict) -> dict:
    """A run's record with what it was asked, where it was."""
    if not run.get("directory"):
        return run
    record = remembered(Path(run["directory"]) / RECORD, "left out; `curate probe` asks again")
    return run | {"probes": record} if record else run


def _alike(probed: list[dict]) -> tuple[list[dict], int]:
    """(the runs that were asked the same, in the same way, as most were; how many were not)."""
    how = [str([run["probes"].get(k) for k in ("version", "families", "tuning")]) for run in probed]
    usual = Counter(how).most_common(1)[0][0] if how else ""
    alike = [run for run, one in zip(probed, how, strict=True) if one == usual]
    return alike, len(probed) - len(alike)


# ------------------------------------------------------------------------------------------- figures


def _grid(runs: list[dict], family: str, way: str, measure: str, alpha: float = 0.05) -> fits.Grid:
    """Accuracies or bits plus 1, so that none is 0, with groups of items as the documents that are drawn.

    After fine-tuning the fresh models stand among the levels, at every size, since they read nothing of any.
    """
    points = {}
    for run in runs:
        for name, from_way in ((series_name(run), way), (SCRATCH, "scratch" if way == "tuned" else "")):
            scores = run["probes"]["ways"].get(from_way, {}).get("families", {}).get(family)
            if scores is not None:
                points[name, run["size"], run["seed"]] = scores["by_group"]
    shifted = {
        place: np.array(scores[measure], float) + np.array(scores["items"])
        for place, scores in points.items()
    }
    items = np.array(next(iter(points.values()))["items"], float)
    return fits.Grid(
        [fits.Point(*place, values.sum() / items.sum(), values) for place, values in shifted.items()],
        items, draws=DRAWS, confidence=1 - alpha,
    )  # fmt: skip


def _rows(runs: list[dict], family: str, way: str) -> list[dict]:
    grids = {"accuracy": _grid(runs, family, way, "right"), "bits": _grid(runs, family, way, "bits")}
    scores = runs[0]["probes"]["ways"][way]["families"][family]
    common = {"family": family, "chance": scores["chance"], "questions": scores["items"]}
    rows = []
    in_order = [*dict.fromkeys(map(series_name, runs)), SCRATCH]
    for name in (name for name in in_order if name in grids["bits"].levels):
        sizes = sorted(int(t) for t in grids["bits"].means_ND(name)[0])
        for size in sizes if name != SCRATCH else sizes[-1:]:
            means = {key: _less_one(fits.mean(grid, name, size), TOPS[key]) for key, grid in grids.items()}
            where = ("scratch", None) if name == SCRATCH else (way, size)
            rows.append({**common, "way": where[0], "series": name, "size": where[1], **means})
    return rows


def _less_one(mean: Any, top: float) -> dict[str, float]:
    """The noise of seeds knows no bounds; a share and a length do."""
    return {key: min(max(getattr(mean, key) - 1, 0.0), top) for key in ("value", "low", "high")}


def _gaps(runs: list[dict], family: str, way: str, alpha: float) -> list[dict]:
    """Every level against the first of its setting, and after fine-tuning against the fresh model, with intervals that
    hold them all at once, those of other families included."""
    grid = _grid(runs, family, way, "right", alpha)
    size = grid.tokens[-1]
    there = first_of_setting([run for run in runs if run["size"] == size])
    pairs = [(name, first, "quality") for name, first in there.items() if name != first]
    if SCRATCH in grid.levels:
        pairs += [(name, SCRATCH, "text") for name in there]
    gaps = [gap.together for gap in fits.differences(grid, [pair[:2] for pair in pairs], size)]
    return [
        finite({"family": family, "way": way, "about": about, "level": level, "than": than,
                "value": gap.value, "low": gap.low, "high": gap.high, "clear": gap.distinguishable})
        for (level, than, about), gap in zip(pairs, gaps, strict=True)
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------- words


def _quality(gaps: list[dict], size: int) -> str:
    mine = [gap for gap in gaps if gap["about"] == "quality"]
    if not mine:
        return "One level only: what data quality does to these questions was not asked."
    clear = [gap for gap in mine if gap["clear"]]
    start = f"At {short_count(size)} tokens, after correcting for {len(gaps)} comparisons, data quality "
    if not clear:
        widest = max(mine, key=lambda gap: abs(gap["value"]))
        return (
            f"{start}moves none of these answers distinguishably; the largest difference, {widest['level']} less "
            f"{widest['than']} on {widest['family']} ({widest['way']}), is {difference_text(widest)} of the questions."
        )
    clauses = [
        f"{gap['family']}, {gap['way']}: {gap['level']} answers {difference_text(gap)} more of the questions "
        f"than {gap['than']}"
        for gap in clear
    ]
    quiet = "" if len(clear) == len(mine) else f". The other {len(mine) - len(clear)} are not distinguishable"
    return f"{start}moves {'; '.join(clauses)}{quiet}."


def _text(gaps: list[dict], rows: list[dict], size: int) -> list[str]:
    """What having read text was worth after fine-tuning, a sentence a family with a verdict and one for the others."""
    mine = [gap for gap in gaps if gap["about"] == "text"]
    clear_sentences, quiet = [], []
    for family in dict.fromkeys(gap["family"] for gap in mine):
        clear = [gap for gap in mine if gap["family"] == family and gap["clear"]]
        if not clear:
            quiet.append(family)
            continue
        best = max(clear, key=lambda gap: abs(gap["value"]))
        ends = {
            row["way"]: row["accuracy"]["value"] for row in rows
            if row["family"] == family
            and (row["way"] == "scratch" or (row["series"], row["size"]) == (best["level"], size))
        }  # fmt: skip
        others = [gap["level"] for gap in clear if gap is not best]
        also = f" (also clear for {', '.join(others)})" if others else ""
        clear_sentences.append(
            f"Having read {best['level']} first moves {family} after fine-tuning from {ends['scratch']:.2f} to "
            f"{ends['tuned']:.2f}, {difference_text(best)} of the questions{also}."
        )
    if quiet:
        clear_sentences.append(
            f"After fine-tuning, having read text is not distinguishable from a fresh start in {', '.join(quiet)}."
        )
    return clear_sentences


def _chance(rows: list[dict], size: int) -> list[str]:
    mine = [row for row in rows if row["way"] == "zero-shot" and row["size"] == size]
    above = [row for row in mine if row["accuracy"]["low"] > row["chance"]]
    if not above:
        return ["Zero-shot, no model answers more than chance would."]
    clauses = [
        f"{row['series']} on {row['family']} ({row['accuracy']['value']:.2f}, chance {row['chance']:.2f})"
        for row in above
    ]
    return [f"Zero-shot, above chance: {', '.join(clauses)}; all else is at chance or below."]


def _span(interval: dict) -> str:
    return f"{interval['value']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"


def _tables(rows: list[dict], gaps: list[dict], size: int) -> list[dict]:
    at = [row for row in rows if row["size"] in (size, None)]
    cells = [
        [row["family"], row["way"], row["series"], _span(row["accuracy"]), _span(row["bits"]),
         f"{row['chance']:.2f}", f"{row['questions']:,}"]
        for row in at
    ]  # fmt: skip
    columns = [
        "Probe",
        "Way",
        "Text read",
        "Answered right",
        "Bits of the right answer",
        "Chance",
        "Questions",
    ]
    tables = [table(f"Held-out questions, models of {short_count(size)} tokens", columns, cells)]
    if gaps:
        verdicts = [
            [gap["family"], gap["way"], gap["level"], gap["than"], difference_text(gap),
             "clear" if gap["clear"] else "not distinguishable"]
            for gap in gaps
        ]  # fmt: skip
        caption = f"Difference in the share answered right; intervals hold all {len(gaps)} at once"
        tables.append(
            table(caption, ["Probe", "Way", "Text read", "Against", "Difference", "Verdict"], verdicts)
        )
    sizes = sorted({row["size"] for row in rows if row["size"]})
    if len(sizes) > 1:
        spans: dict[tuple, dict] = {}
        for row in rows:
            if row["size"]:
                spans.setdefault((row["family"], row["way"], row["series"]), {})[row["size"]] = _span(
                    row["accuracy"]
                )
        cells = [[*key, *(found.get(one, "–") for one in sizes)] for key, found in spans.items()]
        columns = ["Probe", "Way", "Text read", *(f"{short_count(one)} tokens" for one in sizes)]
        tables.append(table("Answered right, by how much was read first", columns, cells))
    return tables
