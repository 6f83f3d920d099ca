"""Names for what repeats: the same small number for the same word, line or n-gram, in order of first appearance.

Exact, with no luck of hashes in it: words and lines are told apart by keys of 64 bits, and where two of one key are not
the same bytes all are named again, under keys made anew. The hashes are keyed in every process, which no result
can show: so a text cannot be written whose words all collide, on which each look-up would pass by all others.

N-grams are named level by level. Words get small numbers; an (n + 1)-gram is the pair of the n-grams at its
place and at the next, looked up by that pair. Only what occurs at least twice goes on to the next level,
since a longer n-gram cannot repeat where a shorter one in it does not: ordinary text dies out after three
or four levels, and the worst text (one word forever) costs ten levels of one look-up a word, never more.

No processor guesses whether a word is new, whether it repeats, or how long it is. So none of that is asked by a
branch: a look-up stores what it finds, new or not, and a list is kept by writing all and counting some on. Things are
named `CHUNK` at a time, from buffers that stay in the nearest cache, and the table grows with what is known.

An n-gram is n words, not their letters run together: "a b c" is not taken for "ab c".
"""

from __future__ import annotations

import secrets
from typing import NamedTuple

import numpy as np

from filters.text.bits import NO_BITS, ONE_BIT, eight_bytes
from filters.text.compiled import inlined, kernel, loop

LONGEST_NGRAM = 10  # words
TOP_NGRAMS = (2, 3, 4)  # for these the most common n-gram counts
REPEATED_NGRAMS = (5, 6, 7, 8, 9, 10)  # for these every repeated one does

CHUNK = 1 << 11  # things are named together
MANY = 1 << 17  # of so many pairs only those are named that may repeat
SHARE = 1 << 21  # pairs are named together at most: their table stays in the last cache
NO_NAME = np.uint32(2**32 - 1)

_MIX = np.uint64(0x9E3779B97F4A7C15)
_MIX_AGAIN = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)
_LONG = np.uint64(1 << 63)  # of the keys of spans of 8 bytes and more
_SHORT = 7  # bytes of a span that, with their number, are its key
KEY = np.uint64(secrets.randbits(64))  # handed to the kernel: a global would be compiled into it, and kept

# What to keep of the first eight bytes of a span of so many bytes, and of the next eight.
_FIRST_BYTES = np.array([2 ** (8 * min(size, 8)) - 1 for size in range(17)], np.uint64)
_NEXT_BYTES = np.array([2 ** (8 * max(size - 8, 0)) - 1 for size in range(17)], np.uint64)


class Table(NamedTuple):
    """Room to name things, used again for each document and each length of n-grams."""

    slots: np.ndarray  # uint32 [a power of two]: a name and 1 more, 0 where free
    keys: np.ndarray  # uint64 [names + 2]: of each name, one place further on
    firsts: np.ndarray  # uint32 [names + 1]: its first place
    counts: np.ndarray  # uint32 [names + 1]: its occurrences


class Scratch(NamedTuple):
    keys: np.ndarray  # uint64 [CHUNK + 1]: of what is being named
    long: np.ndarray  # uint32 [CHUNK + 1]: which of it is longer than its key
    places: np.ndarray  # uint32 [CHUNK + 1]
    rights: np.ndarray  # uint32 [things]: the second of a pair, where many are named share by share
    once: np.ndarray  # uint64: a map of bits: some pair fell here
    twice: np.ndarray  # uint64: another one did too


@inlined
def slots_for(things):
    """Size of a hash table that stays at most half full: a power of two."""
    slots = 16
    while slots < 2 * things:
        slots *= 2
    return slots


