"""Shares of one build and its grid, killed at random and started again, some of which wait: the lock and the losses are
those of one process, and nothing is left half-written, or claimed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from faults.kills import said
from faults.world import BUILD, INDEX, TRAIN, World, curate, fork, gathered, losses, seed, start

from curate.claims import claims

SHARES = 8
KILLS = 12  # a round
ROUND_SECONDS = 900.0
DONE, UNFINISHED = 0, 75


def run(world: World, folder: Path, rounds: int) -> int:
    """How many rounds went wrong, each of which is printed."""
    chance = random.Random(seed())
    bad = 0
    for number in range(rounds):
        place = folder / "shares"
        start(place)
        os.chdir(place)
        assert not gathered(*fork(lambda: curate(*INDEX).fault))
        faults = finished(chance, BUILD, SHARES, KILLS) or finished(chance, TRAIN, 2, 3)
        bad += said(number, faults or gathered(*fork(partial(compared, world))))
        os.chdir(folder)
        shutil.rmtree(place)
    print(f"{bad} bad of {rounds} rounds of {SHARES} shares", flush=True)
    return bad


def finished(chance: random.Random, words: tuple[str, ...], shares: int, kills: int) -> list[str]:
    """Start what has ended unfinished, and kill some, until every share says that all is done; else why not."""
    running: dict[int, tuple[int, int]] = {}
    todo = set(range(shares))
    end = time.monotonic() + ROUND_SECONDS
    while todo or running:
        for number in sorted(todo - set(running)):
            waits = ["--wait"] if chance.random() < 0.3 else []
            running[number] = fork(partial(ended, *words, "--share", f"{number}/{shares}", *waits))
        time.sleep(0.5 * chance.random())
        if kills and running:
            kills -= 1
            with suppress(ProcessLookupError):
                os.kill(running[chance.choice(sorted(running))][0], signal.SIGKILL)
        for number in [n for n, (child, _) in running.items() if has_ended(child)]:
            answer = gathered(*running.pop(number))
            if answer == DONE:
                todo.discard(number)
            elif answer != UNFINISHED and answer != "killed by SIGKILL":
                return [f"share {number}: {answer}"]
        if time.monotonic() > end:
            return [f"shares {sorted(todo)} are not done"]
    return []


def ended(*words: str) -> int | str:
    answer = curate(*words)
    if answer.code == UNFINISHED:
        assert answer.err.strip().splitlines()[-1].startswith("unfinished: "), answer.err
        return UNFINISHED
    return answer.fault or answer.code


def has_ended(child: int) -> bool:
    """Whether it has, without taking its status from `gathered`."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def compared(world: World) -> list[str]:
    now = json.loads(Path("small.lock.json").read_text())
    faults = [] if now == json.loads(world.lock) else ["another lock"]
    faults += [] if losses() == world.losses else ["other losses"]
    return faults + [f"{claim.work}: {claim.failed or 'claimed'}" for claim in claims(Path(".curate/claims"))]
