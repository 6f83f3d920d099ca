"""Input files: which ones a source names, and what they hash to.

A local file is known by the sha256 of its bytes. Hashing 100 GB again on every run would be absurd, so
the store remembers, as git's index does, what a file hashed to when it had this size, this inode and
these times. A remote file is known by what its file system vouches for (an ETag, a generation, a
checksum), a hub data set by its commit.

What a folder or a glob holds besides is left out and counted: hidden files, what editors and file managers leave
behind, links to folders (they may loop), and what curate itself has written. A path that names one of them is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from curate.claims import CLAIMS, claim
from curate.errors import InputError, NoInput
from curate.sources import globs
from curate.sources.formats import FORMATS
from curate.sources.rows import Input, note, printable
from curate.spec.manifest import Source
from curate.store import Store, digest_of, file_digest, remembered, write_record
from train.files import on_disk

LEAVINGS = re.compile(r"\..+|.*~|#.*#|~\$.*|__pycache__|__MACOSX|Thumbs\.db|desktop\.ini", re.S)
CACHE = "__pycache__"  # of a program, beside each of its folders: nobody misses it, so it is not counted
MEMORY = "inputs.json"
STORE = {MEMORY, "documents"}  # what every store that has read something holds
OUTPUTS = (
    STORE,
    {"made-from.json", "report.html"},
    {"index.json", "segment-00000.arrow"},
    {"curate.json", "README.md"},
    {"config.json", "model.safetensors"},
)  # or a report, an index, what was published, a model
VERSIONS = ("ETag", "etag", "generation", "sha256", "mtime", "LastModified", "last_modified")
LOCK = ".lock.json"
NO_FILE = ("pipe-or-device", "a pipe, a socket or a device, and no file")
BROKEN_LINK = ("broken-link", "it leads to no file")
MADE_UP = ("made-by-the-system", "no file on a disk: copy what it says to one")
OWN = "curate-output"  # of files that are left out: there are more of them with every command
WEB = ("http://", "https://")


@dataclass(frozen=True)
class Listing:
    """A source's files in the order of their names, and what was left out, by cause."""

    files: list[Input]
    left_out: dict[str, dict] = field(default_factory=dict)


def list_inputs(source: Source) -> Listing:
    """The files of a source. Raises InputError where there are none."""
    roots: dict[str, list[Input]] = {}
    left_out: dict[str, dict] = {}
    seen: set[str] = set()
    for path in source.path:
        items = roots.setdefault(path, [])
        for item in _list(source, path, left_out):
            if (identity := _identity(item.url)) not in seen:  # paths may overlap
                seen.add(identity)
                items.append(item)
    if not seen:
        what = f" matching {', '.join(source.include)}" if source.include else ""
        also = "; left out: " + left_out_text(left_out) if left_out else ""
        where = ", ".join(map(printable, source.path))
        raise NoInput(f'source "{source.name}": no file{what} at {where}; check the path{also}')
    named = _named(source, roots)
    return Listing([named[name] for name in sorted(named)], left_out)


def left_out_text(left_out: dict[str, dict]) -> str:
    """`2 hidden (.a, .b)`: how many of each cause, and some of them."""
    return ", ".join(
        f"{entry['count']:,} {cause} ({', '.join(sample['at'] for sample in entry['samples'][:3])})"
        for cause, entry in left_out.items()
    )


def _identity(url: str) -> str:
    """The same for one file that is reached through several folders; a link to a file is a file of its own."""
    url = url.removeprefix("file://")
    if "://" in url or not os.path.isabs(url) and not os.path.exists(url):
        return url
    return os.path.join(os.path.realpath(os.path.dirname(url)), os.path.basename(url))


def _named(source: Source, roots: dict[str, list[Input]]) -> dict[str, Input]:
    """{name: file}. Below several paths, names begin with as much of each path as tells them apart."""
    several = len(roots) > 1
    for length in range(20):
        named = [
            (_longer(path, item, length, several), item) for path, items in roots.items() for item in items
        ]
        if len({name for name, _ in named}) == len(named):
            return {name: replace(item, name=name) for name, item in named}
    names = [name for name, _ in named]
    twice = next(name for name in names if names.count(name) > 1)
    both = " and ".join(printable(item.url) for name, item in named if name == twice)
    raise InputError(f'source "{source.name}": {both} would both be {twice}; make them two sources')


def _longer(path: str, item: Input, length: int, several: bool) -> str:
    whole = [part for part in path.split("/") if part not in ("", ".") and not globs.MAGIC.search(part)]
    single = bool(whole) and printable(whole[-1]) == item.name  # the path is of the file itself
    length = length if single else length + several
    before = (whole[:-1] if single else whole)[-length:] if length else []
    return "/".join([*map(printable, before), item.name])


