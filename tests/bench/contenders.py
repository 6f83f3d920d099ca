"""Three ways to train a small decoder on the same tokens, each by its own recipe: nanoGPT, Hugging Face's Trainer, ours.

All see windows of 256 tokens, 4 of them a step, on one thread; matrices inside the blocks hold the same number of
parameters. A contender trains in a process of its own and tells the loss on the whole holdout, the same windows for
all, and the CPU-seconds of its median step.

nanoGPT: its model file and configure_optimizers (NANOGPT names the folder), the loop of its train.py with the dials of
its recipe for CPUs (beta2 0.99, weight decay 0.1, clipping at 1, 5 % of warm-up, cosine to a tenth of the rate,
no dropout, no bias). Trainer: GPT2LMHeadModel, the defaults of TrainingArguments but for rate and batch, no dropout.
Both draw from all the tokens there are; ours walks through a prefix.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.evaluate import score
from train.machine import prepare_process
from train.run import train_cell
from train.tokens.packed import Packed
from train.trained import load_run

CONTEXT, BATCH, VOCABULARY = 256, 4, 4096
WARMUP = 0.05
SHAPES = {"0.2M": (4, 64), "0.8M": (4, 128), "4.7M": (6, 256), "7.1M": (4, 384)}  # (depth, width)

Answer = dict[str, Any]  # losses by tokens, CPU-seconds a step


class Clock:
    """CPU- and wall-seconds of every step since the last one."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        self.wall: list[float] = []
        self.restart()

    def restart(self) -> None:
        self.at = time.process_time(), time.perf_counter()

    def tick(self, *_: object) -> None:
        now = time.process_time(), time.perf_counter()
        self.cpu.append(now[0] - self.at[0])
        self.wall.append(now[1] - self.at[1])
        self.at = now

    def told(self) -> Answer:
        cpu, wall = self.cpu[2:], self.wall[2:]  # the first steps warm up
        return {"cpu_step": statistics.median(cpu), "cpu_best": min(cpu), "wall_best": min(wall)}


