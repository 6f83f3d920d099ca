"""Near duplicates: MB of text per CPU-second of signatures alone and from Parquet to clusters, beside datasketch.

CURATE_DATA=folder python tests/bench/bench_duplicates.py
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.duplicates import near_duplicates, signatures


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
    return 0


if __name__ == "__main__":
    sys.exit(main())
