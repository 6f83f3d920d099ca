"""What a model says to a question: the nats of every choice behind it.

A masked model is asked for the same. Every token of an answer is predicted with itself and what is behind it masked, so
the product is a probability of the answer given its length. It is no pseudo-likelihood, where the tokens behind a token
would tell it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from train.model.transformer import Transformer
from train.probes.puzzles import Item
from train.tokens.bpe import end_id

ROWS = 64  # sequences that go through the model together
Row = tuple[list[int], int]  # ids of a question and its continuation, and how many are the continuation's


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
    looks = [(row, look) for row, one in enumerate(rows) for look in looks_of(one, end, model.config.mask)]
    looks.sort(key=lambda one: -len(one[1].inputs))  # stable: rows of one length share a batch
    nats = np.zeros(len(rows))
    for first in range(0, len(looks), ROWS):
        owners, batch = zip(*looks[first : first + ROWS], strict=True)
        losses_n, row_n = asked_losses(model, batch, end)
        np.add.at(nats, np.array(owners)[row_n.numpy()], losses_n.cpu().double().numpy())
    return nats


@dataclass(frozen=True)
class Look:
    """What a model sees at once, and the places where it is asked for the target: the last ones, up to `behind`."""

    inputs: list[int]
    targets: list[int]
    count: int
    behind: int = 0


def looks_of(row: Row, end: int, mask: int | None) -> list[Look]:
    """`<|end|>` stands ahead, as before every document. One look a row, or one a token where tokens are masked."""
    ids, count = row
    stream = [end, *ids]
    if mask is None:
        return [Look(stream[:-1], stream[1:], count)]
    hidden = range(1, count + 1)
    return [Look(stream[:-n] + [mask] * n, stream, 1, n - 1) for n in hidden]


def asked_losses(model: Transformer, looks: Sequence[Look], end: int) -> tuple[Tensor, Tensor]:
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


def _padded_losses(model: Transformer, looks: Sequence[Look], end: int) -> tuple[Tensor, Tensor]:
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
