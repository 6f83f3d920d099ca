"""A decoder of the Qwen3 shape: pre-norm RMSNorm, rotary positions, normed queries and keys, SwiGLU.

Design: few and large matrix products (queries, keys and values in one; gate and value of the SwiGLU in
one), gains of the norms folded into the matrix that follows (the same function, but the product touches
a weight instead of every activation), and a loss that never holds the logits of a batch.
Price: the folded gain costs a copy of each weight per step, which pays while a step has more tokens
than the matrix has rows; there is no cache of keys, so generating text is slow.

Shapes in names: B sequences, T positions, C width, H heads, D width of a head, V vocabulary,
N = B * T rows. Losses are in nats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.knobs import check_knobs, knob_names
from train.losses import linear_cross_entropy, token_losses

EPSILON = 1e-6


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the shape of a model. `heads` and `hidden` follow from the width if left out."""

    vocabulary: int
    depth: int = 4
    width: int = 64
    heads: int | None = None  # default: heads of 64, which the attention kernels like best
    hidden: int | None = None  # inner width of the SwiGLU; default 8/3 of the width, rounded up to 32
    context: int = 256
    tied: bool = True  # one matrix embeds tokens and scores them
    rotary_base: float = 10_000.0

    def __post_init__(self) -> None:
        for name in ("vocabulary", "depth", "width", "context"):
            _check_positive_integer(name, getattr(self, name))
        if self.heads is None:
            object.__setattr__(self, "heads", max(1, self.width // 64))
        if self.hidden is None:
            object.__setattr__(self, "hidden", 32 * -(-8 * self.width // (3 * 32)))
        _check_positive_integer("heads", self.heads)
        _check_positive_integer("hidden", self.hidden)
        if self.width % (2 * self.head_count):
            raise ValueError(
                f"model.width = {self.width} with model.heads = {self.heads}: heads must have one, even "
                f"width; make width a multiple of {2 * self.head_count}"
            )

    @property
    def head_count(self) -> int:
        return self.heads or 1

    @property
    def head_width(self) -> int:
        return self.width // self.head_count

    @classmethod
    def of(cls, knobs: Mapping, **fixed) -> ModelConfig:
        """From plain knobs (JSON, TOML); an unknown knob is an error, not silently a default."""
        check_knobs("model", knobs, set(knob_names(cls)) - set(fixed))
        return cls(**{**knobs, **fixed})


def _check_positive_integer(name: str, value) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"model.{name} = {value!r}: must be a whole number of at least 1")


def rms_norm(x: Tensor) -> Tensor:
    """x over its root mean square along the last axis, without a gain."""
    return _RMSNorm.apply(x)


class _RMSNorm(torch.autograd.Function):
    """Written out because the CPU has no fused kernel: this keeps one array for the way back, not four."""

    @staticmethod
    def forward(ctx, x):
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True).add_(EPSILON))
        y = x * scale
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx, grad_y):
        # The last axis sits on a sphere: the part of the gradient along y cannot move it.
        y, scale = ctx.saved_tensors
        along = (grad_y * y).mean(-1, keepdim=True)
        return torch.addcmul(grad_y, y, along, value=-1.0).mul_(scale)


class NormedLinear(nn.Module):
    """RMSNorm with a gain, then a linear map without bias; the gain is folded into the weight."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.weight = nn.Parameter(torch.empty(out, width))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(rms_norm(x), self.weight * self.gain)


class Attention(nn.Module):
    """Causal self-attention with normed, rotated queries and keys."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.head_width = config.head_count, config.head_width
        self.project = NormedLinear(config.width, 3 * config.width)
        self.query_gain = nn.Parameter(torch.ones(self.head_width))
        self.key_gain = nn.Parameter(torch.ones(self.head_width))
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x_BTC: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
        B, T, C = x_BTC.shape
        qkv_B3HTD = self.project(x_BTC).view(B, T, 3, self.heads, self.head_width).permute(0, 2, 3, 1, 4)
        q_BHTD = rotate(rms_norm(qkv_B3HTD[:, 0]), self.query_gain, cos_TD, sin_TD)
        k_BHTD = rotate(rms_norm(qkv_B3HTD[:, 1]), self.key_gain, cos_TD, sin_TD)
        y_BHTD = F.scaled_dot_product_attention(q_BHTD, k_BHTD, qkv_B3HTD[:, 2], is_causal=True)
        return self.out(y_BHTD.transpose(1, 2).reshape(B, T, C))


