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
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from filters.columns import columns, label, ratio, span
from filters.family import Family
from filters.files import loaded_once
from filters.text.compiled import inlined, kernel, loop
from filters.text.normalised import normalised
from filters.text.units import WORD_FACTOR as FACTOR
from filters.text.units import character_tables, highest_power, mix, room_for, units_of

NGRAM = 13
SHORTEST = 8  # words of the shortest item that is looked for
ITEMS_OF_A_GRAM = 16  # an n-gram that more items share counts for the first of them only
FILTER_BITS = 16  # of the filter for each n-gram: most n-grams of a clean document end there
NONE = np.int64(-1)


@dataclass(frozen=True)
class Index:
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
    names: pa.LargeStringArray


# ------------------------------------------------------------------------------------------------- the index


@kernel
def _words_of_all(offsets, data, tables, words, ends):
    room = room_for(offsets)
    filled = 0
    for i in range(len(offsets) - 1):
        n = units_of(data, offsets[i], offsets[i + 1], tables, 0, room)
        words[filled : filled + n] = room[2][:n]
        filled += n
        ends[i + 1] = filled
    return filled


@loop
def _roll(words, start, end, width, keys):
    """The key of every run of `width` words in words[start:end]; returns their number."""
    if end - start < width:
        return 0
    highest, rolling = highest_power(width), np.uint64(0)
    for i in range(start, start + width):
        rolling = np.uint64(rolling * FACTOR + words[i])
    keys[0] = mix(np.uint64(rolling + np.uint64(width)))
    for i in range(start + width, end):
        rolling = np.uint64((rolling - words[i - width] * highest) * FACTOR + words[i])
        keys[i - width - start + 1] = mix(np.uint64(rolling + np.uint64(width)))
    return end - start - width + 1


@kernel
def _grams_of_items(words, ends, ngram, shortest, keys, first, width, item):
    scratch = np.empty(len(words) + 1, np.uint64)
    filled = 0
    for i in range(len(ends) - 1):
        own = min(ngram, ends[i + 1] - ends[i])
        if own < shortest:
            continue
        n = _roll(words, ends[i], ends[i + 1], own, scratch)
        for k in range(n):
            keys[filled], first[filled], width[filled], item[filled] = scratch[k], ends[i] + k, own, i
            filled += 1
    return filled


@loop
def _insert(keys, table, bits):
    last = np.uint64(len(table) - 1)
    all_bits = np.uint64(len(bits) * 64 - 1)
    for gram in range(len(keys)):
        slot = keys[gram] & last
        while table[slot] >= 0:
            slot = (slot + np.uint64(1)) & last
        table[slot] = gram
        bit = (keys[gram] >> np.uint64(20)) & all_bits
        bits[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))


def _power_of_two(least: int) -> int:
    return 1 << max(6, int(least - 1).bit_length())


