"""Documents: what every later step reads. One schema, stable ids, parts of bounded size.

A source's files are grouped, in the order of their names, into tasks of at most some `part_bytes` of input; a
task reads its files and writes one or more parts. The cut depends on the files alone, never on how many workers
there are, and a file that comes, goes or changes touches the parts of its own group (`curate.sources.cut`). A source
whose files are one whole, or that is read up to a limit, is one task.

Schema: `id`, `text`, `source`, `place` (file and line, row or qualified name), `own_id` where the source has ids, and
the source's declared columns. An id is 32 hexadecimal digits: 128 bits of a hash over the source's name and the
document's own id, else over its name, the place and the text (a place alone is not enough: next month's files have the
same names). Since ids are hashes, their order is a fixed random order: sizes and samples rest on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.engine import Engine, make_parts
from curate.errors import InputError
from curate.progress import say
from curate.sources import members
from curate.sources.cut import groups, mark_of
from curate.sources.formats import FORMATS
from curate.sources.inputs import (
    OWN,
    Listing,
    check_unchanged,
    digests,
    left_out_text,
    list_inputs,
    package_versions,
)
from curate.sources.own_ids import first_of_each_id
from curate.sources.rows import Input, Problems
from curate.sources.usable import text_bytes, usable, with_ids, without_text
from curate.spec.manifest import Source
from curate.store import Part, Store, digest_of

VERSION = 2  # of what readers make of the same bytes: raise it when that changes
STAGE = "documents"
CARRIED = 8  # a part is at most so many times its bytes of text, by what else its rows carry
SAMPLE_FILES = 50  # of a source at most


@dataclass(frozen=True)
class Task:
    store: Store
    source: Source
    inputs: tuple[Input, ...]
    part_bytes: int
    key: str

    @property
    def bytes(self) -> int:
        return sum(item.size for item in self.inputs)

    @property
    def leaves(self) -> list[tuple[str, str]]:
        return [(STAGE, self.key)]


@dataclass
class SourceDocuments:
    """What reading a source gave: its parts, and the account of what became of every row."""

    source: Source
    parts: list[Part]
    documents: int
    bytes: int  # of UTF-8 text
    files: int
    input_bytes: int
    digest: str  # of the input files
    failed: dict = field(default_factory=dict)
    repaired: dict = field(default_factory=dict)
    left_out: dict = field(default_factory=dict)  # files, by cause

    def as_json(self) -> dict:
        left_out = {cause: found for cause, found in self.left_out.items() if cause != OWN}
        packages = {"packages": package_versions(self.source.packages)} if self.source.packages else {}
        return {
            "format": self.source.format,
            "license": self.source.license,
            "files": self.files,
            "input_bytes": self.input_bytes,
            "digest": self.digest,
            "documents": self.documents,
            "bytes": self.bytes,
            "failed": self.failed,
            "repaired": self.repaired,
            **({"left_out": left_out} if left_out else {}),
            **({"libraries": found} if (found := FORMATS[self.source.format].libraries(self.source)) else {}),
            **packages,
        }


def read_sources(
    store: Store, sources: Sequence[Source], part_bytes: int, engine: Engine
) -> list[SourceDocuments]:
    """These sources as parts of documents; what is in the store already is not read again."""
    # what is not there is said before hours of hashing and reading
    listed = [_listed(source) for source in sources]
    engine.holds = store.occupied()
    plans = [_plan(store, s, part_bytes, listing) for s, listing in zip(sources, listed, strict=True)]
    make_parts(
        engine, "read", read_task, [task for plan in plans for task in plan.tasks], memory=4, processes=True
    )
    accounts = [_account(store, plan) for plan in plans]
    _check_types(accounts)
    for account in accounts:
        if problems := problems_text(account):
            say(f'source "{account.source.name}": {problems}')
    return accounts


def problems_text(account: SourceDocuments) -> str:
    """`3 rows failed (not-json 2, empty 1); 1 text repaired (not-utf-8 1)`; empty where all went well."""
    parts = []
    for table, single, plural in (
        (account.failed, "row failed", "rows failed"),
        (account.repaired, "text repaired", "texts repaired"),
    ):
        count = sum(entry["count"] for entry in table.values())
        causes = ", ".join(f"{cause} {entry['count']:,}" for cause, entry in table.items())
        if count:
            parts.append(f"{count:,} {single if count == 1 else plural} ({causes})")
    if account.left_out:
        parts.append(f"left out {left_out_text(account.left_out)}")
    return "; ".join(parts)


def look_for(sources: Sequence[Source]) -> None:
    """Raises InputError where one of these has no files: said before others have been read for hours."""
    for source in sources:
        _listed(source)


def open_source(store: Store, source: Source, part_bytes: int, engine: Engine) -> SourceDocuments:
    """One source by itself."""
    return read_sources(store, [source], part_bytes, engine)[0]


def read_sample(store: Store, source: Source, part_bytes: int, documents: int) -> SourceDocuments:
    """About so many documents of a source, the first of files from all over it. Reads no more than those."""
    listing = list_inputs(source)
    inputs = listing.files
    if FORMATS[source.format].whole:
        groups = [tuple(inputs)]
    else:
        groups = [(item,) for item in inputs[:: -(-len(inputs) // SAMPLE_FILES)]]
    few = replace(source, limit=-(-documents // len(groups)))
    tasks = [
        Task(
            store, few, group, part_bytes, digest_of([STAGE, "sample", few.definition(), [i.name for i in group]])
        )
        for group in groups
    ]  # fmt: skip
    for task in tasks:
        read_task(task)
    chosen = [item for group in groups for item in group]
    return _account(store, SourcePlan(few, Listing(chosen), [item.name for item in chosen], tasks))


def _check_types(accounts: list[SourceDocuments]) -> None:
    """Raises InputError where a column is of one type here and of another there: no corpus can hold both."""
    seen: dict[str, tuple[pa.Field, str]] = {}
    for account in accounts:
        for documents in without_text(account.parts):
            for column in documents.schema:
                before, owner = seen.setdefault(column.name, (column, account.source.name))
                try:
                    wider = pa.unify_schemas(
                        [pa.schema([before]), pa.schema([column])], promote_options="permissive"
                    )
                except pa.ArrowException:
                    raise InputError(
                        f'source "{account.source.name}": the column "{column.name}" is {column.type} in some files, and '
                        f'{before.type} in others of source "{owner}"; leave it out of columns, or make them alike'
                    ) from None
                seen[column.name] = (wider.field(0), owner)


@dataclass(frozen=True)
class SourcePlan:
    source: Source
    listing: Listing
    hashes: list[str]
    tasks: list[Task]


def _listed(source: Source) -> Listing:
    listing = list_inputs(source)
    FORMATS[source.format].check(source, members.first(source, listing.files[0]))
    return listing


def _plan(store: Store, source: Source, part_bytes: int, listing: Listing) -> SourcePlan:
    hashes = digests(store, source, listing.files)
    return SourcePlan(
        source, listing, hashes, list(plan_tasks(store, source, part_bytes, listing.files, hashes))
    )


def plan_tasks(
    store: Store, source: Source, part_bytes: int, inputs: list[Input], hashes: list[str]
) -> Iterator[Task]:
    """The source's files in groups; the cut depends on names and sizes alone."""
    together = FORMATS[source.format].whole or source.limit is not None
    made_by = FORMATS[source.format].made_by(source)
    cuts = groups((mark_of(item.name) for item in inputs), (item.size for item in inputs), part_bytes)
    for some in [slice(0, len(inputs))] if together else cuts:
        named = [[item.name, hash] for item, hash in zip(inputs[some], hashes[some], strict=True)]
        how = [members.VERSION] if any(members.is_archive(source, item) for item in inputs[some]) else []
        key = digest_of([STAGE, VERSION, source.definition(), part_bytes, named, *made_by, *how])
        yield Task(store, source, tuple(inputs[some]), part_bytes, key)


