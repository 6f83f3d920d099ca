"""Where results live: a folder of artefacts, each under a key that says exactly what it is.

The key is the sha256 of everything a result depends on: the stage, its parameters, the versions of its
definitions and the digests of its inputs. So "is it done?" is "does its receipt exist?", a changed
parameter can never pick up an old result, and a killed job continues where it stopped.

An artefact is one or more files and a receipt, `KEY.json`. Files are written under a temporary name,
flushed and renamed; the receipt comes last. What has no receipt does not exist. Two writers of one key
write the same bytes, so who renames last does not matter.

A receipt is a record (`train.files`), and knows the checksum of every file. They are compared when a process first asks
for the artefact: one that is damaged does not exist either, so the step that asked makes it again.

    store/
      inputs.json          what each input file hashed to when it had this size and this time
      documents/KEY.json   KEY-00000.arrow ...
      signals/FAMILY/KEY.json, KEY.arrow
      ...

With a URL the folder is the cache of an object store (`curate.remote`): what it lacks is asked of there, and what is made
is sent there.
"""

from __future__ import annotations

import json
import mmap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from curate.claims import CLAIMS, Claim, claim, claim_path, claims, is_locked, leased
from curate.errors import CurateError, Unfinished
from curate.remote import PAUSES, Remote, at_once, here, remote_at, remote_of
from train.files import (
    SEAL,
    Damaged,
    Shared,
    atomic,
    check_of,
    compare,
    digest_of,
    file_digest,
    on_disk,
    read_json,
    read_record,
    remembered,
    say_damaged,
    write_json,
    write_record,
)

__all__ = [
    "Damaged",
    "Part",
    "Store",
    "atomic",
    "digest_of",
    "file_digest",
    "read_json",
    "read_record",
    "read_table",
    "remembered",
    "write_json",
    "write_record",
    "write_table",
]

T = TypeVar("T")

LOCKS = "locks"  # what each lock was made of
IN_USE = "in-use.lock"
_noting: list[set[str]] = []


@contextmanager
def noting() -> Iterator[set[str]]:
    """`stage/key` of every artefact that is read or written in this process meanwhile."""
    noted: set[str] = set()
    _noting.append(noted)
    try:
        yield noted
    finally:
        del _noting[next(i for i, one in enumerate(_noting) if one is noted)]


def lock_digest(lock: dict) -> str:
    """By which a version of a lock is known: of all that it says."""
    return digest_of(json.loads(json.dumps(lock)))


def listed(path: Path, what: str) -> list[str]:
    """Lines of a list of a user, blank ones left out. Raises CurateError where it is no text."""
    try:
        if not on_disk(path):
            raise OSError("no file")
        return list(filter(None, map(str.strip, path.read_text(encoding="utf-8-sig").splitlines())))
    except (OSError, UnicodeDecodeError) as error:
        raise CurateError(f"{path}: {error}; name a file in UTF-8, {what} a line") from None


def write_table(path: Path, table: pa.Table, *, stream: bool = False) -> None:
    """Arrow IPC: the file format (random access by memory map), or the stream format that `datasets` reads."""
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with pa.OSFile(str(path), "wb") as sink, new(sink, table.schema) as writer:
        writer.write_table(table)


def read_table(path: Path | str, columns: list[str] | None = None, scattered: bool = False) -> pa.Table:
    """Memory-mapped: nothing is read until it is touched. `scattered`: nor what lies around it."""
    source: Any = pa.memory_map(str(path))
    if scattered:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        mapped.madvise(mmap.MADV_RANDOM)
        source = pa.py_buffer(mapped)
    table = pa.ipc.open_file(source).read_all()
    return table.select(columns) if columns else table


@dataclass(frozen=True)
class Part:
    """One file of an artefact: `digest` is the sha256 of its bytes, `xxh3` what they are compared with when it is read."""

    path: str
    rows: int
    bytes: int
    digest: str
    xxh3: str

    @staticmethod
    def of(path: Path, rows: int) -> Part:
        check = check_of(path)
        return Part(str(path), rows, check["bytes"], file_digest(path), check[SEAL])

    def compare(self) -> None:
        """Raises Damaged where its bytes are not those that were written. Read for that once a process."""
        compare(here(self.path), {"bytes": self.bytes, SEAL: self.xxh3})

    def table(self, columns: list[str] | None = None, scattered: bool = False) -> pa.Table:
        """Compared first, since Arrow trusts what it maps. Raises CurateError."""
        try:
            self.compare()
        except (Damaged, FileNotFoundError):  # or gone, while another process cleans up
            raise CurateError(str(Damaged(self.path))) from None
        return read_table(here(self.path), columns, scattered)


