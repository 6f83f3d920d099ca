"""The manifest that asks for everything, as the page shows it, works: built over small stand-ins for the data it names."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

from conftest import MANIFEST

from curate.engine import open_engine
from curate.manifest.reader import load_manifest
from curate.steps import annotate_all
from curate.store import Store

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "everything.md").read_text(encoding="utf-8")
WORDS = [
    "the",
    "of",
    "and",
    "to",
    "that",
    "with",
    "have",
    "be",
    "house",
    "river",
    "winter",
    "garden",
    "letter",
    "morning",
    "silence",
    "window",
    "mother",
    "road",
    "evening",
    "light",
    "stone",
    "bread",
    "story",
    "friend",
    "water",
    "night",
    "summer",
    "voice",
    "village",
    "winter",
    "table",
    "horse",
    "forest",
    "captain",
    "island",
    "memory",
]
SOURCES = """
[[source]]
name = "books"
format = "jsonl"
path = "books.jsonl"

[[source]]
name = "crawl"
format = "jsonl"
path = "crawl.jsonl"
columns = ["url"]
"""


def prose(seed: int) -> str:
    draw = random.Random(seed)
    sentences = [" ".join(draw.choices(WORDS, k=draw.randint(6, 14))).capitalize() + "." for _ in range(24)]
    return "\n".join(" ".join(sentences[k : k + 4]) for k in range(0, 24, 4))


def block(opening: str) -> str:
    (text,) = re.findall(rf"^```{opening}\n(.*?)^```", PAGE, re.S | re.M)
    return text


def test_the_manifest_with_everything_and_the_function_beside_it_work(tmp_path):
    (tmp_path / "shouting.py").write_text(block('python title="shouting.py"'))
    (tmp_path / "blocked.txt").write_text("bad.test\n")
    (tmp_path / "slurs.txt").write_text("coroutine\n")
    (tmp_path / "exam.jsonl").write_text(
        json.dumps({"text": "Return the name of the thing that was asked for. " * 3})
    )
    pages = [
        {
            "text": f"Click here for page {n}. It costs {n} dollars; write to a{n}@example.org. Buy now. "
            * 4,
            "url": f"http://{h}.test",
        }
        for n, h in enumerate(["good", "bad"] * 60)
    ]
    books = [{"text": prose(seed)} for seed in range(150)]
    (tmp_path / "books.jsonl").write_text("".join(json.dumps(book) + "\n" for book in books))
    (tmp_path / "crawl.jsonl").write_text("".join(json.dumps(page) + "\n" for page in pages))
    rest = MANIFEST[MANIFEST.index("[sizes]") :]
    rest = rest.replace("[holdout]", "[tokenizer]\nvocabulary = 400\n[holdout]").replace(
        '"unique"', '"clean"'
    )
    signals = block("toml").replace("20 MB", "50 kB")
    text = SOURCES + signals + rest[: rest.index("[grid]")]
    (tmp_path / "everything.toml").write_text(text)
    a = annotate_all(
        Store(tmp_path / "store"), load_manifest(tmp_path / "everything.toml"), open_engine("local", 2)
    )
    kept = a.judged["clean"].kept
    assert kept.any()
    blocked = a.values.column("url_blocked_domain_count").to_numpy()
    assert blocked.sum() == 60
    assert not kept[blocked > 0].any()
    assert a.signals.models["quality"]["auc"] > 0.9
