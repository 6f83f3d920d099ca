"""Topics: what documents are about, learned from a sample of them, without anything from elsewhere.

Words have vectors by latent semantic analysis (Deerwester et al. 1990): pieces of PIECE words by words, each entry the
logarithm of its count weighted by how rare the word is, factorised by subspace iteration from seeded random vectors (Halko
et al. 2011, arXiv:0909.4061). A document's vector is the weighted sum of its different words' vectors without what all
have in common (Arora et al. 2017), of length 1. Spherical k-means of the sample's vectors makes the topics, each named by
the words that tell it from the others. All weights stand in the words' vectors, so that measuring adds one a word.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from filters.arrow import text_column
from filters.columns import columns, label, real, vector, vectors_of
from filters.family import Family
from filters.fasttext.vectors import add_rows
from filters.files import loaded_once, read_arrays
from filters.models.clusters import clustered, nearest_of, unit
from filters.reproducible import agreed
from filters.text.compiled import kernel
from filters.text.lookup import row_of, table_of_rows
from filters.text.normalised import normalised
from filters.text.units import ALONE, character_tables, room_for, units_of, word_characters, words_of_all

ITERATIONS = 6  # of the factorisation
LANES = 16  # sums that are made side by side
WORDS = 1 << 15  # of the vocabulary: those in most documents
FEWEST = 3  # documents that have a word of the vocabulary
PIECE = 512  # words
TERMS = 5  # of a topic's name


class Model(NamedTuple):
    """Words by how many documents have them, most first."""

    keys: np.ndarray  # uint64 [words]: their hashes
    table: tuple[np.ndarray, np.ndarray]  # see `text.lookup.table_of_rows`
    vectors_WD: np.ndarray  # float32, weighted
    centres_DT: np.ndarray  # float32, each topic's of length 1
    names: pa.StringArray  # [topics]


SIGNALS = (
    label("topic_terms", "names", "the nearest topic by its most telling words; null where no word is known"),
    real("topic_similarity", "cosine", "cosine", low=-1.0, high=1.0,
         says="cosine of the document's vector and that topic's: low where it is about nothing that the sample was about"),
    vector("topic_vector", "vectors", "of the document, of length 1; null where no word is known"),
)  # fmt: skip


def measure(texts: pa.Array | pa.ChunkedArray, model: str | os.PathLike[str]) -> dict[str, pa.Array]:
    """All SIGNALS; no name, a similarity of 0 and no vector for a document without words of the vocabulary."""
    read = _model(model)
    sums_ND = _sums(texts, read.keys, read.table, read.vectors_WD)
    nearest, cosine = nearest_of(sums_ND, read.centres_DT)
    names = read.names.take(pa.array(nearest, mask=nearest < 0))
    return columns(
        SIGNALS, names=names, cosine=cosine.astype(float), vectors=vectors_of(unit(sums_ND), nearest >= 0)
    )


@loaded_once
def _model(path: Path) -> Model:
    def made(arrays: Any) -> Model:
        keys, vectors, centres = arrays["keys"], arrays["vectors"], arrays["centres"]
        names = pa.array(arrays["names"].tolist(), pa.string())
        if (len(vectors), vectors.shape[1], centres.shape[1]) != (len(keys), len(centres), len(names)):
            raise ValueError("its arrays are not of one model")
        return Model(keys, table_of_rows(keys), vectors, centres, names)

    return read_arrays(path, "a model of topics", made)


@kernel
def _add_words(offsets, data, tables, keys, table, vectors_WD, sums_ND):
    room = room_for(offsets)
    words, (slots, filter) = room[2], table
    latest = np.full(len(keys), np.int64(-1))  # document that had the word
    for i in range(len(offsets) - 1):
        known = 0
        for k in range(units_of(data, offsets[i], offsets[i + 1], tables, 0, room)):
            row = row_of(words[k], keys, slots, filter)
            if row >= 0 and latest[row] != i:
                words[known], latest[row] = np.uint64(row), i
                known += 1
        add_rows(vectors_WD, words, known, sums_ND[i])


def _sums(
    texts: pa.Array | pa.ChunkedArray,
    keys: np.ndarray,
    table: tuple[np.ndarray, np.ndarray],
    vectors_WD: np.ndarray,
) -> np.ndarray:
    """float32 [n, D]: the sum of the vectors of each document's different words."""
    compared = normalised(texts)
    sums_ND = np.zeros((len(compared.offsets) - 1, vectors_WD.shape[1]), np.float32)
    _add_words(compared.offsets, compared.data, character_tables(), keys, table, vectors_WD, sums_ND)
    return sums_ND


