"""Perplexity: how likely a document is to an n-gram model of texts someone likes.

As CCNet (Wenzek et al. 2020, arXiv:1911.00359) uses it: text that is far from the model's (tables, noise, another
language) and text that is too near (boilerplate) stand at the ends of the scale. Differences: the model is
`kneser_ney` over words, trained here on a sample of the user's own documents.

A symbol is a word (letters, digits and `_`, lower-cased, every digit a 0; in scripts without spaces every
character) or one character that is neither a word's nor white space. A line ("\\n") is a sequence and its end is
predicted too; blank lines are none. perplexity = exp(-sum of log p / predictions).
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from filters.arrow import text_column
from filters.columns import INF, columns, real, span
from filters.family import Family, Signal
from filters.files import loaded_once, read_arrays
from filters.models.kneser_ney import BEGIN, END, ENTRY, Estimate, estimate, log_probability, table_of
from filters.models.quality import held_out
from filters.reproducible import agreed
from filters.text.batches import valid
from filters.text.compiled import inlined, kernel, loop
from filters.text.pages import decode, longest_document
from filters.text.units import ALONE, FNV_OFFSET, FNV_PRIME, mix, word_characters

ORDER = 3
HELD_OUT = 20  # one document of so many
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
NEWLINE = 10


@lru_cache(maxsize=1)
def symbol_characters() -> np.ndarray:
    """uint32 [code points]: 0 for white space, else the character a symbol is made of, with ALONE where it is a
    symbol by itself."""
    table = word_characters().copy()
    codes = np.arange(len(table), dtype=np.uint32)
    characters = codes.view("<U1")
    other = (table == 0) & ~np.char.isspace(characters)
    table[other] = codes[other] | ALONE
    table[np.char.isdecimal(characters)] = ord("0")
    table.flags.writeable = False
    return table


@inlined
def _hash_of(kind):
    return mix(np.uint64(FNV_OFFSET ^ np.uint64(kind)) * FNV_PRIME)


@loop
def symbols_of_line(data, at, end, characters, symbols):
    """Fill in BEGIN, the symbols of the line that begins at byte `at`, and END; returns (how many, byte after it)."""
    n, inside, h = 1, False, FNV_OFFSET
    symbols[0] = BEGIN
    while at < end:
        code, width = decode(data, at)
        at += width
        kind = characters[code]
        if kind == 0 or kind & ALONE:
            if inside:
                symbols[n] = mix(h)
                n += 1
                h, inside = FNV_OFFSET, False
            if kind:
                symbols[n] = _hash_of(kind)
                n += 1
            elif code == NEWLINE:
                break
        else:
            h = np.uint64(h ^ np.uint64(kind)) * FNV_PRIME
            inside = True
    if inside:
        symbols[n] = mix(h)
        n += 1
    symbols[n] = END
    return n + 1, at


# ------------------------------------------------------------------------------------------------- the model


@kernel
def _sequences(offsets, data, characters, symbols, begins):
    """Fill in the symbols of all lines that are not blank, and where the line of each begins; returns how many."""
    filled = 0
    for i in range(len(offsets) - 1):
        at = offsets[i]
        while at < offsets[i + 1]:
            n, at = symbols_of_line(data, at, offsets[i + 1], characters, symbols[filled:])
            if n > 2:
                begins[filled : filled + n] = filled
                filled += n
    return filled


def _most_lines(offsets: np.ndarray, data: np.ndarray) -> int:
    return len(offsets) - 1 + int(np.count_nonzero(data[offsets[0] : offsets[-1]] == NEWLINE))


@dataclass(frozen=True)
class Model:
    """An n-gram model as the kernel reads it."""

    order: int
    unknown: float  # natural log of the probability of a symbol that was never seen
    table: np.ndarray  # ENTRY, see kneser_ney.table_of


def estimate_from(texts: pa.Array | pa.ChunkedArray, order: int = ORDER, min_count: int = 2) -> Estimate:
    """The Kneser-Ney estimate of these documents' lines."""
    offsets, data = valid(texts)
    size = int(offsets[-1] - offsets[0]) + 2 * _most_lines(offsets, data) + 2  # a symbol takes a byte
    symbols, begins = np.empty(size, np.uint64), np.empty(size, np.int64)
    filled = _sequences(offsets, data, symbol_characters(), symbols, begins)
    if not filled:
        raise ValueError("the documents hold no words to make a model of")
    return estimate(symbols[:filled], begins[:filled], order, min_count)


def train(
    texts: pa.Array | pa.ChunkedArray, path: str | os.PathLike[str], *, order: int = ORDER, min_count: int = 2
) -> dict[str, Any]:
    """Write a model of these documents but a twentieth, chosen by their hashes; returns what it is worth on those.

    The same documents give the same bytes. Raises ValueError where there is nothing to learn from or to hold out.
    """
    if not 2 <= order <= 8:
        raise ValueError(f"order = {order} does not lie in 2..8; 3 is a good start")
    texts = text_column(texts)
    held = held_out(texts, HELD_OUT)
    if held.all() or not held.any():
        raise ValueError(
            f"{len(texts)} documents are too few to make a model and to hold a twentieth out; choose more"
        )
    estimated = estimate_from(texts.filter(pa.array(~held)), order, min_count)
    with open(path, "wb") as file:
        np.savez(file, entries=estimated.entries, order=estimated.order, unknown=estimated.unknown)
    model = Model(estimated.order, estimated.unknown, table_of(estimated.entries))
    perplexity = measure(texts.filter(pa.array(held)), model)["perplexity"].drop_null().to_numpy()
    quantiles = np.quantile(perplexity, QUANTILES, method="nearest") if len(perplexity) else []
    return {
        "order": order,
        "vocabulary": estimated.vocabulary,
        "ngrams": list(estimated.grams),
        "held_out": int(held.sum()),
        "held_out_perplexity": {
            f"{q:g}": round(float(v), 2) for q, v in zip(QUANTILES, quantiles, strict=False)
        },
    }


