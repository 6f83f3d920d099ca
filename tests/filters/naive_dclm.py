"""DCLM's rules as plain Python says them: the definition that the kernels are compared with."""

from __future__ import annotations

import re
from collections import Counter

from naive_unicode import tokens

STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
COUNTER = re.compile(
    r"^[^\w]*\d(?:,|\.|\d)*(?:k|m|b)?\s+(?:likes|shares|comments|retweets|reposts|quotes|bookmarks|upvotes|downvotes"
    r"|downloads|views|followers)[^\w]*$"
)
CART = re.compile(r"\s?items in cart", re.I | re.A)
MORE = re.compile(r"\s?read more...$", re.I | re.A)
SIGN = re.compile(r"^sign-in\s?", re.I | re.A)


def wide(pattern: re.Pattern) -> re.Pattern:
    """Case of ASCII only, yet white space of all of Unicode."""
    space = "[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
    return re.compile(pattern.pattern.replace(r"\s", space).replace("...$", r"(?:[^\n]){3}\Z"), re.I | re.A)


CART, MORE, SIGN = map(wide, (CART, MORE, SIGN))


def ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def is_word(text: str) -> bool:
    return text[0].isalpha() or text[0].isdecimal()


def ascii_lower(text: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in text)


def falls(line: str) -> bool:
    return (
        sum(map(str.isupper, line)) / len(line) > 0.5
        or all(map(str.isdecimal, line))
        or len(line.split()) < 2
        or COUNTER.search(counter_form(line)) is not None
    )


def counter_form(line: str) -> str:
    """Letters and digits as the signals know them: decimal digits are 0, other letters x, the rest a dash."""
    return "".join(
        c
        if c.isascii() and (c.isalpha() or c in ",._") or c.isspace()
        else "0"
        if c.isdecimal()
        else "x"
        if c.isalpha()
        else "-"
        for c in ascii_lower(line)
    )


def edited(line: str) -> str | None:
    """What the edits leave of a line; None where it goes."""
    if not line:
        return line
    if falls(line):
        return None
    if len(line.split()) > 10:
        return line
    for pattern in (CART, MORE, SIGN):
        shorter = pattern.sub("", line)
        if line and not shorter.strip():
            return None
        line = shorter
    return line


def segments(text: str, mark: str) -> list[str]:
    return [bare for segment in text.split(mark) if (bare := segment.strip())]


def copies(parts: list[str]) -> tuple[float, float]:
    counts = Counter(parts)
    copied = [part for part in parts if counts[part] > 1]
    return ratio(len(copied), len(parts)), ratio(sum(map(len, copied)), sum(map(len, parts)))


def ngram_ratio(words: list[str], n: int) -> float:
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    counts = Counter(grams)
    most = max(counts.values(), default=1)
    if most == 1:
        return 0.0
    if n <= 4:
        characters = most * max(sum(map(len, gram)) for gram in counts if counts[gram] == most)
    else:
        inside = {k for i, gram in enumerate(grams) if counts[gram] > 1 for k in range(i, i + n)}
        characters = sum(len(words[k]) for k in inside)
    return characters / sum(map(len, words))


def dclm(text: str) -> dict[str, float]:
    words, lines = text.split(), segments(text, "\n")
    symbols = sum(text.count(symbol) for symbol in ("#", "...", ". . .", "…"))
    tokenized = [token for token in tokens(text) if is_word(token)]
    signals = {
        "dclm_word_count": sum(map(is_word, words)),
        "dclm_stop_word_count": sum(ascii_lower(word) in STOP_WORDS for word in words),
        "dclm_symbol_word_ratio": ratio(symbols, len(words)),
        "dclm_bullet_line_ratio": ratio(sum(line[0] in "●•*-" for line in lines), len(lines)),
        "dclm_ellipsis_line_ratio": ratio(
            sum(line.endswith(("...", ". . .", "…")) for line in lines), len(lines)
        ),
    }
    for what, mark in (("line", "\n"), ("paragraph", "\n\n")):
        share, characters = copies(segments(text, mark))
        signals[f"dclm_copied_{what}_ratio"] = share
        signals[f"dclm_copied_{what}_character_ratio"] = characters
    for n in range(2, 11):
        kind = "top" if n <= 4 else "copied"
        signals[f"dclm_{kind}_{n}gram_character_ratio"] = ngram_ratio(tokenized, n)
    return signals


def edited_text(text: str) -> str:
    """The text after its line edits."""
    lines = text.split("\n")
    kept = []
    for i, line in enumerate(lines):
        rest = edited(line)
        if rest is not None:
            kept.append(rest + ("\n" if i < len(lines) - 1 else ""))
    return "".join(kept)
