"""Schedules, parameter groups and Muon."""

from __future__ import annotations

import pytest
import torch

from train.config import (
    ModelConfig,
    OptimizerConfig,
    default_muon_interval,
    default_rate,
    embedding_rate_factor,
)
from train.model.transformer import Transformer
from train.optim.muon import Muon, orthogonal
from train.optim.optimizers import make_optimizers, rate_factor, set_rate


@pytest.fixture
def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(ModelConfig(vocabulary=50, depth=2, width=32, context=8, tied=False))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_parameter_is_in_one_group_and_only_matrices_decay(model, name):
    optimizers = make_optimizers(model, OptimizerConfig(name=name))
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    placed = [id(p) for group in groups for p in group["params"]]
    assert sorted(placed) == sorted(id(p) for p in model.parameters())
    for group in groups:
        assert all((p.ndim == 2) == (group["weight_decay"] > 0) for p in group["params"])


def test_the_rate_warms_up_stays_and_reaches_zero_exactly_at_the_end():
    config = OptimizerConfig(warmup_steps=4, stable_steps=0)
    factors = [rate_factor(step, config, 10, 20) for step in range(21)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[4:11] == [1.0] * 7
    assert factors[11:] == pytest.approx([0.1 * n for n in range(9, -1, -1)])


def test_the_rate_of_a_trunk_falls_with_the_cube_root_of_its_steps():
    config = OptimizerConfig(warmup_steps=0, stable_steps=100)
    assert [rate_factor(step, config) for step in (0, 700, 6300)] == pytest.approx([1, 1 / 2, 1 / 4])


def test_a_trunk_takes_the_steps_its_branches_share():
    config = OptimizerConfig()
    for step in range(10):
        assert (
            rate_factor(step, config)
            == rate_factor(step, config, 10, 20)
            == rate_factor(step, config, 70, 100)
        )


def test_the_default_rate_falls_with_the_width(model):
    assert default_rate("adamw", 256) < default_rate("adamw", 64)
    optimizers = make_optimizers(model, OptimizerConfig(name="adamw"))
    assert set_rate(optimizers, 0.5) == pytest.approx(0.5 * default_rate("adamw", 32))


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [({}, 0.04), ({"learning_rate": 0.1}, 0.1), ({"embedding_learning_rate": 0.3}, 0.3)],
)
def test_beside_muon_tables_have_a_rate_that_no_width_changes(model, knobs, expected):
    _, adamw = make_optimizers(model, OptimizerConfig(**knobs))
    rates = {id(p): group["peak_rate"] for group in adamw.param_groups for p in group["params"]}
    assert rates[id(model.embedding)] == rates[id(model.head)] == pytest.approx(expected)
    assert rates[id(model.gain)] == knobs.get("learning_rate", default_rate("muon", 32))
    for width in (64, 128, 1024):
        assert default_rate("muon", width) * embedding_rate_factor(width) == pytest.approx(0.04)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 16, 48), (2, 48, 16)])
def test_orthogonal_brings_singular_values_near_one(shape, half):
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    matrices = u @ torch.diag_embed(torch.linspace(0.05, 1, 16).expand(shape[0], 16)) @ v
    values = torch.linalg.svdvals(orthogonal(matrices, half))
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert torch.allclose(
        orthogonal(7.0 * matrices, half), orthogonal(matrices, half), atol=1e-2 if half else 1e-4
    )


def test_half_precision_turns_an_update_by_about_a_hundredth():
    torch.manual_seed(0)
    matrices = torch.randn(2, 64, 176)
    exact = orthogonal(matrices, half=False)
    assert 0 < (orthogonal(matrices, half=True) - exact).norm() / exact.norm() < 0.03


def test_stacked_matrices_are_made_orthogonal_one_by_one():
    torch.manual_seed(0)
    parts = [torch.randn(8, 8) for _ in range(3)]
    stacked = torch.nn.Parameter(torch.zeros(24, 8))
    stacked.grad = torch.cat(parts)
    Muon([{"params": [stacked], "rows": [(8, 8, 8)]}], lr=1.0, momentum=0.0, weight_decay=0.0).step()
    expected = torch.cat([orthogonal(part[None])[0] for part in parts])
    assert torch.allclose(stacked.detach(), -0.2 * 8**0.5 * expected, atol=1e-5)


def test_weight_decay_shrinks_matrices_by_rate_times_decay():
    weight = torch.nn.Parameter(torch.ones(4, 4))
    weight.grad = torch.zeros(4, 4)
    Muon([{"params": [weight], "rows": [(4,)]}], lr=0.1, momentum=0.9, weight_decay=0.5).step()
    assert torch.allclose(weight.detach(), torch.full((4, 4), 0.95))
    Muon([{"params": [weight], "rows": [(4,)]}], 0.1, 0.9, weight_decay=0.5, interval=2).step()
    assert torch.allclose(weight.detach(), torch.full((4, 4), 0.95 * 0.9))


def test_matrices_that_take_turns_move_every_other_step_twice_as_far():
    torch.manual_seed(0)
    every, turns = ([torch.nn.Parameter(torch.ones(8, 8)) for _ in range(2)] for _ in range(2))
    optimizers = [
        Muon([{"params": matrices, "rows": [(8,)] * 2}], 0.1, 0.9, weight_decay=0.0, interval=n)
        for n, matrices in ((1, every), (2, turns))
    ]
    for step in range(4):
        gradients = torch.randn(2, 8, 8)
        before = [matrix.detach().clone() for matrix in [*every, *turns]]
        for optimizer, matrices in zip(optimizers, (every, turns), strict=True):
            for matrix, gradient in zip(matrices, gradients, strict=True):
                matrix.grad = gradient.clone()
            optimizer.step()
        moved = [matrix.detach() - old for matrix, old in zip([*every, *turns], before, strict=True)]
        own, other = step % 2, 1 - step % 2
        assert torch.allclose(moved[2 + own], 2 * moved[own], atol=1e-6)
        assert not moved[2 + other].any()


def test_only_wide_models_with_small_steps_take_turns():
    assert [default_muon_interval(width, 1024) for width in (64, 128, 192, 256)] == [1, 2, 2, 2]
    assert default_muon_interval(256, 4096) == default_muon_interval(640, 8192) == 1


def test_turns_are_part_of_what_a_checkpoint_holds(model):
    optimizer, _ = make_optimizers(model, OptimizerConfig(muon_interval=3))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    again, _ = make_optimizers(model, OptimizerConfig(muon_interval=3))
    again.load_state_dict(optimizer.state_dict())
    assert again.param_groups[0]["turn"] == 1
