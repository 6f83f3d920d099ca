"""The commands as a user meets them: help, errors, exit codes, answers for programs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from conftest import MANIFEST, options_of, write_manifest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from curate.cli import main

README = Path(__file__).parents[2] / "README.md"
WEB = Path(__file__).parents[2] / "manifests" / "web.toml"


def curate(*arguments: object, store: Path | None = None):
    more = options_of(str(arguments[0]), store) if store else []
    return CliRunner().invoke(main, [*map(str, arguments), *more])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The small manifest, run whole: (manifest, store, what `curate run --json` answered)."""
    folder = tmp_path_factory.mktemp("small")
    manifest = write_manifest(folder, MANIFEST)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = curate("run", manifest, "--json", store=folder / "store")
    assert done.exit_code == 0, done.output
    return manifest, folder / "store", json.loads(done.stdout)


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_has_help_that_ends_in_an_example_and_is_in_the_readme(name):
    done = curate(name, "--help")
    assert done.exit_code == 0
    assert f"Example: curate {name}" in done.output
    assert f"curate {name}" in README.read_text(encoding="utf-8")


@pytest.mark.parametrize(("change", "said"), [
    (("word_count", "word_cuont"), 'did you mean "word_count"'),
    (("[8, inf]", "[8, 2]"), "swap the bounds"),
])  # fmt: skip
@pytest.mark.parametrize("command", ["run", "plan", "build", "report", "train"])
def test_a_mistyped_manifest_is_one_line_and_exit_code_2(tmp_path, command, change, said):
    done = curate(command, write_manifest(tmp_path, MANIFEST.replace(*change)), store=tmp_path / "store")
    assert done.exit_code == 2
    assert said in done.output
    assert done.output.count("\n") == 1
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("command", ["plan", "build", "run"])
def test_a_missing_input_is_said_with_exit_code_2_before_anything_is_read(tmp_path, command):
    manifest = write_manifest(tmp_path)
    (tmp_path / "notes.jsonl").unlink()
    done = curate(command, manifest, store=tmp_path / "store")
    assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
    assert 'source "notes": no file' in done.output
    assert not (tmp_path / "store" / "documents").exists()


def test_a_column_that_is_not_there_is_said_before_anything_is_read(tmp_path):
    pq.write_table(pa.table({"text": ["t"], "url": ["u"]}), tmp_path / "a.parquet")
    more = '[[source]]\nname = "a"\nformat = "parquet"\npath = "a.parquet"\ncolumns = ["ulr"]\n'
    manifest = write_manifest(tmp_path, MANIFEST.replace("[parts]", f"{more}\n[parts]"))
    for command in ("plan", "build"):
        done = curate(command, manifest, store=tmp_path / "store")
        assert (done.exit_code, 'no column "ulr"; it has text, url' in done.output) == (2, True), done.output
        assert not (tmp_path / "store" / "documents").exists()


def test_sizes_that_no_level_fills_are_an_error_that_says_what_there_is(tmp_path):
    manifest = write_manifest(tmp_path, MANIFEST.replace('["4k", "8k", "16k"]', '["900M"]'))
    done = curate("build", manifest, store=tmp_path / "store")
    assert done.exit_code == 2
    assert "[sizes]: no level fills 900M tokens; the largest" in done.output.splitlines()[-1]
    assert not manifest.with_suffix(".lock.json").exists()


def test_a_holdout_larger_than_the_pool_takes_half_and_says_so(tmp_path):
    text = MANIFEST.replace('[holdout]\ntokens = "4k"', '[holdout]\ntokens = "900M"').replace(
        '"8k", "16k"', '"5k"'
    )
    done = curate("build", write_manifest(tmp_path, text), "--json", store=tmp_path / "store")
    assert done.exit_code == 0, done.output
    assert any("not 900M: at most half" in warning for warning in json.loads(done.stdout)["warnings"])


