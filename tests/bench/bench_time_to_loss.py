"""Loss for time: nanoGPT and Hugging Face's Trainer by their own recipes against ours, each with its rate tuned by three trials.

    NANOGPT=FOLDER CURATE_DATA=FOLDER python tests/bench/bench_time_to_loss.py RESULTS [--minutes 8] [--sizes 0.2M 0.8M]

RESULTS is a folder: it keeps the tokens of books.parquet (vocabulary 4,096; one work in 20 is held out) and a line for
every trial, so that a bench cut short by --minutes goes on where it stopped; then it prints its tables of what there is.
The rate of every contender is the best of three on seed 0, and is trained again on seed 1. Trainer wants
`pip install transformers accelerate`; without NANOGPT there is nothing to compare with, and the bench says so and ends.

CPU-seconds are tokens times those of the least disturbed trial's median step, since other work slows all of them down.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from contenders import BATCH, CONTEXT, SHAPES, VOCABULARY

from train.config import default_rate
from train.tokens import train_tokenizer
from train.tokens.packed import Packed

TOKENS = {"0.2M": 600_000, "0.8M": 200_000, "4.7M": 80_000, "7.1M": 80_000}  # that the others train on
PIECE = 2000  # characters
LADDER = (0.15, 0.25, 0.4, 0.6, 1.3)  # shares of them at which ours is asked for its loss
RATES = {
    ("nanogpt", 64): (2e-3, 4e-3, 8e-3), ("nanogpt", 128): (1e-3, 2e-3, 4e-3),
    ("nanogpt", 256): (1e-3, 2e-3, 4e-3), ("nanogpt", 384): (0.5e-3, 1e-3, 2e-3),
}  # fmt: skip
TRAINER_SIZES = ("0.8M", "7.1M")
SPEED_TOKENS = 12 * BATCH * CONTEXT  # a trial for speed alone

Trial = dict[str, Any]


def rates(who: str, width: int) -> tuple[float, ...]:
    if who == "ours":
        return tuple(default_rate("muon", width) * factor for factor in (0.5, 1, 2))
    return RATES["nanogpt", width]


def prepare(folder: Path) -> None:
    """Tokens of the books, works held out whole. Cut to pieces and shuffled, so that any prefix is like the whole:
    chapters come in eleven languages, and some are as long as the smallest corpus."""
    if (folder / "holdout").exists():
        return
    table = pq.read_table(Path(os.environ["CURATE_DATA"]) / "books.parquet", columns=["text", "work"])
    pieces: tuple[list[str], list[str]] = [], []
    for text, work in zip(table["text"].to_pylist(), table["work"].to_pylist(), strict=True):
        held = int(hashlib.sha256(str(work).encode()).hexdigest(), 16) % 20 == 0
        pieces[held].extend(text[start : start + PIECE] for start in range(0, len(text), PIECE))
    chance = random.Random(0)
    for texts in pieces:
        chance.shuffle(texts)
    train_tokenizer(pieces[0][:4000], VOCABULARY, folder / "tokenizer.json")
    for name, texts in (("train", pieces[0][:6000]), ("holdout", pieces[1][:200])):
        Packed.of_texts(folder / name, texts, folder / "tokenizer.json")


class Results:
    """Trials and their answers, a JSON line each; a trial that is there is not run again."""

    def __init__(self, folder: Path, end: float) -> None:
        self.path, self.folder, self.end = folder / "trials.jsonl", folder, end
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.lines: list[Trial] = [json.loads(line) for line in lines]

    def find(self, **trial: Any) -> Trial | None:
        return next((line for line in self.lines if all(line.get(k) == v for k, v in trial.items())), None)

    def ask(self, **trial: Any) -> Trial | None:
        """The answer, by running the trial where there is none yet; None once the time is up."""
        if found := self.find(**trial):
            return found
        if time.monotonic() > self.end:
            return None
        command = [sys.executable, str(Path(__file__).with_name("contenders.py"))]
        done = subprocess.run(
            [*command, json.dumps({"folder": str(self.folder), **trial})], stdout=subprocess.PIPE, check=True
        )
        line = trial | json.loads(done.stdout.splitlines()[-1])
        self.lines.append(line)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return line

    def tuned(self, who: str, size: str, seeds: int = 2, **more: Any) -> list[Trial]:
        """So many seeds at the best of three rates."""
        more = {"tokens": TOKENS[size]} | more
        asked = [self.ask(who=who, size=size, rate=rate, seed=0, **more)
                 for rate in rates(who, SHAPES[size][1])]  # fmt: skip
        answers = [answer for answer in asked if answer]
        if len(answers) < len(asked):
            return []
        best = min(answers, key=lambda answer: _losses(answer)[-1][1])
        again = [
            self.ask(who=who, size=size, rate=best["rate"], seed=seed, **more) for seed in range(1, seeds)
        ]
        return [best, *filter(None, again)] if all(again) else []

    def cpu_per_token(self, who: str, size: str, **more: Any) -> float:
        same = {"mallopt": None, "threads": None} | more
        lines = [line for line in self.lines if line["who"] == who and line["size"] == size]
        steps = [line["cpu_step"] for line in lines if all(line.get(k) == v for k, v in same.items())]
        return min(steps, default=float("nan")) / (BATCH * CONTEXT)


def _losses(answer: Trial) -> list[tuple[int, float]]:
    return sorted((int(tokens), loss) for tokens, loss in answer["losses"].items())


def mean_losses(answers: list[Trial]) -> list[tuple[int, float]]:
    """(tokens, mean loss over the seeds) by size."""
    columns = zip(*map(_losses, answers), strict=True)
    return [(column[0][0], sum(loss for _, loss in column) / len(column)) for column in columns]


def tokens_to(loss: float, answers: list[Trial]) -> float:
    """Tokens after which ours is at a loss: between two sizes, along the logarithm of tokens."""
    tokens, losses = map(np.array, zip(*mean_losses(answers), strict=True))
    if not losses.min() <= loss <= losses.max():
        return float("nan")
    return float(np.exp(np.interp(-loss, -losses, np.log(tokens))))


def loss_at(tokens: float, answers: list[Trial]) -> float:
    sizes, losses = zip(*mean_losses(answers), strict=True)
    return float(np.interp(np.log(tokens), np.log(sizes), losses))


def table(results: Results, size: str) -> Iterator[str]:
    own = results.tuned("ours", size, sizes=[int(TOKENS[size] * share) for share in LADDER])
    if not own:
        return
    ours_cpu = results.cpu_per_token("ours", size)
    for who in ("nanogpt", "trainer"):
        theirs = results.tuned(who, size) if who == "nanogpt" or size in TRAINER_SIZES else []
        if not theirs:
            continue
        [(tokens, loss)] = mean_losses(theirs)
        spread = abs(theirs[0]["losses"][str(tokens)] - theirs[1]["losses"][str(tokens)])
        variants: list[dict] = [{}, {"mallopt": True}] if who == "nanogpt" else [{}]
        for more in variants:
            if more:
                results.ask(who=who, size=size, tokens=SPEED_TOKENS, rate=1e-3, seed=0, **more)
            cpu = tokens * results.cpu_per_token(who, size, **more)
            needed = tokens_to(loss, own) * ours_cpu
            yield (
                f"{size:>5} {who + (' + mallopt' if more else ''):18} rate {theirs[0]['rate']:.4f} "
                f"{tokens:9,} tokens {cpu:6.1f} CPU-s {loss:.3f} nats (seeds {spread:.3f} apart); ours (rate "
                f"{own[0]['rate']:.4f}): {loss_at(cpu / ours_cpu, own):.3f} in the same CPU-seconds, the same loss in "
                f"{needed:5.1f} CPU-s, {cpu / needed:.1f} times sooner, {tokens_to(loss, own) / tokens:.2f} of the tokens"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="Held-out loss for CPU time, against nanoGPT and Trainer.")
    parser.add_argument("results", type=Path, nargs="?", default=Path(".curate/time-to-loss"))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--sizes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    options = parser.parse_args()
    if "NANOGPT" not in os.environ or "CURATE_DATA" not in os.environ:
        print("skipped: NANOGPT must name a checkout of nanoGPT, CURATE_DATA the folder of books.parquet")
        return
    if importlib.util.find_spec("accelerate") is None:
        print("Trainer is left out: pip install accelerate")
        globals()["TRAINER_SIZES"] = ()
    options.results.mkdir(parents=True, exist_ok=True)
    prepare(options.results)
    results = Results(options.results, time.monotonic() + 60 * options.minutes)
    for size in options.sizes:
        for line in table(results, size):
            print(line, flush=True)


if __name__ == "__main__":
    main()
