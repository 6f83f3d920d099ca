"""Names for what repeats: the same small number for the same word, line or n-gram, in order of first appearance.

Exact, with no luck of hashes in it: whatever is looked up by a hash is compared byte by byte with what it was
taken for. The hashes are keyed anew in every process, which no result can show: so a text cannot be written
whose words all collide, on which each look-up would pass by all others.

N-grams are named level by level. Words get small numbers; an (n + 1)-gram is the pair of the n-grams at its
place and at the next, looked up by that pair. Only what occurs at least twice goes on to the next level,
since a longer n-gram cannot repeat where a shorter one in it does not: ordinary text dies out after three
or four levels, and the worst text (one word forever) costs ten levels of one look-up a word, never more.

Most pairs occur once, and a look-up that finds nothing costs most, since no processor guesses it. So every pair first
sets a bit of a small map, and one whose bit nothing else has set is never looked up.

An n-gram is n words, not their letters run together: "a b c" is not taken for "ab c".
"""

from __future__ import annotations

import secrets
from typing import NamedTuple

import numpy as np

from filters.text import ALL_BITS, NO_BITS, ONE_BIT, eight_bytes, inlined, kernel, loop

LONGEST_NGRAM = 10  # words
TOP_NGRAMS = (2, 3, 4)  # for these the most common n-gram counts
REPEATED_NGRAMS = (5, 6, 7, 8, 9, 10)  # for these every repeated one does

_MIX = np.uint64(0x9E3779B97F4A7C15)
_MIX_AGAIN = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)
_BYTE, _WORD_BITS = np.uint64(8), np.uint64(64)
_LONG = np.uint64(0xFF << 56)  # of the keys of spans of 8 bytes and more
_SHORT = 7  # bytes of a span that, with their number, are its key
KEY = np.uint64(secrets.randbits(64))  # handed to the kernel: a global would be compiled into it, and kept


class Table(NamedTuple):
    """Room to name so many things, used again for each document and each length of n-grams."""

    keys: np.ndarray  # uint64 [a power of two]: what a slot of the hash table stands for
    slots: np.ndarray  # int32: its name, -1 where free
    once: np.ndarray  # uint64: a map of bits: some pair fell here
    twice: np.ndarray  # uint64: another one did too
    rights: np.ndarray  # int32 [things]: the second of a pair
    counts: np.ndarray  # int32 [things]: occurrences of a name


MOST_PAIRS = 1 << 21  # are named at a time


@inlined
def slots_for(things):
    """Size of a hash table that stays at most half full: a power of two."""
    slots = 16
    while slots < 2 * things:
        slots *= 2
    return slots


@kernel
def table_for(spans, words):
    """A table to name so many spans at most, and the n-grams of so many words."""
    slots = slots_for(max(spans, min(words, MOST_PAIRS)))
    bits = slots_for(words) // 8 + 1  # eight bits a thing, and eight words at least
    return Table(
        np.empty(slots, np.uint64), np.empty(slots, np.int32), np.empty(bits, np.uint64), np.empty(bits, np.uint64),
        np.empty(words, np.int32), np.empty(max(spans, words), np.int32),
    )  # fmt: skip


@inlined
def key_of(page, start, end, hash_key):
    """64 bits of the bytes page[start:end]: of up to 7 bytes themselves and their number, of more a hash."""
    size = end - start
    if size <= _SHORT:
        here = eight_bytes(page, start) & (ALL_BITS >> (_WORD_BITS - _BYTE * np.uint64(size)))
        return (here if size else NO_BITS) | np.uint64(size) << np.uint64(56)
    value, other = hash_key, (hash_key ^ np.uint64(size)) * _MIX
    while end - start > 16:  # two chains, since each waits for its own multiplication only
        value = (value ^ eight_bytes(page, start)) * _MIX
        other = (other ^ eight_bytes(page, start + 8)) * _MIX_AGAIN
        value ^= value >> _HALF
        other ^= other >> _HALF
        start += 16
    if end - start > 8:
        other = (other ^ eight_bytes(page, start)) * _MIX_AGAIN
    value = (value ^ eight_bytes(page, end - 8)) * _MIX
    value = (value ^ value >> _HALF ^ other) * _MIX_AGAIN
    return value ^ value >> _HALF | _LONG


@inlined
def mixed(key, hash_key):
    """The bits of a key spread over the upper half of 64."""
    key = (key ^ hash_key) * _MIX_AGAIN
    return (key ^ key >> _HALF) * _MIX


@inlined
def same_bytes(page, a, other, b, size):
    """page[a:a + size] and other[b:b + size] are the same. Of at least 8 bytes."""
    last = size - 8
    for at in range(0, last, 8):
        if eight_bytes(page, a + at) != eight_bytes(other, b + at):
            return False
    return eight_bytes(page, a + last) == eight_bytes(other, b + last)


