"""Help in choosing a threshold: what each candidate bound keeps, documents around it, and the loss it leads to.

Candidates are judged on the documents that a level keeps once its own rules on the signal are left out. Training
compares their corpora at equal tokens with the corpus that the signal does not bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curate.commands.summary import table
from curate.corpora.built import Annotated
from curate.engine import Engine
from curate.errors import CurateError, did_you_mean
from curate.quantities import BYTES_A_TOKEN, short_bytes, short_count
from curate.report.examples import excerpt
from curate.results.answers import finite
from curate.results.scores import grid_of
from curate.results.words import difference_text, figure_text
from curate.spec.bounds import Bound, Rule
from curate.spec.manifest import FORGOTTEN, Level, Manifest
from curate.steps import annotate_all, build
from curate.store import Store
from curate.studies.study import GRID_KNOBS, Trial
from train import fits

QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
OF_EACH = 2  # documents on either side of a bound
UNBOUND = "any"


@dataclass(frozen=True)
class Asked:
    """`bounds`: candidates; none: quantiles of the signal. `side`: whether they bound it from below or above."""

    signal: str
    level: str | None = None
    side: str | None = None
    bounds: tuple[float, ...] = ()
    tokens: int | None = None
    seeds: int | None = None


def sweep(store: Store, manifest: Manifest, engine: Engine, asked: Asked, train: bool) -> dict:
    """What the command prints. Raises CurateError for a signal that is not measured, or that is no number."""
    bounding = [level for level in manifest.levels if any(r.signal == asked.signal for r in level.rules)]
    level = bounding[-1] if bounding and asked.level is None else manifest.level_named(asked.level)
    side = asked.side or _side(manifest, level, asked.signal)
    if not train:
        a = annotate_all(store, replace(manifest, derived=(without(manifest, level, asked.signal),)), engine)
        return _candidates(a, asked, level, side, own_bounds(manifest, level, asked.signal))
    return _trained(store, manifest, engine, asked, level, side)


def _side(manifest: Manifest, level: Level, signal: str) -> str:
    """From below, unless the level bounds it from above alone."""
    bounds = [rule.bound for _, rule in manifest.rules_of(level) if rule.signal == signal]
    above_alone = bounds and all(math.isinf(b.low) and math.isfinite(b.high) for b in bounds)
    return "high" if above_alone else "low"


def own_bounds(manifest: Manifest, level: Level, signal: str) -> dict[str, tuple[float, ...]]:
    """Side -> bounds that the level has now; none where a bound differs by language or is a quantile."""
    bounds = [rule.bound for _, rule in manifest.rules_of(level) if rule.signal == signal]
    numbers = [bound for bound in bounds if isinstance(bound, Bound)]
    return {
        side: tuple(sorted({value for b in numbers if math.isfinite(value := getattr(b, side))}))
        for side in ("low", "high")
    }


def without(manifest: Manifest, level: Level, signal: str, name: str = UNBOUND, *further: Rule) -> Level:
    """The level, its rules on the signal left out, and others put in: before duplicates are, for that rule is last."""
    rules = [
        rule for _, rule in manifest.rules_of(level) if rule.signal != signal or rule.signal == FORGOTTEN
    ]
    at = next((i for i, rule in enumerate(rules) if rule.signal == "duplicate"), len(rules))
    return Level(name, None, (*rules[:at], *further, *rules[at:]), (), level.edits)


def numbers(a: Annotated, signal: str) -> np.ndarray:
    """float64 [documents], NaN where missing."""
    if signal not in a.signals.owner:
        hint = did_you_mean(signal, a.signals.owner)
        raise CurateError(
            f"--signal {signal}: not measured by this manifest{hint}; name it in a level or [signals]"
        )
    column = a.values.column(signal)
    try:
        return column.to_numpy(zero_copy_only=False).astype(float)
    except (TypeError, ValueError):
        raise CurateError(f"--signal {signal}: not a number, so no bound can be swept") from None


def _candidates(a: Annotated, asked: Asked, level: Level, side: str, own: dict) -> dict:
    value = numbers(a, asked.signal)
    reached = a.everything[UNBOUND].kept & np.isfinite(value)
    if not reached.any():
        raise CurateError(f"--signal {asked.signal}: no document that reaches it has a value")
    quantiles = (float(f"{q:.3g}") for q in np.quantile(value[reached], QUANTILES))
    bounds = asked.bounds or (*quantiles, *own[side])
    rows = []
    for bound in sorted(set(bounds)):
        kept = reached & (value >= bound if side == "low" else value <= bound)
        size = int(a.pool.bytes[kept].sum())
        rows.append({
            "bound": [bound, None] if side == "low" else [None, bound], "value": bound, "now": bound in own[side],
            "documents": int(kept.sum()), "bytes": size, "tokens": round(size / BYTES_A_TOKEN),
            "share": float(size / a.pool.bytes[reached].sum()),
            "outside": _documents(a, value, reached & ~kept, bound, asked.signal),
            "inside": _documents(a, value, kept, bound, asked.signal),
        })  # fmt: skip
    return {
        "signal": asked.signal, "level": level.name, "side": side, "documents": int(reached.sum()),
        "missing": int((a.everything[UNBOUND].kept & ~np.isfinite(value)).sum()), "candidates": rows, "now": own,
    }  # fmt: skip


def _documents(a: Annotated, value: np.ndarray, mask: np.ndarray, bound: float, signal: str) -> list[dict]:
    """Those nearest to the bound."""
    rows = a.pool.ordered(mask)
    near = rows[np.argsort(np.abs(value[rows] - bound), kind="stable")[:OF_EACH]]
    return [excerpt(a.pool, int(row), {signal: float(value[row])}) for row in near]


# ------------------------------------------------------------------------------------------- the loss at each


def _trained(store: Store, manifest: Manifest, engine: Engine, asked: Asked, level: Level, side: str) -> dict:
    from curate.runs.training import train_trials

    manifest.check_trains()
    unbound = without(manifest, level, asked.signal)
    annotated = annotate_all(store, replace(manifest, derived=(unbound,)), engine)
    swept = _candidates(annotated, asked, level, side, own_bounds(manifest, level, asked.signal))
    derived = [unbound]
    for row in swept["candidates"]:
        bound = Bound(low=row["value"]) if side == "low" else Bound(high=row["value"])
        rule = Rule(f"sweep.{asked.signal}", asked.signal, bound)
        derived.append(without(manifest, level, asked.signal, _name(row), rule))
    built = build(store, replace(manifest, derived=tuple(derived)), engine, record=False)
    knobs = {k: v for k, v in manifest.grid.items() if k in GRID_KNOBS}
    knobs["seeds"] = asked.seeds or manifest.grid.get("seeds", 1)
    tokens = asked.tokens or max(manifest.sizes)
    runs = train_trials(built, [Trial("sweep", one.name, one.name, tokens, knobs) for one in derived])
    return swept | {
        "tokens": tokens,
        "losses": _losses(built.lock, runs),
        "failed": [r for r in runs if "failed" in r],
    }


def _name(row: dict) -> str:
    low, high = row["bound"]
    return f">= {low:g}" if high is None else f"<= {high:g}"


def _losses(lock: dict, runs: list[dict]) -> dict:
    """Holdout -> candidate -> mean loss, and its difference from the corpus without the bound, all corrected together."""
    found: dict[str, Any] = {}
    done = [run for run in runs if "losses" in run]
    for name in lock["holdouts"] if done else ():
        grid = grid_of(name, done)
        means = {
            level: vars(fits.mean(grid, level, grid.tokens[0]))
            for level in dict.fromkeys(r["level"] for r in done)
        }
        pairs = [(level, UNBOUND) for level in means if level != UNBOUND] if UNBOUND in means else []
        gaps = {gap.level: finite(vars(gap.together)) for gap in fits.differences(grid, pairs)}
        found[name] = {level: mean | {"difference": gaps.get(level)} for level, mean in means.items()}
    return found


def sweep_text(swept: dict) -> str:
    """The documents first, the table that they explain last."""
    parts = []
    for row in swept["candidates"]:
        for where, what in (("outside", "dropped, just outside"), ("inside", "kept, just inside")):
            for document in row[where]:
                value = document["signals"][swept["signal"]]
                text = " ".join(document["text"].split())[:300]
                parts.append(
                    f"{_name(row)}  {what}: {value:.4g}  {document['source']} {document['id'][:12]}\n    {text}"
                )
    losses = swept.get("losses", {})
    rows = [
        [_name(r) + ("  (as now)" if r["now"] else ""), f"{r['documents']:,}", short_bytes(r["bytes"]),
         f"about {short_count(max(1, r['tokens']))}", f"{100 * r['share']:.1f} %",
         *(_loss_text(losses[name].get(_name(r))) for name in losses)]
        for r in swept["candidates"]
    ]  # fmt: skip
    header = [
        swept["signal"],
        "documents",
        "text",
        "tokens",
        "share",
        *(f"loss on {name}" for name in losses),
    ]
    if losses:
        unbound = [_loss_text(losses[name].get(UNBOUND)) for name in losses]
        rows.insert(0, [UNBOUND, f"{swept['documents']:,}", "", "", "100 %", *unbound])
    tail = [f"{swept['missing']:,} documents have no value; a bound drops them"] if swept["missing"] else []
    other = "low" if swept["side"] == "high" else "high"
    if swept["now"][other]:
        values = ", ".join(f"{value:g}" for value in swept["now"][other])
        tail.append(f"the level also bounds it on the other side, at {values}: --side {other} shows that")
    tail += [
        f"missing: {run['level']}, seed {run['seed']}: {run['failed']}" for run in swept.get("failed", [])
    ]
    if losses:
        tail.append(
            f"losses in nats after {swept['tokens']:,} tokens, against no bound; * clear of all others' noise together"
        )
    lead = f"level {swept['level']}, without its rules on {swept['signal']}: {swept['documents']:,} documents"
    return "\n".join([*parts, "", lead, table(rows, header), *tail])


def _loss_text(one: dict | None) -> str:
    if one is None:
        return "no run"
    gap = one["difference"]
    mean = figure_text(one["value"], one["low"], one["high"])
    return f"{mean}  {difference_text(gap)}{'*' if gap['distinguishable'] else ''}" if gap else mean
