"""The word boundaries of UAX #29, rule by rule, and what is counted over them. Classes are those of `regex`."""

from __future__ import annotations

from functools import cache

import regex

CLASSES = [
    "CR",
    "LF",
    "Newline",
    "Extend",
    "ZWJ",
    "Regional_Indicator",
    "Format",
    "Katakana",
    "Hebrew_Letter",
    "ALetter",
    "Single_Quote",
    "Double_Quote",
    "MidNumLet",
    "MidLetter",
    "MidNum",
    "Numeric",
    "ExtendNumLet",
    "WSegSpace",
]
AH = {"ALetter", "Hebrew_Letter"}
MID_WORD = {"MidLetter", "MidNumLet", "Single_Quote"}
MID_NUMBER = {"MidNum", "MidNumLet", "Single_Quote"}
IGNORED = {"Extend", "Format", "ZWJ"}
NEWLINES = {"CR", "LF", "Newline"}


@cache
def word_break(c: str) -> str:
    """The Word_Break property of a character."""
    return next((name for name in CLASSES if regex.match(rf"\p{{Word_Break={name}}}", c)), "Other")


@cache
def is_pictographic(c: str) -> bool:
    return regex.match(r"\p{Extended_Pictographic}", c) is not None


def segments(text: str) -> list[str]:
    """Every piece of the text between two boundaries; no rule looks across the end of a line."""
    return [
        piece for line in regex.split(r"(?<=\n)", text, flags=regex.V1) for piece in segments_of_line(line)
    ]


def segments_of_line(text: str) -> list[str]:
    kinds = [word_break(c) for c in text]
    cuts = [i for i in range(1, len(text)) if is_boundary(text, kinds, i)]
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)] if text else []


def is_boundary(text: str, kinds: list[str], i: int) -> bool:
    """Between characters i - 1 and i."""
    raw, kind = kinds[i - 1], kinds[i]
    if raw == "CR" and kind == "LF":  # WB3
        return False
    if raw in NEWLINES or kind in NEWLINES:  # WB3a, WB3b
        return True
    if raw == "ZWJ" and is_pictographic(text[i]):  # WB3c
        return False
    if raw == kind == "WSegSpace":  # WB3d
        return False
    if kind in IGNORED:  # WB4
        return False
    left = [k for j, k in enumerate(kinds[:i]) if not is_ignored(kinds, j)]
    right = [k for j, k in enumerate(kinds[i + 1 :], i + 1) if k not in IGNORED]
    last, before, after = left[-1], (left[-2] if len(left) > 1 else ""), (right[0] if right else "")
    regionals = 0
    while regionals < len(left) and left[-1 - regionals] == "Regional_Indicator":
        regionals += 1
    joined = (
        last in AH and kind in AH  # WB5
        or last in AH and kind in MID_WORD and after in AH  # WB6
        or before in AH and last in MID_WORD and kind in AH  # WB7
        or last == "Hebrew_Letter" and kind == "Single_Quote"  # WB7a
        or last == "Hebrew_Letter" and kind == "Double_Quote" and after == "Hebrew_Letter"  # WB7b
        or before == "Hebrew_Letter" and last == "Double_Quote" and kind == "Hebrew_Letter"  # WB7c
        or last == "Numeric" and kind == "Numeric"  # WB8
        or last in AH and kind == "Numeric"  # WB9
        or last == "Numeric" and kind in AH  # WB10
        or before == "Numeric" and last in MID_NUMBER and kind == "Numeric"  # WB11
        or last == "Numeric" and kind in MID_NUMBER and after == "Numeric"  # WB12
        or last == "Katakana" and kind == "Katakana"  # WB13
        or last in {*AH, "Numeric", "Katakana", "ExtendNumLet"} and kind == "ExtendNumLet"  # WB13a
        or last == "ExtendNumLet" and kind in {*AH, "Numeric", "Katakana"}  # WB13b
        or kind == "Regional_Indicator" and regionals % 2 == 1  # WB15, WB16
    )  # fmt: skip
    return not joined  # WB999


def is_ignored(kinds: list[str], j: int) -> bool:
    """WB4 takes a mark as part of what stands before it; at the beginning of a line there is nothing."""
    return kinds[j] in IGNORED and j > 0 and kinds[j - 1] not in NEWLINES


def tokens(text: str) -> list[str]:
    return [segment for segment in segments(text) if segment.strip()]


def unicode_words(text: str) -> dict[str, float]:
    found = tokens(text)
    words = [token for token in found if any(c.isalpha() or c.isdecimal() for c in token)]
    return {
        "unicode_token_count": len(found),
        "unicode_word_count": len(words),
        "mean_unicode_word_length": sum(map(len, words)) / len(words) if words else 0.0,
        "alphabetic_unicode_token_ratio": (
            sum(any(c.isalpha() for c in token) for token in found) / len(found) if found else 0.0
        ),
        "newline_unicode_token_ratio": text.count("\n") / len(found) if found else 0.0,
        "hash_unicode_token_ratio": text.count("#") / len(found) if found else 0.0,
        "ellipsis_unicode_token_ratio": (text.count("...") + text.count("…")) / len(found) if found else 0.0,
    }


def stop_words(
    text: str, code: str, lists: dict[str, tuple[str, ...]], suffixes: bool
) -> tuple[int, float] | None:
    """(different stop words, occurrences / tokens) of a language, or None where it has no list."""
    if code not in lists:
        return None
    places, at = [], 0
    for segment in segments(text):
        if segment.strip():
            places.append((at, at + len(segment)))
        at += len(segment)
    found = []
    for k, (begin, end) in enumerate(places):
        if suffixes:
            found += [text[at:end] for at in range(max(begin, end - 2), end) if text[at:end] in lists[code]]
            continue
        for last in range(k, min(len(places), k + 6)):
            if last > k and places[last][0] != places[last - 1][1]:
                break
            if text[begin : places[last][1]] in lists[code]:
                found.append(text[begin : places[last][1]])
    return len(set(found)), len(found) / max(1, len(places))


def unicode_repetition(text: str) -> dict[str, float]:
    from naive import repeated_ngram_characters, top_ngram_characters

    found = tokens(text)
    signals = {f"unicode_top_{n}gram_character_ratio": top_ngram_characters(found, n) for n in (2, 3, 4)}
    signals |= {
        f"unicode_repeated_{n}gram_character_ratio": repeated_ngram_characters(found, n) for n in range(5, 11)
    }
    return {name: characters / len(text) if text else 0.0 for name, characters in signals.items()}
