"""Words where no spaces stand between them: signals over the Unicode tokens of `text.segments`.

In Chinese, Japanese or Thai such words are short and many, and bounds on them are not comparable with those on words
that a tokenizer with a dictionary finds. Tokens are what published filters of many languages count (their tokenizers
give punctuation marks as tokens); whitespace words, as in the papers on English, are in `words`.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import pyarrow as pa

from filters.columns import INF, columns, count, ratio
from filters.family import Family
from filters.text.batches import valid
from filters.text.compiled import kernel, loop
from filters.text.pages import PADDING, count_marks, longest_document, open_page
from filters.text.segments import LETTER, WORD
from filters.text.vocabulary import tokens_of

Tally = IntEnum("Tally", [
    "TOKENS", "WORDS", "WORD_CHARACTERS", "ALPHABETIC_TOKENS", "NEWLINES", "HASHES", "ELLIPSES",
], start=0)  # fmt: skip


@loop
def _add_tokens(counts, lengths, flags, i, tallies):
    """Count tokens by what each name has."""
    for name in range(len(counts)):
        count, has = np.int64(counts[name]), flags[name]
        tallies[Tally.TOKENS, i] += count
        tallies[Tally.WORDS, i] += count * ((has & WORD) != 0)
        tallies[Tally.WORD_CHARACTERS, i] += count * lengths[name] * ((has & WORD) != 0)
        tallies[Tally.ALPHABETIC_TOKENS, i] += count * ((has & LETTER) != 0)


@kernel
def _count(offsets, data, tokens, tallies):
    """Fill in int64 [tallies, documents]."""
    page = np.empty(longest_document(offsets) + PADDING, np.uint8)
    for i in range(len(offsets) - 1):
        of_document = slice(tokens.known[i], tokens.known[i + 1])
        _add_tokens(
            tokens.counts[of_document], tokens.lengths[of_document], tokens.flags[of_document], i, tallies
        )
        length = open_page(page, data, offsets[i], offsets[i + 1])
        tallies[Tally.NEWLINES, i], tallies[Tally.HASHES, i], tallies[Tally.ELLIPSES, i] = count_marks(
            page, length
        )


SIGNALS = (
    count("unicode_token_count", "tokens", Tally.TOKENS, "segments of UAX #29 that are not white space"),
    count("unicode_word_count", "words", Tally.WORDS, "such segments with a letter or digit"),
    ratio("mean_unicode_word_length", Tally.WORD_CHARACTERS, Tally.WORDS, "characters of such a word, on average",
          unit="characters", high=INF),
    ratio("alphabetic_unicode_token_ratio", Tally.ALPHABETIC_TOKENS, Tally.TOKENS,
          "Unicode tokens with a letter / tokens, punctuation marks too"),
    ratio("newline_unicode_token_ratio", Tally.NEWLINES, Tally.TOKENS, "newlines / Unicode tokens", high=INF),
    ratio("hash_unicode_token_ratio", Tally.HASHES, Tally.TOKENS, '"#" characters / Unicode tokens', high=INF),
    ratio("ellipsis_unicode_token_ratio", Tally.ELLIPSES, Tally.TOKENS, '"..." and "…" / Unicode tokens', high=INF),
)  # fmt: skip


def measure(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Signals over Unicode tokens of every text; all are 0 for an empty one."""
    offsets, data = valid(texts)
    tallies = np.zeros((len(Tally), len(offsets) - 1), np.int64)
    _count(offsets, data, tokens_of(texts), tallies)
    return columns(SIGNALS, tallies=tallies)


FAMILY = Family("unicode_words", 1, measure, SIGNALS)
