"""Encoding what a level keeps and writing its corpora, at sizes that double: CPU, memory, and what is read from the disk.

    CURATE_DATA=FOLDER python tests/bench/bench_writing.py [--documents 20000,40000,80000,160000] [--parts 8MB] [--shard 32MB]

Documents are half of one text of `web_mix.parquet` and half of another, drawn by a seed: some 6 kB each. Parts are small, so
that there are as many as of a pool many times as large. `exponent` is that of CPU-seconds against bytes of text, from the row
before. `held` is memory that belongs to no file, above what the process had when it began. `read` is what came from the disk:
nothing where the page cache holds all; begin the bench within a limit of memory to see what a larger pool takes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench_driver import Steps, resident

MANIFEST = """
name = "writing"
holdout = "none"
[[source]]
name = "web"
format = "parquet"
path = "{folder}/*.parquet"
[parts]
bytes = "{parts}"
[tokenizer]
vocabulary = 4000
bytes = "2MB"
[[level]]
name = "raw"
[sizes]
shard = "{shard}"
"""
STEPS = ("tokenize", "build_corpora")
BATCH = 5_000  # documents of an input file


def write_input(data: Path, folder: Path, documents: int) -> int:
    """Bytes of text."""
    texts = pq.read_table(data / "web_mix.parquet", columns=["text"])["text"].to_pylist()
    random, size = np.random.default_rng(1), 0
    for begin in range(0, documents, BATCH):
        pairs = random.integers(0, len(texts), (min(BATCH, documents - begin), 2)).tolist()
        made = [texts[a][: len(texts[a]) // 2] + "\n\n" + texts[b][len(texts[b]) // 2 :] for a, b in pairs]
        size += sum(len(text.encode()) for text in made)
        pq.write_table(pa.table({"text": made}), folder / f"{begin:08}.parquet")
    return size


def read_bytes() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


def one(folder: Path, asked: argparse.Namespace) -> None:
    """In a process of its own: print what each step took, as JSON."""
    from curate import progress, steps
    from curate.engine import open_engine
    from curate.manifest.reader import load_manifest
    from curate.store import Store

    progress.quiet(True)
    path = folder / "writing.toml"
    path.write_text(MANIFEST.format(folder=folder, parts=asked.parts, shard=asked.shard))
    watch, read = Steps(), {}

    def reading(name: str, function):
        def watched(*args, **kwargs):
            begin = read_bytes()
            answer = function(*args, **kwargs)
            read[name] = read_bytes() - begin
            return answer

        return watched

    for name in STEPS:
        setattr(steps, name, reading(name, watch.watch(name, getattr(steps, name))))
    began = resident()[0]
    lock = steps.build(Store(folder / "store"), load_manifest(path), open_engine("local", asked.workers)).lock
    rows = {name: [cpu, held - began, read[name]] for name, (cpu, held, _) in watch.took.items()}
    print(json.dumps({"rows": rows, "digest": lock["corpora"][0]["digest"][:12]}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", default="20000,40000,80000,160000")
    parser.add_argument("--parts", default="8MB")
    parser.add_argument("--shard", default="32MB")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", help="of the store: on the disk that is measured")
    parser.add_argument("--one", metavar="FOLDER")
    asked = parser.parse_args()
    if asked.one:
        one(Path(asked.one), asked)
        return
    if "CURATE_DATA" not in os.environ:
        print("needs CURATE_DATA: left out")
        return
    print(
        "| documents | MB of text | step | CPU-s | exponent | held, MB | read, MB | s |\n|---|---|---|---|---|---|---|---|"
    )
    before: dict[str, tuple[float, int]] = {}
    for documents in map(int, asked.documents.split(",")):
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            size = write_input(Path(os.environ["CURATE_DATA"]), Path(folder), documents)
            command = [sys.executable, __file__, "--one", folder, "--parts", asked.parts, "--shard", asked.shard,
                       "--workers", str(asked.workers)]  # fmt: skip
            begin = time.time()
            answer = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
            for step, (cpu, held, read) in answer["rows"].items():
                then = before.get(step)
                exponent = f"{math.log(cpu / then[0]) / math.log(size / then[1]):.2f}" if then else ""
                before[step] = cpu, size
                print(
                    f"| {documents:,} | {size / 1e6:.0f} | {step} | {cpu:.1f} | {exponent} | {held / 1e6:.0f} | "
                    f"{read / 1e6:.0f} | {time.time() - begin:.0f} |",
                    flush=True,
                )
            print(f"corpus {answer['digest']}", file=sys.stderr)


if __name__ == "__main__":
    main()
