"""Two processes at once in everything that writes: both end well, and what is there is what one alone leaves."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from faults.world import (
    BUILD,
    INDEX,
    ONE,
    REPORT,
    TRAIN,
    World,
    curate,
    documents,
    expect,
    fork,
    gathered,
    leftovers,
    losses,
    start,
)

OTHERS = ("index", "third.toml", "seen", "--json", *ONE)


def run(world: World, folder: Path, rounds: int) -> int:
    """How many pairs went wrong, each of which is printed."""
    bad = 0
    for number in range(rounds):
        for name, (prepare, words, check) in pairs(world).items():
            place = folder / "pair"
            os.chdir(folder)
            ready = gathered(*fork(partial(prepare, world, place)))
            os.chdir(place)
            answers = [gathered(*child) for child in [fork(partial(curate, *command)) for command in words]]
            faults = [str(ready)] if ready else []
            faults += [one if isinstance(one, str) else one.fault for one in answers]
            if not any(faults):
                faults += gathered(*fork(partial(check, world))) + leftovers(place)
            os.chdir(folder)
            shutil.rmtree(place)
            if any(faults):
                bad += 1
                print(f"two of {name}, round {number}: {'; '.join(filter(None, faults))}", flush=True)
    print(f"{bad} bad of {rounds * len(pairs(world))} pairs", flush=True)
    return bad


Case = tuple[Callable[[World, Path], None], list[tuple[str, ...]], Callable[[World], list[str]]]


def pairs(world: World) -> dict[str, Case]:
    corpus = next(iter(sorted(Path(world.folder, ".curate/corpora").glob("raw-4k-*")))).relative_to(
        world.folder
    )
    run = next(iter(sorted(Path(world.folder, ".curate/runs").glob("unique-*/4000")))).relative_to(
        world.folder
    )
    probe = ("probe", str(run), "--steps", "0", "--family", "cipher", "--json")
    alone = (
        "train",
        "--corpus",
        str(corpus),
        "--vocabulary",
        "280",
        "--depth",
        "1",
        "--width",
        "16",
        "--json",
        *ONE,
    )
    return {
        "index, the same documents": (nothing_done, [INDEX, INDEX], indexed_once),
        "index, others": (nothing_done, [INDEX, OTHERS], indexed_both),
        "build": (only_indexed, [BUILD, BUILD], same_lock),
        "train": (only_built, [TRAIN, TRAIN], same_losses),
        "build and train": (only_indexed, [BUILD, TRAIN], same_losses),
        "report": (unreported, [REPORT, REPORT], same_lock),
        "probe": (unprobed, [probe, probe], same_losses),
        "train --corpus": (whole, [alone, alone], same_losses),
    }


def nothing_done(world: World, place: Path) -> None:
    start(place)
    third = (
        (place / "other.toml").read_text().replace("more.jsonl", "third.jsonl").replace('"other"', '"third"')
    ).replace('bytes = "20 kB" }', 'bytes = "60 kB" }')  # its documents are longer
    (place / "third.toml").write_text(third)
    (place / "third.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in documents(3)))


def whole(world: World, place: Path) -> None:
    """The world, with the cell that was interrupted trained to its end."""
    shutil.copytree(world.folder, place)
    os.chdir(place)
    expect(curate(*TRAIN))


def without(*names: str) -> Callable[[World, Path], None]:
    def prepare(world: World, place: Path) -> None:
        shutil.copytree(world.folder, place)
        for name in names:
            shutil.rmtree(place / name)

    return prepare


only_indexed = without(".curate", "report")
only_built = without(".curate/runs", ".curate/packed", "report")
unreported = without("report")


def unprobed(world: World, place: Path) -> None:
    whole(world, place)
    for path in place.rglob("probes.json"):
        path.unlink()


def indexed_once(world: World) -> list[str]:
    record = json.loads(Path("seen/index.json").read_bytes())
    return [] if len(record["segments"]) == 1 else [f"{len(record['segments'])} segments"]


def indexed_both(world: World) -> list[str]:
    record = json.loads(Path("seen/index.json").read_bytes())
    names = sorted(segment["from"]["manifest"] for segment in record["segments"])
    again = curate(*INDEX)
    faults = [] if names == ["other", "third"] else [f"the index holds {names}"]
    return faults + ([again.fault] if again.fault else [])


def same_lock(world: World) -> list[str]:
    return [] if Path("small.lock.json").read_bytes() == world.lock else ["another lock"]


def same_losses(world: World) -> list[str]:
    now = {run: found for run, found in losses().items() if "/corpus-" not in run}
    return same_lock(world) + ([] if now == world.losses else ["other losses"])
