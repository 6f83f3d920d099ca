"""Semantic near-duplicates: for each document the one most like it, of those preferred to it, by vectors that another
family has measured (`filters.duplicates.meaning`). Documents of one of some clusters are compared, each cluster by itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.engine import map_parts
from curate.errors import CurateError
from curate.signals.values import Values
from curate.sources.pool import gather
from curate.store import Part, digest_of
from filters.duplicates.meaning import SAMPLE, centres_of, most_alike
from filters.models.clusters import nearest_of, unit

VERSION = 1
STAGE = "semantic_duplicates"


def find_alike(values: Values, name: str) -> list[Part]:
    """The family's table beside each part of the pool, by the vectors that are the signal of this name."""
    pool, owner = values.pool, values.signals.owner[name]
    key = digest_of([STAGE, VERSION, name, values.signals.versions[owner], pool.digest, pool.rank_digest])

    def find() -> Iterator[pa.Table]:
        parts = values.signals.families[owner]
        sample = unit(_vectors(gather(parts, *pool.at(pool.order[:SAMPLE]), name)))
        of, cosine = np.arange(len(pool), dtype=pool.order.dtype), np.zeros(len(pool))
        if sample.any():
            centres_DT = centres_of(sample[sample.any(1)], len(pool))
            nearest = map_parts(values.engine, _nearest, [(part, name, centres_DT) for part in parts])
            group = np.concatenate(nearest)
            clusters = [np.flatnonzero(group == cluster) for cluster in np.unique(group[group >= 0])]
            clusters = [rows[np.argsort(pool.rank[rows])] for rows in clusters]
            found = map_parts(
                values.engine, _most_alike, [(parts, *pool.at(rows), name) for rows in clusters]
            )
            for rows, (earlier, alike) in zip(clusters, found, strict=True):
                of[rows], cosine[rows] = np.where(earlier < 0, rows, rows[earlier]), alike
        for begin, end in pool.part.ranges():
            ids, alone = pool.gather(of[begin:end], "id"), of[begin:end] == np.arange(begin, end)
            ids = pc.if_else(pa.array(alone), pa.scalar(None, ids.type), ids)
            yield pa.table({"semantic_duplicate_of": ids, "semantic_similarity": pa.array(cosine[begin:end])})

    return values.beside_parts(STAGE, key, find)


def _nearest(task: tuple[Part, str, np.ndarray]) -> np.ndarray:
    part, name, centres_DT = task
    vectors = _vectors(part.table([name])[name].combine_chunks(), len(centres_DT))
    return nearest_of(vectors, centres_DT)[0].astype(np.int8)  # a byte a document of the pool


def _most_alike(task: tuple[list[Part], np.ndarray, np.ndarray, str]) -> tuple[np.ndarray, np.ndarray]:
    return most_alike(unit(_vectors(gather(*task))))


def _vectors(column: pa.Array, size: int | None = None) -> np.ndarray:
    """float32 [rows, D]: zeros where there is none. Raises CurateError where they are not of one size."""
    sizes = pc.unique(pc.list_value_length(column).drop_null()).to_pylist()
    if len({*sizes, size} - {None}) > 1:
        raise CurateError(
            f"vectors of {sorted({*sizes, size} - {None})} numbers: make all of them of one size"
        )
    there = column.is_valid().to_numpy(zero_copy_only=False)
    vectors = np.zeros((len(column), *(sizes or [size or 1])), np.float32)
    vectors[there] = pc.list_flatten(column).to_numpy().reshape(-1, vectors.shape[1])
    return vectors
