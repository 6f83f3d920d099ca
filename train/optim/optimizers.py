"""Parameter groups, schedules and clipping for AdamW and Muon.

Schedule: warm-up, then the trunk, whose rate falls with the cube root of the steps, then linear to 0. The trunk of a run
does not depend on how long the run will be, so a run of any size branches off the same one; and since long runs want
lower rates than short ones, it falls. Price: what is constant is easier to reason about (`stable_steps = 0`).
Weight decay acts on matrices only, and is coupled to the rate (`rate * weight_decay` a step).
Beside Muon, embeddings (also learned positions and an untied lm_head) have a learning rate of their own. The few tokens
that a row stands for move it, and no sum over the width does: so its best rate does not fall with the width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from train.config import OptimizerConfig
from train.model.transformer import Transformer
from train.optim.muon import Muon, ShardedMuon
from train.parallel import processes

FALL = 1 / 3  # power of the steps with which the rate of a trunk falls


def make_optimizers(
    model: Transformer, config: OptimizerConfig, step_tokens: int | None = None
) -> list[torch.optim.Optimizer]:
    """Every parameter in exactly one group; each group remembers its peak rate.

    `step_tokens` tell the interval of Muon where the config does not; without them it is 1.
    """
    matrices = model.matrices() if config.name == "muon" else {}
    inside = set(model.blocks.parameters())
    others = [p for p in model.parameters() if p not in matrices]
    width = model.config.width
    rate, decay = config.peak_rate(width), config.decay()
    groups: list[dict[str, Any]] = [
        {
            "params": [p for p in others if p.ndim > 1 and p in inside],
            "weight_decay": decay,
            "peak_rate": rate,
        },
        {
            "params": [p for p in others if p.ndim > 1 and p not in inside],
            "weight_decay": decay,
            "peak_rate": config.peak_embedding_rate(width),
        },
        {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0, "peak_rate": rate},
    ]
    groups = [group for group in groups if group["params"]]
    # The fused kernel walks each parameter once instead of once an operation.
    adamw = torch.optim.AdamW(groups, lr=rate, betas=config.betas(), eps=1e-10, fused=True)
    if config.name == "adamw":
        return [adamw]
    group = {"params": list(matrices), "rows": list(matrices.values()), "peak_rate": rate}
    interval = config.interval(width, step_tokens) if step_tokens else config.muon_interval or 1
    muon = ShardedMuon if any(map(processes.is_divided, matrices)) else Muon
    return [muon([group], rate, config.momentum, decay, interval), adamw]


def rate_factor(
    step: int, config: OptimizerConfig, decay_start: int | None = None, steps: int | None = None
) -> float:
    """Share of the peak rate at a step (counted from 0). `decay_start` None: a trunk, which never ends.

    The last step of a decay still moves: the rate would be 0 exactly at `steps`.
    """
    factor = min(1.0, (step + 1) / (config.warmup_steps + 1))
    on_trunk = step
    if decay_start is not None and steps is not None and step > decay_start:
        on_trunk, factor = decay_start, factor * (steps - step) / (steps - decay_start)
    return factor * (1 + on_trunk / config.stable_steps) ** -FALL if config.stable_steps else factor


def set_rate(optimizers: list[torch.optim.Optimizer], factor: float) -> float:
    """Set every group to its share; returns the rate of the first group, for the record."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_rate"] * factor
    return optimizers[0].param_groups[0]["lr"]


def clip_gradients(model: Transformer, largest: float) -> Tensor:
    """Scale all gradients so that their joint norm is at most `largest`; returns the norm before."""
    return torch.nn.utils.clip_grad_norm_(model.parameters(), largest)
