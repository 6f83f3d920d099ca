"""Documents to look at: a sample of a corpus, of what a level keeps, or of what one of its rules drops.

The same seed shows the same documents, on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.corpora.corpus import corpus_record, open_arrow
from curate.corpora.selection import KEPT, Judged
from curate.engine import Engine
from curate.errors import CurateError, did_you_mean
from curate.manifest.reader import load_manifest
from curate.sources.pool import Pool
from curate.spec.manifest import DUPLICATE
from curate.steps import annotate_all
from curate.store import Store

EXCERPT = 400  # characters


@dataclass
class Shown:
    what: str
    documents: int  # of which these are a sample
    sample: list[dict]

    def as_json(self) -> dict:
        return vars(self)


def show_corpus(folder: Path, count: int, seed: int, characters: int) -> Shown:
    """A sample of a corpus directory. Raises CurateError where it is none."""
    record = corpus_record(folder)
    table = open_arrow(folder)
    rows = _sample(np.arange(len(table)), count, seed)
    columns = ["id", "source", "place", "tokens", "text"]
    found = table.select(columns).take(pa.array(rows)).to_pylist() if len(rows) else []
    sample = [document | {"text": _excerpt(document["text"], characters)} for document in found]
    return Shown(f"{record['level']} {record['size']}", len(table), sample)


def show_level(
    store: Store, path: Path, level: str | None, rule: str | None, engine: Engine, count: int, seed: int,
    characters: int,
) -> Shown:  # fmt: skip
    """A sample of what a level (the last one where none is named) keeps, or of what this rule drops in it."""
    manifest = load_manifest(path)
    level = manifest.level_named(level).name
    a = annotate_all(store, manifest, engine)
    judged = a.judged[level]
    number = KEPT if rule is None else _number(judged, rule)
    rows = a.pool.ordered(judged.verdict == number)
    chosen = _sample(rows, count, seed)
    sample = [shown(a.pool, int(row), characters) for row in chosen]
    if number == KEPT:
        return Shown(f"kept by {level}", len(rows), sample)
    dropping = judged.rules[number][1]
    if dropping.signal != DUPLICATE:
        column = a.values.of(dropping)
        for row, document in zip(chosen, sample, strict=True):
            document |= {"signal": dropping.signal, "value": column[int(row)].as_py()}
    return Shown(f"dropped by {dropping.name} = {dropping.bound.text()} in {level}", len(rows), sample)


def _number(judged: Judged, wanted: str) -> int:
    """Which rule of a level is meant: its whole name, or the signal where only one rule bounds that."""
    names = [rule.name for _, rule in judged.rules]
    fits = [k for k, name in enumerate(names) if wanted in (name, name.rpartition(".")[2])]
    if len(fits) == 1:
        return fits[0]
    hint = (
        f": {', '.join(names[k] for k in fits)}; give its whole name" if fits else did_you_mean(wanted, names)
    )
    what = "several rules" if fits else "no such rule"
    raise CurateError(f'--rule {wanted}: {what} in level "{judged.level.name}"{hint}')


def shown(pool: Pool, row: int, characters: int = EXCERPT) -> dict[str, Any]:
    """{id, source, place, text} of a document of the pool, its text cut to so many characters."""
    document = pool.document(row, ["id", "source", "place", "text"])
    return document | {"text": _excerpt(document["text"], characters)}


def _excerpt(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[:characters]} [... {len(text) - characters:,} more]"


def _sample(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """So many of these rows, in their order."""
    chosen = np.random.default_rng(seed).permutation(len(rows))[:count]
    return rows[np.sort(chosen)]
