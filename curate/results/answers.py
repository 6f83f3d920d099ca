"""From runs to answers on one holdout: curves, exchange rates, differences; every figure with its interval.

Runs are named by level and setting (their place on further axes of the grid); levels are compared within a setting.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import numpy as np

from curate.results.influence import influence
from curate.results.scores import grid_of, series_name, setting
from train import fits

CURVE_POINTS = 40


def place(run: dict) -> tuple:
    return run["level"], setting(run), run["size"], run["seed"]


def in_order(lock: dict, runs: list[dict]) -> list[dict]:
    """Those of the manifest's first level first."""
    order = {level["name"]: i for i, level in enumerate(lock["levels"])}
    return sorted(runs, key=lambda run: (order.get(run["level"], len(order)), *place(run)))


def holdout_answers(name: str, lock: dict, runs: list[dict]) -> dict:
    """Curves, differences and exchange rates on one holdout."""
    below = {level["name"]: level["on"] for level in lock["levels"]}
    runs = in_order(lock, runs)
    grid = grid_of(name, runs)
    # Which documents were held out moves all curves together: shown beside each other, they go without.
    here = grid_of(name, runs, documents=False)
    series = {series_name(run): {"level": run["level"], "setting": setting(run)} for run in runs}
    # Bits per byte and nats per token differ by one factor a holdout: the tokenizer is the same for all runs.
    one = runs[0]["losses"][name]
    settings: dict[str, list[str]] = {}
    for s, where in series.items():
        settings.setdefault(where["setting"], []).append(s)
    groups = list(settings.values())
    # What the others of a setting are measured against: the first level trained in it.
    firsts = {s: settings[where["setting"]][0] for s, where in series.items()}
    curves = _curves(here, groups)
    foretold = {s: loss for group in groups for s, loss in fits.foretold(grid, group).items()}
    against = [(s, first) for s, first in firsts.items() if s != first]
    bytes_a_token = {s: _bytes_a_token(lock, where["level"]) for s, where in series.items()}
    exchange = _comparisons(grid, against, bytes_a_token)
    steps = [(s, base) for s in series if (base := _below(series, s, below)) and base != firsts[s]]
    return {
        "level": lock["holdouts"][name].get("level"),
        "documents": one["documents"],
        "groups": lock["holdouts"][name].get("groups"),
        "influence": {s: influence(name, runs, s, first) for s, first in against},
        "tokens": one["tokens"],
        "bits_per_byte_a_nat": one["bits_per_byte"] / one["nats_per_token"],
        "sizes": grid.tokens,
        "levels": {
            s: where | _series(here, curves.get(s), s, foretold.get(s), _trigrams(name, runs, s))
            for s, where in series.items()
        },
        "exchange": exchange,
        "steps": _comparisons(grid, steps, bytes_a_token),
        "along": {f"{s} against {of}": _along(grid, s, of) for s, of in against},
        "overtaking": _overtaking(grid, lock, series, groups),
        "forms": {curve.levels[0]: vars(curve.form) for curve in dict.fromkeys(curves.values())},
        "foretold": {name: vars(forecast) for name, forecast in foretold.items()},
        "documents_shared": max(run.get("documents_shared", 1.0) for run in runs),
        "caveats": grid.caveats,
    }


def _curves(grid: fits.Grid, groups: list[list[str]]) -> dict[str, fits.Curves]:
    """By series: the laws of its setting, which may share the exponent. A series of one size has none."""
    by_series: dict[str, fits.Curves] = {}
    for group in groups:
        with suppress(fits.FitError):
            curves = fits.Curves(grid, group)
            by_series |= dict.fromkeys(curves.levels, curves)
    return by_series


def _below(series: dict, name: str, below: dict[str, str | None]) -> str | None:
    """The nearest level under this one that was trained in the same setting."""
    trained = {s["level"]: n for n, s in series.items() if s["setting"] == series[name]["setting"]}
    level = below.get(series[name]["level"])
    while level and level not in trained:
        level = below.get(level)
    return trained[level] if level else None


def _trigrams(name: str, runs: list[dict], series: str) -> dict[int, float]:
    """By size: nats per token of a trigram that read what the runs of this series read, mean over seeds."""
    by_size: dict[int, list[float]] = {}
    for run in runs:
        if series_name(run) == series and name in run.get("trigram", {}):
            by_size.setdefault(run["size"], []).append(run["trigram"][name])
    return {size: float(np.mean(losses)) for size, losses in by_size.items()}


