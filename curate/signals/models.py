"""Models that are made of the manifest's own documents: the quality classifier, the n-gram model, the index of
evaluation texts. Each is one file in the store, under a key that holds its recipe, the definition of the
family and the ids of the documents it was made of; what making it taught (held-out AUC, thresholds) is in
its receipt, and from there in the lock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import CurateError
from curate.progress import Progress
from curate.signals.values import Values, within
from curate.sources.documents import SourceDocuments
from curate.sources.pool import Pool, gather
from curate.spec.bounds import Rule, parse_bound
from curate.spec.manifest import Manifest
from curate.store import Store, digest_of

STAGE = "models"


@dataclass(frozen=True)
class Sample:
    """Documents that a model is made of: the first of the pool's order of ids, up to so many bytes."""

    pool: Pool
    rows: np.ndarray

    @property
    def identity(self) -> list[str]:
        return self.pool.ids.take(pa.array(self.rows)).to_pylist()

    @property
    def bytes(self) -> int:
        return int(self.pool.bytes[self.rows].sum())

    def texts(self) -> pa.Array:
        return gather(self.pool.parts, self.pool.part[self.rows], self.pool.row[self.rows], "text")

    def as_json(self) -> dict:
        return {"documents": len(self.rows), "bytes": self.bytes}


def make_models(
    store: Store, manifest: Manifest, pool: Pool, values: Values, evaluations: list[SourceDocuments]
) -> tuple[dict[str, dict], dict[str, dict]]:
    """({family: the parameters it is measured with}, {family: what the lock says of its model})."""
    families, facts = {}, {}
    for name, recipe in manifest.recipes.items():
        then = manifest.base.get("models", {}).get(name, {})
        if then and name != "contamination":
            path, facts[name] = store.find(f"{STAGE}/{name}", "*.model", then["sha256"]), then
        elif name == "contamination":
            path, facts[name] = _index(store, recipe, evaluations)
        else:
            path, facts[name] = _trained(store, manifest, name, pool, values)
        families[name] = manifest.families[name] | {"model": str(path)}
    return families, facts


def _trained(store: Store, manifest: Manifest, name: str, pool: Pool, values: Values) -> tuple[Path, dict]:
    """A model of samples of documents."""
    recipe = manifest.recipes[name]
    samples = _samples(manifest, name, recipe, pool, values)
    identity = {key: sample.identity for key, sample in samples.items()}

    def train(path: Path) -> dict:
        texts = [sample.texts() for sample in samples.values()]
        try:
            return import_module(f"filters.models.{name}").train(*texts, path, **recipe["settings"])
        except (ValueError, RuntimeError) as error:
            raise CurateError(f"{manifest.path}, [signals] {name}: {error}") from None

    size = sum(sample.bytes for sample in samples.values())
    path, learned = _made(store, name, recipe["settings"], identity, size, train)
    return path, {"made_of": {key: s.as_json() for key, s in samples.items()}, **learned}


def _samples(manifest: Manifest, name: str, recipe: dict, pool: Pool, values: Values) -> dict[str, Sample]:
    """The documents of each sample; one that names none has what no other has."""
    chosen: dict[str, np.ndarray] = {}
    for key, wanted in recipe["samples"].items():
        if wanted is None:
            chosen[key] = ~np.logical_or.reduce(list(chosen.values()))
        else:
            chosen[key] = _chosen(wanted, pool, values)
    if len(chosen) > 1 and np.logical_and.reduce(list(chosen.values())).any():
        both = int(np.logical_and.reduce(list(chosen.values())).sum())
        raise CurateError(
            f"{manifest.path}, [signals] {name}: {both:,} documents are {' and '.join(chosen)}; "
            "choose samples that share none"
        )
    samples = {}
    for key, mask in chosen.items():
        rows = pool.order[mask[pool.order]]
        end = int(np.searchsorted(np.cumsum(pool.bytes[rows]), recipe["bytes"])) + 1
        samples[key] = Sample(pool, rows[:end])
        if not len(rows):
            raise CurateError(
                f"{manifest.path}, [signals] {name}: no document is {key}; loosen what it asks for"
            )
    return samples


def _chosen(wanted: dict, pool: Pool, values: Values) -> np.ndarray:
    """bool [documents]: from one of the sources (any, where none is named) and within every bound."""
    mask = np.ones(len(pool), bool)
    if wanted["source"]:
        mask &= np.isin(pool.source, [pool.sources.index(source) for source in wanted["source"]])
    for signal, value in wanted["keep"].items():
        bound = parse_bound(signal, value)
        mask &= within(values.of(Rule(signal, signal, bound)), bound, values)
    return mask


def _index(store: Store, recipe: dict, evaluations: list[SourceDocuments]) -> tuple[Path, dict]:
    """The index of the evaluation texts, each under the name `SOURCE/PLACE`."""
    parts = [part for source in evaluations for part in source.parts]

    def build(path: Path) -> dict:
        from filters.models import contamination

        tables = [part.table(["text", "source", "place"]) for part in parts]
        table = pa.concat_tables(tables)
        place = pc.cast(table["place"], pa.string())
        names = pc.binary_join_element_wise(table["source"], place, "/")
        return contamination.make_index(table["text"], names, path, **recipe["settings"])

    size = sum(source.bytes for source in evaluations)
    path, learned = _made(store, "contamination", recipe["settings"], [p.digest for p in parts], size, build)
    return path, {"evaluations": {s.source.name: s.as_json() for s in evaluations}, **learned}


def _made(
    store: Store, name: str, settings: dict, identity: object, size: int, make: Callable[[Path], dict]
) -> tuple[Path, dict]:
    """(the file, what making it taught): made if it is not in the store."""
    from filters.registry import FAMILIES

    key = digest_of([STAGE, name, FAMILIES[name].version, settings, identity])
    stage = f"{STAGE}/{name}"

    def write(path: Path) -> dict:
        with Progress(f"train {name}", size, "B"):
            return {"facts": make(path)}

    part, receipt = store.file(stage, key, f"{key}.model", write)
    return Path(part.path), {"sha256": part.digest, **receipt["facts"]}
