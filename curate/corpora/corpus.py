"""Corpora: level x size, immutable Arrow data sets that `datasets` opens: `load_from_disk(folder)["train"]` memory-maps
the files, `load_dataset(folder)` copies or streams them.

The digest of a corpus is of its content (ids, texts, sources in order), not of its files: another cut in
files or another version of Arrow does not change it.

The documents of a level in ascending order of id are one fixed random order; a corpus of N tokens is the
shortest beginning of it that holds N. So sizes nest. Their text is written once: files are cut where a
size ends, and a smaller corpus is made of hard links to the first files of the larger one.

    corpora/LEVEL-SIZE-KEY/
      train/data-00000.arrow ...    documents: id, text, source, place, the sources' columns, tokens (their number);
                              copies (how often the document stands in the level) where the level has weights
      train/state.json, train/dataset_info.json, dataset_dict.json    what `datasets` reads
      tokenizer.json          which the tokens are counted with
      corpus.json             level, size, counts, digests: written last
      README.md               the data set's card
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from curate.corpora.tokenization import Tokens
from curate.engine import Engine, make_parts
from curate.errors import CurateError
from curate.quantities import short_bytes, short_count
from curate.remote import here, keep_folder, link, receipt_of
from curate.signals.edits import Edited
from curate.sources.formats.published import ContentDigest
from curate.sources.pool import Pool
from curate.spec.manifest import Level, Manifest
from curate.store import Damaged, Part, Store, atomic, brought, digest_of, write_json
from train.files import CHECKS, SEAL, open_sealed, say_damaged, seal_folder

if TYPE_CHECKING:
    import datasets

VERSION = 4
STAGE = "corpora"
SHARDS = "shards"
# Of text that is gathered at once, at least and at most: a shard need not fit in memory. Every batch opens every part, which
# takes as long as writing OPENED bytes.
BATCH_BYTES, MOST_BYTES, OPENED = 16_000_000, 256_000_000, 20_000
WHOLE = 0  # the size of a corpus that is all of its level
RECORD = "corpus.json"
SPLIT = "train"  # the folder of the files: with a state.json beside README.md, `load_dataset` would refuse the corpus
TOKENIZER = "tokenizer.json"
DESCRIPTION = (
    f"{SPLIT}/state.json",
    f"{SPLIT}/dataset_info.json",
    "dataset_dict.json",
)  # by which `datasets` knows a data set that was saved to disk


@dataclass(frozen=True)
class Shard:
    """A file of consecutive documents of a level: which rows of which parts, and their numbers of tokens."""

    store: Store
    documents: list[Part]
    part: np.ndarray  # int32, as the next two
    row: np.ndarray
    tokens: np.ndarray
    sizes: np.ndarray  # bytes of each text before edits
    key: str
    bytes: int
    edited: Edited
    schema: pa.Schema  # of all documents: a corpus has the same columns whichever sources a file of it holds
    copies: np.ndarray | None  # of each in the level, where that has weights

    @property
    def leaves(self) -> list[tuple[str, str]]:
        return [(SHARDS, self.key)]


@dataclass(frozen=True)
class Corpus:
    level: str
    size: int  # tokens asked for, or WHOLE
    documents: int
    tokens: int  # tokens it holds: at least `size`
    bytes: int
    digest: str  # of its content, see content_digest
    path: Path

    @property
    def label(self) -> str:
        return size_label(self.size)

    def as_json(self) -> dict:
        return {
            "level": self.level, "size": self.label, "budget": self.size or None, "documents": self.documents,
            "tokens": self.tokens, "bytes": self.bytes, "digest": self.digest,
        }  # fmt: skip


@dataclass
class Cut:
    """A level's documents in order, and where each size ends in them."""

    rows: np.ndarray
    ends: dict[int, int]  # size -> number of documents
    missing: list[int]  # sizes that the level is too small for


