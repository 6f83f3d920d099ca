"""Formats pdf and latex: what a reader would see is the text, and what is none is counted, never a crash."""

from __future__ import annotations

import io
import os
import signal
import tarfile
import zlib
from contextlib import suppress

import pytest
from test_letters_and_books import read

from curate.errors import InputError
from curate.sources import members
from curate.sources.formats import FORMATS, papers, tex
from curate.sources.rows import Input, Problems
from curate.spec.manifest import Source

pdf_needed = pytest.mark.skipif(bool(FORMATS["pdf"].missing()), reason='needs the extra "papers"')
latex_needed = pytest.mark.skipif(bool(FORMATS["latex"].missing()), reason='needs the extra "papers"')

# ------------------------------------------------------------------------------------------------------ pdf


def stream(data: bytes, more: bytes = b"") -> bytes:
    packed = zlib.compress(data, 9)
    return b"<</Filter/FlateDecode/Length %d%b>>stream\n%b\nendstream" % (len(packed), more, packed)


def pdf(objects: dict[int, bytes], trailer: bytes = b"") -> bytes:
    made, at = bytearray(b"%PDF-1.7\n"), {}
    for number, body in objects.items():
        at[number] = len(made)
        made += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    begin, size = len(made), max(objects) + 1
    table = b"".join(b"%010d 00000 n \n" % at.get(number, 0) for number in range(1, size))
    made += b"xref\n0 %d\n0000000000 65535 f \n%b" % (size, table)
    return bytes(
        made + b"trailer\n<</Size %d/Root 1 0 R%b>>\nstartxref\n%d\n%%%%EOF\n" % (size, trailer, begin)
    )


def paper(
    *pages: bytes, resources: bytes = b"", more: dict[int, bytes] | None = None, trailer: bytes = b""
) -> bytes:
    """Pages of these drawing commands."""
    numbers = range(10, 10 + 2 * len(pages), 2)
    objects = {1: b"<</Type/Catalog/Pages 2 0 R>>", 3: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"}
    kids = b" ".join(b"%d 0 R" % number for number in numbers)
    objects[2] = b"<</Type/Pages/Kids[%b]/Count %d>>" % (kids, len(pages))
    for number, page in zip(numbers, pages, strict=True):
        objects[number] = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents %d 0 R/Resources<</Font<</F 3 0 R>>%b>>>>" % (
            number + 1, resources)  # fmt: skip
        objects[number + 1] = stream(page)
    return pdf(objects | (more or {}), trailer)


def lines(*text: str) -> bytes:
    shown = b"".join(b"(%b) Tj 0 -14 Td " % line.encode("latin-1") for line in text)
    return b"BT /F 12 Tf 72 700 Td %bET" % shown


INFO = b"<</Title(On Paper)/Author(A. Writer)/CreationDate(D:20210309134950+01'00')>>"
FORM = b"/Type/XObject/Subtype/Form/BBox[0 0 612 792]/Resources<</Font<</F 3 0 R>>/XObject<</X %d 0 R>>>>"


@pdf_needed
def test_the_pages_of_a_paper_are_one_document_with_what_it_says_of_itself(tmp_path):
    raw = paper(
        lines("One line of it.", "And another."),
        lines("The second page."),
        more={4: INFO},
        trailer=b"/Info 4 0 R",
    )
    (tmp_path / "a.pdf").write_bytes(raw)
    rows, problems = read(tmp_path / "a.pdf", "pdf", ("title", "author", "date", "pages"))
    assert [row["text"] for row in rows] == ["One line of it.\nAnd another.\nThe second page."]
    assert [row[name] for row in rows for name in ("title", "author", "date", "pages")] == [
        "On Paper", "A. Writer", "2021-03-09", "2",
    ]  # fmt: skip
    assert not problems.failed
    (tmp_path / "b.pdf").write_bytes(
        paper(lines("Text."), more={4: INFO.replace(b"D:2021", b"about ")}, trailer=b"/Info 4 0 R")
    )
    assert read(tmp_path / "b.pdf", "pdf", ("date",))[0][0]["date"] is None


@pytest.mark.parametrize(("text", "made"), [
    ("an exam\x02ple of it", "an example of it"),
    ("well-known, and well\x02known", "well-known, and well-known"),
    ("Wellknown well-known well-known well\x02known", "Wellknown well-known well-known well-known"),
    ("a dash \x02 alone", "a dash - alone"),
])  # fmt: skip
def test_a_split_word_keeps_its_hyphen_where_the_text_writes_it_with_one(text, made):
    assert papers.joined(text) == made


@pdf_needed
def test_a_line_that_ends_in_a_hyphen_is_joined_to_the_next(tmp_path):
    (tmp_path / "a.pdf").write_bytes(paper(lines("This is an exam-", "ple of lines.")))
    assert read(tmp_path / "a.pdf", "pdf")[0][0]["text"] == "This is an example of lines."


