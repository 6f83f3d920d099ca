"""What studies and the whole grid say beyond single comparisons: each finding is sentences, tables and their figures.

    {"key", "title", "holdout", "sentences": [...], "tables": [{"caption", "columns", "rows"}], "figures": {...}}

Where the runs are too few for an answer, the sentence says what is missing instead.
"""

from __future__ import annotations

from curate.quantities import short_count
from curate.report.answers import finite, grid_of
from curate.report.crossing import crossing_finding
from curate.report.factors import factors_finding, structures_finding
from curate.report.finding import finding, table
from curate.report.groups import groups_finding
from curate.report.mixtures import mixture_finding
from curate.report.probes import probe_finding
from curate.report.repetition import repetition_finding
from curate.report.scaling import scaling_finding
from curate.report.words import difference_text, worth_text
from train import fits


def findings(lock: dict, runs: list[dict]) -> list[dict]:
    """Of all holdouts, in the order of the page."""

    everything, runs = runs, [run for run in runs if "losses" in run]
    asked, found = lock.get("studies", {}), []
    for name in lock["holdouts"]:
        scored = [run for run in runs if name in run.get("losses", {})]
        by_study = {study: [r for r in scored if r.get("study") == study] for study in (None, *asked)}
        if "attribution" in asked:
            found.append(attribution_finding(name, lock, by_study["attribution"]))
        if "repetition" in asked:
            found.append(repetition_finding(name, lock, by_study["repetition"]))
        if "mixture" in asked and asked["mixture"]["holdout"] == name:
            found.append(mixture_finding(name, lock, by_study["mixture"]))
        if "overtaking" in asked and asked["overtaking"]["holdout"] == name:
            found.append(crossing_finding(name, lock, by_study[None], by_study["overtaking"]))
        if "factors" in asked:
            of_factors = [run for run in everything if run.get("study") == "factors"]
            found.append(factors_finding(name, asked["factors"], of_factors))
            found += [one] if (one := structures_finding(name, of_factors)) else []
        found += groups_finding(name, lock, by_study[None])
        found += scaling_finding(name, lock, by_study[None])
    probes = probe_finding([run for run in runs if not run.get("study")])
    return found + ([probes] if probes else [])


# ------------------------------------------------------------------------------------------- attribution


def attribution_finding(name: str, lock: dict, runs: list[dict]) -> dict:
    """What each part of a level's rules is worth: nats that leaving it out costs, and that adding it alone saves."""
    asked = lock["studies"]["attribution"]
    low, high, tokens = asked["base"], asked["level"], asked["tokens"]
    title = f"What each {asked['parts']} of {high} is worth on held-out {name} text"
    if not {low, high} <= {run["level"] for run in runs}:
        return finding("attribution", title, name, [f"The runs of {low} and {high} are not there yet."])
    same = _same_corpora(runs, {low, high})
    grid = grid_of(name, [run for run in runs if run["level"] not in same])
    pairs, idle, parts = [(low, high)], [], {}
    known = {run["level"]: (run["part"], run["way"]) for run in runs if "part" in run}
    for level, (part, way) in sorted(known.items()):
        pair = (level, high) if way == "without" else (low, level)
        if level in same:
            idle.append({"part": part, "way": way, "same_as": same[level]})
        elif level in grid.levels:
            pairs.append(pair)
            parts[pair] = (part, way)
    told = fits.differences(grid, pairs, tokens)
    whole, rest = told[0], sorted(told[1:], key=lambda d: -d.value)
    rows = [
        finite(vars(d)) | {"part": parts[(d.level, d.than)][0], "way": parts[(d.level, d.than)][1]}
        for d in rest
    ]
    sentences = [_whole_sentence(name, asked, whole), *_rank_sentences(rows, idle, grid)]
    missing = len(lock["derived"]) - len(rows) - len(idle)
    if missing:
        sentences.append(
            f"{missing} of the {len(lock['derived'])} corpora have no run; nothing stands in for them."
        )
    derived = lock["derived"]
    cells = [
        [r["part"], {"without": "left out", "only": "alone"}[r["way"]], worth_text(r),
         _corrected_text(r), "worth it" if r["corrected"] and r["value"] > 0 else "harmful" if r["corrected"] else
         "not distinguishable", f"{derived[r['level'] if r['way'] == 'without' else r['than']]['documents']:,}"]
        for r in rows
    ]  # fmt: skip
    columns = ["Part", "How", "Worth, nats per token", "All at once", "Verdict", "Documents of that corpus"]
    caption = (
        f"At {tokens:,} tokens. Left out: loss of {high} without it, minus that of {high}. Alone: loss of {low}, minus "
        f"that of {low} with it. Above 0 it helps. “All at once”: intervals that "
        f"hold all {len(rows) + 1} comparisons together"
    )
    return finding(
        "attribution", title, name, sentences, [table(caption, columns, cells)], whole=finite(vars(whole)),
        parts=rows, idle=idle, caveats=grid.caveats, matched_sources=asked["matched_sources"],
    )  # fmt: skip


def _same_corpora(runs: list[dict], references: set[str]) -> dict[str, str]:
    """Level -> the reference that it is identical to, document for document."""
    keys = {run["packed_key"]: run["level"] for run in runs if run["level"] in references}
    return {
        run["level"]: keys[run["packed_key"]]
        for run in runs
        if run["level"] not in references and run["packed_key"] in keys
    }


def _whole_sentence(name: str, asked: dict, whole: fits.Difference) -> str:
    figures = finite(vars(whole))
    clear = "" if whole.corrected else ", which is not distinguishable from 0"
    matched = " with the same shares of sources" if asked["matched_sources"] else ""
    return (
        f"On held-out {name} text, all rules between {asked['base']} and {asked['level']} together are worth "
        f"{worth_text(figures)} nats per token at {asked['tokens']:,} tokens{matched}{clear}."
    )


def _rank_sentences(rows: list[dict], idle: list[dict], grid: fits.Grid) -> list[str]:
    clear = [r for r in rows if r["corrected"]]
    sentences = []
    helpful, harmful = [r for r in clear if r["value"] > 0], [r for r in clear[::-1] if r["value"] < 0]
    for some, verb in ((helpful, "helps"), (harmful, "harms")):
        if some:
            how = {"without": "when it alone is left out", "only": "when it alone is applied"}
            parts = [f"{r['part']} ({worth_text(r)} nats {how[r['way']]})" for r in some[:4]]
            sentences.append(f"What clearly {verb}: {'; '.join(parts)}.")
    if len(clear) < len(rows):
        unclear = len(rows) - len(clear)
        reason = "" if grid.noise else " (one seed only)"
        sentences.append(
            f"{unclear} of {len(rows)} comparisons are not distinguishable from 0 after correcting for their number{reason}."
        )
    if idle:
        left = sorted({i["part"] for i in idle})
        sentences.append(f"{len(left)} changed nothing at all (the same documents): {', '.join(left[:8])}.")
    return sentences


def _corrected_text(row: dict) -> str:
    return difference_text(
        {"value": row["value"], "low": row["corrected_low"], "high": row["corrected_high"]}
    )


def tokens_text(tokens: float) -> str:
    return short_count(round(tokens))
