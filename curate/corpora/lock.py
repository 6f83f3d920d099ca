"""What happened: the lock beside the manifest, and checking that it still holds.

A lock holds no times, host names or paths of the store: two machines that build the same manifest from
the same files write the same lock, but for what `environment` says of them.
"""

from __future__ import annotations

import platform
import unicodedata
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from curate import __version__
from curate.corpora.corpus import content_digest
from curate.errors import CurateError, Mismatch
from curate.store import Store, file_digest, read_json, write_json

PACKAGES = ("datasets", "numba", "numpy", "pyarrow", "tokenizers", "torch", "xxhash")


def environment() -> dict:
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    unicode = unicodedata.unidata_version  # what a letter is, and upper case: also part of the signals' keys
    return {"python": platform.python_version(), "unicode": unicode, "packages": packages}


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


def read_lock(path: Path) -> dict:
    try:
        return read_json(path)
    except FileNotFoundError:
        raise CurateError(f"{path}: no lock; run `curate build` with its manifest first") from None
    except (ValueError, OSError) as error:
        raise CurateError(f"{path}: not a lock: {error}; build the manifest again") from None


def corpus_directory(store: Store, lock: dict, corpus: dict) -> Path:
    """Where the store keeps a corpus of the lock. Raises CurateError where it is not there."""
    for path in sorted(store.folder("corpora").glob(f"{corpus['level']}-{corpus['size']}-*/corpus.json")):
        try:
            if read_json(path)["digest"] == corpus["digest"]:
                return path.parent
        except (ValueError, KeyError, TypeError):
            continue  # a damaged record is no corpus
    raise CurateError(
        f"corpus {corpus['level']} {corpus['size']} ({corpus['digest'][:12]}) is not in {store.root}; "
        "build the manifest again, or name the store with --store"
    )


def verify(store: Store, path: Path) -> list[str]:
    """What differs between a lock and the corpora in the store, every byte read; empty where nothing does."""
    lock = read_lock(path)
    differing = []
    for corpus in lock["corpora"]:
        name = f"corpus {corpus['level']} {corpus['size']}"
        try:
            directory = corpus_directory(store, lock, corpus)
        except CurateError as error:
            differing.append(str(error))
            continue
        record = read_json(directory / "corpus.json")
        for file in record["files"]:
            found = (
                file_digest(directory / file["name"]) if (directory / file["name"]).exists() else "missing"
            )
            if found != file["sha256"]:
                differing.append(
                    f"{name}: {directory / file['name']} is {found[:12]}, not {file['sha256'][:12]}"
                )
                break
        else:
            digest, _ = content_digest([directory / file["name"] for file in record["files"]])
            if digest != corpus["digest"]:
                differing.append(
                    f"{name}: its content is {digest[:12]}, the lock says {corpus['digest'][:12]}"
                )
    return differing


def check(store: Store, path: Path) -> int:
    """Raises Mismatch naming everything that differs; returns the number of corpora that agree."""
    differing = verify(store, path)
    if differing:
        raise Mismatch("\n".join(differing))
    return len(read_lock(path)["corpora"])
