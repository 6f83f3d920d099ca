"""[overtaking]: where more of a dirtier level overtakes less of a cleaner one, foretold by the grid's laws and then
found by runs.

    [overtaking]
    dirty = "raw"
    clean = "unique"
    clean_tokens = "400k"
    most = "4M"                 # what may be trained to find the crossing
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from curate.corpora.built import Built
from curate.quantities import short_count
from curate.results.answers import finite
from curate.results.finding import finding
from curate.results.scores import grid_of
from curate.results.words import count_text, text_of
from curate.spec.manifest import Manifest
from curate.studies.study import GRID_KNOBS, Study, StudyTables, Trial, of_study, scored
from train import fits

AROUND = (0.5, 1.0, 2.0)  # times the foretold crossing: what is trained to find the true one


@dataclass(frozen=True, kw_only=True)
class Overtaking(Study):
    """Where `dirty` is foretold to overtake `clean_tokens` of `clean`, runs look for it, at most of `most` tokens."""

    key, tables = "overtaking", ("overtaking",)
    dirty: str
    clean: str
    clean_tokens: int
    most: int
    holdout: str

    @classmethod
    def read(cls, tables: StudyTables) -> Overtaking:
        where, table = "[overtaking]", tables.table("overtaking")
        tables.known(
            where, table, ("dirty", "clean", "clean_tokens", "most", "holdout", "seeds", *GRID_KNOBS)
        )
        levels, largest = tables.grid["levels"], max(tables.sizes)
        dirty = tables.level(where, table, "dirty", levels[0])
        clean = tables.level(where, table, "clean", levels[-1])
        if dirty == clean or not {dirty, clean} <= set(levels):
            raise tables.fail(where, f'dirty = "{dirty}", clean = "{clean}": name two levels of [grid]')
        clean_tokens = tables.count(where, "clean_tokens", table.get("clean_tokens", largest))
        most = tables.count(where, "most", table.get("most", 4 * largest))
        if clean_tokens > largest or most <= clean_tokens:
            raise tables.fail(
                where,
                f"clean_tokens = {clean_tokens:,} is above the largest of [sizes], or most = {most:,} not above the largest",
            )
        common = tables.common(where, table)
        del common["tokens"]
        holdout = tables.holdout(where, table)
        return cls(dirty=dirty, clean=clean, clean_tokens=clean_tokens, most=most, holdout=holdout, **common)

    @property
    def most_tokens(self) -> int:
        return self.most

    def outline(self, manifest: Manifest) -> list[Trial]:
        """The clean corpus, and what the grid will foretell: at most three sizes, none above the largest allowed."""
        sizes = (self.most // 4, self.most // 2, self.most)
        waiting = [self._trial(self.dirty, size, waits=True) for size in sizes]
        return [self._trial(self.clean, self.clean_tokens), *waiting]

    def comparisons(self, trials: list[Trial]) -> int:
        return 1

    def further(self, built: Built, runs: list[dict]) -> list[Trial]:
        """Trials around the crossing, once the grid has foretold one that the manifest allows to train."""
        mine = [run for run in of_study(runs, None) if run["level"] in (self.dirty, self.clean)]
        if not mine or any("failed" in run for run in mine):
            return []
        crossing = _foretold(self.holdout, vars(self), mine)
        if isinstance(crossing, str):
            return []
        return [self._trial(self.dirty, size) for size in _sizes(crossing, self.most)]

    def _trial(self, level: str, tokens: int, waits: bool = False) -> Trial:
        return self.trial(f"{level}, {short_count(tokens)}", level, tokens, about={"of": level}, waits=waits)

    @classmethod
    def findings(cls, holdout: str, lock: dict, runs: list[dict]) -> list[dict]:
        asked = lock["studies"]["overtaking"]
        if asked["holdout"] != holdout:
            return []
        done = scored(runs, holdout)
        title = f"Where more of {asked['dirty']} overtakes {asked['clean']}, on {text_of(holdout)}"
        sentence, figures = _answer(holdout, asked, of_study(done, None), of_study(done, cls.key))
        return [finding("crossing", title, holdout, [sentence], **figures)]


def _foretold(holdout: str, asked: dict, runs: list[dict]) -> fits.Overtaking | str:
    """Or why nothing is foretold."""
    if any(run.get("tags") for run in runs):
        return "the grid has further axes; a crossing is foretold of one setting"
    try:
        grid = grid_of(holdout, runs)
        curves = fits.Curves(grid, [asked["dirty"], asked["clean"]])
        return fits.overtaking(grid, curves, asked["dirty"], asked["clean"], asked["clean_tokens"])
    except fits.FitError as error:
        return str(error)


def _sizes(foretold: fits.Overtaking, most: int) -> list[int]:
    """Empty where the crossing is beyond what may be trained."""
    if foretold.kind in ("never", "too far") or foretold.tokens > most:
        return []
    return sorted({min(most, int(float(f"{foretold.tokens * times:.2g}"))) for times in AROUND})


# ------------------------------------------------------------------------------------------- the finding


def _answer(holdout: str, asked: dict, grid_runs: list[dict], runs: list[dict]) -> tuple[str, dict[str, Any]]:
    """(the sentence, its figures): what is foretold, and what runs find as far as they are there."""
    mine = [run for run in grid_runs if run["level"] in (asked["dirty"], asked["clean"])]
    foretold = _foretold(holdout, asked, mine) if mine else "the runs of the grid are not there yet"
    if isinstance(foretold, str):
        return f"No crossing is foretold: {foretold}.", {}
    figures: dict[str, Any] = {"foretold": finite(vars(foretold))}
    clean = f"{short_count(foretold.clean_tokens)} tokens of {foretold.clean}"
    by_law = f"By the laws of the grid {foretold.dirty} overtakes {clean}"
    sizes = _sizes(foretold, asked["most"])
    if not sizes:
        where = "never" if foretold.kind == "never" else f"from {_interval(foretold)} tokens"
        allowed = f"the {short_count(asked['most'])} that [overtaking] allows"
        return f"{by_law} {where}, which is not within {allowed}; so no run looks for it.", figures
    by_law += f" from {_interval(foretold)} tokens"
    grid = grid_of(holdout, [run | {"level": run["of"]} for run in runs]) if runs else None
    if grid is None or not _trained(grid, foretold, sizes):
        return f"{by_law}; the runs that look for it are not there yet.", figures
    measured = fits.measured_crossing(grid, asked["dirty"], asked["clean"], asked["clean_tokens"])
    at = f"runs at {', '.join(map(short_count, sizes))} tokens of {asked['dirty']}"
    figures |= {"found": finite(vars(measured)), "caveats": grid.caveats}
    return f"{by_law}; {at} find it {_verdict(foretold, measured)}.", figures


def _trained(grid: fits.Grid, foretold: fits.Overtaking, sizes: list[int]) -> bool:
    there = {(point.level, point.tokens) for point in grid.points}
    return {(foretold.dirty, size) for size in sizes} | {(foretold.clean, foretold.clean_tokens)} <= there


def _interval(crossing: fits.Overtaking) -> str:
    return count_text(crossing.tokens, crossing.low, crossing.high)


def _verdict(foretold: fits.Overtaking, measured: fits.Overtaking) -> str:
    """Two intervals that do not meet refute the forecast; two that do are all that so few runs can say for it."""
    if measured.kind != "measured":
        return "below all of these" if measured.kind == "at most" else "above all of these"
    apart = measured.high < foretold.low or measured.low > foretold.high
    return f"at {_interval(measured)}: {'not ' if apart else ''}as foretold"
