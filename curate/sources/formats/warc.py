"""Records of WARC files, one after the other, in memory that a record bounds; damage costs the record that it is in.

A record's length is what its head says, and is believed if the file ends or another record begins behind it. Else the
next record is looked for, and this one counts as failed.
"""

from __future__ import annotations

import re
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from curate.sources.opening import BROKEN, opened, opened_raw
from curate.sources.rows import Input, Problems

KINDS = (
    "warcinfo", "response", "resource", "request", "metadata", "revisit", "conversion", "continuation",
)  # fmt: skip
CHUNK = 1 << 16  # what is left of one is copied at the end of every member
HEAD_BYTES = 1 << 16
LOOK = 256  # bytes behind a record that say whether it ends there
HEAD = re.compile(rb"WARC/\d+\.\d+[ \t]*\r?\n(?=[\w-]+[ \t]*:)")
MARKER = re.compile(rb"(?<=\n)" + HEAD.pattern)
HEAD_END = re.compile(rb"\r?\n\r?\n")
NEWLINES = re.compile(rb"[\r\n]+")
FOLDED = re.compile(rb"\r?\n[ \t]+")
GZIP = b"\x1f\x8b"


@dataclass
class Record:
    """`headers`: names in lower case. `kind`: the WARC-Type."""

    place: str
    kind: str
    headers: dict[str, str]
    block: bytes


class Archive:
    """The bytes of a file as they are unpacked; knows where in the file each gzip member begins."""

    def __init__(self, item: Input, stack: ExitStack, problems: Problems):
        self.item, self.stack, self.problems = item, stack, problems
        self.believed = (
            True  # that long records are as long as they say: to find out costs a pass over the file
        )
        self.damages = 0  # members that were counted as broken, and of which no record was counted
        self.open(0)

    def open(self, offset: int) -> None:
        """Begin again, at a member; `at` is then the place in what is unpacked from there."""
        self.buffer, self.at = bytearray(), 0
        self.members: deque[tuple[int, int]] = deque()  # (place in what is unpacked, place in the file)
        self.ended = False
        file = self.stack.enter_context(opened_raw(self.item))
        if offset or file.peek(2)[:2] == GZIP:
            self.pieces = self._members(file, offset)
        else:
            unpacked = self.stack.enter_context(opened(self.item))
            self.pieces = iter(lambda: unpacked.read(CHUNK), b"")

    def _members(self, file: Any, offset: int) -> Iterator[bytes]:
        """What they hold, one by one. What is damaged is counted, and the next member is looked for."""
        if offset:
            file.seek(offset)
        data, end = b"", offset  # what is read and not unpacked; place in the file of what is read next
        while True:
            data = data.lstrip(b"\0")  # tapes and some servers fill up with these
            if not data:
                data = file.read(CHUNK)
                end += len(data)
                if not data:
                    return
                continue
            begin = end - len(data)
            self.members.append((self.at + len(self.buffer), begin))
            member = zlib.decompressobj(31)
            try:
                while not member.eof:
                    yield member.decompress(data, CHUNK)
                    data = member.unconsumed_tail or member.unused_data
                    if not data and not member.eof:
                        data = file.read(CHUNK)
                        end += len(data)
                        if not data:
                            raise EOFError("it ends within a member")
            except (zlib.error, EOFError) as error:
                self.problems.fail("broken-file", f"{self.item.name}:{begin}", f"a broken member: {error}")
                self.damages += self.at + len(self.buffer) > self.members[-1][0]  # a record has begun
                file.seek(begin + 1)
                data, end = b"", begin + 1
                while GZIP + b"\x08" not in data and (more := file.read(CHUNK)):
                    data, end = data[-2:] + more, end + len(more)
                data = data[data.find(GZIP + b"\x08") :] if GZIP + b"\x08" in data else b""

    def fill(self, size: int) -> int:
        """Unpack until so many bytes are there. Returns how many are."""
        while len(self.buffer) < size and not self.ended:
            piece = next(self.pieces, None)
            self.ended = piece is None
            self.buffer += piece or b""
        return len(self.buffer)

    def drop(self, size: int) -> None:
        """The first bytes are done with."""
        del self.buffer[:size]
        self.at += size
        while len(self.members) > 1 and self.members[1][0] <= self.at:
            self.members.popleft()

    def where(self) -> tuple[int, int]:
        """(place in the file of the member that the first byte is in, bytes of what is unpacked before it)."""
        unpacked, begin = self.members[0] if self.members else (0, 0)
        return begin, self.at - unpacked

    def skip(self, size: int) -> bool:
        """Whether there are so many bytes; they are done with."""
        while size and self.fill(1):
            step = min(size, len(self.buffer))
            self.drop(step)
            size -= step
        return not size

    def next_record(self) -> bool:
        """Go on to the next place behind this where a record begins. Whether there is one."""
        begin = 1
        while True:
            marker = MARKER.search(self.buffer, begin)
            places = [marker.start()] if marker else []
            places += [
                u - self.at for u, _ in self.members if u - self.at >= begin and self._is_head(u - self.at)
            ]
            if places:
                self.drop(min(places))
                return True
            if self.ended:
                return False
            keep = min(len(self.buffer) - 1, LOOK)
            self.drop(len(self.buffer) - keep - 1)
            begin = 1
            self.fill(len(self.buffer) + CHUNK)

    def _is_head(self, position: int) -> bool:
        return HEAD.match(self.buffer, position) is not None


