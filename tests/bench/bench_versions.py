"""What the commands about versions take of a pool of many short documents, each a process of its own.

    python tests/bench/bench_versions.py [--documents 1000000] [--workers 2] [--only forget,diff]

Documents are those of `bench_driver.py`; two months name the same files with another bound. CPU-seconds are those of the
process and its children, and `MB` the most that one process held. The last column is what the process says in its last line.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
from bench_driver import MANIFEST, SIGNALS, write_input

HERE = Path(__file__).resolve().parents[2]
FORGOTTEN = 100


def steps(folder: Path) -> dict[str, list[str]]:
    web = pq.read_table(folder / "web-00000.parquet", columns=["url"])["url"]
    (folder / "asked.txt").write_text("\n".join(web.slice(0, FORGOTTEN).to_pylist()) + "\n")
    (folder / "more.txt").write_text("\n".join(web.slice(FORGOTTEN, FORGOTTEN).to_pylist()) + "\n")
    return {
        "build": ["build", "a.toml"],
        "build, done": ["build", "a.toml"],
        "build, another bound": ["build", "b.toml"],
        "build --locked": ["build", "a.toml", "--locked"],
        "verify": ["verify", "a.lock.json"],
        "verify --replay": ["verify", "a.lock.json", "--replay"],
        "diff": ["diff", "a.lock.json", "b.lock.json"],
        "ls": ["ls"],
        "gc": ["gc"],
        "index": ["index", "a.toml", "seen", "--kept"],
        "index, again": ["index", "a.toml", "seen", "--kept"],
        "checkout": ["checkout", "a@{digest}"],
        "export parquet": ["export", "{corpus}", "--to", "parquet"],
        "summary": ["summary", "a.lock.json"],
        "publish": ["publish", "a.lock.json", "published"],
        "publish, again": ["publish", "a.lock.json", "published"],
        "forget": ["forget", "a.toml", "asked.txt", "--index", "seen"],
        "forget, more": ["forget", "a.toml", "more.txt", "--index", "seen"],
        "proof again": ["forget", "a.toml", "--index", "seen"],
        "build, forgotten": ["build", "a.toml"],
        "gc --delete": ["gc", "--delete"],
    }


def took(folder: Path, command: list[str], workers: int) -> tuple[float, float, float, str]:
    """(CPU-seconds, seconds, MB of the largest process, last line of what it said)."""
    if command[0] in ("build", "forget", "index"):
        command = [*command, "--workers", str(workers)]
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    begin = time.monotonic()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [sys.executable, "-m", "curate.cli", *command],
            cwd=folder,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(child.pid, 0)
        said.seek(0)
        lines = [line for line in said.read().decode().splitlines() if line.strip()]
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        sys.exit("\n".join(lines))
    return (
        usage.ru_utime + usage.ru_stime,
        time.monotonic() - begin,
        usage.ru_maxrss / 1024,
        lines[-1] if lines else "",
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--duplicates", choices=SIGNALS, default="near")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--folder", help="an earlier one, to go on in; else a temporary one")
    asked = parser.parse_args()
    only = asked.only.split(",") if asked.only else None
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(asked.folder or temporary)
        if not (folder / "a.toml").exists():
            folder.mkdir(exist_ok=True)
            write_input(folder, asked.documents)
            for name, least in (("a", 8), ("b", 9)):
                text = MANIFEST.format(folder=folder, signals=SIGNALS[asked.duplicates], least=least, best="duplicate = false",
                                       tokens=2 * asked.documents, more=4 * asked.documents)  # fmt: skip
                (folder / f"{name}.toml").write_text(text.replace('name = "driver"', f'name = "{name}"'))
        print("| command | CPU-s | s | MB | it says |\n|---|---:|---:|---:|---|")
        for name, command in steps(folder).items():
            if only and name not in only:
                continue
            words = [word.format(**_names(folder)) if "{" in word else word for word in command]
            cpu, seconds, size, line = took(folder, words, asked.workers)
            print(f"| {name} | {cpu:.1f} | {seconds:.1f} | {size:.0f} | {line[:90]} |", flush=True)


def _names(folder: Path) -> dict[str, str]:
    from curate.store import lock_digest, read_json

    lock = read_json(folder / "a.lock.json")
    corpora = sorted((folder / ".curate" / "corpora").glob("raw-*"), key=lambda path: path.stat().st_mtime)
    return {"digest": lock_digest(lock)[:12], "corpus": str(corpora[-1])}


if __name__ == "__main__":
    main()
