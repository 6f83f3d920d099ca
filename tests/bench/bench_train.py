"""Training speed of one thread, and how close it comes to this machine's own matrix products.

    python tests/bench/bench_train.py [--steps 10] [--optimizer muon]

Prints tokens per CPU-second of whole steps (forward, backward, clipping, optimizer) for three widths, and
the share of the step that its matrix products alone would take: every product of a step (forward and
both gradients, without Muon's) is timed at its own shape, by the library that is the faster here and in the precision of
the step, in the same process, on warm buffers. Where the processor multiplies bfloat16, steps in both precisions. Figures are the best of the steps, since other work on the machine can only slow them down.
"""

from __future__ import annotations

import argparse
import time

import torch

from train.config import ModelConfig, OptimizerConfig
from train.machine import autocast, prepare_process
from train.model.products import has_half_products, use_wide_products
from train.model.transformer import Transformer
from train.optim.optimizers import clip_gradients, make_optimizers, set_rate

DEPTH, VOCABULARY, CONTEXT, BATCH = 4, 4096, 256, 16


def best_cpu_seconds(function, repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats + 2):  # the first two warm up
        began = time.process_time()
        function()
        best = min(best, time.process_time() - began)
    return best


def step_seconds(config: ModelConfig, optimizer: str, steps: int, batch: int, precision: str) -> float:
    torch.manual_seed(0)
    model = Transformer(config)
    optimizers = make_optimizers(model, OptimizerConfig(name=optimizer), batch * config.context)
    set_rate(optimizers, 1.0)
    rows = torch.randint(0, config.vocabulary, (batch, config.context + 1))

    def step() -> None:
        with autocast(torch.device("cpu"), precision):
            loss = model(rows[:, :-1], rows[:, 1:])
        loss.backward()
        clip_gradients(model, 1.0)
        for one in optimizers:
            one.step()
            one.zero_grad(set_to_none=True)

    return best_cpu_seconds(step, steps)


def product_seconds(rows: int, inner: int, out: int, dtype: torch.dtype) -> float:
    """x @ w.T and both its gradients."""
    x, w, y = (torch.randn(shape).to(dtype) for shape in ((rows, inner), (out, inner), (rows, out)))
    return (
        best_cpu_seconds(lambda: x @ w.T, 10)
        + best_cpu_seconds(lambda: y @ w, 10)
        + best_cpu_seconds(lambda: y.T @ x, 10)
    )


def attention_seconds(config: ModelConfig, batch: int, dtype: torch.dtype) -> float:
    """The six batched products of attention; half of each is masked, so half of a plain product's time counts."""
    heads, T, D = batch * config.heads, config.context, config.head_width
    q, k, scores = (torch.randn(shape).to(dtype) for shape in ((heads, T, D), (heads, T, D), (heads, T, T)))
    wide = best_cpu_seconds(lambda: q @ k.mT, 10)
    narrow = best_cpu_seconds(lambda: scores @ k, 10)
    return (2 * wide + 4 * narrow) / 2


def products_seconds(config: ModelConfig, batch: int, precision: str) -> float:
    dtype = getattr(torch, precision)
    rows, width, hidden = batch * config.context, config.width, config.hidden
    shapes = [(width, 3 * width), (width, width), (width, 2 * hidden), (hidden, width)]
    block = sum(product_seconds(rows, *shape, dtype) for shape in shapes)
    block += attention_seconds(config, batch, dtype)
    chunk = 256  # the scoring matrix is worked off in chunks of rows
    return config.depth * block + rows / chunk * product_seconds(chunk, width, config.vocabulary, dtype)


def main() -> None:
    parser = argparse.ArgumentParser(description="Tokens per CPU-second of training on one thread.")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--optimizer", default=OptimizerConfig().name)
    parser.add_argument("--batch", type=int, default=BATCH)
    options = parser.parse_args()
    prepare_process(1)
    shape = f"depth {DEPTH}, vocabulary {VOCABULARY}, context {CONTEXT}, batch {options.batch}"
    print(f"{shape}, {options.optimizer}, products by {'oneDNN' if use_wide_products() else 'MKL'}")
    precisions = ("float32", "bfloat16") if has_half_products("cpu") else ("float32",)
    for width in (64, 128, 256):
        config = ModelConfig(vocabulary=VOCABULARY, depth=DEPTH, width=width, context=CONTEXT)
        for precision in precisions:
            seconds = step_seconds(config, options.optimizer, options.steps, options.batch, precision)
            products = products_seconds(config, options.batch, precision)
            print(
                f"width {width:3}, {precision:8}: {options.batch * CONTEXT / seconds:8,.0f} tokens per CPU-second, "
                f"matrix products {products / seconds:.0%} of the step"
            )


if __name__ == "__main__":
    main()
