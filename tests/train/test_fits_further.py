"""Laws beyond one level: shared exponents, many comparisons, L(N, D), repetition, mixtures, power; truth known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from inverse import tokens_for
from test_fits import CLEAN, RAW, SIZES, TRUTH, Truth, exact_grid, true_rate

from train import fits
from train.fits import surface

# ------------------------------------------------------------------------------------------- one exponent or many


def test_levels_with_one_exponent_are_found_to_share_it_and_others_are_not():
    together = [(np.array(SIZES), law.loss(SIZES)[None]) for law in (RAW, CLEAN, fits.Law(2.2, 70.0, 0.26))]
    assert fits.choose_form(together).shared
    many = np.geomspace(1e5, 1e8, 9)
    apart = [(many, fits.Law(2.0, 60.0, b).loss(many)[None]) for b in (0.2, 0.3, 0.4)]
    assert not fits.choose_form(apart).shared


def test_shared_laws_recover_the_laws_that_made_the_losses():
    curves = fits.Curves(exact_grid(raw=RAW, clean=CLEAN))
    assert curves.form.shared
    for name, truth in (("raw", RAW), ("clean", CLEAN)):
        law = curves.laws[name]
        assert law.b == pytest.approx(truth.b, abs=0.001)
        assert law.loss(SIZES[-1] * 4) == pytest.approx(float(truth.loss(SIZES[-1] * 4)), rel=2e-3)


def test_residuals_are_what_the_law_leaves():
    grid = TRUTH.grid(np.random.default_rng(3), 3)
    fit = fits.Curves(grid).fit("raw")
    mean = fits.mean(grid, "raw", SIZES[1]).value
    assert fit.residuals[SIZES[1]] == pytest.approx(math.log(mean / float(fit.law.loss(SIZES[1]))))


def test_the_largest_size_is_foretold_without_having_been_seen():
    exact = fits.foretold(exact_grid(raw=RAW, clean=CLEAN))["raw"]
    assert exact.error < 1e-3
    bent = exact_grid(raw=RAW, clean=CLEAN).points
    bent = [replace(p, loss=p.loss * (1.1 if p.tokens == SIZES[-1] else 1)) for p in bent]
    assert fits.foretold(fits.Grid(bent, draws=50))["raw"].error == pytest.approx(math.log(1.1), abs=2e-3)


def test_three_sizes_foretell_nothing():
    points = [p for p in exact_grid(raw=RAW).points if p.tokens != SIZES[0]]
    assert fits.foretold(fits.Grid(points, draws=50)) == {}


# ------------------------------------------------------------------------------------------- comparisons


def test_rates_along_the_loss_end_where_the_single_rate_is():
    grid = exact_grid(raw=RAW, clean=CLEAN)
    along = fits.exchange_rates(grid, "clean", "raw")
    assert along[-1].rate == pytest.approx(true_rate(CLEAN, RAW), rel=0.01)
    assert [rate.kind for rate in along][1:] == ["measured"] * 3
    losses = [rate.loss for rate in along]
    assert losses == sorted(losses, reverse=True)


def test_a_loss_that_a_level_never_reached_gives_an_upper_bound():
    back = fits.exchange_rates(exact_grid(raw=RAW, clean=CLEAN), "raw", "clean")[-1]
    assert (back.kind, back.low) == ("at most", 0.0)


def test_a_bigger_dirtier_corpus_overtakes_where_the_laws_say():
    grid = exact_grid(raw=RAW, clean=CLEAN)
    found = fits.overtaking(grid, fits.Curves(grid), "raw", "clean", SIZES[1])
    assert found.tokens == pytest.approx(tokens_for(RAW, float(CLEAN.loss(SIZES[1]))), rel=0.02)
    assert found.kind == "measured"


def test_a_level_with_a_higher_floor_may_never_overtake():
    grid = exact_grid(raw=fits.Law(3.6, 20.0, 0.3), clean=fits.Law(1.5, 60.0, 0.26))
    assert fits.overtaking(grid, fits.Curves(grid), "raw", "clean", SIZES[-1]).kind in ("never", "too far")


@pytest.mark.parametrize("short", ["raw", "clean"])
def test_a_level_of_one_size_has_no_law_to_overtake_by(short):
    both = exact_grid(raw=RAW, clean=CLEAN)
    grid = fits.Grid([p for p in both.points if p.level != short or p.tokens == SIZES[0]], None)
    with pytest.raises(fits.FitError, match="needs runs of at least two sizes"):
        fits.overtaking(grid, fits.Curves(grid), "raw", "clean", SIZES[0])


def test_corpora_far_beyond_what_was_trained_are_refused():
    grid = exact_grid(raw=RAW, clean=CLEAN)
    with pytest.raises(fits.FitError, match="10 times"):
        fits.overtaking(grid, fits.Curves(grid), "raw", "clean", 100 * SIZES[-1])


def test_intervals_for_all_comparisons_are_wider_than_for_one():
    grid = TRUTH.grid(np.random.default_rng(2), 3)
    pairs = [("clean", "raw"), ("same", "raw"), ("clean", "same")]
    for told in fits.differences(grid, pairs):
        alone = fits.difference(grid, told.level, told.than)
        assert (told.value, told.low, told.high) == (alone.value, alone.low, alone.high)
        assert told.corrected_low <= told.low <= told.high <= told.corrected_high


def test_of_many_levels_that_do_not_differ_hardly_ever_one_is_called_different():
    laws = {f"level-{i}": RAW for i in range(8)}
    pairs = [(f"level-{i}", "level-0") for i in range(1, 8)]
    rng, once, corrected = np.random.default_rng(8), 0, 0
    for _ in range(60):
        told = fits.differences(Truth(laws).grid(rng, 3, draws=300), pairs)
        once += any(d.distinguishable for d in told)
        corrected += any(d.corrected for d in told)
    assert corrected <= 8
    assert once > corrected


# ------------------------------------------------------------------------------------------- L(N, D)

PLANE = fits.Surface(1.8, 480.0, 2080.0, 0.35, 0.37)
N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, 4), np.geomspace(1e8, 1e10, 4)))


def test_a_surface_recovers_the_law_that_made_the_losses():
    law = fits.fit_surface(N, D, PLANE.loss(N, D))
    assert (law.E, law.alpha, law.beta) == pytest.approx((1.8, 0.35, 0.37), rel=1e-4)


def test_the_gradient_of_the_surface_is_the_derivative_of_its_objective():
    data = (np.log(N) - 18, np.log(D) - 20, np.log(PLANE.loss(N, D)) + 0.01)
    at = np.array([0.5, -0.5, -0.4, 0.3, 0.4])
    _, gradient = surface.surface_objective(at, *data)
    for i in range(5):
        step = np.eye(5)[i] * 1e-6
        up, down = (surface.surface_objective(at + sign * step, *data)[0] for sign in (1, -1))
        assert gradient[i] == pytest.approx((up - down) / 2e-6, rel=1e-4)


def test_the_optimum_spends_the_budget_and_neighbours_are_worse():
    n, d = PLANE.best(1e19)
    assert 6 * n * d == pytest.approx(1e19)
    assert all(PLANE.loss(n, d) < PLANE.loss(n * x, d / x) for x in (0.8, 1.25))


@pytest.mark.parametrize("keep", [N > 3e8, D > 3e9])
def test_a_surface_of_too_few_sizes_says_what_is_missing(keep):
    with pytest.raises(fits.FitError, match="three model sizes"):
        fits.fit_surface(N[keep], D[keep], PLANE.loss(N, D)[keep])


# ------------------------------------------------------------------------------------------- repetition


def test_one_pass_is_the_plain_law():
    law = fits.RepetitionLaw(2.0, 60.0, 0.26, 6.0, 4e4, True)
    assert law.loss(1e6, 1e6) == pytest.approx(2 + 60 * 1e6**-0.26)


@pytest.mark.parametrize("passes", [[1, 2, 4, 8, 16], [1, 2, 4, 8, 16, 32]])
@pytest.mark.parametrize(("E", "star", "c"), [(1.9, 6.0, 0.0), (2.4, 15.0, 0.0), (1.9, 6.0, 4e4)])
def test_exact_losses_give_back_the_law_of_repetition_that_made_them(E, star, c, passes):
    unique, passes = np.repeat([1e5, 4e5], len(passes)), np.tile(passes, 2)
    truth = fits.RepetitionLaw(E, 60.0, 0.26, star, c, c > 0)
    law, _ = fits.fit_repetition(unique, unique * passes, truth.loss(unique, unique * passes))
    assert (law.E, law.b, law.star) == pytest.approx((E, 0.26, star), rel=0.02)
    assert law.penalty == (c > 0)
    assert law.c == pytest.approx(c, rel=0.02)


def noisy(truth: fits.RepetitionLaw, unique, passes, rng, sd: float) -> np.ndarray:
    """Losses as measured, and 60 replicates of them."""
    unique = np.asarray(unique, dtype=float)
    measured = truth.loss(unique, unique * passes) + rng.normal(0, sd, len(passes))
    return np.vstack([measured, measured + rng.normal(0, sd, (60, len(passes)))])


def test_over_fitting_is_found_where_there_is_some():
    unique, passes = np.repeat([1e5, 4e5], 5), np.tile([1, 2, 4, 8, 16], 2)
    truth = fits.RepetitionLaw(2.0, 60.0, 0.26, 6.0, 4e4, True)
    losses = noisy(truth, unique, passes, np.random.default_rng(1), 0.01)
    law, replicates = fits.fit_repetition(unique, unique * passes, losses)
    assert law.penalty
    assert law.chance < 0.05
    assert all(one.penalty for one in replicates)
    assert law.best_tokens(1e5, 1e8) == pytest.approx(truth.best_tokens(1e5, 1e8), rel=0.3)


def test_harmless_repetition_is_hardly_ever_called_harmful():
    rng, invented, studies = np.random.default_rng(2), 0, 20
    passes = np.array([1, 2, 4, 8, 16, 32])
    for _ in range(studies):
        truth = fits.RepetitionLaw(rng.uniform(1.5, 2.5), 60.0, 0.26, rng.uniform(3, 20), 0.0, False)
        unique = np.full(len(passes), rng.choice([1e5, 4e5, 2e6]))
        law, _ = fits.fit_repetition(unique, unique * passes, noisy(truth, unique, passes, rng, 0.01))
        invented += law.penalty
    assert invented <= 3


def test_without_noise_to_beat_five_cells_show_no_harm():
    """A law with a penalty goes through five cells exactly, whatever they are."""
    truth = fits.RepetitionLaw(2.0, 60.0, 0.26, 6.0, 0.0, False)
    unique, passes = np.full(5, 1e5), np.array([1, 2, 4, 8, 16])
    losses = truth.loss(unique, unique * passes) + [0, 0, 0, 0, 0.2]
    law, _ = fits.fit_repetition(unique, unique * passes, losses)
    assert (law.penalty, law.chance) == (False, None)


def test_two_numbers_of_passes_are_no_law_of_repetition():
    with pytest.raises(fits.FitError, match="three numbers of passes"):
        fits.fit_repetition([1e5] * 2, [1e5, 2e5], [5.0, 4.0])


# ------------------------------------------------------------------------------------------- mixtures


def test_a_mixture_law_finds_the_best_shares():
    rng = np.random.default_rng(0)
    truth = fits.MixtureLaw("log", 4.0, np.array([0.3, 0.1, 0.05, 0.0]), 0, 0)
    shares = rng.dirichlet(np.ones(4), 12)
    law = fits.fit_mixture(shares, truth.loss(shares) + rng.normal(0, 0.004, 12))
    assert law.form == "log"
    assert law.foretells
    assert fits.best_shares(law, np.ones(4)) == pytest.approx(fits.best_shares(truth, np.ones(4)), abs=0.08)


def test_no_source_is_given_more_than_it_holds():
    law = fits.MixtureLaw("linear", 4.0, np.array([-1.0, 0.0, 0.5]), 0, 0)
    assert fits.best_shares(law, np.array([0.2, 0.5, 2.0])) == pytest.approx([0.2, 0.5, 0.3], abs=1e-4)
    with pytest.raises(fits.FitError, match="less than this size"):
        fits.best_shares(law, np.full(3, 0.2))


def test_losses_that_have_nothing_to_do_with_shares_are_not_foretold():
    rng = np.random.default_rng(4)
    refused = [
        not fits.fit_mixture(rng.dirichlet(np.ones(4), 8), rng.normal(4, 0.02, 8)).foretells
        for _ in range(20)
    ]
    assert np.mean(refused) > 0.6


def test_too_few_mixtures_are_refused():
    with pytest.raises(fits.FitError, match="at least 6"):
        fits.fit_mixture(np.full((5, 4), 0.25), np.ones(5))


# ------------------------------------------------------------------------------------------- power


def test_a_difference_of_the_stated_size_is_found_four_times_in_five():
    rng, seeds, sigma = np.random.default_rng(0), 4, 0.01
    size = fits.detectable(sigma, seeds)
    found = rng.normal(size, sigma * math.sqrt(2 / seeds), 20_000)
    assert np.mean(np.abs(found) > 1.96 * sigma * math.sqrt(2 / seeds)) == pytest.approx(0.8, abs=0.01)


def test_seeds_do_not_help_against_too_few_documents():
    assert fits.seeds_needed(0.02, 0.01) is not None
    assert fits.seeds_needed(0.02, 0.01, documents=0.02) is None


def test_noise_is_told_from_signal():
    grid = TRUTH.grid(np.random.default_rng(5), 4)
    told = fits.signal_to_noise(grid)
    assert told.signal == pytest.approx(float(RAW.loss(SIZES[-1]) - CLEAN.loss(SIZES[-1])), rel=0.3)
    assert told.noise == pytest.approx(math.hypot(TRUTH.trunk, TRUTH.cell), rel=0.4)
    with pytest.raises(fits.FitError, match="two seeds"):
        fits.signal_to_noise(TRUTH.grid(np.random.default_rng(5), 1))
