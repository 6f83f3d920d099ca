"""Settings of the grid against its first: by size, with the sizes between which the order turns, and honest intervals."""

from __future__ import annotations

import numpy as np
import pytest

from curate.studies.axes import axes_finding

SIZES = (1_000_000, 2_000_000, 4_000_000)
GAP = {1_000_000: -0.05, 2_000_000: 0.0, 4_000_000: 0.15}  # of the LSTM, as the text grows


def runs(gaps: dict[int, float], noise: float = 0.01, seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    found = []
    for number in (1, 2, 3):
        draw = rng.normal(0, 0.05)  # the documents of a seed, which both settings read
        for mixer in ("attention", "lstm"):
            for size in SIZES:
                gap = gaps[size] if mixer == "lstm" else 0.0
                mean = 5.0 - 0.3 * np.log(size / 1e6) + gap + draw + rng.normal(0, noise)
                found.append({"level": "code", "size": size, "seed": number, "tags": {"model.mixer": mixer},
                              "losses": {"code": {"nats_per_token": mean}}})  # fmt: skip
    return found


def test_the_gap_at_each_size_and_where_the_order_turns():
    (found,) = axes_finding("code", {}, runs(GAP, noise=0.002))
    assert [row["tokens"] for row in found["figures"]["rows"]] == list(SIZES)
    assert [row["value"] for row in found["figures"]["rows"]] == pytest.approx(list(GAP.values()), abs=0.03)
    (sentence,) = found["sentences"]
    assert "against code, model.mixer = attention at 4M tokens" in sentence
    assert "It was ahead at 1M: the order turns between that and 4M." in sentence


def test_settings_that_do_not_differ_are_not_told_apart():
    wrong = 0
    for seed in range(40):
        (found,) = axes_finding("code", {}, runs(dict.fromkeys(SIZES, 0.0), seed=seed))
        wrong += any(row["distinguishable"] for row in found["figures"]["rows"])
        assert "turns" not in found["sentences"][0]
    assert wrong <= 6  # 2 expected at 95 %, for all sizes of a study together


def test_a_gap_that_only_some_seeds_have_yet_makes_no_other_size_sure_or_unsure():
    """Three seeds of which one has not learned yet what the others have: at that size the interval is wide, at others not."""
    some = runs(GAP, noise=0.002)
    for run in some:
        if (run["size"], run["seed"], run["tags"]["model.mixer"]) == (SIZES[-1], 1, "lstm"):
            run["losses"]["code"]["nats_per_token"] -= 0.14
    (found,) = axes_finding("code", {}, some)
    width = [row["high"] - row["low"] for row in found["figures"]["rows"]]
    assert width[-1] > 3 * width[0]
    assert "not distinguishable" in found["sentences"][0]


def test_of_one_setting_nothing_is_said():
    assert axes_finding("code", {}, [run for run in runs(GAP) if run["tags"]["model.mixer"] == "lstm"]) == []


def test_a_size_that_only_one_setting_has_is_left_out():
    some = [run for run in runs(GAP) if run["size"] != SIZES[-1] or run["tags"]["model.mixer"] == "lstm"]
    (found,) = axes_finding("code", {}, some)
    assert [row["tokens"] for row in found["figures"]["rows"]] == list(SIZES[:-1])