@kernel
def tables_for(things):
    """Two tables to name so many things in turn, and scratch. What is not touched takes no memory."""
    slots, keys = np.empty(slots_for(things + CHUNK), np.uint32), np.empty(things + 2, np.uint64)
    firsts, more_firsts = np.empty(things + 1, np.uint32), np.empty(things + 1, np.uint32)
    counts, more_counts = np.empty(things + 1, np.uint32), np.empty(things + 1, np.uint32)
    bits = slots_for(things) // 16 + 1  # eight bits a thing, at least
    scratch = Scratch(
        np.empty(CHUNK + 1, np.uint64), np.empty(CHUNK + 1, np.uint32), np.empty(CHUNK + 1, np.uint32),
        np.empty(things + 1, np.uint32), np.empty(bits, np.uint64), np.empty(bits, np.uint64),
    )  # fmt: skip
    return Table(slots, keys, firsts, counts), Table(slots, keys, more_firsts, more_counts), scratch


@inlined
def mixed(value, hash_key):
    """Another 64 bits for each 64 bits: well spread, and keyed."""
    value = (value ^ hash_key) * _MIX_AGAIN
    value = (value ^ value >> _HALF) * _MIX
    return value ^ value >> _HALF


@inlined
def _short_key(page, start, size, hash_key):
    """The key of at most 16 bytes."""
    first, next_ = (
        eight_bytes(page, start) & _FIRST_BYTES[size],
        eight_bytes(page, start + 8) & _NEXT_BYTES[size],
    )
    value, other = (first ^ hash_key) * _MIX_AGAIN, (next_ + size ^ hash_key) * _MIX
    value = (value ^ value >> _HALF) + (other ^ other >> _HALF) | _LONG
    is_long = NO_BITS - np.uint64(size > _SHORT)  # all bits where it is
    return mixed(is_long & value | ~is_long & (first | size << np.uint64(56)), hash_key)


@inlined
def _long_key(page, start, end, hash_key):
    """The key of more than 16 bytes. Of four chains, since each waits for its own multiplication only."""
    a, b = hash_key, (hash_key ^ np.uint64(end - start)) * _MIX
    c, d = a ^ _MIX_AGAIN, b ^ _MIX_AGAIN
    last = end - 16
    while start + 16 < last:
        a = (a ^ eight_bytes(page, start)) * _MIX
        b = (b ^ eight_bytes(page, start + 8)) * _MIX_AGAIN
        c = (c ^ eight_bytes(page, start + 16)) * _MIX
        d = (d ^ eight_bytes(page, start + 24)) * _MIX_AGAIN
        a, b, c, d = a ^ a >> _HALF, b ^ b >> _HALF, c ^ c >> _HALF, d ^ d >> _HALF
        start += 32
    a = (a ^ eight_bytes(page, min(start, last))) * _MIX
    b = (b ^ eight_bytes(page, min(start, last) + 8)) * _MIX_AGAIN
    c = (c ^ eight_bytes(page, last)) * _MIX
    d = (d ^ eight_bytes(page, last + 8)) * _MIX_AGAIN
    value = ((a ^ a >> _HALF) + (b ^ b >> _HALF)) * _MIX ^ ((c ^ c >> _HALF) + (d ^ d >> _HALF)) * _MIX_AGAIN
    return mixed((value ^ value >> _HALF) | _LONG, hash_key)


@inlined
def key_of(page, start, end, hash_key):
    """64 bits of the bytes page[start:end]: of up to 7 bytes as many as there are of these, of more a hash."""
    size = end - start
    if size <= 16:
        return _short_key(page, start, np.uint64(size), hash_key)
    return _long_key(page, start, end, hash_key)


# ---- Naming ---------------------------------------------------------------------------------------------


@inlined
def _cleared(table, things):
    """Forget all names; returns the number of slots for so many things."""
    size = slots_for(things)
    table.slots[:size] = 0
    return size


@loop
def _widened(table, size, needed, known, since):
    """Move the names from `since` on to a table of more slots; returns how many."""
    while size < needed:
        size *= 2
    table.slots[:size] = 0
    last_slot = np.uint64(size - 1)
    for name in range(since + 1, known + 1):
        slot = table.keys[name] & last_slot
        while table.slots[slot]:
            slot = (slot + ONE_BIT) & last_slot
        table.slots[slot] = name
    return size


