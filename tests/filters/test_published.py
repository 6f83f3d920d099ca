"""Tables and bounds are those of the standards and papers they come from: written down here a second time, from there."""

from __future__ import annotations

import hashlib
import re
import sys
import tomllib
import unicodedata
from math import inf
from pathlib import Path

import naive_duplicates
import naive_markup
import naive_private
import naive_unicode
import numpy as np
import pyarrow as pa
import pytest
import regex

import filters
from filters.heuristics import characters, markup, private, stop_words
from filters.language.codes import canonical
from filters.text import segments, units

PROFILES = Path(filters.__file__).parent / "profiles"
EVERY_CHARACTER = [chr(code) for code in range(sys.maxunicode + 1)]
ALL_OF_THEM = "".join(EVERY_CHARACTER)


def having(prop: str) -> list[int]:
    """Code points with a property of Unicode."""
    return [ord(found) for found in regex.findall(rf"\p{{{prop}}}", ALL_OF_THEM)]


def test_every_character_has_its_word_break_class():
    classes = segments.word_breaks() & segments.CLASS
    for name in naive_unicode.CLASSES:
        mine = np.flatnonzero(classes == segments.CLASSES.index(name)).tolist()
        assert mine == having(f"Word_Break={name}"), name
    pictographic = np.flatnonzero(segments.word_breaks() & segments.PICTOGRAPHIC)
    assert pictographic.tolist() == having("Extended_Pictographic")


@pytest.mark.parametrize("script", naive_markup.SCRIPTS[:-1])
def test_a_letter_of_a_script_in_unicode_is_one_of_it_here(script):
    """Letters that Unicode gives to Common or Inherited are told by name, and a few hundred by the name alone."""
    names = {"kana": r"[\p{Script=Hiragana}\p{Script=Katakana}]"}
    letters = regex.compile(names.get(script, rf"\p{{Script={script}}}"))
    by_name_only = regex.compile(  # superscripts, the signs of kelvin, ohm and angstrom, variant kana, small Greek
        "[\u2071\u207f\u212a\u212b\u2126\u2132\u214e\u2183\u303b\u1d5d-\u1d61\u1dbf\u1d78\ua69c\ua69d\U00016fe3\U0001b000-\U0001b16f]"
    )
    place = naive_markup.SCRIPTS.index(script)
    wrong = [
        hex(ord(c))
        for c in letters.findall(ALL_OF_THEM)
        if c.isalpha() and characters.kinds()[ord(c)] != place and not by_name_only.match(c)
    ]
    assert wrong == []


def test_every_character_is_a_word_of_its_own_where_the_script_has_no_spaces():
    alone = regex.compile(rf"[{naive_duplicates.ALONE}]")
    told = (units.word_characters() & units.ALONE) != 0
    for c in EVERY_CHARACTER:
        if c.isalnum():
            assert told[ord(c)] == (alone.match(c) is not None), hex(ord(c))


def test_ibans_have_the_lengths_of_the_registry():
    letters = [chr(65 + k) for k in range(26)]
    told = {
        a + b: int(private.LENGTHS[26 * i + k]) for i, a in enumerate(letters) for k, b in enumerate(letters)
    }
    assert {country: length for country, length in told.items() if length} == naive_private.iban_lengths()


def test_furniture_of_pages_is_known_by_the_same_phrases():
    assert sorted(markup.PHRASES) == sorted(naive_markup.PHRASES)


def test_every_character_that_is_no_letter_has_its_kind():
    place = {kind.name.lower(): int(kind) for kind in characters.Kind}
    kinds = characters.kinds()
    emoji = {c for c in having("Extended_Pictographic") if c >= 0x2190 and not chr(c).isalpha()}
    assert set(np.flatnonzero(kinds == place["emoji"]).tolist()) == emoji
    for name, category in (("private_use", "Co"), ("invisible", "Cf"), ("combining", "M")):
        expected = [c for c in having(category) if unicodedata.category(chr(c)).startswith(category)]
        expected = [c for c in expected if not chr(c).isalpha() and c not in emoji]
        assert np.flatnonzero(kinds == place[name]).tolist() == expected, name


def luhn_completed(digits: str) -> str:
    return next(digits + last for last in "0123456789" if naive_private.luhn(digits + last))


