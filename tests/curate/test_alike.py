"""Semantic near-duplicates in a build: by learned vectors, by those of a function, and refused where there are none."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from conftest import write_manifest

from curate.engine import open_engine
from curate.errors import CurateError, ManifestError
from curate.manifest.reader import load_manifest
from curate.steps import annotate_all
from curate.store import Store

COLOURS = ["red", "green", "blue"]
MANIFEST = """
name = "alike"

[[source]]
name = "notes"
format = "jsonl"
path = "alike.jsonl"
id = "id"

[signals]
{signals}

[[level]]
name = "raw"

[[level]]
name = "told apart"
on = "raw"
keep = {{ semantic_similarity = [-1, 0.99] }}
"""
CUSTOM = """
semantic_duplicates = { vectors = "colour" }

[signals.custom.colour]
function = "mine:colour"
vectors = true
"""
MODULE = """
import pyarrow as pa
COLOURS = ["red", "green", "blue"]

def colour(batch):
    return pa.array([[float(text.as_py().count(c)) for c in COLOURS] for text in batch["text"]])
"""


def notes(folder, rows: list[dict] | None = None) -> None:
    if rows:
        (folder / "alike.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return
    texts = [f"note {i} is {COLOURS[i % 3]} and {'nothing else ' * (20 - i)}" for i in range(12)]
    rows = [json.dumps({"id": str(i), "text": text}) for i, text in enumerate(texts)]
    (folder / "alike.jsonl").write_text("\n".join([*rows, json.dumps({"id": "none", "text": "no colour"})]))


def annotated(folder, signals: str, module: str = MODULE, workers: int = 1, rows: list[dict] | None = None):
    notes(folder, rows)
    (folder / "mine.py").write_text(module)
    manifest = load_manifest(write_manifest(folder, MANIFEST.format(signals=signals)))
    return annotate_all(Store(folder / "store"), manifest, open_engine("local", workers))


def test_the_vectors_of_a_function_say_which_document_resembles_which(tmp_path):
    found = annotated(tmp_path, CUSTOM)
    names = found.pool.field("own_id", pa.string()).to_pylist()
    ids = dict(zip(found.pool.ids.to_pylist(), names, strict=True))
    of = [ids.get(one) for one in found.values.column("semantic_duplicate_of").to_pylist()]
    alike = dict(
        zip(names, zip(of, found.values.column("semantic_similarity").to_pylist(), strict=True), strict=True)
    )
    # The longest has none before it, a text without any colour no vector; the first of a colour resembles no other.
    assert {name for name, (other, _) in alike.items() if other is None} == {"0", "none"}
    for name, (other, cosine) in alike.items():
        assert cosine == (0 if name in ("0", "1", "2", "none") else 1)
        assert cosine == 0 or int(other) % 3 == int(name) % 3
    kept = found.judged["told apart"].verdict < 0
    assert {name for name, stays in zip(names, kept, strict=True) if stays} == {"0", "1", "2", "none"}


@pytest.mark.parametrize("most", [4096, 50])
def test_documents_are_compared_with_all_that_are_preferred_to_them_or_within_clusters(
    tmp_path, monkeypatch, most
):
    monkeypatch.setattr("filters.duplicates.meaning.MOST", most)
    module = MODULE.replace(
        "float(text.as_py().count(c)) for c in COLOURS", "float(w) for w in text.as_py().split()"
    )
    chance = np.random.default_rng(0)
    texts = [" ".join(f"{x:.2f}" for x in row) for row in chance.standard_normal((300, 5))]
    found = annotated(tmp_path, CUSTOM, module, rows=[{"id": str(i), "text": t} for i, t in enumerate(texts)])
    vectors = np.array(
        [[np.float16(w) for w in found.pool.document(i)["text"].split()] for i in range(300)], float
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ranked = vectors[np.argsort(found.pool.rank)]
    nearest = [0.0, *(float((ranked[:i] @ ranked[i]).max()) for i in range(1, 300))]
    similar = np.array(found.values.column("semantic_similarity").to_pylist())
    same = np.isclose(similar[np.argsort(found.pool.rank)], nearest, atol=1e-3)
    assert same.all() if most > 300 else 0.4 < same.mean() < 1
    assert (similar[np.argsort(found.pool.rank)] <= np.array(nearest) + 1e-3).all()


def test_learned_vectors_give_the_same_answer_with_any_number_of_workers(tmp_path):
    tables = []
    for workers in (1, 2):
        (tmp_path / str(workers)).mkdir()
        found = annotated(
            tmp_path / str(workers),
            'topics = { train = { source = "notes" }, topics = 2 }\nsemantic_duplicates = true',
            workers=workers,
        )
        tables.append(found.values.signals.versions["semantic_duplicates"]["digest"])
        similar = found.values.column("semantic_similarity").to_pylist()
        assert max(similar) > 0.9
        assert 0 in similar  # of the longest
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    ("signals", "what"),
    [
        ("semantic_duplicates = true", "topic_vector is not measured; add topics"),
        ('semantic_duplicates = { vectors = "word_count" }', "word_count is no vector; take topic_vector"),
        ('semantic_duplicates = { vectors = "word_cuont" }', 'did you mean "word_count'),
        ("heuristics = true", "semantic_similarity is not measured; add semantic_duplicates = true"),
        (CUSTOM + 'spans = "yes"', "spans"),
    ],
)
def test_what_has_no_vectors_is_refused(tmp_path, signals, what):
    with pytest.raises(ManifestError, match=what):
        annotated(tmp_path, signals)


def test_a_vector_is_not_bounded(tmp_path):
    notes(tmp_path)
    (tmp_path / "mine.py").write_text(MODULE)
    text = MANIFEST.format(signals=CUSTOM).replace("semantic_similarity = [-1, 0.99]", "colour = [0, 1]")
    with pytest.raises(ManifestError, match="vectors cannot be bounded; bound semantic_similarity"):
        load_manifest(write_manifest(tmp_path, text))


@pytest.mark.parametrize(
    ("returned", "what"),
    [
        ("[1.0] * (1 + len(text.as_py()) % 2)", "as many numbers as all others"),
        ("[float('nan'), 1.0]", "none of them above 65,504"),
        ("[1e6]", "none of them above 65,504"),
        ("[]", "as many numbers as all others"),
        ("'text'", "returned no column of list<item: halffloat>"),
    ],
)
def test_vectors_of_several_sizes_or_no_numbers_are_one_line(tmp_path, returned, what):
    module = MODULE.replace("[float(text.as_py().count(c)) for c in COLOURS]", returned)
    with pytest.raises(CurateError, match=what):
        annotated(tmp_path, CUSTOM, module)
