"""A store with a URL: the bytes of a folder's, whatever the object store does; each machine has a cache of its own."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import faulty  # noqa: F401 registers `faulty://`
import pytest
from click.testing import CliRunner
from test_shares import write

from curate.cli import main
from curate.corpora.corpus import open_arrow
from curate.corpora.lock import corpus_directory
from curate.engine import open_engine
from curate.errors import CurateError
from curate.manifest.reader import load_manifest
from curate.remote import here, remote_of
from curate.signals.annotate import annotate
from curate.sources.documents import read_sources
from curate.sources.pool import open_pool
from curate.store import Part, open_store

PROGRAM = Path(__file__).with_name("faulty.py")
ROUND_SECONDS = 400


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> tuple[str, Path]:
    """(lock, store) of one process with a folder."""
    folder = tmp_path_factory.mktemp("alone")
    done = CliRunner().invoke(
        main, ["build", str(write(folder)), "--workers", "1", "--store", f"{folder}/store"]
    )
    assert done.exit_code == 0, done.output
    return (folder / "small.lock.json").read_text(), folder / "store"


class World:
    """A manifest, a bucket, and machines, each with a cache of its own."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.folder, self.manifest, self.patch = folder, write(folder), monkeypatch
        self.bucket, self.url = folder / "bucket", f"faulty://{folder}/bucket"
        self.bucket.mkdir()
        monkeypatch.chdir(folder)

    def on(self, machine: str) -> None:
        self.patch.setenv("CURATE_CACHE", str(self.folder / machine))

    def curate(self, machine: str, command: str, *words: str) -> tuple[int, str, str]:
        self.on(machine)
        one = (
            ["--workers", "1"] if command in ("build", "report") and not words else []
        )  # knows what `faulty:` is
        done = CliRunner().invoke(main, [command, str(self.manifest), "--store", self.url, *one, *words])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout, (done.stderr.strip().splitlines() or [""])[-1]

    def start(self, machine: str, *words: str, faults: str = "") -> subprocess.Popen:
        environment = os.environ | {"CURATE_CACHE": str(self.folder / machine), "CURATE_FAULTS": faults}
        # Of machines that build the same manifest in two folders each writes a lock of its own.
        lock = ["--lock", f"{machine}.lock.json"] if words[0] == "build" else []
        command = [
            sys.executable,
            PROGRAM,
            *words,
            *lock,
            "small.toml",
            "--workers",
            "1",
            "--store",
            self.url,
        ]
        with open(self.folder / f"{machine}.log", "a") as log:
            return subprocess.Popen(command, env=environment, cwd=self.folder, stdout=log, stderr=log)

    def objects(self) -> dict[str, int]:
        """name -> when it was written."""
        files = [path for path in self.bucket.rglob("*") if path.is_file() and "claims" not in path.parts]
        return {str(path.relative_to(self.bucket)): path.stat().st_mtime_ns for path in files}

    def downloaded(self) -> dict[str, int]:
        """Bytes by name since it was last asked, claims left out."""
        log, found = self.folder / "bucket.log", dict[str, int]()
        for line in log.read_text().splitlines() if log.exists() else ():
            size, _, name = line.partition(" ")
            if not name.startswith(("claims", "locks", "store.json")):
                found[name] = found.get(name, 0) + int(size)
        log.unlink(missing_ok=True)
        return found


@pytest.fixture
def world(tmp_path, monkeypatch) -> World:
    return World(tmp_path, monkeypatch)


def test_a_second_machine_makes_nothing_again_and_fetches_what_it_needs(alone, world):
    assert world.curate("a", "build")[0] == 0
    assert (world.folder / "small.lock.json").read_text() == alone[0]
    assert not world.downloaded()
    there = world.objects()
    (world.folder / "small.lock.json").unlink()
    assert world.curate("b", "build")[0] == 0
    assert (world.folder / "small.lock.json").read_text() == alone[0]
    assert world.objects() == there
    stages = {name.split("/")[0] for name in world.downloaded() if name.endswith(".arrow")}
    assert stages >= {"signals", "beside"}
    assert not stages & {"shards", "bands"}
    assert world.curate("b", "build")[0] == 0
    assert not world.downloaded()


