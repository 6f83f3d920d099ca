"""What a format is: one entry beside its reader, and no other place knows its name.

A reader yields tables of `place`, `text` and the source's declared columns (and `own_id` where the source has ids).
What cannot become a document is told to `Problems` with its cause and place; text whose bytes are not UTF-8 is repaired
with U+FFFD, counted, and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import pyarrow as pa

from curate.errors import InputError
from curate.sources.rows import Input, Problems
from curate.spec.manifest import TRAFILATURA, Source

EXTRAS = {
    TRAFILATURA: TRAFILATURA,
    "mwparserfromhell": "wiki",
    "pylatexenc": "papers",
    "pypdfium2": "papers",
}  # library -> what is installed with it, if not web
PACKED = ("", ".gz", ".zst", ".bz2", ".lz4", ".xz")

Read = Callable[[Source, Iterable[Input], Problems], Iterator[pa.Table]]


@dataclass(frozen=True)
class Format:
    """`include`: globs of its files below a folder. `fields`: those that are carried along where the source names none,
    then the others that it has; None: whatever its rows hold. `requires`: libraries of an extra that decide what
    it makes of the same bytes. `extraction`: the version of how it finds the text of pages; 0: it looks for none.
    `bytes_per_second`: of input that a core reads, roughly. `check`: raises NoInput where a file lacks what the source asks
    for, before anything is read. `group`: what a holdout keeps together where files are documents. `peek`: some rows of a
    file as plain values, where these say which fields there are."""

    name: str
    read: Read
    bytes_per_second: float
    include: tuple[str, ...] = ("*",)
    fields: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    requires: tuple[str, ...] = ()
    extraction: int = 0
    check: Callable[[Source, Input], object] = lambda source, item: None
    group: str | None = None
    peek: Callable[[Input], Iterator[dict]] | None = None
    whole: bool = False

    def libraries(self, source: Source) -> dict[str, str]:
        """{library: version}; raises InputError where one is missing."""
        names = [*self.requires, *([TRAFILATURA] if source.extract == TRAFILATURA else [])]
        try:
            return {name: version(name) for name in names}
        except PackageNotFoundError as error:
            hint = f'pip install "curate-lm[{extra_of(error.name)}]"'
            raise InputError(f'format "{self.name}" needs {error.name}: {hint}') from None

    def made_by(self, source: Source) -> list:
        """What decides, beside the source and its bytes, what is made of them: part of the key."""
        found = self.libraries(source)
        return [*([found] if found else []), *([self.extraction] if self.extraction else [])]

    def missing(self) -> list[str]:
        return [name for name in self.requires if find_spec(name) is None]


def extra_of(library: str) -> str:
    return EXTRAS.get(library, "web")


def packed(*patterns: str) -> tuple[str, ...]:
    """These globs, and the same for compressed files."""
    return tuple(pattern + ending for pattern in patterns for ending in PACKED)