@inlined
def _with_room(table, size, known, more, since):
    """The number of slots for so many more names; the table holds those from `since` on."""
    needed = 2 * (known - since + more)
    return size if size >= needed else _widened(table, size, needed, known, since)


@inlined
def _name(keys, things, places, names, table, size, known):
    """Name so many things of these keys at these places; returns how many names there are then."""
    slots, keys_of, firsts, counts = table.slots, table.keys, table.firsts, table.counts
    last_slot, known = np.uint64(size - 1), np.uint64(known)
    for k in range(things):
        key = keys[k]
        slot = key & last_slot
        name = np.uint64(slots[slot])
        keys_of[0] = key  # so that a free slot ends the search as its own does
        while keys_of[name] != key:
            slot = (slot + ONE_BIT) & last_slot
            name = np.uint64(slots[slot])
        firsts[known], counts[known] = places[k], 0  # in case it is new
        new = np.uint64(name == NO_BITS)
        known += new
        name |= (NO_BITS - new) & known
        slots[slot], keys_of[name] = name, key
        names[k] = name - ONE_BIT
        counts[name - ONE_BIT] += 1
    return np.int64(known)


@loop
def _span_keys(page, edges, spans, begin, scratch, hash_key):
    """The keys of so many spans, of which the first is number `begin`, where they begin, and which are longer than their
    keys; returns how many are."""
    keys, long, starts = scratch.keys, scratch.long, scratch.places
    longer = np.int64(0)
    for i in range(spans):
        start, end = np.int64(edges[2 * i]), np.int64(edges[2 * i + 1])
        keys[i], starts[i] = key_of(page, start, end, hash_key), start
        long[longer] = begin + i
        longer += end - start > _SHORT
    return longer


@inlined
def _difference(page, start, size, other, other_size):
    """Not 0 where two spans of at least 8 bytes are not the same. Asked of all, so it ends no loop early."""
    difference = size ^ other_size
    difference |= np.int64(eight_bytes(page, start) != eight_bytes(page, other))
    difference |= np.int64(eight_bytes(page, start + size - 8) != eight_bytes(page, other + other_size - 8))
    for at in range(8, size - 8, 8):
        difference |= np.int64(eight_bytes(page, start + at) != eight_bytes(page, other + at))
    return difference


@loop
def _differences(page, edges, long, spans, names, firsts):
    """Not 0 where one of these spans is not the same as the first of its name."""
    differences = np.int64(0)
    for k in range(spans):
        i = long[k]
        twin = firsts[names[i]]
        start, other = np.int64(edges[2 * i]), np.int64(edges[2 * twin])
        end, other_end = np.int64(edges[2 * i + 1]), np.int64(edges[2 * twin + 1])
        differences |= _difference(page, start, end - start, other, other_end - other)
    return differences


@loop
def name_spans(page, edges, spans, places, names, table, scratch, hash_key):
    """names[i] of the bytes page[edges[2 * i]:edges[2 * i + 1]], and places[i] = i; returns how many names there are.

    The table holds the first span of each name, and its occurrences.
    """
    for i in range(spans):
        places[i] = i
    while True:
        known = differences = 0
        size = _cleared(table, min(spans, CHUNK))
        for begin in range(0, spans, CHUNK):
            end = min(begin + CHUNK, spans)
            size = _with_room(table, size, known, end - begin, 0)
            longer = _span_keys(page, edges[2 * begin :], end - begin, begin, scratch, hash_key)
            known = _name(scratch.keys, end - begin, places[begin:], names[begin:], table, size, known)
            differences |= _differences(page, edges, scratch.long, longer, names, table.firsts)
        if differences == 0:
            return known
        hash_key = hash_key * _MIX + ONE_BIT


