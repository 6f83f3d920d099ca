"""Axes that say how to train: text held apart chooses among them, and each level and size is taken at its best."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import MANIFEST, write_manifest

from curate.commands.plan import plan
from curate.engine import open_engine
from curate.manifest.reader import load_manifest
from curate.report.facts import facts as gather
from curate.report.layout import render
from curate.results.tuning import at_best
from curate.runs.cells import planned_cells
from curate.runs.training import train
from curate.steps import build
from curate.store import Store
from train.grid import APART, ladders, tunes, work_tokens
from train.tokens import Packed

TUNED = MANIFEST.replace("batch = 8", "batch = 8\nepochs = [1, 3]")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    built = build(
        Store(folder / "store"), load_manifest(write_manifest(folder, TUNED)), open_engine("local", 2, None)
    )
    return built, train(built)


def test_no_corpus_holds_what_chooses_and_it_shares_no_group_with_what_is_scored(tuned):
    built, _ = tuned
    apart = built.holdouts.apart
    assert set(apart) == {"raw", "long", "unique"}
    assert built.lock["held_apart"] == {name: len(rows) for name, rows in apart.items()}
    scored = set(np.concatenate(list(built.holdouts.rows.values())).tolist())
    cluster = built.annotated.values.clusters()
    for level, rows in apart.items():
        assert len(rows)
        assert built.annotated.judged[level].kept[rows].all()
        assert not scored & set(rows.tolist())
        assert not set(cluster[list(scored)]) & set(cluster[rows])
        for read in built.rows.values():
            assert not set(cluster[rows]) & set(cluster[read])


def test_without_an_axis_to_tune_nothing_is_held_apart(tmp_path):
    assert load_manifest(write_manifest(tmp_path)).apart == ()
    assert tunes({"optimizer": {"weight_decay": [0.1, 1.0]}})
    assert not tunes({"epochs": [4], "model": {"width": [32, 64]}, "seeds": 3})


def test_several_passes_take_a_trunk_for_each_size(tuned):
    built, runs = tuned
    cells = [p.cell for p in planned_cells(built)]
    assert {tuple(c["sizes"]) for c in cells if c["epochs"] == 1} == {(4000, 8000, 16000)}
    assert {tuple(c["sizes"]) for c in cells if c["epochs"] == 3} == {(4000,), (8000,), (16000,)}
    assert all("losses" in run for run in runs)
    for run in runs:
        assert abs(run["tokens_trained"] - run["size"] * run["cell"]["epochs"]) < 3 * 256
        assert (
            Packed.open(run["cell"]["holdouts"][APART]).meta["documents"]
            == built.lock["held_apart"][run["level"]]
        )
    (grid,) = plan(built.annotated.store, built.annotated.manifest).training
    assert grid.cells == len(cells)
    assert grid.runs == len(runs)


def test_work_counts_every_trunk():
    assert ladders([1, 2], {}) == [[1, 2]]
    assert ladders([1, 2], {"epochs": 4}) == [[1], [2]]
    assert work_tokens([100, 200], {"epochs": 4}) == 4 * 300
    assert work_tokens([100, 200], {}) == 200 * 0.75 + 0.25 * 300


def test_the_page_shows_each_level_at_its_best_and_what_was_tried(tuned):
    built, runs = tuned
    facts = gather(built.lock, runs, {})
    for holdout in facts["holdouts"].values():
        assert set(holdout["levels"]) == {"raw", "long", "unique"}
    (finding,) = (f for f in facts["findings"] if f["key"] == "tuning")
    assert len(finding["figures"]["tried"]) == 3 * 3  # levels, sizes
    best = {(row["series"], row["size"]): row for row in finding["figures"]["tried"]}
    for level in ("raw", "unique"):
        row = best[level, 16000]
        mine = [r for r in runs if (r["level"], r["size"]) == (level, 16000)]
        means = {
            e: np.mean([r["losses"][APART]["nats_per_token"] for r in mine if r["tags"]["epochs"] == e])
            for e in (1, 3)
        }
        assert row["best"] == {"epochs": min(means, key=means.get)}
    assert "each trained as is best for it (unique" in facts["headline"]
    assert APART not in facts["holdouts"]
    assert "held apart for this choice" in render(facts)


def test_a_study_trains_as_often_as_its_grid(tmp_path):
    text = (
        MANIFEST.replace("batch = 8", "batch = 8\nepochs = 3")
        + '[attribution]\ntokens = "4k"\n[repetition]\n'
    )
    studies = load_manifest(write_manifest(tmp_path, text)).studies
    assert studies["attribution"].knobs["epochs"] == 3
    assert studies["repetition"].epochs == (1, 2, 4, 8)


def test_a_choice_among_noisy_runs_flatters_nobody():
    """Sixteen settings that do not differ: the least of each would be far too low, what other seeds choose is not."""
    rng, errors, least = np.random.default_rng(1), [], []
    for _ in range(200):
        losses = rng.normal(5, 0.1, (16, 3))
        some = [
            {"seed": s, "how": h, "losses": {"raw": {"nats_per_token": x}, APART: {"nats_per_token": x}}}
            for h, row in enumerate(losses)
            for s, x in enumerate(row)
        ]
        kept, _ = at_best(some, lambda run: "raw", lambda run: run["how"])
        assert sorted(run["seed"] for run in kept) == [0, 1, 2]
        errors.append(np.mean([run["losses"]["raw"]["nats_per_token"] for run in kept]) - 5)
        least.append(losses.mean(1).min() - 5)
    assert abs(np.mean(errors)) < 3 * np.std(errors) / len(errors) ** 0.5 + 0.005
    assert np.mean(least) < -0.08
