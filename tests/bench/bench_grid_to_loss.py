"""A grid of 8 cells to nanoGPT's loss, in wall-clock time on all cores: 8 seeds of one model, ours against nanoGPT.

    NANOGPT=FOLDER CURATE_DATA=FOLDER python tests/bench/bench_grid_to_loss.py RESULTS [--minutes 8] [--sizes 0.2M 0.8M]

RESULTS is that of `bench_time_to_loss.py`, whose trials tell nanoGPT's loss (mean of two seeds at the best of three rates)
and after how many tokens ours has it (of four, as ours is asked on a ladder, which is cheap). Then 8 cells of so many tokens (and 5 % more) are trained as a grid, the start of its
processes included, and nanoGPT's steps are timed right before and after, both ways it can use all cores: one process
with all threads, as its own loop does, and one process a core. Its 8 runs take as many steps as its loss did. Other work on
the machine makes our whole grid wait, and not the best of nanoGPT's steps: so CPU-seconds stand beside.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_time_to_loss import SPEED_TOKENS, Results, mean_losses, prepare, tokens_to
from contenders import BATCH, CONTEXT, our_cell, run

from curate.runs.workers import Workers
from train.evaluate import score
from train.grid import run_grid
from train.tokens.packed import Packed
from train.trained import load_run

CELLS = 8
TOKENS = {"0.2M": 600_000, "0.8M": 600_000, "4.7M": 400_000}  # that nanoGPT trains on
LADDER = (0.08, 0.12, 0.18, 0.27)  # shares of them at which ours is asked for its loss
MORE = 1.05
SEEDS = 4  # that tell how many tokens ours needs


def step(folder: Path, size: str, threads: int) -> tuple[float, float]:
    """Wall-clock and CPU-seconds of nanoGPT's undisturbed step."""
    trial = {"folder": folder, "size": size, "tokens": SPEED_TOKENS, "rate": 1e-3, "seed": 0}
    answer = run("nanogpt", threads=threads, **trial)
    return answer["wall_best"], answer["cpu_best"]


def cpu_seconds() -> float:
    """Of the processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def grid(folder: Path, size: str, tokens: int, rate: float, cores: int) -> tuple[float, float, float]:
    """Wall-clock and CPU-seconds of all cells, and the mean of their held-out losses in nats."""
    with tempfile.TemporaryDirectory() as out:
        places = [Path(out) / str(seed) for seed in range(CELLS)]
        cells = [our_cell(folder, size, [tokens], rate, 10 + seed) for seed in range(CELLS)]
        began, cpu = time.perf_counter(), cpu_seconds()
        with Workers(["auto"] * cores) as workers:
            failed = [
                one.reason for one in run_grid(zip(cells, places, strict=True), workers.map) if not one.runs
            ]
        seconds, cpu = time.perf_counter() - began, cpu_seconds() - cpu
        assert not failed, failed
        holdout, losses = Packed.open(folder / "holdout"), []
        for place in places:
            model = load_run(place / str(tokens)).model
            nats = score(model, holdout.tokens, holdout.documents, holdout.end)
            losses.append(float(nats.sum()) / holdout.meta["tokens"])
        return seconds, cpu, sum(losses) / len(losses)


def line(results: Results, size: str, cores: int) -> str | None:
    budget = {"size": size, "tokens": TOKENS[size]}
    theirs = results.tuned("nanogpt", **budget)
    own = results.tuned("ours", **budget, seeds=SEEDS, sizes=[int(TOKENS[size] * share) for share in LADDER])
    if not theirs or not own:
        return None
    [(their_tokens, target)] = mean_losses(theirs)
    needed = int(MORE * tokens_to(target, own))
    steps: dict[int, list[tuple[float, float]]] = {cores: [], 1: []}

    def time_them() -> None:
        for threads, seen in steps.items():
            seen.append(step(results.folder, size, threads))

    time_them()
    seconds, cpu, loss = grid(results.folder, size, needed, own[0]["rate"], cores)
    time_them()
    whole = CELLS * their_tokens / (BATCH * CONTEXT)
    threaded, apart = (whole * min(wall for wall, _ in steps[threads]) for threads in (cores, 1))
    their_cpu, apart = whole * min(cpu for _, cpu in steps[1]), apart / cores
    return (
        f"{size:>5} nanoGPT {their_tokens:,} tokens, {target:.3f} nats; our {CELLS} cells {needed:,} tokens, {loss:.3f} nats in "
        f"{seconds:.1f} s; nanoGPT's {CELLS} in {threaded:.0f} s by {cores} threads: {threaded / seconds:.1f} times, "
        f"{apart:.0f} s by {cores} processes: {apart / seconds:.1f} times; CPU-seconds {cpu:.1f} and, on one thread, "
        f"{their_cpu:.0f}: {their_cpu / cpu:.1f} times (load {os.getloadavg()[0]:.1f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Wall-clock time of a grid of 8 cells to nanoGPT's loss.")
    parser.add_argument("results", type=Path, nargs="?", default=Path(".curate/time-to-loss"))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--sizes", nargs="+", default=list(TOKENS), choices=list(TOKENS))
    options: Any = parser.parse_args()
    if "NANOGPT" not in os.environ or "CURATE_DATA" not in os.environ:
        print("skipped: NANOGPT must name a checkout of nanoGPT, CURATE_DATA the folder of books.parquet")
        return
    options.results.mkdir(parents=True, exist_ok=True)
    prepare(options.results)
    results = Results(options.results, time.monotonic() + 60 * options.minutes)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for size in options.sizes:
        print(
            line(results, size, cores) or f"{size:>5} trials are not done: run it again to go on", flush=True
        )


if __name__ == "__main__":
    main()
