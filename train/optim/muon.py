"""Muon: momentum whose matrices are made orthogonal, so that every direction of a layer learns alike.

The update of a matrix is its momentum with all singular values brought near 1 by three Newton-Schulz steps (Jordan et
al. 2024), each with the polynomial that is best for what the steps before it left (Amsel et al. 2025, arXiv:2505.16932),
scaled by 0.2 * sqrt(larger side) so that its entries are about as large as AdamW's and both take the same rate (Liu et al.
2025). Matrices of one shape are stacked and done in one batched product, in bfloat16 where the device multiplies that
faster: an update is then 1 % off in direction, which no loss has shown, and four to five times cheaper.
Where a step has few tokens for the width, this would cost as much as a third of it: there a matrix moves at every other
step, twice as far.
Price: a second optimizer for embeddings and gains, and 3 to 10 % of a step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor

from train.model.products import has_half_products
from train.parallel import processes

# Of a x + b x^3 + c x^5, the one nearest 1 on what the steps before left of [0.01, 1]: after all three 0.73..1.27.
POLYNOMIALS = ((8.0934, -23.6205, 17.4462), (3.6366, -2.7219, 0.5365), (2.6613, -1.9772, 0.4526))
MATCH_ADAMW = 0.2


class Muon(torch.optim.Optimizer):
    """For matrices inside a network only. A group's `rows` says for each parameter how high the matrices are that
    lie on top of each other in it (queries, keys and values): each is made orthogonal by itself. With an `interval` of n
    a parameter moves at every n-th step, n times as far; its momentum sees all gradients."""

    def __init__(
        self, groups: list[dict], lr: float, momentum: float, weight_decay: float, interval: int = 1
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "interval": interval,
            "turn": 0,
        }
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure=None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            rate, by_shape = group["interval"] * group["lr"], defaultdict(list)
            for parameter, rows, direction in self._moving(group):
                parameter.mul_(1 - rate * group["weight_decay"])
                for piece in zip(parameter.split(rows), direction.split(rows), strict=True):
                    by_shape[piece[0].shape].append(piece)
            for (height, width), pieces in by_shape.items():
                scale = MATCH_ADAMW * max(height, width) ** 0.5
                updates_NRC = orthogonal(torch.stack([direction for _, direction in pieces]))
                for (matrix, _), update in zip(pieces, updates_NRC, strict=True):
                    matrix.add_(update, alpha=-rate * scale)

    def _moving(self, group: dict) -> Iterator[tuple[Tensor, tuple[int, ...], Tensor]]:
        """(parameter, its rows, direction) of those whose turn it is."""
        turn, group["turn"] = group["turn"], (group["turn"] + 1) % group["interval"]
        for k, (parameter, rows) in enumerate(zip(group["params"], group["rows"], strict=True)):
            if parameter.grad is None:
                continue
            direction = self._direction(parameter, group["momentum"])
            if k % group["interval"] == turn:
                yield parameter, rows, direction

    def _direction(self, parameter: Tensor, momentum: float) -> Tensor:
        """Nesterov: the momentum as it will be after the next gradient of the same kind."""
        state = self.state[parameter]
        gradient = parameter.grad
        assert gradient is not None
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(state["momentum"], momentum)


class ShardedMuon(Muon):
    """Over weights that are divided among processes. It needs whole matrices: each process gathers one after the other and
    makes all of them orthogonal, which costs as much on every process as Muon costs on one."""

    @torch.no_grad()
    def step(self, closure=None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            rate = group["interval"] * group["lr"]
            for parameter, rows, direction in self._moving(group):
                parameter.mul_(1 - rate * group["weight_decay"])
                pieces = processes.whole(direction).split(rows)
                updates = [MATCH_ADAMW * max(x.shape) ** 0.5 * orthogonal(x[None])[0] for x in pieces]
                parameter.add_(processes.part_of(torch.cat(updates), parameter), alpha=-rate)


def orthogonal(matrices_NRC: Tensor, half: bool | None = None) -> Tensor:
    """Each matrix with its singular values brought to 0.7..1.3 (those near 0 stay smaller).

    `half`: in bfloat16; None: where that is the faster.
    """
    half = has_half_products(matrices_NRC.device.type) if half is None else half
    tall = matrices_NRC.shape[1] > matrices_NRC.shape[2]
    x = matrices_NRC.mT if tall else matrices_NRC
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    x = x.bfloat16() if half else x
    for a, b, c in POLYNOMIALS:
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    x = x.to(matrices_NRC.dtype)
    return x.mT if tall else x
