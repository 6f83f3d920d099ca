"""Loss on whole holdouts: every token of every document is scored exactly once.

The documents stand one after the other in packed order, cut in windows of the context. A token sees what
stands before it in its window, other documents included, as in training; the first token of a holdout
sees `<|end|>`. Tokens early in a window see little, so the loss is a little above that of a sliding
window: the same for every run, at a small part of the cost.

nats per token = sum of nats / tokens; bits per byte = sum of nats / ln 2 / UTF-8 bytes of the text. Both
sums include the end token of each document.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from train.machine import autocast
from train.model.transformer import Transformer
from train.parallel import processes
from train.tokens.packed import Packed

WIDTHS = 32  # widths of documents are rounded up to multiples of this: every new shape costs time to prepare
BATCH = 16  # windows at once; part of what makes a loss reproducible to the last bit


@dataclass(frozen=True)
class Scores:
    """Losses of a holdout; `nats` is the sum over each document's tokens, float64 [documents]."""

    nats: np.ndarray
    tokens: int
    bytes: int
    right: np.ndarray | None = None  # of questions with choices: 1 where the likeliest is right, ties shared

    @property
    def nats_per_token(self) -> float:
        return float(self.nats.sum()) / self.tokens

    @property
    def bits_per_byte(self) -> float:
        return float(self.nats.sum()) / math.log(2) / self.bytes

    def summary(self) -> dict[str, Any]:
        return {
            "nats_per_token": self.nats_per_token,
            "bits_per_byte": self.bits_per_byte,
            "tokens": self.tokens,
            "bytes": self.bytes,
            "documents": len(self.nats),
            **({} if self.right is None else {"accuracy": float(self.right.mean())}),
        }


def by_group(nats: np.ndarray, holdout: Packed) -> dict[str, dict[str, Any]]:
    """Kind -> name -> summary of the documents of each group that the holdout names."""
    tokens, size = np.diff(holdout.documents), holdout.bytes
    return {
        kind: {
            name: Scores(nats[of], int(tokens[of].sum()), int(size[of].sum())).summary()
            for name, of in groups.items()
            if size[of].any()
        }
        for kind, groups in holdout.groups.items()
    }


@torch.no_grad()
def evaluate(model: Transformer, holdout: Packed, precision: str = "float32") -> Scores:
    """Score a whole holdout; of questions the answers."""
    check_holdout(holdout)
    if holdout.scored is not None:
        return _answers(model, holdout, holdout.scored, precision)
    nats = score(model, holdout.tokens, holdout.documents, holdout.end, precision)
    return Scores(nats, holdout.meta["tokens"], holdout.meta["bytes"])


def _answers(model: Transformer, holdout: Packed, scored: np.ndarray, precision: str) -> Scores:
    """Loss of the right answers, each behind its question alone; and whether they are the likeliest per byte, where
    there is a choice (as OLMES asks: Gu et al. 2024, arXiv:2406.08446)."""
    first, question, right = scored.T
    nats = score_documents(model, holdout.tokens, holdout.documents, holdout.end, precision, first)
    answers = right == 1
    summed = nats[answers], int(holdout.units.sum()), int(holdout.bytes[answers].sum())
    if answers.all():
        return Scores(*summed)
    per_byte = nats / np.maximum(1, holdout.bytes)
    least = np.full(int(question.max()) + 1, np.inf)
    np.minimum.at(least, question, per_byte)
    best = (per_byte <= least[question] + 1e-6).astype(float)  # padding of batches moves the last digits
    return Scores(*summed, (best / np.bincount(question, best)[question])[answers])


def check_holdout(holdout: Packed) -> None:
    if not holdout.meta["tokens"] or not holdout.meta["bytes"]:
        raise ValueError(f"{holdout.path}: the holdout holds no text, so it has no loss; take more documents")


@torch.no_grad()
def score(
    model: Transformer, tokens: np.ndarray, documents: np.ndarray, end: int, precision: str = "float32"
) -> np.ndarray:
    """Nats of each document, float64 [n]."""
    device = model.embedding.device
    nats = np.zeros(len(documents) - 1)
    training = model.training
    model.eval()
    for (start, rows, columns), counts in processes.turns(_windows(len(tokens), model.config.context)):
        stop = start + rows * columns
        targets_BT = torch.from_numpy(np.array(tokens[start:stop], np.int64)).view(rows, columns).to(device)
        before = end if start == 0 else int(tokens[start - 1])
        inputs_BT = torch.cat((targets_BT.new_tensor([before]), targets_BT.flatten()[:-1])).view(
            rows, columns
        )
        with autocast(device, precision):
            losses_N = model.token_losses(inputs_BT, targets_BT).flatten().cpu().double().numpy()
        if not counts:
            continue
        document = np.searchsorted(documents, np.arange(start, stop), side="right") - 1
        first, last = document[0], document[-1] + 1
        nats[first:last] += np.bincount(document - first, losses_N, last - first)
    model.train(training)
    return processes.total(nats)


def _windows(tokens: int, context: int) -> list[tuple[int, int, int]]:
    """(first token, rows, columns) of each batch: full windows, then the remainder as one shorter window."""
    whole = tokens // context
    batches = [(row * context, min(BATCH, whole - row), context) for row in range(0, whole, BATCH)]
    if tokens % context:
        batches.append((whole * context, 1, tokens % context))
    return batches


@torch.no_grad()
def score_documents(
    model: Transformer,
    tokens: np.ndarray,
    documents: np.ndarray,
    end: int,
    precision: str = "float32",
    scored: np.ndarray | None = None,
) -> np.ndarray:
    """Nats of each document read by itself, float64 [n]: no token sees another document. `scored` int64 [n]: the first
    token of each that counts; default all.

    A document longer than the context is cut into windows; the first token of each sees the one before it.
    Windows of like length go through the model together, the shorter ones filled up behind their end.
    """
    device, context = model.embedding.device, model.config.context
    nats = np.zeros(len(documents) - 1)
    sizes = np.diff(documents)
    counts = -(-sizes // context)
    owner = np.repeat(np.arange(len(sizes)), counts)
    starts = documents[owner] + context * (
        np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    )
    lengths = np.minimum(context, documents[owner + 1] - starts)
    begins = documents[owner] if scored is None else documents[owner] + scored[owner]
    before = np.where(starts == documents[owner], end, tokens[np.maximum(starts - 1, 0)].astype(np.int64))
    ordered = np.argsort(-lengths, kind="stable")
    for rows in (ordered[first : first + BATCH] for first in range(0, len(ordered), BATCH)):
        width = min(context, -(-int(lengths[rows].max()) // WIDTHS) * WIDTHS)
        places = np.minimum(starts[rows, None] + np.arange(width), len(tokens) - 1)
        inside = np.arange(width) < lengths[rows, None]
        counts_BT = inside & (starts[rows, None] + np.arange(width) >= begins[rows, None])
        targets_BT = torch.from_numpy(np.where(inside, tokens[places].astype(np.int64), end)).to(device)
        first_B1 = torch.from_numpy(before[rows, None]).to(device)
        with autocast(device, precision):
            losses_BT = model.token_losses(torch.cat((first_B1, targets_BT[:, :-1]), 1), targets_BT)
        window_nats = np.where(counts_BT, losses_BT.cpu().double().numpy(), 0.0).sum(1)
        nats += np.bincount(owner[rows], window_nats, len(nats))
    return nats
