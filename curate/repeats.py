"""The other global step: text that stands more than once in the pool, as spans beside each document.

Three passes of pure functions over parts (`filters.repeats`): the occurrences of each part, written split by hash; the
copies in each split of all parts; and with their places the spans of each part. The occurrence that stays is the one in
the most preferred document. It may be in a document that a level drops: cutting takes the others all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from curate.engine import Engine, map_parts
from curate.pool import Pool
from curate.progress import Progress
from curate.store import Part, Store, digest_of

if TYPE_CHECKING:
    from filters.repeats import Occurrences

VERSION = 2
OCCURRENCES = "occurrences"
BYTES_AN_OCCURRENCE = 64  # what finding the copies in a split needs for each
MOST_BITS = 12


@dataclass(frozen=True)
class Task:
    store: Store
    documents: Part
    order: np.ndarray  # of the part's rows in the pool
    kind: str
    words: int
    bits: int
    key: str


def find_repeats(store: Store, pool: Pool, family: str, words: int, engine: Engine) -> list[Part]:
    """The family's table beside each part of the pool."""
    kind = family.removeprefix("repeated_")
    key = digest_of([family, VERSION, words, pool.digest, pool.rank_digest])
    receipt = store.receipt(family, key)
    if receipt is None:
        with Progress(family.replace("_", " "), 2 * int(pool.bytes.sum()), "B") as progress:
            written = _find(store, pool, kind, words, key, engine, progress)
        receipt = store.finish(family, key, written)
    return store.parts(family, receipt)


def _find(
    store, pool: Pool, kind: str, words: int, key: str, engine: Engine, progress: Progress
) -> list[Part]:
    from filters.repeats import bits_for

    size = int(pool.bytes.sum())
    most = size // 5 * BYTES_AN_OCCURRENCE  # a word takes five bytes and more
    share = engine.memory // (2 * engine.workers)
    bits = next((b for b in range(bits_for(size), MOST_BITS) if most >> b <= share), MOST_BITS)
    tasks = [
        Task(store, part, pool.rank[begin:end], kind, words, bits,
             digest_of([OCCURRENCES, VERSION, kind, words, bits, pool.rank_digest, part.digest]))
        for part, (begin, end) in zip(pool.parts, pool.ranges(), strict=True)
    ]  # fmt: skip
    written = map_parts(engine, _write_occurrences, tasks, done=lambda w: progress.add(w[1]))
    found = [part for part, _ in written]
    groups = np.array_split(np.arange(1 << bits), max(1, 4 * engine.workers))
    places = [
        np.concatenate(pieces)
        for pieces in zip(*map_parts(engine, _copies, [(found, g) for g in groups]), strict=True)
    ]
    todo = [
        (task, occurrences, own, f"{key}-{i:05d}.arrow")
        for i, (task, occurrences, own) in enumerate(zip(tasks, found, places, strict=True))
    ]
    written = map_parts(engine, _write_spans, todo, done=lambda w: progress.add(w[1]))
    for task in tasks:  # as large as the text itself, and of no further use
        store.remove(OCCURRENCES, task.key)
    return [part for part, _ in written]


def _write_occurrences(task: Task) -> tuple[Part, int]:
    """(the part's occurrences, bytes of text read)"""
    from filters.repeats import occurrences

    def make() -> tuple[pa.Table, dict]:
        text = task.documents.table(["text"])["text"]
        found = occurrences(text, task.order, task.kind, task.words, task.bits)
        edges = {"bounds": found.bounds.tobytes(), "ends": found.ends.tobytes()}
        table = pa.table({"rows": found.rows.reshape(-1)})
        return table.replace_schema_metadata(edges), {}

    return task.store.table(OCCURRENCES, task.key, make)[0], task.documents.bytes


def _occurrences(part: Part) -> Occurrences:
    """As they were found, memory-mapped."""
    from filters.repeats import Occurrences

    table = part.table()
    edges = [np.frombuffer(table.schema.metadata[name], np.int64) for name in (b"bounds", b"ends")]
    return Occurrences(table["rows"].to_numpy().reshape(-1, 2), *edges)


def _copies(task: tuple[list[Part], np.ndarray]) -> list[np.ndarray]:
    """For each part the places of the copies in these splits."""
    from filters.repeats import copies

    parts, splits = task
    found = [_occurrences(part) for part in parts]
    return [np.concatenate(pieces) for pieces in zip(*(copies(found, s) for s in splits), strict=True)]


def _write_spans(task: tuple[Task, Part, np.ndarray, str]) -> tuple[Part, int]:
    """(the part's spans, bytes of text read)"""
    from filters.repeats import find

    own, found, places, name = task
    columns = find(
        own.documents.table(["text"])["text"], own.kind, own.words, _occurrences(found).ends, places
    )
    return own.store.write_part(f"repeated_{own.kind}", name, pa.table(columns)), own.documents.bytes
