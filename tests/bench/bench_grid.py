"""Cells per hour of a grid on all cores against the same cells one after the other on one core, and threads against processes.

    python tests/bench/bench_grid.py [--cells 4] [--tokens 60000] [--pairs 2]

Every pair trains the same cells both ways, in turn; the best pair counts, since other work on the machine takes from
both but more from the grid. Starting the processes is part of the time. Then tokens per second of one process with all threads
against as many processes with one, at three widths: what `threads = 0` decides by.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from curate.runs.placement import throughput
from curate.runs.workers import Workers
from train.config import ModelConfig
from train.grid import run_grid
from train.tokens.packed import Packed


def seconds(cells: list[dict], places: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder, Workers(places) as workers:
        began = time.perf_counter()
        pairs = [(cell, Path(folder) / str(i)) for i, cell in enumerate(cells)]
        failed = [outcome.reason for outcome in run_grid(pairs, workers.map) if not outcome.runs]
        assert not failed, failed
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description="Cells per hour, side by side and one after the other.")
    parser.add_argument("--cells", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=60_000)
    parser.add_argument("--pairs", type=int, default=2)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        ids = np.random.default_rng(0).zipf(1.3, options.tokens + 1) % 4096
        packed = Packed.write(f"{folder}/packed", ids, [0, len(ids)], [len(ids)], vocabulary=4096, end=0)
        for depth, width in ((4, 64), (4, 128)):
            shape = {"depth": depth, "width": width}
            cells = [
                {"packed": str(packed.path), "sizes": [options.tokens], "seed": seed, "model": shape}
                for seed in range(options.cells)
            ]
            ratios = []
            for _ in range(options.pairs):
                load = os.getloadavg()[0]
                one, all_ = seconds(cells, ["auto"]), seconds(cells, ["auto"] * cores)
                ratios.append(one / all_)
                print(
                    f"width {width:3}: {options.cells} cells in {one:5.1f} s on one core, {all_:5.1f} s on {cores}: "
                    f"{one / all_:.2f} times (load before {load:.1f})",
                    flush=True,
                )
            print(f"width {width:3}: best of {options.pairs} pairs {max(ratios):.2f} times")
    for depth, width in ((4, 64), (4, 128), (6, 256)):
        step = (ModelConfig(vocabulary=4096, depth=depth, width=width), 4, "muon", "float32")
        apart, together = throughput(step, cores, 1), throughput(step, 1, cores)
        alone = throughput(step, 1, 1)
        print(
            f"width {width:3}: {apart:8,.0f} tokens/s by {cores} processes with one thread, {together:8,.0f} by one with "
            f"{cores}, {alone:8,.0f} by one with one: {apart / together:.2f} and {apart / alone:.2f} times"
        )


if __name__ == "__main__":
    main()
