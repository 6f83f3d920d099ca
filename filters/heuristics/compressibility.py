"""How much a document shrinks: what repeats, or what comes from a template, compresses well; noise does not.

`compression_ratio` is by raw DEFLATE at its fastest (zlib, level 1), so it sees
repeats of three bytes or more within 32 kB. Short texts compress badly whatever they say: compare documents of
like length, or bound only from below.
"""

from __future__ import annotations

import zlib

import numpy as np
import pyarrow as pa

from filters.columns import columns, real
from filters.family import Family
from filters.text.batches import valid
from filters.text.compiled import kernel


@kernel
def _entropies(offsets, data, entropies):
    """Fill in float64 [documents]: bits per byte of the distribution of bytes."""
    counts = np.empty(256, np.int64)
    for i in range(len(offsets) - 1):
        counts[:] = 0
        length = offsets[i + 1] - offsets[i]
        for at in range(offsets[i], offsets[i + 1]):
            counts[data[at]] += 1
        total = 0.0
        for byte in range(256):
            if counts[byte]:
                total += counts[byte] * np.log2(counts[byte])
        entropies[i] = max(0.0, np.log2(length) - total / length) if length else 0.0


def _size(text: memoryview) -> int:
    press = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return len(press.compress(text)) + len(press.flush())


SIGNALS = (
    real("compression_ratio", "ratio", "ratios", "bytes after raw DEFLATE, level 1 / bytes before"),
    real("byte_entropy", "bits", "entropies", "Shannon's entropy of the distribution of bytes", high=8.0),
)


def measure(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Compression of every text; 0.0 for an empty one."""
    offsets, data = valid(texts)
    entropies = np.zeros(len(offsets) - 1)
    _entropies(offsets, data, entropies)
    page = memoryview(data.data)
    ratios = [
        _size(page[start:end]) / (end - start) if end > start else 0.0
        for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    ]
    return columns(SIGNALS, ratios=ratios, entropies=entropies)


FAMILY = Family("compression", 1, measure, SIGNALS)
