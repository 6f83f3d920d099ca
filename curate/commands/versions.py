"""Versions of a corpus: what git's history says of a lock, an older one built or linked again, one built as it is locked,
and every verdict of a lock judged anew."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.corpora.built import Annotated, Built
from curate.corpora.corpus import link, open_arrow
from curate.corpora.history import ENDING, Version, named, on_disk
from curate.corpora.lock import corpus_directory, missing_corpora, read_lock
from curate.corpora.selection import of_clusters
from curate.engine import Engine
from curate.errors import CurateError, Mismatch
from curate.manifest.reader import parse_manifest
from curate.signals.annotate import annotate
from curate.signals.values import within
from curate.sources.documents import digest_of_files
from curate.sources.inputs import digests, list_inputs
from curate.spec.bounds import Bound
from curate.spec.manifest import DUPLICATE, Manifest
from curate.steps import annotate_all, build
from curate.store import Store, atomic, noting, write_json

MOST_DIFFERENCES = 12  # that are said
CAUSES = ("manifest", "sources", "models", "signals")  # of a lock: what decides the rest, said first
ENVIRONMENT = ("environment", "curate")  # of a lock: what machines may differ in


# ---- log ----------------------------------------------------------------------------------------------------


def log(name: str, folder: Path) -> list[dict]:
    """Versions of a lock, the newest first, each with what it changed. Raises CurateError."""
    versions = named(name, folder)
    before: list[Version | None] = [*versions[1:], None]
    return [
        {"version": one.label, "commit": one.commit, "date": one.date, "subject": one.subject,
         "levels": {level["name"]: level["documents"] for level in one.lock["levels"]},
         "corpora": {f"{c['level']} {c['size']}": c["digest"] for c in one.lock["corpora"]},
         "changed": _changes(old.lock, one.lock) if old else ["first version"]}
        for one, old in zip(versions, before, strict=True)
    ]  # fmt: skip


def _changes(old: dict, new: dict) -> list[str]:
    """In words a line each: manifest, sources, levels and corpora that are others."""
    found = ["manifest"] if old["manifest"]["sha256"] != new["manifest"]["sha256"] else []
    sources, levels, corpora = [], [], []
    for lock in (old, new):
        sources.append(
            {name: (s.get("digest"), s.get("documents", 0)) for name, s in lock["sources"].items()}
        )
        levels.append({level["name"]: ("", level["documents"]) for level in lock["levels"]})
        corpora.append({f"{c['level']} {c['size']}": c["digest"] for c in lock["corpora"]})
    for kind, pair in (("source", sources), ("level", levels)):
        found += [f"{kind} {name}{_by(*(side.get(name) for side in pair))}" for name in _differing(*pair)]
    differing = _differing(*corpora)
    return found + ([f"{len(differing)} of {len(corpora[1])} corpora"] if differing else [])


def _differing(old: dict, new: dict) -> list[str]:
    return [name for name in dict.fromkeys((*old, *new)) if old.get(name) != new.get(name)]


def _by(old: tuple | None, new: tuple | None) -> str:
    if old is None or new is None:
        return " is new" if old is None else " is gone"
    return f" {new[1] - old[1]:+,} documents" if new[1] != old[1] else " has other bytes"


def log_text(rows: list[dict]) -> str:
    when = [
        f"{row['date'][:10]} {row['commit'][:9]} {row['subject']}".strip() or "not committed" for row in rows
    ]
    heads = [f"{row['version']}  {at}" for row, at in zip(rows, when, strict=True)]
    return "\n".join("\n    ".join([head, *row["changed"]]) for head, row in zip(heads, rows, strict=True))


# ---- checkout -----------------------------------------------------------------------------------------------


def checkout(store: Store, wanted: str, out: Path | None, folder: Path, engine: Engine) -> tuple[Path, bool]:
    """(the folder of the corpora of NAME@DIGEST and their lock, whether they had to be built). Raises CurateError, and
    Mismatch where what is built is not what it was."""
    name, _, digest = wanted.rpartition("@")
    if not name:
        raise CurateError(f"{wanted}: write NAME@DIGEST, as `curate log` prints it")
    versions = [one for one in named(name, folder) if one.is_called(digest)]
    if not versions:
        raise CurateError(f"{wanted}: no version of it is called so; `curate log {name}` prints them")
    version = versions[0]
    out = out or Path(version.label)
    lock = out / f"{version.lock['name']}{ENDING}"
    if any(one.digest == version.digest for one in on_disk([lock])):
        return out, False
    if out.exists():
        raise CurateError(f"{out}: there is something else; name another folder with --out")
    built = bool(missing_corpora(store, version.lock))
    if built:
        _build_again(store, version, engine)
    with atomic(out) as temporary:
        temporary.mkdir()
        for corpus in version.lock["corpora"]:
            there = corpus_directory(store, corpus)
            shutil.copytree(there, temporary / f"{corpus['level']}-{corpus['size']}", copy_function=link)
        write_json(temporary / lock.name, version.lock)
    return out, built


def _build_again(store: Store, version: Version, engine: Engine) -> None:
    asked = version.lock["manifest"]
    manifest = parse_manifest(version.path.parent / asked["path"], asked["text"])
    built = build(store, manifest, engine, record=False)
    if missing := missing_corpora(store, version.lock):
        what = f"{version.label} cannot be built again: {len(missing)} corpora are others"
        raise Mismatch(_listed(what, differences(version.lock, built.lock)))


# ---- as it is locked ----------------------------------------------------------------------------------------


def build_locked(store: Store, manifest: Manifest, engine: Engine, lock_path: Path | None = None) -> Built:
    """Build, and write nothing but what the lock says already. Raises Mismatch that says what would differ."""
    path = lock_path or manifest.lock_path
    lock = read_lock(path)
    if lock["manifest"]["sha256"] != manifest.digest:
        raise Mismatch(f"{path}: of another text of {manifest.path}; without --locked a new lock is written")
    if differing := list(_other_sources(store, manifest, lock)):
        raise Mismatch(_listed(f"{path}: the build would differ", differing))
    with noting() as used:
        built = build(store, manifest, engine, record=False)
    if differing := differences(lock, built.lock):
        raise Mismatch(_listed(f"{path}: the build differs", differing))
    store.remember(lock, path, used)
    built.lock, built.lock_path = lock, path
    return built


def _other_sources(store: Store, manifest: Manifest, lock: dict) -> Iterator[str]:
    """Sources whose files are others: known by hashing them, before any is read."""
    for source in manifest.sources:
        inputs = list_inputs(source).files
        now = digest_of_files(inputs, digests(store, source, inputs))
        then = lock["sources"].get(source.name, {}).get("digest")
        if now != then:
            yield f"sources.{source.name}.digest: {str(then)[:12]}, now {now[:12]}"


def differences(then: Any, now: Any, path: str = "") -> list[str]:
    """Where two locks differ but for what machines may: `levels.2.documents: 359, now 360`."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = [key for key in dict.fromkeys((*CAUSES, *then, *now)) if path or key not in ENVIRONMENT]
        pairs = [(key, then.get(key), now.get(key)) for key in keys]
        return [one for key, a, b in pairs for one in differences(a, b, f"{path}.{key}".lstrip("."))]
    if isinstance(then, list) and isinstance(now, list | tuple) and len(then) == len(now):
        both = enumerate(zip(then, now, strict=True))
        return [one for n, (a, b) in both for one in differences(a, b, f"{path}.{_name(a, n)}")]
    return [] if then == now else [f"{path}: {str(then)[:40]}, now {str(now)[:40]}"]


