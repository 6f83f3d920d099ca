"""Formats of crawls: warc, wet. Archives are read by FastWARC, a record at a time, so memory is bounded by the largest
record that is let in (HTML_BYTES).

What an archive holds besides responses (of a WARC) and conversions (of a WET), such as requests and metadata, tells
of documents and is none. A place is FILE:OFFSET, where the record begins in the (compressed) file, as indexes of crawls
count.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from curate.sources.characters import decoded
from curate.sources.formats.format import Format
from curate.sources.formats.pages import HTML_BYTES, Found, characters, page, reading
from curate.sources.rows import Input, Problems

HTML_TYPES = ("text/html", "application/xhtml+xml")


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
            yield place, characters(body, charset, place, problems), fields | {"status": str(status)}
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


WARC = Format(
    "warc", reading(_warc), 1e7, ("*.warc", "*.warc.gz", "*.warc.zst"),
    fields=(("url", "date", "status"), ("title", "language", "record")), requires=("fastwarc", "resiliparse"),
)  # fmt: skip
WET = Format(
    "wet", reading(_wet), 1e8, ("*.wet", "*.wet.gz"), fields=(("url", "date", "language"), ("record",)),
    requires=("fastwarc",),
)  # fmt: skip
