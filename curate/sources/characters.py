"""Bytes made text: UTF-8, and UTF-16 and UTF-32 by their mark or by where their zero bytes stand.

A byte-order mark is no part of a text: not where it begins, and not where files were joined into one.
"""

from __future__ import annotations

import codecs
import io
import math
import unicodedata
from collections import Counter

from curate.sources.rows import Problems

MARK = "\ufeff"
BOM = codecs.BOM_UTF8
MARKS = (  # the longer first: that of UTF-32 begins as that of UTF-16 does
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
SAMPLE = 4096  # bytes that an encoding is recognised by
NO_TEXT = ("Cc", "Cn", "Co", "Cs")  # categories of characters that text has hardly any of
MOST_NO_TEXT = 0.02
# Bytes that no other encoding of text has many of, while a tenth of the lower halves of UTF-16 are: so it is recognised
# where it holds no ASCII, and has no zero byte. What could as well be UTF-8 must be full of them, as Cyrillic is.
CONTROLS = bytes(set(range(32)) - set(b"\b\t\n\v\f\r\x1b"))
SOME_CONTROLS, MANY_CONTROLS = 0.02, 0.25
TWO_SCRIPTS = (
    0.6  # of the characters of a text without ASCII, at least: kana and ideographs, Arabic and spaces
)


def wide_encoding(begin: bytes) -> str | None:
    """UTF-16 or UTF-32 with its byte order, by how a text begins; None: another encoding, or no text."""
    for mark, encoding in MARKS:
        if begin.startswith(mark):
            return encoding
    enough = MANY_CONTROLS if _reads(begin, "utf-8") is not None else SOME_CONTROLS
    if b"\0" not in begin and not is_binary(begin, enough):
        return None
    ranked = sorted((_unlike_text(begin, encoding), encoding) for _, encoding in MARKS)
    return ranked[0][1] if ranked[0][0] < ranked[1][0] else None


def is_binary(raw: bytes, enough: float = SOME_CONTROLS) -> bool:
    """Whether more of its bytes than this share are controls: no text of an encoding that ASCII is part of."""
    return len(raw) - len(raw.translate(None, CONTROLS)) > enough * len(raw)


def _reads(begin: bytes, encoding: str) -> str | None:
    """The text in this encoding; its last character may be cut."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(begin)
    except UnicodeDecodeError:
        return None


def _unlike_text(begin: bytes, encoding: str) -> float:
    """Blocks of 256 characters that this reading uses, less the different characters of ASCII: of a text the former are
    few, or the latter many; infinite where it cannot be text."""
    text = _reads(begin, encoding)
    odd = sum(unicodedata.category(c) in NO_TEXT for c in text or "" if c not in "\t\n\r\f")
    if not text or "\0" in text or odd > MOST_NO_TEXT * len(text):
        return math.inf
    scripts = Counter(unicodedata.name(c, "?").partition(" ")[0] for c in text)
    in_ascii = sum(map(str.isascii, set(text)))
    if not in_ascii and sum(count for _, count in scripts.most_common(2)) < TWO_SCRIPTS * len(text):
        return math.inf
    return len({ord(c) >> 8 for c in text}) - in_ascii


def decoded(raw: bytes, at: str, problems: Problems) -> str:
    """A whole text. Bytes that its encoding has no character for become U+FFFD, which is counted."""
    encoding = wide_encoding(raw[:SAMPLE])
    if encoding is None:
        return without_inner_marks(as_utf8(raw, at, problems))
    try:
        return without_inner_marks(raw.decode(encoding))
    except UnicodeDecodeError as error:
        problems.repair("broken-encoding", at, str(error))
        return without_inner_marks(raw.decode(encoding, "replace"))


def as_utf8(raw: bytes, at: str, problems: Problems) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        problems.repair("not-utf-8", at, str(error))
        return raw.decode("utf-8", "replace")


def without_inner_marks(text: str) -> str:
    """The text of files joined into one: a mark after a line break, or after one at the beginning, began a file."""
    if MARK not in text:
        return text
    if text.startswith(MARK):
        return text.replace(MARK, "")
    return text.replace("\n" + MARK, "\n")


def without_surrogates(text: str, at: str, problems: Problems) -> str:
    """JSON may escape half a surrogate pair, which no UTF-8 can hold."""
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        problems.repair("lone-surrogate", at, "half of a surrogate pair, as U+FFFD")
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class AsUtf8(io.RawIOBase):
    """A file of UTF-16 or UTF-32, read as UTF-8."""

    def __init__(self, file: io.BufferedReader, encoding: str):
        self.file, self.decoder = file, codecs.getincrementaldecoder(encoding)("replace")
        self.waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while not self.waiting:
            raw = self.file.read(1 << 16)
            self.waiting = self.decoder.decode(raw, final=not raw).encode("utf-8", "replace")
            if not raw:
                break
        size = min(len(buffer), len(self.waiting))
        buffer[:size], self.waiting = self.waiting[:size], self.waiting[size:]
        return size