class SwiGLU(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = config.hidden or config.width
        self.expand = NormedLinear(config.width, 2 * hidden)
        self.out = nn.Linear(hidden, config.width, bias=False)

    def forward(self, x_BTC: Tensor) -> Tensor:
        gate, value = self.expand(x_BTC).chunk(2, dim=-1)
        return self.out(F.silu(gate) * value)


class Block(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.mlp = SwiGLU(config)

    def forward(self, x_BTC: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
        x_BTC = x_BTC + self.attention(x_BTC, cos_TD, sin_TD)
        return x_BTC + self.mlp(x_BTC)


class Transformer(nn.Module):
    """Tokens in, next-token losses out: `model(tokens_BT, targets_BT)` is the mean loss in nats."""

    cos_TD: Tensor
    sin_TD: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.empty(config.vocabulary, config.width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.gain = nn.Parameter(torch.ones(config.width))
        self.head = None if config.tied else nn.Parameter(torch.empty(config.vocabulary, config.width))
        cos_TD, sin_TD = rotary_tables(config.context, config.head_width, config.rotary_base)
        self.register_buffer("cos_TD", cos_TD, persistent=False)
        self.register_buffer("sin_TD", sin_TD, persistent=False)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Logits near 0, so the first loss is ln(V); what a block adds is small and shrinks with depth.

        Embeddings begin large beside what the first steps of the optimizer add to them; where they score as well, the
        last gain makes up for it.
        """
        config = self.config
        nn.init.normal_(self.embedding, std=0.1)
        if self.head is not None:
            nn.init.normal_(self.head, std=0.02)
        else:
            nn.init.constant_(self.gain, 0.25)
        for block in self.layers():
            for weight in (block.attention.project.weight, block.mlp.expand.weight):
                nn.init.normal_(weight, std=config.width**-0.5)
            for out in (block.attention.out.weight, block.mlp.out.weight):
                nn.init.normal_(out, std=(2 * config.depth * out.shape[1]) ** -0.5)

    def layers(self) -> list[Block]:
        """The blocks, typed."""
        return cast(list[Block], list(self.blocks))

    def hidden_NC(self, tokens_BT: Tensor) -> Tensor:
        """Normed states ahead of the scoring matrix."""
        T = tokens_BT.shape[1]
        if self.config.context < T:
            raise ValueError(f"a sequence of {T} tokens does not fit model.context = {self.config.context}")
        x_BTC = F.embedding(tokens_BT, self.embedding)
        cos_TD, sin_TD = self.cos_TD[:T], self.sin_TD[:T]
        for block in self.blocks:
            x_BTC = block(x_BTC, cos_TD, sin_TD)
        return rms_norm(x_BTC).flatten(0, 1)

    def scoring_VC(self) -> Tensor:
        return (self.embedding if self.head is None else self.head) * self.gain

    def forward(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        return linear_cross_entropy(self.hidden_NC(tokens_BT), self.scoring_VC(), targets_BT.flatten())

    @torch.no_grad()
    def token_losses(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """The loss of every single target in nats, float32 [B, T]."""
        losses_N = token_losses(self.hidden_NC(tokens_BT), self.scoring_VC(), targets_BT.flatten())
        return losses_N.view_as(targets_BT)

    def logits(self, tokens_BT: Tensor) -> Tensor:
        """All logits [B, T, V]; for looking and for tests: training never holds them."""
        return F.linear(self.hidden_NC(tokens_BT), self.scoring_VC()).view(*tokens_BT.shape, -1)

    def parameters_total(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def parameters_without_embeddings(self) -> int:
        tables = self.embedding.numel() + (0 if self.head is None else self.head.numel())
        return self.parameters_total() - tables

    def flops_per_token(self) -> int:
        """Forward and backward: 6 per weight of every matrix product (the scoring matrix included, the
        look-up not), and 12 * depth * width * context / 2 for causal attention."""
        scoring = self.config.vocabulary * self.config.width
        attention = 6 * self.config.depth * self.config.width * self.config.context
        return 6 * (self.parameters_without_embeddings() + scoring) + attention


def rotary_tables(context: int, head_width: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines [T, D/2] of position * frequency; computed in float64, as angles grow large."""
    frequencies = base ** -(torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angles = torch.outer(torch.arange(context, dtype=torch.float64), frequencies)
    return angles.cos().float(), angles.sin().float()


def rotate(x_BHTD: Tensor, gain_D: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
    """Multiply by the gain, then turn every pair (i, i + D/2) by its position's angle."""
    gain_low, gain_high = gain_D.chunk(2)
    low, high = x_BHTD.chunk(2, dim=-1)
    return torch.cat(
        (
            low * (cos_TD * gain_low) - high * (sin_TD * gain_high),
            low * (sin_TD * gain_low) + high * (cos_TD * gain_high),
        ),
        dim=-1,
    )
