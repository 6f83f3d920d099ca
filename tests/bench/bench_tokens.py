"""Text to token ids: the compiled encoder against `tokenizers.encode_batch`, interleaved in one process.

    python tests/bench/bench_tokens.py [FILE.parquet] [--megabytes 12] [--vocabulary 4096]

MB of UTF-8 per CPU-second (all threads of the library counted), best of the rounds; `cold` is the first pass
over this text by a new encoder, which knows no word yet. Without a file and without CURATE_DATA: docstrings and
modules of the standard library.
"""

from __future__ import annotations

import argparse
import os
import sysconfig
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from train.tokens import load_tokenizer, train_tokenizer
from train.tokens.encoder import Encoder, Merges


def read(file: Path | None, limit: int) -> dict[str, pa.Array]:
    """Texts by kind, `limit` bytes of each at most."""
    if file is None:
        paths = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
        return {"modules": first([p.read_text(encoding="utf-8", errors="replace") for p in paths], limit)}
    table = pq.read_table(file)
    texts = table["text"].to_pylist()
    kinds = table["kind"].to_pylist() if "kind" in table.column_names else [file.stem] * len(texts)
    names = sorted(set(kinds), key=kinds.count, reverse=True)[:6]
    found = {n: first([t for t, k in zip(texts, kinds, strict=True) if k == n], limit) for n in names}
    return {"all": first(texts, limit), **found} if len(names) > 1 else found


def first(texts: list[str], limit: int) -> pa.Array:
    sizes = np.cumsum([len(text.encode()) for text in texts])
    return pa.array(texts[: int(np.searchsorted(sizes, limit)) + 1], pa.large_string())


def cpu_seconds(function) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description="MB of text per CPU-second, to token ids.")
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--megabytes", type=float, default=4)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    data = os.environ.get("CURATE_DATA")
    file = options.file or (Path(data) / "web_mix_small.parquet" if data else None)
    kinds = read(file, int(options.megabytes * 1e6))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        train_tokenizer(next(iter(kinds.values())).to_pylist(), options.vocabulary, path)
        tokenizer = load_tokenizer(path)
    Encoder(tokenizer).encode(["compile"])
    print(
        f"vocabulary {options.vocabulary}\n{'':14}{'MB':>6}{'library':>9}{'fast':>7}{'cold':>7}{'ours':>7}{'ratio':>7}{'same':>6}"
    )
    for name, column in kinds.items():
        row(name, column, tokenizer, options.rounds)


def row(name: str, column: pa.Array, tokenizer, rounds: int) -> None:
    """`library` is encode_batch, `fast` its encode_batch_fast; both are handed Python strings, made before."""
    encoder, strings = Encoder(tokenizer), column.to_pylist()
    assert isinstance(encoder._merges, Merges)
    cold = cpu_seconds(lambda: encoder.encode(column))
    library, fast, ours = [], [], []
    for _ in range(rounds):
        library.append(cpu_seconds(lambda: tokenizer.encode_batch(strings, add_special_tokens=False)))
        fast.append(cpu_seconds(lambda: tokenizer.encode_batch_fast(strings, add_special_tokens=False)))
        ours.append(cpu_seconds(lambda: encoder.encode(column)))
    ids = [
        i
        for e in tokenizer.encode_batch_fast(strings, add_special_tokens=False)
        for i in [*e.ids, encoder.end]
    ]
    same = np.array_equal(ids, encoder.encode(column)[0])
    size = column.nbytes / 1e6
    speeds = "".join(f"{size / min(s):{w}.1f}" for s, w in ((library, 9), (fast, 7), ([cold], 7), (ours, 7)))
    print(
        f"{name:14}{size:6.1f}{speeds}{min(library) / min(ours):7.1f}{'yes' if same else 'NO':>6}", flush=True
    )


if __name__ == "__main__":
    main()
