"""Kinds of lines, markup, kinds of characters, compression: kernels are their plain twins, and say what they should."""

from __future__ import annotations

import base64
import zlib
from collections import Counter
from math import log2

import hostile
import naive_markup as naive
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.edits import edit
from filters.heuristics import characters, compressibility, markup

PIECES = [
    "{", "}", "};", "x = 1;", "f(x);", "word;", "*/", "):", "//", "/*", "</", "#include", "import ", "import", "@Over", "@ b",
    ">>> ", "$ ", "|", "\t", "2024-01-02 03:04", "[2024-01-02T03:04", "1.2.3.4", "10.0.0.1.5", "1234", "ABCD", "Sign in",
    "ALL RIGHTS RESERVED", "©", "read more", "<b>", "</div>", "<a href='x'>", "<", ">", "&amp;", "&#39;", "&#xAF;", "&", ";",
    "&#x;", "&1;", "\\alpha", "\\a", "aB3" * 40, "-" * 120, "Zz9" * 10, "word", "Ünïcode", "漢字", " ", "\n", "\n\n", "\r\n",
    "\u3000", "é", "Ã©", "â€™", "Â", "\xa0", "\u200b", "\ufffd", "\ue000", "\x00", "\u0301", "Ж", "Ω", "ض", "ש", "अ", "ก", "ア",
    "한", "Ⴀ", "x" * 130,
]  # fmt: skip


def column(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def compare(texts: list[str]) -> None:
    lines = markup.FAMILY.measure(column(texts))
    kinds = characters.FAMILY.measure(column(texts))
    left = edit(column(texts), [lines["boilerplate_line_spans"]], [""]).to_pylist()
    for i, text in enumerate(texts):
        for measured, expected in ((lines, naive.markup(text)), (kinds, naive.characters(text))):
            for name, value in expected.items():
                assert measured[name][i].as_py() == value, (name, text)
        assert left[i] == naive.without_boilerplate(text), text


@settings(max_examples=500, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=20).map("".join), max_size=4))
def test_random_texts_are_what_the_plain_definitions_say(texts):
    compare(texts)


def test_hostile_texts_are_what_the_plain_definitions_say():
    compare([text for text in hostile.texts().values() if len(text) < 100_000])


def test_real_documents_are_what_the_plain_definitions_say(data_folder):
    compare(pq.read_table(data_folder / "web_mix_small.parquet", columns=["text"])["text"].to_pylist()[::8])


@pytest.mark.parametrize(
    ("text", "signal", "value"),
    [
        ("int main() {\n  return 0; // x\n}\nThe end; or so.", "code_line_ratio", 2 / 4),
        ("2024-05-06 07:08:09 INFO started\n127.0.0.1 - - GET /\n2024 was fine", "log_line_ratio", 2 / 3),
        ("a | b | c\nd\te\tf\na | b", "table_line_ratio", 2 / 3),
        ("Sign in\nA story about a sign.\n© 2024 us", "boilerplate_line_ratio", 2 / 3),
        ("<p>x</p> 1 < 2 > 0", "tag_count", 2),
        (base64.b64encode(bytes(range(256))).decode(), "encoded_byte_ratio", 1.0),
        ("=" * 200, "encoded_byte_ratio", 0.0),
    ],
)
def test_lines_and_marks_are_known_for_what_they_are(text, signal, value):
    assert markup.FAMILY.measure(column([text]))[signal][0].as_py() == value


@pytest.mark.parametrize(
    ("text", "signal", "value"),
    [
        ("Привет мир", "cyrillic_letter_ratio", 1.0),
        ("漢字かな", "han_letter_ratio", 0.5),
        ("Привет, world", "script_count", 2),
        ("cafÃ© donâ€™t", "mojibake_count", 2),
        ("café don’t", "mojibake_count", 0),
        ("ok 👍🏽 © 2024 ☎", "emoji_character_count", 2),
        ("a\u200bb\ufeff", "invisible_character_count", 2),
        ("a\x00b\x85c", "control_character_count", 1),
    ],
)
def test_characters_are_known_for_what_they_are(text, signal, value):
    assert characters.FAMILY.measure(column([text]))[signal][0].as_py() == value


def test_compression_is_what_zlib_and_shannon_say():
    texts = ["", "a", "ab" * 1000, "The quick brown fox.", "漢字" * 7, "x" * 100_000]
    rows = pa.table(compressibility.measure(column(texts).slice(1))).to_pylist()
    for row, text in zip(rows, texts[1:], strict=True):
        raw = text.encode()
        press = zlib.compressobj(1, zlib.DEFLATED, -15)
        assert row["compression_ratio"] == len(press.compress(raw) + press.flush()) / len(raw)
        entropy = -sum(n / len(raw) * log2(n / len(raw)) for n in Counter(raw).values())
        assert row["byte_entropy"] == pytest.approx(entropy, abs=1e-9)
    assert pa.table(compressibility.measure(column([""]))).to_pylist() == [
        {"compression_ratio": 0.0, "byte_entropy": 0.0}
    ]


@pytest.mark.parametrize(
    "text", [*hostile.huge().values(), "<a" * 400_000, "&" * 800_000, "aB" * 400_000, "©" * 300_000]
)
def test_no_text_takes_more_than_linear_time(text):
    for family in (markup.FAMILY, characters.FAMILY, compressibility.FAMILY):
        assert len(family.measure(column([text]))) == len(family.signals)
