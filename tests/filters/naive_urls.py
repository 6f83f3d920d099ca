"""Web addresses as plain Python finds them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

SPACE = r"\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
ADDRESS = re.compile(rf"(?:(?:https?|ftp)://|(?<![A-Za-z0-9])www\.)([^{SPACE}<>\"]*)", re.I | re.A)


def urls(text: str) -> list[tuple[int, int]]:
    """(start, end) in characters."""
    found = []
    for match in ADDRESS.finditer(text):
        rest = match.group(1).rstrip(".,;:!?')]}*")
        if rest:
            found.append((match.start(), match.start(1) + len(rest)))
    return found


def blocked(url: str | None, entries: list[str]) -> int:
    if url is None:
        return 0
    parts = urlsplit(url if "//" in url else f"//{url}")
    labels = (parts.hostname or "").rstrip(".").split(".")
    domains = {".".join(labels[k:]) for k in range(len(labels))}
    steps = [step for step in parts.path.lower().split("/") if step]
    paths = {f"{domain}/{'/'.join(steps[:k])}" for domain in domains for k in range(1, len(steps) + 1)}
    return len({entry.rstrip("/") for entry in entries} & (domains | paths))