def test_a_vocabulary_that_the_text_cannot_fill_is_an_error_of_the_manifest(tmp_path):
    text = MANIFEST.replace("vocabulary = 400", "vocabulary = 900_000")
    done = curate("build", write_manifest(tmp_path, text), store=tmp_path / "store")
    assert done.exit_code == 2
    assert "[tokenizer]: vocabulary = 900000" in done.output.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "."),
        ("train", "--corpus", "."),
        ("show", "."),
        ("score", ".", "."),
        ("probe", "."),
        ("build", "."),
    ],
)
def test_a_folder_that_is_not_what_a_command_takes_is_one_line(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    done = curate(*arguments, store=tmp_path / "store")
    assert done.exit_code in (1, 2), done.output
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.output.splitlines()[-1].startswith(("error: ", "Error: "))


def test_a_tokenizer_file_that_is_none_is_an_error_of_the_manifest(tmp_path):
    text = MANIFEST.replace("vocabulary = 400", 'path = "small.toml"')
    done = curate("build", write_manifest(tmp_path, text), store=tmp_path / "store")
    assert (done.exit_code, "not a tokenizer.json" in done.output) == (2, True), done.output


def own_tokenizer(folder: Path, normalizer=None) -> Path:
    """A manifest with a tokenizer of letters and bytes alone, after this normalizer."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    made.add_special_tokens(["<|end|>"])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    if normalizer is not None:
        made.normalizer = normalizer
    made.save(str(folder / "t.json"))
    table = '[tokenizer]\nvocabulary = 400\ntrain_on = "raw"\nbytes = "60 kB"'
    return write_manifest(folder, MANIFEST.replace(table, '[tokenizer]\npath = "t.json"'))


def test_a_tokenizer_that_loses_text_is_refused_and_one_that_changes_it_is_said(tmp_path):
    lossy = own_tokenizer(tmp_path, normalizers.Replace(Regex("[aeiou]"), ""))
    done = curate("build", lossy, store=tmp_path / "store")
    assert done.exit_code == 2
    assert "of letters and digits do not come back from it" in done.output.splitlines()[-1]
    changing = own_tokenizer(tmp_path, normalizers.Lowercase())
    done = curate("build", changing, store=tmp_path / "store")
    assert (done.exit_code, "texts come back changed" in done.output) == (0, True), done.output
    done = curate("build", own_tokenizer(tmp_path), store=tmp_path / "store")
    assert (done.exit_code, "come back" in done.output) == (0, False), done.output


def test_an_unknown_engine_is_bad_usage(tmp_path):
    done = curate("build", write_manifest(tmp_path), "--engine", "spark", store=tmp_path / "store")
    assert (done.exit_code, "no such engine" in done.output) == (2, True)


def test_the_manifest_for_ones_own_data_is_planned_on_local_stand_ins(tmp_path):
    import datasets

    (tmp_path / "manifests").mkdir()
    (tmp_path / "data" / "books").mkdir(parents=True)
    rows = {"text": ["a text"] * 3, "url": ["u1", "u2", "u3"], "date": ["d"] * 3}
    datasets.Dataset.from_dict(rows).save_to_disk(str(tmp_path / "manifests" / "fineweb"))
    pq.write_table(
        pa.table({"text": ["t"], "title": ["a"], "author": ["b"]}), tmp_path / "data/books/a.parquet"
    )
    packed = pa.Codec("zstd").compress(b'{"content": "x", "url": "u"}\n', asbytes=True)
    (tmp_path / "manifests" / "crawl-1.jsonl.zst").write_bytes(packed)
    text = WEB.read_text(encoding="utf-8")
    text = text.replace("HuggingFaceFW/fineweb", "fineweb").replace(
        "s3://my-bucket/crawl/*.jsonl.zst", "crawl-*.jsonl.zst"
    )
    manifest = tmp_path / "manifests" / "web.toml"
    manifest.write_text(text)
    done = curate("plan", manifest, "--json", store=tmp_path / "store")
    assert done.exit_code == 0, done.output
    planned = json.loads(done.stdout)
    assert [s["files"] for s in planned["sources"]][1:] == [1, 1]
    assert planned["cells"] == 12
    assert planned["training_tokens"] > 80e6
    assert 0.04 < planned["smallest_difference"] < 0.2


def test_plan_says_which_differences_a_grid_could_find(tmp_path):
    found = []
    for seeds, power in ((2, ""), (8, ""), (1, ""), (2, "[power]\nseed_noise = 0.2\n")):
        text = MANIFEST.replace("[grid]\nseeds = 2", f"{power}[grid]\nseeds = {seeds}")
        done = curate("plan", write_manifest(tmp_path, text), "--json", store=tmp_path / "store")
        found.append(json.loads(done.stdout)["smallest_difference"])
    few, many, one, noisy = found
    assert one is None
    assert few > 2 * many
    assert noisy == pytest.approx(5 * few)


def test_plan_counts_a_model_whose_width_follows_from_its_depth(tmp_path):
    seconds = []
    for model in ("depth = 12", "depth = 12, width = 384", "depth = 12, width = 64"):
        text = re.sub(r"model = \{[^}]*\}", f"model = {{ {model} }}", MANIFEST)
        done = curate("plan", write_manifest(tmp_path, text), "--json", store=tmp_path / "store")
        seconds.append(json.loads(done.stdout)["training"][0]["seconds"])
    by_depth, stated, narrow = seconds
    assert by_depth == stated > 10 * narrow


def test_run_answers_with_the_headline_and_leaves_report_and_lock(small):
    manifest, _, answer = small
    assert "held-out" in answer["headline"] or "holdout" in answer["headline"]
    assert answer["cells_trained"] == 6
    assert answer["runs"] == 18
    assert (manifest.parent / answer["report"]).exists()
    facts = json.loads((manifest.parent / answer["report"]).with_suffix(".json").read_text())
    assert facts["headline"] == answer["headline"]
    assert Path(answer["lock"]).exists()


def test_running_again_does_nothing_and_gives_the_same_answer(small, monkeypatch):
    manifest, store, answer = small
    monkeypatch.chdir(manifest.parent)
    monkeypatch.setattr("curate.runs.training.run_grid", lambda *a: pytest.fail("trained again"))
    monkeypatch.setattr("curate.report.layout.render", lambda *a: pytest.fail("made the page again"))
    done = curate("run", manifest, "--json", store=store)
    again = json.loads(done.stdout)
    assert (again["cells_trained"], again["headline"]) == (0, answer["headline"])
    assert "nothing to train" in curate("run", manifest, store=store).output


def test_a_trigram_stands_beside_every_cell_of_the_report(small):
    (report,) = small[0].parent.glob("report/*/report.json")
    holdouts = json.loads(report.read_text(encoding="utf-8"))["holdouts"]
    points = [p for h in holdouts.values() for s in h["levels"].values() for p in s["points"]]
    assert points
    assert all(0 < point["trigram"] < 20 for point in points)


def test_train_prints_a_row_a_run(small):
    manifest, store, _ = small
    lines = curate("train", manifest, store=store).stdout.splitlines()
    assert len([line for line in lines if line.startswith(("raw ", "long ", "unique "))]) == 18


def test_explain_shows_every_signal_every_rule_and_what_drops_the_document(small):
    manifest, store, _ = small
    done = curate("explain", manifest, "notes.jsonl:1", "--json", store=store)
    answer = json.loads(done.stdout)
    assert answer["document"]["text"].startswith("A note on subject 0")
    assert answer["signals"]["word_count"] == 5
    long = next(level for level in answer["levels"] if level["name"] == "long")
    assert (long["kept"], long["dropped_by"]) == (False, "long.word_count")
    by_id = curate("explain", manifest, answer["document"]["id"][:12], store=store)
    assert "FAILS  long.word_count" in by_id.output
    missing = curate("explain", manifest, "nowhere.py::f", store=store)
    assert (missing.exit_code, "no document" in missing.output) == (1, True)


def test_verify_says_how_many_corpora_agree(small):
    manifest, store, _ = small
    done = curate("verify", manifest.with_suffix(".lock.json"), store=store)
    assert (done.exit_code, "9 corpora are what the lock says" in done.output) == (0, True)
    assert curate("verify", manifest.with_suffix(".lock"), store=store).exit_code == 1


def test_one_corpus_can_be_trained_by_itself(small):
    _, store, _ = small
    corpus = next(path for path in sorted((store / "corpora").glob("raw-16k-*")))
    done = curate(
        "train", "--corpus", corpus, "--depth", 1, "--width", 32, "--vocabulary", 400, "--json", store=store
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["losses"]["holdout"]["nats_per_token"] < 6
    assert curate("train", store=store).exit_code == 2


@pytest.mark.parametrize(
    ("vocabulary", "said"), [("100000", "give more text or ask for fewer"), ("3", "alone are 257")]
)
def test_a_vocabulary_that_a_corpus_cannot_fill_is_one_line(small, vocabulary, said):
    _, store, _ = small
    corpus = sorted(store.glob("corpora/*"))[0]
    done = curate("train", "--corpus", corpus, "--vocabulary", vocabulary, store=store)
    assert done.exit_code == 1
    assert done.output.splitlines()[-1].startswith(f"error: {corpus}: --vocabulary = {vocabulary}: ")
    assert said in done.output


def test_cells_are_written_for_torchrun_and_what_it_trains_is_found(small):
    from train.run import main as train_run

    manifest, store, _ = small
    assert curate("train", manifest, "--cells", store=store).stdout == "all cells are trained\n"
    run = next(path for path in sorted((store / "runs").glob("raw-seed-0-*/16000/run.json")))
    before = json.loads(run.read_text())
    run.unlink()
    (cell,) = json.loads(curate("train", manifest, "--cells", "--json", store=store).stdout)
    assert Path(cell) == run.parent.parent / "cell.json"
    assert train_run([cell]) == 0
    after = json.loads(run.read_text())
    assert (after["identity"], after["sha256"]) == (before["identity"], before["sha256"])
    assert curate("train", manifest, "--cells", store=store).stdout == "all cells are trained\n"
    assert curate("train", "--corpus", store, "--cells", store=store).exit_code == 2


def test_a_grid_under_torchrun_is_refused_with_the_way_to_go(small, monkeypatch):
    manifest, store, _ = small
    run = next(path for path in sorted((store / "runs").glob("raw-seed-0-*/16000/run.json")))
    there = run.read_text()
    run.unlink()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    done = curate("train", manifest, store=store)
    run.write_text(there)
    assert done.exit_code == 1
    assert "--cells" in done.output


def test_signals_lists_what_a_level_may_bound():
    names = [row["name"] for row in json.loads(curate("signals", "--json").stdout)]
    assert {"word_count", "language", "repeated_line_ratio"} <= set(names)


def test_the_page_of_signals_is_the_one_that_the_code_prints():
    done = curate("signals", "--markdown")
    page = README.parent / "filters" / "SIGNALS.md"
    assert page.read_text(encoding="utf-8") == done.output, (
        "run: curate signals --markdown > filters/SIGNALS.md"
    )
