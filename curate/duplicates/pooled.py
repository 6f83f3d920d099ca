"""Signals of the whole pool: what no document can be asked alone, measured after every other signal."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from curate.duplicates.forgotten import find_forgotten, in_lock
from curate.duplicates.index import find_indexed, open_index
from curate.duplicates.meaning import find_alike
from curate.duplicates.repeats import find_repeats
from curate.duplicates.resolve import find_duplicates
from curate.signals.annotate import Signals
from curate.signals.families import of_the_pool
from curate.signals.values import Values
from curate.sources.pool import Pool
from curate.spec.manifest import DUPLICATES, FORGOTTEN, INDEX, SEMANTIC
from curate.store import digest_of


def measure_pool(pooled: dict[str, dict], values: Values) -> None:
    """Add these families (name -> parameters) to the signals, a table beside each part of documents."""
    signals = values.signals
    for name, parameters in pooled.items():
        if name == DUPLICATES:
            parts = find_duplicates(values, parameters)
        elif name == INDEX:
            parts = find_indexed(values, parameters, pooled[DUPLICATES])
        elif name == FORGOTTEN:
            parts = find_forgotten(values, parameters)
        elif name == SEMANTIC:
            parts = find_alike(values, parameters["vectors"])
        else:
            parts = find_repeats(values, name, parameters["words"])
        family = of_the_pool()[name]
        signals.families[name] = parts
        signals.owner |= {signal.name: name for signal in family.signals}
        signals.versions[name] = {
            "version": family.version,
            "parameters": as_locked(parameters),
            "digest": digest_of([part.digest for part in parts]),
        }


def as_locked(parameters: dict) -> dict:
    """Parameters as the lock says them: of an index or a list its name and what it holds, not its place on this machine."""
    if "file" in parameters:
        return in_lock(parameters)
    if "index" not in parameters:
        return parameters
    indexes = map(open_index, parameters["index"])
    return {"index": [
        {"name": i.name, "documents": i.documents, "sha256": i.digest, "from": i.origins} for i in indexes
    ]}  # fmt: skip


def preferring(pool: Pool, signals: Signals, prefer: tuple[str, ...]) -> Pool:
    """The pool with the order of preference that a manifest asks for, see `Measured.prefer`."""
    columns = []
    for entry in prefer:
        way, _, name = entry.rpartition(" ")
        if name == "source":
            column = np.asarray(pool.source, float)
        elif name in ("longest", "shortest"):
            column = pool.bytes * (-1.0 if name == "longest" else 1.0)
        else:
            values = signals.column(signals.owner[name], name)
            column = pc.cast(values, "float64").to_numpy() * (-1.0 if way == "high" else 1.0)
        columns.append(np.nan_to_num(column, nan=np.inf))
    return pool.preferring(columns)
