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
from filters.text import masks, pages
from filters.text.batches import valid
from filters.text.bits import NO_BITS, ONE_BIT, count_bits, leading_zeros, lowest_bit, lowest_bits, places
from filters.text.classes import WHITESPACE, character_classes
from filters.text.compiled import inlined, kernel, loop
from filters.text.phrases import ends_in, is_digit, is_one_of, is_phrase, stands_at, table_of

LONGEST_WORD = 1000  # characters
MOST_WORDS = 5  # of a line that are counted: no variant asks for more
ANY_ENDING, WITH_APOSTROPHE, WITHOUT_APOSTROPHE = range(3)  # what may end a line
Tally = IntEnum("Tally", [
    # Lines by the rule they fail, in the order of the rules; KEPT fail none.
    "LONG_WORD", "UNTERMINATED", "SHORT", "LOREM_IPSUM", "JAVASCRIPT", "CURLY_BRACKET", "POLICY", "KEPT",
    "SENTENCES", "DROPPED", "CITATIONS",
], start=0)  # fmt: skip
NO_REASON = Tally.KEPT.value


class Rules(NamedTuple):
    """What the variants do not share, an entry for each variant."""

    endings: np.ndarray  # int64: ANY_ENDING, ...
    fewest_words: np.ndarray  # int64: of a line
    bare: np.ndarray  # bool: words are counted after citations are taken out


DATATROVE = Rules(np.array([WITH_APOSTROPHE, ANY_ENDING]), np.array([3, 3]), np.array([False, False]))
PAPER = Rules(np.array([WITHOUT_APOSTROPHE]), np.array([5]), np.array([True]))


# Phrases that a rule is about, the rule that a line with one fails, and where in it the letters stand that `_hits` finds.
_PHRASES = (
    ("lorem ipsum", Tally.LOREM_IPSUM, 7), ("javascript", Tally.JAVASCRIPT, 0), ("privacy policy", Tally.POLICY, 5),
    ("cookie policy", Tally.POLICY, 3), ("uses cookies", Tally.POLICY, 8), ("use of cookies", Tally.POLICY, 10),
    ("use cookies", Tally.POLICY, 7), ("terms of use", Tally.POLICY, 3),
)  # fmt: skip
_TEXTS, _SIZES = table_of([phrase for phrase, _, _ in _PHRASES])  # kernels have these compiled into them
_REASONS, _PLACES = np.array([phrase[1:] for phrase in _PHRASES]).T.copy()

c_mask, i_mask, k_mask, m_mask, p_mask, s_mask, y_mask, j_mask, a_mask, e_mask = (
    masks.any_of(letter + letter.upper()) for letter in "cikmpsyjae"
)
curly_mask, bracket_mask = masks.any_of("{"), masks.any_of("[")
stop_mask = masks.any_of("!.?")


@inlined
def _citation_bytes(page, at, end):
    """Bytes of the citation mark that begins at a "["; 0 where none does."""
    here = at + 1
    while here < end and is_digit(page[here]):
        here += 1
    if here < end and page[here] == 0x5D:
        return here + 1 - at
    for words in (b"[edit]", b"[citation needed]"):
        if stands_at(page, at, end, words):
            return len(words)
    return 0


@inlined
def _hits(page, block):
    """uint64: where among 64 bytes a "{" stands, or some letters ps, ja, cy, kie, ms, which all phrases have."""
    s_next = s_mask(page, block + 1)
    return (
        curly_mask(page, block)
        | (p_mask(page, block) | m_mask(page, block)) & s_next
        | j_mask(page, block) & a_mask(page, block + 1)
        | c_mask(page, block) & y_mask(page, block + 1)
        | k_mask(page, block) & i_mask(page, block + 1) & e_mask(page, block + 2)
    )


@inlined
def _reason_at(page, at, start, end):
    """The first rule that a line fails by what stands on this byte of it; NO_REASON where it fails none."""
    if page[at] == 0x7B:
        return Tally.CURLY_BRACKET.value
    first = NO_REASON
    for k in range(len(_SIZES)):
        begin = at - _PLACES[k]
        if begin >= start and is_phrase(page, begin, end, _TEXTS, _SIZES, k):
            first = min(first, _REASONS[k])
    return first


@loop
def _reason_of(page, start, end):
    """The first rule that a line fails by a phrase or a "{" in it; NO_REASON where it fails none."""
    first = NO_REASON
    for block in range(start, end, 64):
        for at in places(_hits(page, block) & lowest_bits(end - block), block):
            first = min(first, _reason_at(page, at, start, end))
    return first


@inlined
def _has_long_gap(page, start, end):
    """Somewhere more than LONGEST_WORD bytes stand without a space of ASCII: only there can a word be so long."""
    space = start - 1
    for block in range(start, end, 64):
        spaces = masks.space_mask(page, block) & lowest_bits(end - block)
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
    if not could_be_long and not masks.wide_space_mask(page, start) & text:
        spaces = masks.space_mask(page, start)
        words = count_bits(~spaces & (spaces << ONE_BIT | ONE_BIT) & text)
        if words >= MOST_WORDS or end - start <= 64:
            return min(words, MOST_WORDS), False
    words, size = 0, 0
    at = start
    while at < end:
        code, width = pages.decode(page, at)
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
    marked = is_one_of(last, b'.?!"') or last == 0x27 and endings == WITH_APOSTROPHE
    return not marked or ends_in(page, start, end, b"...")


