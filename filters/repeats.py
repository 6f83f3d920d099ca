"""Repeats: text that stands more than once in a whole pool of documents, as byte spans that a level may cut.

- `spans`: runs of words (those of `shingles`: lower-cased, without punctuation) every window of which, of 50 words
  as in Lee et al. 2022 (arXiv:2107.06499, there of tokens), stands elsewhere too;
- `lines` and `paragraphs`: those that stand elsewhere too, compared by their words (CCNet: Wenzek et al. 2020,
  arXiv:1911.00359); ones of fewer than 5 words are left alone, they stand everywhere.

The first occurrence stays, in an order of documents that is given (and by place within one document): the spans
are those of every other, so cutting them keeps one copy of everything. Texts are compared by 64-bit hashes.

Three steps, each a pure function, so that a pool of any size fits: `occurrences` of a part of the documents,
split by hash; `repeated` of one split of all parts; and with the `Index` of those, `find` in each part. Nothing is
sampled: time and memory are linear, eight bytes and four an occurrence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute

from filters import Family
from filters.columns import ratio, real_signal, span_signal, spans
from filters.shingles import (
    WORD_FACTOR,
    character_tables,
    highest_power,
    insert,
    mix,
    room_for,
    slots_for,
    units_of,
)
from filters.text import inlined, kernel, loop, valid

KINDS = ("spans", "lines", "paragraphs")
SPANS, LINES, PARAGRAPHS = range(3)
WORDS = {"spans": 50, "lines": 5, "paragraphs": 5}  # of a window, of the shortest line and paragraph
NEWLINE, SPACE = 0x0A, 0x20
SPLIT = 1 << 16  # occurrences
FREE = np.uint64(0)  # marks an empty slot, so no key is 0


@inlined
def _key(rolling):
    h = mix(rolling)
    return h if h != FREE else np.uint64(1)


@loop
def _windows(hashes, units, width, keys):
    """Fill in the key of every window of `width` words; returns how many there are."""
    if units < width:
        return 0
    highest = highest_power(width)
    rolling = np.uint64(0)
    for i in range(width):
        rolling = np.uint64(rolling * WORD_FACTOR + hashes[i])
    keys[0] = _key(rolling)
    for i in range(width, units):
        rolling = np.uint64((rolling - hashes[i - width] * highest) * WORD_FACTOR + hashes[i])
        keys[i - width + 1] = _key(rolling)
    return units - width + 1


@inlined
def _gap(page, begin, end):
    """(first newline of page[begin:end] or -1, last newline or -1, whether a blank line is inside)"""
    first = last = -1
    blank = clean = False
    for at in range(begin, end):
        if page[at] == NEWLINE:
            blank |= clean
            clean = True
            last = at
            if first < 0:
                first = at
        elif page[at] > SPACE:
            clean = False
    return first, last, blank


@loop
def _pieces(page, length, units, kind, least, room, keys, begins, stops):
    """Fill in the key and the bytes [begin, stop) of every line or paragraph of at least `least` words."""
    _, _, hashes, starts, ends = room
    pieces = words = 0
    rolling = np.uint64(0)
    begin = 0
    for i in range(units + 1):
        before = ends[i - 1] if i else 0
        first, last, blank = _gap(page, before, starts[i] if i < units else length)
        if i == units or i and (blank if kind == PARAGRAPHS else first >= 0):
            if words >= least:
                keys[pieces], begins[pieces] = _key(rolling), begin
                stops[pieces] = first + 1 if first >= 0 else length
                pieces += 1
            rolling, words = np.uint64(0), 0
            begin = last + 1
        elif i == 0:
            begin = last + 1
        if i < units:
            rolling = np.uint64(rolling * WORD_FACTOR + hashes[i])
            words += 1
    return pieces


@loop
def _keys_of(data, start, end, tables, kind, words, room, keys, begins, stops):
    units = units_of(data, start, end, tables, 0, room)
    if kind == SPANS:
        return _windows(room[2], units, words, keys)
    return _pieces(room[0], end - start, units, kind, words, room, keys, begins, stops)


@kernel
def _occurrences(offsets, data, tables, kind, words, keys, ends):
    """Fill in the keys of all documents, one behind the other, and where each document's end."""
    room = room_for(offsets)
    most = len(room[2])
    own, begins, stops = np.empty(most, np.uint64), np.empty(most, np.int32), np.empty(most, np.int32)
    filled = 0
    for i in range(len(offsets) - 1):
        n = _keys_of(data, offsets[i], offsets[i + 1], tables, kind, words, room, own, begins, stops)
        for k in range(n):
            keys[filled] = own[k]
            filled += 1
        ends[i + 1] = filled


