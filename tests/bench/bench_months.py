"""A month that grows, is edited, or loses files: which share of the rows is made again, and of the bytes sent again.

    python tests/bench/bench_months.py [FILE.parquet] [--files 100] [--text text]

The rows of FILE become so many JSONL files. They are built whole, with near-duplicates and repeated spans, and published in
a folder; then a file is added, edited or removed, and that is built and published again. `sent, files` is what a folder or an
object store gets, `sent, chunks` what a store of chunks of some 64 kB does, as the hub is (`tests/curate/test_publish.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from curate import progress
from curate.commands.publish import publish
from curate.engine import open_engine
from curate.manifest.reader import load_manifest
from curate.steps import build
from curate.store import Store

MANIFEST = """
name = "month"
holdout = "none"
[[source]]
name = "pages"
format = "jsonl"
path = "pages"
[parts]
bytes = "4 MB"
[signals]
near_duplicates = { similarity = 0.8 }
repeated_spans = true
[[level]]
name = "raw"
[[level]]
name = "filtered"
on = "raw"
profiles = ["gopher-quality", "gopher-repetition", "c4-any-ending"]
[[level]]
name = "unique"
on = "filtered"
keep = { duplicate = false }
[tokenizer]
path = "tokenizer.json"
"""
STAGES = {
    "read": "documents",
    "measured": "signals/words",
    "signed": "signals/signatures",
    "encoded": "tokens",
}


def written(folder: Path, number: int, rows: list[str], suffix: str = "") -> None:
    lines = (json.dumps({"text": text}) for text in rows)
    (folder / "pages" / f"page-{number:03}{suffix}.jsonl").write_text("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--text", default="text")
    asked = parser.parse_args()
    if not (asked.file or "CURATE_DATA" in os.environ):
        sys.exit("name a file, or set CURATE_DATA to the folder that has web_mix.parquet")
    file = asked.file or Path(os.environ["CURATE_DATA"]) / "web_mix.parquet"
    progress.quiet(True)
    sys.path[:0] = [str(Path(__file__).parents[1] / "curate"), str(Path(__file__).parents[1])]
    from test_growing import again, made
    from test_publish import chunks

    def known_chunks(folder: Path) -> dict:
        files = (folder / "published").rglob("*.parquet")
        return {key: size for path in files for key, size in chunks(path.read_bytes()).items()}

    texts = pq.read_table(file, columns=[asked.text])[asked.text].to_pylist()
    groups = [texts[n :: asked.files] for n in range(asked.files)]
    new = groups.pop()
    middle = len(groups) // 2
    changes: dict[str, Callable[[Path], object]] = {
        "built first": lambda folder: None,
        "built again": lambda folder: None,
        "a file more": lambda folder: written(folder, middle, new, "b"),
        "a file edited": lambda folder: written(
            folder, middle, [text + "\nEdited." for text in groups[middle]]
        ),
        "a file less": lambda folder: (folder / "pages" / f"page-{middle:03}.jsonl").unlink(),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pages").mkdir()
        for number, rows in enumerate(groups):
            written(folder, number, rows)
        from train.tokens import train_tokenizer

        train_tokenizer(texts[:500], 2000, folder / "tokenizer.json")
        (folder / "month.toml").write_text(MANIFEST)
        store, before, sent = Store(folder / "store"), dict[str, dict](), dict[int, int]()
        print(f"| {len(texts):,} documents | CPU-s | {' | '.join(STAGES)} | sent, files | sent, chunks |")
        print("|---|" + "---:|" * (len(STAGES) + 3))
        for what, change in changes.items():
            change(folder)
            begin = time.process_time()
            build(store, load_manifest(folder / "month.toml"), open_engine("local", 2))
            took, after = time.process_time() - begin, made(folder / "store")
            said = publish(store, folder / "month.lock.json", str(folder / "published"))
            now = known_chunks(folder)
            shares = [again(before, after, stage) if before else 1.0 for stage in STAGES.values()]
            shares += [
                said["bytes_sent"]
                / sum(path.stat().st_size for path in (folder / "published").rglob("*.parquet")),
                sum(size for key, size in now.items() if key not in sent) / sum(now.values()),
            ]
            print(f"| {what} | {took:.0f} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)
            before, sent = after, now


if __name__ == "__main__":
    main()
