"""Formats of crawls: warc, wet, robots. Memory is bounded by the largest record that is let in (HTML_BYTES).

What an archive holds besides responses (of a WARC) and conversions (of a WET), such as requests and metadata, tells
of documents and is none. A place is FILE:OFFSET, where the record begins in the file, as indexes of crawls count; of
records that share a gzip member, FILE:OFFSET+BYTES into what that holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from curate.sources.characters import decoded
from curate.sources.formats.consent import FIELDS, consent, in_head
from curate.sources.formats.format import Format
from curate.sources.formats.pages import EXTRACTION, HTML_BYTES, Found, characters, page, reading
from curate.sources.formats.responses import Response, TooLong, parse
from curate.sources.formats.warc import Record, records
from curate.sources.rows import Input, Problems
from curate.spec.manifest import ANSWER, Source

ROBOTS_TXT = re.compile(r"https?://[^/]+/robots\.txt", re.I)
ROBOTS_BYTES = 512_000  # of it that are read: as many as robots have to (RFC 9309)
HTML_TYPES = ("text/html", "application/xhtml+xml")


def _about(record: Record) -> dict[str, Any]:
    header = record.headers.get
    url = header("warc-target-uri")
    return {"url": url and url.strip("<>"), "date": header("warc-date"), "record": header("warc-record-id")}


def _responses(item: Input, problems: Problems) -> Iterator[tuple[str, dict[str, Any], Response]]:
    """(place, fields, answer) of each; what is none is counted."""
    for record in records(item, "response", HTML_BYTES, problems):
        fields, place = _about(record), record.place
        try:
            response = parse(record.block, HTML_BYTES)
        except TooLong:
            problems.fail("too-long", place, f"a body of over {HTML_BYTES:,} bytes: {fields['url']}")
            continue
        if response is None:
            problems.fail("not-http", place, str(fields["url"]))
            continue
        yield place, fields | {"status": str(response.status)}, response


def _warc(source: Source, item: Input, problems: Problems) -> Iterator[Found]:
    """Responses that are pages. Errors, redirects and other types of content are counted by cause."""
    for place, fields, response in _responses(item, problems):
        said = in_head(response.head)
        if not 200 <= response.status < 300:
            problems.fail("http-error", place, f"status {response.status}: {fields['url']}")
        elif response.type in HTML_TYPES:
            how = source.extract, fields["url"], said
            if extracted := page(response.body, response.charset, place, problems, *how):
                yield place, extracted[0], fields | extracted[1]
        elif response.type == "text/plain":
            text = characters(response.body, response.charset, place, problems)
            if text is not None:
                yield place, text, fields | consent(said)
        else:
            problems.fail("not-a-page", place, f"{response.type or 'no content type'}: {fields['url']}")


def _robots(source: Source, item: Input, problems: Problems) -> Iterator[Found]:
    """Answers of robots.txt among all others. Where a host has none, which allows everything, a comment says so."""
    for place, fields, response in _responses(item, problems):
        if not ROBOTS_TXT.fullmatch(fields["url"] or ""):
            continue
        if response.status // 100 in (2, 4):
            found = response.status // 100 == 2 and response.body[:ROBOTS_BYTES].strip()
            yield place, decoded(found or f"# status {response.status}".encode(), place, problems), fields
        else:
            problems.fail("http-error", place, f"status {response.status}: {fields['url']}")


def _wet(source: Source, item: Input, problems: Problems) -> Iterator[Found]:
    """Text that a crawl has extracted already."""
    for record in records(item, "conversion", HTML_BYTES, problems):
        language = record.headers.get("warc-identified-content-language")
        text = decoded(record.block, record.place, problems)
        yield record.place, text, _about(record) | {"language": language}


WARC = Format(
    "warc", reading(_warc), 1e7, ("*.warc", "*.warc.gz", "*.warc.zst"),
    fields=(("url", "date", "status"), ("title", "language", "record", *FIELDS)), requires=("fastwarc", "resiliparse"),
    extraction=EXTRACTION,
)  # fmt: skip
ROBOTS = Format("robots", reading(_robots), 1e8, fields=(ANSWER, ("status",)), requires=("fastwarc",))
WET = Format(
    "wet", reading(_wet), 1e8, ("*.wet", "*.wet.gz"), fields=(("url", "date", "language"), ("record",)),
)  # fmt: skip