def _series(
    grid: fits.Grid,
    curves: fits.Curves | None,
    series: str,
    forecast: fits.Foretold | None,
    trigrams: dict[int, float],
) -> dict:
    """Means by size, and the law with its curve. A law that did not foretell the largest size gets no interval: what is
    wrong with it is not noise."""
    tokens = sorted({p.tokens for p in grid.points if p.level == series})
    points: list[dict[str, Any]] = []
    for size in tokens:
        mean = fits.mean(grid, series, size)
        seeds = {str(p.seed): p.loss for p in grid.points if p.level == series and p.tokens == size}
        interval = {"mean": mean.value, "low": mean.low, "high": mean.high}
        points.append({"tokens": size, **interval, "seeds": seeds, "trigram": trigrams.get(size)})
    if curves is None:
        return {"points": points, "curve": [], "law": None}
    fit = curves.fit(series)
    for point in points:
        point["residual"] = fit.residuals[point["tokens"]]
    at = np.geomspace(tokens[0], tokens[-1], CURVE_POINTS)
    low, high = curves.band(series, at)
    curve = [list(map(float, row)) for row in zip(at, fit.law.loss(at), low, high, strict=True)]
    fails = forecast is not None and forecast.fails
    E, b = ((None, None) if fails else (one.low, one.high) for one in (fit.E, fit.b))
    return {
        "points": points,
        "curve": curve,
        "law": {
            "E": fit.law.E, "E_low": E[0], "E_high": E[1], "b": fit.law.b, "b_low": b[0], "b_high": b[1],
            "foretells": None if forecast is None else not fails, "at_bound": list(fit.law.at_bound),
            "largest_residual": fit.law.largest_residual,
        },
    }  # fmt: skip


def _comparisons(
    grid: fits.Grid, pairs: list[tuple[str, str]], bytes_a_token: dict[str, float | None]
) -> list[dict]:
    """Exchange rate, by tokens and by bytes, and difference of every pair, the differences also corrected for their
    number; None where the runs cannot say, with the reason."""
    answers: list[dict[str, Any]] = [
        {"level": s, "of": of, "rate": None, "per_byte": None, "difference": None} for s, of in pairs
    ]
    possible = []
    for answer in answers:
        pair = (answer["level"], answer["of"])
        try:
            fits.difference(grid, *pair)
            possible.append(pair)
            answer["rate"] = finite(vars(fits.exchange_rate(grid, *pair)))
            answer["per_byte"] = _per_byte(answer["rate"], *(bytes_a_token[s] for s in pair))
        except fits.FitError as error:
            answer["why_not"] = str(error)
    differences = {(d.level, d.than): finite(vars(d)) for d in fits.differences(grid, possible)}
    return [answer | {"difference": differences.get((answer["level"], answer["of"]))} for answer in answers]


def _per_byte(rate: dict, ours: float | None, theirs: float | None) -> dict | None:
    """What one byte of a level is worth in bytes, from what one token is worth in tokens."""
    if not ours or not theirs:
        return None
    scaled = {k: None if rate[k] is None else rate[k] * theirs / ours for k in ("rate", "low", "high")}
    return scaled | {"kind": rate["kind"], "bytes_a_token": ours, "bytes_a_token_of": theirs}


def _bytes_a_token(lock: dict, level: str) -> float | None:
    """Of the level's largest corpus."""
    corpora = [c for c in lock.get("corpora", []) if c["level"] == level]
    largest = max(corpora, key=lambda c: c["tokens"], default=None)
    return largest["bytes"] / largest["tokens"] if largest else None


def _along(grid: fits.Grid, level: str, of: str) -> list[dict]:
    """The exchange rate at each of the losses that `of` went through."""
    try:
        return [finite(vars(rate)) for rate in fits.exchange_rates(grid, level, of)]
    except fits.FitError:
        return []


def _overtaking(grid: fits.Grid, lock: dict, series: dict, groups: list[list[str]]) -> list[dict]:
    """For every level that keeps less than the first: where the first, with all its tokens, overtakes it."""
    available = available_tokens(lock)
    answers = []
    for group in groups:
        dirty = group[0]
        for clean in group[1:]:
            have = available.get(series[clean]["level"])
            bigger = available.get(series[dirty]["level"])
            if not have or not bigger or bigger <= have:
                continue
            answer: dict[str, Any] = {
                "dirty": dirty,
                "clean": clean,
                "clean_tokens": have,
                "dirty_tokens": bigger,
            }
            try:
                answer |= finite(vars(fits.overtaking(grid, fits.Curves(grid, group), dirty, clean, have)))
            except fits.FitError as error:
                answer["why_not"] = str(error)
            answers.append(answer)
    return answers


def available_tokens(lock: dict) -> dict[str, int]:
    """Level -> tokens that all of its text comes to, from the bytes a token of its largest corpus has."""
    rates = {level["name"]: _bytes_a_token(lock, level["name"]) for level in lock["levels"]}
    return {
        level["name"]: round(level["bytes"] / rate)
        for level in lock["levels"]
        if (rate := rates[level["name"]])
    }


def finite(values: dict) -> dict:
    """JSON has no infinity: an open end is null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
