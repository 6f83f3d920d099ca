"""A batch's text as numbers: whatever is written alike has the same one, and is looked at once.

A text is cut into *stretches*, what stands between white space of ASCII. Most stretches are one whitespace word,
most words come again and again, and the words and Unicode tokens of a stretch depend on nothing around it. So every
stretch is looked up (exactly: by a hash, then byte by byte), only a new one is taken apart, and each family that asks
for words or tokens reads numbers, and beside them what is known of each. `shared` keeps them for the families that
are measured on one batch one after another, and finds nothing before one asks.

A stretch that begins with a combining mark, a format character or a white space beyond ASCII is joined to the one
before, since UAX #29 looks across the space there.

Names are given in order of first appearance. The table of what is known forgets at a document's beginning once it
holds much, so it stays in the processor's cache: the same word may have another name in another document, never
in the same one. The price: a text that never repeats itself (Chinese without spaces) pays for a table that it
does not use. Memory: 4 bytes a stretch of the batch, some 40 for each that is new.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from filters.ngrams import KEY, key_of, same_bytes, slots_for
from filters.segments import CLASS, IGNORED, find_tokens, word_breaks
from filters.text import (
    ALPHABETIC,
    DIGIT,
    NO_BITS,
    ONE_BIT,
    PADDING,
    WHITESPACE,
    character_classes,
    continuation_mask,
    count_bits,
    decode,
    inlined,
    kernel,
    loop,
    lowest_bit,
    lowest_bits,
    open_page,
    shared,
    space_mask,
    valid,
    wide_space_mask,
)

WINDOW = 1 << 14  # bytes of a document that are looked at together
MOST_KNOWN = 1 << 15  # names in the table at a document's beginning


class Words(NamedTuple):
    """The stretches of a batch, and the whitespace words in each."""

    firsts: np.ndarray  # int64 [documents + 1]: document i has stretches[firsts[i]:firsts[i + 1]]
    stretches: np.ndarray  # int32: their names
    characters: np.ndarray  # int64 [documents]
    counts: np.ndarray  # int64 [documents]: words
    starts: np.ndarray  # int64 [names]: where in the column's bytes it first stands
    sizes: np.ndarray  # int32 [names]: in bytes
    lengths: np.ndarray  # int32 [names]: in characters
    parts_from: (
        np.ndarray
    )  # int32 [names + 1]: stretch s has the words parts[parts_from[s]:parts_from[s + 1]]
    parts: np.ndarray  # int32: names again, of a word that is a stretch its own
    eras: np.ndarray  # int64: names from which on the table was another


class Tokens(NamedTuple):
    """The Unicode tokens in each stretch, by names of their own."""

    counts: np.ndarray  # int64 [documents]
    starts: np.ndarray  # as those of words
    sizes: np.ndarray
    lengths: np.ndarray
    flags: np.ndarray  # uint8 [names]: what the token has (see unicode_words), and FIRST
    parts_from: np.ndarray
    parts: np.ndarray


FIRST = np.uint8(8)  # the token begins with a letter or digit


# ---- The table ------------------------------------------------------------------------------------------


class Table(NamedTuple):
    keys: np.ndarray  # uint64 [a power of two]
    slots: np.ndarray  # int32: a name, -1 where free


@kernel
def _table(slots):
    return Table(np.empty(slots, np.uint64), np.full(slots, -1, np.int32))


@inlined
def _look_up(key, page, start, size, data, starts, sizes, table):
    """(name, -1 where there is none; the slot where it is or belongs) of page[start:start + size]."""
    last_slot = np.uint64(len(table.slots) - 1)
    slot = key & last_slot
    while True:
        name = np.int64(table.slots[slot])
        if name < 0:
            return name, slot
        if table.keys[slot] == key and (
            size < 8 or (sizes[name] == size and same_bytes(page, start, data, starts[name], size))
        ):
            return name, slot
        slot = (slot + ONE_BIT) & last_slot


@kernel
def _wider(table, slots):
    """The same table with so many slots."""
    wider = _table(slots)
    last_slot = np.uint64(slots - 1)
    for old in range(len(table.slots)):
        if table.slots[old] >= 0:
            slot = table.keys[old] & last_slot
            while wider.slots[slot] >= 0:
                slot = (slot + ONE_BIT) & last_slot
            wider.keys[slot], wider.slots[slot] = table.keys[old], table.slots[old]
    return wider


@kernel
def _with_room(values, used, room):
    """An array with room for so many entries, that holds the used ones."""
    if room <= len(values):
        return values
    grown = np.empty(max(room, 2 * len(values)), values.dtype)
    grown[:used] = values[:used]
    return grown


# ---- Stretches and words --------------------------------------------------------------------------------


@inlined
def _is_space(byte):
    return 0x09 <= byte <= 0x0D or 0x1C <= byte <= 0x20


@loop
def _window_end(data, start, end):
    """Where to cut: no word, token or run of white space goes on there, and nothing behind it looks back."""
    at = start + WINDOW
    while at < end:
        byte, last = data[at], data[at - 1]
        if _is_space(byte) and not _is_space(last) and (byte == 0x0A or last < 0x80):
            return at
        at += 1
    return end


@loop
def _find_stretches(page, length, edges):
    """Fill in where stretches begin (even places) and end (odd ones). Returns (stretches, characters)."""
    found = characters = 0
    inside = NO_BITS
    for block in range(0, length, 64):
        text = lowest_bits(length - block)
        dark = ~space_mask(page, block) & text
        characters += count_bits(~continuation_mask(page, block) & text)
        changes = dark ^ (dark << ONE_BIT | inside)
        inside = dark >> np.uint64(63)
        while changes:
            edges[found] = block + lowest_bit(changes)
            changes &= changes - ONE_BIT
            found += 1
    if found % 2:
        edges[found] = length
        found += 1
    return found // 2, characters


@loop
def _join(page, edges, found, breaks, classes):
    """Join stretches to the one before where UAX #29 looks across the space between. Returns how many are left."""
    kept = 0
    for k in range(found):
        start, end = edges[2 * k], edges[2 * k + 1]
        if page[start] >= 0x80:
            code, _ = decode(page, start)
            ignored = ONE_BIT << np.uint64(breaks[code] & CLASS) & np.uint64(IGNORED)
            if ignored != NO_BITS or classes[code] & WHITESPACE:
                if kept:
                    edges[2 * kept - 1] = end
                    continue
                start = 0
        edges[2 * kept], edges[2 * kept + 1] = start, end
        kept += 1
    return kept


