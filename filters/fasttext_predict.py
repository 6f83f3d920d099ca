"""Apply a fastText classifier to every document of a text column: the label and probability of the library.

Equal means equal bits: sums run in the library's order, in float32, and its habits are kept: a document is
one line that ends in the token `</s>` (its newlines are white space, a literal `</s>` ends it early); bytes
are hashed with their sign; a token that begins with `__label__` is no word; of equal scores the later label
wins; a probability is exp(log(p + 1e-5)) and may exceed 1 a little.

Design: nearly all time would go into hashing the character n-grams of words seen before. So the rows of a
word are remembered under its hash, for one call and one thread, and the word is compared byte by byte
before they are used again. What is left a word is adding its rows. The price: some 10 MB of scratch space a
call, and words longer than `LONGEST_REMEMBERED` (text without spaces, mostly) are hashed every time.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np
import pyarrow as pa
from numba.core import types
from numba.extending import intrinsic

from filters.arrow import utf8
from filters.fasttext_model import Model

HIERARCHICAL, LOGISTIC, SOFTMAX = 0, 1, 2
FNV_OFFSET, FNV_PRIME = np.uint32(2166136261), np.uint32(16777619)
WORD_NGRAM_FACTOR = np.uint64(116049371)
LONGEST_REMEMBERED = 64  # bytes
REMEMBERED_ROWS = 1 << 20
LOG_FLOOR = 1e-5  # added to every probability before its logarithm
LABEL_PREFIX = np.frombuffer(b"__label__", np.uint8)
END_OF_LINE = np.frombuffer(b"</s>", np.uint8)

# The kernels allocate nothing, so they need not count references: an atomic operation for each array of each
# call, which took four times as long as everything else together.
_PLAIN: dict[str, Any] = {"error_model": "numpy", "_nrt": False}
compiled = numba.njit(cache=True, nogil=True, **_PLAIN)
inlined = numba.njit(forceinline=True, **_PLAIN)

# One remembered word: where it stands in the data, and which of the remembered rows are its own.
SLOT = np.dtype(
    [("start", np.int64), ("size", np.int32), ("hash", np.uint32), ("first", np.int32), ("rows", np.int32)],
    align=True,
)


class Tables(NamedTuple):
    """A model as the kernel reads it: arrays of fixed types and a few numbers, shared by all threads."""

    vocabulary_bytes: np.ndarray
    vocabulary_offsets: np.ndarray
    vocabulary_slots: np.ndarray  # int32, open addressing by hash: entry, or -1
    word_count: int
    buckets: int
    is_pruned: bool
    kept_bits: np.ndarray  # uint64: bit b % 64 of word b // 64 says that bucket b has a row
    kept_before: np.ndarray  # int32: kept buckets before that word of bits
    min_characters: int
    max_characters: int
    word_ngrams: int
    input_RD: np.ndarray
    output_LD: np.ndarray  # for a tree, which asks for few rows
    output_DL: np.ndarray  # transposed: all labels are summed side by side, each in its own order
    output_scale_L: np.ndarray
    output: int  # HIERARCHICAL, LOGISTIC or SOFTMAX
    children: np.ndarray  # int32 [inner node, 2]: below n_labels a label, else inner node + n_labels
    sigmoid: np.ndarray  # float32 [513]: the library's table over [-8, 8]


def tables_of(model: Model) -> Tables:
    """What the kernel needs of this model, computed once."""
    kept_bits, kept_before = _ranks(model)
    output = {"hierarchical softmax": HIERARCHICAL, "softmax": SOFTMAX}.get(model.loss, LOGISTIC)
    n_labels = len(model.labels)
    return Tables(
        vocabulary_bytes=_readonly(model.vocabulary_bytes),
        vocabulary_offsets=_readonly(model.vocabulary_offsets),
        vocabulary_slots=_readonly(_slots_of_vocabulary(model.vocabulary_bytes, model.vocabulary_offsets)),
        word_count=model.word_count,
        buckets=model.buckets,
        is_pruned=model.kept_buckets is not None,
        kept_bits=_readonly(kept_bits),
        kept_before=_readonly(kept_before),
        min_characters=model.min_characters,
        max_characters=model.max_characters,
        word_ngrams=model.word_ngrams,
        input_RD=_readonly(model.input_RD),
        output_LD=_readonly(model.output_LD),
        output_DL=_readonly(np.ascontiguousarray(model.output_LD.T)),
        output_scale_L=_readonly(model.output_scale_L),
        output=output,
        children=_readonly(_huffman(model.label_counts_L if output == HIERARCHICAL else np.ones(n_labels))),
        sigmoid=_readonly(_sigmoid_table()),
    )


def predict(tables: Tables, texts: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(label int32, probability float32, words int64) of every document.

    The label is -1 and the probability NaN where no part of a document, `</s>` included, has a row. `words`
    counts tokens that are no labels; where it is 0, the prediction says nothing but what `</s>` alone gets.
    """
    offsets, data = utf8(texts)
    n_documents = len(offsets) - 1
    labels = np.empty(n_documents, np.int32)
    scores = np.empty(n_documents, np.float32)
    words = np.empty(n_documents, np.int64)
    if n_documents:
        _predict_documents(tables, _scratch(tables, offsets), offsets, data, labels, scores, words)
    return labels, scores, words


