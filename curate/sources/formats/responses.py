"""HTTP answers as crawls keep them. Servers misname their encodings and types: what the bytes are decides."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa

from curate.sources.formats.warc import HEAD_END, head_fields

STATUS = re.compile(rb"[A-Z]+(?:/[\d.]+)?[ \t]+(\d{3})\b")
CHUNK_HEAD = re.compile(rb"(\r?\n)?[ \t]*(0*[0-9A-Fa-f]{1,12})[ \t]*(?:;[^\r\n]*)?\r?\n")
CHUNK_BYTES = 64  # of one on average, where a text might look the same
TRAILERS = re.compile(rb"(?:[\w-]+:[^\n]*\n)*\s*")
NUMBERS = re.compile(rb"[\s\da-fA-F]*")
TYPE = re.compile(r"[\s\"']*([\w.+-]+/[\w.+-]+)")
CHARSET = re.compile(r"charset\s*=\s*[\"']?([^\s;\"']+)", re.I)
COMMENTS = re.compile(rb"\s*(?:<!--(?:(?!-->).)*-->\s*)*", re.S)
PAGE = re.compile(rb"<(?:!doctype html|html|head|body|title|meta|script|div|p|h1|table|br)\b", re.I)
NO_TEXT = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")  # bytes that no text has (WHATWG, MIME sniffing)
SNIFFED = 1445  # bytes that a type is recognised by, as there
PACKED = GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
ZLIB = (b"\x78\x01", b"\x78\x9c", b"\x78\xda", b"\x78\x5e")


class TooLong(Exception):
    """A body is larger than what is let in."""


@dataclass
class Response:
    status: int
    type: str
    charset: str | None
    body: bytes
    head: bytes


def parse(block: bytes, longest: int) -> Response | None:
    """None where it is no HTTP answer. Raises TooLong where the decoded body has more bytes than `longest`."""
    status = STATUS.match(block)
    if not status:
        return None
    end = HEAD_END.search(block)
    head, body = (block[: end.end()], block[end.end() :]) if end else (block, b"")
    headers = head_fields(head)
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _joined_chunks(body)
    body = _decoded(body, headers.get("content-encoding", ""), longest)
    content_type = headers.get("content-type", "")
    charset = CHARSET.search(content_type)
    named = TYPE.match(content_type)
    kind = named[1].lower() if named else _sniffed(body[:SNIFFED])
    return Response(int(status[1]), kind, charset and charset[1], body, head)


def _sniffed(begin: bytes) -> str:
    content = begin[COMMENTS.match(begin).end() :]  # type: ignore[union-attr]  # it matches nothing, too
    if PAGE.match(content):
        return "text/html"
    return "" if NO_TEXT.search(begin) or begin.startswith(b"%PDF") else "text/plain"


def _joined_chunks(body: bytes) -> bytes:
    """The body as it is where it is not in chunks; behind where they break off, as it is as well."""
    pieces: list[bytes] = []
    at, strict, ended = 0, True, False
    while (head := CHUNK_HEAD.match(body, at)) and (head[1] or not pieces):
        size = int(head[2], 16)
        strict = strict and head[0].endswith(b"\r\n")
        at = head.end() + size
        if not size:
            ended = TRAILERS.fullmatch(body, at) is not None
            break
        pieces.append(body[head.end() : at])
    # A list of numbers looks like chunks, too: those that servers send are longer, or end as they should.
    long = len(body) >= CHUNK_BYTES * len(pieces)
    if pieces and NUMBERS.fullmatch(body) or not (long or ended and strict):
        return body
    if ended:
        return b"".join(pieces)
    # One that nothing ends, or a text breaks off in: rather a text that begins with a number.
    cut = at > len(body) and pieces and _sniffed(pieces[0][:SNIFFED]) == "text/plain"
    return body if not pieces[1:] and (cut or body[at:].strip()) else b"".join([*pieces, body[at:]])


def _decoded(body: bytes, encodings: str, longest: int) -> bytes:
    """Undone as the bytes say, from the outside: pages are packed once, and some twice, whatever is named. Only what cannot
    be told by its bytes must be named; and what is named and not there changes nothing."""
    if body.lstrip(b"\r\n").startswith(PACKED):
        body = body.lstrip(b"\r\n")
    named = {name.strip().lower() for name in encodings.split(",")}
    for _ in range(3):
        if body.startswith(GZIP):
            made = _inflated(body, 31, longest)
        elif body.startswith(ZSTD):
            made = _read(body, lambda file: pa.CompressedInputStream(file, "zstd"), longest)
        elif body.startswith(ZLIB):
            named.discard("deflate")
            made = _inflated(body, 15, longest)
        elif "deflate" in named:
            made = _inflated(body, -15, longest)
        else:
            made = _read(body, _brotli, longest) if "br" in named else b""
        if not made:
            break
        body = made
    if len(body) > longest:
        raise TooLong
    return body


def _inflated(body: bytes, window: int, longest: int) -> bytes:
    """What can be read of it; nothing where it is no such data. Members one behind the other are read as one."""
    made: list[bytes] = []
    while body:
        member = zlib.decompressobj(window)
        left = longest + 1 - sum(map(len, made))
        try:
            made.append(member.decompress(body, left))
        except zlib.error:
            break
        if member.unconsumed_tail or len(made[-1]) >= left:
            raise TooLong
        if window < 0 and (not member.eof or member.unused_data.strip(b"\0\r\n")):
            return b""  # a text that begins as deflated data may
        if not member.eof or window != 31:
            break
        body = member.unused_data
    return b"".join(made)


def _brotli(file: io.BytesIO):
    from fastwarc.stream_io import BrotliReader

    return BrotliReader(file)


def _read(body: bytes, opening: Callable, longest: int) -> bytes:
    """The same, of what is read as a file."""
    made = b""
    with suppress(OSError, ValueError, RuntimeError, pa.ArrowException):
        made = opening(io.BytesIO(body)).read(longest + 1)
    if len(made) > longest:
        raise TooLong
    return made
