"""Run pure functions over items: threads, processes or Ray tasks; always the same answers in the same order.

All an engine must do is `map`: call one function on every item and hand back the results in the items'
order. Kernels release Python's lock, so they get threads; readers are Python, and a training cell wants
a core and a heap of its own, so they get processes. On Ray all of them are tasks, and the store must lie
on a file system that every machine sees.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from typing import Any, Protocol

from curate.errors import CurateError, ManifestError
from curate.processes import blocking_sigint, watch_parent


def cores() -> int:
    """Cores this process may use (a container's or a batch job's share, not the machine's)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Engine(Protocol):
    workers: int
    memory: int  # bytes that a global step may take
    holds: object  # kept open as long as the engine lives: a lock on the store

    def unordered(self, function: Callable, items: list, *, processes: bool) -> Iterator[tuple[int, Any]]:
        """(index of the item, result) as results come; the first exception is raised as it is."""


def map_parts(
    engine: Engine,
    function: Callable,
    items: Iterable,
    *,
    processes: bool = False,
    done: Callable[[Any], None] | None = None,
) -> list:
    """[function(item) for item in items], on the engine's workers. `done(result)` is told of each as it ends."""
    items = list(items)
    results: list = [None] * len(items)
    for index, result in engine.unordered(function, items, processes=processes):
        results[index] = result
        if done:
            done(result)
    return results


def half_the_memory() -> int:
    """Bytes: half of what this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def open_engine(name: str, workers: int | None = None, memory: int | None = None) -> Engine:
    memory = memory or half_the_memory()
    if name == "local":
        return Local(workers or cores(), memory)
    if name == "ray":
        return Ray(workers, memory)
    raise ManifestError(f'--engine {name}: no such engine; use "local" or "ray"')


class Local:
    """This machine: threads for kernels, spawned processes for Python code and training."""

    holds: object = None

    def __init__(self, workers: int, memory: int):
        self.workers, self.memory = workers, memory

    def unordered(self, function, items, *, processes):
        if self.workers == 1 or (len(items) == 1 and not processes):
            yield from ((i, function(item)) for i, item in enumerate(items))
            return
        pool = (_Processes if processes else ThreadPoolExecutor)(self.workers)
        try:
            # A few items in flight a worker, not all: what waits in a queue holds memory.
            yield from _drain(pool, function, items, in_flight=2 * self.workers)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _drain(pool: Executor, function, items, in_flight: int) -> Iterator[tuple[int, Any]]:
    waiting: dict[Future, int] = {}
    todo = iter(enumerate(items))
    while True:
        while len(waiting) < in_flight and (following := next(todo, None)) is not None:
            index, item = following
            waiting[pool.submit(function, item)] = index
        if not waiting:
            return
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            yield waiting.pop(future), future.result()


class _Processes(ProcessPoolExecutor):
    def __init__(self, workers: int) -> None:
        super().__init__(workers, multiprocessing.get_context("spawn"), _start, (os.getpid(),))

    def submit(self, function, /, *args, **kwargs):
        with blocking_sigint():  # it may start a worker
            return super().submit(_interruptible, function, *args, **kwargs)


class _Interrupt:
    """Ctrl-C in a worker, which a terminal sends to all: it ends the item at work, and every later one at once.

    A worker that waits for an item has nothing to end: there it must not raise.
    """

    def __init__(self) -> None:
        self.heard = self.at_work = False

    def __call__(self, *_: object) -> None:
        self.heard = True
        if self.at_work:
            raise KeyboardInterrupt

    def during(self, function: Callable, *args: Any, **kwargs: Any) -> Any:
        self.at_work = True
        try:
            if self.heard:
                raise KeyboardInterrupt
            return function(*args, **kwargs)
        finally:
            self.at_work = False


_interrupt = _Interrupt()


def _interruptible(function: Callable, *args: Any, **kwargs: Any) -> Any:
    return _interrupt.during(function, *args, **kwargs)


def _start(parent: int) -> None:
    """In a new worker."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    watch_parent(parent)


class Ray:
    """Ray tasks on the cluster that `RAY_ADDRESS` names, or on a local one started here."""

    holds: object = None

    def __init__(self, workers: int | None, memory: int):
        try:
            import ray
        except ImportError:
            raise CurateError('--engine ray: Ray is not installed; pip install "curate-lm[ray]"') from None
        self.ray = ray
        if not ray.is_initialized():
            alone = not os.environ.get("RAY_ADDRESS")
            local: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False} if alone else {}
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **local)
        self.memory = memory
        self.workers = workers or int(ray.cluster_resources().get("CPU", 1))

    def unordered(self, function, items, *, processes):
        task = self.ray.remote(num_cpus=1, max_retries=2)(function)
        waiting: dict = {}
        todo = iter(enumerate(items))
        while True:
            while len(waiting) < 2 * self.workers and (following := next(todo, None)) is not None:
                index, item = following
                waiting[task.remote(item)] = index
            if not waiting:
                return
            ready, _ = self.ray.wait(list(waiting), num_returns=1)
            try:
                yield waiting.pop(ready[0]), self.ray.get(ready[0])
            except self.ray.exceptions.RayTaskError as error:
                raise error.cause from error
