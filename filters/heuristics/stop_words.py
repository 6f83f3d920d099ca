"""Stop words of the document's own language: running text has them, lists and noise do not.

Gopher's rule wants two of eight English words; FineWeb-2 (Penedo et al. 2025, arXiv:2506.20920) gave every language
the words that make up much of its Wikipedia, and wants two different ones. `stop_words.toml` holds its lists.
They are compared with Unicode tokens, in the case they are published in; a list's word of several tokens
(Thai) is found where its tokens stand side by side. Korean's list is of endings, so there a token's last
characters are looked up, the last one and the last two.

Where every word of a list is one token, each different token of a document is looked up once.
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from filters.columns import INF
from filters.family import Family, Signal
from filters.text.batches import valid
from filters.text.classes import character_classes
from filters.text.compiled import inlined, kernel, loop
from filters.text.pages import PADDING, longest_document, open_page
from filters.text.segments import find_tokens, word_breaks
from filters.text.vocabulary import longest_window, tokens_of, window_end

MOST_TOKENS = 6  # of one stop word
ENDINGS = "ko"  # the language whose list is of endings
FNV_OFFSET, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


class Lists(NamedTuple):
    """All languages' words as one table; a hash of 64 bits stands for a word."""

    slots: np.ndarray  # uint64 [a power of two]: hash of a word, 0 where free
    entry: np.ndarray  # int64: the number of the word in that slot
    member: np.ndarray  # bool [words, languages]
    begins: np.ndarray  # bool [languages, 65536]: some word begins with these two bytes, the first one lowest
    is_apart: np.ndarray  # bool [languages]: every word is a token of its own
    longest: int  # bytes of the longest word


@inlined
def _slot(key, size):
    return np.int64((key ^ (key >> np.uint64(29))) & np.uint64(size - 1))


def _hash(word: str) -> int:
    key = int(FNV_OFFSET)
    for byte in word.encode():
        key = (key ^ byte) * int(FNV_PRIME) % 2**64
    return key


@lru_cache(maxsize=1)
def stop_words() -> dict[str, tuple[str, ...]]:
    """Stop words by the canonical code of their language."""
    text = (Path(__file__).parent / "stop_words.toml").read_text(encoding="utf-8")
    return {code: tuple(words.split()) for code, words in tomllib.loads(text).items()}


@lru_cache(maxsize=1)
def _lists() -> Lists:
    words = sorted({word for own in stop_words().values() for word in own})
    size = 1 << (4 * len(words)).bit_length()
    slots, entry = np.zeros(size, np.uint64), np.zeros(size, np.int64)
    for number, word in enumerate(words):
        key = _hash(word)
        slot = (key ^ (key >> 29)) & (size - 1)
        while slots[slot]:
            assert int(slots[slot]) != key, f"two stop words share a hash: {word}"
            slot = (slot + 1) & (size - 1)
        slots[slot], entry[slot] = key, number
    member = np.array([[word in own for own in stop_words().values()] for word in words])
    begins = np.zeros((len(stop_words()), 256, 256), bool)  # by language, second byte, first byte
    for language, own in enumerate(stop_words().values()):
        for raw in [word.encode() for word in own]:
            begins[language, raw[1] if len(raw) > 1 else slice(None), raw[0]] = True
    is_apart = np.array([_most_tokens(own) == 1 for own in stop_words().values()])
    longest = max(len(word.encode()) for word in words)
    return Lists(slots, entry, member, begins.reshape(len(begins), -1), is_apart, longest)


def _most_tokens(words: tuple[str, ...]) -> int:
    """Of one of these words."""
    return int(np.diff(tokens_of(pa.array(words, pa.large_string())).firsts).max())


@inlined
def _hash_more(key, page, at, end):
    while at < end:
        key = (key ^ np.uint64(page[at])) * FNV_PRIME
        at += 1
    return key


@inlined
def _find(key, own, lists):
    """The number of the word of this language, or -1."""
    slot = _slot(key, len(lists.slots))
    while lists.slots[slot] != 0:
        if lists.slots[slot] == key:
            return lists.entry[slot] if lists.member[lists.entry[slot], own] else np.int64(-1)
        slot = (slot + 1) & (len(lists.slots) - 1)
    return np.int64(-1)


@inlined
def _note(word, times, document, occurrences, distinct, seen):
    if word >= 0:
        occurrences[document] += times
        distinct[document] += seen[word] != document
        seen[word] = document


