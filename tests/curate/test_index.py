"""Indexes: they grow, old entries keep their meaning, and a later build knows what was there before."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from curate.cli import main
from curate.corpora.built import written
from curate.corpora.corpus import open_data
from curate.duplicates.index import add as add_to
from curate.duplicates.index import open_index
from curate.duplicates.index_folder import open_folder
from curate.engine import open_engine
from curate.errors import CurateError, ManifestError
from curate.manifest.reader import load_manifest
from curate.steps import annotate_all, build
from curate.store import Store, lock_digest, read_json

MANIFEST = """
[[source]]
name = "pages"
format = "jsonl"
path = "pages.jsonl"

[parts]
bytes = "4 kB"

[signals]
near_duplicates = { similarity = 0.7, permutations = 256 }
INDEX

[[level]]
name = "raw"

[[level]]
name = "new"
on = "raw"
keep = { RULE }

[sizes]
tokens = "1k"

[holdout]
tokens = "3k"

[tokenizer]
vocabulary = 258
"""


def texts(seed: int, count: int = 60) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(f"w{chance.randrange(900)}" for _ in range(60)) for _ in range(count)]


def write(folder: Path, rows: list[str], index: str = "", rule: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pages.jsonl").write_text("\n".join(json.dumps({"text": row}) for row in rows) + "\n")
    path = folder / "m.toml"
    path.write_text(MANIFEST.replace("INDEX", index).replace("RULE", rule))
    return path


def annotated(folder: Path, rows: list[str], index: str = "", rule: str = "", workers: int = 1):
    return annotate_all(
        Store(folder / "store"),
        load_manifest(write(folder, rows, index, rule)),
        open_engine("local", workers),
    )


def add(a, index: Path | str, level: str):
    return add_to(a.manifest, a.pool, a.signals, a.judged[level].kept, str(index), level, "kept")


@pytest.fixture
def seen(tmp_path) -> Path:
    add(annotated(tmp_path / "first", texts(1)), tmp_path / "seen", "raw")
    return tmp_path / "seen"


def test_what_was_there_before_is_known_by_its_id(tmp_path, seen):
    first = annotated(tmp_path / "first", texts(1))
    old = dict(zip(texts(1), [None] * 60, strict=True))
    for part in first.pool.parts:
        table = part.table(["id", "text"])
        old |= dict(zip(table["text"].to_pylist(), table["id"].to_pylist(), strict=True))
    nearly = [text + " and a few words" for text in texts(1)[:20]]
    rows = [*texts(2), *texts(1)[20:40], *nearly]
    for workers in (1, 3):
        a = annotated(
            tmp_path / f"second{workers}", rows, 'index = "../seen"', "index_similarity = [0, 0]", workers
        )
        found = {
            text: (match, similarity)
            for text, match, similarity in zip(
                [t for p in a.pool.parts for t in p.table(["text"])["text"].to_pylist()],
                a.values.column("index_match").to_pylist(),
                a.values.column("index_similarity").to_pylist(),
                strict=True,
            )
        }
        assert all(found[text] == (None, 0.0) for text in texts(2))
        assert all(found[text] == (old[text], 1.0) for text in texts(1)[20:40])
        for text in nearly:
            match, similarity = found[text]
            assert match == old[text.removesuffix(" and a few words")]
            assert 0.8 < similarity < 1
        assert a.judged["new"].kept.sum() == 60


def test_an_index_grows_and_old_entries_stay_as_they_are(tmp_path, seen):
    before = (seen / "segment-00000.arrow").read_bytes()
    index, added = add(annotated(tmp_path / "second", texts(2)), seen, "raw")
    assert (added, index.documents) == (60, 120)
    assert (seen / "segment-00000.arrow").read_bytes() == before
    assert add(annotated(tmp_path / "second", texts(2)), seen, "raw")[1] == 0
    a = annotated(
        tmp_path / "third",
        [*texts(3), *texts(1)[:5], *texts(2)[:5]],
        'index = "../seen"',
        "index_similarity = [0, 0]",
    )
    assert a.judged["new"].kept.sum() == 60


def test_a_build_says_of_its_index_what_it_held_and_not_where_it_lies(tmp_path, seen):
    path = write(
        tmp_path / "second", [*texts(4, 200), *texts(1)], 'index = "../seen"', "index_similarity = [0, 0]"
    )
    lock = build(Store(tmp_path / "store"), load_manifest(path), open_engine("local", 2)).lock
    (said,) = lock["pool"]["index"]["index"]
    assert (said["name"], said["documents"]) == ("seen", 60)
    (origin,) = said["from"]
    assert (origin["manifest"], origin["level"], origin["documents"]) == ("m", "raw", 60)
    assert str(tmp_path) not in json.dumps(lock)
    assert lock["ledger"]["new"]["pages"]["dropped"] == {"new.index_similarity": 60}


def test_a_manifest_never_finds_itself_in_an_index(tmp_path, seen):
    """A month that is built again, or has grown, after it was added: its own documents stay, others still go."""
    before = 60
    add(annotated(tmp_path / "other", [*texts(7, 20), *texts(2)]), seen, "raw")
    for rows, expected in ((texts(1), 60), ([*texts(1), *texts(3, 30), *texts(2)[:10]], 90)):
        a = annotated(tmp_path / "first", rows, 'index = "../seen"', "index_similarity = [0, 0]")
        assert a.judged["new"].kept.sum() == expected
        assert add(a, seen, "new")[1] == expected - before, "the same documents add nothing"
        before = expected


def test_what_an_index_was_made_of_is_stated_with_level_and_lock(tmp_path):
    path = write(tmp_path / "first", [*texts(1), *texts(2, 200)])
    store = ["--store", str(tmp_path / "store"), "--workers", "1"]
    assert CliRunner().invoke(main, ["build", str(path), *store]).exit_code == 0
    done = CliRunner().invoke(
        main, ["index", str(path), str(tmp_path / "seen"), "--level", "raw", "--kept", *store]
    )
    assert '260 documents of level "raw" added' in done.stdout
    (origin,) = open_index(str(tmp_path / "seen")).origins
    assert (origin["level"], origin["which"]) == ("raw", "kept")
    assert origin["lock"] == lock_digest(read_json(tmp_path / "first/m.lock.json"))


def ids_in(index: Path) -> list[str]:
    return open_folder(index).table(["id"])["id"].to_pylist()


def test_by_default_an_index_remembers_what_was_written_and_what_loss_is_measured_on(tmp_path):
    path = write(tmp_path / "first", [*texts(1), *texts(2, 200)])
    store, engine = Store(tmp_path / "store"), open_engine("local", 1)
    common = ["index", str(path), str(tmp_path / "seen"), "--level", "new", "--store", str(store.root)]
    assert CliRunner().invoke(main, [*common, "--workers", "1"]).exit_code == 0
    built = build(store, load_manifest(path), engine)
    pool = built.annotated.pool
    read = [i for c in built.corpora if c.level == "new" for i in open_data(c.path)["id"]]
    held = {pool.ids[row].as_py() for rows in built.holdouts.rows.values() for row in rows.tolist()}
    assert set(ids_in(tmp_path / "seen")) == {*read, *held}
    assert 0 < len({*read, *held}) < len(pool) / 2
    done = CliRunner().invoke(main, [*common, "--kept", "--workers", "1"])
    assert f"{len(pool) - len({*read, *held})} documents" in done.stdout, "the rest, and nothing twice"
    assert sorted(ids_in(tmp_path / "seen")) == sorted(pool.ids.to_pylist())
    assert [o["which"] for o in open_index(str(tmp_path / "seen")).origins] == ["written", "kept"]


def test_of_a_level_that_is_written_whole_its_corpus_and_its_holdout_are_remembered(tmp_path):
    path = write(tmp_path / "first", [*texts(1), *texts(2, 200)])
    path.write_text(path.read_text().replace('tokens = "1k"', 'tokens = "all"', 1))
    built = build(Store(tmp_path / "store"), load_manifest(path), open_engine("local", 1))
    assert written(built, "raw").sum() == built.annotated.judged["raw"].kept.sum()


def test_a_level_that_an_index_leaves_nothing_of_names_the_index(tmp_path, seen):
    with pytest.raises(
        CurateError, match=r'level "new" keeps nothing: new.index_similarity \(of .*seen\) = \[0, 0\]'
    ):
        annotated(tmp_path / "second", texts(1)[::-1], 'index = "../seen"', "index_similarity = [0, 0]")


def test_another_comparison_is_refused_by_name(tmp_path, seen):
    path = write(tmp_path / "second", texts(2), 'index = "../seen"')
    path.write_text(path.read_text().replace("permutations = 256", "permutations = 256, ngram = 3"))
    with pytest.raises(
        CurateError, match="compares documents in another way: signing: .*'ngram': 5.*'ngram': 3"
    ):
        annotate_all(Store(tmp_path / "store"), load_manifest(path), open_engine("local", 1))


def test_a_missing_index_or_segment_is_named_with_the_fix(tmp_path, seen):
    with pytest.raises(
        ManifestError, match=r"nowhere: no index; `curate index MANIFEST .*nowhere` makes one"
    ):
        load_manifest(write(tmp_path / "second", texts(2), 'index = "nowhere"'))
    with pytest.raises(ManifestError, match=r'add index = "DIRECTORY" to \[signals\]'):
        load_manifest(write(tmp_path / "second", texts(2), "", "index_similarity = [0, 0]"))
    (seen / "segment-00000.arrow").unlink()
    with pytest.raises(CurateError, match=r"segment-00000.arrow is missing; put it back"):
        open_index(str(seen))


def test_the_command_adds_once(tmp_path):
    path = write(tmp_path / "first", texts(1))
    common = ["--store", str(tmp_path / "store"), "--workers", "1"]
    for said in ('60 documents of level "new" added', "these documents are in the index already"):
        done = CliRunner().invoke(main, ["index", str(path), str(tmp_path / "seen"), "--kept", *common])
        assert done.exit_code == 0, done.output
        assert said in done.output
    done = CliRunner().invoke(main, ["index", str(path), str(tmp_path / "seen"), "--level", "nev", *common])
    assert done.exit_code == 1
    assert 'did you mean "new"' in done.output


def test_what_is_added_at_once_is_all_there(tmp_path):
    made = [annotated(tmp_path / str(seed), texts(seed)) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(lambda a: add(a, tmp_path / "seen", "raw")[1], made))
    index = open_index(str(tmp_path / "seen"))
    assert index.documents == sum(added) == sum(len(a.pool) for a in made)


@pytest.mark.parametrize("content", [b"", b"{}", None], ids=["empty", "braces", "zeros"])
@pytest.mark.parametrize("name", ["index.json", "segment-00000.arrow"])
def test_an_index_that_is_damaged_is_refused_by_the_name_of_the_file(seen, name, content):
    path = seen / name
    path.write_bytes(bytes(path.stat().st_size) if content is None else content)
    with pytest.raises(CurateError, match=f"{name}: damaged"):
        open_index(str(seen))