def build_index(texts: pa.Array | pa.ChunkedArray, names: pa.Array, ngram: int = NGRAM) -> Index:
    """The index of these items; `names[i]` is what item i is called in evidence. Raises ValueError for ngram < 2."""
    if ngram < 2:
        raise ValueError(f"ngram = {ngram}: single words are found everywhere; 13 is usual")
    compared = normalised(texts)
    offsets, data = compared.offsets, compared.data
    words = np.empty(max(1, int(offsets[-1] - offsets[0])), np.uint64)
    ends = np.zeros(len(offsets), np.int64)
    words = words[: _words_of_all(offsets, data, character_tables(), words, ends)].copy()
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
    table = np.full(_power_of_two(2 * len(count)), NONE)
    bits = np.zeros(_power_of_two(FILTER_BITS * len(count)) // 64, np.uint64)
    _insert(keys[new_key], table, bits)
    return Index(
        words, np.unique(width), keys[new_key], first[new_key], width[new_key], post, item[new_item],
        np.bincount(item[new_item], minlength=len(offsets) - 1).astype(np.int64), table, bits,
        pa.array(names).cast(pa.large_string()) if not isinstance(names, pa.ChunkedArray)
        else names.combine_chunks().cast(pa.large_string()),
    )  # fmt: skip


ARRAYS = ("words", "widths", "keys", "first", "width", "post", "item_of", "grams_of", "table", "filter")


def make_index(
    texts: pa.Array | pa.ChunkedArray, names: pa.Array | pa.ChunkedArray, path: str | os.PathLike[str],
    ngram: int = NGRAM,
) -> dict:  # fmt: skip
    """Write the index of these items to a file; returns what the lock says of it. The same items, the same bytes."""
    index = build_index(texts, names, ngram)
    named = np.frombuffer(json.dumps(index.names.to_pylist()).encode(), np.uint8)
    with open(path, "wb") as file:
        np.savez(file, names=named, **{name: getattr(index, name) for name in ARRAYS})
    return {
        "items": len(index.names),
        "items_too_short": int((index.grams_of == 0).sum()),
        "ngrams": len(index.keys),
        "ngram": ngram,
    }


@loaded_once
def read_index(path: Path) -> Index:
    """What `make_index` wrote. Raises ValueError where the file is no index."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as found:
            names = pa.array(json.loads(found["names"].tobytes()), pa.large_string())
            return Index(**{name: found[name] for name in ARRAYS}, names=names)
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not an index of evaluation texts: {error}") from None


# ------------------------------------------------------------------------------------------------- documents


@inlined
def _gram_at(key, words, at, index_words, keys, first, width, table, bits):
    """The gram with this key whose words are those at `at`, or -1."""
    bit = (key >> np.uint64(20)) & np.uint64(len(bits) * 64 - 1)
    if not (bits[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1):
        return NONE
    last = np.uint64(len(table) - 1)
    slot = key & last
    while table[slot] >= 0:
        gram = table[slot]
        if keys[gram] == key:
            same = True
            for k in range(width[gram]):
                same &= index_words[first[gram] + k] == words[at + k]
            if same:
                return gram
        slot = (slot + np.uint64(1)) & last
    return NONE


@kernel
def _match(
    words, n, widths, scratch, index_words, keys, first, width, table, bits, document, seen, hits, covered
):
    """Mark the words inside of matched grams in `covered` and list the different grams; returns how many.

    `covered` is only written where something matched; `seen[gram]` is the last document that had it.
    """
    found = 0
    for w in range(len(widths)):
        own = widths[w]
        for at in range(_roll(words, 0, n, own, scratch)):
            gram = _gram_at(scratch[at], words, at, index_words, keys, first, width, table, bits)
            if gram < 0 or width[gram] != own:
                continue
            if not found:
                covered[:n] = False
            covered[at : at + own] = True
            if seen[gram] != document:
                seen[gram] = document
                hits[found] = gram
                found += 1
    return found


@loop
def _best_item(hits, found, post, item_of, grams_of, count):
    """(the item of which most grams matched, how many of them); of equals the one with fewest grams, then the first."""
    for k in range(found):
        for place in range(post[hits[k]], min(post[hits[k] + 1], post[hits[k]] + ITEMS_OF_A_GRAM)):
            count[item_of[place]] += 1
    best, most = NONE, 0
    for k in range(found):
        for place in range(post[hits[k]], min(post[hits[k] + 1], post[hits[k]] + ITEMS_OF_A_GRAM)):
            item = item_of[place]
            n = count[item]
            count[item] = 0
            if n > most or n == most > 0 and (grams_of[item], item) < (grams_of[best], best):
                best, most = item, n
    return best, most


@loop
def _runs(covered, n):
    """(words covered, runs of them)"""
    inside, runs = 0, 0
    for k in range(n):
        inside += covered[k]
        runs += covered[k] and (k == 0 or not covered[k - 1])
    return inside, runs


@kernel
def _measure(offsets, data, tables, index, found_words, found_covered, found_item, found_grams, found_spans):
    index_words, widths, keys, first, width, post, item_of, grams_of, table, bits = index
    room = room_for(offsets)
    words = room[2]
    scratch, covered = np.empty(len(words), np.uint64), np.empty(len(words), np.bool_)
    seen, hits = np.full(len(keys), NONE), np.empty(len(keys), np.int64)
    count = np.zeros(len(grams_of), np.int64)
    for i in range(len(offsets) - 1):
        n = units_of(data, offsets[i], offsets[i + 1], tables, 0, room)
        found = _match(
            words, n, widths, scratch, index_words, keys, first, width, table, bits, i, seen, hits, covered
        )
        found_words[i] = n
        if found:
            found_item[i], found_grams[i] = _best_item(hits, found, post, item_of, grams_of, count)
            found_covered[i], found_spans[i] = _runs(covered, n)


@kernel
def _fill_spans(offsets, data, tables, index, span_offsets, starts, ends):
    """The runs of covered words of the documents that have any, as byte spans: they are matched once more."""
    index_words, widths, keys, first, width, _, _, _, table, bits = index
    room = room_for(offsets)
    _, _, words, begin, stop, _ = room
    scratch, covered = np.empty(len(words), np.uint64), np.empty(len(words), np.bool_)
    seen, hits = np.full(len(keys), NONE), np.empty(len(keys), np.int64)
    for i in range(len(offsets) - 1):
        filled = span_offsets[i]
        if filled == span_offsets[i + 1]:
            continue
        n = units_of(data, offsets[i], offsets[i + 1], tables, 0, room)
        _match(
            words, n, widths, scratch, index_words, keys, first, width, table, bits, i, seen, hits, covered
        )
        for k in range(n):
            if covered[k]:
                if k == 0 or not covered[k - 1]:
                    starts[filled] = begin[k]
                    filled += 1
                ends[filled - 1] = stop[k]


SIGNALS = (
    span("contamination_spans", "runs", "edges",
         "runs of words that also stand in an evaluation text (13-grams, or shorter texts whole)"),
    ratio("contaminated_word_ratio", "covered", "words",
          "words inside of such runs / words (13-grams: Brown et al. 2020, arXiv:2005.14165)"),
    label("contamination_item", "items",
          "the evaluation text most n-grams of which are here; null where none is"),
    ratio("contamination_item_ratio", "grams", "grams_of_item",
          "different n-grams of that text found in the document / its n-grams"),
)  # fmt: skip


def measure(texts: pa.Array | pa.ChunkedArray, model: str | os.PathLike[str] | Index) -> dict[str, pa.Array]:
    """Columns of the family's signals; `model` is an index or its file. A missing text counts as an empty one."""
    index = model if isinstance(model, Index) else read_index(model)
    compared = normalised(texts)
    offsets, data = compared.offsets, compared.data
    n = len(offsets) - 1
    words, covered, grams, runs = (np.zeros(n, np.int64) for _ in range(4))
    item = np.full(n, NONE)
    arrays = tuple(getattr(index, name) for name in ARRAYS)
    _measure(offsets, data, character_tables(), arrays, words, covered, item, grams, runs)
    span_offsets = np.concatenate([[0], np.cumsum(runs)]).astype(np.int64)
    starts, ends = np.empty(span_offsets[-1], np.int64), np.empty(span_offsets[-1], np.int64)
    if len(starts):
        _fill_spans(offsets, data, character_tables(), arrays, span_offsets, starts, ends)
    return columns(
        SIGNALS,
        words=words,
        covered=covered,
        items=index.names.take(pa.array(item, mask=item < 0)).cast(pa.string()),
        grams=grams,
        grams_of_item=np.where(item >= 0, index.grams_of[item] if len(index.grams_of) else 0, 0),
        runs=runs,
        edges=compared.in_the_texts(texts, runs, np.stack([starts, ends], axis=1)).ravel(),
    )


FAMILY = Family("contamination", 3, measure, SIGNALS)
