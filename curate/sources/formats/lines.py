"""Format text: plain text, a file, a line or a paragraph a document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from curate.sources.characters import as_utf8, decoded
from curate.sources.formats.format import Format, packed
from curate.sources.opening import lines, read_at_most
from curate.sources.rows import Input, Problems, Rows
from curate.spec.manifest import FOLDER, Source

ENDING = 2  # bytes at most, of a line


def _text(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
    """A file, a line, or a paragraph (what blank lines separate) a document. Lines keep no line ending."""
    rows = Rows(source)
    for item in inputs:
        for at, text in _pieces(source, item, problems):
            rows.add(at, text)
            if rows.full():
                yield rows.table()
    yield rows.table()


def _pieces(source: Source, item: Input, problems: Problems) -> Iterator[tuple[str, str]]:
    if source.document == "line":
        for number, line in lines(item, source.longest + ENDING, problems):
            if not line.isspace():
                at = f"{item.name}:{number}"
                yield at, as_utf8(line.rstrip(b"\r\n"), at, problems)
    elif source.document == "paragraph":
        for number, raw in _paragraphs(source, item, problems):
            at = f"{item.name}:{number}"
            yield at, as_utf8(raw, at, problems)
    else:
        whole = read_at_most(item, 4 * source.longest, problems)  # of UTF-32, a character is 4 bytes
        if whole is not None:
            yield item.name, decoded(whole, item.name, problems)


def _paragraphs(source: Source, item: Input, problems: Problems) -> Iterator[tuple[int, bytes]]:
    """(number of the first line, the lines). One that is too long is counted, and not held."""
    begin = size = 0
    held: list[bytes] = []
    for number, line in lines(item, source.longest + ENDING, problems):
        if line.isspace():
            yield from _whole(source, item, begin, held, size, problems)
            begin, size, held = 0, 0, []
            continue
        begin, size = begin or number, size + len(line)
        held.append(line)
        if size > source.longest + ENDING:
            held.clear()
    yield from _whole(source, item, begin, held, size, problems)


def _whole(
    source: Source, item: Input, begin: int, held: list[bytes], size: int, problems: Problems
) -> Iterator[tuple[int, bytes]]:
    if held:
        yield begin, b"".join(held).rstrip(b"\r\n")
    elif size:
        problems.fail(
            "too-long", f"{item.name}:{begin}", f"over the source's longest = {source.longest} bytes"
        )


TEXT = Format("text", _text, 5e7, (*packed("*.txt"), "*.md", "*.rst"), fields=((), ()), group=FOLDER)
