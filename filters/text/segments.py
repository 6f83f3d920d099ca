"""Where words end if no space says so: the word boundaries of Unicode (UAX #29, version 17, rules WB1 to WB16).

A *token* is a segment between two boundaries that is not white space: a word, a number, a mark of punctuation, an
emoji. A *word* is a token with a letter or a digit. In Chinese and Japanese every ideograph and every hiragana is
a token, a run of katakana is one; in Thai, Lao, Khmer and Burmese, whose words only a dictionary can tell
apart, a character with its marks is one.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import numpy as np

from filters.text.bits import NO_BITS, ONE_BIT, leading_zeros, lowest_bit
from filters.text.classes import ALPHABETIC, DIGIT, WHITESPACE
from filters.text.compiled import inlined, loop
from filters.text.masks import any_of, digit_mask, in_ranges, letter_mask, non_ascii_mask, space_mask
from filters.text.pages import decode
from filters.text.phrases import is_space

CLASSES = (
    "Other", "CR", "LF", "Newline", "Extend", "ZWJ", "Regional_Indicator", "Format", "Katakana", "Hebrew_Letter",
    "ALetter", "Single_Quote", "Double_Quote", "MidNumLet", "MidLetter", "MidNum", "Numeric", "ExtendNumLet", "WSegSpace",
)  # fmt: skip
(
    OTHER, CR, LF, NEWLINE, EXTEND, ZWJ, REGIONAL, FORMAT, KATAKANA, HEBREW, ALETTER, SINGLE_QUOTE, DOUBLE_QUOTE,
    MID_NUM_LET, MID_LETTER, MID_NUM, NUMERIC, EXTEND_NUM_LET, WSEG_SPACE,
) = range(len(CLASSES))  # fmt: skip
PICTOGRAPHIC = np.uint8(32)  # set beside the class
CLASS = np.uint8(31)

word_mask = in_ranges((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
between_letters_mask = any_of("'.:")  # MidLetter, MidNumLet, Single_Quote
between_digits_mask = any_of("',.;")  # MidNum and the same

# Sets of classes, a bit each.
BREAKS = np.uint32(1 << CR | 1 << LF | 1 << NEWLINE)
IGNORED = np.uint32(1 << EXTEND | 1 << FORMAT | 1 << ZWJ)
LETTERS = np.uint32(1 << ALETTER | 1 << HEBREW)
IN_WORDS = np.uint32(1 << MID_LETTER | 1 << MID_NUM_LET | 1 << SINGLE_QUOTE)
IN_NUMBERS = np.uint32(1 << MID_NUM | 1 << MID_NUM_LET | 1 << SINGLE_QUOTE)
JOINED = np.uint32(LETTERS | 1 << NUMERIC | 1 << KATAKANA | 1 << EXTEND_NUM_LET)


@lru_cache(maxsize=1)
def word_breaks() -> np.ndarray:
    """uint8 [code points]: the place of the Word_Break class in `CLASSES`, and PICTOGRAPHIC."""
    table = np.zeros(sys.maxunicode + 1, np.uint8)
    kind = 0
    for line in (Path(__file__).parent / "word_break.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            name = line[1:-1]
            kind = int(PICTOGRAPHIC) if name == "Extended_Pictographic" else CLASSES.index(name)
        elif not line.startswith("#"):
            for span in line.split():
                low, _, high = span.partition("-")
                table[int(low, 16) : int(high or low, 16) + 1] |= np.uint8(kind)
    table.flags.writeable = False
    return table


@inlined
def _is(kind, kinds):
    return (np.uint32(1) << np.uint32(kind)) & kinds != 0


@loop
def _next(page, at, length, table):
    """The class of the next character that is not ignored, OTHER at the end."""
    while at < length:
        code, width = decode(page, at)
        kind = table[code] & CLASS
        if not _is(kind, IGNORED):
            return kind
        at += width
    return np.uint8(OTHER)


@inlined
def _joined(before, last, kind, page, after, length, table, regionals):
    """No boundary between the characters of class `last` and `kind` (rules WB5 to WB16). `after`: the next byte."""
    pair = PAIRS[last * 32 + kind]
    if pair != LOOK:
        return pair == JOINED_PAIR and kind != WSEG_SPACE  # these only where nothing stands between
    if last == HEBREW and kind == SINGLE_QUOTE:
        return True
    if last == HEBREW and kind == DOUBLE_QUOTE:
        return _next(page, after, length, table) == HEBREW
    if last == DOUBLE_QUOTE:
        return before == HEBREW
    if _is(last, LETTERS):
        return _is(_next(page, after, length, table), LETTERS)
    if _is(kind, LETTERS):
        return _is(last, IN_WORDS) and _is(before, LETTERS)
    if last == NUMERIC:
        return _next(page, after, length, table) == NUMERIC
    if kind == NUMERIC:
        return _is(last, IN_NUMBERS) and before == NUMERIC
    return kind == REGIONAL and last == REGIONAL and regionals % 2 == 1


BOUNDARY, JOINED_PAIR, LOOK = np.uint8(0), np.uint8(1), np.uint8(2)


def _pairs() -> np.ndarray:
    """uint8 [32 * 32]: what is between two characters of these classes; LOOK where more than the two decides."""
    table = np.full((32, 32), BOUNDARY)

    def members(kinds: np.uint32) -> list[int]:
        return [kind for kind in range(len(CLASSES)) if kinds >> np.uint32(kind) & 1]

    letters, ignored, breaks, joined = map(members, (LETTERS, IGNORED, BREAKS, JOINED))
    words, numbers = members(IN_WORDS), members(IN_NUMBERS)
    for left, right, what in (
        ([*letters, NUMERIC], [*letters, NUMERIC], JOINED_PAIR),
        ([KATAKANA], [KATAKANA], JOINED_PAIR),
        ([WSEG_SPACE], [WSEG_SPACE], JOINED_PAIR),
        (joined, [EXTEND_NUM_LET], JOINED_PAIR),
        ([EXTEND_NUM_LET], joined, JOINED_PAIR),
        (letters, words, LOOK),
        (words, letters, LOOK),
        ([HEBREW], [DOUBLE_QUOTE], LOOK),
        ([DOUBLE_QUOTE], [HEBREW], LOOK),
        ([NUMERIC], numbers, LOOK),
        (numbers, [NUMERIC], LOOK),
        ([REGIONAL], [REGIONAL], LOOK),
        (range(32), ignored, JOINED_PAIR),
        (ignored, range(32), LOOK),
        (range(32), breaks, BOUNDARY),
        (breaks, range(32), BOUNDARY),
    ):
        table[np.ix_(left, right)] = what
    return table.ravel()


PAIRS = _pairs()

WORD, LETTER, VISIBLE = np.uint8(1), np.uint8(2), np.uint8(4)  # what a token has


@inlined
def _ascii_bytes(page, at, length):
    """How many of the 64 bytes from here are a stretch of ASCII up to a run of white space: no rule looks across its
    beginning. 0 where there is none, or no run begins."""
    spaces, others = space_mask(page, at), non_ascii_mask(page, at)
    if length - at < 64:
        spaces &= (ONE_BIT << np.uint64(length - at)) - ONE_BIT
    # Below the first beyond ASCII.
    runs = spaces & ~(spaces << ONE_BIT | ONE_BIT) & ~others & (others - ONE_BIT)
    return 63 - leading_zeros(runs) if runs else 0


@loop
def _find_ascii_tokens(page, at, size, at_characters, tokens, byte_edges, character_edges, flags):
    """The tokens of less than 64 bytes of ASCII, behind a white space and before one. Returns the tokens so far."""
    inside = (ONE_BIT << np.uint64(size)) - ONE_BIT
    letters, digits = letter_mask(page, at) & inside, digit_mask(page, at) & inside
    joined = word_mask(page, at) & inside
    joined |= between_letters_mask(page, at) & letters << ONE_BIT & letters >> ONE_BIT
    joined |= between_digits_mask(page, at) & digits << ONE_BIT & digits >> ONE_BIT
    alone = ~(space_mask(page, at) | joined) & inside
    starts, lasts = joined & ~(joined << ONE_BIT) | alone, joined & ~(joined >> ONE_BIT) | alone
    letters_or_digits = letters | digits
    while starts:
        start, last = lowest_bit(starts), lowest_bit(lasts)
        token = (lasts ^ (lasts - ONE_BIT)) & ~(starts ^ (starts - ONE_BIT)) | starts & (NO_BITS - starts)
        starts &= starts - ONE_BIT
        lasts &= lasts - ONE_BIT
        byte_edges[2 * tokens], byte_edges[2 * tokens + 1] = at + start, at + last + 1
        character_edges[2 * tokens] = at_characters + start
        character_edges[2 * tokens + 1] = at_characters + last + 1
        has_word, has_letter = token & letters_or_digits != NO_BITS, token & letters != NO_BITS
        flags[tokens] = VISIBLE | np.uint8(has_word) * WORD | np.uint8(has_letter) * LETTER
        tokens += 1
    return tokens


@loop
def find_tokens(page, length, byte_edges, character_edges, flags, table, classes):
    """Fill in the edges (begin, end) of every token, in bytes and in characters, and what it has.

    Returns (tokens, characters of the text).
    """
    tokens = characters = 0
    start = start_characters = at = 0
    has = np.uint8(0)
    before = last = raw = np.uint8(OTHER)
    regionals = 0
    while at < length:
        byte = page[at]
        if byte < 0x80 and (at == 0 or is_space(page[at - 1])) and not has & VISIBLE:
            # Most of most texts. Where a white space went before no rule looks back, and masks say what the rules say.
            size = _ascii_bytes(page, at, length)
            if size > 0:
                tokens = _find_ascii_tokens(
                    page, at, size, characters, tokens, byte_edges, character_edges, flags
                )
                at += size
                characters += size
                start, start_characters, has = at, characters, np.uint8(0)
                before = last = raw = np.uint8(OTHER)
                regionals = 0
                continue
        if (last == ALETTER) & (raw == ALETTER):  # letters of ASCII: no rule has a say there
            run = lowest_bit(~letter_mask(page, at))
            if run:
                at += run
                characters += run
                before = np.uint8(ALETTER)
                continue
        if byte < 0x80:
            code, width = np.int64(byte), 1
        else:
            code, width = decode(page, at)
        entry = table[code]
        kind = entry & CLASS
        pair = PAIRS[last * 32 + kind] if raw == last else LOOK
        if pair != LOOK or at == 0:
            joined = pair == JOINED_PAIR or at == 0
        elif _is(raw, BREAKS) or _is(kind, BREAKS):
            joined = False
        elif (
            raw == ZWJ
            and entry & PICTOGRAPHIC
            or _is(kind, IGNORED)
            or raw == WSEG_SPACE
            and kind == WSEG_SPACE
        ):
            joined = True
        else:
            joined = _joined(before, last, kind, page, at + width, length, table, regionals)
        if not joined:
            if has & VISIBLE:
                byte_edges[2 * tokens], byte_edges[2 * tokens + 1] = start, at
                character_edges[2 * tokens], character_edges[2 * tokens + 1] = start_characters, characters
                flags[tokens] = has
                tokens += 1
            start, start_characters, has = at, characters, np.uint8(0)
        what = classes[code]
        if not what & WHITESPACE:
            has |= VISIBLE
        if what & (ALPHABETIC | DIGIT):
            has |= WORD | LETTER if what & ALPHABETIC else WORD
        if not _is(kind, IGNORED) or _is(raw, BREAKS) or at == 0:
            regionals = (
                regionals + 1 if kind == REGIONAL and (joined or last != REGIONAL) else (kind == REGIONAL)
            )
            before, last = last, kind
        raw = kind
        characters += 1
        at += width
    if has & VISIBLE:
        byte_edges[2 * tokens], byte_edges[2 * tokens + 1] = start, length
        character_edges[2 * tokens], character_edges[2 * tokens + 1] = start_characters, characters
        flags[tokens] = has
        tokens += 1
    return tokens, characters
