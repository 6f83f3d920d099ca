"""Documents to read, by which bounds are judged: just outside of each and far from it, and just inside; and how the
signal is spread over all that the rule was asked about."""

from __future__ import annotations

from typing import Any

import numpy as np

from curate.corpora.built import Built
from curate.corpora.selection import KEPT, Judged
from curate.report.histograms import histogram
from curate.sources.pool import Pool
from curate.spec.bounds import Bound, Rule
from curate.spec.manifest import DUPLICATE, FORGOTTEN

EXCERPT = 700  # characters of a document that are shown
OF_EACH = 2


def examples(built: Built) -> tuple[dict[str, Any], list[dict]]:
    """({level: {rule: {"dropped": [...]}, "kept": [...]}}, pairs of near-duplicates); the same every time."""
    a = built.annotated
    levels: dict[str, Any] = {}
    for name, judged in a.judged.items():
        own = len(judged.rules) - len(judged.level.rules)
        shown: dict[str, Any] = {}
        for number in range(own, len(judged.rules)):
            shown[judged.rules[number][1].name] = _rule(built, judged, number)
        kept = a.pool.ordered(judged.kept)[: 2 * OF_EACH]
        shown["kept"] = [excerpt(a.pool, int(row), {}) for row in kept]
        levels[name] = shown
    return levels, _near_duplicates(built)


def _rule(built: Built, judged: Judged, number: int) -> dict:
    """Documents around the bound of one of the level's own rules, and the histogram of its signal."""
    a = built.annotated
    rule = judged.rules[number][1]
    if rule.signal == FORGOTTEN:
        return {"dropped": []}
    rows = a.pool.ordered(judged.verdict == number)
    if rule.signal == DUPLICATE or rule.bound.labels is not None or rule.bound.by_language:
        return {
            "dropped": [excerpt(a.pool, int(r), _value(built, rule, int(r))) for r in rows[: 2 * OF_EACH]]
        }
    own = len(judged.rules) - len(judged.level.rules)
    bound = judged.bounds[number - own]
    column = a.values.of(rule).to_numpy(zero_copy_only=False).astype(float)
    distance = _outside(column, rows, bound)
    near = rows[
        np.argsort(distance[rows], kind="stable")[:OF_EACH]
    ]  # of equally near ones the first in order of ids
    rest = rows[~np.isin(rows, near)]
    farther = (
        ~(distance[rest] < np.nanmedian(distance[rest])) if np.isfinite(distance[rest]).any() else slice(None)
    )
    rest = rest[farther][:OF_EACH]
    kept = a.pool.ordered(judged.kept & np.isfinite(distance))
    inside = kept[np.argsort(-distance[kept], kind="stable")[:OF_EACH]]
    asked = (judged.verdict == KEPT) | (judged.verdict >= own)
    around = {
        just: [excerpt(a.pool, int(r), _value(built, rule, int(r))) | {"just": just} for r in group]
        for group, just in ((near, "outside"), (rest, "far"), (inside, "inside"))
    }
    return {
        "dropped": around["outside"] + around["far"],
        "inside": around["inside"] if len(rows) else [],
        "histogram": histogram(column[asked], bound),
    }


def _outside(column: np.ndarray, dropped: np.ndarray, bound: Bound) -> np.ndarray:
    """How far every value lies outside of the bound: below 0 inside, NaN where there is no value.

    A side that none of the dropped documents has crossed is no bound to be near: shares of 1 are not "just inside" of 1.
    """
    below, above = bound.low - column, column - bound.high
    sides = [side for side in (below, above) if (side[dropped] > 0).any()]
    return np.fmax(*sides) if len(sides) == 2 else sides[0] if sides else np.fmax(below, above)


def _value(built: Built, rule: Rule, row: int) -> dict:
    if rule.signal == DUPLICATE:
        return {}
    return {rule.signal: built.annotated.values.of(rule)[row].as_py()}


def held_out_document(built: Built, holdout: str, number: int) -> dict:
    """A document of a holdout, or of a target, by its number there."""
    if holdout in built.targets:
        texts = built.targets[holdout]
        return _beginning(texts.whole[number], {"source": texts.target.source.name, "place": ""}, {})
    return excerpt(built.annotated.pool, int(built.holdouts.rows[holdout][number]), {})


def excerpt(pool: Pool, row: int, signals: dict) -> dict:
    """The beginning of a document, where it is from, and these values of it."""
    document = pool.document(row, ["id", "source", "place", "text"])
    return _beginning(document.pop("text"), document, signals)


def _beginning(text: str, about: dict, signals: dict) -> dict:
    cut = {"cut": True} if len(text) > EXCERPT else {}
    return about | {"text": text[:EXCERPT], "signals": signals} | cut


def _near_duplicates(built: Built) -> list[dict]:
    """Pairs from the least similar that were still joined to the most, and some of the largest clusters, among
    documents of readable length."""
    a = built.annotated
    if not a.values.has_duplicates:
        return []
    similarity = a.values.column("near_duplicate_similarity").to_numpy()
    kind = a.values.column("duplicate_kind").to_numpy(zero_copy_only=False)
    cluster = a.values.clusters()
    size = np.bincount(cluster, minlength=len(cluster))[cluster]
    gone = a.values.forgotten()
    readable = (a.pool.bytes > 300) & (a.pool.bytes < 3000) & ~(gone | gone[cluster])
    rows = np.flatnonzero(~np.isnan(similarity) & (similarity < 1) & readable)
    if not len(rows):
        return []
    spread = rows[np.argsort(similarity[rows], kind="stable")]
    spread = spread[np.linspace(0, len(spread) - 1, min(len(spread), 4)).astype(int)]
    crowded = rows[np.lexsort((similarity[rows], -size[rows]))]
    _, first = np.unique(cluster[crowded], return_index=True)  # the least similar of each cluster
    crowded = crowded[np.sort(first)][:OF_EACH]
    templates = rows[kind[rows] == "template"][:OF_EACH]
    rows = np.array(list(dict.fromkeys([*spread, *crowded, *templates])))
    of = cluster[rows]
    texts = [a.pool.gather(r, "text").to_pylist() for r in (rows, of)]
    return [
        {
            "id": a.pool.ids[int(row)].as_py(), "of": a.pool.ids[int(other)].as_py(), "kind": kind[row],
            "similarity": float(similarity[row]), "cluster": int(size[row]),
            "text": text[:2 * EXCERPT], "of_text": of_text[:2 * EXCERPT],
        }
        for row, other, text, of_text in zip(rows, of, *texts, strict=True)
    ]  # fmt: skip
