"""Peak of resident memory when a huge document lies in the corpus: reading, then measuring.

    CURATE_DATA=FOLDER python tests/bench/bench_memory.py [--megabytes 1000] [--document 200] [--workers 2] [--families a,b]

The input is web_mix.parquet again and again, its letters exchanged anew each time, and one document of so many
megabytes that is made of its texts. Each step is a process of its own (`resource` tells of all its threads; those of
readers, which are processes, are in the line for children). It wants twice the megabytes of disk, and frees them.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MANIFEST = """
name = "memory"
[[source]]
name = "web"
format = "parquet"
path = "{folder}/*.parquet"
longest = 1_000_000_000
[signals]
heuristics = true
{families}
[[level]]
name = "raw"
[sizes]
tokens = ["1M"]
[holdout]
tokens = "50k"
"""
FAMILIES = (
    "language", "near_duplicates", "c4", "private", "unicode_words", "unicode_repetition", "stop_words", "characters",
    "dclm", "markup", "compression",
)  # fmt: skip
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def write_input(folder: Path, data: Path, megabytes: float, document: float) -> None:
    table = pq.read_table(data / "web_mix.parquet", columns=["text"])
    texts = table["text"].to_pylist()
    random = np.random.default_rng(1)
    huge, size = [], 0
    while size < document * 1e6:
        huge.append(texts[random.integers(len(texts))])
        size += len(huge[-1].encode())
    rows, number = ["\n\n".join(huge)], 0
    while True:
        pq.write_table(pa.table({"text": pa.array(rows, pa.large_string())}), folder / f"{number:04}.parquet")
        if size >= megabytes * 1e6:
            return
        exchanged = str.maketrans(LETTERS, "".join(random.permutation(list(LETTERS))))
        rows, number = [text.translate(exchanged) for text in texts], number + 1
        size += sum(len(row.encode()) for row in rows)


def step(name: str, manifest_path: Path, store_path: Path, workers: int) -> None:
    """One step in this process, which then says how much memory it took."""
    from curate import progress
    from curate.engine import open_engine
    from curate.manifest.reader import load_manifest
    from curate.signals.annotate import annotate
    from curate.steps import read_sources
    from curate.store import Store

    progress.quiet(True)
    manifest, store, engine = (
        load_manifest(manifest_path),
        Store(store_path),
        open_engine("local", workers),
    )
    read = read_sources(store, manifest.sources, manifest.part_bytes, engine)
    if name == "annotate":
        annotate(store, manifest.families, [part for source in read for part in source.parts], engine)
    own, readers = (
        resource.getrusage(who).ru_maxrss / 1e6 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{name:<12}{own:>8.2f}{readers:>10.2f}{usage.ru_utime + usage.ru_stime:>10.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Peak of resident memory, a huge document in the corpus.")
    parser.add_argument("--megabytes", type=float, default=1000)
    parser.add_argument("--document", type=float, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--step", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        name, folder = given.step[0], Path(given.step[1])
        if name == "write":
            write_input(folder / "in", Path(os.environ["CURATE_DATA"]), given.megabytes, given.document)
        else:
            step(name, folder / "memory.toml", folder / "store", given.workers)
        return
    if not os.environ.get("CURATE_DATA"):
        sys.exit("CURATE_DATA is not set: name the folder that holds web_mix.parquet")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as temporary:
        folder = Path(temporary)
        (folder / "in").mkdir()
        families = "\n".join(f"{name} = true" for name in given.families.split(",") if name)
        (folder / "memory.toml").write_text(MANIFEST.format(folder=folder / "in", families=families))
        print(f"{given.megabytes:.0f} MB with a document of {given.document:.0f} MB, {given.workers} workers")
        print(f"{'step':<12}{'peak GB':>8}{'children':>10}{'CPU-s':>10}", flush=True)
        for name in (
            "write",
            "read",
            "annotate",
        ):  # a process each: Linux counts a parent's memory in its child's
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--step", name, temporary], check=True)


if __name__ == "__main__":
    main()
