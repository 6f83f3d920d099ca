"""What a model does with its context: the share of next words it names first, and its loss by position.

Windows begin where documents do, and hold documents that are as long as the window: so what stands at a position
is the same kind of text for every model, and what a model gains from more context is its own doing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from train.evaluate import BATCH
from train.model.transformer import Transformer
from train.tokens.packed import Packed

MOST_WINDOWS = 64  # of a holdout: enough for the shape of a curve, and little beside the whole holdout
SHORTEST = 16  # positions, below which there is nothing to tell


@torch.no_grad()
def context_use(model: Transformer, holdout: Packed) -> dict[str, Any] | None:
    """{"windows", "length", "accuracy", "edges", "nats", "by_window"}: mean nats of the positions from one edge up to the
    next, over all windows and in each.

    The length is the context, or half of it and so on, until eight documents are as long. None where no document is
    long enough, and for a model that reads both sides.
    """
    if model.config.mask is not None:
        return None
    length = model.config.context
    starts = np.flatnonzero(np.diff(holdout.documents) >= length)
    while len(starts) < 8 and length > SHORTEST:
        length //= 2
        starts = np.flatnonzero(np.diff(holdout.documents) >= length)
    if not len(starts):
        return None
    begins = holdout.documents[starts[:MOST_WINDOWS]]
    texts_BT = torch.from_numpy(
        np.stack([holdout.tokens[b : b + length] for b in begins]).astype(np.int64)
    ).to(model.embedding.device)
    before_B1 = torch.full((len(texts_BT), 1), holdout.end, device=texts_BT.device)
    inputs_BT = torch.cat((before_B1, texts_BT[:, :-1]), 1)
    nats_BT, right = [], 0
    for first in range(0, len(texts_BT), BATCH):
        rows = slice(first, first + BATCH)
        logits_BTV, targets_BT = model.logits(inputs_BT[rows]).float(), texts_BT[rows]
        losses_N = F.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), reduction="none")
        nats_BT.append(losses_N.view_as(targets_BT).cpu().double())
        right += int((logits_BTV.argmax(-1) == targets_BT).sum())
    edges = [0, *(2**power for power in range(length.bit_length()) if 2**power < length), length]
    all_BT = torch.cat(nats_BT).numpy()
    means_BE = np.stack([all_BT[:, a:b].mean(1) for a, b in zip(edges[:-1], edges[1:], strict=True)], 1)
    return {
        "windows": len(texts_BT), "length": length, "accuracy": right / texts_BT.numel(), "edges": edges,
        "nats": means_BE.mean(0).tolist(), "by_window": means_BE.round(4).tolist(),
    }  # fmt: skip
