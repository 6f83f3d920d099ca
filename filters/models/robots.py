"""What the robots.txt of a document's host says of its address, to those who collect text for training.

Groups and rules are those of RFC 9309: a robot obeys the groups that name it, else those of `*`. Of the rules that match a
path the longest counts, and of two as long the one that allows. `Content-Usage: [PATH] train-ai=n` of
draft-ietf-aipref-attach and `Content-Signal: [PATH] ai-train=no` are lines of a group too. The model is a file with what
each host answered last.
"""

from __future__ import annotations

import re
import string
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import pyarrow as pa
from pyarrow import feather

from filters.columns import columns, label
from filters.family import Family
from filters.files import loaded_once

AGENTS = (  # robots, and names that stand for a use, by which text for training is asked for
    "AI2Bot", "anthropic-ai", "Applebot-Extended", "Bytespider", "CCBot", "ClaudeBot", "cohere-training-data-crawler",
    "Google-Extended", "GPTBot", "meta-externalagent", "PanguBot",
)  # fmt: skip
USES = ("train-genai", "train-ai", "ai-train", "bots")  # of preferences, the narrower first
AGENT, ALLOW, DISALLOW = "user-agent", "allow", "disallow"
LINE = re.compile(r"[ \t]*(user-agent|allow|disallow|content-usage|content-signal)[ \t]*:[ \t]*([^#]*)", re.I)
TOKEN = re.compile(r"^(?:\*|[\w-]+)")
ESCAPE = re.compile("%([0-9a-fA-F]{2})")
UNRESERVED = string.ascii_letters + string.digits + "-._~"
PLAIN = "%!&()+:;=',/?@[]|"  # these stand for themselves in a rule; `*` and `$` do not

SIGNALS = (
    label("robots_reserved", "said", 'what robots.txt says: "yes" where it asks an agent not to fetch the address or not to '
          'train on it, "no" where it allows training, else "silent"; "unknown" where no answer was kept (RFC 9309)'),
    label("robots_reserved_by", "by", "the agent and the line that ask for it, or allow it; null where none does"),
)  # fmt: skip


class Rule(NamedTuple):
    line: str
    is_preference: bool
    pattern: str
    reserved: str | None  # "yes" where what matches is; "no" where a preference allows training


def training(value: str) -> str | None:
    """Whether preferences ask not to be trained on: "yes", "no" where they allow it, None where they say neither."""
    pairs = (part.partition(";")[0].partition("=") for part in value.lower().split(","))
    named = {use.strip(): wish.strip() for use, _, wish in pairs}
    wish = next((named[use] for use in USES if use in named), "")
    return {"n": "yes", "no": "yes", "y": "no", "yes": "no"}.get(wish)


def make_index(texts: pa.ChunkedArray, urls: pa.ChunkedArray, path: Path) -> dict[str, int]:
    """Write the model: of each host the lines of its last answer that mean something. Returns the number of hosts."""
    last = {_place(url)[0]: text for url, text in zip(urls.to_pylist(), texts.to_pylist(), strict=True)}
    hosts = sorted(filter(None, last))
    rules = pa.array([_essence(last[host]) for host in hosts], pa.large_string())
    table = pa.table({"host": pa.array(hosts, pa.large_string()), "rules": rules.dictionary_encode()})
    feather.write_feather(table, path, "uncompressed", chunksize=max(1, len(hosts)))
    return {"hosts": len(hosts)}


def _essence(text: str) -> str:
    lines = filter(None, map(LINE.match, re.split(r"[\r\n]+", text)))
    return "\n".join(f"{line[1].lower()}:{line[2].strip()}" for line in lines)


@loaded_once
def _load(path: Path) -> tuple[pa.Array, pa.Array]:
    """(hosts in order, their rules), mapped into memory."""
    try:
        table = feather.read_table(path, memory_map=True)
        return table["host"].combine_chunks(), table["rules"].combine_chunks()
    except (pa.ArrowException, KeyError) as error:
        raise ValueError(f"{path}: not answers of robots.txt: {error}") from None


