"""All targets together: their mean with an interval, what each says, and which are too noisy to say anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curate.results.answers import finite
from curate.results.finding import finding, table
from curate.results.scores import (
    at_most_tokens,
    document_tokens,
    first_setting,
    grid_of,
    group_numbers,
    levels_of,
    nats_of,
    series_name,
    series_of,
)
from curate.results.words import difference_text, figure_text
from train import fits

CLEAR = 2.0  # signal against noise, below which a target is called noisy


def targets_finding(lock: dict, runs: list[dict]) -> dict | None:
    """Of the levels against the first, in the first setting, at the largest size that all have; None without targets."""
    names = [name for name, about in lock["holdouts"].items() if "target" in about]
    runs = [run for run in runs if run.get("losses") and set(names) <= set(run["losses"])]
    if not names or not runs:
        return None
    runs = at_most_tokens(first_setting(runs))
    levels, series = levels_of(lock, runs), series_of(runs)
    if len(levels) < 2:
        return None
    pairs = [(series[level], series[levels[0]]) for level in levels[1:]]
    grids = {name: grid_of(name, runs) for name in names} | {"mean of all": _mean(names, runs)}
    rows = [
        {
            "target": name,
            "noise": _noise(grid),
            "differences": [finite(vars(d)) for d in fits.differences(grid, pairs)],
        }
        for name, grid in grids.items()
    ]
    choices = [row for name in names if (row := _accuracy(name, runs, series))]
    tables = [_table(rows, levels)] + ([_choices_table(choices, levels)] if choices else [])
    sentences = list(_sentences(rows, levels))
    return finding("targets", "The targets together", "", sentences, tables, rows=rows, accuracy=choices)


def _noise(grid: fits.Grid) -> float | None:
    """How many times one run's noise the levels differ by."""
    try:
        return fits.signal_to_noise(grid).ratio
    except fits.FitError:
        return None


def _mean(names: list[str], runs: list[dict]) -> fits.Grid:
    """Every target with the same weight, in bits per byte."""
    points, units = [], []
    for run in runs:
        pieces = [_scaled(name, run, len(names)) for name in names]
        known = [nats for nats, _ in pieces if nats is not None]
        loss = sum(run["losses"][name]["bits_per_byte"] for name in names) / len(names)
        nats = np.concatenate(known) if len(known) == len(names) else None
        points.append(fits.Point(series_name(run), run["size"], run["seed"], loss, nats))
        units = [share for _, share in pieces]
    there = [share for share in units if share is not None]
    return fits.Grid(points, np.concatenate(there) if len(there) == len(names) else None)


def _scaled(name: str, run: dict, targets: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(each group's part of the mean loss over targets, its part of what the loss is per)."""
    nats, tokens, group = nats_of(name, run), document_tokens(name, run), group_numbers(name, run)
    if nats is None or tokens is None or group is None:
        return None, None
    bits = run["losses"][name]["bits_per_byte"] / run["losses"][name]["nats_per_token"]
    nats, tokens = np.bincount(group, nats), np.bincount(group, tokens)
    return nats * bits / tokens.sum() / targets, tokens / tokens.sum() / targets


def _accuracy(name: str, runs: list[dict], series: dict[str, str]) -> dict | None:
    """Share of questions whose right choice is the likeliest, by level, with intervals over seeds and questions."""
    points = []
    for run in runs:
        path = Path(run.get("directory") or "") / f"right-{name}.npy"
        if not path.is_file():
            return None
        right = np.load(path) + 1.0  # a grid knows no zero
        points.append(fits.Point(series_name(run), run["size"], run["seed"], float(right.mean()), right))
    grid = fits.Grid(points, np.ones(len(right)))
    means = {level: fits.mean(grid, one, grid.tokens[-1]) for level, one in series.items()}
    return {
        "target": name,
        "levels": {
            level: [m.value - 1, max(0.0, m.low - 1), min(1.0, m.high - 1)] for level, m in means.items()
        },
    }


def _table(rows: list[dict], levels: list[str]) -> dict:
    columns = ["Text", *(f"{level} against {levels[0]}" for level in levels[1:]), "Signal / noise"]
    noise = ["–" if row["noise"] is None else f"{row['noise']:.1f}" for row in rows]
    differences = [map(difference_text, row["differences"]) for row in rows]
    cells = [[row["target"], *some, ratio] for row, some, ratio in zip(rows, differences, noise, strict=True)]
    return table("Difference in nats per token; of the mean, in bits per byte", columns, cells)


def _choices_table(rows: list[dict], levels: list[str]) -> dict:
    cells = [[row["target"], *(figure_text(*row["levels"][level]) for level in levels)] for row in rows]
    return table(
        "Share of questions whose right choice is the likeliest per byte", ["Target", *levels], cells
    )


def _sentences(rows: list[dict], levels: list[str]):
    last = rows[-1]["differences"][-1]
    verdict = "" if last["distinguishable"] else ", not distinguishable"
    yield (
        f"Over {len(rows) - 1} targets of equal weight, {levels[-1]} differs from {levels[0]} by {difference_text(last)} "
        f"bits per byte{verdict}."
    )
    noisy = [row["target"] for row in rows[:-1] if row["noise"] is not None and row["noise"] < CLEAR]
    if noisy:
        yield f"Too noisy to tell the levels apart at this size: {', '.join(noisy)}."
