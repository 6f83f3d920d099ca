"""[value]: what each level makes of one raw pool as compute grows, each trained as is best for it, and where keeping more
overtakes filtering harder.

    [value]
    levels = ["raw", "unique"]           # default: those of [grid]; the first keeps most
    tokens = "100k"                      # of the first level: the pool that every level is taken from
    epochs = [1, 2, 4, 8]                # passes over what a level leaves of the pool
    model = { width = [64, 96, 128] }    # any knob of the model or the optimizer may be a list
    optimizer = { weight_decay = [0.1, 0.5] }

The value of a level within a budget of compute is the least loss of all settings that cost no more, chosen on text held
apart. So it never rises with compute: whoever has more may stop early. Levels cross where filtered text is used up and
larger models or more passes still gain from the rest ("A Bitter Lesson for Data Filtering", 2605.19407).

Most settings are nowhere the best. So all are trained with the first seed (a rung of successive halving, Jamieson and
Talwalkar 2016), and those that are best or second best within some budget with the others too. The least of several noisy
losses is too low: each seed is taken at the setting that the other seeds choose (`curate.results.tuning`).

Compute is in operations of training, 6 a parameter and token and what attention adds.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curate.corpora.built import Built, pool_tokens
from curate.results.answers import finite
from curate.results.finding import finding, table
from curate.results.scores import grid_of
from curate.results.tuning import at_best, loss_apart
from curate.results.words import difference_text, figure_text, text_of
from curate.spec.manifest import Manifest
from curate.studies.study import COMMON, Study, StudyTables, Trial, changed, flat, of_study, scored
from train import fits
from train.grid import APART

FINALISTS = 2  # settings a budget that are trained with every seed
FAR = 10.0  # times the most compute that was trained: no crossing is foretold beyond
STEPS = 8  # budgets that are looked at


@dataclass(frozen=True, kw_only=True)
class Value(Study):
    key, tables = "value", ("value",)
    levels: tuple[str, ...]
    tokens: int
    settings: tuple[dict[str, Any], ...]  # knob -> value, of every setting

    @classmethod
    def read(cls, tables: StudyTables) -> Value:
        where, table = "[value]", tables.table("value")
        tables.known(where, table, ("levels", *COMMON))
        levels = tables.several_levels(where, table, tables.grid["levels"])
        knobs = {name: value for name, value in table.items() if name not in ("levels", "tokens", "seeds")}
        axes = {name: value for name, value in flat(knobs) if isinstance(value, list)}
        axes.setdefault("epochs", [table.get("epochs", 1)])
        first = table
        for name, values in axes.items():
            if not values:
                raise tables.fail(where, f"{name} = []: name a value")
            first = changed(first, name, values[0])
        common = tables.common(where, first)
        settings = [dict(zip(axes, some, strict=True)) for some in itertools.product(*axes.values())]
        for setting in settings:
            tables.common(where, _with(first, setting))
        if len(levels) < 2 or len(settings) < 2:
            raise tables.fail(where, "needs two levels, and a list of values of epochs or of another knob")
        return cls(levels=levels, settings=tuple(settings), **common)

    @property
    def chosen_apart(self) -> tuple[str, ...]:
        return self.levels

    def outline(self, manifest: Manifest) -> list[Trial]:
        """Every setting with the first seed; as many again as are likely to be trained with the others."""
        trials = [self._trial(level, setting, 1) for level in self.levels for setting in self.settings]
        if self.seeds == 1:
            return trials
        seeds = {"seeds": self.seeds - 1}
        return trials + [replace(trial, knobs=trial.knobs | seeds, waits=True) for trial in trials[::2]]

    def _trial(self, level: str, setting: dict, seeds: int) -> Trial:
        name = f"{level}, {_setting_text(list(setting.items()))}"
        about = {"of": level, "setting": list(setting.items())}
        knobs = _with(self.knobs, setting) | {"seeds": seeds}
        return self.trial(name, level, self.tokens, about=about, apart=True, **knobs)

    def comparisons(self, trials: list[Trial]) -> int:
        return len({trial.level for trial in trials}) - 1

    def trials(self, built: Built) -> list[Trial]:
        """From one pool: a level that keeps half of it has half the tokens."""
        unique = pool_tokens(built, self.levels, self.tokens)
        return [
            replace(trial, tokens=unique[trial.level], about=trial.about | {"unique": unique[trial.level]})
            for trial in super().trials(built)
        ]

    def further(self, built: Built, runs: list[dict]) -> list[Trial]:
        """The finalists with every seed, once all settings have been trained with one."""
        mine = of_study(runs, self.key)
        if self.seeds == 1 or not mine or any("failed" in run and not run.get("impossible") for run in mine):
            return []
        done = [run for run in mine if "losses" in run and run["seed"] == 0]
        best = {(run["of"], str(run["setting"])) for level in self.levels for run in _finalists(done, level)}
        return [
            replace(trial, knobs=trial.knobs | {"seeds": self.seeds})
            for trial in self.trials(built)
            if (trial.level, str(trial.about["setting"])) in best
        ]

    @classmethod
    def findings(cls, holdout: str, lock: dict, runs: list[dict]) -> list[dict]:
        asked = lock["studies"][cls.key]
        done = [run for run in of_study(scored(runs, holdout), cls.key) if APART in run["losses"]]
        title = f"What one pool is worth as compute grows, on {text_of(holdout)}"
        levels = [level for level in asked["levels"] if any(run["of"] == level for run in done)]
        if len(levels) < 2:
            return [finding(cls.key, title, holdout, ["The runs of two levels are not there yet."])]
        return [_finding(title, holdout, asked, levels, done)]


def _with(knobs: dict, setting: dict) -> dict:
    for knob, value in setting.items():
        knobs = changed(knobs, knob, value)
    return knobs


def _finalists(runs: list[dict], level: str) -> list[dict]:
    """Of a level's runs those with the least losses on the text held apart, within every budget."""
    ordered = sorted((run for run in runs if run["of"] == level), key=lambda run: run["flops"])
    chosen: dict[int, dict] = {}
    for budget in sorted({run["flops"] for run in ordered}):
        end = sum(run["flops"] <= budget for run in ordered)
        best = sorted(range(end), key=lambda place: loss_apart(ordered[place]))[:FINALISTS]
        chosen |= {place: ordered[place] for place in best}
    return list(chosen.values())


