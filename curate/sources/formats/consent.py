"""What a page says of being trained on, in the head of its answer and in its `meta` elements, as two fields.

`reserved` is
- "yes" where a statement asks not to be trained on: `Content-Usage: train-ai=n`, `tdm-reservation` 1, robots `noai`;
- else "other" where one asks for something else: not to be indexed, its pictures not to be used, or one crawler alone;
- else "no" where one allows it: `train-ai=y`, `tdm-reservation` 0;
- else "silent": the places were looked at, and nothing in them says anything.
`reserved_by` is what said so. A format without such places has neither field: silence is not assumed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from filters.models.robots import training

FIELDS = RESERVED, _ = "reserved", "reserved_by"
ROBOTS = "robots_reserved"  # a signal: what robots.txt says
LABELS = ("yes", "other", "no", "silent")
HEADER = re.compile(rb"^(content-usage|x-robots-tag|tdm-reservation)[ \t]*:(.*)$", re.I | re.M)
OTHER = ("noai", "noimageai", "noindex", "none")
AGENT = re.compile(r"(?!max-|unavailable_after)[\w-]+")


def in_head(head: bytes) -> list[tuple[str, str]]:
    """(name, value) of each statement in the head of an HTTP answer."""
    return [(name.decode().lower(), value.decode("latin-1").strip()) for name, value in HEADER.findall(head)]


def in_page(tree: Any) -> Iterator[tuple[str, str]]:
    for node in tree.document.query_selector_all("meta[name]")[:] if tree.document else ():
        yield "meta " + node["name"].strip().lower(), (node.getattr("content") or "").strip()


def consent(said: Iterable[tuple[str, str]]) -> dict[str, str | None]:
    """The two fields, of all that was found."""
    found: dict[str, list[str]] = {}
    for name, value in said:
        if label := READERS.get(name, lambda value: None)(value.lower()):
            found.setdefault(label, []).append(f"{name}: {value}"[:100])
    label = next((label for label in LABELS if label in found), LABELS[-1])
    return dict(zip(FIELDS, (label, "; ".join(found.get(label, ())) or None), strict=True))


def by_label(column: pa.ChunkedArray) -> dict[str, int]:
    """Documents that say each, and those of which nobody knows: of other formats, or other words than these."""
    counts = {label: pc.sum(pc.equal(column, label)).as_py() or 0 for label in LABELS}
    return {label: n for label, n in counts.items() if n} | {"not known": len(column) - sum(counts.values())}


def _robots(value: str) -> str | None:
    """Directives for all crawlers, and behind a name and a colon those for that one."""
    agent, label = False, None
    for part in value.split(","):
        name, colon, rest = part.strip().partition(":")
        agent = agent or bool(colon and AGENT.fullmatch(name))
        word = (rest if colon else name).strip()
        if word == "noai" and not agent:
            return "yes"
        label = "other" if word in OTHER else label
    return label


RESERVATION = {"1": "yes", "0": "no"}.get
READERS: dict[str, Callable[[str], str | None]] = {
    "content-usage": training, "x-robots-tag": _robots, "meta robots": _robots,
    "tdm-reservation": RESERVATION, "meta tdm-reservation": RESERVATION,
}  # fmt: skip