@loop
def slots_at_first(table, things):
    """Forget all names; returns the number of slots with which to begin, for so many things."""
    return _cleared(table, min(things, CHUNK))


@loop
def name_more(page, edges, spans, names, table, ends, new, scratch, size, known, hash_key):
    """Name spans when not all are at hand at once. Begin with no names and `slots_at_first`.

    The table holds where the first span of each name begins, `ends` where it ends; new[j] is the span that is the j-th
    new one. Returns (names, slots, not 0 where two spans with one name are not the same: then all must be named again
    with another key).
    """
    differences = np.int64(0)
    already = known
    for begin in range(0, spans, CHUNK):
        things, before = min(CHUNK, spans - begin), known
        size = _with_room(table, size, known, things, 0)
        long = _span_keys(page, edges[2 * begin :], things, begin, scratch, hash_key)
        known = _name(scratch.keys, things, scratch.places, names[begin:], table, size, known)
        _note_new(names[begin:], things, before, begin, new[before - already :])
        for k in range(before - already, known - already):
            ends[already + k] = edges[2 * np.int64(new[k]) + 1]
        for k in range(long):
            i = np.int64(scratch.long[k])
            start, end, name = np.int64(edges[2 * i]), np.int64(edges[2 * i + 1]), names[i]
            twin = np.int64(table.firsts[name])
            differences |= _difference(page, start, end - start, twin, np.int64(ends[name]) - twin)
    return known, size, differences


@inlined
def _note_new(names, spans, known, begin, new):
    """Note which of so many spans, of which the first is number `begin`, are the first of the names from `known` on."""
    noted = 0
    for k in range(spans):
        new[noted] = begin + k
        noted += names[k] == known + noted


# ---- N-grams --------------------------------------------------------------------------------------------


@inlined
def _pairs(places, names, counts, grams, keys, kept_places, hash_key):
    """The pairs of repeated n-grams that begin at the first so many: their keys, and their places, which may be written
    over those at which they begin. Returns how many there are."""
    kept = 0
    left, place = names[0], np.int64(places[0])
    repeated = counts[left] >= 2
    for k in range(grams):
        right, next_place = names[k + 1], np.int64(places[k + 1])
        next_repeated = counts[right] >= 2
        keys[kept] = mixed(np.uint64(left) << _HALF | np.uint64(right), hash_key)
        kept_places[kept] = place
        kept += repeated & next_repeated & (next_place == place + 1)
        left, place, repeated = right, next_place, next_repeated
    return kept


@loop
def _mark(keys, pairs, once, twice, shift):
    """Set each pair's bit of the map: in `twice` where it was set before."""
    for k in range(pairs):
        at = keys[k] >> shift
        bit, here = ONE_BIT << (at & np.uint64(63)), at >> np.uint64(6)
        seen = once[here]
        twice[here] |= seen & bit
        once[here] = seen | bit


@loop
def _likely(keys, pairs, places, twice, shift):
    """Keep the pairs whose bit another one has set too; returns how many there are."""
    kept = np.int64(0)
    for k in range(pairs):
        key, place = keys[k], places[k]
        at = key >> shift
        keys[kept], places[kept] = key, place
        kept += np.int64(twice[at >> np.uint64(6)] >> (at & np.uint64(63)) & ONE_BIT)
    return kept


@loop
def _mark_all(places, names, grams, counts, scratch, hash_key):
    """Set the bits of all pairs; returns by how much to shift a key to find its bit."""
    bits = 6
    while 1 << bits < 8 * grams:
        bits += 1
    scratch.once[: 1 << (bits - 6)] = NO_BITS
    scratch.twice[: 1 << (bits - 6)] = NO_BITS
    shift = np.uint64(64 - bits)
    for begin in range(0, grams - 1, CHUNK):
        end = min(begin + CHUNK, grams - 1)
        pairs = _pairs(
            places[begin:], names[begin:], counts, end - begin, scratch.keys, scratch.places, hash_key
        )
        _mark(scratch.keys, pairs, scratch.once, scratch.twice, shift)
    return shift


