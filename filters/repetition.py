"""Repetition: lines, paragraphs and n-grams of words that a document says again.

A repeat is an occurrence after the first, a copy any occurrence of what occurs more than once. All of it is
exact, with no luck of hashes in it: whatever is looked up by a hash (a word, a line, a paragraph) is compared
byte by byte with what it was taken for. The hashes are keyed anew in every process, which no result can show:
so a text cannot be written whose words all collide, on which each look-up would pass by all others.

N-grams are named level by level. Words get small numbers; an (n + 1)-gram is the pair of the n-grams at its
place and at the next, looked up by that pair. Only what occurs at least twice goes on to the next level,
since a longer n-gram cannot repeat where a shorter one in it does not: ordinary text dies out after three
or four levels, and the worst text (one word forever) costs ten levels of one look-up a word, never more.

An n-gram is n words, not their letters run together: "a b c" is not taken for "ab c".
"""

from __future__ import annotations

import secrets

import numpy as np
import pyarrow as pa

from filters import Family
from filters.columns import INF, count_signal, ratio, real_signal
from filters.text import (
    ONE_BIT,
    PADDING,
    character_classes,
    continuation_mask,
    count_bits,
    eight_bytes,
    find_words,
    inlined,
    kernel,
    longest_document,
    lowest_bit,
    lowest_bits,
    newline_mask,
    open_page,
    strip,
    valid,
)
from filters.unicode_words import find_tokens, word_breaks

LONGEST_NGRAM = 10  # words
TOP_NGRAMS = (2, 3, 4)  # for these the most common n-gram counts
REPEATED_NGRAMS = (5, 6, 7, 8, 9, 10)  # for these every repeated one does

TALLIES = (
    "characters",
    "words",
    "distinct_words",
    "newlines",
    "lines",
    "repeated_lines",
    "repeated_line_characters",
    "repeated_text_line_characters",
    "paragraphs",
    "repeated_paragraphs",
    "repeated_paragraph_characters",
    "word_characters",
    "longest_word_run",
    "split_lines",
    "copied_lines",
    "copied_line_characters",
    *(f"top_{n}gram_characters" for n in TOP_NGRAMS),
    *(f"repeated_{n}gram_characters" for n in REPEATED_NGRAMS),
    *(f"top_{n}gram_word_characters" for n in TOP_NGRAMS),
    *(f"copied_{n}gram_characters" for n in REPEATED_NGRAMS),
    *(f"all_{n}gram_characters" for n in REPEATED_NGRAMS),
)
(
    CHARACTERS,
    WORDS,
    DISTINCT_WORDS,
    NEWLINES,
    LINES,
    REPEATED_LINES,
    REPEATED_LINE_CHARACTERS,
    REPEATED_TEXT_LINE_CHARACTERS,
    PARAGRAPHS,
    REPEATED_PARAGRAPHS,
    REPEATED_PARAGRAPH_CHARACTERS,
    WORD_CHARACTERS,
    LONGEST_WORD_RUN,
    SPLIT_LINES,
    COPIED_LINES,
    COPIED_LINE_CHARACTERS,
) = range(16)
NGRAMS = 16  # tallies[NGRAMS + n - 2]: top n-gram for n in 2..4, repeated n-grams for n in 5..10
MORE_NGRAMS = 25  # tallies[MORE_NGRAMS + n - 2]: of the same without spaces, and of all copies of n-grams
ALL_NGRAMS = 34  # tallies[ALL_NGRAMS + n - 5]: of every n-gram

_MIX = np.uint64(0x9E3779B97F4A7C15)
_MIX_AGAIN = np.uint64(0xD6E8FEB86659FD93)
_KEY = np.uint64(secrets.randbits(64))  # handed to the kernel: a global would be compiled into it, and kept

# ---- Names: the same number for the same thing, in order of first appearance -----------------------------


@inlined
def _slots_for(things):
    """Size of a hash table that stays at most half full: a power of two."""
    slots = 16
    while slots < 2 * things:
        slots *= 2
    return slots


