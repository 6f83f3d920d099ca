"""Weights, optimizer and the step: what a trunk or a branch is while it trains, and its checkpoints.

A checkpoint holds everything the next step depends on, so that a killed run continues bit for bit: the
order of the data is a pure function of the step, and the model draws no random numbers after its start.
"""

from __future__ import annotations

import contextlib
import io
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from xxhash import xxh3_64

from train.cell import Cell
from train.config import ModelConfig, OptimizerConfig
from train.files import Damaged, contents, set_aside, write_whole
from train.machine import autocast, choose_device, make_deterministic
from train.model.layers import Dropout
from train.model.objectives import objective
from train.model.transformer import Transformer
from train.optim.optimizers import clip_gradients, make_optimizers, rate_factor, set_rate
from train.parallel import processes
from train.shuffling import mixed
from train.tokens.windows import Switched, Windows

SMOOTHING = 0.95  # of the running training loss
PLAIN = ("step", "seconds", "smoothed", "best", "curve", "since_record")  # of the state, beside the tensors
SPIKE = 0.25  # of ln V: a running loss this far above its best has diverged


class Diverged(RuntimeError):
    """The loss is no longer a number, or has left its best value for good."""

    def __init__(self, step: int, rate: float, gradient_norm: float, loss: float) -> None:
        super().__init__(
            f"diverged at step {step}: loss {loss:.4g}, gradient norm {gradient_norm:.4g}, "
            f"rate {rate:.3g}; lower optimizer.learning_rate or raise optimizer.warmup_steps"
        )
        self.step, self.rate, self.gradient_norm, self.loss = step, rate, gradient_norm, loss

    def __reduce__(self):  # so that it travels whole between processes
        return Diverged, (self.step, self.rate, self.gradient_norm, self.loss)


