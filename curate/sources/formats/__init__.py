"""Every format that a source may name. A new one is an entry beside its reader, and its name here."""

from curate.sources.formats.archives import ROBOTS, WARC, WET
from curate.sources.formats.books import EPUB
from curate.sources.formats.columnar import ARROW, HUB, PARQUET
from curate.sources.formats.docstrings import PYTHON
from curate.sources.formats.format import Format
from curate.sources.formats.json_lines import JSONL
from curate.sources.formats.lines import TEXT
from curate.sources.formats.mail import MAIL
from curate.sources.formats.pages import HTML, MARKDOWN
from curate.sources.formats.papers import PDF
from curate.sources.formats.published import PUBLISHED_CORPUS
from curate.sources.formats.tex import LATEX
from curate.sources.formats.wikis import MEDIAWIKI

FORMATS: dict[str, Format] = {
    one.name: one for one in (
        JSONL, PARQUET, ARROW, TEXT, MARKDOWN, HTML, WARC, WET, ROBOTS, MAIL, EPUB, PDF, LATEX, MEDIAWIKI, PYTHON, HUB,
        PUBLISHED_CORPUS,
    )
}  # fmt: skip
