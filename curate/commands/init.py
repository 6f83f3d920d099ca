"""Files looked at, and a first manifest of them that `curate plan` finds sound.

Formats come from the registry, documents from the readers, languages and duplicates from the signals, all on a sample.
What only a person knows, such as licences, is left to be filled in.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from curate.commands.lint import foreign_newlines
from curate.commands.plan import unpacked_bytes
from curate.corpora.built import Annotated
from curate.corpora.groups import groups_of, usual_group
from curate.corpora.holdout import FEW_GROUPS
from curate.engine import open_engine
from curate.errors import CurateError, InputError, ManifestError, NoInput
from curate.manifest.profiles import load_profile
from curate.manifest.reader import parse_manifest
from curate.manifest.sources import OF_DOCUMENTS
from curate.progress import silence
from curate.quantities import BYTES_A_TOKEN, short_bytes, short_count
from curate.sources import globs
from curate.sources.formats import FORMATS
from curate.sources.inputs import list_inputs
from curate.sources.opening import BROKEN, lines
from curate.sources.rows import Input, Problems, printable
from curate.spec.manifest import DOCUMENT, Source
from curate.steps import annotate_sample
from curate.store import Store
from filters.language.codes import languages
from train.files import write_whole

SAMPLE, ROWS, PEEKED = 1000, 400, 20  # documents of a source; rows, and files, whose fields are looked at
FEW_FILES = 20  # fewer files of plain text are cut in paragraphs or lines
WORTH_READING = 0.01  # of the bytes: of a format that has less, nothing is read
TEXTS = ("text", "content", "body", "raw_content", "document", "article", "markdown", "page_content")
IDS = re.compile(r"(.*[_-])?(id|uuid|guid)|docid", re.I)
GROUPS = ("domain", "repo", "repository", "work")  # fields whose documents are of one hand
CARRIED = ("url", "title", "author", "date", "timestamp", "license", *GROUPS)
MOST, SOME = 0.6, 0.1  # of the text: a language that stands alone, and one among several
SURE, OTHERS_SURE = 0.65, 0.5  # of the score of English; other languages are more like their neighbours
ENGLISH, MANY = ("gopher-quality", "gopher-repetition", "fineweb"), ("fineweb-2",)
LEAST_KEPT = 0.1  # of what reaches it: a level that keeps less was made for other text
LITTLE = "too little to build: add text"
LARGEST_SIZE, LEAST_SIZE = 1_000_000, 4000  # tokens, to begin with: minutes of training


@dataclass
class Seen:
    source: Source
    files: list[Input]
    text_share: float = 0.0  # of the bytes of a row; 0: not known
    ids: list[str] = field(default_factory=list)  # fields that differ in all rows looked at


def init(paths: Iterable[str], out: Path | None, text: str | None = None) -> tuple[dict, str]:
    """Look at the files and write a manifest. Returns (what was seen, the same in ten lines).

    Raises CurateError where there is nothing to read, or something in the place of the manifest.
    """
    alike: dict[str, list[str]] = {}  # files that a shell has named one by one are one source
    for path in dict.fromkeys(path if "://" in path else os.path.abspath(path) for path in paths):
        if printable(path) != path:
            raise InputError(f"{printable(path)}: a manifest is UTF-8, and this name is not; rename it")
        of = f"{os.path.dirname(path)}/*{os.path.splitext(path)[1]}" if os.path.isfile(path) else path
        alike.setdefault(of, []).append(path)
    seen = [one for some in alike.values() for one in _found(tuple(some), text)]
    names = [one.source.name for one in seen]
    for number, one in enumerate(seen):
        again = names[:number].count(names[number])
        one.source = replace(one.source, name=names[number] + (f"-{again + 1}" if again else ""))
    out = out or Path(f"{names[0]}.toml")
    if os.path.lexists(out):
        raise ManifestError(f"{out}: is there already; name another file with --out NAME.toml")
    with silence(), tempfile.TemporaryDirectory() as folder:
        answer, manifest = _sampled(seen, out, Store(Path(folder)))
    write_whole(out, lambda file: file.write(manifest.encode()))
    lines = "".join(f"{name:<12}{value}\n" for name, value in answer.items())
    return answer | {"manifest": str(out)}, f"{lines}wrote {out}; next: curate plan {out}"


def _found(path: tuple[str, ...], text: str | None) -> list[Seen]:
    """The sources that a path, or several like it, make: one of each format that is worth reading."""
    where = printable(path[0])
    stem = re.sub(r"[*?\[].*", "", where if len(path) == 1 else os.path.dirname(where)).rstrip("/.")
    name = re.sub(r"[^\w-]+", "-", stem.rpartition("/")[2].partition(".")[0]).strip("-") or "text"
    everything = Source(name, "text", path, include=("*",))
    try:
        files = list_inputs(everything).files
    except NoInput:
        raise NoInput(f"{where}: no such file, or a folder without files; check the path") from None
    total = sum(item.size for item in files)
    if not total:
        raise InputError(f"{where}: nothing but empty files; name files that hold text")
    left, seen, why = {item.name: item for item in files}, list[Seen](), ""
    formats = {one.name: one.include for one in reversed(FORMATS.values()) if one.include != ("*",)}
    while of := {one: some for one, include in formats.items() if (some := _matching(include, left))}:
        best = max(of, key=lambda one: sum(left[name].size for name in of[one]))
        mine = [left.pop(name) for name in sorted(of[best])]
        formats = {one: include for one, include in formats.items() if not _matching(include, of[best])}
        if sum(item.size for item in mine) > WORTH_READING * total:
            more = f"{name}-{best}" if seen else name
            try:
                seen.append(_with_fields(replace(everything, name=more, format=best, include=()), mine, text))
            except InputError as error:  # of no matter beside files that do hold text
                why = why or str(error)
    if not seen:
        endings = ", ".join(sorted({os.path.splitext(one)[1] or one for one in left})[:5])
        known = ", ".join(include[0] for include in formats.values())
        raise InputError(why or f"{where}: no known format ({endings}); convert or rename the files: {known}")
    if globs.split(path[0], os.path.exists)[1] and len(seen[0].files) < len(files):
        raise InputError(f"{where}: the glob takes files of several kinds; name one for each kind")
    return seen


def _matching(patterns: tuple[str, ...], names: Iterable[str]) -> set[str]:
    matches = globs.matcher(globs.anywhere(patterns), ignore_case=True)
    return {name for name in names if matches(name)}


def _with_fields(source: Source, files: list[Input], text: str | None) -> Seen:
    """Which field is the text, which are ids, which are worth carrying: by the rows of some files."""
    format, few = FORMATS[source.format], files[:: -(-len(files) // PEEKED)]
    if format.peek is None:
        if source.format != "text" or len(files) >= FEW_FILES:
            return Seen(source, files)
        blank = sum(line.isspace() for _, line in islice(lines(few[0], source.longest, Problems()), 200))
        return Seen(replace(source, document="paragraph" if blank > 1 else "line"), files, 1)
    rows: list[dict] = []
    for item in few:
        with suppress(*BROKEN, ValueError, InputError):  # reading counts it, and says where
            rows += map(_flat, islice(format.peek(item), ROWS // len(few)))
    values: dict[str, list] = {}
    for name, value in (pair for row in rows for pair in row.items()):
        values.setdefault(name, []).extend([] if value is None else [value])
    usual = {name: some for name, some in values.items() if 2 * len(some) >= len(rows)}
    chosen = text or _text_field({n: s for n, s in usual.items() if all(isinstance(v, str) for v in s)})
    if chosen not in values:
        has = f"it has {', '.join(values)}" if values else "no row can be read"
        what = f'no field "{text}"' if text else "no field holds text"
        raise InputError(f"{printable(files[0].url)}: {what} ({has}); name one that does with --text FIELD")
    of_rows = sum(len(json.dumps(row, default=str, ensure_ascii=False)) for row in rows)
    share = sum(len(str(v)) for v in values[chosen]) / of_rows
    ids = [n for n, s in usual.items() if n != chosen and len(rows) == len(s) == len(set(map(str, s))) > 1]
    own = next((name for name in ids if IDS.fullmatch(name.rpartition(".")[2])), None)
    source = replace(source, text=chosen, id=own)
    for name in usual:
        if name.rpartition(".")[2].lower() in CARRIED and name not in (chosen, *OF_DOCUMENTS):
            more = replace(source, columns=(*source.columns, name))
            with suppress(NoInput):  # some files lack it
                for item in few:
                    format.check(more, item)
                source = more
    return Seen(source, files, share, ids)


def _flat(row: dict) -> dict[str, Any]:
    """Fields inside others by their paths; bytes as text."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        inside = _flat(value) if isinstance(value, dict) else None
        flat |= {str(name): value} if inside is None else {f"{name}.{n}": v for n, v in inside.items()}
    return flat


