"""A lock's corpora as a data set that others open: Parquet files, a card, Croissant, and `curate.json`.

Sizes nest, so the files of a level's largest corpus are those of all. A file is called by its content and never written
over; what is there already is not sent again. Rows are grouped where their ids say, and pages are cut where their content
says, so a store that keeps chunks, as the hub does, gets the chunks that changed. `curate.json` comes after all that it
names: what has none is not whole. Then comes the card, and files that nothing names are removed.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.addresses import check_no_secret, without_secrets
from curate.commands.card import CROISSANT, PUBLISHED, croissant, facts_of, readme
from curate.errors import CurateError, did_you_mean
from curate.progress import Progress
from curate.store import Store, file_digest, read_json

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_BYTES = 16_000_000  # of text in a group of rows, about
HUB = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?/?")


def publish(store: Store, lock_path: Path, url: str, only: tuple[str, ...] = ()) -> dict[str, Any]:
    """Write the corpora of a lock, or those of `only` (LEVEL-SIZE), to a URL; what was sent. Raises CurateError."""
    import pyarrow as pa

    from curate.corpora.corpus import TOKENIZER, corpus_record, plain_name
    from curate.corpora.lock import corpus_directory, read_lock
    from train.tokens.ends import as_it_was

    try:
        check_no_secret(url)
    except ValueError as error:
        raise CurateError(str(error)) from None
    lock = read_lock(lock_path)
    named = {plain_name(f"{c['level']}-{c['size']}"): c for c in lock["corpora"]}
    for name in only:
        if name not in named:
            raise CurateError(f"--only {name}: no corpus of {lock_path}{did_you_mean(name, named)}")
    named = {name: c for name, c in named.items() if not only or name in only}
    if len(named) < len(only or lock["corpora"]):
        raise CurateError(f"{lock_path}: two levels have names that are one to others; rename a level")
    folders = {name: corpus_directory(store, corpus) for name, corpus in named.items()}
    records = {name: corpus_record(folder) for name, folder in folders.items()}
    place = _Hub(url) if HUB.fullmatch(url) else _Place(url)
    with tempfile.TemporaryDirectory(prefix="publish-", dir=store.root) as staged, _saying(url):
        before = place.known()
        sent: dict[str, tuple[str, dict]] = {}  # by digest of the Arrow file
        shards = {
            f["sha256"]: (r["level"], folders[n] / f["name"]) for n, r in records.items() for f in r["files"]
        }
        columns: dict[str, str] = {}
        with Progress("publish", sum(path.stat().st_size for _, path in shards.values()), "B") as progress:
            for digest, (level, path) in shards.items():
                table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all().replace_schema_metadata(None)
                columns = {field.name: str(field.type) for field in table.schema}
                sent[digest] = _send(place, table, level, Path(staged), before)
                progress.add(path.stat().st_size)
        configs = {
            name: {k: record[k] for k in ("level", "size", "documents", "tokens", "bytes", "digest")}
            | {"files": [sent[file["sha256"]][0] for file in record["files"]]}
            for name, record in records.items()
        }
        facts = facts_of(lock, configs, dict(sorted(sent.values())), columns)
        texts = {
            TOKENIZER: as_it_was(next(iter(folders.values())) / TOKENIZER),
            CROISSANT: _json(croissant(facts)), PUBLISHED: _json(facts), "README.md": readme(facts).encode(),
        }  # fmt: skip
        stale = [name for name in before if name not in facts["files"]]
        place.finish(texts, stale)
    store.remember(lock, lock_path, published=[without_secrets(url)])
    new = [name for name in facts["files"] if name not in before]
    return {
        "url": url, "configs": list(configs), "files": len(facts["files"]), "sent": len(new),
        "bytes_sent": sum(facts["files"][name]["bytes"] for name in new), "removed": len(stale),
    }  # fmt: skip


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _send(place: _Place, table: pa.Table, level: str, staged: Path, before: dict) -> tuple[str, dict]:
    """(name, bytes and sha256) of the Parquet file of these documents, which is sent if it is not there."""
    from curate.commands.export import write_parquet
    from curate.corpora.corpus import plain_name

    local = staged / "file.parquet"
    write_parquet(local, table.schema, row_groups(table))
    digest = file_digest(local)
    name = f"data/{plain_name(level)}/{digest[:16]}.parquet"
    about = {"bytes": local.stat().st_size, "sha256": digest}
    if before.get(name) != about:
        local = local.rename(staged / f"{digest[:16]}.parquet")
        place.put(local, name)
    return name, about


def row_groups(table: pa.Table) -> Iterator[pa.Table]:
    """The rows in groups of about GROUP_BYTES that end where an id says, so that a row more moves no later end."""
    import numpy as np
    import pyarrow.compute as pc

    place = np.array([int(id[-8:], 16) for id in table["id"].to_pylist()], np.float64) / 2**32
    ends = np.flatnonzero(place < pc.binary_length(table["text"]).to_numpy() / GROUP_BYTES) + 1
    edges = [0, *ends[ends < len(table)].tolist(), len(table)]
    for begin, end in zip(edges, edges[1:], strict=False):
        yield table.slice(begin, end - begin)


@contextmanager
def _saying(url: str) -> Iterator[None]:
    """Errors of a file system, each library's own, as one line without secrets."""
    try:
        yield
    except CurateError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CurateError(without_secrets(f"{url}: cannot be written: {reason}")) from error


