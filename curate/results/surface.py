"""Model size and compute: loss by parameters at equal compute, the law L(N, D) of every level, and the best level for a
compute.

At equal compute (isoFLOP curves, Hoffmann et al. 2022, approach 2): a model's loss at the tokens that a budget buys it,
between those that it was measured at, on logarithmic scales; the best model by a parabola over log parameters. This takes no
law.

Shapes: N replicate, the first of which is measured; D size; M model; C compute budget.
"""

from __future__ import annotations

import numpy as np

from curate.quantities import short_count
from curate.results.answers import in_order
from curate.results.finding import finding, table
from curate.results.scores import grid_of, series_name
from curate.results.words import count_text, figure_text, text_of
from train import fits

REPLICATES = 100
BUDGETS = 13  # compute budgets of a frontier, from the smallest to ten times the largest that was trained
MODELS, CURVES = 3, 4  # models that a curve of equal compute needs, curves of a level at most
FLAT = 0.05  # an exponent so small says that a quantity does next to nothing: the law would trade it away for nothing


def surface_finding(name: str, lock: dict, runs: list[dict]) -> list[dict]:
    """Nothing is said where the grid has one model."""
    if len({run["parameters"] for run in runs}) < 2:
        return []
    runs = in_order(lock, runs)
    grid = grid_of(name, runs)
    title = f"Model size and compute, on {text_of(name)}"
    levels, fitted, why_not = list(dict.fromkeys(run["level"] for run in runs)), {}, {}
    for level in levels:
        try:
            fitted[level] = _surface(grid, [run for run in runs if run["level"] == level])
        except fits.FitError as error:
            why_not[level] = str(error)
    curves = [
        curve for level in levels for curve in _isoflops(grid, [r for r in runs if r["level"] == level])
    ]
    sentences = _isoflop_sentences(curves)
    sentences += [f"{level}: no law of L(N, D): {why}." for level, why in why_not.items()]
    if not fitted:
        return [finding("surface", title, name, sentences, rows=curves)]
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
            frontier=frontier, why_not=why_not, rows=curves,
        )
    ]  # fmt: skip


def _isoflops(grid: fits.Grid, runs: list[dict]) -> list[dict]:
    """Of a level, for budgets that MODELS models or more were trained around: the loss of each at that compute, with its
    interval, and the parameters of least loss; `best` is None where that is no minimum between them."""
    models: dict[tuple[int, str], tuple[np.ndarray, np.ndarray]] = {}
    for series in dict.fromkeys(map(series_name, runs)):
        mine = {run["size"]: run for run in runs if series_name(run) == series}
        size_D, loss_ND = grid.means_ND(series)
        flops_D = np.array([mine[int(size)]["flops"] for size in size_D], float)
        models[next(iter(mine.values()))["parameters"], series] = flops_D, loss_ND
    ends = np.array(sorted({end for flops_D, _ in models.values() for end in (flops_D[0], flops_D[-1])}))
    around = [c for c in np.geomspace(ends[0], ends[-1], 4 * CURVES) if _many_cover(c, models)]
    chosen = (
        [around[i] for i in np.unique(np.linspace(0, len(around) - 1, CURVES).round().astype(int))]
        if around
        else []
    )
    return [_isoflop(grid, runs[0]["level"], budget, models) for budget in chosen]


def _many_cover(budget: float, models: dict) -> bool:
    return sum(flops_D[0] <= budget <= flops_D[-1] for flops_D, _ in models.values()) >= MODELS


def _isoflop(grid: fits.Grid, level: str, budget: float, models: dict) -> dict:
    there = {n: at for (n, _), at in sorted(models.items()) if at[0][0] <= budget <= at[0][-1]}
    at = np.log(budget)
    loss_NM = np.array([
        [np.exp(np.interp(at, np.log(flops_D), np.log(loss_D))) for loss_D in loss_ND] for flops_D, loss_ND in there.values()
    ]).T  # fmt: skip
    parameters = np.array(list(there), float)
    best_N = np.array([_least(parameters, loss_M) for loss_M in loss_NM])
    known = grid.noise is not None
    bands = [grid.interval(loss_N) if known else (None, None) for loss_N in loss_NM.T]
    inside = parameters[0] <= best_N[0] <= parameters[-1]
    low, high = grid.interval(np.clip(best_N, parameters[0], parameters[-1])) if known else (None, None)
    return {
        "level": level, "flops": float(budget), "at": parameters.tolist(), "value": loss_NM[0].tolist(),
        "low": [low for low, _ in bands], "high": [high for _, high in bands],
        "best": float(best_N[0]) if inside else None, "best_low": low, "best_high": high,
    }  # fmt: skip


def _least(parameters: np.ndarray, loss_M: np.ndarray) -> float:
    """Where a parabola over log parameters is least; 0 or infinity where it falls all along to that end."""
    square, slope, _ = np.polyfit(np.log(parameters), loss_M, 2)
    at = float(np.exp(-slope / (2 * square))) if square > 0 else np.inf
    if square > 0 and parameters[0] <= at <= parameters[-1]:
        return at
    return np.inf if loss_M[-1] < loss_M[0] else 0.0


def _isoflop_sentences(curves: list[dict]) -> list[str]:
    sentences = []
    for level in dict.fromkeys(curve["level"] for curve in curves):
        pieces = [_isoflop_text(curve) for curve in curves if curve["level"] == level]
        sentences.append(f"{level}, at equal compute: {'; '.join(pieces)}.")
    return sentences


def _isoflop_text(curve: dict) -> str:
    smallest, largest = curve["at"][0], curve["at"][-1]
    budget = f"{curve['flops']:.2g} FLOPs are best spent on"
    if curve["best"] is None:
        end, which = (
            (smallest, "smallest") if curve["value"][0] < curve["value"][-1] else (largest, "largest")
        )
        return f"{budget} the {which} model that they were tried on, {short_count(end)} parameters"
    if curve["best_low"] is None:
        return f"{budget} {short_count(curve['best'])} parameters"
    low, high = curve["best_low"], curve["best_high"]
    low_text = f"{'below ' if low <= smallest else ''}{short_count(low)}"
    high_text = f"{'above ' if high >= largest else ''}{short_count(high)}"
    return f"{budget} {short_count(curve['best'])} [{low_text}, {high_text}] parameters"


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
