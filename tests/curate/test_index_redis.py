"""An index in Redis: the same answers as a folder, shared by programs that add at once, asked by datasketch itself."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_index import add, annotated, texts, write

from curate.cli import main
from curate.duplicates.index import open_index
from curate.engine import open_engine
from curate.errors import CurateError, ManifestError
from curate.manifest.reader import load_manifest
from curate.steps import annotate_all, build
from curate.store import Store

redis = pytest.importorskip("redis", reason="the package redis is not installed")
RULE = "index_similarity = [0, 0]"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """host:port of a real server in a folder of its own."""
    program = shutil.which("redis-server")
    if not program:
        pytest.skip("redis-server is not installed (Debian: apt install redis-server)")
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    with open(folder / "log", "wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            with redis.Redis(port=port) as connection:
                _until_it_answers(connection)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def _until_it_answers(connection) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            connection.ping()
            return
        except redis.exceptions.ConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


@pytest.fixture
def database(server) -> str:
    """The URL of an empty database."""
    url = f"redis://{server}/3"
    with redis.Redis.from_url(url) as connection:
        connection.flushdb()
    return url


def content(url: str) -> dict:
    with redis.Redis.from_url(url) as connection:
        return {
            "record": connection.hgetall("curate:record"),
            "entries": connection.hgetall("curate:entries"),
            "texts": connection.hgetall("curate:texts"),
        }


def matches(a) -> dict[str, tuple]:
    read = [t for part in a.pool.parts for t in part.table(["text"])["text"].to_pylist()]
    columns = [a.values.column(name).to_pylist() for name in ("index_match", "index_similarity")]
    return dict(zip(read, zip(*columns, strict=True), strict=True))


def similar_texts() -> list[str]:
    """Copies, near copies of several earlier documents at once, stubs of one crowded bucket, and new ones."""
    nearly = [text + " and a few words" for text in texts(1)[:20]]
    stubs = [f"{' '.join(['same'] * 30)} {i % 7}" for i in range(40)]
    return [*texts(2), *texts(1)[20:40], *nearly, *stubs]


@pytest.mark.parametrize("sketch", ["fast", "datasketch", "datasketch-legacy"])
def test_a_database_gives_the_answers_of_a_folder(tmp_path, database, sketch):
    def of(folder: str, rows: list[str], index: str = "", rule: str = "", workers: int = 1):
        path = write(tmp_path / folder, rows, index, rule)
        path.write_text(path.read_text().replace("256 }", f'256, sketch = "{sketch}" }}'))
        return annotate_all(
            Store(tmp_path / folder / "store"), load_manifest(path), open_engine("local", workers)
        )

    close = [text + " and then" for text in texts(1)[:20]]  # so that some have two to resemble
    stubs = [f"{' '.join(['same'] * 30)} {i}" for i in range(50)]
    for number, rows in enumerate([[*texts(1), *close], stubs]):
        first = of(f"first{number}", rows)
        for index in (str(tmp_path / "seen"), database):
            assert add(first, index, "raw")[1] == len(rows)
    answers = [
        of(f"second{workers}", similar_texts(), f'index = "{index}"', RULE, workers)
        for index, workers in ((tmp_path / "seen", 1), (database, 1), (database, 3))
    ]
    by_folder, alone, together = map(matches, answers)
    assert by_folder == alone == together
    assert sum(match is not None for match, _ in alone.values()) == 47  # copies, near copies, distinct stubs
    assert len({a.judged["new"].kept.sum() for a in answers}) == 1


def test_what_is_added_changes_no_entry_and_the_same_again_changes_nothing(tmp_path, database):
    add(annotated(tmp_path / "first", texts(1)), database, "raw")
    before = content(database)
    index, added = add(annotated(tmp_path / "second", texts(2)), database, "raw")
    assert (added, index.documents) == (60, 120)
    after = content(database)
    for kind in ("entries", "texts"):
        assert before[kind].items() <= after[kind].items()
    assert add(annotated(tmp_path / "second", texts(2)), database, "raw")[1] == 0
    assert content(database) == after


def test_a_build_sees_what_its_index_held_when_it_was_opened(tmp_path, database):
    add(annotated(tmp_path / "first", texts(1)), database, "raw")
    opened = open_index(database)
    second = annotated(tmp_path / "second", texts(2))
    add(second, database, "raw")
    later = annotated(tmp_path / "later", texts(2)[::-1])
    match = (later.values, {})
    assert opened.match(*match)[0].null_count == 60
    assert open_index(database).match(*match)[0].null_count == 0
    assert open_index(database).digest != opened.digest


def _add(folder: Path, seed: int, url: str) -> None:
    add(annotated(folder, [*texts(seed, 300), *texts(9, 300)]), url, "raw")


@pytest.mark.slow
def test_two_programs_add_at_once_and_nothing_is_lost_or_counted_twice(tmp_path, database):
    two = [
        get_context("spawn").Process(target=_add, args=(tmp_path / str(seed), seed, database))
        for seed in (1, 2)
    ]
    for one in two:
        one.start()
    for one in two:
        one.join()
    assert [one.exitcode for one in two] == [0, 0]
    assert open_index(database).documents == 900
    numbers = sorted(int(value.split(b":", 1)[0]) for value in content(database)["entries"].values())
    assert numbers == list(range(900))
    found = annotated(
        tmp_path / "later", [*texts(3), *texts(1, 300), *texts(2, 300)], f'index = "{database}"', RULE
    )
    assert found.judged["new"].kept.sum() == 60


def test_a_program_killed_before_the_entries_leaves_no_half_documents(tmp_path, database, monkeypatch):
    first = annotated(tmp_path / "first", texts(1))
    monkeypatch.setattr("curate.duplicates.index_redis.AT_ONCE", 20)
    monkeypatch.setattr(
        "curate.duplicates.index_redis.ADD", "error('killed')"
    )  # after the buckets of the first 20 were filled
    with pytest.raises(CurateError, match="the Redis server says: .*killed"):
        add(first, database, "raw")
    again = annotated(tmp_path / "again", [*texts(1), *texts(3)], f'index = "{database}"', RULE)
    assert again.judged["new"].kept.sum() == 120
    monkeypatch.undo()
    assert add(first, database, "raw")[1] == 60
    later = annotated(tmp_path / "later", [*texts(3), *texts(1)], f'index = "{database}"', RULE)
    assert later.judged["new"].kept.sum() == 60


def test_datasketch_itself_finds_in_the_database_what_was_added(tmp_path, database):
    from datasketch import MinHash, MinHashLSH

    path = write(tmp_path / "first", texts(1))
    path.write_text(path.read_text().replace("256 }", '256, sketch = "datasketch" }'))
    a = annotate_all(Store(tmp_path / "store"), load_manifest(path), open_engine("local", 1))
    index, _ = add(a, database, "raw")
    host, port = index.where.removeprefix("redis://").removesuffix("/3").split(":")
    lsh = MinHashLSH(
        num_perm=256, params=tuple(index.comparison["cut"]), prepickle=False,
        storage_config={"type": "redis", "basename": b"curate", "redis": {"host": host, "port": int(port), "db": 3}},
    )  # fmt: skip
    words = texts(1)[7].split()
    sketch = MinHash(num_perm=256, seed=1)
    sketch.update_batch({" ".join(words[i : i + 5]).encode() for i in range(len(words) - 4)})
    ids = {
        text: id
        for p in a.pool.parts
        for id, text in zip(*p.table(["id", "text"]).to_pydict().values(), strict=True)
    }
    assert [key.decode().split(":")[0] for key in lsh.query(sketch)] == [ids[texts(1)[7]]]


def test_a_manifest_never_finds_itself_in_a_database(tmp_path, database):
    add(annotated(tmp_path / "first", texts(1)), database, "raw")
    add(annotated(tmp_path / "other", [*texts(7, 20), *texts(2)]), database, "raw")
    a = annotated(
        tmp_path / "first", [*texts(1), *texts(3, 30), *texts(2)[:10]], f'index = "{database}"', RULE
    )
    assert a.judged["new"].kept.sum() == 90
    assert [origin["documents"] for origin in open_index(database).origins] == [60, 80]


def test_the_lock_says_what_the_database_held_and_not_where_it_is(tmp_path, database):
    add(annotated(tmp_path / "first", texts(1)), database, "raw")
    path = write(tmp_path / "second", [*texts(4, 200), *texts(1)], f'index = "{database}"', RULE)
    lock = build(Store(tmp_path / "store"), load_manifest(path), open_engine("local", 2)).lock
    (said,) = lock["pool"]["index"]["index"]
    assert (said["name"], said["documents"]) == ("redis", 60)
    assert "127.0.0.1" not in json.dumps(lock["pool"])
    assert lock["ledger"]["new"]["pages"]["dropped"] == {"new.index_similarity": 60}


def test_other_settings_than_the_index_has_are_refused_by_name_before_any_work(tmp_path, database):
    add(annotated(tmp_path / "first", texts(1)), database, "raw")
    before = content(database)
    path = write(tmp_path / "second", texts(2))
    path.write_text(path.read_text().replace("permutations = 256", "permutations = 256, ngram = 3"))
    done = CliRunner().invoke(main, ["index", str(path), database, "--store", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert "compares documents in another way: signing: {'" in done.output.replace("\n", " ")
    assert not (tmp_path / "none").exists()
    assert content(database) == before
    path.write_text(path.read_text().replace("\n[[level]]", f'index = "{database}"\n[[level]]', 1))
    with pytest.raises(ManifestError, match="'ngram': 5.* in the index, .*'ngram': 3"):
        load_manifest(path)


def test_mistakes_are_said_with_the_fix_and_the_password_never(tmp_path, database, monkeypatch):
    nowhere = f"redis://someone@127.0.0.1:{free_port()}/0"
    path = write(tmp_path / "second", texts(2), f'index = "{nowhere}"')
    with pytest.raises(ManifestError, match=r"127.0.0.1:\d+/0: no Redis server answers there .*; start it"):
        load_manifest(path)
    with pytest.raises(CurateError, match=r"/3: no index; `curate index MANIFEST redis://.*/3` makes one"):
        open_index(database)
    for wrong in ("redis://", "redis://host/one", "redis://host:port/1", "redis://host/1?db=2"):
        with pytest.raises(CurateError, match="write redis://HOST:PORT/DB"):
            open_index(wrong)
    with pytest.raises(CurateError, match="into the environment variable REDISCLI_AUTH") as told:
        open_index("redis://someone:secret@host/1")
    assert "secret" not in str(told.value)
    with redis.Redis.from_url(database) as connection:
        connection.hset("curate:record", "comparison", "{")
    with pytest.raises(CurateError, match="the key curate:record is damaged"):
        open_index(database)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(
        CurateError, match=r'the package redis is not installed; pip install "curate-lm\[redis\]"'
    ):
        open_index(database)


def test_the_command_adds_once(tmp_path, database):
    path = write(tmp_path / "first", texts(1))
    common = ["--store", str(tmp_path / "store"), "--workers", "1"]
    for said in ('60 documents of level "new" added', "these documents are in the index already"):
        done = CliRunner().invoke(main, ["index", str(path), database, "--kept", *common])
        assert done.exit_code == 0, done.output
        assert f"{said}; {database} holds 60" in done.output


def test_the_password_comes_from_the_environment(tmp_path, database, monkeypatch):
    first = annotated(tmp_path / "first", texts(1))
    with redis.Redis.from_url(database) as connection:
        connection.config_set("requirepass", "secret")
        try:
            with pytest.raises(CurateError, match="(?i)auth"):
                open_index(database)
            monkeypatch.setenv("REDISCLI_AUTH", "secret")
            assert add(first, database, "raw")[1] == 60
        finally:
            connection.config_set("requirepass", "")
