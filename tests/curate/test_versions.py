"""Versions of a corpus: their history, an older one again, builds that may not differ, verdicts given again."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from months import MANIFEST, answer, begin, built, page, refusal, write_pages

import curate
from curate.commands import versions
from curate.manifest.reader import load_manifest
from curate.session import Session
from curate.store import lock_digest, read_json

STUDIES = """
[[level]]
name = "short"
on = "raw"
keep = { word_count = [0, 60], source = ["pages"], mean_word_length = { top = 0.9 } }
[[level]]
name = "again"
on = "raw"
keep = { duplicate = false }
weights = { 1 = 1, 2 = 2 }
[signals]
near_duplicates = true
[grid]
seeds = 2
context = 32
batch = 8
model = { depth = 1, width = 32 }
[attribution]
level = "long"
base = "raw"
tokens = "1k"
[repetition]
tokens = "1k"
levels = ["raw"]
epochs = [1, 2]
[mixture]
level = "raw"
runs = 5
tokens = "1k"
[overtaking]
[anneal]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    return begin(tmp_path, monkeypatch)


def test_the_log_says_what_each_version_changed(folder):
    built(30, commit="thirty words")
    write_pages(range(160))
    built(50, commit="fifty words")
    built(60)
    rows = answer("log", "month")
    assert [row["subject"] for row in rows] == ["", "fifty words", "thirty words"]
    assert rows[0]["commit"] == ""
    assert rows[2]["changed"] == ["first version"]
    assert "manifest" in rows[1]["changed"]
    assert "source pages +10 documents" in rows[1]["changed"]
    assert any(change.startswith("level long -") for change in rows[1]["changed"])
    assert rows[0]["changed"][-1].endswith("of 4 corpora")
    for name in ("month.toml", "month.lock.json", str(folder / "month.toml")):
        assert answer("log", name) == rows
    assert "the history has month" in refusal("log", "moth")


def test_a_lock_that_git_does_not_know_has_a_log_of_itself(folder):
    shutil.rmtree(".git")
    built()
    (row,) = answer("log", "month")
    assert row["commit"] == ""


def test_an_older_corpus_is_linked_where_it_is_and_built_again_where_it_is_not(folder):
    first = built(30, commit="first")
    second = built(50, commit="second")
    version = answer("log", "month")[1]["version"]
    done = answer("checkout", version)
    assert done == {"folder": version, "built": False}
    assert read_json(Path(version) / "month.lock.json") == first
    record = read_json(Path(version) / "long-1k/corpus.json")
    assert record["digest"] == next(
        c["digest"] for c in first["corpora"] if (c["level"], c["size"]) == ("long", "1k")
    )
    assert len(curate.open_corpus(f"{version}/long-1k")) == record["documents"]
    assert os.stat(f"{version}/long-1k/train/data-00000.arrow").st_nlink > 1, "files are shared"
    assert answer("checkout", version) == done, "what is there stays"
    (folder / "other").mkdir()
    assert "there is something else" in refusal("checkout", version, "--out", "other")
    shutil.rmtree(".curate")
    others = {corpus["digest"] for corpus in second["corpora"]}
    corpus = next(corpus["digest"] for corpus in first["corpora"] if corpus["digest"] not in others)
    commit = answer("log", "month")[1]["commit"]
    assert answer("checkout", f"month@{commit[:10]}", "--out", "by-commit")["built"]
    assert not answer("checkout", f"month@{corpus[:16]}", "--out", "by-corpus")["built"]
    for name in ("by-commit", "by-corpus"):
        assert len(curate.open_corpus(f"{name}/long-3k")) > 0
    assert read_json(folder / "month.lock.json")["manifest"]["text"] == MANIFEST.replace("LEAST", "50"), (
        "nothing else moved"
    )
    assert "no version of it is called so" in refusal("checkout", "month@0000")
    assert "write NAME@DIGEST" in refusal("checkout", "month")


