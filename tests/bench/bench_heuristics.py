"""MB of text per CPU-second of each family that needs nothing but the text, some beside their plain-Python definition.

    CURATE_DATA=FOLDER python tests/bench/bench_heuristics.py

Text is web_mix.parquet, one thread, in batches as a build measures them, one family after the other: the first that asks
for the words or tokens of a batch pays for them. The best of three passes, since other work on the machine only adds.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1] / "filters"))
COLD = "--cold" in sys.argv
if COLD:  # compile everything anew, in a folder of its own
    os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp()

import naive  # noqa: E402  after the choice of the kernels' folder

from filters import FAMILIES  # noqa: E402
from filters.arrow import batches as batches_of  # noqa: E402

OTHERS = (
    "contamination",
    "language",
    "line_languages",
    "quality",
    "perplexity",
    "target_likeness",
    "topics",
    "signatures",
)  # with models, or benches
ENGLISH = ("words", "lines", "repetition", "c4")  # what Gopher, C4 and FineWeb ask for
GROUPS = {
    "Gopher, C4, FineWeb": ENGLISH,
    "every profile": (*ENGLISH, "unicode_words", "unicode_repetition", "dclm", "madlad"),
}
NAIVE_SAMPLE = 40  # every so many documents: plain Python would take minutes on all


def cpu_seconds(work: Callable[[], object], passes: int) -> float:
    best = float("inf")
    for _ in range(passes):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best


def kernel_seconds(names: list[str], texts: pa.Array, passes: int = 3) -> dict[str, float]:
    """CPU-seconds of each family over all texts."""
    best = dict.fromkeys(names, float("inf"))
    batches = [texts.slice(first, last - first) for first, last in batches_of(texts)]
    for _ in range(passes):
        spent = dict.fromkeys(names, 0.0)
        for batch in batches:
            for name in names:
                spent[name] += cpu_seconds(lambda name=name, batch=batch: FAMILIES[name].measure(batch), 1)
        best = {name: min(best[name], spent[name]) for name in names}
    return best


def megabytes(texts: pa.Array) -> float:
    return sum(len(text.encode()) for text in texts.to_pylist()) / 1e6


def main() -> None:
    folder = os.environ.get("CURATE_DATA")
    if not folder:
        sys.exit("CURATE_DATA is not set: name the folder that holds web_mix.parquet")
    table = pq.read_table(Path(folder) / "web_mix.parquet", columns=["text"])
    texts = table["text"].cast(pa.large_string()).combine_chunks()
    sample = texts.to_pylist()[::NAIVE_SAMPLE]
    whole, part = megabytes(texts), sum(len(text.encode()) for text in sample) / 1e6
    print(f"{len(texts):,} documents, {whole:.0f} MB; plain Python on {part:.1f} MB of it\n")
    print(f"{'family':<22}{'signals':>8}{'first call':>12}{'kernel':>12}{'plain':>8}{'ratio':>7}")
    print(f"{'':<22}{'':>8}{'CPU-s':>12}{'MB/CPU-s':>12}{'':>8}{'':>7}")
    totals = [0, 0.0, 0.0, 0.0]
    alone = [name for name, family in FAMILIES.items() if not family.takes and name not in OTHERS]
    compiling = {name: cpu_seconds(lambda name=name: FAMILIES[name].measure(texts[:1]), 1) for name in alone}
    kernels = {name: spent / whole for name, spent in kernel_seconds(alone, texts).items()}
    for name in alone:
        family, define, first, kernel = (
            FAMILIES[name],
            naive.HEURISTICS.get(name),
            compiling[name],
            kernels[name],
        )
        plain = (
            cpu_seconds(lambda define=define: [define(text) for text in sample], 1) / part if define else 0.0
        )
        row = [len(family.signals), first, kernel, plain]
        totals = [total + value for total, value in zip(totals, row, strict=True)]
        print_row(name, *row)
    print_row("together", *totals[:3], 0.0)
    for group, members in GROUPS.items():
        chosen = [FAMILIES[name].signals for name in members]
        print_row(
            group, sum(map(len, chosen)), *(sum(x[n] for n in members) for x in (compiling, kernels)), 0.0
        )


def print_row(name: str, signals: float, first: float, kernel: float, plain: float) -> None:
    """`kernel` and `plain` are CPU-seconds a megabyte."""
    beside = f"{1 / plain:>8.1f}{plain / kernel:>7.0f}" if plain else ""
    print(f"{name:<22}{signals:>8}{first:>12.1f}{1 / kernel:>12.0f}{beside}")


if __name__ == "__main__":
    main()
