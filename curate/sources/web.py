"""Readers of pages: Markdown, HTML, and the archives of crawls (WARC, WET).

The main text of a page is what Resiliparse finds: headings, paragraphs and code, without scripts and with little of the
navigation and footers. It was chosen by measuring: six to twelve times as fast as trafilatura on the same pages; for
training, the two were found to be about as good (DCLM, arXiv:2406.11794).

Archives are read by FastWARC, a record at a time, so memory is bounded by the largest record that is let in
(HTML_BYTES). Both come with `pip install "curate-lm[web]"`, and their
versions are part of the key of what they read.

What an archive holds besides responses (of a WARC) and conversions (of a WET), such as requests and metadata, tells
of documents and is none. A place is FILE:OFFSET, where the record begins in the (compressed) file, as indexes of crawls
count.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import pyarrow as pa

from curate.errors import InputError
from curate.sources.inputs import Input
from curate.sources.rows import Problems, Rows, decoded, opened, without_surrogates
from curate.spec.manifest import Source

HTML_BYTES = 64_000_000  # a page, or a record of an archive, is no longer
HTML_TYPES = ("text/html", "application/xhtml+xml")
FIELD = re.compile(r"([A-Za-z_][\w-]*):[ \t]*(.*)")

Found = tuple[str, str, dict[str, Any]]  # (place, text, fields)


def libraries(format: str) -> dict[str, str]:
    """{library: version} that decide what a reader makes of the same bytes; raises InputError where one is missing."""
    try:
        return {name: version(name) for name in LIBRARIES.get(format, ())}
    except PackageNotFoundError as error:
        raise InputError(f'format "{format}" needs {error.name}: pip install "curate-lm[web]"') from None


LIBRARIES = {"html": ("resiliparse",), "warc": ("fastwarc", "resiliparse"), "wet": ("fastwarc",)}


def missing(format: str) -> list[str]:
    return [name for name in LIBRARIES.get(format, ()) if find_spec(name) is None]


def read_pages(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
    """Tables of documents from files of one of READERS."""
    rows = Rows(source)
    for item in inputs:
        for place, text, fields in READERS[source.format](item, problems):
            if source.id and not fields.get(source.id):
                problems.fail(
                    "no-id", place, f'no "{source.id}"; it has {", ".join(k for k in fields if fields[k])}'
                )
                continue
            own = [fields[source.id]] if source.id else []
            rows.add(place, text, *own, *(fields.get(column) for column in source.columns))
            if rows.full():
                yield rows.table()
    yield rows.table()


# ---- single files ---------------------------------------------------------------------------------------


def _file(item: Input, problems: Problems) -> bytes | None:
    try:
        with opened(item) as file:
            raw = file.read(HTML_BYTES + 1)
    except (OSError, EOFError, pa.ArrowException) as error:
        problems.fail("broken-file", item.name, str(error))
        return None
    if len(raw) > HTML_BYTES:
        problems.fail("too-long", item.name, f"over {HTML_BYTES} bytes")
        return None
    return raw


def _markdown(item: Input, problems: Problems) -> Iterator[Found]:
    """The text as it is. Front matter of plain `key: value` lines becomes fields and leaves the text; other stays."""
    raw = _file(item, problems)
    if raw is not None:
        fields, text = front_matter(decoded(raw, item.name, problems))
        yield item.name, text, fields


def front_matter(text: str) -> tuple[dict[str, Any], str]:
    """(fields, what follows them); no fields where the front matter is none, or more than plain lines."""
    begin = text.removeprefix("\ufeff")
    lines = begin.split("\n")
    if lines[0].rstrip() != "---":
        return {}, text
    fields: dict[str, Any] = {}
    for number, line in enumerate(lines[1:], 1):
        if line.rstrip() in ("---", "..."):
            return fields, "\n".join(lines[number + 1 :]).lstrip("\r\n")
        found = FIELD.fullmatch(line.rstrip())
        if found:
            fields[found[1]] = _unquoted(found[2]) or None
        elif line.strip() and not line.startswith("#"):
            return {}, text
    return {}, text


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _html(item: Input, problems: Problems) -> Iterator[Found]:
    raw = _file(item, problems)
    if raw is not None:
        text, fields = page(raw, None, item.name, problems)
        yield item.name, text, fields


def page(raw: bytes, charset: str | None, at: str, problems: Problems) -> tuple[str, dict[str, Any]]:
    """(main text, title and language) of an HTML page. `charset`: what the server said, else the page, else its bytes."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(_characters(raw, charset, at, problems))
    root = tree.document.query_selector("html") if tree.document else None
    fields = {"title": tree.title or None, "language": (root.getattr("lang") or None) if root else None}
    text = extract_plain_text(tree, main_content=True, alt_texts=False)
    return without_surrogates(text, at, problems), fields


