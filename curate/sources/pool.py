"""The pool: every document of every source, as a few arrays that selection works on (no text).

Pool order is the order of the parts and of the rows in them. `rank` is the order of preference among
duplicates: the longest text first, ties by id, where the manifest says nothing else (`preferring`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import CurateError
from curate.sources.documents import SourceDocuments
from curate.sources.usable import TEXT_BYTES, without_text
from curate.store import Part, brought, digest_of
from filters.arrow import take

ID_DIGITS = 32  # hexadecimal, of an id


@dataclass
class Pool:
    parts: list[Part]
    ids: pa.StringArray
    order: np.ndarray  # int64: pool rows by ascending id, the fixed random order of sizes
    rank: np.ndarray  # int64: place of each row in the order of preference
    bytes: np.ndarray  # int64: UTF-8 bytes of text
    source: np.ndarray  # int32: index into `sources`
    part: np.ndarray  # int32
    row: np.ndarray  # int64
    sources: list[str]
    schemas: list[pa.Schema]  # of the parts
    draw: int = 0  # another draw, another random order of the same documents
    fields: dict = field(default_factory=dict)  # what `field` gave
    foreign: list[str] = field(default_factory=list)  # values of another kind than their bound

    @cached_property
    def places(self) -> np.ndarray:
        """uint64 [documents]: where each stands in the random order, of 2^64 places: by its id, remixed for a draw."""
        return places_of(self.ids, self.draw)

    @property
    def digest(self) -> str:
        """Of all documents, in pool order."""
        return digest_of([part.digest for part in self.parts])

    @cached_property
    def rank_digest(self) -> str:
        """Of the order of preference."""
        return hashlib.sha256(self.rank.data).hexdigest()

    def preferring(self, columns: list[np.ndarray]) -> Pool:
        """The same documents, preferred by the first of these columns in which they differ (the lower value; NaN
        last), and where they differ in none, as before."""
        rank = np.empty_like(self.rank)
        rank[np.lexsort((self.rank, *columns[::-1]))] = np.arange(len(self))
        return replace(self, rank=rank)

    def __len__(self) -> int:
        return len(self.bytes)

    def ranges(self) -> Iterator[tuple[int, int]]:
        """(first row, end) of each part in the pool."""
        begin = 0
        for part in self.parts:
            yield begin, begin + part.rows
            begin += part.rows

    def field(self, name: str, kind: pa.DataType) -> pa.ChunkedArray:
        """A field that documents carry from their sources, as strings or as numbers; null where theirs has none, or
        holds what cannot be one, which is noted. Raises CurateError where all that a source holds cannot be one."""
        if (name, kind) not in self.fields:
            self.fields[name, kind] = self._field(name, kind)
        return self.fields[name, kind]

    def _field(self, name: str, kind: pa.DataType) -> pa.ChunkedArray:
        chunks = []
        fits: dict[str, bool] = {}
        foreign: dict[str, list[tuple[str, str]]] = {}
        sources = self.source[[first for first, _ in self.ranges()]]
        for part, table, number in zip(self.parts, without_text(self.parts), sources, strict=True):
            source = self.sources[number]
            column = table[name] if name in table.column_names else pa.chunked_array([pa.nulls(part.rows)])
            try:
                cast = column.cast(kind)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                cast, bad = _cast_each(column, kind)
                foreign.setdefault(source, []).extend(
                    (table["place"][row].as_py(), value) for row, value in bad
                )
            fits[source] = fits.get(source, False) or cast.null_count < len(cast)
            chunks += cast.chunks
        what = "string" if pa.types.is_string(kind) else "number"
        for source, values in foreign.items():
            at, value = values[0]
            if not fits[source]:
                raise CurateError(
                    f'source "{source}": the field {name} holds what is no {what}, such as {value!r} at {at}; '
                    'bound numbers by [low, high] and everything else by labels, such as ["a", "b"]'
                )
            shown = ", ".join(f"{value!r} at {at}" for at, value in values[:3])
            self.foreign.append(
                f'source "{source}": in {len(values):,} documents the field {name} is no {what}, so its bounds drop them: '
                f"{shown}"
            )
        return pa.chunked_array(chunks, kind)

    def find(self, wanted: str) -> list[int]:
        """Rows whose id begins with `wanted`."""
        return np.flatnonzero(pc.starts_with(self.ids, wanted).to_numpy(zero_copy_only=False)).tolist()


def _cast_each(column: pa.ChunkedArray, kind: pa.DataType) -> tuple[pa.ChunkedArray, list[tuple[int, str]]]:
    """(values of this kind, null where one is not; (row, value) of those)."""
    values: list = []
    bad: list[tuple[int, str]] = []
    for row, scalar in enumerate(column):
        try:
            values.append(scalar.cast(kind).as_py())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            values.append(None)
            bad.append((row, str(scalar)))
    return pa.chunked_array([values], kind), bad


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
    digits = digits[fixed.offset : fixed.offset + len(fixed), :16].astype(np.uint64)
    nibbles = np.where(digits > 57, digits - 87, digits - 48)  # "a" is 97, "0" is 48
    shifts = np.arange(60, -1, -4, dtype=np.uint64)
    return remixed((nibbles << shifts).sum(1, dtype=np.uint64), draw)


def open_pool(sources: list[SourceDocuments], draw: int = 0) -> Pool:
    """No two documents share an id: places are unique, and of a source's own ids only the first was kept."""
    parts = [part for source in sources for part in source.parts]
    columns: dict[str, list] = {"id": [], "bytes": [], "part": [], "row": [], "schema": []}
    for number, (part, documents) in enumerate(zip(parts, without_text(parts), strict=True)):
        columns["id"] += documents["id"].chunks
        columns["bytes"].append(documents[TEXT_BYTES].to_numpy())
        columns["schema"].append(documents.drop_columns([TEXT_BYTES]).schema)
        columns["part"].append(np.full(part.rows, number, np.int32))
        columns["row"].append(np.arange(part.rows, dtype=np.int64))
    ids = pa.chunked_array(columns["id"], pa.string()).combine_chunks()
    ids = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    size = np.concatenate(columns["bytes"]).astype(np.int64)
    order = pc.sort_indices(ids).to_numpy().astype(np.int64)
    _check_unique(ids, order)
    by_id = np.empty_like(order)
    by_id[order] = np.arange(len(order))
    if draw:
        order = np.lexsort((by_id, places_of(ids, draw)))
    rank = np.empty_like(order)
    rank[np.lexsort((by_id, -size))] = np.arange(len(order))
    source = np.concatenate([np.full(s.documents, i, np.int32) for i, s in enumerate(sources)])
    names = [s.source.name for s in sources]
    places = np.concatenate(columns["part"]), np.concatenate(columns["row"])
    return Pool(parts, ids, order, rank, size, source, *places, names, columns["schema"], draw)


def _check_unique(ids: pa.StringArray, order: np.ndarray) -> None:
    ordered = ids.take(pa.array(order))
    same = pc.equal(ordered.slice(1), ordered.slice(0, max(0, len(ordered) - 1)))
    assert not pc.any(same).as_py(), "a format gave two documents one place"


def gather(parts: list[Part], part: np.ndarray, row: np.ndarray, column: str) -> pa.Array:
    """The values of a column at these (part, row) places, in their order."""
    return take(*gather_pieces(parts, part, row, column))


def gather_pieces(
    parts: list[Part], part: np.ndarray, row: np.ndarray, column: str
) -> tuple[list[pa.Array], np.ndarray]:
    """The same as they are read, a piece a part, and where in them the value of each place lies: for `take`."""
    pieces = [pa.array([], parts[0].table([column]).schema.field(column).type)]
    by_part = np.argsort(part, kind="stable")
    brought([parts[number] for number in np.unique(part)])
    for number in np.unique(part):
        pieces.append(take(parts[number].table([column])[column].chunks, row[part == number]))
    places = np.empty(len(part), np.int64)
    places[by_part] = np.arange(len(part))
    return pieces, places
