"""Documents are drawn by a weight: the same ones every time, in proportion, whatever their order."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate.engine import open_engine
from curate.errors import ManifestError
from curate.manifest.reader import load_manifest
from curate.signals.values import gumbel
from curate.steps import annotate_all, build
from curate.store import Store

MANIFEST = """
[[source]]
name = "books"
format = "jsonl"
path = "books.jsonl"

[[source]]
name = "web"
format = "jsonl"
path = "web.jsonl"
columns = ["weight"]

[signals]
target_likeness = { target = { source = "books" } }

[[level]]
name = "raw"
keep = { source = ["web"] }

[[level]]
name = "drawn"
on = "raw"
keep = { KEEP }

[sizes]
tokens = "all"

[tokenizer]
vocabulary = 280
"""


def annotated(folder: Path, keep: str, more: str = ""):
    chance = random.Random(3)
    rows = []
    for i in range(900):
        words = "ship wave harbour tide" if i % 3 == 0 else "flour oven yeast dough"
        rows.append({"text": f"d{i} " + " ".join(chance.choices(words.split(), k=6)), "weight": float(i % 3)})
    books = [{"text": " ".join(chance.choices(["ship", "wave", "harbour", "tide"], k=30))} for _ in range(50)]
    folder.mkdir(parents=True, exist_ok=True)
    for name, some in (("books", books), ("web", rows)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    (folder / "m.toml").write_text(more + MANIFEST.replace("KEEP", keep))
    return annotate_all(Store(folder / "store"), load_manifest(folder / "m.toml"), open_engine("local", 1))


def test_a_sample_by_likeness_is_like_the_target(tmp_path):
    a = annotated(tmp_path, "target_log_weight = { sample = 0.2 }")
    likeness = a.values.column("target_likeness").to_numpy()
    raw, drawn = a.judged["raw"].kept, a.judged["drawn"].kept
    assert drawn.sum() == 180
    assert likeness[drawn].mean() > 0 > likeness[raw].mean()
    assert a.signals.models["target_likeness"]["made_of"]["target"]["documents"] == 50


def test_documents_are_drawn_in_proportion_to_their_weights_and_by_their_ids_alone(tmp_path):
    a = annotated(tmp_path, "weight = { sample = 0.1 }")
    drawn = a.judged["drawn"].kept
    logs = a.pool.field("weight", pa.float64()).to_numpy()
    chances = np.array([(logs[drawn] == weight).mean() for weight in (0.0, 1.0, 2.0)])
    expected = np.exp([0.0, 1, 2]) / np.exp([0.0, 1, 2]).sum()
    assert np.abs(chances - expected).max() < 0.12
    again = annotated(tmp_path / "again", "weight = { sample = 0.1 }")
    assert set(a.pool.ids.filter(pa.array(drawn)).to_pylist()) == set(
        again.pool.ids.filter(pa.array(again.judged["drawn"].kept)).to_pylist()
    )
    other = annotated(tmp_path / "other", "weight = { sample = 0.1 }", "draw = 1\n")
    assert (other.judged["drawn"].kept != drawn).any()


def test_the_noise_is_gumbels_and_says_nothing_of_the_order():
    places = np.random.default_rng(0).integers(0, 2**64, 200_000, np.uint64)
    noise = gumbel(np.sort(places)).to_numpy()
    assert noise.mean() == pytest.approx(0.5772, abs=0.02)
    assert noise.var() == pytest.approx(np.pi**2 / 6, abs=0.05)
    assert abs(np.corrcoef(np.arange(len(noise)), noise)[0, 1]) < 0.01
    assert np.isfinite(gumbel(np.array([0, 2**64 - 1], np.uint64)).to_numpy()).all()


def test_the_lock_has_the_number_that_a_sample_came_to_and_a_base_draws_by_it(tmp_path):
    a = annotated(tmp_path, "target_log_weight = { sample = 0.2 }")
    lock = build(Store(tmp_path / "store"), a.manifest, open_engine("local", 1)).lock
    (rule,) = lock["levels"][1]["rules"]
    assert rule["bound"][0] == a.judged["drawn"].bounds[0].low
    later = annotated(tmp_path / "later", "target_log_weight = { sample = 0.2 }")
    path = tmp_path / "later" / "m.toml"
    path.write_text(path.read_text() + '[base]\nlock = "../m.lock.json"\n')
    manifest = load_manifest(path)
    then = annotate_all(Store(tmp_path / "store"), manifest, open_engine("local", 1))
    assert manifest.level("drawn").rules[0].bound.low == rule["bound"][0]
    assert then.judged["drawn"].kept.sum() == later.judged["drawn"].kept.sum()


def test_a_target_of_the_manifest_is_what_documents_are_likened_to(tmp_path):
    quiz = '[[target]]\nname = "quiz"\nformat = "jsonl"\npath = "books.jsonl"\n'
    (tmp_path / "books.jsonl").touch()
    books = annotated(tmp_path, "target_log_weight = { sample = 0.2 }")
    text = (tmp_path / "m.toml").read_text().replace('{ source = "books" }', '{ target = "quiz" }')
    text = text.replace('"books.jsonl"', '"web.jsonl"') + quiz
    (tmp_path / "m.toml").write_text(text)
    a = annotate_all(Store(tmp_path / "store"), load_manifest(tmp_path / "m.toml"), open_engine("local", 1))
    assert a.signals.models["target_likeness"]["made_of"]["target"]["documents"] == 50
    weights = a.values.column("target_likeness").to_numpy()
    liker = weights[a.judged["drawn"].kept]
    assert liker.mean() > weights[a.judged["raw"].kept].mean() + 0.1
    assert len(liker) == books.judged["drawn"].kept.sum()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('{ source = "books" }', '{ target = "quizz" }', '"quizz" is no [[target]]'),
        ('{ source = "books" }', '{ target = "quiz", source = "web" }', "either target"),
        ("target = { source", "raw = { source", "target is missing"),
    ],
)
def test_a_wrong_target_is_named_with_the_fix(tmp_path, old, new, says):
    quiz = '[[target]]\nname = "quiz"\nformat = "jsonl"\npath = "books.jsonl"\n'
    (tmp_path / "m.toml").write_text(MANIFEST.replace("KEEP", "").replace(old, new) + quiz)
    with pytest.raises(ManifestError) as error:
        load_manifest(tmp_path / "m.toml")
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("keep", "says"),
    [
        ("weight = { sample = 2 }", "{ sample = 0.1 } for a tenth drawn"),
        ("weight = { sample = 0.1, top = 0.1 }", "{ sample = 0.1 } for a tenth drawn"),
    ],
)
def test_a_wrong_share_is_named_with_the_fix(tmp_path, keep, says):
    with pytest.raises(ManifestError) as error:
        annotated(tmp_path, keep)
    assert says in str(error.value)