# ---- Training -------------------------------------------------------------------------------------------


def train(
    texts: pa.Array | pa.ChunkedArray,
    path: str | os.PathLike[str],
    topics: int = 64,
    dimension: int = 64,
    seed: int = 0,
) -> dict[str, Any]:
    """Learn at most so many topics; writes the model, returns how many documents of the sample each has. Raises
    ValueError where the documents share too few words."""
    texts = text_column(texts)
    compared = normalised(texts)
    words, ends = words_of_all(compared.offsets, compared.data)
    of_document = np.repeat(np.arange(len(texts)), np.diff(ends))
    keys, first, ids = _vocabulary(words, of_document, len(texts))
    known = ids >= 0
    pieces = of_document + np.cumsum((np.arange(len(words)) - ends[of_document]) % PIECE == 0)
    chance = np.random.default_rng(seed)
    there = _counts(of_document[known], ids[known], (len(texts), len(keys))) > 0
    vectors = _factorised(
        _counts(pieces[known], ids[known], (int(pieces[-1]) + 1, len(keys))), dimension, chance
    )
    sums = _sums(texts, keys, table_of_rows(keys), vectors)
    common = unit(sums).mean(0)
    common = unit(common[None])[0]
    vectors -= np.outer((vectors * common).sum(1), common)
    sums = _sums(texts, keys, table_of_rows(keys), vectors)
    centres = clustered(unit(sums[sums.any(1)]), topics, chance)
    nearest, _ = nearest_of(sums, centres)
    kept = np.unique(nearest[nearest >= 0])
    centres = np.ascontiguousarray(centres[:, kept])
    nearest, _ = nearest_of(sums, centres)
    names = _names(texts, there, nearest, len(kept), first)
    with open(path, "wb") as file:
        np.savez(file, keys=keys, vectors=vectors, centres=centres, names=np.array(names))
    sizes = np.bincount(nearest[nearest >= 0], minlength=len(names)).tolist()
    return {"words": len(keys), "topics": dict(zip(names, sizes, strict=True))}