def test_what_cannot_be_built_again_is_said(folder):
    built(30, commit="first")
    version = answer("log", "month")[0]["version"]
    shutil.rmtree(".curate")
    write_pages(range(100))
    told = refusal("checkout", version)
    assert "cannot be built again: " in told
    assert "sources.pages.documents: 150, now 100" in told
    assert not Path(version).exists()


def test_a_locked_build_refuses_to_differ_and_says_what_would(folder):
    assert "no lock" in refusal("build", "month.toml", "--locked")
    built()
    lock = Path("month.lock.json").read_bytes()
    assert answer("build", "month.toml", "--locked", "--workers", "1") == json.loads(lock)
    shutil.rmtree(".curate")
    answer("build", "month.toml", "--locked", "--workers", "1")
    assert answer("gc")["artefacts"] == 0, "it keeps account as another build does"
    write_pages(range(149))
    shutil.rmtree(".curate")
    told = refusal("build", "month.toml", "--locked")
    assert "the build would differ" in told
    assert "sources.pages.digest: " in told
    assert not Path(".curate/documents").exists(), "known before anything is read"
    write_pages(range(150))
    Path("month.toml").write_text(MANIFEST.replace("LEAST", "31"))
    assert "of another text of month.toml" in refusal("build", "month.toml", "--locked")
    Path("month.toml").write_text(MANIFEST.replace("LEAST", "30"))
    changed = json.loads(lock)
    changed["levels"][1]["documents"] -= 1
    changed["corpora"][0]["digest"] = "0" * 64
    Path("month.lock.json").write_text(json.dumps(changed))
    told = refusal("build", "month.toml", "--locked")
    assert "levels.long.documents: " in told
    assert "corpora.raw 1k.digest: 0000" in told
    assert json.loads(Path("month.lock.json").read_text()) == changed, "and nothing is written"


def test_a_manifest_of_studies_and_every_kind_of_level_is_built_as_it_is_locked(folder):
    text = MANIFEST.replace("LEAST", "30") + STUDIES
    Path("month.toml").write_text(text)
    lock = answer("build", "month.toml", "--workers", "1")
    assert answer("build", "month.toml", "--locked", "--workers", "1") == lock


def test_every_verdict_is_given_again_from_stored_signals(folder):
    duplicates = 'prefer = ["longest"]\nnear_duplicates = true'
    text = MANIFEST.replace("LEAST", "30").replace("[[level]]", f"[signals]\n{duplicates}\n[[level]]", 1)
    text += "".join(
        f'[[level]]\nname = "{name}"\non = "long"\nkeep = {{ {rule} }}\n'
        for name, rule in (("unique", "duplicate = false"), ("best", "mean_word_length = { top = 0.5 }"))
    )
    write_pages(range(150), n200=page(3), n201=page(5) + " one more", n202="short")
    Path("month.toml").write_text(text)
    answer("build", "month.toml", "--workers", "1")
    told = answer("verify", "month.lock.json", "--replay")
    assert (told["verdicts"], told["differ"]) == (4 * 153, [])
    lock = read_json(folder / "month.lock.json")
    assert lock["ledger"]["unique"]["pages"]["dropped"]["unique.duplicate"] == 2
    for path, value in (
        (("ledger", "unique", "pages", "dropped", "unique.duplicate"), 1),
        (("ledger", "long", "pages", "dropped", "long.word_count"), 0),
    ):
        changed = json.loads(json.dumps(lock))
        at = changed
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value
        Path("other.lock.json").write_text(json.dumps(changed))
        assert f"{path[-1]} drops" in refusal("verify", "other.lock.json", "--replay")
    best = json.loads(json.dumps(lock))
    best["levels"][3]["rules"][0]["bound"][0] += 0.2
    Path("other.lock.json").write_text(json.dumps(best))
    told = refusal("verify", "other.lock.json", "--replay")
    assert "level best" in told
    assert "documents that the level drops" in told


