"""Runs: a ladder equals runs of its own sizes, a killed cell continues exactly, nothing half-done passes."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch

from train.cell import Cell, Ladder
from train.config import ModelConfig, OptimizerConfig
from train.evaluate import evaluate
from train.model.products import use_wide_products
from train.model.transformer import Transformer
from train.optim.optimizers import make_optimizers
from train.run import curve_summary, main, train_cell
from train.shuffling import shuffled
from train.tokens import Packed, encode, train_tokenizer
from train.tokens.windows import Switched, Windows
from train.trained import load_run
from train.trainer import Diverged, Trainer, new_model

VOCABULARY, END = 64, 0
CONTEXT, BATCH = 16, 2
STEP_TOKENS = CONTEXT * BATCH


def make_packed(path, tokens: int, seed: int, documents: int = 7) -> Packed:
    """Random walks over the vocabulary: the next token is one of three, so there is something to learn."""
    rng = np.random.default_rng(seed)
    ids = 1 + np.cumsum(rng.integers(1, 4, tokens)) % (VOCABULARY - 1)
    offsets = np.linspace(0, tokens, documents + 1).astype(np.int64)
    ids[offsets[1:] - 1] = END
    return Packed.write(path, ids, offsets, 3 * np.diff(offsets), vocabulary=VOCABULARY, end=END)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    make_packed(folder / "data", 2000, 1)
    make_packed(folder / "holdout", 333, 2)
    return folder


def cell(folder, **knobs) -> Cell:
    values = {
        "level": "raw",
        "packed": str(folder / "data"),
        "holdouts": {"raw": str(folder / "holdout")},
        "sizes": [10 * STEP_TOKENS, 20 * STEP_TOKENS],
        "seed": 5,
        "model": {"depth": 1, "width": 16},
        "optimizer": {"learning_rate": 0.01, "warmup_steps": 3},
        "context": CONTEXT,
        "batch": BATCH,
        "cooldown": 0.4,
        "device": "cpu",
        "precision": "float32",  # what plain loops are compared with
    }
    return Cell.of(values | knobs)


def weights(directory) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(directory / "model.safetensors")


def trained_alone(folder, optimizer: str, steps: int, start: int, warmup_steps: int = 3) -> Transformer:
    """The plainest loop: fresh weights, the published order and schedule, no trunk and no checkpoint."""
    data = Packed.open(folder / "data").tokens.astype(np.int64)
    order = [*shuffled(0, 10 * BATCH, 5, 0), *shuffled(10 * BATCH, 20 * BATCH, 5, 0)]
    torch.manual_seed(5)
    model = Transformer(ModelConfig(vocabulary=VOCABULARY, depth=1, width=16, context=CONTEXT))
    config = OptimizerConfig(name=optimizer, learning_rate=0.01, warmup_steps=warmup_steps)
    optimizers = make_optimizers(model, config, STEP_TOKENS)
    for step in range(steps):
        factor = min(1.0, (step + 1) / (warmup_steps + 1)) * (1 + min(step, start) / 100) ** (-1 / 3)
        factor *= min(1.0, (steps - step) / (steps - start))
        for group in (group for o in optimizers for group in o.param_groups):
            group["lr"] = group["peak_rate"] * factor
        rows = [
            data[w * CONTEXT : w * CONTEXT + CONTEXT + 1] for w in order[step * BATCH : (step + 1) * BATCH]
        ]
        rows_BT = torch.from_numpy(np.stack(rows))
        model(rows_BT[:, :-1], rows_BT[:, 1:]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in optimizers:
            o.step()
            o.zero_grad()
    return model


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_every_size_of_a_ladder_equals_that_size_trained_alone(folder, tmp_path, optimizer):
    knobs = {"learning_rate": 0.01, "warmup_steps": 3, "name": optimizer}
    train_cell(cell(folder, optimizer=knobs), tmp_path)
    for steps, start in ((10, 6), (20, 12)):
        expected = trained_alone(folder, optimizer, steps, start).state_dict()
        found = weights(tmp_path / str(steps * STEP_TOKENS))
        assert found.keys() == expected.keys()
        for name in found:
            assert torch.equal(found[name], expected[name]), (steps, name)


def test_each_size_has_seen_exactly_its_own_corpus_once(folder):
    data = Packed.open(folder / "data")
    windows = Windows(data.tokens, CONTEXT, BATCH, [10, 20], seed=3)
    seen = np.concatenate([windows.indices(step) for step in range(20)])
    assert sorted(seen[:20]) == list(range(20))
    assert sorted(seen[20:]) == list(range(20, 40))
    assert list(seen[:20]) != list(range(20))
    inputs, targets = windows(7)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    first = windows.indices(7)[0] * CONTEXT
    assert inputs[0].tolist() == data.tokens[first : first + CONTEXT].tolist()


def test_the_order_depends_on_seed_and_epoch_and_nothing_else():
    orders = {(seed, epoch): tuple(shuffled(0, 50, seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}
    assert len(set(orders.values())) == 4
    assert all(sorted(order) == list(range(50)) for order in orders.values())
    # Pinned: another order would give other weights under the same identity.
    assert tuple(shuffled(0, 8, seed=3, epoch=1)) == (4, 1, 2, 6, 5, 3, 0, 7)


def test_epochs_repeat_the_corpus_in_a_fresh_order(folder, tmp_path):
    one = cell(folder, sizes=[10 * STEP_TOKENS], epochs=2.5)
    record = train_cell(one, tmp_path)[str(10 * STEP_TOKENS)]
    assert (record["steps"], record["tokens_trained"], record["tokens_unique"]) == (25, 25 * STEP_TOKENS, 320)
    windows = Windows(Packed.open(folder / "data").tokens, CONTEXT, BATCH, [10], seed=5)
    epochs = [np.concatenate([windows.indices(step) for step in range(e, e + 10)]) for e in (0, 10)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(20))
    assert list(epochs[0]) != list(epochs[1])


KILLED = """
import os, signal, sys, json
import train.files, train.run
from train.run import train_cell
train.run.CHECKPOINT_SECONDS = train.run.PROGRESS_SECONDS = 0
moment, cell, directory = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
if moment == "renaming":
    replace, calls = os.replace, []
    def dying_replace(source, target):
        calls.append(target)
        die() if str(target).endswith("branch.state") and len(calls) > 3 else replace(source, target)
    os.replace = dying_replace
