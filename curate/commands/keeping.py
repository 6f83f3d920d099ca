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

from curate.corpora.corpus import RECORD
from curate.corpora.corpus import STAGE as CORPORA
from curate.corpora.history import Version, committed, on_disk
from curate.duplicates.index_folder import RECORD as INDEX_RECORD
from curate.errors import CurateError
from curate.quantities import short_bytes
from curate.store import IN_USE, LOCKS, Damaged, Store, read_json, read_record, remembered
from train.files import alone

KEY = re.compile(r"[0-9a-f]{64}")
TRAINED = ("packed", "runs")
FOLDERS = (CORPORA, *TRAINED)  # stages of which every entry is a folder
OTHERS = (LOCKS, "tracking")  # that hold no artefacts
CELL, CELL_LOCK = "cell.json", "cell.lock"


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

    @property
    def unused(self) -> list[Entry]:
        """Runs cost hours: one that no account names, such as a sweep's, or of before accounts were kept, stays."""
        return [
            entry for entry in self.entries
            if not entry.used_by and (entry.stage not in TRAINED or entry.id in self.accounted)
        ]  # fmt: skip


def look(store: Store, listed: Iterable[Path] = (), folder: Path | None = None) -> Kept:
    """`listed`: locks, or text files that name a lock a line. Raises CurateError where one of them is not there."""
    records = {
        path.stem: remembered(path, "it counts for nothing") for path in store.folder(LOCKS).glob("*.json")
    }
    written = [Path(place) for record in records.values() for place in record.get("lock", ())]
    living = [*committed(folder or Path.cwd()), *on_disk([*written, *_named(listed)])]
    entries = list(_entries(store))
    users: dict[str, set[str]] = {}
    corpora = {_digest(store, entry): entry.id for entry in entries if entry.stage == CORPORA}
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


def _named(listed: Iterable[Path]) -> Iterator[Path]:
    for path in listed:
        if not path.is_file():
            raise CurateError(f"{path}: no such file; name locks, or a file that names a lock a line")
        if path.suffix == ".json":
            yield path
        else:
            lines = path.read_text(encoding="utf-8").splitlines()
            yield from _named(path.parent / line.strip() for line in lines if line.strip())


def _digest(store: Store, entry: Entry) -> str:
    try:
        return read_record(store.folder(CORPORA) / entry.name / RECORD)["digest"]
    except (Damaged, OSError):
        return ""


def _indexes(lock: Version) -> Iterator[Path]:
    """Folders that its manifest names as indexes, and that are there."""
    named = tomllib.loads(lock.lock["manifest"]["text"]).get("signals", {}).get("index", [])
    for name in [named] if isinstance(named, str) else named:
        folder = lock.path.parent / str(name)
        if (folder / INDEX_RECORD).is_file():
            yield folder.resolve()


def _entries(store: Store) -> Iterator[Entry]:
    """Every artefact of the store. Folders below a stage that are none themselves are stages: signals/words."""
    waiting = sorted((path for path in _folders(store.root) if path.name not in OTHERS), reverse=True)
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


def _folders(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []


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
) -> tuple[Kept, list[Entry], list[Entry]]:
    """(the store before, artefacts that no living lock was made of, those among them that a running process uses and that
    stay). The store is looked at when nobody can write to it any more.

    Raises CurateError where something is to be deleted while a command works with the store.
    """
    with (
        alone(store.root / IN_USE, lambda: True)
        if delete and store.root.is_dir()
        else nullcontext(True) as free
    ):
        if not free:
            raise CurateError(f"{store.root}: another command works with this store; try when it has ended")
        kept, going, busy = look(store, listed), list[Entry](), list[Entry]()
        for entry in kept.unused:
            (busy if _is_trained_now(store.root / entry.id / CELL_LOCK) else going).append(entry)
        needed = {Path(path).name for entry in busy for path in _packed(store.root / entry.id / CELL)}
        busy += [entry for entry in going if entry.stage == "packed" and entry.name in needed]
        going = [entry for entry in going if entry not in busy] if busy else going
        if delete:
            for entry in going:
                _remove(store, entry)
            living = {version.digest for version in kept.locks}
            for path in store.folder(LOCKS).glob("*.json"):
                if path.stem not in living:
                    path.unlink(missing_ok=True)
    return kept, going, busy


