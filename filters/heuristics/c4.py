"""C4's rules, line by line (Raffel et al. 2020, arXiv:1910.10683), as three implementations apply them.

A line of `str.splitlines()`, stripped, fails the first of these that holds: a word of more than 1,000
characters; an ending that is no end mark, or an ellipsis of dots; too few words; "lorem ipsum"; "javascript"; "{";
a phrase about cookies or terms. Citations (`[12]`, `[edit]`, `[citation needed]`) are taken out before all but
the first rule, and do not count as an ending. Letters of ASCII are compared in lower case.

| signals | rules of | end marks | words of a line, at least | counted |
|---|---|---|---|---|
| `c4_...` | datatrove 0.10 | . ? ! " ' | 3 | with citations |
| `c4_any_ending_...` | FineWeb's use of datatrove | any | 3 | with citations |
| `c4_paper_...` | the paper and TFDS (`c4_utils.py`) | . ? ! " | 5 | without citations |

Nothing is dropped here. "lorem ipsum" and "{" condemn a document in C4, so they are counted; the other rules
drop a line, so those lines are spans, each with its line break, that a level may cut. What C4 keeps has at
least three sentences by the paper, five by datatrove: here a sentence ends in a run of . ? ! (and closing quotes or
brackets) before whitespace or the end of its line, and a kept line has at least one.

The paper's signals are a family of their own, since few ask for both.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from filters.columns import columns, count, span
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
from filters.text.pages import (
    PADDING,
    blocks_of,
    break_bytes,
    decode,
    longest_document,
    open_page,
    strip,
    with_room,
)
from filters.text.phrases import is_phrase, table_of

LONGEST_WORD = 1000  # characters
MOST_WORDS = 5  # of a line that are counted: no variant asks for more
ANY_ENDING, WITH_APOSTROPHE, WITHOUT_APOSTROPHE = range(3)  # what may end a line
Tally = IntEnum("Tally", [
    # Lines by the rule they fail, in the order of the rules; KEPT fail none.
    "LONG_WORD", "UNTERMINATED", "SHORT", "LOREM_IPSUM", "JAVASCRIPT", "CURLY_BRACKET", "POLICY", "KEPT",
    "SENTENCES", "DROPPED", "CITATIONS",
], start=0)  # fmt: skip
NO_REASON = Tally.KEPT.value


class Marks(NamedTuple):
    """uint64 [blocks of 64 bytes] each: where in a document something stands that a rule looks for."""

    hits: np.ndarray  # what `_hits` finds
    stops: np.ndarray  # . ? !
    brackets: np.ndarray  # [


class Rules(NamedTuple):
    """What the variants do not share, an entry for each variant."""

    endings: np.ndarray  # int64: ANY_ENDING, ...
    fewest_words: np.ndarray  # int64: of a line
    bare: np.ndarray  # bool: words are counted after citations are taken out


def _rules(*variants: tuple[int, int, bool]) -> Rules:
    endings, fewest_words, bare = zip(*variants, strict=True)
    return Rules(np.array(endings), np.array(fewest_words), np.array(bare))


DATATROVE = _rules((WITH_APOSTROPHE, 3, False), (ANY_ENDING, 3, False))
PAPER = _rules((WITHOUT_APOSTROPHE, 5, True))


class Phrases(NamedTuple):
    """Phrases that a rule is about, and where in each the letters stand that `_hits` looks for."""

    texts: np.ndarray  # uint8 [phrases, bytes of the longest]
    sizes: np.ndarray
    reasons: np.ndarray  # the rule that a line with this phrase fails
    at: np.ndarray


_PHRASES = (
    ("lorem ipsum", Tally.LOREM_IPSUM, 7), ("javascript", Tally.JAVASCRIPT, 0), ("privacy policy", Tally.POLICY, 5),
    ("cookie policy", Tally.POLICY, 3), ("uses cookies", Tally.POLICY, 8), ("use of cookies", Tally.POLICY, 10),
    ("use cookies", Tally.POLICY, 7), ("terms of use", Tally.POLICY, 3),
)  # fmt: skip
PHRASES = Phrases(
    *table_of([phrase for phrase, _, _ in _PHRASES]),
    np.array([reason for _, reason, _ in _PHRASES]),
    np.array([at for _, _, at in _PHRASES]),
)

c_mask, i_mask, k_mask, m_mask, p_mask, s_mask, y_mask, j_mask, a_mask, e_mask = (
    any_of(letter + letter.upper()) for letter in "cikmpsyjae"
)
curly_mask, bracket_mask = any_of("{"), any_of("[")
stop_mask = any_of("!.?")


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
    """The first rule that a line fails by what stands on this byte of it; NO_REASON where it fails none."""
    if page[at] == 0x7B:
        return Tally.CURLY_BRACKET.value
    first = NO_REASON
    for k in range(len(phrases.sizes)):
        begin = at - phrases.at[k]
        if begin >= start and is_phrase(page, begin, end, phrases.texts, phrases.sizes, k):
            first = min(first, phrases.reasons[k])
    return first


@loop
def _reason_of(page, start, end, marks, phrases):
    """The first rule that a line fails by a phrase or a "{" in it; NO_REASON where it fails none."""
    first = NO_REASON
    for k in range(start // 64, (end + 63) // 64):
        hits = _between(marks.hits, k, start, end)
        while hits:
            at = 64 * k + lowest_bit(hits)
            hits &= hits - ONE_BIT
            first = min(first, _reason_at(page, at, start, end, phrases))
    return first


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
    """(number of words, at most MOST_WORDS of them; True where one is too long)."""
    could_be_long = end - start > LONGEST_WORD and _has_long_gap(page, start, end)
    text = lowest_bits(end - start)
    if not could_be_long and not wide_space_mask(page, start) & text:
        spaces = space_mask(page, start)
        words = count_bits(~spaces & (spaces << ONE_BIT | ONE_BIT) & text)
        if words >= MOST_WORDS or end - start <= 64:
            return min(words, MOST_WORDS), False
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
        if words == MOST_WORDS and not could_be_long:
            break
        at += width
    return words, False


@inlined
def _is_unterminated(page, start, end, endings):
    if endings == ANY_ENDING:
        return False
    if end == start:
        return True
    last = page[end - 1]
    dots = end - start >= 3 and last == 0x2E and page[end - 2] == 0x2E and page[end - 3] == 0x2E
    mark = last == 0x2E or last == 0x3F or last == 0x21 or last == 0x22
    return dots or not (mark or last == 0x27 and endings == WITH_APOSTROPHE)


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
def _without_citations(page, start, end, line, edges):
    """Copy a line without its citations to `line`, note their edges; returns (its length, citations)."""
    size = cited = 0
    at = start
    while at < end:
        width = _citation_bytes(page, at, end) if page[at] == 0x5B else 0
        if width:
            edges[2 * cited], edges[2 * cited + 1] = at, at + width
            cited += 1
            at += width
        else:
            line[size] = page[at]
            size += 1
            at += 1
    line[size : size + PADDING] = 0
    return size, cited


@inlined
def _has_bracket(marks, start, end):
    found = NO_BITS
    for k in range(start // 64, (end + 63) // 64):
        found |= _between(marks.brackets, k, start, end)
    return found != NO_BITS


@loop
def _judge(page, start, end, words, bare_words, long_word, marks, classes, phrases, rules, tally, reasons):
    """Count a line without citations, page[start:end], under the rule it fails in each variant, and fill in which.

    `words` it has with its citations, `bare_words` without.
    """
    by_phrase = sentences = -1  # the same in every variant that comes to ask
    for v in range(len(reasons)):
        if long_word:
            reasons[v] = Tally.LONG_WORD.value
        elif _is_unterminated(page, start, end, rules.endings[v]):
            reasons[v] = Tally.UNTERMINATED.value
        elif (bare_words if rules.bare[v] else words) < rules.fewest_words[v]:
            reasons[v] = Tally.SHORT.value
        else:
            if by_phrase < 0:
                by_phrase = _reason_of(page, start, end, marks, phrases)
            reasons[v] = by_phrase
        tally[v, reasons[v]] += 1
        if reasons[v] == NO_REASON:
            if sentences < 0:
                sentences = _sentences(page, start, end, marks, classes)
            tally[v, Tally.SENTENCES] += sentences


@inlined
def _is_dropped(reason):
    """C4 drops the line; where it has "lorem ipsum" or "{", the whole document."""
    return reason < NO_REASON and reason != Tally.LOREM_IPSUM.value and reason != Tally.CURLY_BRACKET.value


@inlined
def _note(reason, start, next_start, cited, line_citations, tally, filled, dropped, citations):
    """Note a line that is dropped, or the citations of one that is not; `filled` edges are of documents before."""
    if _is_dropped(reason):
        at = filled[0] + 2 * tally[Tally.DROPPED]
        dropped[at], dropped[at + 1] = start, next_start
        tally[Tally.DROPPED] += 1
    else:
        for k in range(2 * cited):
            citations[filled[1] + 2 * tally[Tally.CITATIONS] + k] = line_citations[k]
        tally[Tally.CITATIONS] += cited


@loop
def _measure(
    page, length, marks, line, line_marks, line_citations, classes, phrases, rules, tally, reasons, filled, dropped,
    citations,
):  # fmt: skip
    """Fill in the tallies of one document, the lines that are dropped and the citations in those that are not."""
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
        cited = 0
        if _has_bracket(marks, bare, bare_end):
            size, cited = _without_citations(page, bare, bare_end, line, line_citations)
            _mark(line, size, line_marks)
            bare_words = _words(line, 0, size, classes)[0] if cited else words
            _judge(
                line, 0, size, words, bare_words, long_word, line_marks, classes, phrases, rules, tally, reasons
            )  # fmt: skip
        else:
            _judge(
                page, bare, bare_end, words, words, long_word, marks, classes, phrases, rules, tally, reasons
            )  # fmt: skip
        for v in range(len(reasons)):
            _note(
                reasons[v], start, next_start, cited, line_citations, tally[v], filled[v], dropped[v], citations[v]
            )  # fmt: skip
        start = next_start


@kernel
def _marks_for(length):
    blocks = blocks_of(length)
    return Marks(np.empty(blocks, np.uint64), np.empty(blocks, np.uint64), np.empty(blocks, np.uint64))


@kernel
def _with_room(edges, used, more):
    """Arrays, one a variant, with room for so many more entries behind the used ones, which they hold."""
    if used + more <= edges.shape[1]:
        return edges
    grown = np.empty((len(edges), max(2 * edges.shape[1], used + more)), np.int64)
    grown[:, :used] = edges[:, :used]
    return grown


@kernel
def _count(offsets, data, classes, phrases, rules, tallies):
    """Fill in int64 [variants, tallies, documents]; returns (dropped lines, citations, how many edges of each are
    filled): the edges of all documents' int64 [variants, room], twice, and int64 [variants, 2]."""
    longest = longest_document(offsets)
    page, line = np.empty(longest + PADDING, np.uint8), np.empty(longest + PADDING, np.uint8)
    marks, line_marks = _marks_for(longest), _marks_for(longest)
    variants = len(tallies)
    tally, filled = np.empty(tallies.shape[:2], np.int64), np.zeros((variants, 2), np.int64)
    dropped, citations = np.empty((variants, 64), np.int64), np.empty((variants, 64), np.int64)
    line_citations, reasons = np.empty(64, np.int64), np.empty(variants, np.int64)
    for i in range(len(offsets) - 1):
        length = open_page(page, data, offsets[i], offsets[i + 1])
        breaks, brackets = 1, _mark(page, length, marks)
        for block in range(0, length, 64):
            masks = line_break_mask(page, block) | wide_break_mask(page, block)
            breaks += count_bits(masks & lowest_bits(length - block))
        dropped = _with_room(dropped, filled[:, 0].max(), 2 * breaks)
        citations = _with_room(citations, filled[:, 1].max(), 2 * brackets)
        line_citations = with_room(line_citations, 0, 2 * brackets)
        tally[:] = 0
        _measure(
            page, length, marks, line, line_marks, line_citations, classes, phrases, rules, tally, reasons, filled,
            dropped, citations,
        )  # fmt: skip
        filled[:, 0] += 2 * tally[:, Tally.DROPPED]
        filled[:, 1] += 2 * tally[:, Tally.CITATIONS]
        tallies[:, :, i] = tally
    return dropped, citations, filled


