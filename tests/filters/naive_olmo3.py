"""The heuristic filters of Olmo 3's web data as its pipeline applies them: one after another, each to what is left.

Without what asks for files: lists of addresses, rule 5 of MADLAD-400, and language. Profile `olmo3` has the same rules
over signals of the whole text, so the two differ in a few documents; sizes are in bytes here where they are there.
"""

from __future__ import annotations

import re
from collections import Counter

from naive_dclm import COUNTER, STOP_WORDS
from naive_madlad import is_list_case, sentences, words

PHRASES = ((r"\s?items in cart\s?", " "), (r"\s?Read more...$", ""), (r"^Sign-in\s?", ""))
MOST_IN_NGRAMS = dict(zip(range(2, 11), (0.2, 0.18, 0.16, 0.15, 0.14, 0.13, 0.12, 0.11, 0.1), strict=True))
ASCII_WORD = re.compile(
    r"\w+(?:(?:(?<=[a-z])[.':](?=[a-z])|(?<=[0-9])[.,';](?=[0-9]))\w+)*", re.ASCII | re.IGNORECASE
)


def unicode_words(text: str) -> list[str]:
    """The same as `words`, which takes quadratic time in the length of a line."""
    found = []
    for line in text.split("\n"):
        plain = [word for word in ASCII_WORD.findall(line) if word.strip("_")]
        found += plain if line.isascii() else words(line)
    return found


def size(part: str) -> int:
    return len(part.encode())


def repeated(parts: list[str], n: int, weight=size) -> float:
    """Share of the parts that stand in n in a row which occur again; of 2 to 4 in a row only in the most common."""
    grams = [tuple(parts[i : i + n]) for i in range(len(parts) - n + 1)]
    if len(grams) < 2:
        return float(n == 1 and not grams)
    counts = Counter(grams)
    again = {gram for gram, count in counts.items() if count > 1}
    if 2 <= n <= 4 and again:
        again = {max(again, key=lambda gram: (counts[gram], sum(map(size, gram))))}
    inside = {k for i, gram in enumerate(grams) if gram in again for k in range(i, i + n)}
    return sum(weight(parts[k]) for k in inside) / sum(map(weight, parts))


def repeats_much(text: str) -> bool:
    for mark in ("\n", "\n\n"):
        parts = [part for part in text.split(mark) if part]
        if repeated(parts, 1, lambda _: 1) > 0.3 or repeated(parts, 1) > 0.2:
            return True
    found = unicode_words(text)
    return any(repeated(found, n) > most for n, most in MOST_IN_NGRAMS.items())


def edited(text: str) -> str:
    """The text after its line edits. Phrases go in any line: the pipeline names a longest one by a key that is not read."""
    lines = [
        line
        for line in text.split("\n")
        if not line
        or sum(map(str.isupper, line)) <= 0.5 * size(line)
        and not re.fullmatch("[0-9]+", line)
        and not COUNTER.search(line.lower())
        and len(unicode_words(line)) >= 2
    ]
    for pattern, instead in PHRASES:
        left = [re.sub(pattern, instead, line.removesuffix("\r")) for line in lines]
        lines = [rest for rest, line in zip(left, lines, strict=True) if rest.strip() or not line]
    return "\n".join(lines)


def failed(text: str) -> str:
    """The first rule that a document fails; nothing where it is kept."""
    found, lines = text.split(), [line for line in text.split("\n") if line]
    bare = re.findall("[A-Za-z0-9]+", text) if text.isascii() else unicode_words(text)
    symbols = sum(text.count(symbol) for symbol in ("#", "...", ". . .", "…"))
    if len(text) < 150:
        return "characters"
    if not 50 <= len(bare) <= 100_000:
        return "words"
    if not 3 <= sum(map(size, found)) / len(found) <= 10:
        return "word length"
    if symbols > 0.1 * len(text.replace(". . .", "...").split()):
        return "symbols"
    if sum(line.startswith(("●", "•", "*", "-")) for line in lines) > 0.9 * (text.count("\n") + 1):
        return "bullets"
    if sum(line.removesuffix("\r").endswith(("...", ". . .", "…")) for line in lines) > 0.3 * len(lines):
        return "ellipses"
    if len(found) == 1 or sum(not any(map(str.isalpha, word)) for word in found) > 0.2 * len(found):
        return "letters"
    if sum(word.lower() in STOP_WORDS for word in found) < 2:
        return "stop words"
    text = re.sub("\n{3,}", "\n\n", text)
    if repeats_much(text):
        return "repetition"
    left = edited(text)
    before = len(unicode_words(text))
    if not 0 <= before - len(unicode_words(left)) <= 0.05 * before:
        return "edits"
    whole = sentences(left)
    if len(whole) < 5:
        return "sentences"
    return "lists" if sum(map(is_list_case, whole)) >= 0.2 * len(whole) else ""
