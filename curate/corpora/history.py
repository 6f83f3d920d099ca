"""Versions of locks: what git knows of them, and what lies on disk now."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from curate.corpora.lock import check_shape
from curate.errors import CurateError
from curate.store import lock_digest

ENDING = ".lock.json"


@dataclass(frozen=True)
class Version:
    """A lock as it was: `commit` and `date` are empty where it lies on disk and was not committed."""

    path: Path
    lock: dict
    digest: str
    commit: str = ""
    date: str = ""
    subject: str = ""

    @property
    def label(self) -> str:
        return f"{self.lock['name']}@{self.digest[:12]}"

    def is_called(self, wanted: str) -> bool:
        """By the beginning of its digest, of its commit, or of the digest of one of its corpora."""
        names = (self.digest, self.commit, *(corpus["digest"] for corpus in self.lock["corpora"]))
        return bool(wanted) and any(name.startswith(wanted) for name in names)


def committed(folder: Path) -> list[Version]:
    """Every version of every lock in the history of the repository that holds this folder, on all branches, the newest
    first; none where there is no git or no repository."""
    top = _git(folder, "rev-parse", "--show-toplevel").decode(errors="surrogateescape").strip()
    if not top:
        return []
    raw_log = _git(Path(top), "-c", "core.quotePath=false", "log", "--all", "--raw", "--no-abbrev", "--no-renames", "-m",
                "--format=commit%x09%H%x09%cI%x09%s", "--", f"*{ENDING}")  # fmt: skip
    found: dict[tuple[str, Path], Version] = {}
    for line in raw_log.decode(errors="surrogateescape").splitlines():
        kind, *rest = line.split("\t")
        if kind == "commit":
            about = [*rest, "", "", ""][:3]
        elif line.startswith(":") and (lock := _blob(Path(top), kind.split()[3])) is not None:
            one = Version(Path(top) / rest[0], lock, lock_digest(lock), *about)
            found.setdefault((one.digest, one.path), one)  # of merges and cherry-picks the newest
    return list(found.values())


@cache
def _blob(top: Path, name: str) -> dict | None:
    """The lock in this object; None where it is none, or was deleted."""
    return _read(_git(top, "cat-file", "blob", name))


def on_disk(paths: list[Path]) -> Iterator[Version]:
    """The locks in these files; what is none is passed over."""
    for path in paths:
        if path.is_file() and (lock := _read(path.read_bytes())) is not None:
            yield Version(path, lock, lock_digest(lock))


def named(name: str, folder: Path) -> list[Version]:
    """Versions of one lock, by its name or its path, the newest first; what lies on disk uncommitted before them.

    Raises CurateError.
    """
    path = (folder / name).absolute()
    path = path.with_suffix(ENDING) if path.suffix == ".toml" else path
    by_path = path.name.endswith(ENDING)
    history = committed(path.parent if by_path and path.parent.is_dir() else folder)
    mine = [v for v in history if (v.path.resolve() == path.resolve() if by_path else v.lock["name"] == name)]
    places = [path] if by_path else sorted({one.path for one in mine} or folder.rglob(f"{name}{ENDING}"))
    known = {one.digest for one in mine}
    mine = [one for one in on_disk(places) if one.digest not in known] + mine
    if not mine:
        names = sorted({one.lock["name"] for one in history})
        hint = f"the history has {', '.join(names)}" if names else "commit locks to git to have their history"
        raise CurateError(f"{name}: no lock of this name here, and none in the history of git; {hint}")
    return mine


def _read(raw: bytes) -> dict | None:
    try:
        lock = json.loads(raw)
        check_shape(lock)
    except (ValueError, RecursionError):
        return None
    return lock


def _git(folder: Path, *arguments: str) -> bytes:
    """What git answers; nothing where it fails, or is not installed."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True)
    except OSError:
        return b""
    return done.stdout if done.returncode == 0 else b""
