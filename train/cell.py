"""A cell of the grid: one level, one seed, one setting of the knobs, and a ladder of sizes.

What a size's weights depend on is its *identity*: the tokens it reads, the order, the model, the
schedule. A finished run is recognised by it, so a longer ladder, another device or other tags do not
train a finished size again, and a changed knob never passes for the old run.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from train import VERSION
from train.config import (
    BY_DEPTH,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    default_batch,
    digested,
    knobs,
)
from train.files import digest_of, read_json
from train.machine import choose_device, choose_precision
from train.tokens.packed import Packed

# Run knobs that every identity holds; a later one counts only where it is not at its default.
ALWAYS_IN_IDENTITY = ("context", "batch", "cooldown", "epochs", "precision", "loss", "order")


@dataclass(frozen=True, kw_only=True)
class Cell(RunConfig):
    """JSON-able: what is trained on, and the knobs. `sizes` count tokens.

    `cooldown_packed`: what is read in place of `packed` while the rate falls. `trunk`: a folder where cells that differ in
    that alone share the steps before it.
    """

    packed: str
    sizes: list[int]
    level: str = ""
    holdouts: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    model: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, Any] = field(default_factory=dict)
    cooldown_packed: str = ""
    trunk: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sizes or sorted(set(self.sizes)) != list(self.sizes):
            raise ValueError(f"sizes = {list(self.sizes)}: must be different token counts in ascending order")
        if self.epochs != 1 and len(self.sizes) > 1:
            raise ValueError(
                f"epochs = {self.epochs} with {len(self.sizes)} sizes: repeat data with one size only"
            )
        if self.cooldown_packed and len(self.sizes) > 1:
            raise ValueError("cooldown_packed: a cool-down on other text has one size only")
        if self.batch == BY_DEPTH:
            batch = default_batch(self.model.get("depth", ModelConfig.depth), self.context)
            object.__setattr__(self, "batch", batch)
        precision = choose_precision(self.precision, choose_device(self.device))
        object.__setattr__(self, "precision", precision)
        decay = OptimizerConfig.of(self.optimizer).decay(self.epochs, self.sizes[-1] / self.batch_tokens)
        object.__setattr__(self, "optimizer", {**self.optimizer, "weight_decay": decay})

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


def read_cell(path: Path) -> Cell:
    """A cell from a file of its own. Raises ValueError that names the file where it holds none."""
    given = read_json(path)
    wrong = "no table" if not isinstance(given, dict) else ""
    kinds = {name: kind for name, kind in get_type_hints(Cell).items() if name in Cell.__annotations__}
    for name, kind in kinds.items() if not wrong else ():
        if name in ("packed", "sizes") and name not in given:
            wrong = wrong or f"it has no {name}"
        elif name in given and not isinstance(given[name], get_origin(kind) or kind):
            wrong = wrong or f"{name} = {given[name]!r}"
    if not wrong and not all(type(size) is int for size in given["sizes"]):
        wrong = f"sizes = {given['sizes']!r}"
    if wrong:
        raise ValueError(f"{path}: not a cell: {wrong}; `curate train MANIFEST --cells` writes cells")
    return Cell.of(given)


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
        cooldown, needed = self.cooldown_packed, self.cooldown_steps() * self.cell.batch_tokens + 1
        if cooldown and cooldown.meta["tokens"] < needed:
            raise ValueError(
                f"{cooldown.path} holds {cooldown.meta['tokens']:,} tokens; the cool-down reads {needed:,}"
            )
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

    @cached_property
    def cooldown_packed(self) -> Packed | None:
        """What the rate falls on, where that is other text."""
        return Packed.open(self.cell.cooldown_packed) if self.cell.cooldown_packed else None

    def cooldown_steps(self) -> int:
        """Of the largest size."""
        return self.steps(self.cell.sizes[-1]) - self.branch_start(self.cell.sizes[-1])

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
        return digest_of(
            {
                "version": VERSION,
                "tokens_sha256": self.packed.prefix_sha256(tokens),
                "boundaries": self.boundaries[:until],
                "model": digested(model),
                "optimizer": digested(optimizer)
                | {
                    "rate": optimizer.peak_rate(model.width),
                    "table_rate": optimizer.peak_embedding_rate(model.width),
                    "betas": optimizer.betas(),
                    "turns": optimizer.interval(model.width, cell.batch_tokens),
                },
                "run": [cell.seed, *(getattr(cell, name) for name in ALWAYS_IN_IDENTITY)],
            }
            | self._later_knobs()
            | (self._cooldown_digest() if size is not None else {})
        )

    def _cooldown_digest(self) -> dict[str, str]:
        if self.cooldown_packed is None:
            return {}
        tokens = self.cooldown_steps() * self.cell.batch_tokens + 1
        return {"cooldown_sha256": self.cooldown_packed.prefix_sha256(tokens)}

    def _later_knobs(self) -> dict[str, Any]:
        later = {name: one for name, one in knobs("").items() if name not in ALWAYS_IN_IDENTITY}
        values = {name: getattr(self.cell, name) for name, one in later.items() if one.in_identity}
        return {name: value for name, value in values.items() if value != later[name].default}