def _text_field(values: dict[str, list[str]]) -> str | None:
    """By its usual name, else the one with the most text, where its values are words."""
    by_name = {name.rpartition(".")[2].lower(): name for name in reversed(values) if any(values[name])}
    prose = [name for name, some in values.items() if sum(" " in v for v in some) > len(some) / 2]
    longest = max(prose, key=lambda name: sum(map(len, values[name])), default=None)
    return next((by_name[usual] for usual in TEXTS if usual in by_name), longest)


def _sampled(seen: list[Seen], out: Path, store: Store) -> tuple[dict[str, str], str]:
    """(what was seen, the manifest)."""

    def tried(levels: dict[str, str]) -> Annotated:
        manifest = parse_manifest(out, _text(seen, out, levels, '[sizes]\ntokens = "1k"'))
        return annotate_sample(store, manifest, open_engine("local", 1), SAMPLE)

    levels, notes = {"raw": ""}, ""
    a = tried(levels)
    for one, account in zip(seen, a.sources, strict=True):
        if one.source.id and {"duplicate-id", "no-id"} & set(account.failed):
            one.ids.remove(one.source.id)
            one.source = replace(one.source, id=None)
        if one.source.name in foreign_newlines(a.pool):
            one.source = replace(one.source, newlines="unix")
    codes = pc.fill_null(a.values.column("language"), "none").combine_chunks().dictionary_encode()
    of = np.bincount(codes.indices.to_numpy(), a.pool.bytes) / a.pool.bytes.sum()
    spoken = {codes.dictionary[i].as_py(): float(of[i]) for i in np.argsort(-of)}  # shares of the text
    for name, asked in _candidates(spoken):
        kept, before = 0, a.judged[list(levels)[-1]].kept.sum()
        with suppress(CurateError):  # it keeps nothing
            more = tried(levels | {name: asked})
            kept = more.judged[name].kept.sum()
        if kept < (0 if name == "unique" else LEAST_KEPT) * before:
            notes += f"# No level asks for {asked.strip()}: it keeps {kept} of {before} documents that were looked at.\n"
            continue
        levels[name], a = asked, more
    size = np.array([sum(item.size for item in one.files) for one in seen])
    read = [account.bytes / max(1, account.input_bytes) for account in a.sources]
    by_rows = [one.text_share * sum(map(unpacked_bytes, one.files)) for one in seen]
    whole = np.maximum(size * read, by_rows)  # bytes of text, by source, at least
    manifest = _text(seen, out, levels, notes + _rest(a, whole))
    parse_manifest(out, manifest)
    texts, hashes = a.pool.bytes, a.signals.column("text_hash", "text_hash")
    equal, near = (1 - len(of) / len(texts) for of in (pc.unique(hashes), np.unique(a.values.clusters())))
    returns = [one.source.name for one in seen if one.source.newlines == "unix"]
    columns = dict.fromkeys(column for one in seen for column in one.source.columns)
    return {
        "files": "; ".join(f"{one.source.name}: {one.source.format}, {len(one.files):,} of {short_bytes(bytes)}"
                           for one, bytes in zip(seen, size.tolist(), strict=True)),
        "text": f"in {', '.join(dict.fromkeys(one.source.text for one in seen))}; some {short_bytes(whole.sum())} at least"
                + ("; " + LITTLE) * (LITTLE in manifest),
        "ids": "; ".join(dict.fromkeys(
            f"{one.source.id or 'by place and text'} (all differ: {', '.join(one.ids) or 'no field'})" for one in seen)),
        "fields": f"carried: {', '.join(columns) or 'none'}",
        "documents": f"{len(texts):,} read, half over {short_bytes(np.median(texts))}, none over {short_bytes(texts.max())}",
        "languages": ", ".join(f"{code} {share:.0%}" for code, share in list(spoken.items())[:5]) + " of the text",
        "lines": f"end in \\r\\n in {', '.join(returns)}" if returns else "end in \\n",
        "duplicates": f"{equal:.1%} equal, {near:.1%} equal or near, of those looked at",
        "levels": ", ".join(f"{name} keeps {a.judged[name].kept.sum():,}" for name in levels),
    }, manifest  # fmt: skip


