"""What a run reads: the text of a level in pieces, in one fixed random order, and a block of it for every seed.

Which documents were drawn to train on is the largest noise of a small run, and long documents are most of that noise:
whichever comes first makes the size. So a long document is cut in pieces of some windows, each with its own place in the
order: every size then holds long documents in their share. Sources take turns, so that every size holds each of them in
its share too: how much of a source comes first is no accident of the draw. And every seed reads its own block of that
order, so that the spread between seeds holds the choice of documents, and intervals with it. Where a level is too small
for disjoint blocks, seeds read round it, as far apart as can be; how much they share is said (`shared`).

Corpora as data sets hold whole documents; only runs read pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curate.corpora.tokenization import Tokens
from curate.corpora.units import Units, whole
from curate.quantities import BYTES_A_TOKEN
from curate.sources.pool import Pool, remixed

LARGEST_PIECE = 1 / 50  # of the smallest size
LEAST_WINDOWS = 2  # of a piece: shorter ones would have no far context


def in_pieces(pool: Pool, rows: np.ndarray, document_bytes: np.ndarray, piece_tokens: int) -> Units:
    """The documents of `rows` (a level's, in its order, copies included) in pieces of about `piece_tokens` tokens at
    most, each at its own place; sources in turns. Within a source, a document of one piece keeps its place."""
    limit = piece_tokens * BYTES_A_TOKEN
    sizes = document_bytes[rows]
    if sizes.max(initial=0) <= limit:
        return _in_turns(pool, whole(rows), document_bytes)
    of = np.maximum(1, -(-sizes.astype(np.int64) // limit))
    each = np.repeat(np.arange(len(rows)), of)
    piece = np.arange(len(each)) - np.repeat(np.cumsum(of) - of, of)
    # Documents keep their order among themselves; a piece of a long one goes where its own hash says.
    place = np.linspace(0, 2**64 - 2**11, len(rows), dtype=np.uint64)[each]
    long = of[each] > 1
    copy = _occurrence(rows)[each]
    hashed = remixed(pool.places[rows[each]], (copy * int(of.max()) + piece + 1).astype(np.uint64))
    order = np.argsort(np.where(long, hashed, place), kind="stable")
    return _in_turns(pool, Units(rows[each][order], piece[order], of[each][order]), document_bytes)


def _in_turns(pool: Pool, units: Units, document_bytes: np.ndarray) -> Units:
    """In an order of which every stretch holds each source in its share of all bytes, to within a piece."""
    source = pool.source[units.row]
    sources = np.unique(source)
    if len(sources) < 2:
        return units
    place = np.empty(len(units))
    for number in sources:
        mine = source == number
        sizes = units.sizes(document_bytes)[mine]
        after = np.cumsum(sizes, dtype=np.int64)
        place[mine] = (after - sizes / 2) / after[-1]  # the middle of the piece
    return units.take(np.argsort(place, kind="stable"))


def _occurrence(rows: np.ndarray) -> np.ndarray:
    """How often each row has come before."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    first = np.r_[True, ordered[1:] != ordered[:-1]]
    number = np.arange(len(rows))
    before = np.empty(len(rows), np.int64)
    before[order] = number - np.maximum.accumulate(np.where(first, number, 0))
    return before


def piece_tokens(sizes: Sequence[int], context: int) -> int:
    """Windows of the largest piece that is no more than a fiftieth of the smallest size, in tokens."""
    return context * max(LEAST_WINDOWS, int(min(sizes) * LARGEST_PIECE) // context)


@dataclass(frozen=True)
class Reading:
    """How the seeds of a grid or a study share a level's text: each its own block of `stride` tokens, or all the first."""

    seeds: int
    stride: int
    per_seed: bool = True


@dataclass(frozen=True)
class Block:
    """What one seed reads. `shared`: share of it that other seeds read too, 0 where blocks are disjoint."""

    units: Units
    ends: dict[int, int]  # size -> number of units
    shared: float


def block(
    pool: Pool,
    units: Units,
    tokens: Tokens,
    sizes: Sequence[int],
    seed: int,
    reading: Reading,
    shares: Sequence[float] | None = None,
) -> Block:
    """The units of one seed, and where each size ends in them; a size that the level is too small for is left out.

    `shares`: of each source, in place of those it has in the level's order.
    """
    if shares is None:
        mine, shared = _turned(units.encoded(tokens.count), tokens, seed, reading, 1.0)
    else:
        mine, shared = _interleaved(pool, units, tokens, np.asarray(shares), seed, reading)
    total = np.cumsum(mine.lengths(tokens.count))
    ends = {size: int(np.searchsorted(total, size)) + 1 for size in sizes if len(total) and total[-1] >= size}
    return Block(mine, ends, shared)


def _turned(units: Units, tokens: Tokens, seed: int, reading: Reading, share: float) -> tuple[Units, float]:
    """The units beginning where this seed's block does, and how much of it is shared."""
    total = np.cumsum(units.lengths(tokens.count))
    if not reading.per_seed or reading.seeds == 1 or not len(units):
        return units, 0.0 if reading.seeds == 1 else 1.0
    stride = max(1, int(reading.stride * share))
    starts = _disjoint(total, stride, reading.seeds)
    if starts is not None:
        return units.take(slice(starts[seed], None)), 0.0
    begin = int(np.searchsorted(total, seed * int(total[-1]) // reading.seeds))
    shared = max(0.0, 1 - int(total[-1]) / (reading.seeds * stride))
    return units.take(np.roll(np.arange(len(units)), -begin)), shared


def _disjoint(total: np.ndarray, stride: int, seeds: int) -> list[int] | None:
    """Where the blocks begin, each behind the last unit of the one before; None where they do not fit."""
    starts, before = [0], 0
    for _ in range(seeds):
        end = int(np.searchsorted(total, before + stride)) + 1
        if end > len(total):
            return None
        starts.append(end)
        before = int(total[end - 1])
    return starts


def _interleaved(
    pool: Pool, units: Units, tokens: Tokens, shares: np.ndarray, seed: int, reading: Reading
) -> tuple[Units, float]:
    """Units so ordered that every beginning of them has each source in its share, to within a unit; they end where the
    first source does. Each source keeps its order, so sizes nest."""
    parts, places, end, most_shared = [], [], np.inf, 0.0
    source = pool.source[units.row]
    for number in np.flatnonzero(shares > 0):
        mine, shared = _turned(
            units.take(source == number).encoded(tokens.count), tokens, seed, reading, float(shares[number])
        )
        length = mine.lengths(tokens.count)
        after = np.cumsum(length) / shares[number]
        parts.append(mine)
        places.append(after - length / shares[number] / 2)  # the middle of the unit
        end = min(end, after[-1] if len(after) else 0.0)
        most_shared = max(most_shared, shared)
    if not parts:
        return units.take(slice(0)), 0.0
    place = np.concatenate(places)
    order = np.argsort(place, kind="stable")
    order = order[: int(np.searchsorted(place[order], end, "right"))]
    row, piece, of = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("row", "piece", "of")
    )
    return Units(row, piece, of).take(order), most_shared
