"""Ids that a source has of its own: the first document of each stays, later ones are rows that failed."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

from curate.sources.ordering import order_of_ids, places_of
from curate.sources.rows import SAMPLES, Problems
from curate.spec.manifest import Source
from curate.store import Part, Store, digest_of


def first_of_each_id(store: Store, stage: str, source: Source, parts: list[Part]) -> tuple[list[Part], dict]:
    """(parts without the documents whose id an earlier one has, those as rows that failed)."""
    ids = [chunk for part in parts for chunk in part.table(["id"])["id"].chunks]
    order, same = order_of_ids(parts, np.concatenate([places_of(chunk, 0) for chunk in ids]))
    if not len(same):
        return parts, {}
    # Those of one id stand one behind the other: the first is before where they begin to be the same.
    begins = np.r_[True, same[1:] != same[:-1] + 1]
    first = order[same[begins] - 1][np.cumsum(begins) - 1]
    later = np.zeros(len(order), bool)
    later[order[same]] = True
    firsts = dict(zip(order[same].tolist(), first.tolist(), strict=True))
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
