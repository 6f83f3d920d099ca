"""What every study is: further runs that a manifest asks for beside its grid, to answer one question.

A study is one file here and one line in `curate.studies.registry`. Its file holds what it reads of a manifest, the
corpora that it trains on (trials), what it trains once those runs are there (further trials), and what they say (a
finding). A study is cheap since its corpora are selections: levels derived for it are judged from signals that are there
already, and shares of sources are another order of documents that are encoded already. They are trained on, not
written as data sets; the lock tells how many documents each has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from curate.corpora.built import Built
from curate.spec.manifest import Level, Manifest
from curate.spec.tables import Tables
from train.config import RUN_KNOBS, RunConfig
from train.grid import expand, step_tokens

GRID_KNOBS = (*RUN_KNOBS, "model", "optimizer")
COMMON = ("tokens", "seeds", *GRID_KNOBS)  # what the table of any study may say


@dataclass(frozen=True)
class Trial:
    """A corpus that a study trains on, with every seed: documents of `level`, perhaps in shares of sources.

    A trial that `waits` is settled last, when the runs of its study tell what it is. Its runs carry `about` into the
    report. Trials with a `trunk` train together on that level until the rate falls, and only then on their own.
    Those that stand for choice are scored on text held `apart` too.
    """

    study: str
    name: str
    level: str
    tokens: int
    knobs: dict
    shares: tuple[float, ...] | None = None  # by source, in the pool's order
    about: dict = field(default_factory=dict)
    waits: bool = False
    trunk: str = ""
    apart: bool = False

    @property
    def seeds(self) -> int:
        return self.knobs["seeds"]

    @property
    def branches(self) -> bool:
        """Whether it trains only while the rate falls: the trunk before is another trial's."""
        return bool(self.trunk) and self.level != self.trunk

    @property
    def cooldown(self) -> float:
        return self.knobs.get("cooldown", RunConfig.cooldown)

    @property
    def trained(self) -> int:
        """Tokens that a run of its own trains, all epochs of them."""
        return round(self.tokens * self.knobs.get("epochs", 1) * self.share)

    @property
    def share(self) -> float:
        """Of a whole run, that it trains itself."""
        return self.cooldown if self.branches else 1.0