@inlined
def _mixed(value):
    value = (value ^ (value >> np.uint64(32))) * _MIX
    return value ^ (value >> np.uint64(29))


@inlined
def _hash(page, start, end, hash_key):
    """64 bits of the bytes page[start:end], eight at a time."""
    value = np.uint64(end - start) * _MIX_AGAIN ^ hash_key
    while end - start > 8:
        value = _mixed(value ^ eight_bytes(page, start)) * _MIX_AGAIN
        start += 8
    return _mixed(value ^ (eight_bytes(page, start) & lowest_bits(8 * (end - start))))


@inlined
def _same_bytes(page, a, b, size):
    while size > 8:
        if eight_bytes(page, a) != eight_bytes(page, b):
            return False
        a, b, size = a + 8, b + 8, size - 8
    return (eight_bytes(page, a) ^ eight_bytes(page, b)) & lowest_bits(8 * size) == 0


@kernel
def _name_spans(page, edges, spans, names, first, keys, slots, hash_key):
    """names[i] of the bytes page[edges[2 * i]:edges[2 * i + 1]]; first[name] is the first i of a name.

    Returns how many names there are. `keys` and `slots` (-1: empty) are the hash table.
    """
    size = _slots_for(spans)
    slots[:size] = -1
    last_slot = np.uint64(size - 1)
    known = 0
    for i in range(spans):
        start, end = edges[2 * i], edges[2 * i + 1]
        key = _hash(page, start, end, hash_key)
        slot = key & last_slot
        while True:
            name = slots[slot]
            if name < 0:
                slots[slot], keys[slot], first[known] = known, key, i
                names[i] = known
                known += 1
                break
            if keys[slot] == key:
                twin = edges[2 * first[name]]
                same_size = edges[2 * first[name] + 1] - twin == end - start
                if same_size and _same_bytes(page, twin, start, end - start):
                    names[i] = name
                    break
            slot = (slot + ONE_BIT) & last_slot
    return known


# ---- N-grams --------------------------------------------------------------------------------------------


@kernel
def _name_pairs(places, names, repeats, pair_names, counts, keys, slots, hash_key):
    """Name the (n + 1)-grams that begin where a repeated n-gram does, and count each.

    `places` are the words at which the `repeats` repeated n-grams begin, in order, `names` what they are.
    pair_names[k] is -1 where the next place has no repeated n-gram. Returns how many names there are.
    """
    size = _slots_for(repeats)
    slots[:size] = -1
    last_slot = np.uint64(size - 1)
    known = 0
    for k in range(repeats):
        pair_names[k] = -1
        if k + 1 == repeats or places[k + 1] != places[k] + 1:
            continue
        key = np.uint64(names[k]) << np.uint64(32) | np.uint64(names[k + 1])
        slot = _mixed((key ^ hash_key) * _MIX_AGAIN) & last_slot
        while slots[slot] >= 0 and keys[slot] != key:
            slot = (slot + ONE_BIT) & last_slot
        name = slots[slot]
        if name < 0:
            name = known
            slots[slot], keys[slot], counts[name] = name, key, 0
            known += 1
        counts[name] += 1
        pair_names[k] = name
    return known


@kernel
def _keep_repeated(places, names, new_names, counts, repeats):
    """Keep the places whose new name occurs at least twice, and those names. Returns how many are kept."""
    kept = 0
    for k in range(repeats):
        name = new_names[k]
        if name >= 0 and counts[name] >= 2:
            places[kept], names[kept] = places[k], name
            kept += 1
    return kept


@inlined
def _gram_characters(words_before, place, n):
    """Characters of the n words from a place on, without the spaces between them."""
    return words_before[place + n] - words_before[place]


@kernel
def _top_characters(places, names, counts, known, repeats, words_before, n):
    """(characters of the most common n-gram without spaces, its occurrences); of equals the first seen."""
    top, top_count = -1, 1
    for name in range(known):
        if counts[name] > top_count:
            top, top_count = name, counts[name]
    place = 0  # where nothing repeats, the first n-gram is the most common one
    for k in range(repeats):
        if names[k] == top:
            place = places[k]
            break
    return _gram_characters(words_before, place, n), top_count