def test_card_numbers_of_every_issuer_and_length_are_known():
    edges = (
        2220,
        2221,
        2720,
        2721,
        2999,
        3000,
        3059,
        3060,
        3399,
        3400,
        3499,
        3527,
        3528,
        3589,
        3590,
        3600,
        3699,
        3700,
        3799,
    )
    edges += (
        3800,
        3999,
        4000,
        4999,
        5099,
        5100,
        5599,
        6010,
        6011,
        6012,
        6199,
        6200,
        6299,
        6439,
        6440,
        6499,
        6500,
        6599,
    )
    forms = [(prefix, 16) for prefix in range(1000, 10_000)]
    forms += [(prefix, size) for prefix in edges for size in range(12, 21)]
    texts = [luhn_completed(str(prefix).ljust(size - 1, "7")) for prefix, size in forms]
    told = private.measure(pa.array(texts, pa.large_string()))["card_number_count"].to_pylist()
    assert told == [int(bool(re.fullmatch(naive_private.CARDS, text))) for text in texts]


def test_addresses_of_every_special_network_are_left_alone():
    edges = {n.network_address + offset for n in naive_private.NOT_PUBLIC for offset in (-256, -1, 0, 255, 256)
             if 0 <= int(n.network_address) + offset < 2**32}  # fmt: skip
    edges |= {
        n.broadcast_address + o for n in naive_private.NOT_PUBLIC for o in (0, 1) if int(n[-1]) + o < 2**32
    }
    texts = [str(address) for address in sorted(edges)]
    told = private.measure(pa.array(texts, pa.large_string()))["ipv4_address_count"].to_pylist()
    assert told == [len(naive_private.ipv4_addresses(text)) for text in texts]


@pytest.mark.parametrize(("more", "count"), [(0, 1), (1, 0)])
def test_a_key_block_may_be_so_long_and_no_longer(more, count):
    head, tail = "-----BEGIN PRIVATE KEY-----\n", "\n-----END PRIVATE KEY-----"
    text = head + "A" * (16_384 - len(head) - len(tail) + more) + tail
    assert private.measure(pa.array([text], pa.large_string()))["secret_key_count"].to_pylist() == [count]


# ISO 639-1 with ISO 639-2/T, both letters of the first before the three of the other.
ISO_639 = """
aaaar ababk aeave afafr akaka amamh anarg arara asasm avava ayaym azaze babak bebel bgbul bibis bmbam bnben bobod brbre
bsbos cacat ceche chcha cocos crcre csces cuchu cvchv cycym dadan dedeu dvdiv dzdzo eeewe elell eneng eoepo esspa etest
eueus fafas ffful fifin fjfij fofao frfra fyfry gagle gdgla glglg gngrn guguj gvglv hahau heheb hihin hohmo hrhrv hthat
huhun hyhye hzher iaina idind ieile igibo iiiii ikipk ioido isisl itita iuiku jajpn jvjav kakat kgkon kikik kjkua kkkaz
klkal kmkhm knkan kokor krkau kskas kukur kvkom kwcor kykir lalat lbltz lglug lilim lnlin lolao ltlit lulub lvlav mgmlg
mhmah mimri mkmkd mlmal mnmon mrmar msmsa mtmlt mymya nanau nbnob ndnde nenep ngndo nlnld nnnno nonor nrnbl nvnav nynya
ococi ojoji omorm orori ososs papan pipli plpol pspus ptpor quque rmroh rnrun roron rurus rwkin sasan scsrd sdsnd sesme
sgsag shhbs sisin skslk slslv smsmo snsna sosom sqsqi srsrp ssssw stsot susun svswe swswa tatam tetel tgtgk ththa titir
tktuk tltgl tntsn toton trtur tstso tttat tytah uguig ukukr ururd uzuzb veven vivie vovol wawln wowol xhxho yiyid yoyor
zazha zhzho zuzul
"""
BIBLIOGRAPHIC = """
botib cscze cywel deger elgre eubaq faper frfre hyarm isice kageo mimao mkmac msmay mybur nldut rorum skslo sqalb zhchi
"""


def test_every_language_with_two_letters_has_its_three():
    for pair in (ISO_639 + BIBLIOGRAPHIC).split():
        assert canonical(pair[:2]) == canonical(pair[2:]) == pair[:2]


# Table A1 of Rae et al. 2021 (arXiv:2112.11446) and the text before it.
QUALITY = {
    "core_word_count": [50, 100_000], "mean_core_word_length": [3, 10], "hash_word_ratio": [0, 0.1],
    "ellipsis_word_ratio": [0, 0.1], "bullet_line_ratio": [0, 0.9], "ellipsis_line_ratio": [0, 0.3],
    "alphabetic_word_ratio": [0.8, 1], "stop_word_count": [2, 8],
}  # fmt: skip
MOST_IN_TOP = {2: 0.20, 3: 0.18, 4: 0.16}
MOST_IN_REPEATED = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
LINES_AND_PARAGRAPHS = {"line": 0.3, "paragraph": 0.3, "line_character": 0.2, "paragraph_character": 0.2}


