"""A cell of the grid: one level, one seed, one setting of the knobs, and a ladder of sizes.

What a size's weights depend on is its *identity*: the tokens it reads, the order, the model, the
schedule. A finished run is recognised by it, so a longer ladder, another device or other tags do not
train a finished size again, and a changed knob never passes for the old run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from train import VERSION
from train.files import digest_of_json
from train.knobs import COOLDOWN, FORMER_NAMES, check_knobs, knob_names
from train.machine import PRECISIONS, choose_device, choose_precision
from train.objectives import LOSSES
from train.optimizer import OptimizerConfig, default_muon_interval
from train.packed import Packed
from train.processes import PARALLEL
from train.shape import BY_DEPTH, ModelConfig
from train.windows import ORDERS


@dataclass(frozen=True)
class Cell:
    """JSON-able. `sizes`, `context` and `batch` count tokens, tokens and windows."""

    packed: str
    sizes: list[int]
    level: str = ""
    holdouts: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    model: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    context: int = 256
    batch: int = BY_DEPTH  # default: by `default_batch`
    cooldown: float = COOLDOWN  # share of a run's steps that the rate decays
    epochs: float = 1.0  # passes over the data; other than 1 only for a ladder of one
    device: str = "auto"
    threads: int | None = 1  # of a CPU; 0 in a grid: by measurement, `train.placement`
    precision: str = "auto"  # by device, see `train.machine`
    compile: bool = False
    parallel: str = "ddp"  # with torchrun; "fsdp" divides the weights as well: `train.processes`
    loss: str = "next-word"  # what a step learns from: `train.objectives`
    ema: float = 0.0  # decay a step of a running average of the weights, scored beside them; 0: none
    order: str = "text"  # of the words it learns from; "shuffled" within each window and document
    tags: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.sizes or sorted(set(self.sizes)) != list(self.sizes):
            raise ValueError(f"sizes = {list(self.sizes)}: must be different token counts in ascending order")
        if self.batch == BY_DEPTH:
            batch = default_batch(self.model.get("depth", ModelConfig.depth), self.context)
            object.__setattr__(self, "batch", batch)
        for name in ("context", "batch"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)!r}: must be a whole number of at least 1")
        if not 0 < self.cooldown <= 1:
            raise ValueError(
                f"cooldown = {self.cooldown}: must be above 0 and at most 1 (a share of the steps)"
            )
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema = {self.ema}: must be at least 0 and below 1 (what is kept at a step)")
        if self.epochs <= 0 or (self.epochs != 1 and len(self.sizes) > 1):
            raise ValueError(
                f"epochs = {self.epochs} with {len(self.sizes)} sizes: repeat data with one size only"
            )
        for name, known in (("loss", LOSSES), ("order", ORDERS), ("parallel", PARALLEL)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} = {getattr(self, name)!r}: must be one of {', '.join(known)}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision = {self.precision!r}: must be one of {', '.join(PRECISIONS)}")
        precision = choose_precision(self.precision, choose_device(self.device))
        object.__setattr__(self, "precision", precision)
        OptimizerConfig.of(self.optimizer)

    @classmethod
    def of(cls, knobs: Mapping) -> Cell:
        check_knobs("", knobs, knob_names(cls))
        return cls(**knobs)

    def asdict(self) -> dict[str, Any]:
        return asdict(self)

    def model_config(self, packed: Packed) -> ModelConfig:
        masked = self.loss == "masked"  # one more word, which no text holds
        mask = {"mask": packed.vocabulary} if masked else {}
        words = packed.vocabulary + masked
        return ModelConfig.of(self.model, vocabulary=words, context=self.context, end=packed.end, **mask)

    @property
    def batch_tokens(self) -> int:
        return self.batch * self.context


def default_batch(depth: int, context: int) -> int:
    """Windows a step, in powers of four: 1,024 tokens up to depth 11, 4,096 up to 22, 16,384 up to 45.

    Small, since small corpora need steps: on books 2, 4 and 8 windows of 256 end at the same loss.
    """
    depth = depth if isinstance(depth, int) else ModelConfig.depth  # the model's own check names a wrong one
    tokens = 1024 * 4 ** round(max(0.0, math.log2(max(1, depth) / 8)))
    return max(1, tokens // context) if isinstance(context, int) and context > 0 else 1


@dataclass(frozen=True)
class Ladder:
    """The steps of a cell on its packed tokens: where branches leave the trunk, and where they end."""

    cell: Cell
    packed: Packed

    @cached_property
    def boundaries(self) -> list[int]:
        """Steps of one pass over each size: whole batches only, the rest of a size is left out."""
        return [self._steps(size) for size in self.cell.sizes]

    def _steps(self, size: int) -> int:
        # The last target of a window is one token further, hence the -1.
        available, batch_tokens = self.packed.meta["tokens"], self.cell.batch_tokens
        steps = min(size, available - 1) // batch_tokens
        where = f"size {size:,} of level {self.cell.level!r}"
        if size - available > max(batch_tokens, size // 50):
            raise ValueError(
                f"{where}: {self.packed.path} holds only {available:,} tokens; ask for a smaller size"
            )
        if steps < 1:
            raise ValueError(
                f"{where}: less than one batch of {batch_tokens:,} tokens; lower batch or context"
            )
        return steps

    def check(self) -> None:
        same = [a for a, b in zip(self.boundaries, self.boundaries[1:], strict=False) if a == b]
        if same:
            raise ValueError(
                f"sizes = {self.cell.sizes}: two of them are the same {same[0]} batches; drop one"
            )

    def steps(self, size: int) -> int:
        """Steps of the whole run of a size."""
        once = self.boundaries[self.cell.sizes.index(size)]
        return max(1, round(once * self.cell.epochs))

    def branch_start(self, size: int) -> int:
        """The step at which the rate begins to fall."""
        steps = self.steps(size)
        return steps - max(1, round(steps * self.cell.cooldown))

    def work_steps(self) -> int:
        """Steps to train for all sizes: the trunk once, every branch."""
        branches = sum(self.steps(size) - self.branch_start(size) for size in self.cell.sizes)
        return max(self.branch_start(size) for size in self.cell.sizes) + branches

    def identity(self, size: int | None = None) -> str:
        """Digest of everything the weights of this size depend on; of the trunk without a size."""
        cell = self.cell
        until = len(cell.sizes) if size is None else cell.sizes.index(size) + 1
        tokens = self.boundaries[until - 1] * cell.batch_tokens + 1
        model, optimizer = cell.model_config(self.packed), OptimizerConfig.of(cell.optimizer)
        return digest_of_json(
            {
                "version": VERSION,
                "tokens_sha256": self.packed.prefix_sha256(tokens),
                "boundaries": self.boundaries[:until],
                "model": _as_digested(asdict(model)),
                "optimizer": _as_digested(asdict(optimizer))
                | {
                    "rate": optimizer.peak_rate(model.width),
                    "table_rate": optimizer.peak_embedding_rate(model.width),
                    "betas": optimizer.betas(),
                    "turns": optimizer.muon_interval or default_muon_interval(model.width, cell.batch_tokens),
                },
                "run": [
                    cell.seed,
                    cell.context,
                    cell.batch,
                    cell.cooldown,
                    cell.epochs,
                    cell.precision,
                    cell.loss,
                    cell.order,
                ],
            }
            | ({"ema": cell.ema} if cell.ema else {})  # a checkpoint without one holds no average
        )


def _as_digested(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Under the names that identities were first made of, so that finished runs stay finished."""
    first_names = {new: old for old, new in FORMER_NAMES.items()}
    return {first_names.get(name, name): value for name, value in knobs.items()}
