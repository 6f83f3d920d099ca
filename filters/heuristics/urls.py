"""Addresses of the web: the one a document came from, and those in its text.

In a text an address begins with `http://`, `https://` or `ftp://`, or with `www.` that no ASCII letter or digit
touches, and goes on until white space, a quote or an angle bracket; marks that end a sentence or close a
bracket are not the end of one.

A document's own address is read from the source's field `url`. Lists are files of the user's, an entry a line (`#`
begins a comment): domains, which block their subdomains too, with a path behind them where only that part of a
site is meant; and words, looked for between the marks of an address, as RefinedWeb does it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.columns import INF, count_signal, ratio, real_signal, span_signal, spans
from filters.family import Family, Signal
from filters.text.batches import valid
from filters.text.bits import ONE_BIT, lowest_bit, lowest_bits
from filters.text.classes import WHITESPACE, character_classes
from filters.text.compiled import inlined, kernel, loop
from filters.text.masks import any_of
from filters.text.pages import PADDING, decode, longest_document, open_page

SHORTEST = 5  # bytes of the shortest address in a text, `www.a`

mark_mask = any_of(".:")


@inlined
def _is_letter(byte, letter):
    return byte | np.uint8(0x20) == letter


@inlined
def _is_alphanumeric(byte):
    return 0x30 <= byte <= 0x39 or 0x41 <= byte <= 0x5A or 0x61 <= byte <= 0x7A


@inlined
def _ends_before(byte):
    """Marks that are no end of an address: . , ; : ! ? ' ) ] } *"""
    return (
        byte == 0x21
        or byte == 0x27
        or byte == 0x29
        or byte == 0x2A
        or byte == 0x2C
        or byte == 0x2E
        or byte == 0x3A
        or byte == 0x3B
        or byte == 0x3F
        or byte == 0x5D
        or byte == 0x7D
    )


@inlined
def _begin(page, mark, floor):
    """(where the address with this mark begins, where what it must have more than that ends); -1 where none does."""
    if page[mark] == 0x2E:
        start = mark - 3
        if start < floor or not (
            _is_letter(page[start], 0x77)
            and _is_letter(page[start + 1], 0x77)
            and _is_letter(page[start + 2], 0x77)
        ):
            return -1, 0
        if start > 0 and _is_alphanumeric(page[start - 1]):
            return -1, 0
        return start, mark + 1
    if page[mark + 1] != 0x2F or page[mark + 2] != 0x2F or mark < floor + 3:
        return -1, 0
    at = mark - 1
    if _is_letter(page[at], 0x73):  # the s of https
        at -= 1
    if not _is_letter(page[at], 0x70) or at < floor + 2:
        return -1, 0
    http = at >= floor + 3 and _is_letter(page[at - 1], 0x74) and _is_letter(page[at - 2], 0x74)
    if http and _is_letter(page[at - 3], 0x68):
        return at - 3, mark + 3
    if at == mark - 1 and _is_letter(page[at - 1], 0x74) and _is_letter(page[at - 2], 0x66):
        return at - 2, mark + 3
    return -1, 0


@loop
def _find(page, length, classes, edges):
    """Byte edges of every address; returns (addresses, their characters, characters of the text)."""
    found = floor = characters = 0
    for block in range(0, length, 64):
        marks = mark_mask(page, block) & lowest_bits(length - block)
        while marks:
            mark = block + lowest_bit(marks)
            marks &= marks - ONE_BIT
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
            while end > least and _ends_before(page[end - 1]):
                end -= 1
            if end > least:
                edges[2 * found], edges[2 * found + 1] = start, end
                found += 1
                for at in range(start, end):
                    characters += (page[at] & 0xC0) != 0x80
    return found, characters