def nanogpt(folder: Path, size: str, tokens: int, rate: float, seed: int) -> Answer:
    path = Path(os.environ["NANOGPT"]) / "model.py"
    spec = importlib.util.spec_from_file_location("nanogpt_model", path)
    assert spec is not None
    assert spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    torch.manual_seed(seed)
    depth, width = SHAPES[size]
    shape = {"n_layer": depth, "n_head": width // 64, "n_embd": width, "block_size": CONTEXT}
    with contextlib.redirect_stdout(io.StringIO()):
        model = theirs.GPT(theirs.GPTConfig(vocab_size=VOCABULARY, dropout=0.0, bias=False, **shape))
        optimizer = model.configure_optimizers(0.1, rate, (0.9, 0.99), "cpu")
    steps = tokens // (CONTEXT * BATCH)
    batches = _random_batches(Packed.open(folder / "train").tokens)
    clock = Clock()
    x, y = batches()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * _cosine(step, steps)
        _, loss = model(x, y)
        x, y = batches()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        clock.tick()
    return {"losses": {steps * BATCH * CONTEXT: _holdout(folder, lambda x, y: model(x, y)[1])}} | clock.told()


def _random_batches(tokens: np.ndarray) -> Callable[[], tuple[Tensor, Tensor]]:
    def batch() -> tuple[Tensor, Tensor]:
        starts = torch.randint(len(tokens) - CONTEXT, (BATCH,))
        rows = [torch.from_numpy(tokens[s : s + CONTEXT + 1].astype(np.int64)) for s in starts]
        return torch.stack([row[:-1] for row in rows]), torch.stack([row[1:] for row in rows])

    return batch


def _cosine(step: int, steps: int) -> float:
    warmup = WARMUP * steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def trainer(folder: Path, size: str, tokens: int, rate: float, seed: int) -> Answer:
    warnings.filterwarnings("ignore")
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

    depth, width = SHAPES[size]
    torch.manual_seed(seed)
    shape = {"n_layer": depth, "n_head": width // 64, "n_embd": width, "n_positions": CONTEXT}
    no_dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=0, **shape, **no_dropout)
    )
    all_tokens = Packed.open(folder / "train").tokens
    windows = all_tokens[: len(all_tokens) // CONTEXT * CONTEXT].reshape(-1, CONTEXT).astype(np.int64)
    rows = [{"input_ids": row, "labels": row} for row in torch.from_numpy(windows)]
    clock = Clock()

    class Ticks(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            clock.tick()

    with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(io.StringIO()):
        steps = tokens // (CONTEXT * BATCH)
        arguments = TrainingArguments(
            out, per_device_train_batch_size=BATCH, learning_rate=rate, max_steps=steps, seed=seed,
            use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True)  # fmt: skip
        Trainer(model, arguments, train_dataset=rows, callbacks=[Ticks()]).train()
    model.eval()
    loss = _holdout(
        folder, lambda x, y: torch.nn.functional.cross_entropy(model(x).logits.flatten(0, 1), y.flatten())
    )
    return {"losses": {steps * BATCH * CONTEXT: loss}} | clock.told()


@torch.no_grad()
def _holdout(folder: Path, loss_of: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Nats per token of a whole holdout, in the windows of train.evaluate."""
    holdout = Packed.open(folder / "holdout")
    tokens = torch.from_numpy(np.concatenate([[holdout.end], holdout.tokens]).astype(np.int64))
    whole = (len(tokens) - 1) // CONTEXT * CONTEXT
    inputs, targets = tokens[:whole].view(-1, CONTEXT), tokens[1 : whole + 1].view(-1, CONTEXT)
    pairs = list(zip(inputs.split(16), targets.split(16), strict=True))
    if whole + 1 < len(tokens):
        pairs.append((tokens[None, whole:-1], tokens[None, whole + 1 :]))
    return sum(float(loss_of(x, y)) * y.numel() for x, y in pairs) / (len(tokens) - 1)


def our_cell(
    folder: Path, size: str, sizes: list[int], rate: float, seed: int, **knobs: Any
) -> dict[str, Any]:
    depth, width = SHAPES[size]
    hidden = 32 * round(8 * width / 3 / 32)  # as many parameters in three matrices as GPT-2 has in two
    return {
        "packed": str(folder / "train"),
        "sizes": sizes,
        "seed": seed,
        "model": {"depth": depth, "width": width, "hidden": hidden},
        "optimizer": {"learning_rate": rate, **knobs},
        "batch": BATCH,
    }


def ours(
    folder: Path, size: str, tokens: int, rate: float, seed: int, sizes: list[int] | None = None, **knobs: Any
) -> Answer:
    """A ladder: the loss of every size, for the price of little more than the largest."""
    prepare_process(1)
    cell = our_cell(folder, size, sizes or [tokens], rate, seed, **knobs)
    clock, holdout, losses = Clock(), Packed.open(folder / "holdout"), {}
    with tempfile.TemporaryDirectory() as runs:
        train_cell(cell, runs, clock.tick)
        for size_of_run in cell["sizes"]:
            model = load_run(Path(runs) / str(size_of_run)).model
            nats = score(model, holdout.tokens, holdout.documents, holdout.end)
            losses[size_of_run] = float(nats.sum()) / holdout.meta["tokens"]
    # The median alone: between two reports there may be an evaluation, or nothing.
    return {"losses": losses, "cpu_step": clock.told()["cpu_step"]}


CONTENDERS: dict[str, Callable[..., Answer]] = {"nanogpt": nanogpt, "trainer": trainer, "ours": ours}


def run(who: str, mallopt: bool = False, threads: int = 1, **trial: Any) -> Answer:
    torch.set_num_threads(threads)
    if mallopt:
        prepare_process(threads)
    return CONTENDERS[who](**trial)


def main() -> None:
    import json

    trial = json.loads(sys.argv[1])
    answer = run(**trial | {"folder": Path(trial["folder"])})
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
