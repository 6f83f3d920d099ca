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
from curate.sources.pool import Pool, remixed
from curate.sources.usable import without_text
from curate.spec.manifest import DOCUMENT, FOLDER, HOST, PACKAGE, Source
from filters.heuristics.urls import parsed

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
    encoded = pa.chunked_array([
        _names(table, kind).dictionary_encode()
        for account, kind in zip(sources, kinds, strict=True) for table in without_text(account.parts)
    ]).unify_dictionaries()  # fmt: skip
    names = encoded.chunk(encoded.num_chunks - 1).dictionary
    group = np.concatenate([pc.fill_null(own.indices, -1).to_numpy() for own in encoded.chunks])
    for kind, (begin, end) in zip(kinds, pool.source.ranges(), strict=True):
        if asked is None and kind != PACKAGE and _one_for_most(group[begin:end], pool.bytes[begin:end]):
            group[begin:end] = -1
    family = group
    if PACKAGE in kinds:
        packages = [number for number, kind in enumerate(kinds) if kind == PACKAGE]
        here = np.isin(pool.source, packages) & (group >= 0)
        weight = np.bincount(group[here], pool.bytes[here], len(names))
        weight = np.r_[weight, pool.bytes.sum() - weight.sum()]  # the last: text of no package
        of_package = (weight > 0) & (np.arange(len(weight)) < len(names))
        short = _of_bearable_size(pa.concat_arrays([names, pa.array([""])]), of_package, weight)[:-1]
        families = pc.replace_substring_regex(names, "/.*$", "")
        every = pa.concat_arrays([names, short, families]).dictionary_encode()
        _, new, whole = every.indices.to_numpy().reshape(3, -1)
        group, family = np.where(here, new[group], group), np.where(here, whole[group], group)
        names = every.dictionary
    code, found = _codes(group, cluster)
    if asked is not None and not len(found):
        raise CurateError(
            f'[holdout] group = "{asked}": no document has one; leave group out, or write "document"'
        )
    hashes = (xxhash.xxh3_64_intdigest(name.as_buffer()) for name in names.take(found))
    place = remixed(np.fromiter(hashes, np.uint64, len(found)), pool.draw)
    whole_code = code if family is group else _codes(family, cluster)[0]
    return Groups(code, whole_code, len(pool), pool.places, place, tuple(dict.fromkeys(kinds)))


def _codes(group: np.ndarray, cluster: np.ndarray) -> tuple[np.ndarray, pa.Array]:
    """(as `Groups.code`, which groups there are) of the group of each document, -1 where it has none."""
    encoded = pa.array(group, mask=group < 0).dictionary_encode()
    index = pc.fill_null(encoded.indices, -1).to_numpy()
    return np.where(index >= 0, len(cluster) + index, cluster), encoded.dictionary


def _names(table: pa.Table, kind: str) -> pa.Array:
    """string [documents]: the group of each; null where it has none."""
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


def _one_for_most(group: np.ndarray, size: np.ndarray) -> bool:
    """Whether one group has most of the text."""
    of = np.bincount(group[group >= 0], size[group >= 0])
    return not len(of) or of.max() > MOST_OF_A_SOURCE * size.sum()


def _of_bearable_size(names: pa.Array, of_package: np.ndarray, size: np.ndarray) -> pa.Array:
    """The same, packages cut: each path of one (itself, then its folders) to its first part that is no large share of all
    text."""
    paths = pc.if_else(pa.array(of_package), names, pa.scalar(None, pa.string())).dictionary_encode()
    known = pc.fill_null(paths.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    weight = np.bincount(known[known >= 0], size[known >= 0], len(paths.dictionary))
    parts = [path.strip("/").split("/") for path in paths.dictionary.to_pylist()]
    short = ["" for _ in parts]
    large = list(range(len(parts)))
    for depth in range(1, max(map(len, parts), default=0) + 1):
        total: dict[str, float] = {}
        for i in large:
            short[i] = "/".join(parts[i][:depth])
            total[short[i]] = total.get(short[i], 0.0) + weight[i]
        large = [i for i in large if total[short[i]] > LARGEST_PACKAGE * size.sum()]
    cut = pa.array(short, pa.string()).take(paths.indices)
    return pc.if_else(pa.array(of_package), cut, names)
