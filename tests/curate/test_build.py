"""From sources to corpora: nothing lost, the same bytes on any number of workers, whenever it is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import MANIFEST, write_manifest

from curate.corpora.lock import check, read_lock
from curate.corpora.selection import KEPT, best_of_clusters
from curate.corpora.units import whole
from curate.engine import open_engine
from curate.errors import CurateError, Mismatch
from curate.manifest.reader import load_manifest
from curate.signals.annotate import annotate
from curate.steps import annotate_all, build
from curate.store import Store, atomic, read_json, write_json


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    manifest = load_manifest(write_manifest(folder))
    return build(Store(folder / "store"), manifest, open_engine("local", 1))


def digests(lock: dict) -> dict:
    return {f"{c['level']} {c['size']}": c["digest"] for c in lock["corpora"]}


def test_documents_in_are_kept_dropped_by_one_rule_or_failed(built):
    lock = built.lock
    for level, table in lock["ledger"].items():
        for source, row in table.items():
            assert row["in"] == row["kept"] + sum(row["dropped"].values()) + row["failed"], (level, source)
    assert lock["sources"]["notes"]["failed"]["not-json"]["count"] == 1
    assert lock["sources"]["notes"]["repaired"]["not-utf-8"]["count"] == 1
    assert lock["ledger"]["raw"]["notes"]["in"] == 207
    assert sum(row["kept"] for row in lock["ledger"]["unique"].values()) < lock["levels"][1]["documents"]


def test_sizes_nest_and_hold_at_least_their_tokens(built):
    import datasets

    for level in ("raw", "long", "unique"):
        corpora = sorted((c for c in built.corpora if c.level == level), key=lambda c: c.size)
        assert [c.size for c in corpora] == [4000, 8000, 16000]
        before: list[str] = []
        for corpus in corpora:
            data = datasets.load_from_disk(str(corpus.path))["train"]
            ids = data["id"][:]
            assert ids == sorted(ids)
            assert ids[: len(before)] == before
            assert corpus.size <= sum(data["tokens"]) == corpus.tokens
            assert corpus.size > sum(data["tokens"][:-1])
            before = ids


def test_every_file_of_a_corpus_has_the_columns_of_all_sources(tmp_path):
    import datasets

    for name, column, count in (("a", "url", 150), ("b", "lang", 6)):
        rows = (json.dumps({"text": f"{name}{i} " * 60, column: f"{column} {i}"}) for i in range(count))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    sources = "".join(f'[[source]]\nname = "{n}"\nformat = "jsonl"\npath = "{n}.jsonl"\ncolumns = ["{c}"]\n'
                      for n, c in (("a", "url"), ("b", "lang")))  # fmt: skip
    rest = '[[level]]\nname = "raw"\n[tokenizer]\nvocabulary = 258\n[sizes]\ntokens = ["1k", "2k", "4k"]\n[holdout]\ntokens = "5k"\n'
    (tmp_path / "m.toml").write_text(sources + rest)
    corpora = build(
        Store(tmp_path / "store"), load_manifest(tmp_path / "m.toml"), open_engine("local", 1)
    ).corpora
    for corpus in corpora:
        data = datasets.load_from_disk(str(corpus.path))["train"]
        assert data.column_names == ["id", "text", "source", "place", "url", "lang", "tokens"]
        assert set(data.features) == set(data.column_names)


def test_a_corpus_says_what_it_is(built):
    corpus = next(c for c in built.corpora if c.level == "unique" and c.size == 16000)
    record = read_json(corpus.path / "corpus.json")
    assert record["digest"] == corpus.digest
    card = (corpus.path / "README.md").read_text()
    assert "unique.duplicate" in card
    assert "docstrings" in card


def test_no_corpus_holds_a_document_or_a_near_duplicate_of_a_holdout(built):
    from filters.duplicates.leaders import jaccard

    a, holdouts = built.annotated, built.holdouts
    texts = pa.concat_arrays([c for p in a.pool.parts for c in p.table(["text"])["text"].chunks])
    held = np.unique(np.concatenate(list(holdouts.rows.values())))
    assert holdouts.held[held].all()
    for corpus in built.corpora:
        rows = a.pool.order[(a.judged[corpus.level].kept & ~holdouts.held)[a.pool.order]][: corpus.documents]
        assert not np.isin(rows, held).any()
        left, right = np.repeat(rows, len(held)), np.tile(held, len(rows))
        assert jaccard(texts, left, right).max() < 0.8, corpus


def test_duplicates_are_resolved_among_what_the_level_below_keeps():
    cluster = np.array([0, 0, 0, 3, 4])
    rank = np.array([0, 2, 1, 3, 4])
    everything = best_of_clusters(cluster, rank, np.ones(5, bool))
    assert everything.tolist() == [True, False, False, True, True]
    without_the_best = best_of_clusters(cluster, rank, np.array([False, True, True, True, False]))
    assert without_the_best.tolist() == [False, False, True, True, False]


@pytest.mark.parametrize("workers", [2, 3])
def test_more_workers_give_the_same_digests(built, tmp_path, workers):
    manifest = load_manifest(write_manifest(tmp_path))
    again = build(Store(tmp_path / "store"), manifest, open_engine("local", workers))
    assert digests(again.lock) == digests(built.lock)
    assert again.lock["holdouts"] == built.lock["holdouts"]


def test_the_cut_in_parts_does_not_change_a_corpus(built, tmp_path):
    text = MANIFEST.replace('bytes = "100 kB"', 'bytes = "7 MB"')
    again = build(
        Store(tmp_path / "store"), load_manifest(write_manifest(tmp_path, text)), open_engine("local", 1)
    )
    assert digests(again.lock) == digests(built.lock)


def test_another_version_of_unicode_measures_every_signal_again(built, monkeypatch):
    assert built.lock["environment"]["unicode"]
    a = built.annotated
    todo = []
    monkeypatch.setattr("unicodedata.unidata_version", "99.0.0")
    monkeypatch.setattr(
        "curate.signals.annotate.make_parts", lambda engine, label, work, tasks, **how: todo.extend(tasks)
    )
    with pytest.raises(CurateError, match="not what was just written"):
        annotate(a.store, a.manifest.families, a.pool.parts, a.engine)
    assert len(todo) == len(a.pool.parts)
    assert all(set(task.missing) == set(a.manifest.families) for task in todo)


def test_another_threshold_measures_no_signal_again(built, tmp_path, monkeypatch):
    folder = built.annotated.manifest.path.parent
    changed = folder / "changed.toml"
    changed.write_text(MANIFEST.replace("word_count = [8, inf]", "word_count = [9, inf]"))
    monkeypatch.setattr("curate.signals.annotate.annotate_part", lambda task: pytest.fail("measured again"))
    monkeypatch.setattr("curate.sources.documents.read_task", lambda task: pytest.fail("read again"))
    again = build(built.annotated.store, load_manifest(changed), open_engine("local", 1))
    assert digests(again.lock)["raw 16k"] == digests(built.lock)["raw 16k"]
    assert digests(again.lock)["long 16k"] != digests(built.lock)["long 16k"]


def test_a_level_may_bound_what_documents_carry_from_their_sources(tmp_path):
    rows = [
        {"text": f"Page {n} says what page {n} says.", "kind": "ab"[n % 2], "stars": n} for n in range(40)
    ]
    (tmp_path / "pages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pages = '[[source]]\nname = "pages"\nformat = "jsonl"\npath = "pages.jsonl"\ncolumns = ["kind", "stars"]\n\n[parts]'
    text = MANIFEST.replace("[parts]", pages, 1).replace('profiles = ["gopher-repetition"]\n', "")
    levels = {
        'source = ["pages"]': 40,
        'source = ["pages"], kind = ["b"]': 20,
        "stars = [30, inf]": 10,  # null for the documents of other sources: it satisfies no bound
    }
    for keep, left in levels.items():
        asked = text.replace('word_count = [8, inf], language = ["en"]', keep)
        path = write_manifest(tmp_path, asked)
        a = annotate_all(Store(tmp_path / "store"), load_manifest(path), open_engine("local", 1))
        assert a.judged["long"].kept.sum() == left, keep
    path = write_manifest(tmp_path, text.replace('word_count = [8, inf], language = ["en"]', "kind = [0, 1]"))
    with pytest.raises(
        CurateError, match="the field kind holds what is no number, such as 'a' at pages.jsonl:1; .*labels"
    ):
        annotate_all(Store(tmp_path / "store"), load_manifest(path), open_engine("local", 1))


def test_building_again_writes_nothing(built, monkeypatch):
    for name in (
        "curate.store.write_table",
        "curate.corpora.corpus.write_shard",
        "curate.corpora.tokenization.encode_chunk",
    ):
        monkeypatch.setattr(name, lambda *a, **k: pytest.fail("worked again"))
    before = built.annotated.manifest.lock_path.stat().st_mtime_ns
    again = build(built.annotated.store, built.annotated.manifest, open_engine("local", 1))
    assert again.lock == built.lock
    assert built.annotated.manifest.lock_path.stat().st_mtime_ns == before


def test_a_level_that_keeps_nothing_is_an_error_that_names_the_rule(built):
    folder = built.annotated.manifest.path.parent
    path = folder / "strict.toml"
    path.write_text(MANIFEST.replace("word_count = [8, inf]", "word_count = [1e9, inf]"))
    with pytest.raises(CurateError, match=r'level "long" keeps nothing: long.word_count .* alone drops'):
        build(built.annotated.store, load_manifest(path), open_engine("local", 1))


def test_a_quantile_bound_is_resolved_once_and_in_the_lock(built):
    folder = built.annotated.manifest.path.parent
    path = folder / "top.toml"
    path.write_text(MANIFEST.replace("word_count = [8, inf]", "word_count = { top = 0.5 }"))
    lock = build(built.annotated.store, load_manifest(path), open_engine("local", 1)).lock
    rule = lock["levels"][1]["rules"][0]
    assert rule["bound"][0] > 8
    reached = lock["levels"][0]["documents"]
    assert 0.45 < 1 - rule["dropped"] / reached < 0.6


def test_verify_names_the_corpus_whose_bytes_changed(tmp_path):
    manifest = load_manifest(write_manifest(tmp_path))
    store = Store(tmp_path / "store")
    corpora = build(store, manifest, open_engine("local", 1)).corpora
    assert check(store, manifest.lock_path) == len(read_lock(manifest.lock_path)["corpora"])
    corpus = next(c for c in corpora if c.level == "long" and c.size == 4000)
    file = next(corpus.path.glob("train/data-*.arrow"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.unlink()  # a hard link: the other corpora keep their bytes
    file.write_bytes(data)
    with pytest.raises(Mismatch, match="corpus long 4k"):
        check(store, manifest.lock_path)


def test_ray_tasks_give_the_same_digests(built, tmp_path):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    manifest = write_manifest(tmp_path)
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "curate.cli",
        "build",
        str(manifest),
        "--json",
        "--engine",
        "ray",
    ]
    done = subprocess.run(
        [*command, "--workers", "2", "--store", str(tmp_path / "store")],
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert digests(json.loads(done.stdout)) == digests(built.lock)


@pytest.mark.slow
def test_killed_at_any_moment_it_continues_to_the_same_digests(built, tmp_path):
    manifest = write_manifest(tmp_path)
    command = [sys.executable, "-m", "curate.cli", "build", str(manifest), "--json", "--workers", "2"]
    command += ["--store", str(tmp_path / "store")]
    chance = random.Random(7)
    kills = 0
    for wait in [0.4 + 1.6 * chance.random() for _ in range(5)]:
        running = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(wait)
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            kills += 1
        running.wait()
    assert kills >= 2
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert digests(json.loads(done.stdout)) == digests(built.lock)


def test_interrupted_it_says_so_in_one_line_and_leaves_nothing_half_done(tmp_path):
    manifest = write_manifest(tmp_path)
    command = [sys.executable, "-m", "curate.cli", "build", str(manifest), "--workers", "2"]
    running = subprocess.Popen(
        [*command, "--store", str(tmp_path / "store")], stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while not (tmp_path / "store" / "documents").exists() and running.poll() is None:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGINT)
    said = running.communicate(timeout=1200)[1]
    assert running.returncode == 1, said
    assert said.splitlines()[-1] == "stopped; the same command continues from here"
    assert "Traceback" not in said
    assert not list((tmp_path / "store").rglob("*.tmp"))


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.2, 0.3, 0.5, 0.8])
def test_an_interrupt_at_any_moment_of_its_workers_leaves_no_trace(seconds):
    work = "\n".join([
        "import time",
        "from curate.engine import Local, map_parts",
        "if __name__ == '__main__':",
        "    try:",
        "        print(flush=True)",  # heard from here on
        "        map_parts(Local(2, 0), time.sleep, [0.05, 0.3, 0.3, 30], processes=True)",
        "    except KeyboardInterrupt: raise SystemExit(7)",
    ])  # fmt: skip
    running = subprocess.Popen(
        [sys.executable, "-c", work], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert running.stdout
    running.stdout.readline()
    time.sleep(seconds)
    os.killpg(running.pid, signal.SIGINT)
    assert running.communicate(timeout=120)[1] == ""
    assert running.returncode == 7


@pytest.mark.slow
def test_two_processes_on_one_store_give_the_same_digests(built, tmp_path):
    manifest = write_manifest(tmp_path)
    command = [sys.executable, "-m", "curate.cli", "build", str(manifest), "--json", "--workers", "1"]
    command += ["--store", str(tmp_path / "store")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [running.communicate(timeout=200)[0] for running in both]
    assert [running.returncode for running in both] == [0, 0]
    assert all(digests(json.loads(answer)) == digests(built.lock) for answer in answers)


def test_a_folder_replaces_one_that_is_there(tmp_path):
    for text in ("one", "two"):
        with atomic(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / "file").write_text(text)
    assert (tmp_path / "folder" / "file").read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_whole_folder_of_another_process_stays_where_it_may_be_being_read(tmp_path):
    for text in ("first", "second"):
        with atomic(tmp_path / "folder", lambda there: (there / "file").exists()) as temporary:
            temporary.mkdir()
            (temporary / "file").write_text(text)
    assert (tmp_path / "folder" / "file").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half of it")
        raise RuntimeError
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_an_artefact_whose_file_is_cut_short_is_made_again(tmp_path):
    store = Store(tmp_path)
    part = store.table("stage", "key", lambda: pa.table({"a": [1, 2, 3]}))
    Path(part.path).write_bytes(b"cut")
    part = store.table("stage", "key", lambda: pa.table({"a": [1, 2, 3]}))
    assert part.table()["a"].to_pylist() == [1, 2, 3]


def test_kept_is_no_rule_number():
    assert KEPT < 0


def test_the_tokens_of_every_document_are_those_of_its_text_whatever_part_it_lies_in(tmp_path, monkeypatch):
    from train.tokens import encode

    monkeypatch.setattr("curate.corpora.tokenization.CHUNK_BYTES", 20_000)
    built = build(Store(tmp_path / "store"), load_manifest(write_manifest(tmp_path)), open_engine("local", 1))
    pool, tokens = built.annotated.pool, built.tokens["raw"]
    rows = np.flatnonzero(tokens.count)
    assert len(set(pool.part[rows].tolist())) > 3
    assert len(tokens.parts) > 1
    ids, offsets = encode(tokens.tokenizer, pool.gather(rows, "text"))
    found = list(tokens.of(whole(rows), 0))
    assert np.concatenate(found).tolist() == ids.tolist()
    assert np.cumsum([len(one) for one in found]).tolist() == offsets[1:].tolist()
