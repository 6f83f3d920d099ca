"""One document: every signal, every rule, which level drops it and why, and what it duplicates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from curate.corpora.built import Annotated
from curate.corpora.selection import KEPT, of_clusters
from curate.differences import in_one_line
from curate.errors import CurateError
from curate.signals.values import inside
from curate.spec.bounds import Bound
from curate.spec.manifest import DUPLICATE, NOVELTY

DUPLICATE_COLUMNS = (
    "exact_duplicate_of", "near_duplicate_of", "near_duplicate_similarity", NOVELTY, "duplicate_kind",
    "duplicate_cluster", "duplicate_cluster_size",
)  # fmt: skip


@dataclass
class Explanation:
    document: dict[str, Any]  # id, source, place, text
    signals: dict[str, Any]
    duplicates: dict[str, Any]
    levels: list[dict]  # name, kept, dropped_by, rules: [{rule, signal, value, bound, passes}]

    def as_json(self) -> dict:
        return vars(self)


def explain(a: Annotated, wanted: str) -> Explanation:
    """`wanted` is an id, the beginning of one, or a place. Raises CurateError where it names no or several documents."""
    row = _row(a, wanted)
    return Explanation(
        document=a.pool.document(row),
        signals={name: a.values.column(name)[row].as_py() for name in a.values.names()},
        duplicates=_duplicates(a, row),
        levels=[_level(a, name, row) for name in a.judged],
    )


def _row(a: Annotated, wanted: str) -> int:
    rows = a.pool.find(wanted) or _at_place(a, wanted)
    if not rows:
        raise CurateError(f"no document has an id that begins with {wanted}, nor is at that place")
    if len(rows) > 1:
        first = ", ".join(a.pool.ids[r].as_py() for r in rows[:3])
        raise CurateError(f"{len(rows)} documents fit {wanted}: {first} ...; give more of the id")
    return rows[0]


def _at_place(a: Annotated, place: str) -> list[int]:
    found: list[int] = []
    for part, (begin, _) in zip(a.pool.parts, a.pool.part.ranges(), strict=True):
        hit = pc.equal(part.table(["place"])["place"], place).to_numpy()
        found += (begin + np.flatnonzero(hit)).tolist()
    return found


def _duplicates(a: Annotated, row: int) -> dict:
    if not a.values.has_duplicates:
        return {}
    found = {name: a.values.column(name)[row].as_py() for name in DUPLICATE_COLUMNS}
    if found["near_duplicate_of"] is None:
        return found
    stays = a.pool.document(int(a.values.clusters()[row]))
    return found | {"differences": in_one_line(stays["text"], a.pool.document(row)["text"])}


def _level(a: Annotated, name: str, row: int) -> dict:
    judged = a.judged[name]
    bounds = {
        rule.name: bound
        for level in a.judged.values()
        for rule, bound in zip(level.level.rules, level.bounds, strict=True)
    }
    verdict = int(judged.verdict[row])
    rules = []
    for number, (_, rule) in enumerate(judged.rules):
        if rule.signal == DUPLICATE:
            reached = (judged.verdict == KEPT) | (judged.verdict >= number)
            stays, judged_by = of_clusters(rule, reached, a.values)
            passes = bool(stays[row]) if reached[row] else None
            value: Any = None if passes is None else judged_by[row].item()
        else:
            bound = bounds[rule.name]
            if bound.by_language:
                bounds[rule.name] = bound = bound.for_language(a.values.column("language")[row].as_py())
            column = a.values.of(rule).slice(row, 1)
            value = column[0].as_py()
            passes = bound == Bound() or bool(inside(column, bound)[0])
        about = {"rule": rule.name, "signal": rule.signal, "value": value}
        rules.append(about | {"bound": bounds[rule.name].text(), "passes": passes})
    dropped_by = None if verdict == KEPT else judged.rules[verdict][1].name
    return {"name": name, "kept": verdict == KEPT, "dropped_by": dropped_by, "rules": rules}
