"""What every later step starts from: documents with their signals, judged; then tokens, corpora and the lock."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from curate.corpora.corpus import Corpus
from curate.corpora.draws import Reading, block
from curate.corpora.holdout import Holdouts
from curate.corpora.selection import Judged
from curate.corpora.targets import TargetTexts
from curate.corpora.tokenization import Tokens
from curate.corpora.units import Units
from curate.engine import Engine
from curate.signals.annotate import Signals
from curate.signals.values import Values
from curate.sources.documents import SourceDocuments
from curate.sources.pool import Pool
from curate.spec.manifest import Manifest
from curate.store import Store


@dataclass
class Annotated:
    """Documents with their signals, judged by every level."""

    manifest: Manifest
    store: Store
    engine: Engine
    sources: list[SourceDocuments]
    pool: Pool
    signals: Signals
    values: Values
    judged: dict[str, Judged]  # the manifest's levels
    everything: dict[str, Judged]  # and those that are derived for studies


@dataclass
class Built:
    """Corpora, and all that they were made of."""

    annotated: Annotated
    holdouts: Holdouts
    targets: dict[str, TargetTexts]
    rows: dict[str, np.ndarray]  # by level: of the pool, in its order, without what is held out
    units: dict[str, Units]  # by level: what its runs read, in their order
    tokens: dict[str, Tokens]  # by level: of its text after its edits; levels with the same edits share one
    corpora: list[Corpus]
    lock: dict
    lock_path: Path
    # Once training has packed them:
    packed_holdouts: dict[str, tuple[Path, str]] = field(default_factory=dict)
    packed_apart: dict[str, tuple[Path, str]] = field(default_factory=dict)  # by level


def written(built: Built, level: str) -> np.ndarray:
    """bool [documents of the pool]: those that a corpus of the level holds, or that it keeps and loss is measured on."""
    a, holdouts = built.annotated, built.holdouts
    found = np.zeros(len(a.pool), bool)
    for rows in (*holdouts.rows.values(), *holdouts.apart.values()):
        found[rows] = a.judged[level].kept[rows]
    most = max((corpus.documents for corpus in built.corpora if corpus.level == level), default=0)
    found[built.rows[level][:most]] = True
    return found


def token_shares(built: Built, level: str, tokens: int) -> tuple[float, ...] | None:
    """By source: its share of the level's first `tokens` tokens; None where the level has fewer."""
    pool, level_tokens = built.annotated.pool, built.tokens[level]
    first = block(pool, built.units[level], level_tokens, (tokens,), 0, Reading(1, tokens))
    if not first.ends:
        return None
    units = first.units.take(slice(first.ends[tokens]))
    counts = np.bincount(pool.source[units.row], units.lengths(level_tokens.count), len(pool.sources))
    return tuple(float(x) for x in counts / counts.sum())


def largest_shares(built: Built, level: str, tokens: int) -> np.ndarray:
    """By source: the share that it can have of so many tokens without repeating."""
    pool, units = built.annotated.pool, built.units[level]
    lengths = units.lengths(built.tokens[level].count)
    return np.bincount(pool.source[units.row], lengths, len(pool.sources)) / tokens


def pool_tokens(built: Built, levels: tuple[str, ...], tokens: int) -> dict[str, int]:
    """What every level leaves of the part of the raw pool that has `tokens` of the first, by its share of bytes."""
    judged, pool = built.annotated.everything, built.annotated.pool
    kept = {level: pool.bytes_of(judged[level].stays) for level in levels}
    return {level: round(tokens * kept[level] / kept[levels[0]]) for level in levels}
