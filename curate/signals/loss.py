"""Loss under a model that `train/` has made: the signal of a small model's perplexity, one line in a manifest.

    [signals]
    loss = { run = ".curate/runs/.../102400" }

Each document is read by itself from its beginning, in windows of the model's context. What a model has been
trained on it finds easier: score other documents than those.
"""

from __future__ import annotations

import math
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from filters import Family, Signal
from filters.arrow import text_column

if TYPE_CHECKING:
    from train.trained import TrainedRun

_one_at_a_time = threading.Lock()  # torch has threads of its own


def check_run(directory: str | Path) -> None:
    """Raises ValueError where there is no finished run with a tokenizer."""
    directory = Path(directory)
    for name in ("run.json", "model.safetensors", "tokenizer.json"):
        if not (directory / name).is_file():
            raise ValueError(f"{directory}: no finished run ({name} is missing); `curate train` makes them")


@lru_cache(maxsize=2)
def _loaded(directory: str, changed: int) -> TrainedRun:
    from train.trained import load_run

    return load_run(directory)


def measure(texts: pa.Array | pa.ChunkedArray, run: str | Path) -> dict[str, pa.Array]:
    """Loss of every text under the model of a finished run (its directory)."""
    texts = text_column(texts)
    with _one_at_a_time:
        nats, tokens = _loaded(str(run), (Path(run) / "run.json").stat().st_mtime_ns).losses(texts)
    size = pa.compute.binary_length(texts).to_numpy()
    bits = np.divide(nats / math.log(2), size, out=np.zeros(len(nats)), where=size > 0)
    empty = size == 0
    return {
        "loss": pa.array(nats / np.maximum(tokens, 1), mask=empty),
        "loss_bits_per_byte": pa.array(bits, mask=empty),
        "model_token_count": pa.array(np.where(empty, 0, tokens)),
    }


FAMILY = Family(
    "loss",
    1,
    measure,
    (
        Signal(
            "loss",
            "nats",
            0.0,
            math.inf,
            None,
            "nats per token under the model of your run, the end token included",
        ),
        Signal("loss_bits_per_byte", "bits", 0.0, math.inf, None, "bits per byte of UTF-8 under that model"),
        Signal("model_token_count", "tokens", 0.0, math.inf, 0, "tokens of its tokenizer", pa.int64()),
    ),
)
