"""Matrix products of float32 on the CPU, through whichever library of torch is faster there.

torch sends float32 products to MKL, which keeps to AVX2 on processors that Intel did not make; oneDNN, which lies in the
same wheel, uses all 512 bits: 230 to 270 GFLOP/s against 95 to 115 on one Zen 5 core, at the shapes of small
models and at large ones. Which of the two is used depends on the processor alone, so that a run continues
bit for bit; everywhere else (GPU, bfloat16, other processors) these are torch's own operations.

Shapes in names: N rows, C columns of the input, V columns of the output.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

# Multiplications below which MKL is as good: oneDNN compiles a kernel for every new shape, some milliseconds each.
SMALLEST = 1 << 19


@cache
def has_wide_products() -> bool:
    """Whether oneDNN's float32 products are to be preferred on this processor."""
    capable = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return capable and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@cache
def has_half_products(device: str) -> bool:
    """Whether products of bfloat16 are faster than those of float32 on a device, and are not merely emulated."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device == "cuda" or (device == "cpu" and supported() and torch.backends.mkldnn.is_available())


def use_wide_products(x: Tensor) -> bool:
    here = x.device.type == "cpu" and x.dtype == torch.float32
    return (
        here and not torch.compiler.is_compiling() and has_wide_products()
    )  # no compiler knows that operation


def linear(x: Tensor, weight_VC: Tensor) -> Tensor:
    """x [..., C] @ weight.T, with gradients."""
    if use_wide_products(x) and not torch.is_autocast_enabled("cpu"):
        return _Linear.apply(x, weight_VC)
    return F.linear(x, weight_VC)


def product(a_NC: Tensor, b_VC: Tensor) -> Tensor:
    """a @ b.T of two matrices, without gradients."""
    if use_wide_products(a_NC) and a_NC.numel() * len(b_VC) >= SMALLEST:
        return torch.ops.mkldnn._linear_pointwise(a_NC, b_VC, None, "none", [], "")
    return a_NC @ b_VC.T


def product_over_rows(a_NV: Tensor, b_NC: Tensor) -> Tensor:
    """a.T @ b, without gradients: the gradient of a weight. oneDNN wants its first matrix row by row, so the
    narrower of the two is copied."""
    if not use_wide_products(a_NV):
        return a_NV.T @ b_NC
    if a_NV.shape[1] < b_NC.shape[1]:
        return product(a_NV.T.contiguous(), b_NC.T)
    return product(b_NC.T.contiguous(), a_NV.T).T


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight_VC):
        ctx.save_for_backward(x, weight_VC)
        return product(x.reshape(-1, x.shape[-1]), weight_VC).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx, grad):
        x, weight_VC = ctx.saved_tensors
        grad_NV = grad.reshape(-1, grad.shape[-1])
        grad_x = product(grad_NV, weight_VC.T).view_as(x)
        return grad_x, product_over_rows(grad_NV, x.reshape(-1, x.shape[-1]))