def brought(parts: Sequence[Part]) -> None:
    """Let these be on this machine: together, since each is waited for where it is fetched."""
    if parts and remote_at(parts[0].path):
        at_once(here, [part.path for part in parts])


def open_store(where: Path | str, waits: bool = True, makes: bool = True) -> Store:
    """A folder; or, with a URL, an object store and its cache on this machine. Raises CurateError."""
    if "://" not in str(where):
        return Store(Path(where), waits, makes)
    remote = remote_of(str(where))
    return Store(remote.cache, waits, makes, remote.url)


@dataclass(frozen=True)
class Store:
    root: Path
    waits: bool = True  # for another process that makes what is next; else Unfinished is raised
    makes: bool = True  # what is not there; else Unfinished is raised
    url: str = ""  # of an object store, of which `root` is the cache

    def __reduce__(self):  # its cache is that of the machine where it is opened
        return open_store, (self.url or self.root, self.waits, self.makes)

    @property
    def remote(self) -> Remote | None:
        return remote_of(self.url) if self.url else None

    def each(self, function: Callable[[Any], T], items: Iterable) -> list[T]:
        """[function(item) for item in items], where each looks into the store."""
        return at_once(function, items) if self.url else [function(item) for item in items]

    def folder(self, stage: str) -> Path:
        return self.root / stage

    def receipt_path(self, stage: str, key: str) -> Path:
        return self.folder(stage) / f"{key}.json"

    def receipt(self, stage: str, key: str) -> dict | None:
        """What was written under this key; None where it is not there, or damaged, which is said. Parts that are not on
        this machine are fetched, and compared, when they are opened."""
        path = self.receipt_path(stage, key)
        try:
            receipt = self.remote.record(path) if self.remote else read_record(path)
            if receipt.get("key", key) != key:  # it is that of another artefact
                raise Damaged(path)
            for part in self.parts(stage, receipt):
                path = Path(part.path)
                if not self.url or path.exists():
                    part.compare()
        except FileNotFoundError:
            return None
        except Damaged:
            if self.url:
                say_damaged(path, "it is fetched again")
                path.unlink(missing_ok=True)
                return self.receipt(stage, key)
            say_damaged(path, "it is made again")
            return None
        self.note(stage, key)
        return receipt

    def made(self, stage: str, key: str) -> dict:
        """The receipt of what has just been made. Raises CurateError where it cannot be read back."""
        receipt = self.receipt(stage, key)
        pauses = iter(PAUSES if self.url else ())  # another machine wrote it, which may not be known yet
        while receipt is None and (pause := next(pauses, None)):
            time.sleep(pause)
            receipt = self.receipt(stage, key)
        if receipt is None:
            raise CurateError(
                f"{self.receipt_path(stage, key)}: not what was just written; look after the disk, or name another "
                "folder with --store"
            )
        return receipt

    def made_part(self, stage: str, key: str) -> Part:
        """The one file of what has just been made."""
        return self.parts(stage, self.made(stage, key))[0]

    def claim(self, stage: str, key: str, waits: bool | None = None) -> AbstractContextManager[None]:
        """While no other process makes this. Raises Unfinished."""
        if not self.makes:
            raise Unfinished(f"{stage} is next: {key}")
        waits = self.waits if waits is None else waits
        return claim(self.root / CLAIMS, f"{stage}-{key}", waits, self.remote)

    def is_claimed(self, stage: str, key: str) -> bool:
        """Whether another process makes this."""
        is_ours = is_locked(claim_path(self.root / CLAIMS, f"{stage}-{key}"))
        return is_ours or bool(self.remote and leased(self.remote, f"{stage}-{key}"))

    def claims(self) -> list[Claim]:
        """What is worked on now, and what failed and was not tried again."""
        others = [leased(self.remote, name) for name in self.remote.keys(CLAIMS)] if self.remote else []
        return claims(self.root / CLAIMS) + [one for one in others if one]

    def once(self, stage: str, key: str, make: Callable[[], dict]) -> dict:
        """The receipt under this key; where there is none, `make` leaves it, in one process at a time."""
        receipt = self.receipt(stage, key)
        if receipt is None:
            with self.claim(stage, key):
                receipt = self.receipt(stage, key) or make()
        return receipt

    def finish(self, stage: str, key: str, parts: list[Part], **facts: Any) -> dict:
        """Write the receipt: from here on the artefact exists."""
        folder = self.folder(stage)
        own = self.remote.own if self.remote else Path  # another machine may have written it
        rows = [vars(part) | {"name": str(own(part.path).relative_to(folder))} for part in parts]
        receipt = {
            "key": key,
            "parts": [{k: v for k, v in row.items() if k != "path"} for row in rows],
            **facts,
        }
        keep = self.remote.keep_record if self.remote else write_record
        keep(self.receipt_path(stage, key), receipt)
        self.note(stage, key)
        return receipt

    def note(self, stage: str, name: str) -> None:
        """Tell whoever is `noting` that this artefact was read or written."""
        for noted in _noting:
            noted.add(f"{stage}/{name}")

    def account(self, digest: str) -> dict:
        """What is known of a lock by its digest: name, `used`, `lock` (where it lies), `published` (addresses)."""
        record = self.folder(LOCKS) / f"{digest}.json"
        remote = self.remote.read(self.remote.name(record)) if self.remote else None
        if remote:  # other machines may have added to it
            with atomic(record, durable=False) as temporary:
                temporary.write_bytes(remote)
        return remembered(record)

    def remember(
        self, lock: dict, path: Path, used: Iterable[str] = (), published: Iterable[str] = ()
    ) -> None:
        """Keep account of what a lock was made of, for `curate gc`, and where it was published; what is known of it
        already stays."""
        record = self.folder(LOCKS) / f"{lock_digest(lock)}.json"
        known, place = self.account(record.stem), str(path.absolute())
        whole = {"name": lock["name"], "used": sorted({*used, *known.get("used", ())}),
                 "lock": sorted({place, *known.get("lock", ())})}  # fmt: skip
        if places := sorted({*published, *known.get("published", ())}):
            whole["published"] = places
        if whole != known:
            (self.remote.keep_record if self.remote else write_record)(record, whole)

    def find(self, stage: str, pattern: str, sha256: str) -> Path:
        """A file of the store by its digest. Raises CurateError."""
        for key in self.remote.keys(stage) if self.remote else ():
            parts = self.parts(stage, self.receipt(stage, key) or {"parts": []})
            brought([part for part in parts if part.digest == sha256])
        for path in sorted(self.folder(stage).glob(pattern)):
            if file_digest(path) == sha256:
                self.note(stage, path.stem if path.suffix == ".model" else path.parent.name)
                return path
        what = f"{stage} {sha256[:12]}, which the lock of [base] names, is not in it"
        raise CurateError(f"{self.root}: {what}; build that lock there first")

    def occupied(self) -> Shared:
        """As long as the answer lives nothing is removed from the store."""
        return Shared(self.root / IN_USE)

    def remove(self, stage: str, key: str) -> None:
        """Forget an artefact: its receipt first, so that nothing half-removed is taken for whole."""
        receipt = self.receipt(stage, key) or {"parts": []}
        for path in (self.receipt_path(stage, key), *(Path(p.path) for p in self.parts(stage, receipt))):
            if self.remote:
                self.remote.delete(self.remote.name(path))
            path.unlink(missing_ok=True)

    def parts(self, stage: str, receipt: dict) -> list[Part]:
        folder = self.folder(stage)
        return [
            Part(str(folder / p["name"]), p["rows"], p["bytes"], p["digest"], p[SEAL])
            for p in receipt["parts"]
        ]

    def write(self, stage: str, name: str, write: Callable[[Path], int]) -> Part:
        """One file of an artefact: `write` fills it, and returns how many rows it holds."""
        path = self.folder(stage) / name
        with atomic(path) as temporary:
            part = Part.of(temporary, write(temporary))
        if self.remote:  # now, since whoever writes the receipt may be another machine
            self.remote.put(self.remote.name(path), path)
            self.remote.make_room(part.bytes)
        return replace(part, path=str(path))

    def write_part(self, stage: str, name: str, table: pa.Table, *, stream: bool = False) -> Part:
        def write(path: Path) -> int:
            write_table(path, table, stream=stream)
            return table.num_rows

        return self.write(stage, name, write)

    def file(self, stage: str, key: str, name: str, make: Callable[[Path], dict]) -> tuple[Part, dict]:
        """One file under one key: filled by `make`, which returns facts for the receipt, if it is not there. Returns it
        with its receipt."""

        def write() -> dict:
            facts: dict = {}

            def fill(path: Path) -> int:
                facts.update(make(path))
                return 0

            return self.finish(stage, key, [self.write(stage, name, fill)], **facts)

        receipt = self.once(stage, key, write)
        return self.parts(stage, receipt)[0], receipt

    def table(self, stage: str, key: str, make: Callable[[], pa.Table]) -> Part:
        """One table under one key: made if it is not there."""

        def write() -> dict:
            return self.finish(stage, key, [self.write_part(stage, f"{key}.arrow", make())])

        return self.parts(stage, self.once(stage, key, write))[0]
