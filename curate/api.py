"""curate from Python: what `import curate` offers. The commands of the same names do the same.

    import curate

    built = curate.build("manifests/quickstart.toml")
    corpus = curate.open_corpus(built.corpora[0].path)
    print(curate.explain("manifests/quickstart.toml", corpus[0]["id"]).levels)

Wherever a manifest is taken it is a path or what `load_manifest` gave. Every function but `load_manifest`, `open_corpus`
and `verify` takes the options of OPTIONS. All raise `CurateError`, with one sentence that says where, what and the fix.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from curate.errors import CurateError as CurateError
from curate.errors import require_training
from curate.manifest.reader import load_manifest as load_manifest
from curate.session import Session, loaded
from curate.spec.manifest import Manifest

if TYPE_CHECKING:
    import datasets

    from curate.commands.diff import Difference
    from curate.commands.explain import Explanation
    from curate.commands.plan import Plan
    from curate.corpora.built import Built
    from curate.pipeline import Outcome


class Options(TypedDict, total=False):
    """As the fields of `Session`."""

    store: str | Path
    workers: int | None
    memory: int | None
    engine: str
    share: tuple[int, int]
    wait: bool


def plan(manifest: str | Path | Manifest, sample: int = 300, **options: Unpack[Options]) -> Plan:
    """What a manifest would take: files, disk, minutes, cells, and rules that will not do. `.problems` is empty where it
    is sound. The levels are tried on about `sample` documents of each source."""
    from curate.commands.plan import plan as make_plan

    session = Session(**options)
    return make_plan(session.open_store(), loaded(manifest), session.workers, sample)


def build(
    manifest: str | Path | Manifest, lock: str | Path | None = None, **options: Unpack[Options]
) -> Built:
    """Sources to corpora. Writes the lock beside the manifest, or at `lock`; `.corpora` say where they lie."""
    return Session(**options).build(manifest, Path(lock) if lock else None)


def train(manifest: str | Path | Manifest, **options: Unpack[Options]) -> list[dict[str, Any]]:
    """Build, then train the grid and the studies; a record for every run, with `failed` and a reason where it has none."""
    from curate.runs.training import train as train_grid

    require_training()
    return train_grid(Session(**options).build(manifest))


def run(manifest: str | Path, lock: str | Path | None = None, **options: Unpack[Options]) -> Outcome:
    """Everything in order, skipping what is done: build, train, report. `.headline` is the answer, `.page` where the
    page lies."""
    from curate.pipeline import run_all

    require_training()
    session = Session(**options)
    return run_all(
        session.open_store(), Path(manifest), session.open_engine(), lock_path=Path(lock) if lock else None
    )


def write_report(
    manifest: str | Path | Manifest, out: str | Path | None = None, **options: Unpack[Options]
) -> tuple[Path, dict[str, Any]]:
    """(the page, what it says: `report.json`) from the runs that are finished."""
    from curate.pipeline import write_report as write
    from curate.runs.cells import planned_cells, records

    require_training()
    built = Session(**options).build(manifest)
    return write(built, records(planned_cells(built)), Path(out) if out else None)


def open_corpus(path: str | Path) -> datasets.Dataset:
    """A corpus directory as a memory-mapped data set: id, text, source, place, tokens and the sources' columns."""
    from curate.corpora.corpus import open_data

    return open_data(Path(path))


def explain(manifest: str | Path | Manifest, document: str, **options: Unpack[Options]) -> Explanation:
    """One document, by id, the beginning of one, or place: signals, rules, which level drops it, what it duplicates."""
    from curate.commands.explain import explain as explain_one

    return explain_one(Session(**options).annotate(manifest), document)


def verify(lock: str | Path, store: str | Path = ".curate") -> int:
    """Recompute the digests of a lock's corpora from their bytes: how many there are. Raises Mismatch, a CurateError,
    that names what differs."""
    from curate.corpora.lock import check

    return check(Session(store).open_store(), Path(lock))


def diff(
    a: str | Path, b: str | Path, of: str | Path | None = None, **options: Unpack[Options]
) -> Difference:
    """Two locks or manifests, or two levels or profiles judged on the documents of manifest `of`: documents that only
    one keeps, and by which rule the other drops them."""
    from curate.commands.diff import diff as compare

    session = Session(**options)
    return compare(session.open_store(), str(a), str(b), Path(of) if of else None, session.open_engine())
