"""Models that are made of the manifest's own documents: the quality classifier, the n-gram model, the indexes of
evaluation texts and of robots.txt. Each is one file in the store, under a key that holds its recipe, the definition of the
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

from curate.errors import CurateError, did_you_mean
from curate.progress import Progress
from curate.remote import here
from curate.signals.families import DISTILLED
from curate.signals.values import Values, within
from curate.sources.documents import SourceDocuments
from curate.sources.pool import Pool
from curate.spec.bounds import Rule, parse_bound
from curate.spec.manifest import ANSWER, Manifest
from curate.store import Part, Store, digest_of

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
        return self.pool.gather(self.rows, "text")

    def as_json(self) -> dict:
        return {"documents": len(self.rows), "bytes": self.bytes}


def make_models(
    store: Store, manifest: Manifest, pool: Pool, values: Values, beside: dict[str, list[SourceDocuments]],
    targets: Pool | None,
) -> tuple[dict[str, dict], dict[str, dict]]:  # fmt: skip
    """({family: the parameters it is measured with}, {family: what the lock says of its model}). `targets`: the texts of
    every [[target]] where a model is made of one."""
    families, facts = {}, {}
    for name, recipe in manifest.recipes.items():
        then = manifest.base.get("models", {}).get(name, {})
        if then and name not in beside:
            path, facts[name] = store.find(f"{STAGE}/{name}", "*.model", then["sha256"]), then
        elif name in beside:
            path, facts[name] = _index(store, name, recipe, beside[name])
        elif name.startswith(DISTILLED):
            path, facts[name] = _distilled(store, manifest, name, pool)
        else:
            path, facts[name] = _trained(store, manifest, name, pool, values, targets)
        families[name] = manifest.families[name] | {"model": str(path)}
    for level in manifest.levels if "topics" in facts else ():
        for rule in level.rules:
            for topic in rule.bound.labels or () if rule.signal == "topic_terms" else ():
                if topic not in (known := facts["topics"]["topics"]):
                    where = f'{manifest.path}, level "{level.name}": {rule.name}: '
                    raise CurateError(f'{where}"{topic}" is no topic{did_you_mean(topic, known)}')
    return families, facts


def _trained(
    store: Store, manifest: Manifest, name: str, pool: Pool, values: Values, targets: Pool | None
) -> tuple[Path, dict]:
    """A model of samples of documents."""
    recipe = manifest.recipes[name]
    samples = _samples(manifest, name, recipe, pool, values, targets)
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


def _samples(
    manifest: Manifest, name: str, recipe: dict, pool: Pool, values: Values, targets: Pool | None
) -> dict[str, Sample]:
    """The documents of each sample; one that names none has what no other has."""
    chosen: dict[str, np.ndarray] = {}
    for key, wanted in recipe["samples"].items():
        if wanted is None:
            chosen[key] = ~np.logical_or.reduce([np.zeros(len(pool), bool), *chosen.values()])
        elif "target" not in wanted:
            chosen[key] = _chosen(wanted, pool, values)
    if len(chosen) > 1 and np.logical_and.reduce(list(chosen.values())).any():
        both = int(np.logical_and.reduce(list(chosen.values())).sum())
        raise CurateError(
            f"{manifest.path}, [signals] {name}: {both:,} documents are {' and '.join(chosen)}; "
            "choose samples that share none"
        )
    samples = {}
    for key, wanted in recipe["samples"].items():
        of, mask = pool, chosen.get(key)
        if mask is None:
            assert targets is not None, "read where a recipe asks for one"
            of, mask = targets, targets.source == targets.sources.index(wanted["target"])
        rows = of.ordered(mask)
        end = int(np.searchsorted(np.cumsum(of.bytes[rows]), recipe["bytes"])) + 1
        samples[key] = Sample(of, rows[:end])
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


def _distilled(store: Store, manifest: Manifest, name: str, pool: Pool) -> tuple[Path, dict]:
    """A model of what was judged of some documents."""
    from filters.models.distilled import train

    recipe, where = manifest.recipes[name], f"{manifest.path}, [signals.{name}]"
    try:
        judged = _judged(recipe, pool)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise CurateError(f"{where}: {error}") from None
    rows = pool.ordered(np.asarray(judged.is_valid()))
    rows = rows[: int(np.searchsorted(np.cumsum(pool.bytes[rows]), recipe["bytes"])) + 1]
    sample, values = Sample(pool, rows), judged.take(pa.array(rows))

    def make(path: Path) -> dict:
        try:
            return train(sample.texts(), values.to_numpy(zero_copy_only=False).astype(recipe["as"]), path)
        except ValueError as error:
            raise CurateError(f"{where}: {error}") from None

    made_of = [sample.identity, values.to_pylist()]
    path, learned = _made(store, name, {}, made_of, sample.bytes, make)
    return path, {"made_of": sample.as_json(), **learned}


def _judged(recipe: dict, pool: Pool) -> pa.Array:
    """[documents] label or score; null where none was given. A file's ids are those of the sources, or curate's."""
    kind = pa.string() if recipe["as"] == "U" else pa.float64()
    if recipe["from"] is None:
        return pool.field(recipe["field"], kind).combine_chunks()
    import pyarrow.dataset as ds

    path = Path(recipe["from"])
    form = {".parquet": "parquet", ".csv": "csv"}.get(path.suffix, "json")
    table = ds.dataset(path, format=form).to_table(sorted({recipe["id"], recipe["field"]}))
    given = table[recipe["id"]].cast(pa.string())
    at = pc.index_in(pool.ids, value_set=given)
    own = pool.field("own_id", pa.string()).combine_chunks()
    at = pc.coalesce(at, pc.index_in(own, value_set=given, skip_nulls=True))
    if at.null_count == len(at):
        raise ValueError(
            f"{path}: no {recipe['id']} of it is the id of a document; name the field of ids in the source"
        )
    return table[recipe["field"]].cast(kind).combine_chunks().take(at)


def _index(store: Store, name: str, recipe: dict, sources: list[SourceDocuments]) -> tuple[Path, dict]:
    """Of evaluation texts, each under the name `SOURCE/PLACE`; of answers of robots.txt, the later ones last."""
    parts = [part for source in sources for part in source.parts]

    def build(path: Path) -> dict:
        from filters.models import contamination, overlap, robots

        columns = ["text", "source", "place", *(ANSWER if name == "robots" else ())]
        table = pa.concat_tables([part.table(columns) for part in parts])
        if name == "robots":
            table = table.sort_by([(column, "ascending") for column in ("date", "source", "place")])
            return robots.make_index(table["text"], table["url"], path)
        place = pc.cast(table["place"], pa.string())
        names = pc.binary_join_element_wise(table["source"], place, "/")
        if name == "contamination":
            return contamination.make_index(table["text"], names, path, **recipe["settings"])
        fields = {f"{key}s": _field(parts, field) for key, field in recipe["settings"].items()}
        return overlap.make_index(table["text"], names, path, **fields)

    size = sum(source.bytes for source in sources)
    path, learned = _made(store, name, recipe["settings"], [p.digest for p in parts], size, build)
    return path, {
        name if name == "robots" else "evaluations": {s.source.name: s.as_json() for s in sources},
        **learned,
    }


def _field(parts: list[Part], field: str) -> pa.ChunkedArray:
    """Of evaluation texts; a list as its first entry, null where their source does not carry it."""

    def of(part: Part) -> pa.Array:
        table = part.table(None)
        if field not in table.column_names:
            return pa.nulls(len(table), pa.large_string())
        values = table[field].combine_chunks()
        if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            values = pc.list_element(pc.if_else(pc.list_value_length(values), values, None), 0)
        return pc.cast(values, pa.large_string())

    return pa.chunked_array([of(part) for part in parts], pa.large_string())


def _made(
    store: Store, name: str, settings: dict, identity: object, size: int, make: Callable[[Path], dict]
) -> tuple[Path, dict]:
    """(the file, what making it taught): made if it is not in the store."""
    from filters.models.distilled import VERSION
    from filters.registry import FAMILIES

    version = VERSION if name.startswith(DISTILLED) else FAMILIES[name].version
    key = digest_of([STAGE, name, version, settings, identity])
    stage = f"{STAGE}/{name}"

    def write(path: Path) -> dict:
        with Progress(f"train {name}", size, "B"):
            return {"facts": make(path)}

    part, receipt = store.file(stage, key, f"{key}.model", write)
    return here(part.path), {"sha256": part.digest, **receipt["facts"]}
