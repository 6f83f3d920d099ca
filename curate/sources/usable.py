"""What a reader gave, made documents: texts cleaned of marks, unusable rows counted as failed, ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from pyarrow import feather

from curate.remote import at_once, remote_at
from curate.sources.characters import MARK
from curate.sources.rows import Problems
from curate.spec.manifest import Source
from curate.store import Part, digest_of, open_store
from filters.arrow import utf8

BESIDE = "beside"  # the stage of what lies beside parts of documents
TEXT_BYTES = "bytes of the text"  # a column that no source has
MOST_NULS = 1 / 50  # of a text's bytes; more is no text, but numbers or an encoding that was not recognised


def usable(table: pa.Table, source: Source, problems: Problems) -> pa.Table:
    """The rows that can become documents."""
    table = _with_newlines(_without_marks(table), source, problems)
    return _without_unnamed(_without_unusable(table, source, problems), source, problems)


def text_bytes(table: pa.Table) -> int:
    """Bytes of UTF-8."""
    return pc.sum(pc.binary_length(table["text"])).as_py() or 0


def without_text(parts: Sequence[Part]) -> Iterable[pa.Table]:
    """The documents of each part, with the bytes of their texts, one part at a time. In an object store a table beside the
    part has all but the texts, so that nobody fetches those to know the rest."""
    remote = remote_at(parts[0].path) if parts else None
    if remote is None:
        return (_sized(part.table()) for part in parts)
    store = open_store(remote.url)

    def beside(part: Part) -> pa.Table:
        key = digest_of([BESIDE, part.digest])

        def fill(path: Path) -> int:
            table = _sized(part.table())
            text = table.schema.field("text")
            table = table.set_column(
                table.schema.get_field_index("text"), text, pa.nulls(len(table), text.type)
            )
            feather.write_feather(table, path, "zstd")
            return len(table)

        receipt = store.receipt(BESIDE, key)
        receipt = receipt or store.finish(BESIDE, key, [store.write(BESIDE, f"{key}.arrow", fill)])
        return store.parts(BESIDE, receipt)[0].table()

    return at_once(beside, parts)


def columns_of(parts: Sequence[Part], column: str) -> Iterable[pa.Table]:
    """A column of the documents of each part, which is not the text, one part at a time."""
    if not parts or remote_at(parts[0].path) is None:
        return (part.table([column]) for part in parts)
    return (table.select([column]) for table in without_text(parts))


def _sized(table: pa.Table) -> pa.Table:
    return table.append_column(TEXT_BYTES, pc.binary_length(table["text"]))


def _without_marks(table: pa.Table) -> pa.Table:
    """A byte-order mark is no part of the text that it begins."""
    if not pc.any(pc.starts_with(table["text"], MARK)).as_py():
        return table
    text = pc.replace_substring_regex(table["text"], f"^{MARK}+", "")
    return table.set_column(table.column_names.index("text"), "text", text)


def _with_newlines(table: pa.Table, source: Source, problems: Problems) -> pa.Table:
    """Lines of every text end in \\n, where the source asks for that; texts that this changes count as repaired."""
    returns = pc.match_substring(table["text"], "\r") if source.newlines == "unix" else None
    if returns is None or not pc.any(returns).as_py():
        return table
    for place in table["place"].filter(returns).to_pylist():
        problems.repair("newlines", place, "lines ended in \\r\\n or \\r")
    text = pc.replace_substring(pc.replace_substring(table["text"], "\r\n", "\n"), "\r", "\n")
    return table.set_column(table.column_names.index("text"), "text", text)


def _without_unusable(table: pa.Table, source: Source, problems: Problems) -> pa.Table:
    """Empty documents, those over the source's limit and what is no text are counted as failed, with where they are."""
    length = pc.binary_length(table["text"])
    empty, long = pc.equal(length, 0), pc.greater(length, source.longest)
    binary = pc.and_(pc.invert(pc.or_(empty, long)), _full_of_nuls(table["text"], length))
    for cause, bad, why in (
        ("empty", empty, "no text at all"),
        ("too-long", long, f"over the source's longest = {source.longest} bytes"),
        ("not-text", binary, "full of zero bytes: binary data, or UTF-16 or UTF-32 without a mark"),
    ):
        if pc.any(bad).as_py():
            for place in table["place"].filter(bad).to_pylist():
                problems.fail(cause, place, why)
    bad = pc.or_(binary, pc.or_(empty, long))
    return table.filter(pc.invert(bad)) if pc.any(bad).as_py() else table


def _full_of_nuls(texts: pa.ChunkedArray, length: pa.ChunkedArray) -> pa.Array:
    offsets, data = utf8(texts)
    if data[offsets[0] : offsets[-1]].all():
        return pa.repeat(pa.scalar(False), len(texts))
    return pc.greater(pc.count_substring(texts, "\0"), pc.multiply(length, MOST_NULS))


def with_ids(table: pa.Table, source: Source) -> pa.Table:
    own_ids = table["own_id"].to_pylist() if "own_id" in table.column_names else None
    if own_ids is None:
        ids = _ids_by_text(source.name, table["place"].to_pylist(), table["text"])
    else:
        ids = [xxhash.xxh3_128_hexdigest(f"{source.name}\0{key}".encode()) for key in own_ids]
    columns = {
        "id": pa.array(ids, pa.string()),
        "text": table["text"],
        "source": pa.array([source.name] * len(ids), pa.string()),
        "place": table["place"],
        **({} if own_ids is None else {"own_id": table["own_id"]}),
        **{c: table[c] for c in source.columns},
    }
    return pa.table(columns)


def _ids_by_text(name: str, places: list[str], texts: pa.ChunkedArray) -> list[str]:
    offsets, data = utf8(texts.combine_chunks())
    ids = []
    for place, begin, end in zip(places, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        id = xxhash.xxh3_128(f"{name}\0{place}\0".encode())
        id.update(data[begin:end].data)
        ids.append(id.hexdigest())
    return ids


def _without_unnamed(table: pa.Table, source: Source, problems: Problems) -> pa.Table:
    """Rows without an id of their own are counted as failed, where the source says that it has ids."""
    if "own_id" not in table.column_names or not table["own_id"].null_count:
        return table
    for place in table["place"].filter(pc.is_null(table["own_id"])).to_pylist():
        problems.fail("no-id", place, f'no "{source.id}"; leave out id to make ids of place and text')
    return table.filter(pc.is_valid(table["own_id"]))
