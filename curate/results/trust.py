"""What the whole grid can tell: signal against noise, the largest size foretold from the smaller ones, and the seeds that
would settle what is open."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from curate.results.answers import finite, in_order
from curate.results.finding import finding
from curate.results.scores import first_of_setting, grid_of
from curate.results.tuning import tuned
from curate.results.words import text_of
from train import fits

RATE = "optimizer.learning_rate"


def trust_finding(name: str, lock: dict, runs: list[dict]) -> list[dict]:
    if not runs:
        return []
    runs = in_order(lock, runs)
    return [_trust(name, grid_of(name, runs), runs)]


def wants_more(lock: dict, runs: list[dict], most: int) -> bool:
    """Whether a comparison with the first level is open on some holdout that so many seeds would settle. Where a run is
    missing, more are not asked for."""
    if any("losses" not in run for run in runs):
        return False
    done, _ = tuned(runs)
    for holdout in lock["holdouts"]:
        mine = [run for run in done if holdout in run["losses"]]
        grid = grid_of(holdout, mine)
        if any(row["seeds"] and row["seeds"] <= most for row in _open(grid, _pairs(mine))):
            return True
    return False


def _trust(name: str, grid: fits.Grid, runs: list[dict]) -> dict:
    title = f"How far to trust this, on {text_of(name)}"
    figures: dict[str, Any] = {}
    sentences = [*_scope_sentences(grid, runs), _foretold_sentence(grid)]
    pairs = _pairs(runs)
    try:
        noise = fits.signal_to_noise(grid, max(1, len(pairs)))
    except fits.FitError as error:
        return finding("trust", title, name, [*sentences, f"Signal against noise is not known: {error}."])
    figures["signal"] = finite(vars(noise) | {"ratio": noise.ratio})
    sentences.append(
        f"Signal: levels differ by up to {noise.signal:.3f} nats at {noise.tokens:,} tokens; noise: one run differs from "
        f"another by {noise.noise:.4f}; signal / noise {noise.ratio:.1f}. With {noise.seeds} seeds this grid finds "
        f"differences of {noise.smallest:.3f} nats four times in five, {len(pairs)} comparisons corrected for."
    )
    rows = _open(grid, pairs)
    figures["open"] = rows
    if rows:
        sentences.append(f"Open: {'; '.join(row['sentence'] for row in rows)}.")
    elif pairs:
        sentences.append("Every comparison with the first level is settled.")
    return finding("trust", title, name, sentences, **figures)


def _scope_sentences(grid: fits.Grid, runs: list[dict]) -> list[str]:
    """What intervals and rankings hold for, and what they leave out."""
    known = {"training seeds": grid.noise, "the choice of held-out documents": grid.documents}
    covered = " and ".join(what for what, there in known.items() if there) or "nothing (one seed)"
    looks = max(1, runs[0].get("looks", 1))
    percent = 100 * (1 - looks * (1 - grid.confidence))
    intervals = f"Intervals of {percent:.0f} % cover {covered}. {_documents_sentence(grid, runs)}"
    if looks > 1:
        intervals += (
            f" Seeds were added until levels were told apart, with at most {looks} looks. So every interval is one of "
            f"{100 * grid.confidence:.1f} %, and holds whenever that stopped."
        )
    return [sentence for sentence in (intervals, _rate_sentence(runs)) if sentence]


def _documents_sentence(grid: fits.Grid, runs: list[dict]) -> str:
    """Whether the choice of documents to train on is part of what the intervals hold."""
    if grid.noise is None:
        return (
            "They leave out which documents of a level were drawn to train on, as one seed read one choice."
        )
    shared = {
        run["level"]: run.get("documents_shared", 1.0) for run in runs if run.get("documents_shared", 1.0)
    }
    if not shared:
        return "Every seed reads its own documents, so they also cover which documents of a level were drawn to train on."
    if min(shared.values()) >= 1:
        return "They leave out which documents of a level were drawn to train on: every seed reads the same ones."
    levels = ", ".join(f"{level} {share:.0%}" for level, share in shared.items())
    return f"Where a level is too small seeds share what they read ({levels}), and intervals leave out that choice."


def _rate_sentence(runs: list[dict]) -> str:
    """Rankings of corpora can flip with the learning rate: the finding on tuning says whether they do."""
    if any(knob == RATE for run in runs for knob, _ in run.get("trained_with", ())):
        return ""
    return (
        "All levels are trained at one learning rate, so the ranking is conditional on it; learning_rate = [a, b, c] in "
        "[grid.optimizer] trains several and takes each level at its best."
    )


def _foretold_sentence(grid: fits.Grid) -> str:
    forecasts = fits.foretold(grid, list(grid.levels))
    if not forecasts:
        return "The largest size is not foretold from the smaller ones: that takes four sizes."
    worst = max(forecasts.items(), key=lambda item: item[1].error)
    typical = math.exp(np.mean([math.log(max(forecast.error, 1e-9)) for forecast in forecasts.values()]))
    inside = sum(forecast.low <= 0 <= forecast.high for forecast in forecasts.values())
    return (
        f"The loss at {worst[1].tokens:,} tokens, foretold from the smaller sizes alone, is off by {100 * typical:.2f} % "
        f"as a rule and by {100 * worst[1].error:.2f} % at worst ({worst[0]}: foretold {worst[1].predicted:.3f}, measured "
        f"{worst[1].measured:.3f}); {inside} of {len(forecasts)} intervals of that error hold 0."
    )


def _pairs(runs: list[dict]) -> list[tuple[str, str]]:
    return [(name, first) for name, first in first_of_setting(runs).items() if name != first]


def _open(grid: fits.Grid, pairs: list[tuple[str, str]]) -> list[dict]:
    """What is not settled, and the seeds that would settle it if the difference is what it seems."""
    assert grid.noise is not None, "asked only where noise is known"
    rows = []
    for level, than in pairs:
        try:
            gap = fits.differences(grid, [(level, than)])[0]
        except fits.FitError:
            continue
        if gap.distinguishable:
            continue
        spread = fits.document_spread(grid, level, than, gap.tokens)
        sigma = grid.noise.sigma_of(map(grid.levels.index, (level, than)))
        about = len(pairs), len(grid.levels), grid.confidence
        seeds = fits.seeds_needed(gap.value, sigma, spread, *about)
        if seeds:
            needs = f"{seeds} seeds would settle it"
        elif fits.seeds_needed(gap.value, sigma, 0.0, *about):
            needs = "more held-out documents would settle it, more seeds would not"
        else:
            needs = f"no {fits.MOST_SEEDS} seeds would settle it, so small is the difference"
        size = f"{gap.value:+.4f}".replace("-", "−")
        sentence = f"{level} against {than} ({size} nats at {gap.tokens:,} tokens): {needs}"
        rows.append(
            {"level": level, "than": than, "difference": gap.value, "seeds": seeds, "sentence": sentence}
        )
    return rows
