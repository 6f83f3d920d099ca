"""The pool: every document of every source, as a few arrays that selection works on (no text).

What is held of a document is 20 bytes: the size of its text, its place in two orders and the beginning of its id. All
else lies in the parts. Pool order is the order of the parts and of the rows in them. `rank` is the order of preference
among duplicates: the longest text first, ties by id, where the manifest says nothing else (`preferring`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import CurateError
from curate.sources.documents import SourceDocuments
from curate.sources.usable import TEXT_BYTES, columns_of, without_text
from curate.store import Part, brought, digest_of
from filters.arrow import take

ID_DIGITS = 32  # hexadecimal, of an id
AT_ONCE = 1 << 20  # whose ids are read together: every time, every part is opened


class Runs:
    """By row of the pool the part, or the source, that it lies in: as an array, of which only the ends are held."""

    def __init__(self, rows: list[int]):
        self.ends = np.cumsum(rows)

    def __getitem__(self, rows: Any) -> Any:
        return np.searchsorted(self.ends, rows, "right")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.repeat(np.arange(len(self.ends), dtype=dtype or np.int32), np.diff(self.ends, prepend=0))

    def __eq__(self, number: object) -> Any:
        return np.asarray(self) == number

    def ranges(self) -> Iterator[tuple[int, int]]:
        """(first row, end) of each."""
        yield from pairwise([0, *self.ends.tolist()])


class Within(Runs):
    """By row of the pool its row in that part, one at a time or some."""

    def __getitem__(self, rows: Any) -> Any:
        return rows - np.r_[0, self.ends][super().__getitem__(rows)]


@dataclass
class Pool:
    parts: list[Part]
    order: np.ndarray  # pool rows by ascending id, the fixed random order of sizes
    rank: np.ndarray  # place of each row in the order of preference
    bytes: np.ndarray  # UTF-8 bytes of text
    # uint64: where each stands in the random order, of 2^64 places: by its id, remixed for a draw.
    places: np.ndarray
    source: Runs  # index into `sources`
    sources: list[str]
    schemas: list[pa.Schema]  # of the parts
    draw: int = 0  # another draw, another random order of the same documents
    fields: dict = field(default_factory=dict)  # what `field` gave
    foreign: list[str] = field(default_factory=list)  # values of another kind than their bound

    def __post_init__(self) -> None:
        self.part, self.row = (kind([part.rows for part in self.parts]) for kind in (Runs, Within))

    @property
    def ids(self) -> pa.ChunkedArray:
        chunks = [chunk for table in columns_of(self.parts, "id") for chunk in table["id"].chunks]
        return pa.chunked_array(chunks, pa.string())

    def ordered(self, kept: np.ndarray) -> np.ndarray:
        """Rows of these (bool [documents]) in the random order."""
        return self.order[kept[self.order]]

    def gather(self, rows: np.ndarray, column: str) -> pa.Array:
        """What these documents have in a column, in this order."""
        return gather(self.parts, *self.at(rows), column, _opened if column == "text" else columns_of)

    def at(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(part, row in it) of each."""
        return self.part[rows].astype(rows.dtype), self.row[rows].astype(rows.dtype)

    def document(self, row: int, columns: list[str] | None = None) -> dict[str, Any]:
        return self.parts[self.part[row]].table(columns).slice(int(self.row[row]), 1).to_pylist()[0]

    def ids_of(self, pieces: Iterable[np.ndarray]) -> Iterator[list[str]]:
        """The ids of these rows, piece by piece; those of many pieces are read together."""
        waiting: list[np.ndarray] = []
        for piece in chain(pieces, [None]):
            if piece is None or sum(map(len, waiting)) >= AT_ONCE:
                ids = self.gather(np.concatenate(waiting or [np.empty(0, np.int64)]), "id")
                ends = np.cumsum([0, *map(len, waiting)]).tolist()
                yield from (ids[a:b].to_pylist() for a, b in pairwise(ends))
                waiting = []
            waiting += [] if piece is None else [piece]

    @property
    def digest(self) -> str:
        """Of all documents, in pool order."""
        return digest_of([part.digest for part in self.parts])

    @cached_property
    def rank_digest(self) -> str:
        """Of the order of preference."""
        return hashlib.sha256(self.rank.astype(np.int64).data).hexdigest()

    def bytes_of(self, documents: pa.BooleanArray) -> int:
        """Bytes of text of these together."""
        return int(self.bytes[documents.to_numpy(zero_copy_only=False)].sum())

    def preferring(self, columns: list[np.ndarray]) -> Pool:
        """The same documents, preferred by the first of these columns in which they differ (the lower value; NaN
        last), and where they differ in none, as before."""
        rank = np.empty_like(self.rank)
        rank[np.lexsort((self.rank, *columns[::-1]))] = np.arange(len(self))
        return replace(self, rank=rank)

    def __len__(self) -> int:
        return len(self.bytes)

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
        sources = self.source[[first for first, _ in self.part.ranges()]]
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


