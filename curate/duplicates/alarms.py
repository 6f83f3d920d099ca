"""What finding duplicates took from each source, and what of it a person should look at before believing it.

Alarms say; they never drop or keep anything:

- a source that loses far more of its documents than all others together do;
- a cluster that swallows thousands of documents, or a hundredth of the pool;
- a stub that stands for many: where all that several documents share is a sentence, it is likely a template.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc

from curate.differences import in_one_line
from curate.signals.values import Values
from curate.sources.pool import Pool
from curate.spec.manifest import DUPLICATES
from filters.duplicates.minhash import Scheme, recall

KINDS = ("exact", "template", "near")
LARGEST = 5  # clusters that the lock names
FAR_MORE = 3.0  # times the share that all other sources lose
WORTH_SAYING = 0.2  # of a source's documents
SWALLOWED, SWALLOWED_SHARE, AT_LEAST = 1000, 0.01, 100  # documents of a cluster
STUB_BYTES, STUB_CLUSTER = 300, 20
NOVELTIES = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 1.0)  # a duplicate goes where it adds less than one of these
FOUND = 0.9  # of the pairs at the target similarity: what is less is said
SHOWN = 80  # characters of a document that stands for a cluster


def duplicates_summary(pool: Pool, values: Values) -> dict[str, Any]:
    """By source, what its documents are duplicates of; the largest clusters; empty where duplicates are not measured."""
    if not values.has_duplicates:
        return {}
    kind, by_source = values.column("duplicate_kind"), {}
    for name, (begin, end) in zip(pool.sources, pool.source.ranges(), strict=True):
        here = kind.slice(begin, end - begin)
        counts = {k: pc.sum(pc.equal(here, k)).as_py() or 0 for k in KINDS}
        by_source[name] = {"documents": end - begin, **counts}
    cluster = values.clusters()
    stand = _largest(pool, cluster, values.forgotten())
    return {
        "by_source": by_source,
        "largest": [_cluster(pool, cluster, row) for row in stand],
        "novelty": {"least": list(NOVELTIES), "by_source": _lost(pool, values, cluster)},
        "examples": _examples(pool, values, by_source, stand, cluster),
    }


def _lost(pool: Pool, values: Values, cluster: np.ndarray) -> dict[str, dict]:
    """By source: bytes that go with the duplicates of less than each novelty, and of those what nothing else says, both
    against the documents that stand for them."""
    total = np.zeros((len(pool.sources), 2, len(NOVELTIES)))
    for part, (begin, end) in zip(values.signals.families[DUPLICATES], pool.part.ranges(), strict=True):
        goes = cluster[begin:end] != np.arange(begin, end)
        novelty, size = part.table()["duplicate_novelty"].to_numpy()[goes], pool.bytes[begin:end][goes]
        place = np.minimum(np.searchsorted(NOVELTIES, novelty, "right"), len(NOVELTIES) - 1)
        saved, lost = total[pool.source[begin]]
        np.add.at(saved, place, size)
        np.add.at(lost, place, size * novelty)
    each = zip(pool.sources, pool.source.ranges(), total.cumsum(2).round().astype(int).tolist(), strict=True)
    return {
        name: {"bytes": int(pool.bytes[begin:end].sum()), "saved": saved, "lost": lost}
        for name, (begin, end), (saved, lost) in each
    }


def _examples(
    pool: Pool, values: Values, by_source: dict, stand: list[int], cluster: np.ndarray
) -> list[dict]:
    """Pairs to read before the numbers are believed: the least similar of all, of each source that loses far more than
    others and of each of the largest clusters; what differs is marked as git marks words."""
    gone = values.forgotten()
    similarity = values.column("near_duplicate_similarity").to_numpy()
    similarity = np.where(gone | gone[cluster], np.nan, similarity)
    asked = {"the least similar of all": ~np.isnan(similarity)}
    asked |= {f'source "{name}"': pool.source == pool.sources.index(name) for name in _losing(by_source)}
    asked |= {f"the cluster of {pool.ids[stays].as_py()[:12]}": cluster == stays for stays in stand}
    pairs: dict[int, dict] = {}
    for why, here in asked.items():
        rows = np.flatnonzero(here & ~np.isnan(similarity))
        if len(rows):
            row = int(rows[np.argmin(similarity[rows])])
            stays = int(cluster[row])
            ids = {"goes": pool.ids[row].as_py(), "stays": pool.ids[stays].as_py()}
            text = in_one_line(_text(pool, stays), _text(pool, row))
            likeness = round(float(similarity[row]), 4)
            pairs.setdefault(row, {"why": why, **ids, "similarity": likeness, "differences": text})
    return list(pairs.values())


def _text(pool: Pool, row: int) -> str:
    return pool.gather(np.array([row]), "text")[0].as_py()


def _largest(pool: Pool, cluster: np.ndarray, gone: np.ndarray) -> list[int]:
    """Rows that stand for the largest clusters of several documents."""
    size = np.bincount(cluster, minlength=len(pool)) * ~gone
    least = np.partition(size, max(0, len(size) - LARGEST))[-LARGEST:].min()
    rows = np.flatnonzero(size >= max(2, least))
    return rows[np.lexsort((pool.rank[rows], -size[rows]))][:LARGEST].tolist()


def _cluster(pool: Pool, cluster: np.ndarray, row: int) -> dict:
    here = np.flatnonzero(cluster == row)
    number, own = np.unique(pool.source[here], return_counts=True)
    text = _text(pool, row)
    return {
        "id": pool.ids[row].as_py(),
        "documents": len(here),
        "sources": {pool.sources[n]: int(count) for n, count in zip(number, own, strict=True)},
        "bytes": int(pool.bytes[row]),
        "begins": " ".join(text[: 4 * SHOWN].split())[:SHOWN],
    }


def missed_pairs(pooled: dict[str, dict]) -> list[str]:
    """Where bands and rows do not find the similarity that near-duplicates are asked for at."""
    near = pooled.get(DUPLICATES, {}).get("near")
    if not near:
        return []
    bands, rows = Scheme(**near).cut
    share = recall(near["similarity"], bands, rows)
    if share >= FOUND:
        return []
    least = (1 - (1 - FOUND) ** (1 / bands)) ** (1 / rows)
    return [
        f"near_duplicates: {bands} bands of {rows} rows find {share:.0%} of the pairs at similarity "
        f"{near['similarity']:g}, {FOUND:.0%} only from {least:.2f} on; leave preset, bands and rows out, "
        "and they follow from the similarity"
    ]


def alarms(summary: dict) -> list[str]:
    """A sentence for each thing to look at."""
    if not summary:
        return []
    by_source = summary["by_source"]
    losing = [
        f'duplicates: source "{name}" loses {lost:.0%} of its {by_source[name]["documents"]:,} documents, '
        f"all others {others:.0%}"
        for name, (lost, others) in _losing(by_source).items()
    ]
    return [*losing, *_clusters(summary)]


def _losing(by_source: dict[str, dict]) -> dict[str, tuple[float, float]]:
    """Source -> (share that it loses, share that all others lose), where that is far more."""
    found = {}
    for name, own in by_source.items():
        others = [row for other, row in by_source.items() if other != name]
        lost, theirs = _share(own), _share({k: sum(row[k] for row in others) for k in own})
        if others and lost > WORTH_SAYING and lost > FAR_MORE * theirs:
            found[name] = (lost, theirs)
    return found


def _share(row: dict) -> float:
    return sum(row[k] for k in KINDS) / max(1, row["documents"])


def _clusters(summary: dict) -> list[str]:
    found = []
    documents = sum(row["documents"] for row in summary["by_source"].values())
    for c in summary["largest"]:
        size = c["documents"]
        about = f'one document stands for {size:,} ({c["id"][:12]}, begins "{c["begins"]}")'
        if size >= SWALLOWED or size >= max(AT_LEAST, SWALLOWED_SHARE * documents):
            found.append(f"duplicates: {about}: read some of them")
        elif size >= STUB_CLUSTER and c["bytes"] < STUB_BYTES:
            found.append(f"duplicates: {about}: a stub, likely a template")
    return found
