"""The model: what it predicts, what it may see, and that its shortcuts change nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from train.config import ModelConfig
from train.machine import autocast
from train.model import attention, fused, layers, losses, products
from train.model.attention import attend, norm_and_rotate, rotary_tables
from train.model.layers import rms_norm
from train.model.transformer import Transformer

SMALL = ModelConfig(vocabulary=67, depth=2, width=32, heads=2, context=24)


@pytest.fixture
def model() -> Transformer:
    torch.manual_seed(3)
    return Transformer(SMALL)


@pytest.fixture
def trained_like() -> Transformer:
    """Weights and gains far from their start, so that no term vanishes."""
    torch.manual_seed(4)
    model = Transformer(SMALL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def tokens(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, SMALL.vocabulary, (rows, columns), generator=torch.Generator().manual_seed(seed))


def test_an_untrained_model_knows_nothing(model):
    loss = model(tokens(8, 24), tokens(8, 24, seed=1)).item()
    assert loss == pytest.approx(math.log(SMALL.vocabulary), abs=0.1)


def test_a_later_token_changes_no_earlier_logit(trained_like):
    whole, changed = tokens(1, 24), tokens(1, 24)
    changed[0, 15] = (changed[0, 15] + 1) % SMALL.vocabulary
    before, after = trained_like.logits(whole), trained_like.logits(changed)
    assert torch.equal(before[:, :15], after[:, :15])
    assert not torch.allclose(before[:, 15:], after[:, 15:])


def test_every_earlier_token_changes_the_last_logits(trained_like):
    whole = tokens(1, 24)
    last = trained_like.logits(whole)[0, -1]
    for position in range(24):
        changed = whole.clone()
        changed[0, position] = (changed[0, position] + 1) % SMALL.vocabulary
        assert not torch.allclose(last, trained_like.logits(changed)[0, -1], atol=1e-6), position


def test_rotary_scores_depend_on_the_distance_only():
    cos, sin = rotary_tables(64, 16, 10_000.0)
    q, k, gain = torch.randn(16), torch.randn(16), torch.ones(16)
    placed_q, placed_k = (norm_and_rotate(x.expand(1, 1, 64, 16), gain, cos, sin)[0, 0] for x in (q, k))
    scores = placed_q @ placed_k.T
    for distance in (0, 1, 7, 40):
        along = scores.diagonal(-distance)
        assert torch.allclose(along, along[0].expand_as(along), atol=1e-4)
    assert not torch.allclose(scores[7, 0], scores[0, 0])


def test_rms_norm_and_its_gradient_equal_the_composed_one():
    x = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(rms_norm(x), F.rms_norm(x, (7,), eps=1e-6))
    assert torch.autograd.gradcheck(rms_norm, (x,))


def test_norm_and_rotation_and_their_gradients_equal_the_composed_ones():
    cos, sin = (table.double() for table in rotary_tables(5, 6, 100.0))
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    gain = torch.randn(6, dtype=torch.float64, requires_grad=True)
    normed = F.rms_norm(x, (6,), eps=1e-6) * gain
    low, high = normed.chunk(2, -1)
    c, s = cos[:, :3], sin[:, 3:]
    assert torch.allclose(
        norm_and_rotate(x, gain, cos, sin), torch.cat((low * c - high * s, low * s + high * c), -1)
    )
    assert torch.autograd.gradcheck(lambda x, gain: norm_and_rotate(x, gain, cos, sin), (x, gain))


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("documents", [False, True])
def test_attention_by_blocks_equals_torchs_own(monkeypatch, kv_heads, documents):
    q = torch.randn(3, 4, 40, 8)
    k, v = torch.randn(3, kv_heads, 40, 8), torch.randn(3, kv_heads, 40, 8)
    document_BT = (torch.rand(3, 40) < 0.1).cumsum(1) if documents else None
    monkeypatch.setattr(attention, "HELD", (1, 512))
    monkeypatch.setattr(attention, "BLOCK", 16)  # the last holds 8
    found = []
    for wide in (True, False):
        monkeypatch.setattr(attention, "use_wide_products", lambda wide=wide: wide)
        inputs = [x.clone().requires_grad_() for x in (q, k, v)]
        y = attend(*inputs, document_BT)
        (y * torch.arange(8)).sum().backward()
        found.append([y, *(x.grad for x in inputs)])
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not products.use_wide_products(), reason="the processor has no wide products")
@pytest.mark.parametrize("shape", [(1, 5, 7), (300, 64, 192), (300, 192, 64)])
def test_wide_products_are_as_exact_as_float32_is(shape):
    rows, inner, out = shape
    x, w = torch.randn(2, rows, inner), torch.randn(2, out, inner)
    for ours, exact in (
        (x @ w.mT, x.double() @ w.double().mT),
        (x[0] @ w[0].T, x[0].double() @ w[0].double().T),
    ):
        assert (ours - exact).norm() < 1e-6 * exact.norm()


def test_a_processor_that_would_round_products_keeps_its_own(monkeypatch):
    before = torch.backends.mkldnn.matmul.fp32_precision
    monkeypatch.setattr(products, "_is_rounded", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    try:
        assert not products.use_wide_products.__wrapped__()
        assert torch.backends.mkldnn.matmul.fp32_precision == "none"
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before


def test_the_gate_and_its_gradient_equal_the_composed_ones():
    both = torch.randn(3, 10, dtype=torch.float64, requires_grad=True)
    gate, value = both.chunk(2, -1)
    assert torch.allclose(layers._GatedBySilu.apply(both), F.silu(gate) * value)
    assert torch.autograd.gradcheck(layers._GatedBySilu.apply, (both,))


def test_the_loss_in_chunks_equals_cross_entropy_of_all_logits(monkeypatch):
    monkeypatch.setitem(losses.CHUNK_BYTES, "cpu", 4 * 67 * 40)  # 130 rows: three chunks and a rest
    hidden = torch.randn(130, 16, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(67, 16, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 67, (130,))
    expected = F.cross_entropy(hidden @ weight.T, targets)
    expected_grads = torch.autograd.grad(expected, (hidden, weight))
    ours = losses.linear_cross_entropy(hidden, weight, targets)
    grads = torch.autograd.grad(3.0 * ours, (hidden, weight))
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        assert torch.allclose(grad, 3.0 * expected_grad, rtol=1e-4, atol=1e-7)


def test_token_losses_are_right_for_hopeless_and_for_certain_targets():
    hidden = torch.tensor([[300.0], [300.0], [0.0]])
    weight = torch.tensor([[1.0], [-1.0], [0.0]])
    found = losses.token_losses(hidden, weight, torch.tensor([0, 1, 2]))
    assert found.tolist() == pytest.approx([0.0, 600.0, math.log(3)])


def test_the_mean_of_token_losses_is_the_training_loss(trained_like):
    inputs, targets = tokens(3, 20), tokens(3, 20, seed=1)
    each = trained_like.token_losses(inputs, targets)
    assert each.shape == (3, 20)
    assert each.mean().item() == pytest.approx(trained_like(inputs, targets).item(), rel=1e-5)
    logits = trained_like.logits(inputs)
    assert torch.allclose(
        each.flatten(), F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none"), atol=1e-4
    )


def test_every_parameter_gets_a_gradient(trained_like):
    trained_like(tokens(2, 24), tokens(2, 24, seed=1)).backward()
    for name, parameter in trained_like.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_counted(tied):
    config = ModelConfig(vocabulary=100, depth=2, width=64, context=16, tied=tied)
    model = Transformer(config)
    block = 3 * 64 * 64 + 64 * 64 + 3 * 64 * config.hidden + 64 + 64 + 64 + 64
    assert model.parameters_without_embeddings() == 2 * block + 64
    assert model.parameters_total() == 2 * block + 64 + 100 * 64 * (1 if tied else 2)


def test_heads_are_64_wide_by_default():
    assert [ModelConfig(vocabulary=9, width=w).heads for w in (32, 64, 128, 320)] == [1, 1, 2, 5]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"widht": 64}, r"model\.widht: did you mean width\?"),
        ({"width": 60, "heads": 8}, "multiple of 16"),
        ({"depth": 0}, r"model\.depth = 0"),
        ({"depth": 2.5}, r"model\.depth = 2\.5"),
        ({"vocabulary": 5}, r"model\.vocabulary"),
        ({"width": 0}, r"model\.width = 0"),
        ({"width": 64, "heads": 4, "kv_heads": 3}, "divisor of heads"),
        ({"mixer": "lstmm"}, r"model\.mixer = 'lstmm': must be one of attention"),
        ({"position": 3}, r"model\.position = 3"),
        ({"cross_documents": False}, r"give model\.end"),
    ],
)
def test_a_wrong_knob_is_named(knobs, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig.of(knobs, vocabulary=10, context=8)


def test_a_sequence_longer_than_the_context_is_refused(model):
    with pytest.raises(ValueError, match="context = 24"):
        model(tokens(1, 25), tokens(1, 25))


def test_documents_that_do_not_cross_are_read_as_if_each_stood_alone():
    torch.manual_seed(5)
    apart = Transformer(replace(SMALL, cross_documents=False, end=0))
    documents = [torch.randint(1, SMALL.vocabulary, (1, n)) for n in (5, 1, 9)]
    starts = [torch.cat((torch.zeros(1, 1, dtype=torch.long), document), 1) for document in documents]
    alone = torch.cat([apart.logits(row) for row in starts], 1)
    assert torch.allclose(apart.logits(torch.cat(starts, 1)), alone, atol=1e-5)
    together = Transformer(SMALL)
    together.load_state_dict(apart.state_dict())
    assert not torch.allclose(together.logits(torch.cat(starts, 1)), alone, atol=1e-3)


def test_shared_heads_of_keys_equal_whole_heads_that_are_copies():
    torch.manual_seed(6)
    shared = Transformer(replace(SMALL, heads=4, kv_heads=2))
    whole = Transformer(replace(SMALL, heads=4, kv_heads=4))
    state = shared.state_dict()
    for name in list(state):
        if name.endswith("mixer.project.weight"):
            q, k, v = state[name].split((32, 16, 16))
            copies = [x.view(2, 1, 8, 32).expand(2, 2, 8, 32).reshape(32, 32) for x in (k, v)]
            state[name] = torch.cat((q, *copies))
    whole.load_state_dict(state)
    assert torch.allclose(shared.logits(tokens(2, 24)), whole.logits(tokens(2, 24)), atol=1e-5)


def test_without_positions_the_order_of_what_came_before_is_lost():
    torch.manual_seed(7)
    blind = Transformer(replace(SMALL, depth=1, position="none"))
    whole = tokens(1, 24)
    swapped = whole.clone()
    swapped[0, [2, 9]] = whole[0, [9, 2]]
    assert torch.allclose(blind.logits(whole)[0, -1], blind.logits(swapped)[0, -1], atol=1e-5)


@pytest.mark.parametrize(
    ("depth", "millions"), [(2, 0.1), (4, 0.8), (8, 6.3), (12, 21), (24, 170), (44, 1047)]
)
def test_the_depth_alone_sets_a_sensible_shape(depth, millions):
    with torch.device("meta"):
        model = Transformer(ModelConfig(vocabulary=100, depth=depth))
    assert model.config.head_width == 64
    assert model.parameters_without_embeddings() / 1e6 == pytest.approx(millions, rel=0.08)


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


FUSED = [
    ModelConfig(vocabulary=67, depth=2, width=48, heads=2, context=72),
    ModelConfig(vocabulary=67, depth=2, width=96, heads=4, kv_heads=2, context=70),
    ModelConfig(vocabulary=67, depth=2, width=32, heads=2, context=140, cross_documents=False, end=5),
    ModelConfig(vocabulary=67, depth=2, width=32, heads=2, context=20, position="none"),
    ModelConfig(vocabulary=67, depth=2, width=32, heads=2, context=80, position="learned"),
    ModelConfig(vocabulary=67, depth=2, width=32, heads=2, context=80, window=9, tied=False),
]


@pytest.mark.parametrize(("config", "dropout"), [*((config, 0.0) for config in FUSED), (FUSED[1], 0.2)])
def test_the_fused_kernels_give_the_loss_and_gradients_of_the_plain_definitions(
    config, dropout, one_thread, monkeypatch
):
    torch.manual_seed(4)
    model = Transformer(config)
    model.dropout = layers.Dropout(dropout, torch.tensor(4_000_000_000)) if dropout else None
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    rows = torch.randint(0, 67, (3, config.context + 1))

    def loss_and_gradients(precision: str) -> list[torch.Tensor]:
        model.zero_grad()
        with autocast(torch.device("cpu"), precision):
            loss = model(rows[:, :-1], rows[:, 1:])
        loss.backward()
        return [loss.detach(), *(parameter.grad for parameter in model.parameters())]

    assert fused.fits(*model.parameters())
    by_kernels, halved = loss_and_gradients("float32"), loss_and_gradients("bfloat16")
    monkeypatch.setattr(fused, "fits", lambda *arrays: False)
    plain, plain_halved = loss_and_gradients("float32"), loss_and_gradients("bfloat16")
    for kernel, exact in zip(by_kernels, plain, strict=True):
        assert (kernel - exact).norm() <= 2e-5 * exact.norm()
    # In half precision the kernels may err as torch's own operations do, and no more.
    errors = [
        torch.stack([(x - exact).norm() / exact.norm() for x, exact in zip(given, plain, strict=True)]).norm()
        for given in (halved, plain_halved)
    ]
    assert all(kernel.dtype == torch.float32 for kernel in halved)
    assert 0 < errors[0] <= 1.25 * errors[1]
    assert halved[0].item() == pytest.approx(plain[0].item(), abs=0.003)


def test_dropout_leaves_out_its_share_anew_in_every_layer_and_the_same_for_any_division_of_windows(
    one_thread,
):
    ones, dropout = torch.ones(6, 70, 96), layers.Dropout(0.2, torch.tensor(7))
    first, second = dropout(ones, 1), dropout(ones, 2)
    for left in (first, second):
        assert left.unique().tolist() == [0, 1.25]
        assert left.mean().item() == pytest.approx(1, abs=0.01)
    assert ((first == 0) & (second == 0)).float().mean().item() == pytest.approx(0.04, abs=0.004)
    assert torch.equal(dropout._replace(window=4)(ones[4:], 1), first[4:])


def test_the_kernels_round_to_the_nearest_bfloat16():
    exact = torch.randn(64, 96, generator=torch.Generator().manual_seed(6)) * 10
    exact[0, :4] = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 0.0, -0.0])  # ties go to the even neighbour
    halves, scale = torch.empty(64, 96, dtype=torch.bfloat16), torch.empty(64)
    fused.rms_norm(fused.view(exact), fused.view(halves), scale.numpy())
    assert torch.equal(halves, (exact * scale[:, None]).bfloat16())
    given, whole = exact.bfloat16(), torch.empty(64, 96)
    fused.rms_norm(fused.view(given), fused.view(whole), scale.numpy())
    torch.testing.assert_close(whole, F.rms_norm(given.float(), (96,), eps=1e-6))


def test_the_exponential_of_the_kernels_is_exact_to_the_last_digits():
    scores = torch.linspace(-80, 80, 20_001)
    both = torch.stack((scores, torch.ones_like(scores)), 1)
    gated = torch.empty(len(scores), 1)
    fused.gate_by_silu(both.numpy(), gated.numpy())
    expected = F.silu(scores.double())
    assert ((gated[:, 0] - expected).abs() <= 4e-7 * expected.abs()).all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_a_number_stays_so_in_the_kernels(bad, precision, one_thread):
    config = ModelConfig(vocabulary=67, depth=2, width=32, heads=2, context=72)
    model = Transformer(config)
    with torch.no_grad():
        model.blocks[0].mlp.expand.weight[3, 4] = bad
    with autocast(torch.device("cpu"), precision):
        assert not math.isfinite(model(tokens(2, 72), tokens(2, 72)).item())
