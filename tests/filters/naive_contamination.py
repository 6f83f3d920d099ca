"""What contamination means, in plain Python."""

from __future__ import annotations

import math
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


def overlap(text: str, items: list[str], answers: list[str | None]) -> tuple:
    """(overlap, row of the best item or None, its bytes in the text or None, whether its answer stands by or None)"""
    found = words(text)
    own = [word for word, _, _ in found]
    texts = [[word for word, _, _ in words(item)] for item in items]
    first: dict[tuple, dict[int, int]] = {}  # run -> item -> place
    for row, item in enumerate(texts):
        for k in range(len(item) - 2) if len(item) >= 8 else ():
            first.setdefault(tuple(item[k : k + 3]), {}).setdefault(row, k)
    first = {run: places for run, places in first.items() if len(places) <= 16}
    weight = {w: math.log1p(len(items) / sum(w in item for item in texts)) for item in texts for w in item}
    coverable: list[set[int]] = [set() for _ in items]
    for places in first.values():
        for row, k in places.items():
            coverable[row] |= {k, k + 1, k + 2}
    clusters: dict[int, dict] = {}
    best = (0.0, None, 0, 0)
    for at in range(len(own) - 2):
        for row, k in sorted(first.get(tuple(own[at : at + 3]), {}).items()):
            if row not in clusters or at - clusters[row]["last"] > 3 + 12:
                clusters[row] = {"begin": at, "covered": set()}
            clusters[row]["last"] = at
            clusters[row]["covered"] |= {k, k + 1, k + 2}
            share = sum(weight[texts[row][w]] for w in clusters[row]["covered"])
            share /= sum(weight[texts[row][w]] for w in coverable[row])
            if share > best[0] + 1e-12:
                best = (share, row, clusters[row]["begin"], at + 3)
    share, row, begin, end = best
    if share < 0.5:
        return share, None, None, None
    answer = [word for word, _, _ in words(answers[row] or "")]
    sides = own[max(0, begin - 50) : begin], own[end : end + 50]
    stands = any(
        side[k : k + len(answer)] == answer for side in sides for k in range(len(side) - len(answer) + 1)
    )
    return share, row, (found[begin][1], found[end - 1][2]), stands if answer else None
