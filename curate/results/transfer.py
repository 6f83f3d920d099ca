"""Whether small models rank levels as larger ones do: where a grid trains models of several sizes on the same tokens.

For every smaller model: of all pairs of levels the share that it orders as the largest does. For every pair: how the
difference moves with model size, and the probability that its sign still holds at four times the largest. That is a line
through log parameters, so it needs three sizes, and it is an extrapolation.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from curate.quantities import short_count
from curate.results.finding import finding, table
from curate.results.scores import grid_of, levels_of, setting
from curate.results.words import text_of
from train import fits

AHEAD = 4.0  # times the largest model
ELSEWHERE = (
    "Elsewhere models of 150M parameters order 80 % of pairs of corpora as models of 1B do (DataDecide, Magnusson et al. "
    "2025), and proxies of 15M rank mixtures as 1B does with a correlation above 0.89, of 1M with 0.73 (Olmix, 2026)."
)


def transfer_finding(name: str, lock: dict, runs: list[dict]) -> list[dict]:
    """Nothing where the grid has one model, or one level."""
    parameters = sorted({run["parameters"] for run in runs if "parameters" in run})
    order = levels_of(lock, runs)
    if len(parameters) < 2 or len(order) < 2 or not (used := _comparable(runs, parameters, order)):
        return []
    grid = grid_of(name, used, place=lambda run: (_series(run["level"], run["parameters"]), run["size"]))
    pairs = list(combinations(order, 2))
    gaps_NMP = np.stack([_gaps_NP(grid, pairs, size) for size in parameters], 1)
    rows = [{"parameters": size} | agreement(grid, gaps_NMP[:, number], gaps_NMP[:, -1])
            for number, size in enumerate(parameters[:-1])]  # fmt: skip
    ahead = _ahead(parameters, pairs, gaps_NMP)
    size, largest = used[0]["size"], short_count(parameters[-1])
    sentences = [
        _agreement_sentence(name, rows, largest, size),
        *_ahead_sentences(ahead, parameters),
        ELSEWHERE,
    ]
    columns = ["Levels", *(f"{short_count(m)} parameters" for m in parameters)]
    lines = [
        [f"{a} − {b}", *(_gap_text(grid, gaps_NMP[:, m, p]) for m in range(len(parameters)))]
        for p, (b, a) in enumerate(pairs)
    ]
    caption = f"Difference of loss at {size:,} tokens, nats per token, by size of the model"
    title = f"Does the ranking hold at scale, on {text_of(name)}"
    made = finding(
        "transfer", title, name, sentences, [table(caption, columns, lines)], agreement=rows, ahead=ahead
    )
    return [made]


def _comparable(runs: list[dict], parameters: list[int], levels: list[str]) -> list[dict]:
    """Of one setting besides the size of the model, at the most tokens that every level and model has."""
    by_model = {m: min(setting(run) for run in runs if run.get("parameters") == m) for m in parameters}
    runs = [
        run
        for run in runs
        if run.get("parameters") in by_model and setting(run) == by_model[run["parameters"]]
    ]
    sizes = [{run["size"] for run in runs if (run["level"], run["parameters"]) == (level, m)}
             for level in levels for m in parameters]  # fmt: skip
    common = set.intersection(*sizes)
    return [run for run in runs if run["size"] == max(common)] if common else []


def _series(level: str, parameters: int) -> str:
    return f"{level}, {parameters} parameters"


def _gaps_NP(grid: fits.Grid, pairs: list[tuple[str, str]], parameters: int) -> np.ndarray:
    """Of the second level of each pair against the first, in every replicate; row 0 as measured."""
    mean_N = {level: grid.means_ND(_series(level, parameters))[1][:, 0] for pair in pairs for level in pair}
    return np.stack([mean_N[b] - mean_N[a] for a, b in pairs], 1)


def agreement(grid: fits.Grid, small_NP: np.ndarray, large_NP: np.ndarray) -> dict[str, Any]:
    """Share of pairs whose difference has one sign in both. The interval is of what other seeds and documents might have
    given; `clear`: of the pairs that both tell apart."""
    same_N = (np.sign(small_NP) == np.sign(large_NP)).mean(1)
    low, high = grid.interval(same_N)
    clear = [
        p
        for p in range(small_NP.shape[1])
        if grid.noise and _apart(grid, small_NP[:, p]) and _apart(grid, large_NP[:, p])
    ]
    alike = sum(bool(np.sign(small_NP[0, p]) == np.sign(large_NP[0, p])) for p in clear)
    return {
        "share": float(same_N[0]), "low": low, "high": high, "pairs": small_NP.shape[1], "clear": len(clear),
        "clear_alike": alike,
    }  # fmt: skip


def _apart(grid: fits.Grid, gap_N: np.ndarray) -> bool:
    low, high = grid.interval(gap_N)
    return low > 0 or high < 0


def _ahead(parameters: list[int], pairs: list[tuple[str, str]], gaps_NMP: np.ndarray) -> list[dict[str, Any]]:
    """Of each pair: in which share of replicates a line through log parameters keeps its sign at AHEAD times the largest."""
    if len(parameters) < 3:
        return []
    log_M = np.log(parameters)
    at = np.log(AHEAD * parameters[-1]) - log_M.mean()
    slope_NP = np.einsum("m,nmp->np", log_M - log_M.mean(), gaps_NMP) / ((log_M - log_M.mean()) ** 2).sum()
    there_NP = gaps_NMP.mean(1) + slope_NP * at
    holds_P = (np.sign(there_NP[1:]) == np.sign(gaps_NMP[0, -1])).mean(0)
    return [{"levels": [a, b], "holds": float(p)} for (a, b), p in zip(pairs, holds_P, strict=True)]


def _agreement_sentence(name: str, rows: list[dict], largest: str, size: int) -> str:
    agreement = "; ".join(
        f"{short_count(row['parameters'])} order {row['share']:.0%} [{row['low']:.0%}, {row['high']:.0%}] of {row['pairs']} "
        f"pairs of levels alike, "
        + (
            f"{row['clear_alike']} of the {row['clear']} that both tell apart"
            if row["clear"]
            else "none told apart by both"
        )
        for row in rows
    )
    return f"On {text_of(name)}, at {size:,} tokens and against models of {largest} parameters: {agreement}."


def _ahead_sentences(ahead: list[dict], parameters: list[int]) -> list[str]:
    if not ahead:
        return ["Whether the order holds in larger models takes three sizes of model."]
    least = min(ahead, key=lambda row: row["holds"])
    a, b = least["levels"]
    return [
        f"At {AHEAD:g} times the largest, {short_count(AHEAD * parameters[-1])} parameters, the order of {b} and {a} is the "
        f"least sure: it holds with a probability of {least['holds']:.2f}, by a line through log parameters."
    ]


def _gap_text(grid: fits.Grid, gap_N: np.ndarray) -> str:
    low, high = grid.interval(gap_N)
    return f"{gap_N[0]:+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−")
