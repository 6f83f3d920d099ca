"""What is published opens as a data set, says what it is and nothing of this machine, and is a source again."""

from __future__ import annotations

import json
import random
import re
import shlex
import tomllib
import warnings
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from conftest import MANIFEST, write_manifest

import curate
from curate.cli import main
from curate.commands.card import as_toml
from curate.commands.export import write_parquet
from curate.commands.publish import publish, row_groups
from curate.engine import open_engine
from curate.errors import CurateError
from curate.manifest.reader import load_manifest
from curate.steps import build
from curate.store import Store

OUTSIDE = "the extra `outside` is not installed"
SOURCE = """
[[source]]
name = "again"
format = "published"
path = "{url}"
id = "id"
config = "unique-8k"
revision = "{digest}"
[[level]]
name = "raw"
[tokenizer]
vocabulary = 300
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(store, lock, its corpora), of a manifest whose source has a whole path of this machine."""
    folder = tmp_path_factory.mktemp("secretplace")
    text = MANIFEST.replace('path = "notes.jsonl"', f'path = "{folder}/notes.jsonl"\nlicense = "CC-BY-4.0"')
    text = text.replace('tokens = ["4k", "8k", "16k"]', 'tokens = ["4k", "8k", "all"]')
    manifest = load_manifest(write_manifest(folder, text))
    store = Store(folder / "store")
    return store, manifest.lock_path, build(store, manifest, open_engine("local", 1)).corpora


@pytest.fixture(scope="module")
def published(world, tmp_path_factory):
    store, lock, _ = world
    out = tmp_path_factory.mktemp("public") / "small"
    return out, publish(store, lock, str(out))


def every_text(folder):
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            yield (
                path,
                json.dumps(table.to_pylist(), ensure_ascii=False) + str(pq.read_metadata(path).metadata),
            )
        elif path.is_file():
            yield path, path.read_text(encoding="utf-8")


def test_every_level_and_size_is_a_configuration_that_load_dataset_opens_and_streams(
    world, published, tmp_path
):
    _, _, corpora = world
    out, told = published
    assert told["configs"] == datasets.get_dataset_config_names(str(out))
    assert len(told["configs"]) == len(corpora) == 9
    for corpus in corpora:
        name, ids = f"{corpus.level}-{corpus.label}", curate.open_corpus(corpus.path)["id"][:]
        streamed = datasets.load_dataset(str(out), name, split="train", streaming=True)
        assert [row["id"] for row in streamed] == ids
    whole = datasets.load_dataset(str(out), name, split="train", cache_dir=str(tmp_path))
    assert whole.to_list() == curate.open_corpus(corpus.path).to_list()


def test_sizes_share_their_files(published):
    out, _ = published
    configs = json.loads((out / "curate.json").read_text())["configs"]
    assert configs["raw-all"]["files"][: len(configs["raw-4k"]["files"])] == configs["raw-4k"]["files"]
    named = {name for config in configs.values() for name in config["files"]}
    assert named == {str(path.relative_to(out)) for path in out.rglob("*.parquet")}


def test_nothing_that_is_published_names_a_place_on_this_machine(world, published):
    out, _ = published
    for path, text in every_text(out):
        assert "secretplace" not in text, path
        assert str(Path.home()) + "/" not in text, path
        assert str(out) not in text, path


def test_the_card_says_counts_licences_funnel_limits_and_how_to_build_it_again(world, published):
    out, _ = published
    _, head, body = (out / "README.md").read_text().split("---\n", 2)
    said = yaml.safe_load(head)
    assert said["license"] == ["cc-by-4.0", "unknown"]
    assert said["size_categories"] == ["1K<n<10K"] or said["size_categories"] == ["n<1K"]
    assert said["language"] == ["und"]  # the level raw takes any
    lock = json.loads(world[1].read_text())
    for corpus in lock["corpora"]:
        assert f"{corpus['documents']:,} | {corpus['tokens']:,} |" in body
        assert corpus["digest"][:12] in body
    for level in lock["levels"]:
        for rule in level["rules"]:
            assert f"`{rule['rule']}`" in body
    assert "No licence is known of docstrings" in body
    assert "Personal data was not masked" in body
    manifest = tomllib.loads(re.search(r"```toml\n(.*?)```", body, re.S)[1])
    asked = tomllib.loads(lock["manifest"]["text"])
    assert manifest["source"][1]["path"] == "notes.jsonl"
    assert manifest["source"][0] == asked["source"][0]
    assert {k: v for k, v in manifest.items() if k != "source"} == {
        k: v for k, v in asked.items() if k != "source"
    }


