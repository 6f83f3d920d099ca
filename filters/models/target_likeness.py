"""Likeness to a target: how much likelier a document's words are in texts of a target than in raw text.

DSIR (Xie et al. 2023, arXiv:2302.03169) draws each document with a chance in proportion to p_target / p_raw, the
importance weight, where both are bags of hashed words and pairs of words. The logarithm of the weight is the sum over
n-grams of the logarithm of the ratio of two counts, each smoothed by one a bucket. So scoring looks up one number an
n-gram. It grows with the length of the text; by n-gram it does not, and may be bounded.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from filters.arrow import text_column
from filters.columns import columns, real
from filters.family import Family
from filters.files import loaded_once, read_arrays
from filters.models.hashed import counted, sums

BUCKETS = 1 << 14  # DSIR has 10,000

SIGNALS = (
    real("target_log_weight", "nats", "weight", low=-math.inf,
         says="log of (probability of the text in the target / in raw text), by bags of hashed words and pairs (DSIR)"),
    real("target_likeness", "nats", "likeness", low=-math.inf,
         says="that logarithm by n-gram: above 0 where the text is liker the target"),
)  # fmt: skip


def measure(texts: pa.Array | pa.ChunkedArray, model: str | os.PathLike[str]) -> dict[str, pa.Array]:
    """`target_log_weight` and `target_likeness`, nats; both 0 for a document without words."""
    total, ngrams = sums(texts, _model(model))
    weight = total[:, 0].astype(float)
    return columns(SIGNALS, weight=weight, likeness=weight / np.maximum(ngrams, 1))


@loaded_once
def _model(path: Path) -> np.ndarray:
    """float32 [buckets, 1]: log (probability in the target / in raw text)"""
    return read_arrays(path, "a model of a target", lambda arrays: arrays["ratios"])


def train(
    target: pa.Array | pa.ChunkedArray, raw: pa.Array | pa.ChunkedArray, path: str | os.PathLike[str]
) -> dict[str, Any]:
    """Count both; writes the model, returns how far apart they are: the mean logarithm of the ratio by n-gram of the
    target (their divergence, nats) and of raw text. Raises ValueError where the target has no words."""
    counts = [np.asarray(counted(text_column(side), BUCKETS).sum(0), float).ravel() for side in (target, raw)]
    if not counts[0].sum() or not counts[1].sum():
        raise ValueError("the target or the raw text has no words; choose other documents")
    shares = [(count + 1) / (count + 1).sum() for count in counts]
    ratios = np.log(shares[0] / shares[1]).astype(np.float32)
    with open(path, "wb") as file:
        np.savez(file, ratios=ratios[:, None])
    means = [float(ratios @ count / count.sum()) for count in counts]
    return {"nats_of_the_target": round(means[0], 4), "nats_of_raw_text": round(means[1], 4)}


FAMILY = Family("target_likeness", 1, measure, SIGNALS)
