"""C4's rules, line by line (Raffel et al. 2020, arXiv:1910.10683; rules in the order of datatrove 0.10).

A line of `str.splitlines()`, stripped, fails the first of these that holds: a word of more than 1,000
characters; an ending other than . ? ! " ' or an ellipsis of dots; fewer than three words; "lorem ipsum";
"javascript"; "{"; a phrase about cookies or terms. Citations (`[12]`, `[edit]`, `[citation needed]`) are taken
out before all but the first rule, and do not count as an ending. Letters of ASCII are compared in lower case.

Nothing is dropped here. "lorem ipsum" and "{" condemn a document in C4, so they are counted; the other rules
drop a line, so those lines are spans, each with its line break, that a level may cut. What C4 keeps has at
least five sentences: here a sentence ends in a run of . ? ! (and closing quotes or brackets) before whitespace
or the end of its line, and a kept line has at least one.

FineWeb uses the rules without the one on endings: the signals `c4_any_ending_...`, from the same pass.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from filters.columns import count_signal, span_signal, spans
from filters.family import Family, Signal
from filters.text.batches import valid
from filters.text.bits import NO_BITS, ONE_BIT, count_bits, leading_zeros, lowest_bit, lowest_bits
from filters.text.classes import WHITESPACE, character_classes
from filters.text.compiled import inlined, kernel, loop
from filters.text.masks import (
    any_of,
    line_break_mask,
    space_mask,
    wide_break_mask,
    wide_space_mask,
)
from filters.text.pages import PADDING, blocks_of, break_bytes, decode, longest_document, open_page, strip

LONGEST_WORD = 1000  # characters
FEWEST_WORDS = 3  # a line
REASONS = ("long_word", "unterminated", "short", "lorem_ipsum", "javascript", "curly_bracket", "policy")
LONG_WORD, UNTERMINATED, SHORT, LOREM_IPSUM, JAVASCRIPT, CURLY_BRACKET, POLICY = range(len(REASONS))
NO_REASON = len(REASONS)
KEPT, SENTENCES, DROPPED, CITATIONS = range(NO_REASON, NO_REASON + 4)
TALLIES = NO_REASON + 4  # of the rules with the one on endings, then as many of those without it


class Marks(NamedTuple):
    """uint64 [blocks of 64 bytes] each: where in a document something stands that a rule looks for."""

    hits: np.ndarray  # what `_hits` finds
    stops: np.ndarray  # . ? !
    brackets: np.ndarray  # [


class Phrases(NamedTuple):
    """Each phrase with where in it the pair of letters stands that `_hits` looks for."""

    texts: np.ndarray  # uint8 [phrases, 16]
    sizes: np.ndarray
    kinds: np.ndarray  # the reason it gives
    at: np.ndarray


_PHRASES = (
    ("lorem ipsum", LOREM_IPSUM, 7), ("javascript", JAVASCRIPT, 0), ("privacy policy", POLICY, 5),
    ("cookie policy", POLICY, 3), ("uses cookies", POLICY, 8), ("use of cookies", POLICY, 10),
    ("use cookies", POLICY, 7), ("terms of use", POLICY, 3),
)  # fmt: skip
PHRASES = Phrases(
    np.array([list(phrase.ljust(16, "\0").encode()) for phrase, _, _ in _PHRASES], np.uint8),
    np.array([len(phrase) for phrase, _, _ in _PHRASES]),
    np.array([kind for _, kind, _ in _PHRASES]),
    np.array([at for _, _, at in _PHRASES]),
)

c_mask, i_mask, k_mask, m_mask, p_mask, s_mask, y_mask, j_mask, a_mask, e_mask = (
    any_of(letter + letter.upper()) for letter in "cikmpsyjae"
)
curly_mask, bracket_mask = any_of("{"), any_of("[")
stop_mask = any_of("!.?")


@inlined
def _lower(byte):
    return byte | np.uint8(0x20) if 0x41 <= byte <= 0x5A else byte


@inlined
def _citation_bytes(page, at, end):
    """Bytes of the citation mark that begins at a "["; 0 where none does."""
    here = at + 1
    while here < end and 0x30 <= page[here] <= 0x39:
        here += 1
    if here < end and page[here] == 0x5D:
        return here + 1 - at
    if here != at + 1:
        return 0
    for word in (b"edit]", b"citation needed]"):
        if end - here >= len(word):
            same = True
            for i in range(len(word)):
                same = same and page[here + i] == word[i]
            if same:
                return len(word) + 1
    return 0


@inlined
def _hits(page, block):
    """uint64: where among 64 bytes a "{" stands, or one of the letters ps, ja, cy, kie, ms that the phrases have."""
    s_next = s_mask(page, block + 1)
    return (
        curly_mask(page, block)
        | (p_mask(page, block) | m_mask(page, block)) & s_next
        | j_mask(page, block) & a_mask(page, block + 1)
        | c_mask(page, block) & y_mask(page, block + 1)
        | k_mask(page, block) & i_mask(page, block + 1) & e_mask(page, block + 2)
    )


@loop
def _mark(page, length, marks):
    """Fill in the marks of a text; returns how many brackets there are."""
    brackets = 0
    for block in range(0, length, 64):
        text, k = lowest_bits(length - block), block // 64
        marks.hits[k] = _hits(page, block) & text
        marks.stops[k] = stop_mask(page, block) & text
        marks.brackets[k] = bracket_mask(page, block) & text
        brackets += count_bits(marks.brackets[k])
    return brackets


@inlined
def _between(blocks, k, start, end):
    """The bits of block k that stand in [start, end), counted from the first block."""
    found = blocks[k] & lowest_bits(end - 64 * k)
    return found & ~lowest_bits(start - 64 * k)


@inlined
def _reason_at(page, at, start, end, phrases):
    """The first reason, in the order of the rules, of a phrase or "{" that stands on this byte of a line; NO_REASON
    where none does."""
    if page[at] == 0x7B:
        return CURLY_BRACKET
    found = NO_REASON
    for k in range(len(phrases.sizes)):
        begin = at - phrases.at[k]
        size = phrases.sizes[k]
        if begin < start or begin + size > end:
            continue
        same = 0
        while same < size and _lower(page[begin + same]) == phrases.texts[k, same]:
            same += 1
        if same == size:
            found = min(found, phrases.kinds[k])
    return found


@loop
def _reason_of(page, start, end, marks, phrases):
    """The first reason, in the order of the rules, that a phrase in a line gives; NO_REASON where none does."""
    found = NO_REASON
    for k in range(start // 64, (end + 63) // 64):
        hits = _between(marks.hits, k, start, end)
        while hits:
            at = 64 * k + lowest_bit(hits)
            hits &= hits - ONE_BIT
            found = min(found, _reason_at(page, at, start, end, phrases))
    return found


@inlined
def _has_long_gap(page, start, end):
    """Somewhere more than LONGEST_WORD bytes stand without a space of ASCII: only there can a word be so long."""
    space = start - 1
    for block in range(start, end, 64):
        spaces = space_mask(page, block) & lowest_bits(end - block)
        if spaces == 0:
            continue
        if block + lowest_bit(spaces) - space > LONGEST_WORD:
            return True
        space = block + 63 - leading_zeros(spaces)
    return end - space > LONGEST_WORD


@loop
def _words(page, start, end, classes):
    """(number of words, at most FEWEST_WORDS of them; True where one is too long)."""
    could_be_long = end - start > LONGEST_WORD and _has_long_gap(page, start, end)
    text = lowest_bits(end - start)
    if not could_be_long and not wide_space_mask(page, start) & text:
        spaces = space_mask(page, start)
        words = count_bits(~spaces & (spaces << ONE_BIT | ONE_BIT) & text)
        if words >= FEWEST_WORDS or end - start <= 64:
            return min(words, FEWEST_WORDS), False
    words, size = 0, 0
    at = start
    while at < end:
        code, width = decode(page, at)
        if classes[code] & WHITESPACE:
            size = 0
        else:
            words += size == 0
            size += 1
            if size > LONGEST_WORD:
                return words, True
        if words == FEWEST_WORDS and not could_be_long:
            break
        at += width
    return words, False


@inlined
def _is_unterminated(page, start, end):
    if end == start:
        return True
    last = page[end - 1]
    dots = end - start >= 3 and last == 0x2E and page[end - 2] == 0x2E and page[end - 3] == 0x2E
    return dots or not (last == 0x2E or last == 0x3F or last == 0x21 or last == 0x22 or last == 0x27)


@inlined
def _closes(byte):
    return byte == 0x22 or byte == 0x27 or byte == 0x29 or byte == 0x5D


@loop
def _sentences(page, start, end, marks, classes):
    """Runs of . ? ! and the quotes and brackets behind them that whitespace or the end of the line follows."""
    found = 0
    done = start
    for k in range(start // 64, (end + 63) // 64):
        stops = _between(marks.stops, k, start, end)
        while stops:
            at = 64 * k + lowest_bit(stops)
            stops &= stops - ONE_BIT
            if at < done:
                continue
            while at < end and (page[at] == 0x2E or page[at] == 0x3F or page[at] == 0x21):
                at += 1
            done = at
            while at < end and _closes(page[at]):
                at += 1
            if at < end:
                code, _ = decode(page, at)
                if not classes[code] & WHITESPACE:
                    continue
            found += 1
    return max(1, found)


@loop
def _without_citations(page, start, end, line, citations, base):
    """Copy a line without its citations to `line`, note where they are; returns (its length, citations)."""
    size = found = 0
    at = start
    while at < end:
        width = _citation_bytes(page, at, end) if page[at] == 0x5B else 0
        if width:
            citations[base + 2 * found], citations[base + 2 * found + 1] = at, at + width
            found += 1
            at += width
        else:
            line[size] = page[at]
            size += 1
            at += 1
    line[size : size + PADDING] = 0
    return size, found


@inlined
def _has_bracket(marks, start, end):
    found = NO_BITS
    for k in range(start // 64, (end + 63) // 64):
        found |= _between(marks.brackets, k, start, end)
    return found != NO_BITS


@loop
def _judge(page, start, end, words, long_word, marks, classes, phrases, tally):
    """Count a line without citations, page[start:end], under the rule it fails, with and without the rule on endings;
    returns both reasons."""
    if long_word:
        reason = LONG_WORD
    elif words < FEWEST_WORDS:
        reason = SHORT
    else:
        reason = _reason_of(page, start, end, marks, phrases)
    strict = reason
    if not long_word and _is_unterminated(page, start, end):
        strict = UNTERMINATED
    tally[strict if strict < NO_REASON else KEPT] += 1
    tally[TALLIES + (reason if reason < NO_REASON else KEPT)] += 1
    if reason == NO_REASON:
        sentences = _sentences(page, start, end, marks, classes)
        tally[TALLIES + SENTENCES] += sentences
        tally[SENTENCES] += sentences if strict == NO_REASON else 0
    return strict, reason


@inlined
def _is_dropped(reason):
    """C4 drops the line; where it has "lorem ipsum" or "{", the whole document."""
    return reason < NO_REASON and reason != LOREM_IPSUM and reason != CURLY_BRACKET


@loop
def _measure(
    page,
    length,
    marks,
    line,
    line_marks,
    classes,
    phrases,
    tally,
    dropped,
    citations,
    all_dropped,
    all_citations,
):
    """Fill in the tallies of one document, the lines that go and the citations in those that stay, each twice: with
    the rule on endings, and (`all_...`) without."""
    start = block = 0
    breaks = (line_break_mask(page, 0) | wide_break_mask(page, 0)) & lowest_bits(length)
    while start < length:
        end = next_start = length
        while block < length:  # the next line break
            if breaks == 0:
                block += 64
                if block < length:
                    breaks = line_break_mask(page, block) | wide_break_mask(page, block)
                    breaks &= lowest_bits(length - block)
                continue
            at = block + lowest_bit(breaks)
            breaks &= breaks - ONE_BIT
            width = break_bytes(page, at)
            if width and at >= start:
                end, next_start = at, at + width
                break
        bare, bare_end = strip(page, start, end, classes)
        words, long_word = _words(page, bare, bare_end, classes)
        base = 2 * tally[TALLIES + CITATIONS]
        found = 0
        if _has_bracket(marks, bare, bare_end):
            size, found = _without_citations(page, bare, bare_end, line, all_citations, base)
            _mark(line, size, line_marks)
            strict, reason = _judge(line, 0, size, words, long_word, line_marks, classes, phrases, tally)
        else:
            strict, reason = _judge(page, bare, bare_end, words, long_word, marks, classes, phrases, tally)
        if _is_dropped(strict):
            dropped[2 * tally[DROPPED]], dropped[2 * tally[DROPPED] + 1] = start, next_start
            tally[DROPPED] += 1
        else:
            for k in range(2 * found):
                citations[2 * tally[CITATIONS] + k] = all_citations[base + k]
            tally[CITATIONS] += found
        if _is_dropped(reason):
            at = 2 * tally[TALLIES + DROPPED]
            all_dropped[at], all_dropped[at + 1] = start, next_start
            tally[TALLIES + DROPPED] += 1
        else:
            tally[TALLIES + CITATIONS] += found
        start = next_start


@kernel
def _marks_for(length):
    blocks = blocks_of(length)
    return Marks(np.empty(blocks, np.uint64), np.empty(blocks, np.uint64), np.empty(blocks, np.uint64))


@kernel
def _with_room(edges, used, more):
    """An array with room for so many more entries behind the used ones, which it holds."""
    if used + more <= len(edges):
        return edges
    grown = np.empty(max(2 * len(edges), used + more), np.int64)
    grown[:used] = edges[:used]
    return grown


@kernel
def _count(data_offsets, data, classes, phrases, tallies):
    """Fill in int64 [2 * TALLIES, documents]; returns the edges of all documents' (dropped lines, citations), with
    the rule on endings and then without."""
    longest = longest_document(data_offsets)
    page, line = np.empty(longest + PADDING, np.uint8), np.empty(longest + PADDING, np.uint8)
    marks, line_marks = _marks_for(longest), _marks_for(longest)
    tally = np.empty(len(tallies), np.int64)
    dropped, citations = np.empty(64, np.int64), np.empty(64, np.int64)
    all_dropped, all_citations = np.empty(64, np.int64), np.empty(64, np.int64)
    lines = cited = all_lines = all_cited = 0
    for i in range(len(data_offsets) - 1):
        length = open_page(page, data, data_offsets[i], data_offsets[i + 1])
        breaks, brackets = 1, 1 + _mark(page, length, marks)
        for block in range(0, length, 64):
            found = line_break_mask(page, block) | wide_break_mask(page, block)
            breaks += count_bits(found & lowest_bits(length - block))
        dropped, all_dropped = (
            _with_room(dropped, 2 * lines, 2 * breaks),
            _with_room(all_dropped, 2 * all_lines, 2 * breaks),
        )
        citations = _with_room(citations, 2 * cited, 2 * brackets)
        all_citations = _with_room(all_citations, 2 * all_cited, 2 * brackets)
        tally[:] = 0
        _measure(
            page, length, marks, line, line_marks, classes, phrases, tally, dropped[2 * lines :], citations[2 * cited :],
            all_dropped[2 * all_lines :], all_citations[2 * all_cited :],
        )  # fmt: skip
        lines, cited = lines + tally[DROPPED], cited + tally[CITATIONS]
        all_lines, all_cited = all_lines + tally[TALLIES + DROPPED], all_cited + tally[TALLIES + CITATIONS]
        tallies[:, i] = tally
    return (
        dropped[: 2 * lines],
        citations[: 2 * cited],
        all_dropped[: 2 * all_lines],
        all_citations[: 2 * all_cited],
    )


def measure(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """C4's line signals of every text, with and without the rule on endings; 0 and no spans for an empty one."""
    offsets, data = valid(texts)
    tallies = np.zeros((2 * TALLIES, len(offsets) - 1), np.int64)
    dropped, citations, all_dropped, all_citations = _count(
        offsets, data, character_classes(), PHRASES, tallies
    )
    return _columns("c4", tallies[:TALLIES], dropped, citations) | _columns(
        "c4_any_ending", tallies[TALLIES:], all_dropped, all_citations
    )


