"""Mixers: what carries information from one position to the next, one in every block.

A mixer is a module made of a config. It reads the stream through a `NormedLinear` and writes it through a `OutputLinear`
(so that the start and Muon know its matrices), and `forward(x_BTC, places)` is what it adds. `MIXERS` names them all.

Shapes in names: B sequences, T positions, C width, H heads of queries, K heads of keys, D width of a head.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from train.config import ModelConfig
from train.model import fused
from train.model.attention import FusedPlaces, attend, norm_and_rotate
from train.model.layers import Dropout, NormedLinear, OutputLinear, rms_norm
from train.model.sequence import LSTM, Convolution


class Places(NamedTuple):
    """Where the tokens of a batch stand: all that a mixer may know besides the stream."""

    cos_TD: Tensor  # of the angle of every position, for rotary positions
    sin_TD: Tensor
    document_BT: Tensor | None  # the number of each token's document; None: documents do not matter
    seen_BTT: Tensor | None = None  # which positions each may look at, where that is not simply all before it
    dropout: Dropout | None = None

    def dropped(self, x_BTC: Tensor, layer: int) -> Tensor:
        return x_BTC if self.dropout is None else self.dropout(x_BTC, layer)


class Attention(nn.Module):
    """Causal self-attention with normed queries and keys, rotated by their positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_width = config.heads, config.kv_heads, config.head_width
        self.rotary = config.position == "rotary"
        kv_width = self.kv_heads * self.head_width
        self.project = NormedLinear(config, config.width, kv_width, kv_width)
        self.query_gain = nn.Parameter(torch.ones(self.head_width))
        self.key_gain = nn.Parameter(torch.ones(self.head_width))
        self.out = OutputLinear(config, config.width)

    def forward(self, x_BTC: Tensor, places: Places) -> Tensor:
        B, T, C = x_BTC.shape
        H, K = self.heads, self.kv_heads
        qkv_BTGD = self.project(x_BTC).view(B, T, H + 2 * K, self.head_width)
        q_BHTD, k_BKTD, v_BKTD = self._placed(qkv_BTGD, places)
        y_BHTD = attend(q_BHTD, k_BKTD, v_BKTD, places.document_BT, places.seen_BTT)
        return self.out(y_BHTD.transpose(1, 2).reshape(B, T, C))

    def _placed(self, qkv_BTGD: Tensor, places: Places) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values apart, head by head; the first two normed, and turned to where they stand."""
        if self.rotary and fused.fits(qkv_BTGD):
            gains = (self.query_gain, self.key_gain)
            return FusedPlaces.apply(qkv_BTGD, *gains, places.cos_TD, places.sin_TD, self.heads)
        heads = (self.heads, self.kv_heads, self.kv_heads)
        q_BHTD, k_BKTD, v_BKTD = qkv_BTGD.transpose(1, 2).split(heads, 1)
        if self.rotary:
            q_BHTD = norm_and_rotate(q_BHTD, self.query_gain, places.cos_TD, places.sin_TD)
            return q_BHTD, norm_and_rotate(k_BKTD, self.key_gain, places.cos_TD, places.sin_TD), v_BKTD
        normed = (rms_norm(q_BHTD) * self.query_gain, rms_norm(k_BKTD) * self.key_gain)
        return *(x.to(v_BKTD.dtype) for x in normed), v_BKTD  # under autocast gains widen what they multiply


MIXERS: dict[str, type[nn.Module]] = {"attention": Attention, "lstm": LSTM, "convolution": Convolution}
