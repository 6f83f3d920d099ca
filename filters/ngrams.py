"""Names for what repeats: the same small number for the same word, line or n-gram, in order of first appearance.

Exact, with no luck of hashes in it: whatever is looked up by a hash is compared byte by byte with what it was
taken for. The hashes are keyed anew in every process, which no result can show: so a text cannot be written
whose words all collide, on which each look-up would pass by all others.

N-grams are named level by level. Words get small numbers; an (n + 1)-gram is the pair of the n-grams at its
place and at the next, looked up by that pair. Only what occurs at least twice goes on to the next level,
since a longer n-gram cannot repeat where a shorter one in it does not: ordinary text dies out after three
or four levels, and the worst text (one word forever) costs ten levels of one look-up a word, never more.

An n-gram is n words, not their letters run together: "a b c" is not taken for "ab c".
"""

from __future__ import annotations

import secrets

import numpy as np

from filters.text import ONE_BIT, eight_bytes, inlined, kernel, loop, lowest_bits

LONGEST_NGRAM = 10  # words
TOP_NGRAMS = (2, 3, 4)  # for these the most common n-gram counts
REPEATED_NGRAMS = (5, 6, 7, 8, 9, 10)  # for these every repeated one does

_MIX = np.uint64(0x9E3779B97F4A7C15)
_MIX_AGAIN = np.uint64(0xD6E8FEB86659FD93)
KEY = np.uint64(secrets.randbits(64))  # handed to the kernel: a global would be compiled into it, and kept


@inlined
def slots_for(things):
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
def name_spans(page, edges, spans, names, first, keys, slots, hash_key):
    """names[i] of the bytes page[edges[2 * i]:edges[2 * i + 1]]; first[name] is the first i of a name.

    Returns how many names there are. `keys` and `slots` (-1: empty) are the hash table.
    """
    size = slots_for(spans)
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
def name_pairs(places, names, repeats, pair_names, counts, keys, slots, hash_key):
    """Name the (n + 1)-grams that begin where a repeated n-gram does, and count each.

    `places` are the words at which the `repeats` repeated n-grams begin, in order, `names` what they are.
    pair_names[k] is -1 where the next place has no repeated n-gram. Returns how many names there are.
    """
    size = slots_for(repeats)
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


@loop
def keep_repeated(places, names, new_names, counts, repeats):
    """Keep the places whose new name occurs at least twice, and those names. Returns how many are kept."""
    kept = 0
    for k in range(repeats):
        name = new_names[k]
        if name >= 0 and counts[name] >= 2:
            places[kept], names[kept] = places[k], name
            kept += 1
    return kept


@inlined
def gram_characters(words_before, place, n):
    """Characters of the n words from a place on, without the spaces between them."""
    return words_before[place + n] - words_before[place]
