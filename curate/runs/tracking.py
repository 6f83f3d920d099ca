"""Metrics of a running grid for TensorBoard, trackio or Weights & Biases: `--track NAME`, if it is installed.

The horizontal axis is tokens trained, trunk and branches of a ladder one after the other. Beside the training loss
each finished size leaves its losses on every holdout.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol

from curate.errors import CurateError, ManifestError, did_you_mean
from train.records import finished_run

TRACKERS = {"tensorboard": "tensorboard", "trackio": "trackio", "wandb": "wandb"}  # name -> what to install


class Tracker(Protocol):
    def log(self, name: str, cell: dict[str, Any], tokens: int, values: dict[str, float]) -> None: ...
    def end(self, name: str, directory: Path, sizes: list[int], reason: str | None) -> None: ...
    def close(self) -> None: ...


class NoTracker:
    def log(self, name: str, cell: dict[str, Any], tokens: int, values: dict[str, float]) -> None:
        pass

    def end(self, name: str, directory: Path, sizes: list[int], reason: str | None) -> None:
        pass

    def close(self) -> None:
        pass


def open_tracker(name: str | None, project: str, folder: Path) -> Tracker:
    """The tracker of this name; raises an error that says what to install. `folder`: where TensorBoard's files go."""
    if name is None:
        return NoTracker()
    if name not in TRACKERS:
        raise ManifestError(f"--track {name}: no such tracker{did_you_mean(name, TRACKERS)}")
    try:
        if name == "tensorboard":
            return OneRunACell(_TensorBoard(folder / project))
        return OneRunACell(_Service(importlib.import_module(name), project))
    except ImportError:
        raise CurateError(f"--track {name}: not installed; pip install {TRACKERS[name]}") from None


class Run(Protocol):
    def log(self, values: dict[str, float], step: int) -> object: ...
    def finish(self) -> object: ...


class Opener(Protocol):
    def open(self, name: str, cell: dict[str, Any]) -> Run: ...


class OneRunACell:
    """A run of the tracker for every cell, opened when the cell first tells something."""

    def __init__(self, opener: Opener) -> None:
        self.opener = opener
        self.runs: dict[str, Run] = {}
        self.tokens: dict[str, int] = {}

    def log(self, name: str, cell: dict[str, Any], tokens: int, values: dict[str, float]) -> None:
        if name not in self.runs:
            self.runs[name] = self.opener.open(name, cell)
        self.tokens[name] = tokens
        self.runs[name].log(values, step=tokens)

    def end(self, name: str, directory: Path, sizes: list[int], reason: str | None) -> None:
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


class _Service:
    """trackio, and wandb whose interface it takes over."""

    def __init__(self, module: Any, project: str) -> None:
        self.module, self.project = module, project

    def open(self, name: str, cell: dict[str, Any]) -> Run:
        # Several runs at once in one process: trackio's `init` gives one each, wandb must be told.
        several: dict[str, Any] = {"reinit": "create_new"} if self.module.__name__ == "wandb" else {}
        return self.module.init(project=self.project, name=name, config=cell, **several)


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer, self.folder = SummaryWriter, folder

    def open(self, name: str, cell: dict[str, Any]) -> Run:
        return _Board(self.writer(str(self.folder / name.replace("/", "_"))))


class _Board:
    def __init__(self, writer: Any) -> None:
        self.writer = writer

    def log(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def finish(self) -> None:
        self.writer.close()