def order_of_ids(parts: list[Part], places: np.ndarray) -> np.ndarray:
    """Rows of all parts by ascending place, and those of one place by id. Of ids only theirs are read."""
    order = np.argsort(places).astype(row_type(len(places)))
    tied = places[order[1:]] == places[order[:-1]]
    at = np.flatnonzero(np.r_[False, tied] | np.r_[tied, False])
    if len(at):
        part, row = (kind([part.rows for part in parts])[order[at]] for kind in (Runs, Within))
        ids = np.array(gather(parts, part, row, "id").to_pylist())
        by_id = np.lexsort((ids, places[order[at]]))
        order[at] = order[at][by_id]
        assert (ids[by_id][1:] != ids[by_id][:-1]).all(), "a format gave two documents one place"
    return order


def open_pool(sources: list[SourceDocuments], draw: int = 0) -> Pool:
    """No two documents share an id: places are unique, and of a source's own ids only the first was kept."""
    parts = [part for source in sources for part in source.parts]
    sizes, places, schemas = [], [], []
    for documents in without_text(parts):
        size = documents[TEXT_BYTES].to_numpy()
        sizes.append(size.astype(row_type(int(size.max(initial=0)))))
        places += [places_of(chunk, 0) for chunk in documents["id"].chunks]
        schemas.append(documents.drop_columns([TEXT_BYTES]).schema)
    size, place = np.concatenate(sizes), np.concatenate(places)
    del sizes, places
    order = order_of_ids(parts, place)
    rank = np.empty_like(order)
    rank[order[np.argsort(-size[order], kind="stable")]] = np.arange(len(order), dtype=order.dtype)
    if draw:
        place = remixed(place, draw)
        order = order_of_ids(parts, place)
    names = [s.source.name for s in sources]
    runs = Runs([s.documents for s in sources])
    return Pool(parts, order, rank, size, place, runs, names, schemas, draw)


Tables = Callable[[list[Part], str], Iterable[pa.Table]]


def _opened(parts: list[Part], column: str) -> Iterable[pa.Table]:
    brought(parts)
    return (part.table([column]) for part in parts)


def gather(
    parts: list[Part], part: np.ndarray, row: np.ndarray, column: str, tables: Tables = _opened
) -> pa.Array:
    """The values of a column at these (part, row) places, in their order."""
    return take(*gather_pieces(parts, part, row, column, tables))


def gather_pieces(
    parts: list[Part], part: np.ndarray, row: np.ndarray, column: str, tables: Tables = _opened
) -> tuple[list[pa.Array], np.ndarray]:
    """The same as they are read, a piece a part, and where in them the value of each place lies: for `take`."""
    by_part = np.argsort(part, kind="stable")
    numbers, begins = np.unique(part[by_part], return_index=True)
    found = tables([parts[number] for number in numbers] or parts[:1], column)
    pieces: list[pa.Array] = []
    for table, here in zip(found, np.split(row[by_part], begins[1:]), strict=False):
        pieces = pieces or [pa.array([], table.schema.field(column).type)]
        pieces.append(take(table[column].chunks, here))
    places = np.empty(len(part), np.int64)
    places[by_part] = np.arange(len(part))
    return pieces, places
