"""Signals by name for the whole pool, and which documents lie within a bound.

A missing value (null) satisfies no bound.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.signals.annotate import Signals
from curate.signals.edits import edited
from curate.sources.pool import Pool
from curate.spec.bounds import Bound, Edit, Rule
from curate.spec.manifest import DUPLICATES, FORGOTTEN


class Values:
    """Signals by name for the whole pool, loaded when first asked for."""

    def __init__(self, pool: Pool, signals: Signals):
        self.pool, self.signals = pool, signals
        self.edited: dict[tuple[Edit, ...], pa.ChunkedArray] = {}

    def column(self, name: str) -> pa.ChunkedArray:
        return self.signals.column(self.signals.owner[name], name)

    def of(self, rule: Rule) -> pa.ChunkedArray:
        """The signal, or the field carried from the source, that a rule bounds."""
        if not rule.edits and rule.signal not in self.signals.owner:
            return self.pool.field(rule.signal, pa.float64() if rule.bound.labels is None else pa.string())
        if not rule.edits:
            return self.column(rule.signal)
        if rule.edits not in self.edited:
            sizes = edited(rule.edits, self.signals).sizes(self.pool.parts)
            self.edited[rule.edits] = pa.chunked_array([sizes])
        return self.edited[rule.edits]

    def names(self) -> list[str]:
        """Signals that were measured and say something to a reader."""
        return [s for s, f in self.signals.owner.items() if f not in ("text_hash", "signatures", DUPLICATES)]

    def clusters(self) -> np.ndarray:
        """int64 [documents]: the pool row that stands for each document's duplicate cluster."""
        if not self.has_duplicates:
            return np.arange(len(self.pool), dtype=np.int64)
        return self.signals.column(DUPLICATES, "duplicate_cluster_index").to_numpy()

    def forgotten(self) -> np.ndarray:
        """bool [documents]: what may be shown to nobody."""
        if FORGOTTEN not in self.signals.families:
            return np.zeros(len(self.pool), bool)
        return self.signals.column(FORGOTTEN, FORGOTTEN).to_numpy() > 0

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


def resolve(bound: Bound, column: pa.ChunkedArray, reached: np.ndarray) -> Bound:
    """`top = 0.1` as the number above which a tenth of the documents that reach this rule lie."""
    if bound.top is None:
        return bound
    here = column.filter(pa.array(reached)).drop_null()
    if not len(here):
        return Bound(math.inf, math.inf)
    return Bound(low=pc.quantile(here, q=1 - bound.top, interpolation="higher")[0].as_py())


def inside(column: pa.ChunkedArray, bound: Bound) -> np.ndarray:
    """bool [documents]: the value is there and within the bound."""
    if bound.labels is not None:
        accepted = bound.accepted(pc.unique(column).to_pylist())
        passes = pc.is_in(column, value_set=pa.array(accepted, column.type))
    else:
        passes = pc.and_(pc.greater_equal(column, bound.low), pc.less_equal(column, bound.high))
    return pc.fill_null(passes, False).to_numpy().astype(bool)
