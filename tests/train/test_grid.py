"""The grid: knobs that are lists become axes, misspelt knobs are named, one failed cell stops no other."""

from __future__ import annotations

import numpy as np
import pytest

from train.cell import Cell, Ladder
from train.grid import Outcome, expand, run_grid, with_decay, work_tokens
from train.tokens import Packed


def test_lists_become_axes_and_seeds_are_paired():
    settings = expand(
        {"seeds": 3, "model": {"depth": 4, "width": [64, 128]}, "optimizer": {"learning_rate": [1e-3, 2e-3]}}
    )
    assert len(settings) == 3 * 2 * 2
    assert len({str(setting) for setting in settings}) == 12
    for seed in range(3):
        of_seed = [
            (s["model"]["width"], s["optimizer"]["learning_rate"]) for s in settings if s["seed"] == seed
        ]
        assert of_seed == [(64, 1e-3), (64, 2e-3), (128, 1e-3), (128, 2e-3)]
    assert all(setting["model"]["depth"] == 4 for setting in settings)


def test_an_empty_grid_is_one_default_run():
    assert expand({}) == [{"seed": 0}]


def test_every_setting_makes_a_cell():
    for setting in expand({"seeds": 2, "context": [64, 128], "model": {"width": 32}, "batch": 2}):
        Cell.of({"packed": "p", "sizes": [1000], **setting})


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"model": {"widht": 64}}, r"model\.widht: did you mean width\?"),
        ({"optimizer": {"sharpness": 1}}, r"optimizer\.sharpness: there are beta1"),
        ({"seed": 3}, r"seed: did you mean seeds\?"),
        ({"seeds": 0}, "seeds = 0"),
        ({"seeds": True}, "seeds = True"),
        ({"model": {"width": []}}, r"model\.width = \[\]"),
        ({"model": {"width": [[64]]}}, r"model\.width = \[64\]"),
        ({"model": 64}, "must be a table"),
    ],
)
def test_a_wrong_grid_is_named(grid, message):
    with pytest.raises(ValueError, match=message):
        expand(grid)


def test_keys_of_several_passes_hold_the_decay_that_follows_and_those_of_one_are_as_they_were():
    for once in ({}, {"epochs": 1, "optimizer": {"beta1": 0.9}}):
        assert with_decay(once) == once
    often = {"sizes": [102_400], "epochs": 4}
    assert with_decay(often) == often | {"optimizer": {"weight_decay": 0.4}}
    assert with_decay(often | {"batch": 2})["optimizer"] == {"weight_decay": 0.2}
    assert with_decay(often)["optimizer"] == {
        "weight_decay": Cell.of(often | {"packed": "p"}).optimizer["weight_decay"]
    }
    given = often | {"optimizer": {"weight_decay": 0.0, "beta1": 0.9}}
    assert with_decay(given) == given


@pytest.fixture
def packed(tmp_path):
    ids = np.random.default_rng(0).integers(1, 30, 4000)
    return Packed.write(tmp_path / "data", ids, [0, 4000], [4000], vocabulary=30, end=0)


def small(packed, **knobs) -> dict:
    knobs = {"model": {"depth": 1, "width": 16}, "context": 16, "batch": 2, "device": "cpu"} | knobs
    return {"packed": str(packed.path), "sizes": [640, 1280], **knobs}


def test_the_work_is_what_the_trainer_does(packed):
    cell = small(packed, cooldown=0.25)
    done = Ladder(Cell.of(cell), packed).work_steps() * 32
    assert work_tokens(cell["sizes"], cell) == pytest.approx(done, rel=0.05)


def test_a_failed_cell_is_named_and_the_others_go_on(packed, tmp_path):
    cells = [
        (small(packed, seed=0), tmp_path / "good"),
        (
            small(packed, optimizer={"learning_rate": 9.9, "warmup_steps": 0, "grad_clip": 1e9}),
            tmp_path / "wild",
        ),
        (small(packed, sizes=[64_000]), tmp_path / "too large"),
        (small(packed, seed=1), tmp_path / "also good"),
    ]
    outcomes = {o.directory.rsplit("/", 1)[1]: o for o in run_grid(cells, map)}
    assert [name for name, o in outcomes.items() if o.runs] == ["good", "also good"]
    assert set(outcomes["good"].runs) == {"640", "1280"}
    assert "diverged at step" in outcomes["wild"].reason
    assert "only 4,000 tokens" in outcomes["too large"].reason


def test_a_cell_whose_worker_dies_is_tried_once_more_then_named(tmp_path):
    tried: list[list[str]] = []

    def dying(function, items):
        tried.append([directory for _, directory in items])
        for _, directory in items:
            if directory == "fatal":
                raise RuntimeError("a worker was killed")
            yield Outcome(directory, {})

    outcomes = list(run_grid([({}, "first"), ({}, "fatal"), ({}, "last")], dying))
    assert tried == [["first", "fatal", "last"], ["fatal", "last"]]
    assert [(o.directory, o.runs is None) for o in outcomes] == [
        ("first", False),
        ("fatal", True),
        ("last", True),
    ]
    assert "a worker was killed" in outcomes[1].reason
