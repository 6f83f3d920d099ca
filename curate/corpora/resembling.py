"""What in the pool resembles texts that are to be kept apart from it: what is held out, and targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.duplicates.resolve import near_to
from curate.engine import map_parts
from curate.signals.values import Values
from curate.store import Part, Store, digest_of
from filters.models.contamination import Index, build_index, measure

VERSION = 1
STAGE = "resembling"


@dataclass(frozen=True)
class Resembling:
    """bool [documents of the pool] each."""

    near: np.ndarray  # the same as one of the texts, or a near-duplicate of it
    shares: np.ndarray  # has a run of so many words in common with one


def resembling(values: Values, near: dict, texts: pa.Array, words: int) -> Resembling:
    """Computed once for these texts and this pool. Texts of fewer than `words` words, down to 8, are looked for whole."""
    store, pool = values.store, values.pool
    made_of = [near, words, values.signals.versions["signatures"], pool.digest]
    key = digest_of([STAGE, VERSION, texts.to_pylist(), *made_of])

    def look() -> pa.Table:
        index = build_index(texts, pa.array([""] * len(texts), pa.large_string()), words)
        said = digest_of([STAGE, VERSION, texts.to_pylist(), words])
        todo = [(store, part, index, digest_of([said, part.digest])) for part in pool.parts]
        shares = pa.concat_tables([part.table() for part in map_parts(values.engine, _shares_a_run, todo)])
        return pa.table({"near": near_to(values, near, texts), "shares": shares["shares"]})

    table = store.table(STAGE, key, look).table()
    return Resembling(*(table[name].to_numpy(zero_copy_only=False) for name in ("near", "shares")))


def _shares_a_run(task: tuple[Store, Part, Index, str]) -> Part:
    store, part, index, key = task

    def look() -> pa.Table:
        spans = measure(part.table(["text"])["text"], index)["contamination_spans"]
        return pa.table({"shares": pc.greater(pc.list_value_length(spans), 0)})

    return store.table(STAGE, key, look)
