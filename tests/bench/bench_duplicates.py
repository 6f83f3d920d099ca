"""Duplicates and repeats: speed beside limits and datasketch, growth, and accuracy beside an exact search of all pairs.

Speed is MB of text per CPU-second in one process, Parquet read by one thread. The large input is the mix several times
over, each time with its letters exchanged, so that the copies have nothing in common. The truth of near duplicates
is every pair with an exact Jaccard similarity >= 0.8, found without MinHash: two such sets share at least one of the
rarest shingles of each (prefix filtering; Bayardo, Ma & Srikant 2007), so comparing those that do misses none.

CURATE_DATA=folder python tests/bench/bench_duplicates.py [--keys MILLIONS]
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from duplicate_peers import parquet_texts

from filters.arrow import from_utf8, utf8
from filters.duplicates.exact import content_hashes
from filters.duplicates.grouping import components, pairs_of
from filters.duplicates.leaders import Scheme, band_keys, jaccard, near_duplicates, signatures
from filters.duplicates.novelty import novelty
from filters.duplicates.repeats import KINDS, WORDS, bits_for, copies, find, occurrences, repeats
from filters.duplicates.shingles import shingle_sets

TARGET = 0.8
COPIES = 4  # 570 MB


def datasketch_signatures(texts: pa.Array) -> None:
    from datasketch import MinHash

    base = MinHash(num_perm=128, seed=1)
    for text in texts.to_pylist():
        words = re.findall(r"\w+", text.lower())
        sketch = base.copy()
        sketch.update_batch(
            list({" ".join(words[i : i + 5]).encode() for i in range(max(1, len(words) - 4))})
        )


def megabytes(texts: pa.Array) -> float:
    return pc.sum(pc.binary_length(texts)).as_py() / 1e6


def seconds(function: Callable[[], object], times: int = 3) -> float:
    """CPU seconds, the least of several: memory that a virtual machine has never touched costs more than the work."""
    taken = []
    for _ in range(times):
        begin = time.process_time()
        function()
        taken.append(time.process_time() - begin)
    return min(taken)


def read(path: Path) -> pa.LargeStringArray:
    table = pq.read_table(path, columns=["text"], use_threads=False, memory_map=True)
    return table["text"].cast(pa.large_string()).combine_chunks()


def exchanged(texts: pa.Array, seed: int) -> pa.LargeStringArray:
    """The texts with every ASCII letter and digit put for another, and other characters moved by a few places, so that
    copies have nothing in common in any script: copies of Chinese left alone would be more duplicates a document."""
    chance = np.random.default_rng(seed)
    letters, digits = chance.permutation(26), chance.permutation(10)
    table = np.arange(256, dtype=np.uint8)
    for first, others in ((48, digits), (65, letters), (97, letters)):
        table[first : first + len(others)] = first + others
    offsets, data = utf8(texts)
    continues = (data & 0xC0) == 0x80
    last = continues & ~np.append(continues[1:], False)
    last[1:] &= data[:-1] != 0xC2  # no-break spaces and the like stay what they are
    out = table[data]
    out[last] ^= np.uint8(seed % 16)
    return from_utf8(offsets.copy(), out)


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


def pairs_from(texts: pa.Array, target: float = TARGET) -> tuple[np.ndarray, np.ndarray]:
    """(int64 [k, 2] all pairs of rows at least `target` similar, their similarities)"""
    offsets, shingles = shingle_sets(texts)
    sizes = np.diff(offsets)
    _, names, holders = np.unique(shingles, return_inverse=True, return_counts=True)
    rows = np.repeat(np.arange(len(sizes)), sizes)
    rarest_first = np.lexsort((names, holders[names], rows))
    place = np.arange(len(shingles)) - np.repeat(offsets[:-1], sizes)
    prefix = sizes - np.ceil(target * sizes - 1e-9).astype(np.int64) + 1
    chosen = place < np.repeat(prefix, sizes)
    pairs = pairs_within(names[rarest_first][chosen], rows[chosen])
    small, large = np.sort(sizes[pairs], axis=1).T
    pairs = pairs[small >= target * large - 1e-9]
    similarity = jaccard(texts, pairs[:, 0], pairs[:, 1])
    true = similarity >= target - 1e-9
    return pairs[true], similarity[true]


def accuracy(texts: pa.Array, kinds: np.ndarray) -> None:
    """Recall of pairs by similarity, and whether every removed document is as similar as said."""
    from datasketch import MinHashLSH

    true, similarity = pairs_from(texts)
    found = {}
    for name, scheme in {
        "128 places, 18 x 7 (default)": Scheme(),
        "112 places, 14 x 8 (datatrove's)": Scheme(permutations=112, bands=14, rows=8),
        "datasketch's signatures, 18 x 7": Scheme(sketch="datasketch"),
    }.items():
        keys = band_keys(signatures(texts, **scheme.signing), *scheme.cut)
        found[name] = (keys[true[:, 0]] == keys[true[:, 1]]).any(axis=1)
        if name.endswith("(default)"):
            candidates = pairs_within(keys.reshape(-1), np.repeat(np.arange(len(keys)), keys.shape[1]))
    lsh = MinHashLSH(threshold=TARGET, num_perm=128)
    found[f"datasketch's own choice, {lsh.b} x {lsh.r}"] = (
        lambda keys: (keys[true[:, 0]] == keys[true[:, 1]]).any(axis=1)
    )(band_keys(signatures(texts, sketch="datasketch"), lsh.b, lsh.r))
    edges = np.array([0.8, 0.82, 0.85, 0.9, 0.95, 1.0, 1.01])
    where = np.searchsorted(edges, similarity + 1e-9, "right") - 1
    labels = [f"{a:.2f}-{b:.2f}" for a, b in zip(edges[:-2], edges[1:-1], strict=True)] + ["1"]
    print(
        f"\n{'recall of pairs with similarity':<36}"
        + "".join(f"{label:>11}" for label in labels)
        + f"{'all':>9}"
    )
    print(
        f"{'pairs':<36}"
        + "".join(f"{(where == k).sum():>11}" for k in range(len(labels)))
        + f"{len(true):>9}"
    )
    for name, hit in found.items():
        print(f"{name:<36}" + "".join(f"{hit[where == k].mean():>11.4f}" for k in range(len(labels)))
              + f"{hit.mean():>9.4f}")  # fmt: skip
    of = near_duplicates(texts)["duplicate_of"].to_numpy(zero_copy_only=False)
    stays = np.isnan(of)
    removed = np.stack([of[~stays].astype(np.int64), np.flatnonzero(~stays)], axis=1)
    supported = (jaccard(texts, removed[:, 0], removed[:, 1]) >= TARGET - 1e-9).sum()
    print(
        f"candidate pairs {len(candidates)}; removed documents {len(removed)}, of them truly similar {supported}"
    )
    print(f"true pairs both of which stay {stays[true].all(axis=1).sum()}")
    in_true = np.zeros(len(texts), bool)
    in_true[true.reshape(-1)] = True
    for kind in np.unique(kinds):
        here = kinds == kind
        print(
            f"  {kind:<12} documents {here.sum():>6}  removed {(~stays & here).sum():>5}  in a true pair {(in_true & here).sum():>5}"
        )


def gold(folder: Path) -> None:
    """Recall and precision by group, against pairs whose similarity others have computed: word 5-grams of `\\w+`."""
    documents, pairs = (pq.read_table(folder / f"neardup_{name}.parquet") for name in ("docs", "gold"))
    ids, group = documents["id"].to_pylist(), np.array(documents["group"].to_pylist())
    row = {name: i for i, name in enumerate(ids)}
    true = {
        tuple(sorted((row[a], row[b])))
        for a, b, similarity in zip(*(pairs[c].to_pylist() for c in ("id_a", "id_b", "jaccard")), strict=True)
        if similarity >= TARGET
    }
    of = near_duplicates(documents["text"])["duplicate_of"].to_numpy(zero_copy_only=False)
    goes = ~np.isnan(of)
    print(f"\n{'group':<14}{'pairs':>8}{'one goes':>10}{'removed':>9}{'truly similar to what stays':>29}")
    for name in (*np.unique(group), "all"):
        here = (group == name) | (name == "all")
        ours = np.array([pair for pair in true if here[pair[0]]], int).reshape(-1, 2)
        removed = np.flatnonzero(goes & here)
        right = [tuple(sorted((int(i), int(of[i])))) in true for i in removed]
        print(
            f"{name:<14}{len(ours):>8}{_share(goes[ours].any(axis=1)):>10}{len(removed):>9}{_share(right):>29}"
        )


def _share(of: np.ndarray | list) -> str:
    return f"{np.mean(of):.4f}" if len(of) else "-"


def lost(texts: pa.Array) -> None:
    """What goes with duplicates, and what is lost with them; the speed of finding it out beside that of clustering."""
    order = np.argsort(-np.diff(utf8(texts)[0]), kind="stable")
    of = near_duplicates(texts, order=order)["duplicate_of"].to_numpy(zero_copy_only=False)
    of = np.where(np.isnan(of), np.arange(len(of)), of).astype(np.int64)
    several = order[np.bincount(of, minlength=len(of))[of[order]] > 1]
    goes, size = of[several] != several, np.diff(utf8(texts)[0])[several]
    print(f"\n{'duplicates that go':<34}{'documents':>10}{'MB':>8}{'MB lost':>9}")
    signal = novelty(texts, of[several], places=several)
    for least in (0.001, 0.01, 0.02, 0.05, 0.1, 1.0):
        for how, found in (
            ("", signal),
            (", judged by a level", novelty(texts, of[several], least, places=several)),
        ):
            gone = goes & (found < least)
            share = f"novelty below {least:g}{how}"
            print(
                f"{share:<34}{gone.sum():>10}{size[gone].sum() / 1e6:>8.2f}{(size * found)[gone].sum() / 1e6:>9.3f}"
            )
    near = seconds(lambda: near_duplicates(texts, order=order))
    new = seconds(lambda: novelty(texts, of[several], places=several))
    print(
        f"clustering {megabytes(texts) / near:.0f} MB of all text per CPU-second, novelty {megabytes(texts) / new:.0f}"
    )


def repeats_in_parts(parts: list[pa.Array]) -> None:
    """As the stage does it: part by part, split by split, part by part."""
    bits = bits_for(int(1e6 * sum(map(megabytes, parts))))
    begins = np.cumsum([0, *map(len, parts)])
    orders = [np.arange(a, b) for a, b in zip(begins, begins[1:], strict=False)]
    found = [occurrences(p, o, "spans", 50, bits) for p, o in zip(parts, orders, strict=True)]
    places = zip(*(copies(found, split) for split in range(1 << bits)), strict=True)
    for part, own, pieces in zip(parts, found, places, strict=True):
        find(part, "spans", 50, own.ends, np.concatenate(pieces))


def growth(texts: pa.Array) -> None:
    """CPU seconds for 1, 2, 4 and 8 times the documents, and the exponent."""
    print(f"\n{'documents':>10}{'MB':>8}{'near, s':>10}{'spans, s':>10}")
    times = []
    for times_over in (1, 2, 4, 8):
        copies = [exchanged(texts, seed) for seed in range(times_over)]
        some = pa.concat_arrays(copies)
        # Parts of one size whatever the number of documents: the last one's bytes need not be checked twice.
        half = len(texts) // 2
        parts = [part for copy in copies for part in (copy.slice(0, half), copy.slice(half))]
        near = seconds(lambda some=some: near_duplicates(some))
        spans = seconds(lambda parts=parts: repeats_in_parts(parts))
        times.append((len(some), near, spans))
        print(f"{len(some):>10}{megabytes(some):>8.0f}{near:>10.2f}{spans:>10.2f}")
    n, near, spans = np.log(np.array(times)).T
    print(
        f"exponent of time over documents: near {np.polyfit(n, near, 1)[0]:.3f}, spans {np.polyfit(n, spans, 1)[0]:.3f}"
    )


def grouping(millions: int) -> None:
    """Synthetic keys, one band after the other as the stage does it: a tenth of the documents has a copy."""
    n, bands, cuts = millions * 1_000_000, 18, 16
    begin, wall = time.process_time(), time.monotonic()

    def pairs():
        for band in range(bands):
            chance = np.random.default_rng(band)
            keys = chance.integers(0, 2**64, n, np.uint64)
            keys[-n // 10 :] = keys[: n // 10]
            order = keys >> np.uint64(60)
            for cut in range(cuts):
                rows = np.flatnonzero(order == cut)
                yield pairs_of(keys[rows], rows)
                del rows

    found = components(n, pairs())
    assert (found[-n // 10 :] == np.arange(n // 10)).all()
    print(f"\n{millions} million documents, {bands} bands: {time.process_time() - begin:.0f} CPU-s, "
          f"{time.monotonic() - wall:.0f} s, peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB "
          "(drawing the keys included)")  # fmt: skip


def span_memory(path: str) -> None:
    """Peak of this process beyond the text itself, while its repeated spans are found."""
    texts = read(Path(path))
    repeats(texts.slice(0, 50))
    before = resident("VmRSS")
    repeats(texts)
    print(
        f"repeated spans: {(resident('VmHWM') - before) / megabytes(texts):.2f} bytes of memory a byte of text"
    )


def resident(kind: str) -> float:
    """MB of this process, from Linux: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(kind)).split()[1]) / 1e3


