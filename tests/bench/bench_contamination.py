"""Evaluation items that were changed: how many are found by runs of 13 words, and how many by overlap, and what is found where
nothing was planted.

Items are the questions of real benchmarks that lie in the pool of text; each is changed word by word, its answer put behind
it, and planted in a clean document. Needs CURATE_DATA.
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.models import contamination, overlap

CHANGES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)  # of all words, each replaced, left out or with one before it
BOUNDS = (0.5, 0.6, 0.7, 0.8)
PLANTED = 1000


def items_of(table: pa.Table) -> list[tuple[str, str]]:
    """(question, answer) of every line that has both."""
    pairs = []
    for text in table.filter(pc.equal(table["sub"], "eval_data_json"))["text"].to_pylist():
        for line in text.splitlines():
            try:
                row = json.loads(line)
                pairs.append(
                    (row["query"].removeprefix("Question: ").strip(), str(row["choices"][row["gold"]]))
                )
            except (ValueError, KeyError, TypeError, IndexError):
                continue
    return [pair for pair in dict.fromkeys(pairs) if len(pair[0].split()) >= contamination.SHORTEST]


def changed(text: str, share: float, words: list[str], rng: random.Random) -> str:
    """With so many of its words replaced, left out, or behind a new one, a third each."""
    out = []
    for word in text.split():
        how = rng.randrange(3) if rng.random() < share else -1
        out += {0: [rng.choice(words)], 1: [], 2: [rng.choice(words), word]}.get(how, [word])
    return " ".join(out)


def planted(item: tuple[str, str], clean: str, share: float, words: list[str], rng: random.Random) -> str:
    around = clean.split()
    at = rng.randrange(len(around) + 1)
    return " ".join([*around[:at], changed(item[0], share, words, rng), "Answer:", item[1], *around[at:]])


def main() -> None:
    if not os.environ.get("CURATE_DATA"):
        print("needs CURATE_DATA: a folder of real text")
        return
    table = pq.read_table(Path(os.environ["CURATE_DATA"]) / "web_mix.parquet", columns=["text", "sub"])
    items = items_of(table)
    clean = table.filter(pc.not_equal(pc.fill_null(table["sub"], ""), "eval_data_json"))["text"]
    names = pa.array([str(i) for i in range(len(items))])
    questions, answers = (pa.array(column, pa.large_string()) for column in zip(*items, strict=True))
    runs, index = (
        contamination.build_index(questions, names),
        overlap.build_index(questions, names, answers=answers),
    )
    rng = random.Random(0)
    words = " ".join(questions.to_pylist()).split()
    chosen = rng.sample(range(len(items)), min(PLANTED, len(items)))
    ground = [text for text in clean.slice(0, 2000).to_pylist() if 100 < len(text.split()) < 2000]
    print(
        f"{len(items):,} items, {len(chosen):,} planted; share found, and the item and its answer named right"
    )
    print(
        "words changed  13 words  "
        + "  ".join(f"overlap {bound}" for bound in BOUNDS)
        + "  item right  answer found"
    )
    for share in CHANGES:
        texts = pa.array(
            [planted(items[i], rng.choice(ground), share, words, rng) for i in chosen], pa.large_string()
        )
        by_runs = (
            contamination.measure(texts, runs)["contaminated_word_ratio"].to_numpy(zero_copy_only=False) > 0
        )
        measured = overlap.measure(texts, index)
        value = measured["evaluation_overlap"].to_numpy(zero_copy_only=False)
        right = [
            str(i) == one
            for i, one in zip(chosen, measured["evaluation_overlap_item"].to_pylist(), strict=True)
        ]
        answered = [one for one in measured["evaluation_answer_found"].to_pylist() if one is not None]
        found = "  ".join(f"{(value >= bound).mean():11.3f}" for bound in BOUNDS)
        rest = f"{sum(right) / len(right):10.3f}  {sum(answered) / max(1, len(answered)):12.3f}"
        print(f"{share:13.2f}  {by_runs.mean():8.3f}  {found}  {rest}")
    begin = time.process_time()
    value = overlap.measure(clean, index)["evaluation_overlap"].to_numpy(zero_copy_only=False)
    taken = time.process_time() - begin
    begin = time.process_time()
    by_runs = contamination.measure(clean, runs)["contaminated_word_ratio"].to_numpy(zero_copy_only=False) > 0
    runs_taken = time.process_time() - begin
    megabytes = pc.sum(pc.binary_length(clean)).as_py() / 1e6
    found = "  ".join(f"{(value >= bound).sum():11,}" for bound in BOUNDS)
    print(f"none planted   {by_runs.sum():8,}  {found}  of {len(clean):,} documents")
    print(f"overlap {megabytes / taken:.0f} MB/CPU-s, 13 words {megabytes / runs_taken:.0f}")


if __name__ == "__main__":
    main()
