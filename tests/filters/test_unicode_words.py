"""Unicode words have the boundaries of UAX #29, and stop words and repeats are counted over them."""

from __future__ import annotations

import os
from pathlib import Path

import hostile
import naive_unicode as naive
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import FAMILIES
from filters.heuristics import stop_words
from filters.text.classes import character_classes
from filters.text.pages import PADDING
from filters.text.segments import find_tokens, word_breaks

# Of each class of characters some, and what stands between letters and digits.
PIECES = st.sampled_from(
    [
        "a",
        "B",
        "é",
        "ß",
        "א",
        "ב",
        "1",
        "9",
        "٣",
        ".",
        ",",
        ":",
        ";",
        "'",
        '"',
        "_",
        "-",
        "’",
        "·",
        "カ",
        "タ",
        "ひ",
        "中",
        "文",
        "ก",
        "า",
        "้",
        "́",
        "\u200d",
        "\xad",
        "👩",
        "👧",
        "☺",
        "🇳",
        "🇴",
        "#",
        "\r",
        "\n",
        "\u2028",
        "\t",
        "\u3000",
        "\xa0",
    ]
    + [" ", "  ", "\r\n", "can't", "3.14", "a.b", 'צה"ל', "e\u0301"]
)
TEXT = st.lists(PIECES, max_size=25).map("".join)


def column(texts) -> pa.Array:
    return pa.array(texts, pa.large_string())


def tokens(text: str) -> list[str]:
    data = text.encode()
    page = np.zeros(len(data) + PADDING, np.uint8)
    page[: len(data)] = np.frombuffer(data, np.uint8)
    edges, characters = np.empty((2, 2 * len(data) + 2), np.int64)
    flags = np.empty(len(data) + 1, np.uint8)
    n, size = find_tokens(page, len(data), edges, characters, flags, word_breaks(), character_classes())
    assert size == len(text)
    assert [text[a:b] for a, b in characters[: 2 * n].reshape(n, 2)] == [
        data[a:b].decode() for a, b in edges[: 2 * n].reshape(n, 2)
    ]
    return [data[a:b].decode() for a, b in edges[: 2 * n].reshape(n, 2)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "Can't stop: 3.14, U.S.A. e-mail",
            ["Can't", "stop", ":", "3.14", ",", "U.S.A", ".", "e", "-", "mail"],
        ),
        ("中文没有空格。", ["中", "文", "没", "有", "空", "格", "。"]),
        ("カタカナとひらがな", ["カタカナ", "と", "ひ", "ら", "が", "な"]),
        ("한국어 단어", ["한국어", "단어"]),
        ("ก้าวหน้า", ["ก้", "า", "ว", "ห", "น้", "า"]),
        ("👩‍👧 🇳🇴🇸🇪", ["👩‍👧", "🇳🇴", "🇸🇪"]),
        ("snake_case 1,000 a,b", ["snake_case", "1,000", "a", ",", "b"]),
        ("צה״ל", ["צה״ל"]),
    ],
)
def test_words_of_many_scripts_are_cut_where_unicode_cuts_them(text, told):
    assert tokens(text) == told


@settings(max_examples=1000, deadline=None)
@given(TEXT)
def test_random_texts_are_cut_by_the_rules_of_the_standard(text):
    assert tokens(text) == naive.tokens(text)


def measured(name: str, texts: list[str], **beside) -> list[dict]:
    columns = FAMILIES[name].measure(column(texts), **beside)
    return [{key: values[row].as_py() for key, values in columns.items()} for row in range(len(texts))]


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXT, max_size=5))
def test_signals_of_random_texts_are_those_of_the_plain_definition(texts):
    assert measured("unicode_words", texts) == [naive.unicode_words(text) for text in texts]
    assert measured("unicode_repetition", texts) == [naive.unicode_repetition(text) for text in texts]


def test_signals_of_hostile_texts_are_those_of_the_plain_definition():
    texts = [*hostile.texts().values()]
    assert measured("unicode_words", texts) == [naive.unicode_words(text) for text in texts]
    assert measured("unicode_repetition", texts) == [naive.unicode_repetition(text) for text in texts]


def test_stop_words_are_counted_as_the_plain_definition_counts_them():
    chance = np.random.default_rng(0)
    lists = stop_words.stop_words()
    texts, codes = [], []
    for code, words in lists.items():
        others = ["und", "the", "x", "漢字", "한국은", "学校에서", ".", ",", "ต้น"]
        lines = [joint.join(chance.choice([*words, *others], 30)) for joint in [" ", "", *[" "] * 150]]
        texts += [lines[0], lines[1], "\n".join(lines)]  # the last, longer than a window
        codes += [code] * 3
    texts, codes = [*texts, "the and of", "de la"], [*codes, None, "xx"]
    found = measured("stop_words", texts, language=pa.array(codes, pa.string()))
    for text, code, row in zip(texts, codes, found, strict=True):
        told = naive.stop_words(text, code, lists, code == stop_words.ENDINGS)
        assert (row["native_stop_word_count"], row["native_stop_word_ratio"]) == (told or (None, None)), (
            code,
            text[:500],
        )


def test_every_language_of_the_profile_has_stop_words():
    codes = [
        "en",
        "de",
        "fr",
        "es",
        "pt",
        "it",
        "nl",
        "sv",
        "nb",
        "nn",
        "no",
        "da",
        "pl",
        "ru",
        "uk",
        "tr",
        "ar",
        "hi",
        "zh",
        "ja",
        "ko",
        "vi",
        "th",
    ]
    assert set(codes) <= set(stop_words.stop_words())


# A sentence of running text in each language: two different stop words must be found in it.
SENTENCES = {
    "de": "Der Zug kam an und die Leute stiegen in den Wagen.", "fr": "Le chat est dans la maison de sa mère.",
    "ru": "Он был в городе и не знал, что это за дом.", "zh": "他是中国人，也是我的朋友。", "ja": "私は昨日、東京に行きました。",
    "ko": "나는 학교에서 책을 읽었다. 그는 집에 갔다.", "th": "เขาเป็นคนที่มีความสุขในการทำงาน", "ar": "كان الرجل في البيت مع أخيه من المدينة.",
    "hi": "यह किताब मेज़ पर है और वह राम की है।", "vi": "Anh ấy là một người trong làng của tôi.",
}  # fmt: skip


@pytest.mark.parametrize("code", SENTENCES)
def test_running_text_has_two_stop_words(code):
    (row,) = measured("stop_words", [SENTENCES[code]], language=pa.array([code]))
    assert row["native_stop_word_count"] >= 2


def test_signals_of_real_documents_are_those_of_the_plain_definition():
    if not (folder := os.environ.get("CURATE_DATA")):
        pytest.skip("CURATE_DATA does not name a folder of real text")
    table = pq.read_table(Path(folder) / "web_mix_small.parquet", columns=["text"])["text"]
    texts = [text[:600] for text in table.to_pylist()[::9]]
    assert measured("unicode_words", texts) == [naive.unicode_words(text) for text in texts]
    assert measured("unicode_repetition", texts) == [naive.unicode_repetition(text) for text in texts]


@pytest.mark.parametrize(
    "text", [*hostile.huge().values(), "a'" * 400_000, "1." * 400_000, "a" + "\u0301" * 400_000]
)
def test_no_text_takes_more_than_linear_time(text):
    for name in ("unicode_words", "unicode_repetition"):
        assert len(FAMILIES[name].measure(column([text]))) > 0
    assert len(stop_words.measure(column([text]), pa.array(["en"]))) == 2