@loop
def _endings(page, begin, end, times, own, lists, document, occurrences, distinct, seen):
    """The last character of a token, and the last two."""
    at = end
    for _ in range(2):
        if at == begin:
            return
        at -= 1
        while at > begin and page[at] & 0xC0 == 0x80:
            at -= 1
        key = _hash_more(FNV_OFFSET, page, at, end)
        _note(_find(key, own, lists), times, document, occurrences, distinct, seen)


@inlined
def _may_begin(page, at, own, lists):
    return lists.begins[own, np.int64(page[at]) | np.int64(page[at + 1]) << 8]


@loop
def _count_apart(page, edges, counts, own, endings, lists, document, occurrences, distinct, seen):
    """Look up each token that the document has, however often it has it."""
    for name in range(len(counts)):
        begin, end = np.int64(edges[2 * name]), np.int64(edges[2 * name + 1])
        if own == endings:
            _endings(page, begin, end, counts[name], own, lists, document, occurrences, distinct, seen)
        elif _may_begin(page, begin, own, lists) and end - begin <= lists.longest:
            key = _hash_more(FNV_OFFSET, page, begin, end)
            _note(_find(key, own, lists), counts[name], document, occurrences, distinct, seen)


@loop
def _count_together(page, length, own, lists, window, table, classes, document, occurrences, distinct, seen):
    """Look up each token, and with the ones behind it that touch it. Nothing touches across the end of a window."""
    edges, character_edges, flags = window
    start = 0
    while start < length:
        stop = window_end(page, start, length)
        text = page[start:]
        tokens, _ = find_tokens(text, stop - start, edges, character_edges, flags, table, classes)
        for k in range(tokens):
            begin = at = np.int64(edges[2 * k])
            if not _may_begin(text, begin, own, lists):
                continue
            key = FNV_OFFSET
            for last in range(k, min(tokens, k + MOST_TOKENS)):
                end = edges[2 * last + 1]
                if edges[2 * last] != at or end - begin > lists.longest:
                    break
                key = _hash_more(key, text, at, end)
                at = end
                _note(_find(key, own, lists), 1, document, occurrences, distinct, seen)
        start = stop


@kernel
def _count(offsets, data, language, endings, lists, tokens, table, classes, occurrences, distinct):
    """Fill in int64 [documents] each, for documents whose language (its place among the lists) is not -1."""
    page = np.empty(longest_document(offsets) + PADDING, np.uint8)
    widest = 2 * longest_window(offsets, data) + 64
    window = np.empty(widest, np.int32), np.empty(widest, np.int32), np.empty(widest, np.uint8)
    seen = np.full(len(lists.member), -1)
    for i in range(len(offsets) - 1):
        own = language[i]
        if own < 0:
            continue
        length = open_page(page, data, offsets[i], offsets[i + 1])
        if lists.is_apart[own]:
            first, last = tokens.known[i], tokens.known[i + 1]
            edges, counts = tokens.edges[2 * first : 2 * last], tokens.counts[first:last]
            _count_apart(page, edges, counts, own, endings, lists, i, occurrences, distinct, seen)
        else:
            _count_together(page, length, own, lists, window, table, classes, i, occurrences, distinct, seen)


def measure(texts: pa.Array | pa.ChunkedArray, language: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Stop words of each text's `language` (canonical code); null where it has no list."""
    offsets, data = valid(texts)
    codes = list(stop_words())
    if isinstance(language, pa.ChunkedArray):
        language = language.combine_chunks()
    place = {code: k for k, code in enumerate(codes)}
    own = np.array([place.get(code, -1) for code in language.to_pylist()], np.int64)
    occurrences, distinct = np.zeros(len(own), np.int64), np.zeros(len(own), np.int64)
    tokens = tokens_of(texts)
    tables = word_breaks(), character_classes()
    _count(offsets, data, own, codes.index(ENDINGS), _lists(), tokens, *tables, occurrences, distinct)
    return {
        "native_stop_word_count": pa.array(distinct, mask=own < 0),
        "native_stop_word_ratio": pa.array(occurrences / np.maximum(np.diff(tokens.firsts), 1), mask=own < 0),
    }


FAMILY = Family(
    "stop_words",
    1,
    measure,
    (
        Signal(
            "native_stop_word_count", "words", 0.0, INF, None,
            "different stop words of the document's own language (FineWeb-2); null where it has no list", pa.int64(),
        ),
        Signal(
            "native_stop_word_ratio", "ratio", 0.0, INF, None,
            "occurrences of those stop words / Unicode tokens", pa.float64(),
        ),
    ),
    takes=("language",),
)  # fmt: skip
