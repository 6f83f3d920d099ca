"""Holdouts: documents, whole duplicate clusters at a time, that no corpus may contain.

Clusters are drawn in a fixed random order, from the far end of the ids by which corpora grow, until the
holdout has its budget; all documents of a drawn cluster that the level keeps are in it, so that what is
common in the level is as common in its holdout. A cluster above a twentieth of the budget is passed
over: one licence in a thousand copies is no sample. No tokenizer exists yet (it must not see the
holdouts), so a token counts as BYTES_A_TOKEN bytes; the lock states the tokens that it came to.

Then every document of the pool that is a near-duplicate of a held-out one, whatever its cluster, is
kept out of all corpora as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.corpora.selection import Judged
from curate.duplicates.resolve import sharing_a_band, signatures_at
from curate.engine import Engine
from curate.errors import CurateError
from curate.quantities import BYTES_A_TOKEN
from curate.signals.annotate import Signals
from curate.sources.pool import Pool, gather
from curate.spec.manifest import DUPLICATES, Manifest
from curate.store import Store, digest_of

VERSION = 1
STAGE = "holdouts"
LARGEST_CLUSTER = 1 / 20


@dataclass
class Holdouts:
    rows: dict[str, np.ndarray]  # level -> pool rows of its holdout, by ascending id
    clusters: dict[str, int]
    held: np.ndarray  # bool [documents]: not in any corpus
    similar: int  # documents held out only because they resemble a held-out one


def hold_out(
    store: Store,
    manifest: Manifest,
    pool: Pool,
    judged: dict[str, Judged],
    cluster: np.ndarray,
    signals: Signals,
    engine: Engine,
) -> Holdouts:
    """Raises CurateError where a level is too small to hold anything out."""
    rows, counts = {}, {}
    for name in manifest.holdout.levels:
        drawn = _draw(judged[name].kept, cluster, pool, manifest.holdout.tokens * BYTES_A_TOKEN)
        counts[name] = len(drawn)
        rows[name] = _by_id(pool, judged[name].kept & np.isin(cluster, drawn))
        if not len(rows[name]):
            raise CurateError(
                f'{manifest.path}, [holdout]: level "{name}" has no cluster small enough for '
                f"{manifest.holdout.tokens:,} tokens; ask for more tokens or more text"
            )
    held = np.isin(cluster, np.unique(np.concatenate([cluster[r] for r in rows.values()])))
    similar = np.zeros(len(pool), bool)
    near = manifest.pooled.get(DUPLICATES, {}).get("near")
    if near:
        every = np.unique(np.concatenate(list(rows.values())))
        key = digest_of([STAGE, VERSION, near, pool.digest, every.tolist()])
        part = store.table(STAGE, key, lambda: _similar(store, pool, signals, near, every, engine))
        similar[part.table()["row"].to_numpy()] = True
        similar &= ~held
    return Holdouts(rows, counts, held | similar, int(similar.sum()))


def _draw(kept: np.ndarray, cluster: np.ndarray, pool: Pool, budget: int) -> np.ndarray:
    """The clusters (pool rows that stand for them), in the order of their ids from the far end."""
    size = np.bincount(cluster[kept], weights=pool.bytes[kept], minlength=len(pool))
    candidates = pool.order[::-1]
    candidates = candidates[(size[candidates] > 0) & (size[candidates] <= budget * LARGEST_CLUSTER)]
    # Never more than half of the level: a holdout that leaves nothing to train on measures nothing.
    budget = min(budget, int(pool.bytes[kept].sum()) // 2)
    return candidates[: int(np.searchsorted(np.cumsum(size[candidates]), budget)) + 1]


def _by_id(pool: Pool, chosen: np.ndarray) -> np.ndarray:
    return pool.order[chosen[pool.order]]


def _similar(
    store: Store, pool: Pool, signals: Signals, near: dict, held: np.ndarray, engine: Engine
) -> pa.Table:
    """Rows of the pool that are at least `similarity` similar (exact Jaccard) to some held-out one, and to which."""
    from filters.duplicates.leaders import Scheme, band_keys, similar_to

    scheme = Scheme(**near)
    candidates = sharing_a_band(store, signals, near, held, engine)

    def side(rows: np.ndarray) -> tuple[pa.Array, np.ndarray, np.ndarray]:
        place = pool.part[rows], pool.row[rows]
        signed = signatures_at(signals, *place)
        return gather(pool.parts, *place, "text"), signed, band_keys(signed, *scheme.cut)

    query, similarity = similar_to(*side(held), *side(candidates), scheme)
    hit = query >= 0
    return pa.table({"row": candidates[hit], "holdout": held[query[hit]], "similarity": similarity[hit]})
