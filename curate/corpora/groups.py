"""Groups: documents that come from one hand, such as the files of a package or the pages of a host.

Documents of a group resemble each other in ways that no duplicate search finds: one generator wrote their headers, one
author their jokes. A holdout that shares a group with the training text asks for memory, and an interval that resamples
single documents believes that it saw more than it did. So groups are held out whole and resampled whole.

A document without a group stands for itself, with its duplicates. A package that is a large part of all text is cut in
its folders, and these in theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from curate.errors import CurateError
from curate.sources.documents import SourceDocuments
from curate.sources.formats import FORMATS
from curate.sources.pool import BLOCK, Pool, remixed
from curate.spec.manifest import DOCUMENT, FOLDER, HOST, PACKAGE, Source

MOST_OF_A_SOURCE = (
    0.5  # by default a folder or host of more of its source's text is no group: one says nothing
)
LARGEST_PACKAGE = 1 / 20  # of all text; larger ones are cut in their folders
_FOLDER = r"^(?P<name>.*)/[^/]*$"


@dataclass(frozen=True)
class Groups:
    """`code` int [documents]: documents of one group have the same. Below `alone` it is the pool row that stands for a
    duplicate cluster, whose documents have no other group. `family` int [documents]: the same, but of the whole package
    where that was cut in folders; what is resampled together. `places` uint64 [rows of the pool], `hashes` uint64 [other
    groups]: their random order."""

    code: np.ndarray
    family: np.ndarray
    alone: int
    places: np.ndarray
    hashes: np.ndarray
    kinds: tuple[str, ...]  # what groups are, by source

    def named(self) -> np.ndarray:
        """bool [documents]: in a group of more than its duplicates."""
        return self.code >= self.alone

    def place(self, code: np.ndarray) -> np.ndarray:
        """uint64: of these groups in the random order."""
        named, places = code >= self.alone, np.empty(len(code), np.uint64)
        places[named], places[~named] = self.hashes[code[named] - self.alone], self.places[code[~named]]
        return places


def having(code: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """bool [documents]: has the code of one of the chosen (bool [documents])."""
    wanted = np.zeros(int(code.max(initial=-1)) + 1, bool)
    wanted[code[chosen]] = True
    return wanted[code]


def usual_group(source: Source) -> str:
    """What groups the documents of a source where a manifest says nothing."""
    if source.packages or source.format == "python":
        return PACKAGE
    if "url" in source.columns:
        return HOST
    return FORMATS[source.format].group or DOCUMENT


def by_document(pool: Pool, cluster: np.ndarray) -> Groups:
    return Groups(cluster, cluster, len(pool), pool.places, np.empty(0, np.uint64), (DOCUMENT,))


def groups_of(pool: Pool, sources: list[SourceDocuments], cluster: np.ndarray, asked: str | None) -> Groups:
    """`asked`: package, host, folder, document, or a field that sources carry; None: what is usual for each source.

    Raises CurateError where no document has what is asked for.
    """
    if asked == DOCUMENT:
        return by_document(pool, cluster)
    kinds = [asked or usual_group(account.source) for account in sources]
    found = [_of_source(account, kind) for account, kind in zip(sources, kinds, strict=True)]
    weights = [weighed(index, pool.bytes[begin:end], len(names))
               for (index, names), (begin, end) in zip(found, pool.source.ranges(), strict=True)]  # fmt: skip
    for number, (begin, end) in enumerate(pool.source.ranges()):
        most = MOST_OF_A_SOURCE * pool.bytes[begin:end].sum()
        if asked is None and kinds[number] != PACKAGE and weights[number].max(initial=0) > most:
            found[number] = np.full_like(found[number][0], -1), found[number][1][:0]
    short = _of_bearable_size(
        [
            (names, weight)
            for kind, (_, names), weight in zip(kinds, found, weights, strict=True)
            if kind == PACKAGE
        ],
        int(pool.bytes.sum()),
    )
    numbers = [index for index, _ in found]
    code, groups = _codes(numbers, [
        pa.array([short[name] for name in names.to_pylist()], pa.string()) if kind == PACKAGE else names
        for kind, (_, names) in zip(kinds, found, strict=True)
    ], cluster)  # fmt: skip
    family = code
    if PACKAGE in kinds:
        whole = [pc.replace_substring_regex(names, "/.*$", "") if kind == PACKAGE else names
                 for kind, (_, names) in zip(kinds, found, strict=True)]  # fmt: skip
        family, _ = _codes(numbers, whole, cluster)
    if asked is not None and not len(groups):
        raise CurateError(
            f'[holdout] group = "{asked}": no document has one; leave group out, or write "document"'
        )
    hashes = np.fromiter(map(xxhash.xxh3_64_intdigest, (name.as_buffer() for name in groups)), np.uint64, len(groups))
    place = remixed(hashes, pool.draw)
    return Groups(code, family, len(pool), pool.places, place, tuple(dict.fromkeys(kinds)))


def _of_source(account: SourceDocuments, kind: str) -> tuple[np.ndarray, pa.StringArray]:
    """(int32 [documents] which of the groups each is in, -1 where in none; their names, as they come up)."""
    columns = [_names(part.table(), kind).dictionary_encode() for part in account.parts]
    encoded = pa.chunked_array(columns).unify_dictionaries().chunks
    return np.concatenate([pc.fill_null(c.indices, -1).to_numpy() for c in encoded]), encoded[-1].dictionary


def _codes(
    numbers: list[np.ndarray], names: list[pa.StringArray], cluster: np.ndarray
) -> tuple[np.ndarray, pa.StringArray]:
    """(as `Groups.code`, the names of groups) of documents by source: which of the source's names each has."""
    encoded = pa.concat_arrays(names).dictionary_encode()
    code, begin, first = cluster.copy(), 0, 0
    for own, mine in zip(numbers, names, strict=True):
        index = encoded.indices.to_numpy()[first : first + len(mine)]
        here = own >= 0
        code[begin : begin + len(own)][here] = len(cluster) + index[own[here]]
        begin, first = begin + len(own), first + len(mine)
    return code, encoded.dictionary


