"""Archives of files, tar (packed or not) and zip: their members in the archive's order, each a file named ARCHIVE!MEMBER.

Nothing is unpacked to the disk, and no name in an archive is used as a path. A member of a packed tar is read once, where
it stands. What cannot be read is counted: links, names that lead out of the archive, encrypted and damaged members, and what
is made to grow (members that share bytes, holes, huge headers).
"""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import xxhash

from curate.sources.formats import FORMATS
from curate.sources.inputs import LEAVINGS, wanted_by
from curate.sources.opening import BROKEN, opened_raw, unpacked
from curate.sources.rows import Input, Problems, printable
from curate.spec.manifest import Source

VERSION = 1
ARCHIVE = re.compile(r".*\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|zst|bz2|xz|lz4))", re.I | re.S)
REFUSED = (*BROKEN, tarfile.TarError, zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError)
HEADER_BYTES = 1_000_000  # of a long name, or of what else stands before a member of a tar
OUTSIDE = re.compile(r"[/\\]|[A-Za-z]:|(.*[/\\])?\.\.([/\\]|$)", re.S)

Member = tuple[str, int, str, Callable[[], Any]]  # name, bytes, why it is not read or "", what opens it


def is_archive(source: Source, item: Input) -> bool:
    return not FORMATS[source.format].whole and bool(ARCHIVE.fullmatch(item.name))


def members(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[Input]:
    """The files, and in the place of an archive those in it that a folder would give."""
    own = tuple(glob for glob in source.include if not ARCHIVE.fullmatch(glob))
    wanted, hidden = wanted_by(replace(source, include=own), None)
    for item in inputs:
        if not is_archive(source, item):
            yield item
            continue
        seen: dict[int, int] = {}  # by a hash of the name: a tar may hold a file once more
        try:
            for name, size, why, opener in _members(item):
                within = "archive-in-archive" if ARCHIVE.fullmatch(name) and not source.include else ""
                if not wanted(name.lstrip("/")) and not within:
                    continue
                leaving = not hidden and any(map(LEAVINGS.fullmatch, name.split("/")))
                known = xxhash.xxh3_64_intdigest(name.encode("utf-8", "replace"))
                seen[known] = seen.get(known, 0) + 1
                at = f"{item.name}!{printable(name)}" + (f"#{seen[known]}" if seen[known] > 1 else "")
                if why := "outside" if OUTSIDE.match(name) else "hidden" if leaving else why or within:
                    problems.fail(why, at, "of an archive, a member that is not read")
                else:
                    yield replace(item, name=at, size=size, opener=partial(_reading, opener))
        except REFUSED as error:
            problems.fail("broken-file", item.name, str(error) or type(error).__name__)


def first(source: Source, item: Input) -> Input:
    """The first member of an archive; any other file, and an archive without one, as it is."""
    return next(members(source, [item], Problems()), item)


def _members(item: Input) -> Iterator[Member]:
    """Raises one of REFUSED where the archive breaks off."""
    with opened_raw(item) as raw:
        if item.name.lower().endswith(".zip"):
            yield from _of_zip(raw, item.size)
        else:
            file = unpacked(item, raw)
            yield from _of_tar(file, "r:" if file is raw else "r|")


def _of_zip(raw: Any, size: int) -> Iterator[Member]:
    with zipfile.ZipFile(raw) as archive:
        packed, at = 0, Counter(info.header_offset for info in archive.infolist())
        for info in archive.infolist():
            packed += info.compress_size
            is_link = info.create_system == 3 and info.external_attr >> 28 == 0xA
            why = "encrypted" if info.flag_bits & 1 else "link" if is_link else ""
            why = "bomb" if at[info.header_offset] > 1 or packed > size else why
            if not info.is_dir():
                yield info.filename, info.file_size, why, partial(archive.open, info)


def _of_tar(file: Any, mode: Any) -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode=mode, tarinfo=_Header) as archive:
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # else it remembers all
            why = "link" if info.issym() or info.islnk() else "bomb" if info.issparse() else ""
            why = why or ("" if info.isreg() else "not-a-file")
            if not info.isdir():
                yield info.name.removeprefix("./"), info.size, why, partial(_InTar, archive.fileobj, info)


def _reading(opener: Callable[[], Any]) -> io.BufferedReader:
    return io.BufferedReader(_Reading(opener), 1 << 16)


class _Reading(io.RawIOBase):
    """A member, whose errors are those of any damaged file."""

    def __init__(self, opener: Callable[[], Any]) -> None:
        self.opener, self.file = opener, None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            self.file = self.file or self.opener()
            data = self.file.read1(len(buffer))  # type: ignore[attr-defined]  # what stands before a break
        except REFUSED as error:
            raise OSError(str(error) or type(error).__name__) from None
        buffer[: len(data)] = data
        return len(data)


class _InTar:
    """As the library's own, which gives nothing of a read that goes over the end of a broken archive."""

    def __init__(self, stream: Any, info: tarfile.TarInfo) -> None:
        self.stream, self.at, self.left = stream, info.offset_data, info.size

    def read1(self, size: int) -> bytes:
        self.stream.seek(self.at)
        data = self.stream.read(min(size, self.left))
        if self.left and not data:
            raise OSError("the archive breaks off")
        self.at, self.left = self.at + len(data), self.left - len(data)
        return data


class _Header(tarfile.TarInfo):
    """The library takes a damaged header for the end, and believes what a header says of its own size."""

    def _proc_member(self, archive: Any) -> Any:
        if self.type in b"xXgLK" and self.size > HEADER_BYTES:
            raise OSError(f"a header of {self.size:,} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]

    @classmethod
    def fromtarfile(cls, archive: Any) -> Any:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # two blocks of zeros: the end
            raise
        except tarfile.HeaderError as error:
            raise OSError(f"it breaks off at byte {archive.offset:,}: {error}") from None
