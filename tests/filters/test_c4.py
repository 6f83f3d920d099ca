"""C4's rules: the kernel is its plain twin, on random, hostile and real text, and a level can cut what they drop."""

from __future__ import annotations

import hostile
import naive_c4
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.heuristics import c4

PIECES = [
    "a", "word", "The end.", ' said "so"', "...", "?", "!", "'", "[12]", "[]", "[edit]", "[citation needed]", "[x]", "[1",
    "lorem ipsum", "Lorem Ipsum", "javascript", "JavaScript", "java[1]script", "{", "}", "Privacy Policy", "terms of use",
    "use of cookies", "uses cookies", "cookie policy", "w" * 1000, "w" * 1001, " ", "  ", "\t", "\n", "\r\n", "\r", "\x85",
    "\u2028", "\u3000", "漢字", "é", "\x00", "one two three", "four five", ".)", '."', "e.g. it", "\u212aookies",
]  # fmt: skip


def compare(texts: list[str], column: pa.Array | pa.ChunkedArray | None = None) -> None:
    column = pa.array(texts, pa.large_string()) if column is None else column
    measured = c4.measure(column) | c4.measure_paper(column)
    found = {name: values.to_pylist() for name, values in measured.items()}
    for variant in naive_c4.MARKS:
        for i, text in enumerate(texts):
            for name, value in naive_c4.c4(text, variant).items():
                got = found[name][i]
                if name.endswith("spans"):
                    got = [(span["start"], span["end"]) for span in got]
                assert got == value, (name, text)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=25).map("".join), max_size=4))
def test_random_lines_are_judged_as_the_plain_rules_judge_them(texts):
    compare(texts)


def test_hostile_texts_are_judged_as_the_plain_rules_judge_them():
    compare(list(hostile.texts().values()))


def test_real_documents_are_judged_as_the_plain_rules_judge_them(data_folder):
    texts = pq.read_table(data_folder / "web_mix_small.parquet", columns=["text"])["text"].to_pylist()
    compare(texts[::4])


def test_a_slice_gives_the_signals_of_the_whole():
    texts = [
        "One two three. Four!\nno\n",
        "Five six [3] seven.\n{ and so on.\n",
        "The javascript of it.\nA b c.",
    ]
    compare(texts[1:], pa.array(texts, pa.large_string()).slice(1))


@pytest.mark.parametrize(
    "text", ["x" * 1_000_000, "\n" * 300_000, "[1]" * 200_000, "." * 500_000, "k " * 300_000]
)
def test_no_text_takes_more_than_linear_time(text):
    column = pa.array([text], pa.large_string())
    assert all(len(values) == 1 for values in c4.measure(column).values())


def test_a_level_that_cuts_has_corpora_without_the_dropped_lines(tmp_path):
    import datasets
    from conftest import MANIFEST, write_manifest

    from curate.engine import open_engine
    from curate.manifest.reader import load_manifest
    from curate.steps import build
    from curate.store import Store

    level = '[[level]]\nname = "cut"\non = "raw"\ncut = ["c4_any_ending_dropped_line_spans"]\nmask = ["c4_citation_spans"]\n'
    text = MANIFEST.replace("[tokenizer]", level + "\n[tokenizer]")
    manifest = load_manifest(write_manifest(tmp_path, text))
    built = build(Store(tmp_path / "store"), manifest, open_engine("local", 2))
    raw = {r["id"]: r["text"] for r in rows(datasets, built, "raw")}
    cut = {r["id"]: r["text"] for r in rows(datasets, built, "cut")}
    both = raw.keys() & cut.keys()
    assert len(both) > 10
    assert any(raw[i] != cut[i] for i in both)
    for i in both:
        spans = dict(naive_c4.c4(raw[i], "c4_any_ending"))["c4_any_ending_dropped_line_spans"]
        citations = dict(naive_c4.c4(raw[i]))["c4_citation_spans"]
        if not citations:
            data = bytearray(raw[i].encode())
            for start, end in reversed(spans):
                del data[start:end]
            assert cut[i] == data.decode()
    assert all(text for text in cut.values()), "a text with nothing left is dropped"
    entry = next(level for level in built.lock["levels"] if level["name"] == "cut")
    assert entry["edits"] == ["c4_any_ending_dropped_line_spans cut", "c4_citation_spans -> [C4_CITATION]"]
    assert entry["rules"][-1]["signal"] == "edited_byte_count"
    assert built.lock["ledger"]["cut"]["notes"]["in"] == sum(
        [built.lock["ledger"]["cut"]["notes"][k] for k in ("kept", "failed")]
    ) + sum(built.lock["ledger"]["cut"]["notes"]["dropped"].values())


def rows(datasets, built, level):
    corpus = max((c for c in built.corpora if c.level == level), key=lambda c: c.size)
    return datasets.load_from_disk(str(corpus.path))["train"].to_list()
