"""Whether small models rank levels as large ones do."""

from __future__ import annotations

import numpy as np

from curate.results.transfer import transfer_finding

LOCK = {"levels": [{"name": name} for name in ("raw", "clean", "unique")]}
SIZES = (100_000, 400_000, 1_600_000)


def runs(worth, noise=0.002, models=SIZES, seeds=4, rng=None) -> list[dict]:
    """`worth`(level number, parameters) -> nats that a level has less than raw."""
    rng = rng or np.random.default_rng(0)
    return [
        {"level": level["name"], "size": 50_000, "seed": seed, "parameters": m, "tags": {"model.width": m},
         "losses": {"raw": {"nats_per_token": 8 - 0.2 * np.log(m / 1000) - worth(number, m) + rng.normal(0, noise)}}}
        for number, level in enumerate(LOCK["levels"]) for m in models for seed in range(seeds)
    ]  # fmt: skip


def figures(some: list[dict]) -> dict:
    (found,) = transfer_finding("raw", LOCK, some)
    return found["figures"] | {"sentences": found["sentences"], "table": found["tables"][0]}


def test_an_order_that_all_sizes_share_is_told_with_certainty():
    told = figures(runs(lambda level, m: 0.1 * level))
    assert [row["share"] for row in told["agreement"]] == [1.0, 1.0]
    assert all(row["low"] == 1.0 and row["clear"] == row["clear_alike"] == 3 for row in told["agreement"])
    assert min(row["holds"] for row in told["ahead"]) > 0.99
    assert "order 100% [100%, 100%] of 3 pairs" in told["sentences"][0]
    assert len(told["table"]["rows"]) == 3


def test_an_order_that_turns_with_size_is_seen_and_foretold():
    """unique falls behind clean from model to model, and raw is last everywhere."""
    told = figures(runs(lambda level, m: (0.0, 0.2, 0.3 - 0.05 * np.log(m / 1e5))[level]))
    small, middle = told["agreement"]
    assert small["share"] < 1
    assert small["clear"] == 3
    assert small["clear_alike"] == 2
    by = {tuple(row["levels"]): row["holds"] for row in told["ahead"]}
    assert by["clean", "unique"] > 0.99  # beyond the crossing, and going on
    # Two models only: nothing is foretold.
    two = figures(runs(lambda level, m: 0.1 * level, models=SIZES[:2]))
    assert two["ahead"] == []
    assert "takes three sizes of model" in " ".join(two["sentences"])


def test_where_levels_do_not_differ_the_interval_says_so():
    told = figures(runs(lambda level, m: 0.0, noise=0.02))
    assert all(row["high"] - row["low"] >= 1 / 3 for row in told["agreement"])
    assert all(row["clear"] <= 1 for row in told["agreement"])
    assert min(row["holds"] for row in told["ahead"]) < 0.97


def test_one_model_or_one_level_says_nothing():
    assert transfer_finding("raw", LOCK, runs(lambda level, m: 0.0, models=SIZES[:1])) == []
    single = [run for run in runs(lambda level, m: 0.0) if run["level"] == "raw"]
    assert transfer_finding("raw", LOCK, single) == []
    missing = [r for r in runs(lambda level, m: 0.0) if (r["level"], r["parameters"]) != ("clean", SIZES[0])]
    assert transfer_finding("raw", LOCK, missing) == []
