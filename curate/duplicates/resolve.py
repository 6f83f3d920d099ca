"""The global step: which documents of the whole pool are duplicates of which.

Exact duplicates share the 128-bit hash of their text. Of each distinct text the candidates (documents that share
a band of their signatures with another) fall into connected components; components do not touch each other, so
they are clustered in independent batches, on any number of workers, with the same answer. Within one, a document
joins the most similar document that stays (`filters.duplicates`), in the pool's order of preference.

What is held in memory of all documents: their hashes, and one column of band keys, cut by prefix where the budget
asks for it (`filters.duplicates.grouping`). Signatures and texts are read of candidates only, a batch at a time, and
of those that no build before has clustered.

The outcome is one table beside each part of documents; `duplicate_cluster_index` is the row in the pool of the
document that stands for the cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.duplicates.answers import Question, answers
from curate.duplicates.novelty import novelties
from curate.engine import map_parts
from curate.progress import Progress
from curate.signals.annotate import Signals
from curate.signals.values import Values
from curate.sources.pool import Pool, gather, gather_pieces
from curate.store import Part, Store, digest_of
from filters.duplicates.exact import content_hashes
from filters.duplicates.grouping import components, cut_of, cuts_of, pairs_of
from filters.duplicates.leaders import Scheme, band_keys, leaders, likely, signatures, similar_to

VERSION = 3
STAGE = "duplicates"
BANDS, BANDS_VERSION = "bands", 2
LEAST, MOST = 4_000_000, 64_000_000  # bytes of text held at once by one worker, as the memory allows
BYTES_A_BYTE = 4  # of text, that clustering it takes: part by part, in order, and twice while it is put so
BEHIND = 1024  # rows behind those of a part that its table is cut from: more than a buffer is padded by
BYTES_A_HASH = 64  # what sorting the hashes of one cut needs for each


Columns = Callable[[list[str]], pa.Table]  # of signatures and their bands: the columns of these names


@dataclass(frozen=True)
class Batch:
    """Whole candidate components: rows of the pool in order of preference, and where their data lies."""

    documents: list[Part]
    signatures: list[Part]
    part: np.ndarray
    row: np.ndarray
    near: dict


def find_duplicates(values: Values, parameters: dict) -> list[Part]:
    """A table of duplicate signals for each part of the pool: computed once for a pool and its parameters."""
    near, pool, signals = parameters["near"], values.pool, values.signals
    made_of = [signals.versions[name] for name in ("text_hash", *(["signatures"] if near else []))]
    key = digest_of([STAGE, VERSION, parameters, pool.digest, pool.rank_digest, made_of])

    def find() -> Iterator[pa.Table]:
        first = _first_of_equal_texts(values)
        clustered = _clusters(values, first, near)
        new = novelties(values, clustered[0][first], np.ones(len(pool), bool), parameters)
        return _tables(pool, first, *clustered, new)

    return values.beside_parts(STAGE, key, find)


def _first_of_equal_texts(values: Values) -> np.ndarray:
    """For each document the preferred document with the very same text (itself where it is that one)."""
    pool, hashes = values.pool, values.text_hashes.combine_chunks()
    words = np.frombuffer(hashes.buffers()[1], np.uint64).reshape(-1, 2)
    first = np.arange(len(pool), dtype=pool.order.dtype)
    bits = max(0, (len(pool) * BYTES_A_HASH // values.engine.memory).bit_length())
    for cut in range(1 << bits):
        rows = np.flatnonzero(words[:, 1] >> np.uint64(64 - bits) == cut) if bits else np.arange(len(pool))
        order = rows[np.lexsort((pool.rank[rows], words[rows, 1], words[rows, 0]))]
        sorted_words = words[order]
        begins = np.ones(len(order), bool)
        begins[1:] = (sorted_words[1:] != sorted_words[:-1]).any(axis=1)
        first[order] = order[begins][np.cumsum(begins) - 1]
    return first


# ---- Candidates: documents that share a band --------------------------------------------------------------


def band_parts(values: Values, near: dict) -> list[Part]:
    """A table of band keys (a column a band) beside each part of signatures."""
    cut = Scheme(**near).cut
    todo = [(values.store, part, cut, digest_of([BANDS, BANDS_VERSION, part.digest, cut]))
            for part in values.signals.families["signatures"]]  # fmt: skip
    return map_parts(values.engine, _write_bands, todo)


def _write_bands(task: tuple[Store, Part, tuple[int, int], str]) -> Part:
    store, part, cut, key = task

    def make() -> pa.Table:
        keys = band_keys(flat(part.table(["signature"])["signature"]), *cut)
        return pa.table({f"band{b}": np.ascontiguousarray(keys[:, b]) for b in range(cut[0])})

    return store.table(BANDS, key, make)


def flat(signatures: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """uint32 [n, permutations]"""
    pieces = signatures.chunks if isinstance(signatures, pa.ChunkedArray) else [signatures]
    column = pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces)  # of one piece too this makes a copy
    return column.flatten().to_numpy().reshape(len(column), -1)


def _pairs(task: tuple[list[Part], np.ndarray, int, int, int]) -> np.ndarray:
    """Pairs of rows, each the first of its text, that share a key of one cut of a band."""
    parts, first, band, cut, cuts = task
    columns = (part.table([f"band{band}"])[f"band{band}"].to_numpy() for part in parts)
    keys, rows = cut_of(columns, cut, cuts)
    distinct = first[rows] == rows
    return pairs_of(keys[distinct], rows[distinct])


def _components(values: Values, first: np.ndarray, near: dict) -> np.ndarray:
    """int [documents]: the connected component of "shares a band" that each distinct text is in."""
    pool, engine, parts = values.pool, values.engine, band_parts(values, near)
    bands = len(parts[0].table().column_names) if parts else 0
    cuts = cuts_of(len(pool), engine.memory // (2 * engine.workers))
    todo = [(parts, first, band, cut, cuts) for band in range(bands) for cut in range(cuts)]
    pairs = (pairs for _, pairs in engine.unordered(_pairs, todo, processes=False))
    return components(len(pool), pairs, pool.order.dtype)


def near_to(values: Values, near: dict, texts: pa.Array) -> np.ndarray:
    """bool [documents of the pool]: near-duplicates of one of these texts."""
    scheme = Scheme(**near)
    signed = signatures(texts, **scheme.signing)
    keys = band_keys(signed, *scheme.cut)
    shares = [shares_a_band(part.table, keys) for part in band_parts(values, near)]
    pool = values.pool
    found = np.zeros(len(pool), bool)
    rows = np.flatnonzero(np.concatenate(shares))
    if not len(rows):
        return found
    place = pool.at(rows)
    own = signatures_at(values.signals, *place)
    texts_there = gather(pool.parts, *place, "text")
    query, _ = similar_to(texts, signed, keys, texts_there, own, band_keys(own, *scheme.cut), scheme)
    found[rows[query >= 0]] = True
    return found


def shares_a_band(columns: Columns, keys: np.ndarray) -> np.ndarray:
    """bool [rows]: the document has a band in common with one of the rows of `keys`, by its columns `band0` ..."""
    table = columns([f"band{b}" for b in range(keys.shape[1])])
    return np.logical_or.reduce(
        [np.isin(table[f"band{b}"].to_numpy(), keys[:, b]) for b in range(keys.shape[1])]
    )


def signatures_at(signals: Signals, part: np.ndarray, row: np.ndarray) -> np.ndarray:
    """uint32 [rows, permutations]"""
    return flat(gather(signals.families["signatures"], part, row, "signature"))


# ---- Clusters ---------------------------------------------------------------------------------------------


def _clusters(
    values: Values, first: np.ndarray, near: dict | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[documents] each, of each distinct text: the document that it joins (itself where it stays), their Jaccard
    similarity, and whether numbers, dates and names are all they differ in."""
    pool, engine = values.pool, values.engine
    leader = np.arange(len(pool), dtype=pool.order.dtype)
    similarity, template = np.ones(len(pool), np.float32), np.zeros(len(pool), bool)
    if not near:
        return leader, similarity, template
    component = _components(values, first, near)
    most = max(LEAST, min(MOST, engine.memory // (BYTES_A_BYTE * engine.workers)))
    several = np.flatnonzero(np.bincount(component, minlength=len(component))[component] > 1)
    several = several[np.lexsort((pool.rank[several], component[several]))].astype(component.dtype)
    mine = component[several]
    del component

    def task(rows: np.ndarray) -> Batch:
        part, row = pool.at(rows)
        return Batch(pool.parts, values.signals.families["signatures"], part, row, near)

    kinds = [np.int64, np.float32, bool]
    question = Question(["clusters", VERSION, near], kinds, task, cluster_batch, most)
    with Progress("duplicates", len(several), "documents") as progress:
        joined, *rest = answers(question, values, several, mine, lambda one: progress.add(len(one[0])))
    leader[several], (similarity[several], template[several]) = several[joined], rest
    return leader, similarity, template


def cluster_batch(batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(index into the batch of the document that each joins, their similarity, whether they are one template).

    Pure: reads parts, writes nothing.
    """
    scheme = Scheme(**batch.near)
    signatures = flat(gather(batch.signatures, batch.part, batch.row, "signature"))
    keys = band_keys(signatures, *scheme.cut)
    joined, similarity = np.arange(len(keys)), np.ones(len(keys), np.float32)
    compared = np.flatnonzero(likely(signatures, keys, scheme))
    texts, places = gather_pieces(batch.documents, batch.part[compared], batch.row[compared], "text")
    own, similarity[compared] = leaders(texts, signatures[compared], keys[compared], scheme, places)
    joined[compared] = compared[own]
    outlines = pa.concat_arrays([content_hashes(piece, "templates") for piece in texts])
    template = np.zeros(len(joined), bool)
    moved = np.flatnonzero(own != np.arange(len(own)))
    goes, stays = (outlines.take(pa.array(places[rows])) for rows in (moved, own[moved]))
    template[compared[moved]] = pc.equal(goes, stays).to_numpy(zero_copy_only=False)
    return joined, similarity, template


def _tables(pool: Pool, first, leader, similarity, template, novelty) -> Iterator[pa.Table]:
    stands = leader[first]
    size = np.bincount(stands, minlength=len(pool)).astype(stands.dtype)
    nothing = pa.scalar(None, pa.string())

    def kinds(begin: int, end: int) -> pa.Array:
        equal, stays = first[begin:end], stands[begin:end]
        exact, near = equal != np.arange(begin, end), stays != equal
        kind = np.select([exact, near & template[equal], near], ["exact", "template", "near"], "")
        return pa.array(kind, pa.string(), mask=kind == "")

    kind = pa.concat_arrays([kinds(*rows) for rows in pool.part.ranges()])
    for begin, end in pool.part.ranges():
        # The padding of a column's buffers holds what comes behind them, and a table's digest is of all its bytes.
        start, stop = max(0, begin - 1), min(len(pool), end + BEHIND)
        equal, stays = first[start:stop], stands[start:stop]
        exact, near = pa.array(equal != np.arange(start, stop)), stays != equal
        equal_to, cluster = (pool.gather(rows, "id") for rows in (equal, stays))
        columns = {
            "exact_duplicate_of": pc.if_else(exact, equal_to, nothing),
            "near_duplicate_of": pc.if_else(pa.array(near), cluster, nothing),
            "near_duplicate_similarity": pa.array(similarity[equal], mask=~near),
            "duplicate_novelty": pa.array(novelty[start:stop]),
            "duplicate_kind": kind[start:stop],
            "duplicate_cluster": cluster,
            "duplicate_cluster_index": pa.array(stays.astype(np.int64)),
            "duplicate_cluster_size": pa.array(size[stays].astype(np.int64)),
        }
        yield pa.table(columns).slice(begin - start, end - begin)
