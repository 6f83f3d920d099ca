"""A fastText model as the kernels of `fasttext.predict` read it: arrays of fixed types and a few numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from filters.fasttext.model import Model
from filters.fasttext.vectors import FILTER_BITS, high_product
from filters.text.bits import NO_BITS, ONE_BIT, count_bits, lowest_bits
from filters.text.compiled import inlined, kernel

HIERARCHICAL, LOGISTIC, SOFTMAX = 0, 1, 2
FNV_OFFSET, FNV_PRIME = np.uint32(2166136261), np.uint32(16777619)


class Tables(NamedTuple):
    """Shared by all threads."""

    vocabulary_bytes: np.ndarray
    vocabulary_offsets: np.ndarray
    vocabulary_slots: np.ndarray  # int32, open addressing by hash: entry, or -1
    vocabulary_filter: np.ndarray  # uint64: a bit of every entry's hash; most words that have none end there
    word_count: int
    buckets: int
    reciprocal: np.uint64  # of the buckets, for remainders without a division: 2^64 / buckets, rounded up
    is_pruned: bool
    kept_bits: np.ndarray  # uint64: bit b % 64 of word b // 64 says that bucket b has a row
    kept_before: np.ndarray  # int32: kept buckets before that word of bits
    filter: np.ndarray  # uint64: bits of the lowest FILTER_BITS of every kept bucket; most n-grams end there
    min_characters: int
    max_characters: int
    word_ngrams: int
    input_RD: np.ndarray
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
    slots, vocabulary_filter = _slots_of_vocabulary(model.vocabulary_bytes, model.vocabulary_offsets)
    return Tables(
        vocabulary_bytes=_readonly(model.vocabulary_bytes),
        vocabulary_offsets=_readonly(model.vocabulary_offsets),
        vocabulary_slots=_readonly(slots),
        vocabulary_filter=_readonly(vocabulary_filter),
        word_count=model.word_count,
        buckets=model.buckets,
        reciprocal=np.uint64((2**64 - 1) // max(model.buckets, 2) + 1),
        is_pruned=model.kept_buckets is not None,
        kept_bits=_readonly(kept_bits),
        kept_before=_readonly(kept_before),
        filter=_readonly(_filter(model)),
        min_characters=model.min_characters,
        max_characters=model.max_characters,
        word_ngrams=model.word_ngrams,
        input_RD=_aligned(model.input_RD),
        output_DL=_readonly(np.ascontiguousarray(model.output_LD.T)),
        output_scale_L=_readonly(model.output_scale_L),
        output=output,
        children=_readonly(_huffman(model.label_counts_L if output == HIERARCHICAL else np.ones(n_labels))),
        sigmoid=_readonly(_sigmoid_table()),
    )


def _readonly(array: np.ndarray) -> np.ndarray:
    """A view no one can write: every model then has the one type the kernel is compiled for."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def _aligned(array: np.ndarray) -> np.ndarray:
    """`_readonly`, beginning where a line of the cache does, so that rows of 16 numbers do not lie on two of them."""
    if array.ctypes.data % 64 == 0:
        return _readonly(array)
    room = np.empty(array.nbytes + 64, np.uint8)
    moved = room[-room.ctypes.data % 64 :][: array.nbytes].view(array.dtype).reshape(array.shape)
    moved[...] = array
    return _readonly(moved)


