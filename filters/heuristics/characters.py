"""What kinds of characters a text is made of: scripts, controls, what is unseen, and what decoding has broken.

A letter's name in Unicode says its script ("CYRILLIC SMALL LETTER A"). Mojibake is UTF-8 that was
decoded as Latin-1 or Windows-1252: a character that such a decoding makes of a first byte, followed by as many
as that byte announces of those it makes of continuation bytes: "Ã©" for "é", "â€™" for "’". Capital "É" before
"»" looks the same, so a count of one or two says little.
"""

from __future__ import annotations

import sys
import unicodedata
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np

from filters.columns import count, ratio, tallied
from filters.family import Signal
from filters.text.bits import count_bits, lowest_bits, places
from filters.text.compiled import kernel
from filters.text.masks import continuation_mask, in_ranges, letter_mask, non_ascii_mask
from filters.text.pages import PADDING, decode, longest_document, open_page
from filters.text.segments import PICTOGRAPHIC, word_breaks

Kind = IntEnum("Kind", [
    "LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "DEVANAGARI", "THAI", "HAN", "KANA", "HANGUL", "OTHER_SCRIPT",
    "CONTROL", "REPLACEMENT", "PRIVATE_USE", "INVISIBLE", "COMBINING", "EMOJI", "NOTHING",  # no letters
    "CHARACTERS", "MOJIBAKE",  # counted beside the kinds
], start=0)  # fmt: skip
SCRIPTS = tuple(Kind)[: Kind.CONTROL]
_NAMED = {kind.name: kind for kind in SCRIPTS} | {
    "FEMININE": Kind.LATIN, "MASCULINE": Kind.LATIN, "FULLWIDTH": Kind.LATIN, "MODIFIER": Kind.LATIN, "CJK": Kind.HAN,
    "IDEOGRAPHIC": Kind.HAN, "HIRAGANA": Kind.KANA, "KATAKANA": Kind.KANA, "KATAKANA-HIRAGANA": Kind.KANA,
}  # fmt: skip
_CATEGORIES = {
    "Cc": Kind.CONTROL, "Co": Kind.PRIVATE_USE, "Cf": Kind.INVISIBLE, "Mn": Kind.COMBINING, "Me": Kind.COMBINING,
    "Mc": Kind.COMBINING,
}  # fmt: skip
LEAST_SHARE = 100  # a script is one of the text's where it has at least one in so many of its letters

# What Windows-1252 makes of the bytes 80..9F; where it makes nothing, Latin-1's control character.
_WINDOWS = [bytes([byte]).decode("cp1252", errors="replace") for byte in range(0x80, 0xA0)]

control_mask = in_ranges((0x00, 0x08), (0x0E, 0x1B), (0x7F, 0x7F))


@lru_cache(maxsize=1)
def kinds() -> np.ndarray:
    """uint8 [code points]: the kind of each, the script where it is a letter. Takes about 0.3 s."""
    table = np.full(sys.maxunicode + 1, Kind.NOTHING, np.uint8)
    table[(word_breaks() & PICTOGRAPHIC) != 0] = Kind.EMOJI
    table[:0x2190] = Kind.NOTHING  # (c), (r), !! and the like are no emoji by themselves
    for code in (*range(0x40000), *range(0xE0000, 0xE0200)):
        character = chr(code)
        if character.isalpha():
            name = unicodedata.name(character, "OTHER").removeprefix("HALFWIDTH ")
            table[code] = _NAMED.get(name.split()[0], Kind.OTHER_SCRIPT)
        elif (category := unicodedata.category(character)) in _CATEGORIES and not character.isspace():
            table[code] = _CATEGORIES[category]
    table[0xF0000:0xFFFFE] = table[0x100000:0x10FFFE] = Kind.PRIVATE_USE
    table[0xFFFD] = Kind.REPLACEMENT
    table.flags.writeable = False
    return table


@lru_cache(maxsize=1)
def broken_bytes() -> np.ndarray:
    """uint8 [0x3000]: what a decoding by Latin-1 or Windows-1252 has made of bytes of UTF-8.

    0: nothing; 1: of a continuation byte; 2, 3, 4: of the first byte of a character of so many.
    """
    table = np.zeros(0x3000, np.uint8)
    table[0x80:0xC0] = 1
    table[[ord(character) for character in _WINDOWS if character != "\ufffd"]] = 1
    table[0xC2:0xE0], table[0xE0:0xF0], table[0xF0:0xF5] = 2, 3, 4
    table.flags.writeable = False
    return table


@kernel
def _count(offsets, data, table, broken, tallies):
    """Fill in int64 [kinds, documents]."""
    page = np.empty(longest_document(offsets) + PADDING, np.uint8)
    tally = np.empty(len(tallies), np.int64)
    for i in range(len(offsets) - 1):
        length = open_page(page, data, offsets[i], offsets[i + 1])
        tally[:] = 0
        expected = 0  # continuations that would complete a broken character
        after = -1  # where the next of them would stand
        for block in range(0, length, 64):
            text = lowest_bits(length - block)
            others = non_ascii_mask(page, block) & ~continuation_mask(page, block) & text
            tally[Kind.CHARACTERS] += count_bits(~continuation_mask(page, block) & text)
            tally[Kind.LATIN] += count_bits(letter_mask(page, block) & text)
            tally[Kind.CONTROL] += count_bits(control_mask(page, block) & text)
            for at in places(others, block):
                code, width = decode(page, at)
                tally[table[code]] += 1
                what = broken[code] if code < len(broken) else 0
                if what == 1 and at == after and expected:
                    expected -= 1
                    tally[Kind.MOJIBAKE] += expected == 0
                else:
                    expected = what - 1 if what > 1 else 0
                after = at + width
        tallies[:, i] = tally


def _letters(measured: Any) -> np.ndarray:
    return measured.tallies[: len(SCRIPTS)].sum(axis=0)


def _scripts(measured: Any) -> np.ndarray:
    letters = measured.tallies[: len(SCRIPTS)]
    return ((letters > 0) & (LEAST_SHARE * letters >= _letters(measured))).sum(axis=0)


def _script(kind: Kind, says: str = "") -> Signal:
    name = kind.name.lower()
    return ratio(f"{name}_letter_ratio", kind, _letters, says or f"{name.capitalize()} letters / letters")


def _characters(kind: Kind, says: str) -> Signal:
    return count(f"{kind.name.lower()}_character_count", "characters", kind, says)


SIGNALS = (
    *map(_script, SCRIPTS[: Kind.OTHER_SCRIPT]),
    _script(Kind.OTHER_SCRIPT, "letters of all other scripts / letters"),
    count("script_count", "scripts", _scripts, f"of the above, those with at least one in {LEAST_SHARE} letters"),
    _characters(Kind.CONTROL, "control characters that are no white space"),
    _characters(Kind.REPLACEMENT, "U+FFFD, what decoding puts where it fails"),
    _characters(Kind.PRIVATE_USE, "characters for private use, which have no common meaning"),
    _characters(Kind.INVISIBLE, "format characters: zero-width, direction marks, byte order marks, soft hyphens"),
    _characters(Kind.COMBINING, "marks that combine with the character before"),
    _characters(Kind.EMOJI, "emoji and other pictographs from U+2190 on"),
    count("mojibake_count", "sequences", Kind.MOJIBAKE, "UTF-8 read as Latin-1 or Windows-1252: Ã© for é"),
    ratio("mojibake_character_ratio", Kind.MOJIBAKE, Kind.CHARACTERS, "such sequences / characters"),
)  # fmt: skip

FAMILY = tallied("characters", 2, SIGNALS, Kind, _count, kinds, broken_bytes)
