"""Contamination: runs of words that a document shares with evaluation texts.

Words are those of `text.units`: letters, digits and `_`, lower-cased, whatever stands between them, of the text in NFC
and without ignorable code points (see `text.normalised`). A document is
contaminated where `ngram` consecutive words of it (13, as in Brown et al. 2020, arXiv:2005.14165, appendix C)
also stand in an evaluation text, an *item*. An item of fewer words than that is looked for whole, down to
SHORTEST words; shorter ones are not looked for at all (they would be found everywhere), and are counted.

Nothing is dropped here: the spans, the item and the shares are the evidence, and a level decides. A match is
of 64-bit hashes of n-grams, verified by the 64-bit hash of each of their words.
"""

from __future__ import annotations

import json
import os
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from filters.columns import columns, label, ratio, span
from filters.family import Family
from filters.files import loaded_once, read_arrays
from filters.text.compiled import inlined, kernel, loop
from filters.text.lookup import NONE, row_of, table_of_rows
from filters.text.normalised import normalised
from filters.text.pages import with_room
from filters.text.units import character_tables, room_for, units_of, windows_of, words_of_all

NGRAM = 13
SHORTEST = 8  # words of the shortest item that is looked for
ITEMS_OF_A_GRAM = 16  # an n-gram that more items share counts for the first of them only
Tally = IntEnum("Tally", ["WORDS", "COVERED", "GRAMS", "RUNS"], start=0)


class Grams(NamedTuple):
    """N-grams of the items. Gram g is `words[first[g] : first[g] + width[g]]`, and is found in the items
    `item_of[post[g] : post[g + 1]]`. `table` maps a key's slot to a gram, or to -1."""

    words: np.ndarray  # uint64: the words of all items, one after the other
    widths: np.ndarray  # int64: the different lengths of grams
    keys: np.ndarray  # uint64 [grams]
    first: np.ndarray  # int64 [grams]
    width: np.ndarray  # int64 [grams]
    post: np.ndarray  # int64 [grams + 1]
    item_of: np.ndarray  # int64
    grams_of: np.ndarray  # int64 [items]: different grams of an item
    table: np.ndarray  # int64 [a power of two]
    filter: np.ndarray  # uint64: one bit for each slot of a table 64 times as long


class Index(NamedTuple):
    """What documents are compared with: the items' n-grams, and what each item is called."""

    grams: Grams
    names: pa.LargeStringArray


# ------------------------------------------------------------------------------------------------- the index


@kernel
def _grams_of_items(words, ends, ngram, shortest, keys, first, width, item):
    scratch = np.empty(len(words) + 1, np.uint64)
    filled = 0
    for i in range(len(ends) - 1):
        own = min(ngram, ends[i + 1] - ends[i])
        if own < shortest:
            continue
        n = windows_of(words, ends[i], ends[i + 1], own, np.uint64(own), scratch)
        for k in range(n):
            keys[filled], first[filled], width[filled], item[filled] = scratch[k], ends[i] + k, own, i
            filled += 1
    return filled


def build_index(texts: pa.Array | pa.ChunkedArray, names: pa.Array, ngram: int = NGRAM) -> Index:
    """The index of these items; `names[i]` is what item i is called in evidence. Raises ValueError for ngram < 2."""
    if ngram < 2:
        raise ValueError(f"ngram = {ngram}: single words are found everywhere; 13 is usual")
    compared = normalised(texts)
    words, ends = words_of_all(compared.offsets, compared.data)
    grams = [np.empty(len(words), np.uint64), *(np.empty(len(words), np.int64) for _ in range(3))]
    filled = _grams_of_items(words, ends, ngram, min(SHORTEST, ngram), *grams)
    keys, first, width, item = (array[:filled] for array in grams)
    # Of one key the items in their order, each once; the gram is where it stands first.
    order = np.lexsort((first, keys))
    keys, first, width, item = keys[order], first[order], width[order], item[order]
    new_key = np.r_[True, keys[1:] != keys[:-1]] if filled else np.zeros(0, bool)
    new_item = new_key | np.r_[True, item[1:] != item[:-1]] if filled else new_key
    gram = np.cumsum(new_key) - 1
    count = np.bincount(gram[new_item], minlength=int(new_key.sum())).astype(np.int64)
    post = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    if isinstance(names, pa.ChunkedArray):
        names = names.combine_chunks()
    grams_of = np.bincount(item[new_item], minlength=len(ends) - 1).astype(np.int64)
    return Index(
        Grams(
            words, np.unique(width), keys[new_key], first[new_key], width[new_key], post, item[new_item], grams_of,
            *table_of_rows(keys[new_key]),
        ),
        names.cast(pa.large_string()),
    )  # fmt: skip


def make_index(
    texts: pa.Array | pa.ChunkedArray, names: pa.Array | pa.ChunkedArray, path: str | os.PathLike[str],
    ngram: int = NGRAM,
) -> dict:  # fmt: skip
    """Write the index of these items to a file; returns what the lock says of it. The same items, the same bytes."""
    index = build_index(texts, names, ngram)
    named = np.frombuffer(json.dumps(index.names.to_pylist()).encode(), np.uint8)
    with open(path, "wb") as file:
        np.savez(file, names=named, **index.grams._asdict())
    return {
        "items": len(index.names),
        "items_too_short": int((index.grams.grams_of == 0).sum()),
        "ngrams": len(index.grams.keys),
        "ngram": ngram,
    }


