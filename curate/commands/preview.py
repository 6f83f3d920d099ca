"""The questions of a manifest answered by trigrams, in seconds: which level is worth more, before any model is trained.

A trigram of word pieces learns from what a run of each level and size would read, for a dozen draws of documents, and is
scored on the same holdouts and targets. What it says of levels is what statistics of three tokens say: a model may
differ, above all where text is worth more to whoever remembers more than two tokens. Where the manifest has runs, the
preview says how often it orders two levels as they do.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from curate.commands.summary import table
from curate.corpora.built import Built
from curate.corpora.draws import Reading, block
from curate.engine import Engine
from curate.results.answers import holdout_answers
from curate.results.trigram import MOST, texts_among, trigram_nats
from curate.results.tuning import tuned
from curate.results.words import figure_text, statement
from curate.spec.manifest import Manifest
from curate.store import Store

DRAWS = 12


def preview(store: Store, manifest: Manifest, engine: Engine, draws: int = DRAWS) -> dict[str, Any]:
    """{"statements", "holdouts": as in a report, "draws", "agreement": [agreeing, all] pairs of levels with the
    manifest's runs}. Builds what is not built; trains nothing."""
    from curate.runs.cells import grid_cells, records, scored_on
    from curate.steps import build

    manifest.check_trains()
    wide = replace(manifest, most_seeds=max(draws, manifest.most_seeds))
    built = build(store, wide, engine, record=False)
    judges = texts_among({name: path for name, (path, _) in scored_on(built).items()})
    with ThreadPoolExecutor(engine.workers) as threads:  # kernels let go of the interpreter
        runs = list(threads.map(partial(_trigram_run, judges), _readings(built, draws)))
    holdouts = {name: holdout_answers(name, built.lock, runs) for name in judges} if runs else {}
    trained = [run for run in tuned(records(grid_cells(built)))[0] if "losses" in run]
    return {
        "draws": draws,
        "statements": [text for name, one in holdouts.items() if (text := statement(name, one))],
        "holdouts": holdouts,
        "agreement": _agreement(runs, trained, list(judges)),
    }


@dataclass(frozen=True)
class _Reading:
    """What a run of one level and size would read: document i is tokens[documents[i]:documents[i + 1]]."""

    level: str
    size: int
    draw: int
    shared: float
    tokens: np.ndarray
    documents: np.ndarray
    end: int
    vocabulary: int


def _readings(built: Built, draws: int) -> Iterator[_Reading]:
    from train.tokens import load_tokenizer
    from train.tokens.bpe import end_id, vocabulary_of

    a = built.annotated
    sizes = [size for size in a.manifest.sizes if size <= MOST]
    reading = Reading(draws, max(sizes, default=1))
    for level in a.manifest.grid["levels"]:
        tokens = built.tokens[level]
        tokenizer = load_tokenizer(tokens.tokenizer)
        end, vocabulary = end_id(tokenizer), vocabulary_of(tokenizer)
        for draw in range(draws):
            read = block(a.pool, built.units[level], tokens, sizes, draw, reading)
            if not read.ends:
                continue
            units = read.units.take(slice(max(read.ends.values())))
            text = np.concatenate(list(tokens.of(units, end)))
            documents = np.concatenate([[0], np.cumsum(units.lengths(tokens.count))])
            for size in read.ends:
                yield _Reading(level, size, draw, read.shared, text, documents, end, vocabulary)


def _trigram_run(judges: dict[str, Path], read: _Reading) -> dict:
    """As the record of a run."""
    from train.tokens import Packed

    nats = trigram_nats(read.tokens, read.documents, read.size, read.end, read.vocabulary, judges)
    losses = {}
    for name, path in judges.items():
        meta, total = Packed.open(path).meta, float(nats[name].sum())
        losses[name] = {
            "nats_per_token": total / meta["tokens"],
            "bits_per_byte": total / np.log(2) / meta["bytes"],
            "tokens": meta["tokens"],
            "documents": len(nats[name]),
        }
    holdouts = {name: str(path) for name, path in judges.items()}
    about = {
        "level": read.level,
        "size": read.size,
        "seed": read.draw,
        "tags": {},
        "documents_shared": read.shared,
    }
    return about | {"losses": losses, "nats": nats, "cell": {"holdouts": holdouts}}


def _agreement(previews: list[dict], trained: list[dict], judges: list[str]) -> list[int]:
    """[agreeing, all] pairs of two levels at one size on one holdout, by means over draws and seeds."""
    both = [0, 0]
    for name in judges:
        ours, theirs = _means(previews, name), _means(trained, name)
        for size in {size for _, size in ours}:
            levels = [level for level, other in ours if other == size and (level, size) in theirs]
            for a, b in combinations(levels, 2):
                signs = {np.sign(means[a, size] - means[b, size]) for means in (ours, theirs)}
                both = [both[0] + (len(signs) == 1), both[1] + 1]
    return both


def _means(runs: list[dict], name: str) -> dict[tuple[str, int], float]:
    losses: dict[tuple[str, int], list[float]] = {}
    for run in runs:
        if name in run["losses"]:
            losses.setdefault((run["level"], run["size"]), []).append(run["losses"][name]["nats_per_token"])
    return {where: float(np.mean(some)) for where, some in losses.items()}


def preview_text(seen: dict) -> str:
    rows = [
        [name, level, *(figure_text(p["mean"], p["low"], p["high"]) for p in one["points"])]
        for name, holdout in seen["holdouts"].items()
        for level, one in holdout["levels"].items()
    ]
    every: list[list[int]] = [holdout["sizes"] for holdout in seen["holdouts"].values()]
    sizes = max(every, key=len, default=[])
    lines = [table(rows, ["judged on", "level", *(f"{size:,} tokens" for size in sizes)]), ""]
    lines += seen["statements"]
    lines.append(
        f"By trigrams of {seen['draws']} draws of documents, in nats per token; no model was trained."
    )
    agreeing, pairs = seen["agreement"]
    if pairs:
        lines.append(
            f"The runs of this manifest order {agreeing} of {pairs} pairs of levels in the same way."
        )
    return "\n".join(lines)
