"""Matrix products on the CPU, through whichever library of torch is faster there.

torch sends float32 products to MKL, which keeps to AVX2 on processors that Intel did not make; oneDNN, which lies in the
same wheel, uses all 512 bits: 230 to 270 GFLOP/s against 95 to 115 on one Zen 5 core, at the shapes of small models
and at large ones. The one switch that sends all products there, single and batched, is the permission to round their
inputs to bfloat16. oneDNN makes use of it on processors with tiles (AMX) alone, so the switch is left off on those, and
where a product turns out to be rounded after all. What is chosen depends on the processor, so a run continues bit for bit.
"""

from __future__ import annotations

from functools import cache

import torch

ROUNDING = 1e-5  # of a product, relative: float32 stays far below, bfloat16 is far above


@cache
def use_wide_products() -> bool:
    """Send float32 products of this process to oneDNN where that is faster and as exact; says whether they go there."""
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512") or _has("_is_amx_tile_supported"):
        return False
    switch = getattr(torch.backends.mkldnn, "matmul", None)
    if switch is None or not torch.backends.mkldnn.is_available():
        return False
    switch.fp32_precision = "bf16"
    if _is_rounded():
        switch.fp32_precision = "none"
        return False
    return True


def _is_rounded() -> bool:
    chance = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=chance, device="cpu") for _ in range(2))
    exact = a.double() @ b.double()
    return bool((a @ b - exact).norm() > ROUNDING * exact.norm())


@cache
def has_half_products(device: str) -> bool:
    """Whether products of bfloat16 are faster than those of float32 on a device, and are not merely emulated."""
    return device == "cuda" or (
        device == "cpu" and _has("_is_avx512_bf16_supported") and torch.backends.mkldnn.is_available()
    )


def _has(question: str) -> bool:
    return bool(getattr(torch.cpu, question, lambda: False)())
