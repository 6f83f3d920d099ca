"""Parameter groups, schedules and clipping for AdamW and Muon.

Schedule: warm-up, then constant, then linear to 0 (warm-up, stable, decay). Constant, because a run of
any size branches off the same trunk: the part before its decay does not depend on how long it will be.
Weight decay acts on matrices only, and is coupled to the rate (`rate * weight_decay` a step).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from train.knobs import check_knobs, knob_names
from train.model import Transformer
from train.muon import Muon

NAMES = ("adamw", "muon")


@dataclass(frozen=True)
class OptimizerConfig:
    name: str = "muon"
    rate: float | None = None  # peak rate; None: by the rule of `default_rate`
    beta1: float = 0.9
    beta2: float | None = (
        None  # None: 0.95, and 0.99 beside Muon, where rare tokens' embeddings are its main load
    )
    momentum: float = 0.9  # of Muon
    weight_decay: float = 0.1
    warmup_steps: int = 20
    clip: float = 1.0  # largest norm of all gradients together

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"optimizer.name = {self.name!r}: must be one of {', '.join(NAMES)}")
        for name, low, high in (
            ("beta1", 0, 1),
            ("beta2", 0, 1),
            ("momentum", 0, 1),
            ("weight_decay", 0, 100),
        ):
            if getattr(self, name) is not None and not low <= getattr(self, name) < high:
                raise ValueError(f"optimizer.{name} = {getattr(self, name)!r}: must lie in [{low}, {high})")
        if self.rate is not None and not 0 < self.rate < 10:
            raise ValueError(f"optimizer.rate = {self.rate!r}: must be above 0 and below 10")
        if self.warmup_steps < 0 or self.clip <= 0:
            raise ValueError("optimizer.warmup_steps must be 0 or more, optimizer.clip above 0")

    @classmethod
    def of(cls, knobs: Mapping) -> OptimizerConfig:
        check_knobs("optimizer", knobs, knob_names(cls))
        return cls(**knobs)

    def betas(self) -> tuple[float, float]:
        default = 0.99 if self.name == "muon" else 0.95
        return self.beta1, default if self.beta2 is None else self.beta2

    def peak_rate(self, width: int) -> float:
        return self.rate if self.rate is not None else default_rate(self.name, width)


def default_rate(name: str, width: int) -> float:
    """Peak rate: falls with the width, as the sums that a step moves grow with it.

    Best of the rates 2^n * 0.001 for Muon on books: 0.032 at width 64, 0.008 at 128, 0.004 at 256 (depths 2, 4, 8).
    """
    return {"adamw": 4e-3, "muon": 2e-2}[name] * 64 / width


def make_optimizers(model: Transformer, config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """Every parameter in exactly one group; each group remembers its peak rate."""
    matrices = model.matrices() if config.name == "muon" else {}
    others = [p for p in model.parameters() if p not in matrices]
    rate = config.peak_rate(model.config.width)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": config.weight_decay, "peak_rate": rate},
        {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0, "peak_rate": rate},
    ]
    # The fused kernel walks each parameter once instead of once an operation.
    adamw = torch.optim.AdamW(groups, lr=rate, betas=config.betas(), eps=1e-10, fused=True)
    if config.name == "adamw":
        return [adamw]
    group = {"params": list(matrices), "rows": list(matrices.values()), "peak_rate": rate}
    return [_muon(list(matrices))([group], rate, config.momentum, config.weight_decay), adamw]


def _muon(matrices: list[Tensor]) -> type[Muon]:
    if not hasattr(matrices[0], "full_tensor"):
        return Muon
    from train.sharded import ShardedMuon

    return ShardedMuon


def rate_factor(step: int, warmup_steps: int, decay_start: int | None, steps: int | None) -> float:
    """Share of the peak rate at a step (counted from 0). `decay_start` None: a trunk, which never decays.

    The last step of a decay still moves: the rate would be 0 exactly at `steps`.
    """
    factor = min(1.0, (step + 1) / (warmup_steps + 1))
    if decay_start is None or steps is None or step < decay_start:
        return factor
    return factor * (steps - step) / (steps - decay_start)


def set_rate(optimizers: list[torch.optim.Optimizer], factor: float) -> float:
    """Set every group to its share; returns the rate of the first group, for the record."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_rate"] * factor
    return optimizers[0].param_groups[0]["lr"]


def clip_gradients(model: Transformer, largest: float) -> Tensor:
    """Scale all gradients so that their joint norm is at most `largest`; returns the norm before."""
    return torch.nn.utils.clip_grad_norm_(model.parameters(), largest)
