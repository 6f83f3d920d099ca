"""Pages and archives of crawls become documents; whatever does not is counted by its cause, with its place."""

from __future__ import annotations

import gzip
import random
import re
import time
import zlib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import MANIFEST, write_manifest

from curate.engine import open_engine
from curate.errors import ManifestError
from curate.manifest.reader import load_manifest
from curate.sources.documents import open_source
from curate.sources.formats import FORMATS
from curate.sources.formats.nesting import excess
from curate.sources.formats.pages import EXTRACTION, characters, front_matter, page
from curate.sources.formats.responses import parse
from curate.sources.inputs import Input
from curate.sources.rows import Problems
from curate.spec.manifest import RESILIPARSE, TRAFILATURA, Source
from curate.store import Store

pytest.importorskip("fastwarc", reason="the extra `web` is not installed")
pytest.importorskip("resiliparse", reason="the extra `web` is not installed")

STORY = "It was the best of times, it was the worst of times, it was the age of wisdom. " * 4
PAGE = f"""<html lang="en-GB"><head><title>Two cities</title><script>var x = "no text";</script><style>p {{}}</style></head>
<body><nav><ul><li><a href="/">Home</a></li><li><a href="/x">About</a></li></ul></nav>
<article><h1>Two cities</h1><p>{STORY}</p><pre>if x:
    y = 1</pre></article><footer>Copyright</footer></body></html>"""


def read(tmp_path: Path, source: Source, part_bytes: int = 1_000_000):
    account = open_source(Store(tmp_path / "store"), source, part_bytes, open_engine("local", 1))
    return account, pa.concat_tables([part.table() for part in account.parts])


def counts(table: dict) -> dict[str, int]:
    return {cause: entry["count"] for cause, entry in table.items()}


def record(kind: str, url: str, block: bytes, more: str = "") -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2024-02-20T21:00:00Z\r\n"
    head += f"WARC-Record-ID: <urn:{url}>\r\n{more}Content-Length: {len(block)}\r\n\r\n"
    return head.encode() + block + b"\r\n\r\n"


def response(
    url: str, body: bytes, status: str = "200 OK", type: str = "text/html; charset=utf-8", more: str = ""
) -> bytes:
    block = f"HTTP/1.1 {status}\r\nContent-Type: {type}\r\n{more}\r\n".encode() + body
    return record("response", url, block, "Content-Type: application/http; msgtype=response\r\n")


def conversion(url: str, text: bytes, language: str = "eng") -> bytes:
    return record(
        "conversion",
        url,
        text,
        f"WARC-Identified-Content-Language: {language}\r\nContent-Type: text/plain\r\n",
    )


def packed(records: list[bytes]) -> bytes:
    """As crawls do it: a gzip member each."""
    return b"".join(map(gzip.compress, records))


RESPONSES = [
    record("warcinfo", "", b"software: x"),
    record(
        "request",
        "http://a.org/1",
        b"GET / HTTP/1.1\r\n\r\n",
        "Content-Type: application/http; msgtype=request\r\n",
    ),
    response("http://a.org/1", PAGE.encode()),
    response("http://a.org/2", b"gone", "404 Not Found"),
    response("http://a.org/3", b"", "301 Moved", more="Location: /1\r\n"),
    response("http://a.org/4", b"%PDF-1.7", type="application/pdf"),
    response("http://a.org/5", gzip.compress(PAGE.encode()), more="Content-Encoding: gzip\r\n"),
    response("http://a.org/6", b"this is no gzip", more="Content-Encoding: gzip\r\n"),
    record(
        "response", "http://a.org/7", b"no answer", "Content-Type: application/http; msgtype=response\r\n"
    ),
    response(
        "http://a.org/8",
        b"<html><body><p>" + "Größe und Maß. ".encode("latin-1") * 20,
        type="text/html; charset=iso-8859-1",
    ),
    response("http://a.org/9", b"plain words", type="text/plain"),
]


@pytest.mark.parametrize("pack", [b"".join, packed], ids=["plain", "gz"])
def test_a_warc_gives_its_pages_with_url_date_and_status_and_counts_the_rest_by_cause(tmp_path, pack):
    name = "a.warc.gz" if pack is packed else "a.warc"
    (tmp_path / name).write_bytes(pack(RESPONSES))
    source = Source("s", "warc", (str(tmp_path),), columns=("url", "date", "status", "title", "language"))
    account, table = read(tmp_path, source)
    assert table["url"].to_pylist() == [f"http://a.org/{i}" for i in (1, 5, 6, 8, 9)]
    assert set(table["date"].to_pylist()) == {"2024-02-20T21:00:00Z"}
    assert set(table["status"].to_pylist()) == {"200"}
    assert table["title"].to_pylist() == ["Two cities", "Two cities", None, None, None]
    assert table["language"].to_pylist()[0] == "en-GB"
    texts = table["text"].to_pylist()
    assert texts[0] == texts[1]
    assert STORY.strip() in texts[0]
    assert not any(word in texts[0] for word in ("About", "var x", "Copyright", "<p>"))
    assert texts[2:] == ["this is no gzip", ("Größe und Maß. " * 20).strip(), "plain words"]
    assert counts(account.failed) == {"http-error": 2, "not-a-page": 1, "not-http": 1}
    assert "404" in account.failed["http-error"]["samples"][0]["why"]


