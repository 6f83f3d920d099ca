"""Words where no spaces stand between them: signals over the Unicode tokens of `segments`.

In Chinese, Japanese or Thai such words are short and many, and bounds on them are not comparable with those on words
that a tokenizer with a dictionary finds. Tokens are what published filters of many languages count (their tokenizers
give punctuation marks as tokens); whitespace words, as in the papers on English, are in `words`.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from filters.columns import INF, count_signal, ratio, real_signal
from filters.family import Family
from filters.text.batches import valid
from filters.text.bits import count_bits, lowest_bit, lowest_bits
from filters.text.compiled import kernel, loop
from filters.text.masks import dot_mask, ellipsis_mask, hash_mask, newline_mask
from filters.text.pages import PADDING, longest_document, open_page
from filters.text.segments import LETTER, WORD
from filters.text.vocabulary import tokens_of

TALLIES = ("tokens", "words", "word_characters", "alphabetic", "newlines", "hashes", "ellipses")
TOKENS, WORDS, WORD_CHARACTERS, ALPHABETIC_TOKENS, NEWLINES, HASHES, ELLIPSES = range(len(TALLIES))


@loop
def _add_marks(page, length, i, tallies):
    run, last = 0, -1  # of dots: "....." is one "..."
    for block in range(0, length, 64):
        text = lowest_bits(length - block)
        tallies[NEWLINES, i] += count_bits(newline_mask(page, block) & text)
        tallies[HASHES, i] += count_bits(hash_mask(page, block) & text)
        wide = ellipsis_mask(page, block)
        while wide:
            at = block + lowest_bit(wide)
            wide &= wide - np.uint64(1)
            tallies[ELLIPSES, i] += page[at + 1] == 0x80 and page[at + 2] == 0xA6
        dots = dot_mask(page, block) & text
        while dots:
            at = block + lowest_bit(dots)
            dots &= dots - np.uint64(1)
            run = run + 1 if at == last + 1 else 1
            last = at
            if run == 3:
                tallies[ELLIPSES, i] += 1
                run = 0


@loop
def _add_tokens(counts, lengths, flags, i, tallies):
    """Count tokens by what each name has."""
    for name in range(len(counts)):
        count, has = np.int64(counts[name]), flags[name]
        tallies[TOKENS, i] += count
        tallies[WORDS, i] += count * ((has & WORD) != 0)
        tallies[WORD_CHARACTERS, i] += count * lengths[name] * ((has & WORD) != 0)
        tallies[ALPHABETIC_TOKENS, i] += count * ((has & LETTER) != 0)


@kernel
def _count(offsets, data, tokens, tallies):
    """Fill in int64 [tallies, documents]."""
    page = np.empty(longest_document(offsets) + PADDING, np.uint8)
    for i in range(len(offsets) - 1):
        first, last = tokens.known[i], tokens.known[i + 1]
        _add_tokens(
            tokens.counts[first:last], tokens.lengths[first:last], tokens.flags[first:last], i, tallies
        )
        length = open_page(page, data, offsets[i], offsets[i + 1])
        _add_marks(page, length, i, tallies)


def measure(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Signals over Unicode tokens of every text; all are 0 for an empty one."""
    offsets, data = valid(texts)
    tallies = np.zeros((len(TALLIES), len(offsets) - 1), np.int64)
    _count(offsets, data, tokens_of(texts), tallies)
    n = dict(zip(TALLIES, tallies, strict=True))
    return {
        "unicode_token_count": pa.array(n["tokens"]),
        "unicode_word_count": pa.array(n["words"]),
        "mean_unicode_word_length": ratio(n["word_characters"], n["words"]),
        "alphabetic_unicode_token_ratio": ratio(n["alphabetic"], n["tokens"]),
        "newline_unicode_token_ratio": ratio(n["newlines"], n["tokens"]),
        "hash_unicode_token_ratio": ratio(n["hashes"], n["tokens"]),
        "ellipsis_unicode_token_ratio": ratio(n["ellipses"], n["tokens"]),
    }


FAMILY = Family(
    "unicode_words",
    1,
    measure,
    (
        count_signal("unicode_token_count", "tokens", "segments of UAX #29 that are not white space"),
        count_signal("unicode_word_count", "words", "such segments with a letter or digit"),
        real_signal("mean_unicode_word_length", "characters", INF, "characters of such a word, on average"),
        real_signal(
            "alphabetic_unicode_token_ratio",
            "ratio",
            1.0,
            "Unicode tokens with a letter / tokens, punctuation marks too",
        ),
        real_signal("newline_unicode_token_ratio", "ratio", INF, "newlines / Unicode tokens"),
        real_signal("hash_unicode_token_ratio", "ratio", INF, '"#" characters / Unicode tokens'),
        real_signal("ellipsis_unicode_token_ratio", "ratio", INF, '"..." and "…" / Unicode tokens'),
    ),
)
