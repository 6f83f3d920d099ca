"""Mixers: what carries information from one position to the next, one in every block.

A mixer is a module made of a config. It reads the stream through a `Reader` and writes it through a `Writer`
(so that the start and Muon know its matrices), and `forward(x_BTC, places)` is what it adds. `MIXERS` names them all.

Shapes in names: B sequences, T positions, C width, H heads of queries, K heads of keys, D width of a head.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from train.attention import attend, norm_and_rotate
from train.layers import Reader, Writer, rms_norm
from train.sequence import LSTM, Convolution
from train.shape import ModelConfig


class Places(NamedTuple):
    """Where the tokens of a batch stand: all that a mixer may know besides the stream."""

    cos_TD: Tensor  # of the angle of every position, for rotary positions
    sin_TD: Tensor
    document_BT: Tensor | None  # the number of each token's document; None: documents do not matter
    seen_BTT: Tensor | None = None  # which positions each may look at, where that is not simply all before it


class Attention(nn.Module):
    """Causal self-attention with normed queries and keys, rotated by their positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_width = config.heads, config.kv_heads, config.head_width
        self.rotary = config.position == "rotary"
        kv_width = self.kv_heads * self.head_width
        self.project = Reader(config, config.width, kv_width, kv_width)
        self.query_gain = nn.Parameter(torch.ones(self.head_width))
        self.key_gain = nn.Parameter(torch.ones(self.head_width))
        self.out = Writer(config, config.width)

    def forward(self, x_BTC: Tensor, places: Places) -> Tensor:
        B, T, C = x_BTC.shape
        H, K = self.heads, self.kv_heads
        qkv_BHTD = self.project(x_BTC).view(B, T, H + 2 * K, self.head_width).transpose(1, 2)
        q_BHTD, k_BKTD, v_BKTD = qkv_BHTD.split((H, K, K), 1)
        q_BHTD = self._placed(q_BHTD, self.query_gain, places)
        k_BKTD = self._placed(k_BKTD, self.key_gain, places)
        y_BHTD = attend(q_BHTD, k_BKTD, v_BKTD, places.document_BT, places.seen_BTT)
        return self.out(y_BHTD.transpose(1, 2).reshape(B, T, C))

    def _placed(self, x_BHTD: Tensor, gain_D: Tensor, places: Places) -> Tensor:
        if self.rotary:
            return norm_and_rotate(x_BHTD, gain_D, places.cos_TD, places.sin_TD)
        return rms_norm(x_BHTD) * gain_D


MIXERS: dict[str, type[nn.Module]] = {"attention": Attention, "lstm": LSTM, "convolution": Convolution}
