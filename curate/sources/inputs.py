"""Input files: which ones a source names, and what they hash to.

A local file is known by the sha256 of its bytes. Hashing 100 GB again on every run would be absurd, so
the store remembers, as git's index does, what a file hashed to when it had this size, this inode and
this modification time. A remote file is known by what its file system vouches for (an ETag, a
generation, a checksum), a hub data set by its commit.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from curate.errors import InputError, NoInput
from curate.sources.formats import FORMATS
from curate.sources.rows import Input
from curate.spec.manifest import Source
from curate.store import Store, digest_of, file_digest, remembered, write_record


def list_inputs(source: Source) -> list[Input]:
    """The files of a source, in the order of their names. Raises InputError where there are none."""
    found: dict[str, Input] = {}
    for path in source.path:
        for item in _list(source, path):
            if len(source.path) > 1:  # the same name may lie below several paths
                item = replace(item, name=f"{_root_name(path)}/{item.name}")
            if found.setdefault(item.name, item).url != item.url:
                raise InputError(
                    f'source "{source.name}": {found[item.name].url} and {item.url} would both be {item.name}; '
                    "make them two sources"
                )
    if not found:
        what = f" matching {', '.join(source.include)}" if source.include else ""
        raise NoInput(f'source "{source.name}": no file{what} at {", ".join(source.path)}; check the path')
    return [found[name] for name in sorted(found)]


def _root_name(path: str) -> str:
    """The last part of a path before any glob."""
    whole = [part for part in path.rstrip("/").split("/") if not re.search(r"[*?\[]", part)]
    return whole[-1] if whole else "."


def _list(source: Source, path: str) -> Iterator[Input]:
    if source.format == "hub" and not Path(path).exists():
        yield Input(path, path, 0, _hub_commit(source, path))
    elif "://" in path:
        yield from _list_remote(source, path)
    else:
        yield from _list_local(source, path)


def _wanted(source: Source):
    def match(patterns):
        return re.compile("|".join(map(fnmatch.translate, patterns))).match if patterns else lambda name: None

    include = match(source.include or FORMATS[source.format].include)
    exclude = match(source.exclude)
    return lambda name: include(name) and not exclude(name)


def _list_local(source: Source, path: str) -> Iterator[Input]:
    """A file, a folder (searched to any depth, links not followed) or a glob. `*` in a pattern also matches `/`."""
    if os.path.isfile(path):
        yield _local(path, os.path.basename(path))
        return
    root = path
    while re.search(r"[*?\[]", root):
        root = os.path.dirname(root)
    pattern = os.path.relpath(path, root) if root != path else None
    wanted = _wanted(source) if pattern is None else re.compile(fnmatch.translate(pattern)).match
    if not os.path.isdir(root or "."):
        return
    for entry, relative in _files(root or ".", ""):
        if wanted(relative):
            status = entry.stat()
            stamp = f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"
            yield Input(entry.path, relative, status.st_size, stamp)


def _files(folder: str, prefix: str) -> Iterator[tuple[os.DirEntry, str]]:
    """Files below a folder with their relative names; compiled Python is no text, and links to folders may loop."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from _files(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file():
                yield entry, prefix + entry.name


def _local(path: str, name: str) -> Input:
    status = os.stat(path)
    return Input(path, name, status.st_size, f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}")


def _list_remote(source: Source, path: str) -> Iterator[Input]:
    import fsspec

    try:
        system, root = fsspec.core.url_to_fs(path)
        if "*" in path:
            files = {f: info for f, info in system.glob(root, detail=True).items() if info["type"] == "file"}
        elif system.isdir(root):
            wanted = _wanted(source)
            files = {
                f: i
                for f, i in system.find(root, detail=True).items()
                if wanted(f.removeprefix(root).strip("/"))
            }
        else:
            files = {root: system.info(root)}
        for file, info in files.items():
            version = next((str(info[k]) for k in ("ETag", "etag", "generation", "sha256", "mtime", "LastModified")
                            if info.get(k)), "")  # fmt: skip
            name = file.removeprefix(root).strip("/") or os.path.basename(file)
            yield Input(
                system.unstrip_protocol(file),
                name,
                int(info.get("size") or 0),
                f"{info.get('size')}-{version}",
            )
    except ImportError as error:
        raise InputError(
            f'source "{source.name}": {path}: {error}; install the file system\'s package'
        ) from None
    except Exception as error:  # each file system has its own errors; a user needs which source and why
        raise InputError(f'source "{source.name}": {path}: {error or type(error).__name__}') from error


def _hub_commit(source: Source, name: str) -> str:
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(name, revision=source.revision).sha)
    except Exception as error:  # offline, no such data set, no rights: the hub's message says which
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f'source "{source.name}": the data set {name} cannot be reached: {reason}; '
            "check its name and the network, or give the path of a local copy"
        ) from None


def digests(store: Store, inputs: list[Input]) -> list[str]:
    """The digest of each input: sha256 of its bytes where it is local, of what its file system vouches for elsewhere."""
    memory_path = store.root / "inputs.json"
    memory = remembered(memory_path).get("files", {})
    found, learnt = [], False
    for item in inputs:
        if "://" in item.url or not os.path.exists(item.url):
            found.append(digest_of(["remote", item.url, item.stamp]))
            continue
        known = memory.get(item.url)
        if not known or known[0] != item.stamp:
            known = [item.stamp, file_digest(item.url)]
            memory[item.url] = known
            learnt = True
        found.append(known[1])
    if learnt:
        write_record(memory_path, {"files": memory})
    return found


def package_versions(folder: str) -> dict[str, str]:
    """{name: version} of the Python packages installed in a folder."""
    from importlib.metadata import distributions

    return dict(sorted({d.metadata["Name"]: d.version for d in distributions(path=[folder])}.items()))
