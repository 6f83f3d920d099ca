"""How deeply a page is nested: what parsers and extraction take time for grows with the square of it.

Browsers stop at a depth of 512. What is deeper than MOST_DEEP here, or has a tag of more than MOST_ATTRIBUTES, is no page
that anybody reads. Counts decide, not the clock: the verdict is the same on every machine.
"""

from __future__ import annotations

import re

MOST_DEEP = 1000
MOST_ATTRIBUTES = 2000
# Elements that are open until they are closed, and hold others. (Not those that the next one closes, such as `<p>` and
# `<li>`; not those of single words, such as `<b>`: old pages leave them open by the thousand, at no cost.)
HOLDING = (
    "address", "applet", "article", "aside", "blockquote", "button", "center", "details", "dialog", "dir", "div", "dl",
    "fieldset", "figcaption", "figure", "footer", "foreignobject", "form", "header", "hgroup", "label", "main", "marquee",
    "math", "menu", "nav", "object", "ol", "pre", "search", "section", "select", "span", "summary", "svg", "table", "ul",
)  # fmt: skip
TAG = re.compile(
    rf"<!--.*?(?:-->|\Z)|<(?P<raw>script|style|textarea|title)\b.*?(?:</(?P=raw)|\Z)|<(?P<end>/?)(?:{'|'.join(HOLDING)})\b",
    re.I | re.S,
)
OPENING = re.compile(rf"<(?:{'|'.join(HOLDING)}|option)\b")
# Options hold text alone, and selections options; with other elements in them, parsers nest one in the other.
OPTION = re.compile(r"<(?:option|select)\b[^<>]*>[^<]*<(?!/?(?:option|optgroup|select)\b|!)", re.I)
# What holds no tags though it may look so: `a<b` in a script.
RAW = re.compile(
    r"<!--(?:-?>|.*?(?:--!?>|\Z))|<(script|style|textarea|title)\b([^>]*)>.*?(?:</\1|\Z)", re.I | re.S
)
TAG_BEGIN = re.compile(r"<[a-z]", re.I)
QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
ATTRIBUTE = re.compile(r"[\s/\"'][^\s/\"']")


def excess(html: str) -> str | None:
    """What there is too much of, or None."""
    # At least as many as are ever open at once, counted in a quarter of the time that following them takes.
    if html.count("<") - html.count("</") > MOST_DEEP and len(OPENING.findall(html.lower())) > MOST_DEEP:
        depth = 0
        for tag in TAG.finditer(html):
            if tag["end"] is not None:
                depth = max(0, depth + (-1 if tag["end"] else 1))
                if depth > MOST_DEEP:
                    return f"elements nested over {MOST_DEEP:,} deep"
        if sum(1 for _ in OPTION.finditer(html)) > MOST_DEEP:
            return f"over {MOST_DEEP:,} options or selections that hold elements"
    # scripts are set aside only where there is something to be found: that takes ten times as long as to look
    if _has_long_tag(html) and _has_long_tag(RAW.sub(r"<x\2>", html)):
        return f"a tag of over {MOST_ATTRIBUTES:,} attributes"
    return None


def _has_long_tag(html: str) -> bool:
    for piece in html.split(">"):
        begin = TAG_BEGIN.search(piece) if len(piece) > 2 * MOST_ATTRIBUTES else None
        if begin and len(ATTRIBUTE.findall(QUOTED.sub('""', piece[begin.start() :]))) > MOST_ATTRIBUTES:
            return True
    return False