def test_a_manifest_written_again_reads_the_same():
    tree = {
        "a": 'quote " and \\ and \n and \x7f é 𝒳', "b": [1, 2.5, float("inf"), True], "odd key": {"x y": [{"z": False}]},
        "level": [{"name": "raw"}, {"name": "b", "keep": {"word_count": [1, float("inf")]}}], "table": {"k": []},
    }  # fmt: skip
    assert tomllib.loads(as_toml(tree)) == tree


def test_secrets_and_paths_in_other_keys_are_cut(world, tmp_path):
    from curate.commands.card import _redacted

    given = {
        "source": [{"format": "hub", "path": "owner/name"}, {"format": "jsonl", "path": ["../x/a.jsonl", "s3://b/k?sig=abc"]}],
        "tokenizer": {"path": "deep/tokenizer.json"}, "signals": {"index": ["/mnt/seen", "~/seen2"], "word_lists": {"bad": "C:\\me\\bad.txt"}},
        "keep": {"type": ["text/html"]},
    }  # fmt: skip
    assert _redacted(given) == {
        "source": [{"format": "hub", "path": "owner/name"}, {"format": "jsonl", "path": ["a.jsonl", "s3://b/k?sig=***"]}],
        "tokenizer": {"path": "tokenizer.json"}, "signals": {"index": ["seen", "seen2"], "word_lists": {"bad": "bad.txt"}},
        "keep": {"type": ["text/html"]},
    }  # fmt: skip
    store, lock, _ = world
    with pytest.raises(CurateError, match="leave it out and put it into the environment"):
        publish(store, lock, "s3://name:password@host/bucket")


def test_croissant_is_valid_and_gives_the_rows(published, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlcroissant = pytest.importorskip("mlcroissant", reason=OUTSIDE)
        out, _ = published
        data = mlcroissant.Dataset(jsonld=str(out / "croissant.json"))
        assert not data.metadata.ctx.issues.errors
        records = list(data.records("unique-8k/0"))
    configs = json.loads((out / "curate.json").read_text())["configs"]
    expected = pq.read_table(out / configs["unique-8k"]["files"][0]).to_pylist()
    texts = [record["unique-8k/0/text"] for record in records]
    assert [t.decode() if isinstance(t, bytes) else t for t in texts] == [row["text"] for row in expected]
    for entry in json.loads((out / "croissant.json").read_text())["distribution"]:
        from curate.store import file_digest

        assert file_digest(out / entry["contentUrl"]) == entry["sha256"]


def test_publishing_again_sends_nothing_and_less_removes_what_is_left_over(world, tmp_path):
    store, lock, _ = world
    first = publish(store, lock, str(tmp_path / "d"))
    before = {path: path.read_bytes() for path in (tmp_path / "d").rglob("*") if path.is_file()}
    again = publish(store, lock, str(tmp_path / "d"))
    assert (first["sent"], again["sent"], again["removed"]) == (first["files"], 0, 0)
    assert {path: path.read_bytes() for path in (tmp_path / "d").rglob("*") if path.is_file()} == before
    fewer = publish(store, lock, str(tmp_path / "d"), ("raw-4k",))
    assert fewer["removed"] == first["files"] - fewer["files"] > 0
    assert len(list((tmp_path / "d").rglob("*.parquet"))) == fewer["files"]


def test_a_place_with_something_else_and_a_corpus_that_is_not_there_are_refused(world, tmp_path):
    store, lock, _ = world
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CurateError, match="something else is there; name an empty place"):
        publish(store, lock, str(tmp_path))
    with pytest.raises(CurateError, match='--only unique-8: no corpus of .*did you mean "unique-8k"'):
        publish(store, lock, str(tmp_path / "d"), ("unique-8",))
    done = CliRunner().invoke(
        main, ["publish", str(lock), str(tmp_path / "e"), "--store", str(store.root), "--json"]
    )
    assert done.exit_code == 0
    assert json.loads(done.output)["files"] == len(list((tmp_path / "e").rglob("*.parquet")))


