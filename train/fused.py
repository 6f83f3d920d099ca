"""Kernels of one CPU thread for what lies between the matrix products: one pass over each array, where torch's
operations take five to twenty and leave the cache in between.

Each computes what the plain definition beside its caller says; that one runs on GPUs, on several threads, compiled and
in half precision, and the tests compare the two. float32 alone. Sums are in an order of the compiler's choice, the same
at every call on one kind of processor, so a run continues bit for bit. What is not a number stays so.

All compiled functions are in this file: numba notices when a kernel's own file changes, not another's.
"""

from __future__ import annotations

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
intrinsic: Any = extending.intrinsic

ZERO, ONE = np.float32(0), np.float32(1)
LOWEST, HIGHEST = np.float32(-87), np.float32(88)  # of exponents: e^x is a normal float in between
LOG2_E = np.float32(1.44269504)
LN_2_HIGH, LN_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # k * high is exact
EPSILON = np.float32(1e-6)


def fits(*arrays: Tensor) -> bool:
    """Whether these kernels may take the arrays; else the plain definition must."""
    return (
        all(x.device.type == "cpu" and x.dtype == torch.float32 for x in arrays)
        and not torch.compiler.is_compiling()
        and torch.get_num_threads() == 1
        and not torch.is_autocast_enabled("cpu")
        and all(type(x) in (Tensor, torch.nn.Parameter) for x in arrays)
    )


def view(x: Tensor) -> np.ndarray:
    """The same memory to a kernel; a copy where it has holes."""
    return x.detach().contiguous().numpy()


def copy(parameter: Tensor) -> np.ndarray:
    """Its values in memory of their own: FSDP2 takes a parameter's away between layers, but not once NumPy shares it."""
    return parameter.detach().clone().numpy()


# ---- e^x, sixteen at once ---------------------------------------------------------------------------------


@intrinsic
def nearest(typing_context: Any, x: Any) -> Any:
    """The whole number nearest to x, as a float."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.rint", [ir.FloatType()]), arguments)

    return types.float32(types.float32), generate


@intrinsic
def power_of_two(typing_context: Any, k: Any) -> Any:
    """2^k of a whole float k in -126..127, by its bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        whole = ir.IntType(32)
        exponent = builder.add(builder.fptosi(arguments[0], whole), ir.Constant(whole, 127))
        return builder.bitcast(builder.shl(exponent, ir.Constant(whole, 23)), ir.FloatType())

    return types.float32(types.float32), generate


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


