"""What every reader takes and yields: files, rows, what could not become one, counted by cause; and bytes made text."""

from __future__ import annotations

import io
import lzma
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from curate.errors import InputError
from curate.spec.manifest import Source

SAMPLES = 5  # of each cause, kept to be read in the lock
BATCH_BYTES = 8_000_000
BOM = b"\xef\xbb\xbf"  # no part of the first line


@dataclass(frozen=True)
class Input:
    """One file of a source. `name` is its place below the source's path: the same on every machine."""

    url: str
    name: str
    size: int
    stamp: str  # what tells one version of the file from another without reading it


@dataclass
class Problems:
    """Rows that are no document (`failed`) and documents whose text had to be mended (`repaired`), by cause."""

    failed: dict[str, dict] = field(default_factory=dict)
    repaired: dict[str, dict] = field(default_factory=dict)

    def fail(self, cause: str, at: str, why: str, count: int = 1) -> None:
        _note(self.failed, cause, at, why, count)

    def repair(self, cause: str, at: str, why: str) -> None:
        _note(self.repaired, cause, at, why, 1)


def _note(table: dict, cause: str, at: str, why: str, count: int) -> None:
    entry = table.setdefault(cause, {"count": 0, "samples": []})
    entry["count"] += count
    if len(entry["samples"]) < SAMPLES:
        entry["samples"].append({"at": at, "why": why[:200]})


class Rows:
    """Rows on their way to tables of some BATCH_BYTES: for readers that meet documents one by one."""

    def __init__(self, source: Source):
        self.columns = ["place", "text", *(["own_id"] if source.id else []), *source.columns]
        self.types = [pa.large_string() if c == "text" else pa.string() for c in self.columns]
        self.clear()

    def clear(self) -> None:
        self.values: list[list] = [[] for _ in self.columns]
        self.size = 0

    def add(self, *row: Any) -> None:
        for column, value in zip(self.values, row, strict=True):
            column.append(value)
        self.size += len(row[1])

    def full(self) -> bool:
        return self.size >= BATCH_BYTES

    def table(self) -> pa.Table:
        arrays = [pa.array(v, t) for v, t in zip(self.values, self.types, strict=True)]
        self.clear()
        return pa.table(dict(zip(self.columns, arrays, strict=True)))


def opened(item: Input) -> io.BufferedReader:
    """The file's bytes, decompressed by its ending (.gz .zst .bz2 .lz4 .xz)."""
    compression = pa.Codec.detect(item.name).name if _is_compressed(item.name) else None
    try:
        if "://" in item.url:
            import fsspec

            raw: Any = pa.PythonFile(fsspec.open(item.url, "rb").open(), mode="r")
        else:
            raw = pa.OSFile(item.url)
        if item.name.endswith(".xz"):
            return io.BufferedReader(lzma.LZMAFile(raw), 1 << 16)
        return io.BufferedReader(pa.CompressedInputStream(raw, compression) if compression else raw, 1 << 16)
    except (OSError, ImportError) as error:
        raise InputError(f"{item.url}: cannot be opened: {error}") from error


def _is_compressed(name: str) -> bool:
    return name.endswith((".gz", ".zst", ".bz2", ".lz4"))


def decoded(raw: bytes, at: str, problems: Problems) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        problems.repair("not-utf-8", at, str(error))
        return raw.decode("utf-8", "replace")


def without_surrogates(text: str, at: str, problems: Problems) -> str:
    """JSON may escape half a surrogate pair, which no UTF-8 can hold."""
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        problems.repair("lone-surrogate", at, "half of a surrogate pair, as U+FFFD")
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
