"""Studies: what a manifest may ask for, which corpora follow, and that none costs a second pass over the text."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import MANIFEST, write_manifest
from inverse import tokens_for

from curate.commands.plan import plan
from curate.corpora.draws import Reading, block
from curate.engine import open_engine
from curate.errors import ManifestError
from curate.manifest.reader import load_manifest
from curate.report import panels
from curate.report.facts import facts as gather
from curate.report.layout import render
from curate.results.surface import surface_finding
from curate.results.trust import _open
from curate.runs.cells import planned_cells, sharing, trial_cells
from curate.runs.training import train
from curate.steps import build
from curate.store import Store
from curate.studies import registry
from train import fits
from train.fits.surface import Surface

STUDIES = """
[attribution]
tokens = "4k"
parts = "profile"
matched_sources = true

[mixture]
level = "raw"
runs = 5
tokens = "4k"
seeds = 1

[repetition]
tokens = "4k"
epochs = [1, 2, 4]
levels = ["raw", "unique"]
"""


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    store = Store(folder / "store")
    engine = open_engine("local", 2, None)
    build(store, load_manifest(write_manifest(folder)), engine)
    before = {p for stage in ("documents", "signals") for p in store.folder(stage).rglob("*") if p.is_file()}
    built = build(store, load_manifest(write_manifest(folder, MANIFEST + STUDIES)), engine)
    after = {p for stage in ("documents", "signals") for p in store.folder(stage).rglob("*") if p.is_file()}
    return built, before, after


@pytest.fixture(scope="module")
def facts(studied) -> dict:
    built, _, _ = studied
    return gather(built.lock, train(built), {})


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ('[attribution]\nlevel = "uniqe"', "did you mean"),
        ('[attribution]\nlevel = "raw"', "no level under"),
        ('[attribution]\nparts = "rules"', "choose one of rule"),
        ('[attribution]\ntokens = "1M"', "more than the largest"),
        ("[attribution]\nwidth = 3", "unknown key"),
        ("[mixture]\nruns = 2", "4..512"),
        ('[mixture]\nholdout = "long"', "is not one of raw, unique"),
        ("[repetition]\nepochs = [0]", "whole numbers"),
        ("[repetition]\nmodel = { width = [8, 16] }", "axis"),
        ("[power]\nseed_noise = 0", "above 0"),
        ('[overtaking]\nclean = "raw"', "two levels"),
        ('[overtaking]\nmost = "1k"', "above the largest"),
    ],
)
def test_a_mistake_in_a_study_says_where_and_what(tmp_path, table, complaint):
    with pytest.raises(ManifestError, match=complaint):
        load_manifest(write_manifest(tmp_path, MANIFEST + table))


def test_leave_one_out_and_add_one_levels_hold_every_rule_once(tmp_path):
    manifest = load_manifest(write_manifest(tmp_path, MANIFEST + '[attribution]\nparts = "rule"'))
    own = [rule.name for _, rule in manifest.rules_of(manifest.level("unique"))]
    derived = {level.name: [rule.name for rule in level.rules] for level in manifest.derived}
    assert len(derived) == 2 * len(own)
    for name in own:
        assert derived[f"unique-without-{name}"] == [other for other in own if other != name]
        assert derived[f"raw-with-{name}"] == [name]


def test_cuts_and_masks_are_parts_too(tmp_path):
    text = (
        MANIFEST.replace('name = "unique"', 'cut = ["c4_citation_spans"]\nname = "unique"', 1)
        + "[attribution]\n"
    )
    manifest = load_manifest(write_manifest(tmp_path, text))
    edited = {level.name: [edit.signal for edit in level.edits] for level in manifest.derived}
    assert edited["unique-without-unique.c4_citation_spans"] == []
    assert edited["raw-with-unique.c4_citation_spans"] == ["c4_citation_spans"]
    assert edited["unique-without-unique.duplicate"] == ["c4_citation_spans"]
    assert edited["raw-with-unique.duplicate"] == []
    for level in manifest.derived:
        bounded = [rule.signal for rule in level.rules].count("edited_byte_count")
        assert bounded == bool(level.edits)


def test_plan_counts_the_cells_that_are_trained(studied):
    """The recommended mixture waits for runs, so the plan may count one more of each seed."""
    built, _, _ = studied
    manifest = built.annotated.manifest
    told = {part.name: part for part in plan(built.annotated.store, manifest).training}
    planned = planned_cells(built)
    for study in ("attribution", "mixture", "repetition"):
        cells = sum(p.study.get("study") == study for p in planned)
        waiting = sum(t.seeds for t in registry.outline(manifest)[study] if t.waits)
        assert cells <= told[study].cells <= cells + waiting
        assert told[study].seconds > 0
    assert told["grid"].cells == sum(not p.study for p in planned)
    trials = registry.outline(manifest)["attribution"]
    compared, degrees = len(manifest.derived) + 1, len(trials) - 1
    assert told["attribution"].smallest_difference == fits.detectable(0.04, 2, degrees, comparisons=compared)
    assert told["mixture"].smallest_difference is None  # one seed


def test_derived_levels_read_no_text_again(studied):
    _, before, after = studied
    assert before == after


def test_derived_levels_have_no_corpora_of_their_own(studied):
    built, _, _ = studied
    assert {c.level for c in built.corpora} <= {"raw", "long", "unique"}
    assert set(built.lock["derived"]) == {level.name for level in built.annotated.manifest.derived}


def test_a_level_that_keeps_all_but_one_rule_keeps_at_least_what_the_level_keeps(studied):
    built, _, _ = studied
    everything = built.annotated.everything
    for level in built.annotated.manifest.derived:
        if "-without-" in level.name and "duplicate" not in level.name:
            more = everything[level.name].kept.sum()
            assert more >= everything["unique"].kept.sum()


@pytest.mark.parametrize("shares", [(0.7, 0.3), (0.2, 0.8), (1.0, 0.0)])
def test_every_beginning_of_a_mixture_has_its_shares(studied, shares):
    built, _, _ = studied
    pool, tokens = built.annotated.pool, built.tokens["raw"]
    units = built.units["raw"]
    for seed in (0, 1):
        read = block(pool, units, tokens, (1000, 2000, 4000), seed, Reading(2, 4000), shares)
        longest = units.lengths(tokens.count).max()
        assert read.ends
        for end in read.ends.values():
            mine = read.units.take(slice(end))
            assert not set(mine.row) - set(units.row)
            got = np.bincount(pool.source[mine.row], mine.lengths(tokens.count), 2)
            assert np.abs(got - np.array(shares) * got.sum()).max() <= 2 * longest


def test_matched_sources_have_the_shares_of_the_level(studied):
    built, _, _ = studied
    attributed = [t for t in registry.trials(built) if t.study == "attribution"]
    assert len({t.shares for t in attributed}) == 1
    assert sum(attributed[0].shares) == pytest.approx(1)


def test_equal_raw_pool_and_equal_compute(studied):
    built, _, _ = studied
    repeated = [t for t in registry.trials(built) if t.study == "repetition"]
    for epochs in (1, 2, 4):
        mine = [t for t in repeated if t.about["epochs"] == epochs]
        assert {round(t.tokens * t.knobs["epochs"]) for t in mine} == {4000 * epochs}
        assert mine[0].tokens > mine[1].tokens


def test_trials_with_the_same_documents_share_their_runs(studied):
    built, _, _ = studied
    trial = next(t for t in registry.trials(built) if t.study == "attribution")
    from dataclasses import replace

    one, other = (
        trial_cells(built, replace(trial, name=name, study=study, tokens=2000, shares=None))
        for name, study in (("all but gopher", "attribution"), ("another", "mixture"))
    )
    assert one[0].directory.name.startswith("attribution-all-but-gopher-seed-0-")
    assert [c.directory for c in sharing([*one, *other])] == [c.directory for c in one] * 2
    one[0].directory.mkdir(parents=True)
    again = trial_cells(built, replace(trial, name="another", tokens=2000, shares=None))
    assert again[0].directory == one[0].directory
    one[0].directory.rmdir()


def test_runs_of_studies_are_not_runs_of_the_grid(facts):
    assert set(facts["holdouts"]["raw"]["levels"]) == {"raw", "long", "unique"}
    assert facts["missing"] == []


def test_every_finding_is_told_in_sentences_and_the_page_has_each(facts):
    keys = {(f["key"], f["holdout"]) for f in facts["findings"]}
    assert {(k, h) for k in ("attribution", "repetition", "trust") for h in ("raw", "unique")} < keys
    assert ("mixture", "unique") in keys
    assert ("groups", "raw") in keys
    json.dumps(facts, allow_nan=False)
    page = " ".join(render(facts).replace("\u00a0", " ").split())
    for finding in facts["findings"]:
        assert finding["sentences"]
        for sentence in finding["sentences"]:
            assert sentence.replace("&", "&amp;").replace("<", "&lt;") in page


def test_the_loss_of_each_source_is_told_and_together_they_are_the_holdout(facts):
    found = next(f for f in facts["findings"] if (f["key"], f["holdout"]) == ("groups", "raw"))
    sources = {p["group"]: p for p in found["figures"]["parts"] if p["kind"] == "source"}
    assert set(sources) == {"docstrings", "notes"}
    assert sum(p["share"] for p in sources.values()) == pytest.approx(1)
    assert {p["group"] for p in found["figures"]["parts"] if p["kind"] == "level"} <= {"long", "unique"}


def test_parts_are_ordered_by_worth_with_intervals_that_hold_all(facts):
    for finding in facts["findings"]:
        if finding["key"] == "attribution":
            worth = [part["value"] for part in finding["figures"]["parts"]]
            assert worth == sorted(worth, reverse=True)
            for part in finding["figures"]["parts"]:
                assert (
                    part["corrected_low"]
                    <= part["low"]
                    <= part["value"]
                    <= part["high"]
                    <= part["corrected_high"]
                )


def test_a_mixture_that_foretells_is_confirmed_by_a_run(facts, studied):
    built, _, _ = studied
    mixture = next(f for f in facts["findings"] if f["key"] == "mixture")
    confirmed = any(p.study.get("level") == "recommended" for p in planned_cells(built))
    assert confirmed == ("confirmed" in mixture["figures"])
    assert confirmed or "No mixture is recommended" in mixture["sentences"][0]


def test_studies_without_runs_say_so(studied):
    built, _, _ = studied
    told = gather(built.lock, [], {})["findings"]
    assert told == [] or all("not there yet" in f["sentences"][0] for f in told if f["key"] != "trust")


def surface_of(alpha: float, models: tuple[int, ...], sizes: tuple[int, ...]) -> dict:
    """What is said of runs whose losses are 1.5 + 40 / N^alpha + 60 / D^0.3 and noise."""
    rng = np.random.default_rng(3)
    runs = [
        {
            "level": "raw", "size": d, "seed": seed, "parameters": n, "tokens_trained": d, "flops": 6 * n * d,
            "tags": {"model.width": n}, "losses": {"raw": {"nats_per_token": loss + rng.normal(0, 0.003)}},
        }
        for n in models for d in sizes for seed in (0, 1) for loss in [1.5 + 40 * n**-alpha + 60 * d**-0.3]
    ]  # fmt: skip
    (found,) = surface_finding("raw", {"levels": [{"name": "raw"}]}, runs)
    return found


def test_sizes_of_models_that_make_no_difference_give_no_law_of_compute():
    models, sizes = (50_000, 100_000, 400_000), (100_000, 200_000, 400_000)
    no_law = " ".join(surface_of(0.0, models, sizes)["sentences"])
    assert "no law of L(N, D): the exponent of parameters" in no_law
    assert "alpha 0.3" in " ".join(surface_of(0.35, models, sizes)["sentences"])


def test_at_equal_compute_the_best_model_is_that_of_the_law():
    sizes = tuple(100_000 * 2**i for i in range(6))
    found = surface_of(0.35, (25_000, 50_000, 100_000, 200_000, 400_000), sizes)
    law = Surface(1.5, 40, 60, 0.35, 0.3)
    curves = [curve for curve in found["figures"]["rows"] if curve["best"]]
    assert len(curves) >= 2
    for curve in curves:
        assert curve["best"] == pytest.approx(law.best(curve["flops"])[0], rel=0.06)
        assert curve["best_low"] < curve["best"] < curve["best_high"]
        exact = law.loss(np.array(curve["at"]), curve["flops"] / 6 / np.array(curve["at"]))
        assert curve["value"] == pytest.approx(exact, abs=0.02)
    drawn = panels.isoflops(found["figures"], "loss by parameters")
    assert drawn.count("FLOPs") == len(found["figures"]["rows"])


@pytest.mark.parametrize(
    ("models", "end"), [((100_000, 200_000, 400_000), "smallest"), ((2_000, 3_000, 4_000), "largest")]
)
def test_a_best_model_at_an_end_of_what_was_trained_is_said_to_be_there(models, end):
    found = surface_of(0.35, models, tuple(100_000 * 2**i for i in range(5)))
    assert f"best spent on the {end} model" in found["sentences"][0]
    assert all(curve["best"] is None for curve in found["figures"]["rows"][:1])


def test_two_models_make_no_curve_of_equal_compute():
    found = surface_of(0.35, (50_000, 100_000), (100_000, 200_000, 400_000))
    assert not found["figures"]["rows"]
    assert "at equal compute" not in " ".join(found["sentences"])


def test_what_is_open_says_whether_seeds_or_held_out_documents_would_settle_it():
    def needs(gap: float, spread: float) -> str:
        rng = np.random.default_rng(1)
        lengths, points = np.full(60, 50.0), []
        for level, loss, taste, noise in (("a", 4.0, 0.0, 0.002), ("b", 4.0 + gap, spread, -0.002)):
            own = rng.normal(0, 1, 60) * taste
            for seed in range(3):
                nats = lengths * (loss + own - own.mean() + noise * (seed - 1))
                points.append(fits.Point(level, 1000, seed, float(nats.sum() / lengths.sum()), nats))
        (row,) = _open(fits.Grid(points, lengths), [("b", "a")])
        return row["sentence"]

    assert "more held-out documents would settle it" in needs(0.05, 1.0)
    assert "no 100 seeds would settle it" in needs(0.00001, 0.0)


def crossing_runs(level: str, law: fits.Law, sizes, rng, **more) -> list[dict]:
    return [
        {"level": level, "size": size, "seed": seed, "tags": {}, **more,
         "losses": {"unique": {"nats_per_token": float(law.loss(size)) + rng.normal(0, 0.002)}}}
        for size in sizes for seed in range(3)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("factor", "told"), [(1.0, ": as foretold"), (0.75, "below all of these"), (1.3, "above all of these")]
)
def test_a_foretold_crossing_is_looked_for_and_said_to_be_found_or_not(tmp_path, factor, told):
    table = '[overtaking]\nholdout = "unique"\nclean_tokens = "4k"\nmost = "40k"\n'
    manifest = load_manifest(write_manifest(tmp_path, MANIFEST + table))
    rng, raw, clean = np.random.default_rng(0), fits.Law(2.0, 60.0, 0.3), fits.Law(2.0, 51.0, 0.3)
    sizes = [500, 1000, 2000, 4000]
    grid = crossing_runs("raw", raw, sizes, rng) + crossing_runs("unique", clean, sizes, rng)
    study = manifest.studies["overtaking"]
    trials = study.further(None, grid)
    assert study.further(None, [*grid, {"level": "raw", "size": 1, "failed": "not yet"}]) == []
    true = tokens_for(raw, float(clean.loss(4000)))
    assert [t.tokens / true for t in trials] == pytest.approx([0.5, 1, 2], rel=0.1)
    assert {(t.study, t.level, t.about["of"]) for t in trials} == {("overtaking", "raw", "raw")}
    found = fits.Law(raw.E, raw.B * factor, raw.b)
    runs = crossing_runs("a", found, [t.tokens for t in trials], rng, of="raw")
    runs += crossing_runs("b", clean, [4000], rng, of="unique")
    for run in runs:
        run["study"] = "overtaking"

    def sentence(runs, **more):
        lock = {"studies": {"overtaking": vars(study) | more}}
        return study.findings("unique", lock, grid + runs)[0]["sentences"][0]

    assert told in sentence(runs)
    assert "not there yet" in sentence(runs[:-3])
    assert "no run looks for it" in sentence([], most=5000)
