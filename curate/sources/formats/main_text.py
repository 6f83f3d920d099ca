"""The main text of a parsed page, as Resiliparse finds it once the page is mended.

Resiliparse judges elements one by one, by tag, class and place. It keeps what follows an article, and drops an article whose
ancestor's class sounds like a banner. So the way to the prose is looked for first: from the body down, as long as one child
holds most of the text of paragraphs. What follows beside that way is removed, and no class on it can take the prose along.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from curate.sources.formats.page_parts import LINE_NUMBERS, mend

SHORT = 500  # characters of main text: a page that gives fewer is looked at again, more gently
LONG_PARAGRAPH = 80  # characters: what navigation and captions are shorter than
MOST_OF_PROSE = 0.6  # of the characters of long paragraphs, which a child holds that the way goes on to
SOME_PROSE = 0.1  # of them: who holds so much directly is a text, and what follows in it belongs to it
MOST_STEPS = 100_000  # from paragraphs up to the body: a page deeper and longer than that is taken as it is
NOT_TEXT = ("img", "area", "object", "video", "audio", "embed", "svg")
BARE_FIGURES = "figure:not(:has(pre, table, math))"
# Names of what stands in an article and is none of it. On the way to the prose no name counts, so parts of names may do.
BESIDE = ("[class*=caption i]:not([class*=code i])", "[class*=related i]", "[id*=related i]", "[class*=recommend i]",
          "[class*=similar i]", "[class*=read-more i]", "[class*=readmore i]", "[class*=more-from i]", "[class*=footer i]",
          "[id*=footer i]")  # fmt: skip
AROUND = ("nav", "header", "footer", "aside", "form", "dialog", "[hidden]")
# Classes of which Resiliparse takes an element as the text if there is one alone.
TEXT_CLASSES = {"article-body", "articleBody", "contentBody", "article-text", "main-content", "postcontent",
                "post-content", "single-post"}  # fmt: skip
PROSE = ("p", "pre", "dd")
FLOWING = (
    "p",
    "pre",
    "dl",
    "ul",
    "ol",
    "li",
    "blockquote",
    "details",
)  # what a text is in pieces of, and none whole
TEXTS = ("pre", "table", "dl")
COMMENTS = re.compile(r"comment|respon[ds]|disqus|related|recommend|footer|sidebar|more|teaser|author", re.I)
JUDGED_BY = ("id", "hidden", "aria-hidden", "aria-expanded", "style")


def main_text(tree: Any) -> str:
    """The text of an HTMLTree, which this changes."""
    if not tree.body:
        return ""
    mend(tree)
    way = way_to_prose(tree.body)
    _clear(way)
    text = extracted(tree, BESIDE)
    if len(text) < SHORT:
        gentler = extracted(tree, AROUND, main_content=False)
        text = gentler if len(gentler) > 2 * len(text) else text
    return text


def extracted(tree: Any, skipped: tuple[str, ...], main_content: bool = True) -> str:
    from resiliparse.extract.html2text import extract_plain_text

    # `alt_texts` off would leave out figures with code and tables in them
    return extract_plain_text(
        tree, main_content=main_content, comments=False, post_meta=False, alt_texts=True,
        skip_elements=[*NOT_TEXT, BARE_FIGURES, *LINE_NUMBERS, *skipped],
    )  # fmt: skip


def way_to_prose(body: Any) -> list[tuple[Any, Counter]]:
    """[(element, {child: characters of long paragraphs in it})] from the body down."""
    inside: dict[Any, Counter] = {}
    total = steps = 0
    for paragraph in body.query_selector_all(",".join(PROSE))[:]:
        size = len(paragraph.text.strip())
        if size < LONG_PARAGRAPH:
            continue
        total += size
        node = paragraph
        while node != body and (parent := node.parent) is not None:
            inside.setdefault(parent, Counter())[node] += size
            node = parent
            steps += 1
        if steps > MOST_STEPS:
            return []
    way = []
    node = body
    while node in inside and total >= SHORT:
        way.append((node, inside[node]))
        node, size = inside[node].most_common(1)[0]
        if size < MOST_OF_PROSE * total:
            break
    return way


def _clear(way: list[tuple[Any, Counter]]) -> None:
    some = SOME_PROSE * sum(way[0][1].values()) if way else 0
    for (_, inside), (child, _) in zip(way, way[1:], strict=False):
        flows = child.tag in FLOWING or sum(n for other, n in inside.items() if other.tag in PROSE) >= some
        if not flows:
            _remove_after(child, {other for other, size in inside.items() if size >= some})
        _disarm(child)


def _disarm(node: Any) -> None:
    """No name of an element that holds most of the prose speaks against it."""
    for name in JUDGED_BY:
        if node.hasattr(name):
            node.delattr(name)
    if node.hasattr("class"):
        node["class"] = " ".join(TEXT_CLASSES.intersection((node.class_name or "").split()))
    if node.hasattr("role") and node["role"] != "main":
        node.delattr("role")


def _remove_after(child: Any, with_prose: set[Any]) -> None:
    """What follows beside it, behind all that is text: of its kind, as the next chapter is, with prose in it, or code."""
    kind = child.tag, child.getattr("class")
    following = []
    node = child
    while (node := node.next) is not None:
        following.append(node)
        alike = node.tag == kind[0] and node.getattr("class") == kind[1]
        prose = node in with_prose and not COMMENTS.search(f"{node.class_name} {node.id}")
        if alike or prose or node.tag in TEXTS:
            following.clear()
    for node in following:
        node.decompose()
