"""Run pure functions over items: threads, processes or Ray tasks; always the same answers in the same order.

All an engine must do is `map`: call one function on every item and hand back the results in the items'
order. Kernels release Python's lock, so they get threads; readers are Python, and a training cell wants
a core and a heap of its own, so they get processes. On Ray all of them are tasks, and the store must be a
folder that every machine sees, or an object store.

Tasks that leave receipts need no engine that knows of the others: `make_parts` does what nobody has done and nobody
does. Any number of processes on any machines may come, end or be killed; with a `Share` each keeps to its own.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pyarrow as pa

from curate.claims import looks
from curate.errors import CurateError, ManifestError, Unfinished
from curate.processes import starting_processes, watch_parent
from curate.progress import Progress, say

if TYPE_CHECKING:
    from curate.store import Store

T = TypeVar("T")


def cores() -> int:
    """Cores this process may use (a container's or a batch job's share, not the machine's)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Share:
    """Of every `of` tasks the one with this number, from 0. `waits`: then those of others that nobody does, and for the
    rest they are waited for; else Unfinished is raised."""

    number: int = 0
    of: int = 1
    waits: bool = True

    def own(self, tasks: Sequence[T]) -> list[T]:
        return list(tasks[self.number :: self.of])

    def saw(self, label: str, tasks: Sequence[Task], left: Sequence[Task]) -> None:
        """Called when its tasks of a stage are done: `left` are those of others."""


EVERYTHING = Share()


@dataclass(frozen=True)
class Needs:
    """What an item takes of a machine of a cluster. `gpu`: one, where the cluster has any."""

    cores: int = 1
    memory: int = 0  # bytes
    gpu: bool = False


PROCESS = 400_000_000  # bytes of a worker that has loaded its kernels
RETRIES = 3  # of a task whose worker or machine was lost


class Engine(ABC):
    holds: object = None  # kept open as long as the engine lives: a lock on the store

    def __init__(self, workers: int | None, memory: int, share: Share = EVERYTHING):
        self.limit, self.share = workers, share
        self.memory = memory  # bytes that a global step may take

    @property
    def workers(self) -> int:
        return self.limit or cores()

    @abstractmethod
    def unordered(
        self,
        function: Callable,
        items: list,
        *,
        processes: bool,
        needs: Callable[[Any], Needs] | None = None,
        lost: Callable[[Any, str], Any] | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """(index of the item, result) as results come; the first exception is raised as it is.

        `needs(item)`: of a machine; this one is shared by its cores alone. `lost(item, reason)`: the result where a worker
        was lost several times, instead of an exception.
        """


def map_parts(
    engine: Engine,
    function: Callable,
    items: Iterable,
    *,
    processes: bool = False,
    done: Callable[[Any], None] | None = None,
    needs: Callable[[Any], Needs] | None = None,
) -> list:
    """[function(item) for item in items], on the engine's workers. `done(result)` is told of each as it ends."""
    items = list(items)
    results: list = [None] * len(items)
    for index, result in engine.unordered(function, items, processes=processes, needs=needs):
        results[index] = result
        if done:
            done(result)
    give_back()
    return results


class Task(Protocol):
    """It leaves artefacts in a store; where they are all there, it is done."""

    @property
    def store(self) -> Store: ...
    @property
    def bytes(self) -> int: ...  # of what it reads
    @property
    def leaves(self) -> list[tuple[str, str]]: ...  # (stage, key) of each artefact


def is_done(task: Task) -> bool:
    return all(task.store.receipt(*artefact) for artefact in task.leaves)


def _without(tasks: Sequence[Task], is_out: Callable[[Task], bool]) -> list[Task]:
    out = tasks[0].store.each(is_out, tasks) if tasks else []
    return [task for task, out_ in zip(tasks, out, strict=True) if not out_]


def make_parts(
    engine: Engine,
    label: str,
    function: Callable[[Any], int],
    tasks: Sequence[Task],
    *,
    memory: float,
    processes: bool = False,
    prepare: Callable[[list], object] = lambda todo: None,
) -> None:
    """Do the tasks that are not done. `function(task)` leaves its artefacts and returns the bytes that it read, for each
    of which it holds `memory` bytes; `prepare(todo)` is called before.

    Raises Unfinished where others have tasks left and the engine does not wait.
    """

    def needs(task: Task) -> Needs:
        return Needs(memory=PROCESS + int(memory * task.bytes))

    def make(todo: Sequence[Task], done: Callable | None = None) -> list[int]:
        """Bytes that each of these tasks read here. Raises CurateError where what it left cannot be read back."""
        work = partial(_unless_claimed, function)
        read = map_parts(engine, work, todo, processes=processes, done=done, needs=needs)
        for task in (task for task, size in zip(todo, read, strict=True) if size):
            for artefact in task.leaves:
                task.store.made(*artefact)
        return read

    own = engine.share.own(tasks)
    todo = _without(own, is_done)
    if todo:
        prepare(todo)
        with Progress(label, sum(task.bytes for task in todo), "B") as progress:
            make(todo, progress.add)
    left = _without(tasks, is_done)
    engine.share.saw(label, tasks, left)
    if left and not engine.share.waits:
        raise Unfinished(
            f"{label} waits for {len(left):,} of {len(tasks):,} parts; run the same command again", own
        )
    if left:
        say(
            f"{label:<10} waits for {len(left):,} of {len(tasks):,} parts, and makes those that nobody works on"
        )
        prepare(left)
    again = looks()
    while left:
        # The last first: whoever has these tasks comes to them last.
        free = _without(left[::-1], lambda task: task.store.is_claimed(*task.leaves[0]))
        if not free or not any(make(free)):
            next(again)
        left = _without(left, is_done)


def give_back() -> None:
    """What threads have freed goes back to the system: glibc and Arrow keep it for later, and the next step may need it."""
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _unless_claimed(function: Callable[[Any], int], task: Task) -> int:
    """0 where another process has done it, or does."""
    with suppress(Unfinished), task.store.claim(*task.leaves[0], waits=False):
        return 0 if is_done(task) else function(task)
    return 0


def half_the_memory() -> int:
    """Bytes: half of what this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def open_engine(
    name: str, workers: int | None = None, memory: int | None = None, share: Share = EVERYTHING
) -> Engine:
    memory = memory or half_the_memory()
    if name == "local":
        return Local(workers, memory, share)
    if name == "ray":
        return Ray(workers, memory, share)
    raise ManifestError(f'--engine {name}: no such engine; use "local" or "ray"')


class Local(Engine):
    """This machine: threads for kernels, spawned processes for Python code and training."""

    def unordered(self, function, items, *, processes, needs=None, lost=None):
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
        with starting_processes():  # it may start a worker
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


class Ray(Engine):
    """Ray tasks on the cluster that `RAY_ADDRESS` names, or on a local one started here.

    A task asks for its cores, its memory and its device, so that no machine gets more than it holds; Ray runs those of
    a lost worker again. Tasks in flight are twice as many as the cores that the cluster has at the moment.
    """

    def __init__(self, workers: int | None, memory: int, share: Share = EVERYTHING):
        super().__init__(workers, memory, share)
        try:
            import ray
        except ImportError:
            raise CurateError('--engine ray: Ray is not installed; pip install "curate-lm[ray]"') from None
        self.ray = ray
        if not ray.is_initialized():
            # "local", since Ray would else join whatever cluster was started last on this machine.
            alone: dict[str, Any] = {"address": "local", "num_cpus": workers, "include_dashboard": False}
            cluster = {} if os.environ.get("RAY_ADDRESS") else alone
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **cluster)
            # It prints that a worker was lost to standard output, which with --json is for programs.
            ray._private.worker._worker_logs_enabled = False

    @property
    def workers(self) -> int:
        return self.limit or max(1, int(self.ray.cluster_resources().get("CPU", 1)))

    def unordered(self, function, items, *, processes, needs=None, lost=None):
        task = self.ray.remote(max_retries=RETRIES)(_called)
        function = self.ray.put(function)  # once, since it may hold a table
        needs = needs or (lambda item: Needs(memory=self.memory // self.workers))
        waiting: dict = {}
        todo = iter(enumerate(items))
        while True:
            while len(waiting) < 2 * self.workers and (following := next(todo, None)) is not None:
                index, item = following
                waiting[task.options(**self._asked(needs(item))).remote(function, item)] = index, item
            if not waiting:
                return
            ready, _ = self.ray.wait(list(waiting), num_returns=1)
            index, item = waiting.pop(ready[0])
            yield index, self._result(ready[0], item, lost)

    def _asked(self, needs: Needs) -> dict[str, Any]:
        """Of one machine no more than the largest has: else the task would wait forever."""
        machines = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        most = {name: max((m.get(name, 0) for m in machines), default=0) for name in ("CPU", "memory", "GPU")}
        device = {"num_gpus": 1} if needs.gpu and most["GPU"] else {}
        return {
            "num_cpus": min(needs.cores, most["CPU"]),
            "memory": int(min(needs.memory, most["memory"])),
            **device,
        }

    def _result(self, ref: Any, item: Any, lost: Callable[[Any, str], Any] | None) -> Any:
        errors = self.ray.exceptions
        try:
            return self.ray.get(ref)
        except errors.RayTaskError as error:
            raise error.cause from error
        except errors.RayError as error:
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            if lost:
                return lost(item, reason)
            raise CurateError(
                f"--engine ray: a task was lost {RETRIES + 1} times: {reason}; give it more memory with smaller [parts]"
            ) from None


def _called(function: Callable, item: Any) -> Any:
    return function(item)