# ------------------------------------------------------------------------------------------- the finding


def _finding(title: str, holdout: str, asked: dict, levels: list[str], runs: list[dict]) -> dict:
    budgets = _budgets(runs, levels)
    at_budget, settings = _within(runs, levels, budgets)
    grid = grid_of(holdout, at_budget, place=lambda run: (run["of"], run["budget"]))
    values = {level: _values_NB(grid, level, budgets) for level in levels}
    crossings = [_crossing(grid, budgets, values, levels[0], level) for level in levels[1:]]
    unique = {level: next(run["unique"] for run in runs if run["of"] == level) for level in levels}
    texts = {level: [_figure(grid, value_N) for value_N in values[level].T] for level in levels}
    rows = [
        [_operations(budget), *(f"{texts[level][n]} ({settings[level, budget]})" for level in levels)]
        for n, budget in enumerate(budgets)
    ]
    trigrams = {level: _trigram(holdout, runs, level) for level in levels}
    if any(trigrams.values()):
        known = (f"{nats:.3f}" if nats else "" for nats in trigrams.values())
        rows.append(["A trigram of the same tokens", *known])
    best = [f"{level} {texts[level][-1]} ({settings[level, budgets[-1]]})" for level in levels]
    sentences = [
        f"On {text_of(holdout)}, from one pool of {unique[levels[0]]:,} tokens of {levels[0]} and within "
        f"{_operations(budgets[-1])}, the least loss is of {'; '.join(best)}.",
        *(_crossing_sentence(levels[0], crossing) for crossing in crossings),
    ]
    behind = [level for level in levels if (nats := trigrams[level]) and nats < values[level][0, -1]]
    if behind:
        sentences.append(
            f"A trigram of the same tokens has less loss than the best model of {', '.join(behind)}: more compute, or "
            "larger models, may change the answer."
        )
    columns = ["Compute", *(f"{level}, {unique[level]:,} tokens" for level in levels)]
    caption = f"Least nats per token within a budget, of {len(asked['settings'])} settings, and the setting"
    return finding(
        Value.key, title, holdout, sentences, [table(caption, columns, rows)], unique=unique, budgets=budgets,
        crossings=[finite(crossing) for crossing in crossings], caveats=grid.caveats,
        lines={level: value_NB[0].tolist() for level, value_NB in values.items()},
    )  # fmt: skip


def _budgets(runs: list[dict], levels: list[str]) -> list[int]:
    """From where every level has a run to the most that was trained, evenly on a logarithmic scale."""
    least = max(min(run["flops"] for run in runs if run["of"] == level) for level in levels)
    most = max(run["flops"] for run in runs)
    return sorted({math.ceil(x) for x in np.geomspace(least, most, STEPS if most > least else 1)})


def _within(
    runs: list[dict], levels: list[str], budgets: list[int]
) -> tuple[list[dict], dict[tuple[str, int], str]]:
    """(the runs of every level at its best, each with the first `budget` of which they are the best; the setting of most
    seeds by level and budget). A run is there once, or noise would look better known than it is."""
    kept, settings = list[dict](), dict[tuple[str, int], str]()
    for level in levels:
        before: list[str] = []
        for budget in budgets:
            mine = [run for run in runs if run["of"] == level and run["flops"] <= budget]
            best, _ = at_best(mine, lambda run: run["of"], lambda run: str(run["setting"]))
            named = [_setting_text(run["setting"]) for run in best]
            kept += [run | {"budget": budget} for run in best if named != before]
            settings[level, budget], before = max(named, key=named.count), named
    return kept, settings


