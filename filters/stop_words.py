"""Stop words of the document's own language: running text has them, lists and noise do not.

Gopher's rule wants two of eight English words; FineWeb-2 (Penedo et al. 2025, arXiv:2506.20920) gave every language
the words that make up much of its Wikipedia, and wants two different ones. `stop_words.toml` holds its lists.
They are compared with Unicode tokens, in the case they are published in; a list's word of several tokens
(Thai) is found where its tokens stand side by side. Korean's list is of endings, so there a token's last
characters are looked up, the last one and the last two.
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from filters import Family, Signal
from filters.columns import INF
from filters.segments import find_tokens, word_breaks
from filters.text import character_classes, inlined, kernel, loop, open_page, valid
from filters.vocabulary import room_for, tokens_of, words_of

MOST_TOKENS = 6  # of one stop word
MOST_FOUND = 1 << 16  # stop words of stretches that are remembered at a time
ENDINGS = "ko"  # the language whose list is of endings
FNV_OFFSET, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


class Lists(NamedTuple):
    """All languages' words as one table; a hash of 64 bits stands for a word."""

    slots: np.ndarray  # uint64 [a power of two]: hash of a word, 0 where free
    entry: np.ndarray  # int64: the number of the word in that slot
    member: np.ndarray  # bool [words, languages]
    begins: np.ndarray  # bool [languages, 65536]: some word begins with these two bytes, the first one lowest
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
    longest = max(len(word.encode()) for word in words)
    return Lists(slots, entry, member, begins.reshape(len(begins), -1), longest)


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
def _note(word, found, count):
    found[count] = word
    return count + (word >= 0)


@loop
def _endings(page, begin, end, own, lists, found, count):
    """Note the last character of a token, and the last two."""
    at = end
    for _ in range(2):
        if at == begin:
            break
        at -= 1
        while at > begin and page[at] & 0xC0 == 0x80:
            at -= 1
        count = _note(_find(_hash_more(FNV_OFFSET, page, at, end), own, lists), found, count)
    return count


@loop
def _stop_words_in(page, edges, tokens, own, endings, lists, found, count):
    """Note the stop words of a stretch behind the first `count`; returns how many are noted then."""
    for k in range(tokens):
        begin = at = edges[2 * k]
        if own == endings:
            count = _endings(page, begin, edges[2 * k + 1], own, lists, found, count)
            continue
        if not lists.begins[own, np.int64(page[begin]) | np.int64(page[begin + 1]) << 8]:
            continue
        key = FNV_OFFSET
        for last in range(k, min(tokens, k + MOST_TOKENS)):
            end = edges[2 * last + 1]
            if edges[2 * last] != at or end - begin > lists.longest:
                break
            key = _hash_more(key, page, at, end)
            at = end
            count = _note(_find(key, own, lists), found, count)
    return count


class Memory(NamedTuple):
    """What stretches are known to hold, in one language."""

    at: (
        np.ndarray
    )  # int32 [names of stretches]: where `found` has it, how many and which; -1 where not looked yet
    found: np.ndarray  # int32


@loop
def _count_all(
    data, words, language, order, endings, lists, breaks, classes, room, memory, seen, occurrences, distinct
):
    at, found = memory.at, memory.found
    used, before = 0, -1
    for i in order:
        own = language[i]
        if own != before:
            at[:] = -1
            used, before = 0, own
        for k in range(words.firsts[i], words.firsts[i + 1]):
            s = words.stretches[k]
            if at[s] < 0:
                if used > MOST_FOUND - 2:
                    at[:] = -1
                    used = 0
                length = open_page(room.page, data, words.starts[s], words.starts[s] + words.sizes[s])
                tokens, _ = find_tokens(
                    room.page, length, room.edges, room.characters, room.has, breaks, classes
                )
                end = _stop_words_in(room.page, room.edges, tokens, own, endings, lists, found, used + 1)
                at[s], found[used] = used, end - used - 1
                used = end
            for place in range(at[s] + 1, at[s] + 1 + found[at[s]]):
                occurrences[i] += 1
                distinct[i] += seen[found[place]] != i
                seen[found[place]] = i


@kernel
def _count(data, words, language, order, endings, lists, breaks, classes, occurrences, distinct):
    """Fill in int64 [documents] each, for the documents in `order`, sorted by language (its place among the lists)."""
    room = room_for(words)
    found = np.empty(MOST_FOUND + MOST_TOKENS * len(room.page), np.int32)
    memory = Memory(np.empty(len(words.sizes), np.int32), found)
    seen = np.full(len(lists.member), -1)
    _count_all(
        data,
        words,
        language,
        order,
        endings,
        lists,
        breaks,
        classes,
        room,
        memory,
        seen,
        occurrences,
        distinct,
    )


def measure(texts: pa.Array | pa.ChunkedArray, language: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Stop words of each text's `language` (canonical code); null where it has no list."""
    words, tokens = words_of(texts), tokens_of(texts).counts
    codes = list(stop_words())
    if isinstance(language, pa.ChunkedArray):
        language = language.combine_chunks()
    place = {code: k for k, code in enumerate(codes)}
    own = np.array([place.get(code, -1) for code in language.to_pylist()], np.int64)
    order = np.argsort(own, kind="stable")
    order = order[np.count_nonzero(own < 0) :]
    occurrences, distinct = np.zeros(len(own), np.int64), np.zeros(len(own), np.int64)
    tables = (codes.index(ENDINGS), _lists(), word_breaks(), character_classes())
    _count(valid(texts)[1], words, own, order, *tables, occurrences, distinct)
    return {
        "native_stop_word_count": pa.array(distinct, mask=own < 0),
        "native_stop_word_ratio": pa.array(occurrences / np.maximum(tokens, 1), mask=own < 0),
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
    batched=True,
)  # fmt: skip
