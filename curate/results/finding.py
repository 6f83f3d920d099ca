"""A finding: what runs say of one question, as sentences, tables and their figures. Every answer of the page is one."""

from __future__ import annotations

from typing import Any


def finding(key: str, title: str, holdout: str, sentences: list[str], tables=(), **figures: Any) -> dict:
    return {
        "key": key, "title": title, "holdout": holdout, "sentences": sentences, "tables": list(tables),
        "figures": figures,
    }  # fmt: skip


def table(caption: str, columns: list[str], rows: list[list[str]]) -> dict:
    return {"caption": caption, "columns": columns, "rows": rows}
