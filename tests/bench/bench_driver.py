"""What the process that drives a build holds of every document, and how long it takes, step by step.

    python tests/bench/bench_driver.py [--documents 300000,1000000,3000000] [--duplicates exact|near|none] [--workers 2]

Documents have some ten words; a third of them have one of a tenth as many hosts, and a few stand twice. They are built, and
then built again with one bound changed. Each is a process of its own that has built a few before, so that libraries and
kernels are not counted. `held` is the most memory that belongs to no file, `with files` also has pages of mapped files,
which the system takes back when it wants; both in bytes a document above what the process had when it began. What threads
hold while they work on a part is in it, and is the same for any number of documents: the last column is what each document
more than in the row before has cost.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MANIFEST = """
name = "driver"
[[source]]
name = "web"
format = "parquet"
path = "{folder}/web-*.parquet"
columns = ["url"]
[[source]]
name = "notes"
format = "parquet"
path = "{folder}/notes-*.parquet"
[signals]
{signals}
[parts]
bytes = "8MB"
[tokenizer]
vocabulary = 400
bytes = "200kB"
[[level]]
name = "raw"
[[level]]
name = "longer"
on = "raw"
keep = {{ word_count = [{least}, inf], mean_word_length = [2, 12] }}
[[level]]
name = "best"
on = "longer"
keep = {{ {best} }}
[sizes]
tokens = ["{tokens}", "{more}"]
[holdout]
tokens = "50k"
from = ["raw", "best"]
[grid]
seeds = 2
"""
SIGNALS = {"none": "", "exact": "exact_duplicates = true", "near": "near_duplicates = true"}
STEPS = (
    "read_sources", "open_pool", "annotate", "measure_pool", "judge", "hold_out", "_in_order", "_units", "make_tokenizer",
    "tokenize", "cut", "build_corpora", "lock_facts",
)  # fmt: skip
LETTERS = np.frombuffer(b"etaoinshrdlu", np.uint8)
BATCH = 200_000


def texts(random: np.random.Generator, count: int) -> pa.LargeStringArray:
    """Some ten words of one to nine letters each; a hundredth of them as the one before."""
    long = random.integers(6, 15, count)
    words = random.integers(2, 11, long.sum())
    ends = np.cumsum(words)
    data = LETTERS[random.integers(0, len(LETTERS), ends[-1])]
    data[ends - 1] = ord(" ")
    offsets = np.concatenate([[0], ends[np.cumsum(long) - 1]])
    column = pa.Array.from_buffers(
        pa.large_string(), count, [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )
    rows = np.arange(count)
    again = np.flatnonzero(random.random(count) < 0.01)
    rows[again] = np.maximum(again - 1, 0)
    return column.take(pa.array(rows))


def write_input(folder: Path, documents: int) -> None:
    random = np.random.default_rng(1)
    for number, begin in enumerate(range(0, documents, BATCH)):
        count = min(BATCH, documents - begin)
        web = count // 3
        hosts = random.integers(0, max(1, documents // 10), web)
        url = pa.array([f"https://host{h}.example/{i}" for i, h in enumerate(hosts.tolist())])
        pq.write_table(
            pa.table({"text": texts(random, web), "url": url}), folder / f"web-{number:05}.parquet"
        )
        pq.write_table(pa.table({"text": texts(random, count - web)}), folder / f"notes-{number:05}.parquet")


def resident() -> tuple[float, float]:
    """Bytes of this process that belong to no file, and all."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("RssAnon", "VmHWM"))}
    return int(found["RssAnon"]) * 1024, int(found["VmHWM"]) * 1024


class Steps:
    """CPU-seconds and most memory of each step of `curate.steps`, by name; of one that is called often, all calls."""

    def __init__(self) -> None:
        self.took: dict[str, list[float]] = {}
        self.begin, self.anonymous, self.open = resident()[0], 0.0, True
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while self.open:
            self.anonymous = max(self.anonymous, resident()[0])
            time.sleep(0.001)

    def watch(self, name: str, function):
        @functools.wraps(function)
        def watched(*args, **kwargs):
            self.anonymous = resident()[0]
            Path("/proc/self/clear_refs").write_text("5")  # the high-water mark
            begin = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                held, files = max(self.anonymous, resident()[0]), resident()[1]
                row = self.took.setdefault(name, [0.0, 0.0, 0.0])
                now = [row[0] + time.process_time() - begin, max(row[1], held), max(row[2], files)]
                self.took[name] = now

        return watched


def build(folder: Path, store: str, documents: int, duplicates: str, least: int, workers: int) -> dict:
    from curate import progress, steps
    from curate.engine import open_engine
    from curate.manifest.reader import load_manifest
    from curate.store import Store

    progress.quiet(True)
    path = folder / "driver.toml"
    tokens = documents * 2
    best = "duplicate = false" if duplicates != "none" else "symbol_word_ratio = [0, 0.5]"
    path.write_text(MANIFEST.format(folder=folder, signals=SIGNALS[duplicates], least=least, best=best,
                                    tokens=tokens, more=2 * tokens))  # fmt: skip
    built = steps.build(Store(folder / store), load_manifest(path), open_engine("local", workers))
    return built.lock


def one(folder: Path, documents: int, duplicates: str, least: int, workers: int) -> None:
    """In a process of its own: print what each step took, as JSON."""
    from curate import steps

    with tempfile.TemporaryDirectory() as small:
        write_input(Path(small), 3_000)
        build(Path(small), "store", 3_000, duplicates, 7, workers)
    watch = Steps()
    for name in STEPS:
        setattr(steps, name, watch.watch(name, getattr(steps, name)))
    Path("/proc/self/clear_refs").write_text("5")
    (anonymous, base), begin = resident(), time.process_time()
    lock = build(folder, "store", documents, duplicates, least, workers)
    rows = {name: [cpu, (held - anonymous) / documents, (files - base) / documents]
            for name, (cpu, held, files) in watch.took.items()}  # fmt: skip
    digests = [corpus["digest"][:12] for corpus in lock["corpora"]]
    print(json.dumps({"rows": rows, "cpu": time.process_time() - begin, "digests": digests}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", default="300000,1000000,3000000")
    parser.add_argument("--duplicates", choices=SIGNALS, default="exact")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "LEAST"))
    asked = parser.parse_args()
    if asked.one:
        one(Path(asked.one[0]), int(asked.documents), asked.duplicates, int(asked.one[1]), asked.workers)
        return
    print(
        "| documents | build | step | CPU-s | held | with files | held, of one more |\n|---|---|---|---|---|---|---|"
    )
    before: dict[tuple[str, str], tuple[int, float]] = {}
    for documents in map(int, asked.documents.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            write_input(Path(folder), documents)
            for what, least in (("first", 8), ("again", 9)):
                command = [sys.executable, __file__, "--one", folder, str(least), "--documents", str(documents),
                           "--duplicates", asked.duplicates, "--workers", str(asked.workers)]  # fmt: skip
                answer = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
                for step, (cpu, held, files) in answer["rows"].items():
                    fewer, less = before.get((what, step), (0, 0.0))
                    more = (held * documents - less) / (documents - fewer) if fewer else held
                    before[what, step] = documents, held * documents
                    print(
                        f"| {documents:,} | {what} | {step} | {cpu:.1f} | {held:.0f} | {files:.0f} | {more:.0f} |",
                        flush=True,
                    )
                print(
                    f"{answer['cpu']:.0f} CPU-s in all; corpora {' '.join(answer['digests'])}",
                    file=sys.stderr,
                )


if __name__ == "__main__":
    main()
