"""Two processes train what one trains: the same loss at every step, the same weights after a stop, gloo on CPUs."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch

from train.optim import muon
from train.parallel import processes
from train.run import train_cell
from train.tokens import Packed

CONTEXT, BATCH, STEPS = 16, 4, 12
SIZES = [STEPS * CONTEXT * BATCH // 2, STEPS * CONTEXT * BATCH]
TOLERANCE = {
    "rel": 1e-5,
    "abs": 1e-5,
}  # sums of float32 in another order; bfloat16 would tell them apart sooner
KINDS = [(parallel, optimizer) for parallel in ("ddp", "fsdp") for optimizer in ("adamw", "muon")]

ALL = """
import json, sys
from train import stop
from train.parallel import processes
from train.optim import muon
from train.run import train_cell
muon.has_half_products = lambda device: False
shard = processes.shard
def counted(model, compiled):
    divided = shard(model, compiled)
    held = sum(p.to_local().numel() for p in divided.parameters())
    print(f"{cell['parallel']}: holds {held / sum(p.numel() for p in divided.parameters()):.2f}", flush=True)
    return divided
processes.shard = counted
for cell, directory, stop_at in json.load(open(sys.argv[1])):
    if stop_at is not None:
        def watch(done, total):
            if done == stop_at and not processes.first():  # one asks, and both must stop
                stop.ask()
        try:
            train_cell(cell, directory, watch)
            raise SystemExit("was to stop")
        except stop.Stopped:
            stop._asked.clear()
    train_cell(cell, directory)
processes.leave()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    for name, tokens, seed in (("data", 2000, 1), ("holdout", 333, 2)):
        ids = 1 + np.cumsum(np.random.default_rng(seed).integers(1, 4, tokens)) % 63
        offsets = np.linspace(0, tokens, 8).astype(np.int64)
        ids[offsets[1:] - 1] = 0
        Packed.write(folder / name, ids, offsets, 3 * np.diff(offsets), vocabulary=64, end=0)
    return folder


def cell(folder, parallel: str, optimizer: str, **knobs) -> dict:
    return {
        "packed": str(folder / "data"),
        "holdouts": {"raw": str(folder / "holdout")},
        "sizes": SIZES,
        "model": {"depth": 2, "width": 16, "heads": 2, "kv_heads": 1},
        "optimizer": {"learning_rate": 0.01, "warmup_steps": 3, "name": optimizer},
        "context": CONTEXT,
        "batch": BATCH,
        "cooldown": 0.4,
        "device": "cpu",
        "precision": "float32",
        "parallel": parallel,
        "ema": 0.9,
        "dropout": 0.2,
        **knobs,
    }


def torchrun(*arguments: str, count: int = 2) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    return [*launcher, *arguments]


@pytest.fixture(scope="module")
def together(folder):
    """Every kind trained by two processes, and once more with a stop in the branch of the larger size."""
    (folder / "all.py").write_text(ALL)
    jobs = []
    for kind in KINDS:
        name = "-".join(kind)
        jobs.append((cell(folder, *kind), str(folder / name), None))
        jobs.append((cell(folder, *kind), str(folder / f"{name}-stopped"), 10 * CONTEXT * BATCH))
    (folder / "jobs.json").write_text(json.dumps(jobs))
    ended = subprocess.run(
        torchrun(str(folder / "all.py"), str(folder / "jobs.json")),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    (folder / "printed").write_text(ended.stdout)
    return folder


@pytest.fixture(scope="module", params=["adamw", "muon"])
def alone(folder, request):
    directory = folder / f"alone-{request.param}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(muon, "has_half_products", lambda device: False)
        train_cell(cell(folder, "ddp", request.param), directory)
    return request.param, directory


def curve(run) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run / "model.safetensors")


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_the_loss_at_every_step_is_that_of_one_process(together, alone, parallel):
    optimizer, one = alone
    two = together / f"{parallel}-{optimizer}"
    for size in map(str, SIZES):
        mine, theirs = curve(one / size), curve(two / size)
        assert len(mine) == len(theirs) == int(size) // (CONTEXT * BATCH)
        for a, b in zip(mine, theirs, strict=True):
            assert (a["step"], a["rate"]) == (b["step"], b["rate"])
            assert a["loss"] == pytest.approx(b["loss"], **TOLERANCE), (size, a["step"])
            assert a["gradient_norm"] == pytest.approx(b["gradient_norm"], rel=1e-3), (size, a["step"])


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_the_whole_holdout_is_scored_once_whoever_scores_what(together, alone, parallel):
    optimizer, one = alone
    for size in map(str, SIZES):
        mine, theirs = one / size, together / f"{parallel}-{optimizer}" / size
        expected = np.load(mine / "holdout-raw.npy")
        assert np.load(theirs / "holdout-raw.npy") == pytest.approx(expected, **TOLERANCE)
        a, b = (json.loads((run / "run.json").read_text()) for run in (mine, theirs))
        assert (a["processes"], b["processes"]) == (1, 2)
        assert a["identity"] == b["identity"]
        assert b["losses_of_average"]["raw"]["nats_per_token"] == pytest.approx(
            a["losses_of_average"]["raw"]["nats_per_token"], **TOLERANCE
        )
        for name, tensor in weights(mine).items():
            assert weights(theirs)[name].numpy() == pytest.approx(tensor.numpy(), rel=1e-3, abs=1e-4), name


def test_fsdp_holds_half_of_the_weights_in_each_of_two_processes(together):
    printed = (together / "printed").read_text()  # of both, line in line
    assert printed.count("ddp: holds") == 0
    assert printed.count("fsdp: holds 0.50") == printed.count("holds") == 2 * 2 * 3


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_two_processes_that_stop_continue_to_identical_weights(together, kind):
    whole, stopped = together / "-".join(kind), together / f"{'-'.join(kind)}-stopped"
    for size in map(str, SIZES):
        assert (whole / size / "model.safetensors").read_bytes() == (
            stopped / size / "model.safetensors"
        ).read_bytes()
    assert not list(stopped.glob("*.state"))


@pytest.mark.parametrize(
    ("batch", "loss", "message"),
    [(3, "next-word", "3 windows for 2 processes: take a multiple"), (4, "masked", "only next-word")],
)
def test_what_two_processes_would_do_otherwise_is_refused(monkeypatch, batch, loss, message):
    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(ValueError, match=message):
        processes.check(batch, loss)


@pytest.mark.parametrize("items", [1, 4, 5, 6])
def test_turns_give_each_process_as_many_and_count_every_item_once(monkeypatch, items):
    monkeypatch.setattr(processes, "count", lambda: 3)
    turns = []
    for rank in range(3):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        turns.append(processes.turns(list(range(items))))
    assert len({len(mine) for mine in turns}) == 1
    assert sorted(item for mine in turns for item, counts in mine if counts) == list(range(items))


def test_mps_is_refused_under_torchrun(monkeypatch):
    monkeypatch.setattr(processes, "launched", lambda: True)
    with pytest.raises(ValueError, match="need cuda or cpu"):
        processes.join(torch.device("mps"))


def test_each_process_takes_its_own_gpu_unless_one_is_named(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert processes.own_device(torch.device("cuda")) == torch.device("cuda")
    monkeypatch.setattr(processes, "launched", lambda: True)
    assert processes.own_device(torch.device("cuda")) == torch.device("cuda:3")
    assert processes.own_device(torch.device("cuda:1")) == torch.device("cuda:1")
    assert processes.own_device(torch.device("cpu")) == torch.device("cpu")
