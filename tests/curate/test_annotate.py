"""One pass over parts: what a document is measured as depends on no border of a batch and on no neighbour."""

from __future__ import annotations

import random
from functools import partial

import pyarrow as pa
import pytest

from curate.engine import open_engine
from curate.signals import annotate as module
from curate.signals.annotate import annotate
from curate.store import Store
from filters.arrow import batches

FAMILIES: dict[str, dict] = {
    name: {}
    for name in (
        "words", "lines", "repetition", "unicode_words", "unicode_repetition", "stop_words", "c4", "dclm", "madlad",
        "characters", "markup", "compression", "private", "signatures", "text_hash", "language", "line_languages",
    )
}  # fmt: skip
WORDS = [
    "the",
    "a",
    "of",
    "river",
    "Haus",
    "größer",
    "河",
    "был",
    "and\u2028",
    "{}",
    "·",
    "-",
    "*",
    "12",
    "don't",
    "said.",
    "it's",
    "…",
    "\n",
    "\n\n",
    "end.\n",
    "and so he went back to the house by the river.\n",
    "und also ging er zurück zu dem Haus am Fluss.\n",
    "</s>",
]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    random.seed(5)
    made = [" ".join(random.choices(WORDS, k=random.randrange(120))) for _ in range(60)]
    return [*made, "", "x" * 5000, made[3], made[3] + "\n" + made[4], "\n", "one line. " * 400]


def measured(folder, texts: list[str], workers: int = 1, parts: int = 1) -> dict[str, dict]:
    """By text: every signal that the shipped families of no model have of it."""
    store, cut = Store(folder), -(-len(texts) // parts)
    written = []
    for number in range(parts):
        rows = texts[number * cut : (number + 1) * cut]
        table = pa.table(
            {"id": [str(i) for i in range(len(rows))], "text": pa.array(rows, pa.large_string())}
        )
        written.append(store.write_part("documents", f"{number}.arrow", table))
    found = annotate(store, FAMILIES, written, open_engine("local", workers))
    columns = {name: found.column(family, name).to_pylist() for name, family in found.owner.items()}
    return {text: {name: repr(values[i]) for name, values in columns.items()} for i, text in enumerate(texts)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, texts):
    return measured(tmp_path_factory.mktemp("whole"), texts)


@pytest.mark.parametrize("bytes_a_batch", [1, 700, 5_000])
def test_the_borders_of_batches_change_no_signal(tmp_path, monkeypatch, texts, whole, bytes_a_batch):
    monkeypatch.setattr("filters.arrow.batches", partial(batches, size=bytes_a_batch))
    assert measured(tmp_path, texts) == whole


def test_a_huge_document_is_measured_alone_and_is_what_it_is_among_others(
    tmp_path, monkeypatch, texts, whole
):
    monkeypatch.setattr(module, "HUGE", 300)
    monkeypatch.setattr("filters.arrow.batches", partial(batches, size=300))
    assert measured(tmp_path, texts, workers=3, parts=4) == whole


def test_the_order_of_documents_and_how_many_workers_there_are_change_no_signal(tmp_path, texts, whole):
    shuffled = random.Random(1).sample(texts, len(texts))
    assert measured(tmp_path, shuffled, workers=3, parts=5) == whole


def test_never_two_threads_measure_a_huge_document_at_once(tmp_path, monkeypatch, texts):
    monkeypatch.setattr(module, "HUGE", 300)
    monkeypatch.setattr("filters.arrow.batches", partial(batches, size=300))
    true, inside, most = module._measure, [], []

    def watched(task, name, documents, texts, *rest):
        huge = len(texts) == 1 and len(texts[0].as_py().encode()) > 300
        inside.extend([name] if huge else [])
        most.append(len(inside))
        try:
            return true(task, name, documents, texts, *rest)
        finally:
            del inside[: 1 if huge else 0]

    monkeypatch.setattr(module, "_measure", watched)
    measured(tmp_path, texts, workers=4, parts=8)
    assert max(most) == 1
