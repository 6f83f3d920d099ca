"""Trials: the cells beside the grid, one notion of them for the plan, the runs and the page.

`outline` names them from the manifest alone: the study, the name, the level, the tokens, the knobs. `settled` adds what
only documents tell: how sources share the corpus, how many tokens a level leaves of a pool. A trial that `waits` is
settled last, when the runs of its study recommend it. Its runs carry `about` into the report.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from curate.manifest.asked import Manifest
from curate.manifest.factors import BASE, Change, Factors, changed
from curate.manifest.factors import STUDY as FACTORS
from curate.manifest.studies import Attribution, Mixture, Overtaking, Repetition, derived
from curate.quantities import short_count

RECOMMENDED = "recommended"
NATURAL = "as it is"


@dataclass(frozen=True)
class Trial:
    """A corpus that a study trains on, with every seed: documents of `level`, perhaps in shares of sources."""

    study: str
    name: str
    level: str
    tokens: int
    knobs: dict
    shares: tuple[float, ...] | None = None  # by source, in the pool's order
    about: dict = field(default_factory=dict)
    waits: bool = False

    @property
    def seeds(self) -> int:
        return self.knobs["seeds"]

    @property
    def trained(self) -> int:
        """Tokens of a run, all epochs of them."""
        return round(self.tokens * self.knobs.get("epochs", 1))


def outline(manifest: Manifest) -> list[Trial]:
    """Everything that the manifest's studies train on, references included."""
    asked, found = manifest.studies, list[Trial]()
    if asked.attribution:
        found += _attribution(asked.attribution, manifest)
    if asked.mixture:
        found += _mixture(asked.mixture)
    if asked.repetition:
        found += _repetition(asked.repetition)
    if asked.overtaking:
        found += _overtaking(asked.overtaking)
    if asked.factors:
        found += factor_trials(asked.factors)
    return found


def comparisons(trials: list[Trial]) -> int:
    """How many differences the report makes of a study's trials and corrects for together."""
    if trials[0].study in ("mixture", "overtaking"):
        return 1
    if trials[0].study == "repetition":
        return len({trial.level for trial in trials}) - 1
    return len({trial.name for trial in trials}) - 1


def settled(built: Any) -> list[Trial]:
    """The outline with what its documents tell; what waits for runs is not among it."""
    manifest = built.annotated.manifest
    asked = manifest.studies
    by_study: dict[str, list[Trial]] = {}
    for trial in outline(manifest):
        if not trial.waits:
            by_study.setdefault(trial.study, []).append(trial)
    if asked.attribution and asked.attribution.matched_sources:
        shares = token_shares(built, asked.attribution.level, asked.attribution.tokens)
        by_study["attribution"] = [replace(trial, shares=shares) for trial in by_study["attribution"]]
    if asked.mixture:
        by_study["mixture"] = _mixed(asked.mixture, by_study["mixture"], built)
    if asked.repetition:
        by_study["repetition"] = _repeated(asked.repetition, by_study["repetition"], built)
    return [trial for some in by_study.values() for trial in some]


# ------------------------------------------------------------------------------------------- attribution


def _attribution(asked: Attribution, manifest: Manifest) -> list[Trial]:
    knobs = asked.knobs | {"seeds": asked.seeds}
    told = [Trial("attribution", name, name, asked.tokens, knobs) for name in (asked.base, asked.level)]
    for one in derived(asked, manifest.levels):
        about = {"part": one.part, "way": one.way}
        told.append(Trial("attribution", one.level.name, one.level.name, asked.tokens, knobs, None, about))
    return told


def token_shares(built: Any, level: str, tokens: int) -> tuple[float, ...] | None:
    """By source: its share of the level's first `tokens` tokens."""
    from curate.corpora.corpus import cut

    a = built.annotated
    found = cut(a.pool, built.rows[level], built.tokens[level], (tokens,))
    if not found.ends:
        return None
    rows = found.rows[: found.ends[tokens]]
    counts = np.bincount(a.pool.source[rows], built.tokens[level].count[rows], len(a.pool.sources))
    return tuple(float(x) for x in counts / counts.sum())


# ------------------------------------------------------------------------------------------- mixture


def _mixture(asked: Mixture) -> list[Trial]:
    """As the level has its sources, `runs` times otherwise, and as these runs will recommend."""
    knobs = asked.knobs | {"seeds": asked.seeds}
    names = [NATURAL, *(f"mixture {number}" for number in range(1, asked.runs + 1))]
    told = [Trial("mixture", name, asked.level, asked.tokens, knobs) for name in names]
    return [*told, Trial("mixture", RECOMMENDED, asked.level, asked.tokens, knobs, waits=True)]


def _mixed(asked: Mixture, trials: list[Trial], built: Any) -> list[Trial]:
    """With shares: first the level's own. Fewer, where too few can be drawn from what the sources hold."""
    natural = token_shares(built, asked.level, asked.tokens)
    if natural is None:
        return []
    drawn = dirichlet(asked, largest_shares(built, asked.level, asked.tokens))
    return [replace(trial, shares=shares) for trial, shares in zip(trials, [natural, *drawn], strict=False)]


