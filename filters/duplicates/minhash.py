"""Sketches of shingle sets, and the bands that find similar ones (Broder 1997; Leskovec, Rajaraman & Ullman, ch. 3).

The share of equal places of two signatures estimates the Jaccard similarity of the sets. Three sketches:

- `fast`: Fast Similarity Sketching (Dahlgaard, Knudsen & Thorup 2017, arXiv:1704.04370). Every shingle goes to
  one place chosen by its hash; only while places are empty, all go to another place in a further round. A long
  document costs one hash a shingle instead of one a place, and since the places are filled without replacement,
  the estimate is more exact than that of independent permutations.
- `datasketch`: the very signatures of `datasketch.MinHash(num_perm, seed)` of version 2, updated with the UTF-8 of
  each shingle, its words joined by a space: for use in its indexes. SHA-1 of every shingle costs most of the time.
- `datasketch-legacy`: those of `scheme="legacy"`, which is what versions below 2 made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from filters.duplicates.sha1 import sha1_head
from filters.duplicates.shingles import shingles_of
from filters.text.compiled import inlined, kernel, loop
from filters.text.normalised import normalised
from filters.text.pages import decode
from filters.text.units import ALONE, UNITS, character_tables, encode, mix, room_for, units_of

SKETCHES = ("fast", "datasketch", "datasketch-legacy")
RECALL = 0.985  # of pairs at the target: what bands and rows are chosen for
EMPTY = np.uint32(0xFFFFFFFF)
LATER = np.uint32(1 << 31)  # in a place that a round after the first has filled
LATER_BITS = np.uint32(19)  # of the hash that are kept there; above them the round
MOST_PLACES = 2048  # so that the number of any round fits
MERSENNE_PRIME = np.uint64((1 << 61) - 1)


@dataclass(frozen=True)
class Scheme:
    """How documents are compared: shingles, sketch and bands. `preset` gives those of published pipelines."""

    similarity: float = 0.8  # the target: what is less similar is no duplicate
    ngram: int = 5
    unit: str = "words"  # one of shingles.UNITS
    sketch: str = "fast"  # one of SKETCHES
    permutations: int = 128
    bands: int = 0  # 0: chosen by `bands_and_rows`
    rows: int = 0
    seed: int = 1

    @property
    def signing(self) -> dict:
        """What a signature depends on."""
        keys = ("permutations", "ngram", "unit", "sketch", "seed")
        return {key: getattr(self, key) for key in keys}

    @property
    def cut(self) -> tuple[int, int]:
        """(bands, rows of each)"""
        return (self.bands, self.rows) if self.bands else bands_and_rows(self.similarity, self.permutations)


PRESETS: dict[str, dict] = {
    "datatrove": {"ngram": 5, "bands": 14, "rows": 8},
    "dclm": {"ngram": 13},
    "nemo": {"ngram": 24, "unit": "characters", "bands": 20, "rows": 13},
}


def scheme_of(given: dict) -> Scheme:
    """The scheme that a manifest's table asks for. Raises ValueError that names the key and what to write."""
    given = dict(given)
    name = given.pop("preset", None)
    if name is not None and name not in PRESETS:
        raise ValueError(f'preset = "{name}": choose one of {", ".join(PRESETS)}')
    settings = PRESETS.get(name, {}) | given
    for key, value in settings.items():
        kind = type(getattr(Scheme, key, None))
        if kind is str and not isinstance(value, str):
            raise ValueError(f"{key} = {value!r} is not a word in quotes")
        if kind is not str and (
            isinstance(value, bool) or not isinstance(value, int | float if kind is float else int)
        ):
            raise ValueError(f"{key} = {value!r} is not a {'' if kind is float else 'whole '}number")
    if ("bands" in settings) != ("rows" in settings):
        raise ValueError(
            "bands and rows are given both or neither; without them they follow from the similarity"
        )
    if "bands" in settings:
        if not 1 <= settings["bands"] <= 1000 or not 1 <= settings["rows"] <= 100:
            raise ValueError("bands lie in 1..1000 and rows in 1..100")
        settings.setdefault("permutations", settings["bands"] * settings["rows"])
    scheme = Scheme(**settings)
    for key, known in {"unit": UNITS, "sketch": SKETCHES}.items():
        if getattr(scheme, key) not in known:
            raise ValueError(f'{key} = "{getattr(scheme, key)}": choose one of {", ".join(known)}')
    if not 0.3 <= scheme.similarity < 1:
        raise ValueError(f"similarity = {scheme.similarity} is not in [0.3, 1); 0.8 is usual")
    most = MOST_PLACES if scheme.sketch == "fast" else 4096
    if not 16 <= scheme.permutations <= most or not 1 <= scheme.ngram <= 100 or not 0 <= scheme.seed < 2**32:
        raise ValueError(f"permutations lie in 16..{most}, ngram in 1..100, seed in 0..4294967295")
    if scheme.sketch != "fast" and scheme.unit != "words":
        raise ValueError(f'sketch = "{scheme.sketch}" is of words; leave unit out')
    if scheme.bands * scheme.rows > scheme.permutations:
        raise ValueError(
            f"{scheme.bands} bands of {scheme.rows} rows need {scheme.bands * scheme.rows} permutations, "
            f"not {scheme.permutations}"
        )
    if not scheme.bands:
        bands_and_rows(scheme.similarity, scheme.permutations)  # raises where no cut finds enough
    return scheme