train_cell(cell, directory, lambda done, total: die() if moment == str(done) else None)
"""


# Moments: tokens of work done, in the trunk, a branch, the trunk again; while a checkpoint is renamed.
@pytest.mark.parametrize(
    ("optimizer", "precision", "moments"),
    [("adamw", "float32", ["160", "288", "448", "renaming"]), ("muon", "bfloat16", ["288"])],
)
def test_killed_at_several_moments_a_cell_continues_to_identical_weights(
    folder, tmp_path, optimizer, precision, moments
):
    knobs = {"learning_rate": 0.01, "warmup_steps": 3, "name": optimizer}
    ours = cell(folder, optimizer=knobs, precision=precision)
    train_cell(ours, tmp_path / "whole")
    for moment in moments:
        arguments = [sys.executable, "-c", KILLED, moment, json.dumps(ours.asdict()), tmp_path / "killed"]
        ended = subprocess.run(arguments, capture_output=True, text=True)
        assert ended.returncode == -signal.SIGKILL, (moment, ended.stderr)
    done: list[int] = []
    train_cell(ours, tmp_path / "killed", lambda tokens, total: done.append(tokens))
    assert done[0] > 256  # it continued, and did not begin anew
    for size in ours.sizes:
        whole, killed = tmp_path / "whole" / str(size), tmp_path / "killed" / str(size)
        assert (whole / "model.safetensors").read_bytes() == (killed / "model.safetensors").read_bytes()
        assert np.array_equal(np.load(whole / "holdout-raw.npy"), np.load(killed / "holdout-raw.npy"))
        assert curve(whole) == curve(killed)
    left = [path.name for path in (tmp_path / "killed").glob("*.state")]
    assert left == []


def test_killed_in_later_epochs_a_cell_continues_to_identical_weights(folder, tmp_path):
    ours = cell(
        folder, sizes=[10 * STEP_TOKENS], epochs=2.5, ema=0.9, dropout=0.2
    )  # 25 steps; the trunk ends at 15
    train_cell(ours, tmp_path / "whole")
    for step in (13, 24):  # in the second epoch, on the trunk; in the third, on the branch
        moment = str(step * STEP_TOKENS)
        arguments = [sys.executable, "-c", KILLED, moment, json.dumps(ours.asdict()), tmp_path / "killed"]
        ended = subprocess.run(arguments, capture_output=True, text=True)
        assert ended.returncode == -signal.SIGKILL, (moment, ended.stderr)
    done: list[int] = []
    train_cell(ours, tmp_path / "killed", lambda tokens, total: done.append(tokens))
    assert done[0] == 25 * STEP_TOKENS  # the checkpoint of step 24 was there
    whole, killed = tmp_path / "whole/320", tmp_path / "killed/320"
    for name in ("model.safetensors", "average.safetensors"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()
    assert curve(whole) == curve(killed)


class Interrupted(Exception):
    pass


def interrupted(folder, directory, after: int) -> None:
    """Train until so many tokens are done; checkpoints of the trunk are written where branches leave it."""

    def hook(done: int, total: int) -> None:
        if done >= after:
            raise Interrupted

    with pytest.raises(Interrupted):
        train_cell(cell(folder), directory, hook)


@pytest.mark.parametrize("place", [0, 70, 90, 0.5, -1])
def test_a_checkpoint_with_one_changed_bit_is_set_aside_and_the_weights_are_the_same(
    folder, tmp_path, caplog, place
):
    train_cell(cell(folder), tmp_path / "whole")
    interrupted(folder, tmp_path / "run", 480)
    state = tmp_path / "run/trunk.state"
    content = bytearray(state.read_bytes())
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 4
    state.write_bytes(content)
    train_cell(cell(folder), tmp_path / "run")
    assert caplog.messages == [
        f"{state}: damaged since it was written; set aside as trunk.state.damaged, and made again"
    ]
    assert (tmp_path / "run/trunk.state.damaged").read_bytes() == content
    for size in ("320", "640"):
        whole, again = (tmp_path / name / size / "model.safetensors" for name in ("whole", "run"))
        assert whole.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("name", ["run.json", "holdout-raw.npy", "metrics.jsonl"])
@pytest.mark.parametrize("content", [b"{}", b"", None], ids=["braces", "empty", "zeros"])
def test_a_finished_run_that_is_damaged_is_trained_again_to_the_same_weights(folder, tmp_path, name, content):
    before = train_cell(cell(folder), tmp_path)["640"]["sha256"]
    path = tmp_path / "640" / name
    path.write_bytes(bytes(path.stat().st_size) if content is None else content)
    assert train_cell(cell(folder), tmp_path)["640"]["sha256"] == before
    assert (tmp_path / "640.damaged" / name).exists()


def test_damaged_weights_are_never_scored(folder, tmp_path):
    train_cell(cell(folder, sizes=[320]), tmp_path)
    path = tmp_path / "320/model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\x01\x02\x03\x04")
    with pytest.raises(ValueError, match="model.safetensors: damaged since it was written"):
        load_run(tmp_path / "320")


def test_the_running_average_of_the_weights_is_scored_beside_them(folder, tmp_path):
    plain = train_cell(cell(folder), tmp_path / "plain")
    records = train_cell(cell(folder, ema=0.8), tmp_path / "ema")
    model = new_model(ModelConfig(vocabulary=VOCABULARY, depth=1, width=16, context=CONTEXT, end=END), 5)
    for size in ("320", "640"):
        record, run = records[size], tmp_path / "ema" / size
        assert record["losses"] == plain[size]["losses"]  # training does not see the average
        assert record["sha256"]["model.safetensors"] == plain[size]["sha256"]["model.safetensors"]
        model.load_state_dict(safetensors.torch.load_file(run / "average.safetensors"))
        told = evaluate(model, Packed.open(folder / "holdout")).summary()
        assert record["losses_of_average"] == {"raw": told}
        assert told != record["losses"]["raw"]
    assert "losses_of_average" not in plain["640"]


def test_the_average_is_what_its_formula_says(folder, tmp_path):
    windows = Windows(Packed.open(folder / "data").tokens, CONTEXT, BATCH, [10], seed=5)
    ours = cell(folder, ema=0.5)
    trainer = Trainer(ours, ours.model_config(Packed.open(folder / "data")), windows)
    expected = trainer.model.embedding.detach().clone()
    for step in range(12):
        trainer.train_step()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * trainer.model.embedding.detach()
    own = trainer.model.embedding.detach().clone()
    assert torch.allclose(trainer.average["embedding"], expected, atol=1e-6)
    with trainer.averaged():
        assert torch.allclose(trainer.model.embedding, expected, atol=1e-6)
    assert torch.equal(trainer.model.embedding, own)


def test_a_cooldown_of_the_whole_run_is_linear_to_zero(folder, tmp_path):
    ours = cell(
        folder, sizes=[10 * STEP_TOKENS], cooldown=1, optimizer={"learning_rate": 0.01, "warmup_steps": 0}
    )
    train_cell(ours, tmp_path)
    assert [point["rate"] for point in curve(tmp_path / "320")] == pytest.approx(
        [0.01 * (10 - step) / 10 for step in range(10)]
    )
    expected = trained_alone(folder, "muon", 10, 0, warmup_steps=0).state_dict()
    for name, tensor in weights(tmp_path / "320").items():
        assert torch.equal(tensor, expected[name]), name


def curve(run) -> list[dict]:
    """metrics.jsonl without the times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_a_finished_size_is_not_trained_again(folder, tmp_path):
    first = train_cell(cell(folder), tmp_path)
    calls: list[int] = []
    assert train_cell(cell(folder), tmp_path, lambda done, total: calls.append(done)) == first
    assert calls == []
    (tmp_path / "640" / "run.json").unlink()
    again = train_cell(cell(folder), tmp_path, lambda done, total: calls.append(done))
    assert calls
    assert again["640"]["sha256"] == first["640"]["sha256"]


