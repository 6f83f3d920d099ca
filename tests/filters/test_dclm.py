"""DCLM's rules: the kernel is its plain twin, and what the spans take out is what the line edits take out."""

from __future__ import annotations

import hostile
import naive_dclm
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.arrow import text_column
from filters.edits import edit
from filters.heuristics import dclm

PIECES = [
    "a", "word", "The", "the", "To", "CAPITALS", "3", "1,200", "4.5K", "likes", "Views!", "comments_", "_", "item",
    "items in cart", "Items In Cart", "Read more...", "read more", "read more…!?", "Sign-in", "sign-in", "●", "* ", "- ",
    "...", ". . .", ". . . .", "....", "…", "#", " ", "  ", "\t", "\n", "\n\n", "\n\n\n", "\r\n", "\u3000", "\xa0", "漢字",
    "é", "É", "\x00", "one two three", "five words are in this", "٣", "²", ",", "ſ",
]  # fmt: skip
SIGNALS = [signal.name for signal in dclm.FAMILY.signals]


def compare(texts: list[str], column: pa.Array | pa.ChunkedArray | None = None) -> None:
    column = pa.array(texts, pa.large_string()) if column is None else column
    measured = dclm.measure(column)
    assert list(measured) == SIGNALS
    left = edit(text_column(column), [measured["dclm_edit_spans"]], [""]).to_pylist()
    found = {name: values.to_pylist() for name, values in measured.items()}
    for i, text in enumerate(texts):
        for name, value in naive_dclm.dclm(text).items():
            assert found[name][i] == value, (name, text)
        rest = naive_dclm.edited_text(text)
        assert left[i] == rest, text
        words = sum(map(naive_dclm.is_word, text.split()))
        if found["dclm_edited_word_ratio"][i] * words != pytest.approx(
            words - sum(map(naive_dclm.is_word, rest.split()))
        ):  # a word that is cut in two, or joined by a cut, is counted as it stood
            assert any(phrase in naive_dclm.ascii_lower(text) for phrase in dclm.PHRASES), text


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=25).map("".join), max_size=4))
def test_random_texts_are_measured_as_the_plain_rules_measure_them(texts):
    compare(texts)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=6).map(" ".join), max_size=8).map("\n".join))
def test_random_lines_are_edited_as_the_plain_rules_edit_them(text):
    compare([text])


def test_hostile_texts_are_measured_as_the_plain_rules_measure_them():
    compare(list(hostile.texts().values()))


def test_real_documents_are_measured_as_the_plain_rules_measure_them(data_folder):
    texts = pq.read_table(data_folder / "web_mix_small.parquet", columns=["text"])["text"].to_pylist()
    compare([text for text in texts if len(text) < 1500][::3])  # the plain tokens take quadratic time


def test_real_lines_are_edited_as_the_plain_rules_edit_them(data_folder):
    column = pq.read_table(data_folder / "web_mix_small.parquet", columns=["text"])["text"].combine_chunks()
    column = column.cast(pa.large_string())
    left = edit(column, [dclm.measure(column)["dclm_edit_spans"]], [""]).to_pylist()
    assert left == [naive_dclm.edited_text(text) for text in column.to_pylist()]


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("TOP STORIES today", None),
        ("2024", None),
        ("1.2K likes", None),
        ("3 comments!", None),
        ("3 comments by you", "3 comments by you"),
        ("alone", None),
        ("You have 2 items in cart", "You have 2"),
        ("A fine day it was. Read more...", "A fine day it was."),
        ("Sign-in to read", "to read"),
        ("Sign-in Read more...", None),
        ("", ""),
    ],
)
def test_a_line_is_edited_as_the_pipeline_says(line, left):
    text = f"Before it.\n{line}\nAfter it."
    spans = dclm.measure(pa.array([text], pa.large_string()))["dclm_edit_spans"]
    expected = "Before it.\n" + ("" if left is None else f"{left}\n") + "After it."
    assert edit(pa.array([text], pa.large_string()), [spans], [""]).to_pylist() == [expected]


def test_a_slice_gives_the_signals_of_the_whole():
    texts = ["One two.\nONE\n", "Read more... of it, or\nsign-in", "3 likes\nA b c."]
    compare(texts[1:], pa.array(texts, pa.large_string()).slice(1))


@pytest.mark.parametrize("text", [*hostile.huge().values(), "read more" * 90_000, ". " * 400_000])
def test_no_text_takes_more_than_linear_time(text):
    assert len(dclm.measure(pa.array([text], pa.large_string()))) == len(SIGNALS)
