"""A decoder of the Qwen3 shape: pre-norm RMSNorm, rotary positions, normed queries and keys, SwiGLU.

This is the shell; parts stand in `train.model.layers`, mixers in `train.model.mixers`, shapes in `train.config`.
Design: a loss that never holds the logits of a batch, and states between blocks as plain arrays.
Price: there is no cache of keys, so generating text is slow.

Shapes in names: B sequences, T positions, C width, V vocabulary, N = B * T rows. Losses are in nats.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.config import ModelConfig
from train.model.attention import rotary_tables
from train.model.layers import Dropout, NormedLinear, OutputLinear, SwiGLU, rms_norm
from train.model.losses import linear_cross_entropy, token_losses
from train.model.masked import revealed_losses
from train.model.mixers import MIXERS, Places
from train.model.products import use_wide_products


class Block(nn.Module):
    def __init__(self, config: ModelConfig, number: int) -> None:
        super().__init__()
        self.number = number
        self.mixer = MIXERS[config.mixer](config)
        self.mlp = SwiGLU(config)

    def forward(self, x_BTC: Tensor, places: Places) -> Tensor:
        x_BTC = x_BTC + places.dropped(self.mixer(x_BTC, places), 2 * self.number + 1)
        return x_BTC + places.dropped(self.mlp(x_BTC), 2 * self.number + 2)


class Transformer(nn.Module):
    """Tokens in, next-token losses out: `model(tokens_BT, targets_BT)` is the mean loss in nats."""

    cos_TD: Tensor
    sin_TD: Tensor
    compiled_body: Callable[[Tensor], Tensor] | None = None  # of hidden_NC, for training alone
    dropout: Dropout | None = None  # while a step trains

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        use_wide_products()
        self.config = config
        self.embedding = nn.Parameter(torch.empty(config.vocabulary, config.width))
        self.blocks = nn.ModuleList(Block(config, number) for number in range(config.depth))
        self.gain = nn.Parameter(torch.ones(config.width))
        self.head = None if config.tied else nn.Parameter(torch.empty(config.vocabulary, config.width))
        learned = config.position == "learned"
        self.positions = nn.Parameter(torch.empty(config.context, config.width)) if learned else None
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
        scale = self.config.init_scale
        nn.init.normal_(self.embedding, std=0.1 * scale)
        if self.positions is not None:
            nn.init.normal_(self.positions, std=0.1 * scale)
        if self.head is not None:
            nn.init.normal_(self.head, std=0.02)
        else:
            nn.init.constant_(self.gain, 0.25)
        for part in self.blocks.modules():
            if isinstance(part, NormedLinear):
                nn.init.normal_(part.weight, std=scale * self.config.width**-0.5)
            elif isinstance(part, OutputLinear):
                nn.init.normal_(part.weight, std=scale * (2 * self.config.depth * part.in_features) ** -0.5)

    def matrices(self) -> dict[nn.Parameter, tuple[int, ...]]:
        """Every matrix inside the blocks, and the heights of the maps that lie on top of each other in it."""
        inside = {p: (len(p),) for p in self.blocks.parameters() if p.ndim == 2}
        return inside | {
            part.weight: part.rows for part in self.blocks.modules() if isinstance(part, NormedLinear)
        }

    def hidden_NC(self, tokens_BT: Tensor) -> Tensor:
        """Normed states ahead of the lm_head."""
        places = self.places(tokens_BT)
        x_BTC = F.embedding(tokens_BT, self.embedding)
        if self.positions is not None:
            x_BTC = x_BTC + self.positions[: tokens_BT.shape[1]]
        x_BTC = places.dropped(x_BTC, 0)
        for block in self.blocks:
            x_BTC = block(x_BTC, places)
        return (rms_norm(x_BTC) if self.config.norm == "rms" else x_BTC).flatten(0, 1)

    def places(self, tokens_BT: Tensor) -> Places:
        T = tokens_BT.shape[1]
        if self.config.context < T:
            raise ValueError(f"a sequence of {T} tokens does not fit model.context = {self.config.context}")
        # The end of a document predicts the first token of the next: so it belongs to the next.
        apart = not self.config.cross_documents
        document_BT = torch.eq(tokens_BT, self.config.end or 0).cumsum(1) if apart else None
        return Places(self.cos_TD[:T], self.sin_TD[:T], document_BT, self._seen(T, document_BT), self.dropout)

    def _seen(self, T: int, document_BT: Tensor | None) -> Tensor | None:
        """None where every position sees all before it, which needs no array."""
        window, both_sides = self.config.window, self.config.mask is not None
        if not window and not both_sides:
            return None
        seen_1TT = torch.ones((1, T, T), dtype=torch.bool, device=self.cos_TD.device)
        seen_1TT = seen_1TT if both_sides else seen_1TT.tril()
        if window:
            seen_1TT = seen_1TT.triu(1 - window) & seen_1TT.tril(window - 1)
        return (
            seen_1TT if document_BT is None else seen_1TT & (document_BT[:, :, None] == document_BT[:, None])
        )

    def lm_head_VC(self) -> Tensor:
        """The matrix that scores the vocabulary, with the gain of the last norm in it."""
        return (self.embedding if self.head is None else self.head) * self.gain

    def forward(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        hidden_NC = (self.compiled_body or self.hidden_NC)(tokens_BT)
        return linear_cross_entropy(hidden_NC, self.lm_head_VC(), targets_BT.flatten())

    @torch.no_grad()
    def token_losses(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """The loss of every single target in nats, float32 [B, T]; of a masked model, see `train.model.masked`."""
        if self.config.mask is not None:
            return revealed_losses(self.hidden_NC, self.lm_head_VC(), self.config.mask, targets_BT)
        losses_N = token_losses(self.hidden_NC(tokens_BT), self.lm_head_VC(), targets_BT.flatten())
        return losses_N.view_as(targets_BT)

    def logits(self, tokens_BT: Tensor) -> Tensor:
        """All logits [B, T, V]; for looking and for tests: training never holds them."""
        return F.linear(self.hidden_NC(tokens_BT), self.lm_head_VC()).view(*tokens_BT.shape, -1)

    def parameters_total(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def parameters_without_embeddings(self) -> int:
        embeddings = self.embedding.numel() + (0 if self.head is None else self.head.numel())
        return self.parameters_total() - embeddings

    def flops_per_token(self) -> int:
        """Forward and backward: 6 per weight of every matrix product (the lm_head included, the
        look-up not), and 12 * depth * width * context / 2 for causal attention."""
        lm_head = self.config.vocabulary * self.config.width
        attention = 6 * self.config.depth * self.config.width * self.config.context
        return 6 * (self.parameters_without_embeddings() + lm_head) + attention
