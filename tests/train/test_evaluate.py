"""Holdouts: every token of every document is scored exactly once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from train.config import ModelConfig
from train.evaluate import BATCH, Scores, by_group, evaluate, score_documents
from train.model.transformer import Transformer
from train.tokens import Packed

CONTEXT = 8


@pytest.fixture
def model() -> Transformer:
    torch.manual_seed(1)
    model = Transformer(ModelConfig(vocabulary=40, depth=2, width=16, context=CONTEXT))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def holdout(path, tokens: int, documents: int) -> Packed:
    rng = np.random.default_rng(tokens)
    ends = np.sort(rng.choice(np.arange(1, tokens), documents - 1, replace=False))
    offsets = np.concatenate([[0], ends, [tokens]])
    ids = rng.integers(1, 40, tokens)
    ids[offsets[1:] - 1] = 0
    return Packed.write(path, ids, offsets, rng.integers(0, 50, documents), vocabulary=40, end=0)


def naive_nats(model: Transformer, packed: Packed) -> list[float]:
    """One token at a time: what stands before it in its window, then minus the log of its probability."""
    stream = [packed.end, *packed.tokens.tolist()]
    nats = []
    for document in range(len(packed.documents) - 1):
        total = 0.0
        for position in range(packed.documents[document], packed.documents[document + 1]):
            start = position - position % CONTEXT
            before = torch.tensor([stream[start : position + 1]])
            total -= F.log_softmax(model.logits(before)[0, -1].double(), -1)[stream[position + 1]].item()
        nats.append(total)
    return nats


@pytest.mark.parametrize(
    "tokens",
    [3, CONTEXT, CONTEXT + 1, 100, (BATCH + 2) * CONTEXT, 2 * BATCH * CONTEXT + 5],
    ids=["less than a window", "a window", "a window and a token", "windows", "full batches", "a rest"],
)
def test_losses_equal_a_plain_loop_over_every_token(model, tmp_path, tokens):
    packed = holdout(tmp_path / "p", tokens, min(5, tokens - 1))
    scores = evaluate(model, packed)
    assert scores.nats == pytest.approx(naive_nats(model, packed), rel=1e-5)
    assert scores.tokens == tokens
    assert scores.nats.dtype == np.float64


def test_two_evaluations_agree_to_the_last_bit(model, tmp_path):
    packed = holdout(tmp_path / "p", 500, 9)
    assert np.array_equal(evaluate(model, packed).nats, evaluate(model, packed).nats)


def test_units_are_nats_a_token_and_bits_a_byte():
    scores = Scores(np.array([2.0, 4.0]) * np.log(2), tokens=3, bytes=12)
    assert scores.nats_per_token == pytest.approx(2 * np.log(2))
    assert scores.bits_per_byte == pytest.approx(0.5)


def test_evaluating_leaves_the_model_in_training(model, tmp_path):
    packed = holdout(tmp_path / "p", 50, 3)
    evaluate(model.train(), packed)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_empty_holdout_is_refused(model, tmp_path):
    packed = Packed.write(tmp_path / "p", np.zeros(0, np.uint16), [0], [], vocabulary=40, end=0)
    with pytest.raises(ValueError, match="holds no text"):
        evaluate(model, packed)


@pytest.mark.parametrize(
    "sizes", [[1], [CONTEXT], [CONTEXT + 1], [1, 3 * CONTEXT + 2, 5, CONTEXT, 2] * 9, []]
)
def test_documents_read_one_by_one_see_only_themselves(model, sizes):
    rng = np.random.default_rng(len(sizes))
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    tokens = rng.integers(1, 40, offsets[-1]).astype(np.uint16)
    nats = score_documents(model, tokens, offsets, end=0)
    expected = []
    for begin, stop in zip(offsets[:-1], offsets[1:], strict=True):
        stream = [0, *tokens[begin:stop].tolist()]
        total = 0.0
        for position in range(len(stream) - 1):
            start = position - position % CONTEXT
            before = torch.tensor([stream[start : position + 1]])
            total -= F.log_softmax(model.logits(before)[0, -1].double(), -1)[stream[position + 1]].item()
        expected.append(total)
    assert nats == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_each_group_is_that_of_its_documents(model, tmp_path):
    packed = holdout(tmp_path / "p", 200, 6)
    groups = {"source": {"a": [0, 2, 5], "b": [1, 3, 4]}, "level": {"few": [2]}}
    named = Packed.write(
        tmp_path / "named", packed.tokens, packed.documents, packed.bytes, vocabulary=40, end=0, groups=groups
    )
    assert Packed.is_whole(named.path)
    scores = evaluate(model, named)
    told = by_group(scores.nats, named)
    assert {kind: list(names) for kind, names in told.items()} == {"source": ["a", "b"], "level": ["few"]}
    lengths = np.diff(packed.documents)
    for kind, names in groups.items():
        for name, of in names.items():
            one = told[kind][name]
            assert (one["documents"], one["tokens"], one["bytes"]) == (
                len(of), sum(lengths[d] for d in of), sum(packed.bytes[d] for d in of),
            )  # fmt: skip
            assert one["nats_per_token"] == pytest.approx(sum(scores.nats[d] for d in of) / one["tokens"])
    both = told["source"].values()
    assert sum(one["nats_per_token"] * one["tokens"] for one in both) == pytest.approx(scores.nats.sum())
    assert by_group(scores.nats, packed) == {}
