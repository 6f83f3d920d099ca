"""What a manifest asks for, as plain values: what every step reads, and only `reader` makes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from curate.errors import CurateError, ManifestError, did_you_mean
from curate.spec.bounds import Edit, Rule

# (least size of a cluster, copies of its document), sizes ascending, the first 1
Weights = tuple[tuple[int, int], ...]
AS_THEY_ARE = "as they are"
RESILIPARSE, TRAFILATURA = "resiliparse", "trafilatura"  # what finds the text of pages
PER_SEED, SHARED = "per seed", "shared"
LOOKS = (1, 2, 4)  # times the seeds of a grid that is trained until its levels are told apart


BESIDE = {
    "contamination": "evaluation",
    "evaluation_overlap": "evaluation",
    "robots": "robots",
}  # family -> table of texts that its model is made of
ANSWER = ("url", "date")  # fields of the answers of [[robots]]
OF_EVALUATIONS = ("answer", "passage")  # settings that name fields of [[evaluation]]
DUPLICATE = "duplicate"  # resolved by a level among the documents it is built on, not measured in one pass
NOVELTY = "duplicate_novelty"  # so is a bound on it, in a level
DUPLICATE_SIGNALS = (DUPLICATE, "duplicate_cluster_size", "near_duplicate_similarity", NOVELTY)
DUPLICATES = "duplicates"
INDEX = "index"
FORGOTTEN = "forgotten"
SEMANTIC = "semantic_duplicates"
PACKAGE, HOST, FOLDER, DOCUMENT = "package", "host", "folder", "document"  # groups of a holdout
EDITED_BYTES = "edited_byte_count"  # what is left of a text after a level's edits: nothing left, nothing kept


@dataclass(frozen=True)
class Source:
    """Where documents come from. `path` entries have their placeholders filled in and are absolute or URLs."""

    name: str
    format: str
    path: tuple[str, ...]
    text: str = "text"  # the field or column that holds the text, by its name or path
    id: str | None = None  # a field with the source's own ids; else ids are made of place and text
    columns: tuple[str, ...] = ()  # further fields to carry along
    include: tuple[str, ...] = ()  # text, python: globs below a folder
    exclude: tuple[str, ...] = ()
    document: str = "file"  # text: a document is a "file", a "line" or a "paragraph"
    newlines: str = AS_THEY_ARE  # or "unix": \r\n and \r become \n
    extract: str = RESILIPARSE  # html, warc: what finds the text of pages
    longest: int = 10_000_000  # bytes; longer documents are counted as failed, never cut silently
    limit: int | None = None  # at most so many documents, the first of the source
    split: str = "train"  # hub
    config: str | None = None  # hub
    revision: str | None = None  # hub
    license: str = "unknown"
    packages: str | None = None  # the folder of installed packages whose versions the lock records

    def definition(self) -> dict:
        """What decides the content of its documents, given the files: part of their key."""
        skip = {"path", "license", "packages", "include", "exclude"}
        # keys are as they were before there was a choice
        skip |= {
            n
            for n, usual in (("newlines", AS_THEY_ARE), ("extract", RESILIPARSE))
            if getattr(self, n) == usual
        }
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in skip}


@dataclass(frozen=True)
class Level:
    """A named quality level: the documents of level `on` that pass every rule. `rules` in the order of judging.

    `edits` are what its documents' text loses, those of the levels below included. Signals are of the whole text.
    """

    name: str
    on: str | None
    rules: tuple[Rule, ...]
    profiles: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()
    weights: Weights = ()  # copies by the size of the cluster; none: each document once


@dataclass(frozen=True)
class Holdout:
    tokens: int
    levels: tuple[str, ...]
    near: dict  # how what is held out is compared with what is trained on: a `Scheme`
    group: str | None = (
        None  # package, host, folder, document or a field; None: what is usual for each source
    )


@dataclass(frozen=True)
class Target:
    """Text that the user cares about: scored by every run, never trained on.

    With `answer` the text of its source is a prompt, and loss is of the answer alone; with `choices` too, a list of
    which `answer` names the right one, runs are also asked which choice is likeliest.
    """

    source: Source
    tokens: int  # at most, of documents in their random order
    answer: str | None = None  # a field
    choices: str | None = None  # a field

    @property
    def name(self) -> str:
        return f"target {self.source.name}"


@dataclass(frozen=True)
class TokenizerSpec:
    vocabulary: int = 4096
    train_on: str | None = None  # a level
    bytes: int = 10_000_000  # of text it is trained on
    path: str | None = None  # an existing tokenizer.json instead
    end: str | None = None  # its end token, where that is not `<|end|>`


@dataclass(frozen=True)
class Manifest:
    name: str
    path: Path
    text: str
    sources: tuple[Source, ...]
    families: dict[str, dict]  # family of signals -> its parameters
    recipes: dict[str, dict]  # family -> what its model is made of
    beside: dict[str, tuple[Source, ...]]  # family -> texts beside the pool that its model is made of
    pooled: dict[str, dict]  # family that is measured over the whole pool -> its parameters
    prefer: tuple[str, ...]  # which of several duplicates stays
    levels: tuple[Level, ...]
    sizes: tuple[int, ...]  # token budgets, ascending; none where whole levels alone are asked for
    holdout: Holdout
    targets: tuple[Target, ...]
    tokenizer: TokenizerSpec
    grid: dict
    part_bytes: int
    profiles: dict[str, str] = field(default_factory=dict)  # name -> sha256 of the profile used
    derived: tuple[Level, ...] = ()  # levels of studies, which have no corpora of their own
    studies: dict[str, Any] = field(default_factory=dict)  # key of `curate.studies` -> what is asked of it
    mixed: frozenset[str] = frozenset()  # levels whose sources studies take in shares of their own
    study_tokens: int = 0  # of the largest corpus that a study asks for
    draw: int = 0  # which documents the sizes, holdouts and tokenizer are made of
    documents: str = PER_SEED  # or SHARED: whether every seed of a run reads its own
    apart: tuple[str, ...] = ()  # levels whose runs choose among settings, and need text to choose by
    pieces: int = 0  # tokens of the longest piece that runs read; 0: whole documents
    most_seeds: int = 1  # of the grid or of a study
    looks: tuple[
        int, ...
    ] = ()  # seeds of the grid when it looks whether its levels are told apart; none: it does not
    base: dict = field(default_factory=dict)  # an earlier lock: its tokenizer, models and quantiles
    seed_noise: float | None = None  # nats: what is believed of a run's noise before any was trained
    whole_levels: bool = False  # whether all of each level is a corpus too
    shard_bytes: int = 256_000_000  # of text, at most, in a file of a corpus

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def others(self) -> list[Source]:
        """What models are made of beside the pool."""
        return list(dict.fromkeys(source for sources in self.beside.values() for source in sources))

    @property
    def most_tokens(self) -> int:
        """Of the largest corpus that is trained on: what each level is encoded for."""
        return max((*self.sizes, self.study_tokens), default=0)

    @property
    def read_tokens(self) -> int:
        """What the runs of one level read together."""
        return self.most_tokens * (self.most_seeds if self.documents == PER_SEED else 1)

    def check_trains(self) -> None:
        """Raises ManifestError where nothing can be trained: no budget, or nothing to measure loss on."""
        if not self.sizes:
            raise ManifestError(f'{self.path}, [sizes]: no budget to train with; write tokens = ["1M", "2M"]')
        if not self.holdout.levels and not self.targets:
            raise ManifestError(f"{self.path}: nothing to measure loss on; add a [holdout] or a [[target]]")

    @property
    def lock_path(self) -> Path:
        return self.path.with_suffix(".lock.json")

    def level_named(self, name: str | None) -> Level:
        """As an option of a command names it; without a name the last. Raises CurateError."""
        names = [level.name for level in self.levels]
        if name is not None and name not in names:
            raise CurateError(f"--level {name}: no such level{did_you_mean(name, names)}")
        return self.level(name or names[-1])

    def level(self, name: str) -> Level:
        return next(level for level in self.levels if level.name == name)

    def rules_of(self, level: Level) -> list[tuple[Level, Rule]]:
        """Every rule a document of this level has passed, those of the levels below first."""
        below = self.rules_of(self.level(level.on)) if level.on else []
        return below + [(level, rule) for rule in level.rules]