@loop
def name_spans(page, edges, spans, names, first, table, hash_key):
    """names[i] of the bytes page[edges[2 * i]:edges[2 * i + 1]]; first[name] is the first i of a name.

    Counts the occurrences of each name in `table.counts`. Returns how many names there are.
    """
    keys, slots, counts = table.keys, table.slots, table.counts
    size = slots_for(spans)
    slots[:size] = -1
    last_slot = np.uint64(size - 1)
    known = 0
    for i in range(spans):
        start, end = edges[2 * i], edges[2 * i + 1]
        key = key_of(page, start, end, hash_key)
        slot = mixed(key, hash_key) >> _HALF & last_slot
        while True:
            name = slots[slot]
            if name < 0:
                slots[slot], keys[slot], first[known], counts[known] = known, key, i, 1
                names[i] = known
                known += 1
                break
            if keys[slot] == key:
                if key < _LONG:
                    same = True
                else:
                    twin = edges[2 * first[name]]
                    same = edges[2 * first[name] + 1] - twin == end - start
                    same = same and same_bytes(page, twin, page, start, end - start)
                if same:
                    names[i] = name
                    counts[name] += 1
                    break
            slot = (slot + ONE_BIT) & last_slot
    return known


# ---- N-grams --------------------------------------------------------------------------------------------


@loop
def count_names(names, words, counts):
    """Count how often each name occurs; `counts` are 0 before. Returns how many names do."""
    distinct = 0
    for i in range(words):
        count = counts[names[i]]
        distinct += count == 0
        counts[names[i]] = count + 1
    return distinct


@loop
def repeated_words(words, names, places, counts):
    """Keep the words that occur at least twice: `places` says where, and `names` are moved there.

    `counts` are the occurrences of each name, and 0 afterwards. Returns (how many, sum of count * log2(count) over
    the names in order of first appearance).
    """
    kept = 0
    for i in range(words):
        name = names[i]
        count = counts[name]
        places[kept], names[kept] = i, name
        kept += count >= 2
        counts[name] = count if count >= 2 else 0
    total = 0.0
    for k in range(kept):
        count = counts[names[k]]
        if count:
            total += count * np.log2(count)
            counts[names[k]] = 0
    return kept, total


@inlined
def _pair(left, right):
    return np.uint64(left) << _HALF | np.uint64(right)


@loop
def _likely_repeated(places, names, repeats, table, hash_key):
    """Keep the places where an (n + 1)-gram begins whose bit another one has set too, and its two n-grams."""
    once, twice, rights = table.once, table.twice, table.rights
    bits = 6
    while 1 << bits < 8 * repeats:
        bits += 1
    size = 1 << (bits - 6)
    once[:size] = NO_BITS
    twice[:size] = NO_BITS
    shift = np.uint64(64 - bits)
    for k in range(repeats - 1):
        at = ((_pair(names[k], names[k + 1]) ^ hash_key) * _MIX_AGAIN) >> shift
        bit = np.uint64(places[k + 1] == places[k] + 1) << (at & np.uint64(63))
        seen = once[np.int64(at >> np.uint64(6))]
        twice[np.int64(at >> np.uint64(6))] |= seen & bit
        once[np.int64(at >> np.uint64(6))] = seen | bit
    kept = np.int64(0)
    for k in range(repeats - 1):
        place, left, right = places[k], names[k], names[k + 1]
        at = ((_pair(left, right) ^ hash_key) * _MIX_AGAIN) >> shift
        often = twice[np.int64(at >> np.uint64(6))] >> (at & np.uint64(63)) & ONE_BIT
        often &= np.uint64(places[k + 1] == place + 1)
        places[kept], names[kept], rights[kept] = place, left, right
        kept += often != NO_BITS
    return kept


@loop
def _name_pairs(names, likely, number, passes, known, table, hash_key):
    """Name the pairs of one of 2^passes shares, which their hash chooses; returns how many names there are then."""
    keys, slots, rights, counts = table.keys, table.slots, table.rights, table.counts
    size = slots_for(min(likely, MOST_PAIRS))
    slots[:size] = -1
    last_slot = np.uint64(size - 1)
    for k in range(likely):
        key = _pair(names[k], rights[k])
        value = mixed(key, hash_key)
        if passes:
            if rights[k] < 0 or value >> np.uint64(64 - passes) != np.uint64(number):
                continue
            rights[k] = -1
        slot = value >> _HALF & last_slot
        while slots[slot] >= 0 and keys[slot] != key:
            slot = (slot + ONE_BIT) & last_slot
        name = slots[slot]
        if name < 0:
            name = known
            slots[slot], keys[slot], counts[name] = name, key, 0
            known += 1
        counts[name] += 1
        names[k] = name
    return known


@loop
def repeated_pairs(places, names, repeats, table, hash_key):
    """From the repeated n-grams to the repeated (n + 1)-grams: `places` are the words at which they begin, in order,
    `names` what they are. Returns (how many, names), of which those that occur once have a count but no place.

    `table.counts` are their occurrences. Many pairs are named a share at a time, so that the table stays small: then
    names are not given in order of first appearance.
    """
    likely = _likely_repeated(places, names, repeats, table, hash_key)
    passes = 0  # as a power of two
    while likely >> passes > MOST_PAIRS:
        passes += 1
    known = 0
    for number in range(1 << passes):
        known = _name_pairs(names, likely, number, passes, known, table, hash_key)
    counts = table.counts
    kept = 0
    for k in range(likely):
        place, name = places[k], names[k]
        places[kept], names[kept] = place, name
        kept += counts[name] >= 2
    return kept, known


@inlined
def gram_characters(words_before, place, n):
    """Characters of the n words from a place on, without the spaces between them."""
    return words_before[place + n] - words_before[place]
