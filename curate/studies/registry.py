"""Every study by name, and what is asked of all of them together. A new study is its file and one line here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from curate.corpora.built import Built
from curate.spec.manifest import Manifest
from curate.studies.anneal import Anneal
from curate.studies.attribution import Attribution
from curate.studies.factors import Factors
from curate.studies.mixture import Mixture
from curate.studies.overtaking import Overtaking
from curate.studies.repetition import Repetition
from curate.studies.study import Study, StudyTables, Trial
from curate.studies.value import Value

STUDIES: dict[str, type[Study]] = {
    study.key: study
    for study in (
        Attribution,
        Repetition,
        Value,
        Mixture,
        Overtaking,
        Anneal,
        Factors,
    )  # fmt: skip
}  # in the order of the page


def tables() -> tuple[str, ...]:
    """The tables of a manifest that studies read."""
    return tuple(table for study in STUDIES.values() for table in study.tables)


def read_studies(tables: StudyTables) -> dict[str, Study]:
    """Key -> what a manifest asks of the study, of those it asks at all. Raises ManifestError."""
    return {
        key: study.read(tables)
        for key, study in STUDIES.items()
        if any(table in tables.tree for table in study.tables)
    }


def as_json(manifest: Manifest) -> dict:
    """What the lock says of studies: what was asked."""
    noise = {} if manifest.seed_noise is None else {"seed_noise": manifest.seed_noise}
    return {key: asdict(study) for key, study in manifest.studies.items()} | noise


def outline(manifest: Manifest) -> dict[str, list[Trial]]:
    """By study: everything that it trains on, as the manifest alone tells it."""
    return {key: study.outline(manifest) for key, study in manifest.studies.items()}


def trials(built: Built) -> list[Trial]:
    """Everything that studies train on but what waits for runs."""
    return [trial for study in built.annotated.manifest.studies.values() for trial in study.trials(built)]


def further(built: Built, runs: list[dict]) -> list[Trial]:
    """What the runs so far recommend to train."""
    studies = built.annotated.manifest.studies.values()
    return [trial for study in studies for trial in study.further(built, runs)]


def waits(manifest: Manifest) -> bool:
    """Whether something is trained only once other runs are there."""
    return any(trial.waits for some in outline(manifest).values() for trial in some)


def findings(holdout: str, lock: dict, runs: list[dict]) -> Iterator[dict]:
    """Of every study that the lock says was asked; each finding names the module that says it."""
    for key, study in STUDIES.items():
        if key in lock.get("studies", {}):
            mine = [run for run in runs if run.get("study") in (None, key)]
            for finding in study.findings(holdout, lock, mine):
                yield {"module": study.__module__, **finding}
