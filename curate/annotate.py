"""Documents to signals: one pass over the text measures every family that is not in the store yet.

A family's values lie beside the documents they were measured on, part i beside part i and row beside
row. The key of such a file holds the family's version and parameters (for a model the digest of its
bytes) and the digest of the documents' part, so another threshold measures nothing again, and another
model measures one family again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from curate.engine import Engine, map_parts
from curate.manifest import Manifest
from curate.progress import Progress
from curate.store import Part, Store, digest_of

STAGE = "signals"


@dataclass(frozen=True)
class Task:
    """Measure these families (name, parameters, key) on one part of documents."""

    store: Store
    documents: Part
    families: tuple[tuple[str, dict, str], ...]


@dataclass
class Signals:
    """For each family its parts, in the order of the documents' parts; and for each signal its family."""

    families: dict[str, list[Part]]
    versions: dict[str, dict]  # family -> what the lock says of it
    models: dict[str, dict] = field(default_factory=dict)

    def column(self, family: str, name: str) -> pa.ChunkedArray:
        """One signal of every document, in pool order, memory-mapped."""
        parts = [part.table([name])[name] for part in self.families[family]]
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)


def annotate(store: Store, manifest: Manifest, documents: list[Part], engine: Engine) -> Signals:
    """Measure what the manifest asks for on every part; only what is missing is measured."""
    from filters.registry import FAMILIES

    definitions, models = {}, {}
    for name, parameters in manifest.families.items():
        identity = {"version": FAMILIES[name].version, "parameters": dict(parameters)}
        if "model" in parameters:
            models[name] = {"model": parameters["model"], "sha256": _model_digest(parameters["model"])}
            identity["parameters"] = {"model": models[name]["sha256"]}
        definitions[name] = identity
    keys = {
        (name, part.digest): digest_of([STAGE, name, identity, part.digest])
        for name, identity in definitions.items()
        for part in documents
    }
    todo = []
    for part in documents:
        missing = tuple(
            (name, manifest.families[name], keys[name, part.digest])
            for name in definitions
            if store.receipt(f"{STAGE}/{name}", keys[name, part.digest]) is None
        )
        if missing:
            todo.append(Task(store, part, missing))
    with Progress("annotate", sum(t.documents.bytes for t in todo), "B") as progress:
        map_parts(engine, annotate_part, todo, done=progress.add)
    families = {
        name: [_part_of(store, name, keys[name, part.digest]) for part in documents] for name in definitions
    }
    versions = {
        name: {**identity, "digest": digest_of([p.digest for p in families[name]])}
        for name, identity in definitions.items()
    }
    return Signals(families, versions, models)


def annotate_part(task: Task) -> int:
    """Measure and store; returns the bytes of documents that were read."""
    from filters.registry import FAMILIES

    texts = task.documents.table(["text"])["text"]
    for name, parameters, key in task.families:
        columns = FAMILIES[name].measure(texts, **parameters)
        stage = f"{STAGE}/{name}"
        task.store.finish(stage, key, [task.store.write_part(stage, f"{key}.arrow", pa.table(columns))])
    return task.documents.bytes


def _part_of(store: Store, family: str, key: str) -> Part:
    receipt = store.receipt(f"{STAGE}/{family}", key)
    assert receipt is not None, "every family has just been measured on every part"
    return store.parts(f"{STAGE}/{family}", receipt)[0]


def _model_digest(model: str) -> str:
    from filters.language import find_model, model_digest

    return model_digest(find_model(model))
