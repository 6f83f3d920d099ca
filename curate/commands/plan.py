"""What would be done: counts, disk and minutes, and what is wrong, before anything is done.

Minutes of training come from a second of it on this machine, remembered with the machine's name; those of the rest from
rates measured on two cores of a common server. They are a guide, not a promise: who else computes here is said. What is
in the store already is not counted again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path

from curate.commands.lint import Lint, lint
from curate.engine import cores
from curate.errors import TRAINING, CurateError, InputError
from curate.quantities import BYTES_A_TOKEN
from curate.signals import custom
from curate.sources.documents import STAGE as DOCUMENTS
from curate.sources.documents import plan_tasks
from curate.sources.formats import FORMATS
from curate.sources.formats.format import PACKED
from curate.sources.inputs import digests, list_inputs
from curate.sources.members import first
from curate.sources.rows import Input
from curate.spec.manifest import PER_SEED, SHARED, Manifest
from curate.store import Store, file_digest
from curate.studies.registry import outline
from train.config import RunConfig, model_size
from train.fits import detectable
from train.grid import expand, ladders, work_tokens

ANNOTATE_BYTES_A_SECOND = 8e6  # a core, every family
TOKENIZE_BYTES_A_SECOND = 1.2e6  # a core
FLOPS_A_SECOND = 3e10  # a core, small matrices in float32: where nothing can be measured
BUSY = 0.5  # of the cores, from which on the machine is said to be at work for others
# Nats a token that two seeds of one small cell usually differ by, each with its own documents, or all with the same;
# [power] seed_noise says otherwise.
SEED_NOISE = {PER_SEED: 0.04, SHARED: 0.02}
COMPRESSION = 4.0  # text is so many times larger than its compressed file


@dataclass
class SourcePlan:
    name: str
    format: str
    files: int
    bytes: int
    read_already: int  # bytes
    problem: str | None = None


@dataclass
class Training:
    """What the grid, or a study beside it, trains; at most, since trials with the same documents share their runs."""

    name: str
    cells: int
    runs: int
    tokens: float
    seconds: float  # of one core
    tokens_a_parameter: float  # that a run of the largest size reads, all passes; the least of its models
    smallest_difference: float | None  # nats a token that it would find; None: nothing to compare


@dataclass
class Plan:
    name: str
    sources: list[SourcePlan]
    levels: list[dict]
    corpora: int
    cells: int
    runs: int
    training: list[Training]  # the grid, then every study
    training_tokens: float
    disk_bytes: float
    minutes: float
    load: float  # share of the cores that others kept busy for the last minute
    smallest_difference: float | None  # nats a token between two levels, of the grid; None: one seed
    seed_noise: float  # what that rests on
    problems: list[str] = field(default_factory=list)
    lint: Lint = field(default_factory=Lint)
    code: list[dict] = field(default_factory=list)  # of the user, that is run: signal, function, file, sha256

    def as_json(self) -> dict:
        return asdict(self)


def plan(store: Store, manifest: Manifest, workers: int | None = None, sample: int = 0) -> Plan:
    """Looks at the inputs, reads none of them whole but to hash what it has not seen before.

    The levels are tried on about `sample` documents of each source.
    """
    workers, load = workers or cores(), _load()
    sources = [_source(store, manifest, source) for source in manifest.sources]
    # A training is tried for that, so not before files that are not there are said.
    flops = FLOPS_A_SECOND if any(s.problem for s in sources) else _flops_a_second(manifest)
    training = [*_grid(manifest, flops), *_studies(manifest, flops)] if manifest.sizes else []
    new = [(s.format, s.bytes - s.read_already) for s in sources]
    seconds = sum(
        size / FORMATS[format].bytes_per_second + size / ANNOTATE_BYTES_A_SECOND for format, size in new
    )
    wanted = manifest.read_tokens * len(manifest.levels) + manifest.holdout.tokens * len(
        manifest.holdout.levels
    )
    if manifest.whole_levels:  # of levels that keep all
        wanted = max(wanted, sum(size for _, size in new) // BYTES_A_TOKEN * len(manifest.levels))
    seconds += 4 * wanted / TOKENIZE_BYTES_A_SECOND
    seconds += sum(part.seconds for part in training)
    besides = (*manifest.others, *(target.source for target in manifest.targets))
    read = [*sources, *(_source(store, manifest, texts) for texts in besides)]
    problems = [s.problem for s in read if s.problem]
    try:
        tried = lint(manifest, 0 if problems else sample)
    except InputError as error:
        problems, tried = [str(error)], Lint()
    return Plan(
        name=manifest.name,
        sources=sources,
        levels=[
            {"name": level.name, "on": level.on, "rules": {r.name: r.bound.text() for r in level.rules}}
            for level in manifest.levels
        ],
        corpora=len(manifest.levels) * (len(manifest.sizes) + manifest.whole_levels),
        cells=training[0].cells if training else 0,
        runs=training[0].runs if training else 0,
        training=training,
        training_tokens=sum(part.tokens for part in training),
        disk_bytes=1.7 * sum(s.bytes for s in sources) + 12 * wanted,
        minutes=seconds / workers / 60,
        load=load,
        smallest_difference=training[0].smallest_difference if training else None,
        seed_noise=manifest.seed_noise or SEED_NOISE[manifest.documents],
        problems=problems,
        lint=tried,
        code=list(_code(manifest)),
    )


def _code(manifest: Manifest) -> Iterator[dict]:
    for name, parameters in manifest.families.items():
        if name.startswith(custom.PREFIX):
            file = custom.code_of(parameters["function"], parameters["folder"])
            found = {"function": parameters["function"], "file": str(file), "sha256": file_digest(file)}
            yield {"signal": name.removeprefix(custom.PREFIX), **found}


def _source(store: Store, manifest: Manifest, source) -> SourcePlan:
    try:
        inputs = list_inputs(source).files
        FORMATS[source.format].check(source, first(source, inputs[0]))
        hashes = digests(store, source, inputs)
    except CurateError as error:
        return SourcePlan(source.name, source.format, 0, 0, 0, str(error))
    tasks = plan_tasks(store, source, manifest.part_bytes, inputs, hashes)
    done = sum(i.size for t in tasks if store.receipt(DOCUMENTS, t.key) for i in t.inputs)
    return SourcePlan(source.name, source.format, len(inputs), sum(map(unpacked_bytes, inputs)), done)


def unpacked_bytes(item: Input) -> int:
    """Of a file, roughly."""
    return round(item.size * (COMPRESSION if item.name.endswith(PACKED[1:]) else 1))


def _grid(manifest: Manifest, flops: float) -> Iterator[Training]:
    """The grid, and the further seeds that it may take until its levels are told apart."""
    seeds = manifest.grid.get("seeds", 1)
    first, *_, most = manifest.looks or (seeds, seeds)
    yield _cells(manifest, flops, "grid", first, first, max(1, len(manifest.looks)))
    if most > first:
        yield _cells(
            manifest, flops, f"further seeds, at most {most - first}", most - first, most, len(manifest.looks)
        )


def _cells(manifest: Manifest, flops: float, name: str, seeds: int, together: int, looks: int) -> Training:
    """Levels are compared with the first, at one size, with so many seeds `together`."""
    settings = expand({k: v for k, v in manifest.grid.items() if k != "levels"} | {"seeds": seeds})
    levels, sizes = len(manifest.grid["levels"]), list(manifest.sizes)
    cells = sum(len(ladders(sizes, setting)) for setting in settings) * levels
    tokens = sum(work_tokens(sizes, setting) for setting in settings) * levels
    seconds = sum(_train_seconds(manifest, setting, sizes, flops) for setting in settings) * levels
    found = _smallest_difference(manifest, levels, together, (levels - 1) * looks)
    a_parameter = min(_tokens_a_parameter(manifest, setting, max(sizes)) for setting in settings)
    return Training(name, cells, len(settings) * levels * len(sizes), tokens, seconds, a_parameter, found)


def _studies(manifest: Manifest, flops: float) -> list[Training]:
    found = []
    for study, trials in outline(manifest).items():
        seeds = trials[0].seeds
        cells = sum(trial.seeds for trial in trials)
        tokens = sum(trial.trained * trial.seeds for trial in trials)
        seconds = sum(
            _train_seconds(manifest, trial.knobs, [trial.tokens], flops) * trial.seeds * trial.share
            for trial in trials
        )
        smallest = _smallest_difference(
            manifest, len(trials), seeds, manifest.studies[study].comparisons(trials)
        )
        a_parameter = min(_tokens_a_parameter(manifest, trial.knobs, trial.tokens) for trial in trials)
        found.append(Training(study, cells, cells, tokens, seconds, a_parameter, smallest))
    return found


def _smallest_difference(manifest: Manifest, corpora: int, seeds: int, compared: int) -> float | None:
    """At one size, with the comparisons that the report makes corrected for; the choice of holdout documents comes on
    top of it."""
    if compared < 1 or seeds < 2:
        return None
    noise, degrees = manifest.seed_noise or SEED_NOISE[manifest.documents], (corpora - 1) * (seeds - 1)
    return detectable(noise, seeds, degrees, comparisons=compared)


def _flops_a_second(manifest: Manifest) -> float:
    """Of one core that trains the grid's first setting."""
    if any(find_spec(name) is None for name in TRAINING):
        return FLOPS_A_SECOND
    from curate.runs.placement import flops_a_second

    setting = expand({k: v for k, v in manifest.grid.items() if k != "levels"})[0]
    known = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "curate" / "rates.json"
    try:
        return flops_a_second(setting, manifest.tokenizer.vocabulary, known) or FLOPS_A_SECOND
    except OSError:  # no home to remember it in
        return FLOPS_A_SECOND


def _load() -> float:
    """Share of the cores that others have kept busy for the last minute; 0 where no machine says."""
    return min(1.0, os.getloadavg()[0] / cores()) if hasattr(os, "getloadavg") else 0.0


def _tokens_a_parameter(manifest: Manifest, setting: dict, size: int) -> float:
    return size * setting.get("epochs", 1) / _parameters(manifest, setting)


def _parameters(manifest: Manifest, setting: dict) -> int:
    context = setting.get("context", RunConfig.context)
    return model_size(setting.get("model", {}), manifest.tokenizer.vocabulary, context)[0]


def _train_seconds(manifest: Manifest, setting: dict, sizes: list[int], flops: float) -> float:
    """Six operations a parameter and token."""
    return 6 * _parameters(manifest, setting) * work_tokens(sizes, setting) / flops
