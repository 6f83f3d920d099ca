"""The public summary of training content that Article 53(1)(d) of Regulation (EU) 2024/1689 asks for, as far as a corpus and
its lock know it: the sections of the template that the Commission's notice C(2025) 5235 gives.

What they cannot know is null, and in Markdown a mark for a person to fill in: it is never guessed. No path and no address of
this machine goes along; of addresses only the names of data sets on the hub and the hosts of documents.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.commands.card import languages, table
from curate.corpora.corpus import open_arrow, plain_name
from curate.corpora.lock import corpus_directory, read_lock
from curate.errors import CurateError, did_you_mean
from curate.quantities import short_bytes
from curate.sources.formats.consent import RESERVED, ROBOTS, by_label
from curate.spec.manifest import FORGOTTEN
from curate.store import Store

FILL = "**[to be filled in]**"
RANGES = ((1e9, "less than 1 billion tokens"), (1e13, "1 billion to 10 trillion tokens"))
LARGEST_RANGE = "more than 10 trillion tokens"
TOP = 0.1  # of all domain names, by their text
KINDS = {"hub": "data set", "published": "data set", "warc": "web pages", "wet": "web pages"}  # by format
ADDRESS, DATE = "url", "date"  # fields of web pages


def summarize(store: Store, lock_path: Path, wanted: str | None) -> dict[str, Any]:
    """What is known of one corpus (`wanted`: LEVEL-SIZE; None: that of most tokens). Raises CurateError."""
    lock = read_lock(lock_path)
    named = {plain_name(f"{c['level']}-{c['size']}"): c for c in lock["corpora"]}
    if not named or (wanted and wanted not in named):
        raise CurateError(f"--corpus {wanted}: no corpus of {lock_path}{did_you_mean(wanted or '', named)}")
    name = wanted or max(named, key=lambda one: named[one]["tokens"])
    corpus = named[name]
    rows = open_arrow(corpus_directory(store, corpus))
    levels = _levels(lock, corpus["level"])
    return {
        "corpus": name, "digest": corpus["digest"],
        "general": _general(lock, name, corpus, rows),
        "sources": _sources(lock, rows, lock_path.parent),
        "domains": _domains(rows),
        "processing": _processing(lock, levels, rows),
    }  # fmt: skip


def _levels(lock: dict, name: str | None) -> list[dict]:
    """The level and those that it is built on, the lowest first."""
    by_name = {level["name"]: level for level in lock["levels"]}
    return [*_levels(lock, by_name[name]["on"]), by_name[name]] if name else []


# ---- the sections -------------------------------------------------------------------------------------------


def _general(lock: dict, name: str, corpus: dict, rows: pa.Table) -> dict[str, Any]:
    unknown = "provider", "contact", "model", "depends_on", "placed_on_market", "types_of_content", "ongoing"
    size = next((text for most, text in RANGES if corpus["tokens"] < most), LARGEST_RANGE)
    return dict.fromkeys(unknown) | {
        "modalities": ["text"], "tokens": corpus["tokens"], "documents": corpus["documents"], "bytes": corpus["bytes"],
        "size": size, "period": _period(rows),
        "languages": languages({"levels": lock["levels"], "configs": {name: corpus}}) or None,
    }  # fmt: skip


def _period(rows: pa.Table) -> list[str] | None:
    """The first and last day that documents carry; None where one carries what is no date of ISO 8601."""
    if DATE not in rows.column_names:
        return None
    dates = rows[DATE].cast(pa.string()).drop_null()
    if not len(dates) or not pc.all(pc.match_substring_regex(dates, r"^\d{4}-\d{2}-\d{2}")).as_py():
        return None
    ends = pc.min_max(pc.utf8_slice_codeunits(dates, 0, 10)).as_py()
    return [ends["min"], ends["max"]]


def _sources(lock: dict, rows: pa.Table, beside: Path) -> list[dict]:
    """Each with what of it stands in the corpus, the largest first."""
    asked = {one["name"]: one for one in tomllib.loads(lock["manifest"]["text"]).get("source", [])}
    sizes = (
        rows.select(["source", "tokens"])
        .group_by("source")
        .aggregate([("tokens", "sum"), ("tokens", "count")])
    )
    found = []
    for row in sizes.sort_by([("tokens_sum", "descending")]).to_pylist():
        about, path = lock["sources"][row["source"]], asked.get(row["source"], {}).get("path")
        found.append({
            "name": row["source"], "kind": KINDS.get(about["format"]), "format": about["format"],
            "data_set": path if about["format"] == "hub" and _is_on_the_hub(path, beside) else None,
            "license": None if about["license"] == "unknown" else about["license"],
            "documents": row["tokens_count"], "tokens": row["tokens_sum"],
            "share": row["tokens_sum"] / pc.sum(rows["tokens"]).as_py(), "section": None,
        })  # fmt: skip
    return found


def _is_on_the_hub(path: Any, beside: Path) -> bool:
    """`owner/name`, not a path of this machine that has the same look: as the reader of manifests tells them apart."""
    return (
        isinstance(path, str)
        and path.count("/") == 1
        and path[:1] not in "./~"
        and not (beside / path).exists()
    )


def _domains(rows: pa.Table) -> dict[str, Any] | None:
    """The hosts of most text, a tenth of all; None where documents carry no address."""
    if ADDRESS not in rows.column_names:
        return None
    hosts = np.array([_host(one) for one in rows[ADDRESS].cast(pa.string()).to_pylist()], object)
    names, place = np.unique(hosts.astype(str), return_inverse=True)
    sizes = np.bincount(place, pc.binary_length(rows["text"]).to_numpy())
    order = [int(i) for i in np.argsort(-sizes, kind="stable") if names[i]]
    if not order:
        return None
    top = order[: max(1, int(np.ceil(TOP * len(order))))]
    shares = [
        {"domain": str(names[i]), "bytes": int(sizes[i]), "share": float(sizes[i] / sizes.sum())} for i in top
    ]
    return {"domains": len(order), "with_address": int((hosts != "").sum()), "top": shares}


def _host(address: str | None) -> str:
    try:
        return (urlsplit(address or "").hostname or "").removeprefix("www.")
    except ValueError:
        return ""


def _processing(lock: dict, levels: list[dict], rows: pa.Table) -> dict[str, Any]:
    rules = [
        {k: rule[k] for k in ("rule", "signal", "bound", "dropped", "dropped_bytes")}
        for level in levels for rule in level["rules"]
    ]  # fmt: skip
    return {
        "rights_reservations": _reservations(rows, rules), "illegal_content": None, "rules": rules,
        "edits": [edit for level in levels[-1:] for edit in level.get("edits", ())],
        "forgotten": next((rule["dropped"] for rule in rules if rule["signal"] == FORGOTTEN), None),
        "held_out": lock.get("held_out", {}).get("documents"),
    }  # fmt: skip


def _reservations(rows: pa.Table, rules: list[dict]) -> dict[str, Any] | None:
    """What pages of the corpus say of being trained on, and documents dropped for that, and for what robots.txt says; None
    where nobody looked."""
    dropped = {rule["signal"]: 0 for rule in rules}
    for rule in rules:
        dropped[rule["signal"]] += rule["dropped"]
    said = by_label(rows[RESERVED].cast(pa.string())) if RESERVED in rows.column_names else None
    found = {"in_corpus": said, "dropped": dropped.get(RESERVED, 0), "dropped_by_robots": dropped.get(ROBOTS)}
    return found if said or ROBOTS in dropped else None


# ---- as Markdown --------------------------------------------------------------------------------------------


def as_markdown(summary: dict[str, Any]) -> str:
    general, domains, done = summary["general"], summary["domains"], summary["processing"]
    period = " to ".join(general["period"]) if general["period"] else FILL
    rows = [
        ("Provider, and authorised representative", FILL), ("Contact", FILL), ("Model, with its version", FILL),
        ("Models that it is made of", FILL), ("Placed on the Union market", FILL),
        ("Modalities of this corpus", "text (of other training data: " + FILL + ")"),
        ("Size of this corpus", f"{general['tokens']:,} tokens, {short_bytes(general['bytes'])}: {general['size']}"),
        ("Types of content", FILL), ("Dates that its documents carry", period),
        ("Latest date of collection, and whether it goes on", FILL),
        ("Languages that its level asks for", ", ".join(general["languages"] or ()) or f"any; {FILL}"),
    ]  # fmt: skip
    sources = [
        [f"{s['name']} ({s['data_set']})" if s["data_set"] else s["name"], s["kind"] or FILL, s["license"] or FILL,
         s["documents"], s["tokens"], f"{s['share']:.1%}", FILL] for s in summary["sources"]
    ]  # fmt: skip
    return "\n".join([
        f"# Summary of training content: {summary['corpus']}\n",
        f"Corpus `{summary['digest']}`. {FILL} marks what a person has to say.\n",
        "## 1. General information\n", table("what | answer", [list(row) for row in rows]),
        "## 2. Data sources\n",
        "Section: 2.1 publicly available data sets, 2.2 private ones of third parties, 2.3 crawled, 2.4 of users, "
        "2.5 synthetic, 2.6 other.\n",
        table("source | what it holds | licence | documents | tokens | share | section", sources),
        "### Crawled: domain names of most text\n", _domains_text(domains),
        f"Crawlers, their purpose and behaviour, and when they ran: {FILL}\n",
        "## 3. Processing\n", _reservations_text(done["rights_reservations"]),
        f"Illegal content, and how it was removed: {FILL}\n", *_done_text(done),
    ])  # fmt: skip


def _domains_text(domains: dict[str, Any] | None) -> str:
    if domains is None:
        return f"Its documents carry no address: {FILL}\n"
    rows = [[one["domain"], f"{one['share']:.2%}"] for one in domains["top"]]
    return (
        f"{len(rows):,} of {domains['domains']:,} hosts, by bytes of text.\n\n{table('host | share', rows)}"
    )


def _reservations_text(found: dict[str, Any] | None) -> str:
    if found is None:
        return f"Reservations of rights, and how they were respected: {FILL}\n"
    counts = ", ".join(f"{label} {count:,}" for label, count in (found["in_corpus"] or {}).items())
    heads = f"""{found["dropped"]:,} documents dropped by rules about them; whether documents of the corpus reserve training:
{counts}""" if counts else FILL  # fmt: skip
    robots = found["dropped_by_robots"]
    return f"""Reservations of rights, in heads and `meta` elements of pages: {heads}. In robots.txt of their hosts:
{FILL if robots is None else f"{robots:,} documents dropped by rules about it"}. Other protocols, and how they were
respected: {FILL}\n"""


def _done_text(done: dict[str, Any]) -> list[str]:
    rules = [[f"`{r['rule']}`", f"`{json.dumps(r['bound'])}`", r["dropped"]] for r in done["rules"]]
    edits = ", ".join(f"`{edit}`" for edit in done["edits"])
    return [
        "What was removed, by rule:\n", table("rule | bound | documents dropped", rules) if rules else "Nothing was.\n",
        f"Spans cut or masked: {edits or 'none'}.",
        "Documents forgotten on request, or near those: "
        + ("no list of them was kept." if done["forgotten"] is None else f"{done['forgotten']:,}."),
        f"Documents held out to measure models on: {FILL if done['held_out'] is None else done['held_out']}.",
    ]  # fmt: skip