@loop
def _is_word(page, start, end, classes):
    """No white space in it."""
    for block in range(start, end, 64):
        text = lowest_bits(end - block)
        if space_mask(page, block) & text:
            return False
        wide = wide_space_mask(page, block) & text
        while wide:
            code, _ = decode(page, block + lowest_bit(wide))
            wide &= wide - ONE_BIT
            if classes[code] & WHITESPACE:
                return False
    return True


@inlined
def _length(page, start, end):
    """Characters."""
    characters = 0
    for block in range(start, end, 64):
        characters += count_bits(~continuation_mask(page, block) & lowest_bits(end - block))
    return characters


@inlined
def _word_in(page, at, end, classes):
    """(start, end) of the first word from a byte on; start == end where there is none."""
    start = at
    while at < end:
        code, width = decode(page, at)
        if classes[code] & WHITESPACE:
            if at > start:
                break
            start = at + width
        at += width
    return start, at


KNOWN, ERA, USED, PARTS, COUNT = range(5)  # of `state`: names, the first of this era, stretches, parts; words


@inlined
def _add(page, base, start, end, key, slot, names, table, state):
    name = state[KNOWN]
    table.keys[slot], table.slots[slot] = key, name
    names.starts[name], names.sizes[name] = base + start, end - start
    names.lengths[name] = _length(page, start, end)
    state[KNOWN] = name + 1
    return name


