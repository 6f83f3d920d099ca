"""Files opened: packed ones by what they begin with, whatever their names say, and never more of them than is asked for.

What is packed may be a thousand times as large: nothing here or in a reader asks for all of it at once.
"""

from __future__ import annotations

import io
import lzma
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from curate.errors import InputError
from curate.sources.characters import BOM, SAMPLE, AsUtf8, wide_encoding
from curate.sources.rows import Input, Problems, printable

BROKEN = (OSError, EOFError, lzma.LZMAError, zlib.error, pa.ArrowException)  # what a damaged file raises
STEP = 4096
PACKED = (
    (re.compile(rb"\x1f\x8b"), "gzip"),
    (re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), "zstd"),
    (re.compile(rb"BZh[1-9](1AY&SY|\x17\x72\x45\x38\x50\x90)"), "bz2"),
    (re.compile(rb"\xfd7zXZ\0"), "xz"),
    (re.compile(rb"\x04\x22\x4d\x18"), "lz4"),
)
FOREIGN = (  # what no reader of text can read, and what to do
    (re.compile(rb"PK\x03\x04"), "a zip archive: let its name end in .zip"),
    (re.compile(rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07"), "an archive: unpack it"),
    (re.compile(rb".{257}ustar(\0|  \0)", re.S), "a tar archive: let its name end in .tar, or .tar.gz"),
    (
        re.compile(rb"\x1f[\x9d\xa0]|\x5d\0\0..(\xff{8}|.{5}\0{3})|\xff\x06\0\0sNaPpY|x[\x01\x9c\xda]", re.S),
        "packed in a way that is not known: pack it with gzip, zstd, xz, bz2 or lz4",
    ),
    (re.compile(rb"PAR1\x15"), 'a Parquet file: format = "parquet"'),
    (re.compile(rb"ARROW1\0\0"), 'an Arrow file: format = "arrow"'),
)


@contextmanager
def opened(item: Input) -> Iterator[io.BufferedReader]:
    """The file's bytes, unpacked. Raises InputError where it cannot be opened, an error of BROKEN where it is no text."""
    with opened_raw(item) as raw, unpacked(item, raw) as file:
        begin = file.peek(SAMPLE)
        for pattern, what in FOREIGN:
            if pattern.match(begin):
                raise OSError(what)
        if file is not raw and any(pattern.match(begin) for pattern, _ in PACKED):
            raise OSError("packed twice: unpack it once")
        yield file


def opened_raw(item: Input) -> Any:
    if item.opener:
        return item.opener()
    try:
        if "://" not in item.url:
            return open(item.url, "rb", buffering=1 << 16)
        import fsspec

        return io.BufferedReader(pa.PythonFile(fsspec.open(item.url, "rb").open(), mode="r"), 1 << 16)
    except (OSError, ImportError) as error:
        raise InputError(f"{printable(item.url)}: cannot be opened: {error}") from error


def unpacked(item: Input, raw: io.BufferedReader) -> io.BufferedReader:
    begin = raw.peek(SAMPLE)
    for pattern, compression in PACKED:
        if pattern.match(begin):
            return io.BufferedReader(_Unpacked(item, raw, compression), 1 << 16)
    return raw


class _Unpacked(io.RawIOBase):
    """A packed file up to where it is damaged. Of a read that fails, what it had unpacked is lost: so the file is opened
    once more, and read byte by byte from where the last good read ended."""

    def __init__(self, item: Input, raw: io.BufferedReader, compression: str):
        self.item, self.compression = item, compression
        self.at, self.step = 0, STEP
        self.start(raw)

    def start(self, raw: io.BufferedReader) -> None:
        self.raw = raw
        self.stream: Any = (
            _Xz(raw)
            if self.compression == "xz"
            else pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), self.compression)
        )

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        try:
            data = self.stream.read(min(len(buffer), self.step))
        except BROKEN:
            if self.step == 1:
                raise
            self.raw.close()
            self.start(opened_raw(self.item))
            left = self.at
            while left:
                left -= len(self.stream.read(min(left, STEP)))
            self.step = 1
            return self.readinto(buffer)
        self.at += len(data)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.raw.close()
        super().close()


class _Xz:
    """Streams one behind the other, whatever zeros are between them: Python's own reader ends at those, and says nothing."""

    def __init__(self, raw: io.BufferedReader):
        self.raw, self.data, self.stream = raw, b"", lzma.LZMADecompressor(lzma.FORMAT_XZ)

    def read(self, size: int) -> bytes:
        made = b""
        while not made:
            if not self.data and (self.stream.eof or self.stream.needs_input):
                self.data = self.raw.read(STEP)
                if not self.data and not self.stream.eof:
                    raise EOFError("it ends within a stream")
                if not self.data:
                    break
            if not self.stream.eof:
                made = self.stream.decompress(self.data, size)
                self.data = self.stream.unused_data
            elif data := self.data.lstrip(b"\0"):
                self.data, self.stream = data, lzma.LZMADecompressor(lzma.FORMAT_XZ)
            else:
                self.data = b""
        return made


@contextmanager
def opened_text(item: Input) -> Iterator[io.BufferedReader]:
    """The same as UTF-8, where it was another encoding of Unicode."""
    with opened(item) as file:
        encoding = wide_encoding(file.peek(SAMPLE)[:SAMPLE])
        yield io.BufferedReader(AsUtf8(file, encoding), 1 << 16) if encoding else file


def read_at_most(item: Input, size: int, problems: Problems) -> bytes | None:
    """The whole file; None where it is broken or longer, which is counted."""
    try:
        with opened(item) as file:
            raw = file.read(size + 1)
    except BROKEN as error:
        problems.fail("broken-file", item.name, str(error))
        return None
    if len(raw) > size:
        problems.fail("too-long", item.name, f"over {size:,} bytes")
        return None
    return raw


def lines(item: Input, longest: int, problems: Problems) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, its bytes). A file that breaks off keeps the lines before the break."""
    number = 0
    try:
        with opened_text(item) as file:
            for number, line in lines_of(file, item.name, longest, problems):
                yield number, line
    except BROKEN as error:
        problems.fail("broken-file", f"{item.name}:{number + 1}", str(error))


def lines_of(
    file: io.BufferedReader, name: str, longest: int, problems: Problems
) -> Iterator[tuple[int, bytes]]:
    """The same of an open file. A longer line is passed over without holding it, and counted."""
    number = 0
    while line := file.readline(longest + 1):
        number += 1
        if len(line) > longest and not line.endswith(b"\n"):
            problems.fail("too-long", f"{name}:{number}", f"a line of over {longest:,} bytes")
            while (rest := file.readline(1 << 20)) and not rest.endswith(b"\n"):
                pass
            continue
        while line.startswith(BOM):
            line = line[len(BOM) :]
        yield number, line
