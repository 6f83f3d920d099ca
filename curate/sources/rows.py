"""What every reader takes and yields: files, rows, and what could not become one, counted by cause."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from curate.spec.manifest import Source

SAMPLES = 5  # of each cause, kept to be read in the lock
BATCH_BYTES = 8_000_000
DECODED_ROWS = 64  # at once, of what says nothing of how long its rows are


@dataclass(frozen=True)
class Input:
    """One file of a source. `name` is its place below the source's path: the same on every machine."""

    url: str
    name: str
    size: int
    stamp: str  # what tells one version of the file from another without reading it
    opener: Callable[[], io.BufferedReader] | None = None  # of a member of an archive, which `url` names


@dataclass
class Problems:
    """Rows that are no document (`failed`) and documents whose text had to be mended (`repaired`), by cause."""

    failed: dict[str, dict] = field(default_factory=dict)
    repaired: dict[str, dict] = field(default_factory=dict)

    def fail(self, cause: str, at: str, why: str, count: int = 1) -> None:
        note(self.failed, cause, at, why, count)

    def repair(self, cause: str, at: str, why: str) -> None:
        note(self.repaired, cause, at, why)


def note(table: dict, cause: str, at: str, why: str, count: int = 1) -> None:
    """Count it, and keep the first few to be read."""
    entry = table.setdefault(cause, {"count": 0, "samples": []})
    entry["count"] += count
    if len(entry["samples"]) < SAMPLES:
        said = why[:200].encode("utf-8", "backslashreplace").decode("utf-8")  # it may quote halves of pairs
        entry["samples"].append({"at": at, "why": said})


def printable(name: str) -> str:
    """A file's name as text: bytes of it that are not UTF-8 as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


class Rows:
    """Rows on their way to tables of some BATCH_BYTES: for readers that meet documents one by one."""

    def __init__(self, source: Source):
        self.columns = ["place", "text", *(["own_id"] if source.id else []), *source.columns]
        self.types = [pa.large_string() if c == "text" else pa.string() for c in self.columns]
        self.clear()

    def clear(self) -> None:
        self.values: list[list] = [[] for _ in self.columns]
        self.size = self.carried = 0

    def add(self, *row: Any) -> None:
        for column, value in zip(self.values, row, strict=True):
            column.append(value)
        self.size += len(row[1])
        self.carried += sum(len(value) for value in row[2:] if value)

    def full(self) -> bool:
        return max(self.size, self.carried) >= BATCH_BYTES

    def table(self) -> pa.Table:
        arrays = [pa.array(v, t) for v, t in zip(self.values, self.types, strict=True)]
        self.clear()
        return pa.table(dict(zip(self.columns, arrays, strict=True)))
