"""How a run is asked to stop between two steps: it writes its checkpoint and raises `Stopped`."""

from __future__ import annotations

import threading

_asked = threading.Event()


class Stopped(Exception):
    """The run ended on request, with a checkpoint from which it continues."""


def ask(*_: object) -> None:
    """Also a handler of signals."""
    _asked.set()


def asked() -> bool:
    return _asked.is_set()