def main() -> int:
    if "--span-memory" in sys.argv:
        span_memory(sys.argv[-1])
        return 0
    if "--keys" in sys.argv:
        grouping(int(sys.argv[sys.argv.index("--keys") + 1]))
        return 0
    folder = os.environ.get("CURATE_DATA")
    if not folder:
        print("CURATE_DATA does not name a folder of real text; nothing measured")
        return 0
    mix = Path(folder) / "web_mix.parquet"
    texts = read(mix)
    near_duplicates(texts.slice(0, 50))  # compiled
    for kind in KINDS:
        repeats(texts.slice(0, 50), kind, WORDS[kind])
    signatures(texts.slice(0, 9), sketch="datasketch")
    with tempfile.TemporaryDirectory() as temporary:
        large = Path(temporary) / "large.parquet"
        whole = pa.concat_arrays([exchanged(texts, seed) for seed in range(COPIES)])
        pq.write_table(pa.table({"text": whole}), large)
        size = megabytes(whole)
        rows = [
            ("reading Parquet", size / seconds(lambda: read(large))),
            (
                "Parquet to clusters, verified",
                size / seconds(lambda: near_duplicates(parquet_texts(large))),
            ),
        ]
        whole = read(large)
        rows += [
            ("signatures", size / seconds(lambda: signatures(whole))),
            ("exact: hashes of texts", size / seconds(lambda: content_hashes(whole))),
            (
                "xxh3_128 of all bytes at once",
                size / seconds(lambda: xxhash.xxh3_128_digest(utf8(whole)[1].data)),
            ),
        ]
    rows += [
        (f"repeated {kind}", megabytes(texts) / seconds(lambda k=kind: repeats(texts, k, WORDS[k])))
        for kind in KINDS
    ]
    some = texts.slice(0, 1000)
    rows += [
        (
            "signatures for datasketch",
            megabytes(texts) / seconds(lambda: signatures(texts, sketch="datasketch")),
        ),
        (
            "datasketch itself, 1,000 documents",
            megabytes(some) / seconds(lambda: datasketch_signatures(some)),
        ),
    ]
    print(f"{'MB of text per CPU-second':<42}{'rate':>8}")
    for name, value in rows:
        print(f"{name:<42}{value:>8.1f}")
    if sys.platform == "linux":
        subprocess.run([sys.executable, __file__, "--span-memory", str(mix)], check=True)
    lost(texts)
    gold(Path(os.environ["CURATE_DATA"]))
    growth(texts.slice(0, 6000))
    accuracy(texts, np.array(pq.read_table(mix, columns=["kind"])["kind"].to_pylist()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
