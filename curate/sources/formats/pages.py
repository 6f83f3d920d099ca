"""Formats of pages: markdown, html.

The main text of a page is what Resiliparse finds: headings, paragraphs and code, without scripts and with little of the
navigation and footers. It was chosen by measuring: six to twelve times as fast as trafilatura on the same pages; for
training, the two were found to be about as good (DCLM, arXiv:2406.11794).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from curate.sources.characters import (
    MARK,
    SAMPLE,
    decoded,
    wide_encoding,
    without_inner_marks,
    without_surrogates,
)
from curate.sources.formats.format import Format, Read
from curate.sources.formats.nesting import excess
from curate.sources.opening import read_at_most
from curate.sources.rows import Input, Problems, Rows
from curate.spec.manifest import FOLDER, Source

HTML_BYTES = 64_000_000  # a page, or a record of an archive, is no longer
FIELD = re.compile(r"([A-Za-z_][\w-]*):[ \t]*(.*)")

Found = tuple[str, str, dict[str, Any]]  # (place, text, fields)


def reading(documents: Callable[[Input, Problems], Iterator[Found]]) -> Read:
    """The reader of a format whose documents come one by one, with fields."""

    def read(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
        rows = Rows(source)
        for item in inputs:
            for place, text, fields in documents(item, problems):
                if source.id and not fields.get(source.id):
                    known = ", ".join(name for name in fields if fields[name])
                    problems.fail("no-id", place, f'no "{source.id}"; it has {known}')
                    continue
                own_id = [fields[source.id]] if source.id else []
                rows.add(place, text, *own_id, *(fields.get(column) for column in source.columns))
                if rows.full():
                    yield rows.table()
        yield rows.table()

    return read


def _markdown(item: Input, problems: Problems) -> Iterator[Found]:
    """The text as it is. Front matter of plain `key: value` lines becomes fields and leaves the text; other stays."""
    raw = read_at_most(item, HTML_BYTES, problems)
    if raw is not None:
        fields, text = front_matter(decoded(raw, item.name, problems))
        yield item.name, text, fields


def front_matter(text: str) -> tuple[dict[str, Any], str]:
    """(fields, what follows them); no fields where the front matter is none, or more than plain lines."""
    lines = text.removeprefix(MARK).split("\n")
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
    raw = read_at_most(item, HTML_BYTES, problems)
    if raw is not None and (extracted := page(raw, None, item.name, problems)):
        yield item.name, *extracted


def page(raw: bytes, charset: str | None, at: str, problems: Problems) -> tuple[str, dict[str, Any]] | None:
    """(main text, title and language) of an HTML page; None where it is more nested than any page, which is counted.

    `charset`: what the server said, else the page, else its bytes.
    """
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    html = characters(raw, charset, at, problems)
    if why := excess(html):
        problems.fail("too-nested", at, why)
        return None
    tree = HTMLTree.parse(html)
    root = tree.document.query_selector("html") if tree.document else None
    fields = {"title": tree.title or None, "language": (root.getattr("lang") or None) if root else None}
    text = extract_plain_text(tree, main_content=True, alt_texts=False)
    return without_surrogates(text, at, problems), fields


def characters(raw: bytes, charset: str | None, at: str, problems: Problems) -> str:
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

    encoding = wide_encoding(raw[:SAMPLE])  # a mark is stronger than what server and page say
    if encoding is None:
        encoding = map_encoding_to_html5(charset) if charset else detect_encoding(raw, from_html_meta=True)
    encoding = encoding or "utf-8"
    try:
        return without_inner_marks(raw.decode(encoding))
    except (UnicodeDecodeError, LookupError) as error:
        problems.repair("broken-encoding", at, str(error))
        return without_inner_marks(bytes_to_str(raw, encoding))


MARKDOWN = Format(
    "markdown", reading(_markdown), 5e7, ("*.md", "*.markdown", "*.md.gz", "*.md.zst"), group=FOLDER,
    peek=lambda item: ({"text": text} | fields for _, text, fields in _markdown(item, Problems())),
)  # fmt: skip
HTML = Format(
    "html", reading(_html), 1.2e7, ("*.html", "*.htm", "*.xhtml", "*.html.gz", "*.htm.gz", "*.html.zst"),
    fields=(("title",), ("language",)), requires=("resiliparse",), group=FOLDER,
)  # fmt: skip