def _values_NB(grid: fits.Grid, level: str, budgets: list[int]) -> np.ndarray:
    """[replicate, budget]: a level's least loss, which stays until another setting has less."""
    first_D, mean_ND = grid.means_ND(level)
    return mean_ND[:, np.searchsorted(first_D, budgets, side="right") - 1]


def _figure(grid: fits.Grid, value_N: np.ndarray) -> str:
    value = float(value_N[0])
    return figure_text(value, *grid.interval(value_N)) if grid.noise else f"{value:.3f}"


def _crossing(
    grid: fits.Grid, budgets: list[int], values: dict[str, np.ndarray], more: str, level: str
) -> dict[str, Any]:
    """The compute from which `more`, which keeps more, has less loss than `level` for good. `kind`: measured |
    extrapolated (by a line through the upper half of the budgets, to FAR times the most) | always | never."""
    gap_NB = values[more] - values[level]
    log_N = np.array([_last_crossing(np.log(budgets), gap_B) for gap_B in gap_NB])
    start, most, end = math.log(budgets[0]), math.log(budgets[-1]), math.log(FAR * budgets[-1])
    low, high = grid.interval(log_N) if grid.noise else (-math.inf, math.inf)
    value = float(log_N[0])
    kind = "always" if value == -math.inf else "never" if value > end else "measured"
    kind = "extrapolated" if most < value <= end else kind
    low, high = -math.inf if low < start else low, math.inf if high > end else high
    last = dict(
        zip(("low", "high"), grid.interval(gap_NB[:, -1]) if grid.noise else (None, None), strict=True)
    )
    return {
        "level": level, "kind": kind, "operations": _exp(value), "low": _exp(low), "high": _exp(high),
        "last": last | {"value": float(gap_NB[0, -1])},
    }  # fmt: skip


def _exp(log: float) -> float:
    return math.exp(log) if math.isfinite(log) else 0.0 if log < 0 else math.inf


def _last_crossing(log_B: np.ndarray, gap_B: np.ndarray) -> float:
    """Where the gap falls below 0 for good; -inf where it is below all along, inf where a line does not foretell it."""
    above = np.flatnonzero(gap_B > 0)
    if not len(above):
        return -math.inf
    last = int(above[-1])
    if last < len(gap_B) - 1:
        share = gap_B[last] / (gap_B[last] - gap_B[last + 1])
        return float(log_B[last] + share * (log_B[last + 1] - log_B[last]))
    upper = slice(len(gap_B) // 2, None)
    if len(log_B[upper]) < 2:
        return math.inf
    slope = float(np.polyfit(log_B[upper], gap_B[upper], 1)[0])
    return float(log_B[-1] - gap_B[-1] / slope) if slope < 0 else math.inf


def _crossing_sentence(more: str, crossing: dict) -> str:
    level, kind = crossing["level"], crossing["kind"]
    gap = crossing["last"]
    clear = gap["low"] is not None and (gap["low"] > 0 or gap["high"] < 0)
    at_most = (
        f"within the most that was trained {more} has {difference_text(gap)} nats per token against {level}"
        f"{'' if clear else ', not distinguishable'}"
    )
    if kind in ("always", "never"):
        where = (
            f"{more} is better than {level} from the least compute on"
            if kind == "always"
            else f"no compute up to {FAR:g} times the most that was trained makes {more} overtake {level}"
        )
        return f"{where[0].upper()}{where[1:]}; {at_most}."
    low, high = (
        "less than was trained" if not crossing["low"] else _operations(crossing["low"]),
        f"beyond {FAR:g} times the most" if math.isinf(crossing["high"]) else _operations(crossing["high"]),
    )
    how = "" if kind == "measured" else " by a line through the larger budgets"
    lead = f"{more} overtakes {level} at {_operations(crossing['operations'])}{how}, between {low} and {high}"
    return f"{lead[0].upper()}{lead[1:]}; {at_most}."


def _trigram(holdout: str, runs: list[dict], level: str) -> float | None:
    """Nats per token of one that read what the level's runs read, the mean over seeds."""
    by_seed = {
        run["seed"]: run["trigram"][holdout]
        for run in runs
        if run["of"] == level and holdout in run.get("trigram", {})
    }
    return float(np.mean(list(by_seed.values()))) if by_seed else None


def _setting_text(setting: list) -> str:
    return ", ".join(f"{knob.rpartition('.')[2].replace('_', ' ')} {value}" for knob, value in setting)


def _operations(number: float) -> str:
    """`3.2 PFLOP`."""
    power = max(0, min(6, int(math.log10(max(number, 1)) // 3)))
    return f"{number / 10 ** (3 * power):.3g} {('', 'k', 'M', 'G', 'T', 'P', 'E')[power]}FLOP"
