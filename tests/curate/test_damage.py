"""Full disks, folders that cannot be written, files cut short, changed or gone: nothing half-written is taken for whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import options_of, write_manifest

from curate.cli import main
from curate.store import Part


def curate(*arguments: object, store: Path):
    return CliRunner().invoke(main, [*map(str, arguments), *options_of(str(arguments[0]), store)])


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, Path, bytes]:
    """(manifest, store, lock) of an undisturbed build."""
    folder = tmp_path_factory.mktemp("whole")
    manifest = write_manifest(folder)
    done = curate("build", manifest, store=folder / "store")
    assert done.exit_code == 0, done.output
    return manifest, folder / "store", manifest.with_suffix(".lock.json").read_bytes()


@pytest.fixture
def copied(whole, tmp_path) -> tuple[Path, Path, bytes]:
    manifest, store, lock = whole
    shutil.copytree(store, tmp_path / "store")  # copies are no hard links: damage stays where it is made
    return manifest, tmp_path / "store", lock


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def garble(path: Path) -> None:
    path.write_text("[]" if path.suffix == ".json" else "")


PLACES = [
    "documents/*.arrow", "documents/*.json", "signals/words/*.arrow", "signals/words/*.json", "tokens/*.arrow", "tokens/*.json",
    "tokenizers/*/tokenizer.json", "shards/*.arrow", "shards/*.json", "corpora/*/train/data-*.arrow", "corpora/*/corpus.json", "inputs.json",
]  # fmt: skip


@pytest.mark.parametrize(
    "damage",
    [cut, Path.unlink, garble, change, pipe],
    ids=["cut", "deleted", "garbled", "changed", "pipe"],
)
def test_what_is_cut_short_deleted_or_changed_is_made_again_to_the_same_lock(copied, damage):
    manifest, store, lock = copied
    for place in PLACES:
        damage(sorted(store.glob(place))[0])
    done = curate("build", manifest, store=store)
    assert done.exit_code == 0, done.output
    assert manifest.with_suffix(".lock.json").read_bytes() == lock
    checked = curate("verify", manifest.with_suffix(".lock.json"), store=store)
    assert checked.exit_code == 0, checked.output


def test_what_is_made_again_is_said_once_and_by_name(copied, caplog):
    manifest, store, _ = copied
    part = sorted(store.glob("documents/*.arrow"))[0]
    change(part)
    curate("build", manifest, store=store)
    assert caplog.messages == [f"{part}: damaged since it was written; it is made again"]


@pytest.mark.parametrize("stage", ["documents", "signals/words", "tokens"])
def test_receipts_that_changed_places_are_damaged(copied, stage):
    manifest, store, lock = copied
    receipts = sorted((store / stage).glob("*.json"))
    content = [path.read_bytes() for path in receipts]
    for path, other in zip(receipts, content[1:] + content[:1], strict=True):
        path.unlink()
        path.write_bytes(other)
    assert curate("build", manifest, store=store).exit_code == 0
    assert manifest.with_suffix(".lock.json").read_bytes() == lock


@pytest.mark.parametrize(
    "stands", [Path.mkdir, lambda path: path.symlink_to(path.name)], ids=["folder", "link"]
)
def test_what_stands_in_a_files_place_is_one_line(copied, stands):
    manifest, store, _ = copied
    receipt = sorted(store.glob("documents/*.json"))[0]
    receipt.unlink()
    stands(receipt)
    done = curate("build", manifest, store=store)
    assert done.exit_code == 1
    assert done.output.splitlines()[-1].startswith(f"error: {receipt}: ")


def test_a_shard_that_changed_on_the_disk_never_becomes_a_corpus(copied):
    manifest, store, lock = copied
    for part in store.glob("shards/*.arrow"):
        change(part)
    shutil.rmtree(store / "corpora")
    assert curate("build", manifest, store=store).exit_code == 0
    assert curate("verify", manifest.with_suffix(".lock.json"), store=store).exit_code == 0


def test_what_reads_a_damaged_corpus_says_so_in_one_line(copied):
    manifest, store, _ = copied
    corpus = sorted(store.glob("corpora/*"))[0]
    change(corpus / "train/data-00000.arrow")
    for command in (["show", corpus], ["train", "--corpus", corpus]):
        done = curate(*command, store=store)
        assert (done.exit_code, len(done.output.splitlines())) == (1, 1), done.output
        assert f"error: {corpus / 'train/data-00000.arrow'}: damaged since it was written" in done.output


def with_(lock: bytes, **changed) -> bytes:
    return json.dumps(json.loads(lock) | changed).encode()


def without(name: str):
    return lambda lock: with_(lock, **{name: None})


def change_text(lock: bytes) -> bytes:
    return lock.replace(b"[8, inf]", b"[7, inf]")


@pytest.mark.parametrize("damaged", [
    lambda lock: b"", lambda lock: b"{}", lambda lock: b"[]", lambda lock: bytes(len(lock)), lambda lock: lock[:-9], change_text,
    lambda lock: b'{"corpora": {}}', lambda lock: lock.replace(b'"digest"', b'"digset"'), lambda lock: b"[" * 100_000,
    lambda lock: lock.replace(b'"sources": {', b'"sources": [], "sourcez": {'), without("name"), without("levels"), lambda lock: with_(lock, levels=[]),
    lambda lock: with_(lock, held_out=3),
], ids=["empty", "braces", "list", "zeros", "cut", "text", "shape", "key", "nested", "sources", "name", "levels", "no-levels", "held-out"])  # fmt: skip
def test_a_damaged_lock_is_one_line_and_written_again(copied, tmp_path, damaged):
    manifest, store, lock = copied
    path = tmp_path / "damaged.lock.json"
    path.write_bytes(damaged(lock))
    assert path.read_bytes() != lock
    for command in (["verify", path], ["diff", path, manifest], ["summary", path]):
        done = curate(*command, store=store)
        assert done.exit_code == 1, done.output
        assert done.output.splitlines()[-1].startswith(f"error: {path}: not a lock: ")
    assert curate("build", manifest, "--lock", path, store=store).exit_code == 0
    assert path.read_bytes() == lock


def changed_in(*places: str, to: object = None):
    """A lock in which what these keys lead to is another, or is not there."""

    def change(tree: dict) -> None:
        *way, last = places
        for key in way:
            tree = next(iter(tree.values())) if key == "*" else tree[int(key) if key.isdigit() else key]
        if to is None:
            tree.pop(last)
        else:
            tree[last] = to

    return change


@pytest.mark.parametrize(("change", "said"), [
    (changed_in("ledger"), 'not a lock: a table has no "ledger"'), (changed_in("sources", "*", "digest"), 'not a lock: a table has no "digest"'),
    (changed_in("sources", "*", "format"), 'not a lock: a table has no "format"'), (changed_in("sources", to={}), "not a lock: a table has no "),
    (changed_in("corpora", "0", "tokens", to="many"), "not a lock: what a corpus holds must be whole numbers"),
    (changed_in("corpora", "0", "documents", to=1), "it has documents = "), (changed_in("corpora", "0", "tokens", to=1), "it has tokens = "),
    (changed_in("corpora", "0", "size", to="*"), "it has size = "),
])  # fmt: skip
def test_a_lock_that_was_edited_by_hand_is_found_out_by_whoever_reads_what_was_changed(copied, change, said):
    manifest, store, lock = copied
    tree = json.loads(lock)
    change(tree)
    path = manifest.with_name("edited.lock.json")  # what it names lies beside it
    path.write_text(json.dumps(tree))
    done = [curate(*words, store=store) for words in (
        ["verify", path, "--replay"], ["diff", path, manifest], ["summary", path],
    )]  # fmt: skip
    assert any(said in one.output for one in done), [one.output for one in done]
    for one in done:
        assert one.exit_code in (0, 1), one.output
        assert one.exception is None or isinstance(one.exception, SystemExit), one.output


@pytest.mark.parametrize(("words", "said"), [
    (["--depth", "0"], "error: --depth = 0: must be a whole number in [1, 1000]"), (["--width", "3"], "error: --width = 3 with --heads = 1"),
    (["--depth", "64"], "tokens to train on, a batch of 65,536 tokens is larger"), (["--seed", "-1"], "Invalid value for '--seed'"),
    (["--out", "{file}"], "Invalid value for '--out'"),
])  # fmt: skip
def test_a_corpus_that_cannot_be_trained_on_as_asked_is_said_before_a_run(whole, tmp_path, words, said):
    _, store, _ = whole
    corpus = sorted(store.glob("corpora/raw-16k-*"))[0]
    (tmp_path / "file").touch()
    words = [str(tmp_path / "file") if word == "{file}" else word for word in words]
    done = curate("train", "--corpus", corpus, "--vocabulary", "300", *words, store=tmp_path / "other")
    assert done.exit_code in (1, 2)
    assert said in done.output.splitlines()[-1]
    assert "ValueError" not in done.output


def test_a_part_is_hashed_once_until_it_is_written_again(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    part = Part.of(path, 1)
    monkeypatch.setattr("hashlib.file_digest", lambda *a: pytest.fail("was hashed again"))
    part.compare()


def test_a_store_below_a_file_is_one_line(whole, tmp_path):
    (tmp_path / "file").touch()
    done = curate("build", whole[0], store=tmp_path / "file" / "store")
    assert done.exit_code == 1
    assert done.output.splitlines()[-1].endswith("Not a directory; name a folder with --store")
    assert curate("build", whole[0], store=tmp_path / "file").exit_code == 2


MOUNTED = """
import subprocess, sys
from curate.cli import main
subprocess.run(["mount", "-t", "tmpfs", "-o", sys.argv[1], "tmpfs", sys.argv[2]], check=True)
if sys.argv[3]:
    subprocess.run(["mount", "-o", "remount," + sys.argv[3], sys.argv[2]], check=True)