@kernel
def _split(keys, ends, order, bits, bounds, split_keys, split_orders):
    """Bring the occurrences whose keys share their upper `bits` bits together."""
    shift = np.uint64(64 - bits)
    at = np.zeros(len(bounds), np.int64)
    for key in keys:
        at[(key >> shift) + np.uint64(1)] += 1
    for k in range(1, len(at)):
        at[k] += at[k - 1]
    bounds[:] = at
    for i in range(len(order)):
        for k in range(ends[i], ends[i + 1]):
            part = keys[k] >> shift
            split_keys[at[part]], split_orders[at[part]] = keys[k], order[i]
            at[part] += 1


def bits_for(size: int) -> int:
    """How many bits of the hash split the occurrences of so many bytes of text: a split should fit in a core's cache."""
    return min(12, max(6, (size // (5 * SPLIT)).bit_length()))


@dataclass(frozen=True)
class Occurrences:
    """Those of some documents: split s has `keys[bounds[s]:bounds[s + 1]]`, and beside each the document's order."""

    keys: np.ndarray  # uint64
    orders: np.ndarray  # uint32
    bounds: np.ndarray  # int64 [2 ** bits + 1]


def occurrences(
    texts: pa.Array | pa.ChunkedArray, order: np.ndarray, kind: str, words: int, bits: int
) -> Occurrences:
    """Of every window, line or paragraph of these texts; `order[i]`: the place of text i among all of the pool."""
    offsets, data = valid(texts)
    most = (int(offsets[-1] - offsets[0]) + 1) // 2 + len(offsets)  # a word takes two bytes
    keys, ends = np.empty(most, np.uint64), np.zeros(len(offsets), np.int64)
    _occurrences(offsets, data, character_tables(), KINDS.index(kind), words, keys, ends)
    n = ends[-1]
    bounds = np.empty(2**bits + 1, np.int64)
    split_keys, split_orders = np.empty(n, np.uint64), np.empty(n, np.uint32)
    _split(keys[:n], ends, np.asarray(order, np.uint32), bits, bounds, split_keys, split_orders)
    return Occurrences(split_keys, split_orders, bounds)


@kernel
def _repeated(keys, orders, found, first):
    """Fill in the keys that occur more than once, and the lowest order of each; returns how many there are."""
    last = slots_for(len(keys))
    table, lowest = np.zeros(last + np.uint64(1), np.uint64), np.empty(last + np.uint64(1), np.uint32)
    many = np.zeros(last + np.uint64(1), np.bool_)
    for i in range(len(keys)):
        slot = keys[i] & last
        while table[slot] != FREE and table[slot] != keys[i]:
            slot = (slot + np.uint64(1)) & last
        if table[slot] == FREE:
            table[slot], lowest[slot] = keys[i], orders[i]
        else:
            many[slot] = True
            lowest[slot] = min(lowest[slot], orders[i])
    n = 0
    for slot in range(len(table)):
        if many[slot]:
            found[n], first[n] = table[slot], lowest[slot]
            n += 1
    return n


def repeated(keys: np.ndarray, orders: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(uint64 ascending, uint32) keys that occur more than once, and the order of the first document with each."""
    found, first = np.empty(len(keys) // 2, np.uint64), np.empty(len(keys) // 2, np.uint32)
    n = _repeated(keys, orders, found, first)
    ascending = np.argsort(found[:n])
    return found[ascending], first[ascending]


@dataclass(frozen=True)
class Index:
    """Repeated keys in a table of slots, with the first document of each; `bits` rules most others out unseen."""

    keys: np.ndarray  # uint64 [a power of two], FREE where nothing is
    first: np.ndarray  # uint32
    bits: np.ndarray  # uint64


@loop
def _fill(found, orders, keys, first, bits):
    last, all_bits = np.uint64(len(keys) - 1), np.uint64(len(bits) * 64 - 1)
    for i in range(len(found)):
        slot = found[i] & last
        while keys[slot] != FREE:
            slot = (slot + np.uint64(1)) & last
        keys[slot], first[slot] = found[i], orders[i]
        bit = (found[i] >> np.uint64(20)) & all_bits
        bits[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))


def index_of(found: np.ndarray, first: np.ndarray) -> Index:
    """The table of what `repeated` gave, of all splits together."""
    slots = 1 << max(6, (2 * len(found)).bit_length())
    index = Index(
        np.zeros(slots, np.uint64), np.empty(slots, np.uint32), np.zeros(slots * 8 // 64, np.uint64)
    )
    _fill(found, first, index.keys, index.first, index.bits)
    return index


@inlined
def _first_of(key, keys, first, bits):
    """The order of the first document with a repeated key, or -1."""
    bit = (key >> np.uint64(20)) & np.uint64(len(bits) * 64 - 1)
    if not (bits[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1):
        return -1
    last = np.uint64(len(keys) - 1)
    slot = key & last
    while keys[slot] != FREE:
        if keys[slot] == key:
            return np.int64(first[slot])
        slot = (slot + np.uint64(1)) & last
    return -1


@kernel
def _find(offsets, data, tables, kind, words, order, table_keys, first, bits, begins, stops, bounds, covered):
    """Fill in the spans of every document: occurrences that are not the first, joined where they touch."""
    room = room_for(offsets)
    starts, ends = room[3], room[4]
    most = len(room[2])
    keys, piece_begins, piece_stops = (
        np.empty(most, np.uint64),
        np.empty(most, np.int32),
        np.empty(most, np.int32),
    )
    slots = slots_for(most) + np.uint64(1)
    seen, stamps = np.empty(slots, np.uint64), np.full(slots, -1, np.int64)
    filled = 0
    for i in range(len(offsets) - 1):
        n = _keys_of(
            data, offsets[i], offsets[i + 1], tables, kind, words, room, keys, piece_begins, piece_stops
        )
        last = slots_for(n)
        mine = np.int64(order[i])
        for k in range(n):
            owner = _first_of(keys[k], table_keys, first, bits)
            if owner < 0 or owner == mine and insert(keys[k], last, seen, stamps, i):
                continue
            begin = starts[k] if kind == SPANS else piece_begins[k]
            stop = ends[k + words - 1] if kind == SPANS else piece_stops[k]
            if filled > bounds[i] and begin <= stops[filled - 1]:
                stops[filled - 1] = stop
            else:
                begins[filled], stops[filled] = begin, stop
                filled += 1
        bounds[i + 1] = filled
        for k in range(bounds[i], filled):
            covered[i] += stops[k] - begins[k]


def find(
    texts: pa.Array | pa.ChunkedArray, order: np.ndarray, kind: str, words: int, index: Index
) -> dict[str, pa.Array]:
    """Columns of the signals of a kind, for these texts; `order` as in `occurrences`."""
    offsets, data = valid(texts)
    n = len(offsets) - 1
    most = (int(offsets[-1] - offsets[0]) + 1) // 2 + n
    begins, stops = np.empty(most, np.int64), np.empty(most, np.int64)
    bounds, covered = np.zeros(n + 1, np.int64), np.zeros(n, np.int64)
    _find(
        offsets, data, character_tables(), KINDS.index(kind), words, np.asarray(order, np.uint32),
        index.keys, index.first, index.bits, begins, stops, bounds, covered,
    )  # fmt: skip
    spans_name, ratio_name = NAMES[kind]
    return {
        spans_name: spans(bounds, begins[: bounds[-1]].copy(), stops[: bounds[-1]].copy()),
        ratio_name: ratio(covered, np.diff(offsets)),
    }


def repeats(
    texts: pa.Array | pa.ChunkedArray, kind: str = "spans", words: int = 50, order: np.ndarray | None = None
) -> dict[str, pa.Array]:
    """All three steps on one column. `order[i]` is the place of text i; without it the texts' own order."""
    order = np.arange(len(texts)) if order is None else order
    bits = bits_for(int(pa.compute.sum(pa.compute.binary_length(texts)).as_py() or 0))
    found = occurrences(texts, order, kind, words, bits)
    pieces = [
        repeated(found.keys[a:b], found.orders[a:b])
        for a, b in zip(found.bounds, found.bounds[1:], strict=False)
    ]
    return find(texts, order, kind, words, index_of(*map(np.concatenate, zip(*pieces, strict=True))))


NAMES = {
    "spans": ("repeated_spans", "repeated_span_ratio"),
    "lines": ("repeated_line_spans", "repeated_line_ratio"),
    "paragraphs": ("repeated_paragraph_spans", "repeated_paragraph_ratio"),
}
_SAYS = {
    "spans": "runs of 50 words and more (or as many as said) that stand in the pool before",
    "lines": "lines of 5 words and more (or as many as said) that stand in the pool before",
    "paragraphs": "paragraphs of 5 words and more (or as many as said) that stand in the pool before",
}


def _of_the_pool(texts: pa.Array, **parameters: object) -> dict[str, pa.Array]:
    raise AssertionError("repeats are found in a whole pool, see occurrences, repeated and find")


REPEATS = tuple(
    Family(
        f"repeated_{kind}",
        1,
        _of_the_pool,
        (
            span_signal(NAMES[kind][0], _SAYS[kind]),
            real_signal(NAMES[kind][1], "ratio", 1.0, "bytes of these spans / bytes"),
        ),
    )
    for kind in KINDS
)
