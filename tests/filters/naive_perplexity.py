"""Interpolated modified Kneser-Ney by the textbook's formulas (Chen & Goodman 1998), with dictionaries."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict

from naive_contamination import NO_SPACES

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
SYMBOL = re.compile(rf"[{NO_SPACES}]|(?:(?![{NO_SPACES}])\w)+|[^\w\s]")


def symbols(line: str) -> list[str]:
    return [re.sub(r"\d", "0", "".join(c.lower()[0] for c in match)) for match in SYMBOL.findall(line)]


def lines(text: str) -> list[list[str]]:
    found = (symbols(line) for line in text.split("\n"))
    return [[BEGIN, *line, END] for line in found if line]


class Model:
    def __init__(self, texts: list[str], order: int, min_count: int):
        self.order = order
        sequences = [line for text in texts for line in lines(text)]
        raw = [Counter(g for s in sequences for g in self.grams(s, n)) for n in range(1, order + 1)]
        self.kept = [
            {g for g, c in counts.items() if n < 2 or c >= min_count} for n, counts in enumerate(raw)
        ]
        self.counts: list[dict] = []
        for n in range(order):
            if n == order - 1:
                self.counts.append(dict(raw[n]))
                continue
            before = Counter(g[1:] for g in raw[n + 1])
            self.counts.append({g: c if g[0] == BEGIN else before[g] for g, c in raw[n].items()})
        self.counts[0][(BEGIN,)] = 0
        self.discounts = [self.estimated(list(counts.values())) for counts in self.counts]
        self.total: list[dict] = []
        self.spent: list[dict] = []
        for n in range(order):
            total: dict = defaultdict(float)
            spent: dict = defaultdict(float)
            for gram, count in self.counts[n].items():
                total[gram[:-1]] += count
                if gram in self.kept[n]:
                    spent[gram[:-1]] += count - self.discounts[n][min(count, 3)]
            self.total.append(total)
            self.spent.append(spent)
        self.vocabulary = [g[0] for g in self.counts[0] if g[0] != BEGIN] + [UNKNOWN]

    @staticmethod
    def grams(sequence: list[str], n: int) -> list[tuple]:
        return [tuple(sequence[k : k + n]) for k in range(len(sequence) - n + 1)]

    @staticmethod
    def estimated(counts: list[int]) -> list[float]:
        n1, n2, n3, n4 = (counts.count(k) for k in (1, 2, 3, 4))
        if n1 and n2 and n3:
            y = n1 / (n1 + 2 * n2)
            found = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
            if all(0 <= d <= k for k, d in enumerate(found, 1)):
                return [0, *found]
        return [0, 0.5, 1.0, 1.5]

    def probability(self, word: str, context: tuple) -> float:
        n = len(context)
        shorter = 1 / len(self.vocabulary) if n == 0 else self.probability(word, context[1:])
        total = self.total[n].get(context, 0)
        if not total:
            return shorter
        gram = (*context, word)
        own = 0.0
        if gram in self.kept[n] and gram in self.counts[n]:
            count = self.counts[n][gram]
            own = (count - self.discounts[n][min(count, 3)]) / total
        return own + (1 - self.spent[n][context] / total) * shorter

    def line(self, line: list[str]) -> float:
        """Sum of natural logs of the probabilities of its symbols and its end."""
        known = {g[0] for g in self.counts[0]}
        told = [word if word in known else UNKNOWN for word in line]
        return sum(
            math.log(self.probability(told[k], tuple(told[max(0, k - self.order + 1) : k])))
            for k in range(1, len(told))
        )
