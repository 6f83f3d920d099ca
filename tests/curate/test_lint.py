"""`curate plan` says which rules will not do what they were written for, before anything long runs."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from conftest import MANIFEST, write_manifest

from curate.cli import main
from curate.commands.lint import lint
from curate.manifest.reader import load_manifest


def linted(folder, right: str, wrong: str, documents: int = 40):
    assert right in MANIFEST
    return lint(load_manifest(write_manifest(folder, MANIFEST.replace(right, wrong, 1))), documents)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("word_count = [0, inf]", r"long.word_count = \[0, inf\] can never fire"),
        ("alphabetic_word_ratio = [0, 1]", r"long.alphabetic_word_ratio = \[0, 1\] can never fire"),
        ("word_count = [8, inf]", None),
        ("language_score = [0, 1]", None),  # null where there is no word, and a null keeps nothing
    ],
)
def test_a_bound_as_wide_as_its_signal_is_said_without_reading(tmp_path, wrong, said):
    import re

    found = linted(tmp_path, "word_count = [8, inf]", wrong, 0)
    assert found.documents == 0
    assert bool(found.found) == bool(said)
    assert not said or re.search(said, found.found[0])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("{ similarity = 0.5, bands = 14, rows = 8 }", "14 bands of 8 rows find 5% of the pairs at similarity 0.5, 90% only from 0.79 on"),
        ('{ similarity = 0.6, preset = "datatrove" }', "14 bands of 8 rows find 21% of the pairs at similarity 0.6"),
        ('{ preset = "nemo" }', "20 bands of 13 rows find 68% of the pairs at similarity 0.8"),
        ("{ similarity = 0.5 }", None),
        ('{ preset = "datatrove" }', None),
    ],
)  # fmt: skip
def test_bands_that_miss_pairs_of_the_similarity_asked_for_are_said_without_reading(tmp_path, asked, said):
    right = next(line for line in MANIFEST.splitlines() if line.startswith("near_duplicates"))
    found = linted(tmp_path, right, f"near_duplicates = {asked}", 0).found
    assert [line for line in found if "bands" in line] == found
    assert len(found) == bool(said)
    assert not said or said in found[0]


@pytest.mark.parametrize(
    ("rate", "said"),
    [("learning_rate = 9.9", "optimizer.learning_rate = 9.9 is 248 times more than is usual at width 32, 0.04: runs will diverge"),
     ("learning_rate = 1e-7", "400,000 times less than is usual at width 32"),
     ("embedding_learning_rate = 9.5", "optimizer.embedding_learning_rate = 9.5 is"),
     ("learning_rate = 0.2", None), ("learning_rate = 0.002, name = 'adamw'", None)],
)  # fmt: skip
def test_a_learning_rate_at_the_edge_of_its_range_is_said(tmp_path, rate, said):
    right = next(line for line in MANIFEST.splitlines() if line.startswith("model ="))
    found = linted(tmp_path, right, f"{right}\noptimizer = {{ {rate} }}", 0).found
    assert [line for line in found if said and said in line] == found
    assert len(found) == bool(said)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [("context = 8192", "a batch of 8,192 tokens is larger than the smallest size, 4,000; lower batch or context"),
     ("context = [32, 8192]", "batch of 8,192 tokens"), ("context = 2048", "two sizes are as many batches of 2,048"),
     ("context = 32", None)],
)  # fmt: skip
def test_a_default_batch_that_the_sizes_cannot_hold_is_said(tmp_path, knobs, said):
    right = "context = 32\nbatch = 8"
    asked = knobs if said is None or "two" not in said else f"{knobs}\n"
    sizes = ('"4k", "8k", "16k"', '"4k", "4050"') if said and "two" in said else ('"4k"', '"4k"')
    assert right in MANIFEST
    text = MANIFEST.replace(right, asked, 1).replace(*sizes, 1)
    found = lint(load_manifest(write_manifest(tmp_path, text)), 0).found
    assert len(found) == bool(said), found
    assert not said or said in found[0]


def test_levels_are_tried_on_documents_of_every_source(tmp_path):
    found = linted(tmp_path, "word_count = [8, inf]", "word_count = [8, inf]")
    assert found.found == []
    assert 40 < found.documents < 200
    assert found.kept["raw"] == found.documents > found.kept["long"] >= found.kept["unique"] > 0


def test_a_rule_that_drops_nearly_all_or_all_is_said(tmp_path):
    (told,) = linted(tmp_path, "word_count = [8, inf]", "word_count = [150, inf]").found
    assert "long.word_count drops" in told
    (told,) = linted(tmp_path, "word_count = [8, inf]", "word_count = [99999, inf]").found
    assert "keeps nothing" in told


def test_plan_prints_what_was_found_and_leaves_no_store(tmp_path):
    path = write_manifest(tmp_path, MANIFEST.replace("word_count = [8, inf]", "word_count = [0, inf]", 1))
    done = CliRunner().invoke(main, ["plan", str(path), "--store", str(tmp_path / "s"), "--sample", "20"])
    assert done.exit_code == 0, done.output
    assert 'warning: level "long": long.word_count = [0, inf] can never fire' in done.output
    assert "tried" in done.output
    done = CliRunner().invoke(
        main, ["plan", str(path), "--store", str(tmp_path / "s"), "--sample", "0", "--json"]
    )
    assert len(json.loads(done.stdout)["lint"]["found"]) == 1


def test_lines_that_end_in_a_carriage_return_are_said_and_can_be_read_away(tmp_path):
    path = write_manifest(tmp_path)
    text = "A line of text that says something.\r\n\r\nAnd another one of them."
    (tmp_path / "notes.jsonl").write_text(
        "".join(json.dumps({"text": f"{text} {k}"}) + "\n" for k in range(50))
    )
    (told,) = [w for w in lint(load_manifest(path), 40).found if "newlines" in w]
    assert told.startswith('source "notes": in 100%')
    path.write_text(path.read_text().replace('"notes.jsonl"', '"notes.jsonl"\nnewlines = "unix"'))
    assert not [w for w in lint(load_manifest(path), 40).found if "newlines" in w]


def test_an_evaluation_that_is_not_there_is_said_before_anything_is_read(tmp_path):
    more = '[[evaluation]]\nname = "exam"\nformat = "jsonl"\npath = "nowhere.jsonl"\n\n[parts]'
    path = write_manifest(tmp_path, MANIFEST.replace("[parts]", more, 1))
    done = CliRunner().invoke(main, ["plan", str(path), "--store", str(tmp_path / "s")])
    assert done.exit_code == 2
    assert "nowhere.jsonl" in done.output
