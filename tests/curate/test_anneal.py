"""[anneal]: one trunk for many levels, and what their cool-downs say of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import MANIFEST, write_manifest

from curate.commands.plan import plan
from curate.engine import open_engine
from curate.errors import ManifestError
from curate.manifest.reader import load_manifest
from curate.runs.cells import planned_cells, trial_cells
from curate.runs.training import _unfinished, train
from curate.steps import build
from curate.store import Store
from curate.studies import registry
from curate.studies.anneal import Anneal

ANNEAL = '[anneal]\ntokens = "4k"\n'


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("anneal")
    manifest = load_manifest(write_manifest(folder, MANIFEST + ANNEAL))
    return build(Store(folder / "store"), manifest, open_engine("local", 2, None))


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ('[anneal]\nlevels = ["raw"]', "the trunk alone"),
        ('[anneal]\nlevels = ["unqiue"]', 'did you mean "?unique'),
        ('[anneal]\ntrunk = "rew"', 'did you mean "?raw'),
        ("[anneal]\ncooldwn = 0.2", "did you mean"),
    ],
)
def test_a_mistake_says_where_and_what(tmp_path, table, complaint):
    with pytest.raises(ManifestError, match=complaint):
        load_manifest(write_manifest(tmp_path, MANIFEST + table))


def test_all_levels_are_ranked_for_the_price_of_one_trunk(tmp_path):
    manifest = load_manifest(write_manifest(tmp_path, MANIFEST + ANNEAL))
    trials = registry.outline(manifest)["anneal"]
    assert [trial.name for trial in trials] == ["raw", "long", "unique"]
    assert [trial.trained for trial in trials] == [4000, 1000, 1000]
    planned = {part.name: part for part in plan(Store(tmp_path / "store"), manifest).training}
    assert planned["anneal"].tokens == 2 * 6000


def test_a_cooldown_reads_no_document_that_its_trunk_has_read(built):
    trials = registry.outline(built.annotated.manifest)["anneal"]
    of_trunk, *candidates = (trial_cells(built, trial) for trial in trials)
    from train.tokens import Packed

    def documents(path) -> set[tuple[int, ...]]:
        packed = Packed.open(path)
        ends = np.flatnonzero(packed.tokens == packed.end)
        return {tuple(some) for some in np.split(packed.tokens[: ends[-1]], ends[:-1] + 1) if len(some) > 20}

    for cells in candidates:
        for cell, trunk in zip(cells, of_trunk, strict=True):
            assert cell.cell["packed"] == trunk.cell["packed"]
            assert cell.cell["trunk"] == trunk.cell["trunk"]
            assert not documents(cell.cell["cooldown_packed"]) & documents(trunk.cell["packed"])


def test_cooldowns_are_trained_ranked_and_compared_with_whole_runs(built):
    runs = train(built)
    assert not [run for run in runs if "failed" in run]
    account = json.loads(next(built.annotated.store.folder("locks").glob("*.json")).read_text())
    assert sum("trunk-anneal" in name for name in account["used"]) == 2  # kept as long as the lock is
    found = next(f for f in registry.findings("unique", built.lock, runs) if f["key"] == "anneal")
    order, agreement = found["sentences"]
    assert "after 75% of the steps on raw" in order
    assert "3 levels so took 50% of the tokens" in order
    assert "of 3 pairs" in agreement
    assert {row["level"] for row in found["figures"]["rows"]} == {"long", "unique"}
    assert all(row["whole"] for row in found["figures"]["rows"])
    assert all(p.finished() for p in planned_cells(built))


@pytest.mark.slow
def test_a_run_that_grid_and_studies_ask_for_is_trained_once_and_leaves_the_trunk(tmp_path):
    text = MANIFEST.replace('["4k", "8k", "16k"]', '["4k"]').replace("seeds = 2", "seeds = 1")
    factor = '[base]\nlevel = "raw"\n[[factor]]\nname = "start"\nmodel = { init_scale = [2.0] }\n'
    manifest = load_manifest(write_manifest(tmp_path, text + ANNEAL + factor))
    built = build(Store(tmp_path / "store"), manifest, open_engine("local", 2, None))
    whole = [p for p in planned_cells(built) if p.study.get("level", p.cell.get("level")) in ("raw", "base")]
    assert [p.study.get("study") for p in whole] == [None, "anneal", "factors"]
    assert len({p.directory for p in whole}) == 1
    (todo,) = [p for p in _unfinished(planned_cells(built)) if p.directory == whole[0].directory]
    assert (todo.cell["level"], "trunk" in todo.cell) == ("raw", True)
    runs = train(built)
    called = {
        (run.get("study"), run["level"])
        for run in runs
        if run["directory"].startswith(str(whole[0].directory))
    }
    assert called == {(None, "raw"), ("anneal", "raw"), ("factors", "base")}
    assert (Path(todo.cell["trunk"]) / "trunk.state").exists()


def synthetic(losses: dict[str, float], study: str | None) -> list[dict]:
    rng = np.random.default_rng(len(losses) + bool(study))
    return [
        {"level": level, "size": 4000, "seed": seed, "tags": {}, "study": study, "holdouts": {}, "cell": {},
         "nats": {"unique": (nats := loss + rng.normal(0, 0.01, 200))},
         "losses": {"unique": {"nats_per_token": float(nats.mean())}}}
        for level, loss in losses.items() for seed in range(3)
    ]  # fmt: skip


def test_orders_that_agree_in_part_are_said_to(tmp_path):
    manifest = load_manifest(write_manifest(tmp_path, MANIFEST + ANNEAL))
    lock = {"studies": {"anneal": vars(manifest.studies["anneal"])}}
    cooled = synthetic({"raw": 4.0, "long": 3.9, "unique": 3.8}, "anneal")
    whole = synthetic({"raw": 4.0, "long": 3.6, "unique": 3.7}, None)
    study = Anneal
    found = study.findings("unique", lock, cooled + whole)[0]
    assert found["figures"]["agreement"]["share"] == pytest.approx(2 / 3)
    assert "2 of the 3 that both tell apart" in found["sentences"][1]
    assert [row["level"] for row in found["figures"]["rows"]] == ["unique", "long"]
    assert "better than more raw: unique, long" in found["sentences"][0]
    alone = study.findings("unique", lock, cooled)[0]
    assert "takes a grid" in alone["sentences"][1]
    assert "not there yet" in study.findings("unique", lock, whole)[0]["sentences"][0]
