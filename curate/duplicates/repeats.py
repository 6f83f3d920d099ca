"""The other global step: text that stands more than once in the pool, as spans beside each document.

Three passes of pure functions over parts (`filters.duplicates.repeats`): the occurrences of each part, written split
by hash; the copies in each split of all parts; and with their places the spans of each part. The occurrence that
stays is the one in the most preferred document. It may be in a document that a level drops: cutting takes the others
all the same."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa

from curate.engine import map_parts
from curate.progress import Progress
from curate.signals.values import Values
from curate.store import Part, Store, digest_of
from filters.duplicates.repeats import Occurrences, bits_for, copies, find, occurrences

VERSION = 2
OCCURRENCES = "occurrences"
BYTES_AN_OCCURRENCE = 64  # what finding the copies in a split needs for each
BYTES_A_BYTE = 6  # of text, that finding its occurrences takes
LEAST_SLICE = 4_000_000  # bytes of text
MOST_BITS = 12


@dataclass(frozen=True)
class Task:
    """A slice of a part, whose occurrences fit into a worker's share of the memory."""

    store: Store
    documents: Part
    begin: int  # rows of the part
    order: np.ndarray  # of the slice's rows in the pool
    kind: str
    words: int
    bits: int
    key: str

    @property
    def text(self) -> pa.ChunkedArray:
        return self.documents.table(["text"])["text"].slice(self.begin, len(self.order))


def find_repeats(values: Values, family: str, words: int) -> list[Part]:
    """The family's table beside each part of the pool."""
    store, pool, kind = values.store, values.pool, family.removeprefix("repeated_")
    key = digest_of([family, VERSION, words, pool.digest, pool.rank_digest])

    def make() -> dict:
        progress = Progress(family.replace("_", " "), 2 * int(pool.bytes.sum()), "B")
        # Another process would remove the occurrences that this one reads.
        with store.claim(OCCURRENCES, "all"), progress:
            return store.finish(family, key, _find(values, kind, words, key, progress))

    return store.parts(family, store.once(family, key, make))


def _find(values: Values, kind: str, words: int, key: str, progress: Progress) -> list[Part]:
    store, pool, engine = values.store, values.pool, values.engine
    size = int(pool.bytes.sum())
    most = size // 5 * BYTES_AN_OCCURRENCE  # a word takes five bytes and more
    share = engine.memory // (2 * engine.workers)
    bits = next((b for b in range(bits_for(size), MOST_BITS) if most >> b <= share), MOST_BITS)
    slices = [
        [Task(store, part, start, pool.rank[begin + start : begin + stop], kind, words, bits,
              digest_of([OCCURRENCES, VERSION, kind, words, bits, pool.rank_digest, part.digest, start, stop]))
         for start, stop in _slices(pool.bytes[begin:end], max(LEAST_SLICE, share // BYTES_A_BYTE))]
        for part, (begin, end) in zip(pool.parts, pool.part.ranges(), strict=True)
    ]  # fmt: skip
    tasks = [task for own in slices for task in own]
    found = map_parts(engine, _write_occurrences, tasks, done=lambda part: progress.add(size / len(tasks)))
    groups = np.array_split(np.arange(1 << bits), max(1, 4 * engine.workers))
    places = map_parts(engine, _copies, [(found, group) for group in groups])
    copies = map(np.concatenate, zip(*places, strict=True))
    each = iter(zip(tasks, found, copies, strict=True))
    todo = [(list(islice(each, len(own))), f"{key}-{i:05d}.arrow") for i, own in enumerate(slices)]
    written = map_parts(engine, _write_spans, todo, done=lambda part: progress.add(size / len(todo)))
    for task in tasks:  # as large as the text itself, and of no further use
        store.remove(OCCURRENCES, task.key)
    return written


def _slices(sizes: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Rows [start, stop) of at most so many bytes each, or of one document."""
    ends = np.cumsum(sizes)
    cuts = [0]
    while cuts[-1] < len(sizes):
        limit = (ends[cuts[-1] - 1] if cuts[-1] else 0) + most
        cuts.append(max(cuts[-1] + 1, int(np.searchsorted(ends, limit, "right"))))
    return list(zip(cuts, cuts[1:], strict=False)) or [(0, 0)]


def _write_occurrences(task: Task) -> Part:
    def make() -> pa.Table:
        found = occurrences(task.text, task.order, task.kind, task.words, task.bits)
        edges = {"bounds": found.bounds.tobytes(), "ends": found.ends.tobytes()}
        table = pa.table({"rows": found.rows.reshape(-1)})
        return table.replace_schema_metadata(edges)

    return task.store.table(OCCURRENCES, task.key, make)


def _occurrences(part: Part) -> Occurrences:
    """As they were found, memory-mapped."""
    table = part.table()
    edges = [np.frombuffer(table.schema.metadata[name], np.int64) for name in (b"bounds", b"ends")]
    return Occurrences(table["rows"].to_numpy().reshape(-1, 2), *edges)


def _copies(task: tuple[list[Part], np.ndarray]) -> list[np.ndarray]:
    """For each part the places of the copies in these splits."""
    parts, splits = task
    found = [_occurrences(part) for part in parts]
    return [np.concatenate(pieces) for pieces in zip(*(copies(found, s) for s in splits), strict=True)]


def _write_spans(todo: tuple[list[tuple[Task, Part, np.ndarray]], str]) -> Part:
    """The spans of a part, slice by slice: (task, its occurrences, places of the copies)."""
    slices, name = todo
    tables = [
        pa.table(find(task.text, task.kind, task.words, _occurrences(found).ends, places))
        for task, found, places in slices
    ]
    task = slices[0][0]
    return task.store.write_part(f"repeated_{task.kind}", name, pa.concat_tables(tables).combine_chunks())
