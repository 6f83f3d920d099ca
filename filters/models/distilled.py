"""Distilled signals: labels or scores that someone gave to some thousands of documents, foretold for every document.

FineWeb-Edu (Penedo et al. 2024, arXiv:2406.17557) let a large model judge 460,000 documents and taught a small one to
foretell what it says. Here a linear model over hashed words and pairs of words learns it: softmax for labels, least
squares for scores. Both are found by L-BFGS with a penalty: there is no learning rate, and the same documents give the
same model. A document is the mean of its n-grams' weights, whatever its length. On nine kinds of documents, 5,601 to
learn from, it was right about 0.903 of 1,496 from other works and sites; fastText, trained as `quality` does it, about
0.847, and that reads 38 MB a second of CPU where this reads 137.

A tenth of the documents, chosen by the hash of their text, is held out. How well the model agrees with the judge there is
told with it.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from filters.arrow import text_column
from filters.columns import columns, label, real
from filters.family import Family
from filters.files import loaded_once, read_arrays
from filters.models.hashed import counted, sums
from filters.models.quality import HELD_OUT, held_out
from filters.reproducible import agreed, least

PREFIX = "distilled."  # of the names of families
VERSION = 2
BUCKETS = 1 << 18
SCALE = 32.0  # of the means, so that one penalty fits: a document of a thousand n-grams is about as long as 1
PENALTY, ITERATIONS = 1e-5, 60
LEAST = 50  # judged documents
BINS = 10
PROBABILITIES = (0.0, 0.5, 0.7, 0.9, 0.95)


def family(name: str, labels: bool) -> Family:
    """The family `distilled.NAME`: NAME and NAME_probability of labels, or NAME of scores (parameter `model`)."""
    name = name.removeprefix(PREFIX)
    signals = (
        label(name, "names", f"the label {name} that its judge would give, by a linear model of hashed words"),
        real(f"{name}_probability", "probability", "best", high=1.0, missing="wordless",
             says=f"of that label {name}; null without words"),
    ) if labels else (
        real(name, "score", "scores", low=-math.inf, missing="wordless",
             says=f"the score {name} that its judge would give, by a linear model of hashed words; null without words"),
    )  # fmt: skip

    def measure(
        texts: pa.Array | pa.ChunkedArray, model: str | os.PathLike[str], labels: bool = labels
    ) -> dict[str, pa.Array]:
        names, weights, bias = _model(model)
        answers, wordless = _answers(texts, weights, bias)
        if not labels:
            return columns(signals, scores=answers[:, 0], wordless=wordless)
        probability, best = _softmax(answers), answers.argmax(1)
        named = pa.array(np.array(names)[best], pa.string(), mask=wordless)
        return columns(signals, names=named, best=probability.max(1), wordless=wordless)

    return Family(PREFIX + name, VERSION, measure, signals)


@loaded_once
def _model(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(labels, none of scores; float32 [buckets, answers]; float64 [answers])"""
    return read_arrays(path, "a distilled model", lambda a: (a["names"].tolist(), a["weights"], a["bias"]))


def _answers(texts: pa.Array | pa.ChunkedArray, weights: np.ndarray, bias: np.ndarray) -> tuple:
    """(float64 [n, answers], bool [n] a document without words)"""
    total, ngrams = sums(texts, weights)
    return total / np.maximum(ngrams, 1)[:, None] + bias, ngrams == 0


def _softmax(answers: np.ndarray) -> np.ndarray:
    powers = agreed(np.exp((answers - answers.max(1, keepdims=True)).astype(float)))
    return powers / powers.sum(1, keepdims=True)


# ---- Training -------------------------------------------------------------------------------------------


def train(
    texts: pa.Array | pa.ChunkedArray, judged: np.ndarray, path: str | os.PathLike[str]
) -> dict[str, Any]:
    """Learn what was `judged` of each text, labels (strings) or scores (floats); writes the model, returns how well it
    agrees with the judge on the tenth that was held out. Raises ValueError where there is too little to learn from."""
    texts = text_column(texts)
    held = held_out(texts, HELD_OUT)
    labels = judged.dtype.kind not in "fi"
    if not labels and not np.isfinite(judged).all():
        raise ValueError("a score is no number; leave it out")
    names, known = np.unique(judged, return_inverse=True)
    if labels and (len(names) < 2 or np.bincount(known[~held], minlength=len(names)).min() < 1):
        raise ValueError("one label is no choice, and each must be given to several documents; judge more")
    if not labels and np.ptp(judged) == 0:
        raise ValueError("every document has the same score; judge others")
    if len(texts) < LEAST:
        raise ValueError(f"{len(texts)} judged documents are too few to learn from; judge {LEAST} and more")
    if held.all() or not held.any():
        raise ValueError(
            "the judged documents have too few different texts to hold a tenth out; judge others"
        )
    mean, spread = (0.0, 1.0) if labels else (float(judged.mean()), float(judged.std()))
    wanted = np.eye(len(names), dtype=np.float32)[known] if labels else (judged[:, None] - mean) / spread
    weights, bias = _fitted(
        texts.filter(pa.array(~held)),
        wanted[~held].astype(np.float32),
        _cross_entropy if labels else _squares,
    )
    weights, bias = (spread * weights).astype(np.float32), spread * bias + mean
    with open(path, "wb") as file:
        np.savez(file, names=names if labels else np.array([], "U1"), weights=weights, bias=bias)
    answers, _ = _answers(texts.filter(pa.array(held)), weights, bias)
    found = {"documents": len(texts), "held_out": int(held.sum())}
    if labels:
        return found | agreement_of_labels(names.tolist(), known[held], _softmax(answers))
    return found | agreement_of_scores(judged[held].astype(float), answers[:, 0])


