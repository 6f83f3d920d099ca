"""Where results live: a folder of artefacts, each under a key that says exactly what it is.

The key is the sha256 of everything a result depends on: the stage, its parameters, the versions of its
definitions and the digests of its inputs. So "is it done?" is "does its receipt exist?", a changed
parameter can never pick up an old result, and a killed job continues where it stopped.

An artefact is one or more files and a receipt, `KEY.json`. Files are written under a temporary name,
flushed and renamed; the receipt comes last. What has no receipt does not exist. Two writers of one key
write the same bytes, so who renames last does not matter.

    store/
      inputs.json          what each input file hashed to when it had this size and this time
      documents/KEY.json   KEY-00000.arrow ...
      signals/FAMILY/KEY.json, KEY.arrow
      ...
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.errors import CurateError
from train.files import atomic, digest_of, file_digest, read_json, write_json

__all__ = [
    "Part",
    "Store",
    "atomic",
    "digest_of",
    "file_digest",
    "read_json",
    "read_table",
    "write_json",
    "write_table",
]


def write_table(path: Path, table: pa.Table, *, stream: bool = False) -> None:
    """Arrow IPC: the file format (random access by memory map), or the stream format that `datasets` reads."""
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with pa.OSFile(str(path), "wb") as sink, new(sink, table.schema) as writer:
        writer.write_table(table)


def read_table(path: Path | str, columns: list[str] | None = None) -> pa.Table:
    """Memory-mapped: nothing is read until it is touched."""
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    return table.select(columns) if columns else table


@lru_cache(maxsize=100_000)
def _digest_when_first_asked(path: str, changed: int) -> str:
    return file_digest(path)


@dataclass(frozen=True)
class Part:
    """One file of an artefact: `digest` is the sha256 of its bytes."""

    path: str
    rows: int
    bytes: int
    digest: str

    @staticmethod
    def of(path: Path, rows: int) -> Part:
        return Part(str(path), rows, path.stat().st_size, file_digest(path))

    def table(self, columns: list[str] | None = None) -> pa.Table:
        return read_table(self.path, columns)

    def checked(self) -> Part:
        """Itself, if its bytes are still those that were written: asked before anything is made of them."""
        if _digest_when_first_asked(self.path, os.stat(self.path).st_mtime_ns) != self.digest:
            raise CurateError(
                f"{self.path}: damaged since it was written; delete it, and the same command makes it again"
            )
        return self


@dataclass(frozen=True)
class Store:
    root: Path

    def folder(self, stage: str) -> Path:
        return self.root / stage

    def receipt_path(self, stage: str, key: str) -> Path:
        return self.folder(stage) / f"{key}.json"

    def receipt(self, stage: str, key: str) -> dict | None:
        """What was written under this key, or None if it is not there whole."""
        try:
            receipt = read_json(self.receipt_path(stage, key))
        except FileNotFoundError:
            return None
        except ValueError:  # a damaged disk: measure again rather than trust it
            return None
        if not isinstance(receipt, dict):
            return None
        whole = all(self._is_whole(stage, part) for part in receipt.get("parts", []))
        return receipt if whole else None

    def _is_whole(self, stage: str, part: dict) -> bool:
        try:
            return (self.folder(stage) / part["name"]).stat().st_size == part["bytes"]
        except FileNotFoundError:
            return False

    def finish(self, stage: str, key: str, parts: list[Part], **facts: Any) -> dict:
        """Write the receipt: from here on the artefact exists."""
        folder = self.folder(stage)
        rows = [
            {
                "name": str(Path(p.path).relative_to(folder)),
                "rows": p.rows,
                "bytes": p.bytes,
                "digest": p.digest,
            }
            for p in parts
        ]
        receipt = {"parts": rows, **facts}
        write_json(self.receipt_path(stage, key), receipt)
        return receipt

    def remove(self, stage: str, key: str) -> None:
        """Forget an artefact: its receipt first, so that nothing half-removed is taken for whole."""
        receipt = self.receipt(stage, key) or {"parts": []}
        self.receipt_path(stage, key).unlink(missing_ok=True)
        for part in self.parts(stage, receipt):
            Path(part.path).unlink(missing_ok=True)

    def parts(self, stage: str, receipt: dict) -> list[Part]:
        folder = self.folder(stage)
        return [Part(str(folder / p["name"]), p["rows"], p["bytes"], p["digest"]) for p in receipt["parts"]]

    def write_part(self, stage: str, name: str, table: pa.Table, *, stream: bool = False) -> Part:
        path = self.folder(stage) / name
        with atomic(path) as temporary:
            write_table(temporary, table, stream=stream)
            part = Part.of(temporary, table.num_rows)
        return Part(str(path), part.rows, part.bytes, part.digest)

    def table(self, stage: str, key: str, make: Callable[[], tuple[pa.Table, dict]]) -> tuple[Part, dict]:
        """One table under one key: made if it is not there. Returns it with its receipt."""
        receipt = self.receipt(stage, key)
        if receipt is None:
            table, facts = make()
            receipt = self.finish(stage, key, [self.write_part(stage, f"{key}.arrow", table)], **facts)
        return self.parts(stage, receipt)[0], receipt