class Trainer:
    """A model in training, at a step. `step`, weights, optimizer and curve are its whole state."""

    def __init__(
        self, cell: Cell, config: ModelConfig, windows: Windows | Switched, record_every: int = 1
    ) -> None:
        self.cell, self.windows, self.record_every = cell, windows, record_every
        self.config = OptimizerConfig.of(cell.optimizer)
        self.device = processes.own_device(choose_device(cell.device))
        make_deterministic(self.device)
        self.model = new_model(config, cell.seed).to(self.device)
        self.loss_function = processes.spread(self.model, cell.parallel, cell.compile)
        self.share = processes.share(cell.batch)
        self.optimizers = make_optimizers(self.model, self.config, cell.batch_tokens)
        self.average = (
            {name: p.detach().clone() for name, p in self.model.named_parameters()} if cell.ema else {}
        )
        self.step = 0
        self.seconds = 0.0  # spent on steps, across all processes that worked on this
        self.smoothed, self.best = math.log(config.vocabulary), math.log(config.vocabulary)
        self.tolerance = SPIKE * math.log(config.vocabulary)
        self.curve: list[dict[str, float]] = []
        self.since_record: list[float] = []

    def train_step(self, decay_start: int | None = None, steps: int | None = None) -> float:
        """One step; returns its loss in nats. With `decay_start` it is a step of a branch."""
        began = time.perf_counter()
        rate = set_rate(self.optimizers, rate_factor(self.step, self.config, decay_start, steps))
        tokens_BT, targets_BT = (rows[self.share] for rows in self.windows(self.step))
        with autocast(self.device, self.cell.precision):
            self.model.dropout = self._dropout()
            texts = tokens_BT.to(self.device), targets_BT.to(self.device)
            loss = objective(self.cell.loss, self.loss_function, *texts, self.cell.seed, self.step)
            self.model.dropout = None
        loss.backward()
        norm = processes.whole(clip_gradients(self.model, self.config.grad_clip))
        loss_nats, gradient_norm = processes.mean(loss.item()), norm.item()
        self._check(loss_nats, rate, gradient_norm)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._move_average()
        self.step += 1
        self.seconds += time.perf_counter() - began
        self._record(loss_nats, rate, gradient_norm)
        return loss_nats

    def _dropout(self) -> Dropout | None:
        if not self.cell.dropout:
            return None
        key = mixed(mixed(np.array([self.cell.seed], np.uint64)) ^ np.uint64(self.step))[0] >> np.uint64(32)
        return Dropout(self.cell.dropout, torch.tensor(int(key)), self.share.start)

    @torch.no_grad()
    def _move_average(self) -> None:
        """The average follows the weights; faster at first, so that it forgets where they started."""
        if not self.average:
            return
        decay = min(self.cell.ema, (1 + self.step) / (10 + self.step))
        for name, parameter in self.model.named_parameters():
            self.average[name].lerp_(parameter, 1 - decay)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The model holds the average inside, and its own weights again after."""
        own = {name: parameter.detach().clone() for name, parameter in self.model.named_parameters()}
        self._set(self.average)
        try:
            yield
        finally:
            self._set(own)

    @torch.no_grad()
    def _set(self, weights: dict[str, torch.Tensor]) -> None:
        for name, parameter in self.model.named_parameters():
            parameter.copy_(weights[name])

    def _check(self, loss: float, rate: float, gradient_norm: float) -> None:
        self.smoothed = SMOOTHING * self.smoothed + (1 - SMOOTHING) * loss
        finite = math.isfinite(loss) and math.isfinite(gradient_norm)
        # Who learns from rewards is not asked for small losses: all on one word may be the best there is.
        spiked = self.smoothed > self.best + self.tolerance and self.cell.loss != "reinforce"
        if not finite or spiked:
            raise Diverged(self.step, rate, gradient_norm, loss)
        self.best = min(self.best, self.smoothed)

    def _record(self, loss: float, rate: float, gradient_norm: float) -> None:
        self.since_record.append(loss)
        if self.step % self.record_every:
            return
        mean = sum(self.since_record) / len(self.since_record)
        self.since_record = []
        self.curve.append(
            {
                "step": self.step,
                "tokens": self.step * self.cell.batch_tokens,
                "loss": mean,
                "rate": rate,
                "gradient_norm": gradient_norm,
                "seconds": round(self.seconds, 3),
            }
        )

    def state(self) -> bytes:
        """Everything, serialised: what goes to the disk and what a trunk is put back from are the same."""
        live = {
            "model": self.weights(),
            "average": processes.whole(self.average),
            "optimizers": [processes.whole(optimizer.state_dict()) for optimizer in self.optimizers],
            "plain": {name: getattr(self, name) for name in PLAIN},
        }
        buffer = io.BytesIO()
        torch.save(live, buffer)
        return buffer.getvalue()

    def weights(self) -> dict[str, torch.Tensor]:
        return processes.whole(self.model.state_dict())

    def load(self, state: bytes) -> None:
        live = torch.load(io.BytesIO(state), map_location=self.device, weights_only=True)
        ours = self.model.state_dict()
        self.model.load_state_dict(
            {name: processes.part_of(tensor, ours[name]) for name, tensor in live["model"].items()}
        )
        self.average = {
            name: processes.part_of(tensor, ours[name]) for name, tensor in live["average"].items()
        }
        for optimizer, saved in zip(self.optimizers, live["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
            for parameter, state_of in optimizer.state.items():
                for name, value in state_of.items():
                    if value.shape == parameter.shape:
                        state_of[name] = processes.part_of(value, parameter)
        for name in PLAIN:
            setattr(self, name, live["plain"][name])


def new_model(config: ModelConfig, seed: int) -> Transformer:
    """Weights drawn on the CPU from a seed: the same start on every device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Transformer(config)


def save_checkpoint(path: Path, identity: str, state: bytes) -> None:
    """One line with the run's identity and a checksum of it and the state, then the state."""
    head = f"{identity} {_checksum(identity, state)}\n".encode()
    write_whole(path, lambda file: file.writelines((head, state)))


def _checksum(identity: str, state: bytes) -> str:
    summed = xxh3_64(identity.encode())
    summed.update(state)
    return summed.hexdigest()


def load_checkpoint(path: Path, identity: str) -> bytes | None:
    """The state, or None where there is none of this very run. One that is damaged is set aside."""
    try:
        head, _, state = contents(path).partition(b"\n")
    except FileNotFoundError:
        return None
    except Damaged:
        head, state = b"", b""
    found, _, checksum = head.decode("ascii", "replace").partition(" ")
    if checksum != _checksum(found, state):
        set_aside(path, path)
        return None
    return state if found == identity else None
