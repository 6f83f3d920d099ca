"""Repeats: text that stands more than once in a whole pool of documents, as byte spans that a level may cut.

- `spans`: runs of words (those of `text.units`: lower-cased, without punctuation) every window of which, of 50 words
  as in Lee et al. 2022 (arXiv:2107.06499, there of tokens), stands elsewhere too;
- `lines` and `paragraphs`: those that stand elsewhere too, compared by their words (CCNet: Wenzek et al. 2020,
  arXiv:1911.00359); ones of fewer than 5 words are left alone, they stand everywhere.

The first occurrence stays, in an order of documents that is given (and by place within one document): the spans
are those of every other, so cutting them keeps one copy of everything. Texts are compared by 64-bit hashes, in NFC and
without ignorable code points (see `text.normalised`).

Three steps, each a pure function, so that a pool of any size fits: `occurrences` of a part of the documents,
split by hash; of one split of all parts the `copies`, which are not the first; and with the places of those `find` in
each part, which reads no document again that has none. Nothing is sampled: time and memory are linear, 16 bytes an
occurrence. A split fits in a core's cache, so that nothing waits for memory however large the pool is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute

from filters.columns import columns, ratio, span
from filters.duplicates.shingles import slots_for
from filters.family import Family, Signal, of_the_pool
from filters.text.batches import valid
from filters.text.compiled import inlined, kernel, loop
from filters.text.normalised import normalised
from filters.text.units import WORD_FACTOR, character_tables, mix, room_for, units_of, windows_of

KINDS = ("spans", "lines", "paragraphs")
SPANS, LINES, PARAGRAPHS = range(3)
WORDS = {"spans": 50, "lines": 5, "paragraphs": 5}  # of a window, of the shortest line and paragraph
NEWLINE, SPACE = 0x0A, 0x20
SPLIT = 1 << 16  # occurrences
FREE = np.uint64(0)  # marks an empty slot, so no key is 0


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
    _, _, hashes, starts, ends, _ = room
    pieces = words = 0
    rolling = np.uint64(0)
    begin = 0
    for i in range(units + 1):
        before = ends[i - 1] if i else 0
        first, last, blank = _gap(page, before, starts[i] if i < units else length)
        if i == units or i and (blank if kind == PARAGRAPHS else first >= 0):
            if words >= least:
                keys[pieces], begins[pieces] = mix(rolling), begin
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
        return windows_of(room[2], 0, units, words, np.uint64(0), keys)
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
            keys[filled] = own[k] if own[k] != FREE else np.uint64(1)
            filled += 1
        ends[i + 1] = filled


@kernel
def _split(keys, ends, order, bits, bounds, rows):
    """Bring the occurrences whose keys share their upper `bits` bits together."""
    shift = np.uint64(64 - bits)
    at = np.zeros(len(bounds), np.int64)
    for key in keys:
        at[(key >> shift) + np.uint64(1)] += 1
    for k in range(1, len(at)):
        at[k] += at[k - 1]
    bounds[:] = at
    for i in range(len(order)):
        head = np.uint64(order[i]) << np.uint64(32)
        for k in range(ends[i], ends[i + 1]):
            split = keys[k] >> shift
            rows[at[split], 0], rows[at[split], 1] = keys[k], head | np.uint64(k)
            at[split] += 1


def bits_for(size: int) -> int:
    """How many bits of the hash split the occurrences of so many bytes of text: a split should fit in a core's cache."""
    return min(12, max(6, (size // (5 * SPLIT)).bit_length()))


@dataclass(frozen=True)
class Occurrences:
    """Those of some documents, those of split s in rows[bounds[s] : bounds[s + 1]], of document i at the places
    ends[i] .. ends[i + 1]. A row is the key, and where it stands: the document's order above the place, so that of two
    the lower is the first. Key and place lie together, since a split is written at as many spots as there are splits."""

    rows: np.ndarray  # uint64 [n, 2]
    bounds: np.ndarray  # int64 [2 ** bits + 1]
    ends: np.ndarray  # int64 [documents + 1]


def occurrences(
    texts: pa.Array | pa.ChunkedArray, order: np.ndarray, kind: str, words: int, bits: int
) -> Occurrences:
    """Of every window, line or paragraph of these texts; `order[i]`: the place of text i among all of the pool."""
    compared = normalised(texts)
    offsets, data = compared.offsets, compared.data
    most = (int(offsets[-1] - offsets[0]) + 1) // 2 + len(offsets)  # a word takes two bytes
    keys, ends = np.empty(most, np.uint64), np.zeros(len(offsets), np.int64)
    _occurrences(offsets, data, character_tables(), KINDS.index(kind), words, keys, ends)
    n = ends[-1]
    occurring = Occurrences(np.empty((n, 2), np.uint64), np.empty(2**bits + 1, np.int64), ends)
    _split(keys[:n], ends, np.asarray(order, np.uint32), bits, occurring.bounds, occurring.rows)
    return occurring


@kernel
def _copies(rows, copy):
    """Mark the occurrences that are not the first of their key.

    The table holds the index of the first as far as it is known; of it and the next one the later is a copy.
    """
    last = slots_for(len(rows))
    table, first = np.zeros(last + np.uint64(1), np.uint64), np.empty(last + np.uint64(1), np.int32)
    for i in range(len(rows)):
        key = rows[i, 0]
        slot = key & last
        while table[slot] != FREE and table[slot] != key:
            slot = (slot + np.uint64(1)) & last
        if table[slot] == FREE:
            table[slot], first[slot] = key, i
        elif rows[i, 1] < rows[first[slot], 1]:
            copy[first[slot]] = True
            first[slot] = i
        else:
            copy[i] = True


def copies(parts: list[Occurrences], split: int) -> list[np.ndarray]:
    """For each of these, all parts of a pool: uint32 places of the occurrences in one split that are not the first."""
    pieces = [f.rows[f.bounds[split] : f.bounds[split + 1]] for f in parts]
    rows = np.concatenate(pieces)
    copy = np.zeros(len(rows), np.bool_)
    _copies(rows, copy)
    edges = np.cumsum([len(piece) for piece in pieces])[:-1]
    return [piece[own, 1].astype(np.uint32) for piece, own in zip(pieces, np.split(copy, edges), strict=True)]


@kernel
def _find(offsets, data, tables, kind, words, ends, copy, edges, counts):
    """Fill in the spans of every document: occurrences that are copies, joined where they touch. Returns how many."""
    room = room_for(offsets)
    most = len(room[2])
    keys, begins, stops = np.empty(most, np.uint64), np.empty(most, np.int32), np.empty(most, np.int32)
    filled = 0
    for i in range(len(offsets) - 1):
        is_copy, first = copy[ends[i] : ends[i + 1]], filled
        if is_copy.any():
            _keys_of(data, offsets[i], offsets[i + 1], tables, kind, words, room, keys, begins, stops)
        for k in range(len(is_copy)):
            if not is_copy[k]:
                continue
            begin = room[3][k] if kind == SPANS else begins[k]
            stop = room[4][k + words - 1] if kind == SPANS else stops[k]
            if filled > first and begin <= edges[filled - 1, 1]:
                edges[filled - 1, 1] = stop
            else:
                edges[filled, 0], edges[filled, 1] = begin, stop
                filled += 1
        counts[i] = filled - first
    return filled


def _signals(spans: str, covered: str, says: str) -> tuple[Signal, Signal]:
    return (
        span(spans, "counts", "edges", f"{says} (or as many as said) that stand in the pool before"),
        ratio(covered, "covered", "sizes", "bytes of these spans / bytes"),
    )


SIGNALS = {
    "spans": _signals("repeated_spans", "repeated_span_ratio", "runs of 50 words and more"),
    "lines": _signals("repeated_line_spans", "repeated_line_ratio", "lines of 5 words and more"),
    "paragraphs": _signals("repeated_paragraph_spans", "repeated_paragraph_ratio", "paragraphs of 5 words and more"),
}  # fmt: skip


def find(
    texts: pa.Array | pa.ChunkedArray, kind: str, words: int, ends: np.ndarray, places: np.ndarray
) -> dict[str, pa.Array]:
    """Columns of the signals of a kind, for these texts; `ends` of their occurrences, `places` of the copies."""
    compared = normalised(texts)
    copy = np.zeros(ends[-1], np.bool_)
    copy[places] = True
    edges = np.empty((len(places), 2), np.int64)
    counts = np.zeros(len(texts), np.int64)
    filled = _find(
        compared.offsets, compared.data, character_tables(), KINDS.index(kind), words, ends, copy, edges, counts
    )  # fmt: skip
    edges = compared.in_the_texts(texts, counts, edges[:filled])
    document = np.repeat(np.arange(len(counts)), counts)
    covered = np.bincount(document, edges[:, 1] - edges[:, 0], len(counts))
    sizes = np.diff(valid(texts)[0])
    return columns(SIGNALS[kind], counts=counts, edges=edges.ravel(), covered=covered, sizes=sizes)


def repeats(
    texts: pa.Array | pa.ChunkedArray, kind: str = "spans", words: int = 50, order: np.ndarray | None = None
) -> dict[str, pa.Array]:
    """All three steps on one column. `order[i]` is the place of text i; without it the texts' own order."""
    order = np.arange(len(texts)) if order is None else order
    bits = bits_for(int(pa.compute.sum(pa.compute.binary_length(texts)).as_py() or 0))
    occurring = occurrences(texts, order, kind, words, bits)
    places = np.concatenate([copies([occurring], split)[0] for split in range(2**bits)])
    return find(texts, kind, words, occurring.ends, places)


REPEATS = tuple(Family(f"repeated_{kind}", 2, of_the_pool, SIGNALS[kind]) for kind in KINDS)
