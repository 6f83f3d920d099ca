"""A ladder of four sizes, each twice the one before, beside a run of its own for every size.

    CURATE_DATA=FOLDER python tests/bench/bench_ladder.py [--cooldown 0.25] [--smallest 65536] [--seeds 3]

Both read pieces of English books with one tokenizer of 4,096 tokens, and are scored on held-out ones. The separate
runs read their tokens in an order of their own, so what a ladder changes shows beside what chance changes. CPU
seconds are of training alone, in this process, on one thread.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from train.cell import Cell
from train.run import train_cell
from train.tokens import Packed, train_tokenizer

HOLDOUT_TOKENS = 30_000
CHARACTERS = 4_000  # of a book, behind its title pages: many books a size, as a corpus has many documents


def packed(folder: Path, tokens: int) -> dict[str, Packed]:
    """Training and held-out pieces of books in a fixed random order; the first document of the holdout ends the training."""
    books = pq.read_table(Path(os.environ["CURATE_DATA"]) / "books.parquet", columns=["text", "lang"])
    books = books.filter(pc.equal(books["lang"], "en"))  # else each size has languages of its own, by chance
    texts = books["text"].cast(pa.large_string()).combine_chunks()
    texts = pc.utf8_slice_codeunits(texts, CHARACTERS, 2 * CHARACTERS)
    texts = texts.take(pa.array(np.random.default_rng(0).permutation(len(texts))))
    sizes = np.cumsum(pc.binary_length(texts).to_numpy())
    end = int(np.searchsorted(sizes, 5 * tokens))  # bytes: a token of 4,096 holds fewer
    last = int(np.searchsorted(sizes, sizes[end] + 4 * HOLDOUT_TOKENS))
    train_tokenizer((text.as_py() for text in texts[:end]), 4096, folder / "tokenizer.json")
    parts = {"train": texts[:end], "holdout": texts[end + 1 : last]}
    return {
        name: Packed.of_texts(folder / name, part, folder / "tokenizer.json") for name, part in parts.items()
    }


def train(folder: Path, name: str, sizes: list[int], seed: int, options) -> tuple[list[float], float]:
    """Held-out nats per token of every size, and the CPU seconds that all took."""
    cell = Cell(
        packed=str(folder / "train"), holdouts={"books": str(folder / "holdout")}, sizes=sizes, seed=seed,
        model={"depth": options.depth}, cooldown=options.cooldown, device="cpu",
    )  # fmt: skip
    began = time.process_time()
    runs = train_cell(cell, folder / f"{name}-{seed}")
    seconds = time.process_time() - began
    return [runs[str(size)]["losses"]["books"]["nats_per_token"] for size in sizes], seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="A ladder beside separate runs of its sizes.")
    parser.add_argument("--cooldown", type=float, default=0.25)
    parser.add_argument("--smallest", type=int, default=1 << 16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--depth", type=int, default=2)
    options = parser.parse_args()
    if "CURATE_DATA" not in os.environ:
        sys.exit("CURATE_DATA is not set: name the folder that holds books.parquet")
    sizes = [options.smallest << power for power in range(4)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        packed(folder, sizes[-1])
        ladders, alone, spent = [], [], np.zeros(2)
        for seed in range(options.seeds):
            losses, seconds = train(folder, "ladder", sizes, seed, options)
            each = [train(folder, f"alone-{size}", [size], seed, options) for size in sizes]
            ladders.append(losses)
            alone.append([one for (one,), _ in each])
            spent += [seconds, sum(seconds for _, seconds in each)]
    show(sizes, np.array(ladders), np.array(alone), spent, options)


def show(sizes: list[int], ladders: np.ndarray, alone: np.ndarray, spent: np.ndarray, options) -> None:
    print(f"depth {options.depth}, cool-down {options.cooldown}, {len(ladders)} seeds; nats per token")
    print("   tokens   ladder   alone   difference (paired by seed)   spread of seeds, alone")
    for size, ours, theirs in zip(sizes, ladders.T, alone.T, strict=True):
        error = (ours - theirs).std(ddof=1) / len(ours) ** 0.5
        print(
            f"{size:9,} {ours.mean():8.4f} {theirs.mean():7.4f} {(ours - theirs).mean():+11.4f} +- {error:.4f}"
            f"{theirs.std(ddof=1):24.4f}"
        )
    steps = (1 - options.cooldown) * max(sizes) + options.cooldown * sum(sizes)
    print(
        f"saved: {1 - spent[0] / spent[1]:.1%} of the CPU seconds, {1 - steps / sum(sizes):.1%} of the tokens"
    )


if __name__ == "__main__":
    main()
