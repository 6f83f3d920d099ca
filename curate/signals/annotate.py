"""Documents to signals: one pass over the text measures every family that is not in the store yet.

A family's values lie beside the documents they were measured on, part i beside part i and row beside
row. The key of such a file holds the family's version and parameters (for a model the digest of its
bytes), the version of Unicode and the digest of the documents' part, so another threshold measures nothing
again, and another model measures one family again.
"""

from __future__ import annotations

import os
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from curate.engine import Engine, give_back, make_parts
from curate.errors import CurateError
from curate.progress import Progress
from curate.remote import here
from curate.signals import custom
from curate.signals.families import FILES, family_of, in_order, signals_of, taken_from
from curate.store import Part, Store, brought, digest_of, file_digest
from filters.family import Family
from filters.language.documents import find_model

STAGE = "signals"
HUGE = 32_000_000  # bytes of a text that is measured alone: kernels take a multiple of the longest
_one_huge = threading.Lock()  # and one at a time, of all threads


@dataclass(frozen=True)
class Task:
    """Measure these families on one part of documents. A family's key on this part is in `keys`, which also
    holds those of families that are measured already and taken by others."""

    store: Store
    documents: Part
    missing: tuple[str, ...]  # each after those it takes signals of
    families: dict[str, dict]
    keys: dict[str, str]

    @property
    def bytes(self) -> int:
        return self.documents.bytes

    @property
    def leaves(self) -> list[tuple[str, str]]:
        return [(f"{STAGE}/{name}", self.keys[name]) for name in self.missing]


@dataclass
class Signals:
    """For each family its parts, in the order of the documents' parts; and for each signal its family."""

    store: Store
    families: dict[str, list[Part]]
    versions: dict[str, dict]  # family -> what the lock says of it
    models: dict[str, dict] = field(default_factory=dict)
    owner: dict[str, str] = field(default_factory=dict)  # signal -> its family
    asked: dict[str, dict] = field(default_factory=dict)  # family -> the parameters that it was measured with

    def column(self, family: str, name: str) -> pa.ChunkedArray:
        """One signal of every document, in pool order, memory-mapped."""
        brought(self.families[family])
        parts = [part.table([name])[name] for part in self.families[family]]
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)


def annotate(store: Store, families: dict[str, dict], documents: list[Part], engine: Engine) -> Signals:
    """Measure these families (name -> parameters) on every part; only what is missing is measured."""
    definitions, models = _definitions(families)
    ordered = list(definitions)
    keys = {part.digest: _keys(definitions, part) for part in documents}

    def task(part: Part) -> Task:
        mine = keys[part.digest]
        missing = tuple(n for n in ordered if store.receipt(f"{STAGE}/{n}", mine[n]) is None)
        return Task(store, part, missing, families, mine)

    tasks = store.each(task, documents)

    def prepare(todo: list[Task]) -> None:
        _compile([name for name in ordered if any(name in task.missing for task in todo)], families)

    make_parts(engine, "annotate", annotate_part, tasks, memory=2, prepare=prepare)
    parts = {
        name: [store.made_part(f"{STAGE}/{name}", keys[part.digest][name]) for part in documents]
        for name in definitions
    }
    versions = {
        name: {**identity, "digest": digest_of([p.digest for p in parts[name]])}
        for name, identity in definitions.items()
    }
    return Signals(store, parts, versions, models, signals_of(families), families)


def _keys(definitions: dict[str, dict], part: Part) -> dict[str, str]:
    """By family. Classes of characters are those of this Python's Unicode, so its version is part of every key."""
    unicode = unicodedata.unidata_version
    return {
        name: digest_of([STAGE, name, definition, unicode, part.digest])
        for name, definition in definitions.items()
    }


def _compile(names: list[str], families: dict[str, dict]) -> None:
    """Let kernels that this machine has never compiled be compiled by one thread, and say so: it takes seconds each.

    Only where the folder of compiled kernels is empty; one that lacks a few is filled as they are called.
    """
    folder = Path(os.environ.get("NUMBA_CACHE_DIR", ""))
    if not names or not folder.is_dir() or next(folder.rglob("*.nbi"), None):
        return
    one = pa.array(["One text.\nAnd a line."], pa.large_string())
    with Progress("compile", len(names), "families, once on this machine") as progress:
        for name in names:
            if not name.startswith(custom.PREFIX):
                family = family_of(name, families[name])
                _measured(
                    name, family, one, {t: pa.nulls(1, pa.string()) for t in family.takes}, families[name]
                )
            progress.add(1)


