"""Lists of words: every entry is found where its words stand side by side, and nowhere else."""

from __future__ import annotations

import time

import hostile
import naive_word_lists as naive
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.heuristics import word_lists

PIECES = ["lorem", "Lorem", "ipsum", "dolor", "sit amet", "class", "ass", "漢", "字", "カナ", "É", "é", "'s", "1", "-", ".", " ",
          "\n", "ก", "\u0301", "İ", "#"]  # fmt: skip
ENTRIES = ["lorem ipsum", "Lorem", "ass", "漢字", "É", "lorem ipsum dolor", "カナ", "1-1", "İ"]


@pytest.fixture
def listed(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("# a comment\n\n" + "\n".join(ENTRIES) + "\n", encoding="utf-8")
    return str(path)


def measured(texts: list[str], path: str) -> list[tuple]:
    family = word_lists.family("word_list.mine")
    columns = family.measure(pa.array(texts, pa.large_string()), list=path)
    assert list(columns) == ["mine_count", "mine_ratio", "mine_distinct_count"]
    return list(zip(*(column.to_pylist() for column in columns.values()), strict=True))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    path = tmp_path_factory.mktemp("lists") / "list.txt"
    path.write_text("\n".join(ENTRIES), encoding="utf-8")
    return str(path)


@settings(max_examples=400, deadline=None)
@given(texts=st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), max_size=4))
def test_random_texts_say_what_the_plain_definition_finds(texts, shared):
    assert measured(texts, shared) == [naive.word_list(text, ENTRIES) for text in texts]


def test_hostile_texts_say_what_the_plain_definition_finds(shared):
    texts = [text[:300] for text in hostile.texts().values()]
    assert measured(texts, shared) == [naive.word_list(text, ENTRIES) for text in texts]


def test_words_are_whole_and_the_longest_entry_counts(listed):
    assert measured(["First class. LOREM-IPSUM! Lorem ipsum dolor, lorem."], listed) == [(3, 3 / 8, 3)]
    assert measured(["我寫漢字。"], listed)[0][0] == 1


def test_a_long_list_takes_no_longer_than_a_short_one(tmp_path, listed):
    long = tmp_path / "long.txt"
    long.write_text("\n".join(f"entry{i} of the list" for i in range(50_000)))
    texts = ["A day of the list, entry77 of the list and more to say about it. " * 50] * 200
    measured(texts[:1], str(long)), measured(texts[:1], listed)
    seconds = []
    for path in (listed, str(long)):
        start = time.perf_counter()
        rows = measured(texts, path)
        seconds.append(time.perf_counter() - start)
    assert rows == [(50, rows[0][1], 1)] * 200
    assert seconds[1] < 5 * seconds[0] + 0.5
