"""The grid: all runs of a manifest. Any knob whose value is a list is an axis; seeds are paired.

Light to import: whoever only checks a grid loads neither torch nor the trainer.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.knobs import COOLDOWN, check_knobs, check_value, knob_names
from train.shape import DATA, ModelConfig

TRIES = 2  # a cell whose machine failed is tried once more; it continues from its checkpoint

# The knobs of a manifest's grid, and what each is called in a cell. A test holds them to its dataclasses.
RUN_KNOBS = (
    "context",
    "batch",
    "cooldown",
    "epochs",
    "device",
    "threads",
    "precision",
    "compile",
    "parallel",
    "ema",
    "loss",
    "order",
)
MODEL_KNOBS = tuple(name for name in knob_names(ModelConfig) if name not in DATA)
OPTIMIZER_KNOBS = (
    "name",
    "learning_rate",
    "embedding_learning_rate",
    "beta1",
    "beta2",
    "momentum",
    "muon_interval",
    "weight_decay",
    "warmup_steps",
    "stable_steps",
    "grad_clip",
)

MOST_SEEDS = 1000
# What a knob's value may be: (kind, least, most), both included, or the words to choose from. What else holds of a
# model is checked by ModelConfig.
VALUES: dict[str, tuple] = {
    "context": (int, 1, 2**20), "batch": (int, 1, 2**20), "cooldown": (float, 1e-9, 1), "epochs": (float, 1e-9, 1e6),
    "device": ("auto", "cpu", "mps", "cuda", *(f"cuda:{i}" for i in range(16))),
    "threads": (int, 0, 4096), "precision": ("auto", "float32", "bfloat16"), "compile": (bool,),
    "parallel": ("ddp", "fsdp"), "ema": (float, 0, 1 - 1e-9),
    "model.depth": (int, 1, 1000), "model.width": (int, 2, 2**17), "model.heads": (int, 1, 2**12),
    "model.kv_heads": (int, 1, 2**12), "model.hidden": (int, 1, 2**19), "model.tied": (bool,),
    "model.rotary_base": (float, 1, 1e9), "model.cross_documents": (bool,), "model.window": (int, 0, 2**20),
    "model.init_scale": (float, 1e-6, 1e6),
    "loss": ("next-word", "masked", "reinforce"), "order": ("text", "shuffled"),
    "optimizer.name": ("adamw", "muon"), "optimizer.learning_rate": (float, 1e-12, 10),
    "optimizer.embedding_learning_rate": (float, 1e-12, 10), "optimizer.beta1": (float, 0, 1 - 1e-9),
    "optimizer.beta2": (float, 0, 1 - 1e-9), "optimizer.momentum": (float, 0, 1 - 1e-9),
    "optimizer.muon_interval": (int, 1, 1000),
    "optimizer.weight_decay": (float, 0, 100), "optimizer.warmup_steps": (int, 0, 2**40),
    "optimizer.stable_steps": (int, 0, 2**40), "optimizer.grad_clip": (float, 1e-9, 1e9),
}  # fmt: skip


def expand(grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every setting of the grid: the product of all axes and the seeds 0 .. seeds - 1.

    Raises ValueError naming the knob: `model.widht: did you mean width?`.
    """
    check_knobs("", grid, ("seeds", "model", "optimizer", *RUN_KNOBS))
    seeds = grid.get("seeds", 1)
    if not isinstance(seeds, int) or isinstance(seeds, bool) or not 1 <= seeds <= MOST_SEEDS:
        raise ValueError(f"seeds = {seeds!r}: must be a whole number of at least 1, at most {MOST_SEEDS}")
    axes: list[tuple[tuple[str, ...], list]] = [(("seed",), list(range(seeds)))]
    for name, known in (("model", MODEL_KNOBS), ("optimizer", OPTIMIZER_KNOBS)):
        table = grid.get(name, {})
        if not isinstance(table, Mapping):
            raise ValueError(f"{name} = {table!r}: must be a table, such as {{ {known[0]} = ... }}")
        check_knobs(name, table, known)
        axes += [((name, knob), _values(f"{name}.{knob}", value)) for knob, value in table.items()]
    axes += [((knob,), _values(knob, grid[knob])) for knob in RUN_KNOBS if knob in grid]
    settings = [_nested(zip((path for path, _ in axes), values, strict=True))
                for values in itertools.product(*(values for _, values in axes))]  # fmt: skip
    for setting in settings:
        ModelConfig.of(setting.get("model", {}), vocabulary=257, end=256, context=setting.get("context", 256))
    return settings


def _values(name: str, value: Any) -> list:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError(f"{name} = []: an axis needs at least one value")
    for one in values:
        if isinstance(one, dict | list):
            raise ValueError(f"{name} = {one!r}: must be a number, a word or true/false, or a list of them")
        if name in VALUES:
            check_value(name, one, VALUES[name])
    if len({json.dumps(one, default=str) for one in values}) < len(values):
        raise ValueError(f"{name} = {values}: the axis names a value twice; drop one")
    return values


def _nested(pairs: Iterable[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in pairs:
        table = tree
        for name in path[:-1]:
            table = table.setdefault(name, {})
        table[path[-1]] = value
    return tree


def work_tokens(sizes: list[int], setting: Mapping[str, Any]) -> float:
    """Tokens that a cell trains: the trunk to where its last branch leaves it, and every branch."""
    cooldown, epochs = setting.get("cooldown", COOLDOWN), setting.get("epochs", 1)
    passed = [size * epochs for size in sizes]
    return max(passed) * (1 - cooldown) + sum(passed) * cooldown


@dataclass(frozen=True)
class Outcome:
    """A cell that has ended: its runs by size, or why it has none. `retry`: the machine failed, not the cell."""

    directory: str
    runs: dict[str, Any] | None
    reason: str | None = None
    retry: bool = False


Item = tuple[dict[str, Any], str]  # a cell and its directory


def run_grid(cells: list[tuple[dict, Path]], map: Callable[..., Iterator[Outcome]]) -> Iterator[Outcome]:
    """Train (cell, directory) pairs through `map(function, items)`, which yields results as cells end.

    A cell whose process or machine fails is tried once more, then reported by name and reason; the others go on.
    """
    waiting = {str(directory): (cell, str(directory)) for cell, directory in cells}
    reasons = dict.fromkeys(waiting, "its worker ended without an answer")
    for last in range(1 - TRIES, 1):
        if not waiting:
            return
        try:
            for outcome in map(train_or_tell, list(waiting.values())):
                if outcome.retry and last:
                    reasons[outcome.directory] = outcome.reason or ""
                    continue
                waiting.pop(outcome.directory, None)
                yield outcome
        except Exception as error:  # a worker was killed, and took the pool along: finished cells are safe
            reasons |= dict.fromkeys(waiting, f"{type(error).__name__}: {error}")
    for directory in waiting:
        yield Outcome(directory, None, reasons[directory])


def train_or_tell(item: Item) -> Outcome:
    """Train one cell; a failure is an outcome, not an exception that would end the others."""
    from train.run import train_cell
    from train.stop import Stopped
    from train.trainer import Diverged

    cell, directory = item
    try:
        return Outcome(directory, train_cell(cell, directory))
    except Stopped:
        raise
    except (Diverged, ValueError) as error:  # the same steps on the same tokens fail again in the same way
        return Outcome(directory, None, f"{type(error).__name__}: {error}")
    except Exception as error:  # whatever else ended the cell, the grid goes on and names it
        return Outcome(directory, None, f"{type(error).__name__}: {error}", retry=True)
