"""What runs scored on a holdout, document by document, as fits want it: summed over what is resampled together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from curate.remote import here
from train import fits
from train.tokens.packed import scored_tokens

Loss = Callable[[dict], float]


def setting(run: dict) -> str:
    """A run's place on the axes of the grid besides level, size and seed; empty where there are none."""
    return ", ".join(f"{k} = {v}" for k, v in sorted(run.get("tags", {}).items()))


def series_name(run: dict) -> str:
    return ", ".join(filter(None, [run["level"], setting(run)]))


def first_setting(runs: list[dict]) -> list[dict]:
    """Those at the first place on all axes."""
    first = min(map(setting, runs), default="")
    return [run for run in runs if setting(run) == first]


def levels_of(lock: dict, runs: list[dict]) -> list[str]:
    """Those that runs were trained on, in the order of the manifest."""
    trained = {run["level"] for run in runs}
    return [level["name"] for level in lock["levels"] if level["name"] in trained]


def series_of(runs: list[dict]) -> dict[str, str]:
    """By level, of runs of one setting."""
    return {run["level"]: series_name(run) for run in runs}


def first_of_setting(runs: list[dict]) -> dict[str, str]:
    """Series -> the first that was trained in the same setting."""
    firsts: dict[str, str] = {}
    return {name: firsts.setdefault(setting(run), name) for run in runs for name in (series_name(run),)}


def at_most_tokens(runs: list[dict]) -> list[dict]:
    """The runs at the largest size that every level of them has."""
    sizes: dict[str, set[int]] = {}
    for run in runs:
        sizes.setdefault(run["level"], set()).add(run["size"])
    common = set.intersection(*sizes.values()) if sizes else set()
    return [run for run in runs if run["size"] == max(common)] if common else []


def nats_of(name: str, run: dict) -> np.ndarray | None:
    """Nats of each document of a holdout, where they are still there: with the run, or in its folder."""
    if "nats" in run:
        return run["nats"].get(name)
    path = Path(run["directory"]) / f"holdout-{name}.npy" if run.get("directory") else None
    return np.load(path) if path and path.exists() else None


def packed_holdout(name: str, run: dict) -> Path | None:
    """The folder of packed tokens that a run was scored on, where it is still there."""
    packed = run.get("cell", {}).get("holdouts", {}).get(name)
    return folder if packed and (folder := here(packed)).is_dir() else None


def document_tokens(name: str, run: dict) -> np.ndarray | None:
    """Tokens of each document of a holdout, of each answer of a target, from what the run was scored on, where that is
    still there."""
    packed = packed_holdout(name, run)
    return scored_tokens(packed) if packed and (packed / "documents.npy").exists() else None


def group_numbers(name: str, run: dict) -> np.ndarray | None:
    """int64 [documents]: 0, 1, 2 ... by group; None where each document stands for itself."""
    packed = packed_holdout(name, run)
    path = packed / "resample.npy" if packed else None
    return np.unique(np.load(path), return_inverse=True)[1].reshape(-1) if path and path.exists() else None


def effective_number(weights: np.ndarray) -> float:
    """1 / Σ w²: how many of equal weight would be as good a sample (Kish 1965)."""
    weights = np.asarray(weights, float)
    return float(weights.sum() ** 2 / (weights**2).sum())


def grid_of(
    name: str,
    runs: list[dict],
    documents: bool = True,
    *,
    of: np.ndarray | None = None,
    loss: Loss | None = None,
    place: Callable[[dict], tuple[str, int]] = lambda run: (series_name(run), run["size"]),
    confidence: float = 0.95,
) -> fits.Grid:
    """The runs on one holdout. `of`: numbers of the documents that count, where not all do; then `loss` is theirs.
    Without `documents` intervals leave out which documents were held out.

    Where a grid looks several times whether its levels are told apart, the looks share the chance of error (Bonferroni): so
    intervals hold whenever it stops.
    """
    loss = loss or (lambda run: run["losses"][name]["nats_per_token"])
    tokens, group = document_tokens(name, runs[0]), group_numbers(name, runs[0])
    some: Any = slice(None) if of is None else of

    def summed(values: np.ndarray | None) -> np.ndarray | None:
        if values is None or group is None:
            return None if values is None else values[some]
        return np.bincount(np.unique(group[some], return_inverse=True)[1].reshape(-1), values[some])

    points = [
        fits.Point(*place(run), run["seed"], loss(run), summed(nats_of(name, run)) if documents else None)
        for run in runs
    ]
    looks = max(1, runs[0].get("looks", 1))
    return fits.Grid(points, summed(tokens), confidence=1 - (1 - confidence) / looks)
