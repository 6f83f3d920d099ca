"""What a trigram of word pieces makes of held-out tokens, learned from the tokens that a run has read.

The floor under every language model: statistics of three tokens. Modified Kneser-Ney (`kneser_ney`), a document a line; a
token that was never seen shares the mass of unknown ones with all others of the vocabulary.
"""

from __future__ import annotations

import numpy as np

from filters.models.kneser_ney import BEGIN, END, FACTOR, estimate, log_probability, table_of
from filters.text.compiled import kernel

ORDER = 3
FIRST = 3  # the least symbol of a token; those below are BEGIN and END


class TokenTrigram:
    """Learned from documents: document i is tokens[documents[i]:documents[i + 1]], `documents` int64 [n + 1]; `end` is the
    token that ends each."""

    def __init__(self, tokens: np.ndarray, documents: np.ndarray, end: int, vocabulary: int) -> None:
        learned = estimate(*_lines(tokens, documents, end), ORDER)
        self.end, self.table = end, table_of(learned.entries)
        self.unknown = learned.unknown - np.log(max(1, vocabulary - (learned.vocabulary - 1)))

    def nats(self, tokens: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Nats of every document, its end included, float64 [documents]."""
        symbols, _ = _lines(tokens, documents, self.end)
        nats = np.zeros(len(documents) - 1)
        starts = np.asarray(documents, np.int64) + np.arange(len(documents))
        _nats(symbols, starts, self.table, ORDER, self.unknown, nats)
        return nats


def _lines(tokens: np.ndarray, documents: np.ndarray, end: int) -> tuple[np.ndarray, np.ndarray]:
    """(symbols of all documents, each behind BEGIN; where the line of each symbol begins)."""
    ends = np.asarray(documents, np.int64)
    lengths = ends[1:] - ends[:-1]
    document = np.repeat(np.arange(len(lengths)), lengths)
    symbols = np.full(len(tokens) + len(lengths), BEGIN, np.uint64)
    hashed = (tokens.astype(np.uint64) + np.uint64(FIRST)) * FACTOR
    symbols[np.arange(len(tokens)) + document + 1] = np.where(tokens == end, END, hashed)
    return symbols, np.repeat(ends[:-1] + np.arange(len(lengths)), lengths + 1)


@kernel
def _nats(symbols, starts, table, order, unknown, nats):
    weights = np.zeros(2 * order)
    for i in range(len(nats)):
        begin = starts[i]
        total = 0.0
        _, known = log_probability(table, order, unknown, symbols, begin, begin, weights, 0)
        for k in range(begin + 1, starts[i + 1]):
            p, known = log_probability(table, order, unknown, symbols, begin, k, weights, known)
            total -= p
        nats[i] = total
