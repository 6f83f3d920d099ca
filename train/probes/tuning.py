"""Fine-tuning on the training questions: how long, in which order, at which of several rates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from train.config import OptimizerConfig
from train.model.transformer import Transformer
from train.optim.optimizers import clip_gradients, make_optimizers, rate_factor, set_rate
from train.probes.answers import answer, asked_losses, encoded, looks_of
from train.probes.puzzles import Item, items
from train.shuffling import mixed, shuffled
from train.tokens.bpe import end_id

ASIDE = 8  # one training group in so many is set aside for choosing the rate


@dataclass(frozen=True)
class Tuning:
    """`steps` of `batch` items; the rate falls linearly to 0. `rates` are shares of the run's own peak rate."""

    steps: int = 300
    batch: int = 16
    rates: tuple[float, ...] = (0.25, 1.0)

    def __post_init__(self) -> None:
        if self.steps < 0 or self.batch < 1 or not self.rates:
            raise ValueError("tuning needs 0 or more steps, a batch of at least 1 item and at least one rate")


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
        looks = [
            look for i in order(step, tuning.batch) for look in looks_of(rows[i], end, model.config.mask)
        ]
        asked_losses(model, looks, end)[0].mean().backward()
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
    both: tuple[list[Item], list[Item]] = [], []
    for item, is_aside in zip(trained, aside, strict=True):
        both[int(is_aside)].append(item)
    return both


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
        config = OptimizerConfig.of({**knobs, "learning_rate": peak * share})
        tune(model, tokenizer, trained, config, tuning, seed)
        bits = float(answer(model, tokenizer, aside).bits.mean())
        tried.append((bits if math.isfinite(bits) else math.inf, share, model))
    best = min(tried, key=lambda one: one[0])
    return best[2], {"rate": peak * best[1], "rates_tried": [peak * share for share in tuning.rates]}