def test_a_place_in_an_archive_is_where_its_record_begins(tmp_path):
    (tmp_path / "a.warc.gz").write_bytes(packed(RESPONSES))
    _, table = read(tmp_path, Source("s", "warc", (str(tmp_path),), columns=("url",)))
    raw = (tmp_path / "a.warc.gz").read_bytes()
    for place, url in zip(table["place"].to_pylist(), table["url"].to_pylist(), strict=True):
        name, _, offset = place.rpartition(":")
        assert name == "a.warc.gz"
        assert raw[int(offset) :].startswith(b"\x1f\x8b")
        found = gzip.decompress(raw[int(offset) :])
        assert found.partition(b"WARC-Target-URI: ")[2].startswith(url.encode())


@pytest.mark.parametrize("name", ["a.wet", "a.warc.wet.gz"])
def test_a_wet_gives_its_texts_as_they_are_with_url_date_and_language(tmp_path, name):
    records = [record("warcinfo", "", b"x"), conversion("http://a/1", b"One.\nTwo."), conversion("<http://a/2>", b"caf\xe9", "fra,eng"),
               conversion("http://a/3", b"")]  # fmt: skip
    (tmp_path / name).write_bytes(packed(records) if name.endswith("gz") else b"".join(records))
    account, table = read(tmp_path, Source("s", "wet", (str(tmp_path),), columns=("url", "date", "language")))
    assert table.select(["text", "url", "language"]).to_pylist() == [
        {"text": "One.\nTwo.", "url": "http://a/1", "language": "eng"},
        {"text": "caf\ufffd", "url": "http://a/2", "language": "fra,eng"},
    ]
    assert (counts(account.failed), counts(account.repaired)) == ({"empty": 1}, {"not-utf-8": 1})


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
def test_an_archive_that_breaks_off_anywhere_keeps_the_records_before_and_says_so(tmp_path, pack):
    records = [pack(conversion(f"http://a/{i}", f"Text number {i}. ".encode() * 9)) for i in range(3)]
    whole, last = b"".join(records), len(records[2])
    path = tmp_path / ("a.wet.gz" if pack is gzip.compress else "a.wet")
    for left in range(3, last, 7):
        path.write_bytes(whole[: len(whole) - last + left])
        problems = Problems()
        found = FORMATS["wet"].read(
            Source("s", "wet", (str(path),)), [Input(str(path), path.name, 1, "")], problems
        )
        texts = pa.concat_tables(found)["text"].to_pylist()
        assert texts[:2] == ["Text number 0. " * 9, "Text number 1. " * 9]
        assert sum(counts(problems.failed).values()) == 1, (left, problems.failed)


@pytest.mark.parametrize("damage", [b"", b"not an archive\n" * 50, b"\x1f\x8b garbage", b"WARC/1.0\r\n"])
def test_what_is_no_archive_is_said_and_the_other_files_are_read(tmp_path, damage):
    (tmp_path / "a.wet").write_bytes(damage)
    (tmp_path / "b.wet").write_bytes(conversion("http://a", b"text"))
    account, table = read(tmp_path, Source("s", "wet", (str(tmp_path),)))
    assert table["text"].to_pylist() == ["text"]
    assert set(account.failed) <= {"broken-file"}


def test_a_record_beyond_the_limit_is_counted_and_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.sources.formats.archives.HTML_BYTES", 1000)
    records = [conversion("http://a/1", b"x" * 1001), conversion("http://a/2", b"short")]
    (tmp_path / "a.wet.gz").write_bytes(packed(records))
    account, table = read(tmp_path, Source("s", "wet", (str(tmp_path),)))
    assert (table["text"].to_pylist(), counts(account.failed)) == (["short"], {"too-long": 1})


