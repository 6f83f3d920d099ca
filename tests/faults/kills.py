"""Kills at random moments.

One store is built, indexed, trained and reported; every process that works on it is killed at some moment, and the
next goes on from there until all is done. Then locks, losses, weights and the index are those of an undisturbed store, and
nothing half-written is left.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
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
    curate,
    fork,
    gathered,
    leftovers,
    losses,
    seed,
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


def run(world: World, folder: Path, kills: int) -> int:
    """How many stores were not what they should be, each of which is printed."""
    chance = random.Random(seed())
    os.chdir(folder)
    began = time.monotonic()
    whole = gathered(*fork(partial(undisturbed, folder / "timed")))
    once = time.monotonic() - began
    done = bad = rounds = 0
    while done < kills:
        place = folder / f"round-{rounds}"
        rounds += 1
        start(place)
        os.chdir(place)
        for _ in range(min(chance.randint(5, 20), kills - done)):
            ended = killed(everything, chance.random() * 0.5 * once)
            if ended is not None:  # it was faster
                bad += said(rounds, ended)
                break
            done += 1
        bad += said(rounds, gathered(*fork(everything)) or gathered(*fork(partial(compared, whole, place))))
        os.chdir(folder)
        shutil.rmtree(place)
    print(f"{bad} bad of {rounds} stores after {done} kills", flush=True)
    return bad


def undisturbed(place: Path) -> dict[str, Any]:
    start(place)
    os.chdir(place)
    assert everything() == []
    return state()


def compared(whole: dict[str, Any], place: Path) -> list[str]:
    now = state()
    return [f"another {name}" for name in whole if now[name] != whole[name]] + leftovers(place)


def said(number: int, faults: Any) -> int:
    if faults:
        print(f"store {number}: {faults}", flush=True)
    return bool(faults)
