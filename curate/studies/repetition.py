"""[repetition]: filter harder or keep more, at equal raw pool and equal compute, small corpora repeated.

[repetition]
levels = ["raw", "unique"]  # default: those of [grid]
epochs = [1, 4, 16]         # times the tokens of the first level: what every level is trained for
budgets = ["10M"]           # of compute, in tokens trained: which level is advised for each
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curate.corpora.built import Built, pool_tokens
from curate.results.answers import finite
from curate.results.finding import finding, table
from curate.results.scores import grid_of
from curate.results.words import difference_text, figure_text, text_of
from curate.spec.manifest import Manifest
from curate.studies.study import COMMON, Study, StudyTables, Trial, of_study, scored
from train import fits

REPLICATES = 100
FAR = 4.0  # budgets beyond so many times the most that was trained get no advice
MOST_EPOCHS = 10_000


@dataclass(frozen=True, kw_only=True)
class Repetition(Study):
    """From the part of the raw pool that has `tokens` of the first level: what every level makes of it, trained
    for `epochs` times `tokens`, so that all have seen as much."""

    key, tables = "repetition", ("repetition",)
    levels: tuple[str, ...]
    tokens: int
    epochs: tuple[int, ...]
    budgets: tuple[int, ...]

    @classmethod
    def read(cls, tables: StudyTables) -> Repetition:
        where, table = "[repetition]", tables.table("repetition")
        tables.known(where, table, ("levels", "budgets", *COMMON))
        levels = tables.several_levels(where, table, tables.grid["levels"])
        epochs = table.get("epochs", [1, 2, 4, 8])
        whole = isinstance(epochs, list) and all(type(e) is int and 0 < e <= MOST_EPOCHS for e in epochs)
        if not whole or not epochs:
            hint = "whole numbers of passes over the first level's tokens"
            raise tables.fail(where, f"epochs = {epochs!r}: {hint}")
        given = table.get("budgets", [])
        given = given if isinstance(given, list) else [given]
        budgets = tuple(tables.count(where, "budgets", budget) for budget in given)
        epochs = tuple(sorted(set(epochs)))
        knobs = tables.common(where, {**table, "epochs": 1})
        return cls(levels=levels, epochs=epochs, budgets=budgets, **knobs)

    def outline(self, manifest: Manifest) -> list[Trial]:
        """Until the documents tell what a level leaves of the pool, as if it left all of it."""
        return [
            self.trial(
                f"{level}, {epochs} x", level, self.tokens, epochs=epochs,
                about={"of": level, "trained": epochs * self.tokens, "epochs": epochs},
            )
            for level in self.levels for epochs in self.epochs
        ]  # fmt: skip

    def comparisons(self, trials: list[Trial]) -> int:
        return len({trial.level for trial in trials}) - 1

    def trials(self, built: Built) -> list[Trial]:
        """From the same pool: where a level keeps half, its half is passed twice as often."""
        of_level, trials = pool_tokens(built, self.levels, self.tokens), []
        for trial in super().trials(built):
            unique = of_level[trial.level]
            knobs, about = trial.knobs | {"epochs": trial.trained / unique}, trial.about | {"unique": unique}
            trials.append(replace(trial, tokens=unique, knobs=knobs, about=about))
        return trials

    @classmethod
    def findings(cls, holdout: str, lock: dict, runs: list[dict]) -> list[dict]:
        asked = lock["studies"]["repetition"]
        return [_finding(holdout, asked, of_study(scored(runs, holdout), cls.key))]


# ------------------------------------------------------------------------------------------- the finding


def _finding(holdout: str, asked: dict, runs: list[dict]) -> dict:
    title = f"Filter harder or keep more, on {text_of(holdout)}"
    levels = [level for level in asked["levels"] if any(run["of"] == level for run in runs)]
    if len(levels) < 2:
        return finding("repetition", title, holdout, ["The runs of two levels are not there yet."])
    grid = grid_of(holdout, runs, place=lambda run: (run["of"], run["trained"]))
    unique = {level: next(run["unique"] for run in runs if run["of"] == level) for level in levels}
    gaps, laws = _gaps(grid, levels), {level: _law(grid, level, unique[level]) for level in levels}
    budgets = asked["budgets"] or grid.tokens[-1:]
    advice = [_advice(holdout, budget, unique, laws, grid) for budget in budgets]
    sentences = [
        _measured_sentence(holdout, levels, unique, gaps),
        *(_law_sentence(level, law) for level, law in laws.items()),
        *(one.pop("sentence") for one in advice),
    ]
    return finding(
        "repetition", title, holdout, sentences, [_table(grid, levels, unique)], unique=unique,
        gaps=[finite(vars(gap)) for gap in gaps], laws={level: law["figures"] for level, law in laws.items()},
        advice=advice, caveats=grid.caveats,
    )  # fmt: skip


def _table(grid: fits.Grid, levels: list[str], unique: dict[str, int]) -> dict:
    rows = [
        [level, f"{unique[level]:,}", *(_cell(grid, level, tokens) for tokens in grid.tokens)]
        for level in levels
    ]
    columns = ["Level", "Unique tokens", *(f"{tokens:,} trained" for tokens in grid.tokens)]
    return table("Nats per token from the same raw pool", columns, rows)


def _gaps(grid: fits.Grid, levels: list[str]) -> list[fits.Difference]:
    """Every level against the first at every compute, all corrected together."""
    there = {(p.level, p.tokens) for p in grid.points}
    pairs = [
        (level, levels[0], tokens)
        for tokens in grid.tokens
        for level in levels[1:]
        if {(level, tokens), (levels[0], tokens)} <= there
    ]
    return [gap.together for gap in fits.differences(grid, pairs)]


def _measured_sentence(name: str, levels: list[str], unique: dict, gaps: list) -> str:
    first, last = levels[0], levels[-1]
    mine = [gap for gap in gaps if gap.level == last]
    if not mine:
        return f"{first} and {last} have no run at equal compute yet."
    least, most = mine[0], mine[-1]
    flips = least.distinguishable and most.distinguishable and (least.value < 0) != (most.value < 0)
    figures = [
        f"{difference_text(finite(vars(gap)))} at {gap.tokens:,} trained tokens"
        f"{'' if gap.distinguishable else ' (not distinguishable)'}"
        for gap in (least, most)
    ]
    head = (
        f"On {text_of(name)}, from the same raw pool ({unique[first]:,} tokens of {first}, of which {last} keeps "
        f"{unique[last]:,}) and at equal compute, {last} against {first} has {' and '.join(figures)} nats per token"
    )
    return head + ("; the better level changes with compute." if flips else ".")


def _law(grid: fits.Grid, level: str, unique: int) -> dict:
    tokens_D, loss_ND = grid.means_ND(level)
    unique_D = np.minimum(np.full(len(tokens_D), float(unique)), tokens_D)
    try:
        rows = 1 if grid.noise is None else 1 + REPLICATES
        law, some = fits.fit_repetition(unique_D, tokens_D, loss_ND[:rows])
    except fits.FitError as error:
        return {"law": None, "why_not": str(error), "figures": {"why_not": str(error)}}
    laws = [law, *some]
    best = np.array([one.best_tokens(unique, FAR * tokens_D[-1]) / unique for one in laws])
    best_low, best_high = grid.interval(best)
    star_low, star_high = grid.interval(np.array([_star(one) for one in laws]))
    figures = vars(law) | {
        "best_passes": float(best[0]),
        "best_passes_low": best_low,
        "best_passes_high": best_high,
        "star_low": star_low,
        "star_high": star_high,
    }
    return {"law": law, "some": some, "figures": finite(figures), "end": FAR * tokens_D[-1] / unique}


def _star(law: fits.RepetitionLaw) -> float:
    """R*, without an end where these passes do not determine it."""
    return law.star if not law.at_bound else math.inf if law.star > 1 else 0.0


def _law_sentence(level: str, fitted: dict) -> str:
    law = fitted["law"]
    if law is None:
        return f"{level}: no law of repetition: {fitted['why_not']}."
    f = fitted["figures"]
    form = "with a penalty for over-fitting" if law.penalty else "without a penalty (Muennighoff et al.)"
    beats = (
        "with one seed so few cells show no over-fitting"
        if law.chance is None
        else f"chance alone would make a penalty look as useful in {100 * law.chance:.0f} % of cases"
    )
    star = (
        "is not determined"
        if law.at_bound
        else figure_text(law.star, f["star_low"], f["star_high"], digits=1)
    )
    if f["best_passes"] > 0.99 * fitted["end"]:
        best = f"more passes still help as far as the law goes ({fitted['end']:.0f})"
    else:
        passes = figure_text(f["best_passes"], f["best_passes_low"], f["best_passes_high"], digits=1)
        best = f"loss is least after {passes} passes"
    return f"{level}: the law {form} is used, since {beats}; R* {star}; {best}."


def _advice(name: str, budget: int, unique: dict, laws: dict, grid: fits.Grid) -> dict[str, Any]:
    """Which level to train on for a budget of tokens, stopping early where further passes do harm."""
    most, with_law = grid.tokens[-1], [level for level, fitted in laws.items() if fitted["law"]]
    answer: dict = {"budget": budget, "levels": {}, "best": None, "distinguishable": False}
    if budget > FAR * most or len(with_law) < 2:
        why = (
            f"more than {FAR:g} times the {most:,} that were trained"
            if budget > FAR * most
            else "laws of two levels are missing"
        )
        return answer | {"sentence": f"For {budget:,} tokens of compute nothing is advised: {why}."}
    losses = {level: _losses(laws[level], unique[level], budget) for level in with_law}
    best = min(with_law, key=lambda level: losses[level][0])
    answer["levels"] = {level: [float(x[0]), *fits.interval(x)] for level, x in losses.items()}
    answer["best"] = best
    rivals = [level for level in with_law if level != best]
    gap = {level: np.quantile(losses[best][1:] - losses[level][1:], [0.025, 0.975]) for level in rivals}
    clear = grid.noise is not None and all(high < 0 for _, high in gap.values())
    answer["distinguishable"] = clear
    losses_by_level = ", ".join(f"{level} {figure_text(*answer['levels'][level])}" for level in with_law)
    keeps_most = max(with_law, key=lambda level: unique[level])
    advice = "keep more" if best == keeps_most else "filter harder"
    lead = f"{advice} ({best})" if clear else f"no level is clearly ahead ({best} is the best guess)"
    return answer | {
        "sentence": f"For {budget:,} tokens of compute on this pool, judged on {text_of(name)}: {lead}; "
        f"losses by the laws: {losses_by_level}."
    }


def _losses(fitted: dict, unique: int, budget: int) -> np.ndarray:
    laws = (fitted["law"], *fitted["some"])
    return np.array([float(law.loss(unique, law.best_tokens(unique, budget))) for law in laws])


def _cell(grid: fits.Grid, level: str, tokens: int) -> str:
    try:
        mean = fits.mean(grid, level, tokens)
    except fits.FitError:
        return "no run"
    return figure_text(mean.value, mean.low, mean.high)
