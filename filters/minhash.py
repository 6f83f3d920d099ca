"""MinHash signatures and their bands (Broder 1997; banding: Leskovec, Rajaraman & Ullman, ch. 3).

Permutation p of a 32-bit shingle hash h is `a[p] * h + b[p]` modulo 2^32 with a odd: one multiply and one
add a lane, eight lanes an instruction. The share of equal places of two signatures estimates the Jaccard
similarity of the shingle sets with a standard error of sqrt(s (1 - s) / permutations). 2^32 values are few
enough that two different shingles of a long document may meet; what that costs in accuracy is below the
estimate's own error up to some ten million shingles.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from filters.arrow import utf8
from filters.shingles import _longest, inlined, kernel, mix, shingles_of, word_characters

RECALL = 0.92  # of pairs at the target: what bands and rows are chosen for


def permutations_of(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(a, b) uint32 [count]: the same for a seed in every version of every library."""
    steps = (np.arange(1, 2 * count + 1, dtype=np.uint64) + np.uint64(seed) * np.uint64(1 << 32)) * np.uint64(
        0x9E3779B97F4A7C15
    )
    z = (steps ^ (steps >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    values = ((z ^ (z >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32)
    return values[:count] | np.uint32(1), values[count:]


@inlined
def _smaller(a_p, b_p, h, least):
    """Every intermediate is a uint32, or the compiler widens it and vectorises nothing."""
    value = np.uint32(np.uint32(a_p * h) + b_p)
    return value if value < least else least


@kernel
def _sign(a, b, h0, h1, h2, h3, signature):
    """The innermost loop. Four shingles a pass: a, b and the signature are loaded once for all of them."""
    for p in range(len(signature)):
        least = _smaller(a[p], b[p], h0, signature[p])
        least = _smaller(a[p], b[p], h1, least)
        least = _smaller(a[p], b[p], h2, least)
        signature[p] = _smaller(a[p], b[p], h3, least)


@inlined
def _high(shingle):
    return np.uint32(shingle >> np.uint64(32))


@kernel
def _signatures(offsets, data, table, ngram, a, b, signatures):
    hashes = np.empty(_longest(offsets) + 1, np.uint64)
    shingles = np.empty(_longest(offsets) + 4, np.uint64)
    for i in range(len(offsets) - 1):
        n = shingles_of(data, offsets[i], offsets[i + 1], table, ngram, hashes, shingles)
        shingles[n : n + 3] = shingles[n - 1]  # fills the last pass; a repeat changes no minimum
        signature = signatures[i]
        signature[:] = np.uint32(0xFFFFFFFF)
        for k in range(0, n, 4):
            h0, h1, h2, h3 = shingles[k], shingles[k + 1], shingles[k + 2], shingles[k + 3]
            _sign(a, b, _high(h0), _high(h1), _high(h2), _high(h3), signature)


def signatures(
    texts: pa.Array | pa.ChunkedArray, permutations: int = 112, ngram: int = 5, seed: int = 1
) -> np.ndarray:
    """uint32 [n, permutations]: the MinHash signature of every document's shingle set."""
    offsets, data = utf8(texts)
    out = np.empty((len(offsets) - 1, permutations), np.uint32)
    _signatures(offsets, data, word_characters(), ngram, *permutations_of(permutations, seed), out)
    return out


def recall(similarity: float, bands: int, rows: int) -> float:
    """Probability that a pair of this similarity shares at least one band: 1 - (1 - s^rows)^bands."""
    return 1 - (1 - similarity**rows) ** bands


def bands_and_rows(similarity: float, permutations: int) -> tuple[int, int]:
    """The most rows a band (fewest false candidates) that still find RECALL of the pairs at `similarity`.

    14 bands of 8 rows at 0.8 and 112 permutations.
    """
    if not 0 < similarity <= 1:
        raise ValueError(
            f"similarity = {similarity} is no Jaccard similarity: choose one in (0, 1], usually 0.8"
        )
    for rows in range(permutations, 0, -1):
        if recall(similarity, permutations // rows, rows) >= RECALL:
            return permutations // rows, rows
    raise ValueError(
        f"{permutations} permutations find less than {RECALL:.0%} of the pairs at similarity {similarity}: "
        "take more permutations or a higher similarity"
    )


@kernel
def _band_keys(signatures, bands, rows, keys):
    for i in range(len(signatures)):
        for band in range(bands):
            h = np.uint64(band + 1)
            for row in range(rows):
                h = mix(
                    np.uint64(h * np.uint64(0x9E3779B97F4A7C15) + np.uint64(signatures[i, band * rows + row]))
                )
            keys[i, band] = h


def band_keys(signatures: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """uint64 [n, bands]: equal where all rows of a band are."""
    keys = np.empty((len(signatures), bands), np.uint64)
    _band_keys(np.ascontiguousarray(signatures), bands, rows, keys)
    return keys
