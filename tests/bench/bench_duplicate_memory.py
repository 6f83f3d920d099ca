"""Peak of memory of the steps that look at the whole pool, duplicates and repeated spans, at several budgets.

    CURATE_DATA=FOLDER python tests/bench/bench_duplicate_memory.py [--copies 4] [--workers 2] [--budgets 64,128,256,1024]

The input is the mix several times over, each time with its letters exchanged. Documents, hashes and signatures are made
once; then each budget is a process of its own that clusters all documents and finds what repeats in them. Measured is
what the step takes beyond what the process had when it began, its kernels loaded, and without pages of mapped files: those
are the disk's cache, which the system takes back when it wants. The answers must be the same at every budget: their digests are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

MANIFEST = """
name = "memory"
[[source]]
name = "web"
format = "parquet"
path = "{folder}/*.parquet"
[signals]
near_duplicates = true
[[level]]
name = "raw"
[sizes]
tokens = ["1M"]
[holdout]
tokens = "50k"
"""
STAGES = ("duplicates", "spans")


def anonymous() -> float:
    """MB of this process that belong to no file, from Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1e3


class Peak:
    """Most memory that this process took while it is open, beyond what it had; looked at every two milliseconds."""

    def __enter__(self) -> Peak:
        self.before = self.most = anonymous()
        self.open = True
        self.watch = threading.Thread(target=self._look)
        self.watch.start()
        return self

    def _look(self) -> None:
        while self.open:
            self.most = max(self.most, anonymous())
            time.sleep(0.002)

    def __exit__(self, *_: object) -> None:
        self.open = False
        self.watch.join()

    @property
    def megabytes(self) -> float:
        return self.most - self.before


def write_input(folder: Path, copies: int) -> None:
    from bench_duplicates import exchanged, read

    texts = read(Path(os.environ["CURATE_DATA"]) / "web_mix.parquet")
    for seed in range(copies):
        pq.write_table(pa.table({"text": exchanged(texts, seed)}), folder / f"{seed:02}.parquet")


def step(name: str, folder: Path, workers: int, budget: float) -> None:
    """Prepare the store, or one of the stages in this process, which then says what it took."""
    from curate import progress
    from curate.duplicates.repeats import find_repeats
    from curate.duplicates.resolve import find_duplicates
    from curate.engine import open_engine
    from curate.manifest.reader import load_manifest
    from curate.signals.annotate import annotate
    from curate.signals.values import Values
    from curate.sources.pool import open_pool
    from curate.spec.manifest import DUPLICATES
    from curate.steps import read_sources
    from curate.store import Store, digest_of
    from filters.duplicates.exact import content_hashes
    from filters.duplicates.leaders import near_duplicates
    from filters.duplicates.repeats import repeats

    progress.quiet(True)
    manifest, store = load_manifest(folder / "memory.toml"), Store(folder / "store")
    engine = open_engine("local", workers, int(budget * 1e6))
    pool = open_pool(read_sources(store, manifest.sources, manifest.part_bytes, engine))
    values = Values(pool, annotate(store, manifest.families, pool.parts, engine), engine)
    if name == "prepare":
        return
    few = pa.array(["a few words", "a few words"])
    near_duplicates(few)
    repeats(few)
    content_hashes(few, "templates")
    begin = time.process_time()
    with Peak() as peak:
        if name == "spans":
            parts = find_repeats(values, "repeated_spans", 50)
        else:
            parts = find_duplicates(values, manifest.pooled[DUPLICATES])
    print(json.dumps({"documents": len(pool), "text": int(pool.bytes.sum()) / 1e6, "peak": peak.megabytes,
                      "cpu_s": time.process_time() - begin, "answer": digest_of([p.digest for p in parts])}))  # fmt: skip


def in_a_process(name: str, folder: Path, workers: int, budget: float) -> dict:
    given = [name, str(folder), str(workers), str(budget)]
    done = subprocess.run([sys.executable, __file__, "--step", *given], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout or "{}")


def forget(store: Path, stage: str) -> None:
    """What a stage has written, so that the next budget computes it anew."""
    for folder in ("duplicates", "bands") if stage == "duplicates" else ("repeated_spans", "occurrences"):
        subprocess.run(["rm", "-rf", str(store / folder)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Peak of memory of finding duplicates, by budget.")
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--budgets", default="64,128,256,1024", help="MB, as --memory")
    parser.add_argument("--step", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        name, folder, workers, budget = given.step
        step(name, Path(folder), int(workers), float(budget))
        return
    if not os.environ.get("CURATE_DATA"):
        sys.exit("CURATE_DATA is not set: name the folder that holds web_mix.parquet")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as temporary:
        folder = Path(temporary)
        (folder / "in").mkdir()
        (folder / "memory.toml").write_text(MANIFEST.format(folder=folder / "in"))
        write_input(folder / "in", given.copies)
        in_a_process("prepare", folder, given.workers, 1000)
        print(f"{'stage':<12}{'budget MB':>10}{'peak MB':>9}{'CPU-s':>8}  answer", flush=True)
        for stage in STAGES:
            for budget in map(float, given.budgets.split(",")):
                told = in_a_process(stage, folder, given.workers, budget)
                print(f"{stage:<12}{budget:>10.0f}{told['peak']:>9.0f}{told['cpu_s']:>8.1f}  {told['answer'][:12]}",
                      flush=True)  # fmt: skip
                forget(folder / "store", stage)
        print(f"{told['documents']:,} documents, {told['text']:.0f} MB of text, {given.workers} workers")


if __name__ == "__main__":
    main()
