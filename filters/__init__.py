"""Signals: numbers measured on every document. A text column goes in, numbers come out.

A *family* is what one pass of one kernel measures; a *signal* is one column of it. Families are what
is cached, so a family carries the version of its definitions: whoever changes what a signal means
raises the version, and every stored value of the old meaning is measured anew.

Nothing here opens a file of documents, reads a manifest or drops anything.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa


@dataclass(frozen=True)
class Signal:
    """One column: what it is called, what it counts, and which values it can take."""

    name: str
    unit: str  # "words", "characters", "ratio", "label", ...
    low: float | None  # smallest possible value; None where a range makes no sense (labels)
    high: float | None  # largest possible value, float("inf") where there is none
    empty: object  # the value of an empty document; None is null
    says: str  # the definition in one line, with its source where it was published
    type: pa.DataType = pa.float64()


@dataclass(frozen=True)
class Family:
    """Signals that one pass measures: `measure(texts, **parameters)` returns a column for each, in order."""

    name: str
    version: int
    measure: Callable[..., dict[str, pa.Array]]
    signals: tuple[Signal, ...]


def _keep_compiled_kernels_by_source() -> None:
    """Point numba's cache at a folder named after the sources of this package.

    numba's own check sees a change in the file of a kernel, not in another file whose function the
    kernel inlined. A folder a version of the sources makes a stale kernel impossible.
    """
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "curate" / f"kernels-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir()) / "curate" / folder.name
    os.environ["NUMBA_CACHE_DIR"] = str(folder)


_keep_compiled_kernels_by_source()
