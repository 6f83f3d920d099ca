"""Formats mail, epub and mediawiki: what a reader would see is the text, and what is none is counted, never a crash."""

from __future__ import annotations

import bz2
import zipfile
from dataclasses import replace
from email.message import EmailMessage

import pytest

from curate.sources.formats import FORMATS, mail
from curate.sources.rows import Input, Problems
from curate.spec.manifest import Source

pytest.importorskip("resiliparse", reason='needs the extra "web"')


def read(path, format: str, columns: tuple[str, ...] = ()) -> tuple[list[dict], Problems]:
    source = Source("s", format, (str(path),), columns=columns)
    problems = Problems()
    item = Input(str(path), path.name, path.stat().st_size, "")
    rows = [row for table in FORMATS[format].read(source, [item], problems) for row in table.to_pylist()]
    return rows, problems


def letter(text: str, subject: str = "Hello", html: str | None = None) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", subject
    message["Date"] = "Tue, 03 Mar 2020 10:00:00 +0100"
    message["Message-ID"] = f"<{abs(hash(text))}@example.org>"
    message.set_content(text)
    if html:
        message.add_alternative(html, subtype="html")
    return message


# ----------------------------------------------------------------------------------------------------- mail


def test_every_message_of_an_mbox_is_a_document_and_quoted_lines_are_as_they_were(tmp_path):
    first = (
        letter("Dear all,\n\nFrom here on we meet on Mondays.\n")
        .as_bytes()
        .replace(b"\nFrom here", b"\n>From here")
    )
    path = tmp_path / "list.mbox"
    path.write_bytes(
        b"From a Mon\n" + first + b"\nFrom b Tue\n" + letter("A second letter.\n", "Grüße").as_bytes()
    )
    rows, problems = read(path, "mail", ("subject", "date"))
    assert [row["text"].strip() for row in rows] == [
        "Dear all,\n\nFrom here on we meet on Mondays.", "A second letter.",
    ]  # fmt: skip
    assert [row["subject"] for row in rows] == ["Hello", "Grüße"]
    assert rows[0]["date"] == "2020-03-03T10:00:00+01:00"
    assert [row["place"] for row in rows][0] == "list.mbox:1"
    assert not problems.failed


@pytest.mark.parametrize(("hard", "said"), [
    (b"Content-Type: message/rfc822\n\n" * 2000, "nest too deeply"),
    (b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i) for i in range(1500)), "nest too deeply"),
    (b"Content-Type: text/plain; " + b"; ".join(b"a*%d=x" % i for i in range(20_000)) + b"\n\n", "hundreds of parameters"),
    (b"Subject: a\ncontent-disposition: a" + b";\n b=c" * 20_000 + b"\n\n", "hundreds of parameters"),
], ids=["messages", "parts", "parameters", "folded"])  # fmt: skip
def test_a_letter_that_the_parser_cannot_take_in_time_is_counted_and_those_around_it_are_kept(
    tmp_path, hard, said
):
    good = [letter(f"Letter {i}.\n").as_bytes() for i in range(2)]
    path = tmp_path / "list.mbox"
    path.write_bytes(b"\n\nFrom a Mon\n".join([b"From a Mon\n" + good[0], hard + b"Some words.\n", good[1]]))
    rows, problems = read(path, "mail")
    assert [row["text"].strip() for row in rows] == ["Letter 0.", "Letter 1."]
    assert problems.failed["not-a-message"]["count"] == 1
    assert said in problems.failed["not-a-message"]["samples"][0]["why"]


@pytest.mark.parametrize("much", [
    b"X-Line: a\n" * 1000 + b"\ntext", b"a: b\n c\n" * 500, b"Subject: a\n\n" + b"b\n" * 2000, b"Subject: a\n\n" + b"word " * 20_000,
], ids=["head", "folded", "lines", "bytes"])  # fmt: skip
def test_a_letter_of_too_much_is_counted_and_those_around_it_are_kept(tmp_path, monkeypatch, much):
    monkeypatch.setattr(mail, "HEAD_BYTES", 3000)
    monkeypatch.setattr(mail, "MAIL_LINES", 1000)
    monkeypatch.setattr(mail, "MAIL_BYTES", 50_000)
    good = [letter(f"Letter {i}.\n").as_bytes() for i in range(3)]
    for many in (1, 30):  # of the second no block that is read at once holds all
        path = tmp_path / "list.mbox"
        path.write_bytes(
            b"\n\nFrom a Mon\n".join([b"From a Mon\n" + good[0], much * many, *good[1:], much * many])
        )
        rows, problems = read(path, "mail")
        assert [row["text"].strip() for row in rows] == ["Letter 0.", "Letter 1.", "Letter 2."]
        assert problems.failed["too-long"]["count"] == 2
        begin = path.read_bytes()[: path.read_bytes().index(much[:50])].count(b"\n")
        assert problems.failed["too-long"]["samples"][0]["at"] == f"list.mbox:{begin}"


