"""The n-gram model is the textbook's, its probabilities sum to one, and documents are scored line by line."""

from __future__ import annotations

import math
import os
import random
from pathlib import Path

import hostile
import naive_perplexity as naive
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.models import perplexity
from filters.models.kneser_ney import table_of

WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "mat", ".", ",", "and", "1", "22", "ß", "中"]
LINE = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
TEXT = st.lists(LINE, max_size=6).map("\n".join)


def column(texts) -> pa.Array:
    return pa.array(texts, pa.large_string())


def model_of(texts: list[str], order: int, min_count: int) -> perplexity.Model:
    found = perplexity.estimate_from(column(texts), order, min_count)
    return perplexity.Model(found.order, found.unknown, table_of(found.entries))


def equal_to_the_naive(training: list[str], texts: list[str], order: int, min_count: int) -> None:
    if not any(naive.lines(text) for text in training):
        return
    reference = naive.Model(training, order, min_count)
    model = model_of(training, order, min_count)
    found = perplexity.score_lines(column(texts), model)
    columns = perplexity.measure(column(texts), model)
    for row, text in enumerate(texts):
        wanted = [reference.line(line) for line in naive.lines(text)]
        mine = found.logp[found.of[row] : found.of[row + 1]]
        np.testing.assert_allclose(mine, wanted, rtol=1e-5, atol=1e-4)
        told = columns["perplexity"][row].as_py()
        if not wanted:
            assert told is None
            continue
        predictions = sum(len(line) - 1 for line in naive.lines(text))
        assert told == pytest.approx(math.exp(-sum(wanted) / predictions), rel=1e-4)
        bits = -sum(wanted) / math.log(2) / len(text.encode())
        assert columns["ngram_bits_per_byte"][row].as_py() == pytest.approx(bits, rel=1e-4)
        known = {gram[0] for gram in reference.counts[0]}
        words = [word for line in naive.lines(text) for word in line[1:-1]]
        unknown = sum(word not in known for word in words) / len(words)
        assert columns["unknown_word_ratio"][row].as_py() == pytest.approx(unknown)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(TEXT, min_size=1, max_size=5), st.lists(TEXT, max_size=3), st.integers(2, 5), st.integers(1, 3)
)
def test_random_texts_are_as_likely_as_the_textbook_says(training, texts, order, min_count):
    equal_to_the_naive(training, texts, order, min_count)


def test_discounts_of_a_larger_text_are_as_the_textbook_says():
    chance = random.Random(1)
    weights = [1 / (k + 1) for k in range(200)]

    def draw(words: int) -> str:
        names = [f"w{chr(97 + k % 26)}{k // 26}x" for k in range(200)]
        return " ".join(chance.choices(names, weights, k=words))

    training = ["\n".join(draw(8) for _ in range(40)) for _ in range(10)]
    equal_to_the_naive(training, [draw(30), draw(5) + " never\nseen before"], 3, 1)


def test_hostile_texts_are_as_likely_as_the_textbook_says():
    texts = [text for name, text in hostile.texts().items() if name not in NOT_THE_SAME_SYMBOLS]
    equal_to_the_naive(texts, texts, 3, 2)


# Python's regular expressions and str.isalnum disagree on what is a word character in these.
NOT_THE_SAME_SYMBOLS = {"titlecase and Greek", "last code points", "mathematical"}


@pytest.mark.parametrize("context", [[], ["the"], ["<s>", "the"], ["cat", "sat"], ["never", "seen"]])
def test_probabilities_of_all_words_after_a_context_sum_to_one(context):
    chance = random.Random(0)
    training = ["\n".join(" ".join(chance.choices(WORDS, k=7)) for _ in range(30))]
    reference = naive.Model(training, 3, 2)
    assert sum(reference.probability(w, tuple(context)) for w in reference.vocabulary) == pytest.approx(1)


def test_the_same_documents_make_the_same_file_and_a_file_the_same_answers(tmp_path):
    chance = random.Random(3)
    texts = column(["\n".join(" ".join(chance.choices(WORDS, k=7)) for _ in range(9)) for _ in range(200)])
    facts = perplexity.train(texts, tmp_path / "one")
    assert perplexity.train(texts, tmp_path / "two") == facts
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert facts["held_out"] > 0
    assert perplexity.measure(texts, tmp_path / "one") == perplexity.measure(texts, tmp_path / "two")


def test_what_the_model_has_seen_is_more_likely_than_the_same_words_in_disorder():
    chance = random.Random(5)
    training = ["the cat sat on the mat and the dog ran .\n" * 3 + " ".join(chance.choices(WORDS, k=30))] * 5
    seen, disorder = "the cat sat on the mat and the dog ran .", "mat the on and dog sat ran . the cat the"
    found = perplexity.measure(column([seen, disorder]), model_of(training, 3, 1))["perplexity"].to_pylist()
    assert found[0] < found[1]


def test_lines_above_the_limit_have_spans_and_others_none():
    model = model_of(["the cat sat on the mat\n" * 5], 3, 1)
    text = "the cat sat on the mat\nzz qq xx vv\n\nthe cat sat on the mat"
    spans = perplexity.measure(column([text]), model, unlikely=10.0)["unlikely_line_spans"][0].as_py()
    assert [text[s["start"] : s["end"]] for s in spans] == ["zz qq xx vv\n"]
    assert perplexity.measure(column([text]), model)["unlikely_line_spans"][0].as_py() == []


def test_the_median_line_is_the_lower_middle_one():
    model = model_of(["the cat sat on the mat\n" * 5], 2, 1)
    text = "the cat\nzz qq\nthe cat sat on the mat\nzz qq xx vv"
    lines = perplexity.score_lines(column([text]), model).perplexity
    median = perplexity.measure(column([text]), model)["median_line_perplexity"][0].as_py()
    assert median == sorted(lines)[1]


def test_a_model_that_cannot_be_made_or_read_is_one_clear_error(tmp_path):
    with pytest.raises(ValueError, match="too few"):
        perplexity.train(column(["one document"]), tmp_path / "model")
    with pytest.raises(ValueError, match="order = 1 does not lie in 2..8"):
        perplexity.train(column(["a"] * 50), tmp_path / "model", order=1)
    (tmp_path / "model").write_bytes(b"no model")
    with pytest.raises(ValueError, match="not an n-gram model"):
        perplexity.measure(column(["a"]), tmp_path / "model")


@pytest.mark.parametrize("text", [*hostile.huge().values()], ids=[*hostile.huge()])
def test_no_text_takes_more_than_linear_time(text):
    model = model_of([text[:10_000] + "\nword"], 3, 1)
    assert len(perplexity.measure(column([text]), model)["perplexity"]) == 1


def test_real_documents_are_as_likely_as_the_textbook_says():
    if not (folder := os.environ.get("CURATE_DATA")):
        pytest.skip("CURATE_DATA does not name a folder of real text")
    texts = pq.read_table(Path(folder) / "books.parquet", columns=["text"])["text"].to_pylist()
    plain = [text.encode("ascii", "ignore").decode()[:4000] for text in texts[:60]]
    equal_to_the_naive(plain[:40], plain[40:], 3, 2)
