"""How much liker its words make a document to a target than to raw text: DSIR's importance weight."""

from __future__ import annotations

import math
from collections import Counter

import hostile
import naive_duplicates as naive
import numpy as np
import pyarrow as pa
import pytest

from filters.models import target_likeness
from filters.models.hashed import counted

TARGET = ["the tide turns at the harbour wall", "a ship waits for the tide"]
RAW = ["buy the best flour now", "a judge hears the plea of a ship", "win now", "the best of the rest"]


def column(texts: list[str]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


def bucket(ngram) -> int:
    """Where an n-gram is counted; a pair of words has the bucket that its words have not."""
    words = {bucket(word) for word in ngram} if isinstance(ngram, tuple) else set()
    text = " ".join(ngram) if isinstance(ngram, tuple) else ngram
    found = counted(column([text]), target_likeness.BUCKETS).indices.tolist()
    return next((b for b in found if b not in words), found[0])


def test_the_weight_equals_the_naive_definition(tmp_path):
    facts = target_likeness.train(column(TARGET), column(RAW), tmp_path / "model")
    sides = []
    for texts in (TARGET, RAW):
        counts: Counter = Counter()
        for text in texts:
            counts.update({bucket(g): n for g, n in naive.words_and_pairs(text).items()})
        sides.append(counts)
    ratio = {
        b: math.log((sides[0][b] + 1) / (sides[0].total() + target_likeness.BUCKETS))
        - math.log((sides[1][b] + 1) / (sides[1].total() + target_likeness.BUCKETS))
        for b in range(target_likeness.BUCKETS)
    }
    texts = [*TARGET, *RAW, "The TIDE, the ship; the best flour", "nothing known here", ""]
    found = target_likeness.measure(column(texts), tmp_path / "model")
    for text, weight, likeness in zip(texts, *(c.to_pylist() for c in found.values()), strict=True):
        grams = naive.words_and_pairs(text)
        assert weight == pytest.approx(sum(n * ratio[bucket(g)] for g, n in grams.items()), abs=1e-4)
        assert likeness == pytest.approx(weight / max(grams.total(), 1), abs=1e-6)
    assert facts["nats_of_the_target"] > 0 > facts["nats_of_raw_text"]


def test_hostile_text_has_finite_weights_and_a_slice_the_same(tmp_path):
    target_likeness.train(column(TARGET), column(RAW), tmp_path / "model")
    texts = column(hostile.texts())
    found = target_likeness.measure(texts, tmp_path / "model")["target_log_weight"].to_numpy()
    assert np.isfinite(found).all()
    sliced = target_likeness.measure(texts.slice(3), tmp_path / "model")["target_log_weight"].to_numpy()
    assert np.array_equal(sliced, found[3:])


def test_a_target_without_words_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no words"):
        target_likeness.train(column(["", "..."]), column(RAW), tmp_path / "model")
