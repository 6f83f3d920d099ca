"""Kinds of lines, markup and characters as plain Python finds them."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

from naive_unicode import is_pictographic

SCRIPTS = [
    "latin",
    "cyrillic",
    "greek",
    "arabic",
    "hebrew",
    "devanagari",
    "thai",
    "han",
    "kana",
    "hangul",
    "other_script",
]
KINDS = ["control", "replacement", "private_use", "invisible", "combining", "emoji"]
BEGINNING = re.compile(
    r"//|/\*|</|<\?|#!|#(include|define)|(import|def|const|var|function|elif|>>>|\$) |else:"
)
PHRASES = [
    "all rights reserved",
    "privacy policy",
    "cookie policy",
    "terms of use",
    "terms of service",
    "terms and conditions",
    "terms & conditions",
    "use of cookies",
    "accept cookies",
    "sign in",
    "sign up",
    "log in",
    "login",
    "my account",
    "subscribe",
    "unsubscribe",
    "newsletter",
    "read more",
    "learn more",
    "show more",
    "load more",
    "click here",
    "share this",
    "share on",
    "follow us",
    "skip to content",
    "skip to main",
    "back to top",
    "powered by",
    "leave a comment",
    "leave a reply",
    "add to cart",
    "items in cart",
    "copyright",
    "©",
    "next page",
    "previous page",
    "contact us",
    "about us",
    "site map",
    "sitemap",
    "view all",
    "report abuse",
    "print this",
]
CODE_END = re.compile(r"(\{|\}|\};|\*/|\):)$")
LOG = re.compile(r"\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d|\d{1,3}(\.\d{1,3}){3}(?![\d.])", re.A)
TAG = re.compile(r"</?[A-Za-z][^<>]*>")
ENTITY = re.compile(r"&(?:#(?:\d[0-9A-Za-z]*|[xX][0-9A-Za-z]+)|[A-Za-z][0-9A-Za-z]*);", re.A)
ENCODED = re.compile(r"[A-Za-z0-9+/=_-]{100,}")


def ascii_lower(text: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in text)


def is_code(line: str) -> bool:
    annotated = re.match(r"@[A-Za-z]", line) and " " not in line and "\t" not in line
    statement = line.endswith(";") and ("=" in line or "(" in line)
    return bool(CODE_END.search(line) or statement or BEGINNING.match(line) or annotated)


def is_boilerplate(line: str) -> bool:
    return len(line) <= 120 and any(phrase in ascii_lower(line) for phrase in PHRASES)


def is_capitals(line: str) -> bool:
    capitals = sum(map(str.isupper, line))
    return capitals >= 4 and 2 * capitals > sum(map(str.isalpha, line))


def encoded(text: str) -> int:
    def kind(c: str) -> str:
        return "A" if c.isupper() else "a" if c.islower() else "0" if c.isdigit() else "-"

    runs = [match.group() for match in ENCODED.finditer(text)]
    return sum(len(run) for run in runs if sum(kind(a) != kind(b) for a, b in pairwise(run)) >= 20)


def markup(text: str) -> dict[str, float]:
    lines = [bare for line in text.split("\n") if (bare := line.strip())]
    size = len(text.encode())
    kinds = {
        "code": is_code,
        "table": lambda line: line.count("|") >= 2 or line.count("\t") >= 2,
        "log": lambda line: bool(LOG.match(line)) and sum(map(str.isdecimal, line)) >= 4,
        "numeric": lambda line: any(map(str.isdecimal, line)) and not any(map(str.isalpha, line)),
        "uppercase": is_capitals,
        "boilerplate": is_boilerplate,
    }
    tags = [match.group() for match in TAG.finditer(text) if len(match.group().encode()) <= 1000]
    return {
        **{
            f"{kind}_line_ratio": sum(map(rule, lines)) / len(lines) if lines else 0.0
            for kind, rule in kinds.items()
        },
        "tag_count": len(tags),
        "tag_byte_ratio": sum(len(tag.encode()) for tag in tags) / size if size else 0.0,
        "entity_count": sum(len(m.group()) <= 32 for m in ENTITY.finditer(text)),
        "latex_command_count": len(re.findall(r"\\(?=[A-Za-z]{2})", text)),
        "encoded_byte_ratio": encoded(text) / size if size else 0.0,
    }


def without_boilerplate(text: str) -> str:
    lines = text.split("\n")
    ends = ["\n"] * (len(lines) - 1) + [""]
    return "".join(
        line + end
        for line, end in zip(lines, ends, strict=True)
        if not is_boilerplate(line.strip()) or not line.strip()
    )


def script(c: str) -> str:
    first = unicodedata.name(c, "OTHER").removeprefix("HALFWIDTH ").split()[0]
    known = {
        "CJK": "han", "IDEOGRAPHIC": "han", "HIRAGANA": "kana", "KATAKANA": "kana",
        "KATAKANA-HIRAGANA": "kana", "FULLWIDTH": "latin", "FEMININE": "latin", "MASCULINE": "latin", "MODIFIER": "latin",
    }  # fmt: skip
    name = known.get(first, first.lower())
    return name if name in SCRIPTS else "other_script"


def broken(text: str) -> int:
    """Mojibake by the regular expression of UTF-8, over what Latin-1 or Windows-1252 made of its bytes."""
    windows = {
        c: b for b in range(0x80, 0xA0) if (c := bytes([b]).decode("cp1252", errors="replace")) != "\ufffd"
    }
    raw = "".join(chr(windows.get(c, ord(c) if ord(c) < 0x100 else 0)) for c in text)
    return len(re.findall("[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}", raw))


def characters(text: str) -> dict[str, float]:
    letters = [script(c) for c in text if c.isalpha()]
    shares = {name: letters.count(name) for name in SCRIPTS}
    kinds = dict.fromkeys(KINDS, 0)
    for c in text:
        category = unicodedata.category(c)
        if c == "\ufffd":
            kinds["replacement"] += 1
        elif ord(c) >= 0x2190 and not c.isalpha() and is_pictographic(c):
            kinds["emoji"] += 1
        elif category == "Cc" and not c.isspace():
            kinds["control"] += 1
        elif category == "Co":
            kinds["private_use"] += 1
        elif category == "Cf":
            kinds["invisible"] += 1
        elif category[0] == "M":
            kinds["combining"] += not c.isalpha()
    return {
        **{f"{name}_letter_ratio": n / len(letters) if letters else 0.0 for name, n in shares.items()},
        "script_count": sum(n > 0 and 100 * n >= len(letters) for n in shares.values()),
        **{f"{name}_character_count": n for name, n in kinds.items()},
        "mojibake_count": broken(text),
        "mojibake_character_ratio": broken(text) / len(text) if text else 0.0,
    }