ENCODINGS = {
    "plain": ("", bytes),
    "gzip": ("Content-Encoding: gzip\r\n", gzip.compress),
    "gzip that is none": ("Content-Encoding: gzip\r\n", bytes),
    "gzip that is not named": ("", gzip.compress),
    "gzip twice": ("Content-Encoding: gzip, gzip\r\n", lambda raw: gzip.compress(gzip.compress(raw))),
    "deflate": ("Content-Encoding: deflate\r\n", zlib.compress),
    "raw deflate": ("Content-Encoding: deflate\r\n", lambda raw: zlib.compress(raw)[2:-4]),
    "deflate within gzip": ("Content-Encoding: deflate, gzip\r\n", lambda raw: gzip.compress(zlib.compress(raw))),
    "deflate that is named gzip": ("Content-Encoding: gzip\r\n", zlib.compress),
    "deflate that is none": ("Content-Encoding: Deflate\r\n", bytes),
    "chunked": ("Transfer-Encoding: chunked\r\n", lambda raw: b"%x;a=b\r\n%b\r\n5\r\n%b\r\n0\r\n\r\n" % (len(raw) - 5, raw[:-5], raw[-5:])),
    "chunked that is not": ("Transfer-Encoding: chunked\r\n", bytes),
    "chunked that breaks off": ("Transfer-Encoding: chunked\r\n", lambda raw: b"%x\r\n%b" % (len(raw) + 9, raw)),
    "chunked gzip": ("transfer-encoding: Chunked\r\nCONTENT-ENCODING: x-gzip\r\n", lambda raw: b"%x\n%b\n0\n\n" % (len(gzip.compress(raw)), gzip.compress(raw))),
    "gzip behind blank lines": ("Content-Encoding: gzip\r\n", lambda raw: b"\r\n\n" + gzip.compress(raw)),
    "unknown": ("Content-Encoding: aws-chunked\r\n", bytes),
    "zstd": ("Content-Encoding: zstd\r\n", lambda raw: pa.Codec("zstd").compress(raw, asbytes=True)),
}  # fmt: skip


@pytest.mark.parametrize("kind", ENCODINGS)
def test_a_body_is_read_as_its_bytes_say_whatever_its_head_says(tmp_path, kind):
    head, pack = ENCODINGS[kind]
    (tmp_path / "a.warc").write_bytes(response("http://a", pack(PAGE.encode()), more=head))
    account, table = read(tmp_path, Source("s", "warc", (str(tmp_path / "a.warc"),), columns=("title",)))
    assert (table["title"].to_pylist(), account.failed) == (["Two cities"], {})
    assert STORY.strip() in table["text"][0].as_py()


@pytest.mark.parametrize("letter", "{cks#<")
def test_a_text_that_begins_as_deflated_data_may_is_a_text(letter):
    text = f"{letter}ats are a text of its own, with some words in a sentence".encode()
    assert parse(b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n" + text, 10_000).body == text


@pytest.mark.parametrize("begin", ["2024\r\n", "A\n", "0\r\n", "dead; beef\r\n", "\r\n1984\r\n"])
def test_a_text_that_begins_as_a_chunk_may_is_a_text(begin):
    text = f"{begin}was a year like others".encode()
    assert parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + text, 10_000).body == text


@pytest.mark.parametrize("line", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "what",
    [
        "range(1, 40)",
        "range(9, -1, -1)",
        "[1] * 30",
        "[3, 'abc'] * 9",
        "[4, 'face', 0]",
        "[1, 'a', 1, 'b', '']",
    ],
)
def test_a_list_of_short_lines_is_no_chunks(what, line):
    text = line.join(map(str, eval(what))).encode() + line.encode()
    assert parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + text, 10_000).body == text


def test_behind_chunks_that_break_off_nothing_is_lost():
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in (b"<p>first " * 20, b"second " * 30))
    body = parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"third", 10_000).body
    assert (body.split()[0], body.split()[-1], body.count(b"\r")) == (b"<p>first", b"third", 1)
    empty = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert parse(empty, 10_000).body == b""


@pytest.mark.parametrize("type", ["text/html", "text/plain"])
def test_binary_data_under_a_type_of_text_is_counted(tmp_path, type):
    data = random.Random(1).randbytes(3000)
    bodies = (b"\x89PNG\r\n\x1a\n" + data, b"%PDF-1.4\n%" + data, gzip.compress(data)[:20] + data)
    (tmp_path / "a.warc").write_bytes(
        b"".join(response("http://a", body, type=type) for body in (PAGE.encode(), *bodies))
    )
    account, table = read(tmp_path, Source("s", "warc", (str(tmp_path / "a.warc"),)))
    assert (len(table), counts(account.failed)) == (1, {"not-text": 3})


@pytest.mark.parametrize(
    "said", ['"text/html"', "text/html,text/html", "text/html charset=utf-8", "html", " Text/Html ;x"]
)
def test_a_type_that_is_badly_written_is_still_a_type(said):
    answer = parse(f"HTTP/1.1 200 OK\r\nContent-Type: {said}\r\n\r\n{PAGE}".encode(), 10_000)
    assert answer.type == "text/html"


def test_brotli_is_read(tmp_path):
    brotli = pytest.importorskip("brotli")
    raw = response("http://a", brotli.compress(PAGE.encode()), more="Content-Encoding: br\r\n")
    (tmp_path / "a.warc").write_bytes(raw)
    _, table = read(tmp_path, Source("s", "warc", (str(tmp_path / "a.warc"),), columns=("title",)))
    assert table["title"].to_pylist() == ["Two cities"]


