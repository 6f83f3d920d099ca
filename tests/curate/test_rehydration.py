"""Rehydration: documents that stand for many are written several times, at places that are drawn."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import datasets
import numpy as np
import pytest

from curate.duplicates.rehydration import copies_of
from curate.engine import open_engine
from curate.errors import ManifestError
from curate.manifest.reader import load_manifest
from curate.manifest.weights import PRESETS, parse_weights
from curate.steps import build
from curate.store import Store

MANIFEST = """
[[source]]
name = "pages"
format = "jsonl"
path = "pages.jsonl"

[signals]
exact_duplicates = true

[[level]]
name = "raw"

[[level]]
name = "unique"
on = "raw"
keep = { duplicate = false }

[[level]]
name = "weighed"
on = "unique"
WEIGHTS

[sizes]
tokens = ["1k", "4k"]

[holdout]
tokens = "300"
from = ["unique"]

[tokenizer]
vocabulary = 258
"""


def write(folder: Path, weights: str) -> Path:
    chance = random.Random(2)
    rows = []
    for k in range(200):
        text = " ".join(f"w{chance.randrange(900)}" for _ in range(8))
        rows += [text] * (1 + k % 4)
    (folder / "pages.jsonl").write_text("\n".join(json.dumps({"text": row}) for row in rows) + "\n")
    path = folder / "m.toml"
    path.write_text(MANIFEST.replace("WEIGHTS", weights))
    return path


def texts(built, level: str, size: int) -> tuple[list[str], list[int]]:
    path = next(c.path for c in built.corpora if (c.level, c.size) == (level, size))
    table = datasets.load_from_disk(str(path))["train"].with_format("arrow")[:]
    return table["text"].to_pylist(), table["copies"].to_pylist()


def test_the_weights_of_fineweb_2_are_steps_of_the_cluster_size():
    weights = parse_weights(PRESETS["fineweb-2"])
    sizes = np.array([1, 2, 3, 4, 5, 99, 100, 999, 1000, 10**6])
    assert copies_of(weights, sizes).tolist() == [1, 2, 3, 3, 5, 5, 8, 8, 1, 1]


def test_every_size_holds_a_share_of_the_copies_and_sizes_nest(tmp_path):
    manifest = load_manifest(write(tmp_path, "weights = { 1 = 1, 2 = 3, 4 = 2 }"))
    built = build(Store(tmp_path / "store"), manifest, open_engine("local", 1))
    small, large = texts(built, "weighed", 1000), texts(built, "weighed", 4000)
    assert large[0][: len(small[0])] == small[0]
    for some, copies in (small, large):
        stands = Counter(some)
        assert all(stands[text] <= n for text, n in zip(some, copies, strict=True))
        assert {1, 2, 3} == set(copies)
        assert np.mean(copies) > 2.25, "what stands more often is met more often, at every size"
    assert len(large[0]) > 1.2 * len(set(large[0]))
    (level,) = [level for level in built.lock["levels"] if level["name"] == "weighed"]
    assert level["weights"] == {"1": 1, "2": 3, "4": 2}
    held = sum(1 for row in built.holdouts.rows["unique"])
    assert level["documents"] == 200
    assert 200 - held < level["with_copies"] < 2.5 * 200
    readme = next(c.path for c in built.corpora if c.level == "weighed") / "README.md"
    assert "1 from 1, 3 from 2, 2 from 4" in readme.read_text()


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ('weights = "fineweb"', 'weights = "fineweb": write weights = "fineweb-2", or { 1 = 1, 2 = 2'),
        ("weights = { 2 = 2 }", "say what a cluster of one document weighs: 1 = 1"),
        ("weights = { 1 = 0 }", "1 = 0 is no whole number in 1..100"),
        ("weights = { one = 1 }", "sizes of clusters are whole numbers from 1"),
        ("weights = 3", "weights = 3: write weights ="),
    ],
)
def test_wrong_weights_are_named_with_the_fix(tmp_path, weights, says):
    with pytest.raises(ManifestError) as error:
        load_manifest(write(tmp_path, weights))
    assert says in str(error.value)


def test_weights_without_dropping_duplicates_are_refused(tmp_path):
    path = write(tmp_path, 'weights = "fineweb-2"')
    path.write_text(path.read_text().replace("keep = { duplicate = false }", ""))
    with pytest.raises(ManifestError, match=r"add keep = \{ duplicate = false \}"):
        load_manifest(path)
