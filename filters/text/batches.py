"""A batch of texts as kernels take it: valid UTF-8, and what one family found in it kept for the next one."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from filters.arrow import text_column, utf8

_latest = threading.local()  # .batch: the column this thread looked at last, and what was found in it


Found = TypeVar("Found")


def shared(find: Callable[..., Found]) -> Callable[..., Found]:
    """`find(texts, ...)`, looked for once in a batch: one array asked about again and again, by one family after another.

    What was found is kept as long as its array lives and this thread asks about no other. So families name what they
    need by calling it, and what no family calls is never looked for.
    """

    def once(texts: pa.Array | pa.ChunkedArray, *beside: Hashable) -> Found:
        if not isinstance(texts, pa.Array):
            return find(text_column(texts), *beside)
        batch = getattr(_latest, "batch", None)
        if batch is None or batch[0]() is not texts:
            values: dict[Any, Any] = {}
            batch = _latest.batch = weakref.ref(texts, _forget), values
        if (once, beside) not in batch[1]:
            batch[1][once, beside] = find(texts, *beside)
        return batch[1][once, beside]

    return functools.update_wrapper(once, find)


def already(once: Callable[..., Found], texts: pa.Array | pa.ChunkedArray, *beside: Hashable) -> Found | None:
    """What a `shared` function has found in this batch; None where nobody has asked it yet."""
    batch = getattr(_latest, "batch", None)
    if batch is None or batch[0]() is not texts:
        return None
    return batch[1].get((once, beside))


def _forget(column: weakref.ref) -> None:
    """What was found holds the text in memory, so it goes when the column does (in this thread, as a rule)."""
    batch = getattr(_latest, "batch", None)
    if batch is not None and batch[0] is column:
        _latest.batch = None


def forget_batch() -> None:
    """Keep nothing of what this thread has found in a batch: whoever asks has it found again."""
    _latest.batch = None


@shared
def valid(texts: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """(offsets, data) of valid UTF-8; of bytes that are not, what `bytes.decode(errors="replace")` makes."""
    return _valid(text_column(texts))


def _valid(texts: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise  # broken offsets: not a text column at all
        pieces = texts.cast(pa.large_binary()).to_pylist()
        texts = pa.array([piece.decode(errors="replace") for piece in pieces], pa.large_string())
    return utf8(texts)
