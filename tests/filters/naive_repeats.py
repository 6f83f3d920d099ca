"""Repeats in plain Python: every window, line or paragraph by its words, and where it stands first."""

from __future__ import annotations

import re

import naive_duplicates


def words(text: str) -> list[tuple[str, int, int]]:
    """(word, first byte, byte behind it) of every word."""
    found = []
    for match in naive_duplicates.WORD.finditer(text):
        own = naive_duplicates.words(match.group())
        if own:
            begin = len(text[: match.start()].encode())
            found.append((own[0], begin, begin + len(match.group().encode())))
    return found


def windows(text: str, least: int) -> list[tuple[tuple, int, int]]:
    own = words(text)
    return [
        (tuple(w for w, _, _ in own[k : k + least]), own[k][1], own[k + least - 1][2])
        for k in range(len(own) - least + 1)
    ]


def pieces(text: str, least: int, blank: bool) -> list[tuple[tuple, int, int]]:
    """Lines, or paragraphs between blank lines: from the first line with a word to the end of the last one."""
    rows, at = [], 0
    for line in text.split("\n"):
        size = len(line.encode()) + 1
        rows.append(([w for w, _, _ in words(line)], at, min(at + size, len(text.encode())), line))
        at += size
    groups: list[list] = [[]]
    for row in rows:
        if blank and not re.search(r"[^\x00-\x20]", row[3]):
            groups.append([])
        elif row[0]:
            groups[-1].append(row)
            if not blank:
                groups.append([])
    found = []
    for group in groups:
        own = tuple(w for row in group for w in row[0])
        if len(own) >= least:
            found.append((own, group[0][1], group[-1][2]))
    return found


def repeats(texts: list[str], kind: str, least: int, order: list[int]) -> list[list[tuple[int, int]]]:
    """Spans of each text: occurrences that are not the first, joined where they touch."""
    normal = [naive_duplicates.normal(text) for text in texts]
    units = [windows(t, least) if kind == "spans" else pieces(t, least, kind == "paragraphs") for t in normal]
    seen: set = set()
    found: list = [[] for _ in texts]
    for i in sorted(range(len(texts)), key=lambda i: order[i]):
        for key, begin, end in units[i]:
            if key not in seen:
                seen.add(key)
            elif found[i] and begin <= found[i][-1][1]:
                found[i][-1] = (found[i][-1][0], end)
            else:
                found[i].append((begin, end))
    placed = [naive_duplicates.places(text) for text in texts]
    return [
        [(begins[a], ends[b]) for a, b in spans] for (begins, ends), spans in zip(placed, found, strict=True)
    ]