def test_a_longer_ladder_keeps_the_finished_sizes(folder, tmp_path):
    first = train_cell(cell(folder), tmp_path)
    longer = train_cell(cell(folder, sizes=[320, 640, 960]), tmp_path)
    assert {size: longer[size] for size in first} == first
    assert longer["960"]["steps"] == 30


def test_the_decay_that_follows_from_passes_is_recorded_and_is_that_of_whoever_states_it(folder, tmp_path):
    def identity(epochs: float, **more) -> str:
        ours = cell(folder, sizes=[1600], epochs=epochs, optimizer={"learning_rate": 0.01, **more})
        return Ladder(ours, Packed.open(folder / "data")).identity(1600)

    assert identity(1) == identity(1, weight_decay=0.1)
    assert identity(2) == identity(2, weight_decay=0.4) != identity(2, weight_decay=0.1)
    ours = cell(folder, sizes=[1600], epochs=2)
    record = train_cell(ours, tmp_path)["1600"]
    assert record["cell"]["optimizer"] == {"learning_rate": 0.01, "warmup_steps": 3, "weight_decay": 0.4}
    trainer = Trainer(ours, ours.model_config(Packed.open(folder / "data")), Windows([0] * 99, 16, 2, [3], 0))
    assert {group["weight_decay"] for one in trainer.optimizers for group in one.param_groups} == {0.4, 0.0}


