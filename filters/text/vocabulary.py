"""A batch's text as numbers: the words or the Unicode tokens of each document.

A document's tokens are numbers in order of first appearance, and what is known of a token stands beside its number. So
the families over tokens read numbers, not text. `shared` keeps Unicode tokens for the families that are measured on one
batch one after another, and finds nothing before one asks; of words, which are found faster than kept, nothing.

A document is looked at a window at a time, so what a huge one needs is 4 bytes a token, and some 40 for each that is
new. The price: names mean nothing outside their document.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from filters.text.batches import forget_batch, shared, valid
from filters.text.classes import ALPHABETIC, DIGIT, character_classes
from filters.text.compiled import kernel, loop
from filters.text.ngrams import KEY, name_more, slots_at_first, tables_for
from filters.text.pages import PADDING, blocks_of, decode, find_words, longest_document, open_page
from filters.text.phrases import is_space
from filters.text.segments import find_tokens, word_breaks

WINDOW = 1 << 14  # bytes of a document that are looked at together
MANY = 1 << 21  # tokens of which nobody keeps a copy

FIRST = np.uint8(8)  # beside what a token has (see segments): it begins with a letter or digit


class Tokens(NamedTuple):
    """The words, or the Unicode tokens, of each document of a batch."""

    firsts: np.ndarray  # int64 [documents + 1]: document i has names[firsts[i]:firsts[i + 1]]
    names: np.ndarray  # uint32 [tokens]: a number for each, from 0 on in every document
    known: np.ndarray  # int64 [documents + 1]: document i has the entries from known[i] on, by name
    counts: np.ndarray  # uint32: occurrences
    lengths: np.ndarray  # int32: in characters
    flags: np.ndarray  # uint8: what the token has, and FIRST; of words nothing
    edges: np.ndarray  # int32 [2 * names]: where in the document it first begins and ends; of words nothing
    characters: np.ndarray  # int64 [documents]

    def most(self) -> int:
        """Tokens of the document that has most."""
        return int(np.diff(self.firsts).max(initial=0))


@loop
def window_end(page, start, end):
    """Where to cut: no token or run of white space goes on there, and nothing behind it looks back."""
    at = start + WINDOW
    while at < end:
        byte, last = page[at], page[at - 1]
        if is_space(byte) and not is_space(last) and (byte == 0x0A or last < 0x80):
            return at
        at += 1
    return end


@kernel
def longest_window(offsets, data):
    """Bytes of the longest window of a batch."""
    longest = 0
    for i in range(len(offsets) - 1):
        start = offsets[i]
        while start < offsets[i + 1]:
            end = window_end(data, start, offsets[i + 1])
            longest = max(longest, end - start)
            start = end
    return longest


class Window(NamedTuple):
    """The tokens of a window."""

    edges: np.ndarray  # as `find_tokens` notes them
    characters: np.ndarray
    flags: np.ndarray
    new: np.ndarray  # uint32: which of them are the first of a name
    blocks: np.ndarray  # as `find_words` notes them


@loop
def _name_document(page, length, by_space, window, breaks, classes, hash_key, table, ends, scratch, into):
    """Name the tokens of a document, or its words; returns (how many, names, characters, not 0 where two of them have one
    name)."""
    names, lengths, flags, edges = into
    tokens = known = characters = 0
    differences = np.int64(0)
    size, start = slots_at_first(table, length), 0
    while start < length:
        end = window_end(page, start, length)
        if by_space:
            spans, more = find_words(
                page[start:], end - start, window.edges, window.characters, window.blocks
            )
        else:
            spans, more = find_tokens(
                page[start:], end - start, window.edges, window.characters, window.flags, breaks, classes
            )
        for k in range(2 * spans):
            window.edges[k] += start
        before = known
        known, size, differing = name_more(
            page, window.edges, spans, names[tokens:], table, ends, window.new, scratch, size, known, hash_key
        )
        differences |= differing
        for k in range(known - before):
            i = np.int64(window.new[k])
            lengths[before + k] = window.characters[2 * i + 1] - window.characters[2 * i]
            if by_space:
                continue
            code, _ = decode(page, np.int64(window.edges[2 * i]))
            first = (classes[code] & (ALPHABETIC | DIGIT)) != 0
            flags[before + k] = window.flags[i] | (FIRST if first else np.uint8(0))
            edges[2 * (before + k)] = window.edges[2 * i]
            edges[2 * (before + k) + 1] = window.edges[2 * i + 1]
        tokens, characters, start = tokens + spans, characters + more, end
    return tokens, known, characters, differences


@kernel
def _name_all(offsets, data, by_space, breaks, classes, hash_key):
    documents, longest = len(offsets) - 1, longest_document(offsets)
    # A token is a byte or more: what is not touched takes no memory.
    room = offsets[documents] - offsets[0] + 1
    names, counts = np.empty(room, np.uint32), np.empty(room, np.uint32)
    lengths, flags = np.empty(room, np.int32), np.empty(room, np.uint8)
    edges = np.empty(2 * room, np.int32)
    firsts, starts = np.zeros(documents + 1, np.int64), np.zeros(documents + 1, np.int64)
    characters = np.zeros(documents, np.int64)
    page, widest = np.empty(longest + PADDING, np.uint8), 2 * longest_window(offsets, data) + 64
    window = Window(
        np.empty(widest, np.int32), np.empty(widest, np.int32), np.empty(widest, np.uint8), np.empty(widest, np.uint32),
        np.empty(blocks_of(widest), np.uint64),
    )  # fmt: skip
    table, other, scratch = tables_for(longest)
    for i in range(documents):
        length = open_page(page, data, offsets[i], offsets[i + 1])
        token, name, key = firsts[i], starts[i], hash_key
        while True:
            into = names[token:], lengths[name:], flags[name:], edges[2 * name :]
            tokens, known, characters[i], differences = _name_document(
                page, length, by_space, window, breaks, classes, key, table, other.firsts, scratch, into
            )
            if differences == 0:
                break
            key = key * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1)
        counts[name : name + known] = table.counts[:known]
        firsts[i + 1], starts[i + 1] = token + tokens, name + known
    total, known = firsts[documents], starts[documents]
    of_names = counts[:known], lengths[:known], flags[:known], edges[: 2 * known]
    return firsts, names[:total], starts, *of_names, characters


@shared
def tokens_of(texts: pa.Array | pa.ChunkedArray) -> Tokens:
    """Unicode tokens of a batch."""
    offsets, data = valid(texts)
    return Tokens(*_name_all(offsets, data, False, word_breaks(), character_classes(), KEY))


def tokens_to_spend(texts: pa.Array | pa.ChunkedArray) -> tuple[Tokens, bool]:
    """Unicode tokens of a batch, and whether their names may be written over.

    Those of a huge document may: to find them again is cheaper than to hold them beside a copy.
    """
    tokens = tokens_of(texts)
    is_own = len(tokens.names) > MANY
    if is_own:
        forget_batch()
    return tokens, is_own


def words_of(texts: pa.Array | pa.ChunkedArray) -> Tokens:
    """Whitespace words of a batch."""
    offsets, data = valid(texts)
    return Tokens(*_name_all(offsets, data, True, word_breaks(), character_classes(), KEY))


@loop
def read_names(names, lengths, places, before):
    """Turn lengths by name into before[i], the characters of the tokens before the i-th, and places[i] = i."""
    characters = np.int32(0)
    before[0] = 0
    for k in range(len(names)):
        places[k] = k
        characters += lengths[names[k]]
        before[k + 1] = characters


@loop
def read_kind(tokens, lengths, flags, kind, names, places, before):
    """The same for those tokens alone that have something of `kind`: their names too. Returns how many there are."""
    n, characters = 0, np.int32(0)
    before[0] = 0
    for name in tokens:
        has = (flags[name] & kind) != 0
        names[n], places[n] = name, n
        characters += lengths[name] * has
        before[n + has] = characters
        n += has
    return n
