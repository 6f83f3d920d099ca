"""Causal softmax attention, and how queries and keys learn where they stand.

On a GPU and for long contexts this is torch's own kernel, which never holds the scores. On a CPU with wide products
(`train.model.products`) a context of some hundred tokens is done in blocks of queries, with one batched product a block
for all heads. Price: the probabilities of every head are kept for the way back, some T / 2 numbers a token and head.

Shapes in names: B sequences, T positions, H heads of queries, K heads of keys, D width of a head.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from train.model import fused
from train.model.products import use_wide_products

EPSILON = 1e-6
# Positions of a context that is done by blocks: shorter gains nothing, longer would hold too much.
HELD = (64, 512)
BLOCK = 128  # queries at once: half of what is masked is skipped; smaller blocks make small products


def attend(
    q_BHTD: Tensor,
    k_BKTD: Tensor,
    v_BKTD: Tensor,
    document_BT: Tensor | None,
    seen_BTT: Tensor | None = None,
) -> Tensor:
    """Every query over the keys at and before it, of its own document where those count: [B, H, T, D]."""
    T, grouped = q_BHTD.shape[2], q_BHTD.shape[1] != k_BKTD.shape[1]
    by_blocks = (
        seen_BTT is None and use_wide_products() and q_BHTD.device.type == "cpu" and HELD[0] <= T <= HELD[1]
    )
    if by_blocks and not torch.compiler.is_compiling():
        return _AttendByBlocks.apply(q_BHTD, k_BKTD, v_BKTD, document_BT)
    if seen_BTT is None and document_BT is not None:
        seen_BTT = (document_BT[:, :, None] == document_BT[:, None, :]).tril()
    seen_B1TT = None if seen_BTT is None else seen_BTT[:, None]
    return F.scaled_dot_product_attention(
        q_BHTD, k_BKTD, v_BKTD, seen_B1TT, is_causal=seen_BTT is None, enable_gqa=grouped
    )


class _AttendByBlocks(torch.autograd.Function):
    """Heads of queries that share keys lie on top of each other: one product for each head of keys and block."""

    @staticmethod
    def forward(ctx, q_BHTD, k_BKTD, v_BKTD, document_BT):
        B, H, T, D = q_BHTD.shape
        K = k_BKTD.shape[1]
        q_NSTD = q_BHTD.reshape(B * K, H // K, T, D)
        k_NTD, v_NTD = k_BKTD.reshape(B * K, T, D), v_BKTD.reshape(B * K, T, D)
        y_NSTD, held = torch.empty_like(q_NSTD), []
        for rows, end in _blocks(T):
            scores = torch.bmm(_stacked(q_NSTD, rows), k_NTD[:, :end].mT)
            p = _softmax(scores.view(B * K, H // K, -1, end), D**-0.5, rows, document_BT).view_as(scores)
            y_NSTD[:, :, rows] = torch.bmm(p, v_NTD[:, :end]).view(B * K, H // K, -1, D)
            held.append(p)
        ctx.save_for_backward(q_NSTD, k_NTD, v_NTD, *held)
        return y_NSTD.view(B, H, T, D)

    @staticmethod
    def backward(ctx, grad_BHTD):
        q_NSTD, k_NTD, v_NTD, *held = ctx.saved_tensors
        N, S, T, D = q_NSTD.shape
        grad_NSTD = grad_BHTD.reshape(q_NSTD.shape)
        grad_q = torch.empty_like(q_NSTD)
        grad_k, grad_v = torch.zeros_like(k_NTD), torch.zeros_like(v_NTD)
        for (rows, end), p in zip(_blocks(T), held, strict=True):
            grad = _stacked(grad_NSTD, rows)
            grad_v[:, :end] += torch.bmm(p.mT, grad)
            grad_p = torch.bmm(grad, v_NTD[:, :end].mT)
            grad_scores = _softmax_backward(grad_p, p, S, D**-0.5)
            grad_q[:, :, rows] = torch.bmm(grad_scores, k_NTD[:, :end]).view(N, S, -1, D)
            grad_k[:, :end] += torch.bmm(grad_scores.mT, _stacked(q_NSTD, rows))
        B = len(grad_BHTD)
        of_keys = (B, N // B, T, D)
        return grad_q.view(grad_BHTD.shape), grad_k.view(of_keys), grad_v.view(of_keys), None


def _blocks(T: int) -> list[tuple[slice, int]]:
    """Blocks of queries, and how many keys each may look at: keys that all of a block precede are never touched."""
    return [(slice(start, min(T, start + BLOCK)), min(T, start + BLOCK)) for start in range(0, T, BLOCK)]


def _stacked(x_NSTD: Tensor, rows: slice) -> Tensor:
    """Some positions of the heads that share keys, on top of each other."""
    return x_NSTD[:, :, rows].flatten(1, 2)


def _softmax(scores_NSnm: Tensor, sharpness: float, rows: slice, document_BT: Tensor | None) -> Tensor:
    """In place, of the scores times `sharpness`, over those keys where a query of the block may look."""
    n, m = scores_NSnm.shape[2:]
    if fused.fits(scores_NSnm):
        documents = torch.empty(0, m, dtype=torch.int64) if document_BT is None else document_BT[:, :m]
        fused.causal_softmax(fused.view(scores_NSnm), np.float32(sharpness), fused.view(documents))
        return scores_NSnm
    scores_NSnm.mul_(sharpness)[..., m - n :] += torch.full((n, n), -torch.inf).triu(1)
    if document_BT is not None:
        other_Bnm = document_BT[:, rows, None] != document_BT[:, None, :m]
        scores_BHnm = scores_NSnm.view(len(document_BT), -1, n, m)
        scores_BHnm.masked_fill_(other_Bnm[:, None], -torch.inf)
    return torch.softmax(scores_NSnm, -1, out=scores_NSnm)


def _softmax_backward(grad_p: Tensor, p: Tensor, shared: int, sharpness: float) -> Tensor:
    """The gradient of the scores, in place of that of the probabilities [N, S * n, m]."""
    if fused.fits(grad_p, p):
        N, _, m = p.shape
        blocks = (fused.view(array).reshape(N, shared, -1, m) for array in (grad_p, p))
        fused.causal_softmax_backward(*blocks, np.float32(sharpness))
        return grad_p
    return torch._softmax_backward_data(grad_p, p, -1, p.dtype).mul_(sharpness)


def rotary_tables(context: int, head_width: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines [T, D] of position * frequency, the same in both halves, the sines of the first negated;
    computed in float64, as angles grow large."""
    frequencies = base ** -(torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angles = torch.outer(torch.arange(context, dtype=torch.float64), frequencies)
    return torch.cat((angles.cos(),) * 2, 1).float(), torch.cat((-angles.sin(), angles.sin()), 1).float()


def norm_and_rotate(x_BHTD: Tensor, gain_D: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
    """RMSNorm along the last axis, times the gain, then every pair (i, i + D/2) turned by its position's angle."""
    return _NormAndRotate.apply(x_BHTD, gain_D, cos_TD, sin_TD)


class _NormAndRotate(torch.autograd.Function):
    """Written out: composed, it passes over its input some twenty times, and sums the gain's gradient apart."""

    @staticmethod
    def forward(ctx, x_BHTD, gain_D, cos_TD, sin_TD):
        scale_BHT1 = torch.rsqrt(x_BHTD.square().mean(-1, keepdim=True).add_(EPSILON))
        normed_BHTD = torch.mul(x_BHTD, scale_BHT1, out=x_BHTD.new_empty(x_BHTD.shape))
        ctx.save_for_backward(normed_BHTD, scale_BHT1, gain_D, cos_TD, sin_TD)
        turned = swap_halves(normed_BHTD)
        return turned.mul_(swap_halves(gain_D) * sin_TD).addcmul_(normed_BHTD, gain_D * cos_TD)

    @staticmethod
    def backward(ctx, grad_BHTD):
        normed_BHTD, scale_BHT1, gain_D, cos_TD, sin_TD = ctx.saved_tensors
        # Turned back, and taken along the normed input: that is the gradient of the gain.
        back_BHTD = swap_halves(grad_BHTD).mul_(swap_halves(sin_TD)).addcmul_(grad_BHTD, cos_TD)
        along_BHTD = back_BHTD * normed_BHTD
        grad_gain_D = along_BHTD.sum((0, 1, 2), dtype=gain_D.dtype)
        along_BHT1 = (along_BHTD @ (gain_D / len(gain_D)).to(along_BHTD.dtype)).unsqueeze(-1)
        back_BHTD.mul_(gain_D).addcmul_(normed_BHTD, along_BHT1, value=-1.0).mul_(scale_BHT1)
        return back_BHTD, grad_gain_D, None, None


class FusedPlaces(torch.autograd.Function):
    """Queries, keys and values that lie beside each other, apart and head by head; the first two through
    `norm_and_rotate`, in one pass."""

    @staticmethod
    def forward(ctx, qkv_BTGD, query_gain_D, key_gain_D, cos_TD, sin_TD, heads):
        B, T, G, D = qkv_BTGD.shape
        K = (G - heads) // 2
        tables, placed, scales = (fused.view(cos_TD), fused.view(sin_TD)), [], []
        for first, count, gain_D in ((0, heads, query_gain_D), (heads, K, key_gain_D)):
            y_BHTD = torch.empty(B, count, T, D, dtype=qkv_BTGD.dtype)
            scale_BHT = torch.empty(B, count, T)
            outputs = (fused.view(y_BHTD), scale_BHT.numpy())
            fused.norm_and_rotate(fused.view(qkv_BTGD), first, fused.copy(gain_D), *tables, *outputs)
            placed.append(y_BHTD)
            scales.append(scale_BHT)
        ctx.save_for_backward(qkv_BTGD, query_gain_D, key_gain_D, cos_TD, sin_TD, *scales)
        return *placed, qkv_BTGD[:, :, heads + K :].transpose(1, 2).contiguous()

    @staticmethod
    def backward(ctx, *grads):
        qkv_BTGD, *gains, cos_TD, sin_TD, query_scale, key_scale = ctx.saved_tensors
        tables, grad_gains = (fused.view(cos_TD), fused.view(sin_TD)), []
        grad_qkv, first = torch.empty_like(qkv_BTGD), 0
        for grad_BHTD, gain_D, scale in zip(grads, gains, (query_scale, key_scale), strict=False):
            of_gain_BD = torch.zeros(len(grad_qkv), len(gain_D))
            given = (fused.view(grad_BHTD), fused.view(qkv_BTGD), first, fused.copy(gain_D), *tables)
            outputs = (fused.view(grad_qkv), of_gain_BD.numpy())
            fused.norm_and_rotate_backward(*given, fused.view(scale), *outputs)
            grad_gains.append(of_gain_BD.sum(0))
            first += grad_BHTD.shape[1]
        grad_qkv[:, :, first:] = grads[2].transpose(1, 2)
        return grad_qkv, *grad_gains, None, None, None


def swap_halves(x: Tensor) -> Tensor:
    """A new array with the halves of the last axis exchanged."""
    low, high = x.chunk(2, -1)
    return torch.cat((high, low), -1)
