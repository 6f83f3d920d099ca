"""The languages of a document's lines: for documents that are mixed, where one label for the whole misleads.

Every line (between two "\\n") of at least `SHORTEST_LINE` bytes is identified by itself, as a document would be; shorter
ones say too little. A line counts by its bytes.
"""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa

from filters.columns import columns, count, label, real
from filters.family import Family
from filters.language.documents import SHORTEST_LINE, lines_of

LEAST_SHARE = 0.1  # of the bytes of such lines: what makes a language one of the document's


SIGNALS = (
    label("main_line_language", "main",
          f"the language of most bytes of lines of {SHORTEST_LINE} bytes or more, each identified alone"),
    real("line_language_share", "ratio", "share", "bytes of lines in that language / bytes of such lines",
         high=1.0, empty=1.0),
    count("line_language_count", "languages", "many", f"languages with at least {LEAST_SHARE:.0%} of those bytes"),
)  # fmt: skip


def measure(
    texts: pa.Array | pa.ChunkedArray, model: str | os.PathLike[str] = "lid.176", fold: bool = False
) -> dict[str, pa.Array]:
    """Languages of the lines of every text. Where no line is long enough there is none, and a share of 1.0."""
    documents = len(texts)
    lines, of_labels = lines_of(texts, model, fold)
    codes = of_labels.dictionary_encode()  # two labels of a model may be one language
    names = codes.dictionary.to_pylist()
    known = lines.labels >= 0
    size, document = lines.sizes[known], lines.documents[known]
    language = codes.indices.to_numpy()[lines.labels[known]]
    pairs, at = np.unique(document * len(names) + language, return_inverse=True)
    held = np.bincount(at, weights=size, minlength=len(pairs))  # bytes of a document in a language
    owner, which = np.divmod(pairs, len(names))
    whole = np.bincount(owner, weights=held, minlength=documents)
    # Of each document's languages the one with the most bytes, of equals the first by its name.
    ranked = np.lexsort((np.array(names, object)[which].astype(str), -held, owner))
    first = ranked[np.unique(owner[ranked], return_index=True)[1]]
    share, main = np.ones(documents), np.full(documents, -1)
    share[owner[first]] = held[first] / whole[owner[first]]
    main[owner[first]] = which[first]
    many = np.bincount(owner, weights=held >= LEAST_SHARE * whole[owner], minlength=documents)
    codes = pa.array(names, pa.string()).take(pa.array(main, mask=main < 0))
    return columns(SIGNALS, main=codes, share=share, many=many.astype(np.int64))


# Its pass identifies whole documents too, so it goes first.
FAMILY = Family("line_languages", 2, measure, SIGNALS, first=True)
