"""What was judged of some documents, in a field or in a file, becomes a signal of all that levels bound."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from curate.engine import open_engine
from curate.errors import CurateError, ManifestError
from curate.manifest.reader import load_manifest
from curate.steps import annotate_all
from curate.store import Store

MANIFEST = """
[[source]]
name = "web"
format = "jsonl"
path = "web.jsonl"
id = "key"
columns = ["topic"]

[signals.distilled.subject]
label = "topic"

[signals.distilled.worth]
score = "stars"
from = "judged.jsonl"
id = "key"

[[level]]
name = "raw"

[[level]]
name = "bread"
on = "raw"
keep = { subject = ["bread"], subject_probability = [0.5, 1], worth = [2, inf] }

[sizes]
tokens = "all"
"""


def write(folder: Path, manifest: str = MANIFEST, judged: int = 300) -> Path:
    chance = random.Random(3)
    topics = {"sea": "ship wave harbour tide", "bread": "flour oven yeast dough"}
    rows, judgements = [], []
    for i in range(600):
        topic, good = chance.choice(list(topics)), chance.random() < 0.5
        words = topics[topic].split() + (["fine", "proven"] if good else ["cheap", "win"])
        row = {"key": f"k{i}", "text": " ".join(chance.choices(words, k=30)), "truth": [topic, good]}
        rows.append(row | ({"topic": topic} if i < 300 else {}))
        judgements.append({"key": f"k{i}", "stars": 3 if good else 1})
    folder.mkdir(parents=True, exist_ok=True)
    for name, some in (
        ("web", rows),
        ("judged", judgements[300 : 300 + judged] + [{"key": "no such", "stars": 9}]),
    ):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    (folder / "m.toml").write_text(manifest)
    return folder / "m.toml"


def annotated(folder: Path, **how):
    return annotate_all(Store(folder / "store"), load_manifest(write(folder, **how)), open_engine("local", 1))


def test_a_field_and_a_file_of_judgements_become_signals_that_a_level_bounds(tmp_path):
    a = annotated(tmp_path)
    rows = [json.loads(line)["truth"] for line in (tmp_path / "web.jsonl").read_text().splitlines()]
    own = [part.table(["own_id"])["own_id"].to_pylist() for part in a.pool.parts]
    truth = [rows[int(key[1:])] for keys in own for key in keys]
    kept = a.judged["bread"].kept
    assert sum((t == ["bread", True]) == k for t, k in zip(truth, kept, strict=True)) > 580
    facts = a.signals.models
    assert facts["distilled.subject"]["accuracy"] > 0.95
    assert facts["distilled.subject"]["made_of"]["documents"] == 300
    assert facts["distilled.worth"]["variance"] > 0.9
    assert facts["distilled.worth"]["made_of"]["documents"] == 300


def test_another_judgement_makes_another_model(tmp_path):
    models = [annotated(tmp_path, judged=n).signals.models for n in (300, 250)]
    worth, subject = ([m[f"distilled.{name}"]["sha256"] for m in models] for name in ("worth", "subject"))
    assert worth[0] != worth[1]
    assert subject[0] == subject[1]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('label = "topic"', 'lable = "topic"', 'write label = "FIELD" or score = "FIELD"'),
        ('label = "topic"', 'label = "topik"', 'no source carries the field topik; add columns = ["topik"]'),
        ('from = "judged.jsonl"', 'from = "other.jsonl"', "no such file"),
        ("distilled.worth", "distilled.word_count", "the name is a shipped signal's"),
        ('subject = ["bread"]', "subject = [0, 1]", "subject takes a list of labels"),
    ],
)
def test_what_is_wrong_is_named_with_the_fix(tmp_path, old, new, says):
    with pytest.raises(ManifestError) as error:
        load_manifest(write(tmp_path, MANIFEST.replace(old, new)))
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("new", "says"),
    [
        ('id = "stars"\nfrom', "is the id of a document"),
        ('score = "moons"\nfrom', "moons"),
        ('bytes = "1 kB"\nfrom', "judged documents are too few"),
    ],
)
def test_judgements_that_do_not_fit_are_said_with_the_file(tmp_path, new, says):
    text = MANIFEST.replace('score = "stars"\n', "") if "score" in new else MANIFEST
    text = text.replace('"judged.jsonl"\nid = "key"', '"judged.jsonl"') if "id =" in new else text
    with pytest.raises(CurateError, match=says):
        annotated(tmp_path, manifest=text.replace("\nfrom", f"\n{new}"))
