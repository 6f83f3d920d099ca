"""Duplicates: which document is the same as, or nearly the same as, which other one.

*Exact*: the same text, by a 128-bit hash (`exact`).

*Near*, by leader clustering: documents are met in a stated order, best first. A document is a duplicate of
the most similar earlier document *that stays*, among those that share a band with it and whose exact
Jaccard similarity of shingle sets reaches the target; without one it stays itself. So no document is less
similar than the target to the one that stands for it: nothing is joined through a chain of others, which
is known to have swallowed whole corpora. Every removal has its reason: the document that stays, and the
similarity.

The answer depends on texts, order and parameters alone. Documents that share no band, directly or through
others, do not touch each other, so connected components may be clustered apart, in any number of batches.

Thousands of documents that all stay may share one band: stubs of one template, each with words of its own,
just under the target. Shingles that no document that stays has are shared with none of them, and that bounds
the similarity to all at once, mostly without comparing any. The price: pairs are still counted through, and
copies of such stubs, which bring nothing new, are compared one by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.arrow import take, text_column, utf8
from filters.columns import count, label, real
from filters.duplicates.exact import content_hashes
from filters.duplicates.grouping import components, pairs_of
from filters.duplicates.minhash import Scheme, band_keys, bands_and_rows, recall, scheme_of, signatures
from filters.duplicates.shingles import fill_table, jaccard, jaccard_with_table, shingle_sets, table_for
from filters.family import Family, Signal, of_the_pool
from filters.text.compiled import kernel, loop

__all__ = [
    "DUPLICATES", "FORGOTTEN", "INDEXED", "SIGNATURES", "Scheme", "band_keys", "bands_and_rows", "candidate_components",
    "content_hashes", "jaccard", "leaders", "likely", "near_duplicates", "recall", "resembling", "scheme_of",
    "signatures", "similar_to",
]  # fmt: skip

STANDARD = Scheme()
AT_ONCE = 2_000_000  # bytes of text whose shingles are held at once: what fits in a cache is compared soonest
CROWD = 64  # rows of a bucket, from which on they are not compared one by one unless their shingles say so
HOPELESS = 4.0  # standard errors below the target at which an estimate rules a pair out unseen


def candidate_components(keys: np.ndarray) -> np.ndarray:
    """int64 [n]: connected components of "shares a band", each named after its first row."""
    rows = np.arange(len(keys))
    return components(
        len(keys), (pairs_of(np.ascontiguousarray(keys[:, b]), rows) for b in range(keys.shape[1]))
    )


def _buckets(keys: np.ndarray) -> tuple[np.ndarray, int]:
    """int64 [n, bands]: keys renamed to 0, 1, 2 ...; and how many there are."""
    names, used = np.empty(keys.shape, np.int64), 0
    for band in range(keys.shape[1]):
        different, names[:, band] = np.unique(keys[:, band], return_inverse=True)
        names[:, band] += used
        used += len(different)
    return names, used


@loop
def _agreement(signatures, i, j):
    equal = 0
    for p in range(signatures.shape[1]):
        equal += signatures[i, p] == signatures[j, p]
    return equal


@kernel
def _likely(buckets, sizes, signatures, least_equal, likely):
    """Mark rows that share a bucket with another whose estimated similarity does not rule the pair out."""
    n, bands = buckets.shape
    newest = np.full(len(sizes), -1, np.int64)
    older = np.full((n, bands), -1, np.int64)
    for i in range(n):
        for band in range(bands):
            bucket = buckets[i, band]
            if sizes[bucket] > CROWD:
                likely[i] = True
                continue
            j = newest[bucket]
            while j >= 0:
                if not (likely[i] and likely[j]) and _agreement(signatures, i, j) >= least_equal:
                    likely[i] = likely[j] = True
                j = older[j, band]
            older[i, band], newest[bucket] = newest[bucket], i


@loop
def _mark(shingles, marks):
    """Note the shingles of a document that stays. Two shingles may meet in one mark: then both count as known."""
    last = np.uint64(len(marks) - 1)
    for shingle in shingles:
        marks[shingle & last] = True


@loop
def _known(shingles, marks):
    """How many shingles a document can share with any that stays, at most."""
    last = np.uint64(len(marks) - 1)
    known = 0
    for shingle in shingles:
        known += marks[shingle & last]
    return known


@kernel
def _cluster(buckets, used, crowded, signatures, sets, values, marks, target, least_equal, given):
    """(int64 [n] the row that stands for each, -1 where it stays; float32 [n] their similarity).

    Rows below `given` stay, whatever they are like; with `given` = 0 every row may stay or join. The documents that
    stay are chained in each bucket: `newest[bucket]`, then `older[row, band]` backwards.
    """
    n, bands = buckets.shape
    newest = np.full(used, -1, np.int64)
    older = np.full((n, bands), -1, np.int64)
    leader, similarity = np.empty(n, np.int64), np.empty(n, np.float32)
    seen = np.full(n, -1, np.int64)  # seen[j] == i: row i has met row j in an earlier band
    table = table_for(sets)
    for i in range(n):
        best, best_similarity = -1, 0.0
        size = sets[i + 1] - sets[i]
        known = -1  # counted when the first candidate of a crowd is met
        tabled = False
        for band in range(bands if i >= given else 0):
            j = newest[buckets[i, band]]
            while j >= 0:
                if seen[j] != i:
                    seen[j] = i
                    other = sets[j + 1] - sets[j]
                    most_shared = min(size, other)
                    if crowded[i] and crowded[j]:
                        if known < 0:
                            known = _known(values[sets[i] : sets[i + 1]], marks)
                        most_shared = min(known, other)
                    if (
                        most_shared >= target * (size + other - most_shared)
                        and _agreement(signatures, i, j) >= least_equal
                    ):
                        if not tabled:
                            fill_table(sets, values, i, table)
                            tabled = True
                        s = jaccard_with_table(sets, values, i, j, table)
                        if s >= target and (s > best_similarity or (s == best_similarity and j < best)):
                            best, best_similarity = j, s
                j = older[j, band]
        leader[i] = best
        similarity[i] = best_similarity
        if i < given or (best < 0 and given == 0):
            if crowded[i]:
                _mark(values[sets[i] : sets[i + 1]], marks)
            for band in range(bands):
                older[i, band] = newest[buckets[i, band]]
                newest[buckets[i, band]] = i
    return leader, similarity


def _least_equal(scheme: Scheme, permutations: int) -> int:
    """Equal places of two signatures below which the pair is ruled out unseen."""
    target = scheme.similarity
    if not 0 < target <= 1:
        raise ValueError(f"similarity = {target} is no Jaccard similarity: choose one in (0, 1], usually 0.8")
    error = math.sqrt(target * (1 - target) / permutations)
    return math.floor((target - HOPELESS * error) * permutations)


def likely(signatures: np.ndarray, keys: np.ndarray, scheme: Scheme = STANDARD) -> np.ndarray:
    """bool [n]: rows that `leaders` has to compare with another by their texts; all others stay for themselves.

    Rows share a bucket with others that their signatures rule out: of those no text need be read.
    """
    is_likely = np.zeros(len(keys), np.bool_)
    buckets, used = _buckets(keys)
    sizes = np.bincount(buckets.reshape(-1), minlength=used)
    _likely(
        buckets, sizes, np.ascontiguousarray(signatures), _least_equal(scheme, signatures.shape[1]), is_likely
    )
    return is_likely


def _run(texts, signatures, keys, scheme: Scheme, given: int) -> tuple[np.ndarray, np.ndarray]:
    sets, values = shingle_sets(texts, scheme.ngram, scheme.unit)
    buckets, used = _buckets(keys)
    crowded = (np.bincount(buckets.reshape(-1), minlength=used) > CROWD)[buckets].any(axis=1)
    most_marked = int(np.diff(sets)[crowded].sum())
    marks = np.zeros(1 << max(2 * most_marked - 1, 1).bit_length(), np.bool_)
    target = scheme.similarity - 1e-9  # a hair lower: 4/5 is 0.8 however it was rounded
    least_equal, signatures = _least_equal(scheme, signatures.shape[1]), np.ascontiguousarray(signatures)
    return _cluster(buckets, used, crowded, signatures, sets, values, marks, target, least_equal, given)


def leaders(
    texts: pa.Array | list[pa.Array],
    signatures: np.ndarray,
    keys: np.ndarray,
    scheme: Scheme = STANDARD,
    places: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(int64 [n] the row that stands for each row, itself where it stays; float32 [n] their exact similarity).

    Rows are in order of preference, best first. Texts may be pieces: then `places` says where in all of them the text
    of each row lies, and a copy is made of a few megabytes at a time.
    """
    pieces = [texts] if isinstance(texts, pa.Array) else texts
    places = np.arange(sum(map(len, pieces))) if places is None else places
    if not len(places) == len(signatures) == len(keys):
        raise ValueError(
            f"{len(places)} texts, {len(signatures)} signatures, {len(keys)} rows of keys: all must be of the same rows"
        )
    sizes = np.concatenate([np.empty(0, np.int64), *(np.diff(utf8(piece)[0]) for piece in pieces)])[places]
    leader, similarity = np.arange(len(keys)), np.ones(len(keys), np.float32)
    for rows in batches(candidate_components(keys), sizes, AT_ONCE):
        some = take(pieces, places[rows])
        own, similarities = _run(some, signatures[rows], keys[rows], scheme, given=0)
        joins = own >= 0
        leader[rows[joins]], similarity[rows[joins]] = rows[own[joins]], similarities[joins]
    return leader, similarity


