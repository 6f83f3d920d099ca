"""The quality classifier is the library's, trained the same way every time, and says what it is worth."""

from __future__ import annotations

import os
import random
from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.models import quality

PROSE = [
    "the",
    "of",
    "and",
    "chapter",
    "he",
    "she",
    "said",
    "was",
    "there",
    "great",
    "old",
    "man",
    "night",
    "house",
    "river",
]
TRADE = [
    "buy",
    "now",
    "cheap",
    "click",
    "free",
    "offer",
    "price",
    "deal",
    "best",
    "shop",
    "cart",
    "sale",
    "win",
    "today",
]


def documents(words: list[str], number: int, seed: int) -> pa.Array:
    chance = random.Random(seed)
    both = words + ["a", "in", "__label__cc"]
    return pa.array([" ".join(chance.choices(both, k=30)) for _ in range(number)], pa.large_string())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("quality") / "model"
    facts = quality.train(documents(PROSE, 400, 1), documents(TRADE, 400, 2), path)
    return path, facts


def library_scores(path: Path, texts: list[str]) -> list[float]:
    """The probability of `hq`; the compiled core is asked, since the library's `predict` breaks with NumPy 2."""
    model = fasttext.load_model(str(path))
    answers = (model.f.predict(text.replace("\n", " ") + "\n", 2, 0.0, "strict") for text in texts)
    return [{label: score for score, label in answer}["__label__hq"] for answer in answers]


def test_what_it_learned_is_told_with_it(trained):
    _, facts = trained
    assert facts["auc"] > 0.99
    assert sum(facts["held_out"].values()) == pytest.approx(80, abs=25)
    kept = [row["keeps_negative"] for row in facts["thresholds"]]
    assert kept == sorted(kept)


def test_the_same_documents_make_the_same_bytes(trained, tmp_path):
    path, facts = trained
    again = quality.train(documents(PROSE, 400, 1), documents(TRADE, 400, 2), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    assert again == facts


def test_another_seed_makes_another_model(trained, tmp_path):
    path, _ = trained
    quality.train(documents(PROSE, 400, 1), documents(TRADE, 400, 2), tmp_path / "other", seed=1)
    assert (tmp_path / "other").read_bytes() != path.read_bytes()


def test_scores_are_the_librarys(trained):
    path, _ = trained
    texts = [
        *documents(PROSE, 50, 3).to_pylist(),
        *documents(TRADE, 50, 4).to_pylist(),
        "x",
        "the\nthe __label__hq",
    ]
    mine = quality.measure(pa.array(texts, pa.large_string()), path)["quality_score"]
    np.testing.assert_allclose(mine.to_numpy(), np.clip(library_scores(path, texts), 0, 1), atol=1e-6)


def test_scores_of_real_documents_are_the_librarys(trained):
    if not (folder := os.environ.get("CURATE_DATA")):
        pytest.skip("CURATE_DATA does not name a folder of real text")
    path, _ = trained
    texts = pq.read_table(Path(folder) / "web_mix_small.parquet", columns=["text"])["text"][:1000].to_pylist()
    mine = quality.measure(pa.array(texts, pa.large_string()), path)["quality_score"]
    known = np.array([value is not None for value in mine.to_pylist()])
    theirs = np.clip(library_scores(path, [t for t, k in zip(texts, known, strict=True) if k]), 0, 1)
    np.testing.assert_allclose(mine.drop_null().to_numpy(), theirs, atol=1e-6)
    assert known.mean() > 0.99


def test_a_document_without_words_has_no_score(trained):
    scores = quality.measure(pa.array(["", " \n", None, "the"], pa.large_string()), trained[0])[
        "quality_score"
    ]
    assert [score is None for score in scores.to_pylist()] == [True, True, True, False]


def test_a_model_without_the_label_is_refused_with_the_labels_it_has(trained):
    with pytest.raises(ValueError, match=r"two labels, one of them good; this model has .*hq"):
        quality.measure(pa.array(["a"]), trained[0], label="good")


def test_the_other_label_has_the_rest_of_the_probability(trained):
    texts = documents(TRADE, 20, 5)
    good, other = (
        quality.measure(texts, trained[0], label=label)["quality_score"].to_numpy()
        for label in ("hq", "__label__cc")
    )
    np.testing.assert_allclose(good + other, 1, atol=1e-4)


def test_too_few_documents_are_refused(tmp_path):
    with pytest.raises(ValueError, match="1 negative documents are too few"):
        quality.train(documents(PROSE, 100, 1), pa.array(["one"]), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_auc_counts_pairs_and_halves_ties():
    chance = np.random.default_rng(0)
    positive, negative = chance.integers(0, 5, 40) + 1.0, chance.integers(0, 5, 30) * 1.0
    pairs = np.sign(positive[:, None] - negative[None, :]) / 2 + 0.5
    assert quality.auc(positive, negative) == pytest.approx(pairs.mean())


def test_a_threshold_keeps_the_share_it_says():
    found = quality.evaluation(np.linspace(0.5, 1, 1000), np.linspace(0, 1, 1000))
    row = next(row for row in found["thresholds"] if row["keeps_negative"] == 0.1)
    assert row["threshold"] == pytest.approx(0.9, abs=0.002)
    assert row["keeps_positive"] == pytest.approx(0.2, abs=0.003)
