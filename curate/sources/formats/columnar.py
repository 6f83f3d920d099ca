"""Formats of tables: parquet, arrow (files and streams), hub (a data set by name, streamed, or its local folder)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import InputError, NoInput
from curate.sources.formats.format import Format
from curate.sources.rows import Input, Problems, decoded
from curate.spec.manifest import Source


def _parquet(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
    for item in inputs:
        try:
            file = pq.ParquetFile(_seekable(item))
            wanted = _columns(source, item, file.schema_arrow)
            row = 0
            for batch in file.iter_batches(batch_size=2000, columns=wanted):
                yield from _arrow_batch(source, item.name, row, pa.table(batch), problems)
                row += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            problems.fail("broken-file", item.name, str(error))


def _arrow(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
    for item in inputs:
        try:
            row = 0
            for batch in _ipc_batches(item):
                wanted = _columns(source, item, batch.schema)
                yield from _arrow_batch(source, item.name, row, pa.table(batch).select(wanted), problems)
                row += batch.num_rows
        except (OSError, pa.ArrowException) as error:
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
    if "://" not in item.url:
        return pa.memory_map(item.url)
    import fsspec

    return pa.PythonFile(fsspec.open(item.url, "rb").open(), mode="r")


def _hub(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
    """A data set of the hub (streamed) or a local folder that `save_to_disk` or the hub's layout made."""
    import datasets

    for path in source.path:
        try:
            data = _open_hub(datasets, source, path)
            wanted = (
                _columns(source, Input(path, path, 0, ""), data.features.arrow_schema)
                if data.features
                else None
            )
            row = 0
            for table in data.with_format("arrow").iter(batch_size=1000):
                table = pa.table(table)
                yield from _arrow_batch(
                    source, path, row, table.select(wanted) if wanted else table, problems
                )
                row += table.num_rows
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            raise InputError(
                f'source "{source.name}": the data set {path} cannot be read: {error}'
            ) from error


def _open_hub(datasets: Any, source: Source, path: str) -> Any:
    if (Path(path) / "state.json").exists():
        return datasets.load_from_disk(path)
    if (Path(path) / "dataset_dict.json").exists():
        return datasets.load_from_disk(path)[source.split]
    return datasets.load_dataset(
        path, source.config, split=source.split, revision=source.revision, streaming=not Path(path).exists()
    )


def _columns(source: Source, item: Input, schema: pa.Schema) -> list[str]:
    wanted = [source.text, *([source.id] if source.id else []), *source.columns]
    for name in wanted:
        if name not in schema.names:
            raise NoInput(
                f'source "{source.name}": {item.name} has no column "{name}"; it has {", ".join(schema.names)}'
            )
    return list(dict.fromkeys(wanted))


def _arrow_batch(
    source: Source, name: str, row: int, table: pa.Table, problems: Problems
) -> Iterator[pa.Table]:
    """A batch of a columnar file: rows without text are counted, bytes that are not UTF-8 are repaired."""
    places = pa.array([f"{name}:{i}" for i in range(row, row + table.num_rows)], pa.string())
    text = table[source.text].combine_chunks()
    if pa.types.is_dictionary(text.type):
        text = text.cast(text.type.value_type)
    if not (
        pa.types.is_string(text.type)
        or pa.types.is_large_string(text.type)
        or pa.types.is_string_view(text.type)
    ):
        problems.fail("text-not-a-string", f"{name}:{row}", f"a column of {text.type}", table.num_rows)
        return
    text = _valid_utf8(text.cast(pa.large_string()), places, problems)
    columns = {"place": places, "text": text}
    if source.id:
        columns["own_id"] = table[source.id].cast(pa.string()).combine_chunks()
    columns |= {c: table[c].combine_chunks() for c in source.columns}
    batch = pa.table(columns)
    if text.null_count:
        missing = text.is_null()
        for place in places.filter(missing).to_pylist():
            problems.fail("no-text", place, f'"{source.text}" is null')
        batch = batch.filter(text.is_valid())
    yield batch


def _valid_utf8(text: pa.LargeStringArray, places: pa.Array, problems: Problems) -> pa.LargeStringArray:
    """Parquet does not check that strings are UTF-8; from here on they are."""
    try:
        text.validate(full=True)
        return text
    except pa.ArrowInvalid:
        raw = text.cast(pa.large_binary()).to_pylist()
    mended = [None if r is None else decoded(r, places[i].as_py(), problems) for i, r in enumerate(raw)]
    return pa.array(mended, pa.large_string())


def _parquet_schema(item: Input) -> pa.Schema:
    return pq.ParquetFile(_seekable(item)).schema_arrow


def _check(schema_of: Callable[[Input], pa.Schema], source: Source, item: Input) -> None:
    with suppress(OSError, pa.ArrowException):  # reading counts it as a broken file
        _columns(source, item, schema_of(item))


PARQUET = Format("parquet", _parquet, 1e8, ("*.parquet",), check=partial(_check, _parquet_schema))
ARROW = Format(
    "arrow", _arrow, 2e8, ("*.arrow", "*.feather", "*.ipc"),
    check=partial(_check, lambda item: _ipc_reader(item).schema),
)  # fmt: skip
HUB = Format("hub", _hub, 2e7)
