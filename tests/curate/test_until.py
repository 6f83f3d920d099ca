"""[grid] until = "told apart": seeds are added while they can settle what is open, and intervals hold whenever that stops."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import MANIFEST, write_manifest

from curate.commands.plan import plan
from curate.engine import open_engine
from curate.errors import ManifestError
from curate.manifest.reader import load_manifest
from curate.results.scores import grid_of
from curate.results.trust import wants_more
from curate.runs import cells
from curate.runs.training import train
from curate.steps import build
from curate.store import Store
from train import fits

UNTIL = MANIFEST.replace("seeds = 2", 'seeds = 2\nuntil = "told apart"\nlevels = ["raw", "unique"]')
LOOKS, SIZE = (3, 6, 12), 100_000


def runs(rng: np.random.Generator, seeds: int, gap: float, noise: float = 0.03) -> list[dict]:
    return [
        {"level": level, "size": SIZE, "seed": seed, "looks": len(LOOKS), "directory": "",
         "losses": {"raw": {"nats_per_token": 5 + gap * (level == "unique") + rng.normal(0, noise)}}}
        for seed in range(seeds) for level in ("raw", "unique")
    ]  # fmt: skip


def stopped(rng: np.random.Generator, gap: float) -> tuple[int, fits.Difference]:
    """(seeds that were trained, what is said at the end)."""
    every = runs(rng, LOOKS[-1], gap)
    for seeds in LOOKS:
        some = [run for run in every if run["seed"] < seeds]
        if seeds == LOOKS[-1] or not wants_more({"holdouts": {"raw": {}}}, some, LOOKS[-1]):
            break
    (made,) = fits.differences(grid_of("raw", some), [("unique", "raw")])
    return seeds, made


@pytest.mark.parametrize(("gap", "sooner"), [(0.0, None), (0.06, None), (0.3, 3)])
def test_intervals_hold_whenever_it_stops(gap, sooner):
    rng = np.random.default_rng(int(1000 * gap))
    ends = [stopped(rng, gap) for _ in range(60)]
    assert sum(made.low <= gap <= made.high for _, made in ends) >= 55
    if not gap:
        assert sum(made.distinguishable for _, made in ends) <= 5
    if sooner:
        assert np.mean([seeds == sooner for seeds, _ in ends]) > 0.9


def test_what_three_seeds_leave_open_more_settle_and_what_is_hopeless_stops():
    rng = np.random.default_rng(7)
    found = [stopped(rng, 0.06) for _ in range(40)]
    assert np.mean([made.distinguishable for _, made in found]) > 0.6
    fixed = [fits.differences(grid_of("raw", runs(rng, 3, 0.06)), [("unique", "raw")])[0] for _ in range(40)]
    assert np.mean([made.distinguishable for made in fixed]) < 0.5
    assert np.mean([stopped(rng, 0.0)[0] for _ in range(40)]) < LOOKS[-1]


def test_a_run_that_is_missing_asks_for_no_more():
    missing = [{"level": "raw", "size": SIZE, "seed": 0, "failed": "not trained yet"}]
    assert not wants_more({"holdouts": {"raw": {}}}, missing, 12)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [('until = "bored"', "told apart"), ('until = "told apart"\nseeds = 1', "seeds = 2"),
     ('until = "told apart"\nlevels = ["raw"]', "two levels")],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(tmp_path, wrong, says):
    text = MANIFEST.replace("seeds = 2", wrong if "seeds" in wrong else f"seeds = 2\n{wrong}")
    with pytest.raises(ManifestError, match=says):
        load_manifest(write_manifest(tmp_path, text))


@pytest.mark.slow
def test_seeds_are_added_and_those_that_are_there_stay(tmp_path, monkeypatch):
    store, engine = Store(tmp_path / "store"), open_engine("local", 1, None)
    manifest = load_manifest(write_manifest(tmp_path, UNTIL))
    assert manifest.looks == (2, 4, 8)
    seeds_seen = []

    def open_until_four(lock, runs, most):
        trained = all("losses" in run for run in runs)
        if trained:
            seeds_seen.append(1 + max(run["seed"] for run in runs))
        return trained and seeds_seen[-1] < 4

    monkeypatch.setattr(cells, "wants_more", open_until_four)
    found = train(build(store, manifest, engine))
    assert {run["seed"] for run in found} == {0, 1, 2, 3}
    assert {run["looks"] for run in found} == {3}
    assert sorted(set(seeds_seen)) == [2, 4]
    again = train(build(store, manifest, engine))  # nothing is trained twice
    assert [run["identity"] for run in again] == [run["identity"] for run in found]


def test_plan_says_what_it_may_come_to(tmp_path):
    planned = plan(Store(tmp_path / "store"), load_manifest(write_manifest(tmp_path, UNTIL)), 1)
    first, further = planned.training
    assert (first.cells, further.cells) == (4, 12)
    assert further.name == "further seeds, at most 6"
    assert further.smallest_difference < first.smallest_difference
