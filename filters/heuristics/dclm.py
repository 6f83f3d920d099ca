"""DCLM's rules where they differ from the papers they cite (Li et al. 2024, arXiv:2406.11794, appendix; RefinedWeb's).

Read beside the code of its `dclm_baseline_refinedweb` pipeline. Its words are whitespace words, those that begin
with a letter or digit where punctuation is ignored; its n-grams are of Unicode words (UAX #29), likewise without
punctuation. Its lines are those of `split("\\n")`, stripped and without blank ones where they are counted and
compared; a copy is any occurrence of what occurs more than once, and what stands alone is no copy of itself.

Its line edits drop a line that is mostly capitals, all digits, a counter ("3 likes") or a word alone, and take
"items in cart", a "Read more..." at the end and a "Sign-in" at the beginning out of short lines. They are spans,
which a level may cut; DCLM drops a document that loses more than a twentieth of its words to them.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import pyarrow as pa

from filters.columns import INF, Source, columns, count, ratio, span
from filters.family import Family, Signal
from filters.text import masks, ngrams, pages
from filters.text.batches import valid
from filters.text.bits import NO_BITS, lowest_bits, places
from filters.text.classes import ALPHABETIC, DIGIT, WHITESPACE, character_classes
from filters.text.compiled import inlined, kernel, loop
from filters.text.english import LOWER_CASE, STOP_WORDS, STOPS, find_stop_word
from filters.text.phrases import ends_in, is_one_of, is_phrase, lower, table_of
from filters.text.vocabulary import FIRST, read_kind, tokens_to_spend

SHORT_LINE = 10  # words: in longer lines no phrase is taken out
UPPERCASE_LINE = 0.5  # a line with a greater share of capitals goes
COUNTED = (
    "likes", "shares", "comments", "retweets", "reposts", "quotes", "bookmarks", "upvotes", "downvotes", "downloads",
    "views", "followers",
)  # fmt: skip
PHRASES = ("items in cart", "read more", "sign-in")
CART, READ_MORE, SIGN_IN = range(len(PHRASES))
# Kernels have these compiled into them.
_COUNTED, _COUNTED_SIZES = table_of(COUNTED)
_PHRASES, _SIZES = table_of(PHRASES)

Tally = IntEnum("Tally", [
    "WORDS", "BARE_WORDS", "EDITED_WORDS", "STOP_WORDS", "SYMBOLS", "WORD_CHARACTERS",
    "BULLETS", "ELLIPSES", "EDITS",
    "LINES", "LINE_CHARACTERS", "COPIED_LINES", "COPIED_LINE_CHARACTERS",  # as `_add_copies` counts them
    "PARAGRAPHS", "PARAGRAPH_CHARACTERS", "COPIED_PARAGRAPHS", "COPIED_PARAGRAPH_CHARACTERS",
], start=0)  # fmt: skip


# ---- Words and symbols ----------------------------------------------------------------------------------


@loop
def _add_words(page, edges, words, classes, stops, bare, tally):
    """`bare[i]`: how many of the words before word i begin with a letter or digit."""
    bare[0] = 0
    for i in range(words):
        start = edges[2 * i]
        code = np.int64(page[start])
        if code >= 0x80:
            code, _ = pages.decode(page, start)
        bare[i + 1] = bare[i] + ((classes[code] & (ALPHABETIC | DIGIT)) != 0)
        tally[Tally.STOP_WORDS] += find_stop_word(page, start, edges[2 * i + 1] - start, stops, LOWER_CASE)[0]
    tally[Tally.WORDS], tally[Tally.BARE_WORDS] = words, bare[words]


@loop
def _add_symbols(page, length, tally):
    _, hashes, ellipses = pages.count_marks(page, length)
    tally[Tally.SYMBOLS] = hashes + ellipses
    spaced, last = 0, -3  # dots of ". . ." so far, and the dot before
    for block in range(0, length, 64):
        for at in places(masks.dot_mask(page, block) & lowest_bits(length - block), block):
            spaced = spaced + 1 if at == last + 2 and page[last + 1] == 0x20 else 1
            last = at
            if spaced == 3:
                tally[Tally.SYMBOLS] += 1
                spaced = 0


# ---- Line edits -----------------------------------------------------------------------------------------


@inlined
def _skip_other(page, at, end, classes):
    """The first byte from here that begins a letter, a digit or "_"."""
    while at < end:
        code, width = pages.decode(page, at)
        if code == 0x5F or classes[code] & (ALPHABETIC | DIGIT):
            break
        at += width
    return at


@loop
def _is_counter(page, start, end, classes):
    """A number such as 3, 1.2K or 4,000, white space, what is counted, and nothing else that is a word."""
    at = _skip_other(page, start, end, classes)
    if at == end:
        return False
    code, width = pages.decode(page, at)
    if not classes[code] & DIGIT:
        return False
    while at < end:
        code, width = pages.decode(page, at)
        if not (classes[code] & DIGIT or code == 0x2C or code == 0x2E):
            break
        at += width
    if at < end:
        letter = lower(page[at])
        at += letter == 0x6B or letter == 0x6D or letter == 0x62
    begin = at
    while at < end:
        code, width = pages.decode(page, at)
        if not classes[code] & WHITESPACE:
            break
        at += width
    if at == begin:
        return False
    for k in range(len(_COUNTED)):
        if is_phrase(page, at, end, _COUNTED, _COUNTED_SIZES, k):
            return _skip_other(page, at + _COUNTED_SIZES[k], end, classes) == end
    return False


@loop
def _falls(page, start, end, words, classes):
    """The whole line, which is not empty, goes."""
    if words < 2:
        return True
    characters, _, digits, capitals = pages.count_kinds(page, start, end, classes)
    if capitals > UPPERCASE_LINE * characters or digits == characters:
        return True
    return digits > 0 and _is_counter(page, start, end, classes)


@inlined
def _without_space(line, floor, size, classes):
    """The size of line[floor:size] without its last character if that is white space."""
    if size == floor:
        return size
    last = pages.last_character(line, floor, size)
    code, _ = pages.decode(line, last)
    return last if classes[code] & WHITESPACE else size


m_mask, s_mask = masks.any_of("mM"), masks.any_of("sS")


@inlined
def _read_more(page, start, end):
    """Where the "read more" begins that three characters follow up to the end; -1 where there is none."""
    tail = end
    for _ in range(3):
        tail = pages.last_character(page, start, tail) if tail > start else start - 1
    begin = tail - _SIZES[READ_MORE]
    return begin if begin >= start and is_phrase(page, begin, end, _PHRASES, _SIZES, READ_MORE) else -1


@inlined
def _may_have_phrase(page, start, end):
    """Most lines neither begin with "sign-in", nor end in "read more" and three characters, nor have an "ms"."""
    if is_phrase(page, start, end, _PHRASES, _SIZES, SIGN_IN) or _read_more(page, start, end) >= 0:
        return True
    hits = NO_BITS
    for block in range(start, end, 64):
        hits |= m_mask(page, block) & s_mask(page, block + 1) & lowest_bits(end - block)
    return hits != NO_BITS


@loop
def _phrases(page, start, end, classes, line, places, gone, edits, count):
    """Note what to take out of a short line: every "items in cart"; a "read more" and three characters that then end
    it; a "sign-in" that then begins it; and the white space beside them. Returns (spans then, nothing is left).

    `line` and `places` are the bytes that stay so far and where they stand.
    """
    size = floor = 0
    at = start
    while at < end:
        if is_phrase(page, at, end, _PHRASES, _SIZES, CART):
            size = floor = _without_space(line, floor, size, classes)
            at += _SIZES[CART]
        else:
            line[size], places[size] = page[at], at
            size += 1
            at += 1
    read_more = _read_more(line, 0, size)
    if read_more >= 0:
        size = _without_space(line, 0, read_more, classes)
    head = 0
    if is_phrase(line, 0, size, _PHRASES, _SIZES, SIGN_IN):
        head = _SIZES[SIGN_IN]
        if head < size:
            code, width = pages.decode(line, head)
            head += width if classes[code] & WHITESPACE else 0
    if size - head == end - start:
        return count, False
    gone[start:end] = 1
    blank = True
    for k in range(head, size):
        gone[places[k]] = 0
        if line[k] & 0xC0 != 0x80:
            code, _ = pages.decode(line, k)
            blank = blank and classes[code] & WHITESPACE != 0
    for at in range(start, end):
        if gone[at] and (at == start or not gone[at - 1]):
            edits[2 * count] = at
            count += 1
        if gone[at]:
            edits[2 * count - 1] = at + 1
    return count, blank


@loop
def _edit(page, length, edges, words, bare, classes, line, places, gone, edits, tally):
    """Note the spans that the line edits take out of a document; returns how many there are."""
    start = word = count = 0
    while start < length:
        end = pages.newline_from(page, start, length)
        first_word = word
        while word < words and edges[2 * word] < end:
            word += 1
        if end > start:
            first = count
            goes = _falls(page, start, end, word - first_word, classes)
            is_short = not goes and word - first_word <= SHORT_LINE
            if is_short and _may_have_phrase(page, start, end):
                count, goes = _phrases(page, start, end, classes, line, places, gone, edits, count)
            if goes:
                count = first + 1
                edits[2 * first], edits[2 * first + 1] = start, min(end + 1, length)
                tally[Tally.EDITED_WORDS] += bare[word] - bare[first_word]
            else:
                for k in range(first, count):
                    for i in range(first_word, word):
                        inside = edits[2 * k] <= edges[2 * i] < edits[2 * k + 1]
                        tally[Tally.EDITED_WORDS] += inside and bare[i + 1] > bare[i]
        start = end + 1
    return count


# ---- Repetition -----------------------------------------------------------------------------------------


@loop
def _segments(page, length, newlines, classes, edges):
    """Byte edges of the stretches between runs of exactly so many "\\n", stripped, without the blank ones."""
    count = start = 0
    while start <= length:
        at = pages.newline_from(page, start, length)
        while at < length:
            run = 1
            while run < newlines and at + run < length and page[at + run] == 0x0A:
                run += 1
            if run == newlines:
                break
            at = pages.newline_from(page, at + 1, length)
        bare, bare_end = pages.strip(page, start, at, classes)
        if bare < bare_end:
            edges[2 * count], edges[2 * count + 1] = bare, bare_end
            count += 1
        if at >= length:
            break
        start = at + newlines
    return count


@loop
def _add_copies(page, edges, segments, names, counts, tally):
    """Count segments, their characters, and the same of copies; one segment alone is no copy."""
    tally[0] = segments
    for i in range(segments):
        size, is_copy = pages.count_characters(page, edges[2 * i], edges[2 * i + 1]), counts[names[i]] > 1
        tally[1] += size
        tally[2] += is_copy
        tally[3] += size * is_copy


@loop
def _add_lines(page, edges, lines, tally):
    for i in range(lines):
        start, end = edges[2 * i], edges[2 * i + 1]
        code, _ = pages.decode(page, start)
        tally[Tally.BULLETS] += is_one_of(code, (0x25CF, 0x2022, 0x2A, 0x2D))
        tally[Tally.ELLIPSES] += (
            ends_in(page, start, end, b"...")
            or ends_in(page, start, end, b". . .")
            or ends_in(page, start, end, b"\xe2\x80\xa6")
        )


@loop
def _add_ngrams(words, places, names, of, to, scratch, hash_key, words_before, sizes):
    """The top n-gram is the longest of the most common ones; of longer n-grams every word in a copy counts once."""
    grams = words
    for n in range(2, ngrams.LONGEST_NGRAM + 1):
        grams, known = ngrams.longer_grams(places, names, grams, of, to, scratch, hash_key)
        if grams == 0:
            return
        of, to = to, of
        if n <= 4:
            most = np.uint32(2)
            for count in of.counts[:known]:
                most = max(most, count)
            for name in range(known):
                if of.counts[name] == most:
                    size = np.int64(most) * ngrams.gram_characters(words_before, np.int64(of.firsts[name]), n)
                    sizes[n] = max(sizes[n], size)
            continue
        covered = np.int64(0)  # words up to here are counted
        for k in range(grams):
            if of.counts[names[k]] >= 2:
                place = np.int64(places[k])
                sizes[n] += words_before[place + n] - words_before[max(place, covered)]
                covered = place + n


@kernel
def _count_lines(offsets, data, classes, hash_key, stops, tallies):
    """Fill in int64 [tallies, documents], those of n-grams excepted; returns the edges of all documents' edits."""
    longest, most_lines = pages.longest_document(offsets), pages.most_newlines(offsets, data) + 1
    page, line = np.zeros(longest + pages.PADDING, np.uint8), np.zeros(longest + pages.PADDING, np.uint8)
    room = max(longest + 10, 2 * most_lines)
    edges, characters = np.empty(room, np.int32), np.empty(room, np.int32)
    gone, blocks = np.empty(longest + 1, np.uint8), np.empty(pages.blocks_of(longest), np.uint64)
    bare = np.empty(longest // 2 + 2, np.int32)
    names, places = np.empty(most_lines, np.uint32), np.empty(most_lines, np.uint32)
    table, _, scratch = ngrams.tables_for(most_lines)
    tally = np.empty(len(tallies), np.int64)
    all_edits = np.empty(64, np.int64)
    edits = 0
    for i in range(len(offsets) - 1):
        length = pages.open_page(page, data, offsets[i], offsets[i + 1])
        tally[:] = 0
        words, _ = pages.find_words(page, length, edges, characters, blocks)
        _add_words(page, edges, words, classes, stops, bare, tally)
        _add_symbols(page, length, tally)
        all_edits = pages.with_room(all_edits, 2 * edits, length + 4)  # a span is of two bytes or more
        spans = _edit(
            page, length, edges, words, bare, classes, line, characters, gone, all_edits[2 * edits :], tally
        )  # fmt: skip
        edits += spans
        tally[Tally.EDITS] = spans

        lines = _segments(page, length, 1, classes, edges)
        _add_lines(page, edges, lines, tally)
        ngrams.name_spans(page, edges, lines, places, names, table, scratch, hash_key)
        _add_copies(page, edges, lines, names, table.counts, tally[Tally.LINES.value :])
        paragraphs = _segments(page, length, 2, classes, edges)
        ngrams.name_spans(page, edges, paragraphs, places, names, table, scratch, hash_key)
        _add_copies(page, edges, paragraphs, names, table.counts, tally[Tally.PARAGRAPHS.value :])
        tallies[:, i] = tally
    return all_edits[: 2 * edits].copy()


@kernel
def _count_ngrams(tokens, most, overwrite, hash_key, tallies, gram_sizes):
    """Fill in int64 [n, documents]: apart from the rest, so that a huge document needs room for one of both at a time.
    `overwrite`: the tokens' names may be written over."""
    words_before = np.empty(most + 1, np.int32)
    room, places = np.empty(0 if overwrite else most, np.uint32), np.empty(most + 1, np.uint32)
    table, other, scratch = ngrams.tables_for(most)
    for i in range(len(tokens.characters)):
        named = tokens.names[tokens.firsts[i] : tokens.firsts[i + 1]]
        first, last = tokens.known[i], tokens.known[i + 1]
        names = named if overwrite else room
        lengths, flags = tokens.lengths[first:last], tokens.flags[first:last]
        words = read_kind(named, lengths, flags, FIRST, names, places, words_before)
        tallies[Tally.WORD_CHARACTERS, i] = words_before[words]
        table.counts[: last - first] = tokens.counts[first:last]
        _add_ngrams(words, places, names, table, other, scratch, hash_key, words_before, gram_sizes[:, i])


def _ratio(name: str, part: Source, whole: Source, says: str, high: float = 1.0) -> Signal:
    return ratio(f"dclm_{name}", part, whole, f"{says} (DCLM)", high=high)


def _ngrams(name: str, n: int, says: str, high: float = 1.0) -> Signal:
    return _ratio(f"{name}_{n}gram_character_ratio", lambda measured: measured.gram_sizes[n], Tally.WORD_CHARACTERS,
                  f"characters of the {says} / characters of the words", high)  # fmt: skip


SIGNALS = (
    count("dclm_word_count", "words", Tally.BARE_WORDS, "words that begin with a letter or digit (DCLM)"),
    count("dclm_stop_word_count", "words", Tally.STOP_WORDS,
          f"occurrences of {', '.join(STOP_WORDS)}, in upper or lower case (DCLM)"),
    _ratio("symbol_word_ratio", Tally.SYMBOLS, Tally.WORDS, '"#", "...", ". . ." and "…" / words', INF),
    _ratio("bullet_line_ratio", Tally.BULLETS, Tally.LINES,
           'lines that begin with "●", "•", "*" or "-" / lines, none blank'),
    _ratio("ellipsis_line_ratio", Tally.ELLIPSES, Tally.LINES,
           'lines that end in "...", ". . ." or "…" / lines, none blank'),
    _ratio("copied_line_ratio", Tally.COPIED_LINES, Tally.LINES,
           "stripped lines that occur more than once / lines, none blank"),
    _ratio("copied_line_character_ratio", Tally.COPIED_LINE_CHARACTERS, Tally.LINE_CHARACTERS,
           "characters of such lines / those of all such lines"),
    _ratio("copied_paragraph_ratio", Tally.COPIED_PARAGRAPHS, Tally.PARAGRAPHS,
           "the same of paragraphs, split at every two newlines"),
    _ratio("copied_paragraph_character_ratio", Tally.COPIED_PARAGRAPH_CHARACTERS, Tally.PARAGRAPH_CHARACTERS,
           "characters of such paragraphs / those of all"),
    *(_ngrams("top", n, f"longest of the most common {n} Unicode words in a row, 0 where none occurs twice", INF)
      for n in ngrams.TOP_NGRAMS),
    *(_ngrams("copied", n, f"Unicode words within {n} in a row that occur more than once") for n in ngrams.REPEATED_NGRAMS),
    _ratio("edited_word_ratio", Tally.EDITED_WORDS, Tally.BARE_WORDS,
           "words that its line edits take out / words, as dclm_word_count"),
    span("dclm_edit_spans", Tally.EDITS, "edits",
         "lines of capitals, digits, a counter or one word, and phrases of shops and teasers (DCLM)"),
)  # fmt: skip


def measure(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """DCLM's own signals of every text; all are 0, and no spans, for an empty one."""
    offsets, data = valid(texts)
    documents = len(offsets) - 1
    tallies, gram_sizes = (
        np.zeros((size, documents), np.int64) for size in (len(Tally), ngrams.LONGEST_NGRAM + 1)
    )
    edits = _count_lines(offsets, data, character_classes(), ngrams.KEY, STOPS, tallies)
    tokens, overwrite = tokens_to_spend(texts)
    _count_ngrams(tokens, tokens.most(), overwrite, ngrams.KEY, tallies, gram_sizes)
    return columns(SIGNALS, tallies=tallies, gram_sizes=gram_sizes, edits=edits)


FAMILY = Family("dclm", 1, measure, SIGNALS)
