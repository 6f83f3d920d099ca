"""Formats of books: epub, an archive of pages and the order in which they are read. A book is one document."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree
from zlib import error as ZlibError

from curate.sources.characters import without_surrogates
from curate.sources.formats.format import Format
from curate.sources.formats.main_text import extracted
from curate.sources.formats.nesting import excess
from curate.sources.formats.pages import EXTRACTION, HTML_BYTES, Found, characters, reading
from curate.sources.opening import BROKEN, opened_raw
from curate.sources.rows import Input, Problems
from curate.spec.manifest import FOLDER, Source

BOOK_BYTES = 500_000_000  # of an archive with its pictures
XML_BYTES = 16_000_000  # of what lists its pages
CONTAINER, LOCKED = "META-INF/container.xml", "META-INF/encryption.xml"
FIELDS = ("title", "creator", "language", "publisher", "date", "identifier", "rights")  # Dublin Core
BAD = (
    *BROKEN,
    zipfile.BadZipFile,
    ZlibError,
    ElementTree.ParseError,
    KeyError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


def _epub(source: Source, item: Input, problems: Problems) -> Iterator[Found]:
    with opened_raw(item) as file:
        raw = file.read(BOOK_BYTES + 1)
    if len(raw) > BOOK_BYTES:
        problems.fail("too-long", item.name, f"over {BOOK_BYTES:,} bytes")
        return
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as book:
            fields, pages = _contents(book)
            chapters = [_chapter(book, page, item.name, problems) for page in pages]
    except BAD as error:
        problems.fail("broken-file", item.name, str(error.args[0] if len(error.args) == 1 else error))
        return
    text = "\n\n".join(filter(None, chapters))
    if not text:
        problems.fail("empty", item.name, f"no text in {len(pages)} pages: {fields.get('title')}")
        return
    yield item.name, text, fields


def _contents(book: zipfile.ZipFile) -> tuple[dict[str, Any], list[str]]:
    """(what it says of itself, the names of its pages in the order of reading). Raises one of BAD."""
    locked = LOCKED in book.namelist() and b"EncryptedData" in _read(book, LOCKED, XML_BYTES)
    if locked and b"idpf.org/2008/embedding" not in _read(book, LOCKED, XML_BYTES):  # which only hides fonts
        raise ValueError("it is encrypted")
    container = ElementTree.fromstring(_read(book, CONTAINER, XML_BYTES))
    root = "".join([e.get("full-path", "") for e in container.iter() if _tag(e) == "rootfile"][:1])
    package = ElementTree.fromstring(_read(book, root, XML_BYTES))
    fields, files, order = dict[str, Any](), dict[str, str](), list[str]()
    for element in package.iter():
        tag = _tag(element)
        if tag in FIELDS and (element.text or "").strip():
            fields.setdefault(tag, (element.text or "").strip())
        elif tag == "item" and "html" in element.get("media-type", ""):
            href = unquote(element.get("href", ""))
            files[element.get("id", "")] = posixpath.normpath(posixpath.join(posixpath.dirname(root), href))
        elif tag == "itemref":
            order.append(element.get("idref", ""))
    pages = dict.fromkeys(files[name] for name in order if name in files)
    if sum(entry.file_size for entry in book.infolist() if entry.filename in pages) > BOOK_BYTES:
        raise ValueError(f"its pages have over {BOOK_BYTES:,} bytes")
    return fields, list(pages)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _read(book: zipfile.ZipFile, name: str, most: int) -> bytes:
    with book.open(name) as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise ValueError(f"{name} has over {most:,} bytes")
    return raw


def _chapter(book: zipfile.ZipFile, name: str, place: str, problems: Problems) -> str:
    """All text of a page of a book, which has nothing around it."""
    from resiliparse.parse.html import HTMLTree

    at = f"{place}::{name}"
    try:
        html = characters(_read(book, name, HTML_BYTES), None, at, problems)
    except KeyError:
        problems.fail("broken-file", at, "the book lists it, and has it not")
        return ""
    if html is None:
        return ""
    if why := excess(html):
        problems.fail("too-nested", at, why)
        return ""
    return without_surrogates(extracted(HTMLTree.parse(html), (), main_content=False), at, problems).strip()


EPUB = Format(
    "epub", reading(_epub), 5e6, ("*.epub",), fields=(("title", "creator", "language"), FIELDS[3:]),
    requires=("resiliparse",), extraction=EXTRACTION, group=FOLDER,
)  # fmt: skip
