"""`curate sweep`: what candidate bounds keep, documents around them, and the loss at each."""

from __future__ import annotations

import pytest
from conftest import write_manifest

from curate.commands.sweep import Asked, sweep, sweep_text
from curate.engine import open_engine
from curate.errors import CurateError
from curate.manifest.reader import load_manifest
from curate.store import Store


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    return Store(folder / "store"), load_manifest(write_manifest(folder)), open_engine("local", 2, None)


def test_a_higher_lower_bound_keeps_less_and_shows_documents_on_both_sides(place):
    told = sweep(*place, Asked("word_count", bounds=(5.0, 20.0, 60.0)), False)
    kept = [row["documents"] for row in told["candidates"]]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > kept[-1]
    for row in told["candidates"]:
        assert all(d["signals"]["word_count"] < row["value"] for d in row["outside"])
        assert all(d["signals"]["word_count"] >= row["value"] for d in row["inside"])
    assert ">= 20" in sweep_text(told)


def test_the_levels_own_rules_on_the_signal_are_left_out(place):
    told = sweep(*place, Asked("word_count", level="long", bounds=(1.0,)), False)
    assert told["candidates"][0]["documents"] == told["documents"]
    assert told["level"] == "long"


@pytest.mark.parametrize("signal", ["word_cout", "language"])
def test_a_signal_that_cannot_be_swept_is_refused(place, signal):
    with pytest.raises(CurateError, match=signal):
        sweep(*place, Asked(signal), False)


def test_training_gives_a_loss_at_each_bound_and_writes_no_lock(place):
    asked = Asked("word_count", level="long", bounds=(10.0, 30.0), tokens=4000, seeds=2)
    told = sweep(*place, asked, True)
    for losses in told["losses"].values():
        assert set(losses) == {"any", ">= 10", ">= 30"}
        assert losses[">= 30"]["difference"]["than"] == "any"
    assert not place[1].lock_path.exists()
    assert "clear of all" in sweep_text(told)


def test_the_bound_that_the_level_has_now_is_among_the_candidates(place):
    (rule,) = [rule for rule in place[1].level("long").rules if rule.signal == "word_count"]
    told = sweep(*place, Asked("word_count", level="long"), False)
    assert [row["value"] for row in told["candidates"] if row["now"]] == [rule.bound.low]
    assert "(as now)" in sweep_text(told)


def test_a_bound_on_the_other_side_is_mentioned(place):
    told = sweep(*place, Asked("word_count", level="long", side="high"), False)
    assert "--side low" in sweep_text(told)
