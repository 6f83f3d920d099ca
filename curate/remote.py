"""A store in an object store: objects below a URL, and a folder of this machine beside them, the cache.

Whatever builds or trains reads and writes in the cache, as in any folder. It is never stale: what a key names never changes.
A part or a folder is fetched when it is first opened, compared with its receipt, and renamed into place. What is made is
sent file by file, its receipt last: what has none does not exist. Two machines that make the same send the same bytes, so it
does not matter who is last, and a put needs no condition.

The cache has a bound: parts that were used longest ago make room. What was just used stays, and so does what a folder of the
cache shares or nobody could fetch again; who has opened a part reads on.

The receipt of a folder, `packed/KEY.json`, names size, checksum and object of every file: hard links of a corpus are the
objects of its shards.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from curate.addresses import check_no_secret
from curate.errors import CurateError
from curate.quantities import parse_count
from train.files import Damaged, atomic, check_of, compare, read_record, write_record

T = TypeVar("T")

CACHE = "CURATE_CACHE"  # variable of the environment: the folder of all caches
CACHE_SIZE = (
    "CURATE_CACHE_SIZE"  # another: the bytes of a store's cache; else what leaves a tenth of its disk free
)
RECENT = 60.0  # seconds since it was used, for which a part stays
MARK = "store.json"  # of a store: that it is one; of its cache: the URL
PAUSES = (0.1, 0.4, 1.6, 6.4)  # seconds between attempts, about
AT_ONCE = 16  # requests
OURS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # of this machine's disk
IN_CACHE = re.compile(r"(?:.*/)?(store-[0-9a-f]{32})/(.+)", re.S)
OF_AN_ARTEFACT = re.compile(r"(?P<stage>.+)/(?P<key>[0-9a-f]{64})[-./].*|packed/[^/]+/tokenizer\.json")
NAMED = re.compile(r"^(packed|runs)/[^/]*-([0-9a-f]{12})(?=/|$|\.json$)")  # whoever asks first names them

_remotes: dict[Path, Remote] = {}


def remote_of(url: str) -> Remote:
    """Raises CurateError where the URL holds a secret, or is of no file system that is known."""
    url = url.rstrip("/")
    cache = _caches() / f"store-{hashlib.sha256(url.encode()).hexdigest()[:32]}"
    if cache not in _remotes:
        _remotes[cache] = Remote(url, cache)
    return _remotes[cache]


def _caches() -> Path:
    usual = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "curate"
    return Path(os.environ.get(CACHE) or usual).expanduser().absolute()


def remote_at(path: Path | str) -> Remote | None:
    """The store in whose cache a path is, on this machine or another; None for any other path."""
    found = IN_CACHE.fullmatch(str(path))
    if found is None:
        return None
    cache = _caches() / found[1]
    with suppress(FileNotFoundError):
        return _remotes.get(cache) or remote_of(read_record(cache / MARK)["url"])
    return None


def here(path: Path | str) -> Path:
    """This file or folder of a store on this machine, fetched where it is not; any other path as it is. Raises
    CurateError."""
    remote = remote_at(path)
    return remote.bring(path) if remote else Path(path)


def receipt_of(path: Path) -> dict[str, Any] | None:
    """Of a folder that can be fetched; else None."""
    remote = remote_at(path)
    with suppress(FileNotFoundError):
        return remote.record(path.with_name(f"{path.name}.json")) if remote else None
    return None


def keep_folder(path: Path, links: Mapping[str, str] | None = None, **facts: Any) -> None:
    """Send a finished folder of a store, its receipt last. `links`: file -> the part whose bytes it shares."""
    remote, links, files = remote_at(path), links or {}, {}
    if remote is None or receipt_of(path):
        return
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        name = str(file.relative_to(path))
        files[name] = check_of(file) | {"object": remote.name(links.get(name, file))}
        if name not in links:
            remote.put(remote.name(file), file)
    remote.keep_record(path.with_name(f"{path.name}.json"), {"files": files, **facts})


def at_once(function: Callable[[Any], T], items: Iterable) -> list[T]:
    """[function(item) for item in items], where each waits for the network."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(function, items))


def link(existing: str | Path, new: str | Path) -> None:
    try:
        os.link(existing, new)
    except OSError:  # another file system, or one without links
        shutil.copyfile(existing, new)


