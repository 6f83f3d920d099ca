"""What a store holds, for which locks, and what may go: `curate ls` and `curate gc`.

A build keeps account of every artefact that it read or wrote, under the digest of its lock (`Store.remember`). Locks live
in the history of git, where they were written, or in a list; what no living lock was made of may be made again, or is of no
use. Corpora are known by their digests too, so those of a lock that was built elsewhere stay.
"""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.claims import CLAIMS, is_locked
from curate.commands.summary import table
from curate.corpora.corpus import RECORD
from curate.corpora.corpus import STAGE as CORPORA
from curate.corpora.history import Version, committed, on_disk
from curate.duplicates.index_folder import RECORD as INDEX_RECORD
from curate.errors import CurateError
from curate.quantities import short_bytes
from curate.store import IN_USE, LOCKS, Damaged, Store, listed, read_record, remembered
from train.files import alone
from train.records import CELL_LOCK

KEY = re.compile(r"[0-9a-f]{64}")
TRAINED = ("packed", "runs")
FOLDERS = (CORPORA, *TRAINED)  # stages of which every entry is a folder
OTHERS = (LOCKS, CLAIMS, "tracking")  # that hold no artefacts
SHOWN = (CORPORA, "runs", "tokenizers")  # stages that are listed one by one


@dataclass
class Entry:
    """An artefact: its files, with inode, links and bytes, since corpora share theirs with shards."""

    stage: str
    name: str
    files: list[tuple[str, int, int, int]] = field(default_factory=list)
    used_by: list[str] = field(default_factory=list)  # labels of locks

    @property
    def id(self) -> str:
        return f"{self.stage}/{self.name}"


@dataclass
class Kept:
    """A store looked at: artefacts in order, and the locks that live."""

    store: Store
    entries: list[Entry]
    locks: list[Version]
    indexes: dict[Path, list[str]]  # folder -> labels of locks
    accounted: set[str]  # what any lock was made of, living or not

    def unused(self) -> list[Entry]:
        """Runs cost hours: one that no account names, such as a sweep's, or of before accounts were kept, stays."""
        return [
            e for e in self.entries if not e.used_by and (e.stage not in TRAINED or e.id in self.accounted)
        ]


def look(store: Store, listed: Iterable[Path] = ()) -> Kept:
    """`listed`: locks, or text files that name a lock a line. Raises CurateError where one of them is not there."""
    accounts = store.folder(LOCKS).glob("*.json")
    records = {path.stem: remembered(path, "it counts for nothing") for path in accounts}
    written = [Path(place) for record in records.values() for place in record.get("lock", ())]
    living = [*committed(Path.cwd()), *on_disk([*written, *_named(listed)])]
    entries = list(_entries(store))
    users: dict[str, set[str]] = {}
    corpora = {}
    for entry in entries:
        with suppress(Damaged, OSError):
            if entry.stage == CORPORA:
                corpora[read_record(store.folder(CORPORA) / entry.name / RECORD)["digest"]] = entry.id
    indexes: dict[Path, list[str]] = {}
    for lock in {version.digest: version for version in reversed(living)}.values():
        mine = records.get(lock.digest, {}).get("used", [])
        theirs = [corpora[corpus["digest"]] for corpus in lock.lock["corpora"] if corpus["digest"] in corpora]
        for name in {*mine, *theirs}:
            users.setdefault(name, set()).add(lock.label)
        for index in _indexes(lock):
            indexes.setdefault(index, []).append(lock.label)
    for entry in entries:
        entry.used_by = sorted(users.get(entry.id, ()))
    accounted = {name for record in records.values() for name in record.get("used", ())}
    return Kept(store, entries, living, indexes, accounted)


def _named(paths: Iterable[Path], inside: tuple[Path, ...] = ()) -> Iterator[Path]:
    for path in paths:
        if not path.is_file():
            raise CurateError(f"{path}: no such file; name locks, or a file that names a lock a line")
        if path.suffix == ".json":
            yield path
        elif path in inside:
            raise CurateError(f"{path}: it names itself, or a list that does; name locks")
        else:
            lines = listed(path, "a lock")
            yield from _named((path.parent / line for line in lines), (*inside, path))


def _indexes(lock: Version) -> Iterator[Path]:
    """Folders that its manifest names as indexes, and that are there."""
    named = tomllib.loads(lock.lock["manifest"]["text"]).get("signals", {}).get("index", [])
    for name in [named] if isinstance(named, str) else named:
        folder = lock.path.parent / str(name)
        if (folder / INDEX_RECORD).is_file():
            yield folder.resolve()


def _entries(store: Store) -> Iterator[Entry]:
    """Every artefact of the store. Folders below a stage that are none themselves are stages: signals/words."""
    top = store.root.iterdir() if store.root.is_dir() else ()
    waiting = sorted((path for path in top if path.is_dir() and path.name not in OTHERS), reverse=True)
    while waiting:
        folder = waiting.pop()
        stage, found = str(folder.relative_to(store.root)), dict[str, Entry]()
        for path in os.scandir(folder):
            is_folder = path.is_dir()
            key = path.name if stage in FOLDERS and is_folder else (KEY.match(path.name) or [""])[0]
            if key and not path.name.endswith(".tmp"):
                files = _files(path.path) if is_folder else [path]
                found.setdefault(key, Entry(stage, key)).files += map(_size, files)
            elif is_folder and stage not in FOLDERS:
                waiting.append(folder / path.name)
        yield from (found[key] for key in sorted(found))


