"""Cells on the devices of this machine: a process a device, or a CPU core, that trains one cell after the other.

Each worker has a heap and threads of its own, and a cell that kills its process takes no other along. Asked to
stop (Ctrl-C, SIGTERM, the end of its parent) a worker finishes its step, writes the cell's checkpoint and goes.

Light to import: only the workers load torch.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from curate.processes import starting_processes, watch_parent
from train import stop
from train.grid import Item, Outcome

GRACE_SECONDS = 60  # for a step and a checkpoint, before a worker that was asked to stop is killed


def devices(cells: list[dict[str, Any]], cores: int) -> list[str]:
    """Where to train: every CUDA device once, or as many times the CPU as its cores hold the threads of a cell."""
    asked = {str(cell.get("device", "auto")) for cell in cells}
    if asked & {"auto", "cuda"} and (cuda := _cuda_devices()):
        return [f"cuda:{number}" for number in range(cuda)]
    threads = max((cell.get("threads") or 1 for cell in cells), default=1)
    return ["auto"] * max(1, min(cores // threads, len(cells)))


def _cuda_devices() -> int:
    if not shutil.which("nvidia-smi"):  # where there is no driver, torch need not be loaded to know
        return 0
    import torch

    return torch.cuda.device_count()


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    pipe: Connection
    device: str
    item: Item | None = None


class Workers:
    """`with Workers(devices) as workers: workers.map(function, items)` yields an Outcome as each item ends.

    `matrix_rate`: FLOP/s of matrix products that one worker reaches alone with its own, measured as they start.
    """

    def __init__(self, places: list[str], say: Callable[[str], object] = lambda text: None) -> None:
        self.places, self.say = places, say
        self.matrix_rate = 0.0
        self._workers: list[_Worker] = []
        self._before: Any = None

    def __enter__(self) -> Workers:
        if threading.current_thread() is threading.main_thread():  # what batch systems send before they kill
            self._before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        return self

    def map(self, function: Callable[[Item], Outcome], items: list[Item]) -> Iterator[Outcome]:
        todo = deque(items)
        busy = 0
        while todo or busy:
            for worker in self._ready(len(todo)):
                worker.item = todo.popleft()
                worker.pipe.send((function, _placed(worker.item, worker.device)))
                busy += 1
            for outcome in self._news():
                busy -= 1
                yield outcome

    def _ready(self, wanted: int) -> list[_Worker]:
        """Idle workers for as many items, started where there are too few."""
        left = Counter(self.places) - Counter(worker.device for worker in self._workers)
        missing = max(0, wanted - sum(not worker.item for worker in self._workers))
        for device in list(left.elements())[:missing]:
            self._workers.append(_start(device))
        return [worker for worker in self._workers if not worker.item][:wanted]

    def _news(self) -> Iterator[Outcome]:
        """Wait until some worker says something, or dies."""
        waited: dict[Any, _Worker] = {}
        for worker in self._workers:
            waited |= {worker.pipe: worker, worker.process.sentinel: worker}
        for worker in {id(w): w for w in map(waited.__getitem__, wait(list(waited)))}.values():
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                yield from self._after_death(worker)
                continue
            if isinstance(message, float):
                self.matrix_rate = max(self.matrix_rate, message)
            else:
                worker.item = None
                yield message

    def _after_death(self, worker: _Worker) -> Iterator[Outcome]:
        worker.process.join()
        self._workers.remove(worker)
        if worker.item:
            yield Outcome(worker.item[1], None, _cause_of_death(worker.process.exitcode), retry=True)

    def __exit__(self, kind: type | None, *_: object) -> None:
        busy = [worker for worker in self._workers if worker.item]
        if busy and kind is not None:
            self.say(f"stopping: {len(busy)} running cells write their checkpoints; once more stops at once")
        try:
            for worker in self._workers:
                worker.pipe.close()  # an idle worker ends with it
            for worker in busy:
                worker.process.terminate()
            end = time.monotonic() + GRACE_SECONDS
            for worker in self._workers:
                worker.process.join(max(0, end - time.monotonic()))
        finally:
            for worker in self._workers:
                worker.process.kill()
            self._workers = []
            if self._before is not None:
                signal.signal(signal.SIGTERM, self._before)


def _placed(item: Item, device: str) -> Item:
    """A cell that names no device gets the worker's."""
    cell, directory = item
    free = cell.get("device", "auto") in ("auto", "cuda") and device != "auto"
    return (cell | {"device": device} if free else cell), directory


def _cause_of_death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (the system kills what takes the last memory)" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    return f"its process ended by itself, exit code {code}"


# ---- In the worker --------------------------------------------------------------------------------------


def _start(device: str) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, os.getpid()), daemon=True)
    with starting_processes():  # the parent decides
        process.start()
    theirs.close()
    return _Worker(process, ours, device)


def _serve(pipe: Connection, parent: int) -> None:
    signal.signal(signal.SIGTERM, stop.ask)
    watch_parent(parent, stop.ask, GRACE_SECONDS)
    with contextlib.suppress(EOFError, OSError, stop.Stopped):  # the parent went, or asked to stop
        measured = False
        while not stop.asked():
            function, (cell, directory) = pipe.recv()
            if not measured:
                pipe.send(matrix_rate(cell))
                measured = True
            pipe.send(function((cell, directory)))


def matrix_rate(cell: dict[str, Any], seconds: float = 0.2) -> float:
    """FLOP/s of large matrix products with the threads, device and precision of a cell: the best of what `seconds` hold."""
    import torch

    from train.machine import choose_device, choose_precision, prepare_process
    from train.model.products import use_wide_products

    prepare_process(cell.get("threads", 1))
    use_wide_products()
    device = choose_device(cell.get("device", "auto"))
    size = 512 if device.type == "cpu" else 4096
    precision = choose_precision(cell.get("precision", "auto"), device)
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        (a @ b)[0, 0].item()  # which waits for the device
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best
