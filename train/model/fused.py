"""Kernels of one CPU thread for what lies between the matrix products: one pass over each array, where torch's
operations take five to twenty and leave the cache in between.

Each computes what the plain definition beside its caller says; that one runs on GPUs, on several threads and compiled,
and the tests compare the two. Arrays are float32 or bfloat16, which NumPy does not know and which come as their bits, in
uint16; all that is computed is float32. Sums are in an order of the compiler's choice, the same at every call on one kind
of processor, so a run continues bit for bit. What is not a number stays so.

All compiled functions are in this file: numba notices when a kernel's own file changes, not another's.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import extending
from numba.core import types
from torch import Tensor

_SUMS_IN_ANY_ORDER = {"reassoc", "contract", "nsz", "arcp"}  # never nnan: a diverged run must say so
kernel: Any = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_SUMS_IN_ANY_ORDER)
inlined = numba.njit(forceinline=True, error_model="numpy", fastmath={"contract"})
overload: Any = partial(
    extending.overload, jit_options={"forceinline": True, "error_model": "numpy", "fastmath": {"contract"}}
)

ZERO, ONE = np.float32(0), np.float32(1)
LOWEST, HIGHEST = np.float32(-87), np.float32(88)  # of exponents: e^x is a normal float in between
LOG2_E = np.float32(1.44269504)
LN_2_HIGH, LN_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # k * high is exact
EPSILON = np.float32(1e-6)


def fits(*arrays: Tensor) -> bool:
    """Whether these kernels may take the arrays; else the plain definition must."""
    return (
        all(x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16) for x in arrays)
        and not torch.compiler.is_compiling()
        and torch.get_num_threads() == 1
        and all(type(x) in (Tensor, torch.nn.Parameter) for x in arrays)
    )


def of_products(x: Tensor) -> torch.dtype:
    """What a matrix product takes x as: under autocast, half as wide."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def view(x: Tensor) -> np.ndarray:
    """The same memory to a kernel; a copy where it has holes."""
    x = x.detach().contiguous()
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()


def copy(parameter: Tensor) -> np.ndarray:
    """Its values in memory of their own: FSDP2 takes a parameter's away between layers, but not once NumPy shares it."""
    return parameter.detach().clone().numpy()


# ---- Numbers of either kind -------------------------------------------------------------------------------


def instruction(result: Any, *kinds: Any) -> Any:
    """Compile what is written in LLVM's language: `generate(builder, *arguments)` gives the value."""

    def decorate(generate: Any) -> Any:
        def typed(typing_context: Any, *given: Any) -> Any:
            return result(*kinds), lambda context, builder, signature, arguments: generate(
                builder, *arguments
            )

        typed.__name__, typed.__doc__ = generate.__name__, generate.__doc__
        typed.__signature__ = inspect.signature(generate)  # type: ignore[attr-defined]
        return extending.intrinsic(typed)  # type: ignore[arg-type]

    return decorate


@instruction(types.float32, types.uint32)
def float_of_bits(builder, bits):
    return builder.bitcast(bits, ir.FloatType())


@instruction(types.uint32, types.float32)
def bits_of_float(builder, x):
    return builder.bitcast(x, ir.IntType(32))


def number(x: Any) -> Any:
    """A number of an array as float32: the upper half of its bits is all that a bfloat16 has."""


@overload(number)
def _number(x):
    if isinstance(x, types.Integer):
        return lambda x: float_of_bits(np.uint32(x) << np.uint32(16))
    return lambda x: x


def put(row: Any, place: Any, x: Any) -> Any:
    """Write a float32 into an array, to the nearest bfloat16, ties to even, where it holds those."""