@kernel
def _repeated_characters(places, names, known, repeats, words_before, n, seen):
    """Characters of n-grams seen before, scanning from the left and jumping over each one found."""
    seen[:known] = 0
    characters, free_from = 0, 0
    for k in range(repeats):
        if places[k] < free_from:
            continue
        if seen[names[k]]:
            characters += _gram_characters(words_before, places[k], n)
            free_from = places[k] + n
        seen[names[k]] = 1
    return characters


@kernel
def _copied_characters(places, repeats, words_before, n):
    """Characters of every occurrence of a repeated n-gram, the first one included, those that overlap twice."""
    characters = 0
    for k in range(repeats):
        characters += _gram_characters(words_before, places[k], n)
    return characters


@kernel
def _all_characters(words, words_before, n):
    """Characters of every n-gram: a sum of words_before[i + n] - words_before[i], of which most cancel out."""
    characters = 0
    for k in range(n):
        characters += words_before[words - k] - words_before[k]
    return characters


@kernel
def _add_ngrams(
    words, places, names, new_names, counts, keys, slots, hash_key, seen, words_before, known, tally
):
    """`names[i]` is the name of word i, one of `known`. Overwrites all but `words_before`.

    Returns the entropy of the words in bits.
    """
    counts[:known] = 0
    run = 0
    for i in range(words):
        counts[names[i]] += 1
        places[i], new_names[i] = i, names[i]
        run = run + 1 if i and names[i] == names[i - 1] else 1
        tally[LONGEST_WORD_RUN] = max(tally[LONGEST_WORD_RUN], run)
    entropy = _entropy(counts, known, words)
    repeats = _keep_repeated(places, names, new_names, counts, words)
    for n in range(2, LONGEST_NGRAM + 1):
        if words < n:
            break
        if repeats:
            known = _name_pairs(places, names, repeats, new_names, counts, keys, slots, hash_key)
            repeats = _keep_repeated(places, names, new_names, counts, repeats)
        if n <= 4:
            size, top = _top_characters(
                places, names, counts, known if repeats else 0, repeats, words_before, n
            )
            tally[NGRAMS + n - 2], tally[MORE_NGRAMS + n - 2] = (size + n - 1) * top, size * top
            continue
        tally[ALL_NGRAMS + n - 5] = _all_characters(words, words_before, n)
        if repeats:
            characters = _repeated_characters(places, names, known, repeats, words_before, n, seen)
            tally[NGRAMS + n - 2] = characters
            tally[MORE_NGRAMS + n - 2] = _copied_characters(places, repeats, words_before, n)
    return entropy


@kernel
def _entropy(counts, known, words):
    """Shannon's entropy of the distribution of words, in bits: log2(words) - sum of count * log2(count) / words."""
    if words == 0:
        return 0.0
    total = 0.0
    for name in range(known):
        if counts[name] > 1:
            total += counts[name] * np.log2(counts[name])
    return max(0.0, np.log2(words) - total / words)


# ---- Lines and paragraphs -------------------------------------------------------------------------------


@kernel
def _find_lines(page, length, edges, characters):
    """Byte edges (begin, end) of the stretches without "\\n" that are not empty, and characters of each.

    Returns (stretches, newlines).
    """
    lines = newlines = 0
    start = start_characters = seen_characters = 0
    for block in range(0, length, 64):
        text = lowest_bits(length - block)
        found = newline_mask(page, block) & text
        first_bytes = ~continuation_mask(page, block) & text
        newlines += count_bits(found)
        while found:
            at = lowest_bit(found)
            found &= found - ONE_BIT
            before = seen_characters + count_bits(first_bytes & lowest_bits(at))
            if block + at > start:
                edges[2 * lines], edges[2 * lines + 1] = start, block + at
                characters[lines] = before - start_characters
                lines += 1
            start, start_characters = block + at + 1, before + 1
        seen_characters += count_bits(first_bytes)
    if length > start:
        edges[2 * lines], edges[2 * lines + 1] = start, length
        characters[lines] = seen_characters - start_characters
        lines += 1
    return lines, newlines


