"""The machine under a run: device, threads, memory allocator, precision. All switches live here.

A run uses one CPU thread unless told otherwise: for matrices this small, two runs side by side on two
cores finish much sooner than two runs with two threads one after the other.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys

import torch

from train.model.products import has_half_products, use_wide_products

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # from malloc.h
BFLOAT16_CAPABILITY = (8, 0)  # of CUDA devices: Ampere and later


def prepare_process(threads: int | None) -> None:
    """Before the first large allocation of a process: set the threads and keep freed buffers.

    Torch asks for pages of 2 MB, which it decides then: an array of some MB takes a few entries of the processor's table
    of addresses, not a thousand. A tenth of a step at width 64.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    _keep_freed_buffers()
    if threads:
        torch.set_num_threads(threads)


def _keep_freed_buffers() -> None:
    """Tell glibc to reuse large buffers. By default each is mapped anew, and every page of it faults."""
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library: nothing to tune
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        if not mallopt(M_MMAP_THRESHOLD, 1 << 30):
            mallopt(M_MMAP_THRESHOLD, 1 << 25)  # the most that older versions accept
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def choose_device(name: str) -> torch.device:
    """`auto`: CUDA, then MPS, then CPU."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device = {name!r}: must be auto, cpu, cuda or mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device = {name!r}: no CUDA device here; use auto")
    return device


def make_deterministic(device: torch.device) -> None:
    """On one CPU thread every operation is deterministic already; on a GPU ask for it."""
    if device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)


def choose_precision(name: str, device: torch.device) -> str:
    """`auto`: what the device is built for."""
    if device.type == "cuda":
        fit = torch.cuda.get_device_capability(device) >= BFLOAT16_CAPABILITY
    else:
        fit = has_half_products(device.type)
    return precision_of(name, fit)


def precision_of(name: str, fit: bool) -> str:
    """What is asked for; else bfloat16 products where the device is `fit` for them, and float32 elsewhere: a CPU without
    instructions for bfloat16 emulates it, 13 times slower."""
    return name if name != "auto" else "bfloat16" if fit else "float32"


def autocast(device: torch.device, precision: str):
    """A context whose products are bfloat16 where `precision` says so; weights and sums stay float32."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def product_library(device: str, precision: str) -> str:
    """Who makes a run's matrix products: two libraries differ in the last bits of their sums."""
    if device != "cpu":
        return {"cuda": "cuBLAS", "mps": "Metal"}.get(device, device)
    if precision == "bfloat16" or use_wide_products():
        return "oneDNN"
    return "MKL" if torch.backends.mkl.is_available() else "BLAS"


def peak_memory_bytes(device: torch.device) -> int:
    """Of the GPU where there is one, else the largest resident size of this process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