def test_a_publication_that_was_killed_is_finished_by_the_next(world, published, tmp_path, monkeypatch):
    store, lock, _ = world

    def killed(self, texts, stale):
        for name in list(texts)[:2]:
            self.system.pipe_file(f"{self.root}/{name}", texts[name])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("curate.commands.publish._Place.finish", killed)
        publish(store, lock, str(tmp_path / "d"))
    assert not (tmp_path / "d/curate.json").exists()
    publish(store, lock, str(tmp_path / "d"))
    files = {
        str(p.relative_to(tmp_path / "d")): p.read_bytes() for p in (tmp_path / "d").rglob("*") if p.is_file()
    }
    assert files == {
        str(p.relative_to(published[0])): p.read_bytes() for p in published[0].rglob("*") if p.is_file()
    }
    assert not list(store.root.glob("publish-*"))


def test_a_published_corpus_is_a_source_by_its_digest(world, published, tmp_path):
    out, _ = published
    corpus = next(c for c in world[2] if c.level == "unique" and c.label == "8k")

    def built(digest):
        (tmp_path / "m.toml").write_text(SOURCE.format(url=out, digest=digest))
        return build(Store(tmp_path / "store"), load_manifest(tmp_path / "m.toml"), open_engine("local", 1))

    again = curate.open_corpus(built(corpus.digest).corpora[0].path)
    assert sorted(again["text"][:]) == sorted(curate.open_corpus(corpus.path)["text"][:])
    with pytest.raises(CurateError, match='revision = "abc" is not the digest of what is there'):
        built("abc")


def test_a_published_corpus_that_was_changed_is_no_source(world, published, tmp_path):
    import shutil

    out = shutil.copytree(published[0], tmp_path / "copy")
    corpus = next(c for c in world[2] if c.level == "unique" and c.label == "8k")
    file = out / json.loads((out / "curate.json").read_text())["configs"]["unique-8k"]["files"][0]
    table = pq.read_table(file)
    pq.write_table(table.slice(1), file)
    (tmp_path / "m.toml").write_text(SOURCE.format(url=out, digest=corpus.digest))
    with pytest.raises(CurateError, match="holds other documents than its digest"):
        build(Store(tmp_path / "store"), load_manifest(tmp_path / "m.toml"), open_engine("local", 1))