def test_signals_are_measured_again_from_the_texts_of_a_sample_or_of_all(folder, monkeypatch):
    recipe = "perplexity = { train = { keep = { word_count = [40, inf] } }, bytes = 5000 }\nnear_duplicates = true\nprivate = true"
    text = MANIFEST.replace("[[level]]", f'[parts]\nbytes = "10 kB"\n[signals]\n{recipe}\n[[level]]', 1)
    Path("month.toml").write_text(text.replace("LEAST", "30"))
    answer("build", "month.toml", "--workers", "1")
    measure, measured = versions.annotate, []

    def counted(store, families, parts, engine):
        measured.append(sum(part.rows for part in parts))
        return measure(store, families, parts, engine)

    monkeypatch.setattr(versions, "annotate", counted)
    for asked, rows in ((20, 20), (1000, 150)):
        measured.clear()
        assert answer("verify", "month.lock.json", "--from-text", str(asked))["verdicts"] == 2 * 150
        assert sum(measured) == rows

    def of_other_texts(store, families, parts, engine):
        table = parts[0].table()
        longer = pa.array(
            [f"{text} Mail me@there.test" for text in table["text"].to_pylist()], pa.large_string()
        )
        at = table.column_names.index("text")
        other = store.write_part(
            "other", Path(parts[0].path).name, table.set_column(at, "text", longer).combine_chunks()
        )
        return measure(store, families, [other], engine)

    monkeypatch.setattr(versions, "annotate", of_other_texts)
    told = refusal("verify", "month.lock.json", "--from-text", "5")
    assert "its texts give other values" in told


def test_what_was_read_then_must_be_there_to_be_judged_again(folder):
    built()
    write_pages(range(100))
    assert "cannot be judged again" in refusal("verify", "month.lock.json", "--replay")


def test_differences_of_locks_leave_out_what_machines_may_differ_in():
    then = {
        "environment": {"python": "3.11"},
        "curate": "1",
        "levels": [{"name": "raw", "documents": 3}],
        "x": [1, 2],
    }
    assert versions.differences(then, then | {"environment": {}, "curate": "2"}) == []
    now = then | {"levels": [{"name": "raw", "documents": 4}], "x": [1]}
    assert versions.differences(then, now) == ["levels.raw.documents: 3, now 4", "x: [1, 2], now [1]"]


KEYS = Path(__file__).with_name("store_keys.json")


def keys_of_a_store(folder: Path, monkeypatch) -> dict[str, list[str]]:
    """Every key that a build of the same pages makes, by stage. What a file is known by is that of its rows here, so that
    another version of Arrow or of the tokenizers changes nothing."""
    from curate import store
    from curate.corpora import tokenization
    from train.files import digest_of

    def of_content(path) -> str:
        path = Path(path)
        if path.name.startswith("tokenizer.json"):
            return digest_of(sorted(read_json(path)["model"]["vocab"]))
        if ".arrow" not in path.name:
            return digest_of(path.read_text())
        opened = store.pa.ipc.open_stream if "shards" in str(path) else store.pa.ipc.open_file
        rows = opened(store.pa.memory_map(str(path))).read_all().to_pydict()
        return digest_of({name: [str(value) for value in values] for name, values in rows.items()})

    monkeypatch.setattr(store, "file_digest", of_content)
    monkeypatch.setattr(tokenization, "file_digest", of_content)
    monkeypatch.setattr("unicodedata.unidata_version", "14.0.0")
    text = MANIFEST.replace("LEAST", "30").replace(
        'path = "pages', 'id = "key"\ncolumns = ["key"]\npath = "pages'
    )
    text = text.replace("[[level]]", "[signals]\nnear_duplicates = true\nrepeated_spans = true\n[[level]]", 1)
    text += '[[level]]\nname = "cut"\non = "long"\ncut = ["repeated_spans"]\nkeep = { duplicate = false }\n'
    text += '[[target]]\nname = "mine"\nformat = "jsonl"\npath = "mine.jsonl"\n'
    write_pages(range(150), n200=page(3) + " more")
    write_pages(range(900, 910), "mine.jsonl")
    Path("month.toml").write_text(text)
    session = Session(folder / "store", workers=1)
    built = versions.build(session.open_store(), load_manifest("month.toml"), session.open_engine())
    assert built.corpora
    (account,) = (folder / "store/locks").iterdir()
    found: dict[str, list[str]] = {}
    for name in read_json(account)["used"]:
        stage, _, key = name.rpartition("/")
        found.setdefault(stage, []).append(key)
    return found