class Remote:
    def __init__(self, url: str, cache: Path) -> None:
        import fsspec

        self.url, self.cache = url, cache
        try:
            check_no_secret(url)
            self.system, self.top = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:  # without a secret that is in it
            raise CurateError(f"--store: {error}") from None
        try:
            self.most = parse_count(given) if (given := os.environ.get(CACHE_SIZE)) else 0
        except ValueError as error:
            raise CurateError(f"{CACHE_SIZE}: {error}") from None
        self.came = 0  # bytes, since room was made
        if not (cache / MARK).exists():
            write_record(cache / MARK, {"url": url})

    # ---- Objects ------------------------------------------------------------------------------------------

    def read(self, name: str) -> bytes | None:
        """A small object; None where there is none."""
        return self._tried("read", name, self.system.cat_file, or_none=True)

    def put(self, name: str, content: Path | bytes) -> None:
        def send(place: str) -> None:
            if not self.system.async_impl:  # as those of object stores are, which have no folders
                self.system.makedirs(place.rpartition("/")[0], exist_ok=True)
            if isinstance(content, bytes):
                self.system.pipe_file(place, content)
            else:
                self.system.put_file(str(content), place)

        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        for _ in PAUSES:
            self._tried("written", name, send)
            if self._tried("read", name, self.system.size) == size:
                return
        raise self._failed("written", name, "only a part of it arrives")

    def keys(self, stage: str) -> list[str]:
        """What has a receipt. One that is new may be missing."""
        found = self._tried("listed", stage, partial(self.system.find, maxdepth=1), or_none=True) or []
        return sorted(name.rpartition("/")[2][: -len(".json")] for name in found if name.endswith(".json"))

    def delete(self, name: str) -> None:
        self._tried("deleted", name, self.system.rm_file, or_none=True)

    def check(self) -> None:
        """That it can be read and written, said before hours of work. Raises CurateError."""
        if self.read(MARK) is None:
            self.put(MARK, b"{}")

    def _tried(self, what: str, name: str, do: Callable[[str], Any], or_none: bool = False) -> Any:
        """Object stores are busy, cut connections, and may not know for a while what they were given: so a few attempts,
        with growing pauses that are never the same on two machines."""
        for pause in (*PAUSES, 0):
            try:
                return do(f"{self.top.rstrip('/')}/{name}")
            except Exception as error:  # each file system has its own
                if or_none and isinstance(error, FileNotFoundError):
                    return None
                if isinstance(error, OSError) and error.errno in OURS:
                    raise
                last = error
            time.sleep(pause * (0.5 + random.random()))
        raise self._failed(what, name, last) from last

    def _failed(self, what: str, name: str, reason: object) -> CurateError:
        first = (str(reason).strip() or type(reason).__name__).splitlines()[0]
        fix = "check the address, the rights and the network; the same command continues from here"
        return CurateError(f"{self.url}/{name}: cannot be {what}: {first}; {fix}")

    # ---- Between objects and the cache --------------------------------------------------------------------

    def name(self, path: Path | str) -> str:
        """Of the object that a path in a cache is of. Runs and packed tokens are known by their keys alone."""
        return NAMED.sub(r"\1/\2", str(self.own(path).relative_to(self.cache)))

    def own(self, path: Path | str) -> Path:
        """The same path in the cache of this machine."""
        return self.cache / IN_CACHE.sub(r"\2", str(path))

    def record(self, path: Path) -> dict[str, Any]:
        """A record, such as a receipt, kept in the cache. Raises FileNotFoundError where there is none, or half of one."""
        for _ in range(2):  # what is damaged is fetched again
            if not path.exists():
                content = self.read(self.name(path))
                if content is None:
                    break
                with atomic(path, durable=False) as temporary:
                    temporary.write_bytes(content)
                    os.utime(temporary, (0, 0))  # nobody knows here when it was made
            with suppress(Damaged):
                return read_record(path)
            path.unlink(missing_ok=True)
        raise FileNotFoundError(path)

    def keep_record(self, path: Path, record: dict[str, Any]) -> None:
        """Send it, then keep it in the cache: what is there has been sent."""
        with atomic(path) as temporary:
            write_record(temporary, record)
            self.put(self.name(path), temporary)

    def bring(self, path: Path | str) -> Path:
        own = self.own(path)
        found = OF_AN_ARTEFACT.fullmatch(str(own.relative_to(self.cache)))
        if found is None:
            return self._bring_folder(own)
        with suppress(FileNotFoundError):
            os.utime(own, ns=(time.time_ns(), own.stat().st_mtime_ns))
            return own
        folder = self.cache / found["stage"] if found["stage"] else own.parent.parent
        receipt = folder / f"{found['key'] or own.parent.name}.json"
        try:
            parts = {folder / part["name"]: part for part in self.record(receipt)["parts"]}
            self._fetch(self.name(own), own, parts[own])
        except (FileNotFoundError, KeyError):
            raise self._failed("read", self.name(own), "no receipt names it") from None
        except CurateError:
            if self.read(MARK) is not None:  # it is gone, or not what was sent: so it is made again
                self.delete(self.name(receipt))
                receipt.unlink(missing_ok=True)
            raise
        return own

    def _fetch(self, name: str, path: Path, check: dict[str, Any]) -> None:
        def get(place: str) -> None:
            with atomic(path, durable=False) as temporary:
                self.system.get_file(place, str(temporary))
                compare(temporary, check)

        self._tried("read", name, get)
        self.make_room(check["bytes"])

    def make_room(self, size: int) -> None:
        """Called when so many bytes more lie in the cache."""
        self.came += size
        if self.came < (self.most or shutil.disk_usage(self.cache).free) / 10:
            return
        self.came, parts = 0, []
        for path in self.cache.rglob("*.arrow"):
            found = OF_AN_ARTEFACT.fullmatch(str(path.relative_to(self.cache)))
            with suppress(FileNotFoundError):  # another process makes room too
                if found and (self.cache / found["stage"] / f"{found['key']}.json").exists():
                    status = path.stat()
                    if status.st_nlink == 1:
                        parts.append((status.st_atime, status.st_size, path))
        total, disk = sum(part[1] for part in parts), shutil.disk_usage(self.cache)
        bound = self.most or total + disk.free - disk.total // 10
        for used, size, path in sorted(parts):
            if total <= bound * 0.9 or used > time.time() - RECENT:
                return
            path.unlink(missing_ok=True)
            total -= size

    def _bring_folder(self, own: Path) -> Path:
        files = (receipt_of(own) or {"files": {}})["files"]
        is_whole = lambda there: all((there / name).exists() for name in files)  # noqa: E731
        if is_whole(own):
            return own
        with atomic(own, is_whole) as temporary:
            for name, file in files.items():
                target = temporary / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if self.name(own / name) == file["object"]:
                    self._fetch(file["object"], target, file)
                else:
                    link(self.bring(self.cache / file["object"]), target)
        return own