@kernel
def _count(offsets, data, classes, counts, covered, whole):
    """Fill in int64 [documents] each; returns the edges of all documents' addresses."""
    page = np.empty(longest_document(offsets) + PADDING, np.uint8)
    edges = np.empty(64, np.int64)
    all_found = 0
    for i in range(len(offsets) - 1):
        length = open_page(page, data, offsets[i], offsets[i + 1])
        room = 2 * (all_found + length // SHORTEST + 1)
        if room > len(edges):
            grown = np.empty(2 * room, np.int64)
            grown[: 2 * all_found] = edges[: 2 * all_found]
            edges = grown
        counts[i], covered[i] = _find(page, length, classes, edges[2 * all_found :])
        all_found += counts[i]
        characters = 0
        for at in range(length):
            characters += (page[at] & 0xC0) != 0x80
        whole[i] = characters
    return edges[: 2 * all_found]


def measure(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Addresses in every text; 0 and no spans for an empty one."""
    offsets, data = valid(texts)
    counts, covered, whole = np.zeros((3, len(offsets) - 1), np.int64)
    edges = _count(offsets, data, character_classes(), counts, covered, whole)
    return {
        "url_count": pa.array(counts),
        "url_character_ratio": ratio(covered, whole),
        "url_spans": spans(np.concatenate([[0], np.cumsum(counts)]), edges[::2], edges[1::2]),
    }


FAMILY = Family(
    "urls",
    1,
    measure,
    (
        count_signal("url_count", "addresses", "web addresses in the text"),
        real_signal("url_character_ratio", "ratio", 1.0, "characters of such addresses / characters"),
        span_signal("url_spans", "web addresses in the text"),
    ),
)


# ---- The document's own address -------------------------------------------------------------------------

_HOST = r"^(?:[A-Za-z][A-Za-z0-9+.-]*:)?(?://)?(?:[^/?#@]*@)?(?P<host>[^/?#:]*)(?::[0-9]*)?(?P<path>[^?#]*)"


def _parsed(url: pa.Array) -> tuple[pa.Array, pa.Array]:
    """(host in lower case, without a dot at its end; path without its query) of each address; null where null."""
    parts = pc.extract_regex(url, _HOST)
    host = pc.utf8_rtrim(pc.utf8_lower(pc.struct_field(parts, "host")), ".")
    return host, pc.struct_field(parts, "path")


def measure_own(texts: pa.Array | pa.ChunkedArray, url: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Features of each document's own address; null where it has none."""
    url = _one(url)
    host, path = _parsed(url)
    size = pc.cast(pc.utf8_length(url), pa.int64())
    digits = pc.cast(pc.count_substring_regex(url, "[0-9]"), pa.float64())
    return {
        "own_url_length": size,
        "own_url_host_labels": pc.cast(pc.count_substring_regex(host, r"[^.]+"), pa.int64()),
        "own_url_path_depth": pc.cast(pc.count_substring_regex(path, r"[^/]+"), pa.int64()),
        "own_url_digit_ratio": pc.divide(digits, pc.cast(pc.max_element_wise(size, 1), pa.float64())),
    }


def _one(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return column.cast(pa.large_string())


@lru_cache(maxsize=8)
def _entries(path: str, changed: int) -> pa.Array:
    """Entries of a list. `changed` (ns) is part of the cache's key alone."""
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return pa.array(sorted({line for line in lines if line and not line.startswith("#")}), pa.large_string())


def read_list(path: str | Path) -> pa.Array:
    """Entries of a list: a line each, without blank lines and those that begin with `#`."""
    return _entries(str(path), Path(path).stat().st_mtime_ns)


def measure_lists(
    texts: pa.Array | pa.ChunkedArray, url: pa.Array | pa.ChunkedArray, domains: str = "", words: str = ""
) -> dict[str, pa.Array]:
    """How many entries of the lists (paths) each document's own address meets; 0 where it has none."""
    url = _one(url)
    host, path = _parsed(url)
    return {
        "url_blocked_domain_count": _blocked(host, path, domains) if domains else _zeros(url),
        "url_blocked_word_count": _words(url, words) if words else _zeros(url),
    }


def _zeros(url: pa.Array) -> pa.Array:
    return pa.array(np.zeros(len(url), np.int64))


def _blocked(host: pa.Array, path: pa.Array, domains: str) -> pa.Array:
    entries = pc.replace_substring_regex(pc.utf8_lower(read_list(domains)), r"^[a-z][a-z0-9+.-]*://", "")
    entries = pc.utf8_rtrim(entries, "/")
    with_path = pc.match_substring(entries, "/")
    plain, longer = entries.filter(pc.invert(with_path)), set(entries.filter(with_path).to_pylist())
    hosts = {entry.partition("/")[0] for entry in longer}
    counts = np.zeros(len(host), np.int64)
    rest = host
    while True:
        counts += pc.is_in(rest, plain).to_numpy(zero_copy_only=False)
        if hosts:
            for i in np.flatnonzero(pc.is_in(rest, pa.array(sorted(hosts), pa.large_string()))).tolist():
                counts[i] += len(longer & set(_prefixes(rest[i].as_py(), path[i].as_py())))
        if not pc.any(pc.match_substring(rest, ".")).as_py():
            return pa.array(counts)
        rest = pc.replace_substring_regex(rest, r"^[^.]*\.?", "")


def _prefixes(host: str, path: str) -> list[str]:
    """example.org/a, example.org/a/b, ... of a path /a/b/..."""
    parts = [part for part in path.lower().split("/") if part]
    return [f"{host}/{'/'.join(parts[: k + 1])}" for k in range(len(parts))]


def _words(url: pa.Array, words: str) -> pa.Array:
    """How many different words of the list stand in an address, between marks."""
    pieces = pc.split_pattern_regex(pc.utf8_lower(url).fill_null(""), r"[^\p{L}\p{N}]+")
    at = pc.list_parent_indices(pieces).to_numpy()
    found = (
        pc.index_in(pc.list_flatten(pieces), pc.unique(pc.utf8_lower(read_list(words))))
        .fill_null(-1)
        .to_numpy()
    )
    pairs = np.unique(np.stack([at, found])[:, found >= 0], axis=1)
    return pa.array(np.bincount(pairs[0], minlength=len(url)).astype(np.int64))


def _own(name: str, unit: str, high: float, says: str, kind: pa.DataType) -> Signal:
    return Signal(name, unit, 0.0, high, None, f"{says}; null where there is none", kind)


OWN = Family(
    "own_url",
    1,
    measure_own,
    (
        _own("own_url_length", "characters", INF, "characters of the document's own address", pa.int64()),
        _own("own_url_host_labels", "labels", INF, "labels of its host, between dots", pa.int64()),
        _own("own_url_path_depth", "segments", INF, "segments of its path, between slashes", pa.int64()),
        _own("own_url_digit_ratio", "ratio", 1.0, "digits / characters of the address", pa.float64()),
    ),
    takes=("url",),
)
LISTS = Family(
    "url_lists",
    1,
    measure_lists,
    (
        count_signal(
            "url_blocked_domain_count",
            "entries",
            "domains and paths of your list that the document's address is under",
        ),
        count_signal(
            "url_blocked_word_count",
            "words",
            "different words of your list in the document's address (RefinedWeb)",
        ),
    ),
    takes=("url",),
)
