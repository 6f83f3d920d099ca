"""The languages of a document's lines: for documents that are mixed, where one label for the whole misleads.

Every line (between two "\\n") of at least `SHORTEST_LINE` bytes is identified by itself, as a document would be; shorter
ones say too little. A line counts by its bytes.
"""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa

from filters import Family, Signal
from filters.arrow import from_utf8
from filters.columns import count_signal
from filters.language import measure as identify
from filters.text import valid

SHORTEST_LINE = 40  # bytes
LEAST_SHARE = 0.1  # of the bytes of such lines: what makes a language one of the document's


def _lines(offsets: np.ndarray, data: np.ndarray) -> tuple[pa.Array, np.ndarray]:
    """(the lines long enough as a text column, the document of each)."""
    data = data[offsets[0] : offsets[-1]]
    starts_of = offsets - offsets[0]
    breaks = np.flatnonzero(data == 0x0A)
    starts = np.unique(np.concatenate([starts_of[:-1], breaks + 1]))
    ends = np.minimum(
        np.append(starts[1:], len(data)), np.append(breaks, len(data))[np.searchsorted(breaks, starts)]
    )
    long = ends - starts >= SHORTEST_LINE
    starts, ends = starts[long], ends[long]
    kept = np.zeros(len(data) + 1, np.int8)
    kept[starts] += 1
    kept[ends] -= 1
    line_offsets = np.concatenate([[0], np.cumsum(ends - starts)]).astype(np.int64)
    texts = from_utf8(line_offsets, data[np.cumsum(kept[:-1]).astype(bool)])
    return texts, np.searchsorted(starts_of, starts, side="right") - 1


def measure(
    texts: pa.Array | pa.ChunkedArray, model: str | os.PathLike[str] = "lid.176"
) -> dict[str, pa.Array]:
    """Languages of the lines of every text. Where no line is long enough there is none, and a share of 1.0."""
    offsets, data = valid(texts)
    documents = len(offsets) - 1
    lines, document = _lines(offsets, data)
    codes = identify(lines, model)["language"].dictionary_encode()
    known = codes.is_valid().to_numpy(zero_copy_only=False)
    names = codes.dictionary.to_pylist()
    size = np.diff(np.frombuffer(lines.buffers()[1], np.int64)[: len(lines) + 1])[known]
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