def _list(source: Source, path: str, left_out: dict) -> Iterator[Input]:
    if source.format == "hub" and not Path(path).exists():
        yield Input(path, path, 0, _hub_commit(source, path))
    elif "://" in path:
        yield from _list_remote(source, path, left_out)
    else:
        yield from _list_local(source, path, left_out)


def wanted_by(source: Source, glob: str | None) -> tuple[Callable[[str], bool], bool]:
    """(which relative paths are files of the source, whether hidden ones are among them)."""
    if glob is not None:
        return globs.matcher([glob]), globs.names_hidden([glob])
    usual = not source.include
    patterns = source.include or FORMATS[source.format].include
    include = globs.matcher(globs.anywhere(patterns), ignore_case=usual)
    exclude = globs.matcher(globs.anywhere(source.exclude), inside=True)
    return lambda name: include(name) and not exclude(name), globs.names_hidden(source.include)


def _list_local(source: Source, path: str, left_out: dict) -> Iterator[Input]:
    """A file, a folder (searched to any depth) or a glob."""
    root, glob = globs.split(path, os.path.exists)
    if not os.path.isdir(root):
        name = printable(os.path.basename(root))
        if cause := _no_file(root):
            note(left_out, cause[0], name, cause[1])
        elif os.path.exists(root):
            yield _local(root, name, os.stat(root))
        return
    if set(os.listdir(root)) >= STORE:
        raise InputError(
            f'source "{source.name}": {printable(root)} is a store of curate; name a folder beside it, or give --store'
        )
    wanted, hidden = wanted_by(source, glob)
    for entry, relative in _files(root, hidden, left_out):
        name = printable(relative)
        if not wanted(relative):
            continue
        if not hidden and LEAVINGS.fullmatch(entry.name):
            note(left_out, "hidden", name, "a hidden file")
        else:
            with suppress(FileNotFoundError):  # gone since it was listed
                yield _local(entry.path, name, entry.stat())


def _files(root: str, hidden: bool, left_out: dict) -> Iterator[tuple[os.DirEntry, str]]:
    """Files below a folder with their relative names."""
    todo = [(root, "")]
    while todo:
        folder, prefix = todo.pop()
        entries = _entries(folder)
        names = {entry.name for entry in entries}
        if prefix and any(names >= output for output in OUTPUTS):
            note(left_out, OWN, printable(prefix), "a store, a report, an index, a model, or published")
            continue
        for entry in entries:
            at = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                if hidden or not LEAVINGS.fullmatch(entry.name):
                    todo.append((entry.path, at + "/"))
                elif entry.name != CACHE:
                    cause = OWN if entry.name == ".curate" else "hidden"
                    note(left_out, cause, printable(at) + "/", "a hidden folder")
            elif entry.is_symlink() and os.path.isdir(entry.path):
                note(
                    left_out, "linked-folder", printable(at) + "/", "name it as a path of its own to read it"
                )
            elif entry.name.endswith(LOCK) and entry.name.removesuffix(LOCK) + ".toml" in names:
                note(left_out, OWN, printable(at), "a lock")
            elif not (other := _no_file(entry.path)):
                yield entry, at
            elif not LEAVINGS.fullmatch(entry.name):
                note(left_out, other[0], printable(at), other[1])


def _no_file(path: str) -> tuple[str, str] | None:
    """(cause, why) where something else than a file, or a link to one, is there; None for a file, or nothing."""
    if not os.path.isfile(path):
        return NO_FILE if os.path.exists(path) else BROKEN_LINK if os.path.islink(path) else None
    return None if on_disk(Path(path)) else MADE_UP


def _entries(folder: str) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{printable(folder)}: cannot be listed: {error.strerror}") from None


def _local(path: str, name: str, status: os.stat_result) -> Input:
    return Input(path, name, status.st_size, _stamp(status))


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"


