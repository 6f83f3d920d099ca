"""The probability of a text under a model that reads both sides and gives none of the next word.

Positions are revealed in ROUNDS rounds, in a fixed order that looks like none. Each round is predicted from those before
it. The product is a probability of the whole text, so its bits per byte are a length of code like those of next-word. It
is not the pseudo-likelihood, where every token sees all others: that is lower, and is no code.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from train.model.losses import token_losses
from train.shuffling import shuffled

ROUNDS = 16


@torch.no_grad()
def revealed_losses(
    hidden_NC: Callable[[Tensor], Tensor], lm_head_VC: Tensor, mask: int, text_BT: Tensor
) -> Tensor:
    """Nats of every token, float32 [B, T]: their sum is -log of a probability of the text.

    `hidden_NC` are the model's states of tokens [B, T], `mask` the token that stands for a hidden one.
    """
    round_T = torch.from_numpy(_rounds(text_BT.shape[1])).to(text_BT.device)
    losses_BT = torch.zeros(text_BT.shape, device=text_BT.device)
    for number in range(int(round_T.max()) + 1):
        now_T = round_T == number
        states_NC = hidden_NC(torch.where(round_T < number, text_BT, mask))
        states_BnC = states_NC.view(*text_BT.shape, -1)[:, now_T]
        targets_Bn = text_BT[:, now_T]
        losses_N = token_losses(states_BnC.flatten(0, 1), lm_head_VC, targets_Bn.flatten())
        losses_BT[:, now_T] = losses_N.view_as(targets_Bn).float()
    return losses_BT


@lru_cache(maxsize=1024)
def _rounds(length: int) -> np.ndarray:
    """The round in which each position is revealed. The first few tell little, so rounds grow from one position on."""
    ends = np.unique(np.ceil(length * (np.arange(1, ROUNDS + 1) / ROUNDS) ** 2).astype(int))
    rounds = np.zeros(length, np.int64)
    rounds[shuffled(0, length, seed=0, epoch=0)] = np.searchsorted(ends, np.arange(length), side="right")
    return rounds