class Names(NamedTuple):
    starts: np.ndarray
    sizes: np.ndarray
    lengths: np.ndarray
    parts_from: np.ndarray
    parts: np.ndarray


@loop
def _name_parts(page, base, start, end, data, classes, hash_key, names, table, state, note):
    """Name each word of a stretch of several; with `note`, they are known, and are the next stretch's parts."""
    word, stop = _word_in(page, start, end, classes)
    while word < stop:
        key = key_of(page, word, stop, hash_key)
        name, slot = _look_up(key, page, word, stop - word, data, names.starts, names.sizes, table)
        if name < 0:
            name = _add(page, base, word, stop, key, slot, names, table, state)
            _add_part(name, names, state)
            names.parts_from[name + 1] = state[PARTS]
        if note:
            _add_part(name, names, state)
        word, stop = _word_in(page, stop, end, classes)


@inlined
def _add_part(name, names, state):
    names.parts[state[PARTS]] = name
    state[PARTS] += 1


@loop
def _name_stretches(page, base, edges, k, found, data, classes, hash_key, stretches, names, table, state):
    """Name stretches from the k-th on; returns how many are done, fewer than all where room is short."""
    while k < found:
        start, end = edges[2 * k], edges[2 * k + 1]
        key = key_of(page, start, end, hash_key)
        name, slot = _look_up(key, page, start, end - start, data, names.starts, names.sizes, table)
        if name < 0:
            is_word = _is_word(page, start, end, classes)
            new = 1 if is_word else most_parts(end - start)
            if not _has_room(new, names, table, state):
                return k
            if not is_word:
                _name_parts(page, base, start, end, data, classes, hash_key, names, table, state, False)
                _, slot = _look_up(key, page, start, end - start, data, names.starts, names.sizes, table)
            name = _add(page, base, start, end, key, slot, names, table, state)
            if is_word:
                _add_part(name, names, state)
            else:
                _name_parts(page, base, start, end, data, classes, hash_key, names, table, state, True)
            names.parts_from[name + 1] = state[PARTS]
        stretches[state[USED]] = name
        state[USED] += 1
        state[COUNT] += names.parts_from[name + 1] - names.parts_from[name]
        k += 1
    return k


@inlined
def most_parts(size):
    """Names that a stretch of so many bytes may add: itself, and every other byte a word."""
    return size // 2 + 2


@inlined
def _has_room(new, names, table, state):
    return (
        state[KNOWN] + new < len(names.starts)
        and state[PARTS] + 2 * new < len(names.parts)
        and 2 * (state[KNOWN] - state[ERA] + new) <= len(table.slots)
    )


@kernel
def _more_names(names, new, state):
    known = state[KNOWN]
    starts = _with_room(names.starts, known, known + new + 1)
    room = len(starts)
    return Names(
        starts, _with_room(names.sizes, known, room), _with_room(names.lengths, known, room),
        _with_room(names.parts_from, known + 1, room + 1), _with_room(names.parts, state[PARTS], state[PARTS] + 2 * new + 1),
    )  # fmt: skip


@kernel
def _no_names(room):
    starts, parts_from = np.empty(room, np.int64), np.zeros(room + 1, np.int32)
    sizes, lengths, parts = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
    return Names(starts, sizes, lengths, parts_from, parts)


