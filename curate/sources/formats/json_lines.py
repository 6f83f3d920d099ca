"""Format jsonl: objects, one a line; or the elements of arrays, however they are broken into lines.

What a line or an element may be long follows from the source's `longest`, so a line without end costs no memory.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import pyarrow as pa

from curate.sources.characters import BOM, MARK, as_utf8, without_surrogates
from curate.sources.formats.format import Format, packed
from curate.sources.opening import BROKEN, lines_of, opened_text
from curate.sources.rows import Input, Problems, Rows
from curate.spec.manifest import Source

ESCAPED = 6  # bytes that JSON may take for one of text, `\u0020`
BESIDES = 16_000_000  # bytes of other fields
BLANK = re.compile(f"[ \t\r\n{MARK}]*")
STRUCTURE = re.compile(rb'["\[\]{},]')
IN_STRING = re.compile(rb'["\\\n]')

Found = tuple[str, bytes]  # (place, JSON)


def _jsonl(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
    rows = Rows(source)
    for item in inputs:
        for at, raw in _pieces(item, ESCAPED * source.longest + BESIDES, problems):
            for place, row in _objects(raw, at, problems):
                text = _text_of(row, source, place, problems)
                if text is None:
                    continue
                own_id = [_as_string(field_of(row, source.id))] if source.id else []
                rows.add(place, text, *own_id, *(_as_string(field_of(row, c)) for c in source.columns))
            if rows.full():
                yield rows.table()
    yield rows.table()


def _pieces(item: Input, longest: int, problems: Problems) -> Iterator[Found]:
    number = elements = 0
    try:
        with opened_text(item) as file:
            while _begins_array(file.peek(1 << 12)):
                elements = yield from _elements(file, item.name, elements, longest, problems)
            for number, line in lines_of(file, item.name, longest, problems):
                if not line.isspace():
                    yield f"{item.name}:{number}", line
    except BROKEN as error:
        problems.fail("broken-file", f"{item.name}:{number + 1}", str(error))


def _begins_array(begin: bytes) -> bool:
    """Of objects. (A line that is an array of anything else is a row that failed.)"""
    begin = begin.lstrip().removeprefix(BOM).lstrip()
    return begin.startswith(b"[") and begin[1:].lstrip()[:1] in (b"{", b"]", b"")


def _elements(
    file: io.BufferedReader, name: str, number: int, longest: int, problems: Problems
) -> Generator[Found, None, int]:
    """`name[0]`, `name[1]` ...: the elements of the array that begins here. Returns the number of the next.

    They are told apart by brackets and quotes alone, so a bad one costs no other. A string ends with its line: JSON
    has no line breaks in strings.
    """
    element = _Element(longest)
    depth, quoted = 0, False
    while piece := file.readline(1 << 16):
        if piece.endswith(b"\\"):
            piece += file.read(1)  # what is escaped stands beside what escapes it
        begin = at = 0
        while match := (IN_STRING if quoted else STRUCTURE).search(piece, at):
            at, mark = match.end(), match[0]
            if mark == b"\\":
                at += 1
                continue
            if quoted or mark == b'"':
                quoted = not quoted
                continue
            depth += (mark in b"[{") - (mark in b"]}")
            if depth == 1 and mark == b"[" and element.fresh:
                begin, element.fresh = at, False
            elif depth == 0 or depth == 1 and mark == b",":
                element.add(piece[begin : at - 1])
                begin = at
                if (raw := element.taken(f"{name}[{number}]", problems)) is not None:
                    yield f"{name}[{number}]", raw
                number += 1
            if depth == 0:
                if piece[at:].strip(b" \t\r\n,"):
                    yield f"{name}[{number}]", piece[at:]
                return number + 1
        element.add(piece[begin:])
    problems.fail("not-json", f"{name}[{number}]", "the array does not end")
    return number + 1


class _Element:
    """The bytes of an element so far, as long as they are not too many."""

    def __init__(self, longest: int):
        self.longest, self.fresh = longest, True
        self.held: list[bytes] = []
        self.size = 0

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        self.held.append(piece)
        if self.size > self.longest:
            self.held.clear()

    def taken(self, at: str, problems: Problems) -> bytes | None:
        """The whole; None where it is too long, or nothing between two marks."""
        raw, size = b"".join(self.held), self.size
        self.held, self.size = [], 0
        if size > self.longest:
            problems.fail("too-long", at, f"an element of {size:,} bytes")
            return None
        return raw if raw.strip() else None


def _objects(raw: bytes, at: str, problems: Problems) -> Iterator[tuple[str, dict]]:
    """The objects that a line or an element holds: one; or several, where files were joined within a line."""
    text = as_utf8(raw, at, problems)
    try:
        values = [json.loads(text)]
    except (ValueError, RecursionError) as error:
        values = _joined_values(text)
        if not values:
            problems.fail("not-json", at, str(error))
    if len(values) == 1 and isinstance(values[0], list) and all(isinstance(v, dict) for v in values[0]):
        values = values[0]
    for number, value in enumerate(values, 1):
        place = f"{at}#{number}" if number > 1 else at
        if isinstance(value, dict):
            yield place, value
        else:
            problems.fail("not-an-object", place, f"a JSON {type(value).__name__}")


def _joined_values(text: str) -> list:
    """Values one after the other, perhaps with marks between; none where the text is anything else."""
    values, at, decoder = [], 0, json.JSONDecoder()
    try:
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            values.append(value)
            at = BLANK.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
    except (ValueError, RecursionError):
        return []
    return values


def field_of(row: dict, name: str) -> Any:
    """A field, or one inside others by its path, `doc.body`; None where it is not there or null."""
    return values[0] if (values := _named(row, name)) else None


def _named(row: dict, name: str) -> list:
    """[the field]; empty where there is none of this name."""
    if name in row:
        return [row[name]]
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return []
        value = value[part]
    return [value]


def _text_of(row: dict, source: Source, at: str, problems: Problems) -> str | None:
    values = _named(row, source.text)
    if not values:
        problems.fail("no-text", at, f'no field "{source.text}"; fields: {", ".join(map(str, row))}')
    elif values[0] is None:
        problems.fail("no-text", at, f'"{source.text}" is null')
    elif not isinstance(values[0], str):
        problems.fail("text-not-a-string", at, f'"{source.text}" is a {type(values[0]).__name__}')
    else:
        return without_surrogates(values[0], at, problems)
    return None


def _as_string(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # two ids must not become one


def _peek(item: Input) -> Iterator[dict]:
    pieces = _pieces(item, ESCAPED * Source.longest + BESIDES, Problems())
    return (row for at, raw in pieces for _, row in _objects(raw, at, Problems()))


JSONL = Format("jsonl", _jsonl, 6e7, packed("*.jsonl", "*.ndjson", "*.json"), peek=_peek)
