"""What duplicates are, in the plainest Python: words, shingles, Jaccard similarity, leader clustering."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

import regex

ALONE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
)
ALONE += "\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af"
WORD = re.compile(rf"[{ALONE}]|[^\W{ALONE}]+")


def normal(text: str) -> str:
    """In NFC, without what is not seen."""
    return unicodedata.normalize("NFC", regex.sub(r"\p{Default_Ignorable_Code_Point}", "", text))


@lru_cache(maxsize=1000)
def places(text: str) -> tuple[dict[int, int], dict[int, int]]:
    """Of the normal text's bytes: where in the text begins what begins there, and where ends what ends there."""
    clusters = list(text[:1])
    whole = normal(text) == text  # and then every character stands where it stands
    for c in text[1:]:
        last = clusters[-1]
        if (
            whole
            or c.isascii()
            or not (unicodedata.combining(c) or not normal(c) or normal(last + c) != normal(last) + normal(c))
        ):
            clusters.append(c)
        else:
            clusters[-1] += c
    begins, ends, size, before = {}, {}, 0, 0
    for raw in clusters:
        for _ in normal(raw).encode():
            begins[size], size = before, size + 1
            ends[size] = before + len(raw.encode())
        before += len(raw.encode())
    return begins, ends


def words(text: str) -> list[str]:
    """Runs of word characters, lower-cased one by one; characters of scripts without spaces singly."""
    found = [w for w in WORD.findall(normal(text)) if re.fullmatch(r"\w+", w)]
    return ["".join(c.lower()[0] for c in word) for word in found]


def units(text: str, unit: str) -> list:
    text = normal(text)
    if unit == "characters":
        return [c.lower()[0] for c in re.sub(r"\s+", " ", text)]
    if unit == "words":
        return words(text)
    found: list = []
    for match in WORD.finditer(text):
        written = match.group()
        if not re.fullmatch(r"\w+", written):
            continue
        word: object = words(written)[0]
        if any(c.isdecimal() for c in written):
            word = ("number",)
        elif written[0].isupper():
            word = ("name",)
        if not (isinstance(word, tuple) and found and found[-1] == word):
            found.append(word)
    return found


def shingles(text: str, ngram: int = 5, unit: str = "words") -> set:
    w = units(text, unit)
    if not w:
        return {normal(text).encode()}
    return {tuple(w[i : i + ngram]) for i in range(max(1, len(w) - ngram + 1))}


BITS = 2**64 - 1


def mix(h: int) -> int:
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9 & BITS
    h = (h ^ h >> 27) * 0x94D049BB133111EB & BITS
    return h ^ h >> 31


def sketch(hashes: list[int], places: int, seed: int) -> list[int]:
    """Fast Similarity Sketching of 64-bit hashes, as rounds that each send every hash to one place."""
    signature: list = [None] * places
    number = 0
    while None in signature:
        factor = mix(seed * 0x9FB21C651E98DF25 + number & BITS) | 1
        for shingle in hashes:
            h = shingle * factor & BITS
            place = (h >> 32) * places >> 32 if number < places else number - places
            low = h & 0xFFFFFFFF
            value = low >> 1 if number == 0 else 1 << 31 | number << 19 | low >> 13
            if signature[place] is None or value < signature[place]:
                signature[place] = value
        number += 1
    return signature


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


def novelty(texts: list[str], cluster: list[int], least: float) -> list[float]:
    """Of every document, in order: the share of its shingles that no earlier one of its cluster has which stays; the
    first stays, and whatever adds at least so much."""
    stays: dict[int, set] = {}
    found = []
    for text, of in zip(texts, cluster, strict=True):
        mine = shingles(text)
        found.append(len(mine - stays.get(of, set())) / len(mine))
        if of not in stays or found[-1] >= least:
            stays[of] = stays.get(of, set()) | mine
    return found


def words_and_pairs(text: str) -> Counter:
    """How often each word, and each two words in a row, stands in a text."""
    mine = words(text)
    return Counter(mine) + Counter(zip(mine, mine[1:], strict=False))
