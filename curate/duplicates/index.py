"""Indexes: what has been built before, remembered by hashes and signatures, so that another build can drop it.

`curate index MANIFEST INDEX` adds the documents that a level's corpora hold, or all that it keeps. What is in the index
stays what it is, and documents of a later build that resemble it say so in their own signals. No text is kept, so
similarity is estimated from signatures (standard error sqrt(s (1 - s) / permutations)); equal hashes are certain.

An index is a folder (`index_folder`), or a Redis database that several machines share (`index_redis`): the same
documents in the same order give the same answers from both. Its digest names the documents it held when it was
opened; what is added meanwhile is not seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.duplicates.index_folder import Folder, open_folder
from curate.duplicates.index_redis import Database, is_url, open_redis
from curate.duplicates.matches import VERSION
from curate.errors import CurateError
from curate.signals.annotate import Signals
from curate.signals.values import Values
from curate.sources.pool import Pool, gather
from curate.spec.manifest import DUPLICATES, Manifest
from curate.store import Part, digest_of, lock_digest, read_json
from filters.duplicates.leaders import Scheme

STAGE = "index"


# `where`: as messages name it; `name`: as the lock does; `digest`: of the documents it held when it was opened; `origins`:
# what was added, in order: {manifest, its sha256, level, which ("written" or "kept"), documents, maybe lock}.
Index = Folder | Database


def open_index(where: str, new: dict | None = None) -> Index:
    """`new`: the comparison of the index that is begun where there is none. Raises CurateError."""
    return open_redis(where, new) if is_url(where) else open_folder(Path(where), new)


def comparison(near: dict, normalise: str) -> dict:
    """What two builds must share to be compared by an index."""
    scheme = Scheme(**near)
    found = {"signing": scheme.signing, "cut": list(scheme.cut), "similarity": scheme.similarity}
    return found | {"normalise": normalise}


def open_to_compare(where: str, duplicates: dict, *, new: bool = False) -> Index:
    """Raises CurateError where there is no index, and where it compares otherwise: then by the name of what differs."""
    ours = comparison(duplicates["near"], duplicates["normalise"])
    index = open_index(where, ours if new else None)
    theirs = index.comparison
    if ours != theirs:
        differing = "; ".join(
            f"{k}: {theirs.get(k)} in the index, {ours[k]} here" for k in ours if ours[k] != theirs.get(k)
        )
        raise CurateError(f"{index.where}: the index compares documents in another way: {differing}")
    return index


def begin(manifest: Manifest, where: str) -> Index:
    """The index to which this manifest's documents can be added, maybe a new one. Raises CurateError."""
    parameters = manifest.pooled.get(DUPLICATES)
    if not parameters or not parameters["near"]:
        raise CurateError(f"{manifest.path}: an index needs near_duplicates = true in [signals]")
    return open_to_compare(where, parameters, new=True)


def add(
    manifest: Manifest, pool: Pool, signals: Signals, chosen: np.ndarray, where: str, level: str, which: str
) -> tuple[Index, int]:
    """Add documents of a level (`chosen`: bool [documents]); returns the index and how many it had not."""
    index = begin(manifest, where)
    rows = pool.ordered(chosen)
    hashes = gather(signals.families["text_hash"], pool.part[rows], pool.row[rows], "text_hash")
    table = pa.table({"id": pool.ids.take(pa.array(rows)), "text_hash": hashes})

    def signatures(which: np.ndarray) -> pa.Array:
        place = pool.part[rows[which]], pool.row[rows[which]]
        return gather(signals.families["signatures"], *place, "signature")

    origin = {"manifest": manifest.name, "sha256": manifest.digest, "level": level, "which": which}
    if manifest.lock_path.is_file():
        origin["lock"] = lock_digest(read_json(manifest.lock_path))
    return index.add(table, signatures, origin)


def find_indexed(values: Values, parameters: dict, duplicates: dict) -> list[Part]:
    """A table of matches beside each part of the pool."""
    indexes, pool = [open_to_compare(where, duplicates) for where in parameters["index"]], values.pool
    made_of = [values.signals.versions[name] for name in ("text_hash", "signatures")]
    key = digest_of([STAGE, VERSION, "others", [i.digest for i in indexes], pool.digest, made_of])

    def match() -> Iterable[pa.Table]:
        match_ids = pa.nulls(len(pool), pa.string())
        similarity = np.zeros(len(pool))
        for index in indexes:
            own, found = index.match(values, duplicates["near"])
            better = found > similarity
            match_ids = pc.if_else(pa.array(better), own, match_ids)
            similarity = np.maximum(similarity, found)
        return values.cut_at_parts(pa.table({"index_match": match_ids, "index_similarity": similarity}))

    return values.beside_parts(STAGE, key, match)