def _files(folder: str) -> Iterator[os.DirEntry]:
    for path in os.scandir(folder):
        yield from _files(path.path) if path.is_dir(follow_symlinks=False) else [path]


def _size(path: os.DirEntry) -> tuple[str, int, int, int]:
    status = path.stat(follow_symlinks=False)
    return path.path, status.st_ino, status.st_nlink, status.st_size


def disk(entries: Iterable[Entry], all_links: bool = False) -> int:
    """Bytes of these artefacts, shared files once; `all_links`: only of files that nothing else links to."""
    links: dict[int, list[int]] = {}
    for entry in entries:
        for _, inode, count, size in entry.files:
            links.setdefault(inode, [0, count, size])[0] += 1
    return sum(size for seen, count, size in links.values() if seen >= count or not all_links)


def collect(
    store: Store, listed: Iterable[Path] = (), delete: bool = False
) -> tuple[Kept, list[Entry], list[str]]:
    """(the store before, artefacts that no living lock was made of, the runs that a process trains now, which stay with
    everything that is packed). The store is looked at when nobody can write to it any more.

    Raises CurateError where something is to be deleted while a command works with the store.
    """
    lock = alone(store.root / IN_USE, lambda: True) if delete and store.root.is_dir() else nullcontext(True)
    with lock as free:
        if not free:
            raise CurateError(f"{store.root}: another command works with this store; try when it has ended")
        kept = look(store, listed)
        going = kept.unused()
        busy = [entry.id for entry in going if is_locked(store.root / entry.id / CELL_LOCK)]
        if busy:
            going = [entry for entry in going if entry.id not in busy and entry.stage != "packed"]
        if delete:
            living = {version.digest for version in kept.locks}
            for entry in going:
                _remove(store, entry)
            shutil.rmtree(store.folder(CLAIMS), ignore_errors=True)  # of killed processes, and what failed
            for path in store.folder(LOCKS).glob("*.json"):
                if path.stem not in living and not busy:  # what stays is accounted for
                    path.unlink(missing_ok=True)
    return kept, going, busy


def _remove(store: Store, entry: Entry) -> None:
    """Its receipt or record first: nothing half-removed is taken for whole."""
    folder = store.folder(entry.stage)
    (folder / f"{entry.name}.json").unlink(missing_ok=True)
    (folder / entry.name / RECORD).unlink(missing_ok=True)
    for path, *_ in entry.files:
        with suppress(FileNotFoundError):
            os.unlink(path)
    shutil.rmtree(folder / entry.name, ignore_errors=True)


# ---- answers ------------------------------------------------------------------------------------------------


def ls_answer(kept: Kept) -> tuple[dict, str]:
    """(JSON, text): corpora, runs, tokenizers and indexes one by one, the rest by stage."""
    listed: list[dict[str, Any]] = [
        {"kind": entry.stage, "name": entry.name, "bytes": disk([entry]), "used_by": entry.used_by}
        for entry in kept.entries if entry.stage in SHOWN
    ] + [
        {"kind": "index", "name": str(folder), "bytes": sum(f.stat().st_size for f in folder.iterdir()), "used_by": users}
        for folder, users in sorted(kept.indexes.items())
    ]  # fmt: skip
    stages, total = _by_stage(kept.entries), disk(kept.entries)
    for stage, row in stages.items():
        row["unused"] = sum(e.stage.partition("/")[0] == stage and not e.used_by for e in kept.entries)
    rows = [[r["kind"], r["name"], short_bytes(r["bytes"]), ", ".join(r["used_by"]) or "-"] for r in listed]
    text = f"{table(rows, ['kind', 'name', 'size', 'used by'])}\n\n" + _stages_text(stages, "used by no lock")
    text += f"{kept.store.root}: {short_bytes(total)} on disk, what corpora share counted once"
    return {"listed": listed, "stages": stages, "bytes": total}, text


def gc_answer(kept: Kept, going: list[Entry], busy: list[str], deleted: bool) -> tuple[dict, str]:
    """(JSON, text): what goes, or would."""
    stages, size = _by_stage(going, True), disk(going, True)
    locks = sorted({version.label for version in kept.locks})
    of = f"{len(going):,} artefacts, {short_bytes(size)}, that none of {len(locks)} locks was made of"
    text = _stages_text(stages) if going else ""
    text += "".join(f"stays, since a process works with it: {name}\n" for name in busy)
    text += f"removed: {of}" if deleted else f"would go: {of}; --delete removes them"
    answer = {"deleted": deleted, "bytes": size, "artefacts": len(going), "stages": stages, "in_use": busy}
    return answer | {"locks": locks}, text


def _stages_text(stages: dict[str, dict], *more: str) -> str:
    rows = [
        [stage, f"{row['artefacts']:,}", short_bytes(row["bytes"]), *(f"{row['unused']:,}" for _ in more)]
        for stage, row in stages.items()
    ]
    return f"{table(rows, ['stage', 'artefacts', 'size', *more])}\n\n"


def _by_stage(entries: list[Entry], all_links: bool = False) -> dict[str, dict]:
    stages: dict[str, list[Entry]] = {}
    for entry in entries:
        stages.setdefault(entry.stage.partition("/")[0], []).append(entry)
    return {s: {"artefacts": len(mine), "bytes": disk(mine, all_links)} for s, mine in stages.items()}
