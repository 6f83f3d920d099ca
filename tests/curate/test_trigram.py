"""The trigram beside every run: learned from what the run read, kept, and said where it wins."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from test_report import LAWS, lock, runs, words

from curate.report import layout
from curate.report.facts import facts as gather
from curate.results.trigram import KEPT, with_trigrams
from train.tokens.packed import Packed

END, VOCABULARY = 0, 40


def packed(path, documents: list[np.ndarray]) -> str:
    tokens = np.concatenate([np.append(d, END) for d in documents]).astype(np.uint16)
    offsets = np.concatenate([[0], np.cumsum([len(d) + 1 for d in documents])])
    sizes = np.array([4 * len(d) for d in documents])
    Packed.write(path, tokens, offsets, sizes, vocabulary=VOCABULARY, end=END)
    return str(path)


@pytest.fixture
def run(tmp_path) -> dict:
    rng = np.random.default_rng(0)
    cycle = np.tile(np.arange(1, 9), 20)
    texts = [cycle[start : start + 40] for start in rng.integers(0, 100, 30)]
    cell = {
        "packed": packed(tmp_path / "packed", texts),
        "holdouts": {
            "regular": packed(tmp_path / "regular", [cycle[3:60]]),
            "random": packed(tmp_path / "random", [rng.integers(1, VOCABULARY, 60)]),
        },
    }
    (tmp_path / "run").mkdir()
    return {"cell": cell, "size": 800, "seed": 0, "losses": {}, "directory": str(tmp_path / "run")}


def test_a_trigram_knows_what_its_run_has_read_and_nothing_else(run):
    losses = with_trigrams([run])[0]["trigram"]
    assert losses["regular"] < 0.3
    assert losses["random"] > math.log(VOCABULARY)
    few = with_trigrams([run | {"size": 50, "directory": run["directory"] + "/few"}])
    assert few[0]["trigram"]["regular"] > losses["regular"]


def test_it_is_computed_once_and_kept_beside_the_run(run, monkeypatch):
    first = with_trigrams([run])[0]["trigram"]
    monkeypatch.setattr("curate.results.trigram._losses", None)
    assert with_trigrams([run])[0]["trigram"] == first


def test_what_is_kept_of_another_version_or_broken_is_made_anew(run, tmp_path):
    first = with_trigrams([run])[0]["trigram"]
    kept = tmp_path / "run" / KEPT
    for broken in ('{"version": 0, "losses": {}}', '{"version": 1', "[]"):
        kept.write_text(broken)
        assert with_trigrams([run])[0]["trigram"] == first
        assert json.loads(kept.read_text())["losses"] == first


@pytest.mark.parametrize("change", [{"study": "factors"}, {"cell": {}}, {"size": 10**9}])
def test_runs_of_studies_and_runs_whose_tokens_are_gone_have_none(run, change):
    assert "trigram" not in with_trigrams([run | change])[0]


@pytest.mark.parametrize(("better", "cells"), [(0.1, 16), (-0.1, 0)])
def test_a_trigram_that_wins_is_a_warning_and_stands_in_chart_and_table(better, cells):
    beside = [
        run | {"trigram": {name: loss["nats_per_token"] - better for name, loss in run["losses"].items()}}
        for run in runs()
    ]
    facts = gather(lock(), beside, {})
    told = [warning for warning in facts["warnings"] if "statistics of three tokens" in warning]
    assert len(told) == (len(LAWS) if cells else 0)
    assert all(f"in {cells} of 16 cells" in warning for warning in told)
    page = layout.render(facts)
    point = facts["holdouts"]["unique"]["levels"]["raw"]["points"][0]
    assert f"trigram {point['trigram']:.3f}" in words(page)
    assert f"raw, a trigram of 400k tokens: {point['trigram']:.3f}" in page