def weighed(code: np.ndarray, weight: np.ndarray, count: int) -> np.ndarray:
    """float64 [count]: the weights of each code together, as of `bincount`; a code below 0 counts nowhere."""
    total = np.zeros(count)
    for begin in range(0, len(code), BLOCK):
        own = code[begin : begin + BLOCK]
        here = own >= 0
        np.add.at(total, own[here], weight[begin : begin + BLOCK][here].astype(float))
    return total


def _names(table: pa.Table, kind: str) -> pa.Array:
    """string [documents]: the group of each; null where it has none."""
    from filters.heuristics.urls import parsed

    if kind == DOCUMENT:
        return pa.nulls(table.num_rows, pa.string())
    if kind == PACKAGE:
        return _package(_column(table, "place"))
    if kind == FOLDER:
        return pc.struct_field(pc.extract_regex(_column(table, "place"), _FOLDER), "name")
    if kind == HOST:
        host = parsed(_column(table, "url"))[0]
        return pc.if_else(pc.equal(host, ""), pa.scalar(None, pa.string()), host)
    return _column(table, kind)


def _package(place: pa.Array) -> pa.Array:
    """`torch/nn/modules/` of `site-packages/torch/nn/modules/linear.py::Linear`: a package and its folders."""
    path = pc.replace_substring_regex(place, r"(::|#).*$", "")
    path = pc.replace_substring_regex(path, r"^[^/]+/", "")  # the name of the folder that packages lie in
    path = pc.replace_substring_regex(path, r"/[^/]*$", "/")
    path = pc.replace_substring_regex(path, r"^([^/]+)\.[A-Za-z0-9]+$", r"\1")  # a module that is one file
    path = pc.replace_substring_regex(path, r"^([^/]+?)-[0-9][^/]*\.(dist|egg)-info/.*$", r"\1")
    return pc.replace_substring(pc.utf8_lower(path), "-", "_")


def _column(table: pa.Table, name: str) -> pa.Array:
    if name not in table.column_names:
        return pa.nulls(table.num_rows, pa.string())
    column = table[name].cast(pa.string())
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.string())


def _of_bearable_size(packages: list[tuple[pa.StringArray, np.ndarray]], whole: int) -> dict[str, str]:
    """Of every path of a package (itself, then its folders; given with the bytes in it, by source) its first part that is
    no large share of all text."""
    weight: dict[str, float] = {}
    for names, sizes in packages:
        for path, size in zip(names.to_pylist(), sizes.tolist(), strict=True):
            weight[path] = weight.get(path, 0.0) + size
    parts = {path: path.strip("/").split("/") for path in weight}
    short: dict[str, str] = {}
    large = list(parts)
    for depth in range(1, max(map(len, parts.values()), default=0) + 1):
        total: dict[str, float] = {}
        for path in large:
            short[path] = "/".join(parts[path][:depth])
            total[short[path]] = total.get(short[path], 0.0) + weight[path]
        large = [path for path in large if total[short[path]] > LARGEST_PACKAGE * whole]
    return short