def test_a_corpus_is_fetched_when_it_is_opened_and_shares_its_files(alone, world):
    assert world.curate("a", "build")[0] == 0
    assert not list(world.bucket.glob("corpora/*/train/*.arrow"))  # they are the shards' objects
    world.on("b")
    done = CliRunner().invoke(main, ["verify", str(world.folder / "small.lock.json"), "--store", world.url])
    assert done.exit_code == 0, done.output
    mine, theirs = (
        {str(p.relative_to(root)): p.read_bytes() for p in root.glob("corpora/*/*/*") if p.is_file()}
        for root in (open_store(world.url).root, alone[1])
    )
    assert mine == theirs
    assert len(
        {name for name in world.downloaded() if name.startswith("shards/") and name.endswith("w")}
    ) == len(list(world.bucket.glob("shards/*.arrow")))


def test_a_store_that_is_sent_elsewhere_finds_the_cache_of_that_machine(world):
    world.on("a")
    store = open_store(world.url, waits=False)
    part = store.write("things", f"{'0' * 64}.txt", lambda path: path.write_text("twelve bytes"))
    store.finish("things", "0" * 64, [part])
    sent = pickle.dumps([store, part])
    world.on("b")
    again, there = pickle.loads(sent)
    assert again.finish("things", "1" * 64, [there])["parts"][0]["name"] == f"{'0' * 64}.txt"
    assert (again.url, again.waits) == (store.url, False)
    assert again.root == world.folder / "b" / store.root.name
    there.compare()
    assert (again.root / "things" / f"{'0' * 64}.txt").read_text() == "twelve bytes"


def test_what_is_not_what_was_sent_is_said_once_and_made_again(alone, world, monkeypatch):
    monkeypatch.setattr("curate.remote.PAUSES", (0.01,))
    assert world.curate("a", "build")[0] == 0
    part = next(world.bucket.glob("beside/*.arrow"))
    whole = part.read_bytes()
    part.write_bytes(whole[:-8] + b"damaged!")
    code, _, said = world.curate("b", "build")
    assert code == 1
    assert said.startswith(f"error: {world.url}/beside/")
    assert said.endswith("the same command continues from here")
    assert world.curate("b", "build")[0] == 0
    assert part.read_bytes() == whole
    assert (world.folder / "small.lock.json").read_text() == alone[0]


def test_what_another_machine_does_is_waited_for_until_it_says_nothing_more(world, monkeypatch):
    world.on("a")
    ours = open_store(world.url, waits=False)
    with ours.claim("things", "x"):
        world.on("b")
        theirs = open_store(world.url, waits=False)
        for _ in range(50):
            if theirs.is_claimed("things", "x"):
                break
            time.sleep(0.1)
        assert [one.work for one in theirs.claims()] == ["things-x"]
        with pytest.raises(CurateError, match="is made by another process"), theirs.claim("things", "x"):
            pass
        monkeypatch.setattr("curate.claims.STALE", 0.0)
        with theirs.claim("things", "x"):
            pass
        world.on("a")
    assert not list(world.bucket.glob("claims/*"))


def test_gc_cleans_the_cache_and_leaves_the_objects(alone, world):
    assert world.curate("a", "build")[0] == 0
    there = world.objects()
    (world.folder / "small.lock.json").unlink()
    done = CliRunner().invoke(main, ["gc", "--delete", "--store", world.url])
    assert done.exit_code == 0, done.output
    assert not list(open_store(world.url).root.glob("shards/*"))
    assert world.objects() == there
    assert world.curate("a", "build")[0] == 0
    assert (world.folder / "small.lock.json").read_text() == alone[0]
    assert world.objects() == there


def test_the_cache_keeps_its_bound_and_what_was_used_last(alone, world, monkeypatch):
    monkeypatch.setattr("curate.remote.RECENT", 0.0)
    monkeypatch.setattr("curate.remote._remotes", {})  # the bound is that of when it is opened
    monkeypatch.setenv("CURATE_CACHE_SIZE", "100 kB")
    assert world.curate("a", "build")[0] == 0
    assert (world.folder / "small.lock.json").read_text() == alone[0]
    remote = remote_of(world.url)
    parts = [path for path in remote.cache.rglob("*.arrow") if path.stat().st_nlink == 1]
    kept = max(parts, key=lambda path: path.stat().st_size)
    for stage in ("documents", "signals/words"):
        for path in world.bucket.glob(f"{stage}/*.arrow"):
            here(remote.cache / stage / path.name)
    here(kept)
    remote.make_room(100_000)
    left = [path for path in remote.cache.rglob("*.arrow") if path.stat().st_nlink == 1]
    assert kept in left
    assert sum(path.stat().st_size for path in left if path.parent.name != "train") <= 100_000
    world.manifest.write_text(world.manifest.read_text().replace("10 kB", "9 kB"))
    assert world.curate("a", "build")[0] == 0
    monkeypatch.setenv("CURATE_CACHE_SIZE", "much")
    assert world.curate("b", "build")[2].startswith('error: CURATE_CACHE_SIZE: "much" is no quantity')