def _definitions(families: dict[str, dict]) -> tuple[dict[str, dict], dict[str, dict]]:
    """(what each family's values depend on besides the documents, in the order of measuring; models by family)."""
    owner = signals_of(families)
    definitions: dict[str, dict] = {}
    models = {}
    for name in in_order(families):
        parameters = dict(families[name])
        digests = {file: _digest_of_file(file, parameters[file]) for file in FILES if file in parameters}
        if digests:
            models[name] = {file: Path(parameters[file]).name for file in digests}
            models[name]["sha256"] = next(iter(digests.values())) if len(digests) == 1 else digest_of(digests)
        parameters |= digests
        if name.startswith(custom.PREFIX):
            folder = parameters.pop("folder")
            parameters["sha256"] = custom.load(parameters["function"], folder)[1]
        definitions[name] = {"version": family_of(name, families[name]).version, "parameters": parameters}
        taken = {n: definitions[n] for n in taken_from(name, families, owner)}
        if taken:
            definitions[name]["takes"] = taken
    return definitions, models


def annotate_part(task: Task) -> int:
    """Measure and store; returns the bytes of documents that were read."""
    from filters.arrow import batches, text_column

    documents = task.documents.table()
    texts = text_column(documents["text"])
    measured: dict[str, list[dict[str, pa.Array]]] = {name: [] for name in task.missing}
    for first, last in batches(texts):
        some, beside = texts.slice(first, last - first), documents.slice(first, last - first)
        is_huge = last - first == 1 and pc.binary_length(some)[0].as_py() > HUGE
        with _alone() if is_huge else nullcontext():
            found: dict[str, pa.Array] = {}  # signals of these rows, for families that take some
            for name in task.missing:
                measured[name].append(_measure(task, name, beside, some, first, found))
                found |= measured[name][-1]
    for name in task.missing:
        columns = pa.concat_tables(map(pa.table, measured.pop(name))).combine_chunks()
        part = task.store.write_part(f"{STAGE}/{name}", f"{task.keys[name]}.arrow", columns)
        task.store.finish(f"{STAGE}/{name}", task.keys[name], [part])
    return task.documents.bytes


@contextmanager
def _alone() -> Iterator[None]:
    """While no other thread measures a huge document. What was freed before, and is freed of it, goes back to the
    system at once: glibc keeps it for later, and a huge document needs all there is."""
    with _one_huge:
        give_back()
        yield
        give_back()


def _measure(
    task: Task, name: str, documents: pa.Table, texts: pa.Array, first: int, found: dict[str, pa.Array]
) -> dict[str, pa.Array]:
    """Of these documents, which in their part begin at row `first`, and of which some signals are found already."""
    parameters = {k: str(here(v)) if k in FILES else v for k, v in task.families[name].items()}
    family = family_of(name, parameters)
    owner = signals_of(task.families)
    beside = {}
    for taken in family.takes:
        if taken in found:
            beside[taken] = found[taken]
        elif taken in owner:
            part = task.store.made_part(f"{STAGE}/{owner[taken]}", task.keys[owner[taken]])
            beside[taken] = part.table([taken])[taken].slice(first, len(documents))
        elif taken in documents.column_names:
            beside[taken] = documents[taken].cast(pa.string())
        else:
            beside[taken] = pa.nulls(len(documents), pa.string())
    if name.startswith(custom.PREFIX):
        signal = name.removeprefix(custom.PREFIX)
        return {signal: custom.measure(signal, parameters, documents, beside)}
    return _measured(name, family, texts, beside, parameters)


def _measured(
    name: str, family: Family, texts: pa.Array, beside: dict, parameters: dict
) -> dict[str, pa.Array]:
    """Raises CurateError where a model, or another file that the family reads, is not what it should be."""
    try:
        return family.measure(texts, **beside, **parameters)
    except ValueError as error:
        raise CurateError(f"[signals] {name}: {error}") from None


def _digest_of_file(parameter: str, path: str) -> str:
    if parameter == "run":
        return digest_of([file_digest(Path(path) / name) for name in ("model.safetensors", "tokenizer.json")])
    return file_digest(find_model(path) if parameter == "model" else path)
