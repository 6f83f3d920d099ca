"""Where a build and its grid stand, for whoever joins later: a look at the store that makes nothing.

It goes the way of a build, as a share without tasks, up to what is not there yet: what comes after that nobody knows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from curate.commands.summary import table
from curate.engine import Local, Share, Task
from curate.errors import Unfinished
from curate.progress import silence
from curate.quantities import short_time
from curate.spec.manifest import Manifest
from curate.steps import build
from curate.store import Store

RECENT_SECONDS = 600.0


@dataclass(frozen=True)
class Stage:
    name: str
    done: int
    of: int
    recent: int  # of those done, in the last RECENT_SECONDS


@dataclass(frozen=True)
class Onlooker(Share):
    """A share without tasks, that keeps account of those of all stages."""

    waits: bool = False
    stages: list[Stage] = field(default_factory=list)

    def own(self, tasks: Sequence[Any]) -> list[Any]:
        return []

    def saw(self, label: str, tasks: Sequence[Task], left: Sequence[Task]) -> None:
        undone = {tuple(task.leaves) for task in left}
        done = [task for task in tasks if tuple(task.leaves) not in undone]
        self.stages.append(Stage(label, len(done), len(tasks), sum(map(_is_recent, done))))


def _is_recent(task: Task) -> bool:
    paths = [task.store.receipt_path(*artefact) for artefact in task.leaves]
    return any(path.exists() and time.time() - path.stat().st_mtime < RECENT_SECONDS for path in paths)


def status(store: Store, manifest: Manifest) -> dict[str, Any]:
    """`stages` (tasks done, of how many, of late), `next` (what everything waits for; null where all is done), `at_work`
    (claims that are held), `failed` ({work, reason}), `cells` (null before they are known)."""
    share = Onlooker()
    waiting, cells = None, None
    try:
        with silence():
            built = build(store, manifest, Local(1, 1 << 30, share), record=False)
            if manifest.grid:
                cells = _cells(built)
    except Unfinished as rest:
        waiting = str(rest)
    found = store.claims()
    failed = [{"work": c.work, "reason": c.failed} for c in found if c.failed]
    return {
        "stages": [asdict(stage) for stage in share.stages],
        "cells": cells,
        "next": waiting,
        "at_work": [asdict(c) for c in found if not c.failed],
        "failed": failed + (cells["failed"] if cells else []),
    }


def _cells(built: Any) -> dict[str, Any]:
    from curate.runs.cells import is_trained, last_failure, planned_cells

    cells = {p.directory: p for p in planned_cells(built) if not p.missing}
    left = [directory for directory, p in cells.items() if p.finished() is None]
    busy = [directory for directory in left if is_trained(directory)]
    reasons = {d: reason for d in left if d not in busy and (reason := last_failure(d))}
    return {
        "done": len(cells) - len(left),
        "of": len(cells),
        "training": [directory.name for directory in busy],
        "failed": [{"work": directory.name, "reason": reason} for directory, reason in reasons.items()],
    }


def status_text(found: dict[str, Any]) -> str:
    rows = [[s["name"], f"{s['done']:,}", f"{s['of']:,}", f"{s['recent']:,}"] for s in found["stages"]]
    lines = [table(rows, ["stage", "done", "of", "last 10 min"])]
    if cells := found["cells"]:
        training = f"; training {', '.join(cells['training'])}" if cells["training"] else ""
        lines.append(f"cells: {cells['done']} of {cells['of']} done{training}")
    for one in found["at_work"]:
        since = short_time(max(0.0, time.time() - one["since"]))
        lines.append(
            f"at work: {one['work'][:60]}, machine {one['machine']}, process {one['process']}, for {since}"
        )
    lines += [f"failed: {one['work'][:60]}: {one['reason']}" for one in found["failed"]]
    return "\n".join([*lines, found["next"] or "the build is done"])