@intrinsic
def larger(typing_context: Any, a: Any, b: Any) -> Any:
    """The larger of two floats, in one instruction for sixteen pairs, which a comparison and a choice are not."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        maximum = builder.module.declare_intrinsic(
            "llvm.maximum", [ir.FloatType()], ir.FunctionType(ir.FloatType(), [ir.FloatType()] * 2)
        )
        return builder.call(maximum, arguments)

    return types.float32(types.float32, types.float32), generate


@inlined
def largest(row, length):
    """The largest of the first numbers of a row; not a number where one is none."""
    top = row[0]
    for j in range(length):
        top = larger(top, row[j])
    return top


# ---- RMSNorm ----------------------------------------------------------------------------------------------


@kernel
def rms_norm(x_NC, y_NC, scale_N):
    for n in range(len(x_NC)):
        x, y = x_NC[n], y_NC[n]
        squares = ZERO
        for c in range(len(x)):
            squares += x[c] * x[c]
        scale = ONE / np.sqrt(squares / np.float32(len(x)) + EPSILON)
        scale_N[n] = scale
        for c in range(len(x)):
            y[c] = x[c] * scale


@kernel
def rms_norm_backward(grad_NC, y_NC, scale_N, grad_x_NC):
    for n in range(len(y_NC)):
        grad, y, grad_x, scale = grad_NC[n], y_NC[n], grad_x_NC[n], scale_N[n]
        along = ZERO
        for c in range(len(y)):
            along += grad[c] * y[c]
        along /= np.float32(len(y))
        for c in range(len(y)):
            grad_x[c] = (grad[c] - along * y[c]) * scale


# ---- SwiGLU -----------------------------------------------------------------------------------------------


@kernel
def gate_by_silu(both_NF, y_NH):
    H = y_NH.shape[1]
    for n in range(len(y_NH)):
        gate, value, y = both_NF[n, :H], both_NF[n, H:], y_NH[n]
        for h in range(len(y)):
            y[h] = gate[h] / (ONE + exponential(-gate[h])) * value[h]


@kernel
def gate_by_silu_backward(grad_NH, both_NF, grad_both_NF):
    H = grad_NH.shape[1]
    for n in range(len(grad_NH)):
        grad, gate, value = grad_NH[n], both_NF[n, :H], both_NF[n, H:]
        of_gate, of_value = grad_both_NF[n, :H], grad_both_NF[n, H:]
        for h in range(len(grad)):
            sigmoid = ONE / (ONE + exponential(-gate[h]))
            of_value[h] = grad[h] * gate[h] * sigmoid
            of_gate[h] = grad[h] * value[h] * sigmoid * (ONE + gate[h] * (ONE - sigmoid))


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
                    squares += x[d] * x[d]
                scale = ONE / np.sqrt(squares / np.float32(D) + EPSILON)
                scale_BHT[b, h, t] = scale
                for d in range(half):
                    low = x[d] * scale * gain_D[d]
                    high = x[d + half] * scale * gain_D[d + half]
                    y[d] = low * cos[d] - high * sin[d]
                    y[d + half] = high * cos[d] + low * sin[d]


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
                    back[d] = grad[d] * cos[d] + grad[d + half] * sin[d]
                    back[d + half] = grad[d + half] * cos[d] - grad[d] * sin[d]
                along = ZERO
                for d in range(D):
                    of_gain = back[d] * x[d] * scale
                    grad_gain[d] += of_gain
                    along += of_gain * gain_D[d]
                along /= np.float32(D)
                for d in range(D):
                    grad_x[d] = (back[d] * gain_D[d] - along * x[d] * scale) * scale


# ---- Softmax ----------------------------------------------------------------------------------------------


@kernel
def causal_softmax(scores_NSnm, sharpness, documents_Bm):
    """In place, of the scores times `sharpness`: the last n of m positions ask, of S heads that share keys; 0 for keys
    to come, and for those of another document where `documents_Bm` has rows."""
    N, S, n, m = scores_NSnm.shape
    for head in range(N):
        for s in range(S):
            for i in range(n):
                p, seen = scores_NSnm[head, s, i], m - n + i + 1
                if len(documents_Bm):
                    document = documents_Bm[head // (N // len(documents_Bm))]
                    for j in range(seen):
                        p[j] = p[j] if document[j] == document[seen - 1] else -np.float32(np.inf)
                top, total = largest(p, seen), ZERO
                for j in range(seen):
                    p[j] = exponential((p[j] - top) * sharpness)
                    total += p[j]
                for j in range(seen):
                    p[j] /= total
                p[seen:] = ZERO


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
                    along += grad[j] * p[j]
                for j in range(seen):
                    grad[j] = (grad[j] - along) * p[j] * sharpness
                grad[seen:] = ZERO


@kernel
def cross_entropy(scores_nV, targets_n, losses_n):
    """Losses in nats; the scores become their gradients, the probabilities less 1 at the target."""
    for n in range(len(scores_nV)):
        p, target = scores_nV[n], targets_n[n]
        top, at_target, total = largest(p, len(p)), p[target], ZERO
        for v in range(len(p)):
            p[v] = exponential(p[v] - top)
            total += p[v]
        losses_n[n] = np.log(total) - (at_target - top)
        share = ONE / total
        for v in range(len(p)):
            p[v] *= share
        p[target] -= ONE
