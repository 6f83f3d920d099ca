"""The global step: which documents of the whole pool are duplicates of which.

Exact duplicates share the 128-bit hash of their text. Of each distinct text the candidates (documents
that share a band of their MinHash signatures with another) fall into connected components; components
do not touch each other, so they are clustered in independent batches, on any number of workers, with
the same answer. Within one, a document joins the most similar document that stays (`filters.duplicates`).

The order in which documents are preferred is: the longest first, ties by id. The outcome is one table
beside each part of documents; `duplicate_cluster` is the id of the document that stands for the cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.annotate import Signals
from curate.engine import Engine, map_parts
from curate.pool import Pool
from curate.progress import Progress
from curate.store import Part, Store, digest_of

VERSION = 1
STAGE = "duplicates"
BATCH_BYTES = 64_000_000  # of text held at once by one worker


@dataclass(frozen=True)
class Batch:
    """Whole candidate components: rows of the pool in order of preference, and where their data lies."""

    documents: list[Part]
    fingerprints: list[Part]
    part: np.ndarray
    row: np.ndarray
    parameters: dict


def find_duplicates(store: Store, pool: Pool, signals: Signals, near: dict, engine: Engine) -> list[Part]:
    """A table of duplicate signals for each part of the pool: computed once for a pool and its parameters."""
    fingerprints = signals.families["fingerprints"]
    key = digest_of([STAGE, VERSION, near, pool.digest, [p.digest for p in fingerprints]])
    receipt = store.receipt(STAGE, key)
    if receipt is None:
        first = _first_of_equal_texts(pool, signals)
        leader, similarity = _cluster(pool, signals, first, near, engine)
        written = [
            store.write_part(STAGE, f"{key}-{i:05d}.arrow", table)
            for i, table in enumerate(_tables(pool, first, leader, similarity))
        ]
        receipt = store.finish(STAGE, key, written)
    return store.parts(STAGE, receipt)


def _first_of_equal_texts(pool: Pool, signals: Signals) -> np.ndarray:
    """For each document the preferred document with the very same text (itself where it is that one)."""
    hashes = signals.column("fingerprints", "text_hash").combine_chunks()
    words = np.frombuffer(hashes.buffers()[1], np.uint64).reshape(-1, 2)
    order = np.lexsort((pool.rank, words[:, 1], words[:, 0]))
    sorted_words = words[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (sorted_words[1:] != sorted_words[:-1]).any(axis=1)
    first = np.empty(len(order), np.int64)
    first[order] = order[begins][np.cumsum(begins) - 1]
    return first


def _cluster(pool, signals, first, near, engine) -> tuple[np.ndarray, np.ndarray]:
    """For each distinct text the document it joins (itself where it stays) and their Jaccard similarity."""
    leader = np.arange(len(pool), dtype=np.int64)
    similarity = np.ones(len(pool), np.float32)
    distinct = np.flatnonzero(first == leader)
    distinct = distinct[np.argsort(pool.rank[distinct])]
    batches = list(_batches(pool, signals, distinct, near))
    with Progress("duplicates", sum(len(rows) for rows, _ in batches), "documents") as progress:
        answers = map_parts(
            engine, cluster_batch, [batch for _, batch in batches], done=lambda a: progress.add(len(a[0]))
        )
    for (rows, _), (joined, found) in zip(batches, answers, strict=True):
        leader[rows] = rows[joined]
        similarity[rows] = found
    return leader, similarity


def _batches(
    pool: Pool, signals: Signals, distinct: np.ndarray, near: dict
) -> Iterator[tuple[np.ndarray, Batch]]:
    from filters.duplicates import band_keys, bands_and_rows, candidate_components

    bands, rows_a_band = bands_and_rows(near["similarity"], near["permutations"])
    keys = band_keys(_signatures(signals, near)[distinct], bands, rows_a_band)
    component = candidate_components(keys)
    size = np.bincount(component, minlength=len(component))
    several = np.flatnonzero(size[component] > 1)
    several = several[np.argsort(component[several], kind="stable")]  # rows stay in order of preference
    ends = np.flatnonzero(np.diff(component[several], append=-1)) + 1
    total = np.cumsum(pool.bytes[distinct[several]])
    begin = 0
    while begin < len(several):
        limit = (total[begin - 1] if begin else 0) + BATCH_BYTES
        end = ends[
            max(np.searchsorted(ends, begin, "right"), np.searchsorted(total[ends - 1], limit, "right") - 1)
        ]
        rows = np.sort(several[begin:end])
        rows = distinct[rows]
        yield (
            rows,
            Batch(pool.parts, signals.families["fingerprints"], pool.part[rows], pool.row[rows], dict(near)),
        )
        begin = end


def _signatures(signals: Signals, near: dict) -> np.ndarray:
    column = signals.column("fingerprints", "signature").combine_chunks()
    return column.flatten().to_numpy().reshape(-1, near["permutations"])


def cluster_batch(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """(index into the batch of the document that each joins, their similarity). Pure: reads parts, writes nothing."""
    from filters.duplicates import band_keys, bands_and_rows, leaders

    near = batch.parameters
    texts = gather(batch.documents, batch.part, batch.row, "text")
    column = gather(batch.fingerprints, batch.part, batch.row, "signature")
    signatures = column.flatten().to_numpy().reshape(-1, near["permutations"])
    keys = band_keys(signatures, *bands_and_rows(near["similarity"], near["permutations"]))
    return leaders(texts, signatures, keys, near["similarity"], near["ngram"])


def gather(parts: list[Part], part: np.ndarray, row: np.ndarray, column: str) -> pa.Array:
    """The values of a column at these (part, row) places, in their order."""
    pieces, places = [], []
    for number in np.unique(part):
        here = np.flatnonzero(part == number)
        table = parts[number].table([column])
        pieces.append(table[column].combine_chunks().take(pa.array(row[here])))
        places.append(here)
    if not pieces:
        return pa.array([], parts[0].table([column]).schema.field(column).type)
    back = np.argsort(np.concatenate(places), kind="stable")
    return pa.concat_arrays(pieces).take(pa.array(back))


def _tables(pool: Pool, first: np.ndarray, leader: np.ndarray, similarity: np.ndarray) -> Iterator[pa.Table]:
    stands = leader[first]
    size = np.bincount(stands, minlength=len(pool))[stands]
    here = np.arange(len(pool))
    exact, near = first != here, stands != first

    def ids(of: np.ndarray, where: np.ndarray) -> pa.Array:
        return pc.if_else(pa.array(where), pool.ids.take(pa.array(of)), pa.scalar(None, pa.string()))

    columns = {
        "exact_duplicate_of": ids(first, exact),
        "near_duplicate_of": ids(stands, near),
        "near_duplicate_similarity": pa.array(similarity[first], mask=~near),
        "duplicate_cluster": pool.ids.take(pa.array(stands)),
        "duplicate_cluster_index": pa.array(stands),
        "duplicate_cluster_size": pa.array(size),
    }
    table = pa.table(columns)
    for begin, end in pool.ranges():
        yield table.slice(begin, end - begin)
