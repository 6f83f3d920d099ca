"""What is on a page beside running text: code, tables, logs, markup, encoded data and the furniture of web pages.

Lines are those of `split("\\n")`, stripped, without blank ones. A line may be of several kinds:

- code: ends in `{`, `}`, `};`, `*/` or `):`, or in `;` and has a `=` or `(`; or begins with `//`, `/*`, `</`, `<?`, `#!`,
  `#include`, `#define`, `import `, `def `, `const `, `var `, `function `, `elif `, `else:`, `>>> `, `$ `, `@`
  and a letter and no space in the line
- table: has two or more `|`, or two or more tabs
- log: begins with `yyyy-mm-dd` and `T` or a space and `hh:mm`, with or without `[` before it, or with an IPv4 address
- numeric: has a digit and no letter
- capitals: has at least four capitals, and more of them than of other letters
- boilerplate: of at most 120 characters, with one of `PHRASES` in upper or lower case

A tag is `<`, perhaps `/`, an ASCII letter, and what follows up to `>` within 1,000 bytes without another `<`. An entity is
`&`, a name of letters and digits (or `#` and a number), `;`. A LaTeX command is `\\` and two letters. Encoded
is a run of at least 100 letters, digits, `+`, `/`, `=`, `_`, `-` with a digit, a capital or a small letter
changing places at least 20 times: base64 and hashes, not a row of dashes.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from filters.columns import count, ratio, span, tallied
from filters.family import Signal
from filters.text import masks, phrases
from filters.text.bits import count_bits, lowest_bits, places
from filters.text.classes import character_classes
from filters.text.compiled import inlined, kernel, loop
from filters.text.pages import (
    PADDING,
    count_kinds,
    longest_document,
    newline_from,
    open_page,
    strip,
    with_room,
)

LONGEST_BOILERPLATE = 120  # characters of a line
LONGEST_TAG, LONGEST_ENTITY = 1000, 32  # bytes
ENCODED_RUN, ENCODED_CHANGES = 100, 20
PHRASES = (
    "all rights reserved", "privacy policy", "cookie policy", "terms of use", "terms of service", "terms and conditions",
    "terms & conditions", "use of cookies", "accept cookies", "sign in", "sign up", "log in", "login", "my account",
    "subscribe", "unsubscribe", "newsletter", "read more", "learn more", "click here", "share this", "share on", "follow us",
    "skip to content", "skip to main", "back to top", "powered by", "leave a comment", "leave a reply", "add to cart",
    "items in cart", "copyright", "©", "next page", "previous page", "contact us", "about us", "site map", "sitemap",
    "view all", "show more", "load more", "report abuse", "print this",
)  # fmt: skip
BEGINNINGS = (
    "//", "/*", "</", "<?", "#!", "#include", "#define", "import ", "def ", "const ", "var ", "function ", "elif ", "else:",
    ">>> ", "$ ",
)  # fmt: skip

Tally = IntEnum("Tally", [
    "CODE", "TABLE", "LOG", "NUMERIC", "UPPERCASE", "BOILERPLATE",  # lines of each kind
    "LINES", "TAGS", "TAG_BYTES", "ENTITIES", "COMMANDS", "ENCODED", "BYTES",
], start=0)  # fmt: skip

mark_mask = masks.any_of("&<\\")
bar_mask, tab_mask = masks.any_of("|"), masks.any_of("\t")
phrase_mask = masks.beginnings_of(*PHRASES)


# Kernels have these compiled into them.
_PHRASES, _PHRASE_SIZES = phrases.table_of(sorted(PHRASES))
_BEGINNINGS, _BEGINNING_SIZES = phrases.table_of(sorted(BEGINNINGS))
# int64 [257]: phrases that begin with byte b are those from place [b] to [b + 1] of the sorted ones.
_PHRASES_FROM = np.searchsorted([phrase.encode()[0] for phrase in sorted(PHRASES)], np.arange(257))


@loop
def _is_boilerplate(page, start, end):
    for block in range(start, end, 64):
        for at in places(phrase_mask(page, block) & lowest_bits(end - block), block):
            first = phrases.lower(page[at])
            for k in range(_PHRASES_FROM[first], _PHRASES_FROM[first + 1]):
                if phrases.is_phrase(page, at, end, _PHRASES, _PHRASE_SIZES, k):
                    return True
    return False


@inlined
def _digits(page, start, form):
    """The bytes from here are as the form says: 0 for any digit, others for themselves."""
    for i in range(len(form)):
        byte = page[start + i]
        if not (phrases.is_digit(byte) if form[i] == 0x30 else byte == form[i]):
            return False
    return True


@loop
def _is_log(page, start, end):
    at = start + (page[start] == 0x5B)
    if end - at >= 16 and _digits(page, at, b"0000-00-00") and _digits(page, at + 11, b"00:00"):
        return page[at + 10] == 0x54 or page[at + 10] == 0x20
    at = start
    for group in range(4):
        begin = at
        while at < end and at < begin + 3 and phrases.is_digit(page[at]):
            at += 1
        if at == begin:
            return False
        if group < 3:
            if at == end or page[at] != 0x2E:
                return False
            at += 1
    return at == end or not (phrases.is_digit(page[at]) or page[at] == 0x2E)


@loop
def _is_code(page, start, end):
    last = page[end - 1]
    if last == 0x7B or last == 0x7D:
        return True
    if (
        phrases.ends_in(page, start, end, b"};")
        or phrases.ends_in(page, start, end, b"*/")
        or phrases.ends_in(page, start, end, b"):")
    ):
        return True
    if last == 0x3B:
        for at in range(start, end):
            if page[at] == 0x3D or page[at] == 0x28:
                return True
    for k in range(len(_BEGINNINGS)):
        text = _BEGINNINGS[k, : _BEGINNING_SIZES[k]]
        if page[start] == text[0] and phrases.stands_at(page, start, end, text):
            return True
    if page[start] != 0x40 or end - start < 2 or not phrases.is_letter(page[start + 1]):
        return False
    spaces = 0
    for at in range(start, end):
        spaces += page[at] == 0x20 or page[at] == 0x09
    return spaces == 0


@loop
def _judge(page, start, end, classes, tally):
    """Count a stripped line, which is not blank, under its kinds; returns whether it is boilerplate."""
    tally[Tally.LINES] += 1
    characters, letters, digits, capitals = count_kinds(page, start, end, classes)
    bars = tabs = 0
    for block in range(start, end, 64):
        text = lowest_bits(end - block)
        bars += count_bits(bar_mask(page, block) & text)
        tabs += count_bits(tab_mask(page, block) & text)
    tally[Tally.NUMERIC] += digits > 0 and letters == 0
    tally[Tally.TABLE] += bars >= 2 or tabs >= 2
    tally[Tally.UPPERCASE] += capitals >= 4 and 2 * capitals > letters
    tally[Tally.LOG] += digits >= 4 and _is_log(page, start, end)
    tally[Tally.CODE] += _is_code(page, start, end)
    boilerplate = characters <= LONGEST_BOILERPLATE and _is_boilerplate(page, start, end)
    tally[Tally.BOILERPLATE] += boilerplate
    return boilerplate


@loop
def _add_lines(page, length, classes, tally, edges):
    """Count lines of each kind; note the edges of the boilerplate ones, each with its newline."""
    start = boilerplate = 0
    while start <= length:
        end = newline_from(page, start, length)
        bare, bare_end = strip(page, start, end, classes)
        if bare < bare_end and _judge(page, bare, bare_end, classes, tally):
            edges[2 * boilerplate], edges[2 * boilerplate + 1] = start, min(end + 1, length)
            boilerplate += 1
        start = end + 1
    return boilerplate


@inlined
def _tag_bytes(page, at, length):
    """Bytes of the tag that begins at a "<"; 0 where none does."""
    here = at + 1 + (page[at + 1] == 0x2F)
    if not phrases.is_letter(page[here]):
        return 0
    limit = min(length, at + LONGEST_TAG)
    while here < limit and page[here] != 0x3E and page[here] != 0x3C:
        here += 1
    return here + 1 - at if here < limit and page[here] == 0x3E else 0


@inlined
def _is_entity(page, at, length):
    here = at + 1
    numbered = page[here] == 0x23
    here += numbered
    begin = here
    limit = min(length, at + LONGEST_ENTITY)  # exclusive: the ";" too stands before it
    while here < limit and (phrases.is_digit(page[here]) or phrases.is_letter(page[here])):
        here += 1
    if not begin < here < limit or page[here] != 0x3B:
        return False
    if numbered:
        return phrases.is_digit(page[begin]) or (page[begin] | 0x20 == 0x78 and here > begin + 1)
    return phrases.is_letter(page[begin])


@loop
def _add_marks(page, length, tally):
    done = 0
    for block in range(0, length, 64):
        for at in places(mark_mask(page, block) & lowest_bits(length - block), block):
            if page[at] == 0x5C:
                tally[Tally.COMMANDS] += phrases.is_letter(page[at + 1]) and phrases.is_letter(page[at + 2])
            elif page[at] == 0x26:
                tally[Tally.ENTITIES] += _is_entity(page, at, length)
            elif at >= done:
                width = _tag_bytes(page, at, length)
                tally[Tally.TAGS] += width > 0
                tally[Tally.TAG_BYTES] += width
                done = at + width


@inlined
def _encoded_kind(byte):
    """1 capital, 2 small letter, 3 digit, 4 other of base64 and its like; 0 of none."""
    if 0x61 <= byte <= 0x7A:
        return 2
    if 0x41 <= byte <= 0x5A:
        return 1
    if 0x30 <= byte <= 0x39:
        return 3
    return 4 if phrases.is_one_of(byte, b"+-/=_") else 0


@loop
def _encoded_bytes(page, length):
    """Bytes in encoded runs. A run of so many bytes has one at every so many: only there is looked closely."""
    total = 0
    at = ENCODED_RUN - 1
    floor = 0
    while at < length:
        start = at
        while start >= floor and _encoded_kind(page[start]):
            start -= 1
        if start == at or at - start < ENCODED_RUN:  # begin anew behind the byte that no run holds
            floor = start + 1
            at = start + ENCODED_RUN if start < at else at + ENCODED_RUN
            if floor > at - ENCODED_RUN + 1:
                at = floor + ENCODED_RUN - 1
            continue
        end = at + 1
        while end < length and _encoded_kind(page[end]):
            end += 1
        changes = 0
        for k in range(start + 2, end):
            changes += _encoded_kind(page[k]) != _encoded_kind(page[k - 1])
        total += end - start - 1 if changes >= ENCODED_CHANGES else 0
        floor = end
        at = end + ENCODED_RUN - 1
    return total


@kernel
def _count(offsets, data, classes, tallies):
    """Fill in int64 [tallies, documents]; returns the edges of all documents' boilerplate lines."""
    page = np.empty(longest_document(offsets) + PADDING, np.uint8)
    tally = np.empty(len(tallies), np.int64)
    edges = np.empty(64, np.int64)
    boilerplate = 0
    for i in range(len(offsets) - 1):
        length = open_page(page, data, offsets[i], offsets[i + 1])
        edges = with_room(edges, 2 * boilerplate, length + 2)  # a boilerplate line is of two bytes or more
        tally[:] = 0
        boilerplate += _add_lines(page, length, classes, tally, edges[2 * boilerplate :])
        _add_marks(page, length, tally)
        tally[Tally.ENCODED], tally[Tally.BYTES] = _encoded_bytes(page, length), length
        tallies[:, i] = tally
    return edges[: 2 * boilerplate]


