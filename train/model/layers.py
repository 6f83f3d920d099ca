"""Parts that every block is made of. Shapes in names: B sequences, T positions, C width.

Design: few and large matrix products, gains of the norms folded into the matrix that follows (the same
function, but the product touches a weight instead of every activation), and gradients written out where
the CPU has no fused kernel.
Price: the folded gain costs a copy of each weight per step, which pays while a step has more tokens than
the matrix has rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.config import ModelConfig
from train.model import fused
from train.model.attention import EPSILON


def rms_norm(x: Tensor) -> Tensor:
    """x over its root mean square along the last axis, without a gain."""
    return (_FusedRMSNorm if fused.fits(x) else _RMSNorm).apply(x)


class _RMSNorm(torch.autograd.Function):
    """Written out because the CPU has no fused kernel: this keeps one array for the way back, not four."""

    @staticmethod
    def forward(ctx, x):
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True).add_(EPSILON))
        y = x * scale
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx, grad_y):
        # The last axis sits on a sphere: the part of the gradient along y cannot move it.
        y, scale = ctx.saved_tensors
        along = (grad_y * y).mean(-1, keepdim=True)
        return torch.addcmul(grad_y, y, along, value=-1.0).mul_(scale)


class _FusedRMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y, scale = torch.empty(x.shape, dtype=fused.of_products(x)), torch.empty(x.shape[:-1])
        C = x.shape[-1]
        fused.rms_norm(*(fused.view(array).reshape(-1, C) for array in (x, y)), scale.numpy().reshape(-1))
        ctx.of_x = x.dtype
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx, grad_y):
        y, scale = ctx.saved_tensors
        grad_x, C = torch.empty(y.shape, dtype=ctx.of_x), y.shape[-1]
        grad_rows, rows, out = (fused.view(array).reshape(-1, C) for array in (grad_y, y, grad_x))
        fused.rms_norm_backward(grad_rows, rows, fused.view(scale).reshape(-1), out)
        return grad_x


class Dropout(NamedTuple):
    """What one step leaves out: a hash of (key, layer, place) says so, hence the same numbers on every device, however
    windows are divided among processes, and on the way back, for which no mask is kept."""

    share: float
    key: Tensor  # of seed and step, in 0..2^32 - 1; a tensor, so that a compiled model is not compiled at every step
    window: int = 0  # of the step's windows the first of this process

    def __call__(self, x_BTC: Tensor, layer: int) -> Tensor:
        key = (self.key + layer * 0x9E3779B9) % (1 << 32)
        return _Dropped.apply(x_BTC, self.share, key, self.window * x_BTC[0].numel())


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, share, key, first):
        ctx.save_for_backward(key)
        ctx.given = share, first
        return _left_out(x, share, key, first)

    @staticmethod
    def backward(ctx, grad):
        share, first = ctx.given
        return _left_out(grad, share, ctx.saved_tensors[0], first), None, None, None


def _left_out(x: Tensor, share: float, key: Tensor, first: int) -> Tensor:
    bound, scale = round(share * (1 << 32)), 1 / (1 - share)
    if fused.fits(x):
        y, given = torch.empty(x.shape, dtype=x.dtype), (first, int(key), bound)
        arrays = (fused.view(array).reshape(-1) for array in (x, y))
        fused.leave_out(*arrays, *map(np.uint32, given), np.float32(scale))
        return y
    places = torch.arange(first, first + x.numel(), device=x.device).view(x.shape)
    return torch.where(hashed(places, key.to(x.device)) < bound, 0.0, x.float() * scale).to(x.dtype)


def hashed(places: Tensor, key: Tensor) -> Tensor:
    """32 bits of every place, int64; the products wrap around, of which the lower half is right."""
    h = (((places ^ (places >> 16)) * 0x7FEB352D) & 0xFFFFFFFF) ^ key
    h = ((h ^ (h >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return h ^ (h >> 16)


class NormedLinear(nn.Module):
    """What a part of a block reads of the stream: RMSNorm with a gain, then linear maps without bias.

    `rows` are the heights of the maps that lie on top of each other in one weight: one product for all,
    yet Muon makes each orthogonal by itself.
    """

    def __init__(self, config: ModelConfig, *rows: int) -> None:
        super().__init__()
        self.rows, self.norm = rows, config.norm
        self.gain = nn.Parameter(torch.ones(config.width))
        self.weight = nn.Parameter(torch.empty(sum(rows), config.width))

    def forward(self, x_BTC: Tensor) -> Tensor:
        if self.norm == "rms":
            x_BTC = rms_norm(x_BTC)
        return F.linear(x_BTC, self.weight * self.gain)


class OutputLinear(nn.Linear):
    """What a part of a block adds to the stream: a linear map without bias."""

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__(width, config.width, bias=False)


class SwiGLU(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.expand = NormedLinear(config, config.hidden, config.hidden)
        self.out = OutputLinear(config, config.hidden)

    def forward(self, x_BTC: Tensor) -> Tensor:
        both = self.expand(x_BTC)
        return self.out((_FusedGatedBySilu if fused.fits(both) else _GatedBySilu).apply(both))


class _GatedBySilu(torch.autograd.Function):
    """silu of the first half of the last axis, times the second. Written out, its gradient is filled in where it belongs:
    composed, both halves are made apart and copied together."""

    @staticmethod
    def forward(ctx, both):
        ctx.save_for_backward(both)
        gate, value = both.chunk(2, -1)
        return F.silu(gate).mul_(value)

    @staticmethod
    def backward(ctx, grad):
        (both,) = ctx.saved_tensors
        gate, value = both.chunk(2, -1)
        grad_both = torch.empty_like(both)
        of_gate, of_value = grad_both.chunk(2, -1)
        torch.mul(grad, F.silu(gate), out=of_value)
        torch.ops.aten.silu_backward.grad_input(grad * value, gate, grad_input=of_gate)
        return grad_both


class _FusedGatedBySilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, both):
        ctx.save_for_backward(both)
        F = both.shape[-1]
        y = torch.empty(*both.shape[:-1], F // 2, dtype=both.dtype)
        fused.gate_by_silu(fused.view(both).reshape(-1, F), fused.view(y).reshape(-1, F // 2))
        return y

    @staticmethod
    def backward(ctx, grad):
        (both,) = ctx.saved_tensors
        grad_both, F = torch.empty_like(both), both.shape[-1]
        of_both = fused.view(grad_both).reshape(-1, F)
        fused.gate_by_silu_backward(
            fused.view(grad).reshape(-1, F // 2), fused.view(both).reshape(-1, F), of_both
        )
        return grad_both