def _signals(prefix: str, variant: str, marks: str, fewest: int) -> tuple[Signal, ...]:
    """Of one variant; without marks no line fails the rule on endings."""
    rules = {
        Tally.LONG_WORD: f"lines with a word of more than {LONGEST_WORD} characters",
        Tally.UNTERMINATED: f"lines that do not end in {marks} or that end in ...",
        Tally.SHORT: f"lines of fewer than {fewest} words",
        Tally.LOREM_IPSUM: 'lines with "lorem ipsum"',
        Tally.JAVASCRIPT: 'lines with "javascript"',
        Tally.CURLY_BRACKET: 'lines with "{"',
        Tally.POLICY: "lines about cookies, privacy policy or terms of use",
    }
    if not marks:
        del rules[Tally.UNTERMINATED]
    return (
        *(count(f"{prefix}_{rule.name.lower()}_line_count", "lines", rule,
                f"{says} and that fail no rule before (C4{variant})") for rule, says in rules.items()),
        count(f"{prefix}_kept_line_count", "lines", Tally.KEPT, f"lines that fail no rule of C4{variant}"),
        count(f"{prefix}_sentence_count", "sentences", Tally.SENTENCES,
              f"sentences of the lines that fail no rule of C4{variant}"),
        span(f"{prefix}_dropped_line_spans", Tally.DROPPED, "dropped",
             f"lines that C4 drops{variant}, with their line breaks"),
        span(f"{prefix}_citation_spans", Tally.CITATIONS, "citations",
             "[12], [edit] and [citation needed] in the lines that C4 does not drop"),
    )  # fmt: skip


