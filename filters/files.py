"""Files that a family reads: models, and lists that users keep."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TypeVar

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
