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
    parts = glob.split("/")
    made = ""
    for part in parts[:-1]:
        made += "(?:[^/]+/)*" if part == "**" else _segment(part) + "/"
    return made + (".+" if parts[-1] == "**" else _segment(parts[-1]))


def _segment(part: str) -> str:
    made, at = "", 0
    while at < len(part):
        end = part.find("]", at + 2 + (part[at + 1 : at + 2] in ("!", "^"))) if part[at] == "[" else -1
        if end > 0 and (characters := _characters(part[at + 1 : end])):
            made, at = made + characters, end
        else:
            made += {"*": "[^/]*", "?": "[^/]"}.get(part[at], re.escape(part[at]))
        at += 1
    return made


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
