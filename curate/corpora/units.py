"""Pieces of documents in an order: what runs read, and what is encoded for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Units:
    """Pieces of documents in an order: piece `piece` of the `of` pieces of the document in row `row` of the pool."""

    row: np.ndarray  # int [units]
    piece: np.ndarray  # int64
    of: np.ndarray  # int64
    all_whole: bool = False  # whether they were made as whole documents

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: np.ndarray | slice) -> Units:
        row = self.row[index]
        return whole(row) if self.all_whole else Units(row, self.piece[index], self.of[index])

    def bounds(self, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(first, end) of each piece among its document's tokens, of which there are `count` by row of the pool."""
        mine = count[self.row].astype(np.int64)
        return self.piece * mine // self.of, (self.piece + 1) * mine // self.of

    def lengths(self, count: np.ndarray) -> np.ndarray:
        """int64 [units]: tokens of each, with an end mark after every piece; 0 where its document is not encoded."""
        if self.all_whole:
            return count[self.row]
        first, end = self.bounds(count)
        return end - first + ((self.piece + 1 < self.of) & (end > first))

    def filling(self, document_bytes: np.ndarray, reach: float) -> int:
        """How many of them, from the first, hold so many bytes of text; all where they hold fewer."""
        total, some = 0, 1 << 16
        for begin in range(0, len(self), some):
            ends = total + np.cumsum(self.take(slice(begin, begin + some)).sizes(document_bytes))
            if ends[-1] >= reach:
                return begin + int(np.searchsorted(ends, reach)) + 1
            total = int(ends[-1])
        return len(self)

    def encoded(self, count: np.ndarray) -> Units:
        """Up to the first whose document is not encoded."""
        there = count[self.row] > 0
        return self if there.all() else self.take(slice(int(np.argmin(there))))

    def sizes(self, document_bytes: np.ndarray) -> np.ndarray:
        """Bytes of text of each, about."""
        return document_bytes[self.row] // self.of


def whole(rows: np.ndarray) -> Units:
    """Whole documents, in this order, of which no more than their rows is held."""
    first, only = (np.broadcast_to(np.int64(number), len(rows)) for number in (0, 1))
    return Units(rows, first, only, all_whole=True)