def test_no_refactor_changes_a_key_of_a_store(folder, monkeypatch):
    """Keys of stores that people have: whoever means to change one raises a VERSION, and writes this file anew with
    CURATE_WRITE_KEYS=1, for all to see in the history."""
    found = keys_of_a_store(folder, monkeypatch)
    if os.environ.get("CURATE_WRITE_KEYS"):
        KEYS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    assert found == json.loads(KEYS.read_text())


PINNED = """
[signals]
perplexity = { train = { keep = { word_count = [40, inf] } }, order = 2 }
[[level]]
name = "likely"
on = "raw"
keep = { perplexity = { top = 0.5 } }
"""


def test_a_month_may_take_tokenizer_model_and_quantiles_of_an_earlier_one(folder):
    october = MANIFEST.replace("LEAST", "30").replace('"month"', '"october"').replace("258", "280") + PINNED
    november = october.replace('"october"', '"november"').replace("pages.jsonl", "later.jsonl")
    for path, seed, count in (("pages.jsonl", 1, 150), ("later.jsonl", 2, 200)):
        chance = random.Random(seed)
        lexicon = ["".join(chance.choices("aeioubkrst", k=chance.randrange(2, 8))) for _ in range(80)]
        write_pages(
            (),
            path,
            **{f"n{n}": " ".join(chance.choices(lexicon, k=chance.randrange(20, 80))) for n in range(count)},
        )
    Path("october.toml").write_text(october)
    Path("november.toml").write_text(november)
    Path("pinned.toml").write_text(november + '[base]\nlock = "october.lock.json"\n')
    assert "[base] lock" in refusal("build", "pinned.toml", code=2)
    first, free = (answer("build", f"{month}.toml", "--workers", "1") for month in ("october", "november"))
    pinned = answer("build", "pinned.toml", "--workers", "1")

    def settled(lock: dict) -> tuple:
        (rule,) = lock["levels"][2]["rules"]
        return lock["tokenizer"]["sha256"], lock["models"]["perplexity"], rule["bound"]

    assert settled(pinned) == settled(first)
    assert all(ours != theirs for ours, theirs in zip(settled(free), settled(first), strict=True))
    assert pinned["base"] == {"name": "october", "sha256": lock_digest(first)}
    assert pinned["corpora"][0]["digest"] != first["corpora"][0]["digest"]
    assert answer("verify", "pinned.lock.json", "--replay")["differ"] == []
    assert answer("gc")["artefacts"] == 0
    Path("pinned.toml").write_text(Path("pinned.toml").read_text().replace('"likely"', '"best"'))
    assert "best.perplexity: the lock of [base] has no such rule" in refusal("build", "pinned.toml", code=2)
    shutil.rmtree(".curate")
    Path("pinned.toml").write_text(Path("pinned.toml").read_text().replace('"best"', '"likely"'))
    assert "which the lock of [base] names, is not in it; build that lock there first" in refusal(
        "build", "pinned.toml"
    )


def test_a_base_lock_stands_beside_the_base_cell_of_factors(folder):
    built()
    text = Path("month.toml").read_text()
    for base, studies in (('lock = "month.lock.json"', 0), ('lock = "month.lock.json"\ntokens = "3k"', 1)):
        factor = "[[factor]]\nname = 'depth'\nmodel.depth = [2]\n" if studies else ""
        Path("second.toml").write_text(f"{text}[base]\n{base}\n{factor}")
        manifest = load_manifest("second.toml")
        assert manifest.base["name"] == "month"
        assert len(manifest.studies) == studies
