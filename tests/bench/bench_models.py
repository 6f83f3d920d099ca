"""Families with a model: what making one takes, MB of text per CPU-second of applying it, the classifier beside fastText.

    CURATE_DATA=FOLDER python tests/bench/bench_models.py

Books and documentation of web_mix.parquet are the good documents, its pages, mail and noise the others; one thread. The
library gets a tenth of the documents, without its lines' ends, as it must; scores are compared on the way.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.models import contamination, distilled, perplexity, quality, target_likeness

GOOD = ["books", "docs"]
OTHER = ["page", "boilerplate", "noise", "mail_spam", "mail_ham"]


def seconds(work: Callable[[], object], passes: int = 1) -> tuple[float, object]:
    best, answer = float("inf"), None
    for _ in range(passes):
        begin = time.process_time()
        answer = work()
        best = min(best, time.process_time() - begin)
    return best, answer


def megabytes(texts: pa.Array) -> float:
    return pc.sum(pc.binary_length(texts)).as_py() / 1e6


def judged(texts: pa.Array, kind: np.ndarray, family: np.ndarray, path: Path) -> None:
    """Kinds of three tenths of the families, learned from four fifths of these and foretold of the others."""
    mine, apart = family % 1000 < 300, family // 1000 % 5 == 0
    learned, others = (texts.filter(pa.array(mine & side)) for side in (~apart, apart))
    taken, told = seconds(lambda: distilled.train(learned, kind[mine & ~apart], path))
    family_of_labels = distilled.family("kind", labels=True)
    found = family_of_labels.measure(others, path)["kind"].to_numpy(zero_copy_only=False)
    used, _ = seconds(lambda: family_of_labels.measure(learned, path), 3)
    print(f"distilled: {len(np.unique(kind))} labels of {len(learned)} documents learned in {taken:.0f} CPU-s, right about "
          f"{(found == kind[mine & apart]).mean():.3f} of {len(others)} of other families (held out {told['accuracy']:.3f}), "
          f"{megabytes(learned) / used:.0f} MB/CPU-s")  # fmt: skip


def likened(texts: pa.Array, kind: np.ndarray, books: pa.Array, path: Path) -> None:
    """Books as a target: what the best tenth and a sample of a tenth are made of."""
    taken, told = seconds(lambda: target_likeness.train(books, texts, path))
    used, found = seconds(lambda: target_likeness.measure(texts, path), 3)
    noise = np.random.default_rng(0).gumbel(size=len(texts))
    tenth = len(texts) // 10
    drawn = np.argsort(-(found["target_log_weight"].to_numpy() + noise))[:tenth]
    liker = np.argsort(-found["target_likeness"].to_numpy())[:tenth]
    print(f"target_likeness: {told} learned in {taken:.1f} CPU-s, {megabytes(texts) / used:.0f} MB/CPU-s; "
          f"books among all {(kind == 'books').mean():.3f}, in a tenth drawn {(kind[drawn] == 'books').mean():.3f}, "
          f"in the tenth of the highest likeness {(kind[liker] == 'books').mean():.3f}")  # fmt: skip


def main() -> None:
    folder = os.environ.get("CURATE_DATA")
    if not folder:
        sys.exit("CURATE_DATA is not set: name the folder that holds web_mix.parquet")
    table = pq.read_table(Path(folder) / "web_mix.parquet", columns=["id", "text", "kind", "family"])
    texts = table["text"].cast(pa.large_string()).combine_chunks()
    kind = table["kind"].combine_chunks()
    good, other = (texts.filter(pc.is_in(kind, pa.array(kinds))) for kinds in (GOOD, OTHER))
    english = pa.concat_arrays([good, other])
    kinds = np.array(kind.to_pylist())
    family = np.array(
        [
            zlib.crc32((f or i).encode())
            for f, i in zip(*(table[c].to_pylist() for c in ("family", "id")), strict=True)
        ]
    )
    with tempfile.TemporaryDirectory() as temporary:
        judged(texts, kinds, family, Path(temporary) / "model")
        books = pq.read_table(Path(folder) / "books.parquet", columns=["text"])["text"]
        likened(texts, kinds, books.cast(pa.large_string()).combine_chunks()[::7], Path(temporary) / "model")
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "model"
        wall = time.perf_counter()
        told = quality.train(good, other, path)
        print(f"quality: trained in {time.perf_counter() - wall:.0f} s, held-out AUC {told['auc']:.3f}")
        quality.measure(english[:1], path)
        ours, found = seconds(lambda: quality.measure(english, path)["quality_score"], 3)
        library = fasttext.load_model(str(path))
        sample = english.take(pa.array(np.arange(0, len(english), 10)))
        lines = [text.replace("\n", " ") + "\n" for text in sample.to_pylist()]
        theirs, answers = seconds(
            lambda: [{b: a for a, b in library.f.predict(s, 2, 0.0, "strict")} for s in lines]
        )
        speed = megabytes(english) / ours, megabytes(sample) / theirs
        expected = np.array([answer.get("__label__hq", np.nan) for answer in answers])
        gap = np.nanmax(np.abs(found.to_numpy(zero_copy_only=False)[::10] - np.clip(expected, 0, 1)))
        print(f"quality: {speed[0]:.0f} MB/CPU-s, the library {speed[1]:.1f}, {speed[0] / speed[1]:.1f} times; "
              f"scores differ by at most {gap:.1e}")  # fmt: skip

        taken, told = seconds(lambda: perplexity.train(good, path))
        perplexity.measure(english[:1], path)
        used, _ = seconds(lambda: perplexity.measure(english, path), 2)
        print(f"perplexity: {megabytes(good):.0f} MB made into a model in {taken:.1f} CPU-s, "
              f"then {megabytes(english) / used:.0f} MB/CPU-s")  # fmt: skip

        names = pa.array([str(i) for i in range(2000)])
        taken, _ = seconds(lambda: contamination.make_index(texts[:2000], names, path))
        contamination.measure(english[:1], path)
        used, _ = seconds(lambda: contamination.measure(texts, path), 2)
        print(
            f"contamination: an index of 2,000 documents in {taken:.1f} CPU-s, then {megabytes(texts) / used:.0f} MB/CPU-s"
        )


if __name__ == "__main__":
    main()