def test_the_plain_part_is_taken_and_without_one_the_html(tmp_path):
    both, html = letter("Plain words.", html="<p>Rich words.</p>"), EmailMessage()
    html.set_content(
        "<html><body><p>Only a page, with a sentence that is long enough to be one.</p></body></html>", "html"
    )
    for name, message in (("a.eml", both), ("b.eml", html)):
        (tmp_path / name).write_bytes(message.as_bytes())
    assert read(tmp_path / "a.eml", "mail")[0][0]["text"].strip() == "Plain words."
    assert "Only a page" in read(tmp_path / "b.eml", "mail")[0][0]["text"]


def test_addresses_go_along_only_where_they_are_asked_for(tmp_path):
    (tmp_path / "a.eml").write_bytes(letter("Words.").as_bytes())
    assert set(read(tmp_path / "a.eml", "mail", ("subject",))[0][0]) == {"place", "text", "subject"}
    assert read(tmp_path / "a.eml", "mail", ("from",))[0][0]["from"] == "a@example.org"


def test_a_wrong_charset_is_mended_and_counted(tmp_path):
    raw = b"Content-Type: text/plain; charset=no-such\nContent-Transfer-Encoding: 8bit\n\nna\xefve \x93words\x94\n"
    (tmp_path / "a.eml").write_bytes(raw)
    rows, problems = read(tmp_path / "a.eml", "mail")
    assert rows[0]["text"].strip() == "naïve “words”"
    assert problems.repaired["broken-encoding"]["count"] == 1


@pytest.mark.parametrize("cut", range(0, 700, 37))
def test_damaged_messages_are_read_or_counted(tmp_path, cut):
    raw = bytearray(letter("Words " * 50, html="<p>Words</p>").as_bytes())
    for place in range(cut, min(len(raw), cut + 9)):
        raw[place] ^= 0x95
    (tmp_path / "a.eml").write_bytes(bytes(raw))
    rows, problems = read(tmp_path / "a.eml", "mail", ("subject", "date", "from"))
    assert len(rows) + sum(one["count"] for one in problems.failed.values()) == 1
    for row in rows:
        row["text"].encode()


def test_a_message_without_text_is_counted(tmp_path):
    message = EmailMessage()
    message.add_attachment(b"\0\1\2", maintype="image", subtype="png")
    (tmp_path / "a.eml").write_bytes(message.as_bytes())
    rows, problems = read(tmp_path / "a.eml", "mail")
    assert rows == []
    assert problems.failed["empty"]["count"] == 1


# ----------------------------------------------------------------------------------------------------- epub

CONTAINER = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="b/book.opf"/></rootfiles></container>'
PACKAGE = """<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">
<metadata><dc:title>A Book</dc:title><dc:creator>Somebody</dc:creator><dc:language>en</dc:language></metadata>
<manifest><item id="two" href="two%20.xhtml" media-type="application/xhtml+xml"/>
<item id="one" href="one.xhtml" media-type="application/xhtml+xml"/><item id="css" href="x.css" media-type="text/css"/></manifest>
<spine><itemref idref="one"/><itemref idref="two"/></spine></package>"""


def book(path, **more: str) -> None:
    files = {
        "META-INF/container.xml": CONTAINER, "b/book.opf": PACKAGE, "b/x.css": "p {}",
        "b/one.xhtml": "<html xmlns='http://www.w3.org/1999/xhtml'><body><h1>First</h1><p>It began.</p></body></html>",
        "b/two .xhtml": "<html><body><p>It ended.</p></body></html>",
    } | {name.replace("__", "/"): text for name, text in more.items()}  # fmt: skip
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def test_a_book_is_its_pages_in_their_order(tmp_path):
    book(tmp_path / "a.epub")
    rows, problems = read(tmp_path / "a.epub", "epub", ("title", "creator", "language"))
    assert [row["text"].split() for row in rows] == [["First", "It", "began.", "It", "ended."]]
    assert (rows[0]["title"], rows[0]["creator"], rows[0]["language"]) == ("A Book", "Somebody", "en")
    assert not problems.failed


def test_a_page_that_is_missing_is_counted_and_the_rest_is_kept(tmp_path):
    book(tmp_path / "a.epub", **{"b__book.opf": PACKAGE.replace("two%20.xhtml", "gone.xhtml")})
    rows, problems = read(tmp_path / "a.epub", "epub")
    assert "It began." in rows[0]["text"]
    assert problems.failed["broken-file"]["count"] == 1


def test_an_encrypted_book_is_none(tmp_path):
    locked = {"META-INF__encryption.xml": "<encryption><EncryptedData/></encryption>"}
    book(tmp_path / "a.epub", **locked)
    rows, problems = read(tmp_path / "a.epub", "epub")
    assert rows == []
    assert "encrypted" in problems.failed["broken-file"]["samples"][0]["why"]


