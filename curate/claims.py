"""Who works on what: a lock for each piece of work, which the system lets go when its process ends, however it does.

Results do not rest on it. Where a file system knows no locks two processes do the same work, and write the same bytes.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from curate.errors import Unfinished
from curate.progress import say
from train.files import locked

CLAIMS = "claims"  # folder of a store
LONGEST_LOOK = 5.0  # seconds between two looks at what others do
SUFFIX = ".lock"


def looks() -> Iterator[None]:
    """Forever, at first often."""
    seconds = 0.05
    while True:
        time.sleep(seconds)
        seconds = min(LONGEST_LOOK, 1.5 * seconds)
        yield


def claim_path(folder: Path, name: str) -> Path:
    return folder / f"{name.replace('/', '-')}{SUFFIX}"


@contextmanager
def claim(folder: Path, name: str, waits: bool) -> Iterator[None]:
    """While no other process has this. Raises Unfinished where one has it and `waits` is off."""
    folder.mkdir(parents=True, exist_ok=True)
    path = claim_path(folder, name)
    again = looks()
    for number in range(1 << 62):
        with open(path, "a+", encoding="utf-8") as file:
            if locked(file):
                if not _is_at(path, file):  # whoever had it has finished, and removed it
                    continue
                with _at_work(path, file, name):
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
def _at_work(path: Path, file: IO[str], name: str) -> Iterator[None]:
    """The lock says whose it is; it goes with the work, or stays and says why that failed."""
    note = {"work": name, "machine": socket.gethostname(), "process": os.getpid(), "since": time.time()}
    _write(file, note)
    try:
        yield
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
    for path in sorted(folder.glob(f"*{SUFFIX}")):
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
    with suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
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