def test_what_is_forgotten_leaves_a_store_of_objects_and_the_proof_names_what_other_machines_made(world):
    assert world.curate("a", "build")[0] == 0
    lock = json.loads((world.folder / "small.lock.json").read_text())
    store = open_store(world.url)
    run = b'{"level": "raw"}'
    store.remote.put("runs/0123456789ab/100.json", b"{}")
    store.remote.put("runs/0123456789ab/100/run.json", run)
    store.remember(lock, world.folder / "small.lock.json", ["runs/raw-0123456789ab"])
    corpus = open_arrow(corpus_directory(store, lock["corpora"][0]))
    code, said, _ = world.curate("b", "forget", corpus["id"][0].as_py(), "--json")
    assert code == 0
    proof = json.loads(said)
    assert proof["were_in"][0]["runs"][0] == {
        "run": "runs/raw-0123456789ab/100", "level": "raw", "level_held": True,
    }  # fmt: skip
    assert set(proof["absence"]["still_there"].values()) == {0}
    assert corpus["id"][0].as_py() in {one["id"] for one in proof["documents"]}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://key:secret/with/slash@bucket/prefix", "AWS_ACCESS_KEY_ID"),
        ("https://host/store?sig=abcdef", "leave it out"),
        ("nothing://bucket/prefix", "nothing"),
    ],
)
def test_an_address_that_will_not_do_is_refused_in_one_line_without_its_secret(world, url, said):
    world.on("a")
    done = CliRunner().invoke(main, ["build", str(world.manifest), "--store", url])
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert said in done.stderr
    assert "secret/with" not in done.stderr
    assert "abcdef" not in done.stderr


def test_a_build_that_is_nearly_done_opens_little_of_what_it_was_made_of(world):
    """100 parts, and of one the signals are missing."""
    chance, words = random.Random(0), [f"word{number:04}" for number in range(3000)]
    shutil.rmtree(world.folder / "notes")
    (world.folder / "notes").mkdir()
    for number in range(100):
        texts = (" ".join(chance.choices(words, k=3000)) for _ in range(20))
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (world.folder / f"notes/{number:02}.jsonl").write_text(lines)
    text = world.manifest.read_text()
    text = text[: text.index("[signals]")] + text[text.index("[[level]]") :]
    world.manifest.write_text(text.replace(", duplicate = false", "").replace("10 kB", "540 kB"))
    manifest, engine = load_manifest(world.manifest), open_engine("local", 1)

    def measured(machine: str) -> list[Part]:
        world.on(machine)
        store = open_store(world.url)
        parts = open_pool(read_sources(store, manifest.sources, manifest.part_bytes, engine)).parts
        assert len(parts) == 100
        return annotate(store, manifest.families, parts, engine).families["words"]

    digests = [part.digest for part in measured("a")]
    size = sum(path.stat().st_size for path in world.bucket.glob("documents/*.arrow"))
    for stage in world.bucket.glob("signals/*"):
        gone = (
            json.loads(next(stage.glob("*.json")).read_text())["parts"][0]["name"]
            if stage.name == "words"
            else ""
        )
        for path in stage.glob(f"{gone.removesuffix('.arrow')}*") if gone else ():
            path.unlink()
    world.downloaded()
    assert [part.digest for part in measured("b")] == digests
    opened = world.downloaded()
    assert sum(name.startswith("documents/") and name.endswith(".arrow") for name in opened) == 1
    print(f"{sum(opened.values()):,} of {size:,} bytes")
    assert sum(opened.values()) < 0.02 * size


