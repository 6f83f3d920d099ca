"""What a step learns from: three ways to fit the same text, chosen by the knob `loss`.

    next-word   cross-entropy of every next token, given those before it
    reinforce   a token is sampled from the model; the reward is 1 where it is the next one, else 0. The gradient is
                that of Williams 1992 with the mean reward of the step as baseline. In expectation it is next-word's
                times the probability of the target, so from scratch it begins at 1 / vocabulary of it
    masked      every token from those on both sides that are not masked; the share that is masked is drawn anew for
                every window, from 0 to 1

All three report nats per token on the training text: of the next token for the first two, of masked ones for `masked`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from train.model.losses import linear_cross_entropy
from train.model.transformer import Transformer


def objective(name: str, model: Any, tokens_BT: Tensor, targets_BT: Tensor, seed: int, step: int) -> Tensor:
    """The loss of a step in nats; its gradient is that of the objective. Chance is a function of (seed, step). `model`: a
    `Transformer`, of next-word also what brings the gradients of several processes together."""
    if name == "next-word":
        return model(tokens_BT, targets_BT)
    chance = torch.Generator().manual_seed((seed << 32) + step)
    if name == "masked":
        return _masked(model, targets_BT, chance)
    return _reinforce(model, tokens_BT, targets_BT, chance)


def _masked(model: Transformer, text_BT: Tensor, chance: torch.Generator) -> Tensor:
    share_B1 = torch.rand((len(text_BT), 1), generator=chance)
    assert model.config.mask is not None
    hidden_BT = (torch.rand(text_BT.shape, generator=chance) < share_B1).to(text_BT.device)
    hidden_BT[:, 0] |= ~hidden_BT.any(1)  # at least one in a window
    states_NC = model.hidden_NC(text_BT.masked_fill(hidden_BT, model.config.mask))
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
