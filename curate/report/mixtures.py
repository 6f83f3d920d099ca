"""Which sources to take more of: losses of a few mixtures, a regression, the recommended shares, a run that confirms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from curate.report.answers import finite, grid_of
from curate.report.finding import finding, table
from curate.report.words import difference_text, figure_text
from curate.runs.trials import NATURAL, RECOMMENDED, Trial, largest_shares
from curate.runs.trials import recommended as recommended_trial
from train import fits

MARGIN = 0.98  # of what a source holds, so that the corpus is whole whatever documents end where
REPLICATES = 200
NORMAL = 1.96


def recommended(built: Any, planned: list) -> list[Trial]:
    """The confirming trial, once every run of the mixtures is there and they foretell each other."""
    asked = built.annotated.manifest.studies.mixture
    if not asked:
        return []
    cells = [p for p in planned if p.study.get("study") == "mixture" and not p.missing]
    runs = [p.finished() for p in cells]
    if not runs or any(run is None for run in runs):
        return []
    points = [run for some in runs if some for run in some]
    try:
        shares_MS, loss_M, _ = _mixtures(asked.holdout, points)
        law = fits.fit_mixture(shares_MS, loss_M)
        held = MARGIN * largest_shares(built, asked.level, asked.tokens)
        # No more of a source than some mixture had: past that the regression says what nobody has seen.
        shares = fits.best_shares(law, np.minimum(held, shares_MS.max(0)))
    except fits.FitError:
        return []
    shares = np.round(shares, 3)  # what a run is keyed by must not hang on the last bits of a library's sums
    return [recommended_trial(built.annotated.manifest, shares / shares.sum())] if law.foretells else []


def _mixtures(holdout: str, runs: list[dict]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(shares, mean loss over seeds, names) of every mixture but the confirming one."""
    names = list(dict.fromkeys(run["level"] for run in runs if run["level"] != RECOMMENDED))
    shares, losses = [], []
    for name in names:
        mine = [run for run in runs if run["level"] == name]
        shares.append(list(mine[0]["shares"].values()))
        losses.append(np.mean([run["losses"][holdout]["nats_per_token"] for run in mine]))
    return np.array(shares), np.array(losses), names


def mixture_finding(name: str, lock: dict, runs: list[dict]) -> dict:
    asked = lock["studies"]["mixture"]
    title = f"Which sources to take more of, judged on held-out {name} text"
    if not runs:
        return finding("mixture", title, name, ["The runs of the mixtures are not there yet."])
    sources = list(runs[0]["shares"])
    shares_MS, loss_M, names = _mixtures(name, runs)
    rows = [
        [n, *(f"{s:.2f}" for s in shares), f"{loss:.3f}"]
        for n, shares, loss in zip(names, shares_MS, loss_M, strict=True)
    ]
    tried = table(
        f"At {asked['tokens']:,} tokens of {asked['level']}", ["Mixture", *sources, "nats per token"], rows
    )
    try:
        law = fits.fit_mixture(shares_MS, loss_M)
    except fits.FitError as error:
        return finding("mixture", title, name, [f"No mixture is recommended: {error}."], [tried])
    errors = (
        f"left out in turn, mixtures are foretold to {law.error:.3f} nats, by the mean of the others to "
        f"{law.error_of_mean:.3f}"
    )
    if not law.foretells:
        return finding(
            "mixture",
            title,
            name,
            [f"No mixture is recommended, for the regression does not foretell: {errors}."],
            [tried],
        )
    confirmed = [run for run in runs if run["level"] == RECOMMENDED]
    if not confirmed:
        return finding(
            "mixture",
            title,
            name,
            [f"The regression foretells ({errors}); the confirming run is not there yet."],
            [tried],
        )
    return _recommendation(title, name, asked, runs, law, errors, tried)


def _recommendation(
    title: str, name: str, asked: dict, runs: list[dict], law, errors: str, tried: dict
) -> dict:
    grid = grid_of(name, runs)
    confirmed = next(run for run in runs if run["level"] == RECOMMENDED)
    shares, sources = np.array(list(confirmed["shares"].values())), list(confirmed["shares"])
    natural = next(list(run["shares"].values()) for run in runs if run["level"] == NATURAL)
    shares_MS, _, names = _mixtures(name, runs)
    loss_NM = np.stack([grid.means_ND(one)[1][:REPLICATES, 0] for one in names], 1)
    laws = fits.refit_mixtures(law, shares_MS, loss_NM)
    best_NS = np.array([fits.best_shares(one, shares_MS.max(0)) for one in laws])
    low_S, high_S = np.quantile(best_NS[1:], [0.025, 0.975], axis=0)
    (gap,) = fits.differences(grid, [(RECOMMENDED, NATURAL)])
    foretold = float(law.loss(shares) - law.loss(np.array(natural)))
    # The best of many shares looks better than it is, and both ends are off as left-out mixtures are.
    half = NORMAL * math.sqrt(2) * law.error
    foretold_low, foretold_high = foretold - half, foretold + half
    parts = [
        f"{s} {share:.2f} [{a:.2f}, {b:.2f}]"
        for s, share, a, b in zip(sources, shares, low_S, high_S, strict=True)
    ]
    measured = difference_text(vars(gap))
    verdict = "" if gap.distinguishable else ", not distinguishable from the mixture as it is"
    if gap.low > 0:
        verdict = ", which refutes the recommendation: keep the shares as they are"
    apart = foretold_low > gap.high or foretold_high < gap.low
    outside = "; the two intervals do not meet, so the regression is not to be trusted" if apart else ""
    told = figure_text(foretold, foretold_low, foretold_high)
    confirms = " It confirms the recommendation." if gap.high < 0 else ""
    sentences = [
        f"Recommended shares for held-out {name} text at {asked['tokens']:,} tokens: {', '.join(parts)}.",
        f"The confirming run has {measured} nats per token against the shares as they are{verdict}; the regression "
        f"({law.form} in the shares) had foretold {told}{outside}; {errors}.{confirms}".replace("-", "−"),
    ]
    row = [[s, f"{was:.2f}", figure_text(share, a, b, digits=2)] for s, was, share, a, b in
           zip(sources, natural, shares, low_S, high_S, strict=True)]  # fmt: skip
    recommended = table("Recommended shares of tokens", ["Source", "As it is", "Recommended"], row)
    return finding(
        "mixture", title, name, sentences, [recommended, tried], form=law.form, error=law.error,
        error_of_mean=law.error_of_mean, foretold=[foretold, foretold_low, foretold_high], confirmed=finite(vars(gap)),
        shares={s: [float(w), float(a), float(b)] for s, w, a, b in zip(sources, shares, low_S, high_S, strict=True)},
        caveats=grid.caveats,
    )  # fmt: skip