def read_task(task: Task) -> int:
    """Read a task's files, write its parts and their receipt. Returns the bytes of input that it read."""
    problems = Problems()
    writer = partial(task.store.write_part, STAGE)
    parts = []
    for number, table in enumerate(_in_parts(_documents(task, problems), task.part_bytes)):
        parts.append(writer(f"{task.key}-{number:05d}.arrow", table))
        without_text(parts[-1:])  # an object store gets it now, while the texts are at hand
    check_unchanged(task.source, task.inputs)
    task.store.finish(
        STAGE,
        task.key,
        parts,
        documents=sum(p.rows for p in parts),
        text_bytes=sum(text_bytes(p.table(["text"])) for p in parts),
        failed=problems.failed,
        repaired=problems.repaired,
    )
    return task.bytes


def _documents(task: Task, problems: Problems) -> Iterator[pa.Table]:
    source, count = task.source, 0
    files = members.members(source, task.inputs, problems)
    for table in FORMATS[source.format].read(source, files, problems):
        table = usable(table, source, problems)
        if source.limit is not None:
            table = table.slice(0, max(0, source.limit - count))
        count += table.num_rows
        if table.num_rows:
            yield with_ids(table, source)
        if source.limit is not None and count >= source.limit:
            return


def _in_parts(tables: Iterator[pa.Table], part_bytes: int) -> Iterator[pa.Table]:
    """Gather tables until they hold `part_bytes` of text, or CARRIED times as much; a part is one record batch."""
    waiting: list[pa.Table] = []
    size = 0
    for table in tables:
        for piece in _cut(table, part_bytes):
            waiting.append(piece)
            size += max(text_bytes(piece), piece.nbytes // CARRIED)
            if size >= part_bytes:
                yield _joined(waiting)
                waiting, size = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(tables: list[pa.Table]) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except pa.ArrowException as error:
        source = tables[0]["source"][0].as_py()
        raise InputError(
            f'source "{source}": its files have columns of different types: {str(error).splitlines()[0]}; '
            "leave those out of columns, or make the files alike"
        ) from None


def _cut(table: pa.Table, part_bytes: int) -> Iterator[pa.Table]:
    """A table in row ranges of at most `part_bytes` of text each (one document more where it must)."""
    total = np.cumsum(pc.binary_length(table["text"]).to_numpy())
    begin, base = 0, 0
    while begin < table.num_rows:
        end = max(begin + 1, int(np.searchsorted(total, base + part_bytes, "right")))
        yield table.slice(begin, end - begin)
        begin, base = end, int(total[end - 1])


def digest_of_files(inputs: Sequence[Input], hashes: Sequence[str]) -> str:
    """Of their names and contents: as the lock names what a source was read from."""
    return digest_of([[i.name, h] for i, h in zip(inputs, hashes, strict=True)])


def _account(store: Store, plan: SourcePlan) -> SourceDocuments:
    source, inputs = plan.source, plan.listing.files
    account = SourceDocuments(
        source=source,
        parts=[],
        documents=0,
        bytes=0,
        files=len(inputs),
        input_bytes=sum(i.size for i in inputs),
        digest=digest_of_files(inputs, plan.hashes),
        left_out=plan.listing.left_out,
    )
    for task in plan.tasks:
        receipt = store.made(STAGE, task.key)
        account.parts += store.parts(STAGE, receipt)
        account.documents += receipt["documents"]
        account.bytes += receipt["text_bytes"]
        for total, found in ((account.failed, receipt["failed"]), (account.repaired, receipt["repaired"])):
            _add_problems(total, found)
    if not account.documents:
        causes = (
            ", ".join(f"{cause}: {f['count']}" for cause, f in account.failed.items())
            or "the files are empty"
        )
        samples = [entry["samples"][0] for entry in account.failed.values() if entry["samples"]]
        first = f"; {samples[0]['at']}: {samples[0]['why']}" if samples else ""
        raise InputError(f'source "{source.name}": no document in {len(inputs)} files ({causes}){first}')
    if source.id:
        account.parts, later = first_of_each_id(store, STAGE, source, account.parts)
        _add_problems(account.failed, later)
        account.documents = sum(part.rows for part in account.parts)
        account.bytes = (
            sum(text_bytes(part.table(["text"])) for part in account.parts) if later else account.bytes
        )
    return account


def _add_problems(total: dict, found: dict) -> None:
    for cause, entry in found.items():
        sum_ = total.setdefault(cause, {"count": 0, "samples": []})
        sum_["count"] += entry["count"]
        sum_["samples"] = (sum_["samples"] + entry["samples"])[:5]
