"""What two texts differ in, marked: side by side for the page, in one line for the lock and the terminal."""

from __future__ import annotations

import difflib
import re

AROUND = 5  # words shown on either side of a difference
COMPARED = 300  # words, from a little before the first difference
MOST = 400  # characters of the line
LONG = 12  # words of one difference, beyond which its middle is left out


def marked_difference(left: str, right: str) -> tuple[list[tuple[bool, str]], list[tuple[bool, str]]]:
    """Both texts as runs of (differs, words); joined, they are the texts again."""
    a, b = (re.findall(r"\s+|[^\s]+", text) for text in (left, right))
    marked: tuple[list, list] = ([], [])
    for kind, i, j, k, m in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        for side, words in zip(marked, (a[i:j], b[k:m]), strict=True):
            if words:
                side.append((kind != "equal", "".join(words)))
    return marked


def in_one_line(stays: str, goes: str) -> str:
    """`... words [-of what stays-] {+of what goes+} words ...`, as git marks words; "" where only white space differs."""
    a, b = stays.split(), goes.split()
    if a == b:
        return ""
    first = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    begin = max(0, first - AROUND)
    cut = max(len(a), len(b)) > begin + COMPARED
    a, b = a[begin : begin + COMPARED], b[begin : begin + COMPARED]
    found = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    if cut and len(found) > 2 and found[-1][0] != "equal":
        found.pop()  # of where the words were cut off
    pieces = ["..."] if begin else []
    for kind, i, j, k, m in found:
        if kind == "equal":
            pieces += _shortened(a[i:j], 2 * AROUND)
            continue
        if j > i:
            pieces.append(f"[-{' '.join(_shortened(a[i:j], LONG))}-]")
        if m > k:
            pieces.append(f"{{+{' '.join(_shortened(b[k:m], LONG))}+}}")
        if len(" ".join(pieces)) > MOST:
            return " ".join([*pieces, "..."])
    return " ".join([*pieces, "..."] if cut else pieces)


def _shortened(words: list[str], most: int) -> list[str]:
    half = most // 2
    return words if len(words) <= most else [*words[:half], "...", *words[-half:]]


def runs_of(line: str) -> list[tuple[str, str]]:
    """A line of `in_one_line` as runs of ("stays", "goes" or "" for both, words); what marks them is left out."""
    runs = []
    for piece in re.split(r"(\[-.*?-\](?= |$)|\{\+.*?\+\}(?= |$))", line):
        side = {"[-": "stays", "{+": "goes"}.get(piece[:2], "") if piece[-2:] in ("-]", "+}") else ""
        if piece:
            runs.append((side, piece[2:-2] if side else piece))
    return runs
