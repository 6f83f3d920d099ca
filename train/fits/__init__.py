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

__all__ = [
    "MOST_SEEDS",
    "Curves",
    "Difference",
    "Estimate",
    "ExchangeRate",
    "Fit",
    "FitError",
    "Foretold",
    "Form",
    "Grid",
    "Law",
    "MixtureLaw",
    "Overtaking",
    "Point",
    "RepetitionLaw",
    "SeedNoise",
    "Signal",
    "Surface",
    "best_shares",
    "choose_form",
    "detectable",
    "difference",
    "differences",
    "document_spread",
    "exchange_rate",
    "exchange_rates",
    "fit_mixture",
    "fit_power_laws",
    "fit_repetition",
    "fit_surface",
    "fit_surfaces",
    "foretold",
    "interval",
    "mean",
    "measured_crossing",
    "overtaking",
    "paired_differences",
    "refit_mixtures",
    "seed_noise",
    "seeds_needed",
    "signal_to_noise",
]
