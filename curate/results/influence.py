"""What a difference between two levels rests on: how many held-out documents say the same, and whether a few decide it.

A mean over tokens can be the work of one template. So beside it stand the share of documents that a level wins, the
median over documents, the number of documents that the sample is worth (Kish 1965), and the fewest documents without
which the sign turns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from curate.results.finding import finding, table
from curate.results.scores import (
    document_tokens,
    effective_number,
    first_setting,
    group_numbers,
    levels_of,
    nats_of,
    series_name,
    series_of,
)
from curate.results.words import text_of

FEW = 0.05  # of the documents: where so few decide a sign, the sentence says so
SHOWN = 5


def influence(name: str, runs: list[dict], level: str, of: str) -> dict | None:
    """`level` against `of` (series names) at the largest size that both have; None where documents are not known."""
    sizes = [{run["size"] for run in runs if series_name(run) == series} for series in (level, of)]
    tokens = document_tokens(name, runs[0])
    if tokens is None or not (common := set.intersection(*sizes)):
        return None
    size = max(common)
    means = [
        _mean_nats(name, [r for r in runs if series_name(r) == series and r["size"] == size])
        for series in (level, of)
    ]
    if means[0] is None or means[1] is None:
        return None
    gap = means[0] - means[1]
    group = group_numbers(name, runs[0])
    group = np.arange(len(gap)) if group is None else group
    numbers = _fewest(gap)
    few = len(numbers) <= FEW * len(gap)
    return {
        "level": level,
        "of": of,
        "tokens": size,
        "documents": len(gap),
        "groups": int(group.max()) + 1,
        "effective_groups": effective_number(np.bincount(group, tokens)),
        "won": float((gap < 0).mean()),
        "median": float(np.median(gap / tokens)),
        "mean": float(gap.sum() / tokens.sum()),
        "decisive_documents": len(numbers),
        "decisive_groups": len(np.unique(group[numbers])),
        "decided_by_few": few,
        "most": [
            {"document": int(i), "nats": float(gap[i]), "tokens": int(tokens[i])}
            for i in numbers[: SHOWN * few]
        ],
    }


def _mean_nats(name: str, runs: list[dict]) -> np.ndarray | None:
    known = [nats for run in runs if (nats := nats_of(name, run)) is not None]
    return np.mean(known, axis=0) if known else None


def _fewest(gap: np.ndarray) -> np.ndarray:
    """The fewest documents without which the sum has another sign, those that add most to it first."""
    signed = gap * np.sign(gap.sum())
    order = np.argsort(-signed, kind="stable")
    turned = np.flatnonzero(signed.sum() - np.cumsum(signed[order]) <= 0)
    # Where all are of one sign it never turns, and rounding may leave a little.
    return order[: int(turned[0]) + 1] if len(turned) else order


def influence_finding(name: str, lock: dict, runs: list[dict]) -> list[dict]:
    """Of the last level against the first, in the first setting of the grid."""
    runs = first_setting(runs)
    levels, series = levels_of(lock, runs), series_of(runs)
    rows = [row for level in levels[1:] if (row := influence(name, runs, series[level], series[levels[0]]))]
    if not rows:
        return []
    columns = ["Level", "Against", "Better on", "Median difference", "Mean difference", "Sign rests on"]
    caption = (
        f"Nats per token at {rows[-1]['tokens']:,} tokens, over {rows[-1]['documents']:,} held-out documents"
    )
    cells = [
        [
            row["level"], row["of"], f"{row['won']:.0%} of documents", _signed(row["median"]), _signed(row["mean"]),
            f"{row['decisive_documents']:,} documents, {row['decisive_groups']:,} groups",
        ]
        for row in rows
    ]  # fmt: skip
    title = f"What the difference rests on, on {text_of(name)}"
    return [
        finding("influence", title, name, list(_sentences(rows[-1], lock["holdouts"][name])),
                [table(caption, columns, cells)], rows=rows)
    ]  # fmt: skip


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _sentences(row: dict, holdout: dict):
    kinds = [kind for kind in holdout.get("grouped_by", []) if kind != "document"]
    by = f" ({', '.join(kinds)})" if kinds else ""
    yield (
        f"{row['documents']:,} documents of {row['groups']:,} groups{by} are held out; as their lengths differ, they are "
        f"worth {row['effective_groups']:.0f} groups of equal length, and intervals resample groups."
    )
    yield (
        f"{row['level']} is better than {row['of']} on {row['won']:.0%} of them; the median document differs "
        f"by {_signed(row['median'])} nats per token."
    )
    if row["decided_by_few"]:
        yield few_sentence(row)


def few_sentence(row: dict) -> str:
    return (
        f"The sign of the mean depends on {row['decisive_documents']:,} of {row['documents']:,} documents: without them it "
        f"turns."
    )


def with_documents(found: dict, shown: Callable[[str, int], dict]) -> dict:
    """The finding, with the documents that decide it to read. `shown`: (holdout, its document) -> an excerpt."""
    decisive = [
        shown(found["holdout"], one["document"]) | {"signals": {"nats": one["nats"], "tokens": one["tokens"]}}
        for one in found["figures"]["rows"][-1]["most"]
    ]
    return found | {"documents": decisive}
