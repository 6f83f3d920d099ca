"""What is forgotten stays so: in every level and size, holdout, index and later build, whatever the sources bring back."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from months import MANIFEST, answer, begin, git, page, refusal

from curate.cli import main
from curate.commands import forget as forgetting
from curate.corpora.corpus import open_arrow
from curate.corpora.lock import corpus_directory
from curate.duplicates.forgotten import Forgotten, entry_of, hashed, way_of
from curate.duplicates.index_folder import with_bands
from curate.engine import open_engine
from curate.errors import Mismatch
from curate.manifest.pooled import near_scheme
from curate.manifest.reader import load_manifest
from curate.steps import annotate_all
from curate.store import Store, lock_digest, read_json, write_record
from filters.duplicates.leaders import Scheme

ASKED = MANIFEST.replace("LEAST", "30").replace(
    'path = "pages.jsonl"\n', 'path = "pages.jsonl"\ncolumns = ["url"]\n[signals]\nnear_duplicates = { similarity = 0.7 }\n'
).replace('tokens = ["1k", "3k"]', 'tokens = ["1k", "3k", "all"]')  # fmt: skip
LONG = " ".join(page(1000 + k) for k in range(4))


def near(text: str) -> str:
    """A word of it is another."""
    words = text.split()
    return " ".join([*words[:90], "otherwise", *words[91:]])


def write(texts: dict[str, str]) -> None:
    rows = [{"text": text, "url": url} for url, text in texts.items()]
    Path("pages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


TEXTS = {f"http://a.test/{n}": page(n) for n in range(300)} | {
    "http://b.test/long": LONG, "http://c.test/copy": LONG, "http://c.test/near": near(LONG),
}  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        folder = begin(tmp_path_factory.mktemp("built"), patch)
        write(TEXTS)
        Path("month.toml").write_text(ASKED)
        answer("build", "month.toml", "--workers", "1")
    return folder


@pytest.fixture
def folder(built: Path, tmp_path: Path, monkeypatch) -> Path:
    shutil.copytree(built, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def standing(lock: dict | None = None) -> set[str]:
    """The addresses in any corpus of the lock."""
    store, lock = Store(Path(".curate")), lock or read_json(Path("month.lock.json"))
    tables = [open_arrow(corpus_directory(store, corpus)) for corpus in lock["corpora"]]
    return {url for table in tables for url in table["url"].to_pylist()}


def id_of(url: str) -> str:
    a = annotate_all(Store(Path(".curate")), load_manifest("month.toml"), open_engine("local", 1))
    return a.pool.ids[a.pool.field("url", pa.string()).to_pylist().index(url)].as_py()


def held_out() -> set[str]:
    lock = read_json(Path("month.lock.json"))
    return set(TEXTS) - standing() if lock["held_out"]["documents"] else set()


def test_a_document_its_copies_and_what_is_near_it_leave_every_level(folder):
    gone = {"http://b.test/long", "http://c.test/copy", "http://c.test/near"}
    assert gone & standing()
    proof = answer("forget", "month.toml", id_of("http://b.test/long"))
    assert not gone & standing()
    assert proof["dropped"] == 3
    assert set(proof["absence"]["still_there"].values()) == {0}
    assert proof == read_json(Path("month.absence.json"))
    lock = read_json(Path("month.lock.json"))
    for level in ("raw", "long"):
        assert lock["ledger"][level]["pages"]["dropped"]["forgotten"] == 3
    assert lock["pool"]["forgotten"] | {"sha256": ""} == {
        "file": "month.forgotten.jsonl", "sha256": "", "named": 1, "near_them": 2, "addresses": 0,
    }  # fmt: skip
    assert answer("verify", "month.lock.json", "--replay")["differ"] == []
    answer("build", "month.toml", "--locked")
    told = answer("explain", "month.toml", proof["documents"][0]["id"])
    assert [level["dropped_by"] for level in told["levels"]] == ["forgotten", "forgotten"]


def test_what_is_held_out_can_be_forgotten_and_is_not_held_out_again(folder):
    url = sorted(held_out())[0]
    answer("forget", "month.toml", url)
    assert url not in standing()
    lock = read_json(Path("month.lock.json"))
    before = lock["levels"][0]["documents"]
    assert before == len(TEXTS) - answer("forget", "month.toml")["dropped"]


def test_neither_text_nor_address_lies_in_the_list_the_proof_or_the_lock(folder):
    answer("forget", "month.toml", "http://b.test/long")
    written = "".join(
        Path(name).read_text() for name in ("month.forgotten.jsonl", "month.absence.json", "month.lock.json")
    )
    assert "b.test" not in written
    assert " ".join(LONG.split()[:3]) not in written
    assert hashed("http://b.test/long") in written


def test_a_later_build_does_not_bring_it_back_in_another_file_under_another_address_or_a_little_changed(
    folder,
):
    answer("forget", "month.toml", "http://b.test/long")
    shutil.rmtree(".curate")
    write({url: text for url, text in TEXTS.items() if text not in (LONG, near(LONG))} | {
        "http://d.test/1": LONG, "http://d.test/2": near(near(LONG).replace("otherwise", "elsewhere")),
        "http://b.test/long": page(2000), "http://d.test/3": page(2001),
    })  # fmt: skip
    answer("build", "month.toml", "--workers", "1")
    assert not {"http://d.test/1", "http://d.test/2", "http://b.test/long"} & standing()
    lock = read_json(Path("month.lock.json"))
    assert lock["ledger"]["raw"]["pages"]["dropped"] == {"forgotten": 3}
    assert not any("forgotten" in warning for warning in lock["warnings"])


def test_a_list_that_is_gone_or_damaged_stops_the_build(folder):
    answer("forget", "month.toml", "http://b.test/long")
    listed = Path("month.forgotten.jsonl")
    whole = listed.read_text()
    listed.write_text(whole.replace('"text_hash": "', '"text_hash": "x'))
    assert "damaged; put back the list" in refusal("build", "month.toml")
    listed.write_text(whole)
    manifest = Path("month.toml").read_text()
    Path("month.toml").write_text(
        manifest.replace("similarity = 0.7", "similarity = 0.7, permutations = 256")
    )
    assert "hashed and signed in another way" in refusal("build", "month.toml")
    Path("month.toml").write_text(manifest.replace('columns = ["url"]', ""))
    assert 'by the field "url", which no source carries' in refusal("build", "month.toml")
    listed.unlink()
    Path("month.toml").write_text(manifest)
    assert "no such list" in refusal("build", "month.toml", code=2)


def test_a_name_that_is_nowhere_is_said_and_nothing_is_forgotten(folder):
    before = Path("month.toml").read_text()
    said = refusal("forget", "month.toml", "http://b.test/long", "http://nowhere.test/", "0" * 32)
    assert (
        "http://nowhere.test/, 00000000000000000000000000000000: no document has this id, nor this url"
        in said
    )
    assert Path("month.toml").read_text() == before
    assert not Path("month.forgotten.jsonl").exists()
    assert "nothing is forgotten; name ids" in refusal("forget", "month.toml")


def test_a_file_of_names_adds_to_the_list_and_what_is_listed_may_be_named_again(folder):
    Path("asked.txt").write_text("http://a.test/3\n\nhttp://a.test/4\n")
    answer("forget", "month.toml", "asked.txt")
    text = Path("month.toml").read_text()
    assert text.endswith('\n\n[forget]\nfile = "month.forgotten.jsonl"\n')
    first = Path("month.forgotten.jsonl").read_text()
    lock = Path("month.lock.json").read_bytes()
    proof = answer("forget", "month.toml", "asked.txt")
    assert (Path("month.forgotten.jsonl").read_text(), Path("month.lock.json").read_bytes()) == (first, lock)
    assert proof["list"]["named"] == 2
    write({url: text for url, text in TEXTS.items() if url not in ("http://a.test/3", "http://a.test/4")})
    assert answer("forget", "month.toml", "asked.txt", "http://a.test/5")["list"]["named"] == 3
    assert Path("month.toml").read_text() == text


def test_the_proof_names_versions_and_published_places_that_held_it(folder):
    git("add", "month.lock.json")
    git("commit", "-qm", "first")
    first = read_json(Path("month.lock.json"))
    answer("publish", "month.lock.json", "given")
    url = "http://b.test/long" if "http://b.test/long" in standing() else "http://c.test/near"
    proof = answer("forget", "month.toml", url)
    (version,) = proof["were_in"]
    assert version["published"] == ["given"]
    held = {
        f"{c['level']} {c['size']}" for c in first["corpora"] if url in standing(first | {"corpora": [c]})
    }
    assert held <= set(version["corpora"])
    assert "raw all" in held
    shutil.rmtree(".curate/corpora")
    (version,) = answer("forget", "month.toml")["were_in"]
    now = {corpus["digest"] for corpus in read_json(Path("month.lock.json"))["corpora"]}
    others = [f"{c['level']} {c['size']}" for c in first["corpora"] if c["digest"] not in now]
    assert (version["corpora"], version["not_in_the_store"]) == ({}, others)
    assert held <= set(others)


def test_the_proof_names_runs_of_a_lock_that_held_it(folder):
    store, lock = Store(Path(".curate")), read_json(Path("month.lock.json"))
    for level in ("raw", "other"):
        (store.root / f"runs/{level}-1/1000").mkdir(parents=True)
        write_record(store.root / f"runs/{level}-1/1000/run.json", {"level": level})
    store.remember(lock, Path("month.lock.json"), ["runs/raw-1", "runs/other-1"])
    (version,) = answer("forget", "month.toml", *sorted(standing())[:1])["were_in"]
    assert version["version"].endswith(lock_digest(lock)[:12])
    assert [(run["run"], run["level_held"]) for run in version["runs"]] == [
        ("runs/other-1/1000", False), ("runs/raw-1/1000", True),
    ]  # fmt: skip


def test_an_index_forgets_too_and_takes_the_same_documents_no_second_time(folder):
    indexed = answer("index", "month.toml", "seen", "--level", "raw")["documents"]
    proof = answer("forget", "month.toml", "http://b.test/long", "--index", "seen")
    assert proof["indexes"] == {"seen": 3}
    again = answer("index", "month.toml", "seen", "--level", "raw")
    assert (again["added"], again["documents"]) == (0, indexed - 3)
    assert answer("forget", "month.toml", "--index", "seen")["indexes"] == {"seen": 0}
    files = {path.name for path in Path("seen").glob("*.arrow")}
    assert files == {one["name"] for one in read_json(Path("seen/index.json"))["segments"]}
    assert "cannot be removed from an index in Redis" in refusal(
        "forget", "month.toml", "--index", "redis://localhost:1/0"
    )


def test_a_proof_that_finds_one_standing_is_an_error(folder, monkeypatch):
    answer("forget", "month.toml", "http://b.test/long")
    matches = Forgotten.matches
    monkeypatch.setattr(Forgotten, "matches", lambda *a: matches(*a) | {"near": np.ones(len(TEXTS), bool)})
    with pytest.raises(Mismatch, match="still stands"):
        forgetting.forget(Store(Path(".curate")), Path("month.toml"), [], "url", [], open_engine("local", 1))


def test_studies_and_sweeps_cannot_leave_the_rule_out(folder):
    answer("forget", "month.toml", "http://b.test/long")
    Path("month.toml").write_text(
        Path("month.toml").read_text() + '[attribution]\nbase = "raw"\nlevel = "long"\n'
    )
    manifest = load_manifest("month.toml")
    assert manifest.derived
    assert all(level.rules[0].signal == "forgotten" for level in manifest.derived)
    swept = answer("sweep", "month.toml", "--signal", "forgotten", "--level", "raw", "--bound", "0")
    assert swept["documents"] == len(TEXTS) - 3


def test_a_text_without_words_takes_no_other_with_it(folder):
    write(TEXTS | {"http://e.test/1": "!!! ???", "http://e.test/2": "... ,,, ;;;"})
    answer("build", "month.toml")
    assert answer("forget", "month.toml", "http://e.test/1")["dropped"] == 1


def test_the_signal_is_not_to_be_bounded_by_hand(folder):
    Path("month.toml").write_text(ASKED.replace("word_count = [30, inf]", "forgotten = [0, 0]"))
    assert "needs [forget], which bounds it" in refusal("plan", "month.toml", code=2)


def test_what_is_said_names_the_proof(folder):
    done = CliRunner().invoke(main, ["forget", "month.toml", "http://b.test/long"])
    assert done.exit_code == 0, done.output
    assert "listed: 1 documents, 2 near them, 1 addresses" in done.stdout
    assert "absent: none of" in done.stdout
    assert done.stdout.rstrip().endswith("proof: month.absence.json")


def test_random_signatures_are_near_nothing():
    chance = random.Random(3)
    signed = np.array([[chance.getrandbits(32) for _ in range(128)] for _ in range(4)], np.uint32)
    near_way = near_scheme({})
    listed = Forgotten(Path("x"), way_of(near_way, "bytes"), (entry_of("0" * 32, b"0" * 16, signed[0]),))
    column = pa.FixedSizeListArray.from_arrays(pa.array(signed.reshape(-1)), 128)
    rows = with_bands(pa.table({"signature": column}), list(Scheme(**near_way).cut))
    assert listed.resembles(rows, list(Scheme(**near_way).cut), 0.8).tolist() == [True, False, False, False]