@overload(put)
def _put(row, place, x):
    def put_whole(row, place, x):
        row[place] = x

    def put_half(row, place, x):
        bits = bits_of_float(x)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        row[place] = np.uint16((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

    return put_half if isinstance(row.dtype, types.Integer) else put_whole


# ---- e^x, sixteen at once ---------------------------------------------------------------------------------


@instruction(types.float32, types.float32)
def nearest(builder, x):
    """The whole number nearest to x, as a float."""
    return builder.call(builder.module.declare_intrinsic("llvm.rint", [ir.FloatType()]), [x])


@instruction(types.float32, types.float32)
def power_of_two(builder, k):
    """2^k of a whole float k in -126..127, by its bits."""
    whole = ir.IntType(32)
    exponent = builder.add(builder.fptosi(k, whole), ir.Constant(whole, 127))
    return builder.bitcast(builder.shl(exponent, ir.Constant(whole, 23)), ir.FloatType())


@inlined
def exponential(x):
    """e^x to 1e-7 of itself; x is held in LOWEST..HIGHEST. Taylor's series over the half octave around a power of 2."""
    x = LOWEST if x < LOWEST else x
    x = HIGHEST if x > HIGHEST else x
    k = nearest(x * LOG2_E)
    r = (x - k * LN_2_HIGH) - k * LN_2_LOW
    p = np.float32(1 / 5040) * r + np.float32(1 / 720)
    p = p * r + np.float32(1 / 120)
    p = p * r + np.float32(1 / 24)
    p = p * r + np.float32(1 / 6)
    p = p * r + np.float32(0.5)
    p = p * r + ONE
    return (p * r + ONE) * power_of_two(k)


@instruction(types.float32, types.float32, types.float32)
def larger(builder, a, b):
    """The larger of two floats, in one instruction for sixteen pairs, which a comparison and a choice are not."""
    real = ir.FloatType()
    maximum = builder.module.declare_intrinsic("llvm.maximum", [real], ir.FunctionType(real, [real] * 2))
    return builder.call(maximum, [a, b])


@inlined
def copy_to(p, row, length):
    """The first numbers of a row as float32; returns the largest, which is not a number where one is none."""
    top = number(row[0])
    for j in range(length):
        x = number(row[j])
        p[j] = x
        top = larger(top, x)
    return top


# ---- RMSNorm ----------------------------------------------------------------------------------------------


@kernel
def rms_norm(x_NC, y_NC, scale_N):
    for n in range(len(x_NC)):
        x, y = x_NC[n], y_NC[n]
        squares = ZERO
        for c in range(len(x)):
            squares += number(x[c]) * number(x[c])
        scale = ONE / np.sqrt(squares / np.float32(len(x)) + EPSILON)
        scale_N[n] = scale
        for c in range(len(x)):
            put(y, c, number(x[c]) * scale)


@kernel
def rms_norm_backward(grad_NC, y_NC, scale_N, grad_x_NC):
    for n in range(len(y_NC)):
        grad, y, grad_x, scale = grad_NC[n], y_NC[n], grad_x_NC[n], scale_N[n]
        along = ZERO
        for c in range(len(y)):
            along += number(grad[c]) * number(y[c])
        along /= np.float32(len(y))
        for c in range(len(y)):
            put(grad_x, c, (number(grad[c]) - along * number(y[c])) * scale)


# ---- Dropout ----------------------------------------------------------------------------------------------


@kernel
def leave_out(x_N, y_N, first, key, bound, scale):
    """The numbers times `scale`; 0 where `train.model.layers.hashed` of their place is below `bound`."""
    for n in range(len(x_N)):
        h = np.uint32(first + np.uint32(n))
        h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D)) ^ key
        h = np.uint32((h ^ (h >> np.uint32(15))) * np.uint32(0x846CA68B))
        h = h ^ (h >> np.uint32(16))
        put(y_N, n, ZERO if h < bound else number(x_N[n]) * scale)


# ---- SwiGLU -----------------------------------------------------------------------------------------------


@kernel
def gate_by_silu(both_NF, y_NH):
    H = y_NH.shape[1]
    for n in range(len(y_NH)):
        gates, values, y = both_NF[n, :H], both_NF[n, H:], y_NH[n]
        for h in range(len(y)):
            gate = number(gates[h])
            put(y, h, gate / (ONE + exponential(-gate)) * number(values[h]))


@kernel
def gate_by_silu_backward(grad_NH, both_NF, grad_both_NF):
    H = grad_NH.shape[1]
    for n in range(len(grad_NH)):
        grads, gates, values = grad_NH[n], both_NF[n, :H], both_NF[n, H:]
        of_gate, of_value = grad_both_NF[n, :H], grad_both_NF[n, H:]
        for h in range(len(grads)):
            grad, gate = number(grads[h]), number(gates[h])
            sigmoid = ONE / (ONE + exponential(-gate))
            put(of_value, h, grad * gate * sigmoid)
            put(of_gate, h, grad * number(values[h]) * sigmoid * (ONE + gate * (ONE - sigmoid)))


# ---- Queries and keys: normed, rotated, and laid out head by head -----------------------------------------