def similar_to(
    queries: pa.Array,
    query_signatures: np.ndarray,
    query_keys: np.ndarray,
    texts: pa.Array,
    signatures: np.ndarray,
    keys: np.ndarray,
    scheme: Scheme = STANDARD,
) -> tuple[np.ndarray, np.ndarray]:
    """For each text the most similar query (int64 [n], -1 where none reaches the target) and their similarity.

    Only pairs that share a band are compared: `recall` says how many that misses.
    """
    together = pa.concat_arrays([text_column(queries), text_column(texts)])
    signatures, keys = np.concatenate([query_signatures, signatures]), np.concatenate([query_keys, keys])
    leader, similarity = _run(together, signatures, keys, scheme, given=len(query_keys))
    return leader[len(query_keys) :], similarity[len(query_keys) :]


def resembling(
    queries: pa.Array | pa.ChunkedArray, texts: pa.Array | pa.ChunkedArray, scheme: Scheme = STANDARD
) -> pa.BooleanArray:
    """bool [texts]: the same words as a query, or `scheme.similarity` similar to one."""
    queries, texts = text_column(queries), text_column(texts)
    same = pc.is_in(content_hashes(texts, "words"), value_set=content_hashes(queries, "words"))
    signed = [signatures(side, **scheme.signing) for side in (queries, texts)]
    keys = [band_keys(side, *scheme.cut) for side in signed]
    query, _ = similar_to(queries, signed[0], keys[0], texts, signed[1], keys[1], scheme)
    return pc.or_(same, pa.array(query >= 0))