# ---- Fast Similarity Sketching --------------------------------------------------------------------------


@inlined
def _place(h, places):
    """A place from the upper half of a hash: all places equally likely, without a division."""
    return np.int64((h >> np.uint64(32)) * np.uint64(places) >> np.uint64(32))


@loop
def _sketch(shingles, n, seed, signature):
    """A round multiplies every shingle, which is random already, with an odd number of its own: the upper half of
    the product chooses the place, the lower half is the value. No branch: which value is smaller is a coin toss."""
    places = len(signature)
    for p in range(places):
        signature[p] = EMPTY
    number = np.uint64(0)
    empty = places
    while empty:
        factor = mix(seed + number) | np.uint64(1)
        head, keep = np.uint32(0), np.uint32(1)
        if number:
            head = np.uint32(LATER | np.uint32(np.uint32(number) << LATER_BITS))
            keep = np.uint32(32) - LATER_BITS
        # Rounds up to the number of places choose a place by the hash; one after those fills one for certain.
        fixed = np.int64(number) - places
        for k in range(n):
            h = np.uint64(shingles[k] * factor)
            place = _place(h, places) if fixed < 0 else fixed
            value = np.uint32(head | np.uint32(np.uint32(h) >> keep))
            signature[place] = value if value < signature[place] else signature[place]
        empty = 0
        for p in range(places):
            empty += signature[p] == EMPTY
        number += np.uint64(1)


@kernel
def _signatures(offsets, data, tables, unit, ngram, seed, signatures):
    room = room_for(offsets)
    shingles = np.empty(len(room[2]), np.uint64)
    for i in range(len(offsets) - 1):
        n = shingles_of(data, offsets[i], offsets[i + 1], tables, unit, ngram, room, shingles)
        _sketch(shingles, n, seed, signatures[i])


# ---- datasketch -----------------------------------------------------------------------------------------


@loop
def _joined(page, starts, ends, first, width, table, out):
    """The words [first, first + width) in lower case, joined by a space; returns the bytes."""
    size = 0
    for word in range(first, first + width):
        if word > first:
            out[size] = 0x20
            size += 1
        at = starts[word]
        while at < ends[word]:
            code, step = decode(page, at)
            size += encode(table[code] & ~ALONE, out, size)
            at += step
    return size


