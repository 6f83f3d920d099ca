"""The whole annotation: Arrow in, every family that needs no training, MinHash signatures, Arrow out.

    CURATE_DATA=FOLDER python tests/bench/bench_annotate.py

MB of text per CPU-second of the process with one thread, and wall-clock time of one thread over two. Families, one
by one, first; a second run of the command has nothing to compile.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from curate import progress
from curate.engine import open_engine
from curate.manifest.reader import load_manifest
from curate.signals.annotate import annotate
from curate.steps import read_sources
from curate.store import Store

MANIFEST = """
name = "bench"
[[source]]
name = "web"
format = "parquet"
path = "{folder}/web_mix.parquet"
[parts]
bytes = "16 MB"
[signals]
heuristics = true
language = true
near_duplicates = true
{families}
[[level]]
name = "raw"
[sizes]
tokens = ["1M"]
[holdout]
tokens = "50k"
"""
SETS = {
    "English profiles": ["c4", "private"],
    "all but dclm and markup": ["c4", "private", "unicode_words", "unicode_repetition", "stop_words", "characters", "urls"],
    "everything": [
        "c4", "private", "unicode_words", "unicode_repetition", "stop_words", "characters", "urls", "dclm", "markup",
        "compression", "line_languages",
    ],
}  # fmt: skip


def run(families: list[str], workers: int, folder: str) -> tuple[float, float, float]:
    """(MB, CPU seconds, seconds) of the annotation alone, in an empty store."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "bench.toml"
        path.write_text(
            MANIFEST.format(folder=folder, families="\n".join(f"{name} = true" for name in families))
        )
        manifest, store, engine = (
            load_manifest(path),
            Store(Path(temporary) / "store"),
            open_engine("local", workers),
        )
        parts = [
            p for s in read_sources(store, manifest.sources, manifest.part_bytes, engine) for p in s.parts
        ]
        cpu, wall = time.process_time(), time.perf_counter()
        annotate(store, manifest.families, parts, engine)
        return sum(part.bytes for part in parts) / 1e6, time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    folder = os.environ.get("CURATE_DATA")
    if not folder:
        sys.exit("CURATE_DATA is not set: name the folder that holds web_mix.parquet")
    progress.quiet(True)
    print(f"{'families':<28}{'MB':>6}{'MB/CPU-s':>10}{'1 thread':>10}{'2 threads':>11}{'speed-up':>10}")
    for name, families in SETS.items():
        run(families, 2, folder)  # compiles what is new
        one, two = ([run(families, workers, folder) for _ in range(2)] for workers in (1, 2))
        cpu = min(seconds for _, seconds, _ in one)
        wall = [min(seconds for _, _, seconds in runs) for runs in (one, two)]
        print(
            f"{name:<28}{one[0][0]:>6.0f}{one[0][0] / cpu:>10.1f}{wall[0]:>9.1f}s{wall[1]:>10.1f}s{wall[0] / wall[1]:>10.2f}"
        )


if __name__ == "__main__":
    main()