def largest_shares(built: Any, level: str, tokens: int) -> np.ndarray:
    """By source: the share it can have of so many tokens without repeating."""
    a, t = built.annotated, built.tokens[level]
    rows = np.flatnonzero(a.everything[level].kept & ~built.holdouts.held)
    return np.bincount(a.pool.source[rows], t.count[rows], len(a.pool.sources)) / tokens


def dirichlet(asked: Mixture, most: np.ndarray) -> list[tuple[float, ...]]:
    """Shares drawn by hash, the same every time, none above what its source holds; sources without text have none."""
    from curate.store import digest_of

    seed = int(digest_of(["mixture", asked.level, asked.concentration])[:15], 16)
    rng, some, found = np.random.default_rng(seed), most > 0, list[tuple[float, ...]]()
    for _ in range(1000 * asked.runs):
        shares = np.zeros(len(most))
        shares[some] = rng.dirichlet(np.full(int(some.sum()), asked.concentration))
        if (shares <= 0.98 * most).all():
            found.append(tuple(float(x) for x in shares))
        if len(found) == asked.runs:
            break
    return found


def recommended(manifest: Manifest, shares: np.ndarray) -> Trial:
    """The mixture that waited, in these shares."""
    waiting = next(t for t in outline(manifest) if t.study == "mixture" and t.waits)
    return replace(waiting, shares=tuple(float(x) for x in shares))


# ------------------------------------------------------------------------------------------- repetition


def _repetition(asked: Repetition) -> list[Trial]:
    """Until the documents tell what a level leaves of the pool, as if it left all of it."""
    found = []
    for level in asked.levels:
        for epochs in asked.epochs:
            knobs = asked.knobs | {"seeds": asked.seeds, "epochs": epochs}
            about = {"of": level, "trained": epochs * asked.tokens, "epochs": epochs}
            found.append(Trial("repetition", f"{level}, {epochs} x", level, asked.tokens, knobs, None, about))
    return found


def _repeated(asked: Repetition, trials: list[Trial], built: Any) -> list[Trial]:
    """From the same pool: where a level keeps half, its half is passed twice as often."""
    judged, size = built.annotated.everything, built.annotated.pool.bytes
    whole = int(size[judged[asked.levels[0]].kept].sum())
    found = []
    for trial in trials:
        unique = round(asked.tokens * int(size[judged[trial.level].kept].sum()) / whole)
        knobs = trial.knobs | {"epochs": trial.trained / unique}
        found.append(replace(trial, tokens=unique, knobs=knobs, about=trial.about | {"unique": unique}))
    return found


# ------------------------------------------------------------------------------------------- overtaking


def _overtaking(asked: Overtaking) -> list[Trial]:
    """The clean corpus, and what the grid will foretell: at most three sizes, none above the largest allowed."""
    waiting = [
        replace(trial, waits=True)
        for trial in crossing_trials(asked, [asked.most // 4, asked.most // 2, asked.most])
    ]
    return [_crossing_trial(asked, asked.clean, asked.clean_tokens), *waiting]


def crossing_trials(asked: Overtaking, sizes: list[int]) -> list[Trial]:
    return [_crossing_trial(asked, asked.dirty, size) for size in sizes]


def _crossing_trial(asked: Overtaking, level: str, tokens: int) -> Trial:
    knobs = asked.knobs | {"seeds": asked.seeds}
    return Trial("overtaking", f"{level}, {short_count(tokens)}", level, tokens, knobs, None, {"of": level})


# ------------------------------------------------------------------------------------------- factors


def factor_trials(asked: Factors) -> list[Trial]:
    knobs, told = asked.knobs | {"seeds": asked.seeds}, []
    for change in (Change(BASE, BASE, None), *asked.changes):
        level = change.value if change.knob == "level" else asked.level
        tokens = change.value if change.knob == "tokens" else asked.tokens
        same = change.knob in (BASE, "level", "tokens")
        own = knobs if same else changed(knobs, change.knob, change.value)
        about, name = {"factor": change.factor}, BASE if change.knob == BASE else change.name
        for share in (1.0,) if change.knob == "optimizer.learning_rate" else asked.rates:
            at = own if share == 1 else _at_rate(own, share)
            told.append(Trial(FACTORS, name, level, tokens, at, None, about | {"rate_share": share}))
    return told


def _at_rate(knobs: dict, share: float) -> dict:
    from train.config import ModelConfig, OptimizerConfig

    model = ModelConfig.of(knobs.get("model", {}), vocabulary=1, context=knobs.get("context", 256))
    peak = OptimizerConfig.of(knobs.get("optimizer", {})).peak_rate(model.width)
    return changed(knobs, "optimizer.learning_rate", peak * share)
