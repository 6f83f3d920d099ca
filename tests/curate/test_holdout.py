"""Holdouts: whole groups, a sample of each, and nothing like them in any corpus whatever signals were asked for."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate.corpora.groups import _names, _of_bearable_size
from curate.engine import open_engine
from curate.errors import CurateError, ManifestError
from curate.manifest.reader import load_manifest
from curate.results.influence import _fewest, few_sentence, influence
from curate.results.words import statement
from curate.runs.training import train_corpus
from curate.steps import build
from curate.store import Store
from filters.duplicates.leaders import resembling
from train.tokens.packed import Packed

WORDS = [
    f"{a}{b}" for a in ("ba", "ke", "lo", "mi", "nu", "ri", "so", "ta", "ve", "zu") for b in "bdfgklmnprst"
]
MANIFEST = """
[[source]]
name = "pages"
format = "jsonl"
path = "pages.jsonl"
columns = ["url", "author"]

[[level]]
name = "raw"
[tokenizer]
vocabulary = 300
[sizes]
tokens = ["2k", "8k"]
[holdout]
tokens = "4k"
"""


def prose(seed: int, words: int = 60) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(words))


def write(folder: Path, rows: list[dict], more: str = "") -> Path:
    (folder / "pages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "m.toml").write_text(MANIFEST + more)
    return folder / "m.toml"


def made(folder: Path, rows: list[dict], more: str = ""):
    return build(Store(folder / "store"), load_manifest(write(folder, rows, more)), open_engine("local", 1))


def pages(hosts: int, each: int) -> list[dict]:
    return [
        {"text": prose(1000 * h + k), "url": f"https://www.h{h}.example/{k}", "author": f"a{h // 2}"}
        for h in range(hosts)
        for k in range(each)
    ]


def values(built, column: str, rows: np.ndarray) -> list[str]:
    found = pa.concat_arrays(
        [c for part in built.annotated.pool.parts for c in part.table([column])[column].chunks]
    )
    return found.take(pa.array(rows)).to_pylist()


def in_corpora(built) -> np.ndarray:
    return np.unique(np.concatenate([built.rows[level] for level in built.rows]))


def host(url: str) -> str:
    return url.split("/")[2]


def test_a_host_is_held_out_whole_and_scored_in_part(tmp_path):
    built = made(tmp_path, pages(60, 8))
    scored = built.holdouts.rows["raw"]
    held = {host(url) for url in values(built, "url", scored)}
    trained = {host(url) for url in values(built, "url", in_corpora(built))}
    assert held
    assert trained
    assert not held & trained
    assert built.lock["holdouts"]["raw"]["grouped_by"] == ["host"]
    assert built.lock["holdouts"]["raw"]["groups"] == len(held) >= 20
    by_host = np.bincount(np.unique([host(u) for u in values(built, "url", scored)], return_inverse=True)[1])
    assert by_host.max() < 8, "a group is scored in part"


def test_another_draw_holds_out_other_groups(tmp_path):
    held = []
    for draw in (0, 1):
        folder = tmp_path / str(draw)
        folder.mkdir()
        write(folder, pages(60, 8))
        manifest = folder / "m.toml"
        manifest.write_text(f"draw = {draw}\n{manifest.read_text()}")
        built = build(Store(folder / "store"), load_manifest(manifest), open_engine("local", 1))
        held.append({host(url) for url in values(built, "url", built.holdouts.rows["raw"])})
    assert len(held[0] & held[1]) < len(held[0]) * 0.75


def test_any_field_groups_and_what_is_resampled_is_packed_with_the_holdout(tmp_path):
    from curate.runs.cells import scored_on

    built = made(tmp_path, pages(60, 8), 'group = "author"\n')
    authors = values(built, "author", built.holdouts.rows["raw"])
    assert not set(authors) & set(values(built, "author", in_corpora(built)))
    path, _ = scored_on(built)["raw"]
    numbers = np.load(path / "resample.npy")
    assert len(numbers) == len(authors) == Packed.open(path).meta["documents"]
    assert (
        len(set(zip(authors, numbers.tolist(), strict=True)))
        == len(set(authors))
        == len(set(numbers.tolist()))
    )


def test_with_few_groups_documents_stand_alone_unless_groups_were_asked_for(tmp_path):
    (tmp_path / "a").mkdir()
    built = made(tmp_path / "a", pages(3, 100))
    assert built.lock["holdouts"]["raw"]["grouped_by"] == ["document"]
    (tmp_path / "b").mkdir()
    with pytest.raises(
        CurateError, match='no host of at most 5% of its text to hold out; write group = "document"'
    ):
        made(tmp_path / "b", pages(3, 100), 'group = "host"\n')
    (tmp_path / "c").mkdir()
    with pytest.raises(ManifestError, match='group = "auther": no source carries .*did you mean "author"'):
        made(tmp_path / "c", pages(60, 8), 'group = "auther"\n')
    rows = [{"text": row["text"], "url": row["url"]} for row in pages(60, 8)]
    with pytest.raises(CurateError, match='group = "author": no document has one'):
        made(tmp_path / "c", rows, 'group = "author"\n')


def test_no_corpus_holds_a_twin_or_a_near_twin_of_what_is_held_out_though_no_duplicates_are_asked(tmp_path):
    rows = []
    for k in range(300):
        text = prose(k)
        twins = [text, text, text.replace(" ", "  ", 3) + " ta", f"{text[:1].upper()}{text[1:]}."]
        rows += [{"text": t, "url": f"https://h{k}-{i}.example/", "author": "a"} for i, t in enumerate(twins)]
    rows += [{"text": f"short {k // 2}", "url": f"https://s{k}.example/", "author": "a"} for k in range(100)]
    built = made(tmp_path, rows)
    held = pa.array(values(built, "text", built.holdouts.rows["raw"]), pa.large_string())
    trained = pa.array(values(built, "text", in_corpora(built)), pa.large_string())
    assert len(held) > 20
    assert len(trained) > 200
    assert not set(held.to_pylist()) & set(trained.to_pylist())
    assert not any(resembling(held, trained).to_pylist())


def test_a_run_on_one_corpus_holds_out_no_twin_of_what_it_trains_on(tmp_path):
    rows = [{"text": prose(k // 4), "url": f"https://h{k}.example/", "author": "a"} for k in range(400)]
    built = made(tmp_path, rows)
    setting = {"vocabulary": 300, "model": {"depth": 1, "width": 16}, "context": 16, "batch": 4}
    corpus = max(built.corpora, key=lambda c: c.size)
    store = built.annotated.store
    train_corpus(store, corpus.path, setting, tmp_path / "run", open_engine("local", 1))
    folder = next(store.folder("packed").glob("corpus-*"))
    trained, held = (Packed.open(folder / name) for name in ("train", "holdout"))

    def documents(packed: Packed) -> set[bytes]:
        edges = packed.documents
        return {packed.tokens[a:b].tobytes() for a, b in zip(edges[:-1], edges[1:], strict=True)}

    assert documents(trained)
    assert documents(held)
    assert not documents(trained) & documents(held)


@pytest.mark.parametrize(
    ("place", "package"),
    [
        ("site-packages/torch/nn/modules/linear.py::Linear", "torch/nn/modules/"),
        ("site-packages/scikit_learn-1.5.0.dist-info/METADATA", "scikit_learn"),
        ("site-packages/typing_extensions.py::<module>", "typing_extensions"),
        ("python3.12/json/decoder.py::JSONDecoder", "json/"),
        ("site-packages/ruamel.yaml/x/a-b.py", "ruamel.yaml/x/"),
        ("site-packages/Jinja2-3.1.dist-info/LICENSE.txt#2", "jinja2"),
        ("notes.md", "notes"),
    ],
)
def test_the_package_of_a_place(place, package):
    table = pa.table({"place": [place], "text": ["x"]})
    assert _names(table, "package").to_pylist() == [package]


def test_a_package_that_is_most_of_the_text_is_cut_in_its_folders():
    names = pa.array(["big/a/x/", "big/a/y/", "big/b/", "big/", "small/deep/er/", "of/a/folder"])
    size = np.array([500, 10, 10, 5, 9, 466])
    of_package = np.array([True, True, True, True, True, False])
    assert _of_bearable_size(names, of_package, size).to_pylist() == [
        "big/a/x",
        "big/a/y",
        "big/b",
        "big",
        "small",
        "of/a/folder",
    ]


# ---- What a difference rests on ---------------------------------------------------------------------------


def scored_runs(
    folder: Path, clean: np.ndarray, raw: np.ndarray, tokens: np.ndarray, group: np.ndarray
) -> list[dict]:
    packed = folder / "packed"
    offsets = np.concatenate([[0], np.cumsum(tokens)])
    Packed.write(
        packed, np.zeros(offsets[-1], np.uint16), offsets, tokens, vocabulary=300, end=0, resample=group
    )
    runs = []
    for level, nats in (("raw", raw), ("clean", clean)):
        for seed in (0, 1):
            directory = folder / f"{level}-{seed}"
            directory.mkdir()
            np.save(directory / "holdout-raw.npy", nats)
            loss = {"nats_per_token": float(nats.sum() / tokens.sum())}
            runs.append(
                {"level": level, "size": 1000, "seed": seed, "tags": {}, "losses": {"raw": loss},
                 "directory": str(directory), "cell": {"holdouts": {"raw": str(packed)}}}
            )  # fmt: skip
    return runs


def test_a_sign_that_few_documents_decide_is_said_to_depend_on_them(tmp_path):
    tokens = np.full(100, 10)
    raw = np.full(100, 30.0)
    clean = raw - 0.1  # better on 98 of 100, and far worse on two of one template
    clean[[7, 8]] += 50
    group = np.arange(100)
    group[8] = 7
    found = influence("raw", scored_runs(tmp_path, clean, raw, tokens, group), "clean", "raw")
    assert found["won"] == 0.98
    assert found["median"] == pytest.approx(-0.01)
    assert found["mean"] > 0
    assert (found["decisive_documents"], found["decisive_groups"], found["decided_by_few"]) == (2, 1, True)
    assert {one["document"] for one in found["most"]} == {7, 8}
    assert found["groups"] == 99
    assert found["effective_groups"] == pytest.approx(1000**2 / (98 * 100 + 400))
    assert "depends on 2 of 100 documents" in few_sentence(found)
    difference = {"value": 0.9, "low": 0.5, "high": 1.3, "distinguishable": True, "tokens": 1000}
    holdout = {
        "levels": {"raw": {"setting": ""}, "clean": {"setting": ""}}, "influence": {"clean": found},
        "exchange": [{"level": "clean", "of": "raw", "rate": None, "difference": difference}],
    }  # fmt: skip
    assert "(depends on 2 of 100 documents)" in statement("raw", holdout)


def test_a_sign_that_all_documents_share_depends_on_no_few_of_them():
    rng = np.random.default_rng(0)
    for _ in range(200):  # some of whose sums differ from themselves in another order, by rounding
        assert len(_fewest(-rng.random(31))) == 31
    assert len(_fewest(np.full(50, -1.0))) == 50
    assert len(_fewest(np.array([5.0, -1, -1, -1]))) == 1
