"""Formats of lines and plain text: jsonl, text."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from curate.sources.formats.format import Format, packed
from curate.sources.rows import BOM, Input, Problems, Rows, decoded, opened, without_surrogates
from curate.spec.manifest import FOLDER, Source


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


JSONL = Format("jsonl", _jsonl, 6e7, packed("*.jsonl", "*.ndjson", "*.json"))
TEXT = Format("text", _text, 5e7, (*packed("*.txt"), "*.md", "*.rst"), fields=((), ()), group=FOLDER)
