"""Files that a family reads: models, and lists that users keep."""

from __future__ import annotations

import functools
import os
import threading
import zipfile
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

MOST_LOADED = 8  # files of one kind at a time

Loaded = TypeVar("Loaded")


def loaded_once(load: Callable[..., Loaded]) -> Callable[..., Loaded]:
    """`load(path, ...)`, once in a process for each file; again where the file has changed since."""
    loaded: dict[Hashable, Loaded] = {}
    loading = threading.Lock()

    @functools.wraps(load)
    def once(path: str | os.PathLike[str], *more: Hashable) -> Loaded:
        path = Path(path).expanduser().resolve()
        stat = path.stat()
        key = (path, stat.st_size, stat.st_mtime_ns, *more)
        with loading:
            if key not in loaded:
                if len(loaded) == MOST_LOADED:
                    del loaded[next(iter(loaded))]
                loaded[key] = load(path, *more)
            return loaded[key]

    return once


@loaded_once
def read_list(path: Path) -> pa.LargeStringArray:
    """Entries of a list, sorted: a line each, without blank lines and those that begin with `#`."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
    return pa.array(sorted({line for line in lines if line and not line.startswith("#")}), pa.large_string())


def read_arrays(path: Path, what: str, make: Callable[[Any], Loaded]) -> Loaded:
    """What is made of the arrays that `np.savez` wrote to a file. Raises ValueError that says that it is no `what`."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return make(arrays)
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        why = "it holds no arrays of numbers" if "pickle" in str(error) else error
        raise ValueError(f"{path}: not {what}: {why}") from None
