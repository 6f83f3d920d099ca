"""Targets: every run is scored on them, of questions on the answers alone, and nothing like them is trained on."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from test_holdout import prose

from curate.commands.plan import plan
from curate.corpora.targets import _choices, _joined
from curate.engine import open_engine
from curate.errors import CurateError, ManifestError
from curate.manifest.reader import load_manifest
from curate.pipeline import run_all
from curate.report.examples import held_out_document
from curate.spec.manifest import Source, Target
from curate.steps import build
from curate.store import Store, read_json
from train.tokens import load_tokenizer
from train.tokens.packed import Packed
from train.trained import load_run

MANIFEST = """
[[source]]
name = "good"
format = "jsonl"
path = "good.jsonl"
[[source]]
name = "bad"
format = "jsonl"
path = "bad.jsonl"

[[target]]
name = "mails"
format = "jsonl"
path = "mails.jsonl"

[[target]]
name = "exam"
format = "jsonl"
path = "exam.jsonl"
prompt = "question"
answer = "answer"

[[target]]
name = "quiz"
format = "jsonl"
path = "quiz.jsonl"
prompt = "question"
choices = "options"
answer = "right"

[[level]]
name = "raw"
[[level]]
name = "clean"
on = "raw"
keep = { source = ["good"] }

[tokenizer]
vocabulary = 300
[sizes]
tokens = ["4k", "8k"]
[holdout]
tokens = "2k"
[grid]
seeds = 2
model = { depth = 1, width = 16 }
context = 32
batch = 8
"""
QUESTIONS = [
    {
        "question": f"what is {k}?",
        "answer": f"answer {k}",
        "options": ["yes it is", "no", f"maybe {k}"],
        "right": "ABC"[k % 3],
    }
    for k in range(12)
]


def lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write(folder: Path, manifest: str = MANIFEST) -> Path:
    mail = prose(70_007, 50)
    shared = " ".join(mail.split()[20:34])
    good = [prose(k) for k in range(400)]
    lines(folder / "good.jsonl", [{"text": t} for t in [*good, mail, f"{prose(900)} {shared} {prose(901)}"]])
    lines(folder / "bad.jsonl", [{"text": f"buy now {k} " * 30 + prose(5000 + k, 10)} for k in range(300)])
    lines(folder / "mails.jsonl", [{"text": mail}, *({"text": prose(8000 + k)} for k in range(30))])
    lines(folder / "exam.jsonl", QUESTIONS)
    lines(folder / "quiz.jsonl", QUESTIONS)
    (folder / "m.toml").write_text(manifest)
    return folder / "m.toml"


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("targets")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield run_all(Store(folder / "store"), write(folder), open_engine("local", 1))


def test_no_corpus_holds_a_text_of_a_target_or_a_run_of_its_words(outcome):
    counts = outcome.built.lock["resembles_a_target"]
    assert counts == {"the same or nearly": 1, "13 words in common": 1}
    pool = outcome.built.annotated.pool
    texts = pa.concat_arrays(
        [c for part in pool.parts for c in part.table(["text"])["text"].chunks]
    ).to_pylist()
    shared = " ".join(prose(70_007, 50).split()[20:34])
    there = [row for row, text in enumerate(texts) if shared in text]
    assert len(there) == 2
    for rows in outcome.built.rows.values():
        assert not np.isin(there, rows).any()


def test_a_target_that_nothing_resembles_cuts_nothing(tmp_path):
    path = write(tmp_path)
    lines(
        tmp_path / "mails.jsonl",
        [{"text": "Completely other words stand here, and none of them anywhere else."}],
    )
    built = build(Store(tmp_path / "store"), load_manifest(path), open_engine("local", 1))
    assert set(built.lock["resembles_a_target"].values()) == {0}


def test_every_run_is_scored_on_every_target(outcome):
    names = ["target mails", "target exam", "target quiz"]
    assert set(outcome.built.lock["holdouts"]) == {"raw", *names}
    for run in outcome.runs:
        assert set(run["losses"]) == {"raw", *names}
        assert 0 <= run["losses"]["target quiz"]["accuracy"] <= 1
        assert "accuracy" not in run["losses"]["target exam"]
    facts = read_json(outcome.page.parent / "report.json")
    assert facts["statements"][0].startswith("On target"), "what the user cares about comes first"
    together = next(f for f in facts["findings"] if f["key"] == "targets")
    assert together["sentences"][0].startswith("Over 3 targets of equal weight, clean differs from raw by")
    assert together["module"] == "curate.results.targets"
    (quiz,) = together["figures"]["accuracy"]
    assert all(0 <= low <= value <= high <= 1 for value, low, high in quiz["levels"].values())


def test_a_document_of_a_target_can_be_shown(outcome):
    shown = held_out_document(outcome.built, "target exam", 0)
    assert shown["text"].startswith("what is ")
    assert " answer " in shown["text"]


def test_of_a_question_the_answer_alone_is_scored_behind_its_prompt(outcome):
    record = max((run for run in outcome.runs), key=lambda run: run["size"])
    directory = Path(record["directory"])
    model = load_run(directory, "cpu").model
    tokenizer = load_tokenizer(directory / "tokenizer.json")
    holdout = Packed.open(record["cell"]["holdouts"]["target exam"])
    nats = np.load(directory / "holdout-target exam.npy")
    of_question = {}
    for row in QUESTIONS:
        prompt = tokenizer.encode(row["question"], add_special_tokens=False).ids
        answer = [*tokenizer.encode(f" {row['answer']}", add_special_tokens=False).ids, holdout.end]
        ids = torch.tensor([[holdout.end, *prompt, *answer]])
        with torch.no_grad():
            losses = model.token_losses(ids[:, :-1], ids[:, 1:])[0].double().numpy()
        of_question[row["answer"]] = losses[len(prompt) :].sum()
    assert sorted(nats) == pytest.approx(
        sorted(of_question.values()), rel=5e-3
    )  # bfloat16, where the machine multiplies it
    loss = record["losses"]["target exam"]
    assert loss["documents"] == len(QUESTIONS)
    assert loss["bytes"] == sum(len(f" {row['answer']}") for row in QUESTIONS)
    assert loss["bits_per_byte"] == pytest.approx(nats.sum() / math.log(2) / loss["bytes"])


def test_what_an_answer_names():
    target = Target(Source("quiz", "jsonl", ("x",)), 100, "right", "options")
    given = ["one", "two", "B"]
    for answer, which in (("two", 1), ("2", 2), (0, 0), ("a", 0), ("B", 2)):
        assert _choices("here", target, answer, given) == (given, which)
    assert _choices("here", target, "x", '["x", "y"]') == (["x", "y"], 0)
    for answer, choices in (
        ("Z", given),
        ("7", given),
        ("", given),
        (None, given),
        ("a", ["one"]),
        ("a", "one"),
        ("a", None),
    ):
        with pytest.raises(CurateError, match="here: "):
            _choices("here", target, answer, choices)


def test_a_prompt_and_its_answer_have_one_space_between_them():
    assert _joined("Why?", "Because") == "Why? Because"
    assert _joined("Q: ", "A") == "Q: A"
    assert _joined("Q:", "\nA") == "Q:\nA"
    assert _joined("", "A") == "A"


def test_plan_says_that_a_target_is_not_there(tmp_path):
    path = write(tmp_path)
    (tmp_path / "quiz.jsonl").unlink()
    (problem,) = plan(Store(tmp_path / "store"), load_manifest(path)).problems
    assert 'source "quiz": no file at' in problem


def test_a_target_that_is_not_there_is_said_before_any_source_is_read(tmp_path):
    path = write(tmp_path)
    (tmp_path / "quiz.jsonl").unlink()
    with pytest.raises(CurateError, match='source "quiz": no file at'):
        build(Store(tmp_path / "store"), load_manifest(path), open_engine("local", 1))
    assert not (tmp_path / "store" / "documents").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            ('prompt = "question"\nanswer = "answer"', 'prompt = "question"'),
            "a question has prompt and answer",
        ),
        (
            ('prompt = "question"\nanswer', 'prompt = "question"\ntext = "x"\nanswer'),
            "a prompt stands in place of text",
        ),
        (('name = "quiz"', 'name = "exam"'), "the name is taken twice"),
        (('name = "mails"', 'name = "mails"\nlevel = "x"'), 'unknown key "level"'),
    ],
)
def test_a_target_that_says_too_little_or_too_much_is_refused(tmp_path, change, says):
    with pytest.raises(ManifestError, match=says):
        load_manifest(write(tmp_path, MANIFEST.replace(*change)))
