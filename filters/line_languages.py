"""The languages of a document's lines: for documents that are mixed, where one label for the whole misleads.

Every line (between two "\\n") of at least `SHORTEST_LINE` bytes is identified by itself, as a document would be; shorter
ones say too little. A line counts by its bytes.
"""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa

from filters.arrow import from_utf8
from filters.columns import count_signal
from filters.family import Family, Signal
from filters.language import measure as identify
from filters.text import (
    ONE_BIT,
    PADDING,
    kernel,
    longest_document,
    lowest_bit,
    lowest_bits,
    newline_mask,
    open_page,
    valid,
)

SHORTEST_LINE = 40  # bytes
LEAST_SHARE = 0.1  # of the bytes of such lines: what makes a language one of the document's


@kernel
def _find(offsets, data, starts, document, text):
    """Copy every line that is long enough to `text`, one behind the other; returns (lines, bytes).

    `starts[i]` is where line i begins in `text`, `document[i]` whose it is.
    """
    page = np.empty(longest_document(offsets) + PADDING, np.uint8)
    lines = size = 0
    for i in range(len(offsets) - 1):
        length = open_page(page, data, offsets[i], offsets[i + 1])
        start = 0
        for block in range(0, length + 1, 64):  # one more: the end of the text ends a line
            newlines = newline_mask(page, block) & lowest_bits(length - block)
            if block + 64 > length:
                newlines |= ONE_BIT << np.uint64(length - block)
            while newlines:
                at = block + lowest_bit(newlines)
                newlines &= newlines - ONE_BIT
                if at - start >= SHORTEST_LINE:
                    starts[lines], document[lines] = size, i
                    text[size : size + at - start] = page[start:at]
                    lines += 1
                    size += at - start
                start = at + 1
    starts[lines] = size
    return lines, size


def _lines(offsets: np.ndarray, data: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(offsets of the lines long enough, their bytes, the document of each)."""
    whole = int(offsets[-1] - offsets[0])
    starts = np.empty(whole // SHORTEST_LINE + 2, np.int64)
    document, text = np.empty(len(starts), np.int64), np.empty(whole, np.uint8)
    lines, size = _find(offsets, data, starts, document, text)
    return starts[: lines + 1], text[:size], document[:lines]


def measure(
    texts: pa.Array | pa.ChunkedArray, model: str | os.PathLike[str] = "lid.176"
) -> dict[str, pa.Array]:
    """Languages of the lines of every text. Where no line is long enough there is none, and a share of 1.0."""
    offsets, data = valid(texts)
    documents = len(offsets) - 1
    starts, text, document = _lines(offsets, data)
    codes = identify(from_utf8(starts, text), model)["language"].dictionary_encode()
    known = codes.is_valid().to_numpy(zero_copy_only=False)
    names = codes.dictionary.to_pylist()
    size = np.diff(starts)[known]
    language = codes.indices.drop_null().to_numpy()
    pairs, at = np.unique(document[known] * max(1, len(names)) + language, return_inverse=True)
    held = np.bincount(at, weights=size, minlength=len(pairs))  # bytes of a document in a language
    owner, which = np.divmod(pairs, max(1, len(names)))
    whole = np.bincount(owner, weights=held, minlength=documents)
    # Of each document's languages the one with the most bytes, of equals the first by its name.
    ranked = np.lexsort((np.array(names, object)[which].astype(str), -held, owner))
    first = ranked[np.unique(owner[ranked], return_index=True)[1]]
    share, main = np.ones(documents), np.full(documents, -1)
    share[owner[first]] = held[first] / whole[owner[first]]
    main[owner[first]] = which[first]
    many = np.bincount(owner, weights=held >= LEAST_SHARE * whole[owner], minlength=documents)
    return {
        "main_line_language": pa.array(names, pa.string()).take(pa.array(main, mask=main < 0)),
        "line_language_share": pa.array(share),
        "line_language_count": pa.array(many.astype(np.int64)),
    }


FAMILY = Family(
    "line_languages",
    1,
    measure,
    (
        Signal(
            "main_line_language", "label", None, None, None,
            f"the language of most bytes of lines of {SHORTEST_LINE} bytes or more, each identified alone",
            pa.string(),
        ),
        Signal(
            "line_language_share", "ratio", 0.0, 1.0, 1.0, "bytes of lines in that language / bytes of such lines"
        ),
        count_signal(
            "line_language_count", "languages", f"languages with at least {LEAST_SHARE:.0%} of those bytes"
        ),
    ),
)  # fmt: skip
