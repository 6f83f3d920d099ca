"""Pieces of documents in an order: what runs read, and what is encoded for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Units:
    """Pieces of documents in an order: piece `piece` of the `of` pieces of the document in row `row` of the pool."""

    row: np.ndarray  # int64 [units]
    piece: np.ndarray  # int64
    of: np.ndarray  # int64

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: np.ndarray | slice) -> Units:
        return Units(self.row[index], self.piece[index], self.of[index])

    def bounds(self, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(first, end) of each piece among its document's tokens, of which there are `count` by row of the pool."""
        mine = count[self.row]
        return self.piece * mine // self.of, (self.piece + 1) * mine // self.of

    def lengths(self, count: np.ndarray) -> np.ndarray:
        """int64 [units]: tokens of each, with an end mark after every piece; 0 where its document is not encoded."""
        first, end = self.bounds(count)
        return end - first + ((self.piece + 1 < self.of) & (end > first))

    def encoded(self, count: np.ndarray) -> Units:
        """Up to the first whose document is not encoded."""
        there = count[self.row] > 0
        return self if there.all() else self.take(slice(int(np.argmin(there))))

    def sizes(self, document_bytes: np.ndarray) -> np.ndarray:
        """Bytes of text of each, about."""
        return document_bytes[self.row] // self.of


def whole(rows: np.ndarray) -> Units:
    """Whole documents, in this order."""
    return Units(rows, np.zeros(len(rows), np.int64), np.ones(len(rows), np.int64))