@dataclass(frozen=True, kw_only=True)
class Study:
    """One question, as a manifest asks it. `tables`: the manifest's tables that do."""

    key: ClassVar[str]
    tables: ClassVar[tuple[str, ...]]
    seeds: int
    knobs: dict

    @classmethod
    def read(cls, tables: StudyTables) -> Self:
        """What the manifest asks, checked. Raises ManifestError."""
        raise NotImplementedError

    def trial(self, name: str, level: str, tokens: int, **more: Any) -> Trial:
        """With the study's own knobs, but for those in `more`, where other fields of a trial stand as well."""
        fields = {key: more.pop(key) for key in ("about", "waits", "trunk", "apart") if key in more}
        return Trial(self.key, name, level, tokens, {**self.knobs, "seeds": self.seeds, **more}, **fields)

    def derived(self, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        """Levels that only this study needs."""
        return ()

    def mixed(self, levels: tuple[Level, ...]) -> set[str]:
        """Levels whose sources it takes in shares of its own."""
        return set()

    @property
    def chosen_apart(self) -> tuple[str, ...]:
        """Levels of whose text some is held apart, since their runs choose among settings."""
        return ()

    @property
    def most_tokens(self) -> int:
        """Of its largest corpus, where that may be larger than the manifest's sizes."""
        return 0

    def outline(self, manifest: Manifest) -> list[Trial]:
        """Every trial as the manifest alone tells it, those that wait included: for `curate plan`."""
        raise NotImplementedError

    def comparisons(self, trials: list[Trial]) -> int:
        """How many differences the finding makes of these trials, and corrects for together."""
        return len({trial.name for trial in trials}) - 1

    def trials(self, built: Built) -> list[Trial]:
        """The outline with what only documents tell, without what waits."""
        return [trial for trial in self.outline(built.annotated.manifest) if not trial.waits]

    def further(self, built: Built, runs: list[dict]) -> list[Trial]:
        """What `runs`, records of everything planned so far, recommend to train; none until all it needs are there."""
        return []

    @classmethod
    def findings(cls, holdout: str, lock: dict, runs: list[dict]) -> list[dict]:
        """What the runs say on a holdout. `runs`: of the grid and of this study, also those that failed."""
        raise NotImplementedError


class StudyTables(Tables):
    """A manifest's tables, with the checks that studies share."""

    def __init__(
        self,
        path: Path,
        tree: dict,
        levels: tuple[Level, ...],
        sizes: tuple[int, ...],
        grid: dict,
        holdouts: Sequence[str],
    ):
        super().__init__(path, tree)
        self.levels = {level.name: level for level in levels}
        self.sizes, self.grid, self.holdouts = sizes, grid, holdouts

    def common(self, where: str, table: dict) -> dict:
        """tokens, seeds and the knobs of the model, which are the grid's where the study says nothing."""
        tokens = self.count(where, "tokens", table.get("tokens", max(self.sizes)))
        if tokens > max(self.sizes):
            largest = f"{max(self.sizes):,}"
            raise self.fail(where, f"tokens = {tokens:,} is more than the largest of [sizes], {largest}")
        seeds = self.typed(where, table, "seeds", int, self.grid.get("seeds", 1))
        knobs = {k: v for k, v in self.grid.items() if k in GRID_KNOBS}
        for name in GRID_KNOBS:
            if name in table:
                mine = table[name]
                both = isinstance(mine, dict) and isinstance(knobs.get(name), dict)
                knobs[name] = knobs[name] | mine if both else mine
        with self.failing(where):
            settings = expand(knobs | {"seeds": seeds})
        if tokens < step_tokens(settings[0]):
            batch = f"a batch of {step_tokens(settings[0]):,} tokens is larger; lower batch or context"
            raise self.fail(where, f"tokens = {tokens:,}: {batch}")
        if len(settings) > seeds:
            raise self.fail(where, "a knob is an axis of the grid; name one value of it here")
        return {"tokens": tokens, "seeds": seeds, "knobs": knobs}

    def level(self, where: str, table: dict, key: str, default: str) -> str:
        return self.among(where, f"{key} = ", self.typed(where, table, key, str, default), self.levels)

    def several_levels(self, where: str, table: dict, default: Sequence[str]) -> tuple[str, ...]:
        """`levels` of a table, each of which is one."""
        levels = self.strings(where, table, "levels") or tuple(default)
        return tuple(self.level(where, {"levels": name}, "levels", name) for name in levels)

    def holdout(self, where: str, table: dict) -> str:
        holdout = self.typed(where, table, "holdout", str, self.holdouts[-1])
        if holdout not in self.holdouts:
            raise self.fail(where, f'holdout = "{holdout}" is not one of {", ".join(self.holdouts)}')
        return holdout

    def one_of(self, where: str, table: dict, key: str, choices: tuple[str, ...]) -> str:
        value = self.typed(where, table, key, str, choices[0])
        if value not in choices:
            raise self.fail(where, f'{key} = "{value}": choose one of {", ".join(choices)}')
        return value

    def chain(self, name: str) -> list[str]:
        """The level and those it stands on, the lowest first."""
        on = self.levels[name].on
        return [*(self.chain(on) if on else []), name]


def flat(tree: dict, prefix: str = "") -> list[tuple[str, Any]]:
    """`{"model": {"width": 64}}` as `model.width`, 64."""
    pairs: list[tuple[str, Any]] = []
    for key, value in tree.items():
        pairs += flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return pairs


def changed(knobs: dict, knob: str, value: Any) -> dict:
    """The knobs with one of them, `model.width` or `epochs`, at this value."""
    table, _, inner = knob.partition(".")
    return knobs | {table: {**knobs.get(table, {}), inner: value} if inner else value}


def of_study(runs: list[dict], key: str | None) -> list[dict]:
    """The runs of one study; of the grid with None."""
    return [run for run in runs if run.get("study") == key]


def scored(runs: list[dict], holdout: str) -> list[dict]:
    """The runs that have a loss on this holdout."""
    return [run for run in runs if holdout in run.get("losses", {})]
