"""Classes of characters, as this Python's Unicode knows them; a character is a code point."""

from __future__ import annotations

import sys
import unicodedata
from functools import lru_cache

import numpy as np

WHITESPACE, ALPHABETIC, PUNCTUATION, DIGIT, UPPERCASE, TERMINAL = 1, 2, 4, 8, 16, 32


# The marks that end a sentence, in every script, as FineWeb's filter lists them: Unicode's Sentence_Terminal
# (version 15) and three Khmer marks; no quotes, no ellipsis character.
TERMINAL_MARKS = """
21 2e 3f 589 61d-61f 6d4 700-702 7f9 837 839 83d-83e 964-965 104a-104b 1362 1367-1368 166e 1735-1736
17d4-17d6 17d9-17da 1803 1809 1944-1945 1aa8-1aab 1b5a-1b5b 1b5e-1b5f 1b7d-1b7e 1c3b-1c3c 1c7e-1c7f
203c-203d 2047-2049 2e2e 2e3c 2e53-2e54 3002 a4ff a60e-a60f a6f3 a6f7 a876-a877 a8ce-a8cf a92f a9c8-a9c9
aa5d-aa5f aaf0-aaf1 abeb fe52 fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 10f55-10f59 10f86-10f89 11047-11048
110be-110c1 11141-11143 111c5-111c6 111cd 111de-111df 11238-11239 1123b-1123c 112a9 1144b-1144c 115c2-115c3
115c9-115d7 11641-11642 1173c-1173e 11944 11946 11a42-11a43 11a9b-11a9c 11c41-11c42 11ef7-11ef8 11f43-11f44
16a6e-16a6f 16af5 16b37-16b38 16b44 16e98 1bc9f 1da88
"""


def terminal_marks() -> list[int]:
    """Code points of `TERMINAL_MARKS`."""
    spans = [[int(code, 16) for code in span.split("-")] for span in TERMINAL_MARKS.split()]
    return [code for span in spans for code in range(span[0], span[-1] + 1)]


def is_punctuation(character: str) -> bool:
    """Punctuation, symbols and control characters: on ASCII `string.punctuation` and what is invisible."""
    category = unicodedata.category(character)
    return category[0] in "PS" or category == "Cc"


@lru_cache(maxsize=1)
def character_classes() -> np.ndarray:
    """uint8 [code points]: which classes each belongs to, by this Python's Unicode. Takes about 0.1 s."""
    codes = np.arange(sys.maxunicode + 1, dtype=np.uint32)
    characters = codes.view("<U1")
    alphabetic, decimal = np.char.isalpha(characters), np.char.isdecimal(characters)
    classes = alphabetic * np.uint8(ALPHABETIC) | decimal * np.uint8(DIGIT)
    classes |= np.char.isspace(characters) * np.uint8(WHITESPACE)
    classes |= np.char.isupper(characters) * np.uint8(UPPERCASE)
    planes_in_use = (codes < 0x40000) | (codes >> 16 == 14)  # the rest is unassigned or private
    for code in np.flatnonzero(planes_in_use & ~alphabetic & ~decimal).tolist():
        if is_punctuation(chr(code)):
            classes[code] |= PUNCTUATION
    classes[terminal_marks()] |= TERMINAL
    classes.flags.writeable = False
    return classes
