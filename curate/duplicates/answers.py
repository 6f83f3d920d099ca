"""What was found of groups of texts, kept for later builds: a group of the same texts is answered without a look at them,
however the pool around it has grown.

A group is known by the hashes of its texts in order. A build writes what it found of new groups as one table, and
reads those of all builds before. They save work and decide nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from curate.engine import map_parts
from curate.signals.values import Values
from curate.store import Store, digest_of
from filters.duplicates.leaders import batches

STAGE = "answers"


@dataclass(frozen=True)
class Question:
    """Something about each text of a group. `work(task(rows))` answers it for whole groups, of `most` bytes of text together
    or of one group, with a column of each of these `kinds`; int64 is the index of another text of the same group."""

    of: list  # all that answers depend on besides texts
    kinds: list
    task: Callable[[np.ndarray], Any]
    work: Callable[[Any], Sequence[np.ndarray]]
    most: int


def answers(
    question: Question, values: Values, rows: np.ndarray, group: np.ndarray,
    done: Callable[[Any], None] | None = None,
) -> list[np.ndarray]:  # fmt: skip
    """The columns of these rows of the pool. `group` int64 [rows], each stands together."""
    signals, store, stage = values.signals, values.store, f"{STAGE}/{digest_of(question.of)[:16]}"
    first = np.flatnonzero(np.diff(group, prepend=-1))
    size = np.diff(first, append=len(group))
    begin = np.repeat(first, size)
    texts = values.text_hashes.take(pa.array(rows)).to_pylist()
    joined = (b"".join(texts[a : a + n]) for a, n in zip(first.tolist(), size.tolist(), strict=True))
    keys = pa.array([xxhash.xxh3_128_digest(some) for some in joined], pa.binary())
    by_bytes = (
        signals.versions["text_hash"]["parameters"]["normalise"] == "bytes"
    )  # else hashes do not tell texts apart
    known = _known(store, stage) if by_bytes else None
    at = pc.index_in(keys, known["group"]) if known else pa.nulls(len(keys), pa.int32())
    fresh = at.is_null().to_numpy(zero_copy_only=False)
    is_new = np.repeat(fresh, size)
    columns = [np.empty(len(rows), kind) for kind in question.kinds]
    if known:
        old = known.take(at.drop_null())
        for number, column in enumerate(columns):
            column[~is_new] = pc.list_flatten(old[str(number)]).to_numpy()
    unknown = np.flatnonzero(is_new)
    sizes = values.pool.bytes[rows[unknown]]
    cuts = [unknown[some] for some in batches(group[unknown], sizes, question.most)]
    todo = [question.task(rows[cut]) for cut in cuts]
    for cut, answer in zip(cuts, map_parts(values.engine, question.work, todo, done=done), strict=True):
        for column, new in zip(columns, answer, strict=True):
            column[cut] = cut[new] - begin[cut] if column.dtype == np.int64 else new
    if len(unknown) and by_bytes and store.makes:
        ends = pa.array(np.r_[0, np.cumsum(size[fresh])])
        lists = [pa.LargeListArray.from_arrays(ends, pa.array(column[unknown])) for column in columns]
        table = pa.table([keys.filter(at.is_null()), *lists], ["group", *map(str, range(len(lists)))])
        key = digest_of([key.hex() for key in table["group"].to_pylist()])
        store.finish(stage, key, [store.write_part(stage, f"{key}.arrow", table)])
    return [column + begin if column.dtype == np.int64 else column for column in columns]


def _known(store: Store, stage: str) -> pa.Table | None:
    receipts = (store.receipt(stage, path.stem) for path in sorted(store.folder(stage).glob("*.json")))
    parts = [part for receipt in receipts if receipt for part in store.parts(stage, receipt)]
    return pa.concat_tables([part.table() for part in parts]) if parts else None