@pytest.mark.parametrize(
    "knobs",
    [
        {"seed": 6},
        {"model": {"depth": 2, "width": 16}},
        {"cooldown": 0.5},
        {"dropout": 0.1},
        {"holdouts": {}},
    ],
)
def test_a_run_with_other_knobs_is_never_taken_for_this_one(folder, tmp_path, knobs):
    train_cell(cell(folder, sizes=[320]), tmp_path)
    with pytest.raises(ValueError, match="take another directory or delete it"):
        train_cell(cell(folder, sizes=[320], **knobs), tmp_path)


def test_the_record_holds_what_a_report_needs(folder, tmp_path):
    ours = cell(folder, tags={"model.width": 16})
    calls: list[tuple[int, int]] = []
    records = train_cell(ours, tmp_path, lambda done, total: calls.append((done, total)))
    record = json.loads((tmp_path / "640" / "run.json").read_text())
    assert record.pop("xxh3"), "a record holds its own checksum"
    assert record == records["640"]
    assert Cell.of(record["cell"]) == ours
    assert (record["level"], record["size"], record["seed"], record["tags"]) == (
        "raw",
        640,
        5,
        {"model.width": 16},
    )
    assert record["tokens_trained"] == 640
    model = load_run(tmp_path / "640").model
    assert record["parameters"] == sum(p.numel() for p in model.parameters())
    assert record["flops"] == record["flops_per_token"] * 640
    nats = np.load(tmp_path / "640" / "holdout-raw.npy")
    loss = record["losses"]["raw"]
    assert (loss["tokens"], loss["bytes"], loss["documents"]) == (333, 999, 7)
    assert nats.dtype == np.float64
    assert nats.shape == (7,)
    assert loss["nats_per_token"] == pytest.approx(nats.sum() / 333)
    assert loss["bits_per_byte"] == pytest.approx(nats.sum() / math.log(2) / 999)
    assert record["versions"]["torch"] == torch.__version__
    assert record["products"] == ("oneDNN" if use_wide_products() else "MKL")
    assert (record["threads"], record["processes"]) == (1, 1)
    assert record["seconds"] > 0
    assert record["peak_memory_bytes"] > 1 << 20
    lines = [json.loads(line) for line in (tmp_path / "640" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 21))
    assert record["train_loss"] == curve_summary(lines)
    dones = [done for done, _ in calls]
    assert dones == sorted(dones)
    assert calls[-1] == (calls[-1][1], calls[-1][1])
    assert json.loads((tmp_path / "progress.json").read_text()) == {
        "tokens_done": calls[-1][1],
        "tokens_total": calls[-1][1],
    }


