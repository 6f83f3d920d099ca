"""What a grid of runs says: laws, differences, exchange rates and more, with intervals.

laws.py        L(D) = E + B / D^b, least squares, with one exponent for several levels or one each
noise.py       how much a loss varies from seed to seed, level by level; how far laws are off beyond that
grid.py        all runs on one holdout, and the replicates from which intervals come
curves.py      laws through a grid; the largest size foretold from the smaller ones
compare.py     differences, exchange rates, overtaking; correction for many comparisons
surface.py     L(N, D), and what is optimal for a compute budget
repetition.py  unique tokens and passes over them: what repeating is worth
mixture.py     loss as a function of the shares of sources, and the best shares
power.py       signal against noise; what a grid can tell apart, and how many seeds would settle it
"""

from train.fits.compare import (
    Difference,
    ExchangeRate,
    Overtaking,
    difference,
    differences,
    exchange_rate,
    exchange_rates,
    measured_crossing,
    overtaking,
    paired_differences,
)
from train.fits.curves import Curves, Estimate, Fit, Foretold, foretold, mean
from train.fits.grid import Grid, Point, interval
from train.fits.laws import FitError, Form, Law, choose_form, fit_power_laws
from train.fits.mixture import MixtureLaw, best_shares, fit_mixture, refit_mixtures
from train.fits.noise import SeedNoise, seed_noise
from train.fits.power import MOST_SEEDS, Signal, detectable, document_spread, seeds_needed, signal_to_noise
from train.fits.repetition import RepetitionLaw, fit_repetition
from train.fits.surface import Surface, fit_surface, fit_surfaces