@loop
def _keep_likely(places, names, rights, grams, counts, twice, shift, hash_key):
    """Keep the pairs that may repeat: their two n-grams in `names` and `rights`; returns how many there are."""
    kept = 0
    for k in range(grams - 1):
        place, left, right = places[k], names[k], names[k + 1]
        at = mixed(np.uint64(left) << _HALF | np.uint64(right), hash_key) >> shift
        likely = (twice[at >> np.uint64(6)] >> (at & np.uint64(63)) & ONE_BIT) != NO_BITS
        adjacent = np.int64(places[k + 1]) == np.int64(place) + 1
        places[kept], names[kept], rights[kept] = place, left, right
        kept += likely & adjacent & (counts[left] >= 2) & (counts[right] >= 2)
    return kept


@loop
def _name_share(places, names, rights, pairs, share, shares, to, known, scratch, hash_key):
    """Name the pairs of one share, which their keys choose; returns how many names there are then."""
    since, size = known, _cleared(to, CHUNK)
    for begin in range(0, pairs, CHUNK):
        chosen = 0
        for k in range(begin, min(begin + CHUNK, pairs)):
            key = mixed(np.uint64(names[k]) << _HALF | np.uint64(rights[k]), hash_key)
            scratch.keys[chosen], scratch.long[chosen], scratch.places[chosen] = key, k, places[k]
            mine = (key >> _HALF & np.uint64(shares - 1)) == np.uint64(share)
            chosen += mine & (rights[k] != NO_NAME)
        size = _with_room(to, size, known, chosen, since)
        known = _name(scratch.keys, chosen, scratch.places, scratch.places, to, size, known)
        for k in range(chosen):
            names[scratch.long[k]], rights[scratch.long[k]] = scratch.places[k], NO_NAME
    return known


@loop
def _by_shares(places, names, grams, of, to, scratch, hash_key):
    """What `longer_grams` does, for very many: a share at a time, so that its table stays in the cache. Names are not
    given in order of first appearance."""
    shift = _mark_all(places, names, grams, of.counts, scratch, hash_key)
    pairs = _keep_likely(places, names, scratch.rights, grams, of.counts, scratch.twice, shift, hash_key)
    shares = 1
    while pairs // shares > SHARE:
        shares *= 2
    known = 0
    for share in range(shares):
        known = _name_share(places, names, scratch.rights, pairs, share, shares, to, known, scratch, hash_key)
    return pairs, known


@loop
def longer_grams(places, names, grams, of, to, scratch, hash_key):
    """From the n-grams to the (n + 1)-grams of which both n-grams repeat: `places` are the words at which they begin, in
    order, `names` what they are. `of` is the table of the n-grams, `to` of what comes.

    Returns (how many, names). Those that occur once are among them, of many pairs only some.
    """
    if grams > SHARE:
        return _by_shares(places, names, grams, of, to, scratch, hash_key)
    many = grams > MANY
    shift = _mark_all(places, names, grams, of.counts, scratch, hash_key) if many else NO_BITS
    size = _cleared(to, min(grams, CHUNK))
    kept = known = 0
    for begin in range(0, grams - 1, CHUNK):
        end = min(begin + CHUNK, grams - 1)
        pairs = _pairs(
            places[begin:], names[begin:], of.counts, end - begin, scratch.keys, places[kept:], hash_key
        )
        if many:
            pairs = _likely(scratch.keys, pairs, places[kept:], scratch.twice, shift)
        size = _with_room(to, size, known, pairs, 0)
        known = _name(scratch.keys, pairs, places[kept:], names[kept:], to, size, known)
        kept += pairs
    return kept, known


@inlined
def gram_characters(words_before, place, n):
    """Characters of the n words from a place on, without the spaces between them."""
    return words_before[place + n] - words_before[place]
