"""How many threads a cell gets on a CPU, by measurement: the number at which the cells of a grid advance fastest together.

As many processes as fit train a few steps side by side, first with one thread each, then with twice as many, for as
long as tokens per second in all still grow. What was found is kept in a file, under the machine, the shape of the
step and how many cells there are at once.
Price: some ten seconds of a grid's start, once; and threads differ in the last bits of their sums, so a cell
trained with two is equal to its twin with one in four digits, not in all.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from curate.processes import starting_processes
from train.cell import Cell
from train.config import ModelConfig, OptimizerConfig, model_size
from train.files import digest_of, remembered, write_record
from train.machine import autocast, choose_device, prepare_process
from train.optim.optimizers import make_optimizers
from train.tokens.packed import Packed
from train.trainer import new_model

MEASURED_SECONDS = 1.5
GROWTH = 1.05  # by less than this more threads are not worth their other sums
START_SECONDS = 120  # for a process to be ready, before the trial counts as failed

Step = tuple[ModelConfig, int, str, str]  # model, windows, optimizer, precision


def choose_threads(
    cells: list[dict[str, Any]],
    cores: int,
    known: Path,
    measure: Callable[[Step, int, int], float] | None = None,
) -> int:
    """Threads for each of the cells: the best for the one whose step is the largest.

    `measure(step, processes, threads)`: tokens per second in all.
    """
    step = max(map(_step, cells), key=lambda step: step[0].width ** 2 * step[0].depth * step[1])
    at_once = min(cores, len(cells))
    of = [*_machine(), cores, at_once, *_shape(step)]
    return _kept(known, of, lambda: _fastest(step, at_once, cores, measure or throughput))["threads"]


def flops_a_second(setting: dict[str, Any], vocabulary: int, known: Path) -> float:
    """What one core of this machine makes of the six operations a parameter and token, at a step of this setting:
    measured once, kept in the file `known`."""
    cell = Cell.of({**setting, "packed": "", "sizes": [1], "threads": 1})
    config = ModelConfig.of(cell.model, vocabulary=vocabulary, context=cell.context, end=0)
    step = config, cell.batch, OptimizerConfig.of(cell.optimizer).name, cell.precision
    rate = _kept(known, [*_machine(), "one core", *_shape(step)], lambda: {"rate": throughput(step, 1, 1)})[
        "rate"
    ]
    return 6 * model_size(cell.model, vocabulary, cell.context)[0] * rate


def _machine() -> list[Any]:
    return [platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.__version__]


def _shape(step: Step) -> list[Any]:
    return [asdict(step[0]), step[1:]]


def _kept(known: Path, of: list[Any], measure: Callable[[], dict]) -> dict:
    """What the file says of this, or is told of it now."""
    key = digest_of(of)[:16]
    found = remembered(known)
    if key not in found:
        found[key] = measure()
        if found[key].get("rate") != 0.0:  # a machine that was too busy may be measured another time
            write_record(known, found)
    return found[key]


def _step(cell: dict[str, Any]) -> Step:
    whole = Cell.of(cell | {"threads": 1})
    config = whole.model_config(Packed.open(whole.packed))
    return config, whole.batch, OptimizerConfig.of(whole.optimizer).name, whole.precision


def _fastest(step: Step, at_once: int, cores: int, measure: Callable[[Step, int, int], float]) -> dict:
    speeds: dict[int, float] = {}
    for threads in (1 << doubled for doubled in range(cores.bit_length())):
        speeds[threads] = measure(step, max(1, min(cores // threads, at_once)), threads)
        if threads > 1 and speeds[threads] < GROWTH * speeds[threads // 2]:
            return {"threads": threads // 2, "tokens_per_second": speeds}
    return {"threads": max(speeds), "tokens_per_second": speeds}


def throughput(step: Step, processes: int, threads: int) -> float:
    """Tokens per second of so many processes that train side by side; 0.0 where one of them could not."""
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(processes), context.Queue()
    running = [
        context.Process(target=_train_a_little, args=(step, threads, barrier, queue), daemon=True)
        for _ in range(processes)
    ]
    with starting_processes():
        for process in running:
            process.start()
    for process in running:
        process.join(START_SECONDS)
        process.kill()
        process.join()  # until then a process that was killed has no exit code
    return 0.0 if any(process.exitcode for process in running) else sum(queue.get() for _ in running)


def _train_a_little(step: Step, threads: int, barrier: Any, queue: Any) -> None:
    config, batch, name, precision = step
    prepare_process(threads)
    device = choose_device("cpu")
    model = new_model(config, os.getpid())
    optimizers = make_optimizers(model, OptimizerConfig(name=name), batch * config.context)
    tokens_BT = torch.randint(0, config.vocabulary, (batch, config.context))

    def one_step() -> None:
        with autocast(device, precision):
            loss = model(tokens_BT, tokens_BT)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    one_step()
    one_step()
    barrier.wait(START_SECONDS)
    # One thread alone is timed by its own seconds, so that who else computes here does not count.
    clock = time.process_time if threads == barrier.parties == 1 else time.perf_counter
    began, steps = clock(), 0
    while clock() - began < MEASURED_SECONDS:
        one_step()
        steps += 1
    queue.put(steps * batch * config.context / (clock() - began))
