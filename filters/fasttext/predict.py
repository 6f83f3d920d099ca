"""Apply a fastText classifier to every document of a text column: the label and probability of the library.

Equal means equal bits: sums run in the library's order, in float32, and its habits are kept: a document is
one line that ends in the token `</s>` (its newlines are white space, a literal `</s>` ends it early); bytes
are hashed with their sign; a token that begins with `__label__` is no word; of equal scores the later label
wins; a probability is exp(log(p + 1e-5)) and may exceed 1 a little.

Design: nearly all time would go into hashing the character n-grams of words seen before. So a word that was looked up
is remembered by its thread, with its rows: one line of the cache, found by the word's first and last eight bytes, which
up to sixteen bytes are the whole word; longer ones are remembered as long as their text is at hand, for one call. Text
is read 64 bytes at a time, the rows of some thousand words are listed, then added in one pass. The price: some 8 MB a
thread and model, and words longer than `LONGEST_REMEMBERED` (text without spaces, mostly) are hashed every time.
Everything is inlined into one kernel: handing two tuples of arrays to a function copies two kilobytes, which took longer
than what the function did.
"""

from __future__ import annotations

import math
import threading
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from filters.arrow import utf8
from filters.fasttext.outputs import LOG_FLOOR, best_label
from filters.fasttext.tables import (
    FNV_OFFSET,
    Tables,
    bucket_of,
    entry_of,
    hash_byte,
    is_kept,
    row_if_kept,
    row_of_bucket,
    same_span,
    tables_of,
)
from filters.fasttext.vectors import LANES, add_rows, bits_at, copier, hash_bytes, hash_grams, remainders
from filters.text.bits import (
    NO_BITS,
    ONE_BIT,
    count_bits,
    eight_bytes,
    leading_zeros,
    lowest_bit,
    lowest_bits,
    places,
)
from filters.text.compiled import inlined, loop
from filters.text.masks import continuation_mask, in_ranges, newline_mask

__all__ = ["LOG_FLOOR", "Tables", "predict", "tables_of"]

WORD_NGRAM_FACTOR = np.uint64(116049371)
LONGEST_REMEMBERED = 61  # bytes, so that bits of `<word>` and its end are one number
MOST_SLOTS = 1 << 16
ROWS_IN_SLOT = 8  # of a word; of one that has more, they stand in `more_rows`
MORE_ROWS = 1 << 20
MODELS = 2  # of which a thread remembers words: language and a classifier
WINDOW = 1 << 10  # words that are found at a time
LISTED = 1 << 12  # rows that are added at a time
LABEL_PREFIX = np.frombuffer(b"__label__", np.uint8)
END_OF_LINE = np.frombuffer(b"</s>", np.uint8)
_END_OF_LINE = np.uint64(int.from_bytes(END_OF_LINE, "little"))
_MIX, _MIX_AGAIN = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)
LONG, NO_WORD = -2, -1
NO_LINES = -1

_copy_block, _copy_rows = copier(64, 8), copier(ROWS_IN_SLOT, 32)
space_mask = in_ranges((0, 0), (9, 13), (32, 32))  # what the library separates words at


class Scratch(NamedTuple):
    """Working space of one call, so of one thread, and what the thread remembers from one call to the next.

    A slot is 64 bytes, seen as numbers of 64 and of 32 bits: the word's first and last eight bytes, where it stands;
    its hash, its size and number of rows, and its rows.
    """

    edges: np.ndarray  # int64: where the words of a window begin and end
    tail: np.ndarray  # uint8 [64]: the last bytes of the column, zeros behind them
    word: np.ndarray  # uint8: a word in its brackets
    short: np.ndarray  # uint8: the same of a short one
    grams: np.ndarray  # uint32 [characters, byte at which they begin]: hashes of its n-grams, then buckets
    kept: np.ndarray  # uint64 [characters]: bits of those that may have a row
    hashes: np.ndarray  # int32: of the words of one document, for word n-grams
    slots: np.ndarray  # uint64 [slots, 8]: remembered words
    numbers: np.ndarray  # int32 [slots * 16]: the same bytes
    more_rows: np.ndarray  # int32: rows of remembered words that have many
    n_more: np.ndarray  # int64 [1]: of them in use
    listed: np.ndarray  # int32: rows to be added
    added: np.ndarray  # int64 [1]: how many were
    hidden_D: np.ndarray  # their sum, of a document
    line_D: np.ndarray  # and of a line of it
    output_L: np.ndarray
    stack: np.ndarray
    stack_score: np.ndarray


