"""Laws and intervals: against grids whose truth is known, and against what may go wrong in real ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from inverse import tokens_for

from train import fits
from train.fits import laws

SIZES = (400_000, 800_000, 1_600_000, 3_200_000)


@dataclass(frozen=True)
class Truth:
    """Levels whose losses follow laws; noise as of runs that share trunks, seeds and holdout documents.

    `reading`: what other documents to train on would do to a run, by level; half of it is common to the sizes of a
    seed, which nest. `shared_reading`: all seeds read the same documents, so that this noise is the same in all.
    """

    laws: dict[str, fits.Law]
    trunk: float = 0.006
    cell: float = 0.004
    shared: float = 0.005
    documents: int = 300
    taste: float = 0.08  # how much documents differ in what a level is worth on them
    reading: dict[str, float] = field(default_factory=dict)
    shared_reading: bool = False

    def grid(self, rng: np.random.Generator, seeds: int, draws: int = 400, sizes=SIZES) -> fits.Grid:
        lengths = np.ceil(rng.lognormal(5, 0.8, self.documents))
        hard = rng.normal(0, 0.4, self.documents)  # a document's difficulty, common to all levels
        taste = {level: rng.normal(0, self.taste, self.documents) for level in self.laws}
        common = rng.normal(0, self.shared, seeds)
        points = []
        for level, law in self.laws.items():
            read_SD = self._read(rng, self.reading.get(level, 0.0), seeds, len(sizes))
            for seed in range(seeds):
                trunk = rng.normal(0, self.trunk)
                for at, tokens in enumerate(sizes):
                    noise = trunk + common[seed] + rng.normal(0, self.cell) + read_SD[seed, at]
                    nats = lengths * (law.loss(tokens) + noise + hard + taste[level])
                    points.append(fits.Point(level, tokens, seed, nats.sum() / lengths.sum(), nats))
        return fits.Grid(points, lengths, draws=draws, rng_seed=int(rng.integers(1 << 30)))

    def _read(self, rng: np.random.Generator, sd: float, seeds: int, sizes: int) -> np.ndarray:
        blocks = 1 if self.shared_reading else seeds
        noise_SD = rng.normal(0, sd * 0.5**0.5, (blocks, 1)) + rng.normal(0, sd * 0.5**0.5, (blocks, sizes))
        return np.broadcast_to(noise_SD, (seeds, sizes))


RAW, CLEAN = fits.Law(2.0, 60.0, 0.26), fits.Law(1.95, 52.0, 0.26)
TRUTH = Truth({"raw": RAW, "clean": CLEAN, "same": RAW})


def exact_grid(**laws: fits.Law) -> fits.Grid:
    points = [
        fits.Point(level, tokens, seed, float(law.loss(tokens)))
        for level, law in laws.items()
        for tokens in SIZES
        for seed in (1, 2)
    ]
    return fits.Grid(points, draws=50)


def true_rate(ours: fits.Law, theirs: fits.Law) -> float:
    target = max(ours.loss(SIZES[-1]), theirs.loss(SIZES[-1]))
    return tokens_for(theirs, target) / tokens_for(ours, target)


def law_through(sizes, losses) -> fits.Law:
    tokens_D, loss_D = np.array(sizes, dtype=float), np.array(losses, dtype=float)
    return laws.law_of(fits.fit_power_laws(tokens_D, loss_D[None]), tokens_D, loss_D)


@pytest.mark.parametrize("truth", [RAW, fits.Law(0.5, 20.0, 0.1), fits.Law(3.0, 900.0, 0.6)])
def test_a_fit_recovers_the_law_that_made_the_losses(truth):
    law = law_through(SIZES, truth.loss(SIZES))
    assert pytest.approx(truth.E, abs=0.01) == law.E
    assert law.b == pytest.approx(truth.b, rel=0.005)
    assert law.largest_residual < 1e-4
    assert law.at_bound == ()


def test_losses_without_a_floor_say_that_E_is_not_determined():
    law = law_through(SIZES, 40.0 * np.array(SIZES, dtype=float) ** -0.2)
    assert law.E < 0.01
    assert law.b == pytest.approx(0.2, abs=1e-3)
    bent = law_through(SIZES, 40.0 * np.array(SIZES, dtype=float) ** -0.2 * [1.0, 1.01, 1.01, 1.0])
    assert (bent.E, bent.at_bound) == (0.0, ("E",))


def test_two_sizes_leave_E_open():
    law = law_through(SIZES[:2], RAW.loss(SIZES[:2]))
    assert law.at_bound == ("E",)
    assert law.loss(SIZES[0]) == pytest.approx(RAW.loss(SIZES[0]), rel=1e-4)


def test_tokens_for_is_the_inverse_of_loss_and_infinite_below_the_floor():
    assert tokens_for(RAW, float(RAW.loss(1e6))) == pytest.approx(1e6)
    assert math.isinf(tokens_for(RAW, RAW.E))
    assert math.isinf(tokens_for(RAW, 1.0))


@pytest.mark.parametrize(
    ("tokens", "losses", "complaint"),
    [([1e6], [3.0], "two sizes"), ([1e6, 2e6], [3.0, math.nan], "finite"), ([1e6, 2e6], [3.0], "one loss")],
)
def test_what_cannot_be_fitted_is_refused(tokens, losses, complaint):
    with pytest.raises(fits.FitError, match=complaint):
        fits.fit_power_laws(tokens, [losses])


def test_many_rows_are_fitted_as_each_alone():
    losses = np.stack([RAW.loss(SIZES), CLEAN.loss(SIZES), RAW.loss(SIZES) * [1.0, 1.01, 0.99, 1.0]])
    together = fits.fit_power_laws(SIZES, losses)
    for row, loss_D in enumerate(losses):
        for figure_N, alone in zip(together, fits.fit_power_laws(SIZES, loss_D[None]), strict=True):
            assert figure_N[row] == alone[0]


def test_an_exchange_rate_is_what_the_laws_imply():
    rate = fits.exchange_rate(exact_grid(raw=RAW, clean=CLEAN), "clean", "raw")
    assert rate.rate == pytest.approx(true_rate(CLEAN, RAW), rel=0.01)
    assert rate.kind == "measured"
    assert rate.distinguishable
    assert rate.loss == pytest.approx(RAW.loss(SIZES[-1]))


def test_swapping_the_levels_inverts_the_rate():
    grid = TRUTH.grid(np.random.default_rng(1), 3)
    there, back = fits.exchange_rate(grid, "clean", "raw"), fits.exchange_rate(grid, "raw", "clean")
    assert there.rate == pytest.approx(1 / back.rate)
    assert (there.low, there.high) == (pytest.approx(1 / back.high), pytest.approx(1 / back.low))


def test_a_level_that_is_far_ahead_is_worth_at_least_what_was_measured():
    grid = exact_grid(raw=RAW, oracle=fits.Law(1.0, 30.0, 0.26))
    rate = fits.exchange_rate(grid, "oracle", "raw")
    assert rate.kind == "at least"
    assert rate.rate == pytest.approx(SIZES[-1] / SIZES[0])
    assert math.isinf(rate.high)
    back = fits.exchange_rate(grid, "raw", "oracle")
    assert (back.kind, back.low) == ("at most", 0.0)
    assert back.rate == pytest.approx(SIZES[0] / SIZES[-1])


def test_a_loss_just_beyond_the_smallest_size_is_called_extrapolated():
    ahead = fits.Law(
        RAW.E, RAW.B * 11**-RAW.b, RAW.b
    )  # needs an eleventh of the tokens, the sizes span eight
    rate = fits.exchange_rate(exact_grid(raw=RAW, ahead=ahead), "ahead", "raw")
    assert rate.kind == "extrapolated"
    assert rate.rate == pytest.approx(11, rel=0.02)


def test_levels_that_do_not_differ_are_not_distinguishable():
    rng = np.random.default_rng(3)
    clear = [fits.exchange_rate(TRUTH.grid(rng, 3), "same", "raw").distinguishable for _ in range(60)]
    assert np.mean(clear) < 0.1


def test_one_seed_distinguishes_nothing_and_says_why():
    grid = TRUTH.grid(np.random.default_rng(4), 1)
    assert grid.noise is None
    assert not fits.difference(grid, "clean", "raw").distinguishable
    assert not fits.exchange_rate(grid, "clean", "raw").distinguishable
    assert "one seed" in " ".join(grid.caveats)


def test_missing_documents_are_a_caveat():
    assert "single documents" in " ".join(exact_grid(raw=RAW).caveats)


def test_documents_widen_intervals_only_by_what_differs_between_levels():
    def width(taste: float) -> float:
        rng = np.random.default_rng(5)
        hard, points = rng.normal(4, 1.0, 200), []
        for level, law in (("raw", RAW), ("clean", CLEAN)):
            for tokens in SIZES:
                for seed in (1, 2):
                    own = law.loss(tokens) / 4 * hard + rng.normal(0, taste, 200)
                    points.append(fits.Point(level, tokens, seed, own.mean(), own))
        found = fits.difference(fits.Grid(points, np.ones(200)), "clean", "raw")
        return found.high - found.low

    assert width(0.0) < width(0.4) / 4


def test_runs_may_be_missing_and_pairs_use_the_seeds_both_have():
    points = [
        p
        for p in TRUTH.grid(np.random.default_rng(6), 3).points
        if (p.level, p.tokens, p.seed) != ("clean", SIZES[-1], 2)
    ]
    grid = fits.Grid(points, draws=200)
    at = {(p.level, p.seed): p.loss for p in points if p.tokens == SIZES[-1]}
    paired = np.mean([at["clean", seed] - at["raw", seed] for seed in (0, 1)])
    assert fits.difference(grid, "clean", "raw").value == pytest.approx(paired)
    assert fits.exchange_rate(grid, "clean", "raw").rate > 1


def test_levels_of_different_reach_are_compared_where_both_have_runs():
    points = [p for p in exact_grid(raw=RAW, clean=CLEAN).points if p.level == "raw" or p.tokens <= SIZES[1]]
    grid = fits.Grid(points, draws=50)
    assert fits.difference(grid, "clean", "raw").tokens == SIZES[1]
    assert fits.exchange_rate(grid, "clean", "raw").rate == pytest.approx(
        tokens_for(RAW, float(CLEAN.loss(SIZES[1]))) / SIZES[1], rel=0.02
    )


@pytest.mark.parametrize("loss", [math.nan, math.inf, 0.0])
def test_a_run_without_a_loss_is_refused_by_name(loss):
    with pytest.raises(fits.FitError, match="clean, 400000 tokens, seed 1"):
        fits.Grid([fits.Point("clean", 400_000, 1, loss)])


def test_two_runs_of_one_cell_are_refused():
    with pytest.raises(fits.FitError, match="two runs"):
        fits.Grid([fits.Point("clean", 400_000, 1, 3.0)] * 2)


def test_an_unknown_level_is_refused_with_those_there_are():
    with pytest.raises(fits.FitError, match="raw"):
        fits.mean(exact_grid(raw=RAW), "clean", SIZES[0])


def test_a_cell_without_runs_is_refused():
    with pytest.raises(fits.FitError, match="123 tokens"):
        fits.mean(exact_grid(raw=RAW), "raw", 123)


def test_the_same_points_give_the_same_intervals_in_any_order():
    grid = TRUTH.grid(np.random.default_rng(7), 3)
    again = fits.Grid(reversed(grid.points), grid.units, draws=400, rng_seed=grid.rng_seed)
    assert fits.exchange_rate(grid, "clean", "raw") == fits.exchange_rate(again, "clean", "raw")
    assert fits.Curves(grid).fit("raw") == fits.Curves(again).fit("raw")


@pytest.mark.parametrize("bend", [0.0, 0.002, 0.01])
def test_estimates_lie_in_their_intervals_and_measured_means_in_the_band(bend):
    """However far the losses are from any law: what noise does not explain, the lack of fit does."""
    rng, outside = np.random.default_rng(8), 0
    for _ in range(12):
        off = {(level, size): 1 + rng.normal(0, bend) for level in TRUTH.laws for size in SIZES}
        points = [
            replace(p, loss=p.loss * off[p.level, p.tokens], document_nats=None)
            for p in TRUTH.grid(rng, 3, draws=2).points
        ]
        curves = fits.Curves(fits.Grid(points, draws=300))
        for level in TRUTH.laws:
            fit = curves.fit(level)
            for figure, value in ((fit.E, fit.law.E), (fit.b, fit.law.b)):
                assert figure.low <= figure.value == value <= figure.high
            low, high = curves.band(level, SIZES)
            law = fit.law.loss(SIZES)
            assert ((low <= law) & (law <= high)).all()
            means = [fits.mean(curves.grid, level, size).value for size in SIZES]
            outside += int(((low > means) | (means > high)).sum())
    assert outside <= 0.05 * 12 * len(TRUTH.laws) * len(SIZES)


def test_lack_of_fit_widens_the_intervals_of_a_law():
    def width(bend: float) -> float:
        points = [
            fits.Point(level, size, seed, float(law.loss(size)) * (1 + bend * (-1) ** i) + 1e-3 * seed)
            for level, law in (("raw", RAW), ("clean", CLEAN))
            for i, size in enumerate(np.geomspace(2e5, 2e7, 6).astype(int))
            for seed in (0, 1)
        ]
        b = fits.Curves(fits.Grid(points, draws=300)).fit("raw").b
        return b.high - b.low

    assert width(0.01) > 3 * width(0.0)


def test_a_noisy_level_does_not_lend_its_noise_to_a_quiet_one():
    spread = {"raw": 0.1, "clean": 0.01, "same": 0.01}
    rng = np.random.default_rng(12)
    points = [
        fits.Point(level, size, seed, float(TRUTH.laws[level].loss(size)) + own)
        for level, sd in spread.items()
        for seed, own in enumerate(rng.normal(0, sd, 5))
        for size in SIZES[-1:]
    ]
    grid = fits.Grid(points)
    width = {level: (m := fits.mean(grid, level, SIZES[-1])).high - m.low for level in spread}
    assert width["raw"] > 4 * max(width["clean"], width["same"])
    assert grid.noise.sigma_of([grid.levels.index("clean"), grid.levels.index("same")]) < grid.noise.sigma / 3
    gap = fits.difference(grid, "clean", "same")
    assert gap.high - gap.low < width["raw"] / 3


def test_a_level_with_one_seed_has_the_noise_that_the_others_tell():
    points = [p for p in TRUTH.grid(np.random.default_rng(9), 3).points if p.level == "raw" or p.seed == 0]
    grid = fits.Grid([replace(p, document_nats=None) for p in points])
    alone, measured = (fits.mean(grid, level, SIZES[-1]) for level in ("clean", "raw"))
    assert alone.high - alone.low > measured.high - measured.low > 0


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize(
    "noise",
    [
        {},
        {"trunk": 0.0, "cell": 0.008},
        {"trunk": 0.01, "cell": 0.001},
        {"shared": 0.0, "documents": 60},
        {"taste": 0.0},
    ],
    ids=["mixed", "cells", "trunks", "unpaired", "seeds-alone"],
)
def test_intervals_of_95_percent_cover_the_truth(seeds, noise):
    rng, hits, tries = np.random.default_rng(11), np.zeros(3), 200
    truth = Truth(TRUTH.laws, **noise)
    for _ in range(tries):
        grid = truth.grid(rng, seeds)
        gap = fits.difference(grid, "clean", "raw")
        rate = fits.exchange_rate(grid, "clean", "raw")
        cell = fits.mean(grid, "raw", SIZES[1])
        hits += [
            gap.low <= CLEAN.loss(SIZES[-1]) - RAW.loss(SIZES[-1]) <= gap.high,
            rate.low <= true_rate(CLEAN, RAW) <= rate.high,
            cell.low <= RAW.loss(SIZES[1]) <= cell.high,
        ]
    assert (hits / tries >= 0.89).all(), hits / tries  # 200 grids tell 2 % apart at best
    assert (hits[:2] / tries <= 0.995).all(), hits / tries