main(["build", sys.argv[4], "--store", sys.argv[2] + "/store"])
"""


def in_a_mount(folder: Path, options: str, then: str, manifest: Path):
    """Build in a file system of its own, in a mount namespace that ends with the process."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("mounting needs root and unshare")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    folder.mkdir()
    command = ["unshare", "-m", sys.executable, "-c", MOUNTED, options, str(folder), then, str(manifest)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if "mount:" in done.stderr:
        pytest.skip("mounting is not allowed here")
    return done


@pytest.mark.parametrize(("options", "then", "said"), [
    ("size=200k", "", "No space left on device; free some space"),
    ("size=1m", "ro", "Read-only file system; name a folder that can be written"),
], ids=["full", "read-only"])  # fmt: skip
def test_a_disk_that_takes_nothing_is_one_line(tmp_path, options, then, said):
    done = in_a_mount(tmp_path / "disk", options, then, write_manifest(tmp_path))
    assert done.returncode == 1, done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_grid_with_a_failed_run_ends_with_exit_code_1(whole, monkeypatch):
    from train.grid import Outcome

    manifest, store, _ = whole
    monkeypatch.chdir(manifest.parent)
    monkeypatch.setattr(
        "curate.runs.training.run_grid",
        lambda cells, map: [Outcome(str(d), None, "the disk is full") for _, d in cells],
    )
    done = curate("train", manifest, "--json", store=store)
    assert done.exit_code == 1
    assert {run["failed"] for run in json.loads(done.stdout)} == {"the disk is full"}
