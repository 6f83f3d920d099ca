"""The order of steps from sources to corpora and their lock.

`Built` holds what each step gave, so that training, the report and `explain` go on from there. Every
step looks into the store first: building what is built already takes as long as looking.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from pathlib import Path

import numpy as np

from curate.corpora.built import Annotated, Built
from curate.corpora.corpus import WHOLE, Cut, build_corpora, cut, size_label
from curate.corpora.draws import in_pieces
from curate.corpora.holdout import RUN, Holdouts, hold_out
from curate.corpora.lock import lock_facts, write_lock
from curate.corpora.selection import judge
from curate.corpora.targets import open_targets
from curate.corpora.tokenization import Tokens, make_tokenizer, tokenize
from curate.corpora.units import Units, whole
from curate.duplicates.pooled import measure_pool, preferring
from curate.duplicates.rehydration import copies_of, in_order
from curate.engine import EVERYTHING, Engine
from curate.errors import ManifestError, Unfinished
from curate.progress import say
from curate.quantities import short_count
from curate.signals import custom
from curate.signals.annotate import Signals, annotate
from curate.signals.edits import edited
from curate.signals.models import make_models
from curate.signals.values import Values
from curate.sources.documents import STAGE, SourceDocuments, Task, look_for, read_sample, read_sources
from curate.sources.pool import Pool, open_pool
from curate.spec.manifest import Manifest
from curate.store import Store, noting
from curate.studies import registry


def annotate_all(store: Store, manifest: Manifest, engine: Engine) -> Annotated:
    """Sources to documents, signals and verdicts."""
    look_for([*manifest.others, *(target.source for target in manifest.targets)])
    _load_code(manifest)
    try:
        sources = read_sources(store, manifest.sources, manifest.part_bytes, engine)
    except Unfinished as rest:
        _measure_ahead(store, manifest, engine, rest.own)
        raise
    return _annotated(store, manifest, engine, sources)


def _measure_ahead(store: Store, manifest: Manifest, engine: Engine, read: list[Task]) -> None:
    """What a share has read it measures, though others are not done reading. Not where ids of documents are the
    source's: parts may lose documents whose ids stand in others."""
    parts = [
        part
        for task in read if not task.source.id and task.source in manifest.sources
        for part in store.parts(STAGE, store.made(STAGE, task.key))
    ]  # fmt: skip
    alone = copy(engine)
    alone.share = EVERYTHING
    annotate(store, _plain(manifest), parts, alone)


def _plain(manifest: Manifest) -> dict[str, dict]:
    """Families without a recipe: they need no model of the manifest's documents."""
    return {n: p for n, p in manifest.families.items() if n not in manifest.recipes}


def annotate_sample(store: Store, manifest: Manifest, engine: Engine, documents: int) -> Annotated:
    """The same on about so many documents of each source."""
    _load_code(manifest)
    sources = [read_sample(store, source, manifest.part_bytes, documents) for source in manifest.sources]
    return _annotated(store, manifest, engine, sources)


def _load_code(manifest: Manifest) -> None:
    try:
        custom.load_all(manifest.families)
    except ValueError as error:
        raise ManifestError(f"{manifest.path}, {error}") from None


def _annotated(store: Store, manifest: Manifest, engine: Engine, sources: list[SourceDocuments]) -> Annotated:
    pool = open_pool(sources, manifest.draw)
    signals = _signals(store, manifest, pool, engine)
    if manifest.prefer:
        pool = preferring(pool, signals, manifest.prefer)
    values = Values(pool, signals, engine)
    measure_pool(manifest.pooled, values)
    everything = judge(manifest, values)
    judged = {level.name: everything[level.name] for level in manifest.levels}
    return Annotated(manifest, store, engine, sources, pool, signals, values, judged, everything)


def _signals(store: Store, manifest: Manifest, pool: Pool, engine: Engine) -> Signals:
    """All families: those without a recipe first, since models are made of documents chosen by their values."""
    families = _plain(manifest)
    signals = annotate(store, families, pool.parts, engine)
    if not manifest.recipes:
        return signals
    size = manifest.part_bytes
    read = {some: read_sources(store, some, size, engine) for some in dict.fromkeys(manifest.beside.values())}
    beside = {family: read[some] for family, some in manifest.beside.items()}
    targets = [target.source for target in manifest.targets]
    asked = any(
        "target" in (s or ()) for r in manifest.recipes.values() for s in r.get("samples", {}).values()
    )
    likened = open_pool(read_sources(store, targets, manifest.part_bytes, engine)) if asked else None
    models, facts = make_models(store, manifest, pool, Values(pool, signals, engine), beside, likened)
    signals = annotate(store, families | models, pool.parts, engine)
    for name, learned in facts.items():
        signals.models[name] |= learned
    return signals


def build(
    store: Store, manifest: Manifest, engine: Engine, record: bool = True, lock_path: Path | None = None
) -> Built:
    """Sources to corpora. Writes the lock, beside the manifest where no other place is named; not with `record` off,
    for a trial."""
    with noting() as used:
        built = _build(store, manifest, engine, record, lock_path or manifest.lock_path)
    if record:
        store.remember(built.lock, built.lock_path, used)
    return built