SIGNALS = _signals("c4", "", ". ? ! \" '", 3)
ANY_ENDING_SIGNALS = _signals("c4_any_ending", ", no matter how lines end", "", 3)
PAPER_SIGNALS = _signals("c4_paper", ", as the paper has it", '. ? ! "', 5)


def _measured(
    texts: pa.Array | pa.ChunkedArray, rules: Rules, *variants: tuple[Signal, ...]
) -> dict[str, pa.Array]:
    offsets, data = valid(texts)
    tallies = np.zeros((len(variants), len(Tally), len(offsets) - 1), np.int64)
    dropped, citations, filled = _count(offsets, data, character_classes(), PHRASES, rules, tallies)
    found: dict[str, pa.Array] = {}
    for v, signals in enumerate(variants):
        edges = {"dropped": dropped[v, : filled[v, 0]], "citations": citations[v, : filled[v, 1]]}
        found |= columns(signals, tallies=tallies[v], **edges)
    return found


def measure(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """C4's line signals of every text, with and without the rule on endings; 0 and no spans for an empty one."""
    return _measured(texts, DATATROVE, SIGNALS, ANY_ENDING_SIGNALS)


def measure_paper(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """C4's line signals of every text by the numbers of the paper; 0 and no spans for an empty one."""
    return _measured(texts, PAPER, PAPER_SIGNALS)


FAMILY = Family("c4", 2, measure, (*SIGNALS, *ANY_ENDING_SIGNALS))
PAPER_FAMILY = Family("c4_paper", 1, measure_paper, PAPER_SIGNALS)
