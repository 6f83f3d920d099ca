"""Rules that cannot do what they were written for: found in the manifest alone, and on a few documents of each source."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from curate.corpora.selection import funnel, nearly_all
from curate.duplicates.alarms import missed_pairs
from curate.engine import open_engine
from curate.errors import CurateError, InputError
from curate.progress import silence
from curate.signals.families import family_of, signals_of
from curate.sources.pool import Pool
from curate.spec.bounds import Rule
from curate.spec.manifest import Manifest
from curate.steps import annotate_sample
from curate.store import Store
from curate.studies.registry import outline
from train.config import ModelConfig, OptimizerConfig
from train.grid import expand, wrong_batch

WORTH_SAYING = 0.05  # of a source's documents
FAR_RATE = 50  # times the usual learning rate, or less than it


@dataclass
class Lint:
    """What was found; `documents` were read, and `kept` of them by each level (none where it could not be tried)."""

    found: list[str] = field(default_factory=list)
    documents: int = 0
    kept: dict[str, int] = field(default_factory=dict)


def lint(manifest: Manifest, documents: int) -> Lint:
    """Look at every rule, and try the levels on about so many documents of each source (0: on none).

    Raises InputError where a source gives no document.
    """
    found = [
        f'level "{level.name}": {rule.name} = {rule.bound.text()} can never fire, {rule.signal} lies within'
        for level in manifest.levels
        for rule in level.rules
        # Published profiles guard against empty documents, which readers here refuse already.
        if rule.name.rpartition(".")[0] not in manifest.profiles and _never_fires(manifest, rule)
    ]
    found += missed_pairs(manifest.pooled)
    found += dict.fromkeys([*_untrainable(manifest), *_odd_rates(manifest)])
    if not documents:
        return Lint(found)
    try:
        with silence():
            return _tried(manifest, documents, found)
    except InputError:
        raise
    except CurateError as error:
        return Lint([*found, f"tried on {documents:,} documents a source: {error}"])


def _grid(manifest: Manifest) -> list[dict]:
    return expand({k: v for k, v in manifest.grid.items() if k != "levels"})


def _untrainable(manifest: Manifest) -> Iterator[str]:
    """Sizes that the batch which follows from the depth is too large for: they can be built, not trained on."""
    for setting in _grid(manifest):
        if wrong := wrong_batch(manifest.sizes, setting):
            yield f"[grid]: batch is not given, and {wrong}; else there are corpora and no runs"


def _odd_rates(manifest: Manifest) -> Iterator[str]:
    """Learning rates so far from what is usual at their width that runs diverge, or stay where they begin."""
    knobs = _grid(manifest) + [trial.knobs for trials in outline(manifest).values() for trial in trials]
    for setting in knobs:
        width = ModelConfig.of(setting.get("model", {}), vocabulary=257, end=256).width
        given = OptimizerConfig.of(setting.get("optimizer", {}))
        for name, rate in (
            ("learning_rate", "peak_rate"),
            ("embedding_learning_rate", "peak_embedding_rate"),
        ):
            mine, usual = (getattr(one, rate)(width) for one in (given, OptimizerConfig(given.name)))
            if getattr(given, name) is not None and not 1 / FAR_RATE < mine / usual < FAR_RATE:
                times = max(mine / usual, usual / mine)
                how, ends = ("more", "diverge") if mine > usual else ("less", "hardly learn")
                what = (
                    f"{times:,.0f} times {how} than is usual at width {width}, {usual:.2g}: runs will {ends}"
                )
                yield f"optimizer.{name} = {mine:g} is {what}"


def _never_fires(manifest: Manifest, rule: Rule) -> bool:
    owner = signals_of(manifest.families | manifest.pooled).get(rule.signal)
    if owner is None or rule.bound.labels or rule.bound.top or rule.bound.by_language:
        return False
    signals = {s.name: s for s in family_of(owner, (manifest.families | manifest.pooled)[owner]).signals}
    signal = signals[rule.signal]
    if signal.low is None or signal.high is None or signal.empty is None:
        return False  # labels, and what is null somewhere: a null keeps no document
    return rule.bound.low <= signal.low and rule.bound.high >= signal.high and math.isfinite(signal.low)


def _tried(manifest: Manifest, documents: int, found: list[str]) -> Lint:
    with tempfile.TemporaryDirectory() as folder:
        a = annotate_sample(Store(Path(folder)), manifest, open_engine("local", 1), documents)
        levels = [funnel(judged, a.pool) for judged in a.judged.values()]
        kept = {level["name"]: level["documents"] for level in levels}
        warnings = [
            f"tried on {len(a.pool):,} documents: {warning}" for warning in nearly_all(levels, len(a.pool))
        ]
        newlines = [
            f'source "{name}": in {share:.0%} of documents tried lines end in \\r\\n, so blank lines count as repeated '
            'ones; newlines = "unix" in that source reads them as \\n'
            for name, share in foreign_newlines(a.pool).items()
        ]
        return Lint([*found, *newlines, *warnings], len(a.pool), kept)


def foreign_newlines(pool: Pool) -> dict[str, float]:
    """{source: share of its documents whose lines end in "\\r\\n"}, where it is worth saying: to filters that split at
    "\\n", blank lines are then equal lines of text."""
    returns = np.concatenate(
        [pc.match_substring(part.table(["text"])["text"], "\r\n").to_numpy() for part in pool.parts]
    )
    count = np.bincount(pool.source, minlength=len(pool.sources)).clip(1)
    shares = np.bincount(pool.source, returns, len(pool.sources)) / count
    return {
        name: share for name, share in zip(pool.sources, shares.tolist(), strict=True) if share > WORTH_SAYING
    }
