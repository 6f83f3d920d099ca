"""Probes: questions that only reading answers, held-out words kept apart, and likelihoods as a plain loop has them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from curate.cli import main
from curate.report import layout
from curate.results.probes import probe_finding
from train.config import ModelConfig
from train.files import write_record
from train.model.transformer import Transformer
from train.probes.answers import Answers, answer
from train.probes.probing import interval, probe_run
from train.probes.puzzles import FAMILIES, MEN, OBJECTS, WOMEN, items
from train.probes.tuning import Tuning, _Order, split, tuned
from train.run import train_cell
from train.tokens import Packed, encode, load_tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probed")
    texts = [f"{item.question}{item.choices[item.answer]}." for item in items("train")[::7]]
    train_tokenizer(texts, 400, folder / "tokenizer.json")
    ids, offsets = encode(folder / "tokenizer.json", texts)
    Packed.write(
        folder / "packed", ids, offsets, [len(t) for t in texts], tokenizer=folder / "tokenizer.json"
    )
    cell = {"packed": str(folder / "packed"), "sizes": [4096], "context": 64, "device": "cpu",
            "model": {"depth": 1, "width": 16}}  # fmt: skip
    train_cell(cell, folder / "run")
    return folder / "run" / "4096"


@pytest.mark.parametrize("part", ["train", "held-out"])
def test_whoever_prefers_a_word_or_a_place_ends_at_chance(part):
    for family in ("beliefs", "references"):
        groups = defaultdict(list)
        for item in items(part, [family]):
            groups[item.group].append(item)
        for told in groups.values():
            assert len({item.choices for item in told}) == 1
            assert Counter(item.answer for item in told) == {0: len(told) // 2, 1: len(told) // 2}
            first = [
                item.question.index(item.choices[0].strip()) < item.question.index(item.choices[1].strip())
                for item in told
            ]
            right_is_first = sum((item.answer == 0) == f for item, f in zip(told, first, strict=True))
            assert right_is_first == len(told) // 2


def test_sums_are_right_and_may_be_any_of_four_numbers_in_a_row():
    found = items("train", ["arithmetic"])
    for item in found:
        a, b = map(int, item.question.removesuffix(" =").split(" + "))
        numbers = [int(choice) for choice in item.choices]
        assert numbers[item.answer] == a + b
        assert numbers == list(range(numbers[0], numbers[0] + 4))
        assert len({len(choice) for choice in item.choices}) == 1
    assert min(Counter(item.answer for item in found).values()) > len(found) / 6


def test_the_cipher_moves_each_letter_by_one():
    for item in items("held-out", ["cipher"]):
        plain = item.question.removesuffix(" becomes").split()
        assert item.choices[item.answer].split() == [chr(ord(letter) + 1) for letter in plain]
        assert len(set(item.choices)) == 4


def test_held_out_items_share_no_filler_that_would_tell_the_answer():
    def pairs(part, family):
        return {frozenset(item.choices) for item in items(part, [family])}

    def summands(part):
        return {
            frozenset(item.question.removesuffix(" =").split(" + ")) for item in items(part, ["arithmetic"])
        }

    def words(part):
        return {word.strip(".") for item in items(part, ["beliefs"]) for word in item.question.split()}

    assert not summands("train") & summands("held-out")
    for family in ("beliefs", "references"):
        assert not pairs("train", family) & pairs("held-out", family)
    questions = [{item.question for item in items(part)} for part in ("train", "held-out")]
    assert not questions[0] & questions[1]
    assert not words("held-out") & {*WOMEN["train"], *MEN["train"], *OBJECTS["train"]}
    new = [item for item in items("held-out", ["references"]) if item.condition == "new words"]
    known = {choice for item in items("train", ["references"]) for choice in item.choices}
    assert new
    assert not {choice for item in new for choice in item.choices} & known


def test_choices_are_scored_as_a_plain_loop_over_their_tokens_scores_them(run):
    torch.manual_seed(0)
    tokenizer = load_tokenizer(run / "tokenizer.json")
    model = Transformer(ModelConfig(vocabulary=tokenizer.get_vocab_size(), depth=1, width=16, context=64))
    asked = items("held-out")[::97]
    answers = answer(model, tokenizer, asked)
    end = tokenizer.token_to_id("<|end|>")
    for item, nats in zip(asked, answers.nats, strict=True):
        question = tokenizer.encode(item.question, add_special_tokens=False).ids
        for choice, found in zip(item.choices, nats, strict=False):
            ids = [end, *question, *tokenizer.encode(choice, add_special_tokens=False).ids]
            ids = ids[-65:]
            logits = model.logits(torch.tensor([ids[:-1]]))[0]
            losses = F.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
            count = len(tokenizer.encode(choice, add_special_tokens=False).ids)
            assert found == pytest.approx(losses[-count:].sum().item(), rel=1e-4)


def test_ties_share_the_point_and_bits_are_those_of_the_choices_alone():
    asked = [item for item in items("held-out", ["beliefs"])[:2] if item.answer == 0][:1] * 2
    answers = Answers(asked, np.array([[1.0, 1.0], [1.0, 1.0 + math.log(3)]]), np.ones((2, 2)))
    assert answers.right.tolist() == [0.5, 1.0]
    assert answers.bits == pytest.approx([1.0, -math.log2(0.75)])


def test_an_interval_draws_groups_and_not_items():
    values, groups = np.repeat([0.0, 1.0], 50), np.repeat(np.arange(10), 10)
    alone = interval(values, np.arange(100))
    together = interval(values, groups)
    assert together["value"] == alone["value"] == 0.5
    assert together["high"] - together["low"] > 2 * (alone["high"] - alone["low"])


def test_every_family_is_asked_equally_often_and_groups_are_set_aside_whole():
    trained, aside = split(items("train"))
    assert not {(i.family, i.group) for i in trained} & {(i.family, i.group) for i in aside}
    order = _Order(trained, seed=1)
    taken = Counter(trained[i].family for step in range(20) for i in order(step, 16))
    assert taken == dict.fromkeys(FAMILIES, 80)


def test_tuning_learns_what_it_is_shown_and_leaves_the_run_alone(run):
    tokenizer = load_tokenizer(run / "tokenizer.json")
    torch.manual_seed(0)
    model = Transformer(ModelConfig(vocabulary=tokenizer.get_vocab_size(), depth=1, width=32, context=64))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    best, how = tuned(model, tokenizer, {}, Tuning(steps=120, rates=(1.0,)), ["cipher"])
    asked = items("held-out", ["cipher"])
    assert answer(best, tokenizer, asked).bits.mean() < answer(model, tokenizer, asked).bits.mean() - 0.1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert how["rate"] == how["rates_tried"][0]


def test_a_record_is_made_once_for_one_question_and_again_for_another(run):
    first = probe_run(run, Tuning(steps=0))
    written = (run / "probes.json").read_bytes()
    assert probe_run(run, Tuning(steps=0)) == first
    assert list(first["ways"]) == ["zero-shot"]
    assert {f: told["chance"] for f, told in first["ways"]["zero-shot"]["families"].items()} == {
        "arithmetic": 0.25, "beliefs": 0.5, "references": 0.5, "cipher": 0.25,
    }  # fmt: skip
    other = probe_run(run, Tuning(steps=0), ["cipher"])
    assert other["identity"] != first["identity"]
    assert (run / "probes.json").read_bytes() != written


def test_the_command_answers_in_a_table_and_names_what_is_missing(run, tmp_path):
    done = CliRunner().invoke(main, ["probe", str(run), "--steps", "0", "--family", "cipher"])
    assert done.exit_code == 0, done.output
    assert "cipher" in done.output
    assert "0.25" in done.output
    for arguments, told in (
        ([str(tmp_path)], "no finished run"),
        ([str(run), "--family", "sums"], "no such probe"),
    ):
        wrong = CliRunner().invoke(main, ["probe", *arguments])
        assert wrong.exit_code == 1
        assert told in wrong.output


def test_a_masked_model_is_asked_token_by_token_for_what_it_does_not_see(run):
    torch.manual_seed(0)
    tokenizer = load_tokenizer(run / "tokenizer.json")
    mask, end = tokenizer.get_vocab_size(), tokenizer.token_to_id("<|end|>")
    model = Transformer(ModelConfig(vocabulary=mask + 1, depth=1, width=16, context=64, mask=mask))
    asked = items("held-out")[::301]
    answers = answer(model, tokenizer, asked)
    for item, nats in zip(asked, answers.nats, strict=True):
        question = tokenizer.encode(item.question, add_special_tokens=False).ids
        for choice, found in zip(item.choices, nats, strict=False):
            own = tokenizer.encode(choice, add_special_tokens=False).ids
            ids, expected = [end, *question, *own], 0.0
            for place in range(len(ids) - len(own), len(ids)):
                seen = [*ids[:place], *[mask] * (len(ids) - place)]
                scores = model.logits(torch.tensor([seen[-64:]]))[0][place - len(ids)]
                expected -= F.log_softmax(scores, -1)[ids[place]].item()
            assert found == pytest.approx(expected, rel=1e-4)


def test_a_masked_model_is_tuned_by_what_it_is_asked(run):
    tokenizer = load_tokenizer(run / "tokenizer.json")
    mask = tokenizer.get_vocab_size()
    torch.manual_seed(0)
    model = Transformer(ModelConfig(vocabulary=mask + 1, depth=1, width=32, context=64, mask=mask))
    best, _ = tuned(model, tokenizer, {}, Tuning(steps=80, rates=(1.0,)), ["cipher"])
    asked = items("held-out", ["cipher"])
    assert answer(best, tokenizer, asked).bits.mean() < answer(model, tokenizer, asked).bits.mean() - 0.1


def test_levels_of_one_seed_share_the_model_that_read_nothing(run):
    first = probe_run(run, Tuning(steps=2, rates=(1.0,)), ["cipher"])["ways"]["scratch"]
    (run / "probes.json").unlink()
    assert probe_run(run, Tuning(steps=2, rates=(1.0,)), ["cipher"])["ways"]["scratch"] is first


def told(accuracy: float, rng: np.random.Generator, groups: int = 200) -> dict:
    """What a way of one run says of a family of `groups` groups of 4 questions."""
    right = rng.binomial(4, accuracy, groups).astype(float)
    by_group = {"items": [4] * groups, "right": right.tolist(), "bits": (4 - right).tolist()}
    span = {"value": float(right.sum() / groups / 4), "low": 0.0, "high": 1.0}
    return {
        "families": {"cipher": {"items": 4 * groups, "chance": 0.25, "by_group": by_group, "accuracy": span}}
    }


def probed(folder, of_level: dict[str, float], scratch: float = 0.5) -> list[dict]:
    """Runs of levels whose accuracy after fine-tuning is known; zero-shot all are at chance."""
    rng, made = np.random.default_rng(0), []
    fresh = [told(scratch, rng) for _ in range(3)]
    for level, accuracy in of_level.items():
        for size in (1000, 2000):
            for seed in range(3):
                place = folder / f"{level}-{size}-{seed}"
                place.mkdir(parents=True)
                ways = {"zero-shot": told(0.25, rng), "tuned": told(accuracy, rng), "scratch": fresh[seed]}
                write_record(
                    place / "probes.json",
                    {"version": [2, 1], "families": ["cipher"], "tuning": {}, "ways": ways},
                )
                made.append(
                    {
                        "level": level,
                        "size": size,
                        "seed": seed,
                        "tags": {},
                        "losses": {},
                        "directory": str(place),
                    }
                )
    return made


def test_what_differs_is_told_and_what_does_not_is_not_distinguishable(tmp_path):
    found = probe_finding(probed(tmp_path / "a", {"raw": 0.6, "clean": 0.75}))
    verdict = {(g["way"], g["about"], g["level"]): g["clear"] for g in found["figures"]["comparisons"]}
    assert verdict == {
        ("zero-shot", "quality", "clean"): False, ("tuned", "quality", "clean"): True,
        ("tuned", "text", "raw"): True, ("tuned", "text", "clean"): True,
    }  # fmt: skip
    gap = next(g for g in found["figures"]["comparisons"] if g["about"] == "quality" and g["way"] == "tuned")
    assert gap["low"] < 0.15 < gap["high"]
    assert "clean answers" in found["sentences"][0]
    assert "after fine-tuning from 0.5" in found["sentences"][1]
    quiet = probe_finding(probed(tmp_path / "b", {"raw": 0.5, "clean": 0.5}))
    assert not any(g["clear"] for g in quiet["figures"]["comparisons"])
    assert "moves none of these answers distinguishably" in quiet["sentences"][0]
    assert found["figures"]["caveats"] == []
    alone = probe_finding(
        [run for run in probed(tmp_path / "c", {"raw": 0.5, "clean": 0.9}) if run["seed"] == 0]
    )
    assert not any(g["clear"] for g in alone["figures"]["comparisons"])
    assert "one seed only" in alone["figures"]["caveats"][0]
    svg = layout.DRAWINGS["probes"](found["figures"], found["title"])
    assert svg.count("from scratch") == 1
    assert "cipher" in svg


def test_records_that_were_asked_otherwise_are_left_out_and_counted(tmp_path):
    runs = probed(tmp_path, {"raw": 0.6, "clean": 0.75})
    path = Path(runs[0]["directory"]) / "probes.json"
    other = {
        "version": [1, 1],
        "families": ["cipher"],
        "tuning": {},
        "ways": {"zero-shot": told(0.9, np.random.default_rng(1))},
    }
    write_record(path, other)
    found = probe_finding(runs)
    assert "1 record was asked otherwise and is left out" in found["sentences"][-1]
