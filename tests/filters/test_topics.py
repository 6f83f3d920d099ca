"""Topics learned from the texts alone: told apart, the same every time, and safe with any text."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from functools import partial

import hostile
import numpy as np
import pyarrow as pa
import pytest

import filters
from filters.arrow import batches
from filters.models import topics

PLANTED = {
    "sea": "ship wave harbour tide sail anchor gull storm deck captain rope shore",
    "bread": "flour oven yeast dough crust butter knead bake loaf salt crumb rye",
    "law": "judge court plea jury verdict appeal witness trial clerk oath bench crime",
}
COMMON = ["the", "of", "and", "to", "a", "in", "is", "it", "with", "for"]


def planted(n: int = 300, seed: int = 0) -> tuple[pa.LargeStringArray, list[str]]:
    """(texts, the vocabulary that each is drawn from): half of the words are everybody's."""
    chance = random.Random(seed)
    kinds = [chance.choice(list(PLANTED)) for _ in range(n)]
    texts = [
        " ".join(chance.choices(PLANTED[kind].split(), k=20) + chance.choices(COMMON, k=20)) for kind in kinds
    ]
    return pa.array(texts, pa.large_string()), kinds


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("topics") / "model"
    return path, topics.train(planted()[0], path, topics=3)


def test_planted_vocabularies_are_told_apart_and_name_their_topics(model):
    path, facts = model
    texts, kinds = planted(200, seed=1)
    found = topics.measure(texts, path)["topic_terms"].to_pylist()
    kind_of = dict(zip(found, kinds, strict=True))
    assert len(facts["topics"]) == len(kind_of) == 3
    assert sum(facts["topics"].values()) == 300
    assert [kind_of[name] for name in found] == kinds
    for name, kind in kind_of.items():
        assert len(name.split()) == topics.TERMS
        assert set(name.split()) <= set(PLANTED[kind].split())


def test_a_text_of_two_topics_is_less_similar_than_one_of_a_single_topic(model):
    whole, half, unknown = PLANTED["sea"], PLANTED["sea"][:30] + PLANTED["law"][:30], "xylophone 12345"
    found = filters.measure(
        [whole, half, unknown, "", None], "topics", options={"topics": {"model": model[0]}}
    )
    similar = found["topic_similarity"].to_pylist()
    assert similar[0] > 0.8 > similar[1] > similar[2] == similar[3] == 0.0
    assert similar[4] is None
    assert found["topic_terms"].null_count == 3
    assert found["topic_terms"][0].as_py() is not None


def test_the_same_texts_give_the_same_bytes_and_another_seed_other_ones(model, tmp_path):
    texts = planted()[0]
    for name, seed in (("again", 0), ("other", 1)):
        pieces = pa.chunked_array([texts.slice(0, 100), texts.slice(100)])
        topics.train(pieces, tmp_path / name, 3, seed=seed)
    assert (tmp_path / "again").read_bytes() == model[0].read_bytes() != (tmp_path / "other").read_bytes()


def test_hostile_texts_are_measured_alike_in_any_batch(tmp_path, monkeypatch):
    texts = [*hostile.texts().values()] * 3
    column = pa.array(texts, pa.large_string())
    topics.train(pa.concat_arrays([column, hostile.invalid_column()]), tmp_path / "model")
    ask = partial(filters.measure, texts, "topics", options={"topics": {"model": tmp_path / "model"}})
    whole = ask()
    similar = whole["topic_similarity"].to_numpy()
    assert (np.abs(similar) <= 1).all()
    assert len(set(whole["topic_terms"].to_pylist())) > 5
    monkeypatch.setattr("filters.measuring.batches", partial(batches, size=500))
    assert ask().combine_chunks() == whole.combine_chunks()


@pytest.mark.parametrize("texts", [[], ["", None], ["no word", "twice here"], ["the same text"] * 5])
def test_texts_that_share_too_few_words_are_refused(texts, tmp_path):
    with pytest.raises(ValueError, match="take more documents"):
        topics.train(pa.array(texts, pa.large_string()), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_damaged_file_is_refused(model, tmp_path):
    whole, path = model[0].read_bytes(), tmp_path / "model"
    for damaged in (whole[: len(whole) // 2], b"", whole[:200] + b"\0" * 50 + whole[250:], b"[no model]"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="not a model of topics"):
            topics.measure(planted(3)[0], path)


def test_another_kind_of_processor_gives_the_same_bytes(tmp_path):
    """Of NumPy's and OpenBLAS's code for several kinds of processors, another is taken."""
    code = f"""
import sys; sys.path[:0] = {sys.path!r}
from pathlib import Path
import numpy as np
from test_topics import planted
from filters.models import distilled, perplexity, topics
texts, kinds = planted(300)
topics.train(texts, "topics", topics=3)
distilled.train(texts, np.array(kinds), "distilled")
perplexity.train(texts, "perplexity")
np.save("scores", [list(c.to_pylist()) for c in list(perplexity.measure(texts, "perplexity").values())[:3]])
"""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    off = " ".join(name for name in __cpu_dispatch__ if __cpu_features__.get(name))
    for name, more in (
        ("here", {}),
        ("there", {"NPY_DISABLE_CPU_FEATURES": off, "OPENBLAS_CORETYPE": "Prescott"}),
    ):
        (tmp_path / name).mkdir()
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path / name, env=os.environ | more, check=True)
    for file in ("topics", "distilled", "perplexity", "scores.npy"):
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "there" / file).read_bytes(), file
