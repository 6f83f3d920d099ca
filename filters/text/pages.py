"""What text is made of, for compiled loops: characters, words, lines.

Words are what `str.split()` gives and lines end where `str.splitlines()` ends them, as in the papers. Every kernel
copies one document at a time to a *page*, a buffer with `PADDING` zero bytes behind the text. So 64 bytes can be looked
at with one comparison (see `masks`) without leaving the buffer, and fresh arrays, slices and memory maps are the same
to it. The price: the bytes must be valid UTF-8. `batches.valid` checks that (several GB/s) and repairs what is not.
"""

from __future__ import annotations

import numpy as np

from filters.text import masks
from filters.text.bits import NO_BITS, ONE_BIT, copy_bytes, count_bits, lowest_bit, lowest_bits, places
from filters.text.classes import ALPHABETIC, DIGIT, UPPERCASE, WHITESPACE
from filters.text.compiled import inlined, kernel, loop

PADDING = 128  # bytes behind a page's text: one 64-byte look at its last byte, and one more for a word's tail


@inlined
def open_page(page, data, start, end):
    """Copy one document to the page and return its length in bytes."""
    copy_bytes(page, data, start, end - start)
    for at in range(end - start, end - start + PADDING):
        page[at] = 0
    return end - start


@inlined
def blocks_of(length):
    """How many blocks of 64 bytes hold so many, and one."""
    return length // 64 + 1


