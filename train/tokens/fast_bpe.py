"""The compiled half of `train.tokens.bpe`: text to byte-level BPE tokens, most of them looked up a word at a time.

Words are cut as the pattern `train.tokens.bpe.WORDS` cuts them and merged as the library merges, so the ids are the same to
the last one. Three things make it fast: most words are ASCII letters with one sign ahead, found with one comparison
of 32 bytes; the tokens of a word that was seen lie in a table, where a word of up to 15 bytes is its own key; and
what is new is merged over an array small enough to be searched at once. A document is copied to a *page* with zero
bytes behind it, so that 32 bytes can be read at any place of it. The price: the bytes must be valid UTF-8.

Nothing is quadratic: words longer than `SHORT` merge through a heap over a linked list.

All compiled functions are in this file: numba notices when a kernel's own file changes, not another's.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import extending
from numba.core import types

from train.tokens.characters import BREAK, LETTER, MARK, NUMBER, SIGN, SPACE

# A loop allocates nothing and so needs no reference counts, which would cost more than small functions do.
_UNCOUNTED: Any = {"nogil": True, "error_model": "numpy", "_nrt": False}
kernel = numba.njit(cache=True, nogil=True, error_model="numpy")
loop = numba.njit(**_UNCOUNTED)
inlined = numba.njit(forceinline=True, **_UNCOUNTED)
intrinsic: Any = extending.intrinsic

PADDING = 64  # zero bytes behind a page's text
INLINE = 15  # bytes of a word that is its own key: its length is the sixteenth
SHORT = 128  # bytes of a word whose merges look through all its pairs each time, and which is remembered
PROBES = 4  # places where a word may lie in that table
SLOTS = 1 << 17  # of 32 bytes each
LONG_BYTES, LONG_IDS = (
    1 << 22,
    1 << 20,
)  # room for words over `INLINE` bytes, and for words of over three tokens
NO_RANK = np.uint32(0xFFFFFF)  # of a pair that does not merge; ranks and ids are smaller
EMPTY = np.uint64(2**64 - 1)  # an unused place in the table of pairs

ZERO, ONE = np.uint64(0), np.uint64(1)
_FIRST, _SECOND, _THIRD = (
    np.uint64(0x9E3779B97F4A7C15),
    np.uint64(0xD6E8FEB86659FD93),
    np.uint64(0xA0761D6478BD642F),
)


# ---- Looking at several bytes at once -------------------------------------------------------------------


@intrinsic
def eight_bytes(typing_context: Any, page: Any, at: Any) -> Any:
    """uint64: the bytes [at, at + 8) of a page, the first one lowest."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = builder.gep(
            context.make_array(signature.args[0])(context, builder, arguments[0]).data, [arguments[1]]
        )
        return builder.load(builder.bitcast(address, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(page, types.int64), generate


@intrinsic
def letter_mask(typing_context: Any, page: Any, at: Any) -> Any:
    """uint64: bit i tells whether byte at + i is an ASCII letter, for 32 bytes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), 32)
        address = builder.gep(
            context.make_array(signature.args[0])(context, builder, arguments[0]).data, [arguments[1]]
        )
        lanes = builder.load(builder.bitcast(address, vector.as_pointer()), align=1)
        lower = builder.or_(lanes, ir.Constant(vector, [0x20] * 32))
        from_a = builder.sub(lower, ir.Constant(vector, [ord("a")] * 32))
        is_letter = builder.icmp_unsigned("<=", from_a, ir.Constant(vector, [25] * 32))
        return builder.zext(builder.bitcast(is_letter, ir.IntType(32)), ir.IntType(64))

    return types.uint64(page, types.int64), generate


@intrinsic
def lowest_bit(typing_context: Any, mask: Any) -> Any:
    """int64: the place of the lowest bit set; 64 where none is."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


# ---- Words ----------------------------------------------------------------------------------------------


@inlined
def decode(page, at):
    """(code point, bytes) of the character at a byte of a page of valid UTF-8."""
    first = np.int64(page[at])
    if first < 0x80:
        return first, 1
    second = np.int64(page[at + 1]) & 0x3F
    if first < 0xE0:
        return (first & 0x1F) << 6 | second, 2
    third = np.int64(page[at + 2]) & 0x3F
    if first < 0xF0:
        return (first & 0x0F) << 12 | second << 6 | third, 3
    return (first & 0x07) << 18 | second << 12 | third << 6 | (np.int64(page[at + 3]) & 0x3F), 4


@inlined
def run_end(page, at, end, classes, kinds):
    """Where the run of characters of these kinds that begins at a byte ends."""
    while at < end:
        code, width = decode(page, at)
        if not classes[code] & kinds:
            break
        at += width
    return at


@inlined
def contraction_bytes(page, at):
    """Bytes of the contraction that the sign ' at a byte begins; 0 where none does."""
    first, second = page[at + 1] | 0x20, page[at + 2] | 0x20
    if first == 0x73 or first == 0x64 or first == 0x6D or first == 0x74:  # s d m t
        return 2
    if page[at + 1] == 0xC5 and page[at + 2] == 0xBF:  # the long s, an s to an engine that ignores case
        return 3
    if (first == 0x6C and second == 0x6C) or (
        (first == 0x76 or first == 0x72) and second == 0x65
    ):  # ll, ve, re
        return 3
    return 0


@loop
def word_end(page, at, end, classes):
    """Where the word that begins at a byte ends: the alternatives of the pattern, in their order."""
    code, width = decode(page, at)
    kind = classes[code]
    after = at + width
    if kind & LETTER:
        return run_end(page, after, end, classes, LETTER | MARK)
    if code == 0x27:
        contraction = contraction_bytes(page, at)
        if contraction:
            return at + contraction
    if kind & NUMBER:
        return after
    next_code, next_width = decode(page, after)
    following = classes[next_code] if after < end else 0
    if following & LETTER and not kind & BREAK:
        return run_end(page, after + next_width, end, classes, LETTER | MARK)
    if kind & SIGN or (code == 0x20 and following & SIGN):
        return run_end(page, run_end(page, after, end, classes, SIGN), end, classes, BREAK)
    return white_end(page, at, end, classes)


@inlined
def white_end(page, at, end, classes):
    """A run of white space goes up to its last line end; without one all but its last character, unless the text
    ends or the run is one character."""
    start, last = at, at
    line_end: Any = -1
    while at < end:
        code, width = decode(page, at)
        if not classes[code] & SPACE:
            break
        last = at
        at += width
        if classes[code] & BREAK:
            line_end = at
    if line_end >= 0:
        return line_end
    return at if at == end or last == start else last


# ---- Merges ---------------------------------------------------------------------------------------------


@inlined
def mixed(low, high):
    """A hash of two numbers whose upper half is fit for places in tables."""
    x = (low ^ (low >> np.uint64(29))) * _FIRST ^ (high ^ (high >> np.uint64(31))) * _SECOND
    return x ^ (x >> np.uint64(32))


@inlined
def rank_of(left, right, pairs):
    """Rank of a pair of tokens, or NO_RANK. `pairs` uint64 [2 * places]: pair, rank; a power of two of places."""
    pair = np.uint64(left) << np.uint64(32) | np.uint64(right)
    last = np.uint64(len(pairs) // 2 - 1)
    place = mixed(pair, ZERO) & last
    while pairs[place * np.uint64(2)] != pair:
        if pairs[place * np.uint64(2)] == EMPTY:
            return NO_RANK
        place = (place + ONE) & last
    return np.uint32(pairs[place * np.uint64(2) + ONE])


@loop
def merge_short(ids, keys, count, pairs, merged):
    """Merge `ids[:count]` in place, the lowest rank and then the leftmost pair first; returns how many are left.

    keys[i] = rank of (ids[i], ids[i + 1]) << 8 | i, so that the least key is the pair to merge.
    """
    for at in range(count - 1):
        keys[at] = rank_of(ids[at], ids[at + 1], pairs) << np.uint32(8) | np.uint32(at)
    while count > 1:
        least = keys[0]
        for j in range(1, count - 1):
            least = min(least, keys[j])
        if least >> np.uint32(8) == NO_RANK:
            break
        i: Any = np.int64(least & np.uint32(0xFF))
        ids[i] = merged[least >> np.uint32(8)]
        count -= 1
        for j in range(i + 1, count):
            ids[j] = ids[j + 1]
        for j in range(i + 1, count - 1):
            keys[j] = keys[j + 1] - np.uint32(1)
        if i + 1 < count:
            keys[i] = rank_of(ids[i], ids[i + 1], pairs) << np.uint32(8) | np.uint32(i)
        if i > 0:
            keys[i - 1] = rank_of(ids[i - 1], ids[i], pairs) << np.uint32(8) | np.uint32(i - 1)
    return count


@inlined
def push(heap, size, entry):
    """Add to a binary heap, the least first; returns its new size."""
    at = size
    while at > 0 and heap[(at - 1) >> 1] > entry:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[at] = entry
    return size + 1


@inlined
def drop_least(heap, size):
    """Take the least away; returns the new size."""
    size -= 1
    entry, at = heap[size], 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= entry:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = entry
    return size


@kernel
def merge_long(ids, count, pairs, merged):
    """As `merge_short` for any length, in n log n: a heap of rank << 32 | place over a linked list of tokens."""
    before, after = np.arange(-1, count - 1), np.arange(1, count + 1)
    ranks = np.full(count, NO_RANK)  # of the pair that begins at a place now: the heap may be outdated
    heap = np.empty(3 * count, np.uint64)
    size = 0
    for at in range(count - 1):
        ranks[at] = rank_of(ids[at], ids[at + 1], pairs)
        if ranks[at] != NO_RANK:
            size = push(heap, size, np.uint64(ranks[at]) << np.uint64(32) | np.uint64(at))
    while size:
        rank = np.uint32(heap[0] >> np.uint64(32))
        i: Any = np.int64(heap[0] & np.uint64(0xFFFFFFFF))
        size = drop_least(heap, size)
        if ranks[i] != rank:
            continue
        gone = after[i]
        ids[i] = merged[rank]
        after[i] = after[gone]
        ranks[gone] = NO_RANK
        if after[i] < count:
            before[after[i]] = i
        for left in (before[i], i):
            if left < 0:
                continue
            ranks[left] = NO_RANK
            if after[left] < count:
                ranks[left] = rank_of(ids[left], ids[after[left]], pairs)
            if ranks[left] != NO_RANK:
                size = push(heap, size, np.uint64(ranks[left]) << np.uint64(32) | np.uint64(left))
    kept, at = 0, 0
    while at < count:
        ids[kept] = ids[at]
        kept += 1
        at = after[at]
    return kept


# ---- The table of words ---------------------------------------------------------------------------------
#
# words uint64 [4 * SLOTS]: two numbers of key; tokens | first << 32; second | third << 32. A key is the word's bytes
# and its length, or for a longer word a hash beside its length, and then the word lies in `long_bytes`. Where a
# word has more than three tokens, or more than INLINE bytes, the fourth number is where its ids lie in `long_ids`,
# and where its bytes lie << 32.


@inlined
def key_of(page, at, length):
    """(low, high): the bytes and the length of a short word; a hash and the length of a longer one."""
    if length <= INLINE:
        low, high = eight_bytes(page, at), eight_bytes(page, at + 8)
        if length < 8:
            low &= (ONE << np.uint64(8 * length)) - ONE
            high = ZERO
        else:
            high &= (ONE << np.uint64(8 * length - 64)) - ONE
        return low, high | np.uint64(length) << np.uint64(56)
    low = mixed(eight_bytes(page, at + length - 8), np.uint64(length))
    for i in range(0, length - 8, 8):
        low = mixed(low * _THIRD, eight_bytes(page, at + i))
    return low, np.uint64(255) << np.uint64(56) | np.uint64(length)


@inlined
def same_bytes(page, at, long_bytes, start, length):
    for i in range(length):  # noqa: SIM110  (numba compiles loops, not generators)
        if page[at + i] != long_bytes[start + i]:
            return False
    return True


@inlined
def place_of(low, high):
    """The first place of a word in the table, as an index of its first number."""
    return (mixed(low, high) & np.uint64(SLOTS - PROBES)) * np.uint64(4)


@loop
def remember(words, long_bytes, long_ids, used, page, at, length, low, high, out, begin, count):
    """Put the tokens out[begin:begin + count] of a word in the table, in the place of another where all are taken."""
    long = length > INLINE
    if used[0] + length > len(long_bytes) or used[1] + count > len(long_ids):
        words[:] = ZERO
        used[:] = 0
    home = place_of(low, high)
    place = home + np.uint64(4) * (low % np.uint64(PROBES))  # whom to replace, unless one is free
    for probe in range(PROBES):
        if words[home + np.uint64(4 * probe + 2)] == ZERO:
            place = home + np.uint64(4 * probe)
            break
    words[place], words[place + ONE] = low, high
    words[place + np.uint64(2)] = np.uint64(count) | np.uint64(out[begin]) << np.uint64(32)
    if count <= 3 and not long:
        second = out[begin + 1] if count > 1 else np.uint32(0)
        third = out[begin + 2] if count > 2 else np.uint32(0)
        words[place + np.uint64(3)] = np.uint64(second) | np.uint64(third) << np.uint64(32)
        return
    words[place + np.uint64(3)] = np.uint64(used[1]) | np.uint64(used[0]) << np.uint64(32)
    for i in range(count):
        long_ids[used[1] + i] = out[begin + i]
    used[1] += count
    if long:
        for i in range(length):
            long_bytes[used[0] + i] = page[at + i]
        used[0] += length


@inlined
def spell(page, at, length, byte_ids, ids):
    """The bytes of a word as tokens, at the beginning of `ids`: what its merges begin with."""
    for i in range(length):
        ids[i] = byte_ids[page[at + i]]


@inlined
def known(words, long_bytes, long_ids, page, at, length, low, high, out, size):
    """Copy the tokens of a word to `out[size:]` and return the new size; `size` itself where it is unknown."""
    home = place_of(low, high)
    for probe in range(PROBES):
        place = home + np.uint64(4 * probe)
        if words[place] == low and words[place + ONE] == high:
            first, rest = words[place + np.uint64(2)], words[place + np.uint64(3)]
            count = np.int64(first & np.uint64(0xFFFFFFFF))
            if length <= INLINE and count <= 3:
                out[size] = np.uint32(first >> np.uint64(32))
                out[size + 1] = np.uint32(rest)
                out[size + 2] = np.uint32(rest >> np.uint64(32))
                return size + count
            if length <= INLINE or same_bytes(page, at, long_bytes, np.int64(rest >> np.uint64(32)), length):
                start = np.int64(rest & np.uint64(0xFFFFFFFF))
                for i in range(count):
                    out[size + i] = long_ids[start + i]
                return size + count
    return size


@loop
def encode_words(
    page, at, end, classes, byte_ids, pairs, merged, words, long_bytes, long_ids, used, keys, out, size
):
    """Tokens of page[at:end] at `out[size:]`, up to its first word of over `SHORT` bytes.

    Returns where it stopped, and the new size.
    """
    while at < end:
        # A sign or space and ASCII letters, or letters alone: most words, found without a branch a byte.
        length = lowest_bit(~(letter_mask(page, at) | ONE))
        kind = classes[page[at]] if page[at] < 0x80 else np.uint8(NUMBER)
        plain = kind & LETTER != 0 or (length > 1 and kind & (NUMBER | BREAK) == 0 and page[at] != 0x27)
        if not plain or length > 31 or page[at + length] >= 0x80:
            length = word_end(page, at, end, classes) - at
        if length == 1:
            out[size] = byte_ids[page[at]]
            size += 1
        elif length > SHORT:
            break
        else:
            low, high = key_of(page, at, length)
            new_size = known(words, long_bytes, long_ids, page, at, length, low, high, out, size)
            if new_size == size:
                spell(page, at, length, byte_ids, out[size:])
                count = merge_short(out[size:], keys, length, pairs, merged)
                remember(words, long_bytes, long_ids, used, page, at, length, low, high, out, size, count)
                new_size = size + count
            size = new_size
        at += length
    return at, size


@kernel
def encode_documents(
    data, offsets, end_id, classes, byte_ids, pairs, merged, words, long_bytes, long_ids, used, out, ends
):
    """Tokens of every document, each with `end_id` behind it, at `out`; `ends[i]` is where document i ends.

    Returns the tokens of all. `out` needs a place for each byte and each document, and 4 more.
    """
    longest = 0
    for i in range(len(offsets) - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    page = np.empty(longest + PADDING, np.uint8)
    keys = np.empty(SHORT, np.uint32)
    size = 0
    for i in range(len(offsets) - 1):
        length = offsets[i + 1] - offsets[i]
        page[:length] = data[offsets[i] : offsets[i + 1]]
        page[length : length + PADDING] = 0
        at = 0
        while True:
            at, size = encode_words(
                page, at, length, classes, byte_ids, pairs, merged,
                words, long_bytes, long_ids, used, keys, out, size,
            )  # fmt: skip
            if at == length:
                break
            stop = word_end(page, at, length, classes)
            spell(page, at, stop - at, byte_ids, out[size:])
            size += merge_long(out[size:], stop - at, pairs, merged)
            at = stop
        out[size] = end_id
        size += 1
        ends[i] = size
    return size


@kernel
def _fill(pairs, left_right):
    last = np.uint64(len(pairs) // 2 - 1)
    for rank in range(len(left_right)):
        pair = left_right[rank, 0] << np.uint64(32) | left_right[rank, 1]
        place = mixed(pair, ZERO) & last
        while pairs[place * np.uint64(2)] != EMPTY and pairs[place * np.uint64(2)] != pair:
            place = (place + ONE) & last
        pairs[place * np.uint64(2)] = pair
        pairs[place * np.uint64(2) + ONE] = np.uint64(
            rank
        )  # of a pair written twice the last counts, as in the library


def table_of_pairs(left_right: np.ndarray) -> np.ndarray:
    """The table that `rank_of` reads. left_right uint64 [merges, 2]: the pair of each rank."""
    places = 1 << max(4, int(4 * len(left_right) - 1).bit_length())
    pairs = np.full(2 * places, EMPTY)
    _fill(pairs, left_right)
    return pairs
