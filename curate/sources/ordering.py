"""Rows of documents by part, and the order of their ids."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curate.store import Part
from filters.arrow import take

ID_DIGITS = 32  # hexadecimal, of an id


def row_type(rows: int) -> type[np.signedinteger]:
    """Of the numbers of so many rows, and of twice as many: four bytes where they do."""
    return np.int32 if rows < 2**30 else np.int64


def remixed(places: np.ndarray, salt: np.ndarray | int) -> np.ndarray:
    """uint64: other places, as random as these, for every salt but 0, which changes nothing (splitmix64)."""
    with np.errstate(over="ignore"):
        x = places + np.asarray(salt, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.where(np.asarray(salt) == 0, places, x ^ (x >> np.uint64(31)))


def places_of(ids: pa.StringArray, draw: int) -> np.ndarray:
    """The first 64 bits of ids of hexadecimal digits, remixed where another draw is asked for."""
    if not len(ids):
        return np.zeros(0, np.uint64)
    fixed = ids.cast(pa.binary()).cast(pa.binary(ID_DIGITS))
    digits = np.frombuffer(fixed.buffers()[1], np.uint8).reshape(-1, ID_DIGITS)
    digits = digits[fixed.offset : fixed.offset + len(fixed), :16]
    nibbles = np.where(digits > 57, digits - 87, digits - 48)  # "a" is 97, "0" is 48
    return remixed((nibbles[:, ::2] << 4 | nibbles[:, 1::2]).view(">u8")[:, 0].astype(np.uint64), draw)


def order_of_ids(parts: list[Part], places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows of all parts by ascending place, those of one place by id and then by row; where in that order stand
    documents with the id of the one before). Of ids only those of documents with one place are read."""
    order = np.argsort(places).astype(row_type(len(places)))
    ordered = places[order]
    tied = ordered[1:] == ordered[:-1]
    at = np.flatnonzero(np.r_[False, tied] | np.r_[tied, False])
    if not len(at):
        return order, at
    rows = np.sort(order[at])
    ends = np.cumsum([part.rows for part in parts])
    part = np.searchsorted(ends, rows, "right")
    ids = gather(parts, part, rows - ends[part] + np.array([p.rows for p in parts])[part], "id")
    ids = np.array(ids.to_pylist(), f"S{ID_DIGITS}")
    by_id = np.lexsort((ids, places[rows]))
    order[at] = rows[by_id]
    same = np.r_[False, ids[by_id][1:] == ids[by_id][:-1]]
    return order, at[same]


def hash_bytes(hashes: pa.FixedSizeBinaryArray) -> np.ndarray:
    """S16 [rows]: hashes of 128 bits as they lie there; equal where they are."""
    return np.frombuffer(hashes.buffers()[1], "S16", len(hashes), 16 * hashes.offset)


def gather(parts: list[Part], part: np.ndarray, row: np.ndarray, column: str) -> pa.Array:
    """The values of a column at these (part, row) places, in their order."""
    return take(*gather_pieces(parts, part, row, column))


def gather_pieces(
    parts: list[Part], part: np.ndarray, row: np.ndarray, column: str
) -> tuple[list[pa.Array], np.ndarray]:
    """The same as they are read, a piece a part, and where in them the value of each place lies: for `take`."""
    pieces = [pa.array([], parts[0].table([column]).schema.field(column).type)]
    by_part = np.argsort(part, kind="stable")
    numbers, begins = np.unique(part[by_part], return_index=True)
    for number, here in zip(numbers, np.split(row[by_part], begins[1:]), strict=False):
        pieces.append(take(parts[number].table([column])[column].chunks, here))
    places = np.empty(len(part), np.int64)
    places[by_part] = np.arange(len(part))
    return pieces, places