def _candidates(spoken: dict[str, float]) -> Iterator[tuple[str, str]]:
    """(level, what it asks for) above the raw text, each to be tried."""
    main = [code for code, share in spoken.items() if share >= SOME and code != "none"]
    if main and spoken[main[0]] >= MOST:
        main = main[:1]
    if main:
        name = languages()[main[0]].name.lower() if main[0] in languages() else main[0]
        bounds = f"language = {json.dumps(main)}, language_score = [{SURE if main == ['en'] else OTHERS_SURE}, inf]"
        yield (name if len(main) == 1 else "languages"), f"keep = {{ {bounds} }}\n"
        (covered,) = (r.bound for r in load_profile(MANY[0], Path()).rules if r.signal == "language")
        if main == ["en"] or set(main) <= set(covered.accepted(main)):
            yield "filtered", f"profiles = {json.dumps(ENGLISH if main == ['en'] else MANY)}\n"
    yield "unique", "keep = { duplicate = false }\n"


def _rest(a: Annotated, whole: np.ndarray) -> str:
    """Tokenizer, sizes, holdout and grid, for this much text."""
    best = list(a.judged)[-1]
    kept = a.judged[best].kept
    share = np.bincount(a.pool.source, a.pool.bytes * kept) / np.bincount(a.pool.source, a.pool.bytes)
    tokens = float((whole * share).sum()) / BYTES_A_TOKEN
    largest = max(LEAST_SIZE, min(LARGEST_SIZE, tokens / 8))
    sizes = ", ".join(f'"{_round(largest / part)}"' for part in (4, 2, 1))
    held = max(1000, min(LARGEST_SIZE, tokens) / 10, 5 * float(np.median(a.pool.bytes[kept])))
    group = _group(a, kept)
    little = f"# It is {LITTLE}.\n" if tokens < 2 * largest else ""
    return f"""[tokenizer]
vocabulary = {4096 if whole.sum() > 4e6 else 1024 if whole.sum() > 1e6 else 400}
train_on = "raw"
bytes = "{_round(max(1e5, min(8e6, whole.sum())))}B"

# "{best}" holds some {short_count(tokens)} tokens or more. The largest size is an eighth of them, of which every seed
# reads its own and holdouts take theirs, and at most {short_count(LARGEST_SIZE)} to begin with. Each size begins the next.
{little}[sizes]
tokens = [{sizes}]

# Text that loss is measured on. No corpus holds it, or anything that resembles it.
[holdout]
tokens = "{_round(held)}"
from = ["raw", "{best}"]
{f'group = "{group}"   # held out whole: documents of one {group} resemble each other' + chr(10) if group else ""}
[grid]
levels = ["raw", "{best}"]
seeds = 3
epochs = 3
batch = 2
context = {256 if largest > 50_000 else 64}
model = {{ depth = 4, width = 64 }}
"""