@loaded_once
def _model(path: Path) -> Model:
    def made(arrays: Any) -> Model:
        entries = arrays["entries"].astype(ENTRY, copy=False)
        return Model(int(arrays["order"]), float(arrays["unknown"]), table_of(entries))

    return read_arrays(path, "an n-gram model", made)


# ------------------------------------------------------------------------------------------------- documents


@kernel
def _score(
    offsets, data, characters, table, order, unknown, line_of, logp, predictions, unseen, starts, ends
):
    """Lines of all documents, one after the other: their sum of log p, predictions, unknown symbols and place."""
    longest = longest_document(offsets)
    symbols, weights = np.empty(longest + 2, np.uint64), np.zeros(2 * order)
    line = 0
    for i in range(len(offsets) - 1):
        at, end = offsets[i], offsets[i + 1]
        while at < end:
            begin = at
            n, at = symbols_of_line(data, at, end, characters, symbols)
            if n <= 2:
                continue
            total, unknowns, known = 0.0, 0, 0
            _, known = log_probability(table, order, unknown, symbols, 0, 0, weights, known)
            for k in range(1, n):
                p, known = log_probability(table, order, unknown, symbols, 0, k, weights, known)
                unknowns += known == 0 and k < n - 1
                total += p
            logp[line], predictions[line], unseen[line] = total, n - 1, unknowns
            starts[line], ends[line] = begin - offsets[i], at - offsets[i]
            line += 1
        line_of[i + 1] = line
    return line


@dataclass(frozen=True)
class Lines:
    """Every line of a column that is not blank: those of document i are [of[i], of[i + 1])."""

    of: np.ndarray  # int64 [documents + 1]
    logp: np.ndarray  # float64: sum of natural logs of probabilities
    predictions: np.ndarray  # int64: its symbols and its end
    unknown: np.ndarray  # int64: symbols that the model never saw
    start: np.ndarray  # int64: bytes from the document's beginning
    end: np.ndarray  # int64: after its newline

    @property
    def perplexity(self) -> np.ndarray:
        return agreed(np.exp(-self.logp / self.predictions))


def score_lines(texts: pa.Array | pa.ChunkedArray, model: str | os.PathLike[str] | Model) -> Lines:
    """What the model says of every line."""
    model = model if isinstance(model, Model) else _model(model)
    offsets, data = valid(texts)
    size = _most_lines(offsets, data)
    of, logp = np.zeros(len(offsets), np.int64), np.empty(size)
    counts = [np.empty(size, np.int64) for _ in range(4)]
    lines = _score(
        offsets, data, symbol_characters(), model.table, model.order, model.unknown, of, logp, *counts
    )
    predictions, unknown, start, end = (column[:lines] for column in counts)
    return Lines(of, logp[:lines], predictions, unknown, start, end)


def _per_document(name: str, unit: str, of: str, says: str, low: float = 0.0, high: float = INF) -> Signal:
    return real(name, unit, of, says, low=low, high=high, missing="wordless")


SIGNALS = (
    _per_document("perplexity", "per word", "perplexity", low=1.0,
        says="of an n-gram model over the words and line ends of the document (as in CCNet); null without words"),
    _per_document("median_line_perplexity", "per word", "medians", "median over the lines that are not blank", low=1.0),
    _per_document("ngram_bits_per_byte", "bits per byte", "bits",
        "the same model's bits / bytes of the document: comparable between languages"),
    _per_document("unknown_word_ratio", "ratio", "unknown", "words that the n-gram model never saw / words", high=1.0),
    span("unlikely_line_spans", "unlikely", "edges", "lines of a perplexity above `unlikely`, with their newline"),
)  # fmt: skip


def measure(
    texts: pa.Array | pa.ChunkedArray, model: str | os.PathLike[str] | Model, unlikely: float = INF
) -> dict[str, pa.Array]:
    """How likely every text is to a model. Lines of a perplexity above `unlikely` have spans."""
    lines = score_lines(texts, model)
    documents = len(lines.of) - 1
    document = np.repeat(np.arange(documents), np.diff(lines.of))

    def total(of_lines: np.ndarray) -> np.ndarray:
        return np.bincount(document, of_lines, documents)

    logp, predictions = total(lines.logp), total(lines.predictions)
    over = lines.perplexity > unlikely
    return columns(
        SIGNALS,
        perplexity=agreed(np.exp(-logp / np.maximum(predictions, 1))),
        medians=_medians(lines),
        bits=-logp / math.log(2) / np.maximum(np.diff(valid(texts)[0]), 1),
        unknown=total(lines.unknown) / np.maximum(predictions - np.diff(lines.of), 1),
        wordless=predictions == 0,
        unlikely=total(over).astype(np.int64),
        edges=np.stack([lines.start[over], lines.end[over]], axis=1).ravel(),
    )


def _medians(lines: Lines) -> np.ndarray:
    """Median of each document's lines, the lower one of two middle ones; 0 where there is none."""
    if not len(lines.logp):
        return np.zeros(len(lines.of) - 1)
    counts = np.diff(lines.of)
    perplexity = lines.perplexity
    ordered = perplexity[np.lexsort((perplexity, np.repeat(np.arange(len(counts)), counts)))]
    middle = np.clip(lines.of[:-1] + (counts - 1) // 2, 0, len(ordered) - 1)
    return np.where(counts > 0, ordered[middle], 0.0)


FAMILY = Family("perplexity", 2, measure, SIGNALS)
