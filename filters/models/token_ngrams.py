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


def token_nats(
    tokens: np.ndarray,
    documents: np.ndarray,
    held: np.ndarray,
    held_documents: np.ndarray,
    end: int,
    vocabulary: int,
) -> np.ndarray:
    """Nats of every held-out document, its end included, float64 [documents].

    `documents`: int64 [n + 1], document i is tokens[documents[i]:documents[i + 1]]; `end`: the token that ends one.
    """
    learned = estimate(*_lines(tokens, documents, end), ORDER)
    unseen = vocabulary - (learned.vocabulary - 1)
    unknown = learned.unknown - np.log(max(1, unseen))
    symbols, begins = _lines(held, held_documents, end)
    nats = np.zeros(len(held_documents) - 1)
    starts = np.asarray(held_documents, np.int64) + np.arange(len(held_documents))
    _nats(symbols, starts, table_of(learned.entries), ORDER, unknown, nats)
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
