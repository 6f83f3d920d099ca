"""A corpus folder opens with `datasets` in every way, and with polars and DuckDB."""

from __future__ import annotations

import json

import datasets
import pytest
from conftest import write_manifest

import curate
from curate.engine import open_engine
from curate.manifest.reader import load_manifest
from curate.steps import build
from curate.store import Store


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    manifest = load_manifest(write_manifest(folder))
    return build(Store(folder / "store"), manifest, open_engine("local", 1)).corpora


@pytest.fixture
def corpus(corpora):
    return next(c for c in corpora if c.level == "unique" and c.label == "8k")


def test_load_from_disk_and_load_dataset_give_the_same_documents(corpus, tmp_path):
    mapped = datasets.load_from_disk(str(corpus.path))["train"]
    copied = datasets.load_dataset(str(corpus.path), cache_dir=str(tmp_path), split="train")
    assert copied.features == mapped.features
    assert copied.to_list() == mapped.to_list() == curate.open_corpus(corpus.path).to_list()
    assert mapped.split == "train"
    assert len(mapped) == corpus.documents


def test_a_corpus_is_streamed_by_the_name_of_its_level_and_size(corpus):
    assert datasets.get_dataset_config_names(str(corpus.path)) == ["unique-8k"]
    streamed = datasets.load_dataset(str(corpus.path), "unique-8k", split="train", streaming=True)
    assert [row["id"] for row in streamed] == curate.open_corpus(corpus.path)["id"][:]


def test_the_tokenizer_in_the_folder_counts_the_tokens_that_the_documents_say(corpus):
    from train.tokens import encode

    data = curate.open_corpus(corpus.path)
    _, offsets = encode(corpus.path / "tokenizer.json", data["text"][:])
    assert [b - a for a, b in zip(offsets, offsets[1:], strict=False)] == data["tokens"][:]


@pytest.mark.parametrize("name", ["which?", 'a "b" c', "Ünïcode*"])
def test_levels_of_odd_names_are_configurations_as_well(tmp_path, name):
    rows = "\n".join(json.dumps({"text": f"words {i} of a text that is short"}) for i in range(50))
    (tmp_path / "a.jsonl").write_text(rows)
    (tmp_path / "m.toml").write_text(
        '[[source]]\nname = "a"\nformat = "jsonl"\npath = "a.jsonl"\n[tokenizer]\nvocabulary = 258\n'
        f"[[level]]\nname = {json.dumps(name)}\n"
    )
    (made,) = build(
        Store(tmp_path / "store"), load_manifest(tmp_path / "m.toml"), open_engine("local", 1)
    ).corpora
    data = datasets.load_dataset(str(made.path), cache_dir=str(tmp_path / "cache"), split="train")
    assert len(data) == 50


def test_polars_reads_the_files(corpus):
    polars = pytest.importorskip("polars", reason="the extra `outside` is not installed")
    files = sorted((corpus.path / "train").glob("*.arrow"))
    table = polars.concat([polars.read_ipc_stream(file) for file in files])
    assert table["id"].to_list() == curate.open_corpus(corpus.path)["id"][:]
    assert int(table["tokens"].sum()) == corpus.tokens


def test_duckdb_reads_the_mapped_files(corpus):
    duckdb = pytest.importorskip("duckdb", reason="the extra `outside` is not installed")
    documents = curate.open_corpus(corpus.path).data.table  # noqa: F841 - DuckDB finds it by its name
    found = duckdb.sql("select source, sum(tokens) from documents group by source").fetchall()
    assert sum(tokens for _, tokens in found) == corpus.tokens
