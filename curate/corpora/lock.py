"""What happened: the lock beside the manifest, and checking that it still holds.

A lock holds no times, host names or paths of the store: two machines that build the same manifest from
the same files write the same lock, but for what `environment` says of them.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import math
import platform
import unicodedata
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate import __version__
from curate.corpora.built import Annotated
from curate.corpora.corpus import RECORD, Corpus, content_digest
from curate.corpora.holdout import Holdouts
from curate.corpora.selection import Judged, funnel, ledger, warnings
from curate.corpora.targets import Judges
from curate.corpora.tokenization import Tokens
from curate.duplicates.alarms import alarms, duplicates_summary, missed_pairs
from curate.duplicates.pooled import as_locked
from curate.errors import CurateError, Mismatch
from curate.remote import here, receipt_of
from curate.sources.formats.consent import RESERVED, ROBOTS, by_label
from curate.sources.pool import Pool
from curate.spec.manifest import Level
from curate.store import (
    Damaged,
    Store,
    digest_of,
    file_digest,
    lock_digest,
    read_json,
    read_record,
    write_json,
)
from train.files import on_disk

PACKAGES = ("datasets", "numba", "numpy", "pyarrow", "tokenizers", "torch", "xxhash")


def environment() -> dict:
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    unicode = unicodedata.unidata_version  # what a letter is, and upper case: also part of the signals' keys
    machine = f"{platform.system()} {platform.machine()}"
    return {"machine": machine, "python": platform.python_version(), "unicode": unicode, "packages": packages}


def lock_facts(
    a: Annotated,
    holdouts: Holdouts,
    targets: Judges,
    tokens: dict[str, Tokens],
    corpora: list[Corpus],
    rows: dict[str, np.ndarray],
    studies: dict,
    small: list[str],
) -> dict:
    """What a lock says. `studies`: what was asked of them; `small`: warnings of levels that have too little text."""
    levels = [
        funnel(judged, a.pool) | _rehydrated(judged.level, rows[name]) for name, judged in a.judged.items()
    ]
    manifest, base = a.manifest, a.manifest.base
    duplicates = duplicates_summary(a.pool, a.values)
    where_there_are_any = {
        "base": base and {"name": base["name"], "sha256": lock_digest(base)},
        "held_apart": {name: len(rows) for name, rows in holdouts.apart.items()},
        "resembles_a_target": targets.counts,
        "studies": studies,
        "duplicates": duplicates,
    }
    return {name: fact for name, fact in where_there_are_any.items() if fact} | {
        "name": manifest.name,
        "manifest": {"path": manifest.path.name, "sha256": manifest.digest, "text": manifest.text},
        "sources": {s.source.name: s.as_json() for s in a.sources},
        "models": a.signals.models,
        "signals": _without_infinities(a.signals.versions),
        "profiles": manifest.profiles,
        "pool": {name: as_locked(parameters) for name, parameters in manifest.pooled.items()},
        "prefer": list(manifest.prefer),
        "levels": levels,
        "ledger": {name: _ledger(judged, a) for name, judged in a.judged.items()},
        "holdouts": {name: _holdout(a.pool, holdouts, tokens[name], name) for name in holdouts.rows}
        | {name: texts.as_json() for name, texts in targets.texts.items()},
        "held_out": {
            "documents": int(holdouts.held.sum()),
            "similar_to_a_holdout": holdouts.similar,
            "share_50_words": int(holdouts.shares.sum()),
        },
        "tokenizer": {
            "vocabulary": manifest.tokenizer.vocabulary,
            "trained_on": manifest.tokenizer.path or manifest.tokenizer.train_on,
            "sha256": next(iter(tokens.values())).sha256,
        },
        "corpora": [corpus.as_json() for corpus in corpora],
        **(
            {"derived": {level.name: _amount(a, level.name) for level in manifest.derived}} if studies else {}
        ),
        "warnings": small
        + missed_pairs(manifest.pooled)
        + warnings(levels, len(a.pool))
        + alarms(duplicates),
    }


def _without_infinities(value: Any) -> Any:
    """JSON has none: an open side, such as that of a custom signal's range, is null."""
    if isinstance(value, dict):
        return {key: _without_infinities(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and math.isinf(value) else value


def _amount(a: Annotated, level: str) -> dict:
    stays = a.everything[level].stays
    return {"documents": stays.true_count, "bytes": a.pool.bytes_of(stays)}


def _rehydrated(level: Level, rows: np.ndarray) -> dict:
    if not level.weights:
        return {}
    return {"weights": {str(size): copies for size, copies in level.weights}, "with_copies": len(rows)}


def _ledger(judged: Judged, a: Annotated) -> dict:
    """The conservation law, from rows read to documents kept; and of these what pages and hosts say of being trained on."""
    table = ledger(judged, a.pool)
    for number, source in enumerate(a.sources):
        row = table[source.source.name]
        kept = pa.array(judged.kept & (a.pool.source == number))
        if RESERVED in source.source.columns:
            row[RESERVED] = by_label(a.pool.field(RESERVED, pa.string()).filter(kept))
        if ROBOTS in a.signals.owner:
            row[ROBOTS] = by_label(a.values.column(ROBOTS).filter(kept))
        row["failed"] = sum(entry["count"] for entry in source.failed.values())
        row["in"] += row["failed"]
        assert row["in"] == row["kept"] + row["failed"] + sum(row["dropped"].values())
    return table


def _holdout(pool: Pool, holdouts: Holdouts, tokens: Tokens, name: str) -> dict:
    rows, groups = holdouts.rows[name], holdouts.groups[name]
    return {
        "level": name,
        "documents": len(rows),
        "grouped_by": list(groups.kinds),
        "groups": len(np.unique(groups.family[rows])),
        "tokens": int(tokens.count[rows].sum()),
        "bytes": int(tokens.bytes[rows].sum()),
        "digest": digest_of(next(pool.ids_of([rows]))),
    }


def write_lock(path: Path, facts: dict) -> dict:
    """Write the lock if it changed; returns it."""
    lock = {"curate": __version__, "environment": environment(), **facts}
    try:
        if read_json(path) == lock:
            return lock
    except (OSError, ValueError):
        pass
    write_json(path, lock)
    return lock


class _Table(dict):
    """A table of a lock. Locks are edited by hand: what is asked for and not there is said of the lock."""

    def __init__(self, path: Path, table: dict):
        super().__init__(table)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise CurateError(f'{self.path}: not a lock: a table has no "{key}"; build the manifest again')


def read_lock(path: Path) -> dict:
    try:
        if path.exists() and not on_disk(path):
            raise OSError("no file; name a .lock.json")
        lock = json.loads(json.dumps(read_json(path)), object_hook=partial(_Table, path))
        check_shape(lock)
    except FileNotFoundError:
        raise CurateError(f"{path}: no lock; run `curate build` with its manifest first") from None
    except (ValueError, OSError) as error:
        raise CurateError(f"{path}: not a lock: {error}; build the manifest again") from None
    return lock


SHAPE: dict[str, type] = {
    "name": str,
    "manifest": dict,
    "sources": dict,
    "levels": list,
    "corpora": list,
    "profiles": dict,
}


def check_shape(lock: Any) -> None:
    """Raises ValueError where what is read of a lock is not there, or is not the text that its digest is of."""
    for name, kind in SHAPE.items():
        if not isinstance(lock, dict) or not isinstance(lock.get(name), kind):
            raise ValueError(f"it has no {name}")
    if not isinstance(lock.get("held_out", {}), dict):  # those of old have none
        raise ValueError("what is held out must be a table")
    if not all(
        isinstance(row, dict) for row in (*lock["sources"].values(), *lock["corpora"], *lock["levels"])
    ):
        raise ValueError("its sources, levels and corpora must be tables")
    for corpus in lock["corpora"]:
        if not all(isinstance(corpus.get(name), str) for name in ("level", "size", "digest")):
            raise ValueError("a corpus has no level, size or digest")
        if not all(type(corpus.get(name, 0)) is int for name in ("bytes", "documents", "tokens")):
            raise ValueError("what a corpus holds must be whole numbers")
    named = [row["level"] for row in lock["corpora"]] + [row.get("on") for row in lock["levels"]]
    if not {*named} <= {None, *(row.get("name") for row in lock["levels"])}:
        raise ValueError("a corpus or a level is on a level that it has not")
    asked = lock["manifest"]
    text = asked.get("text")
    if not isinstance(text, str) or hashlib.sha256(text.encode()).hexdigest() != asked.get("sha256"):
        raise ValueError("its manifest's text is not the one that its digest is of")
    if not isinstance(asked.get("path"), str):
        raise ValueError("its manifest has no path")


def corpus_directory(store: Store, corpus: dict) -> Path:
    """Where the store keeps a corpus of the lock. Raises CurateError where it is not there."""
    name = f"{corpus['level']}-{corpus['size']}-*"
    for key in fnmatch.filter(store.remote.keys("corpora"), name) if store.remote else ():
        folder = store.folder("corpora") / key
        if (receipt_of(folder) or {})["record"]["digest"] == corpus["digest"]:
            here(folder)
    for path in sorted(store.folder("corpora").glob(f"{name}/{RECORD}")):
        try:
            if read_record(path)["digest"] == corpus["digest"]:
                return path.parent
        except Damaged:
            continue
    raise CurateError(
        f"corpus {corpus['level']} {corpus['size']} ({corpus['digest'][:12]}) is not in {store.url or store.root}; "
        "build the manifest again, or name the store with --store"
    )


def missing_corpora(store: Store, lock: dict) -> dict[str, str]:
    """By digest: why a corpus of the lock is not in the store."""
    missing = {}
    for corpus in lock["corpora"]:
        try:
            corpus_directory(store, corpus)
        except CurateError as error:
            missing[corpus["digest"]] = str(error)
    return missing


def verify(store: Store, path: Path) -> list[str]:
    """What differs between a lock and the corpora in the store, every byte read; empty where nothing does."""
    lock = read_lock(path)
    missing = missing_corpora(store, lock)
    differing = list(missing.values())
    for corpus in (one for one in lock["corpora"] if one["digest"] not in missing):
        name, directory = f"corpus {corpus['level']} {corpus['size']}", corpus_directory(store, corpus)
        record = read_record(directory / RECORD)
        files = {directory / f["name"]: f["sha256"] for f in record["files"]}
        now = {file: file_digest(file) if file.exists() else "missing" for file in files}
        wrong = [f"{name}: {f} is {now[f][:12]}, not {files[f][:12]}" for f in files if now[f] != files[f]]
        if not wrong and (digest := content_digest(list(files))[0]) != corpus["digest"]:
            wrong = [f"{name}: its content is {digest[:12]}, the lock says {corpus['digest'][:12]}"]
        facts = (key for key in ("size", "budget", "documents", "bytes", "tokens") if key in corpus)
        wrong += [f"{name}: it has {key} = {record.get(key)!r}, the lock says {corpus[key]!r}"
                  for key in facts if corpus[key] != record.get(key)]  # fmt: skip
        differing += wrong[:1]
    return differing


def check(store: Store, path: Path) -> int:
    """Raises Mismatch naming everything that differs; returns the number of corpora that agree."""
    differing = verify(store, path)
    if differing:
        raise Mismatch("\n".join(differing))
    return len(read_lock(path)["corpora"])