HEADS = [
    b"HTTP/1.1 200 OK\r\nContent-Type: TEXT/HTML; Charset=UTF-8\r\n\r\n",
    b"HTTP/1.0 200\nContent-Type: text/html\n\n",
    b"HTTP/2 200 \r\ncontent-type: application/xhtml+xml\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type:\r\n\r\n",
    b'HTTP/1.1 200 OK\r\nX: folded\r\n  lines\r\nContent-Type: text/html; charset="utf-8"\r\n\r\n',
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf8mb4\r\n\r\n",
]


@pytest.mark.parametrize("head", HEADS, ids=range(len(HEADS)))
def test_heads_are_read_as_servers_write_them(tmp_path, head):
    (tmp_path / "a.warc").write_bytes(record("response", "http://a", head + PAGE.encode()))
    account, table = read(tmp_path, Source("s", "warc", (str(tmp_path / "a.warc"),), columns=("title",)))
    assert (table["title"].to_pylist(), account.failed) == (["Two cities"], {})


def test_without_a_type_text_is_text_and_anything_else_no_page(tmp_path):
    bodies = (b"Plain words.", b"%PDF-1.7 words", b"\x89PNG\r\n\x1a\n\0\0")
    blocks = [
        record("response", f"http://a/{i}", b"HTTP/1.1 200 OK\r\n\r\n" + body)
        for i, body in enumerate(bodies)
    ]
    (tmp_path / "a.warc").write_bytes(b"".join(blocks))
    account, table = read(tmp_path, Source("s", "warc", (str(tmp_path / "a.warc"),)))
    assert (table["text"].to_pylist(), counts(account.failed)) == (["Plain words."], {"not-a-page": 2})


DAMAGES = {
    "unknown type": (lambda r: r.replace(b"conversion", b"konversion"), "unknown-type"),
    "no type": (lambda r: r.replace(b"WARC-Type: conversion\r\n", b""), "unknown-type"),
    "length too short": (lambda r: re.sub(rb"Content-Length: \d+", b"Content-Length: 5", r), "wrong-length"),
    "length too long": (lambda r: re.sub(rb"Content-Length: \d+", b"Content-Length: 90", r), "wrong-length"),
    "length beyond the file": (lambda r: re.sub(rb"Content-Length: \d+", b"Content-Length: 70000", r), "wrong-length"),
    "length beyond the limit": (lambda r: re.sub(rb"Content-Length: \d+", b"Content-Length: 99999999999", r), "wrong-length"),
    "no number": (lambda r: re.sub(rb"Content-Length: \d+", b"Content-Length: 12x", r), "broken-record"),
    "no length": (lambda r: re.sub(rb"Content-Length: \d+\r\n", b"", r), "broken-record"),
}  # fmt: skip


@pytest.mark.parametrize(
    "pack",
    [b"".join, packed, lambda records: gzip.compress(b"".join(records))],
    ids=["plain", "members", "gz"],
)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_costs_itself_alone(tmp_path, damage, pack):
    change, cause = DAMAGES[damage]
    texts = [f"Text number {i}. " * 2 for i in range(5)]
    records = [conversion(f"http://a/{i}", text.encode()) for i, text in enumerate(texts)]
    records[2] = change(records[2])
    (tmp_path / "a.wet").write_bytes(pack(records))
    account, table = read(tmp_path, Source("s", "wet", (str(tmp_path / "a.wet"),)))
    assert table["text"].to_pylist() == [text for i, text in enumerate(texts) if i != 2]
    assert counts(account.failed) == {cause: 1}
    assert len(set(table["place"].to_pylist())) == 4


def test_a_damaged_member_costs_itself_alone(tmp_path):
    members = [
        gzip.compress(conversion(f"http://a/{i}", f"Text number {i}. ".encode() * 9)) for i in range(4)
    ]
    members[1] = members[1][:20] + b"\xff" * 30 + members[1][50:]
    members[2] = gzip.compress(b"no record of any kind")
    (tmp_path / "a.wet.gz").write_bytes(b"".join(members) + bytes(512))
    account, table = read(tmp_path, Source("s", "wet", (str(tmp_path / "a.wet.gz"),)))
    assert table["text"].to_pylist() == ["Text number 0. " * 9, "Text number 3. " * 9]
    assert counts(account.failed) == {"broken-file": 2}


