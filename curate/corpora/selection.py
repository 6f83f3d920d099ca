"""Signals x levels -> documents: which document each level keeps, and the first rule that drops each other.

Of every rule is held which documents it lets through, a bit each; levels with the same rule share them. A verdict
follows: KEPT, or the place of the first failing rule among the level's rules (its own and those of the levels below,
in the order of judging). Everything that is said of a level later, the funnel, the ledger, `explain`, examples, is
read from these bits. Judging is vectorised over the pool and reads no text, so another threshold costs seconds.

A missing value (null) satisfies no bound. `duplicate = false` (or a bound on `duplicate_novelty`, see
`duplicates.novelty`, which alone reads texts) is judged last among a level's rules: of
each cluster the most preferred document that every other rule lets through stays. Where the document
that stands for the cluster was itself dropped, the next best stays for it; since Jaccard distance obeys
the triangle inequality, what it stands for is at least 2 s - 1 similar to it at a target of s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.duplicates.novelty import novel_of_clusters
from curate.errors import CurateError
from curate.signals.values import Values, resolve, within
from curate.sources.pool import Pool
from curate.spec.bounds import Bound, Rule
from curate.spec.manifest import DUPLICATE, FORGOTTEN, INDEX, Level, Manifest

KEPT = -1
NEARLY_ALL = 0.95  # a rule that drops more than this share of what reaches it is worth a warning


@dataclass
class Judged:
    """A level judged: which documents of the pool stay, and which each rule lets through."""

    level: Level
    rules: list[tuple[Level, Rule]]  # all rules in force, those of the levels below first
    passes: list[pa.BooleanArray]  # of each rule in force [documents]
    bounds: list[Bound]  # of the own rules, quantiles resolved
    stays: pa.BooleanArray  # [documents]

    @property
    def kept(self) -> np.ndarray:
        return self.stays.to_numpy(zero_copy_only=False)

    @property
    def verdict(self) -> np.ndarray:
        """int16 [documents]: KEPT, or the first rule in force that drops it."""
        verdict = np.full(len(self.stays), KEPT, np.int16)
        for number in reversed(range(len(self.rules))):
            verdict[pc.invert(self.passes[number]).to_numpy(zero_copy_only=False)] = number
        return verdict


def judge(manifest: Manifest, values: Values) -> dict[str, Judged]:
    """Every level of the manifest, and those derived for studies.

    Raises CurateError where a level keeps nothing, naming the rule to blame.
    """
    judged: dict[str, Judged] = {}
    outcome = _remembering(lambda rule, reached: _passes(rule, reached, values))
    for level in (*manifest.levels, *manifest.derived):
        below = judged[level.on] if level.on else Judged(level, [], [], [], pa.repeat(True, len(values.pool)))
        stays, passes, bounds = below.stays, list(below.passes), []
        for rule in level.rules:
            passing, bound = outcome(rule, stays)
            stays = pc.and_(stays, passing)
            passes.append(passing)
            bounds.append(bound)
        rules = [*below.rules, *((level, rule) for rule in level.rules)]
        judged[level.name] = Judged(level, rules, passes, bounds, stays)
        if not stays.true_count:
            raise CurateError(_keeps_nothing(manifest, judged[level.name]))
    return judged


def _remembering(outcome: Callable) -> Callable:
    """Bounds that do not depend on what reached them are judged once, however many levels share the profile."""
    memory: dict[Rule, tuple] = {}

    def ask(rule: Rule, reached: pa.BooleanArray):
        if rule.signal == DUPLICATE or rule.bound.top is not None:
            return outcome(rule, reached)
        if rule not in memory:
            memory[rule] = outcome(rule, reached)
        return memory[rule]

    return ask


def _passes(rule: Rule, reached: pa.BooleanArray, values: Values) -> tuple[pa.BooleanArray, Bound]:
    if rule.signal == DUPLICATE:
        stay, _ = of_clusters(rule, reached.to_numpy(zero_copy_only=False), values)
        return pa.array(stay), rule.bound
    column = values.of(rule)
    bound = resolve(rule.bound, column, reached)
    return pa.array(within(column, bound, values)), bound


def of_clusters(rule: Rule, reached: np.ndarray, values: Values) -> tuple[np.ndarray, np.ndarray]:
    """(bool [documents] those of the reached that a rule about duplicates lets stay, [documents] what it judges by):
    the best of each cluster, and where the rule bounds novelty, what adds as much to all that stay before it."""
    if rule.bound.label is not None:
        best = best_of_clusters(values.clusters(), values.pool.rank, reached)
        return best, ~best
    novelty = novel_of_clusters(values, reached, rule.bound.low)
    return reached & (novelty >= rule.bound.low), novelty


def best_of_clusters(cluster: np.ndarray, rank: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """True for the most preferred document of each cluster among those reached."""
    best = np.full(len(cluster), len(cluster), rank.dtype)
    np.minimum.at(best, cluster[reached], rank[reached])
    return reached & (best[cluster] == rank)


def _keeps_nothing(manifest: Manifest, judged: Judged) -> str:
    verdict = judged.verdict
    dropped = np.bincount(verdict[verdict != KEPT], minlength=len(judged.rules))
    worst = int(dropped.argmax())
    _, rule = judged.rules[worst]
    known = manifest.pooled.get(INDEX, {}).get(INDEX, []) if rule.signal.startswith("index_") else []
    of = f" (of {', '.join(known)})" if known else ""
    return (
        f'{manifest.path}, level "{judged.level.name}" keeps nothing: {rule.name}{of} = {rule.bound.text()} alone drops '
        f"{dropped[worst]:,} of {len(judged.stays):,} documents; loosen it or leave it out"
    )


def funnel(judged: Judged, pool: Pool) -> dict:
    """What the lock says of a level: each own rule with what it dropped, first and alone, and what is left."""
    own = len(judged.rules) - len(judged.level.rules)
    reached = before = reduce(pc.and_, judged.passes[:own], pa.repeat(True, len(pool)))
    rows = []
    for rule, bound, passes in zip(judged.level.rules, judged.bounds, judged.passes[own:], strict=True):
        dropped, reached = pc.and_not(reached, passes), pc.and_(reached, passes)
        alone = dropped if rule.signal == DUPLICATE else pc.and_not(before, passes)
        counts = {"dropped": dropped.true_count, "dropped_bytes": pool.bytes_of(dropped)}
        about = {"rule": rule.name, "signal": rule.signal, "bound": bound.as_json()}
        rows.append(about | counts | {"alone": alone.true_count})
    return {
        "name": judged.level.name,
        "on": judged.level.on,
        "profiles": list(judged.level.profiles),
        **({"edits": [edit.text() for edit in judged.level.edits]} if judged.level.edits else {}),
        "documents": judged.stays.true_count,
        "bytes": pool.bytes_of(judged.stays),
        "rules": rows,
    }


def ledger(judged: Judged, pool: Pool) -> dict:
    """By source: documents in = kept + dropped by each rule in force."""
    table, verdicts = {}, judged.verdict
    for name, (begin, end) in zip(pool.sources, pool.source.ranges(), strict=True):
        verdict = verdicts[begin:end]
        counts = np.bincount(verdict[verdict != KEPT], minlength=len(judged.rules))
        dropped = {rule.name: int(n) for (_, rule), n in zip(judged.rules, counts, strict=True) if n}
        kept = int((verdict == KEPT).sum())
        assert kept + sum(dropped.values()) == len(verdict), "every document is kept or dropped by one rule"
        table[name] = {"in": len(verdict), "kept": kept, "dropped": dropped}
    return table


def warnings(levels: list[dict], rows: int) -> list[str]:
    """Rules that never fire, and rules that drop nearly all that reaches them."""
    never = [
        f'level "{level["name"]}": {rule["rule"]} never fires'
        for level in levels
        for rule in level["rules"]
        if rule["alone"] == 0 and rule["signal"] != FORGOTTEN
    ]
    return never + nearly_all(levels, rows)


def nearly_all(levels: list[dict], rows: int) -> list[str]:
    """Rules that drop nearly all that reaches them."""
    found = []
    documents = {level["name"]: level["documents"] for level in levels}
    for level in levels:
        reach = documents[level["on"]] if level["on"] else rows
        for rule in level["rules"]:
            if reach and rule["dropped"] > NEARLY_ALL * reach:
                where = f'level "{level["name"]}": {rule["rule"]}'
                found.append(f"{where} drops {rule['dropped']:,} of the {reach:,} documents that reach it")
            reach -= rule["dropped"]
    return found