def ngrams(top: str, repeated: str) -> dict[str, list[float]]:
    bounds = {top.format(n): [0, most] for n, most in MOST_IN_TOP.items()}
    return bounds | {repeated.format(n): [0, most] for n, most in MOST_IN_REPEATED.items()}


KEEP = {
    "gopher-quality": QUALITY,
    "gopher-repetition": {
        "character_count": [1, inf],
        **{f"repeated_{what}_ratio": [0, most] for what, most in LINES_AND_PARAGRAPHS.items()},
        **ngrams("top_{}gram_character_ratio", "repeated_{}gram_character_ratio"),
    },
    # datatrove 0.10, c4_filters.py: min_num_sentences is 5.
    "c4": {
        "c4_lorem_ipsum_line_count": [0, 0],
        "c4_curly_bracket_line_count": [0, 0],
        "c4_sentence_count": [5, inf],
    },
    # Raffel et al. 2020 (arXiv:1910.10683), section 2.2: pages of fewer than three sentences go.
    "c4-paper": {
        "c4_paper_lorem_ipsum_line_count": [0, 0],
        "c4_paper_curly_bracket_line_count": [0, 0],
        "c4_paper_sentence_count": [3, inf],
    },
    "c4-any-ending": {
        "c4_any_ending_lorem_ipsum_line_count": [0, 0],
        "c4_any_ending_curly_bracket_line_count": [0, 0],
        "c4_any_ending_sentence_count": [5, inf],
    },
    # Penedo et al. 2024 (arXiv:2406.17557), section 3.6: 0.12 of lines, 0.1 of characters, 0.67 of lines.
    "fineweb-paper": {
        "text_line_count": [1, inf], "terminal_line_ratio": [0.12, 1], "short_line_ratio": [0, 0.67],
        "repeated_text_line_character_ratio": [0, 0.1],
    },
    # datatrove from 0.4 on, fineweb_quality_filter.py: 0.01 of characters, and 0.3 newlines a word.
    "fineweb": {
        "text_line_count": [1, inf], "terminal_line_ratio": [0.12, 1], "short_line_ratio": [0, 0.67],
        "repeated_text_line_character_ratio": [0, 0.01], "newline_word_ratio": [0, 0.3],
    },
    "fineweb-v1": {
        "character_count": [1, inf],
        "ascii_terminal_line_ratio": [float(np.nextafter(0.12, 1)), 1],
        "short_split_line_ratio": [0, float(np.nextafter(0.67, 0))],
        "repeated_split_line_character_ratio": [0, float(np.nextafter(0.01, 0))],
        "newline_word_ratio": [0, 0.3],
    },
    # Soldaini et al. 2024 (arXiv:2402.00159), section 5.1.2, and the mixer's configuration of Dolma 1.6.
    "dolma-1.6": {
        "character_count": [1, inf], "word_count": [50, 100_000], "median_word_length": [3, 10],
        "symbol_word_ratio": [0, 0.1], "alphabetic_word_ratio": [0.8, 1], "stop_word_occurrence_count": [2, inf],
        "dolma_bullet_line_ratio": [0, 0.9], "dolma_ellipsis_line_ratio": [0, 0.3],
        "copied_line_ratio": [0, 0.3], "copied_line_character_ratio": [0, 0.3],
        **ngrams("top_{}gram_word_character_ratio", "copied_{}gram_character_ratio"),
        "private_count": [0, 5], "longest_word_run": [0, 99],
    },
    # Li et al. 2024 (arXiv:2406.11794), appendix on the heuristics of RefinedWeb (arXiv:2306.01116, table 9).
    "dclm": {
        "language": ["en"], "language_score": [0.65, 1], "dclm_word_count": [50, 100_000], "mean_word_length": [3, 10],
        "dclm_symbol_word_ratio": [0, 0.1], "dclm_bullet_line_ratio": [0, 0.9], "dclm_ellipsis_line_ratio": [0, 0.3],
        "alphabetic_word_ratio": [0.8, 1], "dclm_stop_word_count": [2, inf],
        **{f"dclm_copied_{what}_ratio": [0, most] for what, most in LINES_AND_PARAGRAPHS.items()},
        **ngrams("dclm_top_{}gram_character_ratio", "dclm_copied_{}gram_character_ratio"),
        "dclm_edited_word_ratio": [0, 0.05],
    },
}  # fmt: skip
# Olmo 3 (arXiv:2512.13961), all_dressed_config.yaml of datamap-rs: DCLM's over Unicode words, and on sentences those of
# MADLAD-400 (arXiv:2309.04662), section 2.3: fewer than 5 go, and a fifth or more that are questionable.
KEEP["olmo3"] = {name: bound for name, bound in KEEP["dclm"].items() if name != "dclm_word_count"} | {
    "character_count": [150, inf], "unicode_word_count": [50, 100_000], "madlad_sentence_count": [5, inf],
    "madlad_list_case_sentence_ratio": [0, float(np.nextafter(0.2, 0))],
}  # fmt: skip


