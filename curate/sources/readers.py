"""Readers: one function a format, from input files to rows, nothing decided and nothing lost.

A reader yields tables of `place`, `text` and the source's declared columns (and `own_id` where the
source has ids). What cannot become a document is told to `Problems` with its cause and place; text whose
bytes are not UTF-8 is repaired with U+FFFD, counted, and kept.
"""

from __future__ import annotations

import ast
import json
import lzma
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import InputError, NoInput
from curate.sources.inputs import Input
from curate.sources.rows import BOM, Problems, Rows, decoded, opened, without_surrogates
from curate.spec.manifest import Source


def read(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
    """Tables of documents from these files. Raises InputError where a file itself cannot be opened or decoded."""
    reader = {
        "jsonl": _jsonl,
        "text": _text,
        "python": _python,
        "parquet": _parquet,
        "arrow": _arrow,
        "hub": _hub,
    }
    if source.format not in reader:
        from curate.sources.web import read_pages

        yield from read_pages(source, inputs, problems)
        return
    yield from reader[source.format](source, inputs, problems)


def _lines(item: Input, problems: Problems) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, its bytes). A file that breaks off keeps the lines before the break."""
    number = 0
    try:
        with opened(item) as file:
            for number, line in enumerate(file, 1):
                yield number, line.removeprefix(BOM) if number == 1 else line
    except (OSError, EOFError, lzma.LZMAError, pa.ArrowException) as error:
        problems.fail("broken-file", f"{item.name}:{number + 1}", str(error))


def _jsonl(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
    rows = Rows(source)
    for item in inputs:
        for number, line in _lines(item, problems):
            at = f"{item.name}:{number}"
            if line.isspace():
                continue
            row = _json_row(line, at, problems)
            if row is None or (text := _text_of(row, source, at, problems)) is None:
                continue
            own = [_as_string(row.get(source.id))] if source.id else []
            rows.add(at, text, *own, *(_as_string(row.get(c)) for c in source.columns))
            if rows.full():
                yield rows.table()
    yield rows.table()


def _json_row(line: bytes, at: str, problems: Problems) -> dict | None:
    try:
        row = json.loads(decoded(line, at, problems))
    except (ValueError, RecursionError) as error:
        problems.fail("not-json", at, str(error))
        return None
    if not isinstance(row, dict):
        problems.fail("not-an-object", at, f"a JSON {type(row).__name__}")
        return None
    return row


def _text_of(row: dict, source: Source, at: str, problems: Problems) -> str | None:
    text = row.get(source.text)
    if text is None:
        problems.fail("no-text", at, f'no field "{source.text}"; fields: {", ".join(map(str, row))}')
    elif not isinstance(text, str):
        problems.fail("text-not-a-string", at, f'"{source.text}" is a {type(text).__name__}')
    else:
        return without_surrogates(text, at, problems)
    return None


def _as_string(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text.encode("utf-8", "replace").decode("utf-8")


def _text(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
    """A file, a line, or a paragraph (what blank lines separate) a document. Lines keep no line ending."""
    rows = Rows(source)
    for item in inputs:
        for at, raw in _pieces(source, item, problems):
            rows.add(at, decoded(raw, at, problems))
            if rows.full():
                yield rows.table()
    yield rows.table()


def _pieces(source: Source, item: Input, problems: Problems) -> Iterator[tuple[str, bytes]]:
    if source.document == "line":
        for number, line in _lines(item, problems):
            if not line.isspace():
                yield f"{item.name}:{number}", line.rstrip(b"\r\n")
    elif source.document == "paragraph":
        begin = 0
        lines: list[bytes] = []
        for number, line in _lines(item, problems):
            if not line.isspace():
                begin = begin if lines else number
                lines.append(line)
            elif lines:
                yield f"{item.name}:{begin}", b"".join(lines).rstrip(b"\r\n")
                lines = []
        if lines:
            yield f"{item.name}:{begin}", b"".join(lines).rstrip(b"\r\n")
    else:
        try:
            with opened(item) as file:
                yield item.name, file.read()
        except (OSError, EOFError, lzma.LZMAError, pa.ArrowException) as error:
            problems.fail("broken-file", item.name, str(error))


def _python(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
    """Docstrings of modules, classes and functions, under their qualified names, indentation cleaned as PEP 257 says."""
    rows = Rows(source)
    for item in inputs:
        with opened(item) as file:
            code = file.read()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the escapes in other people's strings
                tree = ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            problems.fail("not-python", item.name, f"{type(error).__name__}: {error}")
            continue
        seen: dict[str, int] = {}
        for name, text in _docstrings(tree, ""):
            seen[name] = seen.get(name, 0) + 1  # overloads and branches define a name several times
            at = f"{item.name}::{name}" + (f"#{seen[name]}" if seen[name] > 1 else "")
            rows.add(at, without_surrogates(text, at, problems))
        if rows.full():
            yield rows.table()
    yield rows.table()


def _docstrings(tree: ast.AST, inside: str) -> Iterator[tuple[str, str]]:
    """Depth first, in the order of the source, without recursion (generated code nests deeply)."""
    todo = [(tree, inside)]
    while todo:
        node, inside = todo.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inside = f"{inside}.{node.name}".lstrip(".") if hasattr(node, "name") else inside
            text = ast.get_docstring(node)
            if text is not None:
                yield inside or "<module>", text
        elif not isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            continue
        todo.extend((child, inside) for child in reversed(list(ast.iter_child_nodes(node))))


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
    """The file format, or the stream format that `datasets` writes under the same ending."""
    source = _seekable(item)
    try:
        reader = pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        yield from pa.ipc.open_stream(_seekable(item))
        return
    for i in range(reader.num_record_batches):
        yield reader.get_batch(i)


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
    from pathlib import Path

    if (Path(path) / "state.json").exists():
        return datasets.load_from_disk(path)
    if (Path(path) / "dataset_dict.json").exists():
        return datasets.load_from_disk(path)[source.split]
    return datasets.load_dataset(
        path, source.config, split=source.split, revision=source.revision, streaming=not Path(path).exists()
    )


def check_columns(source: Source, item: Input) -> None:
    """Raises NoInput where a columnar file lacks what the source asks for; other formats are known by reading only."""
    try:
        if source.format == "parquet":
            _columns(source, item, pq.ParquetFile(_seekable(item)).schema_arrow)
        elif source.format == "arrow" and (batch := next(_ipc_batches(item), None)) is not None:
            _columns(source, item, batch.schema)
    except (OSError, pa.ArrowException):
        return  # reading counts it as a broken file


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
