"""Muon over weights that are divided among processes.

It needs whole matrices: each process gathers one after the other and makes all of them orthogonal, which costs as much
on every process as Muon costs on one.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from train.optim.muon import MATCH_ADAMW, Muon, orthogonal
from train.parallel.sharded import distribute


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
