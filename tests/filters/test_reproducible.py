"""Numbers that do not depend on the processor: rounded a little, and the least value of a function found."""

from __future__ import annotations

import numpy as np
import pytest

from filters.reproducible import agreed, least


def test_values_that_differ_in_the_last_places_agree_and_others_do_not():
    values = np.array([1.1, -3.7e-300, 2.5e300, 0.0, np.inf, -np.inf])
    assert np.array_equal(agreed(values), agreed(np.nextafter(values, 0)))
    assert np.allclose(agreed(values), values, rtol=1e-12, atol=0)
    assert agreed(np.array([1.0])) != agreed(np.array([1 + 1e-11]))
    assert np.isnan(agreed(np.array([np.nan])))[0]


@pytest.mark.parametrize("size", [1, 7, 60])
def test_the_least_value_of_a_convex_function_is_found(size):
    chance = np.random.default_rng(size)
    turned = np.linalg.qr(chance.standard_normal((size, size)))[0]
    curved = turned @ np.diag(np.geomspace(1, 100, size)) @ turned.T
    middle = chance.standard_normal(size)

    def function(x):
        off = x - middle
        return float(off @ curved @ off / 2 + 1), curved @ off

    found = least(function, np.zeros(size), 200)
    assert function(found)[0] == pytest.approx(1, abs=1e-5)
    assert function(least(function, np.zeros(size), 0))[0] == function(np.zeros(size))[0]


def test_where_nothing_falls_the_start_is_the_answer():
    start = np.ones(3)
    assert np.array_equal(least(lambda x: (float((x * x).sum()), np.zeros(3)), start, 5), start)
