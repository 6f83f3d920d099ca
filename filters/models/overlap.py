"""Overlap with evaluation texts that were changed: what share of an item's rare words stands close together in a document.

A run of 13 equal words (see `contamination`) misses an item of which every tenth word is another. Here runs of GRAM words
count, and each word of an item weighs log(1 + items / items that have it): what all questions of a benchmark say weighs
little. (The idea to weigh what is shared by its rarity is that of Ai2's decon, 2025.) Runs that more than SHARED items have
are passed over, and of a run that stands in an item several times only the first counts.

Runs of one item that follow each other in a document with at most GAP other words between them are a *cluster*. Its overlap
is the weight of the item's words that its runs cover, by the weight of all that could be covered. A document has the overlap
of its best cluster, the first of equals. Items of fewer than SHORTEST words are not looked for, and are counted.

Questions and passages (the text that a question is about) are looked for apart. An answer is looked for, whole, among the
NEAR words before the cluster of its question and the NEAR after it.

Words are those of `contamination`. A match of 64-bit hashes of runs is verified by the hash of each word.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from filters.columns import columns, label, real, span
from filters.family import Family
from filters.files import loaded_once, read_arrays
from filters.models.contamination import SHORTEST
from filters.text.compiled import inlined, kernel, loop
from filters.text.lookup import NONE, row_of, table_of_rows
from filters.text.normalised import normalised
from filters.text.units import character_tables, room_for, units_of, windows_of, words_of_all

GRAM = 3  # words of a run
SHARED = 16  # items of a run: one that more share tells of none
GAP = 12  # words between two runs of a cluster
NEAR = 50  # words around a cluster that an answer is looked for in
HALF = 0.5  # of an item, from which on the document is said to hold it
Texts: TypeAlias = pa.Array | pa.ChunkedArray


class Items(NamedTuple):
    """Item i has the words `words[ends[i] : ends[i + 1]]`. Run g begins at `place[post[g] : post[g + 1]]` of them."""

    words: np.ndarray  # uint64
    ends: np.ndarray  # int64 [items + 1]
    weight: np.ndarray  # float64 [words]: 0 where no run covers it
    total: np.ndarray  # float64 [items]: of its words; 0 where it is not looked for
    item_at: np.ndarray  # int64 [words]
    keys: np.ndarray  # uint64 [runs]
    post: np.ndarray  # int64 [runs + 1]
    place: np.ndarray  # int64
    table: np.ndarray  # int64 [a power of two]: a key's slot -> its run, or -1
    filter: np.ndarray  # uint64: one bit for each slot of a longer table


class Index(NamedTuple):
    """What documents are compared with. Passages and answers are empty where the items have none."""

    questions: Items
    passages: Items
    answers: np.ndarray  # uint64: the words of all, one after the other
    answer_ends: np.ndarray  # int64 [items + 1]
    names: pa.LargeStringArray


# ------------------------------------------------------------------------------------------------- the index


def _items(texts: pa.Array | pa.ChunkedArray) -> Items:
    words, ends = _words(texts)
    count = np.diff(ends)
    item_at = np.repeat(np.arange(len(count)), count)
    distinct, code = np.unique(words, return_inverse=True)
    with_word = np.bincount(np.unique(np.stack([code, item_at]), axis=1)[0], minlength=len(distinct))
    weight = np.log1p(len(count) / np.maximum(1, with_word))[code]
    first = np.flatnonzero((ends[1:][item_at] - np.arange(len(words)) >= GRAM) & (count[item_at] >= SHORTEST))
    scratch, keys = np.empty(len(words) + 1, np.uint64), np.empty(len(first), np.uint64)
    _runs(words, ends, scratch, keys)
    order = np.lexsort((first, keys))
    keys, place = keys[order], first[order]
    run = np.cumsum(_starts(keys)) - 1
    once = _starts(run) | _starts(item_at[place])  # a run of an item where it stands first
    keys, place, run = keys[once], place[once], run[once]
    tells = (np.bincount(run) <= SHARED)[run] if len(run) else once
    keys, place, run = keys[tells], place[tells], run[tells]
    begins = np.flatnonzero(_starts(run))
    keys, post = keys[begins], np.r_[begins, len(place)].astype(np.int64)
    covered = np.zeros(len(words) + GRAM, bool)
    for k in range(GRAM):
        covered[place + k] = True
    weight = np.where(covered[: len(words)], weight, 0.0)
    total = np.bincount(item_at, weight, minlength=len(count)).astype(float)
    return Items(words, ends, weight, total, item_at, keys, post, place, *table_of_rows(keys))


def _words(texts: Texts) -> tuple[np.ndarray, np.ndarray]:
    compared = normalised(texts)
    return words_of_all(compared.offsets, compared.data)


def _starts(values: np.ndarray) -> np.ndarray:
    """Where another value begins."""
    return np.r_[True, values[1:] != values[:-1]][: len(values)]


@kernel
def _runs(words, ends, scratch, keys):
    filled = 0
    for i in range(len(ends) - 1):
        if ends[i + 1] - ends[i] >= SHORTEST:
            n = windows_of(words, ends[i], ends[i + 1], GRAM, np.uint64(GRAM), scratch)
            keys[filled : filled + n] = scratch[:n]
            filled += n


def build_index(
    questions: Texts, names: Texts, passages: Texts | None = None, answers: Texts | None = None
) -> Index:
    """The index of these items, a row each; `names[i]` is what item i is called in evidence."""
    none = pa.nulls(len(questions), pa.large_string())
    answer_words, answer_ends = _words(none if answers is None else answers)
    if isinstance(names, pa.ChunkedArray):
        names = names.combine_chunks()
    return Index(
        _items(questions), _items(none if passages is None else passages), answer_words, answer_ends,
        names.cast(pa.large_string()),
    )  # fmt: skip


def make_index(
    questions: Texts,
    names: Texts,
    path: str | os.PathLike[str],
    passages: Texts | None = None,
    answers: Texts | None = None,
) -> dict:
    """Write the index of these items to a file; returns what the lock says of it. The same items, the same bytes."""
    index = build_index(questions, names, passages, answers)
    named = np.frombuffer(json.dumps(index.names.to_pylist()).encode(), np.uint8)
    parts = {"questions": index.questions, "passages": index.passages}
    arrays = {
        f"{part}_{field}": array for part, items in parts.items() for field, array in items._asdict().items()
    }
    with open(path, "wb") as file:
        np.savez(file, names=named, answers=index.answers, answer_ends=index.answer_ends, **arrays)
    return {
        "items": len(index.names),
        "items_too_short": int((index.questions.total == 0).sum()),
        "with_passage": int((index.passages.total > 0).sum()),
        "with_answer": int((np.diff(index.answer_ends) > 0).sum()),
    }


@loaded_once
def read_index(path: Path) -> Index:
    """What `make_index` wrote. Raises ValueError where the file is no index."""

    def made(arrays: Any) -> Index:
        questions, passages = (
            Items(*(arrays[f"{part}_{field}"] for field in Items._fields))
            for part in ("questions", "passages")
        )
        names = pa.array(json.loads(arrays["names"].tobytes()), pa.large_string())
        return Index(questions, passages, arrays["answers"], arrays["answer_ends"], names)

    return read_arrays(path, "an index of evaluation texts", made)


# ------------------------------------------------------------------------------------------------- documents


@inlined
def _same(words, at, items, place):
    same = True
    for k in range(GRAM):
        same &= words[at + k] == items.words[place + k]
    return same


@loop
def _best_cluster(words, n, items, scratch, cluster, last, begin, weight, covered, clusters):
    """(overlap, item, first word, end, clusters begun by now) of a document's best cluster; item -1 where it has none.

    `cluster`, `last`, `begin` and `weight` are of the item's newest cluster, `covered[word]` is the newest one that covers
    it; clusters are numbered through all documents, so nothing needs to be cleared."""
    overlap, best, first, end = 0.0, NONE, 0, 0
    before = clusters
    for at in range(windows_of(words, 0, n, GRAM, np.uint64(GRAM), scratch)):
        run = row_of(scratch[at], items.keys, items.table, items.filter)
        if run < 0:
            continue
        for k in range(items.post[run], items.post[run + 1]):
            place = items.place[k]
            if not _same(words, at, items, place):
                continue
            item = items.item_at[place]
            if cluster[item] <= before or at - last[item] > GRAM + GAP:
                clusters += 1
                cluster[item], begin[item], weight[item] = clusters, at, 0.0
            last[item] = at
            for word in range(place, place + GRAM):
                if covered[word] != cluster[item]:
                    covered[word] = cluster[item]
                    weight[item] += items.weight[word]
            share = weight[item] / items.total[item]
            if share > overlap:
                overlap, best, first, end = share, item, begin[item], at + GRAM
    return overlap, best, first, end, clusters


@loop
def _holds(words, begin, end, answers, first, last):
    """Whether words[begin:end] hold answers[first:last]."""
    for at in range(begin, end - (last - first) + 1):
        same = True
        for k in range(last - first):
            same &= words[at + k] == answers[first + k]
        if same:
            return True
    return False


@kernel
def _measure(offsets, data, tables, items, answers, answer_ends, overlaps, best, answered, edges):
    """Fill in of every document the overlap, the item (-1: none), whether its answer stands by (-1: it has none), and the
    bytes of the cluster."""
    room = room_for(offsets)
    _, _, words, begins, ends, _ = room
    scratch = np.empty(len(words), np.uint64)
    count = len(items.total)
    cluster, last, begin = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.int64)
    weight, covered, clusters = np.zeros(count), np.zeros(len(items.words), np.int64), 0
    for i in range(len(offsets) - 1):
        n = units_of(data, offsets[i], offsets[i + 1], tables, 0, room)
        overlap, item, first, end, clusters = _best_cluster(
            words, n, items, scratch, cluster, last, begin, weight, covered, clusters
        )
        if item < 0:
            continue
        overlaps[i] = min(1.0, overlap)
        if overlap < HALF:
            continue
        best[i], edges[2 * i], edges[2 * i + 1] = item, begins[first], ends[end - 1]
        if answer_ends[item] < answer_ends[item + 1]:
            sought = answers, answer_ends[item], answer_ends[item + 1]
            before = _holds(words, max(0, first - NEAR), first, *sought)
            answered[i] = 1 if before or _holds(words, end, min(n, end + NEAR), *sought) else 0


SIGNALS = (
    real("evaluation_overlap", "ratio", "overlap",
         "the largest share of an evaluation text's words, by rarity, that stand close together here in runs of 3 words",
         high=1.0),
    label("evaluation_overlap_item", "items", "that text, where the share is 0.5 or more; else null"),
    span("evaluation_overlap_spans", "found", "edges", "where it stands, where the share is 0.5 or more"),
    real("evaluation_answer_found", "ratio", "answered",
         "1 where the answer to that text stands within 50 words of it, else 0; null where there is no text or answer",
         high=1.0, missing="unanswered"),
    real("evaluation_passage_overlap", "ratio", "passage_overlap",
         "as evaluation_overlap, of the passages that questions are about",
         high=1.0),
    label("evaluation_passage_item", "passage_items", "that passage, where the share is 0.5 or more; else null"),
)  # fmt: skip


def measure(texts: pa.Array | pa.ChunkedArray, model: str | os.PathLike[str] | Index) -> dict[str, pa.Array]:
    """Columns of the family's signals; `model` is an index or its file. A missing text counts as an empty one."""
    index = model if isinstance(model, Index) else read_index(model)
    compared = normalised(texts)
    nothing = np.empty(0, np.uint64), np.zeros(len(index.names) + 1, np.int64)
    overlap, item, answered, edges = _found(compared, index.questions, index.answers, index.answer_ends)
    if index.passages.keys.size:
        passage_overlap, passage, *_ = _found(compared, index.passages, *nothing)
    else:
        passage_overlap, passage = np.zeros_like(overlap), np.full_like(item, NONE)
    there = item >= 0
    return columns(
        SIGNALS,
        overlap=overlap, answered=answered.astype(float), unanswered=answered < 0, passage_overlap=passage_overlap,
        items=_named(index, item), passage_items=_named(index, passage), found=there.astype(np.int64),
        edges=compared.in_the_texts(texts, there.astype(np.int64), edges.reshape(-1, 2)[there]).ravel(),
    )  # fmt: skip


def _found(compared, items: Items, answers: np.ndarray, answer_ends: np.ndarray) -> tuple[np.ndarray, ...]:
    n = len(compared.offsets) - 1
    out = np.zeros(n), np.full(n, NONE), np.full(n, NONE), np.zeros(2 * n, np.int64)
    _measure(compared.offsets, compared.data, character_tables(), items, answers, answer_ends, *out)
    return out


def _named(index: Index, item: np.ndarray) -> pa.Array:
    return index.names.take(pa.array(item, mask=item < 0)).cast(pa.string())


FAMILY = Family("evaluation_overlap", 1, measure, SIGNALS)
