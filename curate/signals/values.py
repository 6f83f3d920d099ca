"""Signals by name for the whole pool, and which documents lie within a bound.

A missing value (null) satisfies no bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.engine import Engine
from curate.signals.annotate import Signals
from curate.signals.edits import edited
from curate.sources.pool import Pool, remixed
from curate.spec.bounds import Bound, Edit, Rule
from curate.spec.manifest import DUPLICATES, FORGOTTEN
from curate.store import Part

SAMPLING = 0x53616D706C65  # salt of the noise by which documents are drawn


class Values:
    """Signals by name for the whole pool, loaded when first asked for; with the engine that works on the pool, and the
    store that keeps what comes of it."""

    def __init__(self, pool: Pool, signals: Signals, engine: Engine):
        self.pool, self.signals, self.engine, self.store = pool, signals, engine, signals.store
        self.edited: dict[tuple[Edit, ...], pa.ChunkedArray] = {}

    def column(self, name: str) -> pa.ChunkedArray:
        return self.signals.column(self.signals.owner[name], name)

    def of(self, rule: Rule) -> pa.ChunkedArray:
        """What a rule bounds: the signal, or the field carried from the source; where documents are drawn by it, with the
        noise that draws them."""
        if rule.edits:
            if rule.edits not in self.edited:
                sizes = edited(rule.edits, self.signals).sizes(self.pool.parts)
                self.edited[rule.edits] = pa.chunked_array([sizes])
            column = self.edited[rule.edits]
        elif rule.signal in self.signals.owner:
            column = self.column(rule.signal)
        else:
            column = self.pool.field(rule.signal, pa.float64() if rule.bound.labels is None else pa.string())
        if not rule.bound.sampled:
            return column
        noise = gumbel(self.pool.places)
        return pa.chunked_array([pc.add(pc.cast(column, pa.float64()).combine_chunks(), noise)])

    def names(self) -> list[str]:
        """Signals that were measured and say something to a reader."""
        left = ("text_hash", "signatures", DUPLICATES)
        named = [signal for signal, family in self.signals.owner.items() if family not in left]
        return [name for name in named if not pa.types.is_list(self.column(name).type)]

    def clusters(self) -> np.ndarray:
        """int [documents]: the pool row that stands for each document's duplicate cluster."""
        kind = self.pool.order.dtype
        if not self.has_duplicates:
            return np.arange(len(self.pool), dtype=kind)
        column = self.signals.column(DUPLICATES, "duplicate_cluster_index")
        return np.concatenate([chunk.to_numpy().astype(kind) for chunk in column.chunks])

    @property
    def text_hashes(self) -> pa.ChunkedArray:
        return self.signals.column("text_hash", "text_hash")

    def beside_parts(self, stage: str, key: str, make: Callable[[], Iterable[pa.Table]]) -> list[Part]:
        """The tables under this key, one beside each part of the pool; `make` gives them where they are not there."""

        def write() -> dict:
            names = (f"{key}-{number:05d}.arrow" for number in range(len(self.pool.parts)))
            tables = zip(names, make(), strict=True)
            return self.store.finish(stage, key, [self.store.write_part(stage, *table) for table in tables])

        return self.store.parts(stage, self.store.once(stage, key, write))

    def cut_at_parts(self, table: pa.Table) -> Iterable[pa.Table]:
        """A table of all documents, part by part."""
        return (table.slice(begin, end - begin) for begin, end in self.pool.part.ranges())

    def forgotten(self) -> np.ndarray:
        """bool [documents]: what may be shown to nobody."""
        if FORGOTTEN not in self.signals.families:
            return np.zeros(len(self.pool), bool)
        return pc.greater(self.signals.column(FORGOTTEN, FORGOTTEN), 0).to_numpy()

    @property
    def has_duplicates(self) -> bool:
        return DUPLICATES in self.signals.families


def within(column: pa.ChunkedArray, bound: Bound, values: Values) -> np.ndarray:
    """bool [documents]: as `inside`, where a bound may depend on the document's language."""
    if not bound.by_language:
        return inside(column, bound)
    language = values.column("language")
    passes = np.ones(len(column), bool)
    for code in pc.unique(language).drop_null().to_pylist():
        one = bound.for_language(code)
        if one != Bound():
            here = pc.fill_null(pc.equal(language, code), False).to_numpy().astype(bool)
            passes[here] = inside(column.filter(pa.array(here)), one)
    return passes


def resolve(bound: Bound, column: pa.ChunkedArray, reached: pa.BooleanArray) -> Bound:
    """`top = 0.1` as the number above which a tenth of the documents that reach this rule lie."""
    if bound.top is None:
        return bound
    here = column.filter(reached).drop_null()
    if not len(here):
        return Bound(math.inf, math.inf)
    low = pc.quantile(here, q=1 - bound.top, interpolation="higher")[0].as_py()
    return Bound(low=low, sampled=bound.sampled)


def gumbel(places: np.ndarray) -> pa.Array:
    """float64 [documents]: noise by which the largest sums of log weight and noise are a sample without replacement in
    proportion to the weights (Gumbel top-k: Vieira 2014; Kool et al. 2019, arXiv:1903.06059). It comes from the
    documents' places in the random order, mixed so that it says nothing of that order."""
    uniform = (remixed(places, SAMPLING).astype(float) + 0.5) / 2.0**64
    return pa.array(-np.log(-np.log(np.clip(uniform, 1e-300, 1 - 2.0**-53))))


def inside(column: pa.ChunkedArray, bound: Bound) -> np.ndarray:
    """bool [documents]: the value is there and within the bound."""
    if bound.labels is not None:
        accepted = bound.accepted(pc.unique(column).to_pylist())
        passes = pc.is_in(column, value_set=pa.array(accepted, column.type))
    else:
        passes = pc.and_(pc.greater_equal(column, bound.low), pc.less_equal(column, bound.high))
    return pc.fill_null(passes, False).to_numpy(zero_copy_only=False).astype(bool, copy=False)
