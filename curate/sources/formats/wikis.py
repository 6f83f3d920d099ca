"""Formats of wikis: mediawiki, a dump of pages in XML as Wikipedia publishes it. Markup is read by mwparserfromhell.

Of every page the latest text counts that the dump has. Redirects and pages that are no articles (talk, templates, files) are
counted. Templates, tables, footnotes, pictures and categories go with their text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from curate.sources.characters import without_surrogates
from curate.sources.formats.format import Format, packed
from curate.sources.formats.pages import Found, reading
from curate.sources.opening import BROKEN, opened
from curate.sources.rows import Input, Problems
from curate.spec.manifest import Source

LIBRARY = "mwparserfromhell"
ARTICLES, FILES, CATEGORIES = "0", "6", "14"  # numbers of namespaces
WITHOUT_TEXT = {"ref", "references", "gallery", "table", "math", "timeline", "imagemap", "score", "hiero"}


def _mediawiki(source: Source, item: Input, problems: Problems) -> Iterator[Found]:
    embedded = {"file", "image", "category"}  # names of what a link shows instead of naming it
    number = 0
    try:
        with opened(item) as file:
            events = ElementTree.iterparse(file, ("start", "end"))
            _, root = next(events)
            for event, element in events:
                tag = _tag(element) if event == "end" else ""
                if tag == "namespace" and element.get("key") in (FILES, CATEGORIES):
                    embedded.add((element.text or "").lower())
                if tag != "page":
                    continue
                number += 1
                about = {_tag(child): child for child in element}
                title = (about["title"].text if "title" in about else None) or f"page {number}"
                place = f"{item.name}::{title}"
                if about.get("ns") is not None and about["ns"].text != ARTICLES or "redirect" in about:
                    problems.fail(
                        "not-an-article",
                        place,
                        "a redirect" if "redirect" in about else "of another namespace",
                    )
                else:
                    yield place, *_article(element, about, title, place, embedded, problems)
                root.clear()  # a dump is larger than memory
    except ElementTree.ParseError as error:
        problems.fail("not-a-dump", item.name, str(error))
    except BROKEN as error:
        problems.fail("broken-file", f"{item.name}::page {number + 1}", str(error))


def _article(
    element: ElementTree.Element, about: dict, title: str, place: str, embedded: set[str], problems: Problems
) -> tuple[str, dict[str, Any]]:
    revision = [child for child in element if _tag(child) == "revision"][-1:]
    of_it = {_tag(child): child.text for one in revision for child in one}
    fields = {
        "title": title,
        "page_id": about["id"].text if "id" in about else None,
        "timestamp": of_it.get("timestamp"),
    }
    return without_surrogates(plain(of_it.get("text") or "", embedded), place, problems), fields


def plain(markup: str, embedded: set[str]) -> str:
    """An article's text without its markup."""
    import mwparserfromhell

    tree = mwparserfromhell.parse(markup)
    for node in tree.filter(
        recursive=False, forcetype=(mwparserfromhell.nodes.Tag, mwparserfromhell.nodes.Wikilink)
    ):
        tag = str(getattr(node, "tag", "")).strip().lower()
        space = str(getattr(node, "title", "")).partition(":")[0].strip().lower()
        if tag in WITHOUT_TEXT or (":" in str(getattr(node, "title", "")) and space in embedded):
            tree.remove(node)
    return "\n".join(line.strip() for line in tree.strip_code().splitlines()).strip()


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


MEDIAWIKI = Format(
    "mediawiki", reading(_mediawiki), 1e6, packed("*.xml"), fields=(("title",), ("page_id", "timestamp")),
    requires=(LIBRARY,),
)  # fmt: skip
