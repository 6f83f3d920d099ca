"""The rules of C4, line by line, in plain Python."""

from __future__ import annotations

import re

CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]", re.ASCII)
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
SENTENCE_END = re.compile(r"[.?!]+[\"')\]]*(?=\s|$)")
WHY = ("long_word", "unterminated", "short", "lorem_ipsum", "javascript", "curly_bracket", "policy")
DROPS_THE_LINE = ("long_word", "unterminated", "short", "javascript", "policy")


def lower(text: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in text)


def why(line: str, any_ending: bool) -> str | None:
    """The first rule that a stripped line fails; None where it passes all."""
    words = line.split()
    if any(len(word) > 1000 for word in words):
        return "long_word"
    line = CITATION.sub("", line)
    if not any_ending and (not line.endswith((".", "?", "!", '"', "'")) or line.endswith("...")):
        return "unterminated"
    if len(words) < 3:
        return "short"
    folded = lower(line)
    if "lorem ipsum" in folded:
        return "lorem_ipsum"
    if "javascript" in folded:
        return "javascript"
    if "{" in line:
        return "curly_bracket"
    return "policy" if any(phrase in folded for phrase in POLICY) else None


def c4(text: str, any_ending: bool = False) -> dict[str, object]:
    counts = dict.fromkeys(WHY, 0)
    sentences = kept = at = 0
    dropped, citations = [], []
    for line in text.splitlines(keepends=True):
        start, at = at, at + len(line.encode())
        bare = line.strip()
        reason = why(bare, any_ending)
        if reason:
            counts[reason] += 1
        if reason in DROPS_THE_LINE:
            dropped.append((start, at))
            continue
        begin = start + len(line[: len(line) - len(line.lstrip())].encode())
        for found in CITATION.finditer(bare):
            citations.append(
                (begin + len(bare[: found.start()].encode()), begin + len(bare[: found.end()].encode()))
            )
        if reason is None:
            kept += 1
            sentences += max(1, len(SENTENCE_END.findall(CITATION.sub("", bare))))
    prefix = "c4_any_ending" if any_ending else "c4"
    return {
        **{
            f"{prefix}_{reason}_line_count": counts[reason]
            for reason in WHY
            if not (any_ending and reason == "unterminated")
        },
        f"{prefix}_kept_line_count": kept,
        f"{prefix}_sentence_count": sentences,
        f"{prefix}_dropped_line_spans": dropped,
        f"{prefix}_citation_spans": citations,
    }
