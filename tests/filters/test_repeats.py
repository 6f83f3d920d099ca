"""Repeats: every repeated window, line and paragraph but the first, the same in any cut of the pool."""

from __future__ import annotations

import random

import hostile
import naive_repeats as naive
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.duplicates.repeats import KINDS, SIGNALS, copies, find, occurrences, repeats


def column(texts: list[str]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


def spans_of(found: dict, kind: str) -> list[list[tuple[int, int]]]:
    return [[(s["start"], s["end"]) for s in spans] for spans in found[SIGNALS[kind][0].name].to_pylist()]


def pool(seed: int) -> list[str]:
    """Texts made of shared sentences, in lines and paragraphs, some inside of one text twice."""
    chance = random.Random(seed)
    sentences = [
        " ".join(chance.choices(["ab", "cd", "ef", "gh", "é", "你"], k=chance.randrange(2, 9)))
        for _ in range(12)
    ]
    texts = []
    for _ in range(40):
        parts = [
            chance.choice([*sentences, f"{chance.random()} own words"]) for _ in range(chance.randrange(9))
        ]
        texts.append("".join(p + chance.choice([". ", "\n", "\n\n", "\n \t\n", "!\n--\n"]) for p in parts))
    return texts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("least", [1, 3, 6])
def test_repeats_equal_the_naive_definition(kind, least):
    for seed in range(5):
        texts = [*pool(seed), *(t for t in hostile.texts() if len(t) < 3000)]
        order = random.Random(seed).sample(range(len(texts)), len(texts))
        found = repeats(column(texts), kind, least, np.array(order))
        assert spans_of(found, kind) == naive.repeats(texts, kind, least, order)
        for text, spans, share in zip(
            texts, spans_of(found, kind), found[SIGNALS[kind][1].name].to_pylist(), strict=True
        ):
            assert share * len(text.encode()) == pytest.approx(sum(end - start for start, end in spans))


@pytest.mark.parametrize("kind", KINDS)
def test_any_cut_into_parts_and_splits_gives_the_same(kind):
    texts = [text for seed in range(4) for text in pool(seed)]
    expected = repeats(column(texts), kind, 3)
    order = np.arange(len(texts))
    for bits, cuts in ((1, [0, 50, 160]), (6, [0, 1, 2, 100, 160]), (12, [0, 160])):
        parts = [(column(texts[a:b]), order[a:b]) for a, b in zip(cuts, cuts[1:], strict=False)]
        found = [occurrences(part, own, kind, 3, bits) for part, own in parts]
        places = [copies(found, split) for split in range(2**bits)]
        spans = [
            s
            for (part, _), own, pieces in zip(parts, found, zip(*places, strict=True), strict=True)
            for s in spans_of(find(part, kind, 3, own.ends, np.concatenate(pieces)), kind)
        ]
        assert spans == spans_of(expected, kind)


def test_cutting_leaves_one_copy_of_everything():
    from filters.edits import edit

    passage = " ".join(f"word{i}" for i in range(80))
    texts = column([f"One. {passage} end.", f"Two {passage}. Tail", f"{passage}\n{passage}"])
    found = repeats(texts, "spans", 50, np.array([1, 0, 2]))
    left = edit(texts, [found["repeated_spans"]], [""]).to_pylist()
    assert left == ["One.  end.", f"Two {passage}. Tail", "\n"]


def test_texts_without_repeats_and_no_texts_at_all_have_no_spans():
    for texts in ([], [""], ["a b c", "d e f"], ["short"] * 3):
        for kind in KINDS:
            assert spans_of(repeats(column(texts), kind, 5), kind) == [[] for _ in texts]


def test_real_text_equals_the_naive_definition(data_folder):
    texts = pq.read_table(data_folder / "web_mix_small.parquet", columns=["text"])["text"].to_pylist()[:150]
    order = list(range(len(texts)))
    for kind, least in (("spans", 50), ("lines", 5), ("paragraphs", 5)):
        found = spans_of(repeats(column(texts), kind, least), kind)
        assert found == naive.repeats(texts, kind, least, order)
        assert sum(map(len, found)) > 20
