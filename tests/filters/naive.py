"""The definition of each signal in the plainest Python: slow, short, to be checked against the paper.

A kernel is right when it equals its twin here.
"""

from __future__ import annotations

import math
import re
import statistics
import unicodedata
from collections import Counter
from itertools import groupby

import regex

STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
# Unicode's Sentence_Terminal without what its versions 15.1 and 16 added, and with three Khmer marks.
ADDED_LATER = "\u1b4e\u1b4f\u1b7f\u2024\u2cf9\u2cfa\u2cfb\u2e60\u2e61\ufe12\ufe15\ufe16\U000113d4\U000113d5\U00016d6e\U00016d6f"
TERMINAL = tuple(
    mark
    for mark in regex.findall(
        r"\p{Sentence_Terminal}|[\u17d6\u17d9\u17da]", "".join(map(chr, range(0x20000)))
    )
    if mark not in ADDED_LATER
)


def ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def mean(numbers: list[int]) -> float:
    return ratio(sum(numbers), len(numbers))


def is_punctuation(character: str) -> bool:
    category = unicodedata.category(character)
    return category.startswith(("P", "S")) or category == "Cc"


def words(text: str) -> dict[str, float]:
    words = text.split()
    core = [word for word in words if not all(map(is_punctuation, word))]
    stops = [word for word in words if word in STOP_WORDS]
    return {
        "byte_count": len(text.encode()),
        "character_count": len(text),
        "word_count": len(words),
        "core_word_count": len(core),
        "mean_word_length": mean([len(word) for word in words]),
        "mean_core_word_length": mean([len(word) for word in core]),
        "median_word_length": statistics.median([len(word) for word in words] or [0]),
        "longest_word_length": max((len(word) for word in words), default=0),
        "alphabetic_word_ratio": mean([any(c.isalpha() for c in word) for word in words]),
        "stop_word_count": len(set(stops)),
        "stop_word_occurrence_count": len(stops),
        "hash_word_ratio": ratio(text.count("#"), len(words)),
        "ellipsis_word_ratio": ratio(text.count("...") + text.count("…"), len(words)),
        "symbol_word_ratio": mean(["#" in word or "…" in word for word in words]),
        "newline_word_ratio": ratio(text.count("\n"), len(words)),
        "whitespace_character_ratio": mean([c.isspace() for c in text]),
        "alphabetic_character_ratio": mean([c.isalpha() for c in text]),
        "uppercase_character_ratio": mean([c.isupper() for c in text]),
        "digit_character_ratio": mean([c.isdecimal() for c in text]),
        "punctuation_character_ratio": mean([is_punctuation(c) for c in text]),
        "non_ascii_character_ratio": mean([not c.isascii() for c in text]),
    }


def lines(text: str) -> dict[str, float]:
    lines = text.splitlines()
    split_lines = text.split("\n") if text else []
    text_lines = [line for line in split_lines if line.strip()]
    return {
        "line_count": len(lines),
        "text_line_count": len(text_lines),
        "mean_text_line_length": mean([len(line) for line in text_lines]),
        "bullet_line_ratio": mean([line.lstrip().startswith(("•", "-")) for line in lines]),
        "ellipsis_line_ratio": mean([line.rstrip().endswith(("...", "…")) for line in lines]),
        "terminal_line_ratio": mean([line.endswith(TERMINAL) for line in text_lines]),
        "short_line_ratio": mean([len(line) <= 30 for line in text_lines]),
        "dolma_bullet_line_ratio": mean([line.startswith(("*", "-")) for line in split_lines]),
        "dolma_ellipsis_line_ratio": mean([line.endswith("…") for line in split_lines]),
        "ascii_terminal_line_ratio": mean([line.endswith((".", "!", "?", "'", '"')) for line in split_lines]),
        "short_split_line_ratio": mean([len(line) <= 30 for line in split_lines]),
    }


def repeats(things: list[str]) -> list[str]:
    """Every occurrence after the first."""
    seen: set[str] = set()
    again = []
    for thing in things:
        if thing in seen:
            again.append(thing)
        seen.add(thing)
    return again


def copies(things: list) -> list:
    """Every occurrence of what occurs more than once."""
    counts = Counter(things)
    return [thing for thing in things if counts[thing] > 1]


def top_ngram_characters(words: list[str], n: int) -> int:
    ngrams = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
    if not ngrams:
        return 0
    ngram, count = ngrams.most_common(1)[0]  # of equals the first seen
    return len(ngram) * count


def repeated_ngram_characters(words: list[str], n: int) -> int:
    seen = set()
    characters = i = 0
    while i <= len(words) - n:
        ngram = tuple(words[i : i + n])
        if ngram in seen:
            characters += len("".join(ngram))
            i += n
        else:
            seen.add(ngram)
            i += 1
    return characters


def repetition(text: str) -> dict[str, float]:
    words = text.split()
    characters = len(text)
    paragraphs = re.split(r"\n{2,}", text.strip())
    lines = re.split(r"\n+", text) if text else []
    text_lines = [line for line in text.split("\n") if line.strip()]
    signals = {
        "distinct_word_ratio": ratio(len(set(words)), len(words)),
        "repeated_paragraph_ratio": ratio(len(repeats(paragraphs)), len(paragraphs)),
        "repeated_paragraph_character_ratio": ratio(len("".join(repeats(paragraphs))), characters),
        "repeated_line_ratio": ratio(len(repeats(lines)), len(lines)),
        "repeated_line_character_ratio": ratio(len("".join(repeats(lines))), characters),
        "repeated_text_line_character_ratio": ratio(
            len("".join(repeats(text_lines))), len(text.replace("\n", ""))
        ),
    }
    for n in (2, 3, 4):
        signals[f"top_{n}gram_character_ratio"] = ratio(top_ngram_characters(words, n), characters)
    for n in (5, 6, 7, 8, 9, 10):
        signals[f"repeated_{n}gram_character_ratio"] = ratio(repeated_ngram_characters(words, n), characters)
    word_characters = len("".join(words))
    split_lines = text.split("\n") if text else []
    copied = copies(split_lines)
    signals["repeated_split_line_character_ratio"] = ratio(
        len("".join(repeats([line for line in split_lines if line]))), len(text.replace("\n", ""))
    )
    signals["copied_line_ratio"] = ratio(len(copied), len(split_lines))
    signals["copied_line_character_ratio"] = ratio(len("".join(copied)), word_characters)
    for n in (2, 3, 4):
        ngrams = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
        (ngram, count) = ngrams.most_common(1)[0] if ngrams else ((), 0)
        signals[f"top_{n}gram_word_character_ratio"] = ratio(len("".join(ngram)) * count, word_characters)
    for n in (5, 6, 7, 8, 9, 10):
        ngrams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        of_copies, of_all = (sum(len("".join(ngram)) for ngram in some) for some in (copies(ngrams), ngrams))
        signals[f"copied_{n}gram_character_ratio"] = ratio(of_copies, of_all)
    signals["longest_word_run"] = max((len(list(run)) for _, run in groupby(words)), default=0)
    shares = [count / len(words) for count in Counter(words).values()]
    signals["word_entropy"] = -sum(share * math.log2(share) for share in shares)
    return signals


HEURISTICS = {"words": words, "lines": lines, "repetition": repetition}