def _is_trained_now(lock: Path) -> bool:
    if not lock.is_file():
        return False
    with alone(lock, lambda: True) as free:
        return not free


def _packed(cell: Path) -> list[str]:
    """What a cell that is being trained reads."""
    try:
        found = read_json(cell)
    except (OSError, ValueError):
        return []
    return [found.get("packed", ""), *found.get("holdouts", {}).values()]


def _remove(store: Store, entry: Entry) -> None:
    """Its receipt or record first: nothing half-removed is taken for whole."""
    folder = store.folder(entry.stage)
    (folder / f"{entry.name}.json").unlink(missing_ok=True)
    (folder / entry.name / RECORD).unlink(missing_ok=True)
    for path, *_ in entry.files:
        with suppress(FileNotFoundError):
            os.unlink(path)
    shutil.rmtree(folder / entry.name, ignore_errors=True)


# ---- as text ------------------------------------------------------------------------------------------------


SHOWN = (CORPORA, "runs", "tokenizers")  # stages that are listed one by one


def ls_json(kept: Kept) -> dict:
    rows = [
        {"kind": entry.stage, "name": entry.name, "bytes": disk([entry]), "used_by": entry.used_by}
        for entry in kept.entries if entry.stage in SHOWN
    ]  # fmt: skip
    indexes = [
        {"kind": "index", "name": str(folder), "bytes": sum(f.stat().st_size for f in folder.iterdir()), "used_by": labels}
        for folder, labels in sorted(kept.indexes.items())
    ]  # fmt: skip
    stages = {
        stage: {
            "artefacts": len(mine),
            "bytes": disk(mine),
            "unused": sum(not entry.used_by for entry in mine),
        }
        for stage, mine in _by_stage(kept.entries).items()
    }
    return {"listed": rows + indexes, "stages": stages, "bytes": disk(kept.entries)}


def ls_text(kept: Kept) -> str:
    from curate.commands.summary import table

    answer = ls_json(kept)
    listed = [
        [row["kind"], row["name"], short_bytes(row["bytes"]), ", ".join(row["used_by"]) or "no lock"]
        for row in answer["listed"]
    ]
    stages = [
        [stage, f"{row['artefacts']:,}", short_bytes(row["bytes"]), f"{row['unused']:,}"]
        for stage, row in answer["stages"].items()
    ]
    return (
        f"{table(listed, ['kind', 'name', 'size', 'used by'])}\n\n"
        f"{table(stages, ['stage', 'artefacts', 'size', 'used by no lock'])}\n\n"
        f"{kept.store.root}: {short_bytes(answer['bytes'])} on disk, what corpora share counted once"
    )


def gc_json(kept: Kept, going: list[Entry], busy: list[Entry], deleted: bool) -> dict:
    stages = {
        stage: {"artefacts": len(mine), "bytes": disk(mine, True)} for stage, mine in _by_stage(going).items()
    }
    locks = sorted({version.label for version in kept.locks})
    return {"deleted": deleted, "bytes": disk(going, True), "artefacts": len(going), "stages": stages,
            "in_use": [entry.id for entry in busy], "locks": locks}  # fmt: skip


def gc_text(answer: dict) -> str:
    from curate.commands.summary import table

    rows = [
        [stage, f"{row['artefacts']:,}", short_bytes(row["bytes"])] for stage, row in answer["stages"].items()
    ]
    busy = "".join(f"stays, since a process works with it: {name}\n" for name in answer["in_use"])
    locks = f"none of {len(answer['locks'])} locks was made of"
    of = f"{answer['artefacts']:,} artefacts, {short_bytes(answer['bytes'])}, that {locks}"
    told = f"removed: {of}" if answer["deleted"] else f"would go: {of}; --delete removes them"
    return (f"{table(rows, ['stage', 'artefacts', 'size'])}\n\n" if rows else "") + busy + told


def _by_stage(entries: list[Entry]) -> dict[str, list[Entry]]:
    stages: dict[str, list[Entry]] = {}
    for entry in entries:
        stages.setdefault(entry.stage.partition("/")[0], []).append(entry)
    return stages
