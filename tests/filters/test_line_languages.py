"""Languages of lines: what identifying each line alone says, and mixed documents told from plain ones."""

from __future__ import annotations

from collections import Counter

import hostile
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from filters.language import documents as language
from filters.language import lines as line_languages

ENGLISH = "It was the best of times, it was the worst of times, it was the age of wisdom."
GERMAN = "Der Himmel war grau, und niemand wusste, wann der Regen endlich aufhören würde."
RUSSIAN = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему."


def column(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def naive(text: str) -> tuple[str | None, float, int]:
    size: Counter[str] = Counter()
    for line in text.split("\n"):
        if len(line.encode()) >= 40 and (code := language.measure(column([line]))["language"][0].as_py()):
            size[code] += len(line.encode())
    if not size:
        return None, 1.0, 0
    main = min(size, key=lambda code: (-size[code], code))
    return main, size[main] / size.total(), sum(n >= 0.1 * size.total() for n in size.values())


def compare(texts: list[str], given: pa.Array | None = None) -> None:
    measured = line_languages.measure(column(texts) if given is None else given)
    assert list(measured) == [signal.name for signal in line_languages.FAMILY.signals]
    found = list(zip(*(values.to_pylist() for values in measured.values()), strict=True))
    assert found == [naive(text) for text in texts]


def test_lines_are_identified_each_alone():
    compare(
        [
            "", "\n", "short\nlines\n", ENGLISH, f"{ENGLISH}\n{GERMAN}", f"\n\n{GERMAN}\n\n{RUSSIAN}\n{RUSSIAN}",
            f"{ENGLISH}\r\n{GERMAN}\r\nshort", "7 " * 40, f"{ENGLISH}\n" * 12 + GERMAN, "x" * 40, "\n" * 50 + ENGLISH + "\n",
        ]
    )  # fmt: skip


def test_hostile_texts_and_slices_are_no_exception():
    texts = [text[:5000] for text in hostile.texts().values()]
    compare(texts)
    compare(texts[3:9], column(texts).slice(3, 6))
    compare([], column([]))


def test_a_mixed_document_shows_its_languages():
    measured = line_languages.measure(column([f"{ENGLISH}\n{GERMAN}\n{RUSSIAN}", f"{GERMAN}\n{GERMAN}"]))
    assert measured["line_language_count"].to_pylist() == [3, 1]
    assert measured["main_line_language"].to_pylist()[1] == "de"


def test_mixed_documents_are_told_from_others(data_folder):
    table = pq.read_table(data_folder / "lid_gold.parquet")
    mixed = np.array(table["lang"].to_pylist()) == "mul"
    measured = line_languages.measure(table["text"])
    share = measured["line_language_share"].to_numpy()
    judged = measured["line_language_count"].to_numpy() > 0
    below = share[mixed][:, None] < share[~mixed & judged][None]
    assert below.mean() > 0.95  # measured: 0.99 of all pairs
