"""Texts that read the same are compared as the same: NFC and NFD, with and without what is not seen."""

from __future__ import annotations

import sys
import time
import unicodedata

import hostile
import naive_duplicates as naive
import numpy as np
import pyarrow as pa
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.duplicates import repeats
from filters.duplicates.exact import NORMALISATIONS, content_hashes
from filters.duplicates.minhash import SKETCHES, signatures
from filters.duplicates.shingles import jaccard
from filters.models import contamination
from filters.text.normalised import IGNORABLE, normalised, normalised_text
from filters.text.units import UNITS

PIECES = [
    "a", "B", "é", "e\u0301", "E\u0301", "\u0301", "\u0323", "q\u0307\u0323", "\u00ad", "\u200b", "\u200d", "\ufeff", "\ufe0f", " ",
    "\n", ".", "한", "\u1112\u1161\u11ab", "하\u11ab", "\u0915\u093c", "\u0958", "Å", "\u212b", "漢", "\uf900", "\u0344", "👩\u200d🔬", "7",
    "\u2adc", "\U0001d15e", "\U000e0041", "\n\n",
]  # fmt: skip
WRITTEN = {
    "French": "Un élève préfère la forêt à l'été, où naît une idée déjà très légère.",
    "Vietnamese": "Tiếng nước chảy ở dưới cầu nghe rất nhẹ giữa buổi trưa mùa hạ.",
    "Korean": "바람이 부는 언덕 위에서 우리는 오래된 노래를 다시 불렀다 그리고 웃었다.",
    "Hindi": "पहाड़ी के पीछे बड़ा पेड़ खड़ा है और उसके नीचे लड़के पढ़ते हैं.",
}


def column(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def hidden(text: str, every: int = 3) -> str:
    """With something between its characters that is not seen."""
    unseen = "\u00ad\u200b\u2060\u200d\ufeff"
    return "".join(c + (unseen[k % len(unseen)] if k % every == 0 else "") for k, c in enumerate(text))


def test_ignorable_code_points_are_those_of_the_standard():
    listed = {code for low, high in IGNORABLE for code in range(low, high + 1)}
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    assert listed == {ord(c) for c in regex.findall(r"\p{Default_Ignorable_Code_Point}", everything)}


@settings(max_examples=500, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), max_size=5))
def test_the_bytes_compared_are_those_of_nfc_without_what_is_not_seen(texts):
    found = normalised(column(texts))
    wanted = [naive.normal(text) for text in texts]
    edges = found.offsets.tolist()
    assert [found.data[a:b].tobytes().decode() for a, b in zip(edges, edges[1:], strict=False)] == wanted
    assert found.rewritten.tolist() == [i for i, text in enumerate(texts) if text != wanted[i]]


def test_every_single_character_is_looked_at_as_nfc_looks_at_it():
    texts = [f"{before}{chr(code)}" for code in range(0x110000) if not 0xD800 <= code < 0xE000
             for before in ("", "a\u0323") if code < 0x3000 or 0xA000 <= code < 0xAC00 or 0xF900 <= code < 0x12000]  # fmt: skip
    found = normalised(column(texts))
    changed = [i for i, text in enumerate(texts) if naive.normal(text) != text]
    assert found.rewritten.tolist() == changed
    assert len(changed) > 1000


@pytest.mark.parametrize("language", WRITTEN)
@pytest.mark.parametrize("way", ["NFD", "hidden", "both"])
def test_copies_that_read_the_same_are_duplicates(language, way):
    text = unicodedata.normalize("NFC", WRITTEN[language]).replace("\u0921\u093c", "\u095c")
    copy = unicodedata.normalize("NFD", text) if way != "hidden" else text
    texts = column([text, hidden(copy) if way != "NFD" else copy, "Another text, of other words."])
    assert texts[0].as_py() != texts[1].as_py()
    for normalise in NORMALISATIONS:
        first, second, other = content_hashes(texts, normalise).to_pylist()
        assert (first == second) == (normalise != "bytes")
        assert other not in (first, second)
    for unit in UNITS:
        assert jaccard(texts, [0], [1], unit=unit).tolist() == [1.0]
    for sketch in SKETCHES:
        first, second, other = signatures(texts, sketch=sketch)
        assert (first == second).all()
        assert (first != other).any()