def near_duplicates(
    texts: pa.Array | pa.ChunkedArray | Iterable[pa.Array],
    scheme: Scheme = STANDARD,
    order: np.ndarray | None = None,
) -> pa.Table:
    """`duplicate_of` (row, null where the document stays) and `similarity` of every text; `order` best first.

    Texts may come piece by piece, as `ParquetFile.iter_batches` reads them: each is signed while it is in the cache.
    """
    if isinstance(texts, pa.Array | pa.ChunkedArray):
        texts = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    pieces, signed_pieces = [], [np.empty((0, scheme.permutations), np.uint32)]
    for piece in texts:
        pieces.append(text_column(piece))
        signed_pieces.append(signatures(pieces[-1], **scheme.signing))
    signed = np.concatenate(signed_pieces)
    n = len(signed)
    order = np.arange(n) if order is None else np.asarray(order)
    if not np.array_equal(np.sort(order), np.arange(n)):
        raise ValueError(f"order must name each of the {n} rows once, best first (as np.argsort gives)")
    keys = band_keys(signed, *scheme.cut)[order]
    component = candidate_components(keys)
    several = np.flatnonzero(np.bincount(component, minlength=n)[component] > 1)
    several = several[likely(signed[order[several]], keys[several], scheme)]
    rows = order[several]
    of, how = np.arange(n), np.ones(n, np.float32)
    leader, how[rows] = leaders(pieces, signed[rows], keys[several], scheme, rows)
    of[rows] = rows[leader]
    stays = of == np.arange(n)
    return pa.table({"duplicate_of": pa.array(of, mask=stays), "similarity": pa.array(how, mask=stays)})


