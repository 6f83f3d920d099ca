"""The grid: all runs of a manifest. Any knob whose value is a list is an axis; seeds are paired.

Light to import: whoever only checks a grid loads neither torch nor the trainer.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.config import SEEDS, TABLES, ModelConfig, OptimizerConfig, RunConfig, default_batch, knobs
from train.knobs import Knob, check_names, former_names, path_to

# Knobs that say how to train, not what on: where one is an axis of a grid, levels are compared each at its best.
TUNED = ("epochs", "optimizer.learning_rate", "optimizer.weight_decay")
APART = "held apart"  # the holdout that chooses among them, of the level that a cell learns from
TRIES = 2  # a cell whose machine failed is tried once more; it continues from its checkpoint


def expand(grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every setting of the grid: the product of all axes and the seeds 0 .. seeds - 1.

    Raises ValueError naming the knob: `model.widht: did you mean width?`.
    """
    names = [table for table in TABLES if table]
    check_names("", grid, ("seeds", *names, *knobs("")))
    SEEDS.check("seeds", grid.get("seeds", 1))
    axes = {("", "seed"): list(range(grid.get("seeds", 1)))}
    for table in names:
        axes |= _axes(table, grid.get(table, {}))
    axes |= _axes("", {name: grid[name] for name in knobs("") if name in grid})
    settings = [_nested(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    for setting in settings:
        ModelConfig.of(setting.get("model", {}), vocabulary=257, end=256, context=setting.get("context", 256))
    return settings


def _axes(table: str, given: Any) -> dict[tuple[str, str], list]:
    """(table, knob) -> values, of every knob that it names."""
    known = knobs(table)
    if not isinstance(given, Mapping):
        raise ValueError(f"{table} = {given!r}: must be a table, such as {{ {next(iter(known))} = ... }}")
    check_names(table, given, known, former_names(TABLES[table]))
    return {(table, name): _values(path_to(table, name), value, known[name]) for name, value in given.items()}


def _values(path: str, value: Any, knob: Knob) -> list:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError(f"{path} = []: an axis needs at least one value")
    for single in values:
        if isinstance(single, dict | list):
            raise ValueError(
                f"{path} = {single!r}: must be a number, a word or true/false, or a list of them"
            )
        knob.check(path, single)
    if len({json.dumps(single, default=str) for single in values}) < len(values):
        raise ValueError(f"{path} = {values}: the axis names a value twice; drop one")
    return values


def _nested(pairs: Iterable[tuple[tuple[str, str], Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for (table, name), value in pairs:
        (tree.setdefault(table, {}) if table else tree)[name] = value
    return tree


def tunes(grid: Mapping[str, Any]) -> bool:
    """Whether an axis of the grid is to be tuned."""
    tables = {table: grid.get(table, {}) if table else grid for table in TABLES}
    axes = {path_to(table, name): value for table, given in tables.items() for name, value in given.items()}
    return any(isinstance(axes.get(knob), list) and len(axes[knob]) > 1 for knob in TUNED)


def ladders(sizes: list[int], setting: Mapping[str, Any]) -> list[list[int]]:
    """The sizes of each cell of a setting: all along one trunk, or each along its own where tokens are read several times.

    One trunk could pass all sizes several times, so that each ends with as many passes over its own tokens. Tried on
    100,000 tokens of four passes it loses 0.19 nats: what comes first is learned by heart before the rest is seen.
    """
    return [sizes] if setting.get("epochs", 1) == 1 else [[size] for size in sizes]


def with_decay(cell: dict[str, Any]) -> dict[str, Any]:
    """The cell with the weight decay that follows from its passes, which its key then holds; one pass needs none."""
    epochs, given = cell.get("epochs", 1), cell.get("optimizer", {})
    if epochs == 1:
        return cell
    decay = OptimizerConfig.of(given).decay(epochs, cell["sizes"][-1] / step_tokens(cell))
    return cell | {"optimizer": given | {"weight_decay": decay}}


def step_tokens(setting: Mapping[str, Any]) -> int:
    """Tokens of a step: a batch is as given, or follows from the depth."""
    context, depth = setting.get("context", RunConfig.context), setting.get("model", {}).get("depth")
    return context * setting.get("batch", default_batch(depth, context))


def wrong_batch(sizes: Sequence[int], setting: Mapping[str, Any]) -> str:
    """Why these sizes, ascending, cannot be trained with the setting's batch; empty where they can."""
    batch = step_tokens(setting)
    steps = [size // batch for size in sizes]
    if steps and not steps[0]:
        return f"a batch of {batch:,} tokens is larger than the smallest size, {sizes[0]:,}; lower batch or context"
    same = len(set(steps)) < len(steps)
    return f"two sizes are as many batches of {batch:,} tokens; drop one" if same else ""


def work_tokens(sizes: list[int], setting: Mapping[str, Any]) -> float:
    """Tokens that the cells of a setting train: each trunk to where its last branch leaves it, and every branch."""
    cooldown, epochs = setting.get("cooldown", RunConfig.cooldown), setting.get("epochs", 1)
    passed = [[size * epochs for size in ladder] for ladder in ladders(sizes, setting)]
    return sum(max(some) * (1 - cooldown) + sum(some) * cooldown for some in passed)


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
        return Outcome(directory, None, str(error))
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        return Outcome(directory, None, what, retry=True)
    except Exception as error:  # whatever else ended the cell, the grid goes on and names it
        return Outcome(directory, None, f"{type(error).__name__}: {error}", retry=True)