@loaded_once
def read_index(path: Path) -> Index:
    """What `make_index` wrote. Raises ValueError where the file is no index."""

    def made(arrays: Any) -> Index:
        names = pa.array(json.loads(arrays["names"].tobytes()), pa.large_string())
        return Index(Grams(*(arrays[field] for field in Grams._fields)), names)

    return read_arrays(path, "an index of evaluation texts", made)


# ------------------------------------------------------------------------------------------------- documents


@inlined
def _gram_at(key, words, at, grams):
    """The gram with this key whose words are those at `at`, or -1."""
    gram = row_of(key, grams.keys, grams.table, grams.filter)
    if gram >= 0:
        for k in range(grams.width[gram]):
            if grams.words[grams.first[gram] + k] != words[at + k]:
                return NONE
    return gram


@kernel
def _match(words, n, grams, scratch, document, seen, hits, covered):
    """Mark the words inside of matched grams in `covered` and list the different grams; returns how many.

    `covered` is only written where something matched; `seen[gram]` is the last document that had it.
    """
    matched = 0
    for own in grams.widths:
        for at in range(windows_of(words, 0, n, own, np.uint64(own), scratch)):
            gram = _gram_at(scratch[at], words, at, grams)
            if gram < 0 or grams.width[gram] != own:
                continue
            if not matched:
                covered[:n] = False
            covered[at : at + own] = True
            if seen[gram] != document:
                seen[gram] = document
                hits[matched] = gram
                matched += 1
    return matched


@loop
def _best_item(hits, matched, grams, count):
    """(the item of which most grams matched, how many of them); of equals the one with fewest grams, then the first."""
    post, item_of, grams_of = grams.post, grams.item_of, grams.grams_of
    for k in range(matched):
        for place in range(post[hits[k]], min(post[hits[k] + 1], post[hits[k]] + ITEMS_OF_A_GRAM)):
            count[item_of[place]] += 1
    best, most = NONE, 0
    for k in range(matched):
        for place in range(post[hits[k]], min(post[hits[k] + 1], post[hits[k]] + ITEMS_OF_A_GRAM)):
            item = item_of[place]
            n = count[item]
            count[item] = 0
            if n > most or n == most > 0 and (grams_of[item], item) < (grams_of[best], best):
                best, most = item, n
    return best, most


@kernel
def _measure(offsets, data, tables, grams, tallies, best):
    """Fill in int64 [tallies, documents] and the item of each; returns the edges of the runs of covered words, in bytes."""
    room = room_for(offsets)
    _, _, words, begins, ends, _ = room
    scratch, covered = np.empty(len(words), np.uint64), np.empty(len(words), np.bool_)
    seen, hits = np.full(len(grams.keys), NONE), np.empty(len(grams.keys), np.int64)
    count = np.zeros(len(grams.grams_of), np.int64)
    edges, filled = np.empty(64, np.int64), 0
    for i in range(len(offsets) - 1):
        n = units_of(data, offsets[i], offsets[i + 1], tables, 0, room)
        tallies[Tally.WORDS, i] = n
        matched = _match(words, n, grams, scratch, i, seen, hits, covered)
        if not matched:
            continue
        best[i], tallies[Tally.GRAMS, i] = _best_item(hits, matched, grams, count)
        before, edges = filled, with_room(edges, filled, n + 1)
        for k in range(n):
            if covered[k]:
                tallies[Tally.COVERED, i] += 1
                if k == 0 or not covered[k - 1]:
                    edges[filled] = begins[k]
                    filled += 2
                edges[filled - 1] = ends[k]
        tallies[Tally.RUNS, i] = (filled - before) // 2
    return edges[:filled]


SIGNALS = (
    span("contamination_spans", Tally.RUNS, "edges",
         "runs of words that also stand in an evaluation text (13-grams, or shorter texts whole)"),
    ratio("contaminated_word_ratio", Tally.COVERED, Tally.WORDS,
          "words inside of such runs / words (13-grams: Brown et al. 2020, arXiv:2005.14165)"),
    label("contamination_item", "items",
          "the evaluation text most n-grams of which are here; null where none is"),
    ratio("contamination_item_ratio", Tally.GRAMS, "grams_of_item",
          "different n-grams of that text found in the document / its n-grams"),
)  # fmt: skip


def measure(texts: pa.Array | pa.ChunkedArray, model: str | os.PathLike[str] | Index) -> dict[str, pa.Array]:
    """Columns of the family's signals; `model` is an index or its file. A missing text counts as an empty one."""
    index = model if isinstance(model, Index) else read_index(model)
    compared = normalised(texts)
    offsets, data = compared.offsets, compared.data
    tallies, best = np.zeros((len(Tally), len(offsets) - 1), np.int64), np.full(len(offsets) - 1, NONE)
    edges = _measure(offsets, data, character_tables(), index.grams, tallies, best)
    grams_of = index.grams.grams_of
    return columns(
        SIGNALS,
        tallies=tallies,
        items=index.names.take(pa.array(best, mask=best < 0)).cast(pa.string()),
        grams_of_item=np.where(best >= 0, grams_of[best] if len(grams_of) else 0, 0),
        edges=compared.in_the_texts(texts, tallies[Tally.RUNS], edges.reshape(-1, 2)).ravel(),
    )


FAMILY = Family("contamination", 3, measure, SIGNALS)
