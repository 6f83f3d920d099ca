"""Parts of pages that plain text would lose or garble, mended in the tree before the text is taken.

Formulas become TeX, once; powers keep their mark; tables of data become lines of cells; lists keep their numbers, and stay
where they are prose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

# Line numbers beside code, as Pygments, Rouge, SyntaxHighlighter, GitHub and highlight.js write them.
LINE_NUMBERS = ("td.linenos", ".linenodiv", ".lineno", "span.linenos", "td.gutter", ".syntaxhighlighter .gutter",
                ".blob-num", ".hljs-ln-numbers", ".line-numbers-rows", ".rouge-gutter", "pre .ln",
                "pre .line-number")  # fmt: skip
TEX_SCRIPTS = "script[type^='math/tex']"
RENDERED = ("MathJax", "mjx-")  # in classes of what MathJax drew beside its script
FORMULAS = (
    ".mwe-math-element, .katex, mjx-container, math, img.tex, img.latex, img.math, img[class*='math-'], "
    "img[src*='latex'], img[src*='/math/render/']"
)
DRAWN_WHOLE = ".mwe-math-element, .katex, mjx-container"
DISPLAYED = (
    ".katex-display, .MathJax_Display, .mwe-math-fallback-image-display, "
    "mjx-container[display='true'], math[display='block']"
)
IN_STYLE = re.compile(r"^\{?\s*\\(?:display|text)style\b\s*(.*?)\}?\s*$", re.S)
SPACES = re.compile(r"\s+")
POWER = re.compile(r"[+\-−–]?\d{1,4}|[+\-−–]|[nkmxyijT]")
INDEX = re.compile(r"[ijkmnt]|\d{0,2}[ijkmn][,+\-]?\d?")
NOTE = re.compile(r"[\[(]?[\d*†‡§a-z]{1,3}[\])]?")
MOST_ITEMS = 2000  # that are put before all lists of a page together
DEEPEST_FORMULA = 50
SHALLOW = 4  # depth below the body: lists above it are taken for navigation, whatever is in them
# Of the text of a list that is prose, links hold less; from the first share on Resiliparse takes it for navigation.
LINKED, MOST_LINKED = 0.2, 0.4
LONGEST_CELL = 300  # characters; tables with longer ones lay out a page


def mend(tree: Any) -> None:
    """Change the tree. What stands in cells and items is mended before the tables and lists that it stands in."""
    for change in (_formulas, _powers, _numbers, _lists, _tables):
        change(tree)


def _formulas(tree: Any) -> None:
    for script in _all(tree, TEX_SCRIPTS):
        while (drawn := script.previous_element_sibling) is not None and _is_drawn(drawn):
            drawn.remove()
        _put(tree, script, script.text, "mode=display" in script["type"])
    for node in _all(tree, FORMULAS):
        whole = node.closest(DRAWN_WHOLE)
        if (whole is None or whole == node) and (tex := _tex_in(node)):
            shown = node.closest(DISPLAYED) is not None or node.query_selector(DISPLAYED) is not None
            _put(tree, node, tex, shown)


def _is_drawn(node: Any) -> bool:
    return any(name in (node.class_name or "") for name in RENDERED)


def _put(tree: Any, node: Any, tex: str, shown: bool) -> None:
    tex = SPACES.sub(" ", tex).strip().strip("$").strip()
    if within := IN_STYLE.match(tex):
        tex = within[1].strip()
    mark = "$$" if shown else "$"
    node.replace_with(tree.document.create_text_node(f"{mark}{tex}{mark}"))


def _tex_in(node: Any) -> str:
    """TeX of a formula: its annotation, its alternative text, or what its MathML says."""
    if node.tag == "img":
        return node.getattr("alt") or ""
    if (note := node.query_selector("annotation[encoding*='tex' i]")) is not None:
        return note.text
    math = node if node.tag == "math" else node.query_selector("math")
    if math is not None:
        return math.getattr("alttext") or _tex(math)
    image = node.query_selector("img[alt]")
    return image["alt"] if image is not None else ""


def _tex(node: Any, left: int = DEEPEST_FORMULA) -> str:
    """TeX of presentational MathML; the text alone of what is nested deeper than any formula."""
    if not left:
        return SPACES.sub(" ", node.text).strip()
    parts = [_tex(child, left - 1) for child in node.child_nodes[:] if child.tag != "annotation"]
    name = node.tag
    if name == "#text":
        return node.value.strip()
    if name in ("mrow", "math", "semantics", "mstyle", "mi", "mn", "mo", "mtext", "mpadded"):
        return " ".join(filter(None, parts))
    parts = [part for part in parts if part] + [""] * 3
    a, b, c = parts[:3]
    forms = {
        "msup": f"{{{a}}}^{{{b}}}", "msub": f"{{{a}}}_{{{b}}}", "msubsup": f"{{{a}}}_{{{b}}}^{{{c}}}",
        "munder": f"{{{a}}}_{{{b}}}", "mover": f"{{{a}}}^{{{b}}}", "munderover": f"{{{a}}}_{{{b}}}^{{{c}}}",
        "mfrac": f"\\frac{{{a}}}{{{b}}}", "msqrt": f"\\sqrt{{{' '.join(filter(None, parts))}}}",
        "mroot": f"\\sqrt[{b}]{{{a}}}",
        "mtr": " & ".join(filter(None, parts)), "mfenced": f"({', '.join(filter(None, parts))})",
    }  # fmt: skip
    return forms.get(name, " ".join(filter(None, parts)))


def _powers(tree: Any) -> None:
    """`10<sup>6</sup>` is 10^6, `x<sub>i</sub>` x_i, and links to notes go. Ordinals and formulas of chemistry stay."""
    for node in _all(tree, "sup, sub"):
        form, mark = (POWER, "^") if node.tag == "sup" else (INDEX, "_")
        text = node.text.strip()
        if node.tag == "sup" and NOTE.fullmatch(text) and node.query_selector("a") is not None:
            node.decompose()
        elif form.fullmatch(text) and (before := node.prev) is not None and before.text[-1:].strip():
            node.prepend(tree.document.create_text_node(mark))


def _numbers(tree: Any) -> None:
    """Lists that begin at another number than 1: as many empty items before."""
    left = MOST_ITEMS
    for node in _all(tree, "ol[start]"):
        start = node["start"].strip()
        if start.isdecimal() and len(start) < 5 and 1 < int(start) <= left:
            left -= int(start)
            node.prepend(*(tree.document.create_element("li") for _ in range(int(start) - 1)))


def _lists(tree: Any) -> None:
    """Lists of prose go as deep as Resiliparse wants them, and lose the links that it takes for navigation."""
    shallow = {*_all(tree, "body > ul, body > * > ul, body > * > * > ul")}
    for node in _all(tree, "ul"):
        links = node.get_elements_by_tag_name("a")[:]
        size = len(SPACES.sub(" ", node.text))
        linked = sum(len(link.text) for link in links) / max(size, 1)
        if linked >= MOST_LINKED:
            continue
        if linked > LINKED:
            for link in links:
                link.replace_with(*link.child_nodes[:])
        if node in shallow:
            _wrap(tree, node)


def _wrap(tree: Any, node: Any) -> None:
    inner = outer = tree.document.create_element("div")
    for _ in range(SHALLOW - 2):
        child = tree.document.create_element("div")
        inner.append(child)
        inner = child
    node.replace_with(outer)
    inner.append(node)


def _tables(tree: Any) -> None:
    """Tables of data become lines of cells, `a | b`; those that lay out a page stay."""
    for node in _all(tree, "table"):
        rows = list(_rows(node))
        if rows:
            text = "\n".join(" | ".join(row).rstrip() for row in rows)
            lines = tree.document.create_element("pre")
            lines.append(tree.document.create_text_node(text))
            node.replace_with(lines)


def _rows(table: Any) -> Iterator[list[str]]:
    """The cells of a table of data; nothing of any other."""
    if table.query_selector("table, pre, ul, ol, form") is not None or table.closest("pre") is not None:
        return
    rows = table.get_elements_by_tag_name("tr")[:]
    cells = [
        [SPACES.sub(" ", cell.text).strip() for cell in row.query_selector_all("td, th")[:]] for row in rows
    ]
    cells = [row for row in cells if any(row)]
    size = sum(len(cell) for row in cells for cell in row)
    linked = sum(len(link.text) for link in table.get_elements_by_tag_name("a")[:])
    several = sum(len(row) > 1 for row in cells)
    if (
        several >= 2
        and 2 * several >= len(cells)
        and 2 * linked < size
        and max(map(len, sum(cells, []))) <= LONGEST_CELL
    ):
        yield from cells


def _all(tree: Any, selector: str) -> list[Any]:
    """Those elements, as they are now."""
    return tree.body.query_selector_all(selector)[:]
