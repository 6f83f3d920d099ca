"""Damage to every kind of file in a store, then commands.

Each try damages one file (of every kind in turn), asks one command for an answer, then builds and trains. A command
may repair, or refuse in one line; it never shows a trace, crashes, hangs, or says anything else than undisturbed.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from faults.world import BUILD, REPORT, TRAIN, World, curate, findings, forget, fork, gathered, losses, seed

Damage = Callable[[bytes, random.Random], bytes]


def flip(content: bytes, chance: random.Random) -> bytes:
    """One bit."""
    if not content:
        return b"\x01"
    changed = bytearray(content)
    changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def scatter(content: bytes, chance: random.Random) -> bytes:
    """A stretch of other bytes."""
    begin = chance.randrange(len(content) + 1)
    length = min(chance.choice([4, 64, 4096]), len(content) - begin)
    return content[:begin] + chance.randbytes(length) + content[begin + length :]


def zero_end(content: bytes, chance: random.Random) -> bytes:
    """The right size, but zeros from some page on: what a power cut leaves."""
    begin = chance.randrange(len(content) + 1) // 512 * 512
    return content[:begin] + bytes(len(content) - begin)


DAMAGES: dict[str, Damage] = {
    "flip": flip,
    "scatter": scatter,
    "zero": lambda content, chance: bytes(len(content)),
    "zero-end": zero_end,
    "truncate": lambda content, chance: content[: chance.randrange(len(content) + 1)],
    "empty": lambda content, chance: b"",
    "braces": lambda content, chance: b"{}",
    "twice": lambda content, chance: content + content,
}
GONE, PIPE = "gone", "pipe"


def kind_of(path: Path) -> str:
    """A file's place without keys, numbers and digests."""
    return re.sub(r"[0-9a-f]{64}|-[0-9a-f]{12}|\d+", "*", str(path))


def by_kind(world: World) -> list[list[Path]]:
    kinds: dict[str, list[Path]] = {}
    for path in world.files():
        kinds.setdefault(kind_of(path), []).append(path)
    return list(kinds.values())


def attempt(world: World, path: Path, damage: str, seed: int, place: Path) -> list[str]:
    """Faults of one try, in a copy of the world at `place`; empty where all is well."""
    chance = random.Random(seed)
    shutil.copytree(world.folder, place, symlinks=True)
    os.chdir(place)
    forget()
    if damage in (GONE, PIPE):
        path.unlink()
        if damage == PIPE:
            os.mkfifo(path)
    else:
        content = path.read_bytes()
        path.unlink()  # a link to it elsewhere in the store keeps what it had, as a file of another disk would
        path.write_bytes(DAMAGES[damage](content, chance))
    reader = chance.choice(list(world.answers))
    faults = judged(reader, world.answers[reader])
    built = curate(*BUILD)
    if built.fault:
        faults.append(f"build: {built.fault}")
    elif built.code == 0 and Path("small.lock.json").read_bytes() != world.lock:
        faults.append("build: silently another lock")
    trained = curate(*TRAIN)
    if trained.fault:
        faults.append(f"train: {trained.fault}")
    elif trained.code == 0 and losses() != world.losses:
        faults.append("train: silently other losses")
    if str(path).startswith(("report", ".curate/runs", ".curate/packed")):
        reported = curate(*REPORT)
        if reported.fault:
            faults.append(f"report: {reported.fault}")
        elif reported.code == 0 and findings() != world.findings:
            faults.append("report: silently other findings")
    return faults


def judged(words: tuple[str, ...], undisturbed: str) -> list[str]:
    answer = curate(*words)
    if answer.fault:
        return [f"{words[0]}: {answer.fault}"]
    if answer.out and answer.out != undisturbed and words[0] != "plan":  # that says what is left to do
        return [f"{words[0]}: silently another answer"]
    return []


def run(world: World, folder: Path, tries: int) -> int:
    """How many tries went wrong, each of which is printed."""
    kinds, first = by_kind(world), seed() * tries
    print(f"{len(world.files())} files of {len(kinds)} kinds", flush=True)
    bad: Counter[str] = Counter()
    for number in range(first, first + tries):
        chance = random.Random(number)
        path = chance.choice(kinds[number % len(kinds)])
        damage = chance.choice([*DAMAGES, GONE, PIPE])
        os.chdir(folder)
        found = gathered(*fork(partial(attempt, world, path, damage, number, folder / "now")))
        shutil.rmtree(folder / "now", ignore_errors=True)
        if found:
            what = found if isinstance(found, str) else "; ".join(found)
            bad[re.sub(r"'.*'|\d+", "*", what)[:100]] += 1
            print(f"try {number}: {damage} {path}: {what}", flush=True)
    print(f"{sum(bad.values())} bad of {tries} tries", flush=True)
    for what, count in bad.most_common():
        print(f"{count:5}  {what}")
    return sum(bad.values())
