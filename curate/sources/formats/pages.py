"""Formats of pages: markdown, html.

The main text of a page is what Resiliparse finds in a page that was mended for it; or, where the source asks for that, what
trafilatura finds, which keeps less of what surrounds an article and takes several times as long. For training, the two were
found to be about as good (DCLM, arXiv:2406.11794).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa

from curate.sources.characters import (
    BOM,
    MARK,
    SAMPLE,
    decoded,
    is_binary,
    wide_encoding,
    without_inner_marks,
    without_surrogates,
)
from curate.sources.formats.consent import FIELDS, consent, in_page
from curate.sources.formats.format import Format, Read
from curate.sources.formats.main_text import main_text
from curate.sources.formats.nesting import excess
from curate.sources.opening import read_at_most
from curate.sources.rows import Input, Problems, Rows
from curate.spec.manifest import FOLDER, TRAFILATURA, Source

HTML_BYTES = 64_000_000  # a page, or a record of an archive, is no longer
FIELD = re.compile(r"([A-Za-z_][\w-]*):[ \t]*(.*)")

COMMENT = re.compile(rb"<!--.*?-->", re.S)
NAMED_ENCODING = re.compile(
    rb"(?:<meta\s[^>]*?charset|\A\s*<\?xml\s[^>]*?encoding)\s*=\s*[\"']?\s*([\w.:-]+)", re.I
)
MOST_BROKEN = (
    0.1  # of the characters beyond ASCII: with more of them broken, a page's encoding is another than it says
)
EXTRACTION = 3  # of what a page's text is made of the same bytes: raise it when that changes

Found = tuple[str, str, dict[str, Any]]  # (place, text, fields)


def reading(documents: Callable[[Source, Input, Problems], Iterator[Found]]) -> Read:
    """The reader of a format whose documents come one by one, with fields."""

    def read(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
        rows = Rows(source)
        for item in inputs:
            for place, text, fields in documents(source, item, problems):
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


def _markdown(source: Source | None, item: Input, problems: Problems) -> Iterator[Found]:
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


def _html(source: Source, item: Input, problems: Problems) -> Iterator[Found]:
    raw = read_at_most(item, HTML_BYTES, problems)
    if raw is not None and (extracted := page(raw, None, item.name, problems, source.extract)):
        yield item.name, *extracted


def page(
    raw: bytes, charset: str | None, at: str, problems: Problems, extract: str, url: str | None = None,
    said: Sequence[tuple[str, str]] = (),
) -> tuple[str, dict[str, Any]] | None:  # fmt: skip
    """(main text; title, language, consent) of an HTML page; None where it is too nested, no text or has none: counted.

    `charset`: what the server said; `said`: what its head says of consent. `extract`: by which library, as a source says.
    """
    from resiliparse.parse.html import HTMLTree

    html = characters(raw, charset, at, problems)
    if html is None:
        return None
    if why := excess(html):
        problems.fail("too-nested", at, why)
        return None
    tree = HTMLTree.parse(html)
    root = tree.document.query_selector("html") if tree.document else None
    fields = {"title": tree.title or None, "language": (root.getattr("lang") or None) if root else None}
    fields |= consent([*said, *in_page(tree)])
    text = _by_trafilatura(html) if extract == TRAFILATURA else main_text(tree)
    if not text.strip():
        problems.fail("empty", at, f"no text in {len(raw):,} bytes: {url or fields['title'] or 'no title'}")
        return None
    return without_surrogates(text, at, problems), fields


def _by_trafilatura(html: str) -> str:
    from trafilatura import extract

    return extract(html, fast=True, include_comments=False, include_tables=True) or ""


def characters(raw: bytes, charset: str | None, at: str, problems: Problems) -> str | None:
    """A page's characters; None where it is binary data, which is counted.

    They are read in the encoding that browsers take: by its mark, what the server said, what the page says, else what its
    bytes look like. That is asked too where the bytes are not of the encoding that was named, which is counted.
    """
    from resiliparse.parse.encoding import detect_encoding

    encoding = (
        "utf-8" if raw.startswith(BOM) else wide_encoding(raw[:SAMPLE]) or _known(charset) or _named(raw)
    )
    encoding = encoding or detect_encoding(raw) or "utf-8"
    if not encoding.startswith(("utf-16", "utf-32")) and is_binary(raw):
        problems.fail("not-text", at, f"binary data of {len(raw):,} bytes, whatever its type says")
        return None
    try:
        return without_inner_marks(raw.decode(encoding))
    except (UnicodeDecodeError, LookupError) as error:
        likelier = _likelier(raw, encoding)
        problems.repair("broken-encoding", at, f"{error}; read as {likelier}")
        return without_inner_marks(raw.decode(likelier, "replace"))


def _known(label: str | None) -> str | None:
    """Python's name of an encoding that browsers know by this label."""
    from resiliparse.parse.encoding import map_encoding_to_html5

    return map_encoding_to_html5(label, False) if label else None


def _named(raw: bytes) -> str | None:
    """What the page says. Who can read that it is UTF-16 reads bytes that are not: browsers take UTF-8 then."""
    named = NAMED_ENCODING.search(COMMENT.sub(b"", raw[:SAMPLE]))
    encoding = _known(named[1].decode("latin-1")) if named else None
    return "utf-8" if encoding and encoding.startswith(("utf-16", "utf-32")) else encoding


def _likelier(raw: bytes, encoding: str) -> str:
    """The encoding of bytes that are not all of this one."""
    from resiliparse.parse.encoding import detect_encoding

    with suppress(UnicodeDecodeError):
        raw.decode("utf-8")
        return "utf-8"
    text = raw.decode(encoding, "replace")
    broken, beyond = text.count("\ufffd"), len(text) - len(text.encode("ascii", "ignore"))
    return encoding if broken <= MOST_BROKEN * beyond else detect_encoding(raw) or encoding


MARKDOWN = Format(
    "markdown", reading(_markdown), 5e7, ("*.md", "*.markdown", "*.md.gz", "*.md.zst"), group=FOLDER,
    peek=lambda item: ({"text": text} | fields for _, text, fields in _markdown(None, item, Problems())),
)  # fmt: skip
HTML = Format(
    "html", reading(_html), 1.2e7, ("*.html", "*.htm", "*.xhtml", "*.html.gz", "*.htm.gz", "*.html.zst"),
    fields=(("title",), ("language", *FIELDS)), requires=("resiliparse",), extraction=EXTRACTION, group=FOLDER,
)  # fmt: skip
