"""Language identification beside the fastText library: MB of text per CPU-second, and how often each is right.

    CURATE_DATA=FOLDER python tests/bench/bench_language.py

Both label the same documents in the same run, one thread each, with lid.176; the best of some passes counts,
since other work on the machine only adds. The library is called the quickest way it has, one compiled call a
document, and its time includes making the line it wants (newlines to spaces). The second table counts right
answers on labelled text; both columns must be the same where the kernel equals the library.
"""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import fasttext
import pyarrow as pa
import pyarrow.parquet as pq

from filters import language
from filters.codes import canonical, canonical_of_label

PASSES, LIBRARY_PASSES = 3, 2
LIBRARY_SAMPLE_MB = 12  # the library would take a minute on all of it


def cpu_seconds(work: Callable[[], object], passes: int) -> float:
    best = float("inf")
    for _ in range(passes):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best


def megabytes(texts: list[str]) -> float:
    return sum(len(text.encode()) for text in texts) / 1e6


def first_megabytes(texts: list[str], limit: float) -> list[str]:
    total = 0.0
    for i, text in enumerate(texts):
        total += len(text.encode()) / 1e6
        if total > limit:
            return texts[: i + 1]
    return texts


def by_library(model, texts: list[str]) -> list[str | None]:
    found = [model.f.predict(text.replace("\n", " ") + "\n", 1, 0.0, "strict") for text in texts]
    return [canonical_of_label(one[0][1]) if one else None for one in found]


def print_speed(model, folder: Path) -> None:
    print(f"{'text':<24}{'documents':>10}{'MB':>7}{'ours':>9}{'library':>9}{'ratio':>7}   MB/CPU-s")
    for file in ("web_mix.parquet", "books.parquet", "lid_gold.parquet"):
        if not (folder / file).is_file():
            continue
        texts = pq.read_table(folder / file, columns=["text"])["text"].to_pylist()
        texts = first_megabytes(texts, LIBRARY_SAMPLE_MB)
        column, size = pa.array(texts, pa.large_string()), megabytes(texts)
        ours = size / cpu_seconds(lambda column=column: language.measure(column), PASSES)
        theirs = size / cpu_seconds(lambda texts=texts: by_library(model, texts), LIBRARY_PASSES)
        row = f"{file:<24}{len(texts):>10,}{size:>7.1f}{ours:>9.1f}{theirs:>9.2f}{ours / theirs:>7.1f}"
        print(row, flush=True)


def truth_of(code: str) -> str | None:
    """The canonical code of a labelled row; None where it names no single language that can be answered."""
    if code in ("zxx", "mul", "und"):
        return None
    try:
        return canonical(code)
    except ValueError:
        return code


def print_accuracy(model, folder: Path) -> None:
    table = pq.read_table(folder / "lid_gold.parquet", columns=["text", "lang", "kind"])
    answers = language.measure(table["text"])
    ours, theirs = answers["language"].to_pylist(), by_library(model, table["text"].to_pylist())
    sure = [score is not None and score >= 0.65 for score in answers["language_score"].to_pylist()]
    answerable = set(language.model_codes())
    groups: dict[str, list[tuple[bool, bool, bool]]] = defaultdict(list)
    outside = 0
    for code, kind, our, their, is_sure in zip(
        table["lang"].to_pylist(), table["kind"].to_pylist(), ours, theirs, sure, strict=True
    ):
        truth = truth_of(code)
        if truth == "nb":
            truth = "no"  # what lid.176 calls it
        if truth not in answerable:
            outside += 1
            continue
        groups[kind].append((our == truth, their == truth, is_sure))
    print(
        f"\n{'kind':<24}{'documents':>10}{'ours %':>9}{'library %':>11}{'sure %':>8}{'right if sure %':>17}"
    )
    for kind, rows in [*sorted(groups.items()), ("all", [row for rows in groups.values() for row in rows])]:
        print_accuracy_row(kind, rows)
    print(f"{outside:,} documents left out: no language, several, or one that lid.176 does not know")


def print_accuracy_row(kind: str, rows: list[tuple[bool, bool, bool]]) -> None:
    right, right_library, sure = (100 * sum(column) / len(rows) for column in zip(*rows, strict=True))
    among_sure = [is_right for is_right, _, is_sure in rows if is_sure]
    right_if_sure = f"{100 * sum(among_sure) / len(among_sure):.1f}" if among_sure else "-"
    print(f"{kind:<24}{len(rows):>10,}{right:>9.1f}{right_library:>11.1f}{sure:>8.1f}{right_if_sure:>17}")


def main() -> None:
    data = os.environ.get("CURATE_DATA")
    if not data:
        sys.exit("CURATE_DATA is not set: name the folder that holds web_mix.parquet and lid_gold.parquet")
    path = language.find_model("lid.176")
    model = fasttext.load_model(str(path))
    first = cpu_seconds(lambda: language.measure(pa.array(["first"], pa.large_string())), 1)
    print(f"lid.176, sha256 {language.model_digest(path)[:16]}; first call {first:.2f} CPU-s\n")
    print_speed(model, Path(data))
    print_accuracy(model, Path(data))


if __name__ == "__main__":
    main()
