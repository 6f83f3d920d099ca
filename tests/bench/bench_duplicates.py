"""Near duplicates: speed beside datasketch, recall and precision beside an exact search of all pairs.

Speed is MB of text per CPU-second, of signatures alone and from Parquet to clusters. The truth is every pair
with an exact Jaccard similarity >= 0.8, found without MinHash: two such sets share at least one of the rarest
shingles of each (prefix filtering; Bayardo, Ma & Srikant 2007), so comparing those that do misses none.

CURATE_DATA=folder python tests/bench/bench_duplicates.py
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.duplicates import band_keys, bands_and_rows, jaccard, near_duplicates, signatures
from filters.shingles import shingle_sets

TARGET = 0.8


def datasketch_signatures(texts: pa.Array) -> None:
    from datasketch import MinHash

    base = MinHash(num_perm=112, seed=1)
    for text in texts.to_pylist():
        words = re.findall(r"\w+", text.lower())
        sketch = base.copy()
        sketch.update_batch(
            list({" ".join(words[i : i + 5]).encode() for i in range(max(1, len(words) - 4))})
        )


def rate(function, texts: pa.Array) -> float:
    begin = time.process_time()
    function(texts)
    return pc.sum(pc.binary_length(texts)).as_py() / 1e6 / (time.process_time() - begin)


def pairs_within(groups: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """int64 [k, 2]: the distinct pairs of rows (the smaller first) that stand in one group."""
    order = np.lexsort((rows, groups))
    groups, rows = groups[order], rows[order]
    found, distance = [], 1
    while (same := np.flatnonzero(groups[distance:] == groups[:-distance])).size:
        found.append(np.unique(np.stack([rows[same], rows[same + distance]], axis=1), axis=0))
        distance += 1
    pairs = np.unique(np.concatenate([np.empty((0, 2), np.int64), *found]), axis=0)
    return pairs[pairs[:, 0] < pairs[:, 1]]


def true_pairs(texts: pa.Array) -> np.ndarray:
    """int64 [k, 2]: all pairs of rows at least TARGET similar."""
    offsets, shingles = shingle_sets(texts)
    sizes = np.diff(offsets)
    _, names, holders = np.unique(shingles, return_inverse=True, return_counts=True)
    rows = np.repeat(np.arange(len(sizes)), sizes)
    rarest_first = np.lexsort((names, holders[names], rows))
    place = np.arange(len(shingles)) - np.repeat(offsets[:-1], sizes)
    prefix = sizes - np.ceil(TARGET * sizes - 1e-9).astype(np.int64) + 1
    chosen = place < np.repeat(prefix, sizes)
    pairs = pairs_within(names[rarest_first][chosen], rows[chosen])
    small, large = np.sort(sizes[pairs], axis=1).T
    pairs = pairs[small >= TARGET * large - 1e-9]
    return pairs[jaccard(texts, pairs[:, 0], pairs[:, 1]) >= TARGET - 1e-9]


def accuracy(texts: pa.Array, kinds: np.ndarray) -> None:
    true = true_pairs(texts)
    keys = band_keys(signatures(texts), *bands_and_rows(TARGET, 112))
    candidates = pairs_within(keys.reshape(-1), np.repeat(np.arange(len(keys)), keys.shape[1]))
    found = (keys[true[:, 0]] == keys[true[:, 1]]).any(axis=1)
    of = near_duplicates(texts, similarity=TARGET)["duplicate_of"].to_numpy(zero_copy_only=False)
    stays = np.isnan(of)
    removed = np.stack([of[~stays].astype(np.int64), np.flatnonzero(~stays)], axis=1)
    supported = len({*map(tuple, removed.tolist())} & {*map(tuple, true.tolist())})
    print(
        f"\n{'pairs at ' + str(TARGET) + ' or more':<24}{'pairs':>8}{'recall of bands':>18}{'both stay':>12}"
    )
    both = stays[true].all(axis=1)
    for kind in [*np.unique(kinds[true[:, 0]]), "all"]:
        here = (kinds[true[:, 0]] == kind) | (kind == "all")
        print(f"{kind:<24}{here.sum():>8}{found[here].mean():>18.4f}{both[here].sum():>12}")
    print(f"candidate pairs {len(candidates)}, of them true {found.sum() / len(candidates):.3f}")
    print(f"removed documents {len(removed)}, of them truly similar to the one that stays {supported}")


def main() -> int:
    folder = os.environ.get("CURATE_DATA")
    if not folder:
        print("CURATE_DATA does not name a folder of real text; nothing measured")
        return 0
    path = Path(folder) / "web_mix.parquet"

    def read() -> pa.Array:
        return pq.read_table(path, columns=["text"])["text"].cast(pa.large_string()).combine_chunks()

    texts = read()
    near_duplicates(texts.slice(0, 50))  # compiled
    rows = [
        ("signatures, 112 permutations", rate(signatures, texts)),
        ("Parquet to clusters, verified", rate(lambda _: near_duplicates(read()), texts)),
        ("datasketch signatures, 1,000 documents", rate(datasketch_signatures, texts.slice(0, 1000))),
    ]
    print(f"{'MB of text per CPU-second':<42}{'rate':>8}")
    for name, value in rows:
        print(f"{name:<42}{value:>8.1f}")
    accuracy(texts, np.array(pq.read_table(path, columns=["kind"])["kind"].to_pylist()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
