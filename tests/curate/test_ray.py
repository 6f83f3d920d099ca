"""Ray: parts and cells as tasks of a cluster of three machines, one of whose workers is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from faults.world import MANIFEST, documents

from curate.engine import Needs, Ray

CUSTOM = """
[signals.custom.vowels]
function = "vowels:vowels"
low = 0

"""
# Kills its worker once, and notes each part that it measures.
VOWELS = """
import os, signal
from pathlib import Path
import pyarrow as pa

def vowels(documents):
    folder = Path(os.environ["NOTES"])
    with open(folder / "measured", "a") as file:
        file.write("a part\\n")
    if not (folder / "killed").exists():
        (folder / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return pa.array([float(sum(text.count(vowel) for vowel in "aeiou")) for text in documents["text"].to_pylist()])
"""
CLUSTER = """
import os, sys
from ray.cluster_utils import Cluster

if __name__ == "__main__":
    small = {"num_cpus": 1, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(**small)
    cluster.wait_for_nodes()
    os.environ["RAY_ADDRESS"] = cluster.address
    from curate.cli import main
    main(sys.argv[1:])
"""


def write(folder: Path) -> Path:
    folder.mkdir()
    (folder / "notes").mkdir()
    (folder / "vowels.py").write_text(VOWELS)
    (folder / "cluster.py").write_text(CLUSTER)
    rows = (json.dumps({"text": text}) + "\n" for text in documents(1))
    (folder / "notes.jsonl").write_text("".join(rows))
    text = MANIFEST.replace('index = ["seen"]', "").replace("[[level]]", CUSTOM + "[[level]]", 1)
    (folder / "small.toml").write_text(text.replace("[grid]", '[grid]\nlevels = ["unique"]'))
    return folder


def train(folder: Path, command: list[str], engine: str) -> tuple[dict, list[dict], int]:
    """(lock, runs, how many parts were measured)."""
    words = [sys.executable, "-W", "ignore", *command, "train", "small.toml", "--json", "--engine", engine]
    variables = os.environ | {"NOTES": str(folder / "notes"), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    lock = json.loads((folder / "small.lock.json").read_text())
    return lock, json.loads(done.stdout), len((folder / "notes/measured").read_text().splitlines())


def test_a_task_asks_for_no_more_than_the_largest_machine_has_and_for_a_gpu_only_where_there_is_one():
    machine = {"CPU": 4.0, "memory": 8e9}
    engine = object.__new__(Ray)
    engine.ray = SimpleNamespace(nodes=lambda: [{"Alive": True, "Resources": machine}])
    assert engine._asked(Needs(8, 10**10, gpu=True)) == {"num_cpus": 4, "memory": 8 * 10**9}
    machine["GPU"] = 1.0
    assert engine._asked(Needs(1, 10**6, gpu=True)) == {"num_cpus": 1, "memory": 10**6, "num_gpus": 1}
    assert "num_gpus" not in engine._asked(Needs(1, 10**6))


@pytest.mark.parametrize(("named", "address"), [("", "local"), ("10.0.0.1:6379", None)])
def test_a_cluster_that_nobody_named_is_not_joined(monkeypatch, named, address):
    asked: dict = {}
    worker = SimpleNamespace(_worker_logs_enabled=True)
    ray = SimpleNamespace(
        is_initialized=lambda: False,
        init=lambda **given: asked.update(given),
        _private=SimpleNamespace(worker=worker),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setenv("RAY_ADDRESS", named)
    Ray(2, 1 << 30)
    assert asked.get("address") == address
    assert ("num_cpus" in asked) == (address == "local")


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_gives_the_lock_and_losses_of_one_process_and_measures_one_part_twice(
    tmp_path,
):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    alone, cluster = write(tmp_path / "alone"), write(tmp_path / "cluster")
    (alone / "notes/killed").touch()
    lock, runs, parts = train(alone, ["-m", "curate.cli"], "local")
    their_lock, their_runs, measured = train(cluster, ["cluster.py"], "ray")
    assert (cluster / "notes/killed").exists()
    assert their_lock == lock
    assert [run["losses"] for run in their_runs] == [run["losses"] for run in runs]
    assert parts < measured <= parts + 1
