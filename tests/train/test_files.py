"""Whole files and folders: what is damaged is said, what the dead left is cleared, what the living write stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from train import files
from train.files import Damaged, atomic, open_sealed, read_record, remembered, seal_folder, write_record

RECORD = {"a": [1, 2.5, None], "b": {"c": "d\u00e9"}, "3": True}


def test_a_record_comes_back_without_its_checksum(tmp_path):
    write_record(tmp_path / "r.json", {**RECORD, "n": {10: True, 9: False}, "t": (1, 2)})
    assert read_record(tmp_path / "r.json") == {**RECORD, "n": {"10": True, "9": False}, "t": [1, 2]}


def test_every_changed_bit_of_a_record_is_seen_or_changes_nothing(tmp_path):
    path = tmp_path / "r.json"
    write_record(path, RECORD)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            content = bytearray(whole)
            content[place] ^= 1 << bit
            path.write_bytes(content)
            try:
                assert read_record(path) == RECORD  # a space that became a line end
            except Damaged as error:
                assert str(path) in str(error)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\0\0\0", b"[" * 100_000, b'{"xxh3": 7}'])
def test_what_is_no_record_is_damaged_and_what_can_be_made_again_is_forgotten(tmp_path, caplog, content):
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(Damaged):
        read_record(tmp_path / "r.json")
    assert remembered(tmp_path / "r.json") == {}
    assert caplog.messages == [f"{tmp_path / 'r.json'}: damaged since it was written; it is made again"]


@pytest.mark.parametrize("content", [b"", b"onx", b"\0\0\0", b"ones", None])
def test_a_sealed_folder_names_the_file_that_changed(tmp_path, content):
    (tmp_path / "one").write_bytes(b"one")
    seal_folder(tmp_path / "r.json", {}, ["one"])
    open_sealed(tmp_path / "r.json")
    (tmp_path / "one").unlink()
    if content is not None:
        (tmp_path / "one").write_bytes(content)
    with pytest.raises(Damaged, match="one: damaged"):
        open_sealed(tmp_path / "r.json")


def test_a_file_is_read_once_a_process_while_it_stays_as_it_is(tmp_path, monkeypatch):
    path = tmp_path / "one"
    path.write_bytes(b"one")
    before = files.checksum(path)
    monkeypatch.setattr("hashlib.file_digest", lambda *a: pytest.fail("was read again"))
    assert files.checksum(path) == before


def left_by(process: int, machine: str | None = None) -> str:
    return f"r.json.{machine or files.this_machine()}-{process}-7.tmp"


def test_what_a_dead_process_left_half_written_is_cleared_and_nothing_else(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead = [left_by(ended.pid), left_by(1 << 40), f"folder.{left_by(ended.pid)[7:]}"]
    stays = [
        left_by(living.pid),
        left_by(1),
        left_by(ended.pid, "0123abcd"),
        "notes.tmp",
        f"r.{ended.pid}-7.tmp",
    ]
    for name in dead[:2] + stays:
        (tmp_path / name).touch()
    (tmp_path / dead[2]).mkdir()
    (tmp_path / dead[2] / "inside").touch()
    old = left_by(ended.pid, "4567cdef")
    (tmp_path / old).touch()
    os.utime(tmp_path / old, (time.time() - 8 * 86_400,) * 2)
    with atomic(tmp_path / "new") as temporary:
        temporary.touch()
    living.communicate()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*stays, "new"])


KILLED = """
import os, sys
from pathlib import Path
from train.files import atomic
with atomic(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_the_next_process_clears_what_a_killed_one_left(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "r.json")])
    assert [p.suffix for p in tmp_path.iterdir()] == [".tmp"]
    write_record(tmp_path / "r.json", {})
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
    assert json.loads((tmp_path / "r.json").read_text()).keys() == {"xxh3"}


def test_a_lock_is_held_by_one_process_and_let_go_of_by_a_dead_one(tmp_path, caplog):
    code = "import sys; from train.files import alone; from pathlib import Path\nwith alone(Path(sys.argv[1])): print(flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout
    holder.stdout.readline()
    asked = iter([False, True])
    with files.alone(tmp_path / "lock", lambda: next(asked)) as held:
        assert not held
    assert caplog.messages == [f"{tmp_path}: another process is at work there; it is waited for"]
    holder.kill()
    holder.communicate()
    with files.alone(tmp_path / "lock") as held:
        assert held