def _name(value: Any, number: int) -> str:
    """Of an entry of a list: a corpus is called by level and size, a rule by its name."""
    about = value if isinstance(value, dict) else {}
    return " ".join(str(about[key]) for key in ("level", "size", "name", "rule") if key in about) or str(
        number
    )


def _listed(what: str, differing: list[str]) -> str:
    more = len(differing) - MOST_DIFFERENCES
    rest = [f"  and {more} more"] if more > 0 else []
    return "\n".join([f"{what}:", *(f"  {one}" for one in differing[:MOST_DIFFERENCES]), *rest])


# ---- measured and judged anew --------------------------------------------------------------------------------------------


def replay(store: Store, path: Path, engine: Engine, from_text: int = 0) -> int:
    """Judge every document again by every level, from its stored signals, with the bounds that the lock holds; returns the
    number of verdicts. So many documents `from_text` are measured again first. Raises Mismatch where a signal is another,
    a rule drops not as many of a source as then, or what a corpus holds."""
    lock = read_lock(path)
    asked = lock["manifest"]
    manifest = parse_manifest(path.parent / asked["path"], asked["text"])
    a = annotate_all(store, manifest, engine)
    if differing := list(_other_sources(store, manifest, lock)):
        raise Mismatch(_listed(f"{path}: what was read then cannot be judged again", differing))
    locked = {level["name"]: level for level in lock["levels"]}
    kept: dict[str, np.ndarray] = {}
    found = list(_other_signals(a, from_text))
    for level in manifest.levels:
        stays = kept[level.on].copy() if level.on else np.ones(len(a.pool), bool)
        for rule, then in zip(level.rules, locked[level.name]["rules"], strict=True):
            if rule.signal == DUPLICATE:
                falls = stays & ~of_clusters(rule, stays, a.values)[0]
            else:
                bound = Bound(low=then["bound"][0]) if rule.bound.top is not None else rule.bound
                falls = stays & ~within(a.values.of(rule), bound, a.values)
            stays &= ~falls
            for source, (begin, end) in zip(a.pool.sources, a.pool.source.ranges(), strict=True):
                now = int(falls[begin:end].sum())
                before = lock["ledger"][level.name][source]["dropped"].get(rule.name, 0)
                if now != before:
                    where = f"level {level.name}, source {source}"
                    found.append(f"{where}: {rule.name} drops {now:,}, then {before:,}")
        kept[level.name] = stays
    for corpus in lock["corpora"]:
        table = open_arrow(corpus_directory(store, corpus))
        passes = pc.is_in(table["id"], value_set=a.pool.ids.filter(pa.array(kept[corpus["level"]])))
        if wrong := len(passes) - pc.sum(passes).as_py():
            what = f"corpus {corpus['level']} {corpus['size']}"
            found.append(f"{what}: {wrong:,} documents that the level drops")
    if found:
        raise Mismatch(_listed(f"{path}: verdicts differ", found))
    return len(a.pool) * len(manifest.levels)


def _other_signals(a: Annotated, count: int) -> Iterator[str]:
    """Signals that the texts of the first documents, in random order, do not give again."""
    rows = np.sort(a.pool.order[:count])
    with tempfile.TemporaryDirectory() as folder:
        fresh = Store(Path(folder))
        for number, (begin, end) in enumerate(a.pool.part.ranges()):
            mine = pa.array(rows[(rows >= begin) & (rows < end)] - begin)
            if not len(mine):
                continue
            texts = a.pool.parts[number].table().take(mine).combine_chunks()
            again = annotate(
                fresh, a.signals.asked, [fresh.write_part("texts", f"{number}.arrow", texts)], a.engine
            )
            for name, family in again.owner.items():
                then = a.signals.families[family][number].table([name])[name].take(mine)
                if again.column(family, name).combine_chunks() != then.combine_chunks():
                    yield f"signal {name}: its texts give other values, of documents of part {number}"