def cut(rows: np.ndarray, tokens: Tokens, sizes: tuple[int, ...]) -> Cut:
    """`rows`: what the level keeps and no holdout has, in its order; up to the first that is not encoded."""
    encoded = tokens.count[rows] > 0
    rows = rows[: len(rows) if encoded.all() else int(np.argmin(encoded))]
    total = np.cumsum(tokens.count[rows])
    ends = {
        size: int(np.searchsorted(total, size)) + 1 if size else len(rows)
        for size in sizes
        if len(total) and total[-1] >= size
    }
    return Cut(rows, ends, [size for size in sizes if size not in ends])


def build_corpora(
    store: Store,
    manifest: Manifest,
    pool: Pool,
    tokens: dict[str, Tokens],
    cuts: dict[str, Cut],
    engine: Engine,
) -> list[Corpus]:
    """Every level x size that has enough text. What is in the store already is not written again.

    `tokens`: by level, of its text after its edits.
    """
    weighed = {level.name for level in manifest.levels if level.weights}
    plan = {
        name: list(_shards(store, pool, tokens[name], cut, name in weighed, manifest.shard_bytes))
        for name, cut in cuts.items()
    }
    shards = {s.key: s for level in plan.values() for s, _ in level}
    make_parts(engine, "corpora", write_shard, list(shards.values()), memory=4)
    corpora = []
    for name, cut in cuts.items():
        for size, end in cut.ends.items():
            parts = [store.made_part(SHARDS, s.key) for s, last in plan[name] if last <= end]
            corpora.append(_assemble(store, manifest, pool, tokens[name], name, size, cut.rows[:end], parts))
    return corpora


def _shards(
    store, pool: Pool, tokens: Tokens, cut: Cut, weighed: bool, most: int
) -> Iterator[tuple[Shard, int]]:
    """(shard, number of the level's documents up to its end): no shard crosses the end of a size."""
    parts_digest = pool.digest
    carried = [_carried(schema.empty_table()).schema for schema in pool.schemas]
    schema = pa.unify_schemas(carried, promote_options="permissive")
    copies = np.bincount(cut.rows, minlength=len(pool)) if weighed else None
    total = np.cumsum(tokens.bytes[cut.rows[: max(cut.ends.values(), default=0)]])
    edges = [0]
    for end in sorted(set(cut.ends.values())):
        while edges[-1] < end:
            reach = (total[edges[-1] - 1] if edges[-1] else 0) + most
            edges.append(min(end, max(edges[-1] + 1, int(np.searchsorted(total, reach, "right")))))
    del total
    pieces = [cut.rows[begin:stop] for begin, stop in pairwise(edges)]
    for rows, ids, stop in zip(pieces, pool.ids_of(pieces), edges[1:], strict=True):
        own = None if copies is None else copies[rows]
        parameters = [*tokens.edited.identity, *([] if own is None else [own.tolist()])]
        key = digest_of([SHARDS, VERSION, parts_digest, tokens.sha256, ids, *parameters])
        place = (*pool.at(rows), tokens.count[rows], pool.bytes[rows])
        size = int(pool.bytes[rows].sum())
        yield Shard(store, pool.parts, *place, key, size, tokens.edited, schema, own), stop


