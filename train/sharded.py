"""Weights, gradients and optimizer state divided among processes: torch's FSDP2, and Muon over its shards.

Loaded only where it is used. Muon needs whole matrices: each process gathers one after the other and makes all of
them orthogonal, which costs as much on every process as Muon costs on one.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from train.model import Transformer
from train.muon import MATCH_ADAMW, Muon, orthogonal


def shard(model: Transformer, compiled: bool) -> Transformer:
    """Divide in place: a block's weights are gathered when it computes, and freed after it."""
    for block in model.blocks:
        if compiled:
            block.compile()
        fully_shard(block)
    fully_shard(
        model, reshard_after_forward=True
    )  # else evaluation would leave its weights gathered, and old
    for method in ("token_losses", "logits"):
        register_fsdp_forward_method(model, method)
    return model


def distribute(tensor: Tensor, like: Tensor) -> DTensor:
    like = cast(DTensor, like)
    # Every process holds the whole tensor already: nothing is sent.
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


class ShardedMuon(Muon):
    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            rate = group["interval"] * group["lr"]
            for parameter, rows, direction in self._moving(group):
                parameter.mul_(1 - rate * group["weight_decay"])
                whole = cast(DTensor, direction).full_tensor()
                updates = [_update(piece) for piece in whole.split(rows)]
                parameter.add_(distribute(torch.cat(updates), parameter), alpha=-rate)


def _update(direction: Tensor) -> Tensor:
    return MATCH_ADAMW * max(direction.shape) ** 0.5 * orthogonal(direction[None])[0]
