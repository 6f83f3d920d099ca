"""Several processes that train one cell together: `torchrun` starts them, each takes its share of every batch.

    torchrun --nproc-per-node 8 -m train.run CELL.json        `curate train MANIFEST --cells` writes them

Gradients are averaged over the processes (`parallel = "ddp"`). Where weights, gradients and optimizer state do not fit on
one device, they are divided among the processes as well (`"fsdp"`, torch's FSDP2). Every process walks the
same steps and decides the same things. The first alone writes. With one process all of this does nothing.

The directory must be one that all machines see. Price: every process reads the whole checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from train.model.transformer import Transformer

T = TypeVar("T")


def launched() -> bool:
    """Whether torchrun has started this process as one of several."""
    return dist.is_available() and dist.is_torchelastic_launched()


def join(device: torch.device) -> None:
    """Meet the others, once in a process: through NCCL on GPUs, gloo on CPUs."""
    if not launched() or dist.is_initialized():
        return
    if device.type not in ("cuda", "cpu"):
        raise ValueError(f"device = {device.type!r} with torchrun: several processes need cuda or cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def leave() -> None:
    if _together():
        dist.destroy_process_group()


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def count() -> int:
    return dist.get_world_size() if _together() else 1


def rank() -> int:
    return dist.get_rank() if _together() else 0


def first() -> bool:
    return rank() == 0


def own_device(device: torch.device) -> torch.device:
    """Of the GPUs of a machine the one of this process, unless another was named."""
    if launched() and device.type == "cuda" and device.index is None:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


def check(batch: int, loss: str) -> None:
    """Refuse what several processes would do otherwise than one."""
    if count() == 1:
        return
    if batch % count():
        raise ValueError(
            f"batch = {batch} windows for {count()} processes: take a multiple, so that all have as many"
        )
    if loss != "next-word":
        raise ValueError(f"loss = {loss!r} with {count()} processes: only next-word; train it in one process")


def share(batch: int) -> slice:
    """Which windows of a step's batch are this process's."""
    each = batch // count()
    return slice(rank() * each, (rank() + 1) * each)


def turns(items: Sequence[T]) -> list[tuple[T, bool]]:
    """(item, whether it counts) for this process: as many for each, as sharded weights are gathered by all at once."""
    places = range(rank(), -(-len(items) // count()) * count(), count())
    return [(items[min(place, len(items) - 1)], place < len(items)) for place in places]


def spread(model: Transformer, parallel: str, compiled: bool) -> Callable[..., torch.Tensor]:
    """The function that trains `model`: itself, or a wrapper that brings the processes' gradients together.

    Only the body is compiled: the loss works off its chunks by itself, and evaluation has shapes of its own.
    """
    if count() > 1 and parallel == "fsdp":
        return shard(model, compiled)
    if compiled:
        model.compiled_body = torch.compile(model.hidden_NC)
    if count() == 1:
        return model
    return nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)


def shard(model: Transformer, compiled: bool) -> Transformer:
    """Divide in place: a block's weights are gathered when it computes, and freed after it."""
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method  # late: few runs need it

    for block in model.blocks:
        if compiled:
            block.compile()
        fully_shard(block)
    # Else evaluation would leave its weights gathered, and old.
    fully_shard(model, reshard_after_forward=True)
    for method in ("token_losses", "logits"):
        register_fsdp_forward_method(model, method)
    return model


def mean(value: float) -> float:
    """Over the processes."""
    return float(total(np.array(value))) / count() if count() > 1 else value


def any_of(flags: Sequence[bool]) -> list[bool]:
    """Each flag: whether it is set in some process. So all stop, or save, at the same step."""
    return list(total(np.array(flags, np.float64)) > 0) if count() > 1 else list(flags)


def total(values: np.ndarray) -> np.ndarray:
    """Sums over the processes, float64."""
    if count() == 1:
        return values
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    summed = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(summed)
    return summed.cpu().numpy()


def from_first(make: Callable[[], T]) -> T:
    """What the first process makes, in all of them; none goes on before."""
    if count() == 1:
        return make()
    made: list[Any] = [make() if first() else None]
    dist.broadcast_object_list(made)
    return made[0]


def whole(tree: Any) -> Any:
    """The same tree with every shard of a tensor replaced by all of it: for checkpoints and records."""
    if hasattr(tree, "full_tensor"):
        return tree.full_tensor()
    if isinstance(tree, dict):
        return {key: whole(value) for key, value in tree.items()}
    return tree


def is_divided(tensor: torch.Tensor) -> bool:
    return hasattr(tensor, "full_tensor")


def part_of(tensor: torch.Tensor, like: Any) -> torch.Tensor:
    """This process's shard of a whole tensor, divided as `like` is; the tensor itself where that is not divided."""
    if not is_divided(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    # Every process holds the whole tensor already: nothing is sent.
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
