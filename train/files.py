"""Whole files and folders only: written to a temporary name, flushed to the disk, then renamed. And what their bytes,
or a JSON-able value, are known by, so that nothing damaged is ever taken for whole.

The one place that knows how: `curate.store` takes these from here, since `train` may take nothing from `curate`.

A *record* is a JSON object that holds a checksum of itself. A *sealed folder* is one whose record also holds size and
checksum of its other files; the record is written last. Whoever reads a record or a sealed folder compares them first:
files are read for that once a process, at some gigabytes a second. What differs raises `Damaged`.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import xxhash

if TYPE_CHECKING:
    import numpy as np

SEAL = "xxh3"  # of a record: the checksum of all else in it; of a file: of its bytes
CHECKS = "checks"  # of a sealed folder's record: file -> {bytes, xxh3}
WAIT_SECONDS = 0.1  # between two looks at a lock that another process holds
NAMES = "surrogatepass"  # names of files need not be UTF-8, and json.loads reads them so
LEFT_SECONDS = 7 * 86_400.0  # after which what another machine left half-written is no one's any more

log = logging.getLogger("curate")  # where nobody listens, Python prints a warning as one line


class Damaged(ValueError):
    """A file is not what was written, or is gone from where its record says it is."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(
            f"{path}: damaged since it was written; delete it, and the command that made it does so again"
        )
        self.path = Path(path)

    def __reduce__(self):  # so that it travels whole between processes
        return Damaged, (self.path,)


# ---- Written whole, or not at all ------------------------------------------------------------------------


@cache
def this_machine() -> str:
    """Eight letters for where a process id means something: a machine, or a container of its own ids."""
    space = os.readlink("/proc/self/ns/pid") if os.path.exists("/proc/self/ns/pid") else ""
    return xxhash.xxh32_hexdigest(f"{socket.gethostname()} {space}".encode())


def _temporary(path: Path) -> Path:
    return path.with_name(f"{path.name}.{this_machine()}-{os.getpid()}-{threading.get_ident()}.tmp")


_TEMPORARY = re.compile(r".+\.(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-\d+\.tmp")


@cache
def _clear_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder; what a living one, or one elsewhere, writes stays.

    Asked once a process of every folder that it writes to.
    """
    for entry in os.scandir(folder):
        named = _TEMPORARY.fullmatch(entry.name)
        if named is None or not _is_left(entry, named["machine"], int(named["process"])):
            continue
        _remove(Path(entry.path))


def _is_left(entry: os.DirEntry, machine: str, process: int) -> bool:
    try:
        if machine != this_machine():
            return time.time() - entry.stat(follow_symlinks=False).st_mtime > LEFT_SECONDS
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # another user's process; or the other writer has just renamed it
        return False
    return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _put_in_place(folder: Path, path: Path, is_whole: Callable[[Path], bool]) -> None:
    """Rename a folder onto `path`. Two processes may do it at once: whoever comes second leaves a whole one
    where it is, since the first may be reading it; one that is damaged goes aside."""
    aside = _temporary(path.with_name(f"{path.name}.old"))
    while True:
        try:
            return os.rename(folder, path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        if is_whole(path):
            return None
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            continue  # the other process has just moved it
        _remove(aside)


@contextmanager
def atomic(
    path: Path, is_whole: Callable[[Path], bool] = lambda path: False, *, durable: bool = True
) -> Iterator[Path]:
    """A temporary path beside `path` (file or folder), renamed onto it if the block succeeds, else removed.

    A folder that another process has put there meanwhile stays if `is_whole` says so; else it is replaced. `durable`:
    a file is on the disk before it appears.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(path.parent.absolute())
    temporary = _temporary(path)
    try:
        yield temporary
        if temporary.is_dir():
            _put_in_place(temporary, path, is_whole)
        else:
            if durable:
                with open(temporary, "rb") as file:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        _remove(temporary)


def write_whole(path: Path, write: Callable[[IO[bytes]], object], *, durable: bool = True) -> None:
    """Let `write` fill a file that appears under `path` only once it is complete."""
    with atomic(path, durable=durable) as temporary, open(temporary, "wb") as file:
        write(file)


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Raises ValueError for NaN and infinities, which JSON has not."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode(errors=NAMES)), durable=durable)


def write_array(path: Path, array: np.ndarray) -> None:
    import numpy as np

    write_whole(path, lambda file: np.save(file, array))


def on_disk(path: Path) -> bool:
    """Whether it is a file, and none that a kernel makes up as it is read: such as /proc/kcore takes no room on a disk that
    has none, says that it is empty or huge, and may have no end."""
    with suppress(OSError):
        status = path.stat()
        made_up = not status.st_blocks and not 0 < status.st_size < 1 << 40
        return path.is_file() and not (made_up and not os.statvfs(path).f_blocks)
    return False


def contents(path: Path) -> bytes:
    """Raises Damaged where something else stands in a file's place: of a pipe or a device there may be no end."""
    if path.exists() and not on_disk(path):
        raise Damaged(path)
    return path.read_bytes()


def read_json(path: Path) -> Any:
    """Raises ValueError that names the file where it holds no JSON."""
    raw = contents(path)
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON ({error}); delete it and make it again") from None


