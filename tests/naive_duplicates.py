"""What duplicates are, in the plainest Python: words, shingles, Jaccard similarity, leader clustering."""

from __future__ import annotations

import re

ALONE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
)
ALONE += "\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af"
WORD = re.compile(rf"[{ALONE}]|[^\W{ALONE}]+")


def words(text: str) -> list[str]:
    """Runs of word characters, lower-cased one by one; characters of scripts without spaces singly."""
    found = [w for w in WORD.findall(text) if re.fullmatch(r"\w+", w)]
    return ["".join(c.lower()[0] for c in word) for word in found]


def shingles(text: str, ngram: int = 5) -> set:
    w = words(text)
    if not w:
        return {text.encode()}
    return {tuple(w[i : i + ngram]) for i in range(max(1, len(w) - ngram + 1))}


def jaccard(a: set, b: set) -> float:
    return len(a & b) / len(a | b)


def leaders(texts: list[str], similarity: float) -> list[tuple[int, float]]:
    """(the earlier document that stays and is most similar, or itself; how similar) of every document, in order."""
    sets = [shingles(text) for text in texts]
    stays: list[int] = []
    found = []
    for i, mine in enumerate(sets):
        scored = [(jaccard(mine, sets[j]), -j) for j in stays]
        best, j = max(scored, default=(0.0, 0))
        if best >= similarity:
            found.append((-j, best))
        else:
            stays.append(i)
            found.append((i, 1.0))
    return found
