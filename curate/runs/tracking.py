"""Metrics of a running grid for TensorBoard, trackio or Weights & Biases: `--track NAME`, if it is installed.

The horizontal axis is tokens trained, trunk and branches of a ladder one after the other. Beside the training loss
each finished size leaves its losses on every holdout.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curate.errors import CurateError, ManifestError, did_you_mean
from train.records import finished_run

MODULES = {"tensorboard": "torch.utils.tensorboard", "trackio": "trackio", "wandb": "wandb"}

# (name of a run, its cell) -> what has `log(values, step)` and `finish()`, as trackio's and wandb's runs do
OpenRun = Callable[[str, dict[str, Any]], Any]


def open_tracker(name: str | None, project: str, folder: Path) -> Tracker:
    """The tracker of this name; raises an error that says what to install. `folder`: where TensorBoard's files go."""
    if name is None:
        return Tracker()
    if name not in MODULES:
        raise ManifestError(f"--track {name}: no such tracker{did_you_mean(name, MODULES)}")
    try:
        module = importlib.import_module(MODULES[name])
    except ImportError:
        raise CurateError(f"--track {name}: not installed; pip install {name}") from None
    if name == "tensorboard":
        return Tracker(lambda run, _: _Board(module, folder / project / run.replace("/", "_")))
    # Several runs at once in one process: trackio's `init` gives one each, wandb must be told.
    several: dict[str, Any] = {"reinit": "create_new"} if name == "wandb" else {}
    return Tracker(lambda run, cell: module.init(project=project, name=run, config=cell, **several))


class Tracker:
    """A run of the service for every cell, opened when the cell first tells something; none without a service."""

    def __init__(self, open_run: OpenRun | None = None) -> None:
        self.open_run = open_run
        self.runs: dict[str, Any] = {}
        self.tokens: dict[str, int] = {}

    def log(self, name: str, cell: dict[str, Any], tokens: int, values: dict[str, float]) -> None:
        if self.open_run is None:
            return
        if name not in self.runs:
            self.runs[name] = self.open_run(name, cell)
        self.tokens[name] = tokens
        self.runs[name].log(values, step=tokens)

    def end(self, name: str, directory: Path, sizes: list[int]) -> None:
        run = self.runs.pop(name, None)
        if run is None:
            return
        for size in sizes:
            record = finished_run(directory / str(size))
            if record is not None:
                run.log(_held_out(record, size), step=self.tokens[name])
        run.finish()

    def close(self) -> None:
        for run in self.runs.values():
            run.finish()
        self.runs = {}


def _held_out(record: dict[str, Any], size: int) -> dict[str, float]:
    return {
        f"{kind}/{name}/{size}": loss[kind]
        for name, loss in record["losses"].items()
        for kind in ("nats_per_token", "bits_per_byte")
    }


class _Board:
    """TensorBoard's writer with the interface of the others."""

    def __init__(self, module: Any, folder: Path) -> None:
        self.writer = module.SummaryWriter(str(folder))

    def log(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def finish(self) -> None:
        self.writer.close()