def write_shard(shard: Shard) -> int:
    """Gather the documents in order, a batch at a time, and write them in the stream format. Returns their bytes of text."""
    batch = min(max(BATCH_BYTES, 3 * OPENED * len(shard.documents)), MOST_BYTES)
    cuts = np.flatnonzero(np.diff(np.cumsum(shard.sizes) // batch)) + 1
    batches = (_gathered(shard, slice(*edges)) for edges in pairwise([0, *cuts.tolist(), len(shard.row)]))

    def write(path: Path) -> int:
        first = next(batches)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, first.schema) as writer:
            for table in chain([first], batches):
                writer.write_table(table)
        return len(shard.row)

    shard.store.finish(SHARDS, shard.key, [shard.store.write(SHARDS, f"{shard.key}.arrow", write)])
    return shard.bytes


def _gathered(shard: Shard, batch: slice) -> pa.Table:
    tables, places, parts, rows = [shard.schema.empty_table()], [], shard.part[batch], shard.row[batch]
    brought([shard.documents[number] for number in np.unique(parts)])
    for number in np.unique(parts):
        mine = np.flatnonzero(parts == number)
        tables.append(_carried(shard.documents[number].table(scattered=True)).take(pa.array(rows[mine])))
        places.append(mine)
    table = pa.concat_tables(tables, promote_options="permissive")
    table = table.take(pa.array(np.argsort(np.concatenate(places), kind="stable")))
    if shard.edited.edits:
        at = table.schema.get_field_index("text")
        texts = shard.edited.of(table["text"].combine_chunks(), parts, rows)
        table = table.set_column(at, table.schema.field("text"), texts)
    table = table.append_column("tokens", pa.array(shard.tokens[batch].astype(np.int64)))
    if shard.copies is not None:
        table = table.append_column("copies", pa.array(shard.copies[batch]))
    return table.combine_chunks()


def _carried(table: pa.Table) -> pa.Table:
    """Without the ids of a source: those of documents are made of them."""
    return table.drop_columns(["own_id"]) if "own_id" in table.column_names else table


def _assemble(
    store, manifest, pool, tokens, level: str, size: int, rows: np.ndarray, parts: list[Part]
) -> Corpus:
    label = size_label(size)
    key = digest_of([VERSION, level, size, tokens.sha256, [p.digest for p in parts]])
    path = store.folder(STAGE) / f"{level}-{label}-{key[:12]}"
    store.note(STAGE, path.name)
    if not _is_whole(path, parts):
        if kept := _kept(path, parts):  # fetched when it is opened
            shutil.rmtree(path, ignore_errors=True)
            return _corpus(kept["record"], path)
        with store.claim(STAGE, path.name):
            if not _is_whole(path, parts):
                with atomic(path, lambda there: _is_whole(there, parts)) as temporary:
                    temporary.mkdir()
                    _fill(temporary, manifest, pool, tokens, level, size, rows, parts)
    corpus = open_corpus(path)
    keep_folder(
        path, {name: p.path for name, p in zip(_names(parts), parts, strict=True)}, record=corpus.as_json()
    )
    return corpus


def _is_whole(path: Path, parts: list[Part]) -> bool:
    """Whether all of it is there, and its files are the shards that they were made of."""
    try:
        checks = open_sealed(path / RECORD)[CHECKS]
    except (FileNotFoundError, NotADirectoryError):
        return False
    except Damaged as error:
        say_damaged(error.path, "the corpus is made again")
        return False
    return all(checks[name][SEAL] == part.xxh3 for name, part in zip(_names(parts), parts, strict=True))


def _kept(path: Path, parts: list[Part]) -> dict[str, Any] | None:
    """Its receipt where it can be fetched, and its files are those shards."""
    receipt = receipt_of(path) or {"files": {}}
    found = [receipt["files"].get(name, {}).get(SEAL) for name in _names(parts)]
    return receipt if found == [part.xxh3 for part in parts] else None


def _names(parts: list[Part]) -> list[str]:
    return [f"{SPLIT}/data-{i:05d}.arrow" for i in range(len(parts))]


def _fill(folder: Path, manifest, pool, tokens, level, size, rows, parts: list[Part]) -> None:
    names = _names(parts)
    (folder / SPLIT).mkdir()
    for name, part in zip(names, parts, strict=True):
        link(here(part.path), folder / name)
    shutil.copyfile(here(tokens.tokenizer), folder / TOKENIZER)
    digest, schema = content_digest([folder / name for name in names])
    corpus = Corpus(
        level, size, len(rows), int(tokens.count[rows].sum()), int(tokens.bytes[rows].sum()), digest, folder
    )
    _describe(folder, names, schema, corpus)
    by_source = np.bincount(pool.source[rows], minlength=len(pool.sources))
    (folder / "README.md").write_text(_card(manifest, pool, by_source, corpus), encoding="utf-8")
    files = [{"name": n, "sha256": p.digest, "rows": p.rows} for n, p in zip(names, parts, strict=True)]
    facts = {"manifest": manifest.name, "tokenizer_sha256": tokens.sha256, "files": files}
    seal_folder(folder / RECORD, corpus.as_json() | facts, [*names, *DESCRIPTION, TOKENIZER])


def content_digest(files: list[Path]) -> tuple[str, pa.Schema]:
    """As `ContentDigest` says, and the files' schema."""
    digest = ContentDigest()
    for path in files:
        with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
            schema = reader.schema
            for batch in reader:
                digest.add(batch)
    return digest.hexdigest(), schema


def _describe(folder: Path, names: list[str], schema: pa.Schema, corpus: Corpus) -> None:
    """The files of DESCRIPTION."""
    from datasets import DatasetInfo, Features

    DatasetInfo(features=Features.from_arrow_schema(schema)).write_to_directory(str(folder / SPLIT))
    state: dict[str, Any] = {
        "_data_files": [{"filename": Path(name).name} for name in names], "_fingerprint": corpus.digest[:16],
        "_format_columns": None, "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False,
        "_split": SPLIT,
    }  # fmt: skip
    write_json(folder / DESCRIPTION[0], state)
    write_json(folder / DESCRIPTION[2], {"splits": [SPLIT]})


def _card(manifest: Manifest, pool: Pool, by_source: np.ndarray, corpus: Corpus) -> str:
    level = manifest.level(corpus.level)
    rules = (
        "\n".join(f"- `{rule.name}`: {rule.bound.text()}" for _, rule in manifest.rules_of(level)) or "- none"
    )
    edits = "\n".join(f"- `{edit.text()}`" for edit in level.edits) or "- none"
    sources = "\n".join(
        f"| {name} | {count:,} | {next(s.license for s in manifest.sources if s.name == name)} |"
        for name, count in zip(pool.sources, by_source, strict=True)
    )
    name = f"{corpus.level}-{corpus.label}"
    return (Path(__file__).parent / "card.md").read_text(encoding="utf-8").format(
        pretty=json.dumps(f"{manifest.name} {name}"), configs=json.dumps([config(name, [f"{SPLIT}/*.arrow"])]),
        name=manifest.name, corpus=corpus, size=short_bytes(corpus.bytes), sources=sources, rules=rules, edits=edits,
        weights=_weights(level), manifest=manifest.text.strip(),
    )  # fmt: skip


def config(name: str, files: list[str]) -> dict[str, Any]:
    """What a data set's card says of one corpus in it, so that `load_dataset(folder, "LEVEL-SIZE")` opens that."""
    return {"config_name": plain_name(name), "data_files": [{"split": SPLIT, "path": files}]}


def plain_name(name: str) -> str:
    """One that can be a configuration's, and a folder's in a glob, wherever the data set goes."""
    return re.sub(r"[^\w.+-]+", "-", name)


def _weights(level: Level) -> str:
    if not level.weights:
        return ""
    steps = ", ".join(f"{copies} from {size}" for size, copies in level.weights)
    return f"Documents stand several times, by the size of their duplicate cluster (`copies`): {steps}.\n\n"


def size_label(size: int) -> str:
    return short_count(size) if size else "all"


def open_corpus(path: Path) -> Corpus:
    """The corpus in a directory, from its record."""
    return _corpus(corpus_record(path), path)


def _corpus(r: dict[str, Any], path: Path) -> Corpus:
    counts = r["documents"], r["tokens"], r["bytes"]
    return Corpus(r["level"], r["budget"] or WHOLE, *counts, r["digest"], path)


def open_data(path: Path) -> datasets.Dataset:
    """The documents of a corpus directory, memory-mapped, every file compared before. Raises CurateError."""
    import datasets

    corpus_record(path)
    return datasets.load_from_disk(str(path / SPLIT))


def open_arrow(path: Path) -> pa.Table:
    """The documents of a corpus directory, memory-mapped. Raises CurateError."""
    files = [str(path / file["name"]) for file in corpus_record(path)["files"]]
    return pa.concat_tables([pa.ipc.open_stream(pa.memory_map(file)).read_all() for file in files])


def corpus_record(path: Path) -> dict[str, Any]:
    """What a corpus directory says of itself, every file that is read of it compared. Raises CurateError."""
    try:
        return open_sealed(here(path) / RECORD)
    except (FileNotFoundError, NotADirectoryError):
        raise CurateError(f"{path}: no corpus directory; `curate build` names those it makes") from None
    except Damaged as error:
        raise CurateError(
            f"{error.path}: damaged since it was written; `curate build` with its manifest makes the corpus again"
        ) from None
