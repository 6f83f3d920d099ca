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

from filters.columns import columns, count, real
from filters.family import Family
from filters.language.codes import language_of
from filters.text.batches import valid
from filters.text.classes import character_classes
from filters.text.compiled import inlined, kernel, loop
from filters.text.lookup import slot_of, table_of_keys
from filters.text.pages import PADDING, longest_document, open_page
from filters.text.segments import find_tokens, word_breaks
from filters.text.units import FNV_OFFSET, FNV_PRIME
from filters.text.vocabulary import longest_window, tokens_of, window_end

MOST_TOKENS = 6  # of one stop word
ENDINGS = "ko"  # the language whose list is of endings


class Lists(NamedTuple):
    """All languages' words as one table; a hash of 64 bits stands for a word."""

    slots: np.ndarray  # uint64 [a power of two]: hash of a word, 0 where free
    words: np.ndarray  # int64: the number of the word in that slot
    member: np.ndarray  # bool [words, languages]
    begins: np.ndarray  # bool [languages, 65536]: some word begins with these two bytes, the first one lowest
    is_apart: np.ndarray  # bool [languages]: every word is one token
    longest: int  # bytes of the longest word


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
    lists = stop_words().values()
    words = sorted({word for words in lists for word in words})
    numbers = {_hash(word): number for number, word in enumerate(words)}
    assert len(numbers) == len(words), "two stop words share a hash"
    begins = np.zeros((len(lists), 256, 256), bool)  # by language, second byte, first byte
    for language, of_language in enumerate(lists):
        for raw in [word.encode() for word in of_language]:
            begins[language, raw[1] if len(raw) > 1 else slice(None), raw[0]] = True
    return Lists(
        *table_of_keys(numbers),
        member=np.array([[word in of_language for of_language in lists] for word in words]),
        begins=begins.reshape(len(lists), -1),
        is_apart=np.array([_most_tokens(of_language) == 1 for of_language in lists]),
        longest=max(len(word.encode()) for word in words),
    )


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
def _find(key, language, lists):
    """The number of the word of this language, or -1."""
    slot = slot_of(key, lists.slots)
    return lists.words[slot] if slot >= 0 and lists.member[lists.words[slot], language] else np.int64(-1)


@inlined
def _note(word, times, document, counts):
    """`counts`: of each document occurrences and different words; of each word the last document that had it."""
    occurrences, distinct, seen = counts
    if word >= 0:
        occurrences[document] += times
        distinct[document] += seen[word] != document
        seen[word] = document


@loop
def _endings(page, begin, end, times, language, lists, document, counts):
    """The last character of a token, and the last two."""
    at = end
    for _ in range(2):
        if at == begin:
            return
        at -= 1
        while at > begin and page[at] & 0xC0 == 0x80:
            at -= 1
        key = _hash_more(FNV_OFFSET, page, at, end)
        _note(_find(key, language, lists), times, document, counts)


@inlined
def _may_begin(page, at, language, lists):
    return lists.begins[language, np.int64(page[at]) | np.int64(page[at + 1]) << 8]


@loop
def _count_apart(page, edges, times, language, endings, lists, document, counts):
    """Look up each token that the document has, however often it has it."""
    for name in range(len(times)):
        begin, end = np.int64(edges[2 * name]), np.int64(edges[2 * name + 1])
        if language == endings:
            _endings(page, begin, end, times[name], language, lists, document, counts)
        elif _may_begin(page, begin, language, lists) and end - begin <= lists.longest:
            key = _hash_more(FNV_OFFSET, page, begin, end)
            _note(_find(key, language, lists), times[name], document, counts)


@loop
def _count_together(page, length, language, lists, window, table, classes, document, counts):
    """Look up each token, and with the ones behind it that touch it. Nothing touches across the end of a window."""
    edges, character_edges, flags = window
    start = 0
    while start < length:
        stop = window_end(page, start, length)
        text = page[start:]
        tokens, _ = find_tokens(text, stop - start, edges, character_edges, flags, table, classes)
        for k in range(tokens):
            begin = at = np.int64(edges[2 * k])
            if not _may_begin(text, begin, language, lists):
                continue
            key = FNV_OFFSET
            for last in range(k, min(tokens, k + MOST_TOKENS)):
                end = edges[2 * last + 1]
                if edges[2 * last] != at or end - begin > lists.longest:
                    break
                key = _hash_more(key, text, at, end)
                at = end
                _note(_find(key, language, lists), 1, document, counts)
        start = stop


@kernel
def _count(offsets, data, languages, endings, lists, tokens, table, classes, occurrences, distinct):
    """Fill in int64 [documents] each, for documents whose language (its place among the lists) is not -1."""
    page = np.empty(longest_document(offsets) + PADDING, np.uint8)
    widest = 2 * longest_window(offsets, data) + 64
    window = np.empty(widest, np.int32), np.empty(widest, np.int32), np.empty(widest, np.uint8)
    counts = occurrences, distinct, np.full(len(lists.member), -1)
    for i in range(len(offsets) - 1):
        language = languages[i]
        if language < 0:
            continue
        length = open_page(page, data, offsets[i], offsets[i + 1])
        if lists.is_apart[language]:
            first, last = tokens.known[i], tokens.known[i + 1]
            edges, times = tokens.edges[2 * first : 2 * last], tokens.counts[first:last]
            _count_apart(page, edges, times, language, endings, lists, i, counts)
        else:
            _count_together(page, length, language, lists, window, table, classes, i, counts)


SIGNALS = (
    count("native_stop_word_count", "words", "distinct", missing="unlisted",
          says="different stop words of the document's own language (FineWeb-2); null where it has no list"),
    real("native_stop_word_ratio", "ratio", lambda measured: measured.occurrences / np.maximum(measured.tokens, 1),
         "occurrences of those stop words / Unicode tokens", missing="unlisted"),
)  # fmt: skip


def measure(texts: pa.Array | pa.ChunkedArray, language: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Stop words of each text's `language` (canonical code); null where it has no list."""
    offsets, data = valid(texts)
    codes = list(stop_words())
    place = {code: k for k, code in enumerate(codes)}
    languages = np.array([place.get(language_of(code or ""), -1) for code in language.to_pylist()], np.int64)
    occurrences, distinct = np.zeros((2, len(languages)), np.int64)
    tokens, tables = tokens_of(texts), (word_breaks(), character_classes())
    _count(offsets, data, languages, codes.index(ENDINGS), _lists(), tokens, *tables, occurrences, distinct)
    sizes = np.diff(tokens.firsts)
    return columns(SIGNALS, occurrences=occurrences, distinct=distinct, tokens=sizes, unlisted=languages < 0)


FAMILY = Family("stop_words", 1, measure, SIGNALS, takes=("language",))
