"""Formats of letters: mail, in mbox files or a message a file (`.eml`, a maildir). Read by Python's own parser.

The text of a message is its plain part, else the main text of its HTML. Attachments are no part of it. What stands in the
headers is a field where a source names it, so `from` and `to` go along only if they are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart
from email.utils import parsedate_to_datetime
from io import BufferedReader
from typing import Any

from curate.sources.characters import decoded, without_surrogates
from curate.sources.formats.format import Format, packed
from curate.sources.formats.pages import EXTRACTION, Found, page, reading
from curate.sources.opening import BROKEN, opened
from curate.sources.rows import Input, Problems
from curate.spec.manifest import Source

MAIL_BYTES = 64_000_000  # a message is no longer, attachments and all
MAIL_LINES = 2_000_000  # where those are written in lines as they are by every program
HEAD_BYTES = 1_000_000
NEXT = re.compile(rb"^[ \t\r]*\n(?=From )", re.M)
MANY = re.compile(
    rb"^content-[a-z-]+:(?:(?:[^;\n]|\n[ \t])*+;){300}", re.I | re.M
)  # the parser's time grows with their square
QUOTED_FROM = re.compile(rb"^>+From ")
FIELDS = ("subject", "date", "message-id", "list-id", "from", "to", "reply-to", "in-reply-to")


def _mail(source: Source, item: Input, problems: Problems) -> Iterator[Found]:
    for place, raw in _messages(item, problems):
        if MANY.search(raw):
            problems.fail("not-a-message", place, "a header has hundreds of parameters")
            continue
        try:
            message = message_from_bytes(raw, EmailMessage, policy=policy.default)
        except RecursionError:
            problems.fail("not-a-message", place, "its parts nest too deeply")
            continue
        except Exception as error:  # what malformed ones raise is not said anywhere
            problems.fail("not-a-message", place, f"{type(error).__name__}: {error}")
            continue
        assert isinstance(message, EmailMessage)
        text = _text(source, message, place, problems)
        if text is not None:
            yield place, text, {name: _header(message, name) for name in FIELDS}


def _messages(item: Input, problems: Problems) -> Iterator[tuple[str, bytes]]:
    """(place, bytes) of each message: of an mbox those that a "From " line behind a blank one begins, else the file."""
    held, lines, number, begin = bytearray(), 0, 0, 1
    is_mbox, before, in_head, too_much = False, b"\n", True, ""
    try:
        with opened(item) as file:
            while line := _passed_over(file) if too_much else file.readline(1 << 16):
                if line.startswith(b"From ") and not before.strip() and (is_mbox or not number):
                    yield from _whole(f"{item.name}:{begin}", held, too_much, problems)
                    is_mbox, begin, held = True, number + 1, bytearray()
                    lines, in_head, too_much = 0, True, ""
                elif not too_much:
                    held += line[1:] if is_mbox and QUOTED_FROM.match(line) else line
                    lines, in_head = lines + 1, in_head and bool(line.strip())
                    counts = ((len(held), MAIL_BYTES, "bytes"), (lines, MAIL_LINES, "lines"),
                              (len(held) * in_head, HEAD_BYTES, "bytes of head"))  # fmt: skip
                    too_much = next((f"over {most:,} {of}" for count, most, of in counts if count > most), "")
                number += max(1, line.count(b"\n"))
                before = line[line.rfind(b"\n", 0, -1) + 1 :]
    except BROKEN as error:
        problems.fail("broken-file", f"{item.name}:{number + 1}", str(error))
        return  # where it breaks off nobody knows what the message says
    yield from _whole(f"{item.name}:{begin}" if is_mbox else item.name, held, too_much, problems)


def _passed_over(file: BufferedReader) -> bytes:
    """Of a message that is too much: a block of lines, up to where another may begin."""
    ahead = file.peek(1 << 16)
    if ahead.startswith(b"From ") or not ahead:
        return file.readline(1 << 16)
    end = NEXT.search(ahead)
    return file.read(end.end()) if end else file.read(len(ahead)) + file.readline(1 << 16)


def _whole(place: str, held: bytearray, too_much: str, problems: Problems) -> Iterator[tuple[str, bytes]]:
    if too_much:
        problems.fail("too-long", place, too_much)
    elif held:
        yield place, bytes(held)


def _text(source: Source, message: EmailMessage, place: str, problems: Problems) -> str | None:
    """None where there is none, which is counted."""
    try:
        body = message.get_body(("plain", "html"))
        content = body.get_payload(decode=True) if body is not None else None
    except Exception as error:  # what parts of a malformed message raise is not said anywhere
        problems.fail("not-a-message", place, f"{type(error).__name__}: {error}")
        return None
    if body is None or not isinstance(content, bytes):
        problems.fail("empty", place, f"no text in a message of {message.get_content_type()}")
        return None
    charset = _charset(body)
    if body.get_content_type() == "text/html":
        found = page(content, charset, place, problems, source.extract)
        return found[0] if found else None
    return without_surrogates(characters_as(content, charset, place, problems), place, problems)


def _charset(part: MIMEPart) -> str | None:
    try:
        return part.get_content_charset()
    except (ValueError, LookupError, AttributeError):
        return None


def characters_as(raw: bytes, charset: str | None, place: str, problems: Problems) -> str:
    """As the message says that it is written; where that is not so, as UTF-8, else as Windows wrote, which is counted."""
    for encoding in (charset, "utf-8"):
        try:
            return raw.decode(encoding or "utf-8").replace("\r\n", "\n")
        except (UnicodeDecodeError, LookupError, ValueError) as error:
            why = str(error)
    try:
        text = raw.decode("cp1252").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return decoded(raw, place, problems)
    problems.repair("broken-encoding", place, f"{why}; read as cp1252")
    return text


def _header(message: EmailMessage, name: str) -> Any:
    """None where it is missing, or is none; a date as ISO 8601 writes it."""
    try:
        value = message[name]
        if value is None:
            return None
        found = (
            parsedate_to_datetime(str(value)).isoformat() if name == "date" else " ".join(str(value).split())
        )
    except Exception:  # what malformed headers raise is not said anywhere
        return None
    return found.encode("utf-8", "replace").decode() or None


MAIL = Format(
    "mail", reading(_mail), 2e7, (*packed("*.mbox", "*.mbx", "*.eml"), "mbox", "**/cur/*", "**/new/*"),
    fields=(("subject", "date"), FIELDS[2:]), requires=("resiliparse",), extraction=EXTRACTION,
)  # fmt: skip