def batches(component: np.ndarray, sizes: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Rows of whole components, ascending, of at most so many bytes together or of one component."""
    rows = np.argsort(component, kind="stable")
    ends = np.flatnonzero(np.diff(component[rows], append=-1)) + 1
    total = np.cumsum(sizes[rows])
    begin = 0
    while begin < len(rows):
        limit = (total[begin - 1] if begin else 0) + most
        fitting = np.searchsorted(total[ends - 1], limit, "right") - 1
        end = ends[max(np.searchsorted(ends, begin, "right"), fitting)]
        yield np.sort(rows[begin:end])
        begin = end


def measure(texts: pa.Array | pa.ChunkedArray, **signing) -> dict[str, pa.Array]:
    """The signature of every text, by which near duplicates are found; `signing` as in `Scheme.signing`."""
    signed = signatures(texts, **signing)
    return {"signature": pa.FixedSizeListArray.from_arrays(pa.array(signed.reshape(-1)), signed.shape[1])}


SIGNATURES = Family("signatures", 2, measure, (
    Signal("signature", "hashes", None, None, None, "sketch of the text's shingles (Broder 1997)", pa.list_(pa.uint32())),
))  # fmt: skip


INDEXED = Family("index", 1, of_the_pool, (
    label("index_match", "match", "the id of the most similar document of an index; null where none is"),
    real("index_similarity", "ratio", "similarity", high=1.0, says="their similarity, estimated from signatures, 1 for the "
         "same text; 0 where none reaches the target"),
))  # fmt: skip
FORGOTTEN = Family("forgotten", 1, of_the_pool, (
    real("forgotten", "0 or 1", "forgotten", high=1.0, says="1 where the list of [forget] names the document, its text, its "
         "address or something near it"),
))  # fmt: skip
DUPLICATES = Family("duplicates", 1, of_the_pool, (
    label("exact_duplicate_of", "exact", "the id of the preferred document with the same text"),
    label("near_duplicate_of", "near", "the id of the document that stands for this one"),
    real("near_duplicate_similarity", "ratio", "similarity", high=1.0, missing="stays",
         says="exact Jaccard similarity of the shingles of both; null where the document stands for itself"),
    real("duplicate_novelty", "ratio", "novelty", high=1.0, empty=1.0,
         says="shingles of the document that the one that stands for it has not / all of its shingles: what is lost with "
         "it; 1 where it stands for itself"),
    label("duplicate_kind", "kind",
          "exact, template (only numbers, dates and names differ) or near; null where it stands for itself"),
    label("duplicate_cluster", "cluster", "the id of the document that stands for the cluster, maybe this one"),
    count("duplicate_cluster_size", "documents", "size", "how many documents the same one stands for, it included"),
))  # fmt: skip
