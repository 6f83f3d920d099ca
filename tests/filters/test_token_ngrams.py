"""The trigram of word pieces: a distribution over the whole vocabulary, and better where text repeats itself."""

from __future__ import annotations

import numpy as np
import pytest

from filters.models.token_ngrams import TokenTrigram

VOCABULARY, END = 12, 0


def documents_of(*documents: list[int]) -> tuple[np.ndarray, np.ndarray]:
    tokens = np.array([token for document in documents for token in [*document, END]], np.uint16)
    return tokens, np.concatenate([[0], np.cumsum([len(document) + 1 for document in documents])])


@pytest.fixture
def read() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return documents_of(*(list(rng.integers(1, 9, rng.integers(3, 12))) for _ in range(30)))


def test_probabilities_of_all_tokens_sum_to_one_whatever_stands_before(read):
    """Those that were never seen, 9 to 11, included."""
    for before in ([], [3], [3, 4], [10], [2, 11]):
        sums = []
        for token in range(VOCABULARY):
            tokens = np.array([*before, token], np.uint16)
            nats = TokenTrigram(*read, END, VOCABULARY).nats(tokens, np.array([0, len(tokens)]))[0]
            sums.append(np.exp(-nats))
        less = np.array(before, np.uint16)
        prefix = (
            TokenTrigram(*read, END, VOCABULARY).nats(less, np.array([0, len(less)]))[0] if before else 0.0
        )
        assert sum(sums) == pytest.approx(np.exp(-prefix), rel=1e-4)


def test_text_that_was_read_costs_less_than_text_that_was_not(read):
    rng = np.random.default_rng(1)
    fresh = documents_of(*(list(rng.integers(1, 9, 8)) for _ in range(30)))
    again = TokenTrigram(*read, END, VOCABULARY).nats(*read).sum() / len(read[0])
    other = TokenTrigram(*read, END, VOCABULARY).nats(*fresh).sum() / len(fresh[0])
    assert again < other < np.log(VOCABULARY) * 1.2


def test_nats_of_a_document_do_not_depend_on_the_others(read):
    held = documents_of([1, 2, 3], [4], [5, 6, 7, 8])
    together = TokenTrigram(*read, END, VOCABULARY).nats(*held)
    alone = [
        TokenTrigram(*read, END, VOCABULARY).nats(*documents_of(d))[0] for d in ([1, 2, 3], [4], [5, 6, 7, 8])
    ]
    assert together == pytest.approx(alone)
