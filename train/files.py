"""Whole files and folders only: written to a temporary name, flushed to the disk, then renamed. And what their bytes,
or a JSON-able value, are known by.

The one place that knows how: `curate.store` takes these from here, since `train` may take nothing from `curate`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def _put_in_place(folder: Path, path: Path, is_whole: Callable[[Path], bool]) -> None:
    """Rename a folder onto `path`. Two processes may do it at once: whoever comes second leaves a whole one
    where it is, since the first may be reading it; one that is damaged goes aside."""
    aside = folder.with_name(f"{folder.name}.old.tmp")
    while True:
        try:
            return os.rename(folder, path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if is_whole(path):
            return None
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            continue  # the other process has just moved it
        shutil.rmtree(aside, ignore_errors=True)


def _never(path: Path) -> bool:
    return False


@contextmanager
def atomic(path: Path, is_whole: Callable[[Path], bool] = _never, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside `path` (file or folder), renamed onto it if the block succeeds, else removed.

    A folder that another process has put there meanwhile stays if `is_whole` says so; else it is replaced. `durable`:
    a file is on the disk before it appears.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        yield temporary
        if temporary.is_dir():
            _put_in_place(temporary, path, is_whole)
        else:
            if durable:
                _flush(temporary)
            os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def write_whole(path: Path, write: Callable[[IO[bytes]], object], *, durable: bool = True) -> None:
    """Let `write` fill a file that appears under `path` only once it is complete."""
    with atomic(path, durable=durable) as temporary, open(temporary, "wb") as file:
        write(file)


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Raises ValueError for NaN and infinities, which JSON has not."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()), durable=durable)


def write_array(path: Path, array: np.ndarray) -> None:
    import numpy as np

    write_whole(path, lambda file: np.save(file, array))


def read_json(path: Path) -> Any:
    """Raises ValueError that names the file where it holds no JSON."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}); delete it and make it again") from None


def digest_of(value: Any) -> str:
    """sha256 (hex) of a JSON-able value: keys sorted, no spaces, so that the same value always has the same digest."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path | str) -> str:
    """sha256 (hex) of a file's bytes, as `sha256sum` prints it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
