"""Entries of a list of words, found as plain Python finds them."""

from __future__ import annotations

from naive_unicode import tokens


def lower(text: str) -> str:
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def words(text: str) -> tuple[str, ...]:
    return tuple(lower(token) for token in tokens(text) if any(c.isalpha() or c.isdecimal() for c in token))


def word_list(text: str, entries: list[str]) -> tuple[int, float, int]:
    """(occurrences, occurrences / words, different entries): at each word the longest entry that begins there."""
    wanted = {words(entry) for entry in entries}
    said = words(text)
    found = []
    for first in range(len(said)):
        begins = [entry for entry in wanted if said[first : first + len(entry)] == entry]
        if begins:
            found.append(max(begins, key=len))
    return len(found), len(found) / len(said) if said else 0.0, len(set(found))
