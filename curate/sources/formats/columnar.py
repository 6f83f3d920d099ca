"""Formats of tables: parquet, arrow (files and streams), hub (a data set by name, streamed, or its local folder)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import InputError, NoInput
from curate.sources import columns
from curate.sources.formats.format import Format
from curate.sources.rows import BATCH_BYTES, DECODED_ROWS, Input, Problems
from curate.spec.manifest import Source

HELD_BYTES = (
    1_000_000_000  # of a member of an archive, since a table is not read from beginning to end; or of a page
)
PAGE_HEAD = re.compile(
    rb"\x15[\x80-\xff]*[\0-\x7f]\x15([\x80-\xff]*[\0-\x7f])"
)  # its kind, and its bytes unpacked


def _parquet(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
    for item in inputs:
        with _counting_damage(item, problems):
            file = pq.ParquetFile(_seekable(item))
            _check_pages(item, file.metadata, set(_columns(source, item, file.schema_arrow)))
            yield from parquet_tables(source, item, file, problems)


def _check_pages(item: Input, metadata: pq.FileMetaData, wanted: set[str]) -> None:
    """Raises OSError where the first page of a column is larger than what is held: Arrow decodes a page whole."""
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    for chunk in (group.column(i) for group in groups for i in range(group.num_columns)):
        asked = any(f"{chunk.path_in_schema}.".startswith(f"{root}.") for root in wanted)
        if chunk.total_uncompressed_size <= HELD_BYTES or not asked:
            continue
        for at in filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)):
            raw = _seekable(item)
            raw.seek(at)
            head = PAGE_HEAD.match(raw.read(16))
            size = sum((byte & 0x7F) << 7 * i for i, byte in enumerate(head[1])) >> 1 if head else 0
            if size > HELD_BYTES:
                raise OSError(
                    f'"{chunk.path_in_schema}" has a page of {size:,} bytes: write it again in pages of less'
                )


def parquet_tables(
    source: Source, item: Input, file: pq.ParquetFile, problems: Problems,
    heard: Callable[[pa.RecordBatch], object] | None = None,
) -> Iterator[pa.Table]:  # fmt: skip
    """The documents of an opened file. `heard`: told of every batch, with all columns."""
    wanted, row = _columns(source, item, file.schema_arrow), 0
    for batch in _batches(file, None if heard else wanted):
        if heard:
            heard(batch)
        yield from _documents(source, item.name, row, batch, problems)
        row += batch.num_rows


def _batches(file: pq.ParquetFile, wanted: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Joined of a few rows at a time: a page may hold a text once for a million rows, and decoding copies it."""
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    largest = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=1)
    most = int(min(2000, max(1, BATCH_BYTES // max(1, largest))))
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for few in file.iter_batches(min(DECODED_ROWS, most), columns=wanted):
        for piece in (few.slice(0, most - rows), few.slice(most - rows)):
            held.append(piece)
            rows, size = rows + piece.num_rows, size + piece.nbytes
            if rows == most or size >= 4 * BATCH_BYTES:
                yield from pa.Table.from_batches(held).combine_chunks().to_batches()
                held, rows, size = [], 0, 0
    yield from pa.Table.from_batches(held).combine_chunks().to_batches() if held else ()


def _arrow(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
    for item in inputs:
        with _counting_damage(item, problems):
            row = 0
            for batch in _ipc_batches(item):
                batch = batch.select(_columns(source, item, batch.schema))
                yield from _documents(source, item.name, row, batch, problems)
                row += batch.num_rows


@contextmanager
def _counting_damage(item: Input, problems: Problems) -> Iterator[None]:
    """What is read before the damage stays."""
    try:
        yield
    except (OSError, pa.ArrowException, UnicodeDecodeError, OverflowError, MemoryError) as error:
        problems.fail("broken-file", item.name, str(error))


def _ipc_batches(item: Input) -> Iterator[pa.RecordBatch]:
    reader = _ipc_reader(item)
    if isinstance(reader, pa.ipc.RecordBatchStreamReader):
        yield from reader
    else:
        yield from (reader.get_batch(i) for i in range(reader.num_record_batches))


def _ipc_reader(item: Input) -> Any:
    """Of the file format, or of the stream format that `datasets` writes under the same ending."""
    try:
        return pa.ipc.open_file(_seekable(item))
    except pa.ArrowInvalid:
        return pa.ipc.open_stream(_seekable(item))


def _seekable(item: Input) -> Any:
    if item.opener:
        held = item.opener().read(HELD_BYTES + 1)
        if len(held) > HELD_BYTES:
            raise OSError(f"over {HELD_BYTES:,} bytes in an archive: unpack it")
        return pa.BufferReader(held)
    if "://" not in item.url:
        return pa.memory_map(os.fsencode(item.url))
    import fsspec

    return pa.PythonFile(fsspec.open(item.url, "rb").open(), mode="r")


def _hub(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
    """A data set of the hub (streamed) or a local folder that `save_to_disk` or the hub's layout made.

    It is read as a whole: only the library knows which files of a folder are data, and of which split.
    """
    import datasets

    commits = {item.url: item.stamp for item in inputs}
    for number, path in enumerate(source.path):
        name = path if path in commits else os.path.basename(path.rstrip("/"))  # the same on every machine
        name = f"{number}/{name}" if len(source.path) > 1 else name
        try:
            data = _open_hub(datasets, source, path, commits.get(path, source.revision))
            row = 0
            for table in data.with_format("arrow").iter(batch_size=1000):
                for batch in pa.table(table).to_batches():
                    batch = batch.select(_columns(source, Input(path, path, 0, ""), batch.schema))
                    yield from _documents(source, name, row, batch, problems)
                    row += batch.num_rows
        except (OSError, ValueError, KeyError, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
            raise InputError(
                f'source "{source.name}": the data set {path} cannot be read: {error}'
            ) from error


def _open_hub(datasets: Any, source: Source, path: str, revision: str | None) -> Any:
    if (Path(path) / "state.json").exists():
        return datasets.load_from_disk(path)
    if (Path(path) / "dataset_dict.json").exists():
        return datasets.load_from_disk(path)[source.split]
    local = Path(path).exists()
    return datasets.load_dataset(
        path, source.config, split=source.split, revision=None if local else revision, streaming=not local
    )


def _columns(source: Source, item: Input, schema: pa.Schema) -> list[str]:
    """The columns that hold what the source asks for."""
    wanted = [source.text, *([source.id] if source.id else []), *source.columns]
    for name in wanted:
        if not columns.has_field(schema, name):
            raise NoInput(
                f'source "{source.name}": {item.name} has no column "{name}"; it has {", ".join(schema.names)}'
            )
    roots = list(dict.fromkeys(columns.root_of(schema, name) for name in wanted))
    if twice := [name for name in roots if schema.names.count(name) > 1]:
        raise NoInput(
            f'source "{source.name}": {item.name} has several columns "{twice[0]}"; give them names of their own'
        )
    return roots


def _documents(
    source: Source, name: str, row: int, batch: pa.RecordBatch, problems: Problems
) -> Iterator[pa.Table]:
    """A batch of a columnar file, in tables of bounded size."""
    text = columns.field(batch, source.text)
    if not columns.is_text(text.type):
        problems.fail("text-not-a-string", f"{name}:{row}", f"a column of {text.type}", batch.num_rows)
        return
    others = [columns.field(batch, c) for c in [*([source.id] if source.id else []), *source.columns]]
    for first, end in columns.ranges([text, *others]):
        yield _table(source, name, row + first, batch.slice(first, end - first), problems)


def _table(source: Source, name: str, row: int, batch: pa.RecordBatch, problems: Problems) -> pa.Table:
    """Rows without text are counted, bytes that are not UTF-8 are repaired."""
    places = pa.array([f"{name}:{i}" for i in range(row, row + batch.num_rows)], pa.string())
    text = columns.text(columns.field(batch, source.text), places, problems)
    arrays = {"place": places, "text": text}
    if source.id:
        arrays["own_id"] = columns.own_ids(columns.field(batch, source.id), places)
    arrays |= {c: columns.plain(columns.field(batch, c), places, problems) for c in source.columns}
    table = pa.table(arrays)
    if text.null_count:
        for place in places.filter(text.is_null()).to_pylist():
            problems.fail("no-text", place, f'"{source.text}" is null')
        table = table.filter(text.is_valid())
    return table


def _parquet_schema(item: Input) -> pa.Schema:
    return pq.ParquetFile(_seekable(item)).schema_arrow


def _check(schema_of: Callable[[Input], pa.Schema], source: Source, item: Input) -> None:
    with suppress(OSError, pa.ArrowException):  # reading counts it as a broken file
        _columns(source, item, schema_of(item))


def _peek(batches: Callable[[Input], Iterable[pa.RecordBatch]], item: Input) -> Iterator[dict]:
    return (batch.slice(i, 1).to_pylist()[0] for batch in batches(item) for i in range(min(500, len(batch))))


PARQUET = Format(
    "parquet", _parquet, 1e8, ("*.parquet",), check=partial(_check, _parquet_schema),
    peek=partial(_peek, lambda item: _batches(pq.ParquetFile(_seekable(item)))),
)  # fmt: skip
ARROW = Format(
    "arrow", _arrow, 2e8, ("*.arrow", "*.feather", "*.ipc"),
    check=partial(_check, lambda item: _ipc_reader(item).schema),
    peek=partial(_peek, _ipc_batches),
)  # fmt: skip
HUB = Format("hub", _hub, 2e7, whole=True)