def _columns(
    prefix: str, tallies: np.ndarray, dropped: np.ndarray, citations: np.ndarray
) -> dict[str, pa.Array]:
    columns = {
        f"{prefix}_{reason}_line_count": pa.array(tallies[number])
        for number, reason in enumerate(REASONS)
        if not (prefix == "c4_any_ending" and number == UNTERMINATED)
    }
    for name, number in (("kept_line_count", KEPT), ("sentence_count", SENTENCES)):
        columns[f"{prefix}_{name}"] = pa.array(tallies[number])
    for name, number, edges in (("dropped_line", DROPPED, dropped), ("citation", CITATIONS, citations)):
        firsts = np.concatenate([[0], np.cumsum(tallies[number])])
        columns[f"{prefix}_{name}_spans"] = spans(firsts, edges[::2], edges[1::2])
    return columns


_SAYS = {
    "long_word": f"lines with a word of more than {LONGEST_WORD} characters",
    "unterminated": "lines that do not end in . ? ! \" ' or that end in ...",
    "short": f"lines of fewer than {FEWEST_WORDS} words",
    "lorem_ipsum": 'lines with "lorem ipsum"',
    "javascript": 'lines with "javascript"',
    "curly_bracket": 'lines with "{"',
    "policy": "lines about cookies, privacy policy or terms of use",
}


def _signals(prefix: str, any_ending: bool) -> list[Signal]:
    rest = ", no matter how lines end" if any_ending else ""
    signals = [
        count_signal(
            f"{prefix}_{reason}_line_count", "lines", f"{says} and that fail no rule before (C4{rest})"
        )
        for reason, says in _SAYS.items()
        if not (any_ending and reason == "unterminated")
    ]
    signals += [
        count_signal(f"{prefix}_kept_line_count", "lines", f"lines that fail no rule of C4{rest}"),
        count_signal(
            f"{prefix}_sentence_count", "sentences", f"sentences of the lines that fail no rule of C4{rest}"
        ),
        span_signal(f"{prefix}_dropped_line_spans", f"lines that C4 drops{rest}, with their line breaks"),
        span_signal(
            f"{prefix}_citation_spans",
            "[12], [edit] and [citation needed] in the lines that C4 does not drop",
        ),
    ]
    return signals


FAMILY = Family("c4", 2, measure, (*_signals("c4", False), *_signals("c4_any_ending", True)))
