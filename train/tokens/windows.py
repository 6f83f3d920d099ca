"""Which tokens a step sees: a pure function of (seed, step).

The packed tokens are cut in windows of `context` tokens, in order; a window's targets are its tokens
shifted by one, so its last target is the first token of the next. A ladder's sizes cut the windows in
segments; within a segment the windows are shuffled, so that at every size exactly the corpus of that
size has been seen, once. With several epochs each has an order of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from train.shuffling import shuffled
from train.tokens.bpe import vocabulary_of


class Windows:
    """Batches of a ladder. `boundaries`: steps at which the sizes end, ascending; the last ends an epoch.

    `begins` [vocabulary] tells which tokens begin a word: where it is given, each window's words are shuffled within
    their documents, and the tokens of a word stay together; what ends a document ends it still."""

    def __init__(
        self,
        tokens: np.ndarray,
        context: int,
        batch: int,
        boundaries: list[int],
        seed: int,
        begins: np.ndarray | None = None,
        end: int = 0,
    ) -> None:
        self.begins, self.end = begins, end
        self.tokens, self.context, self.batch, self.seed = tokens, context, batch, seed
        self.edges = [0, *boundaries]
        self._key: tuple[int, int] | None = None
        self._order = np.zeros(0, np.int64)

    def indices(self, step: int) -> np.ndarray:
        """Window numbers of a step, int64 [batch]."""
        epoch, step = divmod(step, self.edges[-1])
        segment = int(np.searchsorted(self.edges, step, side="right")) - 1
        first, last = self.edges[segment], self.edges[segment + 1]
        if self._key != (epoch, segment):
            self._order = shuffled(first * self.batch, last * self.batch, self.seed, epoch)
            self._key = (epoch, segment)
        return self._order[(step - first) * self.batch : (step - first + 1) * self.batch]

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """(tokens_BT, targets_BT), int64."""
        starts = self.indices(step) * self.context
        rows = np.stack([self.tokens[start : start + self.context + 1] for start in starts]).astype(np.int64)
        if self.begins is not None:
            rows = np.stack([self._shuffled(row, start) for row, start in zip(rows, starts, strict=True)])
        rows_BT1 = torch.from_numpy(rows)
        return rows_BT1[:, :-1], rows_BT1[:, 1:]

    def _shuffled(self, row: np.ndarray, start: int) -> np.ndarray:
        """The same words in another order: a function of the seed and of where the window stands, in every epoch."""
        assert self.begins is not None
        ended = row == self.end
        document = np.cumsum(ended) - ended
        first = self.begins[row] | ended | np.concatenate([[True], ended[:-1]])
        word = np.cumsum(first) - 1
        place = np.argsort(shuffled(0, word[-1] + 1, self.seed, int(start) + (1 << 40)))
        return row[np.lexsort((np.arange(len(row)), place[word], ended, document))]


@dataclass(frozen=True)
class Switched:
    """The windows of one text up to a step, and from there on those of another, from its first."""

    before: Windows
    after: Windows
    step: int

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        return self.before(step) if step < self.step else self.after(step - self.step)


def word_beginnings(tokenizer: Tokenizer) -> np.ndarray:
    """Which tokens begin a word: all but those that go on with letters. bool [vocabulary]"""
    tokens = [tokenizer.id_to_token(number) or "" for number in range(vocabulary_of(tokenizer))]
    return np.array([not token or not token[0].isalpha() or token[0] in "ĠĊĉč" for token in tokens])
