"""Causal softmax attention, and how queries and keys learn where they stand.

On a GPU and for long contexts this is torch's own kernel, which never holds the scores. On a CPU with wide products
(`train.products`) a context of some hundred tokens is done head by head: the scores of one head lie in the cache, and
the products are worth more than what is saved by skipping the half that is masked.
Price: the probabilities of every head are kept for the way back, T numbers a token and head.

Shapes in names: B sequences, T positions, H heads of queries, K heads of keys, D width of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from train.products import product, product_over_rows, use_wide_products

EPSILON = 1e-6
# Positions of a context that is done head by head: shorter gains nothing, longer would hold too much.
HELD = (64, 512)


def attend(
    q_BHTD: Tensor,
    k_BKTD: Tensor,
    v_BKTD: Tensor,
    document_BT: Tensor | None,
    seen_BTT: Tensor | None = None,
) -> Tensor:
    """Every query over the keys at and before it, of its own document where those count: [B, H, T, D]."""
    T, grouped = q_BHTD.shape[2], q_BHTD.shape[1] != k_BKTD.shape[1]
    if seen_BTT is not None:
        return F.scaled_dot_product_attention(q_BHTD, k_BKTD, v_BKTD, seen_BTT[:, None], enable_gqa=grouped)
    by_head = use_wide_products(q_BHTD) and not torch.is_autocast_enabled("cpu") and HELD[0] <= T <= HELD[1]
    if by_head and not torch.compiler.is_compiling():
        return _AttendByHead.apply(q_BHTD, k_BKTD, v_BKTD, document_BT)
    if document_BT is None:
        return F.scaled_dot_product_attention(q_BHTD, k_BKTD, v_BKTD, is_causal=True, enable_gqa=grouped)
    seen_B1TT = _seen(document_BT)[:, None]
    return F.scaled_dot_product_attention(q_BHTD, k_BKTD, v_BKTD, seen_B1TT, enable_gqa=grouped)


def _seen(document_BT: Tensor) -> Tensor:
    """Whether position i of a sequence sees position j, [B, T, T]."""
    return (document_BT[:, :, None] == document_BT[:, None, :]).tril()


class _AttendByHead(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q_BHTD, k_BKTD, v_BKTD, document_BT):
        B, H, T, D = q_BHTD.shape
        share = H // k_BKTD.shape[1]
        hidden_1TT = torch.full((1, T, T), -torch.inf).triu(1)
        hidden_BTT = hidden_1TT.expand(B, T, T)
        if document_BT is not None:
            hidden_BTT = torch.zeros(B, T, T).masked_fill_(~_seen(document_BT), -torch.inf)
        q_BHTD, k_BKTD, v_BKTD = q_BHTD * D**-0.5, k_BKTD.contiguous(), v_BKTD.contiguous()
        p_BHTT, y_BTHD = q_BHTD.new_empty(B, H, T, T), q_BHTD.new_empty(B, T, H, D)
        for b, h in _heads(B, H):
            scores_TT = product(q_BHTD[b, h], k_BKTD[b, h // share]).add_(hidden_BTT[b])
            torch.softmax(scores_TT, -1, out=p_BHTT[b, h])
            y_BTHD[b, :, h] = product(p_BHTT[b, h], v_BKTD[b, h // share].T)
        ctx.save_for_backward(q_BHTD, k_BKTD, v_BKTD, p_BHTT)
        return y_BTHD.transpose(1, 2)

    @staticmethod
    def backward(ctx, grad_BHTD):
        q_BHTD, k_BKTD, v_BKTD, p_BHTT = ctx.saved_tensors
        grad_BHTD = grad_BHTD.contiguous()
        B, H, _, D = q_BHTD.shape
        share = H // k_BKTD.shape[1]
        grad_q = torch.empty_like(q_BHTD)
        grad_k, grad_v = k_BKTD.new_zeros(k_BKTD.shape), v_BKTD.new_zeros(v_BKTD.shape)
        for b, h in _heads(B, H):
            of_head_TD, p_TT = grad_BHTD[b, h], p_BHTT[b, h]
            grad_v[b, h // share] += product_over_rows(p_TT, of_head_TD)
            grad_p_TT = product(of_head_TD, v_BKTD[b, h // share])
            grad_scores_TT = torch._softmax_backward_data(grad_p_TT, p_TT, -1, torch.float32)
            torch.mul(product(grad_scores_TT, k_BKTD[b, h // share].T), D**-0.5, out=grad_q[b, h])
            grad_k[b, h // share] += product_over_rows(grad_scores_TT, q_BHTD[b, h])
        return grad_q, grad_k, grad_v, None


def _heads(B: int, H: int) -> list[tuple[int, int]]:
    return [(b, h) for b in range(B) for h in range(H)]


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


def swap_halves(x: Tensor) -> Tensor:
    """A new array with the halves of the last axis exchanged."""
    low, high = x.chunk(2, -1)
    return torch.cat((high, low), -1)
