"""Overlap finds evaluation texts of which words were changed, names them, and says whether their answers stand by."""

from __future__ import annotations

import hostile
import naive_contamination as naive
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.models import overlap

FEW_WORDS = st.sampled_from(["the", "Cat", "sat", "on", "a", "mat", "ß", "中", "n0_t", "é", "under", "it"])
ITEM = st.lists(FEW_WORDS, max_size=14).map(" ".join)
TEXT = st.lists(FEW_WORDS, max_size=60).map(" ".join)
QUESTION = (
    "Which layer of rock most likely holds the oldest fossils of animals that lived in a warm shallow sea?"
)


def strings(values) -> pa.Array:
    return pa.array(values, pa.large_string())


def index_of(
    items: list[str], answers: list[str | None] | None = None, passages: list[str | None] | None = None
):
    given = [None if column is None else strings(column) for column in (passages, answers)]
    return overlap.build_index(strings(items), strings(map(str, range(len(items)))), *given)


def measured(text: str, index) -> dict:
    return {name: column[0].as_py() for name, column in overlap.measure(strings([text]), index).items()}


def equal_to_the_naive(documents: list[str], items: list[str], answers: list[str | None]) -> None:
    found = overlap.measure(strings(documents), index_of(items, answers))
    for row, text in enumerate(documents):
        share, item, place, answered = naive.overlap(text, items, answers)
        mine = {name: column[row].as_py() for name, column in found.items()}
        assert mine["evaluation_overlap"] == pytest.approx(share, abs=1e-9)
        if abs(share - overlap.HALF) < 1e-9:
            continue
        assert mine["evaluation_overlap_item"] == (None if item is None else str(item))
        assert [(s["start"], s["end"]) for s in mine["evaluation_overlap_spans"]] == (
            [place] if place else []
        )
        assert mine["evaluation_answer_found"] == (None if answered is None else float(answered))


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=3), st.lists(ITEM, max_size=4), st.data())
def test_random_documents_overlap_as_the_plain_definition_says(documents, items, data):
    answers = [data.draw(st.none() | st.lists(FEW_WORDS, max_size=2).map(" ".join)) for _ in items]
    equal_to_the_naive(documents, items, answers)


def test_hostile_documents_overlap_as_the_plain_definition_says():
    texts = [*hostile.texts().values()]
    equal_to_the_naive(texts, texts[::3], [None] * len(texts[::3]))


def test_a_question_with_other_words_in_it_is_found_where_runs_of_13_are_not():
    text = f"So. {QUESTION.replace('most likely', 'probably').replace('warm ', 'hot ')} The bottom layer, they say."
    found = measured(
        text,
        index_of(
            [QUESTION, "What is the name of the long river that flows through Egypt?"],
            ["bottom layer", "Nile"],
        ),
    )
    assert found["evaluation_overlap"] > 0.55
    assert found["evaluation_overlap_item"] == "0"
    (span,) = found["evaluation_overlap_spans"]
    assert text.encode()[span["start"] : span["end"]].decode().startswith("Which layer of rock")
    assert found["evaluation_answer_found"] == 1.0


def test_an_answer_elsewhere_is_not_the_answer_to_the_question():
    index = index_of([QUESTION], ["bottom layer"])
    assert measured(f"Bottom layer. {'word ' * 60} {QUESTION}", index)["evaluation_answer_found"] == 0.0
    assert measured(QUESTION, index)["evaluation_answer_found"] == 0.0
    assert measured(QUESTION, index_of([QUESTION]))["evaluation_answer_found"] is None
    assert measured("Nothing of it.", index)["evaluation_answer_found"] is None


def test_what_all_questions_say_weighs_less_than_what_one_says():
    frame = "which of these is the best way to"
    items = [
        f"{frame} {rest}"
        for rest in ("boil an egg in milk", "paint a wooden garden fence", "teach parrots slow songs")
    ]
    index = index_of(items)
    of_all = measured(f"{frame} go", index)["evaluation_overlap"]
    of_one = measured("paint a wooden garden fence", index)["evaluation_overlap"]
    assert len(frame.split()) > 5, "it has more words than the other"
    assert of_one > of_all


def test_words_far_apart_are_no_question():
    apart = f" {'word ' * 20} ".join(QUESTION.split(" of "))
    assert measured(apart, index_of([QUESTION]))["evaluation_overlap"] < overlap.HALF


def test_a_passage_is_found_apart_from_its_question():
    passage = "The oldest layers lie at the bottom of the cliff, and hold shells of animals that are no more."
    index = index_of([QUESTION], passages=[passage])
    found = measured(passage, index)
    assert found["evaluation_overlap"] < overlap.HALF
    assert found["evaluation_passage_overlap"] == 1.0
    assert found["evaluation_passage_item"] == "0"


def test_a_run_that_more_items_share_than_can_tell_is_passed_over():
    items = [f"once upon a time there was {i}" for i in range(overlap.SHARED + 1)]
    found = measured(items[0], index_of(items))
    assert found["evaluation_overlap"] == 0.0 or found["evaluation_overlap_item"] == "0"
    assert measured("once upon a time there lived", index_of(items))["evaluation_overlap"] == 0.0


def test_the_same_items_make_the_same_file_and_a_file_the_same_answers(tmp_path):
    items, names, answers = (
        strings([QUESTION, "too short"]),
        strings(["x", "y"]),
        strings(["bottom layer", None]),
    )
    facts = overlap.make_index(items, names, tmp_path / "one", None, answers)
    overlap.make_index(items, names, tmp_path / "two", None, answers)
    assert facts == {"items": 2, "items_too_short": 1, "with_passage": 0, "with_answer": 1}
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    texts = strings([f"{QUESTION} Bottom layer.", None, ""])
    direct = overlap.measure(texts, overlap.build_index(items, names, None, answers))
    assert overlap.measure(texts, tmp_path / "one") == direct


def test_a_file_that_is_no_index_is_refused(tmp_path):
    (tmp_path / "index").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ValueError, match="not an index"):
        overlap.read_index(tmp_path / "index")


@pytest.mark.parametrize("text", [*hostile.huge().values()], ids=[*hostile.huge()])
def test_no_text_takes_more_than_linear_time(text):
    assert len(overlap.measure(strings([text]), index_of([text[:5000]]))["evaluation_overlap"]) == 1
