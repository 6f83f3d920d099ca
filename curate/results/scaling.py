"""Model size and compute, and what the whole grid can tell: L(N, D) of every level, the best level for a compute, the
largest size foretold from the smaller ones, signal against noise, and the seeds that would settle what is open."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from curate.results.answers import finite, place
from curate.results.finding import finding, table
from curate.results.scores import first_of_setting, grid_of, series_name
from curate.results.tuning import tuned
from curate.results.words import count_text, figure_text, text_of
from train import fits

REPLICATES = 100
BUDGETS = 13  # compute budgets of a frontier, from the smallest to ten times the largest that was trained
RATE = "optimizer.learning_rate"
FLAT = 0.05  # an exponent so small says that a quantity does next to nothing: the law would trade it away for nothing


def scaling_finding(name: str, lock: dict, runs: list[dict]) -> list[dict]:
    if not runs:
        return []
    order = {level["name"]: i for i, level in enumerate(lock["levels"])}
    runs = sorted(runs, key=lambda run: (order.get(run["level"], len(order)), *place(run)))
    grid = grid_of(name, runs)
    return [*_surfaces(name, grid, runs), _trust(name, grid, runs)]


# ------------------------------------------------------------------------------------------- L(N, D)


def _surfaces(name: str, grid: fits.Grid, runs: list[dict]) -> list[dict]:
    """Nothing is said where the grid has one model."""
    if len({run["parameters"] for run in runs}) < 2:
        return []
    title = f"Model size and compute, on {text_of(name)}"
    levels, fitted, why_not = list(dict.fromkeys(run["level"] for run in runs)), {}, {}
    for level in levels:
        try:
            fitted[level] = _surface(grid, [run for run in runs if run["level"] == level])
        except fits.FitError as error:
            why_not[level] = str(error)
    sentences = [f"{level}: no law of L(N, D): {why}." for level, why in why_not.items()]
    if not fitted:
        return [finding("surface", title, name, sentences)]
    flops = np.array([run["flops"] for run in runs])
    factor = float(np.median([r["flops"] / r["parameters"] / r["tokens_trained"] for r in runs]))
    budgets = np.geomspace(flops.min(), 10 * flops.max(), BUDGETS)
    frontier = {level: [_optimum(fit, c, factor) for c in budgets] for level, fit in fitted.items()}
    sentences += [
        _surface_sentence(level, fit, frontier[level], flops.max(), budgets) for level, fit in fitted.items()
    ]
    sentences += _ahead(fitted, budgets, factor, flops.max(), name)
    rows = [
        [
            f"{c:.2g}",
            *(f"{figure_text(*optimum['loss'])}: {optimum['parameters']:.3g} parameters" for optimum in at),
        ]
        for c, *at in zip(budgets, *frontier.values(), strict=True)
    ]
    caption = (
        f"Best for so many FLOPs ({factor:.1f} a parameter and token); beyond {flops.max():.2g} extrapolated"
    )
    return [
        finding(
            "surface", title, name, sentences, [table(caption, ["FLOPs", *fitted], rows)],
            laws={level: _law_figures(fit) for level, fit in fitted.items()}, budgets=list(map(float, budgets)),
            frontier=frontier, why_not=why_not,
        )
    ]  # fmt: skip


def _surface(grid: fits.Grid, runs: list[dict]) -> dict:
    """The law of a level's cells, and of replicates."""
    cells = {}
    for run in runs:
        cells[(series_name(run), run["size"])] = (run["parameters"], run["tokens_trained"])
    n, d = np.array(list(cells.values()), dtype=float).T
    loss_NR = []
    for series, size in cells:
        tokens_D, loss_ND = grid.means_ND(series)
        loss_NR.append(loss_ND[: REPLICATES + 1, int(np.flatnonzero(tokens_D == size)[0])])
    loss = np.stack(loss_NR, 1)
    law, replicates = fits.fit_surfaces(n, d, loss)
    for what, exponent in (("parameters", law.alpha), ("tokens", law.beta)):
        if exponent < FLAT:
            raise fits.FitError(
                f"the exponent of {what} is {exponent:.2f}, so these runs do not tell what more of them would do; "
                f"widen the range of {what}"
            )
    return {"law": law, "some": replicates, "n": n, "d": d, "known": grid.noise is not None}


def _interval(values: list[float]) -> tuple[float, float, float]:
    return float(values[0]), *fits.interval(np.array(values))


def _optimum(fit: dict, flops: float, factor: float) -> dict:
    laws = (fit["law"], *fit["some"])
    best = [law.best(flops, factor) for law in laws]
    losses = [float(law.loss(*at)) for law, at in zip(laws, best, strict=True)]
    n, n_low, n_high = _interval([at[0] for at in best])
    return {"flops": float(flops), "loss": _interval(losses), "parameters": n, "parameters_low": n_low,
            "parameters_high": n_high, "tokens": float(best[0][1])}  # fmt: skip


def _law_figures(fit: dict) -> dict:
    laws = (fit["law"], *fit["some"])
    names = ("E", "alpha", "beta", "share_of_parameters")
    return {k: _interval([getattr(law, k) for law in laws]) for k in names} | {
        "largest_residual": fit["law"].largest_residual
    }


def _surface_sentence(level: str, fit: dict, frontier: list[dict], most: float, budgets: np.ndarray) -> str:
    f = _law_figures(fit)
    at = frontier[int(np.searchsorted(budgets, most, "right")) - 1]
    inside = fit["n"].min() <= at["parameters"] <= fit["n"].max()
    outside = "" if inside else " (outside of the model sizes that were trained)"
    return (
        f"{level}: L(N, D) with E {figure_text(*f['E'], digits=2)}, alpha {figure_text(*f['alpha'], digits=2)}, beta "
        f"{figure_text(*f['beta'], digits=2)}; for {at['flops']:.2g} FLOPs the best has "
        f"{count_text(at['parameters'], at['parameters_low'], at['parameters_high'])} parameters{outside}, and these "
        f"grow as compute to the power {figure_text(*f['share_of_parameters'], digits=2)}; largest residual "
        f"{100 * f['largest_residual']:.1f} %."
    )


def _ahead(fitted: dict, budgets: np.ndarray, factor: float, most: float, name: str) -> list[str]:
    """How the best level changes with compute."""
    if len(fitted) < 2:
        return []
    pieces: list[str] = []
    last = None
    for c in budgets:
        losses = {
            level: np.array([float(law.loss(*law.best(c, factor))) for law in (fit["law"], *fit["some"])])
            for level, fit in fitted.items()
        }
        best = min(losses, key=lambda level: losses[level][0])
        rivals = [losses[best] - x for level, x in losses.items() if level != best]
        clear = fitted[best]["known"] and all(np.quantile(gap[1:], 0.975) < 0 for gap in rivals)
        state = best if clear else f"no level clearly ({best} by the law)"
        if state != last:
            beyond = " (extrapolated)" if c > most * 1.001 else ""
            pieces.append(f"from {c:.2g} FLOPs{beyond} {state}")
            last = state
    return [f"The best level on {text_of(name)} by compute, each with its best model: {'; '.join(pieces)}."]


# ------------------------------------------------------------------------------------------- trust


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
