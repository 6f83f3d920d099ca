"""A small store with every kind of file in it, the commands that read and write it, and what each answers undisturbed.

Commands run in forks of one warm process: a fork that crashes takes nothing along, knows of files only what the parent
knew, and starts in milliseconds. Cells train within the fork.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}

from click.testing import CliRunner

from curate.cli import main
from train import files

MANIFEST = """
name = "small"

[[source]]
name = "notes"
format = "jsonl"
path = "notes.jsonl"

[parts]
bytes = "30 kB"

[signals]
language = true
perplexity = { train = { source = ["notes"] }, bytes = "20 kB" }
repeated_spans = true
near_duplicates = { similarity = 0.7 }
index = ["seen"]

[[level]]
name = "raw"

[[level]]
name = "unique"
on = "raw"
keep = { word_count = [5, inf], duplicate = false }

[tokenizer]
vocabulary = 300
bytes = "20 kB"

[sizes]
tokens = ["2k", "4k"]

[holdout]
tokens = "2k"
from = ["raw"]

[grid]
seeds = 1
context = 16
batch = 4
device = "cpu"
model = { depth = 1, width = 16 }
"""
OTHER = (
    MANIFEST.replace('"small"', '"other"')
    .replace('index = ["seen"]', "")
    .replace("notes.jsonl", "more.jsonl")
)
TRY_SECONDS = 120.0  # after which a fork counts as hanging


def documents(seed: int, count: int = 160) -> list[str]:
    """Sentences of a small vocabulary, some of them twice and some nearly twice."""
    chance = random.Random(seed)
    words = [
        "the",
        "of",
        "and",
        "river",
        "stone",
        "light",
        "winter",
        "garden",
        "paper",
        "voice",
        "harbour",
        "letter",
    ]
    rows = []
    for number in range(count):
        text = " ".join(
            chance.choice(words) + ("" if chance.random() < 0.7 else str(number % 37)) for _ in range(60)
        )
        rows.append(rows[-1] if rows and chance.random() < 0.05 else text)
        if chance.random() < 0.05:
            rows.append(text.replace("river", "stream", 1))
    return rows


class Trained:
    """Stands for `curate.runs.workers.Workers`: cells train in this process."""

    def __init__(self, places: list[str], say: Callable[[str], object]) -> None:
        self.matrix_rate = 0.0

    def __enter__(self) -> Trained:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, function: Callable, items: list) -> Iterator[Any]:
        return map(function, items)


@dataclass
class Answer:
    """What a command did: `trace` where it raised what is no exit."""

    code: int
    out: str
    err: str
    trace: str = ""

    @property
    def fault(self) -> str:
        """Why this is no way to end; empty where it is done, or refused in one line."""
        if self.trace:
            return f"trace: {self.trace.strip().splitlines()[-1]}"
        if "Traceback" in self.err:
            return "trace on standard error"
        last = self.err.strip().splitlines()[-1:] or [""]
        told = "failed" in self.out or '"only_a"' in self.out  # a diff of what differs ends with 1 too
        if self.code and not last[0].startswith(("error: ", "missing: ")) and not told:
            return f"exit {self.code} without an error line: {last[0]!r}"
        return ""


def curate(*words: str) -> Answer:
    """Run a command in this process, in the current folder."""
    runner = CliRunner()
    done = runner.invoke(main, [*words])
    trace = ""
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        trace = "".join(traceback.format_exception(done.exception))
    return Answer(done.exit_code, done.stdout, done.stderr, trace)


ONE = ("--workers", "1")
BUILD = ("build", "small.toml", "--json", *ONE)
TRAIN = ("train", "small.toml", "--json", *ONE)
REPORT = ("report", "small.toml", "--json", *ONE)
INDEX = ("index", "other.toml", "seen", "--json", *ONE)


def _first(pattern: str) -> str:
    return str(sorted(Path().glob(pattern))[0])


def probe() -> tuple[str, ...]:
    return ("probe", _first(".curate/runs/unique-*/4000"), "--steps", "0", "--family", "cipher", "--json")


def readers() -> list[tuple[str, ...]]:
    """Commands that answer from what is there."""
    corpus, run = _first(".curate/corpora/raw-4k-*"), _first(".curate/runs/unique-*/4000")
    return [
        ("show", corpus, "--json"), ("show", "small.toml", "--json", *ONE), ("verify", "small.lock.json", "--json"),
        ("explain", "small.toml", "notes.jsonl:3", "--json", *ONE), ("score", run, "notes.txt", "--json"),
        ("diff", "raw", "unique", "--of", "small.toml", "--json", *ONE), ("diff", "small.lock.json", "other.toml", "--json"),
        ("plan", "small.toml", "--json", *ONE), ("export", run, "--out", "hf", "--json"),
        probe(),
    ]  # fmt: skip


@dataclass
class World:
    """A folder in which everything has been done, but for one cell that was interrupted; and what every command said when
    all was done."""

    folder: Path
    lock: bytes = b""
    losses: dict[str, Any] = field(default_factory=dict)
    findings: dict[str, Any] = field(default_factory=dict)
    answers: dict[tuple[str, ...], str] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path) -> World:
        """Build, train, report, index and probe, once, in this process."""
        patch()
        start(folder)
        os.chdir(folder)
        for words in (INDEX, BUILD, TRAIN, REPORT):
            expect(curate(*words))
        world = cls(folder, Path("small.lock.json").read_bytes(), losses(), findings())
        for words in readers():
            answer = curate(*words)
            world.answers[words] = (answer if words[0] == "diff" and answer.out else expect(answer)).out
            shutil.rmtree("hf", ignore_errors=True)
        interrupt(Path(_first(".curate/runs/raw-*")))
        return world

    def files(self) -> list[Path]:
        """Everything that a command has written, relative to the folder."""
        inputs = {"small.toml", "other.toml", "notes.jsonl", "more.jsonl", "notes.txt"}
        found = [path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file()]
        return sorted(path for path in found if path.name not in inputs)


def start(folder: Path) -> None:
    """Manifests and their inputs, and nothing made of them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "small.toml").write_text(MANIFEST)
    (folder / "other.toml").write_text(OTHER)
    (folder / "notes.txt").write_text("the river and the stone")
    for name, seed in (("notes.jsonl", 1), ("more.jsonl", 2)):
        (folder / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in documents(seed)))


