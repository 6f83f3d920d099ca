"""Profile `olmo3` keeps what Olmo 3's chain of filters keeps, told by its plain definition."""

from __future__ import annotations

import tomllib
from pathlib import Path

import naive_olmo3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import filters
from filters import FAMILIES
from filters.registry import FAMILY_OF

PROFILE = Path(filters.__file__).parent / "profiles" / "olmo3.toml"
PROSE = """The ferry left the harbour early that morning, and nobody on the quay was awake to see it go. A thin fog lay
over the bay. Gulls followed the wake for a mile, then turned back to the roofs of the town! Who would have thought that
this small boat, with its rusty rails, carried letters for half the island? On deck a boy counted waves. His mother slept
below with a blanket over her knees. By noon they had passed the lighthouse."""


def test_a_page_of_prose_is_kept():
    assert naive_olmo3.failed(PROSE) == ""
    assert broken([PROSE]) == [[]]


@pytest.mark.parametrize(
    ("text", "rule", "signals"),
    [
        ("a b " * 30, "characters", ["character_count"]),
        ("forty-nine is too few\n" * 9, "words", ["unicode_word_count"]),
        (PROSE.replace(" ", "-"), "word length", ["mean_word_length"]),
        (PROSE + " #" * 12, "symbols", ["dclm_symbol_word_ratio"]),
        ("- " + PROSE.replace("\n", "\n- "), "bullets", ["dclm_bullet_line_ratio"]),
        (PROSE.replace(",", "...\n"), "ellipses", ["dclm_ellipsis_line_ratio"]),
        (PROSE + " 1" * 40, "letters", ["alphabetic_word_ratio"]),
        (PROSE + "\n" + PROSE, "repetition", ["dclm_copied_line_ratio"]),
        (PROSE + "\nLETTERS FROM THE ISLAND HAVE COME", "edits", ["dclm_edited_word_ratio"]),
        (PROSE.replace(". ", ", ").replace("! ", ", "), "sentences", ["madlad_sentence_count"]),
        (PROSE.replace("By", "Ann Bo Cy Di Ed Flo Gus Hal Ike Joe Kim Lou Max. One of ten stays. Two of ten go. By"),
         "", []),
        (PROSE.replace("By", "Ann Bo Cy Di Ed Flo Gus Hal Ike Joe Kim Lou Max. Ned Ora Pam Quin Ray Sue Tom Una Vic "
                       "Wes Xia Yan. By"), "lists", ["madlad_list_case_sentence_ratio"]),
    ],
)  # fmt: skip
def test_a_page_that_breaks_a_rule_falls_to_it_alike(text, rule, signals):
    assert naive_olmo3.failed(text) == rule
    assert set(signals) <= set(broken([text])[0])
    assert bool(broken([text])[0]) == bool(rule)


def test_real_documents_are_kept_as_the_chain_keeps_them(data_folder):
    """Lines end in "\\n" alone: the chain takes the "\\r" of others for text that repeats."""
    texts = pq.read_table(data_folder / "web_mix_small.parquet", columns=["text"])["text"]
    unix = pc.replace_substring(pc.replace_substring(texts, "\r\n", "\n"), "\r", "\n").to_pylist()
    sample = [text for text in unix if len(text) < 4000 and longest_line(text) < 1500][::3]
    chain = np.array([naive_olmo3.failed(text) == "" for text in sample])
    profile = np.array([not rules for rules in broken(sample)])
    assert len(sample) > 300
    assert chain.sum() > 100
    assert (chain != profile).mean() < 0.02


def longest_line(text: str) -> int:
    return max(map(len, text.split("\n")))


def broken(texts: list[str]) -> list[list[str]]:
    """The signals out of the profile's bounds, language left out."""
    keep = tomllib.loads(PROFILE.read_text())["keep"]
    bounds = {name: bound for name, bound in keep.items() if not name.startswith("language")}
    column, measured = pa.array(texts, pa.large_string()), {}
    for family in {FAMILY_OF[name] for name in bounds}:
        measured |= FAMILIES[family].measure(column)
    values = {name: measured[name].to_pylist() for name in bounds}
    return [
        [name for name, (low, high) in bounds.items() if not low <= values[name][i] <= high]
        for i in range(len(texts))
    ]