def test_training_learns_a_small_text_by_heart(tmp_path):
    ids = np.tile(np.random.default_rng(0).permutation(60), 40)  # each token says which one follows
    Packed.write(tmp_path / "p", ids, [0, len(ids)], [len(ids)], vocabulary=VOCABULARY, end=END)
    learner = Cell(
        packed=str(tmp_path / "p"),
        holdouts={"same": str(tmp_path / "p")},
        sizes=[len(ids)],
        epochs=3,
        model={"depth": 1, "width": 32},
        optimizer={"learning_rate": 0.02},
        context=16,
        batch=4,
    )
    (record,) = train_cell(learner, tmp_path / "runs").values()
    assert record["losses"]["same"]["nats_per_token"] < 0.1


def test_a_loss_that_is_no_number_is_said_and_leaves_no_run(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(Transformer, "forward", with_nan_at_step(Transformer.forward, 4))
    with pytest.raises(Diverged, match="step 4: loss nan") as caught:
        train_cell(cell(folder), tmp_path)
    assert (caught.value.step, caught.value.rate) == (4, pytest.approx(0.01 * 1.04 ** (-1 / 3)))
    failure = json.loads((tmp_path / "failed.json").read_text())
    assert failure["step"] == 4
    assert "lower optimizer.learning_rate" in failure["reason"]
    assert not list(tmp_path.rglob("run.json"))


def with_nan_at_step(forward, step: int):
    calls = iter(range(10_000))

    def poisoned(self, *batch):
        return forward(self, *batch) * (math.nan if next(calls) == step else 1.0)

    return poisoned


def test_a_spike_is_a_divergence(folder, tmp_path):
    with pytest.raises(Diverged):
        train_cell(
            cell(folder, sizes=[1920], optimizer={"learning_rate": 9.0, "warmup_steps": 0, "grad_clip": 1e9}),
            tmp_path,
        )
    assert not list(tmp_path.rglob("run.json"))
    train_cell(cell(folder, sizes=[1920]), tmp_path)
    assert not (tmp_path / "failed.json").exists()


def test_a_finished_run_scores_text_and_packed_tokens(tmp_path):
    texts = [f"the {n} small words of text number {n} say little\n" * 3 for n in range(60)]
    train_tokenizer(texts, 280, tmp_path / "tokenizer.json")
    for name, part in (("data", texts[5:]), ("holdout", texts[:5])):
        ids, offsets = encode(tmp_path / "tokenizer.json", part)
        sizes = [len(text.encode()) for text in part]
        Packed.write(tmp_path / name, ids, offsets, sizes, tokenizer=tmp_path / "tokenizer.json")
    record = train_cell(cell(tmp_path), tmp_path / "runs")["640"]
    run = tmp_path / "runs/640"
    assert load_run(run).loss(Packed.open(tmp_path / "holdout")).summary() == record["losses"]["raw"]
    nats = np.load(run / "holdout-raw.npy")
    assert load_run(run).loss(texts[0]).nats_per_token == pytest.approx(
        nats[0] / len(encode(run / "tokenizer.json", texts[:1])[0]), rel=1e-5
    )
    with pytest.raises(ValueError, match="empty text"):
        load_run(run).loss("")
    with pytest.raises(FileNotFoundError, match="no finished run"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"sizes": [5000]}, "size 5,000 of level 'raw'.*only 2,000 tokens"),
        ({"sizes": [20]}, "less than one batch"),
        ({"sizes": [640, 320]}, "ascending"),
        ({"sizes": [640, 650]}, "same 20 batches"),
        ({"sizes": [320, 640], "epochs": 2}, "one size only"),
        ({"cooldown": 0}, "cooldown = 0"),
        ({"contxt": 16}, "contxt: did you mean context"),
        ({"model": {"widht": 16}}, "model.widht: did you mean width"),
        ({"model": {"context": 16}}, "model.context"),
        ({"optimizer": {"learning_rte": 1}}, "optimizer.learning_rte: did you mean learning_rate"),
        ({"optimizer": {"rate": 1}}, "optimizer.rate: is now called learning_rate"),
        ({"model": {"start": 2.0}}, "model.start: is now called init_scale"),
        ({"optimizer": {"name": "sgd"}}, "adamw, muon"),
        ({"optimizer": {"learning_rate": -1}}, "optimizer.learning_rate = -1"),
        ({"device": "gpu"}, "auto, cpu, cuda"),
        ({"ema": 1.0}, r"ema = 1.0: must be a number in \[0, 1\)"),
        ({"precision": "half"}, "float32, bfloat16"),
    ],
)
def test_bad_input_is_one_clear_error(folder, tmp_path, knobs, message):
    with pytest.raises(ValueError, match=message):
        train_cell(cell(folder, **knobs), tmp_path)


