"""A grid that is interrupted, or killed, continues to the same weights: with real signals to real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from train.run import train_cell
from train.tokens import Packed

GRID = """
import json, signal, sys
from pathlib import Path
from train.grid import run_grid
from curate.runs.workers import Workers

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what is in its background without
cell, directory = json.load(open(sys.argv[1])), Path(sys.argv[2])
with Workers(["auto"], lambda text: print(text, flush=True)) as workers:
    for outcome in run_grid([(cell, directory)], workers.map):
        print("ended", outcome.reason, flush=True)
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds its workers in /proc")


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    ids = np.random.default_rng(0).integers(1, 30, 160_000)
    packed = Packed.write(folder / "packed", ids, [0, len(ids)], [len(ids)], vocabulary=30, end=0)
    knobs = {"model": {"depth": 1, "width": 16}, "context": 16, "batch": 4, "device": "cpu"}
    return {"packed": str(packed.path), "sizes": [80_000, 160_000], **knobs}


@pytest.fixture(scope="module")
def weights(cell, tmp_path_factory) -> bytes:
    """Of the cell trained in one go."""
    folder = tmp_path_factory.mktemp("whole")
    train_cell(cell, folder)
    return (folder / "160000/model.safetensors").read_bytes()


def start(cell: dict, folder: Path) -> subprocess.Popen:
    (folder / "cell.json").write_text(json.dumps(cell))
    arguments = [sys.executable, "-c", GRID, str(folder / "cell.json"), str(folder / "run")]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(ready, what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


def training(folder: Path) -> bool:
    """Whether its cell has told of steps."""
    try:
        return json.loads((folder / "run/progress.json").read_text()).get("step", 0) > 50
    except (OSError, ValueError):
        return False


def worker_of(process: subprocess.Popen) -> int:
    """The child that trains: the last one, as the first is multiprocessing's own tracker."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[-1])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def finish(cell: dict, folder: Path) -> str:
    printed, _ = start(cell, folder).communicate(timeout=120)
    return printed


@pytest.mark.parametrize("sent", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupted_grid_leaves_a_checkpoint_and_continues_to_the_same_weights(
    cell, weights, tmp_path, sent
):
    process = start(cell, tmp_path)
    wait_for(lambda: training(tmp_path), "the first steps")
    worker = worker_of(process)
    process.send_signal(sent)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "1 running cells write their checkpoints" in printed
    assert not alive(worker)
    assert (tmp_path / "run/trunk.state").exists()
    assert not (tmp_path / "run/160000/run.json").exists()
    assert finish(cell, tmp_path) == "ended None\n"
    assert (tmp_path / "run/160000/model.safetensors").read_bytes() == weights


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_cell_ends_with_the_same_weights(cell, weights, tmp_path):
    process = start(cell, tmp_path)
    wait_for(lambda: training(tmp_path), "the first steps")
    os.kill(worker_of(process), signal.SIGKILL)
    printed, _ = process.communicate(timeout=120)
    assert (process.returncode, printed) == (0, "ended None\n")
    assert (tmp_path / "run/160000/model.safetensors").read_bytes() == weights


@pytest.mark.slow
def test_workers_of_a_killed_grid_end_with_a_checkpoint_and_the_grid_continues(cell, weights, tmp_path):
    process = start(cell, tmp_path)
    wait_for(lambda: training(tmp_path), "the first steps")
    worker = worker_of(process)
    process.kill()
    process.communicate()
    wait_for(lambda: not alive(worker), "the end of the orphan", 20)
    assert (tmp_path / "run/trunk.state").exists()
    assert finish(cell, tmp_path) == "ended None\n"
    assert (tmp_path / "run/160000/model.safetensors").read_bytes() == weights