def _vocabulary(words: np.ndarray, of_document: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
    """(uint64 [words] hashes of the vocabulary; int64 [words] where each stands first; int64 its row for each word of the
    texts, or -1). Raises ValueError where it would be empty."""
    different, first, ids = np.unique(words, return_index=True, return_inverse=True)
    documents = np.bincount(np.unique(ids * n + of_document) // max(n, 1), minlength=len(different))
    order = np.lexsort((different, -documents))[:WORDS]
    order = order[(documents[order] >= FEWEST) & (documents[order] < n)]
    if not len(order):
        raise ValueError(f"no word is in {FEWEST} documents and not in all; take more documents")
    row = np.full(len(different), -1)
    row[order] = np.arange(len(order))
    return different[order], first[order], row[ids]


def _counts(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> Any:
    """scipy.sparse.csr_array float32: how often each word (column) stands in each row."""
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape)


def _factorised(counts: Any, dimension: int, chance: np.random.Generator) -> np.ndarray:
    """float32 [words, D], fewer where there are fewer words: vectors of words, each weighted by how rare it is."""
    from scipy.sparse import csr_array, diags_array

    rarity = _log(counts.shape[0] / np.bincount(counts.indices))
    counts.data = _log(1 + counts.data)
    weighed = counts @ diags_array(rarity)
    lengths = np.sqrt(np.asarray((weighed * weighed).sum(1))).ravel()
    weighed = csr_array(diags_array((1 / np.maximum(lengths, 1e-9)).astype(np.float32)) @ weighed)
    turned = csr_array(weighed.T)
    basis = chance.standard_normal((len(rarity), min(dimension, len(rarity)))).astype(np.float32)
    for _ in range(ITERATIONS):
        rows_DW = np.ascontiguousarray((turned @ (weighed @ basis)).T)
        _orthonormalise(rows_DW)
        basis = np.ascontiguousarray(rows_DW.T)
    return basis * rarity[:, None]


def _log(values: np.ndarray) -> np.ndarray:
    return agreed(np.log(values.astype(float))).astype(np.float32)


@kernel
def _orthonormalise(rows_DW):
    """Make rows orthogonal to each other, of length 1 (Gram and Schmidt). Sums are made in LANES parts, so that the order of
    additions is given, and vectors can do them."""
    size, width = rows_DW.shape
    whole = width - width % LANES
    lanes = np.empty(LANES, np.float32)
    for k in range(size):
        for j in range(k + 1):
            lanes[:] = 0
            for first in range(0, whole, LANES):
                for lane in range(LANES):
                    lanes[lane] += rows_DW[j, first + lane] * rows_DW[k, first + lane]
            dot = np.float32(0)
            for lane in range(LANES):
                dot += lanes[lane]
            for w in range(whole, width):
                dot += rows_DW[j, w] * rows_DW[k, w]
            if j < k:
                for w in range(width):
                    rows_DW[k, w] -= dot * rows_DW[j, w]
            elif dot > 0:
                scale = np.float32(1) / np.sqrt(dot)
                for w in range(width):
                    rows_DW[k, w] *= scale


def _names(texts: pa.Array, there: Any, nearest: np.ndarray, topics: int, first: np.ndarray) -> list[str]:
    """The words of each topic that add most to its divergence from all documents; no two topics have one name."""
    share = np.bincount(there.indices, minlength=there.shape[1]) / there.shape[0]
    best = []
    for topic in range(topics):
        own = there[np.flatnonzero(nearest == topic)]
        of_own = np.bincount(own.indices, minlength=len(share)) / own.shape[0]
        score = of_own * _log(np.maximum(of_own, 1e-9) / share)
        best.append(np.lexsort((np.arange(len(score)), -score))[: 8 * TERMS])
    rows, at = np.unique(np.concatenate(best), return_inverse=True)
    spelled = np.array(_spelled(texts, first[rows]))[at]
    names: list[str] = []
    for topic, words in enumerate(np.split(spelled, np.cumsum([len(rows) for rows in best])[:-1])):
        telling = [
            word
            for word in words
            if word.isalpha() and (len(word) > 1 or word_characters()[ord(word)] & ALONE)
        ]
        size = TERMS
        while (name := " ".join(telling[:size])) in names and size < len(telling):
            size += 1
        names.append(name if name and name not in names else f"{name} {topic}".strip())
    return names


@kernel
def _places(offsets, data, tables, wanted, edges):
    """Fill in the bytes of the words with these numbers, ascending, counted through all documents."""
    room = room_for(offsets)
    before, k = 0, 0
    for i in range(len(offsets) - 1):
        n = units_of(data, offsets[i], offsets[i + 1], tables, 0, room)
        while k < len(wanted) and wanted[k] < before + n:
            edges[k, 0] = offsets[i] + room[3][wanted[k] - before]
            edges[k, 1] = offsets[i] + room[4][wanted[k] - before]
            k += 1
        before += n
        if k == len(wanted):
            return


def _spelled(texts: pa.Array, wanted: np.ndarray) -> list[str]:
    """The words with these numbers, lower-cased."""
    compared, order = normalised(texts), np.argsort(wanted)
    edges = np.zeros((len(wanted), 2), np.int64)
    _places(compared.offsets, compared.data, character_tables(), wanted[order], edges)
    return [compared.data[a:b].tobytes().decode().lower() for a, b in edges[order.argsort()].tolist()]


FAMILY = Family("topics", 2, measure, SIGNALS)
