"""Rules on sentences of MADLAD-400 (Kudugunta et al. 2023, arXiv:2309.04662, section 2.3), as Olmo 3's filters read them.

A sentence ends at a run of ".", "!" or "?" before white space; blank ones do not count. It is in *list case* if it has
so many Unicode words and more than half of them begin with a capital, as menus and lists of names do. Few sentences have
that many capitals at all, so capitals are counted first, 64 bytes at a time, and words are looked for in those alone.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from filters.columns import count, ratio, tallied
from filters.text import masks, pages
from filters.text.bits import lowest_bits, places
from filters.text.classes import UPPERCASE, WHITESPACE, character_classes
from filters.text.compiled import kernel, loop
from filters.text.segments import WORD, find_tokens, word_breaks
from filters.text.vocabulary import window_end

LIST_WORDS = 12  # a sentence of fewer words is no list

end_mask = masks.any_of(".!?")

Tally = IntEnum("Tally", ["SENTENCES", "LIST_CASE"], start=0)


@loop
def _sentence_from(page, start, length, classes):
    """(where the sentence that begins at a byte ends, where the next one begins)."""
    run, last = start, start - 2  # where the marks that stand together begin, and the mark before
    for block in range(start, length, 64):
        for at in places(end_mask(page, block) & lowest_bits(length - block), block):
            if at != last + 1:
                run = at
            last = at
            code, _ = pages.decode(page, at + 1)
            if classes[code] & WHITESPACE:
                return run, at + 1
    return length, length


@kernel
def _is_list_case(page, start, end, breaks, classes):
    words = capitals = 0
    while start < end:
        size = window_end(page, start, end) - start
        edges, characters = np.empty(2 * size, np.int32), np.empty(2 * size, np.int32)
        flags = np.empty(size, np.uint8)
        tokens, _ = find_tokens(page[start:], size, edges, characters, flags, breaks, classes)
        for k in range(tokens):
            if flags[k] & WORD:
                words += 1
                code, _ = pages.decode(page, start + edges[2 * k])
                capitals += (classes[code] & UPPERCASE) != 0
        start += size
    return words >= LIST_WORDS and 2 * capitals > words


@kernel
def _count(offsets, data, breaks, classes, tallies):
    """Fill in int64 [tallies, documents]."""
    page = np.empty(pages.longest_document(offsets) + pages.PADDING, np.uint8)
    for i in range(len(offsets) - 1):
        length = pages.open_page(page, data, offsets[i], offsets[i + 1])
        start = 0
        while start < length:
            end, following = _sentence_from(page, start, length, classes)
            begin, end = pages.strip(page, start, end, classes)
            if begin < end:
                tallies[Tally.SENTENCES, i] += 1
                # Fewer capitals cannot begin more than half of the words.
                if 2 * pages.count_kinds(page, begin, end, classes)[3] > LIST_WORDS:
                    tallies[Tally.LIST_CASE, i] += _is_list_case(page, begin, end, breaks, classes)
            start = following


SIGNALS = (
    count("madlad_sentence_count", "sentences", Tally.SENTENCES,
          'stretches between runs of ".", "!" or "?" before white space, blank ones left out (MADLAD-400)'),
    ratio("madlad_list_case_sentence_ratio", Tally.LIST_CASE, Tally.SENTENCES,
          f"sentences of at least {LIST_WORDS} Unicode words, more than half of them with a capital first / sentences "
          "(MADLAD-400)"),
)  # fmt: skip

FAMILY = tallied("madlad", 1, SIGNALS, Tally, _count, word_breaks, character_classes)