DEEP = 100_000
MONSTERS = {
    "nested": "<div>" * DEEP + "words",
    "nested and closed": "<section>" * DEEP + "words" + "</section>" * DEEP,
    "nested in others": "<b><article>" * DEEP,
    "options": "<i><option>" * DEEP,
    "selections": "<select><b>x</select>" * DEEP,
    "attributes": "<p " + " ".join(f"a{i}='{i}'" for i in range(DEEP)) + ">words",
    "attributes without values": "<p " + " ".join(f"a{i}" for i in range(DEEP)) + ">words",
}
HARMLESS = {
    "a deep formula": "<p>words <math>" + "<msup>" * 5000 + "x",
    "formulas in formulas": "<p>words " + "<math><mi>x</mi>" * 900,
    "deep lists": "<p>words " + "<ul><li>a" * 900,
    "deep figures": "<p>words " + "<figure>" * 900,
    "tables in tables": "<p>words " + "<table><tr><td>x<td>" * 300,
    "unclosed paragraphs": "<p>words of a page" * 5000,
    "a long list": "<p>words of a page</p><ul>" + "<li>words of a page" * 5000,
    "a long table": "<table>" + "<tr><td>words" * 5000,
    "old pages": "<font size=2>words<br>" * 5000,
    "closed": "<div>words</div>" * 5000,
    "options": "<select>" + "<option value=1>words" * 5000 + "</select><p>words",
    "scripts": "<script>" + "'<div>'+" * 5000 + "</script><p>words",
    "comments": "<!--" + "<div>" * 5000 + "--><p>words",
    "a picture": "<p>words</p><img src='data:" + "a b c " * 50_000 + "'>",
}


@pytest.mark.parametrize("name", MONSTERS)
def test_a_page_that_no_parser_ends_with_is_counted(tmp_path, name):
    (tmp_path / "a.html").write_text(MONSTERS[name])
    (tmp_path / "b.html").write_text(PAGE)
    begin = time.process_time()
    account, table = read(tmp_path, Source("s", "html", (str(tmp_path),), exclude=("store",)))
    assert (table["place"].to_pylist(), counts(account.failed)) == (["b.html"], {"too-nested": 1})
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("name", HARMLESS)
def test_a_page_of_many_elements_is_none_of_those(tmp_path, name):
    assert excess(HARMLESS[name]) is None
    (tmp_path / "a.html").write_text(HARMLESS[name])
    _, table = read(tmp_path, Source("s", "html", (str(tmp_path / "a.html"),)))
    assert "words" in table["text"][0].as_py()


def test_html_files_give_their_main_text_and_title(tmp_path):
    (tmp_path / "a.html").write_text(PAGE)
    (tmp_path / "b.htm").write_bytes('<meta charset="windows-1251"><p>Привет, мир. '.encode("cp1251") * 9)
    (tmp_path / "c.html").write_text("<script>nothing to read</script>")
    (tmp_path / "d.html.gz").write_bytes(gzip.compress(PAGE.encode()))
    (tmp_path / "e.html").write_bytes(b"\x00\xff\xfe<" * 100)
    account, table = read(tmp_path, Source("s", "html", (str(tmp_path),), columns=("title",)))
    rows = {row["place"]: row for row in table.to_pylist()}
    assert rows["a.html"]["title"] == "Two cities"
    assert rows["a.html"]["text"] == rows["d.html.gz"]["text"]
    assert "if x:\n    y = 1" in rows["a.html"]["text"]
    assert rows["b.htm"]["text"].startswith("Привет, мир.")
    assert counts(account.failed)["empty"] >= 1


def text_of(body: str, **more) -> str:
    """The text of a page with this body, below an article's head and enough prose to be one."""
    found = page(f"<html><body>{body}</body></html>".encode(), None, "a", Problems(), RESILIPARSE, **more)
    return found[0] if found else ""


def in_article(markup: str) -> str:
    """What is made of markup behind the prose of an article."""
    text = text_of(f"<div><main><article>{PROSE * 3}<div>{markup}</div></article></main></div>")
    assert text.count(STORY.strip()) == 3
    return text.rpartition(STORY.strip())[2].strip()


PROSE = f"<p>{STORY}</p>"
BELOW = (
    "modal",
    "popup-window",
    "wp-lightbox",
    "wide-banner",
    "hidden",
    "related-posts",
    "promoted",
    "print-only",
    "gallery",
    "comment",
)


@pytest.mark.parametrize("name", BELOW)
def test_no_name_of_what_holds_the_prose_takes_it_along(name):
    for markup in (
        f'<div class="{name}">',
        f'<div id="{name}">',
        f'<div><section class="x {name} y">',
        f'<div class="{name}"><div hidden>',
    ):
        assert text_of(f"{markup}<h2>Cities</h2>{PROSE * 3}</div>").count(STORY.strip()) == 3
    aside = f"<article>{PROSE * 3}</article><div class='{name}'><p>Buy this.</p></div>"
    assert "Buy this" not in text_of(f"<div><div>{aside}</div></div>")