@inlined
def _fmix(h):
    """The finaliser of MurmurHash3 for 32 bits."""
    h = np.uint32(np.uint32(h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    h = np.uint32(np.uint32(h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint32(h ^ (h >> np.uint32(16)))


@loop
def _permute(a, b, h, signature):
    """Every intermediate is a uint32, or the compiler widens it and vectorises nothing."""
    for p in range(len(signature)):
        value = np.uint32(np.uint32(a[p] * h) + b[p])
        signature[p] = value if value < signature[p] else signature[p]


@loop
def _permute_legacy(a, b, h, signature):
    """a * h + b wraps at 2^64 before the remainder is taken: what the versions below 2 computed."""
    for p in range(len(signature)):
        value = np.uint32(np.uint64(a[p] * np.uint64(h) + b[p]) % MERSENNE_PRIME & np.uint64(0xFFFFFFFF))
        signature[p] = value if value < signature[p] else signature[p]


@kernel
def _datasketch(offsets, data, tables, ngram, a, b, legacy, signatures):
    room = room_for(offsets)
    page, _, hashes, starts, ends, _ = room
    text, block = np.empty(3 * len(hashes) + 128, np.uint8), np.empty(80, np.uint32)
    narrow_a, narrow_b = a.astype(np.uint32), b.astype(np.uint32)
    for i in range(len(offsets) - 1):
        signature = signatures[i]
        signature[:] = EMPTY
        units = units_of(data, offsets[i], offsets[i + 1], tables, 0, room)
        width = min(ngram, units)
        for first in range(max(1, units - width + 1)):
            if units:
                size = _joined(page, starts, ends, first, width, tables[0], text)
            else:
                size = offsets[i + 1] - offsets[i]
                text[:size] = page[:size]
            h = sha1_head(text, size, block)
            if legacy:
                _permute_legacy(a, b, h, signature)
            else:
                _permute(narrow_a, narrow_b, _fmix(h), signature)


def _permutations_of_datasketch(count: int, seed: int, sketch: str) -> np.ndarray:
    from datasketch import MinHash

    scheme = "legacy" if sketch == "datasketch-legacy" else "affine32"
    return np.asarray(MinHash(num_perm=count, seed=seed, scheme=scheme).permutations, np.uint64)


# ---- Signatures and bands -------------------------------------------------------------------------------


def signatures(
    texts: pa.Array | pa.ChunkedArray,
    permutations: int = 128,
    ngram: int = 5,
    unit: str = "words",
    sketch: str = "fast",
    seed: int = 1,
) -> np.ndarray:
    """uint32 [n, permutations]: the signature of every document's shingle set."""
    compared = normalised(texts)
    offsets, data = compared.offsets, compared.data
    out = np.empty((len(offsets) - 1, permutations), np.uint32)
    if sketch == "fast":
        salt = np.uint64(seed * 0x9FB21C651E98DF25 % (1 << 64))
        _signatures(offsets, data, character_tables(), UNITS.index(unit), ngram, salt, out)
    else:
        a, b = _permutations_of_datasketch(permutations, seed, sketch)
        _datasketch(offsets, data, character_tables(), ngram, a, b, sketch == "datasketch-legacy", out)
    return out


def recall(similarity: float, bands: int, rows: int) -> float:
    """Probability that a pair of this similarity shares at least one band: 1 - (1 - s^rows)^bands."""
    return 1 - (1 - similarity**rows) ** bands


def bands_and_rows(similarity: float, permutations: int) -> tuple[int, int]:
    """The most rows a band (fewest false candidates) that still find RECALL of the pairs at `similarity`.

    18 bands of 7 rows at 0.8 and 128 permutations.
    """
    if not 0 < similarity <= 1:
        raise ValueError(
            f"similarity = {similarity} is no Jaccard similarity: choose one in (0, 1], usually 0.8"
        )
    for rows in range(permutations, 0, -1):
        if recall(similarity, permutations // rows, rows) >= RECALL:
            return permutations // rows, rows
    raise ValueError(
        f"{permutations} permutations find less than {RECALL:.1%} of the pairs at similarity {similarity}: "
        "take more permutations or a higher similarity"
    )


@loop
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