def _ranks(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """The set of kept buckets as bits, and the number of kept buckets before each 64 of them."""
    bits = np.zeros((max(model.buckets, 0) // 64 + 1) * 64, bool)
    if model.kept_buckets is not None:
        bits[model.kept_buckets] = True
    counts = bits.reshape(-1, 64).sum(axis=1)
    before = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int32)
    return np.packbits(bits, bitorder="little").view("<u8"), before


def _filter(model: Model) -> np.ndarray:
    bits = np.zeros(1 << FILTER_BITS, bool)
    if model.kept_buckets is not None:
        bits[model.kept_buckets & (len(bits) - 1)] = True
    return np.packbits(bits, bitorder="little").view("<u8")


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


# ---- Looking up: words in the vocabulary, n-grams in the buckets ------------------------------------------


@inlined
def hash_byte(hash_, byte):
    """One step of FNV-1a as the library does it: the byte is a signed char, widened with its sign."""
    return np.uint32(np.uint32(hash_ ^ np.uint32(np.int8(byte))) * FNV_PRIME)


@inlined
def same_span(left, left_begin, left_end, right, right_begin, right_end):
    if left_end - left_begin != right_end - right_begin:
        return False
    for i in range(left_end - left_begin):  # noqa: SIM110  (numba compiles loops, not generators)
        if left[left_begin + i] != right[right_begin + i]:
            return False
    return True


@kernel
def _slots_of_vocabulary(text, offsets):
    n_entries = len(offsets) - 1
    n_slots = 4
    while n_slots < 2 * n_entries:
        n_slots *= 2
    slots, bits = np.full(n_slots, -1, np.int32), np.zeros(max(n_slots // 4, 1), np.uint64)
    for v in range(n_entries):
        hash_ = FNV_OFFSET
        for at in range(offsets[v], offsets[v + 1]):
            hash_ = hash_byte(hash_, text[at])
        slot = np.int64(hash_) & (n_slots - 1)
        while slots[slot] >= 0 and not same_span(
            text, offsets[slots[slot]], offsets[slots[slot] + 1], text, offsets[v], offsets[v + 1]
        ):
            slot = (slot + 1) & (n_slots - 1)
        slots[slot] = v
        word, bit = _bit_of(bits, hash_)
        bits[word] |= bit
    return slots, bits


@inlined
def _bit_of(bits, hash_):
    """(the number that holds the bit of a hash, that bit): by other bits of the hash than its slot."""
    mixed = np.uint64(hash_) * np.uint64(0x9E3779B97F4A7C15)
    word = np.int64(mixed >> np.uint64(40)) & (len(bits) - 1)
    return word, ONE_BIT << (mixed >> np.uint64(34) & np.uint64(63))


@inlined
def entry_of(tables, data, begin, end, hash_):
    """The vocabulary's entry for these bytes, or -1."""
    word, bit = _bit_of(tables.vocabulary_filter, hash_)
    if tables.vocabulary_filter[word] & bit == NO_BITS:
        return -1
    mask = len(tables.vocabulary_slots) - 1
    slot = np.int64(hash_) & mask
    while True:
        v = tables.vocabulary_slots[slot]
        if v < 0:
            return v
        first, last = tables.vocabulary_offsets[v], tables.vocabulary_offsets[v + 1]
        if same_span(tables.vocabulary_bytes, first, last, data, begin, end):
            return v
        slot = (slot + 1) & mask


@inlined
def bucket_of(tables, hash_):
    """hash_ % buckets, of 32 bits: the remainder is what the product with the reciprocal has left (Lemire 2019)."""
    return np.int64(high_product(np.uint64(tables.reciprocal * np.uint64(hash_)), np.uint64(tables.buckets)))


@inlined
def is_kept(tables, bucket):
    """Whether pruning left a row for this bucket."""
    return (tables.kept_bits[bucket >> 6] >> np.uint64(bucket & 63)) & np.uint64(1) != np.uint64(0)


@inlined
def row_if_kept(tables, bucket):
    """The input row of a bucket that has one."""
    if not tables.is_pruned:
        return tables.word_count + bucket
    before = tables.kept_bits[bucket >> 6] & lowest_bits(bucket & 63)
    return tables.word_count + np.int64(tables.kept_before[bucket >> 6]) + count_bits(before)


@inlined
def row_of_bucket(tables, bucket):
    """The input row of a bucket, or -1 where pruning left none."""
    if not tables.is_pruned or is_kept(tables, bucket):
        return row_if_kept(tables, bucket)
    return -1
