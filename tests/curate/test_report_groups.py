"""Loss by source and by level: what is true of a part of a holdout is said of that part, and nothing else is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from curate.results.groups import groups_finding
from train.evaluate import by_group
from train.tokens import Packed

SOURCES = {"books": range(40), "code": range(40, 80), "mail": range(80, 120)}
EFFECT = {"books": -0.4, "code": 0.3, "mail": 0.0}  # of unique against raw, nats per token
LOCK = {"levels": [{"name": "raw"}, {"name": "english"}, {"name": "unique"}]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("groups")
    rng = np.random.default_rng(3)
    lengths = rng.integers(20, 200, 120)
    ids = np.ones(lengths.sum(), np.int64)
    offsets = np.concatenate([[0], lengths.cumsum()])
    groups = {
        "source": {name: list(of) for name, of in SOURCES.items()},
        "level": {"unique": list(range(60))},
    }
    packed = Packed.write(folder / "raw", ids, offsets, 4 * lengths, vocabulary=9, end=0, groups=groups)
    hard = 3 + rng.normal(0, 0.3, 120)
    hard[40:80] += 1
    found = []
    for level in ("raw", "unique"):
        for seed in range(4):
            loss = hard + rng.normal(0, 0.005) + rng.normal(0, 0.01, 120)
            for name, of in SOURCES.items():
                loss[list(of)] += EFFECT[name] * (level == "unique")
            nats = loss * lengths
            run = folder / f"{level}-{seed}"
            run.mkdir()
            np.save(run / "holdout-raw.npy", nats)
            found.append(
                {
                    "level": level, "size": 1000, "seed": seed, "tags": {}, "directory": str(run),
                    "cell": {"holdouts": {"raw": str(packed.path)}},
                    "losses": {"raw": {"nats_per_token": nats.sum() / lengths.sum(), "tokens": int(lengths.sum())}},
                    "losses_by": {"raw": by_group(nats, packed)},
                }
            )  # fmt: skip
    return found


def test_each_source_has_its_own_difference_and_only_clear_ones_are_named(runs):
    (found,) = groups_finding("raw", LOCK, runs)
    hardest, helps, harms = found["sentences"]
    assert "from code is the hardest: 4.3" in hardest
    assert "helps on text from books (−0.4" in helps
    assert "code" not in helps
    assert "harms on text from code (+0." in harms
    assert "mail" not in " ".join(found["sentences"])
    for part in found["figures"]["parts"]:
        if part["kind"] == "source":
            assert part["difference"]["low"] < EFFECT[part["group"]] < part["difference"]["high"]
    json.dumps(found, allow_nan=False)


def test_the_table_has_a_row_a_group_and_shares_of_sources_add_up(runs):
    (found,) = groups_finding("raw", LOCK, runs)
    (table,) = found["tables"]
    assert table["columns"][3:] == ["raw", "unique", "unique against raw"]
    assert [row[0] for row in table["rows"]] == ["from books", "from code", "from mail", "kept by unique"]
    assert {len(row) for row in table["rows"]} == {len(table["columns"])}
    assert sum(p["share"] for p in found["figures"]["parts"] if p["kind"] == "source") == pytest.approx(1)


def test_one_level_is_told_without_differences_and_no_groups_give_no_finding(runs):
    alone = [run for run in runs if run["level"] == "raw"]
    (found,) = groups_finding("raw", LOCK, alone)
    assert len(found["sentences"]) == 1
    assert found["tables"][0]["columns"][3:] == ["raw"]
    assert groups_finding("raw", LOCK, [run | {"losses_by": {"raw": {}}} for run in runs]) == []
    assert groups_finding("raw", LOCK, []) == []


def test_another_setting_of_the_grid_is_not_mixed_in(runs):
    other = [
        run | {"tags": {"model.width": 64}, "losses_by": {"raw": {"source": {}, "level": {}}}} for run in runs
    ]
    wide = [run | {"tags": {"model.width": 64}} for run in runs]
    assert groups_finding("raw", LOCK, runs + wide) == groups_finding("raw", LOCK, runs)
    assert groups_finding("raw", LOCK, runs + other) == groups_finding("raw", LOCK, runs)