def _round(value: float) -> str:
    return short_count(float(f"{value:.2g}"))


def _group(a: Annotated, kept: np.ndarray) -> str | None:
    """What all sources can be held out by, where the sample has enough of it."""
    sources = [account.source for account in a.sources]
    common = [name for name in GROUPS if all(name in source.columns for source in sources)]
    kind, *others = {*common[:1]} or {usual_group(source) for source in sources}
    with suppress(CurateError):  # no document has one
        groups = groups_of(a.pool, a.sources, a.values.clusters(), kind)
        many = len(np.unique(groups.code[kept & groups.named()])) >= FEW_GROUPS
        return kind if many and not others and kind != DOCUMENT else None
    return None


def _text(seen: list[Seen], out: Path, levels: dict[str, str], rest: str) -> str:
    """The manifest. Paths are relative to its folder, where they have more in common than the root."""
    made = "# Made by `curate init` from a sample of each source. Change what you know better.\n"
    folder = os.path.abspath(out.parent)
    for source in (one.source for one in seen):
        far = any("://" in path or os.path.commonpath([path, folder]) == "/" for path in source.path)
        paths = source.path if far else [os.path.relpath(path, folder) for path in source.path]
        given: dict[str, Any] = {"name": source.name, "format": source.format}
        given["path"] = paths[0] if len(paths) == 1 else paths
        for key in ("text", "id", "columns", "document", "newlines"):
            if getattr(source, key) != getattr(Source, key):
                given[key] = getattr(source, key)
        table = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in given.items())
        made += f'\n[[source]]\n{table}license = "unknown"   # for you to say; it stands in the card of every corpus\n'
    made += '\n[signals]\nlanguage = { model = "lid.176" }\nnear_duplicates = { similarity = 0.8 }\n\n'
    below = ""
    for name, asked in levels.items():
        made += f'[[level]]\nname = "{name}"\n{below}{asked}\n'
        below = f'on = "{name}"\n'
    return made + rest