@pytest.mark.parametrize("at", range(20, 900, 61))
def test_damaged_books_are_read_or_counted(tmp_path, at):
    book(tmp_path / "a.epub")
    raw = bytearray((tmp_path / "a.epub").read_bytes())
    raw[at % len(raw)] ^= 0x41
    (tmp_path / "a.epub").write_bytes(bytes(raw))
    rows, problems = read(tmp_path / "a.epub", "epub")
    assert rows or problems.failed


@pytest.mark.parametrize("container", ["<container/>", "<container><rootfile/></container>", "<container>"])
def test_a_book_that_does_not_say_what_it_holds_is_counted(tmp_path, container):
    book(tmp_path / "a.epub", **{"META-INF__container.xml": container})
    rows, problems = read(tmp_path / "a.epub", "epub")
    assert rows == []
    assert problems.failed["broken-file"]["count"] == 1


def test_pages_are_read_once_and_no_more_than_a_book_holds(tmp_path, monkeypatch):
    book(tmp_path / "a.epub", **{"b__book.opf": PACKAGE.replace("<spine>", '<spine><itemref idref="one"/>')})
    assert read(tmp_path / "a.epub", "epub")[0][0]["text"].count("It began.") == 1
    monkeypatch.setattr("curate.sources.formats.books.BOOK_BYTES", 1_500)
    book(tmp_path / "b.epub", **{"b__one.xhtml": "x" * 800, "b__two .xhtml": "y" * 800})
    rows, problems = read(tmp_path / "b.epub", "epub")
    assert rows == []
    assert "pages have over 1,500 bytes" in problems.failed["broken-file"]["samples"][0]["why"]


def test_a_bomb_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.sources.formats.books.HTML_BYTES", 10_000)
    book(tmp_path / "a.epub", **{"b__one.xhtml": "<p>" + "x" * 1_000_000})
    rows, problems = read(tmp_path / "a.epub", "epub")
    assert rows == []
    assert "over 10,000 bytes" in problems.failed["broken-file"]["samples"][0]["why"]


# ------------------------------------------------------------------------------------------------ mediawiki

DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="de">
<siteinfo><namespaces><namespace key="0"/><namespace key="6">Datei</namespace><namespace key="14">Kategorie</namespace></namespaces></siteinfo>
<page><title>Apfel</title><ns>0</ns><id>7</id><revision><id>1</id><timestamp>2020-01-01T00:00:00Z</timestamp><text>old</text></revision>
<revision><id>2</id><timestamp>2021-01-01T00:00:00Z</timestamp><text>{{Infobox|x=1}}
[[Datei:Apfel.jpg|mini|Ein [[Apfel]] am Baum]]
Der '''Apfel''' ist eine [[Frucht|essbare Frucht]].&lt;ref&gt;Quelle&lt;/ref&gt;

{| class="wikitable"
! Sorte
|}
== Anbau ==
* Im Garten
[[Kategorie:Obst]]</text></revision></page>
<page><title>Diskussion:Apfel</title><ns>1</ns><id>8</id><revision><text>Rede</text></revision></page>
<page><title>Äpfel</title><ns>0</ns><id>9</id><redirect title="Apfel"/><revision><text>#WEITERLEITUNG [[Apfel]]</text></revision></page>
</mediawiki>"""


@pytest.mark.parametrize("packed", [False, True])
def test_articles_of_a_dump_without_their_markup(tmp_path, packed):
    pytest.importorskip("mwparserfromhell", reason='needs the extra "wiki"')
    raw = DUMP.encode()
    half = len(raw) // 2  # dumps are of several streams, one behind the other
    path = tmp_path / ("a.xml.bz2" if packed else "a.xml")
    path.write_bytes(bz2.compress(raw[:half]) + bz2.compress(raw[half:]) if packed else raw)
    rows, problems = read(path, "mediawiki", ("title", "page_id", "timestamp"))
    (row,) = rows
    assert "Der Apfel ist eine essbare Frucht." in row["text"]
    assert "Im Garten" in row["text"]
    for gone in ("Infobox", "mini", "Quelle", "Obst", "Sorte", "'''"):
        assert gone not in row["text"]
    assert (row["title"], row["page_id"], row["timestamp"]) == ("Apfel", "7", "2021-01-01T00:00:00Z")
    assert problems.failed["not-an-article"]["count"] == 2


def test_a_dump_that_breaks_off_keeps_what_came_before(tmp_path):
    pytest.importorskip("mwparserfromhell", reason='needs the extra "wiki"')
    path = tmp_path / "a.xml"
    path.write_bytes(DUMP.encode()[:-100])
    rows, problems = read(path, "mediawiki")
    assert len(rows) == 1
    assert problems.failed["not-a-dump"]["count"] == 1


def test_what_is_missing_is_said_with_the_extra():
    from curate.errors import InputError

    absent = replace(FORMATS["mediawiki"], requires=("no-such-library",))
    with pytest.raises(InputError, match="pip install"):
        absent.libraries(Source("s", "mediawiki", ("a.xml",)))