def records(item: Input, kind: str, longest: int, problems: Problems) -> Iterator[Record]:
    """Those of one kind. What is no record, of a kind that does not exist, too long or cut short is counted."""
    place = f"{item.name}:0"
    with ExitStack() as stack:
        try:
            archive = Archive(item, stack, problems)
            while archive.fill(HEAD_BYTES):
                if newlines := NEWLINES.match(archive.buffer):
                    archive.drop(newlines.end())
                    continue
                begin, inside = archive.where()
                packed = bool(archive.members)
                place = (
                    f"{item.name}:{begin}+{inside}" if packed and inside else f"{item.name}:{begin + inside}"
                )
                record = _record(archive, place, longest)
                if record is None:
                    if not archive.next_record():
                        return
                elif record.kind == kind:
                    yield record
        except BROKEN as error:
            problems.fail("broken-file", place, f"at or behind this place: {error}")


def _record(archive: Archive, place: str, longest: int) -> Record | None:
    """The record that begins here, done with; None where it is damaged, which is counted, and its end not known."""
    fail = archive.problems.fail
    end = HEAD_END.search(archive.buffer, 0, HEAD_BYTES)
    if not end or not HEAD.match(archive.buffer):
        return _broken(archive, "broken-file", place, "no record begins here, or its head does not end")
    headers = head_fields(bytes(archive.buffer[: end.end()]))
    length = headers.get("content-length", "")
    if not length.isascii() or not length.isdigit():
        return _broken(archive, "broken-record", place, f'Content-Length "{length}"')
    size, kind = int(length), headers.get("warc-type", "").lower()
    record = Record(place, kind, headers, b"")
    restart = archive.where()
    archive.drop(end.end())
    if size > longest:
        if archive.believed and archive.skip(size) and _ends(archive, 0, place):
            fail("too-long", place, f"a record of {size:,} bytes")
            return Record(place, "", headers, b"")
        if archive.believed:
            archive.open(restart[0])
            archive.skip(restart[1] + end.end())
            archive.believed = False
        return _broken(archive, "wrong-length", place, f"Content-Length {size:,}, and no record ends there")
    if archive.fill(size + LOOK) < size or not _ends(archive, size, place):
        cut = archive.ended and len(archive.buffer) < size and not MARKER.search(archive.buffer)
        cause = "cut-short" if cut else "wrong-length"
        return _broken(archive, cause, place, f"{len(archive.buffer):,} of {size:,} bytes" if cut
                       else f"Content-Length {size:,}, and no record ends there")  # fmt: skip
    if kind not in KINDS:
        fail("unknown-type", place, f'a record of WARC-Type "{kind}"')
    record.block = bytes(memoryview(archive.buffer)[:size])
    archive.drop(size)
    return record


def _count(archive: Archive, cause: str, place: str, why: str) -> None:
    """Count it, if the member that it is in was not counted as broken."""
    if archive.damages:
        archive.damages -= 1
    else:
        archive.problems.fail(cause, place, why)


def _broken(archive: Archive, cause: str, place: str, why: str) -> Record | None:
    _count(archive, cause, place, why)
    return None


def _ends(archive: Archive, size: int, place: str) -> bool:
    """Whether a record may end here: another begins, or nothing is left."""
    archive.fill(size + LOOK)
    behind = NEWLINES.match(archive.buffer, size)
    end = behind.end() if behind else size
    if any(unpacked == archive.at + end for unpacked, _ in archive.members):
        return True
    if end < len(archive.buffer):
        return b"WARC/".startswith(archive.buffer[end : end + 5])
    if archive.ended and (behind is None or behind[0].count(b"\n") < 2):
        _count(archive, "broken-file", place, "it breaks off behind the record at this place")
    return archive.ended


def head_fields(head: bytes) -> dict[str, str]:
    """{name in lower case: value} of the lines below the first; of a name given twice the first. Folded lines are joined."""
    fields: dict[str, str] = {}
    for line in FOLDED.sub(b" ", head).decode("utf-8", "replace").split("\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
    return fields
