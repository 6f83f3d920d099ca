"""What was found of groups of texts, kept for later builds: a group of the same texts is answered without a look at them,
however the pool around it has grown.

A group is known by the hashes of its texts in order. A build writes what it found of new groups as one table, and
reads those of all builds before. They save work and decide nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from curate.signals.annotate import Signals
from curate.store import Store, digest_of

STAGE = "answers"
Find = Callable[[np.ndarray], list[np.ndarray]]


def answered(
    what: list, signals: Signals, rows: np.ndarray, group: np.ndarray, find: Find
) -> list[np.ndarray]:  # fmt: skip
    """Columns, a value each of these rows of the pool; those of int64 name another of the same group, by its index. `group`
    int64 [rows]: each stands together; `what`: all that values depend on besides texts. `find`: the columns of some indexes,
    of whole groups."""
    if signals.versions["text_hash"]["parameters"]["normalise"] != "bytes":
        return find(np.arange(len(rows)))  # since equal hashes are not equal texts
    store, stage = signals.store, f"{STAGE}/{digest_of(what)[:16]}"
    first = np.flatnonzero(np.diff(group, prepend=-1))
    size = np.diff(first, append=len(group))
    texts = signals.column("text_hash", "text_hash").take(pa.array(rows)).to_pylist()
    joined = (b"".join(texts[a : a + n]) for a, n in zip(first.tolist(), size.tolist(), strict=True))
    keys = pa.array([xxhash.xxh3_128_digest(some) for some in joined], pa.binary())
    known = _known(store, stage)
    at = pc.index_in(keys, known["group"]) if known else pa.nulls(len(keys), pa.int32())
    is_new = np.repeat(at.is_null().to_numpy(zero_copy_only=False), size)
    begin = np.repeat(first, size)
    asked = np.flatnonzero(is_new)
    found = find(asked)
    columns = [np.empty(len(rows), column.dtype) for column in found]
    for column, new in zip(columns, found, strict=True):
        column[asked] = new - begin[asked] if new.dtype == np.int64 else new
    if len(asked) and store.makes:
        fresh = at.is_null()
        ends = pa.array(np.r_[0, np.cumsum(size[fresh.to_numpy(zero_copy_only=False)])])
        lists = [pa.LargeListArray.from_arrays(ends, pa.array(column[asked])) for column in columns]
        table = pa.table([keys.filter(fresh), *lists], ["group", *map(str, range(len(lists)))])
        key = digest_of([key.hex() for key in table["group"].to_pylist()])
        store.finish(stage, key, [store.write_part(stage, f"{key}.arrow", table)])
    if known:
        old = known.take(at.drop_null())
        for number, column in enumerate(columns):
            column[~is_new] = pc.list_flatten(old[str(number)]).to_numpy()
    return [column + begin if column.dtype == np.int64 else column for column in columns]


def _known(store: Store, stage: str) -> pa.Table | None:
    receipts = (store.receipt(stage, path.stem) for path in sorted(store.folder(stage).glob("*.json")))
    parts = [part for receipt in receipts if receipt for part in store.parts(stage, receipt)]
    return pa.concat_tables([part.table() for part in parts]) if parts else None
