"""Whole levels as corpora: a manifest of eight lines, budgets beside "all", many shards, and what memory they take."""

from __future__ import annotations

import json

import datasets
import pytest
from click.testing import CliRunner
from conftest import MANIFEST, write_manifest

from curate.cli import main
from curate.corpora.corpus import BATCH_BYTES, open_corpus
from curate.engine import open_engine
from curate.errors import ManifestError
from curate.manifest.reader import load_manifest
from curate.spec.manifest import Manifest
from curate.steps import build
from curate.store import Store

SHORT = """name = "short"
[[source]]
name = "notes"
format = "jsonl"
path = "notes.jsonl"
[[level]]
name = "raw"
[tokenizer]
vocabulary = 280
"""


def built(folder, text):
    return build(
        Store(folder / "store"), load_manifest(write_manifest(folder, text)), open_engine("local", 1)
    )


def changed(*pairs):
    text = MANIFEST
    for old, new in pairs:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text


def test_sources_and_levels_alone_make_every_document_of_a_level_a_corpus(tmp_path):
    made = built(tmp_path, SHORT)
    (corpus,) = made.corpora
    assert corpus.label == "all"
    assert corpus.documents == made.lock["levels"][0]["documents"] == 202
    assert sum(datasets.load_from_disk(str(corpus.path))["train"]["tokens"][:]) == corpus.tokens
    assert made.lock["held_out"]["documents"] == 0
    assert made.lock["warnings"] == []
    assert [(c["size"], c["budget"]) for c in made.lock["corpora"]] == [("all", None)]
    assert open_corpus(corpus.path) == corpus


def test_budgets_beside_all_are_the_beginnings_of_the_whole_level(tmp_path):
    made = built(tmp_path, changed(('"16k"]', '"16k", "all"]')))
    for level in ("raw", "long", "unique"):
        mine = {c.label: c for c in made.corpora if c.level == level}
        assert list(mine) == ["4k", "8k", "16k", "all"]
        whole = datasets.load_from_disk(str(mine["all"].path))["train"]["id"][:]
        a = made.annotated
        kept = (a.judged[level].kept & ~made.holdouts.held)[a.pool.order]
        assert whole == a.pool.ids.take(a.pool.order[kept]).to_pylist()
        for corpus in mine.values():
            ids = datasets.load_from_disk(str(corpus.path))["train"]["id"][:]
            assert ids == whole[: len(ids)]


def test_budgets_have_the_same_documents_with_and_without_all(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    alone = {c.label: c.digest for c in built(tmp_path / "a", MANIFEST).corpora if c.level == "unique"}
    beside = built(tmp_path / "b", changed(('"16k"]', '"16k", "all"]'))).corpora
    assert alone.items() < {c.label: c.digest for c in beside if c.level == "unique"}.items()


def test_shards_hold_at_most_what_is_asked_for_and_change_no_digest(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = built(tmp_path / "a", SHORT).corpora[0]
    many = built(tmp_path / "b", SHORT + '[sizes]\ntokens = "all"\nshard = "5 kB"\n').corpora[0]
    files = sorted(many.path.rglob("*.arrow"))
    assert len(files) > 5
    for file in files:
        texts = datasets.Dataset.from_file(str(file))["text"][:]
        assert sum(len(t.encode()) for t in texts) <= 5000 or len(texts) == 1
    assert one.digest == many.digest


def test_a_shard_is_gathered_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.corpora.corpus.BATCH_BYTES", 3000)
    monkeypatch.setattr("curate.corpora.corpus.OPENED", 1000)
    import pyarrow as pa

    made = built(tmp_path, SHORT).corpora[0]
    (file,) = made.path.rglob("*.arrow")
    with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as reader:
        batches = list(reader)
    assert len(batches) > 5
    assert max(sum(len(t.encode()) for t in b.column("text").to_pylist()) for b in batches) < 3000 + 1000
    assert Manifest.shard_bytes > BATCH_BYTES


def test_a_holdout_is_switched_off_by_a_word_and_another_word_is_refused(tmp_path):
    text = MANIFEST[: MANIFEST.index("[holdout]")] + MANIFEST[MANIFEST.index("[grid]") :]
    manifest = load_manifest(write_manifest(tmp_path, 'holdout = "none"\n' + text))
    assert manifest.holdout.levels == ()
    with pytest.raises(ManifestError, match='holdout = "off": write "none" to hold nothing out'):
        load_manifest(write_manifest(tmp_path, 'holdout = "off"\n' + text))
    with pytest.raises(ManifestError, match="nothing to measure loss on; add a"):
        manifest.check_trains()
    assert load_manifest(write_manifest(tmp_path, text)).holdout.levels == ("raw",)


@pytest.mark.parametrize("size", ["10MB", "10 kb", "5 bytes", "1gb"])
def test_bytes_are_no_size_in_tokens(tmp_path, size):
    with pytest.raises(ManifestError, match=f'"{size}" is bytes; write tokens, such as "10M"'):
        load_manifest(write_manifest(tmp_path, changed(('"16k"]', f'"{size}"]'))))


def test_tokens_may_be_written_with_their_unit_and_billions(tmp_path):
    assert load_manifest(write_manifest(tmp_path, changed(('"16k"]', '"16M tokens", "2B"]')))).sizes[2:] == (
        16_000_000, 2 * 10**9,
    )  # fmt: skip


@pytest.mark.parametrize("command", ["run", "train", "report"])
def test_nothing_is_trained_without_a_budget(tmp_path, command):
    path = write_manifest(tmp_path, SHORT)
    done = CliRunner().invoke(
        main, [command, str(path), "--store", str(tmp_path / "store"), "--workers", "1"]
    )
    assert done.exit_code == 2
    assert "[sizes]: no budget to train with; write tokens" in done.output


def test_plan_says_what_a_short_manifest_takes(tmp_path):
    path = write_manifest(tmp_path, SHORT)
    command = ["plan", str(path), "--store", str(tmp_path / "store"), "--json"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    planned = json.loads(done.output)
    assert (planned["corpora"], planned["cells"]) == (1, 0)
    assert planned["disk_bytes"] > 0
    assert "nothing is trained: [sizes] names no budget" in CliRunner().invoke(main, command[:-1]).output