@pytest.mark.parametrize("beside", [
    '<div class="comments"><p>{}</p></div>', '<div class="x"><h3>You may like</h3><p>Other news.</p></div>',
    '<div id="respond"><p>Say something.</p></div>', "<section>We use cookies.</section>", "behind it",
])  # fmt: skip
def test_what_follows_the_prose_goes(beside):
    other = beside.format("I do not think that it was the best of times. " * 5)
    text = text_of(f"<div><article><h1>Cities</h1>{PROSE * 3}</article>{other}</div>")
    assert text.startswith("Cities")
    assert text.endswith(STORY.strip())


@pytest.mark.parametrize("behind", [
    "<article class='c'><p>{}</p></article>", "<section><p>{}</p></section>", "<pre>{}</pre>", "<h2>More</h2><div><p>{}</p></div>",
    "<p>{}</p>", "<h2>Options</h2><dl><dt>{}</dt><dd>x</dd></dl>",
])  # fmt: skip
def test_what_follows_the_prose_and_is_text_too_stays(behind):
    flat = text_of(
        f"<main><h1>Cities</h1><dl><dt>a</dt><dd>{PROSE * 3}</dd></dl><h2>See also</h2><ol><li>Town</ol></main>"
    )
    assert flat.endswith("See also\n\n  1. Town")
    story = "It was the season of light, it was the season of darkness. " * 4
    text = text_of(
        f"<div><article class='c'><h1>Cities</h1>{PROSE * 3}</article>{behind.format(story)}</div>"
    )
    assert story.strip() in text
    if "<h2>" in behind:
        assert "More" in text or "Options" in text


@pytest.mark.parametrize(("markup", "text"), [
    ('<p>mass <script type="math/tex">E=mc^2</script> and</p>', "mass $E=mc^2$ and"),
    ('<p>m <span class="MathJax_Preview">E</span><span class="MathJax"><math><mi>E</mi></math></span><script type="math/tex; mode=display">E=mc^2</script> a</p>', "m $$E=mc^2$$ a"),
    ('<p>k <span class="katex"><span class="katex-mathml"><math><semantics><mi>a</mi><annotation encoding="application/x-tex">\\alpha^2</annotation></semantics></math></span><span class="katex-html" aria-hidden="true">α2</span></span> e</p>', "k $\\alpha^2$ e"),
    ('<p>w <span class="mwe-math-element"><span style="display: none;"><math alttext="{\\displaystyle E=mc^{2}}"><mi>E</mi></math></span><img alt="{\\displaystyle E=mc^{2}}" src="/math/render/svg/1"></span> e</p>', "w $E=mc^{2}$ e"),
    ("<p>m <math><mfrac><mi>a</mi><msup><mi>b</mi><mn>2</mn></msup></mfrac><mo>=</mo><msqrt><mn>3</mn></msqrt></math> e</p>", "m $\\frac{a}{{b}^{2}} = \\sqrt{3}$ e"),
    ('<p>i <img class="latex" alt="$\\sum x$"> e <img alt="a dog" src="dog.jpg"></p>', "i $\\sum x$ e"),
    ("<p>10<sup>6</sup> 10<sup>-3</sup> m<sup>2</sup> 1<sup>st</sup> H<sub>2</sub>O x<sub>i</sub></p>", "10^6 10^-3 m^2 1st H2O x_i"),
    ('<p>a fact<sup><a href="#1">[1]</a></sup> is</p>', "a fact is"),
    ("<ol start=3><li>three</li><li>four</li></ol>", "3. three\n  4. four"),
    ("<ol start=-1><li>a</li></ol><ol start=99999999><li>b</li></ol>", "1. a\n  1. b"),
    ("<table><tr><th>a<th>b</tr><tr><td>1<td></tr><tr><td><p>x</p><td>10<sup>2</sup></tr></table>", "a | b\n1 |\nx | 10^2"),
    ("<table><tr><td>a column<td>another<tr><td><ul><li>of a layout</ul><td>here</table>", "a column\t\tanother\n  • of a layout\n\t\there"),
    ('<table class="highlighttable"><tr><td class="linenos"><pre>1\n2</pre></td><td class="code"><pre>if x:\n    y = 1\n</pre></td></tr></table>', "if x:\n    y = 1"),
    ('<pre><span class="lineno">1 </span>a\n<span class="lineno">2 </span>\tb</pre>', "a\n\tb"),
    ("<figure><pre>code</pre><figcaption>Listing 1</figcaption></figure><figure><img><figcaption>Photo: X</figcaption></figure>", "code\nListing 1"),
])  # fmt: skip
def test_formulas_powers_lists_tables_and_code_are_text_that_can_be_read(markup, text):
    assert in_article(markup) == text


