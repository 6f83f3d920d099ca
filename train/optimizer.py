"""Parameter groups, schedules and clipping for AdamW and Muon.

Schedule: warm-up, then the trunk, whose rate falls with the cube root of the steps, then linear to 0. The trunk of a run
does not depend on how long the run will be, so a run of any size branches off the same one; and since long runs want
lower rates than short ones, it falls. Price: what is constant is easier to reason about (`stable_steps = 0`).
Weight decay acts on matrices only, and is coupled to the rate (`rate * weight_decay` a step).
Beside Muon, embeddings (also learned positions and an untied lm_head) have a learning rate of their own. The few tokens
that a row stands for move it, and no sum over the width does: so its best rate does not fall with the width.
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
FALL = 1 / 3  # power of the steps with which the rate of a trunk falls


@dataclass(frozen=True)
class OptimizerConfig:
    name: str = "muon"
    learning_rate: float | None = None  # peak rate; None: by the rule of `default_rate`
    embedding_learning_rate: float | None = (
        None  # of embeddings; None: as above, beside Muon by `embedding_rate_factor`
    )
    beta1: float | None = None  # None: 0.9, and 0.8 beside Muon
    beta2: float | None = None  # None: 0.95, and 0.99 beside Muon, where rare tokens are AdamW's main load
    momentum: float = 0.9  # of Muon
    muon_interval: int | None = (
        None  # steps from one move of a matrix to the next; None: by `default_muon_interval`
    )
    weight_decay: float = 0.1
    warmup_steps: int = 5
    stable_steps: int = 100  # about which the rate of the trunk begins to fall; 0: never
    grad_clip: float = 1.0  # largest norm of all gradients together

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
        for name in ("learning_rate", "embedding_learning_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 10:
                raise ValueError(f"optimizer.{name} = {value!r}: must be above 0 and below 10")
        if self.muon_interval is not None and (type(self.muon_interval) is not int or self.muon_interval < 1):
            raise ValueError(
                f"optimizer.muon_interval = {self.muon_interval!r}: must be a whole number of at least 1"
            )
        if min(self.warmup_steps, self.stable_steps) < 0 or self.grad_clip <= 0:
            raise ValueError(
                "optimizer.warmup_steps and stable_steps must be 0 or more, optimizer.grad_clip above 0"
            )

    @classmethod
    def of(cls, knobs: Mapping) -> OptimizerConfig:
        check_knobs("optimizer", knobs, knob_names(cls))
        return cls(**knobs)

    def betas(self) -> tuple[float, float]:
        first, second = (0.8, 0.99) if self.name == "muon" else (0.9, 0.95)
        return (
            first if self.beta1 is None else self.beta1,
            second if self.beta2 is None else self.beta2,
        )

    def peak_rate(self, width: int) -> float:
        return self.learning_rate if self.learning_rate is not None else default_rate(self.name, width)

    def peak_embedding_rate(self, width: int) -> float:
        if self.embedding_learning_rate is not None:
            return self.embedding_learning_rate
        return self.peak_rate(width) * (embedding_rate_factor(width) if self.name == "muon" else 1)


def default_rate(name: str, width: int) -> float:
    """Peak rate: falls with the width, as the sums that a step moves grow with it.

    Best of the rates 2^n * 0.001 for Muon on books: 0.032 at width 64, 0.008 at 128, 0.004 at 256 (depths 2, 4, 8).
    """
    return {"adamw": 4e-3, "muon": 2e-2}[name] * 64 / width


def default_muon_interval(width: int, step_tokens: int) -> int:
    """Steps from one move of a matrix to the next: two where Muon's products would be more than a tenth of a step's.

    Muon's products grow with the cube of the width, a step's with its square and its tokens. On books with 1,024 tokens a
    step an interval of two takes 0.91 of the CPU-seconds at width 128 and 0.86 at 256, within what the seeds can tell. At
    width 64 it gains 4 % and loses 0.01 nats after 800,000 tokens; four at width 256 gain 7 % and lose 0.02 after 262,000.
    """
    return 2 if step_tokens < 12 * width else 1


def embedding_rate_factor(width: int) -> float:
    """Rate of embeddings over that of matrices: with the default rate it comes to 0.04 at every width.

    Best of 0.02, 0.04 and 0.08 at widths 64, 128 and 256 on books, or not distinguishable from the best.
    """
    return width / 32


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
    rate, decay = config.peak_rate(width), config.weight_decay
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
    interval = config.muon_interval or (default_muon_interval(width, step_tokens) if step_tokens else 1)
    return [_muon(list(matrices))([group], rate, config.momentum, decay, interval), adamw]


def _muon(matrices: list[Tensor]) -> type[Muon]:
    if not hasattr(matrices[0], "full_tensor"):
        return Muon
    from train.sharded import ShardedMuon

    return ShardedMuon


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