def test_another_tokenizer_for_the_holdout_is_refused(folder, tmp_path):
    Packed.write(tmp_path / "other", np.array([1, 2, 0]), [0, 3], [9], vocabulary=65, end=0)
    with pytest.raises(ValueError, match="another tokenizer"):
        train_cell(cell(folder, holdouts={"other": str(tmp_path / "other")}), tmp_path / "runs")


def test_a_corpus_of_exactly_its_size_loses_one_batch_at_most(folder):
    data = Packed.open(folder / "data")
    ladder = Ladder(cell(folder, sizes=[2000]), data)
    assert ladder.boundaries == [1999 // STEP_TOKENS]


def test_one_cell_trains_from_the_command_line(folder, tmp_path, capsys):
    (tmp_path / "cell.json").write_text(json.dumps(cell(folder, sizes=[320]).asdict()))
    assert main([str(tmp_path / "cell.json"), str(tmp_path / "runs")]) == 0
    assert capsys.readouterr().out.startswith("320 tokens: raw ")
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside/cell.json").write_text((tmp_path / "cell.json").read_text())
    assert main([str(tmp_path / "beside/cell.json")]) == 0
    assert (tmp_path / "beside/320/run.json").exists()
    (tmp_path / "cell.json").write_text("{")
    assert main([str(tmp_path / "cell.json"), str(tmp_path / "runs")]) == 1
    assert "cell.json: not valid JSON" in capsys.readouterr().err


@pytest.mark.parametrize("cell", ["{}", "[]", "null", "", '{"packed": 3, "sizes": [1]}', '{"packed": "a", "sizes": ["b"]}',
                                  '{"packed": "a", "sizes": [1], "model": 3}', '{"packed": "a", "sizes": 1}'])  # fmt: skip
def test_a_file_that_holds_no_cell_is_one_line(tmp_path, capsys, cell):
    (tmp_path / "cell.json").write_text(cell)
    assert main([str(tmp_path / "cell.json")]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path / 'cell.json'}: not ")
    assert len(said.splitlines()) == 1


def test_bfloat16_trains_where_it_is_asked_for(folder, tmp_path):
    record = train_cell(cell(folder, precision="bfloat16"), tmp_path)["640"]
    exact = train_cell(cell(folder), tmp_path / "exact")["640"]
    difference = record["losses"]["raw"]["nats_per_token"] - exact["losses"]["raw"]["nats_per_token"]
    assert 0 < abs(difference) < 0.05


def test_cells_that_share_a_trunk_end_as_if_each_had_walked_it_alone(folder, tmp_path):
    make_packed(tmp_path / "clean", 9 * STEP_TOKENS, 8)
    whole = {"sizes": [20 * STEP_TOKENS]}
    candidate = whole | {"cooldown_packed": str(tmp_path / "clean")}
    shared = {"trunk": str(tmp_path / "trunk")}
    train_cell(cell(folder, **whole), tmp_path / "alone")
    train_cell(cell(folder, **candidate), tmp_path / "candidate-alone")
    train_cell(cell(folder, **candidate, **shared), tmp_path / "candidate")  # it trains the trunk
    steps: list[int] = []
    record = train_cell(
        cell(folder, **whole, **shared), tmp_path / "after", lambda done, total: steps.append(done)
    )
    assert min(steps) > 12 * STEP_TOKENS  # steps of the branch alone
    assert record[str(20 * STEP_TOKENS)]["tokens_trained"] == 20 * STEP_TOKENS
    size = str(20 * STEP_TOKENS)
    for ours, theirs in (("after", "alone"), ("candidate", "candidate-alone")):
        found, expected = weights(tmp_path / ours / size), weights(tmp_path / theirs / size)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    other, same = weights(tmp_path / "candidate" / size), weights(tmp_path / "after" / size)
    assert any(not torch.equal(other[name], same[name]) for name in same)


def test_a_cooldown_reads_its_own_text_from_the_first_token(folder, tmp_path):
    make_packed(tmp_path / "clean", 8 * STEP_TOKENS + 1, 8)
    here = cell(folder, sizes=[20 * STEP_TOKENS], cooldown_packed=str(tmp_path / "clean"))
    before = cell(folder, sizes=[20 * STEP_TOKENS])
    data, clean = Packed.open(folder / "data"), Packed.open(tmp_path / "clean")
    assert Ladder(here, data).identity() == Ladder(before, data).identity()  # the trunk is the same
    size = 20 * STEP_TOKENS
    assert Ladder(here, data).identity(size) != Ladder(before, data).identity(size)
    windows = Switched(*(Windows(p.tokens, CONTEXT, BATCH, [n], 5) for p, n in ((data, 20), (clean, 8))), 12)
    starts = {tuple(row.tolist()) for step in range(12, 20) for row in windows(step)[0]}
    assert starts == {
        tuple(clean.tokens[n : n + CONTEXT].tolist()) for n in range(0, 8 * STEP_TOKENS, CONTEXT)
    }


def test_a_cooldown_with_too_little_text_is_refused(folder, tmp_path):
    make_packed(tmp_path / "clean", 8 * STEP_TOKENS, 8)
    short = cell(folder, sizes=[20 * STEP_TOKENS], cooldown_packed=str(tmp_path / "clean"))
    with pytest.raises(ValueError, match="holds 256 tokens; the cool-down reads 257"):
        train_cell(short, tmp_path / "run")
    with pytest.raises(ValueError, match="one size only"):
        cell(folder, cooldown_packed=str(tmp_path / "clean"))