def _characters(raw: bytes, charset: str | None, at: str, problems: Problems) -> str:
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

    encoding = map_encoding_to_html5(charset) if charset else detect_encoding(raw, from_html_meta=True)
    encoding = encoding or "utf-8"
    try:
        return raw.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        problems.repair("broken-encoding", at, str(error))
        return bytes_to_str(raw, encoding)


# ---- archives -------------------------------------------------------------------------------------------


def _records(item: Input, kind: str, problems: Problems) -> Iterator[tuple[Any, bytes, str]]:
    """(record, its block, place) of one kind, without those that are cut short or too long."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    begin = 0
    try:
        with _raw(item) as file:
            for record in ArchiveIterator(file, record_types=getattr(WarcRecordType, kind), parse_http=False):
                begin = record.stream_pos
                place, size = f"{item.name}:{begin}", record.content_length
                if size > HTML_BYTES:
                    problems.fail("too-long", place, f"a record of {size} bytes")
                    continue
                block = record.reader.read()
                if len(block) < size:
                    problems.fail("cut-short", place, f"{len(block)} of {size} bytes")
                    return
                yield record, block, place
            if not _ends_whole(file, begin):
                problems.fail(
                    "broken-file", f"{item.name}:{begin}", "it breaks off after the record at this place"
                )
    except (OSError, ValueError, EOFError) as error:
        problems.fail("broken-file", f"{item.name}:{begin}", f"after the record at this place: {error}")


def _ends_whole(file: Any, begin: int) -> bool:
    """Whether the archive ends where a record does: FastWARC takes a cut in the head of a record for the end."""
    file.seek(begin)
    head = file.read(2)
    file.seek(begin)
    if head != b"\x1f\x8b":
        return head != b"WA" or _tail(file) == b"\r\n\r\n"
    member, tail = zlib.decompressobj(31), b""
    while data := file.read(1 << 20):
        while data:
            if member.eof:
                member = zlib.decompressobj(31)
            tail = (tail + member.decompress(data))[-4:]
            data = member.unused_data
    return member.eof and tail == b"\r\n\r\n"


def _tail(file: Any) -> bytes:
    last = b""
    while data := file.read(1 << 20):
        last = (last + data)[-4:]
    return last


def _raw(item: Input) -> Any:
    if "://" not in item.url:
        return open(item.url, "rb")
    import fsspec

    return fsspec.open(item.url, "rb").open()


def _about(record: Any) -> dict[str, Any]:
    header = record.headers.get
    url = header("WARC-Target-URI")
    return {"url": url and url.strip("<>"), "date": header("WARC-Date"), "record": header("WARC-Record-ID")}


def _warc(item: Input, problems: Problems) -> Iterator[Found]:
    """Responses that are pages. Errors, redirects and other types of content are counted by cause."""
    for record, block, place in _records(item, "response", problems):
        fields = _about(record)
        response = _response(block)
        if response is None:
            problems.fail("not-http", place, str(fields["url"]))
            continue
        status, content_type, charset, body = response
        if not 200 <= status < 300:
            problems.fail("http-error", place, f"status {status}: {fields['url']}")
        elif content_type in HTML_TYPES:
            text, more = page(body, charset, place, problems)
            yield place, text, fields | more | {"status": str(status)}
        elif content_type == "text/plain":
            yield place, _characters(body, charset, place, problems), fields | {"status": str(status)}
        else:
            problems.fail("not-a-page", place, f"{content_type or 'no content type'}: {fields['url']}")


def _response(block: bytes) -> tuple[int, str, str | None, bytes] | None:
    """(status, content type, charset, decoded body) of an HTTP message, or None where it is none."""
    from fastwarc.warc import WarcRecord

    message = WarcRecord()  # of its own: one whose body cannot be decoded must not end the iteration
    try:
        message.set_bytes_content(block)
        message.is_http = True
        message.parse_http(auto_decode="all")
        status = int(str(message.http_headers.status_code))
        return status, message.http_content_type or "", message.http_charset, message.reader.read()
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _wet(item: Input, problems: Problems) -> Iterator[Found]:
    """Text that a crawl has extracted already."""
    for record, block, place in _records(item, "conversion", problems):
        language = record.headers.get("WARC-Identified-Content-Language")
        yield place, decoded(block, place, problems), _about(record) | {"language": language}


READERS: dict[str, Callable[[Input, Problems], Iterator[Found]]] = {
    "markdown": _markdown, "html": _html, "warc": _warc, "wet": _wet,
}  # fmt: skip
