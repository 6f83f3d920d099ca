"""Probes of a finished run: does next-word prediction get halfway to everywhere?

Every question of `train.puzzles` is answered three ways, all by the likelihood of its choices:

    zero-shot   the model as it was trained
    tuned       the model, fine-tuned on the training items of all families in turn
    scratch     a fresh model of the same shape, trained on those items in the same steps

So `tuned` less `scratch` is what the text was worth. Both try the same rates and keep the one with the lowest
loss on training groups set aside for that; held-out items choose nothing. Only the tokens of the answer are
trained on. A fresh model has the run's seed, and so has the order of the items: there are as many of `scratch` as
there are seeds of text, and runs that differ in their text only share one.

A masked model is asked for the same: every token of an answer is predicted with itself and what is behind it masked.
Their product is a probability of the answer given its length, and no pseudo-likelihood, where a token would be told
by those behind it.

A choice wins by the sum of its nats (accuracy) or by nats a byte of its text
(accuracy_per_byte); equal choices share the point. `bits` is -log2 of the right choice's share of the
probability of all choices: it moves before accuracy does, and chance is log2 of their number.

Intervals are bootstraps over groups of items that share their words, at 95 %: they say what other items would
have given, not what another seed of training would have.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from train.bpe import end_id, load_tokenizer
from train.cell import Cell
from train.files import digest_of_json, read_json, write_json
from train.model import Transformer
from train.optimizer import OptimizerConfig, clip_gradients, make_optimizers, rate_factor, set_rate
from train.puzzles import FAMILIES, Item, items
from train.puzzles import VERSION as ITEMS_VERSION
from train.run import load_run, tokenizer_of
from train.windows import mixed, shuffled

VERSION = 2  # raise it when the same run would get other answers
RECORD = "probes.json"
ROWS = 64  # sequences that go through the model together
DRAWS = 1000
ASIDE = 8  # one training group in so many is set aside for choosing the rate
WAYS = ("zero-shot", "tuned", "scratch")
Row = tuple[list[int], int]  # ids of a question and its continuation, and how many are the continuation's


@dataclass(frozen=True)
class Tuning:
    """`steps` of `batch` items; the rate falls linearly to 0. `rates` are shares of the run's own peak rate."""

    steps: int = 300
    batch: int = 16
    rates: tuple[float, ...] = (0.25, 1.0)

    def __post_init__(self) -> None:
        if self.steps < 0 or self.batch < 1 or not self.rates:
            raise ValueError("tuning needs 0 or more steps, a batch of at least 1 item and at least one rate")


# ---- Scoring ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answers:
    """What a model says to every item: nats [items, choices] and bytes of its choices, padded with inf and 1."""

    items: Sequence[Item]
    nats: np.ndarray
    bytes: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """1 where the likeliest choice is right; ties share the point. float64 [items]"""
        return self._points(self.nats)

    @property
    def right_per_byte(self) -> np.ndarray:
        return self._points(self.nats / self.bytes)

    @property
    def bits(self) -> np.ndarray:
        """-log2 of the share that the right choice has of the probability of all."""
        return (self._of_answer(self.nats) + np.logaddexp.reduce(-self.nats, axis=1)) / math.log(2)

    def _of_answer(self, values: np.ndarray) -> np.ndarray:
        return values[np.arange(len(values)), [item.answer for item in self.items]]

    def _points(self, values: np.ndarray) -> np.ndarray:
        best = values <= values.min(1, keepdims=True) + 1e-6  # padding of batches moves the last digits
        return self._of_answer(best.astype(float)) / best.sum(1)


def answer(model: Transformer, tokenizer: Tokenizer, asked: Sequence[Item]) -> Answers:
    """Score every choice of every item behind its question."""
    most = max(len(item.choices) for item in asked)
    places = [(i, c) for i, item in enumerate(asked) for c in range(len(item.choices))]
    rows = encoded(tokenizer, [(asked[i].question, asked[i].choices[c]) for i, c in places])
    nats = np.full((len(asked), most), np.inf)
    sizes = np.ones((len(asked), most))
    nats[tuple(np.array(places).T)] = continuation_nats(model, rows, end_id(tokenizer))
    for i, c in places:
        sizes[i, c] = len(asked[i].choices[c].encode())
    return Answers(asked, nats, sizes)