@kernel
def _spell(offsets, data, breaks, classes, hash_key):
    documents = len(offsets) - 1
    firsts, characters, counts = (
        np.zeros(documents + 1, np.int64),
        np.zeros(documents, np.int64),
        np.zeros(documents, np.int64),
    )
    stretches = np.empty((offsets[documents] - offsets[0]) // 5 + 64, np.int32)
    eras, n_eras = np.empty(64, np.int64), 0
    names, table = _no_names(1024), _table(4 * MOST_KNOWN)
    page, edges = np.empty(WINDOW + PADDING, np.uint8), np.empty(WINDOW + 2, np.int32)
    state = np.zeros(5, np.int64)
    for i in range(documents):
        if state[KNOWN] - state[ERA] > MOST_KNOWN:
            if len(table.slots) > 4 * MOST_KNOWN:
                table = _table(4 * MOST_KNOWN)
            table.slots[:] = -1
            eras = _with_room(eras, n_eras, n_eras + 1)
            eras[n_eras] = state[ERA] = state[KNOWN]
            n_eras += 1
        state[COUNT] = 0
        at = offsets[i]
        while at < offsets[i + 1]:
            end = _window_end(data, at, offsets[i + 1])
            page, edges = _with_room(page, 0, end - at + PADDING), _with_room(edges, 0, end - at + 2)
            length = open_page(page, data, at, end)
            found, size = _find_stretches(page, length, edges)
            found = _join(page, edges, found, breaks, classes)
            characters[i] += size
            stretches = _with_room(stretches, state[USED], state[USED] + found)
            k = 0
            while True:
                k = _name_stretches(
                    page, at, edges, k, found, data, classes, hash_key, stretches, names, table, state
                )
                if k == found:
                    break
                new = most_parts(edges[2 * k + 1] - edges[2 * k])
                names = _more_names(names, new, state)
                needed = slots_for(state[KNOWN] - state[ERA] + new)
                if needed > len(table.slots):
                    table = _wider(table, needed)
            at = end
        firsts[i + 1], counts[i] = state[USED], state[COUNT]
    return firsts, stretches[: state[USED]], characters, counts, names, eras[:n_eras], state


@shared
def words_of(texts: pa.Array | pa.ChunkedArray) -> Words:
    """Whitespace words of a batch."""
    offsets, data = valid(texts)
    firsts, stretches, characters, counts, names, eras, state = _spell(
        offsets, data, word_breaks(), character_classes(), KEY
    )
    known = state[KNOWN]
    return Words(
        firsts, stretches, characters, counts, names.starts[:known], names.sizes[:known], names.lengths[:known],
        names.parts_from[: known + 1], names.parts[: state[PARTS]], eras,
    )  # fmt: skip


# ---- Tokens ---------------------------------------------------------------------------------------------


@loop
def _name_tokens(
    page, base, edges, characters, has, found, data, classes, hash_key, names, flags, table, state
):
    """Name the tokens of a stretch, for which there is room."""
    for k in range(found):
        start, end = edges[2 * k], edges[2 * k + 1]
        key = key_of(page, start, end, hash_key)
        name, slot = _look_up(key, page, start, end - start, data, names.starts, names.sizes, table)
        if name < 0:
            name = state[KNOWN]
            table.keys[slot], table.slots[slot] = key, name
            names.starts[name], names.sizes[name] = base + start, end - start
            names.lengths[name] = characters[2 * k + 1] - characters[2 * k]
            code, _ = decode(page, start)
            first = (classes[code] & (ALPHABETIC | DIGIT)) != 0
            flags[name] = has[k] | (FIRST if first else np.uint8(0))
            state[KNOWN] += 1
        _add_part(name, names, state)


@loop
def _count_tokens(firsts, stretches, parts_from, counts):
    for i in range(len(counts)):
        for k in range(firsts[i], firsts[i + 1]):
            counts[i] += parts_from[stretches[k] + 1] - parts_from[stretches[k]]


class Room(NamedTuple):
    """For the tokens of one stretch."""

    page: np.ndarray
    edges: np.ndarray
    characters: np.ndarray
    has: np.ndarray


@kernel
def room_for(words):
    longest = 0
    for s in range(len(words.sizes)):
        longest = max(longest, words.sizes[s])
    page, has = np.empty(longest + PADDING, np.uint8), np.empty(longest + 1, np.uint8)
    edges, characters = np.empty(2 * longest + 2, np.int32), np.empty(2 * longest + 2, np.int32)
    return Room(page, edges, characters, has)


@loop
def _tokenise_some(
    s, stop, data, words, room, breaks, classes, hash_key, names, flags, table, parts_from, state
):
    """Name the tokens of the stretches from `s` on; returns the first for which names have no room."""
    while s < stop and _has_room(np.int64(words.sizes[s]), names, table, state):
        base = words.starts[s]
        length = open_page(room.page, data, base, base + words.sizes[s])
        found, _ = find_tokens(room.page, length, room.edges, room.characters, room.has, breaks, classes)
        _name_tokens(
            room.page, base, room.edges, room.characters, room.has, found, data, classes, hash_key, names, flags, table,
            state,
        )  # fmt: skip
        s += 1
        parts_from[s] = state[PARTS]
    return s


@kernel
def _tokenise(data, words, breaks, classes, hash_key):
    n = len(words.starts)
    room = room_for(words)
    names, table, flags = _no_names(1024), _table(4 * MOST_KNOWN), np.empty(1024, np.uint8)
    parts_from = np.zeros(n + 1, np.int32)
    state = np.zeros(5, np.int64)
    s = 0
    for era in range(len(words.eras) + 1):
        if len(table.slots) > 4 * MOST_KNOWN:
            table = _table(4 * MOST_KNOWN)
        table.slots[:] = -1
        state[ERA] = state[KNOWN]
        stop = words.eras[era] if era < len(words.eras) else n
        while True:
            s = _tokenise_some(
                s, stop, data, words, room, breaks, classes, hash_key, names, flags, table, parts_from, state
            )
            if s == stop:
                break
            new = np.int64(words.sizes[s])
            names = _more_names(names, new, state)
            flags = _with_room(flags, state[KNOWN], len(names.starts))
            needed = slots_for(state[KNOWN] - state[ERA] + new)
            if needed > len(table.slots):
                table = _wider(table, needed)
    counts = np.zeros(len(words.counts), np.int64)
    _count_tokens(words.firsts, words.stretches, parts_from, counts)
    return counts, names, flags, parts_from, state


@shared
def tokens_of(texts: pa.Array | pa.ChunkedArray) -> Tokens:
    """Unicode tokens of a batch."""
    words = words_of(texts)
    _, data = valid(texts)
    counts, names, flags, parts_from, state = _tokenise(data, words, word_breaks(), character_classes(), KEY)
    known = state[KNOWN]
    return Tokens(
        counts, names.starts[:known], names.sizes[:known], names.lengths[:known], flags[:known], parts_from,
        names.parts[: state[PARTS]],
    )  # fmt: skip


# ---- For families ---------------------------------------------------------------------------------------


@loop
def read_names(stretches, parts_from, parts, lengths, names, before):
    """The names of a document's words or tokens, and `before[i]`, the characters of those before the i-th."""
    n, characters = 0, np.int32(0)
    before[0] = 0
    for k in range(len(stretches)):
        stretch = stretches[k]
        for part in range(parts_from[stretch], parts_from[stretch + 1]):
            name = parts[part]
            names[n] = name
            n += 1
            characters += lengths[name]
            before[n] = characters
    return n


@loop
def read_kind(stretches, parts_from, parts, lengths, flags, kind, names, before):
    """The same of those tokens alone that have something of `kind`."""
    n, characters = 0, np.int32(0)
    before[0] = 0
    for k in range(len(stretches)):
        stretch = stretches[k]
        for part in range(parts_from[stretch], parts_from[stretch + 1]):
            name = parts[part]
            if flags[name] & kind:
                names[n] = name
                n += 1
                characters += lengths[name]
                before[n] = characters
    return n


@loop
def count_names(names, words, places, counts):
    """Count how often each name occurs, in `counts` that are 0 before; places[i] = i."""
    for i in range(words):
        places[i] = i
        counts[names[i]] += 1


@loop
def forget_names(stretches, parts_from, parts, counts):
    """Make the counts of a document's names 0 again."""
    for k in range(len(stretches)):
        for part in range(parts_from[stretches[k]], parts_from[stretches[k] + 1]):
            counts[parts[part]] = 0
