"""Factors: objectives, mixers and orders are what they say, and one knob at a time is what is trained and told."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import MANIFEST, write_manifest

from curate.errors import ManifestError
from curate.manifest.reader import load_manifest
from curate.report import charts
from curate.report.layout import DRAWINGS
from curate.results.tuning import at_best
from curate.studies.context import context_finding
from curate.studies.factors import Factors
from train.config import ModelConfig
from train.context import context_use
from train.model.masked import ROUNDS, _rounds
from train.model.objectives import objective
from train.model.transformer import Transformer
from train.tokens.packed import Packed
from train.tokens.windows import Windows, word_beginnings

SHAPE = {"vocabulary": 50, "depth": 2, "width": 64, "context": 32}
FACTORS = """
[base]
tokens = "8k"

[[factor]]
name = "structure"
model = { mixer = ["lstm", "convolution"], window = [4] }

[[factor]]
name = "conditioning"
optimizer = { warmup_steps = [0], learning_rate = [9.0] }

[[factor]]
name = "quantity"
tokens = ["4k"]

[[factor]]
name = "quality"
level = ["raw"]
"""


def model(**knobs) -> Transformer:
    torch.manual_seed(0)
    return Transformer(ModelConfig(**SHAPE | knobs))


@pytest.mark.parametrize(
    "knobs", [{"mixer": "lstm"}, {"mixer": "convolution"}, {"window": 4}, {"position": "learned"}]
)
def test_no_structure_sees_the_future(knobs):
    made = model(**knobs)
    text = torch.randint(0, 50, (1, 32))
    other = text.clone()
    other[0, 20] = (other[0, 20] + 1) % 50
    same = torch.isclose(made.logits(text), made.logits(other), atol=1e-5).all(-1)[0]
    assert same[:20].all()
    assert not same[20]


@pytest.mark.parametrize("mixer", ["lstm", "convolution"])
@pytest.mark.parametrize("width", [64, 128])
def test_mixers_are_as_large_as_the_attention_they_stand_in_for(mixer, width):
    sizes = [
        sum(p.numel() for p in model(width=width, mixer=m).blocks.parameters()) for m in ("attention", mixer)
    ]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.03)


def test_a_window_reaches_no_further_than_it_says_in_one_layer():
    made = model(depth=1, window=4)
    text = torch.randint(0, 50, (1, 32))
    other = text.clone()
    other[0, 10] = (other[0, 10] + 1) % 50
    differs = ~torch.isclose(made.logits(text), made.logits(other), atol=1e-6).all(-1)[0]
    assert differs.nonzero().flatten().tolist() == [10, 11, 12, 13]


def test_without_positions_attention_still_cannot_tell_orders_far_back_apart():
    text = torch.randint(0, 50, (1, 32))
    swapped = text.clone()
    swapped[0, [3, 9]] = text[0, [9, 3]]
    blind, seeing = (model(depth=1, position=p).logits(text)[0, -1] for p in ("none", "learned"))
    again = [model(depth=1, position=p).logits(swapped)[0, -1] for p in ("none", "learned")]
    assert torch.allclose(blind, again[0], atol=1e-5)
    assert not torch.allclose(seeing, again[1], atol=1e-5)


@pytest.mark.parametrize(("knobs", "message"), [
    ({"mixer": "lstm", "window": 4}, "a recurrence has none"),
    ({"mixer": "lstm", "mask": 50}, "masked words need attention"),
    ({"mixer": "gru"}, "must be one of attention, lstm, convolution"),
    ({"window": -1}, "whole number"),
])  # fmt: skip
def test_what_cannot_be_is_refused(knobs, message):
    with pytest.raises(ValueError, match=message):
        model(**knobs)


def test_the_size_of_the_start_scales_every_matrix():
    one, two = model(), model(init_scale=2.0)
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        if a.ndim == 2:
            assert torch.allclose(2 * a, b), name


# ---- Objectives


def test_reinforce_has_in_expectation_the_gradient_of_the_probability_of_the_target():
    made = model(depth=1, vocabulary=6)
    tokens, targets = torch.randint(0, 6, (4, 32)), torch.randint(0, 6, (4, 32))
    summed = torch.zeros_like(made.lm_head_VC())
    for step in range(400):
        made.zero_grad()
        loss = objective("reinforce", made, tokens, targets, seed=1, step=step)
        loss.backward()
        summed += made.embedding.grad
    made.zero_grad()
    (-made.logits(tokens).softmax(-1).gather(2, targets[..., None]).mean()).backward()
    expected = made.embedding.grad
    likeness = F.cosine_similarity(summed.flatten(), expected.flatten(), dim=0)
    assert likeness > 0.9
    assert (summed / 400).norm() == pytest.approx(expected.norm().item(), rel=0.15)
    with torch.no_grad():
        assert loss.item() == pytest.approx(made(tokens, targets).item(), rel=1e-5)


def test_an_objective_draws_the_same_in_the_same_step_and_otherwise_in_the_next():
    made = model(mask=50, vocabulary=51)
    tokens, targets = torch.randint(0, 50, (2, 32)), torch.randint(0, 50, (2, 32))
    losses = [objective("masked", made, tokens, targets, 3, step).item() for step in (7, 7, 8)]
    assert losses[0] == losses[1] != losses[2]


def test_a_masked_model_gives_probabilities_of_whole_texts_that_sum_to_one():
    made = model(vocabulary=4, mask=3, context=4, depth=1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    texts = torch.cartesian_prod(
        *[torch.arange(4)] * 4
    )  # the mask is a word like others, as far as chances go
    total = made.token_losses(texts, texts).sum(1).neg().exp().sum().item()
    assert total == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("length", [1, 5, 64, 256])
def test_every_position_is_revealed_once_in_a_growing_number(length):
    rounds = _rounds(length)
    counts = np.bincount(rounds)
    assert counts.sum() == length
    assert len(counts) <= ROUNDS
    assert (np.diff(counts) >= -1).all()


# ---- Order and context


def test_shuffled_windows_hold_the_same_words_in_their_documents():
    begins = np.zeros(20, bool)
    begins[[1, 2, 3, 4, 5]] = True  # others go on with the word before them
    tokens = np.array([1, 11, 2, 3, 12, 13, 0, 4, 14, 5, 1, 2, 0, 3, 15, 4, 2, 1, 5, 3])

    def words(row):
        told, here = [], []
        for token in row:
            if begins[token] or token == 0:
                here.append([])
            here[-1].append(int(token))
            if token == 0:
                told.append(sorted(map(tuple, here)))
                here = []
        return [*told, sorted(map(tuple, here))]

    plain, mixed = (Windows(tokens, 18, 1, [1], 4, begins=b, end=0) for b in (None, begins))
    rows = [torch.cat((w(0)[0], w(0)[1][:, -1:]), 1)[0].tolist() for w in (plain, mixed)]
    assert rows[0] != rows[1]
    assert words(rows[0]) == words(rows[1])
    assert torch.equal(mixed(0)[0], mixed(0)[0])


def test_words_begin_at_spaces_signs_and_digits(tmp_path):
    from train.tokens import load_tokenizer, train_tokenizer

    train_tokenizer(["the cat sat on the mat, 42 times. " * 20], 270, tmp_path / "t.json")
    tokenizer = load_tokenizer(tmp_path / "t.json")
    begins = word_beginnings(tokenizer)
    ids = tokenizer.encode(" the xyz, 4", add_special_tokens=False).ids
    said = {tokenizer.id_to_token(i): bool(begins[i]) for i in ids}
    assert said["y"] is said["z"] is False
    assert said[","] is said["4"] is True
    assert begins[tokenizer.token_to_id("\u0120")]


def test_context_use_is_measured_from_the_beginnings_of_documents(tmp_path):
    rng = np.random.default_rng(0)
    offsets = np.array([0, 3, *range(40, 400, 40)])
    packed = Packed.write(
        tmp_path / "p", rng.integers(1, 50, 360), offsets, np.diff(offsets), vocabulary=50, end=0
    )
    made = model()
    used = context_use(made, packed)
    assert used["length"] == 32
    assert used["edges"] == [0, 1, 2, 4, 8, 16, 32]
    texts = torch.from_numpy(np.stack([packed.tokens[b : b + 32] for b in offsets[1:-1]]).astype(np.int64))
    inputs = torch.cat((torch.zeros((len(texts), 1), dtype=torch.int64), texts[:, :-1]), 1)
    logits = made.logits(inputs)
    assert used["accuracy"] == pytest.approx((logits.argmax(-1) == texts).double().mean().item())
    last = F.cross_entropy(logits[:, 16:].flatten(0, 1), texts[:, 16:].flatten()).item()
    assert used["nats"][-1] == pytest.approx(last, rel=1e-5)
    assert context_use(model(vocabulary=51, mask=50), packed) is None


# ---- The study


def loaded(tmp_path, text=FACTORS):
    return load_manifest(write_manifest(tmp_path, MANIFEST + text))


def factor_trials(asked):
    return asked.outline(None)


def factors_finding(holdout, asked, runs):
    return Factors.findings(holdout, {"studies": {"factors": asked}}, runs)[0]


def test_each_value_is_one_change_of_the_base(tmp_path):
    told = {trial.name: trial for trial in factor_trials(loaded(tmp_path).studies["factors"])}
    base = told["base"]
    assert set(told) == {
        "base", "model.mixer = lstm", "model.mixer = convolution", "model.window = 4",
        "optimizer.warmup_steps = 0", "optimizer.learning_rate = 9.0", "tokens = 4k", "level = raw",
    }  # fmt: skip
    assert told["model.mixer = lstm"].knobs == base.knobs | {"model": base.knobs["model"] | {"mixer": "lstm"}}
    assert (told["tokens = 4k"].tokens, told["tokens = 4k"].knobs) == (4000, base.knobs)
    assert (told["level = raw"].level, base.level) == ("raw", "unique")


@pytest.mark.parametrize(("text", "message"), [
    ("[[factor]]\nname = 'a'\nmodel = { mixr = ['lstm'] }", r'factor "a".*model\.mixr: did you mean mixer'),
    ("[[factor]]\nname = 'a'\nmodel = { mixer = ['gru'] }", "must be one of attention, lstm, convolution"),
    ("[[factor]]\nname = 'a'\ntokens = ['9M']", "more than the largest"),
    ("[[factor]]\nname = 'a'\nlevel = ['best']", "is no level"),
    ("[[factor]]\nloss = ['masked']", "has no name"),
    ("[[factor]]\nname = 'a'\nepochs = [2, 2]", "named twice"),
    ("[base]\nrates = [0.3, 0.3]\n[[factor]]\nname = 'a'\nepochs = [2]", "shares of the usual rate"),
    ("[base]\ntokens = '4k'", r"has no \[\[factor\]\]"),
])  # fmt: skip
def test_a_wrong_factor_is_named(tmp_path, text, message):
    with pytest.raises(ManifestError, match=message):
        loaded(tmp_path, text)


@pytest.mark.parametrize("name", ["seven-factors", "loss-function", "symmetry", "conditioning"])
def test_shipped_manifests_of_factors_are_sound(name):
    asked = load_manifest(Path(__file__).parents[2] / "manifests" / f"{name}.toml").studies["factors"]
    assert {trial.name for trial in factor_trials(asked)} == {
        "base",
        *(change.name for change in asked.changes),
    }
    assert asked.seeds >= 2


def test_a_change_with_wild_seeds_does_not_widen_the_intervals_of_the_others():
    noise = {
        "base": [0.001, -0.002, 0.001],
        "epochs = 2": [-0.001, 0.001, 0.002],
        "order = shuffled": [0.0, 0.001, -0.001],
    }
    calm = [record(level, "a", s, 4 + n) for level, some in noise.items() for s, n in enumerate(some)]
    wild = [record("loss = reinforce", "b", s, nats) for s, nats in enumerate([9.0, 15.0, 12.0])]
    asked = {"tokens": 8000, "level": "unique", "seeds": 3}
    alone, both = (factors_finding("unique", asked, runs)["figures"]["rows"] for runs in (calm, calm + wild))
    assert both[0]["change"] == "loss = reinforce"
    assert both[0]["high"] - both[0]["low"] > 1
    for row in both[1:]:
        before = next(r for r in alone if r["change"] == row["change"])
        assert row["high"] - row["low"] < 2 * (before["high"] - before["low"])


def test_of_many_changes_that_do_nothing_hardly_ever_one_is_called_different():
    rng, studies = np.random.default_rng(4), 20
    asked = {"tokens": 8000, "level": "unique", "seeds": 3}
    wrong = 0
    for _ in range(studies):
        names = ["base", *(f"epochs = {i}" for i in range(2, 24))]
        runs = [record(name, "a", s, 4 + rng.normal(0, 0.01)) for name in names for s in range(3)]
        told = factors_finding("unique", asked, runs)
        wrong += any(row["distinguishable"] for row in told["figures"]["rows"])
        for row in told["figures"]["rows"]:
            assert row["distinguishable"] == (not row["low"] <= 0 <= row["high"])
        for change, *_, cost, _, _ in told["tables"][0]["rows"][1:]:
            low, high = (
                float(x) for x in cost.replace("\u2212", "-").split("[")[1].split("]")[0].split(", ")
            )
            assert ("not distinguishable" in cost) == (low <= 0 <= high), change
    assert wrong <= 4


def test_intervals_hold_where_some_changes_read_other_documents_than_the_base():
    """Documents bring 0.05 nats to a run, training 0.01. What reads the same documents differs by training alone."""
    rng, asked, held, widths = (
        np.random.default_rng(6),
        {"tokens": 8000, "level": "unique", "seeds": 3},
        0,
        [],
    )
    names = ["base", *(f"epochs = {i}" for i in range(2, 9)), "level = raw", "tokens = 4k"]
    for _ in range(50):
        documents = rng.normal(0, 0.05, 3)
        runs = [
            record(name, "a", s, 4 + (rng.normal(0, 0.05) if name.startswith(("level", "tokens")) else documents[s])
                   + rng.normal(0, 0.01))
            for name in names for s in range(3)
        ]  # fmt: skip
        rows = factors_finding("unique", asked, runs)["figures"]["rows"]
        held += all(row["low"] <= 0 <= row["high"] for row in rows)
        widths.append(
            np.mean([row["high"] - row["low"] for row in rows if row["change"].startswith("epochs")])
        )
    assert held >= 44
    assert np.mean(widths) < 0.06  # bits: half of the nats


def record(level, factor, seed, nats, **more):
    losses = {"unique": {"nats_per_token": nats, "bits_per_byte": nats / 2}}
    return {"study": "factors", "level": level, "factor": factor, "seed": seed, "size": 1, "tags": {}, "losses": losses,
            "parameters": 10} | more  # fmt: skip


def test_the_finding_ranks_factors_names_failures_and_fills_nothing_in():
    noise = [0.001, -0.002, 0.001]
    runs = [record("base", "base", s, 4.0 + n) for s, n in enumerate(noise)]
    runs += [record("model.mixer = lstm", "structure", s, 4.4 - n) for s, n in enumerate(noise)]
    runs += [record("tokens = 4k", "quantity", s, 6.0 + n, size=9) for s, n in enumerate(noise)]
    runs += [record("optimizer.warmup_steps = 0", "conditioning", s, 4.0 - n) for s, n in enumerate(noise)]
    runs.append({"study": "factors", "level": "optimizer.learning_rate = 9.0", "factor": "conditioning", "seed": 0, "size": 1,
                 "tags": {}, "failed": "diverged at step 3"})  # fmt: skip
    told = factors_finding("unique", {"tokens": 8000, "level": "unique", "seeds": 3}, runs)
    rows = told["figures"]["rows"]
    assert [row["factor"] for row in rows] == ["quantity", "structure", "conditioning"]
    assert rows[0]["bits"] == pytest.approx(1.0)
    assert [row["distinguishable"] for row in rows] == [True, True, False]
    assert (
        "optimizer.learning_rate = 9.0 (conditioning) has a run without a result: diverged at step 3."
        in told["sentences"]
    )
    assert not any(row["change"] == "optimizer.learning_rate = 9.0" for row in rows)
    json.dumps(told, allow_nan=False)
    svg = charts.tornado(rows, "what mattered")
    assert svg.count("· quantity") == 1
    assert math.isfinite(rows[1]["low"])


def test_every_change_but_that_of_a_rate_is_trained_at_every_rate(tmp_path):
    text = FACTORS.replace("[base]", "[base]\nrates = [0.5, 1, 2]")
    told = factor_trials(loaded(tmp_path, text).studies["factors"])
    rates = {
        (t.name, t.about["rate_share"]): t.knobs["optimizer"]["learning_rate"]
        for t in told
        if t.about["rate_share"] != 1
    }
    assert rates["base", 2.0] == 4 * rates["base", 0.5] == rates["model.mixer = lstm", 2.0]
    assert [t.about["rate_share"] for t in told if t.name == "optimizer.learning_rate = 9.0"] == [1.0]
    assert len(told) == 3 * 7 + 1


def test_the_rate_is_chosen_by_the_text_that_was_learned_from_and_never_by_the_held_out():
    def at(level, share, tail, nats):
        return [
            record(level, "a", s, nats, rate_share=share, train_loss={"tail": tail + s / 100})
            for s in range(2)
        ]

    runs = [*at("base", 0.3, 4.2, 3.0), *at("base", 1.0, 4.0, 3.9), *at("base", 3.0, 4.1, 3.5),
            *at("order = shuffled", 0.3, 4.5, 5.0), *at("order = shuffled", 1.0, 4.6, 4.0)]  # fmt: skip
    runs += at("order = shuffled", 3.0, 1.0, 1.0)[:1]  # one seed diverged there
    kept, losses = at_best(runs, lambda run: run["level"], lambda run: run["rate_share"])
    assert {name: min(by, key=by.get) for name, by in losses.items()} == {
        "base": 1.0,
        "order = shuffled": 0.3,
    }
    assert {run["losses"]["unique"]["nats_per_token"] for run in kept} == {3.9, 5.0}
    asked = {"tokens": 8000, "level": "unique", "seeds": 2, "rates": [0.3, 1.0, 3.0]}
    sentences = factors_finding("unique", asked, runs)["sentences"]
    assert "base 1, order = shuffled 0.3" in sentences[1]
    assert "at an end of those tried for order = shuffled" in sentences[2]


def test_where_a_structure_stops_gaining_from_context_is_found():
    rng, edges = np.random.default_rng(0), [0, 1, 2, 4, 8, 16]
    text_BE = rng.normal(4, 0.5, (60, 5))
    gains = {
        "model.window = 2": [0, 0, 0, 0, 0], "base": [0, 0, 0.5, 1.0, 1.5], "model.mixer = lstm": [0, 0, 0.5, 0.5, 0.5],
        "model.mixer = convolution": [0, 0, 0, 0, 0],
    }  # fmt: skip
    uses = {
        change: [
            (s, {"edges": edges, "by_window": (text_BE - gain + rng.normal(0, 0.03, (60, 5))).tolist()})
            for s in range(3)
        ]
        for change, gain in gains.items()
    }
    found = context_finding("unique", "base", uses)
    assert {row["change"]: row["stops"] for row in found["figures"]["rows"]} == {
        "base": 4,
        "model.mixer = lstm": 2,
        "model.mixer = convolution": None,
    }
    assert "lstm: gains 0.5" in found["sentences"][1]
    assert "where 2 to 3 tokens stand before it" in found["sentences"][1]
    assert DRAWINGS["context"](found["figures"], found["title"]).count("lstm") == 1
    assert context_finding("unique", "base", {"base": uses["base"]}) is None
    lstm = {change: uses[change] for change in ("base", "model.mixer = lstm")}
    against = context_finding("unique", "base", lstm)
    assert [row["change"] for row in against["figures"]["rows"]] == ["base"]
    assert "nats over model.mixer = lstm" in against["sentences"][0]
    assert "at its last tokens (8 to 15 before it), 1.0" in against["sentences"][0]
