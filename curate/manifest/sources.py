"""The tables [[source]], [[target]] and those of texts beside the pool: where texts come from."""

from __future__ import annotations

import re
import sysconfig
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

from curate.errors import did_you_mean
from curate.sources.formats import FORMATS
from curate.sources.formats.format import extra_of
from curate.spec.manifest import ANSWER, AS_THEY_ARE, RESILIPARSE, TRAFILATURA, Source, Target
from curate.spec.tables import Tables

# Columns that every document has by itself.
OF_DOCUMENTS = ("id", "text", "source", "place", "own_id", "tokens", "copies")
MOST_BYTES = 2_000_000_000  # of a document
QUESTION = ("prompt", "answer", "choices")  # of a target: the fields of its questions


class SourceTables(Tables):
    def sources(self, kind: str) -> tuple[Source, ...]:
        """[[source]] and what models are made of beside the pool are written alike."""
        fields = {"columns": [*ANSWER]} if kind == "robots" else {}
        return self.unique(kind, tuple(self._source(kind, table | fields) for table in self.tables(kind)))

    def targets(self) -> tuple[Target, ...]:
        targets = tuple(map(self._target, self.tables("target")))
        self.unique("target", tuple(target.source for target in targets))
        return targets

    def _target(self, table: dict) -> Target:
        where = f'target "{table.get("name", "")}"'
        self.known(where, table, [*(f.name for f in fields(Source)), "tokens", *QUESTION])
        prompt, answer, choices = (self.typed(where, table, key, str) for key in QUESTION)
        if (prompt is None) != (answer is None) or (choices and not prompt):
            raise self.fail(
                where,
                "a question has prompt and answer, and choices where there are some: name their fields",
            )
        tokens = self.count(where, "tokens", table.get("tokens", "0.1M"))
        about = {k: v for k, v in table.items() if k not in ("tokens", *QUESTION)}
        if prompt:
            if "text" in about:
                raise self.fail(where, "a prompt stands in place of text; leave text out")
            about["text"] = prompt
            about["columns"] = [*self.strings(where, table, "columns"), *filter(None, (answer, choices))]
        return Target(self._source("target", about), tokens, answer, choices)

    def _source(self, kind: str, table: dict) -> Source:
        where = f'{kind} "{self.has_name(kind, table)}"'
        self.known(where, table, [f.name for f in fields(Source)])
        format = self.typed(where, table, "format", str)
        if format not in FORMATS:
            raise self.fail(where, f'format = "{format}" is not known{did_you_mean(format or "", FORMATS)}')
        path = self.strings(where, table, "path")
        if not path:
            raise self.fail(where, 'has no path; add path = "..." (a file, folder, glob, URL or data set)')
        document = self.choice(where, table, "document", "file", "line", "paragraph")
        columns = self._columns(where, table, format)
        for column in columns:
            if column in OF_DOCUMENTS:
                raise self.fail(where, f'columns: every document has a "{column}" already; leave it out')
        newlines = self.typed(where, table, "newlines", str, AS_THEY_ARE)
        if newlines not in (AS_THEY_ARE, "unix"):
            raise self.fail(where, f'newlines = "{newlines}": write "unix", or leave it out')
        longest = self.count(where, "longest", table.get("longest", Source.longest))
        if longest > MOST_BYTES:
            raise self.fail(
                where, f"longest = {longest:,}: places in a text are 32-bit; at most {MOST_BYTES:,}"
            )
        words = ("text", "id", "config", "revision", "split", "license", "packages")
        texts = {key: self.typed(where, table, key, str, getattr(Source, key)) for key in words}
        if texts["packages"] is None and any("{site-packages}" in p for p in path):
            texts["packages"] = placeholders()["site-packages"]
        return Source(
            name=table["name"],
            format=format,
            path=tuple(self._filled(where, p, format) for p in path),
            columns=columns,
            include=self.strings(where, table, "include"),
            exclude=self.strings(where, table, "exclude"),
            document=document,
            newlines=newlines,
            extract=self._extract(where, table, format),
            longest=longest,
            limit=self.count(where, "limit", table["limit"]) if "limit" in table else None,
            **texts,
        )

    def _extract(self, where: str, table: dict, format: str) -> str:
        """What finds the text of pages: known, installed, and asked of a format that looks for it."""
        given = self.choice(where, table, "extract", RESILIPARSE, TRAFILATURA)
        if given != RESILIPARSE and not FORMATS[format].extraction:
            raise self.fail(where, f'extract: format "{format}" has no pages to find text in; leave it out')
        if given == TRAFILATURA and find_spec(TRAFILATURA) is None:
            need = f'extract = "{TRAFILATURA}" needs {TRAFILATURA}'
            raise self.fail(where, f'{need}: pip install "curate-lm[{TRAFILATURA}]"')
        return given

    def _columns(self, where: str, table: dict, format: str) -> tuple[str, ...]:
        """The fields that are carried along, and that the reader of this format can be asked for."""
        if lacking := FORMATS[format].missing():
            need = f'format = "{format}" needs {", ".join(lacking)}'
            raise self.fail(where, f'{need}: pip install "curate-lm[{extra_of(lacking[0])}]"')
        fields = FORMATS[format].fields
        usual, others = fields or ((), ())
        given = self.strings(where, table, "columns") if "columns" in table else usual
        for name in (*given, *([table["id"]] if "id" in table else [])) if fields else ():
            if name not in usual + others:
                has = f"has {', '.join(usual + others)}" if usual else "has no fields"
                raise self.fail(where, f'"{name}": format "{format}" {has}; leave it out')
        return given

    def _filled(self, where: str, path: str, format: str) -> str:
        for name, value in placeholders().items():
            path = path.replace("{" + name + "}", value)
        if re.search(r"\{[\w-]+\}", path) and format != "hub" and not (self.path.parent / path).exists():
            raise self.fail(where, f'path = "{path}": placeholders are {{{"}, {".join(placeholders())}}}')
        beside = self.path.parent / path
        if "://" in path or format == "hub" and not beside.exists():
            return path  # the name of a data set on the hub
        return path if Path(path).is_absolute() else str(beside)


def placeholders() -> dict[str, str]:
    """What `{...}` in a source's path stands for."""
    paths = sysconfig.get_paths()
    return {"site-packages": paths["purelib"], "stdlib": paths["stdlib"]}
