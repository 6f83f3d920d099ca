"""How a run is asked to stop between two steps: it writes its checkpoint and raises `Stopped`."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker

_asked = threading.Event()


class Stopped(Exception):
    """The run ended on request, with a checkpoint from which it continues."""


def ask(*_: object) -> None:
    """Also a handler of signals."""
    _asked.set()


def asked() -> bool:
    return _asked.is_set()


@contextlib.contextmanager
def deaf_children() -> Iterator[None]:
    """Processes started within never hear Ctrl-C, which a terminal sends to all; the parent hears it a moment later.

    A child that heard it while it still imports could do nothing but die with a trace.
    """
    resource_tracker.ensure_running()  # which multiprocessing would start within, and that ends the blocking
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
