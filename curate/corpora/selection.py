"""Signals x levels -> documents: which document each level keeps, and the first rule that drops each other.

A verdict is one small number a document and level: KEPT, or the place of the first failing rule among
the level's rules (its own and those of the levels below, in the order of judging). Everything that is
said of a level later, the funnel, the ledger, `explain`, examples, is read from these verdicts. Judging
is vectorised over the pool and reads no text, so another threshold costs seconds.

A missing value (null) satisfies no bound. `duplicate = false` (or a bound on `duplicate_novelty`, see
`duplicates.novelty`, which alone reads texts) is judged last among a level's rules: of
each cluster the most preferred document that every other rule lets through stays. Where the document
that stands for the cluster was itself dropped, the next best stays for it; since Jaccard distance obeys
the triangle inequality, what it stands for is at least 2 s - 1 similar to it at a target of s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

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
    """A level judged: for every document of the pool KEPT or the first rule in force that drops it."""

    level: Level
    rules: list[tuple[Level, Rule]]  # all rules in force, those of the levels below first
    verdict: np.ndarray  # int16 [documents]
    bounds: list[Bound]  # of the own rules, quantiles resolved

    @property
    def kept(self) -> np.ndarray:
        return self.verdict == KEPT


def judge(manifest: Manifest, pool: Pool, values: Values) -> dict[str, Judged]:
    """Every level of the manifest, and those derived for studies.

    Raises CurateError where a level keeps nothing, naming the rule to blame.
    """
    judged: dict[str, Judged] = {}
    outcome = _remembering(lambda rule, base: _passes(rule, base, pool, values))
    for level in (*manifest.levels, *manifest.derived):
        below = judged[level.on] if level.on else None
        verdict = below.verdict.copy() if below else np.full(len(pool), KEPT, np.int16)
        rules = list(below.rules) if below else []
        bounds = []
        for rule in level.rules:
            reached = verdict == KEPT
            passes, bound = outcome(rule, reached)
            verdict[reached & ~passes] = len(rules)
            rules.append((level, rule))
            bounds.append(bound)
        judged[level.name] = Judged(level, rules, verdict, bounds)
        if not (verdict == KEPT).any():
            raise CurateError(_keeps_nothing(manifest, judged[level.name]))
    return judged


def _remembering(outcome: Callable) -> Callable:
    """Bounds that do not depend on what reached them are judged once, however many levels share the profile."""
    memory: dict[Rule, tuple] = {}

    def ask(rule: Rule, reached: np.ndarray):
        if rule.signal == DUPLICATE or rule.bound.top is not None:
            return outcome(rule, reached)
        if rule not in memory:
            memory[rule] = outcome(rule, reached)
        return memory[rule]

    return ask


def _passes(rule: Rule, reached: np.ndarray, pool: Pool, values: Values) -> tuple[np.ndarray, Bound]:
    if rule.signal == DUPLICATE:
        return of_clusters(rule, reached, pool, values)[0], rule.bound
    column = values.of(rule)
    bound = resolve(rule.bound, column, reached)
    return within(column, bound, values), bound


def of_clusters(rule: Rule, reached: np.ndarray, pool: Pool, values: Values) -> tuple[np.ndarray, np.ndarray]:
    """(bool [documents] those of the reached that a rule about duplicates lets stay, [documents] what it judges by):
    the best of each cluster, and where the rule bounds novelty, what adds as much to all that stay before it."""
    if rule.bound.label is not None:
        best = best_of_clusters(values.clusters(), pool.rank, reached)
        return best, ~best
    novelty = novel_of_clusters(pool, values, reached, rule.bound.low)
    return reached & (novelty >= rule.bound.low), novelty


def best_of_clusters(cluster: np.ndarray, rank: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """True for the most preferred document of each cluster among those reached."""
    rows = np.flatnonzero(reached)
    rows = rows[np.argsort(rank[rows])]
    _, first = np.unique(cluster[rows], return_index=True)
    best = np.zeros(len(cluster), bool)
    best[rows[first]] = True
    return best


def _keeps_nothing(manifest: Manifest, judged: Judged) -> str:
    dropped = np.bincount(judged.verdict[judged.verdict != KEPT], minlength=len(judged.rules))
    worst = int(dropped.argmax())
    _, rule = judged.rules[worst]
    known = manifest.pooled.get(INDEX, {}).get(INDEX, []) if rule.signal.startswith("index_") else []
    of = f" (of {', '.join(known)})" if known else ""
    return (
        f'{manifest.path}, level "{judged.level.name}" keeps nothing: {rule.name}{of} = {rule.bound.text()} alone drops '
        f"{dropped[worst]:,} of {len(judged.verdict):,} documents; loosen it or leave it out"
    )


def funnel(judged: Judged, pool: Pool, values: Values) -> dict:
    """What the lock says of a level: each own rule with what it dropped, first and alone, and what is left."""
    own = len(judged.rules) - len(judged.level.rules)
    rows = []
    before = (judged.verdict == KEPT) | (judged.verdict >= own)
    for k, (rule, bound) in enumerate(zip(judged.level.rules, judged.bounds, strict=True), own):
        dropped = judged.verdict == k
        alone = dropped
        if rule.signal != DUPLICATE:
            alone = before & ~within(values.of(rule), bound, values)
        counts = {"dropped": int(dropped.sum()), "dropped_bytes": int(pool.bytes[dropped].sum())}
        about = {"rule": rule.name, "signal": rule.signal, "bound": bound.as_json()}
        rows.append(about | counts | {"alone": int(alone.sum())})
    return {
        "name": judged.level.name,
        "on": judged.level.on,
        "profiles": list(judged.level.profiles),
        **({"edits": [edit.text() for edit in judged.level.edits]} if judged.level.edits else {}),
        "documents": int(judged.kept.sum()),
        "bytes": int(pool.bytes[judged.kept].sum()),
        "rules": rows,
    }


def ledger(judged: Judged, pool: Pool) -> dict:
    """By source: documents in = kept + dropped by each rule in force."""
    table = {}
    for number, name in enumerate(pool.sources):
        verdict = judged.verdict[pool.source == number]
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
