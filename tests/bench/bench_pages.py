"""F1 of the text that is found in pages, and pages per CPU-second.

CURATE_ARTICLES: a checkout of github.com/scrapinghub/article-extraction-benchmark, whole articles (`ground-truth.json`, `html/`).
F1 is of the mean precision and recall of runs of four words, a page each, as that benchmark defines it.
CURATE_PHRASES: the folder `tests` of a checkout of github.com/adbar/trafilatura, phrases that the text of a page must and must
not hold (`evaldata.json`, `cache/`, `eval/`). F1 is over all phrases.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import mean

from curate.sources.formats.pages import page
from curate.sources.rows import Problems
from curate.spec.manifest import RESILIPARSE, TRAFILATURA

WORD = re.compile(r"\w+")
RUN = 4  # words

Pages = Iterator[tuple[bytes, dict]]


def articles(folder: Path) -> Pages:
    for name, truth in json.loads((folder / "ground-truth.json").read_text()).items():
        yield gzip.decompress((folder / "html" / f"{name}.html.gz").read_bytes()), truth


def phrases(folder: Path) -> Pages:
    for truth in json.loads((folder / "evaldata.json").read_text()).values():
        for place in ("cache", "eval"):
            if (path := folder / place / truth["file"]).is_file():
                yield path.read_bytes(), truth
                break


def runs(text: str) -> Counter:
    words = WORD.findall(text)
    return Counter(tuple(words[i : i + RUN]) for i in range(max(1, len(words) - RUN + 1)) if words)


def f1_of_articles(texts: list[str], truths: list[dict]) -> float:
    precisions, recalls = [], []
    for text, truth in zip(texts, truths, strict=True):
        found, right = runs(text), runs(truth.get("articleBody", ""))
        both = (found & right).total()
        precisions += [both / found.total()] if found else []
        recalls += [both / right.total()] if right else []
    precision, recall = mean(precisions), mean(recalls)
    return 2 * precision * recall / (precision + recall)


def f1_of_phrases(texts: list[str], truths: list[dict]) -> float:
    wanted = unwanted = missing = 0
    for text, truth in zip(texts, truths, strict=True):
        text = " ".join(text.split())
        kept = sum(" ".join(phrase.split()) in text for phrase in truth["with"])
        wanted, missing = wanted + kept, missing + len(truth["with"]) - kept
        unwanted += sum(" ".join(phrase.split()) in text for phrase in truth["without"])
    return 2 * wanted / (2 * wanted + unwanted + missing)


DATA: dict[str, tuple[Callable[[Path], Pages], Callable[[list[str], list[dict]], float]]] = {
    "CURATE_ARTICLES": (articles, f1_of_articles),
    "CURATE_PHRASES": (phrases, f1_of_phrases),
}


def main() -> None:
    for variable, (read, f1) in DATA.items():
        if variable not in os.environ:
            print(f"{variable} is not set: skipped (see the head of {Path(__file__).name})")
            continue
        pages = list(read(Path(os.environ[variable])))
        for extract in (RESILIPARSE, TRAFILATURA):
            if find_spec(extract) is None:
                print(f"{variable[7:].lower():<10}{extract:<13}not installed: skipped")
                continue
            begin = time.process_time()
            found = [page(raw, None, "", Problems(), extract) for raw, _ in pages]
            rate = len(pages) / (time.process_time() - begin)
            score = f1([text[0] if text else "" for text in found], [truth for _, truth in pages])
            print(
                f"{variable[7:].lower():<10}{extract:<13}{len(pages):>5} pages  F1 {score:.3f}{rate:8.0f} pages/s"
            )


if __name__ == "__main__":
    main()