def _fitted(texts: pa.Array, wanted_NK: np.ndarray, loss: Any) -> tuple[np.ndarray, np.ndarray]:
    """(float64 [buckets, K], [K]) that the least penalised loss has."""
    from scipy.sparse import csr_array, diags_array

    counts = counted(texts, BUCKETS)
    total = np.maximum(np.asarray(counts.sum(1)).ravel(), 1)
    features = csr_array(diags_array((SCALE / total).astype(np.float32)) @ counts)
    used = np.unique(features.indices)  # weights of others stay 0
    features = features[:, used]
    turned = csr_array(features.T)
    n, k = wanted_NK.shape

    def penalised(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = flat[:-k].reshape(-1, k).astype(np.float32), flat[-k:].astype(np.float32)
        value, slope = loss(features @ weights + bias, wanted_NK)
        gradient = turned @ slope / n + PENALTY * weights
        both = np.concatenate([gradient.ravel(), slope.sum(0) / n]).astype(float)
        return float(value / n + PENALTY / 2 * np.square(weights, dtype=float).sum()), both

    found = least(penalised, np.zeros(k * (len(used) + 1)), ITERATIONS)
    weights = np.zeros((BUCKETS, k))
    weights[used] = SCALE * found[:-k].reshape(-1, k)
    return weights, found[-k:]


def _cross_entropy(answers: np.ndarray, wanted: np.ndarray) -> tuple[float, np.ndarray]:
    probability = _softmax(answers)
    return float(agreed(-np.log(np.maximum((probability * wanted).sum(1), 1e-30))).sum()), (
        probability - wanted
    ).astype(np.float32)


def _squares(answers: np.ndarray, wanted: np.ndarray) -> tuple[float, np.ndarray]:
    off = answers - wanted
    return float(np.square(off).sum() / 2), off


# ---- Agreement ------------------------------------------------------------------------------------------


def agreement_of_labels(names: list[str], judged: np.ndarray, probability: np.ndarray) -> dict[str, Any]:
    """Accuracy, beside that of always saying the commonest label; precision and recall of each; whether it is right as often
    as its probability says; and what a bound on the probability keeps, and how often that is right."""
    best, sure = probability.argmax(1), probability.max(1)
    right = best == judged
    by_label = {
        name: {"documents": int((judged == k).sum()), "precision": _share(right[best == k]),
               "recall": _share(right[judged == k])}
        for k, name in enumerate(names)
    }  # fmt: skip
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    calibration = [
        {"probability": _share(sure[bins == b]), "right": _share(right[bins == b]), "documents": int((bins == b).sum())}
        for b in np.unique(bins)
    ]  # fmt: skip
    thresholds = [
        {"probability": p, "keeps": _share(sure >= p), "right": _share(right[sure >= p])}
        for p in PROBABILITIES
    ]
    common = _share(judged == np.bincount(judged).argmax())
    return {"accuracy": _share(right), "commonest": common, "labels": by_label, "calibration": calibration,
            "thresholds": thresholds}  # fmt: skip


def agreement_of_scores(judged: np.ndarray, foretold: np.ndarray) -> dict[str, Any]:
    """Share of the variance that is foretold, correlation of ranks, mean error; by tenths of what is foretold what was
    judged; and for each threshold how many of those above it the judge puts there too."""
    from scipy.stats import spearmanr

    off = judged - foretold
    tenths = np.array_split(np.argsort(foretold, kind="stable"), min(BINS, len(judged)))
    different = np.unique(judged)
    cuts = different[1:] if len(different) <= BINS else np.quantile(judged, (0.1, 0.25, 0.5, 0.75, 0.9))
    rank = spearmanr(judged, foretold).statistic if len(different) > 1 else 0.0
    return {
        "variance": round(1 - float(np.square(off).mean() / max(judged.var(), 1e-30)), 4),
        "rank_correlation": round(float(rank), 4),
        "mean_error": round(float(np.abs(off).mean()), 4),
        "calibration": [
            {"foretold": _share(foretold[t]), "judged": _share(judged[t]), "documents": len(t)} for t in tenths
        ],
        "thresholds": [
            {"threshold": round(float(t), 6), "keeps": _share(foretold >= t), "judged": _share(judged >= t),
             "precision": _share(judged[foretold >= t] >= t), "recall": _share(foretold[judged >= t] >= t)}
            for t in cuts
        ],
    }  # fmt: skip


def _share(of: np.ndarray) -> float | None:
    """The mean; None of nothing."""
    return round(float(of.mean()), 4) if len(of) else None
