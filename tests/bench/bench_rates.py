"""Does the learning rate that the rule gives transfer across widths? Held-out loss around it, at three widths.

    CURATE_DATA=FOLDER python tests/bench/bench_rates.py FOLDER [--tokens 100000] [--widths 64 128 256]

FOLDER keeps the tokens of books.parquet, as for bench_time_to_loss. The rule holds where the best of the rates (the rule's
times 1/4, 1/2, 1, 2 and 4) lies within one step of two of it, at every width.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from bench_time_to_loss import prepare

from train.config import default_rate
from train.machine import prepare_process
from train.run import train_cell

FACTORS = (0.25, 0.5, 1, 2, 4)


def loss(folder: Path, width: int, rate: float, tokens: int, seed: int) -> float:
    cell = {
        "packed": str(folder / "train"), "holdouts": {"books": str(folder / "holdout")}, "sizes": [tokens],
        "model": {"depth": 4, "width": width}, "optimizer": {"learning_rate": rate}, "seed": seed,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as runs:
        return train_cell(cell, runs)[str(tokens)]["losses"]["books"]["nats_per_token"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Held-out loss around the rate of the rule, at several widths."
    )
    parser.add_argument("folder", type=Path, nargs="?", default=Path(".curate/time-to-loss"))
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    if "CURATE_DATA" not in os.environ:
        print("skipped: CURATE_DATA must name the folder of books.parquet")
        return
    prepare_process(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    prepare(options.folder)
    for width in options.widths:
        losses = {}
        for factor in FACTORS:
            rate = factor * default_rate("muon", width)
            found = [loss(options.folder, width, rate, options.tokens, seed) for seed in range(options.seeds)]
            losses[factor] = sum(found) / len(found)
        best = min(losses, key=lambda factor: losses[factor])
        line = ", ".join(f"x{factor:g} {nats:.3f}" for factor, nats in losses.items())
        print(
            f"width {width:3}, rule {default_rate('muon', width):.4f}: {line}; best at x{best:g}", flush=True
        )


if __name__ == "__main__":
    main()