def test_s3_takes_it_and_gives_it_back(world, tmp_path, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = pytest.importorskip("moto.server", reason=OUTSIDE)
        pytest.importorskip("s3fs", reason=OUTSIDE)
        import fsspec

        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
        running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
        running.start()
        try:
            host, port = running.get_host_and_port()
            monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": f"http://{host}:{port}"})
            fsspec.filesystem("s3").mkdir("public")
            store, lock, corpora = world
            first = publish(store, lock, "s3://public/small")
            assert publish(store, lock, "s3://public/small")["sent"] == 0 < first["sent"]
            corpus = next(c for c in corpora if c.level == "unique" and c.label == "8k")
            (tmp_path / "m.toml").write_text(SOURCE.format(url="s3://public/small", digest=corpus.digest))
            again = build(
                Store(tmp_path / "store"), load_manifest(tmp_path / "m.toml"), open_engine("local", 1)
            )
            assert again.lock["sources"]["again"]["documents"] == corpus.documents
        finally:
            running.stop()


def test_the_hub_gets_files_as_they_are_made_and_one_commit(world, published, tmp_path, monkeypatch):
    """Against a stand-in of the hub that keeps a data set as the hub lays it out."""
    import huggingface_hub

    class Hub:
        root = tmp_path / "owner/name"
        commits = 0

        def create_repo(self, repo_id, **kwargs):
            assert (repo_id, kwargs) == ("owner/name", {"repo_type": "dataset", "exist_ok": True})
            self.root.mkdir(parents=True, exist_ok=True)

        def file_exists(self, filename, **where):
            return (self.root / filename).exists()

        def hf_hub_download(self, filename, **where):
            return str(self.root / filename)

        def preupload_lfs_files(self, additions, **where):
            for operation in additions:
                self.put(operation)
                operation.path_or_fileobj = b""

        def create_commit(self, operations, commit_message, **where):
            assert where == {"repo_id": "owner/name", "repo_type": "dataset", "revision": None}
            Hub.commits += 1
            for operation in operations:
                if isinstance(operation, huggingface_hub.CommitOperationDelete):
                    (self.root / operation.path_in_repo).unlink()
                elif operation.path_or_fileobj:
                    self.put(operation)

        def put(self, operation):
            target = self.root / operation.path_in_repo
            target.parent.mkdir(parents=True, exist_ok=True)
            content = operation.path_or_fileobj
            target.write_bytes(content if isinstance(content, bytes) else Path(content).read_bytes())

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    store, lock, _ = world
    first = publish(store, lock, "hf://datasets/owner/name")
    files = {str(p.relative_to(Hub.root)): p.read_bytes() for p in Hub.root.rglob("*") if p.is_file()}
    assert files == {
        str(p.relative_to(published[0])): p.read_bytes() for p in published[0].rglob("*") if p.is_file()
    }
    assert publish(store, lock, "hf://datasets/owner/name")["sent"] == 0 < first["sent"]
    assert Hub.commits == 2


def test_the_page_on_handing_on_works_as_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs/howto/hand-on.md").read_text(encoding="utf-8")
    space: dict = {}
    for kind, title, text in re.findall(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', page, re.S | re.M):
        if title:
            Path(title).write_text(text)
        elif kind == "python":
            if module := re.search(r"import (polars|duckdb)", text):
                pytest.importorskip(module[1], reason=OUTSIDE)
            exec(text, space)
        elif kind == "console" and "gpt2.json" not in text:
            words = [str(next(tmp_path.glob(w), w)) if "*" in w else w for w in shlex.split(text)[2:]]
            words, into = (words[:-2], words[-1]) if words[-2] == ">" else (words, None)
            done = CliRunner().invoke(main, words)
            assert done.exit_code == 0, done.output
            if into:
                Path(into).write_text(done.stdout)
    assert "## 3. Processing" in Path("summary.md").read_text()
    assert len(space["documents"]) == len(space["mapped"]) == len(list(space["data"]))


# ---- How much is sent again --------------------------------------------------------------------------------


def chunks(data):
    """Hashes and sizes of chunks that end where a gear hash of the bytes says, of some 64 kB, as the hub's store cuts."""
    gear = np.random.default_rng(0).integers(0, 2**63, 256, dtype=np.uint64)
    values, mask = gear[np.frombuffer(data, np.uint8)], np.uint64(0xFFFF)
    rolling = np.zeros(len(values), np.uint64)
    for i in range(
        32
    ):  # a byte's part in a hash of 64 bits that shifts by one a byte; the lower 16 are looked at
        rolling[i:] += values[: len(values) - i] << np.uint64(i)
    found, begin = {}, 0
    for end in [*(np.flatnonzero((rolling & mask) == 0) + 1).tolist(), len(data)]:
        while end - begin >= 8192 or (end == len(data) and end > begin):
            stop = min(end, begin + 131_072)
            found[hash(data[begin:stop])] = stop - begin
            begin = stop
    return found


def sent_again(before, after, folder):
    sizes = []
    for name, table in (("a", before), ("b", after)):
        path = folder / f"{name}.parquet"
        write_parquet(path, table.schema, row_groups(table))
        sizes.append(chunks(path.read_bytes()))
    return sum(size for key, size in sizes[1].items() if key not in sizes[0]) / sum(sizes[1].values())


def table_of(documents):
    random.seed(1)
    words = [
        "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=random.randint(2, 9))) for _ in range(5000)
    ]
    texts = [" ".join(random.choices(words, k=300)) for _ in range(documents)]
    ids = sorted(f"{random.getrandbits(128):032x}" for _ in range(documents))
    return pa.table({"id": ids, "text": pa.array(texts, pa.large_string()), "tokens": list(range(documents))})


def test_one_percent_of_neighbouring_rows_sends_five_percent_of_bytes_or_fewer(tmp_path):
    table = table_of(40_000)
    rows = table.to_pylist()
    edited = [
        dict(row, text=row["text"].upper()) if 20_000 <= i < 20_400 else row for i, row in enumerate(rows)
    ]
    assert sent_again(table, pa.Table.from_pylist(edited, table.schema), tmp_path) < 0.05
    removed = pa.concat_tables([table.slice(0, 20_000), table.slice(20_400)])
    assert sent_again(table, removed, tmp_path) < 0.05
    assert sent_again(table, table.slice(1), tmp_path) < 0.05
