"""The first screen, below the answer: for whom it holds, how sure it is, and what could change it."""

from __future__ import annotations

from curate.quantities import short_count
from curate.results.trigram import trigram_warning
from curate.results.words import text_of

PICTURES = ("attribution", "factors")  # findings whose picture is the answer, where they are asked for


def first_screen(facts: dict, runs: list[dict]) -> dict:
    """{"lines": [(what, sentence)], "picture": number of a finding or None}."""
    done = [run for run in runs if "losses" in run]
    lines = [
        ("For whom", _judges(facts)),
        ("How sure", _sure(facts)),
        ("How learned", _behind_a_trigram(facts)),
        ("Not asked", _not_asked(done)),
    ]
    picture = next(
        (number for key in PICTURES for number, found in enumerate(facts["findings"], 1)
         if found["key"] == key and (found["figures"].get("parts") or found["figures"].get("rows"))),
        None,
    )  # fmt: skip
    return {"lines": [(what, sentence) for what, sentence in lines if sentence], "picture": picture}


def _judges(facts: dict) -> str:
    """What the answer was judged on."""
    judges = []
    for name, holdout in facts["holdouts"].items():
        rests = next((row for row in reversed(list(holdout["influence"].values())) if row), None)
        worth = (
            f" of {rests['groups']:,} groups, worth {rests['effective_groups']:.0f} of equal length"
            if rests
            else ""
        )
        judges.append(f"{text_of(name)} ({holdout['documents']:,} documents{worth})")
    return f"Whoever cares about {'; '.join(judges)}." if judges else ""


def _sure(facts: dict) -> str:
    """What intervals hold, and what speaks against them."""
    if not facts["holdouts"]:
        return ""
    holdouts = facts["holdouts"].values()
    caveats = [f"on {text_of(name)}: {c}" for name, one in facts["holdouts"].items() for c in one["caveats"]]
    shared = max((holdout["documents_shared"] for holdout in holdouts), default=0.0)
    covered = "training seeds, which groups were held out" + (
        "" if shared else ", which documents each seed read"
    )
    few = [
        f"on {text_of(name)} the sign depends on {row['decisive_documents']:,} of {row['documents']:,} documents"
        for name, holdout in facts["holdouts"].items()
        for row in list(holdout["influence"].values())[-1:]
        if row and row["decided_by_few"]
    ]
    against = f" But {'; '.join([*few, *caveats])}." if few or caveats else ""
    return f"Intervals of 95 % hold {covered}.{against}"


def _behind_a_trigram(facts: dict) -> str:
    """Whether these models are in a regime whose rankings are worth much."""
    behind = [text_of(name) for name, holdout in facts["holdouts"].items() if trigram_warning(name, holdout)]
    if not behind:
        return ""
    return f"A trigram of the same tokens still has the lower loss on {', '.join(behind)}; its losses stand beside these."


def _not_asked(runs: list[dict]) -> str:
    """What could change it: axes that no run varied, and sizes beyond those trained."""
    if not runs:
        return ""
    knobs = {knob for run in runs for knob in run.get("tags", {})}
    parameters = [p["total"] if isinstance(p, dict) else p for run in runs if (p := run.get("parameters"))]
    beyond = [f"more than {short_count(max(run['size'] for run in runs))} tokens"]
    beyond += [f"models of more than {short_count(max(parameters))} parameters"] if parameters else []
    beyond += [] if "optimizer.learning_rate" in knobs else ["other learning rates"]
    beyond += [] if "epochs" in knobs else ["other numbers of passes"]
    return f"{', '.join(beyond[:-1])} or {beyond[-1]}: each can turn a ranking.".capitalize()
