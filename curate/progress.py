"""Progress: a bar with rate and remaining time on a terminal, a plain line at the end elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from curate.quantities import short_bytes, short_count, short_time
from curate.terminal import print_line

FORESEEABLE = (
    0.05  # share of the work before which a first part, which compiles kernels, says nothing of the rest
)
_quiet = False


def quiet(value: bool) -> bool:
    """Say nothing (`--json`: standard output and error belong to a program). Returns what it was before."""
    global _quiet
    before, _quiet = _quiet, value
    return before


@contextmanager
def silence() -> Iterator[None]:
    """Say nothing meanwhile."""
    before = quiet(True)
    try:
        yield
    finally:
        quiet(before)


def is_quiet() -> bool:
    return _quiet


def say(text: str) -> None:
    if not _quiet:
        print_line(text)


class _Said(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def say_warnings() -> None:
    """Say what `train.files` and others log, here and not where Python would print it."""
    log = logging.getLogger("curate")
    if not any(isinstance(handler, _Said) for handler in log.handlers):
        log.addHandler(_Said())


class Progress:
    """`with Progress("read", total, "B") as progress: ... progress.add(n)`; silent where there is nothing to do."""

    def __init__(self, label: str, total: float, unit: str):
        self.label, self.total, self.unit = label, total, unit
        self.count, self.begin, self.bar = 0.0, time.monotonic(), None
        self.last_line = self.begin

    def __enter__(self) -> Progress:
        if self.total and not _quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(
                total=self.total, desc=f"{self.label:<10}", unit=self.unit, unit_scale=True, leave=False
            )
        return self

    def add(self, amount: float) -> None:
        self.count += amount
        if self.bar is not None:
            self.bar.update(amount)
        elif time.monotonic() - self.last_line > 20:
            self.last_line = time.monotonic()
            share = self.count / self.total
            left = (self.last_line - self.begin) * (1 / max(share, FORESEEABLE) - 1)
            rest = f", {short_time(max(left, 0))} left" if share >= FORESEEABLE else ""
            say(f"{self.label:<10} {share:4.0%}{rest}")

    def __exit__(self, kind, *_) -> None:
        if self.bar is not None:
            self.bar.close()
        if self.total and kind is None:
            seconds = time.monotonic() - self.begin
            amount = short_bytes(self.total) if self.unit == "B" else f"{short_count(self.total)} {self.unit}"
            say(f"{self.label:<10} {amount} in {short_time(seconds)}")
