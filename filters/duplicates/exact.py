"""Exact duplicates: texts that are the same, byte by byte or after a stated normalisation, by 128-bit hashes.

`bytes` compares the text as it is; `characters`, `words` and `templates` compare the sequence of those units (see
`text.units`): lower-cased with white space folded; also without punctuation; also without numbers and names. Texts are
first written in NFC, without ignorable code points (see `text.normalised`).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import xxhash

from filters.arrow import utf8
from filters.family import Family, Signal
from filters.text.compiled import kernel
from filters.text.normalised import normalised
from filters.text.units import UNITS, WORD_FACTOR, character_tables, mix, room_for, units_of

NORMALISATIONS = ("bytes", *UNITS)
OTHER_FACTOR = np.uint64(0xD1342543DE82EF95)


@kernel
def _units(offsets, data, tables, unit, hashes):
    room = room_for(offsets)
    for i in range(len(offsets) - 1):
        n = units_of(data, offsets[i], offsets[i + 1], tables, unit, room)
        low, high = np.uint64(n), np.uint64(offsets[i + 1] - offsets[i] if n == 0 else 0)
        for k in range(n):
            low = np.uint64(low * WORD_FACTOR + room[2][k])
            high = np.uint64(high * OTHER_FACTOR + mix(room[2][k]))
        for at in range(offsets[i], offsets[i + 1] if n == 0 else offsets[i]):
            low = np.uint64(low * WORD_FACTOR + data[at])
            high = np.uint64(high * OTHER_FACTOR + mix(np.uint64(data[at])))
        hashes[i, 0], hashes[i, 1] = mix(low), mix(high)


def content_hashes(texts: pa.Array | pa.ChunkedArray, normalise: str = "bytes") -> pa.FixedSizeBinaryArray:
    """fixed_size_binary(16) [n]: of `bytes` their xxh3_128. A text without units is compared by its
    normalised bytes."""
    if normalise == "bytes":
        offsets, data = utf8(texts)
        view, edges = memoryview(data.data), offsets.tolist()
        hashes = b"".join([xxhash.xxh3_128_digest(view[a:b]) for a, b in pairwise(edges)])
    else:
        compared = normalised(texts)
        pairs = np.empty((len(compared.offsets) - 1, 2), np.uint64)
        _units(compared.offsets, compared.data, character_tables(), UNITS.index(normalise), pairs)
        hashes = pairs.tobytes()
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(hashes) // 16, [None, pa.py_buffer(hashes)]
    )


SIGNALS = (
    Signal("text_hash", "hash", None, None, None, "128-bit hash of the text as normalised; of its bytes, xxh3",
           pa.binary(16)),
)  # fmt: skip


def measure(texts: pa.Array | pa.ChunkedArray, normalise: str = "bytes") -> dict[str, pa.Array]:
    """The hash of every text."""
    return {"text_hash": content_hashes(texts, normalise)}


FAMILY = Family("text_hash", 2, measure, SIGNALS)