def _scratch(tables: Tables, offsets: np.ndarray) -> Scratch:
    longest, total = int(np.diff(offsets).max()), int(offsets[-1] - offsets[0])
    # A short word has at most one row of its own, and max_characters for each byte of `<word>`.
    most_rows = 1 + (LONGEST_REMEMBERED + 2) * max(tables.max_characters, 0)
    n_labels = len(tables.output_scale_L)
    return Scratch(
        word=np.empty(longest + 2, np.uint8),
        hashes=np.empty(longest // 2 + 2 if tables.word_ngrams > 1 else 1, np.int32),
        slots=np.zeros(1 << min(max(total.bit_length() - 3, 4), 16), SLOT),
        rows=np.empty(REMEMBERED_ROWS + most_rows, np.int32),
        n_remembered=np.zeros(1, np.int64),
        hidden_D=np.empty(tables.input_RD.shape[1], np.float32),
        output_L=np.empty(n_labels, np.float32),
        stack=np.empty(2 * n_labels + 2, np.int64),
        stack_score=np.empty(2 * n_labels + 2, np.float32),
    )


def _readonly(array: np.ndarray) -> np.ndarray:
    """A view no one can write: every model then has the one type the kernel is compiled for."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def _ranks(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """The set of kept buckets as bits, and the number of kept buckets before each 64 of them."""
    bits = np.zeros((max(model.buckets, 0) // 64 + 1) * 64, bool)
    if model.kept_buckets is not None:
        bits[model.kept_buckets] = True
    counts = bits.reshape(-1, 64).sum(axis=1)
    before = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int32)
    return np.packbits(bits, bitorder="little").view("<u8"), before


def _sigmoid_table() -> np.ndarray:
    x = np.arange(513, dtype=np.float32) * np.float32(16) / np.float32(512) - np.float32(8)
    exponential = np.exp(-x.astype(np.float64)).astype(np.float32)  # rounded once, as the C function is
    return (1.0 / (1.0 + exponential.astype(np.float64))).astype(np.float32)


def _huffman(counts: np.ndarray) -> np.ndarray:
    """Children of the inner nodes of the Huffman tree over labels, whose counts fall with their number."""
    n_labels = len(counts)
    weight = np.full(2 * n_labels - 1, 10**15, np.int64)
    weight[:n_labels] = counts
    children = np.zeros((max(n_labels - 1, 1), 2), np.int32)
    leaf, node = n_labels - 1, n_labels
    for inner in range(n_labels, 2 * n_labels - 1):
        for side in range(2):
            if leaf >= 0 and weight[leaf] < weight[node]:
                child, leaf = leaf, leaf - 1
            else:
                child, node = node, node + 1
            children[inner - n_labels, side] = child
        weight[inner] = weight[children[inner - n_labels]].sum()
    return children


def _count_ones(typing_context, bits):
    def codegen(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), codegen


_popcount: Any = intrinsic(_count_ones)


@inlined
def _hash_byte(hash_, byte):
    """One step of FNV-1a as the library does it: the byte is a signed char, widened with its sign."""
    return np.uint32(np.uint32(hash_ ^ np.uint32(np.int8(byte))) * FNV_PRIME)


@numba.njit(cache=True, nogil=True)  # this one allocates
def _slots_of_vocabulary(text, offsets):
    n_entries = len(offsets) - 1
    n_slots = 4
    while n_slots < 2 * n_entries:
        n_slots *= 2
    slots = np.full(n_slots, -1, np.int32)
    for v in range(n_entries):
        hash_ = FNV_OFFSET
        for at in range(offsets[v], offsets[v + 1]):
            hash_ = _hash_byte(hash_, text[at])
        slot = np.int64(hash_) & (n_slots - 1)
        while slots[slot] >= 0 and not _equal(
            text, offsets[slots[slot]], offsets[slots[slot] + 1], text, offsets[v], offsets[v + 1]
        ):
            slot = (slot + 1) & (n_slots - 1)
        slots[slot] = v
    return slots


@inlined
def _equal(left, left_begin, left_end, right, right_begin, right_end):
    if left_end - left_begin != right_end - right_begin:
        return False
    for i in range(left_end - left_begin):  # noqa: SIM110  (numba compiles loops, not generators)
        if left[left_begin + i] != right[right_begin + i]:
            return False
    return True


@inlined
def _entry(tables, data, begin, end, hash_):
    """The vocabulary's entry for these bytes, or -1."""
    mask = len(tables.vocabulary_slots) - 1
    slot = np.int64(hash_) & mask
    while True:
        v = tables.vocabulary_slots[slot]
        if v < 0 or _equal(
            tables.vocabulary_bytes,
            tables.vocabulary_offsets[v],
            tables.vocabulary_offsets[v + 1],
            data,
            begin,
            end,
        ):
            return v
        slot = (slot + 1) & mask


@inlined
def _row_of_bucket(tables, bucket):
    """The input row of a bucket, or -1 where pruning left none."""
    if not tables.is_pruned:
        return tables.word_count + bucket
    bits = tables.kept_bits[bucket >> 6]
    bit = np.uint64(1) << np.uint64(bucket & 63)
    if bits & bit == np.uint64(0):
        return -1
    return (
        tables.word_count
        + np.int64(tables.kept_before[bucket >> 6])
        + np.int64(_popcount(bits & (bit - np.uint64(1))))
    )


@inlined
def _rows_from(tables, word, size, i, rows, n_rows):
    """Append the rows of the character n-grams that begin at byte i of `<word>`; the new number of rows."""
    hash_ = FNV_OFFSET
    end = i
    for n in range(1, tables.max_characters + 1):
        if end >= size:
            break
        hash_ = _hash_byte(hash_, word[end])
        end += 1
        while end < size and word[end] & 0xC0 == 0x80:
            hash_ = _hash_byte(hash_, word[end])
            end += 1
        is_bracket = n == 1 and (i == 0 or end == size)
        if n >= tables.min_characters and not is_bracket:
            row = _row_of_bucket(tables, np.int64(hash_ % np.uint32(tables.buckets)))
            if row >= 0:
                rows[n_rows] = row
                n_rows += 1
    return n_rows


@inlined
def _add_rows(input_RD, rows, begin, end, hidden_D):
    for at in range(begin, end):
        row = input_RD[rows[at]]
        for d in range(len(hidden_D)):
            hidden_D[d] += row[d]


@inlined
def _scale(hidden_D, factor):
    for d in range(len(hidden_D)):
        hidden_D[d] *= factor


@inlined
def _bracketed(data, begin, end, word):
    """Write `<word>` into the scratch space; its size in bytes."""
    word[0] = 60
    for at in range(begin, end):
        word[1 + at - begin] = data[at]
    word[1 + end - begin] = 62
    return end - begin + 2


@compiled
def _remember(tables, data, begin, end, entry, word, rows, n_rows):
    """Append all rows of a short word: its own where it is in the vocabulary, then its character n-grams'."""
    if entry >= 0:
        rows[n_rows] = entry
        n_rows += 1
    if tables.max_characters > 0:
        size = _bracketed(data, begin, end, word)
        for i in range(size):
            if word[i] & 0xC0 != 0x80:
                n_rows = _rows_from(tables, word, size, i, rows, n_rows)
    return n_rows


@compiled
def _add_long_word(tables, data, begin, end, entry, word, rows, hidden_D):
    """Add the rows of a long word as they are found; how many there were."""
    total = 0
    if entry >= 0:
        rows[0] = entry
        _add_rows(tables.input_RD, rows, 0, 1, hidden_D)
        total = 1
    if tables.max_characters > 0:
        size = _bracketed(data, begin, end, word)
        for i in range(size):
            if word[i] & 0xC0 != 0x80:
                n_rows = _rows_from(tables, word, size, i, rows, 0)
                _add_rows(tables.input_RD, rows, 0, n_rows, hidden_D)
                total += n_rows
    return total


@compiled
def _add_word_ngrams(tables, hashes, n_words, rows, hidden_D):
    """Add the rows of word n-grams (hashes of words, combined); how many there were."""
    total = 0
    for i in range(n_words):
        combined = np.uint64(np.int64(hashes[i]))
        for j in range(i + 1, min(n_words, i + tables.word_ngrams)):
            combined = np.uint64(combined * WORD_NGRAM_FACTOR) + np.uint64(np.int64(hashes[j]))
            row = _row_of_bucket(tables, np.int64(combined % np.uint64(tables.buckets)))
            if row >= 0:
                rows[0] = row
                _add_rows(tables.input_RD, rows, 0, 1, hidden_D)
                total += 1
    return total


@compiled
def _hierarchical(tables, hidden_D, stack, stack_score):
    """(label, log probability): depth first through the tree, leaving paths that cannot win any more."""
    n_labels = tables.output_DL.shape[1]
    best, best_score = -1, np.float32(0)
    lowest = np.float32(math.log(LOG_FLOOR))
    stack[0], stack_score[0] = 2 * n_labels - 2, np.float32(0)
    depth = 1
    while depth > 0:
        depth -= 1
        node, score = stack[depth], stack_score[depth]
        if score < lowest or (best >= 0 and score < best_score):
            continue
        if node < n_labels:
            best, best_score = node, score
            continue
        inner = node - n_labels
        dot = np.float32(0)
        for d in range(len(hidden_D)):
            dot += hidden_D[d] * tables.output_LD[inner, d]
        dot = np.float32(dot * tables.output_scale_L[inner])
        right = np.float32(1.0 / np.float64(np.float32(1) + np.float32(math.exp(np.float32(-dot)))))
        left = np.float32(1.0 - np.float64(right))
        stack[depth], stack[depth + 1] = tables.children[inner, 1], tables.children[inner, 0]
        stack_score[depth] = np.float32(score + np.float32(math.log(np.float64(right) + LOG_FLOOR)))
        stack_score[depth + 1] = np.float32(score + np.float32(math.log(np.float64(left) + LOG_FLOOR)))
        depth += 2
    return best, best_score


@compiled
def _flat(tables, hidden_D, output_L):
    """(label, log probability) where labels have scores of their own: softmax, one-vs-all and the like."""
    output_L[:] = 0
    for d in range(len(hidden_D)):
        for label in range(len(output_L)):
            output_L[label] += hidden_D[d] * tables.output_DL[d, label]
    for label in range(len(output_L)):
        output_L[label] *= tables.output_scale_L[label]
    if tables.output == SOFTMAX:
        _softmax(output_L)
    else:
        _logistic(tables.sigmoid, output_L)
    best, best_score = -1, np.float32(0)
    for label in range(len(output_L)):
        score = np.float32(math.log(np.float64(output_L[label]) + LOG_FLOOR))
        if best < 0 or score >= best_score:
            best, best_score = label, score
    return best, best_score


@inlined
def _softmax(output_L):
    largest = output_L[0]
    for label in range(len(output_L)):
        largest = max(largest, output_L[label])
    total = np.float32(0)
    for label in range(len(output_L)):
        output_L[label] = math.exp(np.float64(np.float32(output_L[label] - largest)))
        total += output_L[label]
    for label in range(len(output_L)):
        output_L[label] /= total


@inlined
def _logistic(table, output_L):
    for label in range(len(output_L)):
        x = output_L[label]
        if x < -8:
            output_L[label] = 0
        elif x > 8:
            output_L[label] = 1
        else:
            output_L[label] = table[np.int64(np.float32(x + np.float32(8)) * np.float32(32))]


@inlined
def _is_space(byte):
    return byte == 32 or (9 <= byte <= 13) or byte == 0


@inlined
def _begins_with_label_prefix(data, begin, end):
    size = len(LABEL_PREFIX)
    return end - begin >= size and _equal(data, begin, begin + size, LABEL_PREFIX, 0, size)


class Scratch(NamedTuple):
    """Working space of one call, so of one thread."""

    word: np.ndarray  # uint8: a word in its brackets
    hashes: np.ndarray  # int32: of the words of one document, for word n-grams
    slots: np.ndarray  # SLOT: remembered words
    rows: np.ndarray  # int32: rows of remembered words, then room for the rows of one more
    n_remembered: np.ndarray  # int64 [1]: rows in use
    hidden_D: np.ndarray
    output_L: np.ndarray
    stack: np.ndarray  # nodes to visit, and the scores of the ways to them
    stack_score: np.ndarray


@inlined
def _slot_of(tables, scratch, data, begin, end, hash_, entry):
    """Remember a short word; forget all of them first when the space for rows is full."""
    if scratch.n_remembered[0] >= REMEMBERED_ROWS:
        scratch.n_remembered[0] = 0
        for slot in range(len(scratch.slots)):
            scratch.slots[slot].size = 0
    slot = scratch.slots[_slot_number(scratch.slots, hash_)]
    slot.start, slot.size, slot.hash = begin, end - begin, hash_
    slot.first = scratch.n_remembered[0]
    after = _remember(tables, data, begin, end, entry, scratch.word, scratch.rows, scratch.n_remembered[0])
    slot.rows = after - scratch.n_remembered[0]
    scratch.n_remembered[0] = after
    return slot


@inlined
def _slot_number(slots, hash_):
    return np.int64(hash_ ^ (hash_ >> np.uint32(15))) & (len(slots) - 1)


@inlined
def _add_word(tables, scratch, data, begin, end, hash_):
    """Add the rows of one token; how many there were, or -1 where it is a label, not a word."""
    slot = scratch.slots[_slot_number(scratch.slots, hash_)]
    if slot.hash != hash_ or not _equal(data, slot.start, slot.start + slot.size, data, begin, end):
        entry = _entry(tables, data, begin, end, hash_)
        if entry >= tables.word_count or (entry < 0 and _begins_with_label_prefix(data, begin, end)):
            return -1
        if end - begin > LONGEST_REMEMBERED:
            room = scratch.rows[REMEMBERED_ROWS:]
            return _add_long_word(tables, data, begin, end, entry, scratch.word, room, scratch.hidden_D)
        slot = _slot_of(tables, scratch, data, begin, end, hash_, entry)
    _add_rows(tables.input_RD, scratch.rows, slot.first, slot.first + slot.rows, scratch.hidden_D)
    return slot.rows


@compiled
def _add_line(tables, scratch, data, at, stop):
    """Add the rows of all words and word n-grams of a document, not of `</s>`: (rows added, words)."""
    n_rows, n_words = 0, 0
    while True:
        while at < stop and _is_space(data[at]):
            at += 1
        begin, hash_ = at, FNV_OFFSET
        while at < stop and not _is_space(data[at]):
            hash_ = _hash_byte(hash_, data[at])
            at += 1
        if at == begin or _equal(data, begin, at, END_OF_LINE, 0, len(END_OF_LINE)):
            return n_rows, n_words  # also at a literal `</s>`: the library stops reading there
        added = _add_word(tables, scratch, data, begin, at, hash_)
        if added >= 0:
            n_rows += added
            if tables.word_ngrams > 1:
                scratch.hashes[n_words] = np.int32(hash_)
            n_words += 1


@compiled
def _predict_documents(tables, scratch, offsets, data, labels, scores, words):
    line_end_hash = FNV_OFFSET
    for byte in END_OF_LINE:
        line_end_hash = _hash_byte(line_end_hash, byte)
    line_end = _entry(tables, END_OF_LINE, 0, len(END_OF_LINE), line_end_hash)
    room = scratch.rows[REMEMBERED_ROWS:]
    for document in range(len(labels)):
        scratch.hidden_D[:] = 0
        n_rows, n_words = _add_line(tables, scratch, data, offsets[document], offsets[document + 1])
        words[document] = n_words
        if line_end >= 0:
            room[0] = line_end
            _add_rows(tables.input_RD, room, 0, 1, scratch.hidden_D)
            n_rows += 1
        if tables.word_ngrams > 1:
            scratch.hashes[n_words] = np.int32(line_end_hash)
            n_rows += _add_word_ngrams(tables, scratch.hashes, n_words + 1, room, scratch.hidden_D)
        if n_rows == 0:
            labels[document], scores[document] = -1, np.nan
            continue
        _scale(scratch.hidden_D, np.float32(1.0 / n_rows))
        if tables.output == HIERARCHICAL:
            label, score = _hierarchical(tables, scratch.hidden_D, scratch.stack, scratch.stack_score)
        else:
            label, score = _flat(tables, scratch.hidden_D, scratch.output_L)
        labels[document] = label
        scores[document] = math.exp(np.float32(score))
