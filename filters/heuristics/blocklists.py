"""Lists of domains and of words that the user wants no document's address to be under, or to say.

Lists are files, an entry a line (`#` begins a comment): domains, which block their subdomains too, with a path behind
them where only that part of a site is meant; and words, looked for between the marks of an address, as RefinedWeb does.

A list of domains may be written as lists on the web are: `0.0.0.0 bad.com` of hosts files, `*.bad.com`, `||bad.com^` of ad
blockers, addresses with a scheme or a port. All of these are the domain: ports are not compared, and `xn--bcher-kva.de` is
`bücher.de`. What a list of domains
cannot say (exceptions, options, patterns, queries) is refused with the number of its line.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.arrow import text_column
from filters.columns import columns, count
from filters.family import Family
from filters.files import loaded_once, read_list
from filters.heuristics.urls import parsed

SIGNALS = (
    count("url_blocked_domain_count", "entries", "domains",
          "domains and paths of your list that the document's address is under"),
    count("url_blocked_word_count", "words", "words",
          "different words of your list in the document's address (RefinedWeb)"),
)  # fmt: skip


_COMMENT = re.compile(r"(^|\s)#.*|^!.*|^\[adblock.*\]$", re.IGNORECASE)
_ENTRY = re.compile(
    r"(?:\|\||(?:[a-z][a-z0-9+.-]*:)?//)?(?:[^/?#@\s]*@)?(?:\*?\.)?(?P<host>\[[0-9a-f:.]+\]|[\w\x80-\U0010ffff-]+(?:\.[\w\x80-\U0010ffff-]+)*)\.?(?::[0-9]*)?"
    r"(?P<path>/[^?#*|^$\s]*)?\^?"
)
# Names that hosts files give to the machine itself.
_OWN_NAMES = {
    "localhost", "localhost.localdomain", "local", "broadcasthost", "ip6-localhost", "ip6-loopback", "ip6-localnet",
    "ip6-mcastprefix", "ip6-allnodes", "ip6-allrouters", "ip6-allhosts", "0.0.0.0",
}  # fmt: skip


@loaded_once
def read_domains(path: Path) -> list[str]:
    """Entries of a list of domains, sorted: a host in lower case, or a host with a path.

    Raises ValueError that says which line is no such entry.
    """
    entries: set[str] = set()
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        names = _COMMENT.sub("", line.strip()).lower().split()
        if len(names) > 1 and _is_address(names[0]):
            names = [name for name in names[1:] if name not in _OWN_NAMES]
        elif len(names) > 1:
            raise ValueError(f'line {number}, "{line.strip()}": more than one word; write an entry a line')
        for name in names:
            entry = _ENTRY.fullmatch(name)
            if entry is None:
                raise ValueError(
                    f'line {number}, "{line.strip()}": no domain and no part of a site; write "bad.com" or "bad.com/path", '
                    "or remove it (exceptions, options, patterns and queries are not compared)"
                )
            entries.add(_in_unicode(entry["host"]) + (entry["path"] or "").rstrip("/"))
    return sorted(entries)


def _in_unicode(host: str) -> str:
    """A host in lower case with its labels in Unicode, composed: the one spelling in which hosts are compared."""
    labels = (_label(one) if one.startswith("xn--") else one for one in host.split("."))
    return unicodedata.normalize("NFC", ".".join(labels)).lower()


def _label(label: str) -> str:
    try:
        text = label.removeprefix("xn--").encode("ascii").decode("punycode")
    except UnicodeError:
        return label
    return text if text.isprintable() and not text.isascii() else label  # else it is no name that anybody has


def _is_address(word: str) -> bool:
    try:
        ipaddress.ip_address(word.partition("%")[0])
    except ValueError:
        return False
    return True


def measure(
    texts: pa.Array | pa.ChunkedArray, url: pa.Array | pa.ChunkedArray, domains: str = "", words: str = ""
) -> dict[str, pa.Array]:
    """How many entries of the lists (paths) each document's own address meets; 0 where it has none."""
    url = text_column(url, missing=None)
    return columns(
        SIGNALS,
        domains=_domains(*parsed(url), domains) if domains else np.zeros(len(url), np.int64),
        words=_words(url, words) if words else np.zeros(len(url), np.int64),
    )


def _domains(host: pa.Array, path: pa.Array, domains: str) -> np.ndarray:
    entries = pa.array(read_domains(domains), pa.large_string())
    with_path = pc.match_substring(entries, "/")
    plain, longer = entries.filter(pc.invert(with_path)), set(entries.filter(with_path).to_pylist())
    hosts = pa.array(sorted({entry.partition("/")[0] for entry in longer}), pa.large_string())
    counts = np.zeros(len(host), np.int64)
    other = pc.match_substring_regex(host, r"xn--|[^\x00-\x7f]").fill_null(False)
    if pc.any(other).as_py():
        in_unicode = [_in_unicode(one) for one in host.filter(other).to_pylist()]
        host = pc.replace_with_mask(host, other, pa.array(in_unicode, host.type))
    rest = host
    while True:
        counts += pc.is_in(rest, plain).to_numpy(zero_copy_only=False)
        for i in np.flatnonzero(pc.is_in(rest, hosts)).tolist() if len(hosts) else []:
            counts[i] += len(longer & set(_prefixes(rest[i].as_py(), path[i].as_py())))
        if not pc.any(pc.match_substring(rest, ".")).as_py():
            return counts
        rest = pc.replace_substring_regex(rest, r"^[^.]*\.?", "")


def _prefixes(host: str, path: str) -> list[str]:
    """example.org/a, example.org/a/b, ... of a path /a/b/..."""
    parts = [part for part in path.lower().split("/") if part]
    return [f"{host}/{'/'.join(parts[: k + 1])}" for k in range(len(parts))]


def _words(url: pa.Array, words: str) -> np.ndarray:
    """How many different words of the list stand in an address, between marks."""
    pieces = pc.split_pattern_regex(pc.utf8_lower(url).fill_null(""), r"[^\p{L}\p{N}]+")
    at = pc.list_parent_indices(pieces).to_numpy()
    entries = pc.unique(pc.utf8_lower(read_list(words)))
    entry_of = pc.index_in(pc.list_flatten(pieces), entries).fill_null(-1).to_numpy()
    pairs = np.unique(np.stack([at, entry_of])[:, entry_of >= 0], axis=1)
    return np.bincount(pairs[0], minlength=len(url)).astype(np.int64)


FAMILY = Family("url_lists", 3, measure, SIGNALS, takes=("url",))
