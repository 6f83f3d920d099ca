"""The other global step: text that stands more than once in the pool, as spans beside each document.

Three passes of pure functions over parts (`filters.repeats`): the occurrences of each part, written split by hash; the
repeated ones of each split of all parts; and with an index of those the spans of each part. The occurrence that
stays is the one in the most preferred document. It may be in a document that a level drops: cutting takes the others
all the same.
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
    from filters.repeats import Index

VERSION = 1
OCCURRENCES = "occurrences"
BYTES_AN_OCCURRENCE = 36  # what finding the repeated ones of a split needs for each
BITS = range(8, 13)


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
    from filters.repeats import index_of

    most = int(pool.bytes.sum()) // 5 * BYTES_AN_OCCURRENCE  # a word takes five bytes and more
    share = engine.memory // (2 * engine.workers)
    bits = next((b for b in BITS if most >> b <= share), BITS[-1])
    tasks = [
        Task(store, part, pool.rank[begin:end], kind, words, bits,
             digest_of([OCCURRENCES, VERSION, kind, words, bits, pool.rank_digest, part.digest]))
        for part, (begin, end) in zip(pool.parts, pool.ranges(), strict=True)
    ]  # fmt: skip
    found = map_parts(engine, _write_occurrences, tasks, done=lambda f: progress.add(f.read))
    groups = np.array_split(np.arange(1 << bits), max(1, 4 * engine.workers))
    repeated = [pair for some in map_parts(engine, _repeated, [(found, g) for g in groups]) for pair in some]
    index = index_of(*map(np.concatenate, zip(*repeated, strict=True)))
    numbered = [(i, task, index, f"{key}-{i:05d}.arrow") for i, task in enumerate(tasks)]
    written = map_parts(engine, _write_spans, numbered, done=lambda w: progress.add(w[1]))
    for task in tasks:  # as large as the text itself, and of no further use
        store.remove(OCCURRENCES, task.key)
    return [part for part, _ in written]


@dataclass(frozen=True)
class Found:
    """The occurrences of a part: those of split s lie in rows bounds[s] .. bounds[s + 1]."""

    occurrences: Part
    bounds: np.ndarray
    read: int  # bytes of text


def _write_occurrences(task: Task) -> Found:
    from filters.repeats import occurrences

    def make() -> tuple[pa.Table, dict]:
        text = task.documents.table(["text"])["text"]
        found = occurrences(text, task.order, task.kind, task.words, task.bits)
        return pa.table({"key": found.keys, "order": found.orders}), {"bounds": found.bounds.tolist()}

    part, receipt = task.store.table(OCCURRENCES, task.key, make)
    return Found(part, np.array(receipt["bounds"]), task.documents.bytes)


def _repeated(task: tuple[list[Found], np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    from filters.repeats import repeated

    found, splits = task
    tables = [f.occurrences.table() for f in found]
    columns = [(table["key"].to_numpy(), table["order"].to_numpy()) for table in tables]
    answers = []
    for s in splits:
        rows = [slice(f.bounds[s], f.bounds[s + 1]) for f in found]
        keys = np.concatenate([column[r] for (column, _), r in zip(columns, rows, strict=True)])
        orders = np.concatenate([column[r] for (_, column), r in zip(columns, rows, strict=True)])
        answers.append(repeated(keys, orders))
    return answers


def _write_spans(task: tuple[int, Task, Index, str]) -> tuple[Part, int]:
    """(the part's spans, bytes of text read)"""
    from filters.repeats import find

    _, own, index, name = task
    columns = find(own.documents.table(["text"])["text"], own.order, own.kind, own.words, index)
    return own.store.write_part(f"repeated_{own.kind}", name, pa.table(columns)), own.documents.bytes
