"""Two locks, levels or profiles beside each other: documents that only one of them keeps, and the rule by which the
other drops them.

Documents are compared by their texts. Both sides are judged anew from stored signals; where a lock was made of other
documents than lie there now, that is said. A text that one side never read counts as `NOT_READ` there, or as `CHANGED`
where it read another text under the same id, which a source's own ids can tell.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.commands.show import shown
from curate.corpora.built import Annotated
from curate.corpora.lock import read_lock
from curate.corpora.selection import KEPT
from curate.engine import Engine
from curate.errors import CurateError, did_you_mean
from curate.manifest.profiles import load_profile, shipped_profiles
from curate.manifest.reader import load_manifest, parse_manifest
from curate.results.agreement import compared
from curate.spec.manifest import DUPLICATE, Manifest
from curate.steps import annotate_all
from curate.store import Store, read_json

NOT_READ, CHANGED = "not read", "changed under one id"
OF_EACH = 3  # documents shown of each rule


@dataclass(frozen=True)
class Side:
    """One level, judged on the documents of one manifest."""

    name: str
    annotated: Annotated
    level: str

    @property
    def kept(self) -> np.ndarray:
        return self.annotated.judged[self.level].kept


@dataclass
class Difference:
    a: str
    b: str
    notes: list[str]
    levels: list[dict] = field(default_factory=list)  # see `_compared`
    answers: list[dict] = field(default_factory=list)  # of two reports, see `results.agreement.compared`

    def as_json(self) -> dict:
        return vars(self)

    @property
    def differs(self) -> bool:
        only = [level[side]["documents"] for level in self.levels for side in ("only_a", "only_b")]
        return (
            any(only)
            or not all(row["agree"] for row in self.answers)
            or any("only " in n for n in self.notes)
        )


def diff(store: Store, a: str, b: str, of: Path | None, engine: Engine) -> Difference:
    """`a` and `b` are locks (or manifests), reports (their folders), or levels or profiles that are judged on the documents
    of manifest `of`."""
    if of is None and (reports := [_report(Path(name)) for name in (a, b)]) != [None, None]:
        return _of_reports(a, b, reports)
    if of is None:
        return _of_files(store, a, b, engine)
    manifest = _with_levels(load_manifest(of), [a, b])
    both = annotate_all(store, manifest, engine)
    return Difference(a, b, [], [_compared(Side(a, both, a), Side(b, both, b))])


def _report(path: Path) -> dict | None:
    """The facts of a report, where this is one."""
    path = path / "report.json" if path.is_dir() else path
    return read_json(path) if path.name == "report.json" and path.is_file() else None


def _of_reports(a: str, b: str, reports: list[dict | None]) -> Difference:
    first, second = reports
    if first is None or second is None:
        raise CurateError(
            f"{a if first is None else b}: no report; compare two folders that hold a report.json"
        )
    notes = [
        f"{what}: {mine!r} and {other!r}" for what in ("draw", "name")
        if (mine := _asked(first, what)) != (other := _asked(second, what))
    ]  # fmt: skip
    return Difference(a, b, notes, answers=compared(first, second))


def _asked(report: dict, key: str) -> Any:
    return tomllib.loads(report["lock"]["manifest"]["text"]).get(key)


def _of_files(store: Store, a: str, b: str, engine: Engine) -> Difference:
    sides, notes = [], []
    for name in (a, b):
        manifest, lock = _manifest_of(Path(name))
        sides.append(annotate_all(store, manifest, engine))
        notes += _moved(name, sides[-1], lock)
    names = [[level.name for level in side.manifest.levels] for side in sides]
    for name, mine, other in ((a, names[0], names[1]), (b, names[1], names[0])):
        notes += [f'only {name} has level "{level}"' for level in mine if level not in other]
    common = [level for level in names[0] if level in names[1]]
    return Difference(
        a, b, notes, [_compared(Side(a, sides[0], level), Side(b, sides[1], level)) for level in common]
    )


def _manifest_of(path: Path) -> tuple[Manifest, dict]:
    """What a lock was asked, as it was then; a manifest stands for itself. Raises CurateError for other files."""
    if path.suffix == ".toml":
        return load_manifest(path), {}
    if path.suffix != ".json":
        raise CurateError(
            f"{path}: neither a lock (.lock.json) nor a manifest (.toml); to compare two levels or profiles, "
            "say on which documents with --of MANIFEST"
        )
    lock = read_lock(path)
    asked = lock["manifest"]
    return parse_manifest(path.parent / asked["path"], asked["text"]), lock


def _moved(name: str, side: Annotated, lock: dict) -> list[str]:
    """Which of the lock's inputs are not what they were."""
    then = lock.get("sources", {})
    moved = [
        f'{name}: source "{s.source.name}" has changed since' for s in side.sources
        if s.source.name in then and s.digest != then[s.source.name]["digest"]
    ]  # fmt: skip
    profiles = lock.get("profiles", {})
    return moved + [
        f'{name}: profile "{profile}" has changed since'
        for profile, digest in side.manifest.profiles.items()
        if profiles.get(profile, digest) != digest
    ]