@kernel
def _add_lines(page, length, edges, characters, lines, names, first, classes, tally):
    """Gopher's lines are split at runs of "\\n", so an empty one comes first or last where a run does.

    FineWeb's are the same stretches without the blank ones.
    """
    leading = length > 0 and page[0] == 0x0A
    trailing = length > 0 and page[length - 1] == 0x0A
    tally[LINES] = lines + leading + trailing
    tally[REPEATED_LINES] = leading and trailing
    for i in range(lines):
        if first[names[i]] == i:
            continue
        tally[REPEATED_LINES] += 1
        tally[REPEATED_LINE_CHARACTERS] += characters[i]
        start, end = strip(page, edges[2 * i], edges[2 * i + 1], classes)
        if start < end:
            tally[REPEATED_TEXT_LINE_CHARACTERS] += characters[i]


@kernel
def _add_copied_lines(length, newlines, characters, lines, known, names, counts, tally):
    """Dolma's lines are those of `split("\\n")`, empty ones included; every copy of one counts, the first too."""
    tally[SPLIT_LINES] = newlines + 1 if length else 0
    empty = tally[SPLIT_LINES] - lines
    tally[COPIED_LINES] = empty if empty > 1 else 0
    counts[:known] = 0
    for i in range(lines):
        counts[names[i]] += 1
    for i in range(lines):
        if counts[names[i]] > 1:
            tally[COPIED_LINES] += 1
            tally[COPIED_LINE_CHARACTERS] += characters[i]


@kernel
def _find_paragraphs(page, length, edges, characters, lines, classes):
    """Turn the edges of lines into those of paragraphs of the stripped text, in place. Returns how many.

    Lines with one "\\n" between them belong together; that newline is a character of the paragraph.
    """
    text_start, text_end = strip(page, 0, length, classes)
    paragraphs = 0
    line_end = -2  # of the line before
    for i in range(lines):
        start, end = max(edges[2 * i], text_start), min(edges[2 * i + 1], text_end)
        if start >= end:
            continue
        size = characters[i]
        if start > edges[2 * i] or end < edges[2 * i + 1]:
            size = _count_characters(page, start, end)
        if start == line_end + 1:
            edges[2 * paragraphs - 1] = end
            characters[paragraphs - 1] += size + 1
        else:
            edges[2 * paragraphs], edges[2 * paragraphs + 1] = start, end
            characters[paragraphs] = size
            paragraphs += 1
        line_end = end
    return paragraphs


@kernel
def _count_characters(page, start, end):
    characters = 0
    for at in range(start, end):
        characters += (page[at] & 0xC0) != 0x80
    return characters


@kernel
def _add_paragraphs(paragraphs, characters, names, first, tally):
    tally[PARAGRAPHS] = paragraphs
    for i in range(paragraphs):
        if first[names[i]] != i:
            tally[REPEATED_PARAGRAPHS] += 1
            tally[REPEATED_PARAGRAPH_CHARACTERS] += characters[i]


# ---- The family -----------------------------------------------------------------------------------------


