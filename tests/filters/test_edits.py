"""Cutting and masking spans: what is left, byte for byte."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import columns
from filters.edits import edit, edited_sizes


def column(spans: list[list[tuple[int, int]]]) -> pa.Array:
    offsets = np.cumsum([0, *map(len, spans)])
    flat = [span for document in spans for span in document]
    return columns.spans(offsets, [start for start, _ in flat], [end for _, end in flat])


def naive(text: str, spans: list[list[tuple[int, int]]], masks: list[str]) -> str:
    """Byte by byte: which stretch, if any, a byte belongs to."""
    data = text.encode()
    every = sorted((start, number, end) for number, own in enumerate(spans) for start, end in own)
    out, free = b"", 0
    for start, number, end in every:
        if start >= free:
            out += data[free:start] + masks[number].encode()
        free = max(free, end)
    return (out + data[free:]).decode()


def some_spans(size: int) -> st.SearchStrategy:
    cuts = st.lists(st.integers(0, size), max_size=8, unique=True).map(sorted)
    return cuts.map(lambda c: [(a, b) for a, b in zip(c[::2], c[1::2], strict=False) if a < b])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_edited_text_is_what_the_plain_definition_gives(data):
    texts = data.draw(st.lists(st.text("abc \n", max_size=30), max_size=5))
    spans = [[data.draw(some_spans(len(text))) for text in texts] for _ in range(2)]
    masks = ["", "[GONE]"]
    found = edit(pa.array(texts, pa.large_string()), [column(s) for s in spans], masks)
    assert found.to_pylist() == [naive(t, [s[i] for s in spans], masks) for i, t in enumerate(texts)]
    sizes = edited_sizes(pa.array(texts, pa.large_string()), [column(s) for s in spans], masks)
    assert sizes.tolist() == [len(text.encode()) for text in found.to_pylist()]


def test_a_sliced_column_of_spans_cuts_what_the_whole_one_does():
    texts = pa.array(["one two", "drei vier", "cinq"], pa.large_string())
    spans = column([[(0, 4)], [(4, 9)], []])
    whole = edit(texts, [spans], [""]).to_pylist()
    assert whole == ["two", "drei", "cinq"]
    assert edit(texts.slice(1), [spans.slice(1)], [""]).to_pylist() == whole[1:]


def test_overlapping_spans_leave_nothing_of_either_and_get_the_mask_of_the_first():
    text = pa.array(["write to jane@example.org now"], pa.large_string())
    mail, name = column([[(9, 25)]]), column([[(9, 13), (20, 29)]])
    assert edit(text, [mail, name], ["[EMAIL]", "[NAME]"]).to_pylist() == ["write to [EMAIL]"]


@pytest.mark.parametrize("text", ["", "héllo 漢字 👩🏽‍🔬"])
def test_without_spans_a_text_stays_as_it_is(text):
    texts = pa.array([text], pa.large_string())
    assert edit(texts, [column([[]])], ["x"]).equals(texts)
