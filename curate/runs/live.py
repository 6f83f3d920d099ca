"""What a grid is doing now: a table on a terminal, a row a running cell; a line a cell elsewhere.

Cells write what they have done beside their runs, about once a second (`train.run`); whoever trains them, a process
here or a machine of a cluster, this only reads those files.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from curate import progress
from curate.progress import say
from curate.quantities import short_count, short_time
from curate.runs.cells import PlannedCell
from curate.runs.tracking import Tracker
from curate.store import read_json
from curate.terminal import visible

LINE_SECONDS = 60.0  # between two lines where there is no terminal
RATE_SECONDS = 20.0  # over which tokens a second are counted


@dataclass
class Row:
    """A cell as it is seen from outside: what it has told of itself, and when."""

    planned: PlannedCell
    work: float  # tokens to train
    facts: dict[str, Any] = field(default_factory=dict)
    progress: list[tuple[float, float]] = field(default_factory=list)  # (time, tokens done), the latest last
    first: float = 0.0  # tokens done when it was first seen: what an earlier session trained
    ended: bool = False

    @property
    def name(self) -> str:
        """Of a cell of the grid its level, seed and place on further axes; of a study's the folder's, without the key."""
        cell = self.planned.cell
        if "level" not in cell:
            return self.planned.directory.name.rpartition("-")[0]
        tags = "".join(f" {knob.split('.')[-1]}={value}" for knob, value in cell.get("tags", {}).items())
        return f"{cell['level']} seed {cell.get('seed', 0)}{tags}"

    @property
    def done(self) -> float:
        return self.work if self.ended else min(self.work, self.facts.get("tokens_done", 0))

    @property
    def rate(self) -> float:
        """Tokens a second of late; 0 where nothing is known."""
        if len(self.progress) < 2:
            return 0.0
        (begin, before), (end, after) = self.progress[0], self.progress[-1]
        return (after - before) / (end - begin) if end > begin else 0.0

    def look(self, since: float) -> bool:
        """Read what the cell has told; False where it is not running since this time or has told nothing new."""
        path = self.planned.directory / "progress.json"
        try:
            when = path.stat().st_mtime
            if self.ended or when < since or (self.progress and when == self.progress[-1][0]):
                return False
            facts = read_json(path).items()
            self.facts = {name: fact for name, fact in facts if isinstance(fact, int | float)}
            done = float(self.facts["tokens_done"])
        except (OSError, KeyError, ValueError, AttributeError):
            return False
        if not self.progress:
            self.first = done
        self.progress = [*(t for t in self.progress if t[0] > when - RATE_SECONDS), (when, done)]
        return True


class Live:
    """`with Live(planned, work) as live: ... live.end(directory, reason)`: shows, and tells a tracker, until it is left."""

    def __init__(self, planned: Sequence[PlannedCell], work: list[float], tracker: Tracker | None = None,
                 matrix_rate: Callable[[], float] = lambda: 0.0) -> None:  # fmt: skip
        self.rows = {str(p.directory): Row(p, w) for p, w in zip(planned, work, strict=True)}
        self.tracker, self.matrix_rate = tracker or Tracker(), matrix_rate
        self.began, self.since = time.monotonic(), time.time() - 1
        self.screen = sys.stderr if sys.stderr.isatty() and not progress.is_quiet() else None
        self._drawn = 0
        self._said = self.began
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Live:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()
        self._clear()
        self.tracker.close()
        if kind is None and self.rows:
            work = sum(row.work for row in self.rows.values())
            say(f"{'train':<10} {short_count(work)} tokens in {short_time(time.monotonic() - self.began)}")

    def say(self, text: str) -> None:
        with self._lock:
            self._clear()
            say(text)

    def end(self, directory: str, reason: str | None) -> None:
        """A cell has ended, with a reason where it failed."""
        row = self.rows[directory]
        with self._lock:
            self._tell(row)
            row.ended = True
            self.tracker.end(self._name(row), row.planned.directory, row.planned.cell["sizes"])
        if reason:
            self.say(f"failed: {row.planned.directory.name}: {reason}")
        elif not self.screen:
            self.say(f"{'train':<10} {row.name}: done; {self.summary()}")

    def summary(self) -> str:
        rows = list(self.rows.values())
        left = self.seconds_left()
        time_left = f", {short_time(left)} left" if left else ""
        return f"{sum(row.ended for row in rows)} of {len(rows)} cells{time_left}"

    def seconds_left(self) -> float | None:
        """From what all cells together have trained in this session; None before anything is known."""
        rows = self.rows.values()
        now = sum(row.done - row.first for row in rows)
        left = sum(row.work - row.done for row in rows)
        return left * (time.monotonic() - self.began) / now if now > 0 else None

    def _watch(self) -> None:
        while not self._over.wait(1.0):
            self._look()
            if self.screen:
                self._draw()
            elif time.monotonic() - self._said > LINE_SECONDS:
                self._said = time.monotonic()
                say(f"{'train':<10} {self.summary()}")

    def _look(self) -> None:
        with self._lock:
            for row in self.rows.values():
                self._tell(row)

    def _tell(self, row: Row) -> None:
        if row.look(self.since) and "loss" in row.facts:
            values = {"loss": row.facts["loss"], "step": row.facts["step"], "tokens_per_second": row.rate}
            self.tracker.log(self._name(row), row.planned.cell, int(row.facts["tokens_done"]), values)

    def _name(self, row: Row) -> str:
        """Of a tracker's run: two cells of different studies may be called alike."""
        alike = sum(other.name == row.name for other in self.rows.values()) > 1
        return f"{row.name} {row.planned.directory.name}" if alike else row.name

    def _draw(self) -> None:
        with self._lock:
            running = [row for row in self.rows.values() if row.progress and not row.ended]
            lines = table(running, self.matrix_rate(), shutil.get_terminal_size().columns)
            self._clear()
            print(visible("\n".join([*lines, f"train  {self.summary()}"])), file=self.screen, flush=True)
            self._drawn = len(lines) + 1

    def _clear(self) -> None:
        if self.screen and self._drawn:
            print(f"\x1b[{self._drawn}A\x1b[J", end="", file=self.screen, flush=True)
        self._drawn = 0


def table(rows: list[Row], matrix_rate: float, columns: int) -> list[str]:
    """Lines no longer than `columns`: a head and a row a running cell. `matrix_rate`: FLOP/s, 0 where unknown."""
    if not rows:
        return []
    width = max(4, max(len(row.name) for row in rows))
    lines = [
        f"{'cell':<{width}} {'step':>8} {'loss':>7} {'tokens/s':>9} {'of limit':>9} {'done':>5} {'left':>12}"
    ]
    for row in rows:
        rate, loss = row.rate, row.facts.get("loss")
        share = rate * row.facts.get("flops_per_token", 0) / matrix_rate if matrix_rate else 0
        cells = [
            f"{row.facts.get('step', 0):>8,}",
            f"{loss:>7.3f}" if loss is not None else f"{'':>7}",
            f"{short_count(rate) if rate else '':>9}",
            f"{share:>9.0%}" if share else f"{'':>9}",
            f"{row.done / row.work:>5.0%}",
            f"{short_time((row.work - row.done) / rate) if rate else '':>12}",
        ]
        lines.append(" ".join([f"{row.name:<{width}}", *cells]))
    return [line[: columns - 1] for line in lines]
