"""MADLAD-400's rules on sentences as plain Python says them: the definition that the kernel is compared with."""

from __future__ import annotations

import re

from naive_unicode import tokens


def words(text: str) -> list[str]:
    return [token for token in tokens(text) if any(c.isalpha() or c.isdecimal() for c in token)]


def sentences(text: str) -> list[str]:
    return [sentence for sentence in re.split(r"[.!?]+\s+", text) if sentence.strip()]


def is_list_case(sentence: str) -> bool:
    found = words(sentence)
    return len(found) >= 12 and sum(word[0].isupper() for word in found) > len(found) / 2


def madlad(text: str) -> dict[str, float]:
    found = sentences(text)
    return {
        "madlad_sentence_count": len(found),
        "madlad_list_case_sentence_ratio": sum(map(is_list_case, found)) / len(found) if found else 0.0,
    }