def encoded(tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> list[Row]:
    """(ids of question and continuation, how many of them are the continuation's) of every pair."""
    questions = tokenizer.encode_batch([question for question, _ in pairs], add_special_tokens=False)
    whole = tokenizer.encode_batch([q + c for q, c in pairs], add_special_tokens=False)
    rows = []
    for (question, continuation), alone, both in zip(pairs, questions, whole, strict=True):
        if both.ids[: len(alone.ids)] != alone.ids:
            raise ValueError(f"{question!r} and {continuation!r} share a token; begin it with a space")
        rows.append((both.ids, len(both.ids) - len(alone.ids)))
    return rows


@torch.no_grad()
def continuation_nats(model: Transformer, rows: list[Row], end: int) -> np.ndarray:
    """Nats of each row's continuation, float64 [rows]. A row longer than the context loses its beginning."""
    model.eval()
    looks = [(row, look) for row, one in enumerate(rows) for look in _looks(one, end, model.config.mask)]
    looks.sort(key=lambda one: -len(one[1].inputs))  # stable: rows of one length share a batch
    nats = np.zeros(len(rows))
    for first in range(0, len(looks), ROWS):
        owners, batch = zip(*looks[first : first + ROWS], strict=True)
        losses_n, row_n = _asked_losses(model, batch, end)
        np.add.at(nats, np.array(owners)[row_n.numpy()], losses_n.cpu().double().numpy())
    return nats


@dataclass(frozen=True)
class _Look:
    """What a model sees at once, and the places where it is asked for the target: the last ones, up to `behind`."""

    inputs: list[int]
    targets: list[int]
    count: int
    behind: int = 0


def _looks(row: Row, end: int, mask: int | None) -> list[_Look]:
    """`<|end|>` stands ahead, as before every document. One look a row, or one a token where tokens are masked."""
    ids, count = row
    stream = [end, *ids]
    if mask is None:
        return [_Look(stream[:-1], stream[1:], count)]
    hidden = range(1, count + 1)
    return [_Look(stream[:-n] + [mask] * n, stream, 1, n - 1) for n in hidden]


def _asked_losses(model: Transformer, looks: Sequence[_Look], end: int) -> tuple[Tensor, Tensor]:
    """(nats of every asked target, the row it stands in)."""
    if model.config.mask is None:
        return _padded_losses(model, looks, end)
    of_length: dict[int, list[int]] = {}  # a model that reads both sides would read what fills up a row
    for row, look in enumerate(looks):
        of_length.setdefault(len(look.inputs), []).append(row)
    parts = [(rows, *_padded_losses(model, [looks[row] for row in rows], end)) for rows in of_length.values()]
    return torch.cat([part[1] for part in parts]), torch.cat(
        [torch.tensor(part[0])[part[2]] for part in parts]
    )


def _padded_losses(model: Transformer, looks: Sequence[_Look], end: int) -> tuple[Tensor, Tensor]:
    width = min(model.config.context, max(len(look.inputs) for look in looks))
    inputs_BT = torch.full((len(looks), width), end)
    targets_BT, asked_BT = inputs_BT.clone(), torch.zeros((len(looks), width), dtype=torch.bool)
    for row, look in enumerate(looks):
        T = min(width, len(look.inputs))
        inputs_BT[row, :T] = torch.tensor(look.inputs[-T:])
        targets_BT[row, :T] = torch.tensor(look.targets[-T:])
        asked_BT[row, max(0, T - look.behind - look.count) : T - look.behind] = True
    device, asked_N = model.embedding.device, asked_BT.flatten()
    states_nC = model.hidden_NC(inputs_BT.to(device))[asked_N.to(device)]
    logits_nV = states_nC @ model.lm_head_VC().T
    losses_n = F.cross_entropy(logits_nV, targets_BT.flatten()[asked_N].to(device), reduction="none")
    return losses_n, asked_BT.nonzero()[:, 0]


# ---- Fine-tuning ------------------------------------------------------------------------------------------


def tune(
    model: Transformer,
    tokenizer: Tokenizer,
    trained: Sequence[Item],
    config: OptimizerConfig,
    tuning: Tuning,
    seed: int,
) -> None:
    """Train the model, in place, to continue each question with its right choice."""
    pairs = [(item.question, item.choices[item.answer]) for item in trained]
    rows, end = encoded(tokenizer, pairs), end_id(tokenizer)
    optimizers, order = make_optimizers(model, config), _Order(trained, seed)
    config = replace(config, warmup_steps=min(config.warmup_steps, tuning.steps // 10))
    model.train()
    for step in range(tuning.steps):
        set_rate(optimizers, rate_factor(step, config, 0, tuning.steps))
        looks = [look for i in order(step, tuning.batch) for look in _looks(rows[i], end, model.config.mask)]
        _asked_losses(model, looks, end)[0].mean().backward()
        clip_gradients(model, config.grad_clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    model.eval()


class _Order:
    """Which items a step takes: the families in turn, each in an order of its own in every pass."""

    def __init__(self, trained: Sequence[Item], seed: int) -> None:
        of_family: dict[str, list[int]] = {}
        for place, item in enumerate(trained):
            of_family.setdefault(item.family, []).append(place)
        self.families, self.seed = list(of_family.values()), seed

    def __call__(self, step: int, batch: int) -> list[int]:
        return [self._item(number) for number in range(step * batch, (step + 1) * batch)]

    def _item(self, number: int) -> int:
        turn, family = divmod(number, len(self.families))
        places = self.families[family]
        epoch, place = divmod(turn, len(places))
        return places[_order(len(places), self.seed, epoch)[place]]


@lru_cache(maxsize=64)
def _order(count: int, seed: int, epoch: int) -> list[int]:
    return shuffled(0, count, seed, epoch).tolist()


def split(trained: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """(items to train on, items to choose the rate by): whole groups."""
    aside = mixed(np.array([item.group for item in trained], np.uint64)) % np.uint64(ASIDE) == 0
    return (
        [item for item, a in zip(trained, aside, strict=True) if not a],
        [item for item, a in zip(trained, aside, strict=True) if a],
    )


def tuned(
    start: Transformer,
    tokenizer: Tokenizer,
    knobs: dict[str, Any],
    tuning: Tuning,
    families: Iterable[str],
    seed: int = 0,
) -> tuple[Transformer, dict[str, Any]]:
    """The best of the rates, from the weights of `start`: (model, what was tried)."""
    trained, aside = split(items("train", families))
    peak = OptimizerConfig.of(knobs).peak_rate(start.config.width)
    tried = []
    for share in tuning.rates:
        model = Transformer(start.config).to(start.embedding.device)
        model.load_state_dict(start.state_dict())
        tune(
            model,
            tokenizer,
            trained,
            OptimizerConfig.of({**knobs, "learning_rate": peak * share}),
            tuning,
            seed,
        )
        bits = float(answer(model, tokenizer, aside).bits.mean())
        tried.append((bits if math.isfinite(bits) else math.inf, share, model))
    best = min(tried, key=lambda one: one[0])
    return best[2], {"rate": peak * best[1], "rates_tried": [peak * share for share in tuning.rates]}


# ---- Records ----------------------------------------------------------------------------------------------


def probe_run(
    directory: str | Path, tuning: Tuning | None = None, families: Sequence[str] = FAMILIES
) -> dict[str, Any]:
    """Probe a finished run; the record goes beside it as `probes.json`, and is not made twice.

    Raises ValueError for a family that does not exist and FileNotFoundError where there is no finished run.
    """
    directory, tuning = Path(directory), tuning or Tuning()
    for family in families:
        if family not in FAMILIES:
            raise ValueError(f"{family}: no such probe; there are {', '.join(FAMILIES)}")
    model, run = load_run(directory)
    tokenizer = tokenizer_of(directory)
    asked = {"families": list(families), "tuning": asdict(tuning) | {"rates": list(tuning.rates)}}
    identity = digest_of_json([VERSION, ITEMS_VERSION, run["identity"], asked])
    path = directory / RECORD
    if path.exists() and (found := read_json(path))["identity"] == identity:
        return found
    loaded, held_out = load_tokenizer(tokenizer), items("held-out", families)
    ways = {"zero-shot": _told(answer(model, loaded, held_out))}
    if tuning.steps:
        how = (loaded, Cell.of(run["cell"]).optimizer, tuning, families, int(run["seed"]))
        ways |= {"tuned": _tuned_and_asked(model, *how), "scratch": _scratch(run, model, *how)}
    record = {"identity": identity, "version": [VERSION, ITEMS_VERSION], **asked, "ways": ways}
    write_json(path, record)
    return record


def _tuned_and_asked(
    start: Transformer, tokenizer: Tokenizer, knobs: dict, tuning: Tuning, families: Sequence[str], seed: int
) -> dict[str, Any]:
    best, how = tuned(start, tokenizer, knobs, tuning, families, seed)
    return _told(answer(best, tokenizer, items("held-out", families))) | how


_scratches: dict[
    str, dict[str, Any]
] = {}  # of this process: what no text was read for is the same for all levels


def _scratch(
    run: dict,
    model: Transformer,
    tokenizer: Tokenizer,
    knobs: dict,
    tuning: Tuning,
    families: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    key = digest_of_json([run["model"], run["tokenizer_sha256"], knobs, asdict(tuning), list(families), seed])
    if key not in _scratches:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fresh = Transformer(model.config).to(model.embedding.device)
        _scratches[key] = _tuned_and_asked(fresh, tokenizer, knobs, tuning, families, seed)
    return _scratches[key]


def _told(answers: Answers) -> dict[str, Any]:
    """By family: accuracies with intervals, by condition too, and the mean of every group for whoever compares."""
    family_of = np.array([item.family for item in answers.items])
    return {"families": {f: _family(answers, family_of == f) for f in dict.fromkeys(family_of.tolist())}}


def _family(answers: Answers, chosen: np.ndarray) -> dict[str, Any]:
    asked = [item for item, mine in zip(answers.items, chosen, strict=True) if mine]
    groups = np.array([item.group for item in asked])
    right, bits = answers.right[chosen], answers.bits[chosen]
    conditions = np.array([item.condition for item in asked])
    return {
        "items": len(asked),
        "groups": len(np.unique(groups)),
        "chance": float(np.mean([item.chance for item in asked])),
        "accuracy": interval(right, groups),
        "accuracy_per_byte": interval(answers.right_per_byte[chosen], groups),
        "bits": interval(bits, groups),
        "bits_at_chance": float(np.mean([math.log2(len(item.choices)) for item in asked])),
        "conditions": {
            name: interval(right[conditions == name], groups[conditions == name])
            for name in dict.fromkeys(conditions.tolist())
        },
        "by_group": {
            "items": np.unique(groups, return_counts=True)[1].tolist(),
            "right": _sums(right, groups).tolist(),
            "bits": _sums(bits, groups).tolist(),
        },
    }


def _sums(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    return np.bincount(np.unique(groups, return_inverse=True)[1], values)


def interval(values: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """Mean, and the interval of means over groups drawn with replacement."""
    sums, counts = _sums(values, groups), _sums(np.ones(len(values)), groups)
    drawn = np.random.default_rng(0).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), DRAWS)
    low, high = np.quantile(drawn @ sums / (drawn @ counts), [0.025, 0.975])
    return {"value": float(values.mean()), "low": float(low), "high": float(high)}
