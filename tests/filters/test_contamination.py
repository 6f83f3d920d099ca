"""Contamination finds every run of words that an evaluation text shares, and says which text it was."""

from __future__ import annotations

import os
from pathlib import Path

import hostile
import naive_contamination as naive
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.models import contamination

WORDS = st.sampled_from(["the", "Cat", "sat", "on", "a", "mat", "ß", "中", "文", "n0_t", "é"])
TEXT = st.lists(WORDS, max_size=30).map(" ".join)


def equal_to_the_naive(documents: list[str], items: list[str], ngram: int) -> None:
    index = contamination.build_index(
        pa.array(items, pa.large_string()), pa.array(map(str, range(len(items))), pa.string()), ngram
    )
    found = contamination.measure(pa.array(documents, pa.large_string()), index)
    shortest = min(contamination.SHORTEST, ngram)
    for row, text in enumerate(documents):
        spans, ratio, item, share = naive.contamination(text, items, ngram, shortest)
        mine = {name: column[row].as_py() for name, column in found.items()}
        assert [(s["start"], s["end"]) for s in mine["contamination_spans"]] == spans
        assert mine["contaminated_word_ratio"] == ratio
        assert mine["contamination_item"] == (None if item is None else str(item))
        assert mine["contamination_item_ratio"] == share


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=4), st.lists(TEXT, max_size=4), st.integers(2, 13))
def test_random_documents_are_matched_as_the_plain_definition_matches_them(documents, items, ngram):
    equal_to_the_naive(documents, items, ngram)


def test_hostile_documents_are_matched_as_the_plain_definition_matches_them():
    texts = [*hostile.texts().values()]
    equal_to_the_naive(texts, texts[::3], 5)


def test_a_span_covers_what_was_copied_and_nothing_else():
    item = "How many apples does Mary have left after she gave seven of them to her brother?"
    text = f"Forum. {item.upper()} I think five."
    index = contamination.build_index(pa.array([item]), pa.array(["gsm/7"]))
    found = {
        name: column[0].as_py() for name, column in contamination.measure(pa.array([text]), index).items()
    }
    (span,) = found["contamination_spans"]
    assert text.encode()[span["start"] : span["end"]].decode() == item.upper().rstrip("?")
    assert found["contamination_item"] == "gsm/7"
    assert found["contamination_item_ratio"] == 1.0
    assert found["contaminated_word_ratio"] == 16 / 20


def test_an_item_of_fewer_than_eight_words_is_counted_and_not_looked_for(tmp_path):
    items = pa.array(["yes", "one two three four five six seven", "one two three four five six seven eight"])
    facts = contamination.make_index(items, pa.array(["a", "b", "c"]), tmp_path / "index")
    assert facts["items_too_short"] == 2
    found = contamination.measure(pa.array(["yes one two three four five six seven"]), tmp_path / "index")
    assert found["contamination_item"].to_pylist() == [None]


def test_the_same_items_make_the_same_file_and_a_file_the_same_answers(tmp_path):
    items, names = pa.array(["word " * 20, "a b c d e f g h i j"]), pa.array(["x", "y"])
    contamination.make_index(items, names, tmp_path / "one")
    contamination.make_index(items, names, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    texts = pa.array(["a b c d e f g h i j", "word " * 13, None, ""])
    direct = contamination.measure(texts, contamination.build_index(items, names))
    assert contamination.measure(texts, tmp_path / "one") == direct


def test_a_file_that_is_no_index_is_refused(tmp_path):
    (tmp_path / "index").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ValueError, match="not an index"):
        contamination.read_index(tmp_path / "index")


@pytest.mark.parametrize("text", [*hostile.huge().values()], ids=[*hostile.huge()])
def test_no_text_takes_more_than_linear_time(text):
    index = contamination.build_index(pa.array([text[:5000]]), pa.array(["itself"]))
    assert len(contamination.measure(pa.array([text]), index)["contamination_item"]) == 1


def test_documents_of_a_real_corpus_find_themselves_and_no_text_of_random_words():
    if not (folder := os.environ.get("CURATE_DATA")):
        pytest.skip("CURATE_DATA does not name a folder of real text")
    texts = pq.read_table(Path(folder) / "web_mix_small.parquet", columns=["text"])["text"].combine_chunks()
    texts = texts.cast(pa.large_string()).slice(0, 150)
    index = contamination.build_index(texts, pa.array([str(k) for k in range(150)]))
    found = contamination.measure(texts, index)
    long = index.grams.grams_of > 0
    assert (found["contamination_item_ratio"].to_numpy()[long] == 1.0).all()
    shuffled = np.random.default_rng(0).permutation(
        [word for word, _, _ in naive.words(" ".join(texts.to_pylist()[:25]))]
    )
    noise = pa.array([" ".join(shuffled)], pa.large_string())
    assert contamination.measure(noise, index)["contaminated_word_ratio"][0].as_py() < 0.01
