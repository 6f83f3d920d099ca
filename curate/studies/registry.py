"""Every study by name, and what is asked of all of them together. A new study is its file and one line here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from curate.corpora.built import Built
from curate.spec.manifest import Level, Manifest
from curate.studies.anneal import AnnealStudy
from curate.studies.attribution import AttributionStudy
from curate.studies.factors import FactorsStudy
from curate.studies.mixture import MixtureStudy
from curate.studies.overtaking import OvertakingStudy
from curate.studies.repetition import RepetitionStudy
from curate.studies.study import Study, StudyTables, Trial
from curate.studies.value import ValueStudy

STUDIES: dict[str, Study] = {
    study.key: study
    for study in (
        AttributionStudy(),
        RepetitionStudy(),
        ValueStudy(),
        MixtureStudy(),
        OvertakingStudy(),
        AnnealStudy(),
        FactorsStudy(),
    )  # fmt: skip
}  # in the order of the page


def tables() -> tuple[str, ...]:
    """The tables of a manifest that studies read."""
    return tuple(table for study in STUDIES.values() for table in study.tables)


def read_studies(tables: StudyTables) -> dict[str, Any]:
    """Key -> what a manifest asks of the study, of those it asks at all. Raises ManifestError."""
    return {
        key: study.read(tables)
        for key, study in STUDIES.items()
        if any(table in tables.tree for table in study.tables)
    }


def derived_levels(asked: dict[str, Any], levels: tuple[Level, ...]) -> tuple[Level, ...]:
    return tuple(level for key in asked for level in STUDIES[key].levels(asked[key], levels))


def mixed_levels(asked: dict[str, Any], levels: tuple[Level, ...]) -> frozenset[str]:
    return frozenset[str]().union(*(STUDIES[key].mixed(asked[key], levels) for key in asked))


def chosen_apart(asked: dict[str, Any]) -> tuple[str, ...]:
    return tuple(level for key in asked for level in STUDIES[key].chosen_apart(asked[key]))


def most_tokens(asked: dict[str, Any]) -> int:
    return max((STUDIES[key].most_tokens(asked[key]) for key in asked), default=0)


def as_json(manifest: Manifest) -> dict:
    """What the lock says of studies: what was asked."""
    noise = {} if manifest.seed_noise is None else {"seed_noise": manifest.seed_noise}
    return {key: asdict(asked) for key, asked in manifest.studies.items()} | noise


def outline(manifest: Manifest) -> dict[str, list[Trial]]:
    """By study: everything that it trains on, as the manifest alone tells it."""
    return {key: STUDIES[key].outline(asked, manifest) for key, asked in manifest.studies.items()}


def trials(built: Built) -> list[Trial]:
    """Everything that studies train on but what waits for runs."""
    asked = built.annotated.manifest.studies
    return [trial for key in asked for trial in STUDIES[key].trials(asked[key], built)]


def further(built: Built, runs: list[dict]) -> list[Trial]:
    """What the runs so far recommend to train."""
    asked = built.annotated.manifest.studies
    return [trial for key in asked for trial in STUDIES[key].further(asked[key], built, runs)]


def waits(manifest: Manifest) -> bool:
    """Whether something is trained only once other runs are there."""
    return any(trial.waits for some in outline(manifest).values() for trial in some)


def findings(holdout: str, lock: dict, runs: list[dict]) -> Iterator[dict]:
    """Of every study that the lock says was asked; each finding names the module that says it."""
    for key, study in STUDIES.items():
        if key in lock.get("studies", {}):
            mine = [run for run in runs if run.get("study") in (None, key)]
            for finding in study.findings(holdout, lock, mine):
                yield {"module": type(study).__module__, **finding}
