"""What a step learns from: three ways to fit the same text, chosen by the knob `loss`.

    next-word   cross-entropy of every next token, given those before it
    reinforce   a token is sampled from the model; the reward is 1 where it is the next one, else 0. The gradient is
                that of Williams 1992 with the mean reward of the step as baseline. In expectation it is next-word's
                times the probability of the target, so from scratch it begins at 1 / vocabulary of it
    masked      every token from those on both sides that are not masked; the share that is masked is drawn anew for
                every window, from 0 to 1

All three report nats per token on the training text: of the next token for the first two, of masked ones for `masked`.

A masked model gives no probability of the next word, but it does give one of a text: positions are revealed in ROUNDS
rounds, in a fixed order that looks like none, each round predicted from those before it. The product is a
probability of the whole text, so its bits per byte are a length of code like those of next-word. It is not the
pseudo-likelihood, where every token sees all others: that is lower, and is no code.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from train.losses import linear_cross_entropy, token_losses
from train.windows import shuffled

if TYPE_CHECKING:
    from train.model import Transformer

ROUNDS = 16


def objective(
    name: str, model: Transformer, tokens_BT: Tensor, targets_BT: Tensor, seed: int, step: int
) -> Tensor:
    """The loss of a step in nats; its gradient is that of the objective. Chance is a function of (seed, step)."""
    if name == "next-word":
        return model(tokens_BT, targets_BT)
    chance = torch.Generator().manual_seed((seed << 32) + step)
    if name == "masked":
        return _masked(model, targets_BT, chance)
    return _reinforce(model, tokens_BT, targets_BT, chance)


def _masked(model: Transformer, text_BT: Tensor, chance: torch.Generator) -> Tensor:
    share_B1 = torch.rand((len(text_BT), 1), generator=chance)
    hidden_BT = (torch.rand(text_BT.shape, generator=chance) < share_B1).to(text_BT.device)
    hidden_BT[:, 0] |= ~hidden_BT.any(1)  # at least one in a window
    states_NC = model.hidden_NC(text_BT.masked_fill(hidden_BT, _mask(model)))
    return linear_cross_entropy(states_NC[hidden_BT.flatten()], model.lm_head_VC(), text_BT[hidden_BT])


def _reinforce(model: Transformer, tokens_BT: Tensor, targets_BT: Tensor, chance: torch.Generator) -> Tensor:
    logits_NV = model.hidden_NC(tokens_BT) @ model.lm_head_VC().T
    targets_N = targets_BT.flatten()
    with torch.no_grad():
        sampled_N = torch.multinomial(logits_NV.softmax(1).cpu(), 1, generator=chance)[:, 0].to(
            targets_N.device
        )
        reward_N = (sampled_N == targets_N).float()
        nats = F.cross_entropy(logits_NV, targets_N)
    surrogate = (
        (reward_N - reward_N.mean()) * F.cross_entropy(logits_NV, sampled_N, reduction="none")
    ).mean()
    return surrogate + (nats - surrogate).detach()


@torch.no_grad()
def revealed_losses(model: Transformer, text_BT: Tensor) -> Tensor:
    """Nats of every token under a masked model, float32 [B, T]: their sum is -log of a probability of the text."""
    round_T = torch.from_numpy(_rounds(text_BT.shape[1])).to(text_BT.device)
    losses_BT = torch.zeros(text_BT.shape, device=text_BT.device)
    for number in range(int(round_T.max()) + 1):
        asked_T = round_T == number
        states_NC = model.hidden_NC(torch.where(round_T < number, text_BT, _mask(model)))
        states_BnC = states_NC.view(*text_BT.shape, -1)[:, asked_T]
        targets_Bn = text_BT[:, asked_T]
        losses_N = token_losses(states_BnC.flatten(0, 1), model.lm_head_VC(), targets_Bn.flatten())
        losses_BT[:, asked_T] = losses_N.view_as(targets_Bn).float()
    return losses_BT


def _mask(model: Transformer) -> int:
    assert model.config.mask is not None
    return model.config.mask


@lru_cache(maxsize=1024)
def _rounds(length: int) -> np.ndarray:
    """The round in which each position is revealed: the first few tell little, so rounds grow from one position on."""
    ends = np.unique(np.ceil(length * (np.arange(1, ROUNDS + 1) / ROUNDS) ** 2).astype(int))
    rounds = np.zeros(length, np.int64)
    rounds[shuffled(0, length, seed=0, epoch=0)] = np.searchsorted(ends, np.arange(length), side="right")
    return rounds