@kernel
def _count(offsets, data, classes, hash_key, tallies, entropies):
    """Fill in int64 [tallies, documents] and float64 [documents]."""
    longest = longest_document(offsets)
    page = np.empty(longest + PADDING, np.uint8)
    edges = np.empty(longest + 2, np.int64)  # of words, then of lines, then of paragraphs
    characters = np.empty(longest + 2, np.int64)  # at those edges, then of each line or paragraph
    most = longest // 2 + 1  # words, lines or paragraphs at the worst
    words_before = np.empty(most + 1, np.int64)  # characters of the words before each word
    names, new_names, first, places, counts = np.empty((5, most), np.int32)
    seen = np.empty(most, np.uint8)
    keys = np.empty(_slots_for(most), np.uint64)
    slots = np.empty(len(keys), np.int32)
    tally = np.empty(len(tallies), np.int64)
    for i in range(len(offsets) - 1):
        length = open_page(page, data, offsets[i], offsets[i + 1])
        tally[:] = 0
        words, tally[CHARACTERS] = find_words(page, length, edges, characters)
        tally[WORDS] = words
        words_before[0] = 0
        for k in range(words):
            words_before[k + 1] = words_before[k] + characters[2 * k + 1] - characters[2 * k]
        tally[DISTINCT_WORDS] = _name_spans(page, edges, words, names, first, keys, slots, hash_key)
        tally[WORD_CHARACTERS] = words_before[words]
        known = tally[DISTINCT_WORDS]
        entropies[i] = _add_ngrams(
            words, places, names, new_names, counts, keys, slots, hash_key, seen, words_before, known, tally
        )
        lines, tally[NEWLINES] = _find_lines(page, length, edges, characters)
        known = _name_spans(page, edges, lines, names, first, keys, slots, hash_key)
        _add_copied_lines(length, tally[NEWLINES], characters, lines, known, names, counts, tally)
        _add_lines(page, length, edges, characters, lines, names, first, classes, tally)
        paragraphs = _find_paragraphs(page, length, edges, characters, lines, classes)
        _name_spans(page, edges, paragraphs, names, first, keys, slots, hash_key)
        _add_paragraphs(paragraphs, characters, names, first, tally)
        tallies[:, i] = tally


@kernel
def _count_tokens(offsets, data, table, classes, hash_key, tallies):
    """Fill in int64 [tallies, documents], those of n-grams alone, of Unicode tokens."""
    longest = longest_document(offsets)
    page = np.empty(longest + PADDING, np.uint8)
    edges, characters = np.empty(2 * longest + 2, np.int64), np.empty(2 * longest + 2, np.int64)
    flags = np.empty(longest + 1, np.uint8)
    most = longest + 1  # every character a token
    words_before = np.empty(most + 1, np.int64)
    names, new_names, first, places, counts = np.empty((5, most), np.int32)
    seen = np.empty(most, np.uint8)
    keys = np.empty(_slots_for(most), np.uint64)
    slots = np.empty(len(keys), np.int32)
    tally = np.empty(len(tallies), np.int64)
    for i in range(len(offsets) - 1):
        length = open_page(page, data, offsets[i], offsets[i + 1])
        tally[:] = 0
        words, tally[CHARACTERS] = find_tokens(page, length, edges, characters, flags, table, classes)
        words_before[0] = 0
        for k in range(words):
            words_before[k + 1] = words_before[k] + characters[2 * k + 1] - characters[2 * k]
        known = _name_spans(page, edges, words, names, first, keys, slots, hash_key)
        _add_ngrams(
            words, places, names, new_names, counts, keys, slots, hash_key, seen, words_before, known, tally
        )
        tallies[:, i] = tally