def test_a_list_of_prose_stays_wherever_it_stands_and_navigation_goes():
    items = "<li>200 g flour <a href=x>of wheat</a></li><li>salt and water as you like it</li>"
    links = "<ul><li><a href=a>All recipes</a></li><li><a href=b>About us</a></li></ul>"
    for begin, end in (
        ("<main><h1>Bread</h1>", "</main>"),
        ("", ""),
        ("<div><div><div><div>", "</div></div></div></div>"),
    ):
        text = text_of(f"{links}{begin}<ul>{items}</ul>{end}<p>{STORY * 3}</p>")
        assert "200 g flour of wheat" in text
        assert "salt and water" in text
        assert "About" not in text


def test_a_page_that_gives_little_is_taken_whole_and_one_that_gives_nothing_is_counted_with_its_address(
    tmp_path,
):
    words = "<nav>Home</nav><div class='hidden'>" + "It was the best of times.<br>" * 9 + "</div>"
    assert text_of(words).count("best of times") == 9
    assert "Home" not in text_of(words)
    (tmp_path / "a.warc").write_bytes(response("http://a.org/1", b"<script>1</script>") + RESPONSES[2])
    account, _ = read(tmp_path, Source("s", "warc", (str(tmp_path / "a.warc"),)))
    (sample,) = account.failed["empty"]["samples"]
    assert sample["at"] == "a.warc:0"
    assert "http://a.org/1" in sample["why"]


