"""What a judge said of some documents is foretold of others: labels and scores, and how well, on what was held out."""

from __future__ import annotations

import random

import hostile
import naive_duplicates as naive
import numpy as np
import pyarrow as pa
import pytest

from filters.models import distilled
from filters.models.hashed import counted, sums

TOPICS = {
    "sea": "ship wave harbour tide sail",
    "bread": "flour oven yeast dough crust",
    "law": "court judge plea",
}


def column(texts: list[str]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


def documents(number: int, seed: int) -> tuple[list[str], list[str], list[float]]:
    """(texts, their labels, scores: how many of twenty words are of the topic, in tenths)"""
    chance = random.Random(seed)
    texts, labels, scores = [], [], []
    for _ in range(number):
        topic = chance.choice(list(TOPICS))
        many = chance.randrange(2, 20)
        mine = chance.choices(TOPICS[topic].split(), k=many) + chance.choices(
            ["the", "a", "of", "and", "to", "in"], k=20 - many
        )
        chance.shuffle(mine)
        texts.append(" ".join(mine))
        labels.append(topic)
        scores.append(many / 10)
    return texts, labels, scores


def test_counts_and_sums_equal_the_naive_definition_on_hostile_text():
    texts = [t for t in hostile.texts() if len(t) < 5000] + ["A b, a B! a"]
    expected = [naive.words_and_pairs(text) for text in texts]
    counts = counted(column(texts), 1 << 24)
    assert sorted(counts[[-1]].data.tolist()) == [2, 2, 2, 3]
    gram = (counts @ counts.T).toarray()
    for i, mine in enumerate(expected):
        for j, other in enumerate(expected[: i + 1]):
            assert gram[i, j] == sum(n * other[word] for word, n in mine.items())
    weights = np.random.default_rng(0).integers(-9, 9, (1 << 24, 2)).astype(np.float32)
    total, ngrams = sums(column(texts), weights)
    assert np.array_equal(total, counts @ weights)
    assert ngrams.tolist() == [mine.total() for mine in expected]
    sliced, _ = sums(column(["x", *texts]).slice(1), weights)
    assert np.array_equal(sliced, total)


@pytest.fixture(scope="module")
def of_labels(tmp_path_factory):
    texts, labels, _ = documents(900, 1)
    path = tmp_path_factory.mktemp("labels") / "model"
    return path, distilled.train(column(texts), np.array(labels), path)


def test_labels_are_foretold_and_the_held_out_tenth_says_how_well(of_labels):
    path, facts = of_labels
    texts, labels, _ = documents(300, 2)
    found = distilled.family("distilled.topic", True).measure(column([*texts, ""]), path)
    assert list(found) == ["topic", "topic_probability"]
    assert np.mean([a == b for a, b in zip(found["topic"].to_pylist(), labels, strict=False)]) > 0.97
    assert found["topic"][-1].as_py() is found["topic_probability"][-1].as_py() is None
    assert facts["accuracy"] > 0.95 > facts["commonest"]
    assert sum(row["documents"] for row in facts["calibration"]) == facts["held_out"]
    assert set(facts["labels"]) == set(TOPICS)
    assert facts["thresholds"][0]["keeps"] == 1.0


def test_scores_are_foretold_and_the_held_out_tenth_says_how_well(tmp_path):
    texts, _, scores = documents(900, 1)
    facts = distilled.train(column(texts), np.array(scores), tmp_path / "model")
    others, _, theirs = documents(300, 2)
    found = distilled.family("distilled.focus", False).measure(column([*others, " "]), tmp_path / "model")[
        "focus"
    ]
    assert np.abs(found.drop_null().to_numpy() - theirs).mean() < 0.1
    assert found[-1].as_py() is None
    assert facts["variance"] > 0.9
    assert facts["rank_correlation"] > 0.9
    assert all(row["precision"] > 0.8 for row in facts["thresholds"])


def test_the_same_judgements_make_the_same_bytes(of_labels, tmp_path):
    texts, labels, _ = documents(900, 1)
    assert distilled.train(column(texts), np.array(labels), tmp_path / "again") == of_labels[1]
    assert (tmp_path / "again").read_bytes() == of_labels[0].read_bytes()


def test_agreement_of_scores_is_that_of_its_definition():
    judged, foretold = np.array([0.0, 1, 2, 3]), np.array([0.0, 1, 3, 2])
    facts = distilled.agreement_of_scores(judged, foretold)
    assert facts["variance"] == 0.6
    assert facts["rank_correlation"] == 0.8
    assert facts["mean_error"] == 0.5
    assert [row["precision"] for row in facts["thresholds"]] == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("texts", "judged", "says"),
    [
        (["a"] * 60, np.array(["x"] * 60), "one label is no choice"),
        (["a b"] * 9, np.array([1.0, 2, 3] * 3), "9 judged documents are too few"),
        (["a b"] * 60, np.arange(60.0), "too few different texts"),
        (["a b"] * 60, np.ones(60), "every document has the same score"),
        (["a b"] * 60, np.full(60, np.nan), "no number"),
    ],
)
def test_too_little_to_learn_from_is_refused(tmp_path, texts, judged, says):
    with pytest.raises(ValueError, match=says):
        distilled.train(column(texts), judged, tmp_path / "model")
    assert not list(tmp_path.iterdir())
