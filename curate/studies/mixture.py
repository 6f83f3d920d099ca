"""[mixture]: which sources to take more of, by a regression over a few mixtures and a run that confirms it.

[mixture]
level = "unique"
runs = 16                   # mixtures, their shares drawn from a Dirichlet distribution
concentration = 1.0
holdout = "unique"          # what they are judged on
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curate.corpora.built import Built, largest_shares, token_shares
from curate.results.answers import finite
from curate.results.finding import finding, table
from curate.results.scores import grid_of
from curate.results.words import difference_text, figure_text, text_of
from curate.spec.manifest import Manifest
from curate.store import digest_of
from curate.studies.study import COMMON, Study, StudyTables, Trial, of_study, scored
from train import fits

RECOMMENDED = "recommended"
NATURAL = "as it is"
MARGIN = 0.98  # of what a source holds, so that the corpus is whole whatever documents end where
DRAWS = 1000  # times the mixtures wanted: shares that sources cannot fill are drawn again
REPLICATES = 200
NORMAL = 1.96


@dataclass(frozen=True, kw_only=True)
class Mixture(Study):
    """`runs` corpora of `level`, sources in shares from a Dirichlet distribution, judged on one `holdout`."""

    key, tables = "mixture", ("mixture",)
    level: str
    runs: int
    tokens: int
    concentration: float
    holdout: str

    @classmethod
    def read(cls, tables: StudyTables) -> Mixture:
        where, table = "[mixture]", tables.table("mixture")
        tables.known(where, table, ("level", "runs", "concentration", "holdout", *COMMON))
        runs = tables.typed(where, table, "runs", int, 8)
        if not 4 <= runs <= 512:
            hint = "twice the number of sources is a beginning"
            raise tables.fail(where, f"runs = {runs} is not in 4..512; {hint}")
        concentration = table.get("concentration", 1.0)
        if not isinstance(concentration, int | float) or not 0 < concentration <= 100:
            hint = "above 0 and at most 100; 1 is usual"
            raise tables.fail(where, f"concentration = {concentration!r}: {hint}")
        level = tables.level(where, table, "level", list(tables.levels)[-1])
        return cls(
            level=level, runs=runs, concentration=float(concentration),
            holdout=tables.holdout(where, table), **tables.common(where, table),
        )  # fmt: skip

    def mixed(self, levels: tuple) -> set[str]:
        return {self.level}

    def outline(self, manifest: Manifest) -> list[Trial]:
        """As the level has its sources, `runs` times otherwise, and as these runs will recommend."""
        names = [NATURAL, *(f"mixture {number}" for number in range(1, self.runs + 1)), RECOMMENDED]
        return [self.trial(name, self.level, self.tokens, waits=name == RECOMMENDED) for name in names]

    def comparisons(self, trials: list[Trial]) -> int:
        return 1

    def trials(self, built: Built) -> list[Trial]:
        """First the level's own shares. Fewer, where too few can be drawn from what the sources hold."""
        natural = token_shares(built, self.level, self.tokens)
        if natural is None:
            return []
        shares = [natural, *_drawn(self, largest_shares(built, self.level, self.tokens))]
        trials = super().trials(built)
        return [replace(trial, shares=some) for trial, some in zip(trials, shares, strict=False)]

    def further(self, built: Built, runs: list[dict]) -> list[Trial]:
        """The confirming trial, once every run of the mixtures is there and they foretell each other."""
        mine = [run for run in of_study(runs, self.key) if not run.get("impossible")]
        if not mine or any("failed" in run for run in mine):
            return []
        try:
            shares_MS, loss_M, _ = _mixtures(self.holdout, mine)
            law = fits.fit_mixture(shares_MS, loss_M)
            held = MARGIN * largest_shares(built, self.level, self.tokens)
            # No more of a source than some mixture had: past that the regression says what nobody has seen.
            shares = fits.best_shares(law, np.minimum(held, shares_MS.max(0)))
        except fits.FitError:
            return []
        if not law.foretells:
            return []
        # What a run is keyed by must not hang on the last bits of a library's sums.
        shares = np.round(shares, 3)
        waiting = next(t for t in self.outline(built.annotated.manifest) if t.waits)
        return [replace(waiting, shares=tuple(float(x) for x in shares / shares.sum()), waits=False)]

    @classmethod
    def findings(cls, holdout: str, lock: dict, runs: list[dict]) -> list[dict]:
        asked = lock["studies"]["mixture"]
        if asked["holdout"] != holdout:
            return []
        return [_finding(holdout, asked, of_study(scored(runs, holdout), cls.key))]


def _drawn(study: Mixture, most: np.ndarray) -> list[tuple[float, ...]]:
    """Shares drawn by hash, the same every time, none above what its source holds; sources without text have none."""
    seed = int(digest_of(["mixture", study.level, study.concentration])[:15], 16)
    rng, filled, mixtures = np.random.default_rng(seed), most > 0, list[tuple[float, ...]]()
    for _ in range(DRAWS * study.runs):
        shares = np.zeros(len(most))
        shares[filled] = rng.dirichlet(np.full(int(filled.sum()), study.concentration))
        if (shares <= MARGIN * most).all():
            mixtures.append(tuple(float(x) for x in shares))
        if len(mixtures) == study.runs:
            break
    return mixtures