@contextmanager
def alone(lock: Path, stopped: Callable[[], bool] = lambda: False) -> Iterator[bool]:
    """While no other process holds this lock; it is waited for, which is said, until `stopped()`: then it is False. The
    system lets go of it when a process ends, however it does; the file stays."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    # Open to write alone would wait for whoever reads, were it a pipe.
    with open(lock, "rb+", buffering=0) as file:
        held = locked(file)
        if not held and not stopped():
            log.warning("%s: another process is at work there; it is waited for", lock.parent)
        while not held and not stopped():
            time.sleep(WAIT_SECONDS)
            held = locked(file)
        yield held


class Shared:
    """A lock that is held with others for as long as this lives; nobody is `alone` meanwhile. Of no effect where nothing
    can be written, or the file system knows no locks."""

    def __init__(self, lock: Path) -> None:
        self.file = -1
        with suppress(OSError):
            lock.parent.mkdir(parents=True, exist_ok=True)
            self.file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(self.file, fcntl.LOCK_SH)

    def __del__(self) -> None:
        if self.file >= 0:
            os.close(self.file)


def locked(file: IO[Any]) -> bool:
    """True as well where the file system knows no locks: then two processes do the same work, as if each were alone."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        return error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
    return True


# ---- Known by their bytes --------------------------------------------------------------------------------


def digest_of(value: Any) -> str:
    """sha256 (hex) of a JSON-able value: keys sorted, no spaces, so that the same value always has the same digest."""
    return hashlib.sha256(_canonical(value)).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(errors=NAMES)


def file_digest(path: Path | str) -> str:
    """sha256 (hex) of a file's bytes, as `sha256sum` prints it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_checksums: dict[
    tuple[int, int, int, int], str
] = {}  # of this process, by (device, inode, size, time of change)


def checksum(path: Path | str) -> str:
    """xxh3 (64 bits, hex) of a file's bytes, read once a process while the file stays as it is: eight times as fast as
    sha256, and as sure where nobody wants to deceive."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise Damaged(path)
    key = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
    if key not in _checksums:
        with open(path, "rb") as file:
            _checksums[key] = hashlib.file_digest(file, xxhash.xxh3_64).hexdigest()
    return _checksums[key]


def check_of(path: Path) -> dict[str, Any]:
    """What a file is compared with later: {bytes, xxh3}."""
    return {"bytes": path.stat().st_size, SEAL: checksum(path)}


def compare(path: Path, check: dict[str, Any]) -> None:
    """Raises Damaged where the file is not what it was; FileNotFoundError where there is none."""
    if path.stat().st_size != check["bytes"] or checksum(path) != check[SEAL]:
        raise Damaged(path)


# ---- Records and sealed folders --------------------------------------------------------------------------


def write_record(path: Path, record: dict[str, Any], *, durable: bool = True) -> None:
    """A JSON object, with its own checksum in it."""
    plain = json.loads(_canonical(record))  # as it will be read
    write_json(path, plain | {SEAL: _seal(plain)}, durable=durable)


def _seal(record: dict[str, Any]) -> str:
    return xxhash.xxh3_64_hexdigest(_canonical({k: v for k, v in record.items() if k != SEAL}))


def read_record(path: Path) -> dict[str, Any]:
    """Raises Damaged where it is not what was written; FileNotFoundError where there is none."""
    try:
        record = read_json(path)
        if isinstance(record, dict) and record.pop(SEAL, None) == _seal(record):
            return record
    except ValueError:
        pass
    raise Damaged(path)


def remembered(path: Path, then: str = "it is made again") -> dict[str, Any]:
    """A record of what can be found out again: empty where there is none, and where it is damaged, which is said."""
    try:
        return read_record(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except Damaged:
        say_damaged(path, then)
        return {}


def seal_folder(record: Path, facts: dict[str, Any], files: Iterable[str]) -> dict[str, Any]:
    """Write the record of a folder, its last file; returns it."""
    whole = facts | {CHECKS: {name: check_of(record.parent / name) for name in sorted(files)}}
    write_record(record, whole)
    return whole


def open_sealed(record: Path, besides: str = "") -> dict[str, Any]:
    """The record of a sealed folder, every file compared; of those that end in `besides` only their size.

    Raises Damaged, which names the file; FileNotFoundError where there is no record.
    """
    found = read_record(record)
    for name, check in found[CHECKS].items():
        file = record.parent / name
        if not file.is_file() or file.stat().st_size != check["bytes"]:
            raise Damaged(file)
        if not besides or not name.endswith(besides):
            compare(file, check)
    return found


_said: set[tuple[Path, str]] = set()


def say_damaged(path: Path, then: str) -> None:
    """One line, once a process, of what is damaged and what is done about it."""
    if (path, then) not in _said:
        _said.add((path, then))
        log.warning("%s: damaged since it was written; %s", path, then)


def set_aside(path: Path, damaged: Path) -> None:
    """Rename what is damaged, or holds a file that is, to `NAME.damaged`, and say so; an older one gives way."""
    aside = path.with_name(f"{path.name}.damaged")
    say_damaged(damaged, f"set aside as {aside.name}, and made again")
    _remove(aside)
    with suppress(FileNotFoundError):  # another process was here first
        os.rename(path, aside)