@pdf_needed
@pytest.mark.parametrize(("raw", "cause"), [
    (paper(b"0 0 100 100 re f"), "empty"),
    (paper(lines("a"), more={4: b"<</Filter/Standard/V 1/R 2/O(%b)/U(%b)/P -4>>" % (b"o" * 32, b"u" * 32)}, trailer=b"/Encrypt 4 0 R/ID[(a)(a)]"),
     "encrypted"),
    (b"%PDF-1.4\n", "broken-file"),
    (b"words\n" * 100, "broken-file"),
    (pdf({1: b"<</Type/Catalog/Pages 2 0 R>>", 2: b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 1000000000>>"}), "broken-file"),
    (pdf({1: b"<</Type/Catalog/Pages 2 0 R>>", 2: b"<</Type/Pages/Kids[%b]/Count 30000>>" % (b"3 0 R " * 30_000),
          3: b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>"}), "too-long"),
    (paper(b"/X Do " * 10, resources=b"/XObject<</X 30 0 R>>",
           more={30 + i: stream(b"/X Do " * 10, FORM % (31 + i)) for i in range(20)}), "bomb"),
    (paper(b"/X Do", resources=b"/XObject<</X 30 0 R>>", more={30: stream(b"/X Do /X Do", FORM % 30)}), "bomb"),
    (paper(b" " * 1_100_000_000), "bomb"),
], ids=["drawn", "encrypted", "head", "text", "loop", "pages", "forms", "itself", "unpacked"])  # fmt: skip
def test_what_is_no_paper_is_counted_and_the_next_file_is_read(tmp_path, raw, cause):
    (tmp_path / "a.pdf").write_bytes(raw)
    (tmp_path / "b.pdf").write_bytes(paper(lines("Still read.")))
    problems = Problems()
    items = [Input(str(tmp_path / name), name, 1, "") for name in ("a.pdf", "b.pdf")]
    source = Source("s", "pdf", (str(tmp_path),))
    rows = [row for table in FORMATS["pdf"].read(source, items, problems) for row in table.to_pylist()]
    assert [row["text"] for row in rows] == ["Still read."]
    assert {name: entry["count"] for name, entry in problems.failed.items()} == {cause: 1}
    assert problems.failed[cause]["samples"][0]["at"] == "a.pdf"


@pdf_needed
@pytest.mark.parametrize("cut", range(0, 900, 97))
def test_damaged_papers_are_read_or_counted(tmp_path, cut):
    raw = bytearray(paper(lines("Words " * 9), lines("More words.")))
    raw[cut : cut + 9] = bytes(byte ^ 0x95 for byte in raw[cut : cut + 9])
    (tmp_path / "a.pdf").write_bytes(bytes(raw))
    rows, problems = read(tmp_path / "a.pdf", "pdf", ("title", "date"))
    assert len(rows) + sum(one["count"] for one in problems.failed.values()) == 1


@pdf_needed
def test_a_reader_that_was_killed_from_outside_is_no_fault_of_the_file(tmp_path):
    pdfium = papers._Pdfium()
    try:
        assert pdfium.ask(paper(lines("a")), "a.pdf")["texts"] == ["a"]
        os.kill(pdfium.process.pid, signal.SIGKILL)
        pdfium.process.wait()
        with pytest.raises(InputError, match=r"a\.pdf: .* ended from outside \(SIGKILL\); run it again"):
            pdfium.ask(paper(lines("a")), "a.pdf")
    finally:
        pdfium.close()


# ---------------------------------------------------------------------------------------------------- latex

TEX = (
    r"""% a comment
\documentclass{article}
\usepackage[latin1]{inputenc}
\newcommand{\method}{FooNet\xspace}
\newcommand{\red}[2][x]{\textbf{#2 (#1)}}
\def\R{\mathbb{R}}
\DeclareMathOperator{\best}{best}
\title[short]{A \method{} title}
\author{A. B\"ob \and C. D\thanks{funded}}
\begin{document}
\maketitle
We use \method,% why
 and caf"""
    + "\xe9"
    + r""". 50\% of
the time.
\section{Intro}\label{a}
As \cite{knuth84} shows in Fig.~\ref{x}, $x \in
\R$ and \[ \best_x f(x) \] holds\footnote{A note.}.
\begin{equation}\label{e} a = \red{c} \end{equation}
\begin{figure}[t]\includegraphics[width=3cm]{a.pdf}\caption{A \emph{nice} $y$.}\end{figure}
\begin{tabular}{ll} a & b \end{tabular}
\begin{itemize}
\item First
\item[B.] ``Second''
\end{itemize}
\begin{verbatim}
 def f(x):  # 100%
\end{verbatim}
Use \verb|a_{| and \red[y]{word}. \unknown{kept} \today
\iffalse no \fi
\end{document}
after"""
)
PLAIN = r"""We use FooNet,and café. 50% of the time.

Intro

As [knuth84] shows in Fig. [x], $x \in \mathbb{R}$ and
$$\operatorname{best}_x f(x)$$
holds[A note.].
$$a = \textbf{c (x)}$$

A nice $y$.

- First
B. “Second”

 def f(x):  # 100%

Use a_{ and word (y). kept"""


def tex_read(tmp_path, text: str) -> tuple[list[dict], Problems]:
    (tmp_path / "a.tex").write_bytes(text.encode("latin-1"))
    return read(tmp_path / "a.tex", "latex", ("title", "author"))


@latex_needed
def test_a_manuscript_becomes_text_with_its_formulas_as_they_are(tmp_path):
    rows, problems = tex_read(tmp_path, TEX)
    assert rows == [{"place": "a.tex", "text": PLAIN, "title": "A FooNet title", "author": "A. Böb, C. D"}]
    assert not problems.failed
    assert not problems.repaired


@latex_needed
@pytest.mark.parametrize(("text", "cause"), [
    ("Only words.", "no-document"),
    (r"\begin{document}" + "{" * 200 + "a" + "}" * 200 + r"\end{document}", "too-nested"),
    (r"\begin{document}" + r"\begin{center}" * 200, "too-nested"),
    ("".join(rf"\newcommand{{\q{a}}}{{{(chr(92) + 'q' + b) * 10}}}" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
     + r"\begin{document}\qa\end{document}", "bomb"),
    (r"\def\qa{a\qa\qa\qa\qa\qa\qa\qa\qa\qa}\begin{document}\qa\end{document}", "bomb"),
    (r"\begin{document}" + "word " * 1_000_000, "too-long"),
    (r"\begin{document}" + r"\cite[" * 3000, "not-latex"),
], ids=["fragment", "braces", "environments", "laughs", "itself", "long", "open"])  # fmt: skip
def test_what_is_no_manuscript_is_counted(tmp_path, text, cause):
    rows, problems = tex_read(tmp_path, text)
    assert rows == []
    assert {name: entry["count"] for name, entry in problems.failed.items()} == {cause: 1}


@latex_needed
@pytest.mark.parametrize("cut", range(0, len(TEX), 61))
def test_damaged_manuscripts_are_read_or_counted(tmp_path, cut):
    rows, problems = tex_read(tmp_path, TEX[:cut] + r"{\begin{$\[[" + TEX[cut + 7 :])
    assert len(rows) + sum(one["count"] for one in problems.failed.values()) == 1


@latex_needed
def test_a_document_that_ends_in_the_middle_of_a_command_is_read(tmp_path):
    for end in (r"\href", r"\section", r"\cite", r"\item", r"\caption", r"\begin{figure}", "$x"):
        rows, problems = tex_read(tmp_path, r"\begin{document}Some words." + end)
        assert rows[0]["text"].startswith("Some words."), (end, problems)


@latex_needed
def test_files_of_an_archive_stand_where_its_document_takes_them_in(tmp_path):
    files = {
        "p/main.tex": r"\input{../p/macros}\begin{document}Begin. \input{parts/one} \include{two}\input{gone} End.\end{document}",
        "p/macros.tex": r"\newcommand{\who}{Ada}",
        "p/parts/one.tex": r"One by \who.\input{parts/deep.tex}",
        "p/parts/deep.tex": "Deep. \\input{main}",
        "p/two.tex": "Two.",
        "p/left.tex": "Nobody asks for it.",
    }  # fmt: skip
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    (tmp_path / "b.tex").write_text(r"\begin{document}Alone. \input{a}\end{document}")
    source, problems = Source("s", "latex", (str(tmp_path),)), Problems()
    items = [Input(str(tmp_path / name), name, path.stat().st_size, "") for name in ("a.tar.gz", "b.tex")]
    tables = FORMATS["latex"].read(source, members.members(source, items, problems), problems)
    rows = {row["place"]: row["text"] for table in tables for row in table.to_pylist()}
    assert rows == {"a.tar.gz!p/main.tex": "Begin. One by Ada.Deep. Two. End.", "b.tex": "Alone."}
    assert [one["at"] for one in problems.failed["no-document"]["samples"]] == ["a.tar.gz!p/left.tex"]


@latex_needed
def test_files_that_take_in_each_other_without_end_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(tex, "TEX_BYTES", 100_000)
    texts = {"a!m.tex": r"\begin{document}\input{b}", "a!b.tex": r"\input{b}\input{b}" + "w" * 1000}
    with pytest.raises(tex._Refused, match="too-long"):
        tex._whole("a!m.tex", texts, set())
    with suppress(tex._Refused):
        assert tex._whole("a!m.tex", texts | {"a!b.tex": r"\input{m}"}, set())


@latex_needed
@pytest.mark.parametrize(
    "text", ["some words " * 4000, "\n" * 20_000, "w" * 20_000], ids=["words", "lines", "word"]
)
def test_long_text_without_markup_is_read_in_pieces_and_stays_as_it_is(text):
    assert max(map(len, tex.PLAIN.sub(r"\g<0>{}", text).split("{}"))) <= 4000
    assert tex._plain(text) == text.strip()
