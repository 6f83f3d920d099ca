"""The format published: a corpus that `curate publish` wrote, named by its configuration and checked by its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import InputError, NoInput
from curate.sources.formats.columnar import parquet_tables
from curate.sources.formats.format import Format
from curate.sources.rows import Input, Problems
from curate.spec.manifest import Source
from curate.store import digest_of
from filters.arrow import utf8

PUBLISHED = "curate.json"


class ContentDigest:
    """sha256 over three streams, the lengths and bytes of ids, texts and sources, however they are cut in files."""

    def __init__(self) -> None:
        self.streams = {name: (hashlib.sha256(), hashlib.sha256()) for name in ("id", "text", "source")}

    def add(self, batch: pa.RecordBatch) -> None:
        for name, (lengths, values) in self.streams.items():
            offsets, data = utf8(batch.column(name))
            lengths.update(np.diff(offsets).data)
            values.update(data[offsets[0] : offsets[-1]].data)

    def hexdigest(self) -> str:
        return digest_of([[a.hexdigest(), b.hexdigest()] for a, b in self.streams.values()])


def _config(source: Source, item: Input) -> dict:
    """What `curate.json` says of the corpus that is asked for. Raises NoInput where it is not there."""
    with fsspec.open(item.url, "rb") as file:
        configs = json.load(file)["configs"]
    where = f'source "{source.name}": {item.url}'
    if source.config not in configs:
        raise NoInput(f'{where}: config = "{source.config}": write one of {", ".join(configs)}')
    config = configs[source.config]
    if not source.revision or not config["digest"].startswith(source.revision):
        raise NoInput(
            f'{where}: revision = "{source.revision}" is not the digest of what is there: {config["digest"]}'
        )
    return config


def _published(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
    for item in inputs:
        config, digest = _config(source, item), ContentDigest()
        root = item.url.rpartition("/")[0]
        for name in config["files"]:
            with fsspec.open(f"{root}/{name}", "rb") as file:
                parquet = pq.ParquetFile(file)
                yield from parquet_tables(source, Input(name, name, 0, ""), parquet, problems, digest.add)
        if digest.hexdigest() != config["digest"]:
            raise InputError(
                f'source "{source.name}": {root}: {source.config} holds other documents than its digest '
                f"{config['digest'][:12]} says; publish it again"
            )


PUBLISHED_CORPUS = Format("published", _published, 1e8, (PUBLISHED,), check=_config, whole=True)