def _lines(kind: Tally, says: str) -> Signal:
    return ratio(f"{kind.name.lower()}_line_ratio", kind, Tally.LINES, f"{says} / lines that are not blank")


_BOILERPLATE = f"lines of at most {LONGEST_BOILERPLATE} characters about cookies, terms, sharing, signing in and the like"
SIGNALS = (
    _lines(Tally.CODE, "lines that look like code"),
    _lines(Tally.TABLE, "lines with two or more | or tabs"),
    _lines(Tally.LOG, "lines that begin with a date and time or an IP address"),
    _lines(Tally.NUMERIC, "lines with digits and no letter"),
    _lines(Tally.UPPERCASE, "lines with more capitals than other letters"),
    _lines(Tally.BOILERPLATE, _BOILERPLATE),
    span("boilerplate_line_spans", Tally.BOILERPLATE, "edges", f"{_BOILERPLATE}, with their newlines"),
    count("tag_count", "tags", Tally.TAGS, "tags of HTML or XML"),
    ratio("tag_byte_ratio", Tally.TAG_BYTES, Tally.BYTES, "bytes of such tags / bytes"),
    count("entity_count", "entities", Tally.ENTITIES, "entities of HTML: &amp;"),
    count("latex_command_count", "commands", Tally.COMMANDS, "backslashes before two letters"),
    ratio("encoded_byte_ratio", Tally.ENCODED, Tally.BYTES,
          f"bytes in runs of {ENCODED_RUN} or more that look like base64 or hex / bytes"),
)  # fmt: skip

FAMILY = tallied("markup", 1, SIGNALS, Tally, _count, character_classes)