@loop
def longest_document(offsets):
    """Length in bytes of the longest document: what a page must hold."""
    longest = 0
    for i in range(len(offsets) - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    return longest


@loop
def most_newlines(offsets, data):
    """Of one document. `data` has no zero bytes behind it: its last bytes are looked at one by one."""
    most = 0
    for i in range(len(offsets) - 1):
        newlines, at, end = 0, offsets[i], offsets[i + 1]
        while at < end and at + 64 <= len(data):
            newlines += count_bits(masks.newline_mask(data, at) & lowest_bits(end - at))
            at += 64
        while at < end:
            newlines += data[at] == 0x0A
            at += 1
        most = max(most, newlines)
    return most


# ---- Characters -----------------------------------------------------------------------------------------


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
def count_characters(page, start, end):
    """Characters of page[start:end]."""
    characters = 0
    for block in range(start, end, 64):
        characters += count_bits(~masks.continuation_mask(page, block) & lowest_bits(end - block))
    return characters


@inlined
def count_kinds(page, start, end, classes):
    """(characters, letters, digits, capitals) of page[start:end]. What a caller does not use is not counted."""
    characters = letters = digits = capitals = 0
    for block in range(start, end, 64):
        text = lowest_bits(end - block)
        letters += count_bits(masks.letter_mask(page, block) & text)
        digits += count_bits(masks.digit_mask(page, block) & text)
        capitals += count_bits(masks.capital_mask(page, block) & text)
        first_bytes = ~masks.continuation_mask(page, block) & text
        characters += count_bits(first_bytes)
        for at in places(masks.non_ascii_mask(page, block) & first_bytes, block):
            code, _ = decode(page, at)
            letters += (classes[code] & ALPHABETIC) != 0
            digits += (classes[code] & DIGIT) != 0
            capitals += (classes[code] & UPPERCASE) != 0
    return characters, letters, digits, capitals


@inlined
def last_character(page, start, end):
    """First byte of the last character of page[start:end], which is not empty."""
    at = end - 1
    while at > start and (page[at] & 0xC0) == 0x80:
        at -= 1
    return at


@inlined
def strip(page, start, end, classes):
    """(start, end) without the whitespace on both sides, as `str.strip()`; end == start where all is."""
    while start < end:
        code, width = decode(page, start)
        if not classes[code] & WHITESPACE:
            break
        start += width
    while end > start:
        at = last_character(page, start, end)
        code, _ = decode(page, at)
        if not classes[code] & WHITESPACE:
            break
        end = at
    return start, end


@loop
def count_marks(page, length):
    """(newlines, "#", ellipses) of a page. An ellipsis is "…" or three dots: "....." is one."""
    newlines = hashes = ellipses = 0
    dots, last_dot = 0, -1  # dots just before, less the three of every ellipsis counted
    for block in range(0, length, 64):
        text = lowest_bits(length - block)
        newlines += count_bits(masks.newline_mask(page, block) & text)
        hashes += count_bits(masks.hash_mask(page, block) & text)
        for at in places((masks.dot_mask(page, block) | masks.ellipsis_mask(page, block)) & text, block):
            if page[at] != 0x2E:
                ellipses += page[at + 1] == 0x80 and page[at + 2] == 0xA6
                continue
            dots = dots + 1 if at == last_dot + 1 else 1
            last_dot = at
            if dots == 3:
                ellipses += 1
                dots = 0
    return newlines, hashes, ellipses


# ---- Words and lines ------------------------------------------------------------------------------------


@inlined
def wide_space_bytes(page, at):
    """Bytes of the whitespace character beyond ASCII that begins at a byte; 0 where none does."""
    first, second, third = page[at], page[at + 1], page[at + 2]
    if first == 0xC2:
        return 2 if second == 0x85 or second == 0xA0 else 0
    if first == 0xE2 and second == 0x80:
        return 3 if third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF else 0
    if first == 0xE1:
        return 3 if second == 0x9A and third == 0x80 else 0
    if first == 0xE2:
        return 3 if second == 0x81 and third == 0x9F else 0
    return 3 if first == 0xE3 and second == 0x80 and third == 0x80 else 0


@loop
def find_words(page, length, byte_edges, character_edges, blocks):
    """Fill in where words begin (even places) and end (odd ones), in bytes and in characters.

    `blocks[k]` says which of the 64 bytes from 64 * k on are of words. Returns (words, characters of the page). The
    edges must have room for length + 10 entries, the blocks for `blocks_of(length)`.
    """
    edges = 0
    characters = 0
    in_word = NO_BITS  # 1 where the byte before this block belongs to a word
    spill = NO_BITS  # bytes of this block that belong to a space begun in the block before
    for block in range(0, length, 64):
        text = lowest_bits(length - block)
        space = masks.space_mask(page, block) | spill
        spill = NO_BITS
        for at in places(masks.wide_space_mask(page, block), 0):
            width = wide_space_bytes(page, block + at)
            space |= lowest_bits(width) << np.uint64(at)
            if at + width > 64:
                spill = lowest_bits(at + width - 64)
        first_bytes = ~masks.continuation_mask(page, block) & text
        word = ~space & text
        blocks[block // 64] = word
        changes = word ^ (word << ONE_BIT | in_word)
        in_word = word >> np.uint64(63)
        edges_then = edges + count_bits(changes)
        while edges < edges_then:  # eight at a time: nobody guesses how many there are, so too many are noted
            for k in range(8):
                at, before = lowest_bit(changes), first_bytes & ~changes & (changes - ONE_BIT)
                byte_edges[edges + k] = block + at
                character_edges[edges + k] = characters + count_bits(before)
                changes &= changes - ONE_BIT
            edges += 8
        edges = edges_then
        characters += count_bits(first_bytes)
    if edges % 2:  # the text ends inside a word, on the border of a block
        byte_edges[edges] = length
        character_edges[edges] = characters
        edges += 1
    return edges // 2, characters


@inlined
def wide_break_bytes(page, at):
    """Bytes of the line break beyond ASCII that begins at a byte; 0 where none does."""
    if page[at] == 0xC2:
        return 2 if page[at + 1] == 0x85 else 0
    last = page[at + 2]
    return 3 if page[at + 1] == 0x80 and (last == 0xA8 or last == 0xA9) else 0


@inlined
def break_bytes(page, at):
    """Bytes of the line break at a byte that an ASCII or a wide mask has marked; 0 where it is none."""
    if page[at] >= 0x80:
        return wide_break_bytes(page, at)
    return 2 if page[at] == 0x0D and page[at + 1] == 0x0A else 1


@inlined
def split_line(page, start, length):
    """(where the line of `str.splitlines()` that begins at a byte ends, where the next one begins)."""
    for block in range(start, length, 64):
        breaks = masks.line_break_mask(page, block) | masks.wide_break_mask(page, block)
        for at in places(breaks & lowest_bits(length - block), block):
            width = break_bytes(page, at)
            if width:
                return at, at + width
    return length, length


@inlined
def newline_from(page, start, length):
    """Where the next "\n" stands from a byte on, or the end of the text."""
    for block in range(start, length, 64):
        newlines = masks.newline_mask(page, block)
        if newlines:
            return min(length, block + lowest_bit(newlines))
    return length


@inlined
def line_from(page, start, length):
    """(where the next "\n" stands from a byte on, or the end of the text; characters up to there)."""
    characters = 0
    for block in range(start, length, 64):
        text = lowest_bits(length - block)
        newlines, first_bytes = masks.newline_mask(page, block) & text, ~masks.continuation_mask(page, block)
        if newlines:
            at = lowest_bit(newlines)
            return block + at, characters + count_bits(first_bytes & lowest_bits(at))
        characters += count_bits(first_bytes & text)
    return length, characters


@kernel
def with_room(edges, used, more):
    """An array, or several beside each other, with room for so many more entries behind the used ones, which it holds."""
    room = edges.shape[-1]
    if used + more <= room:
        return edges
    grown = np.empty(edges.shape[:-1] + (max(2 * room, used + more),), np.int64)
    grown[..., :used] = edges[..., :used]
    return grown
