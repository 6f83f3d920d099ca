"""MADLAD-400's rules on sentences: the kernel is its plain twin."""

from __future__ import annotations

import hostile
import naive_madlad
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.heuristics import madlad

PIECES = [
    "word", "Name", "Éric", "éric", "ǅ", "漢字", "Ⓐ", "_A", "9th", "3.14", "e.g.", "don't", "NATO", "A", "\u0301", "🇳🇴", "ͅA",
    ".", "!", "?", "...", "?!", "…", "。", " ", "  ", "\n", "\xa0", "\u3000", "\x85", "\x1c", ". ", ".\n", "! \u2003", ", ",
]  # fmt: skip
LISTS = st.lists(st.sampled_from(["Name ", "Two, ", "of ", "É. B ", "Ω-x ", "7 ", ". ", "!\n"]), max_size=60)


def compare(texts: list[str], column: pa.Array | None = None) -> None:
    measured = madlad.FAMILY.measure(pa.array(texts, pa.large_string()) if column is None else column)
    found = {name: values.to_pylist() for name, values in measured.items()}
    for i, text in enumerate(texts):
        assert {name: values[i] for name, values in found.items()} == naive_madlad.madlad(text), text


@settings(max_examples=400, deadline=None)
@given(st.lists((st.lists(st.sampled_from(PIECES), max_size=60) | LISTS).map("".join), max_size=4))
def test_random_texts_are_measured_as_the_plain_rules_measure_them(texts):
    compare(texts)


def test_hostile_texts_are_measured_as_the_plain_rules_measure_them():
    compare(list(hostile.texts().values()))


def test_a_sentence_longer_than_a_window_is_measured_as_the_plain_rules_measure_it():
    half = "Name of Place " * 20_000
    found = madlad.FAMILY.measure(
        pa.array([f"One. {half}", f"One. {half} of it", half[:-9]], pa.large_string())
    )
    assert found["madlad_list_case_sentence_ratio"].to_pylist() == [0.5, 0.5, 1]


def test_real_documents_are_measured_as_the_plain_rules_measure_them(data_folder):
    texts = pq.read_table(data_folder / "web_mix_small.parquet", columns=["text"])["text"].to_pylist()
    compare([text for text in texts if len(text) < 3000][::5])  # the plain words take quadratic time


@pytest.mark.parametrize(
    ("text", "sentences", "ratio"),
    [
        ("One. Two! Three?", 3, 0),
        ("One.Two 3.5 four... Five", 2, 0),
        ("A B C D E F g h i j k l", 1, 0),  # half of twelve is not more than half
        ("A B C D E F G h i j k l", 1, 1),
        ("A B C D E F G H I J K", 1, 0),  # eleven words are no list
        ("A B C D E F G h i j k l. And then it ends. ", 2, 0.5),
        ("...  . ! ", 0, 0),
    ],
)
def test_sentences_and_lists_are_told_as_the_paper_tells_them(text, sentences, ratio):
    found = madlad.FAMILY.measure(pa.array([text], pa.large_string()))
    assert [values[0].as_py() for values in found.values()] == [sentences, ratio]


def test_a_slice_gives_the_signals_of_the_whole():
    texts = ["One. Two", "A B C D E F G H I J K L. M", "Three! "]
    compare(texts[1:], pa.array(texts, pa.large_string()).slice(1))


@pytest.mark.parametrize("text", [*hostile.huge().values(), "A" * 900_000, "A. " * 300_000, "." * 900_000])
def test_no_text_takes_more_than_linear_time(text):
    assert len(madlad.FAMILY.measure(pa.array([text], pa.large_string()))) == len(madlad.SIGNALS)
