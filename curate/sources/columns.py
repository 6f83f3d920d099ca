"""Arrow columns, checked and made plain: what a file holds may be damaged, and of types that later steps cannot carry.

Strings of every layout, bytes and dictionaries become strings; lists and structs stay, of plain values; what is left
(maps, unions, runs) becomes JSON. Nothing is read of a column before its offsets, indices and buffers have been checked:
Arrow itself trusts them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.sources.characters import as_utf8, decoded
from curate.sources.rows import BATCH_BYTES, DECODED_ROWS, Problems

types = pa.types
BYTES_OF = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
}

Decode = Callable[[bytes, str], str]  # (bytes, place) to text


def has_field(schema: pa.Schema, path: str) -> bool:
    """Whether there is a column of this name, or one inside others by its path, `doc.body`."""
    if path in schema.names:
        return True
    root, *inside = path.split(".")
    if root not in schema.names:
        return False
    inner = schema.field(root).type
    for part in inside:
        if not types.is_struct(inner) or inner.get_field_index(part) < 0:
            return False
        inner = inner.field(part).type
    return True


def root_of(schema: pa.Schema, path: str) -> str:
    """The column that holds it."""
    return path if path in schema.names else path.split(".")[0]


def field(batch: pa.RecordBatch, path: str) -> pa.Array:
    """The column of this name or path."""
    if path in batch.schema.names:
        return batch.column(path)
    root, *inside = path.split(".")
    column = batch.column(root)
    column.validate()
    return pc.struct_field(column, inside)


def is_text(type: pa.DataType) -> bool:
    """Strings or bytes, in any layout."""
    value = type.value_type if types.is_dictionary(type) else type
    return value in BYTES_OF or _is_bytes(value)


def _is_bytes(type: pa.DataType) -> bool:
    return (
        types.is_binary(type)
        or types.is_large_binary(type)
        or types.is_binary_view(type)
        or types.is_fixed_size_binary(type)
    )


def ranges(columns: list[pa.Array]) -> Iterator[tuple[int, int]]:
    """Rows [first, end) of about BATCH_BYTES of a column: a dictionary, a view or a run may hold a text once for a million
    rows. Never less than a row."""
    for column in columns:
        check(column)
    totals = [np.cumsum(decoded_bytes(column)) for column in columns]
    first, base = 0, [0] * len(totals)
    while first < len(totals[0]):
        ends = (np.searchsorted(t, b + BATCH_BYTES, "right") for t, b in zip(totals, base, strict=True))
        end = max(first + 1, int(min(ends)))
        yield first, end
        first, base = end, [total[end - 1] for total in totals]


def decoded_bytes(column: pa.Array) -> np.ndarray:
    """Of each row, roughly. What stands behind rows that are null may count as well."""
    type = column.type
    if isinstance(column, pa.ExtensionArray):
        return decoded_bytes(column.storage)
    if is_text(type) and not types.is_dictionary(type):
        return _lengths(column).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    if types.is_dictionary(type):
        bytes = np.append(decoded_bytes(column.dictionary), 0)  # the last is that of null
        return bytes[column.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)]
    if types.is_run_end_encoded(type):
        rows = np.arange(column.offset, column.offset + len(column))
        return decoded_bytes(column.values)[np.searchsorted(column.run_ends.to_numpy(), rows, "right")]
    if types.is_struct(type):
        return sum(
            (decoded_bytes(column.field(i)) for i in range(type.num_fields)), np.ones(len(column), int)
        )
    if types.is_list(type) or types.is_large_list(type) or types.is_map(type):
        total = np.append(0, np.cumsum(decoded_bytes(column.values)))
        return np.diff(total[column.offsets.to_numpy(zero_copy_only=False)])
    if types.is_fixed_size_list(type):
        inside = decoded_bytes(
            column.values.slice(column.offset * type.list_size, len(column) * type.list_size)
        )
        return inside.reshape(len(column), type.list_size).sum(1)
    return np.full(
        len(column), BATCH_BYTES // DECODED_ROWS if types.is_nested(type) else 8
    )  # unions and views of lists


def _lengths(texts: pa.Array) -> pa.Array:
    """Bytes of each."""
    raw = _as_bytes(texts)
    if not types.is_binary_view(raw.type):
        return pc.binary_length(raw)
    views = np.frombuffer(raw.buffers()[1], np.int32).reshape(-1, 4)  # a view is 16 bytes, its length first
    return pa.array(views[raw.offset : raw.offset + len(raw), 0], mask=raw.is_null().to_numpy(False))


def text(column: pa.Array, places: pa.Array, problems: Problems) -> pa.LargeStringArray:
    """Strings as they are, bytes as the text of a file would be read."""
    whole = decoded if _is_bytes(_value_type(column.type)) else as_utf8
    return _strings(column, places, pa.large_string(), lambda raw, at: whole(raw, at, problems))


def own_ids(column: pa.Array, places: pa.Array) -> pa.StringArray:
    """Ids as strings. Bytes that are not UTF-8 become \\xNN, so that different ids stay different."""
    if is_text(column.type):
        return _strings(column, places, pa.string(), lambda raw, at: raw.decode("utf-8", "backslashreplace"))
    return _as_json(plain(column, places, Problems()))


def plain(column: pa.Array, places: pa.Array, problems: Problems) -> pa.Array:
    """A column that is carried along. Raises pa.ArrowException where it is damaged."""
    if isinstance(column, pa.ExtensionArray):
        return plain(column.storage, places, problems)
    if is_text(column.type):
        large = types.is_large_string(column.type) or types.is_large_binary(column.type)
        kind = pa.large_string() if large else pa.string()
        return _strings(column, places, kind, lambda raw, at: as_utf8(raw, at, problems))
    if types.is_dictionary(column.type):
        _check_indices(column)
        return plain(column.dictionary, pa.array([""] * len(column.dictionary)), problems).take(
            column.indices
        )
    kind = plain_type(column.type)
    check(column)
    if kind == column.type and _is_readable(column):
        return column
    values = [_value(column, i, places, problems) for i in range(len(column))]
    return pa.array(values, kind) if kind else pa.array([_json(value) for value in values], pa.string())


def plain_type(type: pa.DataType) -> pa.DataType | None:
    """The type that `plain` gives; None: what it has to write as JSON."""
    if isinstance(type, pa.BaseExtensionType):
        return plain_type(type.storage_type)
    if types.is_dictionary(type):
        return plain_type(type.value_type)
    if type in BYTES_OF or _is_bytes(type):
        return (
            pa.large_string() if types.is_large_string(type) or types.is_large_binary(type) else pa.string()
        )
    if types.is_struct(type):
        inside = [(f.name, plain_type(f.type)) for f in type]
        return pa.struct(inside) if all(kind for _, kind in inside) else None
    if types.is_list(type) or types.is_large_list(type) or types.is_fixed_size_list(type):
        kind = plain_type(type.value_type)
        make = pa.large_list if types.is_large_list(type) else pa.list_
        return kind and make(type.value_field.with_type(kind))
    # What `datasets` has a name for, which writes corpora.
    number = types.is_primitive(type) and not types.is_interval(type)
    named = number or types.is_null(type) or types.is_decimal128(type) or types.is_decimal256(type)
    return type if named else None


def _value_type(type: pa.DataType) -> pa.DataType:
    return type.value_type if types.is_dictionary(type) else type


def check(column: pa.Array) -> None:
    """Raises pa.ArrowInvalid where offsets, indices or lengths are damaged. Whether strings are UTF-8 is not asked: Arrow
    asks that first, and then looks at no offsets."""
    column.validate()
    if isinstance(column, pa.ExtensionArray):
        check(column.storage)
    elif types.is_dictionary(column.type):
        _check_indices(column)
        check(column.dictionary)
    elif is_text(column.type):
        _as_bytes(column)
    elif types.is_struct(column.type):
        for number in range(column.type.num_fields):
            check(column.field(number))
    elif types.is_list(column.type) or types.is_large_list(column.type) or types.is_map(column.type):
        offsets = column.offsets.to_numpy(zero_copy_only=False)
        if len(offsets) and (
            offsets[0] < 0 or offsets[-1] > len(column.values) or (np.diff(offsets) < 0).any()
        ):
            raise pa.ArrowInvalid(f"offsets of lists beyond their {len(column.values)} values")
        check(column.values)
    elif types.is_fixed_size_list(column.type):
        check(column.values)
    else:
        column.validate(full=True)


def _is_readable(column: pa.Array) -> bool:
    """Whether a column that was checked is UTF-8, and its times are of years that Python knows."""
    try:
        column.validate(full=True)
        if types.is_duration(column.type) or types.is_interval(column.type):
            column.to_pylist()
        elif types.is_temporal(column.type):
            pc.min_max(column).as_py()
        return True
    except (pa.ArrowInvalid, OverflowError, ValueError):
        return False


def _check_indices(column: pa.Array) -> None:
    if not types.is_dictionary(column.type):
        return
    column.dictionary.validate()  # one that says it has more values than it holds may have no end
    column.indices.validate(full=True)
    bounds = pc.min_max(column.indices).as_py()
    if bounds["max"] is not None and not 0 <= bounds["min"] <= bounds["max"] < len(column.dictionary):
        raise pa.ArrowInvalid(f"an index of {bounds['max']} into a dictionary of {len(column.dictionary)}")


def _as_bytes(column: pa.Array) -> pa.Array:
    """Strings as bytes of the same layout, with offsets that have been checked."""
    column.validate()
    raw = column.view(BYTES_OF[column.type]) if column.type in BYTES_OF else column
    raw.validate(full=True)
    return raw


def _strings(column: pa.Array, places: pa.Array, kind: pa.DataType, decode: Decode) -> pa.Array:
    """Strings or bytes as strings; those that are not UTF-8, or begin as another encoding does, by `decode`."""
    if types.is_dictionary(column.type):
        _check_indices(column)
        return _strings(_as_bytes(column.dictionary).take(column.indices), places, kind, decode)
    raw = _as_bytes(column)
    large = raw.cast(pa.large_binary()) if kind == pa.large_string() else raw.cast(pa.binary())
    try:
        if not (_is_bytes(column.type) and pc.any(pc.match_substring(large, b"\0")).as_py()):
            return large.cast(kind)
    except pa.ArrowInvalid:
        pass
    values = zip(large.to_pylist(), places.to_pylist(), strict=True)
    return pa.array([None if value is None else decode(value, at or "") for value, at in values], kind)


def _value(column: pa.Array, row: int, places: pa.Array, problems: Problems) -> Any:
    try:
        return _without_bytes(column[row].as_py())
    except (UnicodeDecodeError, OverflowError, ValueError) as error:
        cause = "not-utf-8" if isinstance(error, UnicodeDecodeError) else "out-of-range"
        problems.repair(cause, places[row].as_py(), f"null in its place: {error}")
        return None


def _without_bytes(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple):
        return [_without_bytes(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _without_bytes(inner) for key, inner in value.items()}
    return value


def _as_json(column: pa.Array) -> pa.StringArray:
    if types.is_nested(column.type):
        return pa.array([_json(value) for value in column.to_pylist()], pa.string())
    return column.cast(pa.string())


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
