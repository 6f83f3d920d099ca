"""Formats of manuscripts: latex, a file with a document in it, or an archive of such a file and those that it takes in.

Commands that the files define are expanded, then pylatexenc reads what is between \\begin{document} and \\end{document}.
Formulas stay TeX. Of figures and tables the captions stay, of citations and references the keys.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterable, Iterator
from functools import cache, partial
from itertools import groupby
from typing import Any

import pyarrow as pa

from curate.sources.characters import without_surrogates
from curate.sources.formats.format import Format, packed
from curate.sources.formats.mail import characters_as
from curate.sources.formats.pages import Found, reading
from curate.sources.opening import read_at_most
from curate.sources.rows import Input, Problems
from curate.spec.manifest import FOLDER, Source

TEX_BYTES = 4_000_000  # of a document with all that it takes in, before and after commands are expanded
MEMBERS_BYTES = 64_000_000  # of the files of an archive
MOST_DEEP, MOST_PASSES = 80, 8
PARAGRAPH, LINE = "\ufdd0", "\ufdd1"
# What is verbatim hides from everything that reads TeX behind characters that no text has.
HIDDEN = {ord(c): 0xFDD1 + i for i, c in enumerate("\n \t\\{}$&#^_~%[]`'-<>\"!?")}
SHOWN = {there: here for here, there in HIDDEN.items()}

DOCUMENT = re.compile(r"\\begin\s*\{document\}(.*?)(?:\\end\s*\{document\}|\Z)", re.S)
# Verbatim text; what is commented out; any other command, so that none begins in the middle of one.
COMMENT = re.compile(
    r"\\begin\{(?P<name>verbatim\*?|[BL]?Verbatim|lstlisting|minted|alltt)\}(?:[\[{][^\]}\n]*[\]}])*(?P<lines>.*?)(?:\\end\{(?P=name)\}|\Z)"
    r"|\\verb\*?(?P<mark>[^\sA-Za-z*])(?P<code>[^\n]{0,300}?)(?P=mark)|\\iffalse\b.*?(?:\\fi\b|\Z)|(?P<other>\\.)"
    r"|%[^\n]*(?:\n[ \t]*(?![ \t\n]))?",
    re.S,
)
TAKEN_IN = re.compile(r"\\(?:input|include|subfile)\s*(?:\{([^{}]+)\}|([^\s{}\\]+))")
ENCODING = re.compile(rb"\\usepackage\s*\[([\w-]+)\]\s*\{inputenc\}")
DEFINITION = re.compile(
    r"\\(?:newcommand|renewcommand|providecommand|DeclareRobustCommand|(?P<operator>DeclareMathOperator)|[gx]?def)\s*+\*?\s*+"
    r"\{?\s*+\\(?P<name>[A-Za-z]++)\s*+\}?\s*+(?:\[(?P<count>\d)\])?\s*+(?:\[(?P<first>[^\[\]]*)\])?(?P<marks>(?:#\d)*)\s*+(?=\{)"
)
# Commands of these need TeX itself.
NOT_EXPANDED = re.compile(r"\\(?:if|else|fi|csname|expandafter|catcode|begingroup|@)")
NESTING = re.compile(r"\\begin\b|\\end\b|\\.|[{}]", re.S)
ABOUT = re.compile(r"\\(title|author)\s*(?:\[[^\[\]]{0,500}\])?\s*(?=\{)")
LABEL = re.compile(r"\\(?:label|tag)\s*\{[^{}]*\}")
# What goes, arguments and all, by how pylatexenc writes those.
GONE = {
    "*{": ("hspace", "vspace"),
    "[{": ("includegraphics", "color", "thanks", "title", "author", "index"),
    "{{": ("setlength", "addtolength", "setcounter", "addtocounter"),
    "{": ("bibliographystyle", "bibliography", "pagestyle", "thispagestyle", "label", "pagenumbering", "nocite"),
    "": ("maketitle", "today", "tableofcontents", "xspace", "centering"),
}  # fmt: skip
KEYS = ("cite", "citet", "citep", "citealp", "citealt", "citeauthor", "citeyear", "parencite", "textcite", "autocite",
        "ref", "eqref", "autoref", "cref", "Cref", "pageref")  # fmt: skip
TITLES = ("part", "chapter", "section", "subsection", "subsubsection", "paragraph", "subparagraph", "caption")
FORMULAS = ("equation", "displaymath", "math", "dmath", "align", "eqnarray", "gather", "multline", "alignat",
            "flalign")  # fmt: skip
BARE = FORMULAS[:4]  # without `begin` and `end`
FLOATING = ("figure", "table", "wrapfigure", "wraptable", "sidewaystable", "sidewaysfigure", "algorithm")
DRAWN = ("tabular", "tabularx", "tabulary", "longtable", "tikzpicture", "picture", "pspicture", "pgfpicture", "algorithmic",
         "thebibliography", "filecontents", "comment")  # fmt: skip
# The library takes the square of the length of what has no markup.
PLAIN = re.compile(r"[^\\{}$%&#~^_\[\]]{999}\w(?=\w)|[^\\{}$%&#~^_\[\]]{4000}")
PARAMETER = re.compile(r"#(\d)")


class _Refused(Exception):
    """(cause, why)"""


def _latex(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
    groups: Any = groupby(inputs, lambda item: item.url)  # the members of an archive, else a file
    yield from reading(_manuscripts)(source, groups, problems)


def _manuscripts(source: Source, group: Any, problems: Problems) -> Iterator[Found]:
    texts: dict[str, str] = {}
    for item in group[1]:
        raw = read_at_most(item, TEX_BYTES, problems)
        if raw is not None and sum(map(len, texts.values())) + len(raw) > MEMBERS_BYTES:
            problems.fail(
                "too-long", item.name, f"the files of its archive have over {MEMBERS_BYTES:,} bytes"
            )
        elif raw is not None:
            said = ENCODING.search(raw)
            text = characters_as(raw, said[1].decode() if said else None, item.name, problems)
            texts[item.name] = COMMENT.sub(_uncommented, without_surrogates(text, item.name, problems))
    mains, taken = [name for name, text in texts.items() if DOCUMENT.search(text)], set[str]()
    for name in mains:
        try:
            text, fields = _document(_whole(name, texts, taken))
        except _Refused as error:
            problems.fail(error.args[0], name, error.args[1])
        except Exception as error:  # what the library raises of markup that is none is not said anywhere
            problems.fail("not-latex", name, f"{type(error).__name__}: {error}")
        else:
            yield name, text, fields
    for name in sorted(texts.keys() - taken - {*mains}):
        problems.fail(
            "no-document", name, "it has no \\begin{document}, and no document of its archive takes it in"
        )


def _uncommented(found: re.Match) -> str:
    if found["name"]:
        return PARAGRAPH + found["lines"].strip("\n").translate(HIDDEN) + PARAGRAPH
    return found["code"].translate(HIDDEN) if found["code"] else found["other"] or ""


def _whole(main: str, texts: dict[str, str], taken: set[str]) -> str:
    """A document with the files that it takes in; those that its archive lacks are left out."""
    archive, mark, inside = main.rpartition("!")
    left = TEX_BYTES

    def file(found: re.Match) -> str:
        nonlocal left
        path = posixpath.normpath(posixpath.join(posixpath.dirname(inside), (found[1] or found[2]).strip()))
        name = next((one for end in ("", ".tex") if (one := archive + mark + path + end) in texts), "")
        taken.add(name)
        text = texts.get(name, "") if name != main else ""
        left -= len(text)
        if left < 0:
            raise _Refused("too-long", f"over {TEX_BYTES:,} characters with what it takes in")
        part = DOCUMENT.search(text)
        return part[1] if part else text

    text = texts[main]
    for _ in range(MOST_PASSES):
        if not TAKEN_IN.search(text):
            break
        text = TAKEN_IN.sub(file, text)
    return TAKEN_IN.sub("", text)


def _document(text: str) -> tuple[str, dict[str, Any]]:
    text = _expanded(text)
    ends = _ends(text)
    fields = {one[1]: text[one.end() + 1 : ends.get(one.end(), one.end())] for one in ABOUT.finditer(text)}
    body = DOCUMENT.search(text)
    about = {
        name: " ".join(_plain(value).split()).replace(" ,", ",") or None for name, value in fields.items()
    }
    return _plain(body[1] if body else ""), about


def _ends(text: str) -> dict[int, int]:
    """{where a brace opens: where it closes}"""
    ends, opened, deep = dict[int, int](), list[int](), 0
    for found in NESTING.finditer(text):
        deep = max(0, deep + {"\\begin": 1, "\\end": -1}.get(found[0], 0))
        if found[0] == "{":
            opened.append(found.start())
        elif found[0] == "}" and opened:
            ends[opened.pop()] = found.start()
        if len(opened) + deep > MOST_DEEP:
            raise _Refused("too-nested", f"braces and environments nested over {MOST_DEEP} deep")
    return ends


def _expanded(text: str) -> str:
    """Without definitions, and with what they define; commands within commands up to MOST_PASSES deep."""
    ends, rest, at = _ends(text), list[str](), 0
    commands: dict[str, tuple[int, str | None, str]] = {}
    for found in DEFINITION.finditer(text):
        if found.start() < at or found.end() not in ends:
            continue
        rest.append(text[at : found.start()])
        at = ends[found.end()] + 1
        body = text[found.end() + 1 : at - 1]
        body = rf"\operatorname{{{body}}}" if found["operator"] else body
        if not NOT_EXPANDED.search(body) and not _is_known(found["name"]):
            count = int(found["count"] or len(found["marks"]) // 2)
            commands[found["name"]] = count, found["first"] if found["count"] else None, body
    text = "".join(rest) + text[at:]
    name = re.compile(rf"\\({'|'.join(commands)})(?![A-Za-z])")
    for _ in range(MOST_PASSES if commands else 0):
        rest, at, size, ends = [], 0, len(text), _ends(text)
        while match := name.search(text, at):
            count, first, body = commands[match[1]]
            given, end = _arguments(text, match.end(), count, first, ends)
            new = PARAMETER.sub(partial(_given, given), body)
            rest += text[at : match.start()], new
            at, size = end, size + len(new)
            if size > TEX_BYTES:
                raise _Refused("bomb", f"over {TEX_BYTES:,} characters once commands are expanded")
        if not rest:
            break
        text = "".join(rest) + text[at:]
    return text


def _given(given: list[str], mark: re.Match) -> str:
    return "".join(given[int(mark[1]) - 1 : int(mark[1])])


def _arguments(
    text: str, at: int, count: int, first: str | None, ends: dict[int, int]
) -> tuple[list[str], int]:
    """(the arguments of a command, where they end)"""
    given: list[str] = []
    if first is not None:
        close = text.find("]", at, at + 1000) if text[at : at + 1] == "[" else -1
        given, at = ([text[at + 1 : close]], close + 1) if close > 0 else ([first], at)
    while len(given) < count:
        start = at + len(text[at : at + 100]) - len(text[at : at + 100].lstrip())
        end = ends.get(start)
        given.append(text[start + 1 : end] if end else text[start : start + 1])
        at = (end or start) + 1
    return given, at


def _is_known(command: str) -> bool:
    return any(one.get_macro_spec(command).macroname for one in _contexts() if one.get_macro_spec(command))


def _plain(tex: str) -> str:
    from pylatexenc.latexwalker import LatexWalker

    walker, reader = _contexts()[0], _reader()
    tex = PLAIN.sub(r"\g<0>{}", tex)
    text = reader.nodelist_to_text(LatexWalker(tex, latex_context=walker).get_latex_nodes()[0])
    text = " ".join(re.sub(r"\n\s*\n", PARAGRAPH, text).split())
    paragraphs = re.sub(f" ?{LINE} ?", LINE, text).split(PARAGRAPH)
    text = "\n\n".join(filter(None, (one.strip(f" {LINE}") for one in paragraphs)))
    return text.translate(SHOWN)


@cache
def _contexts() -> tuple[Any, Any]:
    """(how commands are parsed, what becomes of them)"""
    from pylatexenc import latex2text, latexwalker
    from pylatexenc.latex2text import EnvironmentTextSpec, MacroTextSpec
    from pylatexenc.macrospec import EnvironmentSpec, std_macro

    formulas, floating, drawn = (
        [n + s for n in names for s in ("", "*")] for names in (FORMULAS, FLOATING, DRAWN)
    )
    written = [*GONE.items(), ("*[[{", KEYS), ("*[{", TITLES), ("{{", ("href",))]
    parsed, made = latexwalker.get_default_latex_context_db(), latex2text.get_default_latex_context_db()
    parsed.add_context_category(
        "curate", prepend=True, macros=[std_macro(name, args) for args, names in written for name in names],
        environments=[EnvironmentSpec(name, is_math_mode=True) for name in formulas],
    )  # fmt: skip
    shown = {"item": _item, "and": ", ", "href": _last, "LaTeX": "LaTeX", "TeX": "TeX", "LaTeXe": "LaTeX2e"}
    macros = [
        (sum(GONE.values(), ()), _nothing),
        (KEYS, _key),
        (TITLES, _title),
        *(((n,), to) for n, to in shown.items()),
    ]
    environments = [(formulas, _formula), (floating, _captions), (drawn, _nothing)]
    made.add_context_category(
        "curate", prepend=True, macros=[MacroTextSpec(name, to) for names, to in macros for name in names],
        environments=[EnvironmentTextSpec(name, to) for names, to in environments for name in names],
    )  # fmt: skip
    return parsed, made


@cache
def _reader() -> Any:
    from pylatexenc.latex2text import LatexNodes2Text

    class Reader(LatexNodes2Text):
        def math_node_to_text(self, node: Any) -> str:
            mark = "$$" if node.displaytype == "display" else "$"
            return _tex(node.nodelist, mark)

    logging.getLogger("pylatexenc").setLevel(logging.CRITICAL)
    return Reader(latex_context=_contexts()[1])


def _tex(nodes: Any, mark: str) -> str:
    tex = LABEL.sub("", "".join(node.latex_verbatim() for node in nodes if node is not None))
    around = LINE if mark == "$$" else ""
    return f"{around}{mark}{' '.join(tex.split())}{mark}{around}"


def _formula(node: Any, l2tobj: Any) -> str:
    return _tex(node.nodelist if node.environmentname.rstrip("*") in BARE else [node], "$$")


def _nothing(node: Any) -> str:
    return ""


def _key(node: Any) -> str:
    given = node.nodeargd and node.nodeargd.argnlist[-1]
    return f"[{given.latex_verbatim().strip('{}')}]" if given else ""


def _last(node: Any, l2tobj: Any) -> str:
    return l2tobj.node_arg_to_text(node, -1) if node.nodeargd and node.nodeargd.argnlist else ""


def _title(node: Any, l2tobj: Any) -> str:
    return PARAGRAPH + _last(node, l2tobj) + PARAGRAPH


def _item(node: Any, l2tobj: Any) -> str:
    return LINE + (l2tobj.nodelist_to_text([node.nodeoptarg]) + " " if node.nodeoptarg else "- ")


def _captions(node: Any, l2tobj: Any) -> str:
    found = ""
    for child in node.nodelist or ():
        if getattr(child, "macroname", "") == "caption":
            found += _title(child, l2tobj)
        elif getattr(child, "nodelist", None):
            found += _captions(child, l2tobj)
    return found


LATEX = Format(
    "latex", _latex, 3e5, packed("*.tex", "*.ltx"), fields=(("title", "author"), ()), requires=("pylatexenc",), group=FOLDER,
)  # fmt: skip
