"""The document most like another in meaning: what comparing all with all finds, however they are clustered."""

from __future__ import annotations

import numpy as np
import pytest

from filters.duplicates import meaning
from filters.models.clusters import unit


def vectors(n: int, size: int, seed: int = 0) -> np.ndarray:
    """Around 20 directions, float32 of length 1."""
    chance = np.random.default_rng(seed)
    middles = chance.standard_normal((20, size))
    return unit((middles[chance.integers(20, size=n)] + chance.standard_normal((n, size))).astype(np.float32))


@pytest.mark.parametrize(("n", "size"), [(1, 3), (2, 1), (300, 7), (700, 64)])
def test_each_row_is_compared_with_all_before_it(n, size):
    rows = vectors(n, size)
    earlier, cosine = meaning.most_alike(rows)
    assert (earlier[0], cosine[0]) == (-1, 0)
    dots = rows.astype(float) @ rows.T
    for i in range(1, n):
        assert 0 <= earlier[i] < i
        assert cosine[i] == pytest.approx(dots[i, :i].max(), abs=1e-5)
        assert dots[i, earlier[i]] == pytest.approx(cosine[i], abs=1e-5)


def test_in_clusters_only_what_is_alike_is_compared_and_copies_are_still_found(monkeypatch):
    rows = vectors(3000, 16)
    rows[1500:] = unit(rows[:1500] + 0.01 * vectors(1500, 16, seed=1))
    monkeypatch.setattr(meaning, "MOST", 200)
    earlier, cosine = meaning.most_alike(rows)
    assert (earlier < np.arange(3000)).all()
    there = earlier >= 0
    dots = (rows[there].astype(float) * rows[earlier[there]]).sum(1)
    assert np.allclose(dots, cosine[there], atol=1e-5)
    assert (earlier[1500:] == np.arange(1500)).mean() > 0.97


def test_rows_that_no_centre_tells_apart_are_compared_in_pieces(monkeypatch):
    monkeypatch.setattr(meaning, "MOST", 100)
    earlier, cosine = meaning.most_alike(np.ones((1000, 1), np.float32))
    assert (earlier < 0).sum() == 10
    assert set(cosine[earlier >= 0]) == {1}
