"""Quality: the probability that a document comes from the good ones, by a fastText classifier.

The classifier learns from weak labels: which documents someone would like more of, and which are ordinary. So it
was done for GPT-3 (Brown et al. 2020) and for DCLM (Li et al. 2024, arXiv:2406.11794), from where the labels
(`hq`, `cc`), five epochs and word bigrams come. DCLM's learning rate of 0.1 is for hundreds of thousands of
documents: with some thousands 0.5 ranked much better (AUC on documents of sources not seen in training 0.82
against 0.65), and a dimension of 100 with a million buckets no better than 16 with 2^18, which fit a cache.

A tenth of the documents, chosen by the hash of their text, is held out of training: what the classifier is
worth there (AUC, thresholds) is told with it. Any two-label fastText model can be used instead.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from filters.arrow import text_column
from filters.columns import columns, real
from filters.family import Family
from filters.fasttext.model import read_model
from filters.fasttext.predict import LOG_FLOOR, Tables, predict, tables_of
from filters.fasttext.train import train as train_classifier
from filters.files import loaded_once

GOOD, OTHER = "hq", "cc"
HELD_OUT = 10  # one document of so many
EPOCHS, LEAST_SEEN = 5, 20_000  # passes over the documents, and documents seen in all of them at least
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # of the ordinary held-out documents that a threshold keeps


SIGNALS = (
    real("quality_score", "probability", "scores", high=1.0, missing="wordless", kind=pa.float32(),
         says="probability of a good document by a fastText classifier (as in DCLM); null without words"),
)  # fmt: skip


def measure(
    texts: pa.Array | pa.ChunkedArray, model: str | os.PathLike[str], label: str = GOOD
) -> dict[str, pa.Array]:
    """`quality_score`, the probability of `label`; null for a document without words.

    Equal to the library's within 1e-6. Raises ValueError where the model has other labels than this one and another.
    """
    tables, wanted = _classifier(model, label)
    labels, scores, words = predict(tables, texts)
    # The library adds LOG_FLOOR to the probability of each of the two labels before it takes the logarithm.
    good = np.where(labels == wanted, scores, np.float32(1 + 2 * LOG_FLOOR) - scores)
    return columns(SIGNALS, scores=np.clip(good, 0, 1), wordless=(words == 0) | (labels < 0))


@loaded_once
def _classifier(path: Path, label: str) -> tuple[Tables, int]:
    """(tables for the kernel, the number of the label)"""
    described = read_model(path)
    wanted = label.removeprefix("__label__")
    if len(described.labels) != 2 or wanted not in described.labels:
        raise ValueError(
            f"{path}: a quality classifier has two labels, one of them {wanted}; this model has "
            f'{", ".join(described.labels[:5])}; name the good one with label = "..."'
        )
    return tables_of(described), described.labels.index(wanted)


def train(
    positive: pa.Array | pa.ChunkedArray,
    negative: pa.Array | pa.ChunkedArray,
    path: str | os.PathLike[str],
    *,
    dimension: int = 16,
    epochs: int | None = None,
    learning_rate: float = 0.5,
    word_ngrams: int = 2,
    buckets: int = 1 << 18,
    seed: int = 0,
) -> dict[str, Any]:
    """Train a classifier of good (`positive`) and ordinary documents; writes the model, returns what it is worth.

    Without `epochs` there are five, and more where a few hundred documents are to be learned from. The same texts
    give the same bytes of the model (see `fasttext.train`). Raises ValueError where a side has too
    few documents to hold some out.
    """
    sides = {GOOD: text_column(positive), OTHER: text_column(negative)}
    held = {label: held_out(texts, HELD_OUT) for label, texts in sides.items()}
    for label, texts in sides.items():
        if held[label].all() or not held[label].any():
            raise ValueError(
                f"{len(texts)} {'positive' if label == GOOD else 'negative'} documents are too few to train "
                "a classifier and to hold a tenth of them out; choose more"
            )
    learned_from = sum(int((~mask).sum()) for mask in held.values())
    epochs = epochs or max(EPOCHS, math.ceil(LEAST_SEEN / learned_from))
    settings = {
        "dim": dimension, "epoch": epochs, "lr": learning_rate, "wordNgrams": word_ngrams, "bucket": buckets,
        "minCount": 1, "seed": seed + 1,  # to the library's generator 0 and 1 are the same
    }  # fmt: skip
    train_classifier(
        [(label, texts.filter(pa.array(~held[label]))) for label, texts in sides.items()], path, settings
    )
    scores = [_scores(texts.filter(pa.array(held[label])), path) for label, texts in sides.items()]
    return {"settings": settings, **evaluation(*scores)}


def held_out(texts: pa.LargeStringArray, one_in: int) -> np.ndarray:
    """bool [n]: one text in so many, by its hash, so that equal texts lie on one side of the split."""
    hashes = (xxhash.xxh3_64_intdigest(text.as_py().encode()) for text in texts)
    return np.fromiter((h % one_in == 0 for h in hashes), bool, len(texts))


def _scores(texts: pa.Array, path: str | os.PathLike[str]) -> np.ndarray:
    scores = measure(texts, path)["quality_score"].drop_null()
    return scores.to_numpy().astype(float)


def evaluation(positive: np.ndarray, negative: np.ndarray) -> dict[str, Any]:
    """AUC, and for each share of the negative ones that is kept: the threshold and the share of positive ones kept."""
    ordered = np.sort(negative)[::-1]
    thresholds = []
    for share in SHARES:
        threshold = float(ordered[max(1, round(share * len(ordered))) - 1])
        thresholds.append(
            {
                "threshold": round(threshold, 6),
                "keeps_negative": round(float((negative >= threshold).mean()), 4),
                "keeps_positive": round(float((positive >= threshold).mean()), 4),
            }
        )
    return {
        "held_out": {"positive": len(positive), "negative": len(negative)},
        "auc": round(auc(positive, negative), 6),
        "thresholds": thresholds,
    }


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a positive one scores above a negative one; a tie counts one half (Mann & Whitney 1947)."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    not_above = np.searchsorted(ordered, positive, side="right")
    return float((below + not_above).sum() / 2 / (len(positive) * len(negative)))


FAMILY = Family("quality", 1, measure, SIGNALS)
