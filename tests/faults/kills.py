"""Kills at random moments: `make kill`.

One store is built, indexed, trained and reported; every process that works on it is killed at some moment, and the
next goes on from there until all is done. Then locks, losses, weights and the index are those of an undisturbed store, and
nothing half-written is left. KILLS (200) says how many, KILLS_SEED (0) which.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from faults.world import (
    BUILD,
    INDEX,
    REPORT,
    TRAIN,
    World,
    budget,
    curate,
    ends,
    fork,
    gathered,
    losses,
    start,
)

STEPS = (INDEX, BUILD, TRAIN, REPORT)


def everything() -> list[str]:
    """All steps in this process; what was no way to end."""
    return [f"{words[0]}: {answer.fault or answer.err}" for words in STEPS if (answer := curate(*words)).code]


def state() -> dict[str, Any]:
    """What must be the same however often the work was killed."""
    kept = {"lock": Path("small.lock.json").read_text(), "losses": losses()}
    return kept | {"index": json.loads(Path("seen/index.json").read_text())}


def killed(work: Callable[[], Any], after: float) -> Any:
    """Kill a child that does this after so many seconds: None, or what it returned where it was faster."""
    child, pipe = fork(work)
    time.sleep(after)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    ended = gathered(child, pipe)
    return None if ended == "killed by SIGKILL" else ended


def leftovers(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*.tmp")]


def main() -> None:
    kills, seed = budget("KILLS", 200), budget("KILLS_SEED", 0)
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    began, chance = time.monotonic(), random.Random(seed)
    try:
        World.make(folder / "world")
        whole = state()
        start(folder / "timed")
        os.chdir(folder / "timed")
        once = time.monotonic()
        assert gathered(*fork(everything)) == []
        once = time.monotonic() - once
        print(f"undisturbed {once:.1f} s", flush=True)
        done = bad = rounds = 0
        while done < kills:
            place = folder / f"round-{rounds}"
            rounds += 1
            start(place)
            os.chdir(place)
            left = chance.randint(5, 20)
            while left and done < kills:
                ended = killed(everything, chance.random() * 0.5 * once)
                if ended is not None:  # it was faster
                    bad += said(rounds, ended)
                    break
                done, left = done + 1, left - 1
            bad += said(
                rounds, gathered(*fork(everything)) or gathered(*fork(partial(compared, whole, place)))
            )
            os.chdir(folder)
            shutil.rmtree(place)
        print(f"{bad} bad of {done} kills in {rounds} rounds, {time.monotonic() - began:.0f} s")
    finally:
        os.chdir("/")
        shutil.rmtree(folder, ignore_errors=True)
    ends(bad)


def compared(whole: dict[str, Any], place: Path) -> list[str]:
    now = state()
    return [f"another {name}" for name in whole if now[name] != whole[name]] + leftovers(place)


def said(number: int, faults: Any) -> int:
    if faults:
        print(f"round {number}: {faults}", flush=True)
    return bool(faults)


if __name__ == "__main__":
    main()