def _with_levels(manifest: Manifest, wanted: list[str]) -> Manifest:
    """The manifest with a level more for each of these names that is a profile."""
    levels = [level.name for level in manifest.levels]
    text = manifest.text
    for name in dict.fromkeys(wanted):
        if name in levels:
            continue
        try:
            load_profile(name, beside=manifest.path.parent)
        except ValueError as error:
            known = [*levels, *shipped_profiles()]
            raise CurateError(f"{name}: {error}" if name in known else
                              f'"{name}" is no level of {manifest.path} and no profile{did_you_mean(name, known)}'
                              ) from None  # fmt: skip
        text += f'\n[[level]]\nname = "{name}"\nprofiles = ["{name}"]\n'
    if text == manifest.text:
        return manifest
    if "levels" not in tomllib.loads(text).get("grid", {}):
        text = text.replace("[grid]", f"[grid]\nlevels = {levels!r}", 1)
    return parse_manifest(manifest.path, text)


def _texts(side: Side, other: Side) -> Any:
    """Of all documents of the pool: the hash of each text; its id where the sides hash texts in different ways."""
    ways = [one.annotated.signals.versions["text_hash"]["parameters"] for one in (side, other)]
    a = side.annotated
    return a.signals.column("text_hash", "text_hash").combine_chunks() if ways[0] == ways[1] else a.pool.ids


def _compared(a: Side, b: Side) -> dict[str, Any]:
    """{level, in both, only_a: {documents, bytes, dropped_by: [...]}, only_b: the same}."""
    in_a, in_b = (_texts(*pair).filter(pa.array(pair[0].kept)) for pair in ((a, b), (b, a)))
    return {
        "level": a.level if a.level == b.level else None,
        "both": int(pc.sum(pc.is_in(in_a, value_set=in_b)).as_py() or 0),
        "only_a": _only(a, b, in_b),
        "only_b": _only(b, a, in_a),
    }


def _only(side: Side, other: Side, kept_there: pa.Array) -> dict[str, Any]:
    """Documents whose text this side keeps and the other does not, by the other's first rule that drops it."""
    pool, judged = side.annotated.pool, other.annotated.judged[other.level]
    texts = _texts(side, other)
    rows = pool.ordered(side.kept & (_places(texts, kept_there) < 0))
    at = _places(texts.take(pa.array(rows)), _texts(other, side))
    same_id = _places(pool.ids.take(pa.array(rows)), other.annotated.pool.ids)
    verdict = np.where(at >= 0, judged.verdict[at], len(judged.rules) + (same_id >= 0))
    assert not (verdict == KEPT).any(), "what the other side keeps is in both"
    groups = [_group(side, other, rows[verdict == k], at[verdict == k], int(k)) for k in np.unique(verdict)]
    return {
        "documents": len(rows),
        "bytes": int(pool.bytes[rows].sum()),
        "dropped_by": sorted(groups, key=lambda group: -group["documents"]),
    }


def _places(wanted: pa.Array, among: pa.Array) -> np.ndarray:
    """int64: where the first of its kind stands; -1 where there is none."""
    return pc.fill_null(pc.index_in(wanted, value_set=among), -1).to_numpy().astype(np.int64)


def _group(side: Side, other: Side, rows: np.ndarray, at: np.ndarray, number: int) -> dict[str, Any]:
    judged, values = other.annotated.judged[other.level], other.annotated.values
    if number >= len(judged.rules):
        dropped: dict[str, Any] = {"rule": CHANGED if number > len(judged.rules) else NOT_READ}
        found: list[dict] = [{} for _ in rows[:OF_EACH]]
    else:
        rule = judged.rules[number][1]
        dropped = {"rule": rule.name, "signal": rule.signal, "bound": rule.bound.text()}
        by_value = rule.signal != DUPLICATE
        found = [{"value": values.of(rule)[int(row)].as_py()} if by_value else {} for row in at[:OF_EACH]]
    examples = [shown(side.annotated.pool, int(r)) | v for r, v in zip(rows[:OF_EACH], found, strict=True)]
    return dropped | {"documents": len(rows), "examples": examples}
