"""Peak memory of training on the CPU, beside what weights, gradients, optimizer state and activations need.

    python tests/bench/bench_train_memory.py

Each row is a process of its own: its resident memory after libraries are loaded and warm is taken off its peak. Needed,
in numbers of four bytes:

    weights and gradients       2 P, and 2 (AdamW) or 1 (Muon, of the matrices in blocks) a weight of optimizer state
    activations, a layer        N (10 C + 4 H): twice the stream and its norm, queries and keys before and after their
                                norm, values, what attention gives; gate, value, silu(gate) and their product
                                + N A (T + 128) / 2 where attention keeps its probabilities, in blocks of 128 queries
                                (CPUs with wide products, T of 64 to 512)
    the end                     3 N C, V C: the stream, its norm, the loss's gradients of it and of the scoring matrix

N tokens a step, T context, C width, H hidden, A heads, V vocabulary, P parameters. No activation is computed twice.
"""

from __future__ import annotations

import json
import subprocess
import sys

from train.config import ModelConfig

VOCABULARY, CONTEXT, STEPS = 4096, 256, 4
ROWS = [
    (4, 16, "muon"),
    (4, 16, "adamw"),
    (8, 16, "muon"),
    (8, 16, "adamw"),
    (12, 4, "muon"),
    (16, 16, "muon"),
]


def peak(depth: int, batch: int, optimizer: str) -> None:
    """In a process of its own: prints needed and measured bytes."""
    import resource

    import torch

    from train.config import OptimizerConfig
    from train.machine import prepare_process
    from train.model.transformer import Transformer
    from train.optim.optimizers import clip_gradients, make_optimizers

    prepare_process(1)
    small = ModelConfig(vocabulary=VOCABULARY, depth=1, width=64, context=CONTEXT)
    step(Transformer(small), 1, optimizer, make_optimizers, OptimizerConfig, clip_gradients)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    torch.manual_seed(0)
    model = Transformer(ModelConfig(vocabulary=VOCABULARY, depth=depth, context=CONTEXT))
    step(model, batch, optimizer, make_optimizers, OptimizerConfig, clip_gradients)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps([needed(model, batch, optimizer), after - before, model.parameters_total()]))


def step(model, batch: int, optimizer: str, make_optimizers, config, clip_gradients) -> None:
    import torch

    optimizers = make_optimizers(model, config(name=optimizer))
    for _ in range(STEPS):
        rows = torch.randint(0, VOCABULARY, (batch, CONTEXT + 1))
        model(rows[:, :-1], rows[:, 1:]).backward()
        clip_gradients(model, 1.0)
        for one in optimizers:
            one.step()
            one.zero_grad(set_to_none=True)


def needed(model, batch: int, optimizer: str) -> int:
    """Bytes, by the formula above."""
    from train.model.attention import HELD, _blocks
    from train.model.products import use_wide_products

    config = model.config
    parameters, matrices = model.parameters_total(), sum(p.numel() for p in model.matrices())
    state = 2 * parameters - (matrices if optimizer == "muon" else 0)
    N, C, H = batch * CONTEXT, config.width, config.hidden
    layer = N * (10 * C + 4 * H)
    if use_wide_products() and HELD[0] <= CONTEXT <= HELD[1]:
        scores = sum((rows.stop - rows.start) * end for rows, end in _blocks(CONTEXT))
        layer += batch * config.heads * scores
    return 4 * (2 * parameters + state + config.depth * layer + 3 * N * C + config.vocabulary * C)


def main() -> None:
    if len(sys.argv) > 1:
        peak(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
        return
    print("depth  windows  optimizer  parameters     needed       peak   peak / needed")
    for row in ROWS:
        done = subprocess.run(
            [sys.executable, __file__, *map(str, row)], capture_output=True, text=True, check=True
        )
        need, found, parameters = json.loads(done.stdout)
        print(
            f"{row[0]:5} {row[1]:8}  {row[2]:9} {parameters:11,} {need / 1e6:7.0f} MB {found / 1e6:7.0f} MB {found / need:15.2f}"
        )


if __name__ == "__main__":
    main()
