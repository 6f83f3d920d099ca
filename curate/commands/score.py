"""`curate score`: the loss of any documents under finished runs, with intervals over documents; several runs compared."""

from __future__ import annotations

import fnmatch
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.commands.summary import table
from curate.engine import Engine
from curate.errors import CurateError, did_you_mean
from curate.signals.loss import check_run
from curate.sources.documents import open_source
from curate.sources.formats import FORMATS
from curate.sources.pool import open_pool
from curate.spec.manifest import Source
from curate.store import Store

if TYPE_CHECKING:
    from train.trained import TrainedRun

PART_BYTES = 64_000_000
LONGEST = 100_000_000  # bytes of a document
DRAWS = 1000


def score(
    store: Store,
    engine: Engine,
    runs: list[Path],
    files: list[Path],
    format: str | None = None,
    text: str = "text",
) -> list[dict[str, Any]]:
    """A row for each file and run: {"file", "run", "documents", "tokens", "nats_per_token", "bits_per_byte": [value, low,
    high], "difference": [value, low, high] in bits per byte to the first run, or None}. Bits per byte compare runs of
    different tokenizers. Ends of intervals are None for one document. Raises CurateError."""
    loaded = [_loaded(run) for run in runs]
    rows = []
    for file in files:
        texts = _texts(store, engine, file, format, text)
        size = pc.binary_length(texts).to_numpy()
        measured = {str(run.directory): run.losses(texts) for run in loaded}
        bits = {name: nats / math.log(2) for name, (nats, _) in measured.items()}
        first = next(iter(measured))
        for name, (nats, tokens) in measured.items():
            rows.append({
                "file": str(file), "run": name, "documents": len(texts), "tokens": int(tokens.sum()),
                "nats_per_token": float(nats.sum() / tokens.sum()),
                "bits_per_byte": _interval(bits[name], size),
                "difference": None if name == first else _interval(bits[name] - bits[first], size),
            })  # fmt: skip
    return rows


def _interval(bits: np.ndarray, size: np.ndarray) -> list[float | None]:
    """[bits per byte, the middle 95 % of what other documents like these would give]; one document says nothing of
    others."""
    value = float(bits.sum() / size.sum())
    if len(bits) < 2:
        return [value, None, None]
    drawn = np.random.default_rng(0).multinomial(len(bits), np.full(len(bits), 1 / len(bits)), DRAWS)
    low, high = np.quantile(drawn @ bits / (drawn @ size), [0.025, 0.975])
    return [value, float(low), float(high)]


def _loaded(run: Path) -> TrainedRun:
    from train.trained import load_run

    try:
        check_run(run)
    except ValueError as error:
        raise CurateError(str(error)) from None
    return load_run(run)


def _texts(store: Store, engine: Engine, file: Path, format: str | None, text: str) -> pa.Array:
    """The texts of all documents of a file or folder."""
    if not file.exists():
        raise CurateError(f"{file}: No such file or folder; name texts, or files of {', '.join(FORMATS)}")
    format = format or format_of(file)
    if format not in FORMATS:
        raise CurateError(f"--format {format}: not known{did_you_mean(format, FORMATS)}")
    source = Source("score", format, (str(file.resolve()),), text=text, longest=LONGEST)
    pool = open_pool([open_source(store, source, PART_BYTES, engine)])
    return pool.gather(pool.order, "text")


def format_of(file: Path) -> str:
    """The format whose files are called like this; text where none are."""
    named = (f for f in FORMATS.values() if f.include != ("*",))
    return next(
        (f.name for f in named if any(fnmatch.fnmatch(file.name.lower(), p) for p in f.include)), "text"
    )


def score_text(rows: list[dict[str, Any]]) -> str:
    several = len({row["run"] for row in rows}) > 1
    lines = [
        [
            row["file"], *([row["run"]] if several else []), f"{row['documents']:,}", f"{row['tokens']:,}",
            f"{row['nats_per_token']:.4f}", _figure(row["bits_per_byte"]),
            *([_figure(row["difference"]) if row["difference"] else ""] if several else []),
        ]
        for row in rows
    ]  # fmt: skip
    run, gap = (["run"], ["against the first"]) if several else ([], [])
    return table(lines, ["file", *run, "documents", "tokens", "nats per token", "bits per byte", *gap])


def _figure(ends: list[float | None]) -> str:
    value, low, high = ends
    return f"{value:.4f}" if low is None or high is None else f"{value:.4f} [{low:.4f}, {high:.4f}]"
