"""C4's rules, line by line (Raffel et al. 2020, arXiv:1910.10683; rules in the order of datatrove 0.10).

A line of `str.splitlines()`, stripped, fails the first of these that holds: a word of more than 1,000
characters; an ending other than . ? ! " ' or an ellipsis of dots; fewer than three words; "lorem ipsum";
"javascript"; "{"; a phrase about cookies or terms. Citations (`[12]`, `[edit]`, `[citation needed]`) are taken
out before all but the first rule, and do not count as an ending. Letters of ASCII are compared in lower case.

Nothing is dropped here. "lorem ipsum" and "{" condemn a document in C4, so they are counted; the other rules
drop a line, so those lines are spans, each with its line break, that a level may cut. What C4 keeps has at
least five sentences: here a sentence ends in a run of . ? ! (and closing quotes or brackets) before whitespace
or the end of its line, and a kept line has at least one.

FineWeb uses the rules without the one on endings: that is the second family.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pyarrow as pa

from filters import Family
from filters.columns import count_signal, span_signal, spans
from filters.text import (
    ONE_BIT,
    PADDING,
    WHITESPACE,
    break_bytes,
    character_classes,
    decode,
    in_ranges,
    inlined,
    kernel,
    line_break_mask,
    longest_document,
    lowest_bit,
    lowest_bits,
    open_page,
    strip,
    valid,
    wide_break_mask,
)

LONGEST_WORD = 1000  # characters
FEWEST_WORDS = 3  # a line
REASONS = ("long_word", "unterminated", "short", "lorem_ipsum", "javascript", "curly_bracket", "policy")
LONG_WORD, UNTERMINATED, SHORT, LOREM_IPSUM, JAVASCRIPT, CURLY_BRACKET, POLICY = range(len(REASONS))
KEPT, SENTENCES, DROPPED, CITATIONS = range(len(REASONS), len(REASONS) + 4)
TALLIES = len(REASONS) + 4

# Each phrase under a byte that is rare in text, and where in it that byte stands.
_PHRASES = (
    ("lorem ipsum", LOREM_IPSUM, 7), ("javascript", JAVASCRIPT, 2), ("privacy policy", POLICY, 3),
    ("cookie policy", POLICY, 3), ("uses cookies", POLICY, 8), ("use of cookies", POLICY, 10),
    ("use cookies", POLICY, 7), ("terms of use", POLICY, 7),
)  # fmt: skip
_TEXTS = np.array([list(phrase.ljust(16, "\0").encode()) for phrase, _, _ in _PHRASES], np.uint8)
_SIZES = np.array([len(phrase) for phrase, _, _ in _PHRASES])
_KINDS = np.array([kind for _, kind, _ in _PHRASES])
_AT = np.array([at for _, _, at in _PHRASES])
_TRIGGERS = np.array([ord(phrase[at]) for phrase, _, at in _PHRASES], np.uint8)

trigger_mask = in_ranges(*((ord(c), ord(c)) for c in "pPvVkKfF{"))
bracket_mask = in_ranges((0x5B, 0x5B))
stop_mask = in_ranges((0x21, 0x21), (0x2E, 0x2E), (0x3F, 0x3F))


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


@kernel
def _first_phrase(page, start, end, texts, sizes, kinds, offsets, triggers):
    """The first reason, in the order of the rules, that a phrase in a line gives; POLICY + 1 where none does."""
    found = POLICY + 1
    for block in range(start, end, 64):
        marks = trigger_mask(page, block) & lowest_bits(end - block)
        while marks:
            at = block + lowest_bit(marks)
            marks &= marks - ONE_BIT
            byte = _lower(page[at])
            if byte == 0x7B:
                found = min(found, CURLY_BRACKET)
                continue
            for k in range(len(sizes)):
                begin = at - offsets[k]
                if triggers[k] != byte or begin < start or begin + sizes[k] > end:
                    continue
                same = True
                for i in range(sizes[k]):
                    if _lower(page[begin + i]) != texts[k, i]:
                        same = False
                        break
                if same:
                    found = min(found, kinds[k])
    return found


@kernel
def _words(page, start, end, classes):
    """(number of words, at most FEWEST_WORDS of them; True where one is too long)."""
    words, size = 0, 0
    at = start
    could_be_long = end - start > LONGEST_WORD
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


@kernel
def _sentences(page, start, end, classes):
    """Runs of . ? ! and the quotes and brackets behind them that whitespace or the end of the line follows."""
    found = 0
    done = start
    for block in range(start, end, 64):
        marks = stop_mask(page, block) & lowest_bits(end - block)
        while marks:
            at = block + lowest_bit(marks)
            marks &= marks - ONE_BIT
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


@kernel
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
def _has_bracket(page, start, end):
    found = False
    for block in range(start, end, 64):
        found |= (bracket_mask(page, block) & lowest_bits(end - block)) != 0
    return found


@kernel
def _judge(
    page,
    start,
    end,
    length,
    words,
    long_word,
    any_ending,
    classes,
    texts,
    sizes,
    kinds,
    offsets,
    triggers,
    tally,
):
    """Count a line without citations, page[start:end], under the rule it fails; returns that rule."""
    if long_word:
        reason = LONG_WORD
    elif not any_ending and _is_unterminated(page, start, end):
        reason = UNTERMINATED
    elif words < FEWEST_WORDS:
        reason = SHORT
    else:
        reason = _first_phrase(page, start, end, texts, sizes, kinds, offsets, triggers)
    if reason > POLICY:
        tally[KEPT] += 1
        tally[SENTENCES] += _sentences(page, start, end, classes)
    else:
        tally[reason] += 1
    return reason


@kernel
def _measure(
    page, length, line, any_ending, classes, texts, sizes, kinds, offsets, triggers, tally, dropped, citations
):
    """Fill in the tallies of one document, the lines that go and the citations in those that stay."""
    start = 0
    block = 0
    marks = (line_break_mask(page, 0) | wide_break_mask(page, 0)) & lowest_bits(length)
    while start < length:
        end = next_start = length
        while block < length:  # the next line break
            if marks == 0:
                block += 64
                if block < length:
                    marks = (line_break_mask(page, block) | wide_break_mask(page, block)) & lowest_bits(
                        length - block
                    )
                continue
            at = block + lowest_bit(marks)
            marks &= marks - ONE_BIT
            width = break_bytes(page, at)
            if width and at >= start:
                end, next_start = at, at + width
                break
        bare, bare_end = strip(page, start, end, classes)
        words, long_word = _words(page, bare, bare_end, classes)
        base = 2 * tally[CITATIONS]
        found = 0
        if _has_bracket(page, bare, bare_end):
            size, found = _without_citations(page, bare, bare_end, line, citations, base)
            reason = _judge(
                line,
                0,
                size,
                size,
                words,
                long_word,
                any_ending,
                classes,
                texts,
                sizes,
                kinds,
                offsets,
                triggers,
                tally,
            )
        else:
            reason = _judge(
                page,
                bare,
                bare_end,
                length,
                words,
                long_word,
                any_ending,
                classes,
                texts,
                sizes,
                kinds,
                offsets,
                triggers,
                tally,
            )
        if reason <= POLICY and reason != LOREM_IPSUM and reason != CURLY_BRACKET:
            dropped[2 * tally[DROPPED]], dropped[2 * tally[DROPPED] + 1] = start, next_start
            tally[DROPPED] += 1
        else:
            tally[CITATIONS] += found
        start = next_start


@kernel
def _count(data_offsets, data, any_ending, classes, texts, sizes, kinds, offsets, triggers, tallies):
    """Fill in int64 [tallies, documents]; returns (edges of dropped lines, edges of citations), all documents'."""
    longest = longest_document(data_offsets)
    page = np.empty(longest + PADDING, np.uint8)
    line = np.empty(longest + PADDING, np.uint8)
    tally = np.empty(len(tallies), np.int64)
    all_dropped, all_citations = np.empty(64, np.int64), np.empty(64, np.int64)
    lines = cited = 0
    for i in range(len(data_offsets) - 1):
        length = open_page(page, data, data_offsets[i], data_offsets[i + 1])
        breaks = brackets = 1
        for block in range(0, length, 64):
            text = lowest_bits(length - block)
            marks = (line_break_mask(page, block) | wide_break_mask(page, block)) & text
            while marks:
                marks &= marks - ONE_BIT
                breaks += 1
            marks = bracket_mask(page, block) & text
            while marks:
                marks &= marks - ONE_BIT
                brackets += 1
        if 2 * (lines + breaks) > len(all_dropped):
            grown = np.empty(max(2 * len(all_dropped), 2 * (lines + breaks)), np.int64)
            grown[: 2 * lines] = all_dropped[: 2 * lines]
            all_dropped = grown
        if 2 * (cited + brackets) > len(all_citations):
            grown = np.empty(max(2 * len(all_citations), 2 * (cited + brackets)), np.int64)
            grown[: 2 * cited] = all_citations[: 2 * cited]
            all_citations = grown
        tally[:] = 0
        _measure(
            page, length, line, any_ending, classes, texts, sizes, kinds, offsets, triggers, tally,
            all_dropped[2 * lines :], all_citations[2 * cited :],
        )  # fmt: skip
        lines += tally[DROPPED]
        cited += tally[CITATIONS]
        tallies[:, i] = tally
    return all_dropped[: 2 * lines], all_citations[: 2 * cited]


