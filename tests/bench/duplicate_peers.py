"""One finder of near-duplicates over one Parquet file, run by the Python of its own environment:

    python duplicate_peers.py NAME IN OUT TIMES

IN has the column `text`; OUT gets `cluster`, the same number for documents that NAME joins. Prints one line of JSON: MB of
text, and CPU seconds of this process and its children: its imports, and each of so many runs. Word 5-grams, 14 bands of 8 for
those that take bands, the rest as each has it by default.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

BANDS, ROWS = 14, 8


def joined(signatures: np.ndarray) -> np.ndarray:
    """int64 [n]: the lowest row of each row's connected component of "shares a band"; `signatures` [n, BANDS * ROWS]."""
    parent = list(range(len(signatures)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for band in range(BANDS):
        some = np.ascontiguousarray(signatures[:, band * ROWS : (band + 1) * ROWS])
        rows = some.view([("", some.dtype)] * ROWS).reshape(-1)
        _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
        for i in np.flatnonzero(first[inverse] != np.arange(len(rows))).tolist():
            a, b = root(i), root(int(first[inverse[i]]))
            parent[max(a, b)] = min(a, b)
    return np.array([root(i) for i in range(len(parent))])


def parquet_texts(path: Path) -> Iterator[pa.Array]:
    """The texts of a file, a thousand at a time, by one thread."""
    for batch in pq.ParquetFile(path, memory_map=True).iter_batches(
        1024, columns=["text"], use_threads=False
    ):
        yield batch.column(0)


def curate(path: Path):
    from filters.duplicates.leaders import near_duplicates

    few = next(parquet_texts(path)).slice(0, 50)
    near_duplicates([few, few])  # compiled, or read from the cache

    def run() -> np.ndarray:
        of = near_duplicates(parquet_texts(path))["duplicate_of"]
        return pc.coalesce(of.combine_chunks(), pa.array(np.arange(len(of)))).to_numpy()

    return run


def daft(path: Path):
    import daft

    def run() -> np.ndarray:
        text = daft.col("text")
        for name in ("remove_punct", "lowercase", "nfd_unicode", "white_space"):
            text = text.normalize(**{name: True})
        frame = daft.read_parquet(str(path)).select(
            text.minhash(num_hashes=BANDS * ROWS, ngram_size=5, seed=1)
        )
        column = frame.to_arrow().column(0).combine_chunks()
        return joined(column.flatten().to_numpy().reshape(-1, BANDS * ROWS))

    return run


def datasketch(path: Path):
    from datasketch import MinHash, MinHashLSH

    def run() -> np.ndarray:
        word, base = re.compile(r"\w+"), MinHash(num_perm=BANDS * ROWS, seed=1)
        lsh = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
        cluster = []
        for row, text in enumerate(pq.read_table(path, columns=["text"])["text"]):
            words = word.findall(text.as_py().lower())
            sketch = base.copy()
            sketch.update_batch(
                list({" ".join(words[i : i + 5]).encode() for i in range(max(1, len(words) - 4))})
            )
            found = lsh.query(sketch)  # of documents that stay
            cluster.append(min(found, default=row))
            if not found:
                lsh.insert(row, sketch)
        return np.array(cluster)

    return run


def datatrove(path: Path):
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
    )
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter
    from datatrove.utils.typeshelper import Languages

    def run() -> np.ndarray:
        folder, config = Path(tempfile.mkdtemp(prefix="peer-")), MinhashConfig()
        table = pq.read_table(path, columns=["text"])
        (folder / "in").mkdir()
        ids = pa.array(map(str, range(len(table))))
        pq.write_table(table.append_column("id", ids), folder / "in" / "0.parquet")
        read = ParquetReader(f"{folder}/in")
        signing = MinhashDedupSignature(f"{folder}/signatures", config=config, language=Languages.english)
        buckets = MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/buckets", config=config)
        cluster = MinhashDedupCluster(
            f"{folder}/buckets", f"{folder}/remove", config=config, save_cluster_id=True
        )
        keep = MinhashDedupFilter(
            f"{folder}/remove", load_cluster_ids=True, exclusion_writer=ParquetWriter(f"{folder}/out/removed")
        )
        stages = [([read, signing], 1), ([buckets], config.num_buckets), ([cluster], 1),
                  ([read, keep, ParquetWriter(f"{folder}/out/kept")], 1)]  # fmt: skip
        for i, (steps, tasks) in enumerate(stages):
            LocalPipelineExecutor(steps, tasks=tasks, workers=1, logging_dir=f"{folder}/log{i}").run()
        number = {}
        for file in sorted((folder / "out").rglob("*.parquet")):
            for row in pq.read_table(file, columns=["id", "metadata"]).to_pylist():
                number[int(row["id"])] = row["metadata"].get("minhash_cluster_id", -1)
        own = [-1 - row if number[row] < 0 else number[row] for row in range(len(table))]
        return np.array(own)

    return run


def textdedup(path: Path):
    from text_dedup.minhash import main, uf

    def run() -> np.ndarray:
        folder = Path(tempfile.mkdtemp(prefix="peer-"))
        options = {
            "path": "parquet", "data_files": str(path), "split": "train", "cache_dir": str(folder / "cache"),
            "output": str(folder / "out"), "column": "text", "num_proc": 1, "ngram": 5, "min_length": 0,
            "num_perm": BANDS * ROWS, "b": BANDS, "r": ROWS, "threshold": 0.8,
        }  # fmt: skip
        main([f"--{key}={value}" for key, value in options.items()], standalone_mode=False)
        return np.array([uf.find(row) for row in range(pq.read_metadata(path).num_rows)])

    return run


FINDERS = {f.__name__: f for f in (curate, daft, datasketch, datatrove, textdedup)}


def cpu_seconds() -> float:
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


def main(name: str, path: Path, out: Path, times: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # adopt orphaned workers, so that they are counted too
    run = FINDERS[name](path)
    spent = [cpu_seconds()]
    for _ in range(times):
        cluster = run()
        spent.append(cpu_seconds())
    pq.write_table(pa.table({"cluster": cluster}), out)
    size = pc.sum(pc.binary_length(pq.read_table(path, columns=["text"])["text"])).as_py()
    print(json.dumps({"megabytes": size / 1e6, "imports": spent[0], "runs": np.diff(spent).tolist()}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
