"""How long the page of `curate browse` waits for each of its questions, on a store that is built.

    python tests/bench/bench_browse.py MANIFEST [--store .curate]

Seconds of one process, the first time that a question is asked and the second. `open` is from the command to the first answer.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--store", default=".curate")
    asked = parser.parse_args()
    begin = time.perf_counter()

    from curate.browse.view import View
    from curate.engine import open_engine
    from curate.manifest.reader import load_manifest
    from curate.steps import annotate_all
    from curate.store import Store

    view = View(
        annotate_all(Store(Path(asked.store)), load_manifest(asked.manifest), open_engine("local", 1))
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


if __name__ == "__main__":
    main()
