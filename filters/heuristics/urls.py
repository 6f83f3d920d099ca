"""Addresses of the web: the one a document came from, and those in its text.

In a text an address begins with `http://`, `https://` or `ftp://`, or with `www.` that no ASCII letter or digit
touches, and goes on until white space, a quote or an angle bracket; marks that end a sentence or close a
bracket are not the end of one.

A document's own address is read from the source's field `url`.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.arrow import text_column
from filters.columns import FLOAT, INF, INTEGER, columns, count, ratio, span, tallied
from filters.family import Family, Signal
from filters.text.bits import lowest_bits, places
from filters.text.classes import WHITESPACE, character_classes
from filters.text.compiled import inlined, kernel, loop
from filters.text.masks import any_of
from filters.text.pages import PADDING, count_characters, decode, longest_document, open_page, with_room
from filters.text.phrases import is_digit, is_letter, is_one_of

Tally = IntEnum("Tally", ["URLS", "URL_CHARACTERS", "CHARACTERS"], start=0)
SHORTEST = 5  # bytes of the shortest address in a text, `www.a`

mark_mask = any_of(".:")


@inlined
def _reads(page, at, text):
    """This text of lower-case letters stands at a byte, in upper or lower case."""
    same = True
    for k in range(len(text)):
        same &= page[at + k] | np.uint8(0x20) == text[k]
    return same


@inlined
def _begin(page, mark, floor):
    """(where the address with this mark begins, where what it must have more than that ends); -1 where none does."""
    if page[mark] == 0x2E:
        start = mark - 3
        touched = start > 0 and (is_letter(page[start - 1]) or is_digit(page[start - 1]))
        return (
            (start, mark + 1) if start >= floor and _reads(page, start, b"www") and not touched else (-1, 0)
        )
    if page[mark + 1] == 0x2F and page[mark + 2] == 0x2F:
        for scheme in (b"https", b"http", b"ftp"):
            start = mark - len(scheme)
            if start >= floor and _reads(page, start, scheme):
                return start, mark + 3
    return -1, 0


@loop
def _find(page, length, classes, edges):
    """Byte edges of every address; returns (addresses, their characters)."""
    urls = floor = characters = 0
    for block in range(0, length, 64):
        for mark in places(mark_mask(page, block) & lowest_bits(length - block), block):
            if mark < floor:
                continue
            start, least = _begin(page, mark, floor)
            if start < 0:
                continue
            end = least
            while end < length:
                byte = page[end]
                if byte < 0x80:
                    if byte == 0x22 or byte == 0x3C or byte == 0x3E or classes[byte] & WHITESPACE:
                        break
                    end += 1
                    continue
                code, width = decode(page, end)
                if classes[code] & WHITESPACE:
                    break
                end += width
            floor = end
            # Marks that are not the end of an address.
            while end > least and is_one_of(page[end - 1], b"!')*,.:;?]}"):
                end -= 1
            if end > least:
                edges[2 * urls], edges[2 * urls + 1] = start, end
                urls += 1
                characters += count_characters(page, start, end)
    return urls, characters


@kernel
def _count(offsets, data, classes, tallies):
    """Fill in int64 [tallies, documents]; returns the edges of all documents' addresses."""
    page = np.empty(longest_document(offsets) + PADDING, np.uint8)
    edges, filled = np.empty(64, np.int64), 0
    for i in range(len(offsets) - 1):
        length = open_page(page, data, offsets[i], offsets[i + 1])
        edges = with_room(edges, filled, 2 * (length // SHORTEST + 1))
        urls, characters = _find(page, length, classes, edges[filled:])
        filled += 2 * urls
        tallies[Tally.URLS, i], tallies[Tally.URL_CHARACTERS, i] = urls, characters
        tallies[Tally.CHARACTERS, i] = count_characters(page, 0, length)
    return edges[:filled]


SIGNALS = (
    count("url_count", "addresses", Tally.URLS, "web addresses in the text"),
    ratio("url_character_ratio", Tally.URL_CHARACTERS, Tally.CHARACTERS, "characters of such addresses / characters"),
    span("url_spans", Tally.URLS, "edges", "web addresses in the text"),
)  # fmt: skip

FAMILY = tallied("urls", 1, SIGNALS, Tally, _count, character_classes)


# ---- The document's own address -------------------------------------------------------------------------

# What stands before a colon is a scheme where slashes follow, or where it is one of the web's: `example.org:8080` has none.
_SCHEME = r"(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//|(?i:https?|ftp):)?"
_URL = rf"^\s*{_SCHEME}(?:[^/?#@]*@)?(?P<host>\[[^/?#\]]*\]|[^/?#:]*)(?::[0-9]*)?(?P<path>[^?#]*)"


def parsed(url: pa.Array) -> tuple[pa.Array, pa.Array]:
    """(host in lower case, without a dot at its end; path without its query) of each address; null where null."""
    parts = pc.extract_regex(url, _URL)
    host = pc.utf8_rtrim(pc.utf8_lower(pc.struct_field(parts, "host")), ".")
    return host, pc.struct_field(parts, "path")


def _own(name: str, unit: str, of: str, says: str, kind: pa.DataType = INTEGER, high: float = INF) -> Signal:
    says = f"{says}; null where there is none"
    column = lambda measured: getattr(measured, of).cast(kind)  # noqa: E731
    return Signal(f"own_url_{name}", unit, 0.0, high, None, says, kind, column)


OWN_SIGNALS = (
    _own("length", "characters", "size", "characters of the document's own address"),
    _own("host_labels", "labels", "labels", "labels of its host, between dots"),
    _own("path_depth", "segments", "segments", "segments of its path, between slashes"),
    _own("digit_ratio", "ratio", "digit_ratio", "digits / characters of the address", FLOAT, 1.0),
)


def measure_own(texts: pa.Array | pa.ChunkedArray, url: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Features of each document's own address; null where it has none."""
    url = text_column(url, missing=None)
    host, path = parsed(url)
    size, digits = pc.utf8_length(url), pc.count_substring_regex(url, "[0-9]")
    digit_ratio = pc.divide(digits.cast(FLOAT), pc.max_element_wise(size, 1).cast(FLOAT))
    labels, segments = pc.count_substring_regex(host, r"[^.]+"), pc.count_substring_regex(path, r"[^/]+")
    return columns(OWN_SIGNALS, size=size, labels=labels, segments=segments, digit_ratio=digit_ratio)


OWN = Family("own_url", 2, measure_own, OWN_SIGNALS, takes=("url",))
