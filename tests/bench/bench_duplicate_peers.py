"""Near-duplicates beside other finders on the same documents: MB per CPU-second, and what each one joins.

    CURATE_DATA=FOLDER CURATE_PEERS=FOLDER python tests/bench/bench_duplicate_peers.py [--sample MB] [--copies N]

CURATE_PEERS holds an environment a peer: daft, datasketch, datatrove, textdedup; those that are absent are left out.
Whole families of the mix are sampled, so that copies come with what they are copies of. The fast two run on the whole mix
several times over as well (see bench_duplicates). What is joined is judged by the exact Jaccard similarity of word
5-grams: a pair is found where one of the two goes; a removal is right where the document that stays (the first of its
cluster) is that similar. Peers shingle in ways of their own, so a few of their differences are of definition.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import bench_duplicates as own
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from filters.duplicates.leaders import jaccard

WORKER = Path(__file__).parent / "duplicate_peers.py"
PEERS = ("daft", "datasketch", "textdedup", "datatrove")
EDGES = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.0 + 1e-9])


def interpreter(name: str) -> Path | None:
    """Of the environment in which a finder lives."""
    if name == "curate":
        return Path(sys.executable)
    found = Path(os.environ.get("CURATE_PEERS", "/nonexistent")) / name / "bin" / "python"
    return found if found.exists() else None


def run(name: str, path: Path, times: int = 1) -> tuple[dict, np.ndarray] | None:
    """(what the worker says of its time, the cluster of each row); None where it is absent or fails."""
    python = interpreter(name)
    if python is None:
        print(f"{name}: no environment, left out (CURATE_PEERS/{name})")
        return None
    out = path.with_name(f"{name}.parquet")
    done = subprocess.run([python, WORKER, name, path, out, str(times)], capture_output=True, text=True)
    if done.returncode:
        print(f"{name}: failed: {done.stderr.strip().splitlines()[-1:]}")
        return None
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return said, pq.read_table(out)["cluster"].to_numpy()


def sample(path: Path, megabytes: float) -> pa.LargeStringArray:
    """Texts of whole families, about so many megabytes."""
    table = pq.read_table(path, columns=["id", "family", "text"])
    names = [
        family or id for id, family in zip(*(table[c].to_pylist() for c in ("id", "family")), strict=True)
    ]
    share = megabytes / own.megabytes(table["text"])
    chosen = np.array([zlib.crc32(name.encode()) < share * 2**32 for name in names])
    return table["text"].cast(pa.large_string()).combine_chunks().filter(pa.array(chosen))


def scores(texts: pa.Array, cluster: np.ndarray, pairs: np.ndarray, similarity: np.ndarray) -> list[float]:
    """[share of pairs joined in each range of similarity ..., recall, precision, removed]"""
    _, first, number = np.unique(cluster, return_index=True, return_inverse=True)
    stands = first[number]
    goes = stands != np.arange(len(stands))
    same = stands[pairs[:, 0]] == stands[pairs[:, 1]]
    where = np.searchsorted(EDGES, similarity + 1e-9, "right") - 1
    true = similarity >= own.TARGET - 1e-9
    removed = np.flatnonzero(goes)
    right = jaccard(texts, stands[removed], removed) >= own.TARGET - 1e-9
    curve = [same[where == k].mean() for k in range(len(EDGES) - 1)]
    return [*curve, goes[pairs[true]].any(axis=1).mean(), right.mean(), len(removed)]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sample", type=float, default=12, help="MB that all finders read")
    parser.add_argument("--copies", type=int, default=4, help="of the whole mix, for the fast ones")
    parser.add_argument("--rounds", type=int, default=2, help="of both fast ones in turn on those copies")
    asked = parser.parse_args()
    if not os.environ.get("CURATE_DATA") or not os.environ.get("CURATE_PEERS"):
        print(
            "CURATE_DATA names no folder of real text or CURATE_PEERS none of environments; nothing measured"
        )
        return 0
    mix = Path(os.environ["CURATE_DATA"]) / "web_mix.parquet"
    texts = sample(mix, asked.sample)
    pairs, similarity = own.pairs_from(texts, EDGES[0])
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "small.parquet", Path(folder) / "large.parquet"
        pq.write_table(pa.table({"text": texts}), small)
        whole = own.read(mix)
        copies = [own.exchanged(whole, seed) for seed in range(asked.copies)]
        pq.write_table(pa.table({"text": pa.concat_arrays(copies)}), large)
        size = own.megabytes(texts)
        labels = [f"{a:.1f}-{b:.1f}" for a, b in zip(EDGES[:-1], EDGES[1:], strict=True)]
        print(f"{len(texts)} documents, {size:.1f} MB")
        print(f"{'':<12}{'MB/CPU-s':>10}" + "".join(f"{x:>9}" for x in labels)
              + f"{'recall':>9}{'precision':>11}{'removed':>9}")  # fmt: skip
        print(f"{'pairs':<22}" + "".join(f"{n:>9}" for n in np.histogram(similarity, EDGES)[0]))
        for name in ("curate", *PEERS):
            found = run(name, small)
            if found is None:
                continue
            *curve, recall, precision, removed = scores(texts, found[1], pairs, similarity)
            print(f"{name:<12}{size / found[0]['runs'][0]:>10.2f}" + "".join(f"{x:>9.3f}" for x in curve)
                  + f"{recall:>9.4f}{precision:>11.4f}{removed:>9.0f}", flush=True)  # fmt: skip
        large_input(large, asked.rounds)
    return 0


def large_input(path: Path, rounds: int) -> None:
    """The fast two in turn, each a fresh process that does all of it three times; of each the least of all rounds."""
    least: dict[str, np.ndarray] = {}
    for _ in range(rounds):
        for name in ("curate", "daft"):
            found = run(name, path, times=3)
            if found is None:
                return
            said = found[0]
            first, *later = said["runs"]
            new = np.array([said["imports"] + first, first, min(later)])
            least[name] = np.minimum(least.get(name, np.inf), new)
    kinds = ("process, imports too", "first run", "later run")
    print(f"\n{said['megabytes']:.0f} MB, MB per CPU-second" + "".join(f"{kind:>22}" for kind in kinds))
    for name, taken in least.items():
        print(f"{name:<28}" + "".join(f"{said['megabytes'] / t:>22.1f}" for t in taken))
    print(f"{'ratio':<28}" + "".join(f"{t:>22.2f}" for t in least["daft"] / least["curate"]))


if __name__ == "__main__":
    sys.exit(main())
