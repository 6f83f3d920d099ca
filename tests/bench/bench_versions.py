"""What the commands about versions take of a pool of many short documents, each a process of its own.

    python tests/bench/bench_versions.py [--documents 1000000] [--workers 2] [--only forget,diff]

Documents are those of `bench_driver.py`; two months name the same files with another bound. CPU-seconds are those of the
process and its children, and `MB` the most that one process held. The last column is what the process says in its last line.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
FORGOTTEN = 100


STEPS = {
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


def prepare(folder: Path, documents: int, duplicates: str) -> None:
    """Sources, two manifests, and two lists of addresses."""
    import pyarrow.parquet as pq
    from bench_driver import MANIFEST, SIGNALS, write_input

    folder.mkdir(exist_ok=True)
    write_input(folder, documents)
    for name, least in (("a", 8), ("b", 9)):
        text = MANIFEST.format(folder=folder, signals=SIGNALS[duplicates], least=least, best="duplicate = false",
                               tokens=2 * documents, more=4 * documents)  # fmt: skip
        (folder / f"{name}.toml").write_text(text.replace('name = "driver"', f'name = "{name}"'))
    web = pq.read_table(folder / "web-00000.parquet", columns=["url"])["url"]
    for name, begin in (("asked", 0), ("more", FORGOTTEN)):
        (folder / f"{name}.txt").write_text("\n".join(web.slice(begin, FORGOTTEN).to_pylist()) + "\n")


def names(folder: Path) -> None:
    """Print the digest of the first lock and the newest corpus."""
    from curate.store import lock_digest, read_json

    corpora = sorted((folder / ".curate" / "corpora").glob("raw-*"), key=lambda path: path.stat().st_mtime)
    print(
        json.dumps(
            {"digest": lock_digest(read_json(folder / "a.lock.json"))[:12], "corpus": str(corpora[-1])}
        )
    )


def browse(folder: Path) -> None:
    """Print how long the page of `curate browse` waits for each of its questions, the first time and the second."""
    begin = time.perf_counter()

    from curate.browse.view import View
    from curate.engine import open_engine
    from curate.manifest.reader import load_manifest
    from curate.steps import annotate_all
    from curate.store import Store

    view = View(
        annotate_all(Store(folder / ".curate"), load_manifest(folder / "a.toml"), open_engine("local", 1))
    )
    view.overview()
    print(f"open: {time.perf_counter() - begin:.2f} s, {len(view.a.pool):,} documents")
    level = [level for level in view.overview()["levels"] if level["rules"]][0]
    rule, last = level["rules"][0]["name"], view.overview()["levels"][-1]["name"]
    (id,) = [one["id"] for one in view.documents(last, count=1)["documents"]]
    duplicates = [one["id"] for one in view.documents(last, f"{last}.duplicate", count=1)["documents"]]
    signal = level["rules"][0]["signal"]
    questions = {
        "overview": view.overview,
        "what a level keeps": lambda: view.documents(last),
        "what a rule drops": lambda: view.documents(level["name"], rule),
        "a page further on": lambda: view.documents(last, after=10_000),
        "search, found": lambda: view.documents(last, search="the"),
        "search, nowhere": lambda: view.documents(last, search="no such words at all"),
        "a slider": lambda: view.signal(level["name"], signal),
        "a bound moved": lambda: view.around(level["name"], signal, 3.0, 9.0),
        "a document": lambda: view.document(id),
        **({"a near-duplicate": lambda: view.document(duplicates[0])} if duplicates else {}),
    }
    print("| question | first, s | then, s | kB |\n|---|---:|---:|---:|")
    for name, question in questions.items():
        took = []
        for _ in range(2):
            begin = time.perf_counter()
            answer = question()
            took.append(time.perf_counter() - begin)
        print(f"| {name} | {took[0]:.2f} | {took[1]:.2f} | {len(json.dumps(answer)) / 1000:.0f} |")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--duplicates", choices=("none", "exact", "near"), default="near")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--folder", type=Path, help="an earlier one, to go on in; else a temporary one")
    parser.add_argument("--child", choices=("prepare", "names", "browse"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        if asked.child == "prepare":
            prepare(asked.folder, asked.documents, asked.duplicates)
        else:
            {"names": names, "browse": browse}[asked.child](asked.folder)
        return
    only = asked.only.split(",") if asked.only else None
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        # What a process has held counts for its children too, so this one holds nothing.
        child = [sys.executable, __file__, "--folder", str(folder), "--documents", str(asked.documents),
                 "--duplicates", asked.duplicates, "--child"]  # fmt: skip
        environment = os.environ | {"PYTHONPATH": str(HERE)}
        if not (folder / "a.toml").exists():
            subprocess.run([*child, "prepare"], check=True, env=environment)
        print("| command | CPU-s | s | MB | it says |\n|---|---:|---:|---:|---|")
        for name, command in STEPS.items():
            if only and name not in only:
                continue
            if any("{" in word for word in command):
                said = json.loads(
                    subprocess.run(
                        [*child, "names"], check=True, env=environment, stdout=subprocess.PIPE
                    ).stdout
                )
                command = [word.format(**said) for word in command]
            cpu, seconds, size, line = took(folder, command, asked.workers)
            print(f"| {name} | {cpu:.1f} | {seconds:.1f} | {size:.0f} | {line[:90]} |", flush=True)
        print("\nbrowse:", flush=True)
        subprocess.run([*child, "browse"], check=True, env=environment)


if __name__ == "__main__":
    main()
