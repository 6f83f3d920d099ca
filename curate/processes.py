"""Child processes: none hears Ctrl-C before it can do something about it, and none outlives its parent."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker

LOOK_SECONDS = 0.5


@contextlib.contextmanager
def blocking_sigint() -> Iterator[None]:
    """Processes started within never hear Ctrl-C, which a terminal sends to all; the parent hears it a moment later.

    A child that heard it while it still imports could do nothing but die with a trace.
    """
    resource_tracker.ensure_running()  # which multiprocessing would start within, and that ends the blocking
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
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
