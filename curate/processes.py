"""Child processes: none hears Ctrl-C before it can do something about it, none runs the user's script, and none outlives its
parent."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from types import ModuleType

LOOK_SECONDS = 0.5
_one_starts = threading.Lock()


@contextlib.contextmanager
def starting_processes() -> Iterator[None]:
    """Processes started within never hear Ctrl-C, which a terminal sends to all; the parent hears it a moment later. And
    they do not run the program's main file, as others do that multiprocessing starts.

    A child that heard it while it still imports could do nothing but die with a trace. A user's script that calls
    `curate.build` would call it in every child.
    """
    resource_tracker.ensure_running()  # which multiprocessing would start within, and that ends the blocking
    with _one_starts:
        main, before = sys.modules["__main__"], signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def watch_parent(parent: int, ask_to_stop: Callable[[], object] | None = None, grace: float = 0.0) -> None:
    """End this process soon after its parent has gone, however it went: an orphan must not go on writing.

    `ask_to_stop` is called first, and has `grace` seconds.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        if ask_to_stop:
            ask_to_stop()
            time.sleep(grace)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
