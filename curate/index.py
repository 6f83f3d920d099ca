"""Indexes: what has been built before, remembered by hashes and signatures, so that another build can drop it.

`curate index MANIFEST DIR` adds the documents that a level keeps. The direction is: what is in the index stays what it
is, and documents of a later build that resemble it say so in their own signals. No text is kept, so similarity
is estimated from the signatures (standard error sqrt(s (1 - s) / permutations)); equal hashes are certain.

    DIR/index.json            how documents are compared, and the segments in the order in which they came
    DIR/segment-00000.arrow   id, text_hash, signature, band0 ... of one addition, never changed again
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.annotate import Signals
from curate.duplicates import band_parts, gather, signatures_at
from curate.engine import Engine, map_parts
from curate.errors import CurateError
from curate.measured import DUPLICATES
from curate.pool import Pool
from curate.store import Part, Store, digest_of, file_digest, read_json, read_table, write_json, write_table

if TYPE_CHECKING:
    from curate.build import Annotated

VERSION = 1
STAGE = "index"
RECORD = "index.json"
MOST_OF_A_BUCKET = 32  # documents of one bucket that a document is compared with, the first to come
AT_ONCE = 100_000  # pairs compared at once


@dataclass(frozen=True)
class Index:
    folder: Path
    record: dict

    @property
    def documents(self) -> int:
        return sum(segment["documents"] for segment in self.record["segments"])

    def table(self, columns: list[str]) -> pa.Table:
        """Columns of all segments, memory-mapped."""
        files = [self.folder / segment["name"] for segment in self.record["segments"]]
        return pa.concat_tables([read_table(file, columns) for file in files])


def open_index(folder: Path) -> Index:
    """Raises CurateError where there is no whole index."""
    try:
        record = read_json(folder / RECORD)
    except FileNotFoundError:
        raise CurateError(f"{folder}: no index; `curate index MANIFEST {folder}` makes one") from None
    except ValueError as error:
        raise CurateError(f"{folder / RECORD}: damaged: {error}") from None
    for segment in record["segments"]:
        if not (folder / segment["name"]).is_file():
            raise CurateError(f"{folder}: {segment['name']} is missing; put it back, or make the index again")
    return Index(folder, record)


def comparison(near: dict, normalise: str) -> dict:
    """What two builds must share to be compared by an index."""
    from filters.duplicates import Scheme

    scheme = Scheme(**near)
    return {
        "signing": scheme.signing,
        "cut": list(scheme.cut),
        "similarity": scheme.similarity,
        "normalise": normalise,
    }


def check_comparison(index: Index, near: dict, normalise: str) -> None:
    """Raises CurateError that names what differs."""
    ours, theirs = comparison(near, normalise), index.record["comparison"]
    if ours != theirs:
        differing = "; ".join(
            f"{k}: {theirs[k]} in the index, {ours[k]} here" for k in ours if ours[k] != theirs[k]
        )
        raise CurateError(f"{index.folder}: the index compares documents in another way: {differing}")


def add(a: Annotated, folder: Path, level: str) -> tuple[Index, int]:
    """Add the documents that a level keeps; returns the index and how many were added (0: they are in it already)."""
    parameters = a.manifest.pooled.get(DUPLICATES)
    if not parameters or not parameters["near"]:
        raise CurateError(f"{a.manifest.path}: an index needs near_duplicates = true in [signals]")
    near = parameters["near"]
    new = {"version": VERSION, "comparison": comparison(near, parameters["normalise"]), "segments": []}
    index = open_index(folder) if (folder / RECORD).exists() else Index(folder, new)
    check_comparison(index, near, parameters["normalise"])
    rows = a.pool.order[a.judged[level].kept[a.pool.order]]
    content = digest_of(
        [a.pool.ids.take(pa.array(rows)).to_pylist(), a.signals.versions["text_hash"]["digest"]]
    )
    if any(segment["content"] == content for segment in index.record["segments"]):
        return index, 0
    name = f"segment-{len(index.record['segments']):05d}.arrow"
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / name, _segment(a, rows, near))
    segment = {
        "name": name, "documents": len(rows), "content": content, "sha256": file_digest(folder / name),
        "from": {"manifest": a.manifest.name, "sha256": a.manifest.digest, "level": level},
    }  # fmt: skip
    record = index.record | {"segments": [*index.record["segments"], segment]}
    write_json(folder / RECORD, record)
    return Index(folder, record), len(rows)


def _segment(a: Annotated, rows: np.ndarray, near: dict) -> pa.Table:
    place = a.pool.part[rows], a.pool.row[rows]
    bands = band_parts(a.store, a.signals, near, a.engine)
    names = bands[0].table().column_names
    return pa.table(
        {
            "id": a.pool.ids.take(pa.array(rows)),
            "text_hash": gather(a.signals.families["text_hash"], *place, "text_hash"),
            "signature": gather(a.signals.families["signatures"], *place, "signature"),
            **{name: gather(bands, *place, name) for name in names},
        }
    )


# ---- Looking documents up ---------------------------------------------------------------------------------


def find_indexed(
    store: Store, pool: Pool, signals: Signals, parameters: dict, duplicates: dict, engine: Engine
) -> list[Part]:
    """A table of matches beside each part of the pool."""
    indexes = [open_index(Path(folder)) for folder in parameters["index"]]
    near = duplicates["near"]
    for index in indexes:
        check_comparison(index, near, duplicates["normalise"])
    made_of = [signals.versions[name] for name in ("text_hash", "signatures")]
    key = digest_of([STAGE, VERSION, [i.record for i in indexes], pool.digest, made_of])
    receipt = store.receipt(STAGE, key)
    if receipt is None:
        match = pa.nulls(len(pool), pa.string())
        similarity = np.zeros(len(pool))
        for index in indexes:
            own, found = _match(store, pool, signals, index, near, engine)
            better = found > similarity
            match = pc.if_else(pa.array(better), own, match)
            similarity = np.maximum(similarity, found)
        table = pa.table({"index_match": match, "index_similarity": similarity})
        written = [
            store.write_part(STAGE, f"{key}-{i:05d}.arrow", table.slice(begin, end - begin))
            for i, (begin, end) in enumerate(pool.ranges())
        ]
        receipt = store.finish(STAGE, key, written)
    return store.parts(STAGE, receipt)


def _match(store, pool, signals, index: Index, near: dict, engine) -> tuple[pa.Array, np.ndarray]:
    """(id of the most similar document of the index or null, similarity or 0) of every document of the pool."""
    ids = index.table(["id"])["id"].combine_chunks()
    best, found = np.full(len(pool), -1, np.int64), np.zeros(len(pool))
    parts = band_parts(store, signals, near, engine)
    tasks = [(parts, index, band) for band in range(index.record["comparison"]["cut"][0])]
    pairs = np.unique(np.concatenate(map_parts(engine, _band_pairs, tasks)), axis=0)
    theirs = index.table(["signature"])["signature"]
    for begin in range(0, len(pairs), AT_ONCE):
        rows, others = pairs[begin : begin + AT_ONCE].T
        own = signatures_at(signals, pool.part[rows], pool.row[rows])
        other = theirs.take(pa.array(others)).combine_chunks().flatten().to_numpy().reshape(own.shape)
        estimate = (own == other).mean(axis=1)
        # Ascending, so that of a row's several the most similar is written last, of equals the first to come.
        order = np.lexsort((-others, estimate))
        order = order[estimate[order] >= np.maximum(near["similarity"], found[rows[order]] + 1e-12)]
        best[rows[order]], found[rows[order]] = others[order], estimate[order]
    hashes = index.table(["text_hash"])["text_hash"].combine_chunks()
    equal = pc.index_in(signals.column("text_hash", "text_hash"), value_set=hashes)
    same = equal.is_valid().to_numpy()
    best[same] = pc.fill_null(equal, -1).to_numpy()[same]
    found[same] = 1.0
    return ids.take(pa.array(best, mask=best < 0)), found


def _band_pairs(task: tuple[list[Part], Index, int]) -> np.ndarray:
    """int64 [k, 2]: (row of the pool, document of the index) that share the key of a band."""
    parts, index, band = task
    name = f"band{band}"
    theirs = index.table([name])[name].to_numpy()
    order = np.argsort(theirs, kind="stable")
    ascending = theirs[order]
    found, first = [], 0
    for part in parts:
        own = part.table([name])[name].to_numpy()
        low = np.searchsorted(ascending, own, "left")
        count = np.minimum(np.searchsorted(ascending, own, "right") - low, MOST_OF_A_BUCKET)
        rows = np.repeat(np.arange(len(own)), count)
        nth = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
        found.append(np.stack([first + rows, order[low[rows] + nth]], axis=1))
        first += len(own)
    return np.concatenate(found) if found else np.empty((0, 2), np.int64)
