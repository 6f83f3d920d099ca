"""An index as a folder: writers one after the other, any number of readers, no file that has been written changes.

DIR/index.json            how documents are compared, and the segments in the order in which they came
DIR/segment-00000.arrow   id, text_hash, signature, band0 ... of one addition
DIR/index.lock            held by whoever adds
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.duplicates.matches import MOST_OF_A_BUCKET, VERSION, Signatures, most_similar
from curate.duplicates.resolve import Columns, band_parts, flat, signatures_at
from curate.engine import map_parts
from curate.errors import CurateError
from curate.signals.values import Values
from curate.store import (
    Damaged,
    Part,
    atomic,
    digest_of,
    file_digest,
    read_record,
    read_table,
    write_record,
)
from filters.duplicates.leaders import Scheme, band_keys
from train.files import alone, check_of, compare

RECORD = "index.json"
TEXT = ["id", "text_hash"]
AT_ONCE = 100_000  # pairs compared at once
ROWS = 50_000  # documents written at once


def open_folder(folder: Path, new: dict | None = None) -> Folder:
    """Raises CurateError where there is no whole index."""
    try:
        record = read_record(folder / RECORD)
        for segment in record["segments"]:
            compare(folder / segment["name"], segment)
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        if missing != RECORD:
            raise CurateError(
                f"{folder}: {missing} is missing; put it back, or make the index again"
            ) from None
        if new is None:
            raise CurateError(f"{folder}: no index; `curate index MANIFEST {folder}` makes one") from None
        return Folder(folder, {"version": VERSION, "comparison": new, "segments": []})
    except NotADirectoryError:
        raise CurateError(
            f"{folder}: a file; an index is a folder, or a database redis://HOST:PORT/DB"
        ) from None
    except Damaged as error:
        raise CurateError(
            f"{error.path}: damaged, or written by another version; put it back from a copy, or make the index again"
        ) from None
    return Folder(folder, record)


@dataclass(frozen=True)
class Folder:
    folder: Path
    record: dict
    among: pa.ChunkedArray | None = (
        None  # bool: its documents that are looked at; all of them where nothing is said
    )

    @property
    def where(self) -> str:
        return str(self.folder)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def comparison(self) -> dict:
        return self.record["comparison"]

    @property
    def documents(self) -> int:
        return sum(segment["documents"] for segment in self.record["segments"])

    @property
    def digest(self) -> str:
        return digest_of(self.record)

    @property
    def origins(self) -> list[dict]:
        return [s["from"] | {"documents": s["documents"]} for s in self.record["segments"]]

    def table(self, columns: list[str]) -> pa.Table:
        """Columns of all segments, memory-mapped."""
        files = [self.folder / segment["name"] for segment in self.record["segments"]]
        table = pa.concat_tables([read_table(file, columns) for file in files])
        return table if self.among is None else table.filter(self.among)

    def add(self, rows: pa.Table, signatures: Signatures, origin: dict) -> tuple[Folder, int]:
        """Those that it has not, as one segment, all or none. What other processes have added meanwhile comes first."""
        with alone(self.folder / "index.lock"):
            now = open_folder(self.folder, self.comparison)
            segments, new = now.record["segments"], np.arange(len(rows))
            if segments:
                new = np.flatnonzero(pc.invert(pc.is_in(_texts(rows), _texts(now.table(TEXT)))))
            if not len(new):
                return now, 0
            batches = (
                with_bands(
                    rows.take(some).append_column("signature", signatures(some)), self.comparison["cut"]
                )
                for some in np.split(new, range(ROWS, len(new), ROWS))
            )
            path = self.folder / f"segment-{len(segments):05d}.arrow"
            segment = _segment(path, batches, rows.take(new), origin)
            record = now.record | {"segments": [*segments, segment]}
            write_record(self.folder / RECORD, record)
        return Folder(self.folder, record), len(new)

    def remove(self, is_gone: Callable[[pa.Table], np.ndarray]) -> int:
        """How many documents it has no more: those of which `is_gone` (bool [rows], given a segment) says so. Segments that
        lose some are written anew, and their old files removed once the record names the new ones."""
        with alone(self.folder / "index.lock"):
            now = open_folder(self.folder)
            before, segments = now.record["segments"], []
            for segment in before:
                rows = read_table(self.folder / segment["name"])
                gone = is_gone(rows)
                if gone.any():
                    left = rows.select(TEXT).filter(pa.array(~gone))
                    name = f"{segment['name'].partition('.')[0]}.{_content(left)[:12]}.arrow"
                    begins = range(0, len(rows), ROWS)
                    batches = (rows.slice(b, ROWS).filter(pa.array(~gone[b : b + ROWS])) for b in begins)
                    segment = _segment(self.folder / name, batches, left, segment["from"])
                segments.append(segment)
            write_record(self.folder / RECORD, now.record | {"segments": segments})
            for old, new in zip(before, segments, strict=True):
                if old["name"] != new["name"]:
                    (self.folder / old["name"]).unlink()
        return sum(old["documents"] - new["documents"] for old, new in zip(before, segments, strict=True))

    def match(self, values: Values, near: dict) -> tuple[pa.Array, np.ndarray]:
        """(id of the most similar document of the index or null, similarity or 0) of every document of the pool. What
        the index holds of these very documents, by their ids, counts for none of them: it was not seen before."""
        foreign = pc.invert(pc.is_in(self.table(["id"])["id"], value_set=values.pool.ids))
        index = replace(self, among=foreign)
        ids = index.table(["id"])["id"].combine_chunks()
        best, found = closest(values, near, index.table)
        hashes = index.table(["text_hash"])["text_hash"].combine_chunks()
        equal = pc.index_in(values.text_hashes, value_set=hashes)
        same = equal.is_valid().to_numpy()
        best[same] = pc.fill_null(equal, -1).to_numpy()[same]
        found[same] = 1.0
        return ids.take(pa.array(best, mask=best < 0)), found


def _texts(rows: pa.Table) -> pa.Array:
    """Id and hash of each in one."""
    pieces = [rows[name].combine_chunks().cast(pa.large_binary()) for name in TEXT]
    return pc.binary_join_element_wise(*pieces, pa.scalar(b"", pa.large_binary()))


def _content(rows: pa.Table) -> str:
    hashes = rows["text_hash"].cast(pa.binary()).to_pylist()
    return digest_of([rows["id"].to_pylist(), [one.hex() for one in hashes]])


def _segment(path: Path, batches: Iterator[pa.Table], rows: pa.Table, origin: dict) -> dict:
    """`rows`: ids and hashes of all of it; signatures are held a batch at a time."""
    with atomic(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        first = next(batches)
        with pa.ipc.new_file(sink, first.schema) as writer:
            for batch in chain([first], batches):
                writer.write_table(batch)
    return {
        "name": path.name, "documents": len(rows), "content": _content(rows), "sha256": file_digest(path),
        **check_of(path), "from": origin,
    }  # fmt: skip


def closest(values: Values, near: dict, index: Columns) -> tuple[np.ndarray, np.ndarray]:
    """As `most_similar`, of every document of the pool among those of an index, by its columns `signature` and
    `band0` ..."""
    pool, parts = values.pool, band_parts(values, near)
    tasks = [(parts, index, band) for band in range(Scheme(**near).cut[0])]
    rows, others = np.unique(np.concatenate(map_parts(values.engine, _band_pairs, tasks)), axis=0).T
    estimate = np.empty(len(rows))
    theirs = index(["signature"])["signature"]
    for begin in range(0, len(rows), AT_ONCE):
        some = slice(begin, begin + AT_ONCE)
        own = signatures_at(values.signals, pool.part[rows[some]], pool.row[rows[some]])
        estimate[some] = (own == flat(theirs.take(pa.array(others[some])))).mean(axis=1)
    return most_similar(len(pool), rows, others, estimate, near["similarity"])


def with_bands(rows: pa.Table, cut: list[int]) -> pa.Table:
    keys = band_keys(flat(rows["signature"]), *cut)
    for band in range(cut[0]):
        rows = rows.append_column(f"band{band}", pa.array(np.ascontiguousarray(keys[:, band])))
    return rows


def _band_pairs(task: tuple[list[Part], Columns, int]) -> np.ndarray:
    """int64 [k, 2]: (row of the pool, document of the index) that share the key of a band."""
    parts, index, band = task
    name = f"band{band}"
    theirs = index([name])[name].to_numpy()
    order = np.argsort(theirs, kind="stable")
    ascending = theirs[order]
    found, first = [], 0
    for part in parts:
        column = part.table([name])[name]
        own, here = column.to_numpy(), np.arange(part.rows)
        if len(theirs) < len(own):  # few of its keys are there: a look at each costs less than a search
            here = np.flatnonzero(np.asarray(pc.is_in(column, value_set=pa.array(theirs))))
        low = np.searchsorted(ascending, own[here], "left")
        count = np.minimum(np.searchsorted(ascending, own[here], "right") - low, MOST_OF_A_BUCKET)
        at = np.repeat(np.arange(len(here)), count)
        nth = np.arange(len(at)) - np.repeat(np.cumsum(count) - count, count)
        found.append(np.stack([first + here[at], order[low[at] + nth]], axis=1))
        first += len(own)
    return np.concatenate(found) if found else np.empty((0, 2), np.int64)
