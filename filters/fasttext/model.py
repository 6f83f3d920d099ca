"""Reader of fastText classifiers: a `.bin` or `.ftz` file in, numpy arrays out, without the fastText library.

The library of that name needs a compiler, breaks with NumPy 2 and comes under one module name from several
distributions, so a model is read here and applied by `fasttext.predict`.

Design: everything the format can vary in is resolved on loading, so that the kernel sees one kind of model.
Product-quantised rows are expanded to float32, and the rows that pruning left are put in the order of their
bucket. The price is memory: 4 bytes x dimension a row, so lid.176.ftz (0.9 MB on disk) takes 3.2 MB, and a
quantised model of two million rows takes as much as it did before quantisation.

Layout of the file, little-endian: magic, version; 12 int32 and one float64 of arguments; vocabulary; map of
pruned buckets; input matrix; output matrix. Each matrix is dense or quantised.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MAGIC = 793712314
NEWEST_VERSION = 12
CENTROIDS = 256  # one byte a code
SUPERVISED = 3
_COUNT_AND_TYPE = struct.Struct("<qb")
LOSSES = {1: "hierarchical softmax", 2: "negative sampling", 3: "softmax", 4: "one-vs-all"}


class ModelError(ValueError):
    """This file is no fastText classifier that can be applied; the message says why and what to do."""


@dataclass(frozen=True)
class Model:
    """A classifier as its file describes it. Suffixes: R input rows, L labels, D dimension, V vocabulary."""

    path: Path
    loss: str
    word_count: int  # the vocabulary holds this many words, then the labels
    vocabulary_bytes: np.ndarray  # uint8: entry v is [vocabulary_offsets[v]:vocabulary_offsets[v + 1]]
    vocabulary_offsets: np.ndarray  # int64 [V + 1]
    labels: tuple[str, ...]  # without the prefix, in the order of the output rows
    label_counts_L: np.ndarray  # int64: they shape the tree of hierarchical softmax
    buckets: int  # character and word n-grams are hashed into these
    kept_buckets: np.ndarray | None  # int32, sorted: the only buckets with a row; None where all have one
    min_characters: int
    max_characters: int  # 0: no character n-grams
    word_ngrams: int
    input_RD: np.ndarray  # float32: words first, then buckets
    output_LD: np.ndarray  # float32
    output_scale_L: np.ndarray  # float32: a quantised row's norm, kept apart since it is multiplied last


def read_model(path: str | os.PathLike[str]) -> Model:
    """The classifier in this file; `ModelError` where it is cut short, or holds something else."""
    path = Path(path)
    size = path.stat().st_size
    if size < 8:
        raise ModelError(f"{path}: {size} bytes are no fastText model; download the file again")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        return _read(_Cursor(path, memory))


class _Cursor:
    """The next values of a mapped file. Every read is checked against the size first, and copied out."""

    def __init__(self, path: Path, memory: mmap.mmap):
        self.path, self.memory, self.at = path, memory, 0

    def array(self, dtype: str, count: int, what: str) -> np.ndarray:
        numbers = np.dtype(dtype)
        end = self.at + count * numbers.itemsize
        if count < 0:
            raise self.error(f"the {what} has the impossible size {count}")
        if end > len(self.memory):
            raise self.error(
                f"cut short in the {what}: {len(self.memory):,} bytes, at least {end:,} expected"
            )
        values = np.frombuffer(self.memory, numbers, count, self.at).copy() if count else np.empty(0, numbers)
        self.at = end
        return values

    def number(self, dtype: str, what: str) -> int:
        return self.array(dtype, 1, what)[0].item()

    def entry(self) -> tuple[bytes, int, int]:
        """One entry of the vocabulary: its bytes, its count in the training text, 1 for a label."""
        end = self.memory.find(b"\0", self.at) + 1
        if end == 0 or end + _COUNT_AND_TYPE.size > len(self.memory):
            raise self.error("cut short in the vocabulary")
        text, self.at = self.memory[self.at : end - 1], end + _COUNT_AND_TYPE.size
        return text, *_COUNT_AND_TYPE.unpack_from(self.memory, end)

    def error(self, what: str) -> ModelError:
        return ModelError(f"{self.path}: {what}; download the file again or name another model")


def _read(file: _Cursor) -> Model:
    dimension, arguments = _read_arguments(file)
    kept, vocabulary = _read_vocabulary(file)
    quantised = bool(file.number("u1", "input matrix"))
    if kept is not None and not quantised:
        raise file.error("pruned but not quantised, which no released fastText reads")
    input_rows, input_scale = _read_matrix(file, "input matrix", quantised)
    output_quantised = bool(file.number("u1", "output matrix"))
    output, output_scale = _read_matrix(file, "output matrix", quantised and output_quantised)
    if quantised:
        input_rows *= input_scale[:, None]
    needs = vocabulary["word_count"] + (max(arguments["buckets"], 0) if kept is None else len(kept))
    if input_rows.shape[1] != dimension or len(input_rows) < needs:
        raise file.error(
            f"the input matrix is {input_rows.shape}, its arguments ask for ({needs}, {dimension})"
        )
    labels = len(vocabulary["labels"])
    if output.shape != (labels, dimension):
        raise file.error(f"the output matrix is {output.shape} for {labels} labels")
    if kept is not None:  # sorted by bucket, so that the number of smaller kept buckets is the row
        kept, rows = np.ascontiguousarray(kept[np.argsort(kept[:, 0])].T)
        words = vocabulary["word_count"]
        if len(rows) and (rows.min() < 0 or rows.max() >= len(input_rows) - words):
            raise file.error("a pruned bucket points outside the input matrix")
        input_rows = input_rows[np.concatenate([np.arange(words), words + rows])]
    return Model(
        path=file.path, **arguments, **vocabulary, kept_buckets=kept, input_RD=input_rows, output_LD=output,
        output_scale_L=output_scale,
    )  # fmt: skip


def _read_arguments(file: _Cursor) -> tuple[int, dict[str, Any]]:
    """(dimension, fields of a `Model`)"""
    if file.number("<i4", "header") != MAGIC:
        raise file.error("no fastText model (its first four bytes are others)")
    version = file.number("<i4", "header")
    if version > NEWEST_VERSION:
        raise file.error(f"format version {version} is newer than {NEWEST_VERSION}, the newest known")
    values = file.array("<i4", 12, "arguments").tolist()
    file.array("<f8", 1, "arguments")
    dimension, _, _, _, _, word_ngrams, loss, kind, buckets, minimum, maximum, _ = values
    if kind != SUPERVISED:
        raise ModelError(
            f"{file.path}: holds word vectors, which cannot classify; name a model of `fasttext supervised`"
        )
    if loss not in LOSSES:
        raise file.error(f"unknown loss {loss}")
    if version <= 11:
        maximum = 0  # classifiers had no character n-grams yet; the field held a default
    if buckets <= 0 and (maximum > 0 or word_ngrams > 1):
        raise file.error("has n-grams but no buckets for them")
    return dimension, {
        "loss": LOSSES[loss],
        "buckets": buckets,
        "min_characters": minimum,
        "max_characters": maximum,
        "word_ngrams": word_ngrams,
    }


def _read_vocabulary(file: _Cursor) -> tuple[np.ndarray | None, dict[str, Any]]:
    """(int32 [kept, 2]: bucket, its row after the words; fields of a `Model`)"""
    size, words, labels = file.array("<i4", 3, "vocabulary").tolist()
    _tokens, kept_size = file.array("<i8", 2, "vocabulary").tolist()
    if labels < 1 or words < 0 or size != words + labels:
        raise file.error(f"a vocabulary of {size} entries, {words} words and {labels} labels is impossible")
    entries, counts = [], []
    for v in range(size):
        text, count, is_label = file.entry()
        if is_label != (v >= words):
            raise file.error(f"entry {v} of the vocabulary is out of order")
        entries.append(text)
        counts.append(count)
    kept = file.array("<i4", 2 * kept_size, "pruned buckets").reshape(-1, 2) if kept_size >= 0 else None
    offsets = np.zeros(size + 1, np.int64)
    np.cumsum([len(entry) for entry in entries], out=offsets[1:])
    return kept, {
        "word_count": words,
        "vocabulary_bytes": np.frombuffer(b"".join(entries) or b"\0", np.uint8),
        "vocabulary_offsets": offsets,
        "labels": tuple(e.decode(errors="replace").removeprefix("__label__") for e in entries[words:]),
        "label_counts_L": np.array(counts[words:], np.int64),
    }


def _read_matrix(file: _Cursor, what: str, quantised: bool) -> tuple[np.ndarray, np.ndarray]:
    """(rows float32, the factor of every row): dense rows have the factor 1."""
    has_norms = bool(file.number("u1", what)) if quantised else False
    rows, columns = file.array("<i8", 2, what).tolist()
    if not quantised:
        matrix = file.array("<f4", rows * columns, what).reshape(rows, columns)
        return _finite(file, what, matrix), np.ones(rows, np.float32)
    codes = file.array("u1", file.number("<i4", what), what)
    matrix = _expanded(file, what, codes, rows, columns)
    scale = np.ones(rows, np.float32)
    if has_norms:
        codes = file.array("u1", rows, what)
        scale = _expanded(file, what, codes, rows, 1)[:, 0]
    return _finite(file, what, matrix), scale


def _expanded(file: _Cursor, what: str, codes: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Rows of codes, by the codebook that is read next: slices of a row, each one of 256 centroids."""
    dimension, parts, width, last_width = file.array("<i4", 4, what).tolist()
    if dimension != (parts - 1) * width + last_width or parts < 1:
        raise file.error(f"the codebook of the {what} does not add up to {dimension} columns")
    centroids = file.array("<f4", dimension * CENTROIDS, what)
    if columns != dimension or len(codes) != rows * parts:
        raise file.error(f"the codes of the {what} do not fit {rows} rows of {columns}")
    codes, matrix = codes.reshape(rows, parts), np.empty((rows, columns), np.float32)
    for part in range(parts):
        begin, end = part * width, (part + 1) * width if part < parts - 1 else dimension
        table = centroids[begin * CENTROIDS : end * CENTROIDS].reshape(CENTROIDS, end - begin)
        matrix[:, begin:end] = table[codes[:, part]]
    return matrix


def _finite(file: _Cursor, what: str, matrix: np.ndarray, block: int = 1 << 16) -> np.ndarray:
    """The same matrix, checked for NaN and infinity in blocks, so that it is never in memory twice."""
    for begin in range(0, len(matrix), block):
        if not np.isfinite(matrix[begin : begin + block]).all():
            raise file.error(f"the {what} holds values that are not finite")
    return matrix
