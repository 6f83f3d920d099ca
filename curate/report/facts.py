"""Everything that the page says, from the lock and the runs; it is what `report.json` holds.

A run that is missing or failed is named, never filled in; a difference inside the noise is called not
distinguishable. The headline is about the last level against the first, settled before any result is seen:
the best of several rates would look better than it is.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from curate.remote import here
from curate.report.findings import findings
from curate.report.first import first_screen
from curate.results.answers import holdout_answers, place
from curate.results.influence import with_documents
from curate.results.scores import series_name, setting
from curate.results.trigram import trigram_warning
from curate.results.tuning import tuned, tuning_note
from curate.results.words import statement
from train.tokens.packed import Packed

LARGEST_SHARE = 0.2  # of a corpus, from which one document decides much of what its models learn


def facts(lock: dict, runs: list[dict], examples: dict) -> dict:
    """Everything the page says. `examples`: {"levels": {level: {rule: ...}}, "near_duplicates": [...], "held_out": a
    function (holdout, number of its document) -> an excerpt}."""
    everything, runs = runs, [run for run in runs if not run.get("study")]
    every_run = [run for run in runs if "losses" in run]
    done, tried = tuned(every_run)
    order = {level["name"]: i for i, level in enumerate(lock["levels"])}
    holdouts = {}
    # Targets first: what the user cares about; then levels in their order.
    for name in sorted(
        lock["holdouts"], key=lambda name: (order.get(lock["holdouts"][name].get("level"), -1), name)
    ):
        scored = [run for run in done if name in run["losses"]]
        if scored:
            holdouts[name] = holdout_answers(name, lock, scored)
    how = partial(tuning_note, tried)
    statements = [text for name, holdout in holdouts.items() if (text := statement(name, holdout, how))]
    found = [
        with_documents(one, examples["held_out"])
        if one["key"] == "influence" and "held_out" in examples
        else one
        for one in findings(lock, everything)
    ]
    # Where levels are not the question: what settings or factors were worth.
    of_settings = (one["sentences"][0] for one in found if one["key"] in ("axes", "factors"))
    beaten = [warning for name, holdout in holdouts.items() if (warning := trigram_warning(name, holdout))]
    shown: dict = {
        "name": lock["name"],
        "headline": " ".join(statements) or next(of_settings, "No level can be compared with another yet."),
        "statements": statements,
        "holdouts": holdouts,
        "findings": found,
        "levels": lock["levels"],
        "funnel": _funnel(lock),
        "ledger": lock["ledger"],
        "examples": examples.get("levels", {}),
        "near_duplicates": examples.get("near_duplicates", []),
        "duplicates": lock.get("duplicates", {}),
        "runs": [_run_row(run) for run in sorted(every_run, key=place)],
        "missing": _missing(lock, runs) + _missing_of_studies(everything),
        "warnings": lock.get("warnings", []) + _short_runs(done) + _long_documents(done) + beaten,
        "lock": lock,
    }
    return shown | {"first": first_screen(shown, every_run)}


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
    failed = [
        {"level": run["level"], "setting": setting(run), "size": run.get("size"), "seed": run["seed"],
         "why": run["failed"]}
        for run in runs
        if "failed" in run
    ]  # fmt: skip
    whole = {
        (run["level"], setting(run), run["seed"]) for run in runs if "failed" in run and not run.get("size")
    }
    known = {place(run) for run in runs if run.get("size")}
    settings, seeds = {setting(run) for run in runs}, {run["seed"] for run in runs}
    trained = {run["level"] for run in runs}
    silent = [
        {"level": c["level"], "setting": where, "size": c["budget"], "seed": seed,
         "why": "no record of this run"}
        for c in lock.get("corpora", []) if c["level"] in trained and c["budget"]
        for where in settings for seed in seeds
        if (c["level"], where, c["budget"], seed) not in known and (c["level"], where, seed) not in whole
    ]  # fmt: skip
    return sorted(failed + silent, key=lambda m: (m["level"], m["setting"], m["size"] or 0, m["seed"]))


def _missing_of_studies(runs: list[dict]) -> list[dict]:
    return [
        {"level": f"{run['study']}: {run['level']}", "setting": "", "size": run["size"], "seed": run["seed"],
         "why": run["failed"]}
        for run in runs if run.get("study") and "failed" in run
    ]  # fmt: skip


def _short_runs(done: list[dict]) -> list[str]:
    """Runs that saw another number of tokens than their size: they are compared as if they had seen it."""
    off = [run for run in done if abs(run.get("tokens_unique", run["size"]) / run["size"] - 1) > 0.02]
    return [
        f"{series_name(run)}, size {run['size']:,}, seed {run['seed']}: "
        f"trained on {run['tokens_unique']:,} tokens"
        for run in sorted(off, key=place)
    ]


def _long_documents(done: list[dict]) -> list[str]:
    """Corpora that are mostly one document: seeds share it, so no interval says what another one would have given."""
    dominated = []
    for level, size in dict.fromkeys((run["level"], run["size"]) for run in sorted(done, key=place)):
        run = next(one for one in done if (one["level"], one["size"]) == (level, size))
        packed = run.get("cell", {}).get("packed", "")
        if not packed or not here(packed).exists():
            continue
        share = np.diff(np.minimum(Packed.open(packed).documents, size)).max() / size
        if share > LARGEST_SHARE:
            dominated.append(
                f"{level}, size {size:,}: one document is {share:.0%} of the corpus, and intervals over seeds say nothing "
                "of what another would have given; take larger sizes, or name a `longest` for its source"
            )
    return dominated
