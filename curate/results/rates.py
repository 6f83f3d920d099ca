"""Levels, or changes of a knob, each at the best of the learning rates that were tried.

Which rate is best differs from one to the next, so that a ranking at one rate may be the ranking of rates. The best is
chosen by the loss on the text that was learned from, so that the held-out text chooses nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

RATE = "optimizer.learning_rate"


def at_best_rate(
    runs: list[dict], name: Callable[[dict], str], rate: Callable[[dict], float]
) -> tuple[list[dict], dict[str, float]]:
    """(the runs of every name at the best of its rates, that rate by name where there were several).

    Best at the largest size, at the end of training, over the seeds that ran at every rate.
    """
    tried: dict[str, dict[float, list[dict]]] = {}
    for run in runs:
        tried.setdefault(name(run), {}).setdefault(rate(run), []).append(run)
    kept, best = [], {}
    for key, by_rate in tried.items():
        most = max(map(len, by_rate.values()))
        whole = {r: some for r, some in by_rate.items() if len(some) == most}
        chosen = min(whole, key=lambda r: _last_loss(whole[r]) if len(whole) > 1 else 0.0)
        kept += whole[chosen]
        if len(by_rate) > 1:
            best[key] = chosen
    return kept, best


def _last_loss(runs: list[dict]) -> float:
    largest = max(run["size"] for run in runs)
    return float(np.mean([run["train_loss"]["tail"] for run in runs if run["size"] == largest]))


def of_grid(runs: list[dict], series: Callable[[dict], str]) -> tuple[list[dict], dict[str, float]]:
    """The runs of a grid whose learning rate is an axis, as if it were none: each series at its best rate. Empty where
    one rate was tried, or a run does not know its loss in training."""
    rated = [run for run in runs if RATE in run.get("tags", {})]
    if len({run["tags"][RATE] for run in rated}) < 2 or not all("train_loss" in run for run in rated):
        return [], {}
    bare = [
        run | {"tags": {k: v for k, v in run["tags"].items() if k != RATE}, "rate": run["tags"][RATE]}
        for run in rated
    ]
    return at_best_rate(bare, series, lambda run: run["rate"])