def test_what_is_not_seen_alone_is_no_text():
    texts = column(["\u200b\ufeff", "\u00ad", ""])
    assert len(set(content_hashes(texts, "words").to_pylist())) == 1
    assert len(set(content_hashes(texts).to_pylist())) == 3


def test_repeats_are_found_however_written_and_their_spans_are_the_texts_own():
    line = "Один день ёлка стояла в лесу, and the café was open all day."
    other = "First come words that stand here only, several of them in all."
    copy = hidden(unicodedata.normalize("NFD", line))
    texts = [
        f"{line}\n{other}",
        f"Something else, alone, of some words.\n{copy}\nThe end comes here, of five words.",
    ]
    spans = repeats.repeats(column(texts), "lines", 5)["repeated_line_spans"].to_pylist()
    assert spans[0] == []
    (span,) = spans[1]
    assert texts[1].encode()[span["start"] : span["end"]].decode() == f"{copy}\n"
    (span,) = repeats.repeats(column(texts), "spans", 6)["repeated_spans"].to_pylist()[1]
    assert texts[1].encode()[span["start"] : span["end"]].decode() == copy.rsplit(".", 1)[0]


@pytest.mark.parametrize("kind", repeats.KINDS)
@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(
        st.lists(st.sampled_from([*PIECES, "one two three four five "]), max_size=25).map("".join), max_size=4
    )
)
def test_spans_of_repeats_are_those_of_the_plain_definition(kind, texts):
    import naive_repeats

    found = repeats.repeats(column(texts), kind, 5)[repeats.SIGNALS[kind][0].name].to_pylist()
    spans = [[(span["start"], span["end"]) for span in own] for own in found]
    assert spans == naive_repeats.repeats(texts, kind, 5, list(range(len(texts))))


def test_an_evaluation_text_with_hidden_characters_is_found_whole():
    item = "Quel élève de la forêt a trouvé hier la clé dorée du vieux château ?"
    copy = hidden(unicodedata.normalize("NFD", item))
    text = f"Avant. {copy} Après."
    index = contamination.build_index(column([item]), pa.array(["exam"]))
    measured = contamination.measure(column([text]), index)
    ((span,),) = measured["contamination_spans"].to_pylist()
    found = text.encode()[span["start"] : span["end"]].decode()
    assert normalised_text(found) == item.removesuffix(" ?")
    assert measured["contamination_item_ratio"].to_pylist() == [1.0]


def test_texts_without_such_characters_are_not_copied():
    texts = column([unicodedata.normalize("NFC", "".join(WRITTEN.values())).replace("ड़", "ड"), "ascii " * 50])
    texts = column([t for t in texts.to_pylist() if naive.normal(t) == t])
    found = normalised(texts)
    assert len(texts) == 2
    assert np.shares_memory(found.data, np.frombuffer(texts.buffers()[2], np.uint8))


@pytest.mark.parametrize("piece", ["\u00ad", "e\u0301", "\u0301\u0323", "\u200b\n", "한", "\u1112\u1161"])
def test_no_text_takes_more_than_linear_time(piece):
    began = time.process_time()
    content_hashes(column([piece * 200_000]), "words")
    repeats.repeats(column([f"{piece} one two three four five\n" * 2000] * 2), "lines", 5)
    assert time.process_time() - began < 20


def test_hostile_texts_are_compared_as_the_plain_definition_says():
    texts = [text[:3000] for text in hostile.texts().values()]
    found = normalised(column(texts))
    edges = found.offsets.tolist()
    pieces = [found.data[a:b].tobytes().decode() for a, b in zip(edges, edges[1:], strict=False)]
    assert pieces == [naive.normal(text) for text in texts]
