"""What trigrams say of a manifest's levels, before anything is trained."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from conftest import MANIFEST, write_manifest

from curate.cli import main
from curate.commands.preview import preview, preview_text
from curate.engine import open_engine
from curate.errors import ManifestError
from curate.manifest.reader import load_manifest
from curate.runs.training import train
from curate.steps import build
from curate.store import Store

TWO = MANIFEST.replace("seeds = 2", 'seeds = 2\nlevels = ["raw", "unique"]')


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("preview")
    write_manifest(folder, TWO)
    return folder


def seen(folder, draws=4) -> dict:
    return preview(
        Store(folder / "store"), load_manifest(folder / "small.toml"), open_engine("local", 2, None), draws
    )


def test_every_level_size_and_draw_is_scored_on_every_holdout_and_nothing_is_trained(folder):
    told = seen(folder)
    assert set(told["holdouts"]) == {"raw", "unique"}
    for holdout in told["holdouts"].values():
        assert set(holdout["levels"]) == {"raw", "unique"}
        for level in holdout["levels"].values():
            losses = [point["mean"] for point in level["points"]]
            assert losses == sorted(losses, reverse=True), "more text teaches more"
            assert all(len(point["seeds"]) == 4 for point in level["points"])
            assert all(point["low"] <= point["mean"] <= point["high"] for point in level["points"])
    assert len(told["statements"]) == 2
    assert told["agreement"] == [0, 0]
    assert not (folder / "small.lock.json").exists()
    assert not (folder / "store" / "runs").exists()
    text = preview_text(told)
    assert "no model was trained" in text
    assert "in the same way" not in text


def test_a_draw_reads_what_a_run_of_its_seed_would_read(folder):
    """The first draws are the blocks of the first seeds where as many seeds are asked for."""
    told, again = seen(folder), seen(folder)
    assert json.dumps(told["holdouts"], default=float) == json.dumps(again["holdouts"], default=float)
    few = seen(folder, 2)["holdouts"]["raw"]["levels"]["raw"]["points"][0]["seeds"]
    many = told["holdouts"]["raw"]["levels"]["raw"]["points"][0]["seeds"]
    assert few["0"] == pytest.approx(many["0"])
    assert few["1"] != pytest.approx(few["0"])


@pytest.mark.slow
def test_with_runs_there_it_says_how_often_both_order_levels_alike(folder):
    engine = open_engine("local", 2, None)
    built = build(Store(folder / "store"), load_manifest(folder / "small.toml"), engine, record=False)
    train(built)
    agreeing, pairs = seen(folder)["agreement"]
    assert pairs == 2 * 3  # holdouts, sizes
    assert 0 <= agreeing <= pairs
    assert f"order {agreeing} of 6 pairs" in preview_text(seen(folder))


def test_a_manifest_that_measures_nothing_is_one_error(folder, tmp_path):
    text = TWO.replace('[holdout]\ntokens = "4k"\nfrom = ["raw", "unique"]', "").replace(
        "[sizes]", 'holdout = "none"\n[sizes]'
    )
    with pytest.raises(ManifestError):
        preview(
            Store(tmp_path / "s"),
            load_manifest(write_manifest(tmp_path, text)),
            open_engine("local", 1, None),
        )


def test_the_command_prints_a_table_and_json(folder):
    command = [
        "preview",
        str(folder / "small.toml"),
        "--draws",
        "3",
        "--store",
        str(folder / "store"),
        "--workers",
        "2",
    ]
    plain = CliRunner().invoke(main, command)
    assert plain.exit_code == 0, plain.output
    assert "trigrams of 3 draws" in plain.output
    told = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert told["draws"] == 3