def measure(
    texts: pa.Array | pa.ChunkedArray, url: pa.Array | pa.ChunkedArray, model: str,
    agents: Sequence[str] = AGENTS,
) -> dict[str, pa.Array]:  # fmt: skip
    """What robots.txt says to any of these agents of each document's own address; null where it has none."""
    hosts, rules = _load(model)
    found = [_said(hosts, rules, *_place(one), agents) for one in url.to_pylist()]
    said, by = (pa.array([one[k] for one in found], pa.string()) for k in (0, 1))
    return columns(SIGNALS, said=said, by=by)


def _place(url: str | None) -> tuple[str, str]:
    """(host, path with its query) of an address; empty where it has none."""
    try:
        parts = urlsplit((url or "").strip())
        return (parts.hostname or "").rstrip("."), (parts.path or "/") + (parts.query and "?" + parts.query)
    except ValueError:
        return "", ""


def _said(
    hosts: pa.Array, rules: pa.Array, host: str, path: str, agents: Sequence[str]
) -> tuple[str | None, str | None]:
    if not host:
        return None, None
    at = bisect_left(hosts, host, key=lambda one: one.as_py())
    if at == len(hosts) or hosts[at].as_py() != host:
        return "unknown", None
    groups, path = _groups(rules[at].as_py()), _normal(path)
    found: dict[str, str] = {}
    for name in dict.fromkeys(agent if agent in groups else "*" for agent in map(str.lower, agents)):
        for rule in _deciding(groups.get(name, ()), path):
            found.setdefault(rule.reserved or "", f"{name}: {rule.line}"[:100])
    said = next((word for word in ("yes", "no") if word in found), "silent")
    return said, found.get(said)


def _deciding(rules: Sequence[Rule], path: str) -> Iterator[Rule]:
    """Of a group the rule that lets a robot in or not, and that which says what may be done then."""
    for kind in (False, True):
        matching = [rule for rule in rules if rule.is_preference is kind and _matches(rule.pattern, path)]
        if matching:
            yield max(matching, key=lambda rule: (len(rule.pattern), (rule.reserved == "yes") is kind))


@lru_cache(4096)
def _groups(text: str) -> dict[str, list[Rule]]:
    """The rules of each agent, in lower case."""
    groups: dict[str, list[Rule]] = {}
    names: set[str] = set()
    begun = False  # rules, and the next agent begins another group
    for line in text.split("\n"):
        key, _, value = line.partition(":")
        if key == AGENT:
            names = {*(() if begun else names), *(name.lower() for name in TOKEN.findall(value)[:1])}
            groups |= {name: groups.get(name, []) for name in names}
        for name in names if key != AGENT else ():
            groups[name] += _rules(key, value)
        begun = key != AGENT
    return groups


def _rules(key: str, value: str) -> Iterator[Rule]:
    """One, or none where it says nothing: a path that is empty, a preference about something else."""
    pattern, reserved = value, "yes" if key == DISALLOW else None
    if is_preference := key not in (ALLOW, DISALLOW):
        pattern, wishes = [*value.split(None, 1), ""][:2] if value.startswith("/") else ("/", value)
        reserved = training(wishes)
    if pattern and (reserved or key == ALLOW):
        pieces = map(_normal, pattern.removesuffix("$").split("*"))
        yield Rule(f"{key}: {value}", is_preference, "*".join(pieces) + "$" * pattern.endswith("$"), reserved)


def _normal(path: str) -> str:
    """With escapes as RFC 9309 compares them: what needs none has none, and all else has one."""
    escaped = ESCAPE.split(quote(path, safe=PLAIN))  # every other piece is two digits
    escaped[1::2] = [
        plain if (plain := chr(int(code, 16))) in UNRESERVED else f"%{code.upper()}" for code in escaped[1::2]
    ]
    return "".join(escaped)


def _matches(pattern: str, path: str) -> bool:
    """`*` is any run of characters, `$` at the end is the end. Piece by piece: stars cost no more than other characters."""
    first, *rest = pattern.removesuffix("$").split("*")
    ends = pattern.endswith("$")
    at = len(first)
    if not path.startswith(first) or ends and not rest:
        return path == first
    for piece in rest[:-1] if ends else rest:
        at = path.find(piece, at) + len(piece)
        if at < len(piece):
            return False
    return not ends or len(path) - len(rest[-1]) >= at and path.endswith(rest[-1])


FAMILY = Family("robots", 1, measure, SIGNALS, takes=("url",))