@loop
def _sentences(page, start, end, classes):
    """Runs of . ? ! and the quotes and brackets behind them that whitespace or the end of the line follows."""
    sentences = 0
    done = start
    for block in range(start, end, 64):
        for at in places(stop_mask(page, block) & lowest_bits(end - block), block):
            if at < done:
                continue
            while at < end and is_one_of(page[at], b".?!"):
                at += 1
            done = at
            while at < end and is_one_of(page[at], b"\"')]"):
                at += 1
            if at < end:
                code, _ = pages.decode(page, at)
                if not classes[code] & WHITESPACE:
                    continue
            sentences += 1
    return max(1, sentences)


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
    line[size : size + pages.PADDING] = 0
    return size, cited


@inlined
def _has_bracket(page, start, end):
    brackets = NO_BITS
    for block in range(start, end, 64):
        brackets |= bracket_mask(page, block) & lowest_bits(end - block)
    return brackets != NO_BITS


@loop
def _judge(page, start, end, words, bare_words, long_word, classes, rules, tally, reasons):
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
                by_phrase = _reason_of(page, start, end)
            reasons[v] = by_phrase
        tally[v, reasons[v]] += 1
        if reasons[v] == NO_REASON:
            if sentences < 0:
                sentences = _sentences(page, start, end, classes)
            tally[v, Tally.SENTENCES] += sentences


@inlined
def _note(reason, start, next_start, cited, line_citations, tally, filled, dropped, citations):
    """Note a line that is dropped, or the citations of one that is not; `filled` edges are of documents before."""
    # Where a line has "lorem ipsum" or "{" C4 drops the whole document.
    if reason < NO_REASON and reason != Tally.LOREM_IPSUM.value and reason != Tally.CURLY_BRACKET.value:
        at = filled[0] + 2 * tally[Tally.DROPPED]
        dropped[at], dropped[at + 1] = start, next_start
        tally[Tally.DROPPED] += 1
    else:
        for k in range(2 * cited):
            citations[filled[1] + 2 * tally[Tally.CITATIONS] + k] = line_citations[k]
        tally[Tally.CITATIONS] += cited


@loop
def _measure(page, length, line, line_citations, classes, rules, tally, reasons, filled, dropped, citations):
    """Fill in the tallies of one document, the lines that are dropped and the citations in those that are not."""
    start = 0
    while start < length:
        end, next_start = pages.split_line(page, start, length)
        bare, bare_end = pages.strip(page, start, end, classes)
        words, long_word = _words(page, bare, bare_end, classes)
        size = cited = 0
        if _has_bracket(page, bare, bare_end):
            size, cited = _without_citations(page, bare, bare_end, line, line_citations)
        if cited:
            bare_words = _words(line, 0, size, classes)[0]
            _judge(line, 0, size, words, bare_words, long_word, classes, rules, tally, reasons)
        else:
            _judge(page, bare, bare_end, words, words, long_word, classes, rules, tally, reasons)
        for v in range(len(reasons)):
            _note(
                reasons[v], start, next_start, cited, line_citations, tally[v], filled[v], dropped[v], citations[v]
            )  # fmt: skip
        start = next_start


@kernel
def _count(offsets, data, classes, rules, tallies):
    """Fill in int64 [variants, tallies, documents]; returns (dropped lines, citations, how many edges of each are
    filled): the edges of all documents' int64 [variants, room], twice, and int64 [variants, 2]."""
    longest = pages.longest_document(offsets)
    page, line = np.empty(longest + pages.PADDING, np.uint8), np.empty(longest + pages.PADDING, np.uint8)
    variants = len(tallies)
    tally, filled = np.empty(tallies.shape[:2], np.int64), np.zeros((variants, 2), np.int64)
    dropped, citations = np.empty((variants, 64), np.int64), np.empty((variants, 64), np.int64)
    line_citations, reasons = np.empty(64, np.int64), np.empty(variants, np.int64)
    for i in range(len(offsets) - 1):
        length = pages.open_page(page, data, offsets[i], offsets[i + 1])
        breaks, brackets = 1, 0
        for block in range(0, length, 64):
            text = lowest_bits(length - block)
            line_breaks = masks.line_break_mask(page, block) | masks.wide_break_mask(page, block)
            breaks += count_bits(line_breaks & text)
            brackets += count_bits(bracket_mask(page, block) & text)
        dropped = pages.with_room(dropped, filled[:, 0].max(), 2 * breaks)
        citations = pages.with_room(citations, filled[:, 1].max(), 2 * brackets)
        line_citations = pages.with_room(line_citations, 0, 2 * brackets)
        tally[:] = 0
        _measure(
            page, length, line, line_citations, classes, rules, tally, reasons, filled, dropped, citations
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
    dropped, citations, filled = _count(offsets, data, character_classes(), rules, tallies)
    measured: dict[str, pa.Array] = {}
    for v, signals in enumerate(variants):
        edges = {"dropped": dropped[v, : filled[v, 0]], "citations": citations[v, : filled[v, 1]]}
        measured |= columns(signals, tallies=tallies[v], **edges)
    return measured


def measure(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """C4's line signals of every text, with and without the rule on endings; 0 and no spans for an empty one."""
    return _measured(texts, DATATROVE, SIGNALS, ANY_ENDING_SIGNALS)


def measure_paper(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """C4's line signals of every text by the numbers of the paper; 0 and no spans for an empty one."""
    return _measured(texts, PAPER, PAPER_SIGNALS)


FAMILY = Family("c4", 2, measure, (*SIGNALS, *ANY_ENDING_SIGNALS))
PAPER_FAMILY = Family("c4_paper", 1, measure_paper, PAPER_SIGNALS)
