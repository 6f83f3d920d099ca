"""[anneal]: many levels ranked for the price of few runs: one trunk, and a cool-down on each of them.

    [anneal]
    trunk = "raw"               # what all read until the learning rate falls
    levels = ["english", "filtered", "unique"]
    cooldown = 0.25             # share of the steps that differ

Candidates differ in what they read last, while the rate falls, as the annealing runs of Llama 3 (2407.21783) and of
Ultra-FineWeb (2505.05427) do. Eight levels so cost 0.75 + 8 * 0.25 of a run, a third of eight runs. A cool-down reads
documents that its trunk has not. It tells what a level adds to a model that is nearly done, which may be another order than
that of models which read nothing else: where the grid has whole runs of these levels, the finding says how often both
orders agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from curate.results.answers import finite
from curate.results.finding import finding, table
from curate.results.scores import first_setting, grid_of
from curate.results.transfer import agreement
from curate.results.words import difference_text, figure_text, text_of
from curate.spec.manifest import Manifest
from curate.studies.study import COMMON, Study, StudyTables, Trial, of_study, scored
from train import fits
from train.config import RunConfig


@dataclass(frozen=True, kw_only=True)
class Anneal(Study):
    key, tables = "anneal", ("anneal",)
    trunk: str
    levels: tuple[str, ...]  # without the trunk
    tokens: int  # of a whole run

    @classmethod
    def read(cls, tables: StudyTables) -> Anneal:
        where, table = "[anneal]", tables.table("anneal")
        tables.known(where, table, ("trunk", "levels", *COMMON))
        trunk = tables.level(where, table, "trunk", tables.grid["levels"][0])
        named = tables.several_levels(where, table, tuple(tables.levels))
        levels = tuple(name for name in dict.fromkeys(named) if name != trunk)
        if not levels:
            raise tables.fail(where, f'levels = ["{trunk}"] is the trunk alone; name levels to rank')
        return cls(trunk=trunk, levels=levels, **tables.common(where, table))

    def outline(self, manifest: Manifest) -> list[Trial]:
        """The trunk's level first: its cool-down makes the trunk an ordinary run."""
        levels = (self.trunk, *self.levels)
        return [self.trial(level, level, self.tokens, trunk=self.trunk) for level in levels]

    @classmethod
    def findings(cls, holdout: str, lock: dict, runs: list[dict]) -> list[dict]:
        asked = lock["studies"][cls.key]
        mine = of_study(runs, cls.key)
        title = f"What each level adds in a cool-down, on {text_of(holdout)}"
        done = scored(mine, holdout)
        ranked = [level for level in asked["levels"] if level in {run["level"] for run in done}]
        if asked["trunk"] not in {run["level"] for run in done} or not ranked:
            return [finding(cls.key, title, holdout, ["The runs are not there yet."])]
        # Those of the grid that read one of these levels all along, at as many tokens.
        levels, grid = {asked["trunk"], *asked["levels"]}, of_study(scored(runs, holdout), None)
        whole = [run for run in grid if run["level"] in levels and run["size"] == asked["tokens"]]
        return [_finding(title, holdout, asked, ranked, done, first_setting(whole))]


def _finding(
    title: str, holdout: str, asked: dict, ranked: list[str], done: list[dict], whole: list[dict]
) -> dict:
    trunk, tokens = asked["trunk"], asked["tokens"]
    grid = grid_of(holdout, [*done, *whole], place=lambda run: (_series(run), tokens))
    there = {_series(run) for run in whole}
    gaps = fits.differences(grid, [(_cooled(level), _cooled(trunk)) for level in ranked])
    rows = []
    for level, gap in zip(ranked, gaps, strict=True):
        all_along = finite(vars(fits.difference(grid, level, trunk))) if {level, trunk} <= there else None
        rows.append(finite(vars(gap.together)) | {"level": level, "whole": all_along})
    rows.sort(key=lambda row: row["value"])
    agreeing = _agreement(grid, [level for level in (trunk, *ranked) if level in there])
    sentences = [_order_sentence(holdout, asked, rows), *_agreement_sentences(agreeing)]
    return finding(
        Anneal.key, title, holdout, sentences, [_table(asked, rows)],
        rows=rows, agreement=agreeing, caveats=grid.caveats,
    )  # fmt: skip


def _series(run: dict) -> str:
    return _cooled(run["level"]) if run.get("study") else run["level"]


def _cooled(level: str) -> str:
    return f"{level}, cool-down"


def _agreement(grid: fits.Grid, levels: list[str]) -> dict | None:
    """Of all pairs of levels; None where the grid has whole runs of fewer than three of them."""
    if len(levels) < 3:
        return None
    pairs = list(combinations(levels, 2))

    def gaps_NP(name) -> np.ndarray:
        mean_N = {level: grid.means_ND(name(level))[1][:, 0] for level in levels}
        return np.stack([mean_N[b] - mean_N[a] for a, b in pairs], 1)

    return agreement(grid, gaps_NP(_cooled), gaps_NP(str))


def _order_sentence(holdout: str, asked: dict, rows: list[dict]) -> str:
    cooldown = asked["knobs"].get("cooldown", RunConfig.cooldown)
    runs = len(rows) + 1
    share = (1 - cooldown + runs * cooldown) / runs
    better = [row["level"] for row in rows if row["distinguishable"] and row["value"] < 0]
    best = f"better than more {asked['trunk']}: {', '.join(better)}" if better else "none told apart"
    return (
        f"On {text_of(holdout)}, after {1 - cooldown:.0%} of the steps on {asked['trunk']} and the rest on each level, the "
        f"best first: {', '.join(row['level'] for row in rows)} ({best}). {runs} levels so took {share:.0%} of the tokens "
        "of as many whole runs."
    )


def _agreement_sentences(found: dict | None) -> list[str]:
    if found is None:
        return [
            "Whether whole runs have the same order takes a grid with three of these levels at as many tokens."
        ]
    tau = [2 * found[name] - 1 for name in ("share", "low", "high")]
    return [
        f"Whole runs order {found['share']:.0%} of {found['pairs']} pairs of levels alike (Kendall's τ "
        f"{figure_text(*tau, digits=2)}), and {found['clear_alike']} of the {found['clear']} that both tell apart."
    ]


def _table(asked: dict, rows: list[dict]) -> dict[str, Any]:
    def text(gap: dict | None) -> str:
        if gap is None:
            return ""
        return difference_text(gap) + ("" if gap["distinguishable"] else ", not distinguishable")

    seeds = f"{asked['seeds']} seeds; intervals of cool-downs hold all of them at once"
    caption = f"Nats per token more than {asked['trunk']}, {seeds}"
    lines = [[row["level"], text(row), text(row["whole"])] for row in rows]
    return table(caption, ["Level", "In the cool-down", "All along"], lines)