@kernel
def norm_and_rotate(x_BTGD, first, gain_D, cos_TD, sin_TD, y_BHTD, scale_BHT):
    """Heads `first` and on of those that lie beside each other at a position."""
    B, H, T, D = y_BHTD.shape
    half = D // 2
    for b in range(B):
        for t in range(T):
            cos, sin = cos_TD[t, half:], sin_TD[t, half:]
            for h in range(H):
                x, y = x_BTGD[b, t, first + h], y_BHTD[b, h, t]
                squares = ZERO
                for d in range(D):
                    squares += number(x[d]) * number(x[d])
                scale = ONE / np.sqrt(squares / np.float32(D) + EPSILON)
                scale_BHT[b, h, t] = scale
                for d in range(half):
                    low = number(x[d]) * scale * gain_D[d]
                    high = number(x[d + half]) * scale * gain_D[d + half]
                    put(y, d, low * cos[d] - high * sin[d])
                    put(y, d + half, high * cos[d] + low * sin[d])


@kernel
def norm_and_rotate_backward(
    grad_BHTD, x_BTGD, first, gain_D, cos_TD, sin_TD, scale_BHT, grad_x_BTGD, grad_gain_BD
):
    B, H, T, D = grad_BHTD.shape
    half = D // 2
    back = np.empty(D, np.float32)  # the gradient turned back
    for b in range(B):
        grad_gain = grad_gain_BD[b]
        for t in range(T):
            cos, sin = cos_TD[t, half:], sin_TD[t, half:]
            for h in range(H):
                x, grad, grad_x = x_BTGD[b, t, first + h], grad_BHTD[b, h, t], grad_x_BTGD[b, t, first + h]
                scale = scale_BHT[b, h, t]
                for d in range(half):
                    low, high = number(grad[d]), number(grad[d + half])
                    back[d] = low * cos[d] + high * sin[d]
                    back[d + half] = high * cos[d] - low * sin[d]
                along = ZERO
                for d in range(D):
                    of_gain = back[d] * number(x[d]) * scale
                    grad_gain[d] += of_gain
                    along += of_gain * gain_D[d]
                along /= np.float32(D)
                for d in range(D):
                    put(grad_x, d, (back[d] * gain_D[d] - along * number(x[d]) * scale) * scale)


# ---- Softmax ----------------------------------------------------------------------------------------------


@kernel
def causal_softmax(scores_NSnm, sharpness, documents_Bm):
    """In place, of the scores times `sharpness`: the last n of m positions ask, of S heads that share keys; 0 for keys
    to come, and for those of another document where `documents_Bm` has rows."""
    N, S, n, m = scores_NSnm.shape
    p = np.empty(m, np.float32)
    for head in range(N):
        for s in range(S):
            for i in range(n):
                row, seen = scores_NSnm[head, s, i], m - n + i + 1
                top, total = copy_to(p, row, seen), ZERO
                if len(documents_Bm):
                    document = documents_Bm[head // (N // len(documents_Bm))]
                    for j in range(seen):
                        p[j] = p[j] if document[j] == document[seen - 1] else -np.float32(np.inf)
                    top = copy_to(p, p, seen)
                for j in range(seen):
                    p[j] = exponential((p[j] - top) * sharpness)
                    total += p[j]
                for j in range(seen):
                    put(row, j, p[j] / total)
                row[seen:] = 0


@kernel
def causal_softmax_backward(grad_NSnm, p_NSnm, sharpness):
    """In place of the gradient of the probabilities: that of the scores."""
    N, S, n, m = p_NSnm.shape
    for head in range(N):
        for s in range(S):
            for i in range(n):
                grad, p, seen = grad_NSnm[head, s, i], p_NSnm[head, s, i], m - n + i + 1
                along = ZERO
                for j in range(seen):
                    along += number(grad[j]) * number(p[j])
                for j in range(seen):
                    put(grad, j, (number(grad[j]) - along) * number(p[j]) * sharpness)
                grad[seen:] = 0


@kernel
def cross_entropy(scores_nV, targets_n, losses_n):
    """Losses in nats; the scores become their gradients, the probabilities less 1 at the target."""
    p = np.empty(scores_nV.shape[1], np.float32)
    for n in range(len(scores_nV)):
        row, target = scores_nV[n], targets_n[n]
        top, total = copy_to(p, row, len(p)), ZERO
        at_target = p[target]
        for v in range(len(p)):
            p[v] = exponential(p[v] - top)
            total += p[v]
        losses_n[n] = np.log(total) - (at_target - top)
        share = ONE / total
        for v in range(len(p)):
            put(row, v, p[v] * share)
        put(row, target, p[target] * share - ONE)
