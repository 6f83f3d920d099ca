"""Probes of a finished run: does next-word prediction get halfway to everywhere?

Every question of `train.probes.puzzles` is answered three ways, all by the likelihood of its choices:

    zero-shot   the model as it was trained
    tuned       the model, fine-tuned on the training items of all families in turn
    scratch     a fresh model of the same shape, trained on those items in the same steps

So `tuned` less `scratch` is what the text was worth. Both try the same rates and keep the one with the lowest
loss on training groups set aside for that; held-out items choose nothing. Only the tokens of the answer are
trained on. A fresh model has the run's seed, and so has the order of the items: there are as many of `scratch` as
there are seeds of text, and runs that differ in their text only share one.

A choice wins by the sum of its nats (accuracy) or by nats a byte of its text
(accuracy_per_byte); equal choices share the point. `bits` is -log2 of the right choice's share of the
probability of all choices: it moves before accuracy does, and chance is log2 of their number.

Intervals are bootstraps over groups of items that share their words, at 95 %: they say what other items would
have given, not what another seed of training would have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from train.cell import Cell
from train.files import digest_of, remembered, write_record
from train.model.transformer import Transformer
from train.probes.answers import Answers, answer
from train.probes.puzzles import FAMILIES, items
from train.probes.puzzles import VERSION as ITEMS_VERSION
from train.probes.tuning import Tuning, tuned
from train.tokens.bpe import load_tokenizer
from train.trained import load_run

VERSION = 2  # raise it when the same run would get other answers
RECORD = "probes.json"
DRAWS = 1000


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
    trained = load_run(directory)
    model, run, tokenizer = trained.model, trained.record, trained.tokenizer
    asked = {"families": list(families), "tuning": asdict(tuning) | {"rates": list(tuning.rates)}}
    identity = digest_of([VERSION, ITEMS_VERSION, run["identity"], asked])
    path = directory / RECORD
    found = remembered(path)
    if found.get("identity") == identity:
        return found
    loaded, held_out = load_tokenizer(tokenizer), items("held-out", families)
    ways = {"zero-shot": _accuracies(answer(model, loaded, held_out))}
    if tuning.steps:
        how = (loaded, Cell.of(run["cell"]).optimizer, tuning, families, int(run["seed"]))
        ways |= {"tuned": _tuned_and_asked(model, *how), "scratch": _scratch(run, model, *how)}
    record = {"identity": identity, "version": [VERSION, ITEMS_VERSION], **asked, "ways": ways}
    write_record(path, record)
    return record


def _tuned_and_asked(
    start: Transformer, tokenizer: Tokenizer, knobs: dict, tuning: Tuning, families: Sequence[str], seed: int
) -> dict[str, Any]:
    best, how = tuned(start, tokenizer, knobs, tuning, families, seed)
    return _accuracies(answer(best, tokenizer, items("held-out", families))) | how


# Of this process: what no text was read for is the same for all levels.
_scratches: dict[str, dict[str, Any]] = {}


def _scratch(run: dict, model: Transformer, *how: Any) -> dict[str, Any]:
    _, knobs, tuning, families, seed = how
    key = digest_of([run["model"], run["tokenizer_sha256"], knobs, asdict(tuning), list(families), seed])
    if key not in _scratches:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fresh = Transformer(model.config).to(model.embedding.device)
        _scratches[key] = _tuned_and_asked(fresh, *how)
    return _scratches[key]


def _accuracies(answers: Answers) -> dict[str, Any]:
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
