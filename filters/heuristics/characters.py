"""What kinds of characters a text is made of: scripts, controls, what is unseen, and what decoding has broken.

The script of a letter is told by its name in Unicode ("CYRILLIC SMALL LETTER A"). Mojibake is UTF-8 that was
decoded as Latin-1 or Windows-1252: a character that such a decoding makes of a first byte, followed by as many
as that byte announces of those it makes of continuation bytes: "Ã©" for "é", "â€™" for "’". Capital "É" before
"»" looks the same, so a count of one or two says little.
"""

from __future__ import annotations

import sys
import unicodedata
from functools import lru_cache

import numpy as np
import pyarrow as pa

from filters.columns import count_signal, ratio, real_signal
from filters.family import Family
from filters.text.batches import valid
from filters.text.bits import ONE_BIT, count_bits, lowest_bit, lowest_bits
from filters.text.compiled import kernel
from filters.text.masks import continuation_mask, in_ranges, letter_mask, non_ascii_mask
from filters.text.pages import PADDING, decode, longest_document, open_page
from filters.text.segments import PICTOGRAPHIC, word_breaks

SCRIPTS = (
    "latin", "cyrillic", "greek", "arabic", "hebrew", "devanagari", "thai", "han", "kana", "hangul", "other_script",
)  # fmt: skip
_NAMED = {
    "LATIN": 0, "FEMININE": 0, "MASCULINE": 0, "FULLWIDTH": 0, "MODIFIER": 0, "CYRILLIC": 1, "GREEK": 2, "ARABIC": 3,
    "HEBREW": 4, "DEVANAGARI": 5, "THAI": 6, "CJK": 7, "IDEOGRAPHIC": 7, "HIRAGANA": 8, "KATAKANA": 8,
    "KATAKANA-HIRAGANA": 8, "HANGUL": 9,
}  # fmt: skip
OTHER = len(SCRIPTS) - 1
CONTROL, REPLACEMENT, PRIVATE_USE, INVISIBLE, COMBINING, EMOJI, NOTHING = range(
    len(SCRIPTS), len(SCRIPTS) + 7
)
KINDS = ("control", "replacement", "private_use", "invisible", "combining", "emoji")
LEAST_SHARE = 100  # a script is one of the text's where it has at least one in so many of its letters

# What Windows-1252 makes of the bytes 80..9F; where it makes nothing, Latin-1's control character.
_WINDOWS = [bytes([byte]).decode("cp1252", errors="replace") for byte in range(0x80, 0xA0)]

control_mask = in_ranges((0x00, 0x08), (0x0E, 0x1B), (0x7F, 0x7F))


@lru_cache(maxsize=1)
def kinds() -> np.ndarray:
    """uint8 [code points]: the script of a letter, the kind of what is none, NOTHING elsewhere. Takes about 0.3 s."""
    table = np.full(sys.maxunicode + 1, NOTHING, np.uint8)
    table[(word_breaks() & PICTOGRAPHIC) != 0] = EMOJI
    table[:0x2190] = NOTHING  # (c), (r), !! and the like are no emoji by themselves
    scripts = {name: np.uint8(number) for name, number in _NAMED.items()}
    categories = {
        "Cc": CONTROL,
        "Co": PRIVATE_USE,
        "Cf": INVISIBLE,
        "Mn": COMBINING,
        "Me": COMBINING,
        "Mc": COMBINING,
    }
    for code in (*range(0x40000), *range(0xE0000, 0xE0200)):
        character = chr(code)
        if character.isalpha():
            name = unicodedata.name(character, "OTHER").removeprefix("HALFWIDTH ")
            table[code] = scripts.get(name.split()[0], OTHER)
        elif (category := unicodedata.category(character)) in categories and not character.isspace():
            table[code] = categories[category]
    table[0xF0000:0xFFFFE] = table[0x100000:0x10FFFE] = PRIVATE_USE
    table[0xFFFD] = REPLACEMENT
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
    """Fill in int64 [kinds, documents]: of each kind, then characters, then mojibake."""
    page = np.empty(longest_document(offsets) + PADDING, np.uint8)
    tally = np.empty(len(tallies), np.int64)
    characters, mojibake = len(tallies) - 2, len(tallies) - 1
    for i in range(len(offsets) - 1):
        length = open_page(page, data, offsets[i], offsets[i + 1])
        tally[:] = 0
        expected = 0  # continuations that would complete a broken character
        after = -1  # where the next of them would stand
        for block in range(0, length, 64):
            text = lowest_bits(length - block)
            others = non_ascii_mask(page, block) & ~continuation_mask(page, block) & text
            tally[characters] += count_bits(~continuation_mask(page, block) & text)
            tally[0] += count_bits(letter_mask(page, block) & text)
            tally[CONTROL] += count_bits(control_mask(page, block) & text)
            while others:
                at = block + lowest_bit(others)
                others &= others - ONE_BIT
                code, width = decode(page, at)
                tally[table[code]] += 1
                what = broken[code] if code < len(broken) else 0
                if what == 1 and at == after and expected:
                    expected -= 1
                    tally[mojibake] += expected == 0
                else:
                    expected = what - 1 if what > 1 else 0
                after = at + width
        tallies[:, i] = tally


def measure(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Kinds of characters in every text; all are 0 for an empty one."""
    offsets, data = valid(texts)
    tallies = np.zeros((NOTHING + 3, len(offsets) - 1), np.int64)
    _count(offsets, data, kinds(), broken_bytes(), tallies)
    letters = tallies[: len(SCRIPTS)].sum(axis=0)
    columns = {f"{name}_letter_ratio": ratio(tallies[number], letters) for number, name in enumerate(SCRIPTS)}
    columns["script_count"] = pa.array(
        ((tallies[: len(SCRIPTS)] > 0) & (LEAST_SHARE * tallies[: len(SCRIPTS)] >= letters)).sum(axis=0)
    )
    columns |= {
        f"{name}_character_count": pa.array(tallies[len(SCRIPTS) + number])
        for number, name in enumerate(KINDS)
    }
    columns["mojibake_count"] = pa.array(tallies[-1])
    columns["mojibake_character_ratio"] = ratio(tallies[-1], tallies[-2])
    return columns


_SAYS = {
    "control": "control characters that are no white space",
    "replacement": "U+FFFD, what decoding puts where it fails",
    "private_use": "characters for private use, which have no common meaning",
    "invisible": "format characters: zero-width, direction marks, byte order marks, soft hyphens",
    "combining": "marks that combine with the character before",
    "emoji": "emoji and other pictographs from U+2190 on",
}

FAMILY = Family(
    "characters",
    2,
    measure,
    (
        *(
            real_signal(f"{name}_letter_ratio", "ratio", 1.0, f"{name.capitalize()} letters / letters")
            for name in SCRIPTS[:OTHER]
        ),
        real_signal("other_script_letter_ratio", "ratio", 1.0, "letters of all other scripts / letters"),
        count_signal(
            "script_count", "scripts", f"of the above, those with at least one in {LEAST_SHARE} letters"
        ),
        *(count_signal(f"{name}_character_count", "characters", says) for name, says in _SAYS.items()),
        count_signal("mojibake_count", "sequences", "UTF-8 read as Latin-1 or Windows-1252: Ã© for é"),
        real_signal("mojibake_character_ratio", "ratio", 1.0, "such sequences / characters"),
    ),
)
