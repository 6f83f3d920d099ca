"""Ids that a source has of its own: the first document of each stays, later ones are rows that failed."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

from curate.sources.rows import SAMPLES, Problems
from curate.sources.usable import without_text
from curate.spec.manifest import Source
from curate.store import Part, Store, digest_of


def first_of_each_id(store: Store, stage: str, source: Source, parts: list[Part]) -> tuple[list[Part], dict]:
    """(parts without the documents whose id an earlier one has, those as rows that failed)."""
    ids = np.concatenate([np.array(documents["id"].to_pylist(), "S32") for documents in without_text(parts)])
    order = np.argsort(ids, kind="stable")
    same = np.concatenate([[False], ids[order[1:]] == ids[order[:-1]]])
    if not same.any():
        return parts, {}
    first = order[np.maximum.accumulate(np.where(same, 0, np.arange(len(ids))))]
    later = np.zeros(len(ids), bool)
    later[order[same]] = True
    firsts = dict(zip(order[same].tolist(), first[same].tolist(), strict=True))
    ends = np.cumsum([part.rows for part in parts])
    problems = Problems()
    for row in sorted(firsts)[:SAMPLES]:
        place, key = _document(parts, ends, row)
        problems.fail(
            "duplicate-id", place, f'{source.id} "{key}" is that of {_document(parts, ends, firsts[row])[0]}'
        )
    problems.failed["duplicate-id"]["count"] = len(firsts)
    left = [
        _without(store, stage, part, mine)
        for part, mine in zip(parts, np.split(later, ends[:-1]), strict=True)
    ]
    return [part for part in left if part.rows], problems.failed


def _document(parts: list[Part], ends: np.ndarray, row: int) -> tuple[str, str]:
    """(place, own id)."""
    number = int(np.searchsorted(ends, row, "right"))
    at = row - int(ends[number]) + parts[number].rows
    columns = parts[number].table(["place", "own_id"]).slice(at, 1)
    return columns["place"][0].as_py(), columns["own_id"][0].as_py()


def _without(store: Store, stage: str, part: Part, dropped: np.ndarray) -> Part:
    if not dropped.any():
        return part
    key = digest_of([stage, "first of each id", part.digest, hashlib.sha256(dropped.tobytes()).hexdigest()])
    return store.table(stage, key, lambda: part.table().filter(pa.array(~dropped)).combine_chunks())
