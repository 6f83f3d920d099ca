"""A record of small training: a fixed corpus and holdout, changes of the recipe one after the other, and what each is worth.

    python tests/bench/slowrun.py FOLDER screen TRACK [NAME ...] [--seeds 2] [--tokens N] [--minutes 60]
    python tests/bench/slowrun.py FOLDER record TRACK [--seeds 10] [--tokens N] [--minutes 60]

FOLDER keeps the corpus, which `curate` builds from slowrun.toml beside this file on the first call, and a JSON line for every
run, so that a call cut short goes on where it stopped. Tracks: `many` reads 100,000 tokens six times, `one` 300,000 once; up to
a million by --tokens. With six passes over 100,000 tokens the default has a decay of 0.6. A model of half a million parameters, one thread.

`screen` compares changes with the default by text that is held apart for choices; "wd .6 + shifted" is both. `record` trains
the rows of RECORDS, each with all seeds, and is judged on the holdout: other packages and folders, which have chosen
nothing. Differences are paired by seed; p is that of a two-sided t-test of these differences. CPU-seconds are steps
times the least median step of the recipe's runs, since other work slows all of them down.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

import train.model.losses as losses_module
import train.run as run_module
import train.trainer as trainer_module
from train.config import RUN_KNOBS
from train.machine import prepare_process
from train.model import transformer
from train.model.mixers import Attention
from train.run import train_cell
from train.tokens.windows import Windows
from train.trainer import Trainer

TRACKS = {"many": (100_000, 6.0), "one": (300_000, 1.0)}  # tokens, passes
BASE = {"model": {"depth": 4, "width": 64}, "optimizer": {}}
LEVEL = 0.01  # of p, below which a row is the record that the next is compared with
Recipe = dict[
    str, Any
]  # knobs, and under "with" the names of changes that are no knobs, with what each takes

# ---- Changes that are no knobs: each a context in which a run is trained and scored -----------------------


@contextlib.contextmanager
def shifted() -> Iterator[None]:
    """Every pass cuts its windows elsewhere."""

    def windows(self: Windows, step: int) -> tuple[Tensor, Tensor]:
        epoch = step // self.edges[-1]
        offset = int(np.random.default_rng([self.seed, epoch]).integers(self.context)) if epoch else 0
        length = self.edges[-1] * self.batch * self.context
        starts = (self.indices(step) * self.context + offset) % (length - self.context)
        rows = np.stack([self.tokens[s : s + self.context + 1] for s in starts]).astype(np.int64)
        rows_BT1 = torch.from_numpy(rows)
        return rows_BT1[:, :-1], rows_BT1[:, 1:]

    with patch.object(Windows, "__call__", windows):
        yield


@contextlib.contextmanager
def noise(share: float) -> Iterator[None]:
    """Inputs exchanged for tokens from elsewhere in the corpus; targets stay."""
    plain = Windows.__call__

    def windows(self: Windows, step: int) -> tuple[Tensor, Tensor]:
        tokens, targets = plain(self, step)
        chance = np.random.default_rng([self.seed, step])
        other = self.tokens[chance.integers(self.edges[-1] * self.batch * self.context, size=tokens.shape)]
        away = torch.from_numpy(chance.random(tokens.shape) < share)
        return torch.where(away, torch.from_numpy(other.astype(np.int64)), tokens), targets

    with patch.object(Windows, "__call__", windows):
        yield


@contextlib.contextmanager
def smoothed(share: float) -> Iterator[None]:
    """Label smoothing; the loss that is told stays that of the labels."""
    plain = losses_module._losses_and_gradient

    def gradient(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        losses, grad = plain(hidden, weight, targets)
        grad.sub_(share / grad.shape[1])
        return losses, grad.scatter_add_(1, targets[:, None], grad.new_full((len(targets), 1), share))

    with patch.object(losses_module, "_losses_and_gradient", gradient):
        yield


@contextlib.contextmanager
def capped(cap: float) -> Iterator[None]:
    """Logits through cap * tanh(x / cap)."""

    def scores(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = cap * torch.tanh((hidden @ weight.T).float() / cap)
        log_p = torch.log_softmax(logits, 1)
        return -log_p.gather(1, targets[:, None]).squeeze(1), log_p.exp()

    def gradient(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        bent = torch.tanh((hidden @ weight.T).float() / cap)
        log_p = torch.log_softmax(cap * bent, 1)
        losses = -log_p.gather(1, targets[:, None]).squeeze(1)
        grad = log_p.exp().scatter_add_(1, targets[:, None], log_p.new_full((len(targets), 1), -1.0))
        return losses, grad * (1 - bent**2)

    with (
        patch.object(losses_module, "_losses_and_gradient", gradient),
        patch.object(losses_module, "_scores", scores),
    ):
        yield


@contextlib.contextmanager
def value_embeddings(every: int = 2) -> Iterator[None]:
    """A table of its own for every second block: a token's row is added to its values."""
    made, hidden, placed = (
        transformer.Transformer.__init__,
        transformer.Transformer.hidden_NC,
        Attention._placed,
    )

    def make(self: Any, config: Any) -> None:
        made(self, config)
        kv = config.kv_heads * config.head_width
        count = len(range(0, config.depth, every))
        self.tables = nn.ParameterList(torch.zeros(config.vocabulary, kv) for _ in range(count))
        for number, block in enumerate(self.blocks):
            block.mixer.number = number

    def run(self: Any, tokens: Tensor) -> Tensor:
        for number, block in enumerate(self.blocks):
            block.mixer.extra = None
            if number % every == 0:
                block.mixer.extra = F.embedding(tokens, self.tables[number // every])
        return hidden(self, tokens)

    def place(self: Any, qkv: Tensor, places: Any) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = placed(self, qkv, places)
        if self.extra is not None:
            B, K, T, D = v.shape
            v = v + self.extra.view(B, T, K, D).transpose(1, 2).to(v.dtype)
        return q, k, v

    with (
        patch.object(transformer.Transformer, "__init__", make),
        patch.object(transformer.Transformer, "hidden_NC", run),
        patch.object(Attention, "_placed", place),
    ):
        yield


@contextlib.contextmanager
def further(weight: float) -> Iterator[None]:
    """The token after the next as well, from the same states through a matrix of its own."""
    made = transformer.Transformer.__init__

    def make(self: Any, config: Any) -> None:
        made(self, config)
        self.ahead = nn.Parameter(torch.eye(config.width))

    def run(self: Any, tokens: Tensor, targets: Tensor) -> Tensor:
        states, head = self.hidden_NC(tokens), self.lm_head_VC()
        loss = losses_module.linear_cross_entropy(states, head, targets.flatten())
        B, T = targets.shape
        early = F.linear(states.view(B, T, -1)[:, :-1].flatten(0, 1), self.ahead)
        more = losses_module.linear_cross_entropy(early, head, targets[:, 1:].flatten())
        return loss + weight * (more - more.detach())

    with (
        patch.object(transformer.Transformer, "__init__", make),
        patch.object(transformer.Transformer, "forward", run),
    ):
        yield


@contextlib.contextmanager
def decays(matrices: float, embeddings: float) -> Iterator[None]:
    """Weight decay of matrices inside blocks and of embeddings apart."""
    plain = trainer_module.make_optimizers

    def make(*given: Any) -> list[torch.optim.Optimizer]:
        optimizers = plain(*given)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                if group["weight_decay"]:
                    group["weight_decay"] = matrices if optimizer is optimizers[0] else embeddings
        return optimizers

    with patch.object(trainer_module, "make_optimizers", make):
        yield


CHANGES: dict[str, Callable[..., Any]] = {
    "shifted": shifted, "noise": noise, "smoothed": smoothed, "capped": capped,
    "value_embeddings": value_embeddings, "further": further, "decays": decays,
}  # fmt: skip


def recipe(model: dict | None = None, change: dict | None = None, **knobs: Any) -> Recipe:
    """Knobs of the optimizer stand under their own names: `weight_decay = 0.3`."""
    run_knobs = {*RUN_KNOBS, "passes"}
    return {
        "model": model or {}, "optimizer": {k: v for k, v in knobs.items() if k not in run_knobs},
        "change": change or {}, **{k: v for k, v in knobs.items() if k in run_knobs},
    }  # fmt: skip


SCREENED: dict[str, Recipe] = {
    "default": recipe(),
    "wd .1": recipe(weight_decay=0.1),
    "wd .3": recipe(weight_decay=0.3),
    "wd .6": recipe(weight_decay=0.6),
    "wd 1": recipe(weight_decay=1.0),
    "wd 1.6": recipe(weight_decay=1.6),
    "decays .6 .1": recipe(change={"decays": [0.6, 0.1]}),
    "decays .1 .6": recipe(change={"decays": [0.1, 0.6]}),
    "dropout .05": recipe(dropout=0.05),
    "dropout .1": recipe(dropout=0.1),
    "dropout .2": recipe(dropout=0.2),
    "shifted": recipe(change={"shifted": []}),
    "noise .1": recipe(change={"noise": [0.1]}),
    "smoothed .1": recipe(change={"smoothed": [0.1]}),
    "capped 15": recipe(change={"capped": [15.0]}),
    "value embeddings": recipe(change={"value_embeddings": []}),
    "further .3": recipe(change={"further": [0.3]}),
    "heads 2": recipe(model={"heads": 2}),
    "heads 4": recipe(model={"heads": 4}),
    "untied": recipe(model={"tied": False}),
    "batch 2": recipe(batch=2),
    "batch 8": recipe(batch=8),
    "ema .99": recipe(ema=0.99),
    "cooldown .6": recipe(cooldown=0.6),
    "stable 30": recipe(stable_steps=30),
    "passes 4": recipe(passes=4 / 6),
    "passes 3": recipe(passes=3 / 6),
    "width 96": recipe(model={"width": 96}, passes=0.62),
    "width 128": recipe(model={"width": 128, "heads": 2}, passes=0.42),
}


def combined(names: str) -> Recipe:
    """Of "wd .6 + dropout .1" all; the passes of the last that says any."""
    parts = [SCREENED[name.strip()] for name in names.split("+")]
    plain = {k: v for part in parts for k, v in part.items()}
    tables = ("model", "optimizer", "change")
    return plain | {table: {k: v for part in parts for k, v in part[table].items()} for table in tables}


RECORDS = {
    "many": ["wd .1", "default", "shifted"],
    "one": ["default", "value embeddings"],
}


# ---- Runs -------------------------------------------------------------------------------------------------


def corpus(folder: Path) -> dict[str, Any]:
    """What the manifest's cell reads: packed tokens and both held-out texts."""
    manifest = folder / "slowrun.toml"
    if not manifest.exists():
        folder.mkdir(parents=True, exist_ok=True)
        manifest.write_text(Path(__file__).with_suffix(".toml").read_text())
    found = sorted((folder / ".curate" / "runs").glob("*/cell.json"))
    if not found:
        command = [sys.executable, "-m", "curate.cli", "train", manifest.name, "--cells"]
        subprocess.run(command, cwd=folder, check=True)
        found = sorted((folder / ".curate" / "runs").glob("*/cell.json"))
    cell = json.loads(found[0].read_text())
    return {name: cell[name] for name in ("packed", "holdouts", "level")}


def trained(read: dict[str, Any], tokens: int, passes: float, asked: Recipe, seed: int) -> dict[str, Any]:
    knobs = {k: asked[k] for k in RUN_KNOBS if k in asked}
    cell = read | {
        "sizes": [tokens], "seed": seed, "epochs": passes * asked.get("passes", 1), **knobs,
        "model": BASE["model"] | asked["model"], "optimizer": BASE["optimizer"] | asked["optimizer"],
    }  # fmt: skip
    steps: list[float] = []
    plain = Trainer.train_step

    def step(self: Trainer, *given: Any) -> float:
        began = time.process_time()
        loss = plain(self, *given)
        steps.append(time.process_time() - began)
        return loss

    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as runs:
        stack.enter_context(patch.object(Trainer, "train_step", step))
        stack.enter_context(patch.object(run_module, "context_use", lambda *given: {}))
        for name, given in asked["change"].items():
            stack.enter_context(CHANGES[name](*given))
        run = train_cell(cell, runs)[str(tokens)]
    of = {name: loss["nats_per_token"] for name, loss in run["losses"].items()}
    average = {f"{k} average": v["nats_per_token"] for k, v in run.get("losses_of_average", {}).items()}
    return {
        "choice": of["held apart"], "holdout": of["unique"], **average, "trained": run["train_loss"]["tail"],
        "steps": len(steps), "step_cpu": statistics.median(steps), "cpu": sum(steps),
    }  # fmt: skip


class Results:
    """A JSON line a run."""

    def __init__(self, folder: Path, track: str, tokens: int | None, end: float) -> None:
        self.path, self.folder, self.end = folder / "slowrun.jsonl", folder, end
        self.tokens, self.passes = tokens or TRACKS[track][0], TRACKS[track][1]
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        found = [json.loads(line) for line in lines]
        self.lines = [x for x in found if (x["tokens"], x["passes"]) == (self.tokens, self.passes)]

    def ask(self, asked: Recipe, seed: int) -> dict[str, Any] | None:
        key = {"tokens": self.tokens, "passes": self.passes, "recipe": _plain(asked), "seed": seed}
        for line in self.lines:
            if all(line[k] == v for k, v in key.items()):
                return line
        if time.monotonic() > self.end:
            return None
        line = key | trained(corpus(self.folder), self.tokens, self.passes, asked, seed)
        self.lines.append(line)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return line

    def all(self, asked: Recipe, seeds: int) -> list[dict[str, Any]]:
        """One a seed, or none of them where time is up."""
        answers = [self.ask(asked, seed) for seed in range(seeds)]
        return [a for a in answers if a] if all(answers) else []

    def cpu_seconds(self, asked: Recipe) -> float:
        of = [x for x in self.lines if x["recipe"] == _plain(asked)]
        return min(x["step_cpu"] for x in of) * of[0]["steps"]


def _plain(asked: Recipe) -> Recipe:
    """As JSON gives it back."""
    return json.loads(json.dumps(asked))


def screen(results: Results, names: list[str], seeds: int) -> None:
    base = results.all(SCREENED["default"], seeds)
    for name in names or SCREENED:
        asked = combined(name)
        found = results.all(asked, seeds)
        if not found or not base:
            continue
        gap = [a["choice"] - b["choice"] for a, b in zip(found, base, strict=True)]
        mean = statistics.mean(a["choice"] for a in found)
        more = ""
        if "held apart average" in found[0]:
            more = f", average {statistics.mean(a['held apart average'] for a in found):.3f}"
        print(
            f"{name:30} {mean:.3f} nats on text held apart, {statistics.mean(gap):+.3f} ({' '.join(f'{g:+.3f}' for g in gap)})"
            f"{more}; trained {statistics.mean(a['trained'] for a in found):.2f}; "
            f"{results.cpu_seconds(asked):.1f} CPU-s",
            flush=True,
        )


def record(results: Results, names: list[str], seeds: int) -> None:
    """Every row against the record that stood before it, on the holdout."""
    standing: list[dict[str, Any]] = []
    default: list[dict[str, Any]] = []
    print(
        "| change | nats per token | to the first | to the record before | p | CPU-s |\n|---|---|---|---|---|---|"
    )
    for name in names:
        found = results.all(combined(name), seeds)
        if not found:
            print(f"| {name} | time is up |")
            return
        default, standing = default or found, standing or found
        of_default, of_standing = _gaps(found, default), _gaps(found, standing)
        mean, spread = (
            statistics.mean(a["holdout"] for a in found),
            statistics.stdev(a["holdout"] for a in found),
        )
        p = stats.ttest_1samp(of_standing, 0).pvalue if any(of_standing) else float("nan")
        told = f"{statistics.mean(of_default):+.3f} | {statistics.mean(of_standing):+.3f} | {p:.1g}"
        print(
            f"| {name} | {mean:.3f} ± {spread:.3f} | {told} | {results.cpu_seconds(combined(name)):.1f} |",
            flush=True,
        )
        if p < LEVEL and statistics.mean(of_standing) < 0:
            standing = found
    tried = {json.dumps(x["recipe"], sort_keys=True) for x in results.lines}
    print(f"\n{seeds} seeds; {len(tried)} recipes were tried on these tokens.")


def _gaps(found: list[dict[str, Any]], other: list[dict[str, Any]]) -> list[float]:
    return [a["holdout"] - b["holdout"] for a, b in zip(found, other, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description="A record of small training.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=["screen", "record"])
    parser.add_argument("track", choices=list(TRACKS))
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args()
    prepare_process(1)
    results = Results(options.folder, options.track, options.tokens, time.monotonic() + 60 * options.minutes)
    if options.what == "screen":
        screen(results, options.names, options.seeds)
    else:
        record(results, options.names or RECORDS[options.track], options.seeds)


if __name__ == "__main__":
    main()