class _Place:
    """A folder of any file system that fsspec knows."""

    def __init__(self, url: str) -> None:
        self.url = url

    def known(self) -> dict[str, dict]:
        """The data files of what is published there. Raises CurateError where something else is."""
        import fsspec

        self.system, self.root = fsspec.core.url_to_fs(self.url)
        self.root = self.root.rstrip("/")
        if self.system.exists(f"{self.root}/{PUBLISHED}"):
            return json.loads(self.system.cat_file(f"{self.root}/{PUBLISHED}"))["files"]
        there = self.system.find(self.root) if self.system.exists(self.root) else []
        ours = ("/data/", f"/{CROISSANT}", "/tokenizer.json")  # of a publication that was killed
        if not all(path.removeprefix(self.root).startswith(ours) for path in there):
            raise CurateError(f"{self.url}: something else is there; name an empty place")
        return {}

    def put(self, local: Path, name: str) -> None:
        self.system.makedirs(f"{self.root}/{name}".rpartition("/")[0], exist_ok=True)
        self.system.put_file(str(local), f"{self.root}/{name}")
        local.unlink()

    def finish(self, texts: dict[str, bytes], stale: list[str]) -> None:
        self.system.makedirs(self.root, exist_ok=True)
        for name, content in texts.items():
            self.system.pipe_file(f"{self.root}/{name}", content)
        for name in stale:
            self.system.rm_file(f"{self.root}/{name}")


class _Hub(_Place):
    """A data set of the hub: files are sent as they are made, and one commit names them all."""

    def known(self) -> dict[str, dict]:
        import huggingface_hub

        found = HUB.fullmatch(self.url)
        assert found is not None
        self.api, self.hub, self.operations = huggingface_hub.HfApi(), huggingface_hub, list[Any]()
        self.where: dict[str, Any] = {
            "repo_id": found["repo"],
            "repo_type": "dataset",
            "revision": found["revision"],
        }
        self.api.create_repo(found["repo"], repo_type="dataset", exist_ok=True)
        if not self.api.file_exists(filename=PUBLISHED, **self.where):
            return {}
        return read_json(Path(self.api.hf_hub_download(filename=PUBLISHED, **self.where)))["files"]

    def put(self, local: Path, name: str) -> None:
        self.operations.append(self.hub.CommitOperationAdd(name, str(local)))
        self.api.preupload_lfs_files(additions=self.operations[-1:], **self.where)
        if self.operations[-1].path_or_fileobj == b"":  # it is there: the disk need not hold all of them
            local.unlink()

    def finish(self, texts: dict[str, bytes], stale: list[str]) -> None:
        self.operations += [self.hub.CommitOperationAdd(name, content) for name, content in texts.items()]
        self.operations += [self.hub.CommitOperationDelete(name) for name in stale]
        self.api.create_commit(operations=self.operations, commit_message="curate publish", **self.where)