CYRILLIC = "Привет, мир, как дела. " * 9
NAMED = {
    "a mark beats server and page": (b"\xef\xbb\xbf<meta charset=latin1>" + "é мир".encode(), "latin1", "é мир"),
    "a wide mark beats them too": ("\ufeff<meta charset=utf-8>é мир".encode("utf-16-le"), "latin1", "é мир"),
    "the server beats the page": (b"<meta charset=utf-8>" + CYRILLIC.encode("cp1251"), "windows-1251", CYRILLIC),
    "the page beats its bytes": (b"<meta charset='koi8-r'>" + "мир".encode("koi8-r"), None, "мир"),
    "as browsers know it": (b"<META http-equiv=x content='text/html; charset=ISO-8859-1'>\x93a\x94 \x80", None, "“a” €"),
    "utf-16 in a page is utf-8": ("<meta charset='utf-16'>é мир".encode(), None, "é мир"),
    "not in a comment": ("<!-- <meta charset=koi8-r> --><meta charset=utf-8>é мир".encode(), None, "é мир"),
    "of XML": ('<?xml version="1.0" encoding="koi8-r"?><p>мир'.encode("koi8-r"), None, "мир"),
    "an unknown name is none": ("<meta charset=utf-8>é мир".encode(), "utf8mb4", "é мир"),
    "another than it says": (b"<meta charset=utf-8>" + CYRILLIC.encode("cp1251"), None, CYRILLIC),
    "another than the server says": (CYRILLIC.encode("cp1251"), "UTF-8", CYRILLIC),
    "utf-8 that says it is another": ("<meta charset=shift_jis>é мир".encode() + CYRILLIC.encode(), None, CYRILLIC),
    "hardly broken": (CYRILLIC.encode()[:-2] + b"\xff", "utf-8", CYRILLIC[:-2] + "\ufffd"),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_characters_are_those_that_browsers_see(name):
    raw, charset, text = NAMED[name]
    problems = Problems()
    found = characters(raw, charset, "a", problems)
    assert found.endswith(text)
    assert "\ufeff" not in found
    assert bool(problems.repaired) == any(word in name for word in ("another", "broken"))


def test_a_script_is_no_tag_of_many_attributes():
    script = "<script>if (a<b && " + " ".join(f"x{i} = {i};" for i in range(5000)) + ") {}</script>"
    assert excess(script + "<p>words") is None
    assert excess("<!-->" + MONSTERS["attributes"]) is not None


def test_what_finds_the_text_is_part_of_the_key_and_asked_of_pages_alone(tmp_path, monkeypatch):
    source = Source("s", "html", (str(tmp_path),))
    other = replace(source, extract=TRAFILATURA)
    assert "extract" not in source.definition()
    assert source.definition() != other.definition()
    assert FORMATS["html"].made_by(source)[-1] == EXTRACTION
    assert FORMATS["text"].made_by(source) == []
    for lines, said in (
        ('format = "text"\npath = "x"\nextract = "trafilatura"', 'extract: format "text" has no pages'),
        ('format = "html"\npath = "x"\nextract = "readability"', 'extract = "readability": write "resiliparse" or "trafilatura"'),
    ):  # fmt: skip
        with pytest.raises(ManifestError, match=re.escape(said)):
            load_manifest(with_source(tmp_path, lines))
    monkeypatch.setattr("curate.manifest.sources.find_spec", lambda name: None)
    with pytest.raises(ManifestError, match=r'needs trafilatura: pip install "curate-lm\[trafilatura\]"'):
        load_manifest(with_source(tmp_path, 'format = "html"\npath = "x"\nextract = "trafilatura"'))


def test_trafilatura_finds_the_text_where_the_source_asks_for_it(tmp_path):
    pytest.importorskip("trafilatura", reason="the extra `trafilatura` is not installed")
    (tmp_path / "a.html").write_text(PAGE)
    source = Source(
        "s", "html", (str(tmp_path),), columns=("title",), extract=TRAFILATURA, exclude=("store",)
    )
    account, table = read(tmp_path, source)
    assert table["title"].to_pylist() == ["Two cities"]
    assert STORY.strip() in table["text"][0].as_py()
    assert list(account.as_json()["libraries"]) == ["resiliparse", "trafilatura"]


@pytest.mark.parametrize(("text", "fields", "rest"), [
    ("---\ntitle: 'A note'\ndate: 2024-01-02\n# said\nempty:\n---\n\n# Head\n", {"title": "A note", "date": "2024-01-02", "empty": None}, "# Head\n"),
    ("---\r\ntitle: A\r\n---\r\nText", {"title": "A"}, "Text"),
    ("---\ntags:\n  - a\n---\nText", {}, None),
    ("---\nnever closed: yes\nText", {}, None),
    ("# Head\n---\ntitle: no\n---\n", {}, None),
    ("", {}, None),
])  # fmt: skip
def test_plain_front_matter_becomes_fields_and_any_other_stays_in_the_text(text, fields, rest):
    assert front_matter(text) == (fields, text if rest is None else rest)


def test_markdown_is_text_as_it_is_with_fields_of_its_front_matter(tmp_path):
    (tmp_path / "a.md").write_text("---\ntitle: First\n---\n# One\n\n*text*\n")
    (tmp_path / "b.md").write_text("# Two\n")
    _, table = read(tmp_path, Source("s", "markdown", (str(tmp_path),), columns=("title",)))
    assert table.select(["text", "title"]).to_pylist() == [
        {"text": "# One\n\n*text*\n", "title": "First"}, {"text": "# Two\n", "title": None},
    ]  # fmt: skip


def with_source(tmp_path: Path, lines: str) -> Path:
    return write_manifest(
        tmp_path, MANIFEST.replace("[parts]", f'[[source]]\nname = "web"\n{lines}\n[parts]')
    )


@pytest.mark.parametrize(("lines", "said"), [
    ('format = "wet"\npath = "x"\ncolumns = ["status"]', '"status": format "wet" has url, date, language, record'),
    ('format = "warc"\npath = "x"\nid = "key"', '"key": format "warc" has url'),
    ('format = "text"\npath = "x"\nid = "key"', '"key": format "text" has no fields'),
    ('format = "python"\npath = "x"\ncolumns = ["key"]', 'format "python" has no fields'),
])  # fmt: skip
def test_a_field_that_a_format_has_not_is_an_error_that_names_those_it_has(tmp_path, lines, said):
    with pytest.raises(ManifestError) as caught:
        load_manifest(with_source(tmp_path, lines))
    assert said in str(caught.value)


def test_archives_carry_url_and_date_where_the_source_says_nothing(tmp_path):
    manifest = load_manifest(with_source(tmp_path, 'format = "wet"\npath = "x"'))
    assert manifest.sources[-1].columns == ("url", "date", "language")


def test_without_the_extra_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.sources.formats.format.find_spec", lambda name: None)
    with pytest.raises(
        ManifestError, match=r'format = "warc" needs fastwarc, resiliparse: pip install "curate-lm\[web\]"'
    ):
        load_manifest(with_source(tmp_path, 'format = "warc"\npath = "x"'))


def test_what_a_page_was_read_with_is_in_the_account(tmp_path):
    (tmp_path / "a.html").write_text(PAGE)
    account, _ = read(tmp_path, Source("s", "html", (str(tmp_path),)))
    assert list(account.as_json()["libraries"]) == ["resiliparse"]


def test_an_archive_at_a_url_is_read_as_a_file_is(tmp_path):
    import fsspec

    records = packed([conversion(f"http://a/{i}", f"Text {i}.".encode()) for i in range(3)])
    for name, data in (("a.wet.gz", records), ("b.wet.gz", records[:-9])):
        with fsspec.open(f"memory://curate-web/{name}", "wb") as file:
            file.write(data)
    account, table = read(tmp_path, Source("s", "wet", ("memory://curate-web/*.wet.gz",), columns=("url",)))
    assert table["text"].to_pylist() == [f"Text {i}." for i in range(3)] * 2
    assert counts(account.failed) == {"broken-file": 1}


def test_a_chunk_of_more_bytes_than_there_are_in_the_world_is_no_chunk():
    for size in (b"f" * 16, b"f" * 12, b"0" * 30 + b"5"):
        body = size + b"\r\nabc"
        found = parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body, 10_000)
        assert b"abc" in found.body
