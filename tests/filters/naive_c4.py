"""The rules of C4, line by line, in plain Python: datatrove's, those without the rule on endings, the paper's."""

from __future__ import annotations

import re

CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]", re.ASCII)
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
SENTENCE_END = re.compile(r"[.?!]+[\"')\]]*(?=\s|$)")
WHY = ("long_word", "unterminated", "short", "lorem_ipsum", "javascript", "curly_bracket", "policy")
DROPS_THE_LINE = ("long_word", "unterminated", "short", "javascript", "policy")


def lower(text: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in text)


MARKS = {"c4": (".", "?", "!", '"', "'"), "c4_any_ending": ("",), "c4_paper": (".", "?", "!", '"')}


def why(line: str, variant: str) -> str | None:
    """The first rule that a stripped line fails; None where it passes all."""
    words = line.split()
    if any(len(word) > 1000 for word in words):
        return "long_word"
    line = CITATION.sub("", line)
    if variant != "c4_any_ending" and (not line.endswith(MARKS[variant]) or line.endswith("...")):
        return "unterminated"
    if len(line.split()) < 5 if variant == "c4_paper" else len(words) < 3:
        return "short"
    folded = lower(line)
    if "lorem ipsum" in folded:
        return "lorem_ipsum"
    if "javascript" in folded:
        return "javascript"
    if "{" in line:
        return "curly_bracket"
    return "policy" if any(phrase in folded for phrase in POLICY) else None


def c4(text: str, variant: str = "c4") -> dict[str, object]:
    counts = dict.fromkeys(WHY, 0)
    sentences = kept = at = 0
    dropped, citations = [], []
    for line in text.splitlines(keepends=True):
        start, at = at, at + len(line.encode())
        bare = line.strip()
        reason = why(bare, variant)
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
    return {
        **{
            f"{variant}_{reason}_line_count": counts[reason]
            for reason in WHY
            if not (variant == "c4_any_ending" and reason == "unterminated")
        },
        f"{variant}_kept_line_count": kept,
        f"{variant}_sentence_count": sentences,
        f"{variant}_dropped_line_spans": dropped,
        f"{variant}_citation_spans": citations,
    }