def measure(texts: pa.Array | pa.ChunkedArray, *, any_ending: bool) -> dict[str, pa.Array]:
    """C4's line signals of every text, with or without the rule on endings; 0 and no spans for an empty one."""
    offsets, data = valid(texts)
    tallies = np.zeros((TALLIES, len(offsets) - 1), np.int64)
    phrases = (_TEXTS, _SIZES, _KINDS, _AT, _TRIGGERS)
    dropped, citations = _count(offsets, data, any_ending, character_classes(), *phrases, tallies)
    prefix = _prefix(any_ending)
    columns = {
        f"{prefix}_{reason}_line_count": pa.array(tallies[number])
        for number, reason in enumerate(REASONS)
        if not (any_ending and number == UNTERMINATED)
    }
    for name, number in (("kept_line_count", KEPT), ("sentence_count", SENTENCES)):
        columns[f"{prefix}_{name}"] = pa.array(tallies[number])
    for name, number, edges in (("dropped_line", DROPPED, dropped), ("citation", CITATIONS, citations)):
        firsts = np.concatenate([[0], np.cumsum(tallies[number])])
        columns[f"{prefix}_{name}_spans"] = spans(firsts, edges[::2], edges[1::2])
    return columns


def _prefix(any_ending: bool) -> str:
    return "c4_any_ending" if any_ending else "c4"


_SAYS = {
    "long_word": f"lines with a word of more than {LONGEST_WORD} characters",
    "unterminated": "lines that do not end in . ? ! \" ' or that end in ...",
    "short": f"lines of fewer than {FEWEST_WORDS} words",
    "lorem_ipsum": 'lines with "lorem ipsum"',
    "javascript": 'lines with "javascript"',
    "curly_bracket": 'lines with "{"',
    "policy": "lines about cookies, privacy policy or terms of use",
}


def _family(any_ending: bool) -> Family:
    prefix = _prefix(any_ending)
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
    return Family(prefix, 1, partial(measure, any_ending=any_ending), tuple(signals))


FAMILY = _family(any_ending=False)
ANY_ENDING = _family(any_ending=True)
