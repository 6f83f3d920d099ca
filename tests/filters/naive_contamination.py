"""What contamination means, in plain Python."""

from __future__ import annotations

import re

import naive_duplicates

NO_SPACES = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
)
WORD = re.compile(rf"[{NO_SPACES}](?<=\w)|(?:(?![{NO_SPACES}])\w)+")


def words(text: str) -> list[tuple[str, int, int]]:
    """(word in lower case, first byte, end) of each word."""
    found = []
    (begins, ends), text = naive_duplicates.places(text), naive_duplicates.normal(text)
    for match in WORD.finditer(text):
        begin = len(text[: match.start()].encode())
        word = "".join(c.lower()[0] for c in match.group())
        found.append((word, begins[begin], ends[begin + len(match.group().encode())]))
    return found


def grams(item: str, ngram: int, shortest: int) -> list[tuple[str, ...]]:
    own = [word for word, _, _ in words(item)]
    width = min(ngram, len(own))
    return [tuple(own[k : k + width]) for k in range(len(own) - width + 1)] if width >= shortest else []


def contamination(text: str, items: list[str], ngram: int, shortest: int) -> tuple:
    """(spans, words covered / words, row of the best item or None, share of its n-grams)"""
    found = words(text)
    own = [word for word, _, _ in found]
    covered = [False] * len(own)
    shares = []
    for row, item in enumerate(items):
        wanted = set(grams(item, ngram, shortest))
        matched = set()
        for gram in wanted:
            for k in range(len(own) - len(gram) + 1):
                if tuple(own[k : k + len(gram)]) == gram:
                    matched.add(gram)
                    covered[k : k + len(gram)] = [True] * len(gram)
        if matched:
            shares.append((-len(matched), len(wanted), row))
    spans: list[list[int]] = []
    for k, (_, begin, end) in enumerate(found):
        if covered[k]:
            if k and covered[k - 1]:
                spans[-1][1] = end
            else:
                spans.append([begin, end])
    matched_grams, all_grams, best = min(shares) if shares else (0, 1, None)
    ratio = sum(covered) / len(own) if own else 0.0
    return [tuple(span) for span in spans], ratio, best, -matched_grams / all_grams
