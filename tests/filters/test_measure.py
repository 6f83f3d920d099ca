"""The face: any column of texts in, a table of signals out, and errors that say what to write."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import hostile
import numpy as np
import pyarrow as pa
import pytest

import filters
from filters import FAMILIES, SIGNALS
from filters.arrow import batches

TEXTS = ["One text, in English.", None, "Ein Satz, der auf Deutsch geschrieben ist.", ""]
ROWS = [
    {"word_count": 4, "language": "en"},
    {"word_count": None, "language": None},
    {"word_count": 7, "language": "de"},
    {"word_count": 0, "language": None},
]


def arrow(kind: pa.DataType) -> pa.Array:
    return pa.array(TEXTS, kind)


def polars_series():
    return pytest.importorskip("polars").Series("text", TEXTS)


def pandas_series(dtype: str | None = None):
    return pytest.importorskip("pandas").Series(TEXTS, dtype=dtype)


def column_of_datasets():
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_dict({"other": [1, 2, 3, 4, 5], "text": ["left out", *TEXTS]}).select(
        range(1, 5)
    )["text"]


COLUMNS = {
    "list": lambda: TEXTS,
    "tuple": lambda: tuple(TEXTS),
    "NumPy array": lambda: np.array(TEXTS, object),
    "string": lambda: arrow(pa.string()),
    "large_string": lambda: arrow(pa.large_string()),
    "string_view": lambda: arrow(pa.string_view()),
    "dictionary": lambda: arrow(pa.string()).dictionary_encode(),
    "slice": lambda: pa.array(["left out", *TEXTS, "too"]).slice(1, 4),
    "chunked array": lambda: pa.chunked_array([TEXTS[:1], TEXTS[1:]], pa.string()),
    "column of a table": lambda: pa.table({"text": TEXTS})["text"],
    "polars": polars_series,
    "pandas": pandas_series,
    "pandas, objects": lambda: pandas_series("object"),
    "pandas, categories": lambda: pandas_series("category"),
    "datasets": column_of_datasets,
}  # fmt: skip


@pytest.mark.parametrize("kind", COLUMNS)
def test_any_column_of_texts_is_measured_and_a_missing_text_has_null_everywhere(kind):
    table = filters.measure(COLUMNS[kind](), ["word_count", "language"])
    assert table.to_pylist() == ROWS


def test_a_family_gives_all_its_signals_and_a_name_one_column():
    names = ["character_count", "lines", "word_count", "lines"]
    table = filters.measure(TEXTS, names)
    lines = [signal.name for signal in FAMILIES["lines"].signals]
    assert table.column_names == ["character_count", *lines, "word_count"]
    assert [field.type for field in table.schema] == [SIGNALS[name].type for name in table.column_names]
    assert filters.measure(TEXTS, "lines") == table.select(lines)


def test_batches_do_not_show(monkeypatch):
    texts = [*hostile.texts().values()] * 3
    names = ["words", "unicode_words", "line_languages", "language", "stop_words", "private", "signature"]
    whole = filters.measure(texts, names)
    monkeypatch.setattr("filters.measuring.batches", partial(batches, size=500))
    assert filters.measure(texts, names).combine_chunks() == whole.combine_chunks()


def test_no_texts_give_no_rows():
    for nothing in ([], pa.array([], pa.string()), pa.chunked_array([], pa.large_string())):
        table = filters.measure(nothing, ["word_count", "email_spans"])
        assert (len(table), table.schema.types) == (
            0,
            [SIGNALS[n].type for n in ("word_count", "email_spans")],
        )


def test_every_family_that_needs_nothing_else_is_measured_as_it_measures_itself():
    texts = pa.array([*hostile.texts().values()], pa.large_string())
    free = [name for name, family in FAMILIES.items() if not family.takes]
    free = [
        name
        for name in free
        if name
        not in ("quality", "contamination", "evaluation_overlap", "perplexity", "target_likeness", "topics")
    ]
    table = filters.measure(texts, [signal.name for name in free for signal in FAMILIES[name].signals])
    for name in free:
        for signal, values in FAMILIES[name].measure(texts).items():
            assert table[signal].combine_chunks().equals(values), signal


def test_options_and_columns_reach_the_family_that_takes_them(tmp_path):
    (tmp_path / "words.txt").write_text("deutsch\nenglish\n")
    path = str(tmp_path / "words.txt")
    table = filters.measure(
        TEXTS,
        ["text_hash", "own_url_host_labels", "url_blocked_word_count", "word_list.mine", "native_stop_word_count"],
        options={"text_hash": {"normalise": "words"}, "url_lists": {"words": path}, "word_list.mine": {"list": path}},
        columns={"url": ["https://deutsch.test/a", None, None, "b.example.test"], "language": ["de", "de", "de", None]},
    )  # fmt: skip
    assert table["own_url_host_labels"].to_pylist() == [2, None, None, 3]
    assert table["url_blocked_word_count"].to_pylist() == [1, None, 0, 0]
    assert table["mine_count"].to_pylist() == [1, None, 1, 0]
    assert table["native_stop_word_count"].to_pylist() == [1, None, 1, None]  # "in" is German too
    same = filters.measure(
        ["one TEXT in english!"], "text_hash", options={"text_hash": {"normalise": "words"}}
    )
    assert same["text_hash"][0] == table["text_hash"][0]


@pytest.mark.parametrize(
    ("names", "more", "says"),
    [
        (["word_cuont"], {}, 'no signal or family "word_cuont" (did you mean "word_count"?)'),
        ("near_duplicate_of", {}, "compares all documents of a pool"),
        ("repeated_lines", {}, "compares all documents of a pool"),
        ("quality_score", {}, 'quality needs an option: give options={"quality": {"model": FILE}}'),
        ("contamination", {}, 'options={"contamination": {"model": FILE}}'),
        ("word_list.mine", {}, 'options={"word_list.mine": {"list": FILE}}'),
        ("own_url", {}, 'own_url takes a column "url": give columns={"url": ...}'),
        ("url_lists", {"columns": {"url": [""] * 4}}, 'options={"url_lists": {"domains": FILE}}'),
        ("own_url", {"columns": {"url": [""]}}, 'columns["url"] has 1 rows, texts has 4'),
        ("language", {"options": {"language": {"modle": "x"}}}, 'no option "modle" (did you mean "model"?)'),
        ("words", {"options": {"lines": {}}}, 'options for "lines", of which no signal is asked'),
    ],
)
def test_what_is_unknown_or_lacking_is_said(names, more, says):
    with pytest.raises(ValueError, match=".*") as error:
        filters.measure(TEXTS, names, **more)
    assert says in str(error.value)


@pytest.mark.parametrize(
    "texts", [[1, 2], "one text", pa.array([1.5]), pa.table({"text": ["a"]}), 7, (t for t in "ab")]
)
def test_what_holds_no_text_is_a_type_error(texts):
    with pytest.raises(TypeError):
        filters.measure(texts, "words")


def test_three_lines_load_no_torch_and_importing_loads_no_compiler():
    code = """
import sys, filters
assert not {"numba", "torch"} & set(sys.modules)
table = filters.measure(["One text.", "And another one."], ["word_count", "language"])
print(table["word_count"].to_pylist(), "torch" in sys.modules, "curate" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[2, 3] False False"
