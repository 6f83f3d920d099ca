"""What a store holds, which lock needs it, and what may go; and what git knows of a lock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from months import answer, begin, built, git

from curate.cli import main
from curate.commands.keeping import collect, look
from curate.engine import open_engine
from curate.errors import CurateError
from curate.manifest.reader import load_manifest
from curate.sources.documents import read_sources
from curate.steps import build
from curate.store import Store, read_json
from train.files import alone, read_record


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    return begin(tmp_path, monkeypatch)


def everything(store: Path) -> dict[str, int]:
    return {
        str(path): path.stat().st_size
        for path in store.rglob("*")
        if path.is_file() and path.name != "in-use.lock"
    }


def test_what_a_living_lock_was_made_of_stays_and_the_rest_goes(folder):
    built(commit="first")
    first = everything(folder / ".curate")
    built(50)
    second = everything(folder / ".curate")
    assert answer("gc")["artefacts"] == 0, "one lock lives in the history, the other on disk"
    built(40)
    assert set(everything(folder / ".curate")) > set(second)
    told = answer("gc")
    assert {"corpora", "shards"} <= told["stages"].keys() <= {"corpora", "shards", "tokens"}
    assert told["bytes"] > 0
    third = everything(folder / ".curate")
    assert not told["deleted"]
    removed = answer("gc", "--delete")
    assert (removed["artefacts"], removed["bytes"]) == (told["artefacts"], told["bytes"])
    left = everything(folder / ".curate")
    assert sum(third.values()) > sum(left.values())
    assert answer("gc")["artefacts"] == 0
    assert {path for path in first if "/locks/" not in path} <= set(left)
    assert answer("verify", "month.lock.json")["differ"] == []
    before = read_json(folder / "month.lock.json")
    assert built(40) == before, "and what lives is whole: nothing has to be made again"
    assert set(everything(folder / ".curate")) == set(left)
    git("checkout", "-q", "month.lock.json")
    assert answer("verify", "month.lock.json")["differ"] == []


def test_a_lock_lives_that_a_list_names(folder):
    built()
    (folder / "kept").mkdir()
    os.rename("month.lock.json", "kept/a.json")
    assert answer("gc")["artefacts"] > 10
    Path("kept/list.txt").write_text("a.json\n\n")
    for named in ("kept/a.json", "kept/list.txt"):
        assert answer("gc", "--locks", named)["artefacts"] == 0
    missing = CliRunner().invoke(main, ["gc", "--locks", "kept/b.json"])
    assert (missing.exit_code, "no such file" in missing.stderr) == (1, True)


def test_ls_names_what_is_there_and_its_locks(folder):
    lock = built()
    told = answer("ls")
    corpora = [row for row in told["listed"] if row["kind"] == "corpora"]
    assert len(corpora) == len(lock["corpora"]) == 4
    (label,) = {label for row in told["listed"] for label in row["used_by"]}
    assert label.startswith("month@")
    assert told["bytes"] <= sum(everything(folder / ".curate").values())
    assert told["bytes"] < sum(stage["bytes"] for stage in told["stages"].values()), (
        "corpora share files with shards"
    )
    text = CliRunner().invoke(main, ["ls"]).stdout
    assert label in text
    assert str(corpora[0]["name"]) in text
    assert answer("ls", "--store", "nowhere") == {"bytes": 0, "listed": [], "stages": {}}
    assert not Path("nowhere").exists()


def test_what_a_running_process_works_with_stays(folder):
    built()
    os.remove("month.lock.json")
    store, engine = Store(folder / ".curate"), open_engine("local", 1)
    read_sources(store, load_manifest("month.toml").sources, 64_000_000, engine)
    with pytest.raises(CurateError, match="another command works with this store"):
        collect(store, delete=True)
    assert collect(store)[1]
    del engine
    for name in ("idle", "busy"):  # cells that a lock of before was made of
        (folder / f".curate/runs/{name}").mkdir(parents=True)
        (folder / f".curate/packed/{name}").mkdir(parents=True)
        (folder / f".curate/packed/{name}/tokens.bin").write_text("x")
        cell = {"packed": str(folder / f".curate/packed/{name}"), "holdouts": {}}
        (folder / f".curate/runs/{name}/cell.json").write_text(json.dumps(cell))
        (folder / f".curate/runs/{name}/cell.lock").touch()
    names = {f"{stage}/{name}" for stage in ("runs", "packed") for name in ("idle", "busy")}
    assert not names & {entry.id for entry in look(store).unused()}, "no account names them"
    store.remember({"name": "before", "corpora": []}, folder / "gone.lock.json", names)
    with alone(folder / ".curate/runs/busy/cell.lock"):
        _, going, busy = collect(store, delete=True)
    assert busy == ["runs/busy"]
    assert "runs/idle" in {entry.id for entry in going}
    assert (folder / ".curate/packed/busy/tokens.bin").exists()
    assert not (folder / ".curate/runs/idle").exists()
    collect(store, delete=True)
    assert not (folder / ".curate/packed/idle").exists()


def test_gc_while_a_build_runs_is_refused_or_leaves_it_whole(folder):
    """A build in another process: either gc is told that the store is in use, or there is nothing of it yet."""
    code = "from curate.cli import main; main(['build', 'month.toml', '--workers', '1', '--json'])"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    refused = 0
    while process.poll() is None:
        done = CliRunner().invoke(main, ["gc", "--delete"])
        refused += done.exit_code == 1 and "another command works" in done.stderr
    assert process.returncode == 0
    assert refused
    assert answer("verify", "month.lock.json")["differ"] == []
    assert answer("gc")["artefacts"] == 0


def test_a_damaged_account_is_made_again(folder):
    built()
    (account,) = (folder / ".curate/locks").iterdir()
    whole = read_record(account)
    account.write_text(account.read_text().replace("corpora", "korpora", 1))
    built()
    again = read_record(account)
    assert set(again["used"]) <= set(whole["used"])
    left = {one.partition("/")[0] for one in {*whole["used"]} - {*again["used"]}}
    assert left == {"bands", "resembling"}, "what others were made of is not asked for again"


def test_a_build_without_a_lock_leaves_no_account(folder):
    manifest = load_manifest(folder / "month.toml")
    build(Store(folder / "store"), manifest, open_engine("local", 1), record=False)
    assert not (folder / "store/locks").exists()
