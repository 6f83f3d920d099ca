"""Where a bigger, dirtier corpus overtakes a smaller, cleaner one: foretold by the grid's laws, then found by runs."""

from __future__ import annotations

from typing import Any

from curate.quantities import short_count
from curate.report.answers import finite, grid_of
from curate.report.finding import finding
from curate.report.words import count_text
from curate.runs.trials import Trial, crossing_trials
from train import fits

AROUND = (0.5, 1.0, 2.0)  # times the foretold crossing: what is trained to find the true one


def crossing(built: Any, planned: list) -> list[Trial]:
    """Trials around the crossing, once the grid has foretold one that the manifest allows to train."""
    asked = built.annotated.manifest.studies.overtaking
    if not asked:
        return []
    cells = [p for p in planned if not p.study and p.cell["level"] in (asked.dirty, asked.clean)]
    runs = [p.finished() for p in cells]
    if not runs or any(some is None for some in runs):
        return []
    told = _foretold(asked.holdout, vars(asked), [run for some in runs if some for run in some])
    return crossing_trials(asked, _sizes(told, asked.most)) if isinstance(told, fits.Overtaking) else []


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


def _sizes(told: fits.Overtaking, most: int) -> list[int]:
    """Empty where the crossing is beyond what may be trained."""
    if told.kind in ("never", "too far") or told.tokens > most:
        return []
    return sorted({min(most, int(float(f"{told.tokens * times:.2g}"))) for times in AROUND})


def crossing_finding(name: str, lock: dict, grid_runs: list[dict], runs: list[dict]) -> dict:
    asked = lock["studies"]["overtaking"]
    dirty, clean = asked["dirty"], asked["clean"]
    title = f"Where more of {dirty} overtakes {clean}, on held-out {name} text"
    mine = [run for run in grid_runs if run["level"] in (dirty, clean)]
    told = _foretold(name, asked, mine) if mine else "the runs of the grid are not there yet"
    if isinstance(told, str):
        return finding("crossing", title, name, [f"No crossing is foretold: {told}."])
    figures: dict[str, Any] = {"foretold": finite(vars(told))}
    if not (sizes := _sizes(told, asked["most"])):
        where = "never" if told.kind == "never" else f"from {_interval(told)} tokens"
        sentence = (
            f"By the laws of the grid {_overtakes(told)} {where}, which is not within the {short_count(asked['most'])} "
            "that [overtaking] allows; so no run looks for it."
        )
        return finding("crossing", title, name, [sentence], **figures)
    head = f"By the laws of the grid {_overtakes(told)} from {_interval(told)} tokens"
    grid = grid_of(name, [run | {"level": run["of"]} for run in runs]) if runs else None
    if grid is None or not _trained(grid, told, sizes):
        return finding(
            "crossing", title, name, [f"{head}; the runs that look for it are not there yet."], **figures
        )
    met = fits.measured_crossing(grid, dirty, clean, asked["clean_tokens"])
    sentence = f"{head}; runs at {', '.join(map(short_count, sizes))} tokens of {dirty} find it {_verdict(told, met)}."
    figures |= {"found": finite(vars(met)), "caveats": grid.caveats}
    return finding("crossing", title, name, [sentence], **figures)


def _trained(grid: fits.Grid, told: fits.Overtaking, sizes: list[int]) -> bool:
    there = {(point.level, point.tokens) for point in grid.points}
    return {(told.dirty, size) for size in sizes} | {(told.clean, told.clean_tokens)} <= there


def _overtakes(told: fits.Overtaking) -> str:
    return f"{told.dirty} overtakes {short_count(told.clean_tokens)} tokens of {told.clean}"


def _interval(told: fits.Overtaking) -> str:
    return count_text(told.tokens, told.low, told.high)


def _verdict(told: fits.Overtaking, met: fits.Overtaking) -> str:
    """Two intervals that do not meet refute the forecast; two that do are all that so few runs can say for it."""
    if met.kind != "measured":
        return "below all of these" if met.kind == "at most" else "above all of these"
    apart = met.high < told.low or met.low > told.high
    return f"at {_interval(met)}: {'not ' if apart else ''}as foretold"
