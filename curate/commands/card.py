"""What a published data set says of itself: the facts of its lock that others may read, its card, and Croissant.

Only fields that are named here leave the house. A manifest goes along as its values, without comments; of paths on this
machine their last part is left.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from curate.addresses import without_secrets
from curate.quantities import short_bytes
from curate.sources.formats.published import PUBLISHED as PUBLISHED

CROISSANT = "croissant.json"
HERE = Path(__file__).parent / "published"  # the card's text, and the context of every Croissant file
ABSOLUTE = re.compile(r"file:|[/~\\]|[A-Za-z]:[/\\]|\.\.")  # how a path of this machine begins
OF_SOURCES = ("format", "license", "files", "documents", "bytes", "digest")


def facts_of(lock: dict, configs: dict, files: dict, columns: dict[str, str]) -> dict[str, Any]:
    """What `curate.json` holds. `configs`: by name, level, size, counts, digest and files; `files`: bytes and sha256."""
    sources = {
        name: {k: source.get(k) for k in OF_SOURCES}
        | {"failed": {cause: entry["count"] for cause, entry in source.get("failed", {}).items()}}
        for name, source in lock["sources"].items()
    }
    return {
        "name": lock["name"], "curate": lock["curate"], "environment": lock["environment"], "configs": configs,
        "files": files, "columns": columns, "sources": sources, "levels": lock["levels"], "ledger": lock["ledger"],
        "held_out": lock["held_out"], "profiles": lock["profiles"],
        "tokenizer": {k: lock["tokenizer"][k] for k in ("vocabulary", "sha256")},
        "manifest": as_toml(_redacted(tomllib.loads(lock["manifest"]["text"]))),
    }  # fmt: skip


def _redacted(value: Any, key: str = "", hub: bool = False) -> Any:
    if isinstance(value, dict):
        return {k: _redacted(v, k, value.get("format") == "hub") for k, v in value.items()}
    if isinstance(value, list):
        return [_redacted(one, key, hub) for one in value]
    if not isinstance(value, str):
        return value
    local = ABSOLUTE.match(value) or (key in ("path", "packages") and not hub and value[:1] != "{")
    if local and ("://" not in value or value.startswith("file:")):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return without_secrets(value)


def as_toml(tree: dict[str, Any]) -> str:
    """Tables one level deep under their names, what is deeper in one line."""
    lines = [f"{_key(k)} = {_value(v)}" for k, v in tree.items() if not _tables(v)]
    for name, value in tree.items():
        for table in _tables(value):
            head = f"[{_key(name)}]" if isinstance(value, dict) else f"[[{_key(name)}]]"
            lines += ["", head, *(f"{_key(k)} = {_value(v)}" for k, v in table.items())]
    return "\n".join(lines).strip() + "\n"


def _tables(value: Any) -> list[dict]:
    if isinstance(value, dict):
        return [value]
    return value if isinstance(value, list) and value and all(isinstance(one, dict) for one in value) else []


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")


# ---- The card ------------------------------------------------------------------------------------------------


def readme(facts: dict[str, Any]) -> str:
    import yaml

    from curate.corpora.corpus import config

    head = {
        "pretty_name": facts["name"],
        "license": licenses(facts),
        "language": languages(facts) or ["und"],
        "size_categories": [_size_category(max(c["documents"] for c in facts["configs"].values()))],
        "task_categories": ["text-generation"],
        "tags": ["curate", "croissant"],
        "configs": [config(name, about["files"]) for name, about in facts["configs"].items()],
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n{_body(facts)}"


def licenses(facts: dict[str, Any]) -> list[str]:
    """As the hub writes them; "other" where a source says what is no identifier."""
    given = {str(source["license"] or "unknown").lower() for source in facts["sources"].values()}
    return sorted({name if re.fullmatch(r"[a-z0-9.+-]+", name) else "other" for name in given})


def languages(facts: dict[str, Any]) -> list[str]:
    """What the levels bound languages to; none where one of them takes any."""
    named: dict[str, list[str]] = {}
    for level in facts["levels"]:
        mine = [one for rule in level["rules"] if rule["signal"] == "language" for one in rule["bound"]]
        named[level["name"]] = mine or named.get(level["on"], [])
    each = [named[config["level"]] for config in facts["configs"].values()]
    return sorted({one for mine in each for one in mine}) if all(each) else []


def _size_category(documents: int) -> str:
    if documents < 1000:
        return "n<1K"
    marks = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    number = min(len(str(documents)) - 4, len(marks) - 2)
    return f"{marks[number]}<n<{marks[number + 1]}"


def table(header: str, rows: list[list[Any]]) -> str:
    ruler = "|".join("---" for _ in header.split("|"))
    lines = (" | ".join(f"{c:,}" if isinstance(c, int) else str(c) for c in row) for row in rows)
    return f"| {header} |\n|{ruler}|\n" + "".join(f"| {line} |\n" for line in lines)


def _body(facts: dict[str, Any]) -> str:
    configs, sources, levels = facts["configs"], facts["sources"], facts["levels"]
    first = next(iter(configs))
    counts = table(
        "config | level | size | documents | tokens | text | digest",
        [[name, c["level"], c["size"], c["documents"], c["tokens"], short_bytes(c["bytes"]), f"`{c['digest'][:12]}`"]
         for name, c in configs.items()],
    )  # fmt: skip
    funnel = table(
        "level | on | rule | bound | documents dropped | documents left",
        [row for level in levels for row in [
            *([level["name"], level["on"] or "", f"`{r['rule']}`", f"`{json.dumps(r['bound'])}`", r["dropped"], ""]
              for r in level["rules"]),
            [level["name"], level["on"] or "", "", "", "", level["documents"]],
        ]],
    )  # fmt: skip
    from_where = table(
        "source | format | licence | documents | text | rows that could not be read",
        [[name, s["format"], s["license"] or "unknown", s["documents"], short_bytes(s["bytes"]), sum(s["failed"].values())]
         for name, s in sources.items()],
    )  # fmt: skip
    edits = [f"- `{level['name']}`: `{edit}`" for level in levels for edit in level.get("edits", ())]
    return (HERE / "card.md").read_text(encoding="utf-8").format(
        counts=counts, from_where=from_where, funnel=funnel, first=first, digest=configs[first]["digest"],
        edits="\n".join(edits) or "Texts are as their sources gave them.", vocabulary=facts["tokenizer"]["vocabulary"],
        limits="\n".join(f"- {line}" for line in _limits(facts)),
        name=facts["name"], curate=facts["curate"], manifest=facts["manifest"],
    )  # fmt: skip


def _limits(facts: dict[str, Any]) -> list[str]:
    rules = {rule["signal"] for level in facts["levels"] for rule in level["rules"]}
    edits = " ".join(edit for level in facts["levels"] for edit in level.get("edits", ()))
    unknown = [name for name, s in facts["sources"].items() if (s["license"] or "unknown") == "unknown"]
    failed = sum(sum(s["failed"].values()) for s in facts["sources"].values())
    said = [
        "Rules are automatic: some good texts were dropped, and some bad ones stay.",
        "" if "language" in rules else "No level asks for a language; texts may be in any.",
        "" if "duplicate" in rules else "Duplicates were not removed.",
        "" if any(word in edits for word in ("email", "phone", "ip_", "private")) else
        "Personal data was not masked.",
        f"No licence is known of {', '.join(unknown)}." if unknown else "",
        f"{failed:,} rows of the sources could not be read, and are in no level." if failed else "",
        f"{facts['held_out']['documents']:,} documents are held out to measure models on, and stand in no corpus."
        if facts["held_out"]["documents"] else "",
    ]  # fmt: skip
    return [line for line in said if line]


# ---- Croissant -----------------------------------------------------------------------------------------------


def croissant(facts: dict[str, Any]) -> dict[str, Any]:
    """JSON-LD of the format Croissant: every file with its digest, a set of records for each configuration's columns."""
    objects = [
        {"@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name, "contentSize": f"{file['bytes']} B",
         "encodingFormat": "application/x-parquet", "sha256": file["sha256"]}
        for name, file in facts["files"].items()
    ]  # fmt: skip
    records = [
        {"@type": "cr:RecordSet", "@id": f"{config}/{number}", "name": f"{config}/{number}",
         "description": f"{about['documents']:,} documents of level {about['level']}, {about['size']} tokens: "
         f"file {number + 1} of {len(about['files'])}",
         "field": [_field(f"{config}/{number}", column, kind, file) for column, kind in facts["columns"].items()]}
        for config, about in facts["configs"].items()
        for number, file in enumerate(about["files"])
    ]  # fmt: skip
    named = ", ".join(facts["configs"])
    return {
        "@context": json.loads((HERE / "croissant-context.json").read_bytes()), "@type": "sc:Dataset", "name": facts["name"],
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "description": f"Text to train language models on, as levels of quality and sizes: {named}.",
        "license": licenses(facts), "version": "1.0.0", "distribution": objects, "recordSet": records,
    }  # fmt: skip


def _field(records: str, column: str, kind: str, file: str) -> dict[str, Any]:
    data = "Integer" if "int" in kind else "Float" if kind in ("float", "double") else "Text"
    return {
        "@type": "cr:Field", "@id": f"{records}/{column}", "name": f"{records}/{column}", "dataType": f"sc:{data}",
        "source": {"fileObject": {"@id": file}, "extract": {"column": column}},
    }  # fmt: skip