def measure_tokens(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Repetition of n-grams of Unicode tokens in every text; all are 0.0 for an empty one."""
    offsets, data = valid(texts)
    tallies = np.zeros((len(TALLIES), len(offsets) - 1), np.int64)
    _count_tokens(offsets, data, word_breaks(), character_classes(), _KEY, tallies)
    n = dict(zip(TALLIES, tallies, strict=True))
    return {
        f"unicode_{name}": ratio(n[name.replace("_character_ratio", "_characters")], n["characters"])
        for name in _NGRAM_SIGNALS
    }


def measure(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Repetition signals of every text; all are 0.0 for an empty one."""
    offsets, data = valid(texts)
    tallies = np.zeros((len(TALLIES), len(offsets) - 1), np.int64)
    entropies = np.zeros(len(offsets) - 1)
    _count(offsets, data, character_classes(), _KEY, tallies, entropies)
    n = dict(zip(TALLIES, tallies, strict=True))
    whole = n["characters"]
    columns = {
        "distinct_word_ratio": ratio(n["distinct_words"], n["words"]),
        "repeated_paragraph_ratio": ratio(n["repeated_paragraphs"], n["paragraphs"]),
        "repeated_paragraph_character_ratio": ratio(n["repeated_paragraph_characters"], whole),
        "repeated_line_ratio": ratio(n["repeated_lines"], n["lines"]),
        "repeated_line_character_ratio": ratio(n["repeated_line_characters"], whole),
        "repeated_text_line_character_ratio": ratio(
            n["repeated_text_line_characters"], whole - n["newlines"]
        ),
    }
    for name in _NGRAM_SIGNALS:
        columns[name] = ratio(n[name.replace("_character_ratio", "_characters")], whole)
    columns |= {
        "repeated_split_line_character_ratio": ratio(n["repeated_line_characters"], whole - n["newlines"]),
        "copied_line_ratio": ratio(n["copied_lines"], n["split_lines"]),
        "copied_line_character_ratio": ratio(n["copied_line_characters"], n["word_characters"]),
    }
    for k in TOP_NGRAMS:
        columns[f"top_{k}gram_word_character_ratio"] = ratio(
            n[f"top_{k}gram_word_characters"], n["word_characters"]
        )
    for k in REPEATED_NGRAMS:
        columns[f"copied_{k}gram_character_ratio"] = ratio(
            n[f"copied_{k}gram_characters"], n[f"all_{k}gram_characters"]
        )
    columns["longest_word_run"] = pa.array(n["longest_word_run"])
    columns["word_entropy"] = pa.array(entropies)
    return columns


_NGRAM_SIGNALS = {
    **{
        f"top_{n}gram_character_ratio": (
            f"characters of the most common {n} words in a row, spaces between them included, / characters"
        )
        for n in TOP_NGRAMS
    },
    **{
        f"repeated_{n}gram_character_ratio": (
            f"characters of {n} words in a row said before, none counted twice, / characters"
        )
        for n in REPEATED_NGRAMS
    },
}


def _signal(name: str, says: str, high: float = 1.0):
    return real_signal(name, "ratio", high, says)


FAMILY = Family(
    "repetition",
    2,
    measure,
    (
        _signal("distinct_word_ratio", "different words / words"),
        _signal("repeated_paragraph_ratio", "repeated paragraphs / paragraphs (Gopher)"),
        _signal(
            "repeated_paragraph_character_ratio", "characters of repeated paragraphs / characters (Gopher)"
        ),
        _signal("repeated_line_ratio", "repeated lines / lines (Gopher)"),
        _signal("repeated_line_character_ratio", "characters of repeated lines / characters (Gopher)"),
        _signal(
            "repeated_text_line_character_ratio",
            "characters of repeated text lines / characters that are no newline (FineWeb)",
        ),
        # Occurrences of one n-gram overlap ("a a a a"), so those of the top one can exceed the text.
        *(
            _signal(name, f"{says} (Gopher)", float("inf") if name.startswith("top") else 1.0)
            for name, says in _NGRAM_SIGNALS.items()
        ),
        _signal(
            "repeated_split_line_character_ratio",
            "characters of repeated lines / characters that are no newline (FineWeb's first version)",
        ),
        _signal(
            "copied_line_ratio",
            'lines of split("\\n") that occur more than once, first ones too / lines (Dolma)',
        ),
        _signal(
            "copied_line_character_ratio",
            "characters of such lines / characters that are no whitespace (Dolma)",
            INF,
        ),
        *(
            _signal(
                f"top_{n}gram_word_character_ratio",
                f"characters of the most common {n} words in a row / characters that are no whitespace (Dolma)",
                INF,
            )
            for n in TOP_NGRAMS
        ),
        *(
            _signal(
                f"copied_{n}gram_character_ratio",
                f"characters of every {n} words in a row that occur more than once / those of all {n} in a row (Dolma)",
            )
            for n in REPEATED_NGRAMS
        ),
        count_signal("longest_word_run", "words", "the longest run of one word said again and again"),
        real_signal("word_entropy", "bits", INF, "Shannon's entropy of the distribution of words"),
    ),
)

UNICODE = Family(
    "unicode_repetition",
    1,
    measure_tokens,
    tuple(
        _signal(
            f"unicode_{name}",
            f"{says.replace('words', 'Unicode tokens')} (FineWeb-2)",
            INF if name.startswith("top") else 1.0,
        )
        for name, says in _NGRAM_SIGNALS.items()
    ),
)
