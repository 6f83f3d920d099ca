"""What every later step starts from: documents with their signals, judged; then tokens, corpora and the lock."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.corpora.corpus import Corpus, cut
from curate.corpora.holdout import Holdouts
from curate.corpora.selection import Judged
from curate.corpora.tokenization import Tokens
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
    rows: dict[str, np.ndarray]  # by level: of the pool, in its order, without what is held out
    tokens: dict[str, Tokens]  # by level: of its text after its edits; levels with the same edits share one
    corpora: list[Corpus]
    lock: dict
    lock_path: Path


def token_shares(built: Built, level: str, tokens: int) -> tuple[float, ...] | None:
    """By source: its share of the level's first `tokens` tokens; None where the level has fewer."""
    pool, level_tokens = built.annotated.pool, built.tokens[level]
    corpus = cut(pool, built.rows[level], level_tokens, (tokens,))
    if not corpus.ends:
        return None
    rows = corpus.rows[: corpus.ends[tokens]]
    counts = np.bincount(pool.source[rows], level_tokens.count[rows], len(pool.sources))
    return tuple(float(x) for x in counts / counts.sum())


def largest_shares(built: Built, level: str, tokens: int) -> np.ndarray:
    """By source: the share that it can have of so many tokens without repeating."""
    a = built.annotated
    rows = np.flatnonzero(a.everything[level].kept & ~built.holdouts.held)
    return np.bincount(a.pool.source[rows], built.tokens[level].count[rows], len(a.pool.sources)) / tokens
