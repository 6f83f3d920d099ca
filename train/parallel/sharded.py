"""Weights, gradients and optimizer state divided among processes: torch's FSDP2. Loaded only where it is used."""

from __future__ import annotations

from typing import cast

from torch import Tensor
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from train.model.transformer import Transformer


def shard(model: Transformer, compiled: bool) -> Transformer:
    """Divide in place: a block's weights are gathered when it computes, and freed after it."""
    for block in model.blocks:
        if compiled:
            block.compile()
        fully_shard(block)
    # Else evaluation would leave its weights gathered, and old.
    fully_shard(model, reshard_after_forward=True)
    for method in ("token_losses", "logits"):
        register_fsdp_forward_method(model, method)
    return model


def distribute(tensor: Tensor, like: Tensor) -> DTensor:
    like = cast(DTensor, like)
    # Every process holds the whole tensor already: nothing is sent.
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
