"""Formats of papers: pdf. A file is one document: the text of its pages, as PDFium finds it, line by line.

PDFium is quick and reads what others garble, and nothing bounds what it takes but the system: what makes it grow aborts the
process. So it runs in one of its own, which the next file starts anew.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.errors import InputError
from curate.sources.characters import without_surrogates
from curate.sources.formats.format import Format, packed
from curate.sources.formats.pages import Found, reading
from curate.sources.opening import read_at_most
from curate.sources.rows import Input, Problems
from curate.spec.manifest import FOLDER, Source

PDF_BYTES = 256_000_000
PROGRAM = Path(__file__).with_name("pdfium.py")
BOMB, BROKE = (
    ("SIGABRT", "SIGXCPU"),
    ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP"),
)  # by what a file ends it
DATE = re.compile(r"D:(\d{4})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
HYPHEN = "\x02"  # PDFium's, where it has joined two lines
SPLIT = re.compile(rf"(\w+){HYPHEN}(\w+)")
WORD = re.compile(r"\w+(?:-\w+)*")


class _Pdfium:
    """The process, started by the first file and after one that ended it."""

    process: subprocess.Popen | None = None

    def ask(self, raw: bytes, at: str) -> dict[str, Any]:
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        process: Any = self.process or subprocess.Popen([sys.executable, "-P", str(PROGRAM)], **pipes)
        self.process = process
        with suppress(BrokenPipeError):
            process.stdin.write(len(raw).to_bytes(8) + raw)
            process.stdin.flush()
        if (answer := process.stdout.readline()).endswith(b"\n"):
            return json.loads(answer)
        code = process.wait()
        self.close()
        ended = signal.Signals(-code).name if code < 0 else str(code)
        if ended not in BOMB + BROKE:
            raise InputError(
                f"{at}: the process that reads it was ended from outside ({ended}); run it again"
            )
        return {"cause": "bomb" if ended in BOMB else "broken-file", "why": f"it ended PDFium: {ended}"}

    def close(self) -> None:
        if self.process is not None:
            with suppress(BrokenPipeError):
                self.process.communicate()
            self.process = None


def _pdf(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
    pdfium = _Pdfium()

    def documents(source: Source, item: Input, problems: Problems) -> Iterator[Found]:
        raw = read_at_most(item, PDF_BYTES, problems)
        found = {} if raw is None else pdfium.ask(raw, item.name)
        if "cause" in found:
            problems.fail(found["cause"], item.name, found["why"])
        elif found:
            for page in found["broken"]:
                problems.repair("broken-page", f"{item.name}#page={page}", "left out: it cannot be read")
            text = joined("\n".join(filter(None, map(str.strip, found["texts"]))).replace("\r\n", "\n"))
            if text:
                yield item.name, without_surrogates(text, item.name, problems), _about(found)
            else:
                problems.fail("empty", item.name, f"no text, pages: {len(found['texts'])}; scanned or drawn")

    try:
        yield from reading(documents)(source, inputs, problems)
    finally:
        pdfium.close()


def _about(found: dict[str, Any]) -> dict[str, Any]:
    about = {name.lower(): value.strip() or None for name, value in found["about"].items()}
    date = DATE.match(about["creationdate"] or "")
    return about | {"date": "-".join(date.groups()) if date else None, "pages": str(len(found["texts"]))}


def joined(text: str) -> str:
    """Words that ends of lines have split. The hyphen stays where the text writes one in that word more often than none."""
    counts = Counter(WORD.findall(SPLIT.sub(" ", text).lower())) if HYPHEN in text else Counter[str]()

    def whole(found: re.Match) -> str:
        with_hyphen, without = "-".join(found.groups()), "".join(found.groups())
        return with_hyphen if counts[with_hyphen.lower()] > counts[without.lower()] else without

    return SPLIT.sub(whole, text).replace(HYPHEN, "-")


PDF = Format(
    "pdf", _pdf, 6e6, packed("*.pdf"), fields=(("title", "author", "date"), ("pages", "subject", "keywords")),
    requires=("pypdfium2",), group=FOLDER,
)  # fmt: skip
