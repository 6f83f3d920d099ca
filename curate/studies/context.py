"""What a structure gains from its context: its loss by position, less that of a reference that sees little.

What stands at a position is the same text for every model, so the difference to a reference is the model's own doing,
while a loss that falls from one position to the next may only say that beginnings of documents are hard.

The reference is the shortest window among the changes, or else the LSTM, whose memory is of fixed size; without either
there is nothing to tell but the table. Intervals are those of `train.fits` with positions in the place of sizes: windows
of text drawn for all alike, seeds by run.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from curate.results.finding import finding, table
from curate.results.words import text_of
from train import fits

WINDOW, LSTM = "model.window = ", "model.mixer = lstm"


def context_finding(name: str, base: str, uses: dict[str, list[tuple[int, dict]]]) -> dict | None:
    """`uses`: change -> (seed, what its run does with its context). None where no reference stands among them."""
    short = sorted(
        (change for change in uses if change.startswith(WINDOW)),
        key=lambda one: int(one.removeprefix(WINDOW)),
    )
    short = short or [change for change in uses if change == LSTM]
    whole = all("by_window" in used for some in uses.values() for _, used in some)
    if not short or not whole or len(uses) < 2:
        return None
    reference = short[0]
    edges = next(iter(uses.values()))[0][1]["edges"]
    grid = _grid(uses, edges)
    gains = {change: _gain(grid, change, reference) for change in uses if change != reference}
    stops = {change: _stops(grid, gain_NE) for change, gain_NE in gains.items()}
    sentences = [
        _sentence(change, reference, gains[change], stop, spans(edges), grid)
        for change, stop in stops.items()
    ]
    windows = len(next(iter(uses.values()))[0][1]["by_window"])
    caption = (
        f"How many nats less than {reference} each model needs for the next token, by how many tokens stand before it; "
        f"{windows} windows of {text_of(name)}, bands of 95 %"
    )
    lines = {change: _line(grid, gain_NE) for change, gain_NE in gains.items()}
    return {"module": __name__} | finding(
        "context", f"Where structures stop gaining from context on {text_of(name)}", name, sentences,
        caption=caption, rows=[{"change": change, "stops": stops[change]} for change in gains], edges=edges,
        lines=lines, unit=f"nats less than {reference}", base=base, caveats=grid.caveats,
    )  # fmt: skip


def uses(holdout: str, runs: list[dict], name: Callable[[dict], str]) -> dict[str, list[tuple[int, dict]]]:
    """What runs do with their context, by the change that `name` tells of each: those of what carries information between
    positions, and the base."""
    found: dict[str, list[tuple[int, dict]]] = {}
    for run in runs:
        knob = name(run).partition(" = ")[0]
        used = run.get("context_use", {}).get(holdout)
        if used and knob in ("base", "model.mixer", "model.window", "model.position", "order"):
            found.setdefault(name(run), []).append((run["seed"], used))
    lengths = {used["length"] for some in found.values() for _, used in some}
    return found if len(lengths) == 1 else {}


def positions(uses: dict[str, list[tuple[int, dict]]]) -> list[dict]:
    """Loss by position as a table."""
    if not uses:
        return []
    rows = [
        [change, *(f"{nats:.2f}" for nats in np.mean([used["nats"] for _, used in some], 0))]
        for change, some in uses.items()
    ]
    caption = "Nats per token by how many tokens stand before it, in documents as long as the window, mean over seeds"
    edges = next(iter(uses.values()))[0][1]["edges"]
    return [table(caption, ["Position", *spans(edges)], rows)]


def spans(edges: list[int]) -> list[str]:
    """How many tokens stand before, in words."""
    return [f"{a} to {b - 1}" if b > a + 1 else str(a) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _grid(uses: dict[str, list[tuple[int, dict]]], edges: list[int]) -> fits.Grid:
    points = []
    for change, some in uses.items():
        for seed, used in some:
            nats_BE = np.array(used["by_window"], float)
            for edge, nats_B in zip(edges[:-1], nats_BE.T, strict=True):
                points.append(fits.Point(change, edge + 1, seed, float(nats_B.mean()), nats_B))
    return fits.Grid(points)


def _gain(grid: fits.Grid, change: str, reference: str) -> np.ndarray:
    """[replicate, position]"""
    return grid.means_ND(reference, change)[1] - grid.means_ND(change, reference)[1]


def _line(grid: fits.Grid, gain_NE: np.ndarray) -> dict[str, list[float]]:
    low, high = zip(*(grid.interval(gain_N) for gain_N in gain_NE.T), strict=True)
    return {"value": gain_NE[0].tolist(), "low": list(low), "high": list(high)}


def _stops(grid: fits.Grid, gain_NE: np.ndarray) -> int | None:
    """The first span behind which no later one has a distinguishably larger gain; None where nothing is gained at all."""
    if all(grid.interval(gain_N)[0] <= 0 for gain_N in gain_NE.T):
        return None
    for place in range(gain_NE.shape[1]):
        later = gain_NE[:, place + 1 :] - gain_NE[:, [place]]
        if all(grid.interval(more_N)[0] <= 0 for more_N in later.T):
            return place
    raise AssertionError("behind the last span there is nothing")


def _sentence(
    change: str, reference: str, gain_NE: np.ndarray, stop: int | None, spans: list[str], grid: fits.Grid
) -> str:
    if stop is None:
        return f"{change}: gains nothing distinguishable from context anywhere."
    low, high = grid.interval(gain_NE[:, stop])
    gain = f"{gain_NE[0, stop]:.2f} [{low:.2f}, {high:.2f}] nats over {reference}"
    if stop == len(spans) - 1:
        return f"{change}: still gains from context at its last tokens ({spans[stop]} before it), {gain}."
    return (
        f"{change}: gains {gain} where {spans[stop]} tokens stand before it; more context than that adds nothing "
        "distinguishable."
    )