def both(world: World, chance: random.Random, command: str, kills: int) -> None:
    """Two machines with a share each, killed and started again until both say that all is done."""
    todo, running = {"a": "0/2", "b": "1/2"}, dict[str, subprocess.Popen]()
    end = time.monotonic() + ROUND_SECONDS
    while todo:
        for machine in set(todo) - set(running):
            faults = str(chance.random())
            running[machine] = world.start(machine, command, "--share", todo[machine], faults=faults)
        time.sleep(1.0 + 6.0 * chance.random())
        if kills:
            running[chance.choice(sorted(running))].send_signal(signal.SIGKILL)
            kills -= 1
        for machine, process in list(running.items()):
            if process.poll() is not None:
                del running[machine]
                assert process.returncode in (0, 75, -9), (world.folder / f"{machine}.log").read_text()[
                    -3000:
                ]
                if process.returncode == 0:
                    del todo[machine]
        assert time.monotonic() < end, {m: (world.folder / f"{m}.log").read_text()[-2000:] for m in todo}


@pytest.mark.slow
def test_two_machines_killed_amid_faults_make_what_one_makes_and_a_third_reports_it(alone, world):
    chance = random.Random(int(os.environ.get("CURATE_SEED", "0")))
    both(world, chance, "build", kills=2)
    for machine in "ab":
        assert (world.folder / f"{machine}.lock.json").read_text() == alone[0]
    both(world, chance, "train", kills=1)
    world.downloaded()
    assert world.curate("c", "report")[0] == 0
    told = json.loads((world.folder / "report/small/report.json").read_text())
    folder = world.folder / "plain"
    words = ["run", str(world.manifest), "--workers", "1", "--store", str(folder)]
    shutil.rmtree(world.folder / "report")
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    again = json.loads((world.folder / "report/small/report.json").read_text())
    for facts in (told, again):
        for run in facts["runs"]:
            del run["seconds"], run["tokens_per_second"]
    assert told == again


@pytest.fixture
def s3(world):
    """A server of S3 on this machine, without a bucket."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = pytest.importorskip("moto.server", reason="the extra `outside` is not installed")
        pytest.importorskip("s3fs", reason="the extra `outside` is not installed")
        import fsspec

        world.patch.setenv("AWS_ACCESS_KEY_ID", "none")
        world.patch.setenv("AWS_SECRET_ACCESS_KEY", "none")
        running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
        running.start()
        try:
            host, port = running.get_host_and_port()
            world.patch.setitem(fsspec.config.conf, "s3", {"endpoint_url": f"http://{host}:{port}"})
            world.patch.setenv("FSSPEC_S3_ENDPOINT_URL", f"http://{host}:{port}")  # for workers
            yield fsspec.filesystem("s3")
        finally:
            running.stop()


def test_s3_is_a_store(alone, world, s3):
    world.url = "s3://nowhere/store"
    code, _, said = world.curate("a", "build")
    assert code == 1
    assert said.startswith("error: s3://nowhere/store/store.json: cannot be written")
    s3.mkdir("corpora")
    world.url = "s3://corpora/store"
    for machine in "ab":
        assert world.curate(machine, "build", "--workers", "2")[0] == 0
        assert (world.folder / "small.lock.json").read_text() == alone[0]
    stages = json.loads(world.curate("c", "status", "--json")[1])["stages"]
    assert [stage["done"] for stage in stages] == [stage["of"] for stage in stages]
    remote = remote_of(world.url)
    assert not remote.keys("claims")
    assert len(remote.keys("corpora")) == len(list((alone[1] / "corpora").iterdir()))


def test_what_is_forgotten_leaves_the_corpora_in_s3(world, s3):
    """Whichever machine reads them, and whichever builds them again."""
    s3.mkdir("forgetful")
    world.url = "s3://forgetful/store"
    assert world.curate("a", "build")[0] == 0
    lock = world.folder / "small.lock.json"
    before = _ids(world, json.loads(lock.read_text()))
    gone = min(before)
    code, said, _ = world.curate("b", "forget", gone, "--json")
    assert code == 0
    proof, after = json.loads(said), lock.read_text()
    assert set(proof["absence"]["still_there"].values()) == {0}
    assert {one["id"] for one in proof["documents"]} == {gone}
    assert proof["were_in"][0]["not_in_the_store"] == []  # machine b fetched what a had built
    world.on("c")
    found = _ids(world, json.loads(after))
    assert gone not in found
    assert len(found & before) > len(before) / 2
    assert world.curate("c", "build")[0] == 0
    assert lock.read_text() == after


def _ids(world, lock: dict) -> set[str]:
    store = open_store(world.url)
    return {
        id for one in lock["corpora"] for id in open_arrow(corpus_directory(store, one))["id"].to_pylist()
    }