def _list_remote(source: Source, path: str, left_out: dict) -> Iterator[Input]:
    try:
        import fsspec

        system, stripped = fsspec.core.url_to_fs(path)
        magic = re.compile(r"[*\[]") if path.startswith(WEB) else globs.MAGIC  # there, `?` begins a query
        root, glob = globs.split(stripped, system.exists, magic)
        if glob is None and not system.isdir(root):
            info = system.info(root)
            if info.get("type") == "other":
                return note(left_out, NO_FILE[0], printable(root), NO_FILE[1])
            name = os.path.basename(re.sub(r"\?.*", "", root) if path.startswith(WEB) else root)
            yield _remote(system, root, name, info)
            return
        files = system.find(root, maxdepth=globs.depth(glob) if glob else None, detail=True)
    except ImportError as error:
        raise InputError(
            f'source "{source.name}": {path}: {error}; install the file system\'s package'
        ) from None
    except Exception as error:  # each file system has its own errors; a user needs which source and why
        raise InputError(f'source "{source.name}": {path}: {error or type(error).__name__}') from error
    wanted, hidden = wanted_by(source, glob)
    folders: set[str] = set()
    for file, info in sorted(files.items()):
        name = file.removeprefix(root).strip("/")
        parts = name.split("/")
        leaving = None if hidden else next((i for i, p in enumerate(parts) if LEAVINGS.fullmatch(p)), None)
        if info.get("type", "file") != "file":
            continue
        if leaving is not None and leaving + 1 < len(parts):
            folders.add("/".join(parts[: leaving + 1]) + "/")
        elif wanted(name) and leaving is not None:
            note(left_out, "hidden", name, "a hidden file")
        elif wanted(name):
            yield _remote(system, file, name, info)
    for folder in sorted(folder for folder in folders if not folder.endswith(f"{CACHE}/")):
        note(left_out, "hidden", folder, "a hidden folder")


def _remote(system: Any, file: str, name: str, info: dict) -> Input:
    if info.get("size") is None:  # a page of links lists names alone
        info = system.info(file)
    return Input(system.unstrip_protocol(file), name, int(info.get("size") or 0), _remote_stamp(info))


def _remote_stamp(info: dict) -> str:
    key = next((key for key in VERSIONS if info.get(key)), "")
    return f"{info.get('size')}-{key}={info.get(key, '')}"


def _is_unchanged(item: Input) -> bool:
    """Whether the file says the same of itself as when it was listed; the commit of a hub data set never changes."""
    if "://" not in item.url:
        local = os.path.isabs(item.url) or os.path.lexists(item.url)
        return not local or _stamp(os.stat(item.url)) == item.stamp
    import fsspec

    system, path = fsspec.core.url_to_fs(item.url)
    system.invalidate_cache()
    info = system.info(path)
    size, _, version = item.stamp.partition("-")
    key, _, value = version.partition("=")
    return size == str(info.get("size")) and (key not in info or value == str(info[key]))


def check_unchanged(source: Source, inputs: Iterable[Input]) -> None:
    """Raises InputError where a file is no longer what was listed: what was read of it may be old, new or both."""
    for item in inputs:
        try:
            same = _is_unchanged(item)
        except Exception:  # gone, or out of reach: each file system has its own errors
            same = False
        if not same:
            raise InputError(
                f'source "{source.name}": {printable(item.url)} changed while it was read; '
                "run the command again when nothing writes to it"
            )


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


def digests(store: Store, source: Source, inputs: list[Input]) -> list[str]:
    """The digest of each input: sha256 of its bytes where it is local, of what its file system vouches for elsewhere."""
    memory = _remembered(store)
    if any(_is_new(item, memory) for item in inputs):
        # Without them nobody knows any task, so whoever is late waits. They are those of this machine, wherever the
        # store is.
        far = bool(store.url)
        with claim(store.root / CLAIMS, MEMORY, True) if far else store.claim(MEMORY, "all", waits=True):
            memory = _remembered(store)
            for item in inputs:
                if _is_new(item, memory):
                    memory[item.url] = [item.stamp, _digest(item)]
                    check_unchanged(source, [item])
            write_record(store.root / MEMORY, {"files": memory})
    return [
        memory[item.url][1] if _is_here(item) else digest_of(["remote", item.url, item.stamp])
        for item in inputs
    ]


def _remembered(store: Store) -> dict[str, list[str]]:
    return remembered(store.root / MEMORY).get("files", {})


def _is_here(item: Input) -> bool:
    return "://" not in item.url and os.path.exists(item.url)


def _is_new(item: Input, memory: dict[str, list[str]]) -> bool:
    return _is_here(item) and memory.get(item.url, [""])[0] != item.stamp


def _digest(item: Input) -> str:
    try:
        return file_digest(item.url)
    except OSError as error:
        raise InputError(f"{printable(item.url)}: cannot be read: {error.strerror}") from None


def package_versions(folder: str) -> dict[str, str]:
    """{name: version} of the Python packages installed in a folder."""
    from importlib.metadata import distributions

    return dict(sorted({d.metadata["Name"]: d.version for d in distributions(path=[folder])}.items()))