def test_every_profile_is_checked_here():
    assert {path.stem for path in PROFILES.glob("*.toml")} == {*KEEP, "fineweb-2"}


@pytest.mark.parametrize("name", KEEP)
def test_a_profile_has_the_bounds_of_its_paper(name):
    assert tomllib.loads((PROFILES / f"{name}.toml").read_text())["keep"] == KEEP[name]


# Of each language's file among the configs of huggingface/fineweb-2 (Penedo et al. 2025, arXiv:2506.20920): beginnings of
# the sha256 of its stop words (sorted, spaces between, marks of punctuation left out) and of its bounds (language score,
# repeated lines, top 2- to 4-grams, repeated 5- to 10-grams, lines that end in a mark, newlines, word lengths from and
# to, words with a letter; floats as Python writes them). Thai's word lengths are left out: its tokens are no words.
FINEWEB_2 = """
de eb8db7e43d70 dfcc7ac5389e  fr 7a536d77d7d2 ab8438af2144  es 62d2067a131e 09b78febf4fd  pt 95bb9075c4eb 92015bc088ce
it 96bbcfb54777 baf9d74e4aac  nl c32c12dd7860 ee4869f57558  sv 4084e1b67abf 58e50cba9bce  nb d1be3151680a 10c4853f54ac
no d1be3151680a 10c4853f54ac  nn acc4fc463128 05357d4611cd  da 5d9cc0ab6028 1b8354c6dcdd  pl 96f4de9f51f0 b90a71f86632
ru cbc1bc7739f8 936555171b7d  uk b0cd00910946 62676fcba37d  tr 7f8c6d2a800f 6fa102288103  ar 4fd13efa6c50 5b69c6416be3
hi e70866ff90b9 299ed2304093  zh a5c555cd5cd1 df7ed1302b3c  ja 60963821baf8 353c215b087b  ko 140996546af5 cd81136cb396
vi 41cd8d6e4d62 bc8f22532151  th 0d7cc1b73232 5d04f0b1c449  cs 0cf81e19884d a55f51878e74  fi 995f2a0b3983 de93cf948acb
el 2bf395994430 413f88beeca9  hu 2d13e3c69e54 4241f2e83df4  ro e0778f168925 af2e81d81b25  id a70e77022f8c ad97ce6041f2
fa c883c903f956 099b85f29833  he b41c62750c13 9dbae0e31123  bg ee411374df84 dc0d76d87d3c  ca 541fb3026418 57c8832a8873
"""


def digest(values: list) -> str:
    return hashlib.sha256(" ".join(map(str, values)).encode()).hexdigest()[:12]


def fineweb_2_bounds(bounds: dict[str, list[float]]) -> list[float]:
    least = lambda name: [bounds[name][0]]  # noqa: E731
    most = lambda name: [bounds[name][1]]  # noqa: E731
    found = least("language_score") + most("repeated_line_ratio")
    for n in range(2, 5):
        found += most(f"unicode_top_{n}gram_character_ratio")
    for n in range(5, 11):
        found += most(f"unicode_repeated_{n}gram_character_ratio")
    found += least("terminal_line_ratio") + most("newline_unicode_token_ratio")
    found += bounds.get("mean_unicode_word_length", []) + least("alphabetic_unicode_token_ratio")
    return [float(value) for value in found]


def test_fineweb_2_has_the_stop_words_and_bounds_of_its_configuration():
    profile = tomllib.loads((PROFILES / "fineweb-2.toml").read_text())["language"]
    published = FINEWEB_2.split()
    assert {*published[::3], "en"} == profile.keys() == stop_words.stop_words().keys()
    for code, words, bounds in zip(published[::3], published[1::3], published[2::3], strict=True):
        assert digest(sorted(stop_words.stop_words()[code])) == words, code
        assert digest(fineweb_2_bounds(profile[code])) == bounds, code


def test_fineweb_2_in_english_is_gopher_and_fineweb():
    bounds = tomllib.loads((PROFILES / "fineweb-2.toml").read_text())["language"]["en"]
    assert bounds == {
        "language_score": [0.65, 1],
        "repeated_line_ratio": [0, 0.3],
        **ngrams("unicode_top_{}gram_character_ratio", "unicode_repeated_{}gram_character_ratio"),
        "terminal_line_ratio": [0.12, 1],
        "newline_unicode_token_ratio": [0, 0.3],
        "mean_unicode_word_length": [3, 10],
        "alphabetic_unicode_token_ratio": [0.8, 1],
    }
