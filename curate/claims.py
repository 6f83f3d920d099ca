"""Who works on what: a lock for each piece of work, which the system lets go when its process ends, however it does.
An object store knows none: there an object says to other machines that one is at work, written again as long as it is.

Results do not rest on it. Where a file system knows no locks, or two machines begin in the same moment, the same work is
done twice, and the same bytes are written.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from curate.errors import CurateError, Unfinished
from curate.progress import say
from curate.remote import Remote
from train.files import locked, this_machine

CLAIMS = "claims"  # folder of a store
LONGEST_LOOK = 5.0  # seconds between two looks at what others do
SUFFIX = ".lock"
RENEWED, STALE = 15.0, 90.0  # seconds: a lease is written so often, and after so long counts no more


def looks() -> Iterator[None]:
    """Forever, at first often."""
    seconds = 0.05
    while True:
        time.sleep(seconds)
        seconds = min(LONGEST_LOOK, 1.5 * seconds)
        yield


def lease_name(name: str) -> str:
    return f"{CLAIMS}/{name.replace('/', '-')}.json"


def claim_path(folder: Path, name: str) -> Path:
    return folder / f"{name.replace('/', '-')}{SUFFIX}"


@contextmanager
def claim(folder: Path, name: str, waits: bool, remote: Remote | None = None) -> Iterator[None]:
    """While no other process has this, nor, with an object store, another machine. Raises Unfinished where one has it and
    `waits` is off."""
    folder.mkdir(parents=True, exist_ok=True)
    path = claim_path(folder, name)
    again = looks()
    for number in range(1 << 62):
        with open(path, "a+", encoding="utf-8") as file:
            if locked(file):
                if not _is_at(path, file):  # whoever had it has finished, and removed it
                    continue
                if not (remote and leased(remote, name)):
                    with (
                        _at_work(path, file, name) as note,
                        _lease(remote, note) if remote else nullcontext(),
                    ):
                        yield
                    return
        if not waits:
            raise Unfinished(f"{name[:60]} is made by another process; run the same command again")
        if not number:
            say(f"{name[:60]} is made by another process, which is waited for")
        next(again)


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _at_work(path: Path, file: IO[str], name: str) -> Iterator[dict[str, Any]]:
    """The lock says whose it is; it goes with the work, or stays and says why that failed."""
    note = {"work": name, "machine": socket.gethostname(), "process": os.getpid(), "since": time.time()}
    _write(file, note)
    try:
        yield note
    except Unfinished:
        path.unlink(missing_ok=True)
        raise
    except Exception as error:
        _write(file, note | {"failed": str(error) or type(error).__name__})
        raise
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    path.unlink(missing_ok=True)


@contextmanager
def _lease(remote: Remote, note: dict[str, Any]) -> Iterator[None]:
    """Other machines see it. Where it cannot be written or removed, work goes on without."""
    place, ended = lease_name(note["work"]), threading.Event()

    def keep() -> None:
        with suppress(CurateError):
            while not ended.is_set():
                now = {"cache": f"{this_machine()} {remote.cache}", "renewed": time.time()}
                remote.put(place, json.dumps(note | now).encode())
                ended.wait(RENEWED)
            remote.delete(place)

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def leased(remote: Remote, name: str) -> Claim | None:
    """What another machine says of this work. Processes with one cache know each other's locks."""
    with suppress(ValueError, KeyError, TypeError):  # nothing is there, or half of it
        note = json.loads(remote.read(lease_name(name)) or b"")
        if (
            note.pop("renewed") > time.time() - STALE
            and note.pop("cache") != f"{this_machine()} {remote.cache}"
        ):
            return Claim(**note)
    return None


def _write(file: IO[str], note: dict) -> None:
    file.truncate(0)
    file.write(json.dumps(note))
    file.flush()


@dataclass(frozen=True)
class Claim:
    """`failed`: why the last attempt ended; empty where a process is at work."""

    work: str
    machine: str
    process: int
    since: float  # seconds of the epoch
    failed: str = ""


def claims(folder: Path) -> list[Claim]:
    """What is worked on now, and what failed and was not tried again."""
    found = []
    for path in sorted(filter(Path.is_file, folder.glob(f"*{SUFFIX}"))):
        try:
            with open(path, encoding="utf-8") as file:
                free = not _is_held(file)
                one = Claim(**json.load(file))
        except (FileNotFoundError, ValueError, TypeError):  # just gone, or just begun
            continue
        if free == bool(one.failed):  # else its process was killed
            found.append(one)
    return found


def is_locked(path: Path) -> bool:
    """Whether another process holds this lock."""
    with suppress(FileNotFoundError), open(path, "r+", encoding="utf-8") as file:
        return _is_held(file)
    return False


def _is_held(file: IO[str]) -> bool:
    """Whether another process holds a lock on an open file."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return False
