"""Train one cell: a trunk at constant rate, and a branch with falling rate for every size.

The corpus of a smaller size is the beginning of the larger one. So one trunk walks through the data, and
for each size a branch leaves it at (1 - cooldown) of the size's steps and ends at the size with rate 0:
each branch is exactly the run of that size trained alone, at a part of the price.

    directory/SIZE/run.json            the record, written last: a run without it does not exist
    directory/SIZE/model.safetensors   weights; average.safetensors their running average, where `ema` asks for one
    directory/SIZE/metrics.jsonl       training loss, rate and gradient norm along the way
    directory/SIZE/holdout-NAME.npy    nats of each holdout document, float64; right-NAME.npy of each question, where there
                                       is a choice
    directory/trunk.state, branch.state   checkpoints, gone once all sizes are done; a trunk that cells share stays
    directory/progress.json            tokens done and to do
    directory/failed.json              why the last attempt ended, if it did
    directory/cell.lock                held by the process that trains

    python -m train.run CELL.json [DIRECTORY]        torchrun --nproc-per-node 8 -m train.run CELL.json
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from train import stop
from train.cell import Cell, Ladder, read_cell
from train.context import context_use
from train.evaluate import Scores, by_group, check_holdout, evaluate
from train.files import (
    alone,
    file_digest,
    seal_folder,
    write_array,
    write_json,
    write_record,
    write_whole,
)
from train.machine import choose_device, peak_memory_bytes, prepare_process, product_library
from train.parallel import processes
from train.records import CELL_LOCK, RECORD, finished_run
from train.tokens.bpe import load_tokenizer
from train.tokens.packed import Packed
from train.tokens.windows import Switched, Windows, word_beginnings
from train.trainer import Diverged, Trainer, load_checkpoint, save_checkpoint

CHECKPOINT_SECONDS = 30.0
PROGRESS_SECONDS = 1.0
CURVE_POINTS = 500  # lines of metrics.jsonl for the largest size, at most twice as many

Progress = Callable[[int, int], object]  # (tokens done, tokens to do in all)


def train_cell(cell: Cell | dict, directory: str | Path, progress: Progress | None = None) -> dict[str, Any]:
    """Train what is not finished yet; returns {size: run.json of the size}."""
    cell = cell if isinstance(cell, Cell) else Cell.of(cell)
    prepare_process(cell.threads)
    processes.join(processes.own_device(choose_device(cell.device)))
    processes.check(cell.batch, cell.loss)
    with _alone(
        Path(directory) / CELL_LOCK, "this cell"
    ):  # two grids may share one: who comes second finds it trained
        return _CellRun(cell, Path(directory), progress).run()


@contextmanager
def _alone(lock: Path, what: str) -> Iterator[None]:
    """While no other process trains this; of those that train it together the first holds the lock. Raises Stopped."""
    with alone(lock, stop.asked) if processes.first() else nullcontext(True) as held:
        if not held:
            raise stop.Stopped(f"stopped while another process trained {what}")
        yield


class _CellRun:
    def __init__(self, cell: Cell, directory: Path, progress: Progress | None) -> None:
        self.cell, self.directory = cell, directory
        self.ladder = Ladder(cell, Packed.open(cell.packed))
        self.ladder.check()
        self.holdouts = {name: Packed.open(path) for name, path in cell.holdouts.items()}
        self._check_holdouts()
        self.progress, self.total = progress, self.ladder.work_steps() * cell.batch_tokens
        self.saved, self.reported = time.monotonic(), -PROGRESS_SECONDS

    def _check_holdouts(self) -> None:
        ours = self.ladder.packed
        for name, holdout in self.holdouts.items():
            check_holdout(holdout)
            same = holdout.vocabulary == ours.vocabulary and holdout.end == ours.end
            if not same or holdout.meta["tokenizer_sha256"] != ours.meta["tokenizer_sha256"]:
                raise ValueError(
                    f"holdout {name!r}: {holdout.path} was encoded with another tokenizer than {ours.path}; "
                    f"encode both with one"
                )

    def run(self) -> dict[str, Any]:
        runs = {size: self._finished(size) for size in self.cell.sizes}
        if all(runs.values()):
            return {str(size): run for size, run in runs.items()}
        self._forget("failed.json")
        trainer = self._trainer([size for size, run in runs.items() if not run])
        for size in self.cell.sizes:
            if not runs[size]:
                runs[size] = self._size(trainer, size)
        self._forget("trunk.state", "branch.state")
        self._report(self.total)
        return {str(size): run for size, run in runs.items()}

    @property
    def trunk_path(self) -> Path:
        return Path(self.cell.trunk or self.directory) / "trunk.state"

    def _forget(self, *names: str) -> None:
        if processes.first():
            for name in names:
                (self.directory / name).unlink(missing_ok=True)

    def _finished(self, size: int) -> dict[str, Any] | None:
        """The record of a finished size; one that was trained otherwise is an error, never overwritten."""
        path = self.directory / str(size)
        run = processes.from_first(lambda: finished_run(path))
        if run is None:
            return None
        if run["identity"] != self.ladder.identity(size) or run["holdouts"] != self._holdout_digests():
            raise ValueError(
                f"{path}: a run with other data, holdouts or knobs; take another directory or delete it"
            )
        return run

    def _holdout_digests(self) -> dict[str, str]:
        return {name: holdout.meta["sha256"]["tokens.bin"] for name, holdout in self.holdouts.items()}

    def _trainer(self, pending: list[int]) -> Trainer:
        """At the last checkpoint of the trunk that is of use for the pending sizes."""
        cell, ladder = self.cell, self.ladder
        begins = None
        if cell.order == "shuffled":
            if not ladder.packed.tokenizer_path:
                raise ValueError(f"{ladder.packed.path}: no tokenizer tells which tokens begin a word")
            begins = word_beginnings(load_tokenizer(ladder.packed.tokenizer_path))
        windows: Windows | Switched
        windows = trunk = self._windows(ladder.packed, ladder.boundaries, begins)
        if ladder.cooldown_packed:
            after = self._windows(ladder.cooldown_packed, [ladder.cooldown_steps()], begins)
            windows = Switched(trunk, after, ladder.branch_start(cell.sizes[-1]))
        record_every = max(1, ladder.steps(cell.sizes[-1]) // CURVE_POINTS)
        trainer = Trainer(cell, cell.model_config(ladder.packed), windows, record_every)
        state = load_checkpoint(self.trunk_path, ladder.identity())
        if state:
            fresh = trainer.state()
            trainer.load(state)
            if trainer.step > ladder.branch_start(pending[0]):
                trainer.load(fresh)
        return trainer

    def _windows(self, packed: Packed, boundaries: list[int], begins: np.ndarray | None) -> Windows:
        cell = self.cell
        return Windows(packed.tokens, cell.context, cell.batch, boundaries, cell.seed, begins, packed.end)

    def _size(self, trainer: Trainer, size: int) -> dict[str, Any]:
        """Walk the trunk to where this size leaves it, train the branch, put the trunk back."""
        branch_path, identity = self.directory / "branch.state", self.ladder.identity(size)
        trunk = self._trunk(trainer, self.ladder.branch_start(size), f"the trunk to {size}")
        branch = load_checkpoint(branch_path, identity)
        if branch:
            trainer.load(branch)
        self._walk(trainer, self.ladder.steps(size), branch_path, identity, f"size {size}", size)
        run = self._write_run(trainer, size)
        self._forget(branch_path.name)
        trainer.load(trunk)
        return run

    def _trunk(self, trainer: Trainer, start: int, what: str) -> bytes:
        """The state at the end of the trunk, walked to or, where cells share it, loaded."""
        path, identity, shared = self.trunk_path, self.ladder.identity(), bool(self.cell.trunk)
        with _alone(path.with_suffix(".lock"), "the trunk of this cell") if shared else nullcontext():
            if shared and (state := processes.from_first(lambda: load_checkpoint(path, identity))):
                trainer.load(state)
                if trainer.step == start:
                    return state
            self._walk(trainer, start, path, identity, what)
            return self._save(trainer, path, identity)

    def _save(self, trainer: Trainer, path: Path, identity: str) -> bytes:
        state = trainer.state()
        if processes.first():
            save_checkpoint(path, identity, state)
        self.saved = time.monotonic()
        return state

    def _walk(
        self,
        trainer: Trainer,
        until: int,
        checkpoint: Path,
        identity: str,
        what: str,
        size: int | None = None,
    ) -> None:
        """Steps up to `until`, with a checkpoint now and then; those of a branch where its size is given."""
        branch = (None, None) if size is None else (self.ladder.branch_start(size), until)
        while trainer.step < until:
            try:
                trainer.train_step(*branch)
            except Diverged as error:
                if processes.first():
                    write_record(self.directory / "failed.json", _failure(error, what))
                raise
            due = time.monotonic() - self.saved > CHECKPOINT_SECONDS
            stopping, due = processes.any_of([stop.asked(), due])
            if stopping or due:
                self._save(trainer, checkpoint, identity)
            self._report(self._steps_done(trainer.step, size) * self.cell.batch_tokens, trainer)
            if stopping:
                raise stop.Stopped(f"{what}, step {trainer.step}: stopped; it continues from here")

    def _report(self, done: int, trainer: Trainer | None = None) -> None:
        """Tokens done, for whoever watches: a hook in this process, a small file for others; always the last time."""
        if self.progress:
            self.progress(done, self.total)
        last = trainer is None
        if processes.first() and (last or time.monotonic() - self.reported >= PROGRESS_SECONDS):
            facts: dict[str, Any] = {"tokens_done": done, "tokens_total": self.total}
            if trainer:
                flops = trainer.model.flops_per_token()
                facts |= {"step": trainer.step, "loss": trainer.smoothed, "flops_per_token": flops}
            write_json(self.directory / "progress.json", facts, durable=False)
            self.reported = time.monotonic()

    def _steps_done(self, step: int, size: int | None) -> int:
        """Steps of trunk and branches behind us when at `step` of the trunk, or of the branch of a size."""
        ladder = self.ladder
        trunk = step if size is None else ladder.branch_start(size)
        done = [s for s in self.cell.sizes if ladder.branch_start(s) < trunk or (size and s < size)]
        return step + sum(ladder.steps(s) - ladder.branch_start(s) for s in done)

    def _write_run(self, trainer: Trainer, size: int) -> dict[str, Any]:
        scores = self._scores(trainer)
        run, weights = self._record(trainer, size, scores), {"model": trainer.weights()}
        if self.cell.ema:
            with trainer.averaged():
                of_average, weights["average"] = self._scores(trainer), _copied(trainer.weights())
            run["losses_of_average"] = {name: result.summary() for name, result in of_average.items()}
        return processes.from_first(lambda: self._write_files(trainer, run, weights, scores))

    def _scores(self, trainer: Trainer) -> dict[str, Scores]:
        return {
            name: evaluate(trainer.model, holdout, self.cell.precision)
            for name, holdout in self.holdouts.items()
        }

    def _write_files(
        self, trainer: Trainer, run: dict, weights: dict, scores: dict[str, Scores]
    ) -> dict[str, Any]:
        """All files of a run, the record last."""
        folder, tokenizer = self.directory / str(run["size"]), self.ladder.packed.tokenizer_path
        arrays = {f"holdout-{name}.npy": result.nats for name, result in scores.items()}
        arrays |= {f"right-{name}.npy": x.right for name, x in scores.items() if x.right is not None}
        for name, array in arrays.items():
            write_array(folder / name, array)
        for name, tensors in weights.items():
            _write_bytes(folder / f"{name}.safetensors", safetensors.torch.save(_copied(tensors)))
        lines = "".join(json.dumps(point) + "\n" for point in trainer.curve)
        _write_bytes(folder / "metrics.jsonl", lines.encode())
        if tokenizer:
            _write_bytes(folder / "tokenizer.json", tokenizer.read_bytes())
        run["sha256"] = {
            f"{name}.safetensors": file_digest(folder / f"{name}.safetensors") for name in weights
        }
        files = [*arrays, *run["sha256"], "metrics.jsonl", *(["tokenizer.json"] if tokenizer else [])]
        return seal_folder(folder / RECORD, run, files)

    def _record(self, trainer: Trainer, size: int, scores: dict[str, Scores]) -> dict[str, Any]:
        cell, ladder, model = self.cell, self.ladder, trainer.model
        tokens = ladder.steps(size) * cell.batch_tokens
        return {
            "identity": ladder.identity(size),
            "cell": cell.asdict(),
            "level": cell.level,
            "size": size,
            "seed": cell.seed,
            "tags": cell.tags,
            "tokens_trained": tokens,
            "tokens_unique": ladder.boundaries[cell.sizes.index(size)] * cell.batch_tokens,
            "steps": ladder.steps(size),
            "model": vars(model.config),
            "end": ladder.packed.end,
            "parameters": model.parameters_total(),
            "parameters_without_embeddings": model.parameters_without_embeddings(),
            "flops_per_token": model.flops_per_token(),
            "flops": model.flops_per_token() * tokens,
            "losses": {name: result.summary() for name, result in scores.items()},
            "losses_by": {
                name: by_group(scores[name].nats, holdout) for name, holdout in self.holdouts.items()
            },
            "context_use": {
                name: context_use(model, holdout)
                for name, holdout in self.holdouts.items()
                if holdout.scored is None
            },
            "train_loss": curve_summary(trainer.curve),
            # As if this size had been trained alone: the trunk up to the branch, and the branch.
            "seconds": trainer.seconds,
            "tokens_per_second": tokens / trainer.seconds,
            "peak_memory_bytes": peak_memory_bytes(trainer.device),
            "device": str(trainer.device),
            "threads": torch.get_num_threads(),
            "processes": processes.count(),
            "products": product_library(trainer.device.type, cell.precision),
            "versions": {"torch": torch.__version__, "python": platform.python_version()},
            "packed_sha256": ladder.packed.meta["sha256"],
            "tokenizer_sha256": ladder.packed.meta["tokenizer_sha256"],
            "holdouts": self._holdout_digests(),
        }


def _write_bytes(path: Path, content: bytes) -> None:
    write_whole(path, lambda file: file.write(content))


def _copied(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in weights.items()}


def curve_summary(curve: list[dict[str, float]]) -> dict[str, float]:
    """First, last and lowest recorded training loss; `tail` is the mean over the last tenth of the run."""
    losses = [point["loss"] for point in curve]
    if not losses:
        return {}
    tail = losses[-max(1, len(losses) // 10) :]
    return {"first": losses[0], "last": losses[-1], "lowest": min(losses), "tail": sum(tail) / len(tail)}


def _failure(error: Diverged, what: str) -> dict[str, Any]:
    """JSON has no NaN, so the figures are strings."""
    figures = {name: str(getattr(error, name)) for name in ("rate", "gradient_norm", "loss")}
    return {"reason": str(error), "while": what, "step": error.step, **figures}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train.run", description="Train one cell.")
    parser.add_argument("cell", help="JSON file of a cell")
    parser.add_argument("directory", nargs="?", help="where its runs go; default: beside the cell")
    options = parser.parse_args(arguments)
    try:
        runs = train_cell(read_cell(Path(options.cell)), options.directory or Path(options.cell).parent)
    except (ValueError, OSError, Diverged, stop.Stopped) as error:
        print(f"{error}" if isinstance(error, stop.Stopped) else f"error: {error}", file=sys.stderr)
        return 1
    if not processes.first():
        return 0
    for size, run in runs.items():
        losses = ", ".join(f"{name} {loss['nats_per_token']:.4f}" for name, loss in run["losses"].items())
        print(f"{size} tokens: {losses or 'no holdout'} nats per token")
    return 0


if __name__ == "__main__":
    for sent in (signal.SIGINT, signal.SIGTERM):  # torchrun hands both on
        signal.signal(sent, stop.ask)
    code = main()
    processes.leave()
    sys.exit(code)