class Lines(NamedTuple):
    """The lines of all documents that are long enough, each as a document of its own."""

    labels: np.ndarray  # int32: -1 where a line has no words, or no part of it a row
    sizes: np.ndarray  # int64: bytes
    documents: np.ndarray  # int64: whose line it is


def predict(tables: Tables, texts: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(label int32, probability float32, words int64) of every document.

    The label is -1 and the probability NaN where no part of a document, `</s>` included, has a row. `words`
    counts tokens that are no labels; where it is 0, the prediction says nothing but what `</s>` alone gets.
    """
    return predict_lines(tables, texts, NO_LINES)[:3]


def predict_lines(
    tables: Tables, texts: pa.Array | pa.ChunkedArray, shortest: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Lines]:
    """What `predict` returns, and of the same pass the lines (between two "\n") of at least so many bytes."""
    offsets, data = utf8(texts)
    n_documents = len(offsets) - 1
    most_lines = int(offsets[-1] - offsets[0]) // (shortest + 1) + n_documents if shortest >= 0 else 0
    labels, line_labels = np.empty(n_documents, np.int32), np.empty(most_lines, np.int32)
    scores, words = np.empty(n_documents, np.float32), np.empty(n_documents, np.int64)
    sizes, documents = np.empty(most_lines, np.int64), np.empty(most_lines, np.int64)
    lines = 0
    if n_documents:
        scratch = _scratch(tables, offsets)
        lines = _predict_documents(
            tables, scratch, offsets, data, shortest, labels, scores, words, line_labels, sizes, documents
        )
    return labels, scores, words, Lines(line_labels[:lines], sizes[:lines], documents[:lines])


# .memories: of the models that it applied last, each (its tables, what it remembers).
_thread = threading.local()


def _memory(tables: Tables) -> dict[str, np.ndarray]:
    """What of `Scratch` this thread remembers of a model; of a new one, nothing."""
    memories = getattr(_thread, "memories", [])
    for of, memory in memories:
        if of.input_RD is tables.input_RD:
            return memory
    slots = np.zeros(MOST_SLOTS + 1, "V64").view(np.uint8)
    slots = slots[-slots.ctypes.data % 64 :][: 64 * MOST_SLOTS]  # a slot, a line of the cache
    memory = {
        "slots": slots.view(np.uint64).reshape(-1, 8),
        "numbers": slots.view(np.int32),
        "more_rows": np.empty(MORE_ROWS + _most_rows(tables), np.int32),
        "n_more": np.zeros(1, np.int64),
    }
    _thread.memories = [(tables, memory), *memories][:MODELS]
    return memory


def _scratch(tables: Tables, offsets: np.ndarray) -> Scratch:
    longest = int(np.diff(offsets).max())
    characters, n_labels = max(tables.max_characters, 1), len(tables.output_scale_L)
    memory = _memory(tables)
    # Long words were compared with the text of another call: they are forgotten.
    memory["slots"][(memory["numbers"][7::16] & 0xFFFF) > 16] = 0
    return Scratch(
        edges=np.empty(2 * WINDOW + 66, np.int64),
        tail=np.zeros(64, np.uint8),
        word=np.empty(longest + 2, np.uint8),
        short=np.zeros(2 * 64, np.uint8),
        grams=np.zeros((characters + 1, 64), np.uint32),
        kept=np.empty(characters + 1, np.uint64),
        hashes=np.empty(longest // 2 + 2 if tables.word_ngrams > 1 else 1, np.int32),
        **memory,
        listed=np.empty(LISTED + _most_rows(tables) + ROWS_IN_SLOT, np.int32),
        added=np.zeros(1, np.int64),
        hidden_D=np.empty(tables.input_RD.shape[1], np.float32),
        line_D=np.empty(tables.input_RD.shape[1], np.float32),
        output_L=np.empty(n_labels, np.float32),
        stack=np.empty(2 * n_labels + 2, np.int64),
        stack_score=np.empty(2 * n_labels + 2, np.float32),
    )


def _most_rows(tables: Tables) -> int:
    """Of a word that is remembered: one of its own, and max_characters for each byte of `<word>`."""
    return 1 + (LONGEST_REMEMBERED + 2) * max(tables.max_characters, 0)


# ---- Words ------------------------------------------------------------------------------------------------


@inlined
def _is_space(byte):
    return byte == 32 or (9 <= byte <= 13) or byte == 0


@inlined
def _spaces(data, at, tail):
    """Which of the 64 bytes from `at` on are white space; bytes after the column's end are, too."""
    if at + 64 <= len(data):
        return space_mask(data, at)
    for k in range(64):
        tail[k] = data[at + k] if at + k < len(data) else 0
    return space_mask(tail, 0)


@loop
def _find_words(data, at, stop, tail, edges):
    """Fill in where the next words begin and end; returns (how many, byte after them). A window holds whole words."""
    noted = 0
    inside = NO_BITS  # 1 where the byte before this block belongs to a word
    while at < stop and noted < 2 * WINDOW:
        word = ~_spaces(data, at, tail) & lowest_bits(stop - at)
        changes = word ^ (word << ONE_BIT | inside)
        inside = word >> np.uint64(63)
        for edge in places(changes, at):
            edges[noted] = edge
            noted += 1
        at += 64
    at = min(at, stop)
    if noted % 2:
        while at < stop and not _is_space(data[at]):
            at += 1
        edges[noted] = at
        noted += 1
    return noted // 2, at


@inlined
def _eight_bytes(data, at):
    """The bytes [at, at + 8), zeros where the column has ended."""
    if at + 8 <= len(data):
        return eight_bytes(data, at)
    value = NO_BITS
    for k in range(len(data) - at):
        value |= np.uint64(data[at + k]) << np.uint64(8 * k)
    return value


@inlined
def _first_and_last(data, begin, end):
    """The first and the last eight bytes of a word; both the whole of a shorter one, zeros behind it."""
    own = lowest_bits(8 * (end - begin))
    return _eight_bytes(data, begin) & own, _eight_bytes(data, max(begin, end - 8)) & own


@inlined
def _slot_of(slots, first, last, size):
    h = np.uint64(first * _MIX)
    h = np.uint64((h ^ (h >> _HALF) ^ last ^ np.uint64(size)) * _MIX_AGAIN)
    return np.int64(h >> _HALF) & (len(slots) - 1)


@inlined
def _is_remembered(scratch, slot, data, begin, end, first, last):
    size = end - begin
    if scratch.slots[slot, 0] != first or scratch.slots[slot, 1] != last:
        return False
    if (scratch.numbers[16 * slot + 7] & 0xFFFF) != size:
        return False
    if size <= 16:
        return True
    start = np.int64(scratch.slots[slot, 2])
    return same_span(data, start + 8, start + size - 8, data, begin + 8, end - 8)


# ---- Rows -------------------------------------------------------------------------------------------------


@inlined
def _rows_from(tables, word, size, i, rows, n_rows):
    """Append the rows of the character n-grams that begin at byte i of `<word>`; the new number of rows."""
    hash_ = FNV_OFFSET
    end = i
    for n in range(1, tables.max_characters + 1):
        if end >= size:
            break
        hash_ = hash_byte(hash_, word[end])
        end += 1
        while end < size and word[end] & 0xC0 == 0x80:
            hash_ = hash_byte(hash_, word[end])
            end += 1
        is_bracket = n == 1 and (i == 0 or end == size)
        if n >= tables.min_characters and not is_bracket:
            row = row_of_bucket(tables, bucket_of(tables, hash_))
            if row >= 0:
                rows[n_rows] = row
                n_rows += 1
    return n_rows


@inlined
def _bracketed(data, begin, end, word):
    """Write `<word>` into the scratch space; its size in bytes."""
    word[0] = 60
    for at in range(begin, end):
        word[1 + at - begin] = data[at]
    word[1 + end - begin] = 62
    return end - begin + 2


@inlined
def _bracketed_short(data, begin, end, short):
    """Write `<word>` of a word of LONGEST_REMEMBERED bytes at most; what is behind it means nothing. Its size."""
    if begin + 64 <= len(data):
        _copy_block(short, 1, data, begin)
    else:
        for k in range(end - begin):
            short[1 + k] = data[begin + k]
    short[0], short[1 + end - begin] = 60, 62
    return end - begin + 2


@inlined
def _widest(starts, size):
    """Bytes of the widest character of a word in which characters begin at these bits."""
    rest, width = ~starts & lowest_bits(size), 1
    while rest:
        rest &= rest << ONE_BIT
        width += 1
    return width


@inlined
def _rows_of_word(tables, scratch, data, begin, end, entry, rows, n_rows):
    """Append all rows of a short word: its own where it is in the vocabulary, then its character n-grams'."""
    if entry >= 0:
        rows[n_rows] = entry
        n_rows += 1
    if tables.max_characters <= 0:
        return n_rows
    word, grams, kept = scratch.short, scratch.grams, scratch.kept
    size = _bracketed_short(data, begin, end, word)
    first_bytes = ~continuation_mask(word, 0) & lowest_bits(size)
    starts = first_bytes | ONE_BIT << np.uint64(size)
    characters = count_bits(first_bytes)
    shortest, longest = max(tables.min_characters, 1), min(tables.max_characters, characters)
    steps = _widest(first_bytes, size) * longest + 1
    begins = first_bytes
    for n in range(1, longest + 1):  # no n-gram begins with one of the last n - 1 characters
        kept[n] = begins
        begins &= ~(ONE_BIT << np.uint64(63 - leading_zeros(begins)))
        if n == 1:
            kept[1] = begins & ~ONE_BIT  # brackets alone are none
    for base in range(0, size, LANES):
        if characters == size:
            hash_bytes(word, base, longest, grams)
        else:
            hash_grams(word, base, min(steps, size - base + 1), starts, shortest, longest, grams)
        for n in range(shortest, longest + 1):
            remainders(grams[n], base, tables.buckets)
            if tables.is_pruned:
                lacking = ~bits_at(tables.filter, grams[n], base) & lowest_bits(LANES)
                kept[n] &= ~(lacking << np.uint64(base))
    return _in_order(tables, grams, kept, shortest, longest, rows, n_rows)


@inlined
def _in_order(tables, grams, kept, shortest, longest, rows, n_rows):
    """Append the rows of the n-grams that are kept, those that begin first first; the new number of rows."""
    begin, some = n_rows, NO_BITS
    for n in range(shortest, longest + 1):
        some |= kept[n]
    for i in places(some, 0):
        for n in range(shortest, longest + 1):
            rows[n_rows] = grams[n, i]
            n_rows += np.int64((kept[n] >> np.uint64(i)) & ONE_BIT)  # no branch: none could be foretold
    end, n_rows = n_rows, begin
    for k in range(begin, end):
        bucket = np.int64(rows[k])
        rows[n_rows] = row_if_kept(tables, bucket)
        n_rows += not tables.is_pruned or is_kept(tables, bucket)
    return n_rows


@inlined
def _add_long_word(tables, scratch, data, begin, end, entry, to_document, to_line):
    """Add the rows of a long word as they are found."""
    rows, listed = scratch.listed, 0
    if entry >= 0:
        rows[0] = entry
        listed = 1
    if tables.max_characters > 0:
        size = _bracketed(data, begin, end, scratch.word)
        for i in range(size):
            if scratch.word[i] & 0xC0 != 0x80:
                listed = _rows_from(tables, scratch.word, size, i, rows, listed)
                listed = _add_listed(tables, scratch, listed, LISTED, to_document, to_line)
    _add_listed(tables, scratch, listed, 0, to_document, to_line)


@inlined
def _add_listed(tables, scratch, listed, most, to_document, to_line):
    """Add the rows that are listed where they are more than so many; how many are listed then."""
    if listed <= most:
        return listed
    scratch.added[0] += listed
    if to_document:
        add_rows(tables.input_RD, scratch.listed, listed, scratch.hidden_D)
    if to_line:
        add_rows(tables.input_RD, scratch.listed, listed, scratch.line_D)
    return 0


@inlined
def _begins_with_label_prefix(data, begin, end):
    size = len(LABEL_PREFIX)
    return end - begin >= size and same_span(data, begin, begin + size, LABEL_PREFIX, 0, size)


@inlined
def _look_up(tables, scratch, slot, data, begin, end, first, last):
    """Find the rows of a word that is not remembered, and remember it: (LONG, NO_WORD or 0, its hash, its entry)."""
    hash_ = FNV_OFFSET
    for at in range(begin, end):
        hash_ = hash_byte(hash_, data[at])
    entry = entry_of(tables, data, begin, end, hash_)
    if entry >= tables.word_count or (entry < 0 and _begins_with_label_prefix(data, begin, end)):
        return NO_WORD, hash_, entry
    if end - begin > LONGEST_REMEMBERED:
        return LONG, hash_, entry
    if scratch.n_more[0] >= MORE_ROWS:  # forget all of them
        scratch.n_more[0] = 0
        scratch.slots[:] = 0
    rows, kept = scratch.more_rows, scratch.n_more[0]
    count = _rows_of_word(tables, scratch, data, begin, end, entry, rows, kept) - kept
    slots, numbers = scratch.slots, scratch.numbers
    slots[slot, 0], slots[slot, 1], slots[slot, 2] = first, last, np.uint64(begin)
    numbers[16 * slot + 6], numbers[16 * slot + 7] = np.int32(hash_), np.int32((end - begin) | count << 16)
    if count > ROWS_IN_SLOT:
        numbers[16 * slot + 8] = kept
        scratch.n_more[0] = kept + count
    else:
        for k in range(count):
            numbers[16 * slot + 8 + k] = rows[kept + k]
    return 0, hash_, entry


@inlined
def _list_rows(scratch, slot, listed):
    """List the rows of a remembered word; how many they are."""
    count = np.int64(scratch.numbers[16 * slot + 7] >> 16)
    if count <= ROWS_IN_SLOT:
        _copy_rows(scratch.listed, listed, scratch.numbers, 16 * slot + 8)
    else:
        first = np.int64(scratch.numbers[16 * slot + 8])
        for k in range(count):
            scratch.listed[listed + k] = scratch.more_rows[first + k]
    return count


@inlined
def _add_words(tables, scratch, data, at, stop, n_words, to_document, to_line):
    """Add the rows of all words of a text, not of `</s>`, and note their hashes: (words with those that went before,
    whether a `</s>` ended it early)."""
    listed, ended = 0, False
    while at < stop and not ended:
        words_here, at = _find_words(data, at, stop, scratch.tail, scratch.edges)
        for k in range(words_here):
            begin, end = scratch.edges[2 * k], scratch.edges[2 * k + 1]
            first, last = _first_and_last(data, begin, end)
            if first == _END_OF_LINE and end - begin == len(END_OF_LINE):
                ended = True  # the library stops reading there
                break
            slot = _slot_of(scratch.slots, first, last, end - begin)
            if not _is_remembered(scratch, slot, data, begin, end, first, last):
                slot ^= 1  # a word has two places
            kind, hash_, entry = 0, np.uint32(0), 0
            if not _is_remembered(scratch, slot, data, begin, end, first, last):
                slot ^= scratch.numbers[16 * slot + 7] != 0 and scratch.numbers[16 * (slot ^ 1) + 7] == 0
                kind, hash_, entry = _look_up(tables, scratch, slot, data, begin, end, first, last)
                if kind == NO_WORD:
                    continue
            if kind == LONG:
                listed = _add_listed(tables, scratch, listed, 0, to_document, to_line)
                _add_long_word(tables, scratch, data, begin, end, entry, to_document, to_line)
            else:
                listed += _list_rows(scratch, slot, listed)
                listed = _add_listed(tables, scratch, listed, LISTED, to_document, to_line)
            if tables.word_ngrams > 1:
                scratch.hashes[n_words] = np.int32(hash_) if kind == LONG else scratch.numbers[16 * slot + 6]
            n_words += 1
    _add_listed(tables, scratch, listed, 0, to_document, to_line)
    return n_words, ended


@inlined
def _add_word_ngrams(tables, scratch, first, n_words, to_document, to_line):
    """Add the rows of word n-grams (hashes of words, combined) of the words from `first` on."""
    listed = 0
    buckets = np.uint64(tables.buckets)
    is_power = buckets & (buckets - ONE_BIT) == NO_BITS
    for i in range(first, n_words):
        combined = np.uint64(np.int64(scratch.hashes[i]))
        for j in range(i + 1, min(n_words, i + tables.word_ngrams)):
            combined = np.uint64(combined * WORD_NGRAM_FACTOR) + np.uint64(np.int64(scratch.hashes[j]))
            bucket = combined & (buckets - ONE_BIT) if is_power else combined % buckets
            row = row_of_bucket(tables, np.int64(bucket))
            if row >= 0:
                scratch.listed[listed] = row
                listed = _add_listed(tables, scratch, listed + 1, LISTED, to_document, to_line)
    _add_listed(tables, scratch, listed, 0, to_document, to_line)


# ---- Documents and lines ----------------------------------------------------------------------------------


@loop
def _ended(tables, scratch, line_end, line_end_hash, first, n_words, to_document, to_line):
    """Add the rows of `</s>` and of word n-grams behind so many words."""
    if line_end >= 0:
        scratch.listed[0] = line_end
        _add_listed(tables, scratch, 1, 0, to_document, to_line)
    if tables.word_ngrams > 1:
        scratch.hashes[n_words] = np.int32(line_end_hash)
        _add_word_ngrams(tables, scratch, first, n_words + 1, to_document, to_line)


@loop
def _best_of_mean(tables, scratch, sum_D, n_rows):
    """(label, log probability); (-1, NaN) where no row was added."""
    if n_rows == 0:
        return -1, np.float32(np.nan)
    factor = np.float32(1.0 / n_rows)
    for d in range(len(sum_D)):
        sum_D[d] *= factor
    return best_label(tables, sum_D, scratch.output_L, scratch.stack, scratch.stack_score)


@inlined
def _line_stop(data, start, stop):
    """Where the line from `start` on ends."""
    while start + 64 <= len(data) and start < stop:
        newlines = newline_mask(data, start)
        if newlines:
            return min(start + lowest_bit(newlines), stop)
        start += 64
    while start < stop and data[start] != 0x0A:
        start += 1
    return min(start, stop)


@loop
def _predict_documents(
    tables, scratch, offsets, data, shortest, labels, scores, words, line_labels, sizes, documents
):
    """Fill in what is asked; returns the number of lines."""
    hash_ = FNV_OFFSET
    for byte in END_OF_LINE:
        hash_ = hash_byte(hash_, byte)
    line_end = entry_of(tables, END_OF_LINE, 0, len(END_OF_LINE), hash_)
    lines = 0
    for document in range(len(labels)):
        scratch.hidden_D[:] = 0
        n_rows = n_words = 0
        is_open = True
        start, stop = offsets[document], offsets[document + 1]
        while start < stop:
            end = stop if shortest < 0 else _line_stop(data, start, stop)
            is_line = shortest >= 0 and end - start >= shortest
            if is_line:
                scratch.line_D[:] = 0
            if is_line or is_open:
                scratch.added[0] = 0
                counted, ended = _add_words(tables, scratch, data, start, end, n_words, is_open, is_line)
                added = scratch.added[0]
                if is_line:
                    _ended(tables, scratch, line_end, hash_, n_words, counted, False, True)
                    label, _ = _best_of_mean(tables, scratch, scratch.line_D, scratch.added[0])
                    line_labels[lines] = label if counted > n_words else -1
                    sizes[lines], documents[lines] = end - start, document
                    lines += 1
                if is_open:
                    n_rows, n_words, is_open = n_rows + added, counted, not ended
            start = end + 1
        words[document] = n_words
        scratch.added[0] = n_rows
        _ended(tables, scratch, line_end, hash_, 0, n_words, True, False)
        labels[document], score = _best_of_mean(tables, scratch, scratch.hidden_D, scratch.added[0])
        scores[document] = math.exp(np.float32(score))
    return lines
