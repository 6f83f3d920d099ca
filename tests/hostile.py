"""Texts that break what handles text: empty, huge, blank, foreign, controlled, cut inside a character.

`texts()` are valid strings by name; `INVALID` are byte strings no decoder accepts; `invalid_column` puts such
bytes into an Arrow column all the same, as an unchecked Parquet file does.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from filters.arrow import from_utf8

BREAKS = ("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
SPACES = tuple(chr(code) for code in range(0x110000) if chr(code).isspace())

INVALID = (
    b"\xff",
    b"caf\xe9 latin-1\n- \xe9",
    b"cut \xe2\x80",  # "…" without its last byte
    b"cut \xf0\x9f\x98",
    b"\x80\x80\x80 continuation only",
    b"\xc0\xaf overlong, \xe0\x80\xaf too",
    b"\xed\xa0\x80 a surrogate",
    b"\xf4\x90\x80\x80 beyond Unicode",
    b"\xe2\x80 \xe2\x80\n\xe2\x80\xa6",
    b"same\xff same\xfe same\xff\n" * 20,
)


def texts() -> dict[str, str]:
    """Small and hostile, by name."""
    return {
        "empty": "",
        "one space": " ",
        "one letter": "a",
        "three words in any order": " ".join("abc"[(k * 2654435761 % 2**32 >> 9) % 3] for k in range(1500)),
        "one newline": "\n",
        "only newlines": "\n" * 1000,
        "only blank lines": " \n\t\n \r\n" * 50,
        "only NULs": "\0" * 1000,
        "NULs in words": "a\0b a\0b a \0 a\0\0 a\0",
        "every break": "".join(f"- line{mark}" for mark in BREAKS * 3),
        "every break alone": "".join(BREAKS),
        "every space": "".join(f"word{space}" for space in SPACES),
        "every space twice": "".join(space * 2 + "é" for space in SPACES),
        "carriage returns": "One.\r\nTwo...\r\n\r\nOne.\r\n" * 9,
        "unit separator": "a\x1fb\x1fa",  # whitespace, and no line break
        "Chinese": "中文沒有空格,一行到底。" * 40,
        "ideographic space": "全角 空白 全角 空白\u3000全角\u3000",
        "Japanese": "・これは…\n・これは…\n「はい。」\n",
        "Thai": "ภาษาไทยไม่เว้นวรรค " * 20,
        "Arabic": "• هذا نص عربي، من اليمين إلى اليسار.\n" * 12,
        "Hebrew": "שלום עולם… שלום עולם?\n\nשלום עולם… שלום עולם?",
        "Hindi": "यह एक वाक्य है।\nयह एक वाक्य है।\n",
        "combining marks": "e\u0301" * 70 + " " + "\u0301" * 70 + "\n" + "a" + "\u0300" * 200,
        "emoji": "👩‍👩‍👧‍👦 👍🏽 🇳🇴\n" * 30,
        "mathematical": "𝐀𝐁 𝟏𝟐 ∑∞ ≠ ⅷ Ⅷ ²\n",
        "titlecase and Greek": "ǅ Ǆ ΑΣ ας ß ẞ ı İ",
        "ellipses": "... .. .... ..... ...... ....... … ……\n.\n..\n...\n . . .\na…\n",
        "hashes": "# ## ### a#b\n",
        "a hashed word": "one #two three",
        "bullets": "- a\n  - b\n\t• c\n* d\n-\n•\n\u3000- e\n–f\n" * 5,
        "trailing spaces": "a. \nb.\t\nc.\u00a0\nd...  \n",
        "paragraphs": "\n\n  a\nb\n\n\na\nb\n \na\nb\n\n   \n\n   \n\nc\n\na\nb  \n\n",
        "newline first and last": "\na\n\na\n",
        "newline first": "\n\na",
        "spaced letters, run together": "a b c d e ab c d e f a bc d e f abcdef " * 3,
        "one word forever": "a " * 500,
        "two words forever": "to be " * 300,
        "copied in part": "a b c d e f g h i j k l " * 2 + "m n o p q r s t u v w x y z",
        "long period": " ".join(str(k % 37) for k in range(400)),
        "stop words and NULs": "the\0 the the\0\0 be\0",
        "stop words": "the The THE be to of and that have with withs th",
        "punctuation": "!?. ,;: «» „“ — – $ £ + = < > ^ ` | ~ \x07",
        "62 bytes and a wide space": "a" * 62 + "\u2003" + "b" * 61 + "\u2028" + "c",
        "63 bytes and a wide space": "a" * 63 + "\u2003" + "b" * 60 + "\u2028" + "c",
        "63 bytes and a no-break space": "a" * 63 + "\u00a0b",
        "carriage return on a border": "a" * 63 + "\r\nb",
        "64 bytes": "a" * 64,
        "64 spaces": " " * 64,
        "65 bytes": "a" * 64 + " ",
        "long words": "x" * 63 + " " + "y" * 64 + " " + "z" * 65 + " " + "é" * 90 + " q",
        "long words only": " ".join("w" * (60 + k) for k in range(8)),
        "same start, same end": "abcdefgh1 abcdefgh2 abcdefgh1 1abcdefgh 2abcdefgh\n" * 2,
        "byte order mark": "\ufeffthe first word\ufeff",
        "replacement": "\ufffd\ufffd \ufffd",
        "soft hyphens and joiners": "co\u00adop\u200bera\u200dtion\u2060 x",
        "last code points": "\ud7ff\ue000\uffff\U00010000\U0010ffff",
    }


def huge(size: int = 1_000_000) -> dict[str, str]:
    """Texts of some `size` bytes on which a careless loop is quadratic."""
    return {
        "one line, one word": "a" * size,
        "one line": "some words " * (size // 11),
        "one-character words": "a b c d " * (size // 8),
        "different words": " ".join(str(k) for k in range(size // 7)),
        "only newlines": "\n" * size,
        "only NULs": "\0" * size,
        "only spaces": " " * size,
        "only dots": "." * size,
        "empty paragraphs": " \n\n" * (size // 3),
        "same line": "\n".join(["abc"] * (size // 4)),
        "line separators": "\u2028" * (size // 3),
        "Chinese": "中文" * (size // 6),
    }


def invalid_column(pieces: tuple[bytes, ...] = INVALID) -> pa.LargeStringArray:
    """A `large_string` column that holds these bytes, valid UTF-8 or not."""
    offsets = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])]).astype(np.int64)
    return from_utf8(offsets, np.frombuffer(b"".join(pieces), np.uint8))
