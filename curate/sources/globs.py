"""Globs, the same for local paths and URLs: `*` and `?` stop at `/`, `**` is any number of folders, none included.

A path that exists as it is written is no glob, whatever characters its name has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

MAGIC = re.compile(r"[*?\[]")


def split(path: str, exists: Callable[[str], bool], magic: re.Pattern = MAGIC) -> tuple[str, str | None]:
    """(folder or file that is there, glob below it). No glob where the whole path is meant as it is written."""
    parts = path.split("/")
    for i, part in enumerate(parts):
        if magic.search(part) and not exists("/".join(parts[: i + 1])):
            return "/".join(parts[:i]) or ("/" if path.startswith("/") else "."), "/".join(parts[i:])
    return path, None


def matcher(
    globs: Iterable[str], *, ignore_case: bool = False, inside: bool = False
) -> Callable[[str], bool]:
    """Whether a relative path matches one of these. `inside`: what lies below a folder that matches, matches too."""
    whole = "|".join(f"{re.escape(glob)}|{_regex(glob)}" for glob in globs)
    if not whole:
        return lambda path: False
    pattern = re.compile(f"(?:{whole}){'(?:/.*)?' if inside else ''}", re.S | (re.I if ignore_case else 0))
    return lambda path: pattern.fullmatch(path) is not None


def anywhere(globs: Iterable[str]) -> list[str]:
    """These globs, of what lies below a folder: one without `/` is of names, at any depth."""
    stripped = [glob.strip("/") for glob in globs]
    return stripped + [f"**/{glob}" for glob in stripped if "/" not in glob]


def names_hidden(globs: Iterable[str]) -> bool:
    """Whether one of these asks for names that begin with a dot."""
    return any(part.startswith(".") and part.strip(".") for glob in globs for part in glob.split("/"))


def depth(glob: str) -> int | None:
    """How many folders deep what matches lies; None: any number."""
    parts = glob.split("/")
    return None if "**" in parts else len(parts)


def _regex(glob: str) -> str:
    *folders, last = glob.split("/")
    runs = [""]  # of folders, between one `**` and the next
    for part in folders:
        if part == "**":
            runs.append("")
        else:
            runs[-1] += _segment(part) + "/"
    return _between(runs, "(?:[^/]+/)") + (".+" if last == "**" else _segment(last))


def _between(runs: list[str], any: str) -> str:
    """These one after the other, with any number of `any` between. The first place for what stands in the middle is as
    good as a later one, so none is tried twice: else a few `*` would take for ever."""
    first, *middle = runs
    if not middle:
        return first
    return first + "".join(f"(?>{any}*?{run})" for run in middle[:-1] if run) + f"{any}*{middle[-1]}"


def _segment(part: str) -> str:
    runs, at = [""], 0
    while at < len(part):
        end = part.find("]", at + 2 + (part[at + 1 : at + 2] in ("!", "^"))) if part[at] == "[" else -1
        if end > 0 and (characters := _characters(part[at + 1 : end])):
            runs[-1], at = runs[-1] + characters, end
        elif part[at] == "*":
            runs.append("")
        else:
            runs[-1] += "[^/]" if part[at] == "?" else re.escape(part[at])
        at += 1
    return _between(runs, "[^/]")


def _characters(inside: str) -> str | None:
    """`[...]` of a glob as one of a regular expression; None where it is none, such as `[z-a]`."""
    negated = inside[0] in "!^"
    members = re.sub(r"([\\\[\]^&|~])", r"\\\1", inside[negated:])
    made = f"(?!/)[{'^' if negated else ''}{members}]"
    try:
        re.compile(made)
    except re.error:
        return None
    return made
