"""Which characters are letters, marks, numbers and white space to the engine that runs the pre-tokenizer's pattern.

Unicode grows by a version a year, and Python, this engine and every other carry different ones. So the classes
are asked of the engine itself, once a process: where one of its runs of letters begins and ends.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from tokenizers import Regex, pre_tokenizers

LETTER, MARK, NUMBER, SPACE, BREAK, SIGN = 1, 2, 4, 8, 16, 32
CODES = 0x110000
_PATTERNS = {LETTER: r"\p{L}", MARK: r"\p{M}", NUMBER: r"\p{N}", SPACE: r"\s"}
_ASSIGNED = (
    (0, 0xD800),
    (0xE000, 0x40000),
    (0xE0000, 0xE1000),
)  # what lies beyond is private or without meaning


@lru_cache(maxsize=1)
def character_classes() -> np.ndarray:
    """uint8 [code points]: LETTER, MARK, NUMBER or SPACE; BREAK beside SPACE for `\\r` and `\\n`; SIGN for all that
    is neither letter, number nor white space (so also for marks). Takes about 0.2 s."""
    classes = np.zeros(CODES, np.uint8)
    codes = np.concatenate([np.arange(*span, dtype=np.uint32) for span in _ASSIGNED])
    text = codes.tobytes().decode("utf-32-le")
    runs = "|".join(f"{pattern}+" for pattern in _PATTERNS.values())
    edges = [begin for _, (begin, _) in pre_tokenizers.Split(Regex(runs), "isolated").pre_tokenize_str(text)]
    kinds = _classes_of([text[edge] for edge in edges])
    classes[codes] = np.repeat(kinds, np.diff([*edges, len(text)]))
    classes[[ord("\r"), ord("\n")]] |= BREAK
    classes[classes & (LETTER | NUMBER | SPACE) == 0] |= SIGN
    classes.flags.writeable = False
    return classes


def _classes_of(characters: list[str]) -> np.ndarray:
    """uint8 [n]: the class of each by one question a class, set apart by a character that has none."""
    text = "\0".join(characters)
    kinds = np.zeros(len(text), np.uint8)
    for kind, pattern in _PATTERNS.items():
        matches = pre_tokenizers.Split(Regex(pattern), "removed", invert=True).pre_tokenize_str(text)
        kinds[[begin for _, (begin, _) in matches]] = kind
    return kinds[::2]