def _mixtures(holdout: str, runs: list[dict]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(shares, mean loss over seeds, names) of every mixture but the confirming one."""
    names = list(dict.fromkeys(run["level"] for run in runs if run["level"] != RECOMMENDED))
    shares, losses = [], []
    for name in names:
        mine = [run for run in runs if run["level"] == name]
        shares.append(list(mine[0]["shares"].values()))
        losses.append(np.mean([run["losses"][holdout]["nats_per_token"] for run in mine]))
    return np.array(shares), np.array(losses), names


# ------------------------------------------------------------------------------------------- the finding


def _finding(holdout: str, asked: dict, runs: list[dict]) -> dict:
    title = f"Which sources to take more of, judged on {text_of(holdout)}"
    if not runs:
        return finding("mixture", title, holdout, ["The runs of the mixtures are not there yet."])
    shares_MS, loss_M, names = _mixtures(holdout, runs)
    tried = _tried(asked, list(runs[0]["shares"]), shares_MS, loss_M, names)
    law, why_not = None, ""
    try:
        law = fits.fit_mixture(shares_MS, loss_M)
        if not law.foretells:
            why_not = f"No mixture is recommended, for the regression does not foretell: {_errors(law)}."
        elif RECOMMENDED not in {run["level"] for run in runs}:
            why_not = f"The regression foretells ({_errors(law)}); the confirming run is not there yet."
    except fits.FitError as error:
        why_not = f"No mixture is recommended: {error}."
    if law is None or why_not:
        return finding("mixture", title, holdout, [why_not], [tried])
    figures = _figures(holdout, runs, law)
    sentences = _sentences(holdout, asked, figures, _errors(law))
    return finding("mixture", title, holdout, sentences, [_recommended(figures), tried], **figures)


def _errors(law: fits.MixtureLaw) -> str:
    return (
        f"left out in turn, mixtures are foretold to {law.error:.3f} nats, by the mean of the others to "
        f"{law.error_of_mean:.3f}"
    )


def _figures(holdout: str, runs: list[dict], law: fits.MixtureLaw) -> dict[str, Any]:
    """`natural`: the shares as they are; `shares`: those recommended, with intervals; `foretold` and `confirmed`: the
    difference between their losses, by the regression and by runs."""
    grid = grid_of(holdout, runs)
    by_name = {run["level"]: run["shares"] for run in runs}
    sources, shares = list(by_name[RECOMMENDED]), np.array(list(by_name[RECOMMENDED].values()))
    shares_MS, _, names = _mixtures(holdout, runs)
    loss_NM = np.stack([grid.means_ND(name)[1][:REPLICATES, 0] for name in names], 1)
    best_NS = np.array(
        [fits.best_shares(one, shares_MS.max(0)) for one in fits.refit_mixtures(law, shares_MS, loss_NM)]
    )
    (gap,) = fits.differences(grid, [(RECOMMENDED, NATURAL)])
    foretold = float(law.loss(shares) - law.loss(np.array(list(by_name[NATURAL].values()))))
    # The best of many shares looks better than it is, and both ends are off as left-out mixtures are.
    half = NORMAL * math.sqrt(2) * law.error
    intervals = {
        source: [float(share), *fits.interval(np.array([share, *best_N[1:]]))]
        for source, share, best_N in zip(sources, shares, best_NS.T, strict=True)
    }
    return {
        "form": law.form, "error": law.error, "error_of_mean": law.error_of_mean,
        "foretold": [foretold, foretold - half, foretold + half], "confirmed": finite(vars(gap)),
        "shares": intervals,
        "natural": by_name[NATURAL], "caveats": grid.caveats,
    }  # fmt: skip


def _sentences(holdout: str, asked: dict, figures: dict, errors: str) -> list[str]:
    gap, (foretold, low, high) = figures["confirmed"], figures["foretold"]
    parts = [f"{source} {x:.2f} [{a:.2f}, {b:.2f}]" for source, (x, a, b) in figures["shares"].items()]
    verdict = "" if gap["distinguishable"] else ", not distinguishable from the mixture as it is"
    if gap["distinguishable"] and gap["value"] > 0:
        verdict = ", which refutes the recommendation: keep the shares as they are"
    apart = gap["high"] is not None and (low > gap["high"] or high < gap["low"])
    outside = "; the two intervals do not meet, so the regression is not to be trusted" if apart else ""
    confirms = " It confirms the recommendation." if gap["distinguishable"] and gap["value"] < 0 else ""
    return [
        f"Recommended shares for {text_of(holdout)} at {asked['tokens']:,} tokens: {', '.join(parts)}.",
        f"The confirming run has {difference_text(gap)} nats per token against the shares as they are{verdict}; the "
        f"regression ({figures['form']} in the shares) had foretold {figure_text(foretold, low, high)}{outside}; "
        f"{errors}.{confirms}".replace("-", "−"),
    ]


def _recommended(figures: dict) -> dict:
    rows = [
        [source, f"{figures['natural'][source]:.2f}", figure_text(*interval, digits=2)]
        for source, interval in figures["shares"].items()
    ]
    return table("Recommended shares of tokens", ["Source", "As it is", "Recommended"], rows)


def _tried(
    asked: dict, sources: list[str], shares_MS: np.ndarray, loss_M: np.ndarray, names: list[str]
) -> dict:
    rows = [
        [name, *(f"{share:.2f}" for share in shares), f"{loss:.3f}"]
        for name, shares, loss in zip(names, shares_MS, loss_M, strict=True)
    ]
    columns = ["Mixture", *sources, "nats per token"]
    return table(f"At {asked['tokens']:,} tokens of {asked['level']}", columns, rows)
