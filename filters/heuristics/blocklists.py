"""Lists of domains and of words that the user wants no document's address to be under, or to say.

Lists are files, an entry a line (`#` begins a comment): domains, which block their subdomains too, with a path behind
them where only that part of a site is meant; and words, looked for between the marks of an address, as RefinedWeb does.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.arrow import text_column
from filters.columns import columns, count
from filters.family import Family
from filters.files import read_list
from filters.heuristics.urls import parsed

SIGNALS = (
    count("url_blocked_domain_count", "entries", "domains",
          "domains and paths of your list that the document's address is under"),
    count("url_blocked_word_count", "words", "words",
          "different words of your list in the document's address (RefinedWeb)"),
)  # fmt: skip


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
    entries = pc.replace_substring_regex(pc.utf8_lower(read_list(domains)), r"^[a-z][a-z0-9+.-]*://", "")
    entries = pc.utf8_rtrim(entries, "/")
    with_path = pc.match_substring(entries, "/")
    plain, longer = entries.filter(pc.invert(with_path)), set(entries.filter(with_path).to_pylist())
    hosts = pa.array(sorted({entry.partition("/")[0] for entry in longer}), pa.large_string())
    counts = np.zeros(len(host), np.int64)
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
    found = pc.index_in(pc.list_flatten(pieces), entries).fill_null(-1).to_numpy()
    pairs = np.unique(np.stack([at, found])[:, found >= 0], axis=1)
    return np.bincount(pairs[0], minlength=len(url)).astype(np.int64)


FAMILY = Family("url_lists", 1, measure, SIGNALS, takes=("url",))
