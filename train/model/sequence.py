"""Mixers other than attention: a recurrence and a convolution, as large as the attention they stand in for.

Inner widths follow from the model's: each has the 4 * width^2 weights of attention with as many heads of keys as of
queries, to within 3 % from width 64 on. What they add to the stream, and how they read it, is the same.

Shapes in names: B sequences, T positions, C width of the stream, D inner width.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.config import ModelConfig
from train.model.layers import NormedLinear, OutputLinear, rms_norm


class LSTM(nn.Module):
    """Long short-term memory (Hochreiter and Schmidhuber 1997); forget gates begin open.

    It carries its state over the ends of documents within a window, whatever model.cross_documents says of attention.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        inner = config.lstm_width
        self.norm = config.norm
        self.gain = nn.Parameter(torch.ones(config.width))
        self.cells = nn.LSTM(config.width, inner, batch_first=True)
        forget = cast(Tensor, self.cells.bias_ih_l0)[inner : 2 * inner]
        nn.init.ones_(forget)
        self.out = OutputLinear(config, inner)

    def forward(self, x_BTC: Tensor, places) -> Tensor:
        if self.norm == "rms":
            x_BTC = rms_norm(x_BTC)
        return self.out(self.cells(x_BTC * self.gain)[0])


class Convolution(nn.Module):
    """A gated convolution over the last positions, one filter a channel; the first layer sees `window` of them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.kernel, inner = config.kernel, config.convolution_width
        self.project = NormedLinear(config, inner, inner)
        self.filters_DK = nn.Parameter(torch.zeros(inner, 1, self.kernel))
        nn.init.normal_(self.filters_DK, std=self.kernel**-0.5)
        self.out = OutputLinear(config, inner)

    def forward(self, x_BTC: Tensor, places) -> Tensor:
        gate, value_BTD = self.project(x_BTC).chunk(2, dim=-1)
        before_BDT = F.pad(value_BTD.transpose(1, 2), (self.kernel - 1, 0))
        mixed_BDT = F.conv1d(before_BDT, self.filters_DK, groups=len(self.filters_DK))
        return self.out(F.silu(gate) * mixed_BDT.transpose(1, 2))