def patch() -> None:
    import curate.runs.training

    curate.runs.training.Workers = Trained  # type: ignore[misc]


def expect(answer: Answer) -> Answer:
    assert answer.code == 0, f"{answer.out}\n{answer.err}\n{answer.trace}"
    return answer


def losses() -> dict[str, Any]:
    """Of every run in the current folder: its losses and the digests of its weights."""
    folders = [
        path.parent for path in Path(".curate/runs").glob("*/[0-9]*/run.json") if not path.parent.suffix
    ]
    records = {str(folder): json.loads((folder / "run.json").read_bytes()) for folder in folders}
    return {folder: [record["losses"], record["sha256"]] for folder, record in records.items()}


def findings() -> dict[str, Any]:
    """What the page of the current folder says of the holdouts, which is made of every run's arrays."""
    facts = json.loads(Path("report/small/report.json").read_bytes())
    return {name: facts[name] for name in ("headline", "holdouts")}


class Interrupted(Exception):
    pass


def interrupt(directory: Path) -> None:
    """Leave a cell as when it is interrupted in its last branch: with checkpoints of trunk and branch."""
    import train.run

    def hook(done: int, total: int) -> None:
        if done > 0.95 * total:
            raise Interrupted

    cell = json.loads((directory / "4000/run.json").read_bytes())["cell"]
    shutil.rmtree(directory / "4000")
    with mock.patch.object(train.run, "CHECKPOINT_SECONDS", -1.0), suppress(Interrupted):
        train.run.train_cell(cell, directory, hook)
    assert (directory / "trunk.state").exists()
    assert (directory / "branch.state").exists()


def forget() -> None:
    """As in a fresh process: nothing is known of any file."""
    from curate.signals.loss import _loaded

    _loaded.cache_clear()
    files._checksums.clear()


# ---- Forks ----------------------------------------------------------------------------------------------


def fork(work: Callable[[], Any]) -> tuple[int, int]:
    """(process, pipe to read what `work` returned, pickled) of a child that does it."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child:
        os.close(theirs)
        return child, ours
    os.close(ours)
    try:
        with open(theirs, "wb") as pipe:
            pipe.write(pickle.dumps(work()))
    except BaseException:  # whatever it is, the parent is told
        traceback.print_exc()
    finally:
        os._exit(0)


def gathered(child: int, pipe: int, seconds: float = TRY_SECONDS) -> Any:
    """What the child returned, or a string that says how it ended."""
    end = time.monotonic() + seconds
    with open(pipe, "rb") as file:
        os.set_blocking(pipe, False)
        said = b""
        while time.monotonic() < end:
            piece = file.read()
            if piece:
                said += piece
            elif piece == b"":
                break
            else:
                time.sleep(0.005)
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return f"hangs: no answer in {seconds:.0f} s"
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return pickle.loads(said) if said else "ended without an answer"


def seed() -> int:
    return int(os.environ.get("FAULTS_SEED", 0))


def leftovers(folder: Path) -> list[str]:
    """What is half-written below a folder."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*.tmp")]