def _build(store: Store, manifest: Manifest, engine: Engine, record: bool, lock_path: Path) -> Built:
    a = annotate_all(store, manifest, engine)
    holdouts = hold_out(manifest, a.sources, a.values, a.judged)
    targets = open_targets(manifest, a.values)
    free = ~(holdouts.held | targets.held)
    rows = {name: _in_order(a, name, judged.kept & free) for name, judged in a.everything.items()}
    units = _units(a, rows)
    tokens = _tokens(a, free, rows, units, holdouts)
    sizes = (*manifest.sizes, *([WHOLE] if manifest.whole_levels else []))
    cuts = {name: cut(rows[name], tokens[name], sizes) for name in a.judged}
    if not any(c.ends for c in cuts.values()):
        raise ManifestError(_too_small(manifest, tokens, cuts))
    corpora = build_corpora(store, manifest, a.pool, tokens, cuts, engine)
    small = [
        *a.pool.foreign,
        *(f'level "{name}" has too little text for {", ".join(map(size_label, level.missing))} tokens'
          for name, level in cuts.items() if level.missing),
        *_small_holdouts(manifest, holdouts, tokens),
        *_shared_spans(a, holdouts),
    ]  # fmt: skip
    studies = registry.as_json(manifest)
    facts = lock_facts(a, holdouts, targets, tokens, corpora, rows, studies, small)
    lock = write_lock(lock_path, facts) if record else facts
    for warning in lock["warnings"]:
        say(f"warning: {warning}")
    return Built(a, holdouts, targets.texts, rows, units, tokens, corpora, lock, lock_path)


def _shared_spans(a: Annotated, holdouts: Holdouts) -> Iterator[str]:
    for name in holdouts.rows:
        shares = holdouts.shares & a.judged[name].kept
        if shares.any():
            part = a.pool.bytes[shares].sum() / a.pool.bytes[a.judged[name].kept].sum()
            yield (
                f'{int(shares.sum()):,} documents of level "{name}" ({part:.1%} of its text) share a run of {RUN} words '
                "with what is held out: part of what is measured there is memory"
            )


def _small_holdouts(manifest: Manifest, holdouts: Holdouts, tokens: dict[str, Tokens]) -> Iterator[str]:
    for name, rows in holdouts.rows.items():
        held = int(tokens[name].count[rows].sum())
        if held < manifest.holdout.tokens // 2:
            yield (
                f'the holdout of level "{name}" has {held:,} tokens, not {short_count(manifest.holdout.tokens)}: '
                "at most half of a level is held out"
            )


def _too_small(manifest: Manifest, tokens: dict[str, Tokens], cuts: dict[str, Cut]) -> str:
    if not manifest.sizes:
        return f"{manifest.path}: every document of its levels resembles a target; add other text"
    most = {name: int(tokens[name].count[c.rows].sum()) for name, c in cuts.items()}
    largest = max(most, key=lambda name: most[name])
    return (
        f"{manifest.path}, [sizes]: no level fills {short_count(min(manifest.sizes))} tokens; the largest, "
        f'"{largest}", has {most[largest]:,} besides the holdouts; ask for smaller sizes or more text'
    )


def _in_order(a: Annotated, level: str, usable: np.ndarray) -> np.ndarray:
    """Rows of the pool in the order of a level, several times where it has weights."""
    weights = a.everything[level].level.weights
    if not weights:
        return in_order(a.pool, usable)
    size = a.values.column("duplicate_cluster_size").to_numpy()
    return in_order(a.pool, usable, copies_of(weights, size))


def _units(a: Annotated, rows: dict[str, np.ndarray]) -> dict[str, Units]:
    """By level: what its runs read. Sizes of pieces are those of the text before edits."""
    pieces = a.manifest.pieces
    if not pieces:
        return {name: whole(mine) for name, mine in rows.items()}
    return {name: in_pieces(a.pool, mine, a.pool.bytes, pieces) for name, mine in rows.items()}


def _tokens(
    a: Annotated,
    free: np.ndarray,
    rows: dict[str, np.ndarray],
    units: dict[str, Units],
    holdouts: Holdouts,
) -> dict[str, Tokens]:
    """By level; each text is encoded once for all levels that edit it in the same way. `free` bool [documents]: neither
    held out nor like a target."""
    manifest = a.manifest
    edits = {level.name: level.edits for level in (*manifest.levels, *manifest.derived)}
    chosen = manifest.tokenizer.train_on or manifest.levels[0].name
    first = edited(edits[chosen], a.signals)
    tokenizer = make_tokenizer(a.store, manifest, a.pool, a.everything[chosen].kept & free, first)
    shared = {}
    for recipe in dict.fromkeys(edits.values()):
        names = [name for name in rows if edits[name] == recipe]
        wanted = [(whole(rows[n]), size) for n in names if n in a.judged for size in manifest.sizes[-1:]]
        wanted += [(units[name], manifest.read_tokens) for name in names]
        wanted += [
            (units[name].take(a.pool.source[units[name].row] == number), manifest.read_tokens)
            for name in names if name in manifest.mixed
            for number in range(len(a.pool.sources))
        ]  # fmt: skip
        held = [mine for drawn in (holdouts.rows, holdouts.apart)
                for name, mine in drawn.items() if edits[name] == recipe]  # fmt: skip
        held += [rows[name] for name in names if manifest.whole_levels and name in a.judged]
        text = edited(recipe, a.signals)
        shared[recipe] = tokenize(a.store, a.pool, tokenizer, wanted, held, a.engine, text)
    return {name: shared[recipe] for name, recipe in edits.items()}
