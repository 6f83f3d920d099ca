"""Mistakes in a manifest, made one at a time in every place: each is one clear sentence, before anything is done."""

from __future__ import annotations

import copy
import datetime
import json
import math
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from curate.cli import main
from curate.errors import ManifestError
from curate.manifest.reader import load_manifest

WHOLE: dict[str, Any] = {
    "name": "whole",
    "source": [
        {"name": "notes", "format": "jsonl", "path": "notes.jsonl", "text": "text", "id": "key", "columns": ["url"], "longest": "1 MB", "license": "x"},
        {"name": "pages", "format": "text", "path": ["pages"], "include": ["*.txt"], "exclude": ["b*"], "document": "paragraph", "limit": 100},
        {"name": "set", "format": "hub", "path": "owner/name", "split": "train", "config": "c", "revision": "main"},
    ],
    "evaluation": [{"name": "exam", "format": "jsonl", "path": "exam.jsonl", "columns": ["reply", "context"]}],
    "signals": {
        "heuristics": True, "language": {"model": "lid.176"}, "line_languages": True, "private": True,
        "quality": {"positive": {"source": ["notes"]}, "negative": {"source": "pages", "keep": {"word_count": [3, math.inf]}},
                    "dimension": 8, "epochs": 1, "learning_rate": 0.1, "word_ngrams": 1, "buckets": 1000, "seed": 1, "bytes": "1 MB", "label": "positive"},
        "perplexity": {"train": {"source": "notes"}, "bytes": "1 MB", "order": 3, "min_count": 1, "unlikely": 10.0},
        "topics": {"train": {"source": "notes"}, "bytes": "1 MB", "topics": 4, "seed": 1},
        "contamination": {"ngram": 8}, "evaluation_overlap": {"answer": "reply", "passage": "context"},
        "near_duplicates": {"similarity": 0.8, "ngram": 5, "unit": "words", "sketch": "fast", "permutations": 128, "bands": 14, "rows": 8, "seed": 1},
        "exact_duplicates": {"normalise": "words"},
        "repeated_spans": {"words": 50}, "repeated_lines": True, "repeated_paragraphs": {"words": 5},
        "prefer": ["longest", "high word_count"],
        "url_lists": {"domains": "words.txt"}, "word_lists": {"slurs": "words.txt"},
        "custom": {"shouting": {"function": "shouting:f", "low": 0, "high": 1, "version": 1, "unit": "share", "labels": False}},
    },
    "level": [
        {"name": "raw"},
        {"name": "english", "on": "raw", "keep": {"language": ["en"], "language_score": {"en": [0.65, 1], "de": [0.8, 1]}, "word_count": [8, math.inf], "quality_score": {"top": 0.3}}},
        {"name": "clean", "on": "english", "profiles": ["c4", "fineweb"], "mask": {"email_spans": "[EMAIL]"}, "cut": ["repeated_line_spans"]},
        {"name": "unique", "on": "clean", "keep": {"duplicate": False}},
    ],
    "tokenizer": {"vocabulary": 400, "train_on": "raw", "bytes": "60 kB"},
    "sizes": {"tokens": ["4k", "8k"]},
    "holdout": {"tokens": "4k", "from": ["raw", "unique"]},
    "grid": {
        "levels": ["raw", "unique"], "seeds": 2, "context": 32, "batch": 8, "cooldown": 0.3, "epochs": 1, "device": "cpu", "threads": 1, "precision": "float32", "compile": False,
        "model": {"depth": 1, "width": 32, "heads": 1, "hidden": 64, "tied": True, "rotary_base": 10000.0},
        "optimizer": {"name": "muon", "learning_rate": 0.01, "embedding_learning_rate": 0.04, "beta1": 0.9, "beta2": 0.95, "momentum": 0.9, "muon_interval": 1, "weight_decay": 0.1, "warmup_steps": 5, "stable_steps": 100, "grad_clip": 1.0},
    },
    "parts": {"bytes": "40 kB"},
    "attribution": {"tokens": "4k", "level": "unique", "base": "raw", "parts": "profile", "ways": ["without", "only"], "matched_sources": True},
    "mixture": {"level": "raw", "runs": 5, "tokens": "4k", "seeds": 1, "concentration": 1.0, "holdout": "raw"},
    "repetition": {"tokens": "4k", "epochs": [1, 2], "levels": ["raw"], "budgets": ["4k"]},
    "power": {"seed_noise": 0.01},
}  # fmt: skip

# No key takes these; NUL is no part of any name, path or text.
NEVER = [
    datetime.date(2020, 1, 1),
    [[]],
    [{}],
    [["a"]],
    {"unheard_of": {"of": 1}},
    "nul\0",
    -math.inf,
    math.nan,
    10**30,
]
# Some keys take some of these; what is not taken must be refused as clearly.
SOMETIMES = [
    True,
    False,
    0,
    -1,
    1,
    7,
    1.5,
    -0.5,
    math.inf,
    "",
    "xyz",
    "0",
    "-5",
    [],
    {},
    [1],
    [True],
    ["a"],
    ["raw", "raw"],
    {"top": 0.5},
    {"top": 2},
    [0, 1],
    [1, 0],
]
OPEN = [(-math.inf, 0), (10**30, 0), (10**30, 1)]  # a bound may lie there


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, datetime.date):
        return value.isoformat()
    return json.dumps(value).replace("Infinity", "inf").replace("NaN", "nan")


def written(folder: Path, tree: dict) -> Path:
    path = folder / "whole.toml"
    path.write_text("".join(f"{key} = {toml(value)}\n" for key, value in tree.items()), encoding="utf-8")
    return path


def places(tree: Any, here: tuple = ()) -> Iterator[tuple]:
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield (*here, key)
        if isinstance(value, dict | list):
            yield from places(value, (*here, key))


def changed(place: tuple, change) -> dict:
    tree = copy.deepcopy(WHOLE)
    table = tree
    for key in place[:-1]:
        table = table[key]
    change(table, place[-1])
    return tree


def put(value: Any):
    return lambda table, key: table.__setitem__(key, value)


def misspell(table: dict, key: str) -> None:
    table[key + "x"] = table.pop(key)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "words.txt").write_text("bad\n")
    (folder / "shouting.py").write_text("def f(batch): return [0.0] * len(batch)\n")
    load_manifest(written(folder, WHOLE))
    return folder


def refusal(folder: Path, tree: dict) -> str | None:
    """What is said of it, or None where it is sound. Whatever else is raised fails the test."""
    path = written(folder, tree)
    try:
        load_manifest(path)
    except ManifestError as error:
        message = str(error)
        assert message.startswith(str(path))
        assert "\n" not in message
        assert len(message) > len(str(path)) + 10
        return message
    return None


def test_what_no_key_takes_is_refused_wherever_it_stands(folder):
    taken = []
    for number, place in enumerate(places(WHOLE)):
        for value in NEVER[number % 3 :: 3]:
            bound = "keep" in place and (value, place[-1]) in OPEN
            limit = place[-1] in ("low", "high") or place[-1] == "version" and value == 10**30
            if not bound and not limit and refusal(folder, changed(place, put(value))) is None:
                taken.append((place, value))
    assert not taken


def test_any_value_anywhere_is_taken_or_refused_in_one_sentence(folder):
    chance = random.Random(5)
    said = [refusal(folder, changed(place, put(value)))
            for place in places(WHOLE) for value in chance.sample(SOMETIMES, 3)]  # fmt: skip
    assert sum(message is not None for message in said) > 0.7 * len(said)


FREE = ("word_lists", "custom", "language_score")  # tables whose keys are the user's


def test_a_misspelt_key_is_refused_and_named_wherever_it_stands(folder):
    for place in places(WHOLE):
        if isinstance(place[-1], str) and not (len(place) > 1 and place[-2] in FREE):
            message = refusal(folder, changed(place, misspell))
            assert message is not None, place
            assert place[-1] in message or len(place) == 1, (place, message)


def test_leaving_anything_out_is_sound_or_said_in_one_sentence(folder):
    for place in places(WHOLE):
        refusal(folder, changed(place, lambda table, key: table.pop(key)))


@pytest.mark.parametrize(("raw", "said"), [
    (b"name = \"\xff\xfe\"", "not UTF-8"),
    (b"name = 'a'\nname = 'b'\n", "not TOML"),
    (b"[[level]\n", "not TOML"),
    (b"a = " + b"[" * 100_000, "tables nest too deeply"),
    (b"[x]\n" + b"a." * 3000 + b"a = 1\n", "tables nest too deeply"),
    (b"x" + b" . 'a'" * 20_000 + b" = 1\n", "tables nest too deeply"),
    (b"", "no source"),
    (b"# " + b"x" * 2_000_000, "no source"),
    (b"\x00\x01", "not TOML"),
], ids=["not-utf-8", "a-key-twice", "broken", "nested", "dotted", "quoted", "empty", "one-word", "binary"])  # fmt: skip
@pytest.mark.parametrize("command", ["plan", "build", "run"])
def test_a_file_that_is_no_manifest_is_one_line_and_exit_code_2(tmp_path, raw, said, command):
    path = tmp_path / "broken.toml"
    path.write_bytes(raw)
    done = CliRunner().invoke(main, [command, str(path), "--store", str(tmp_path / "store")])
    assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
    assert said in done.output
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("command", ["plan", "build", "run"])
def test_a_folder_or_a_pipe_is_no_manifest(tmp_path, command):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        done = CliRunner().invoke(main, [command, str(path), "--store", str(tmp_path / "store")])
        assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output


@pytest.mark.skipif(not os.path.exists("/proc/self/pagemap"), reason="this system makes no such files")
def test_what_the_system_makes_as_it_is_read_is_no_manifest_no_model_and_no_lock(folder):
    made = "/proc/self/pagemap"  # it has no end within a lifetime
    begin = f'[[source]]\nname = "s"\nformat = "jsonl"\npath = "notes.jsonl"\n[[level]]\nname = "raw"\n[signals]\nquality = {{ model = "{made}" }}\n'
    (folder / "model.toml").write_text(begin)
    for words, said in (
        (["build", made], "name a file"),
        (["build", folder / "model.toml"], "name a file"),
        (["verify", made], "not a lock"),
    ):
        done = CliRunner().invoke(main, [*map(str, words), "--store", str(folder / "store")])
        assert (done.exit_code in (1, 2), done.output.count("\n")) == (True, 1), done.output
        assert said in done.output


@pytest.mark.parametrize(("words", "content", "said"), [
    (["gc", "--locks"], b"\xff\xfe", "name a file in UTF-8"), (["ls", "--locks"], b"list\n", "it names itself"), (["gc", "--locks"], b"nope\n", "no such file"),
    (["forget", "{manifest}"], b"\xff\xfe", "name a file in UTF-8"), (["plan", "{manifest}", "--sample"], None, "Invalid value for '--sample'"),
])  # fmt: skip
def test_a_list_that_is_none_and_a_number_that_nothing_holds_are_one_line(folder, words, content, said):
    manifest = folder / "listed.toml"
    manifest.write_text(
        '[[source]]\nname = "s"\nformat = "jsonl"\npath = "notes.jsonl"\n[[level]]\nname = "raw"\n'
    )
    if content is not None:
        (folder / "list").write_bytes(content)
    last = str(folder / "list") if content is not None else "9" * 20
    named = [str(manifest) if word == "{manifest}" else word for word in words]
    done = CliRunner().invoke(main, [*named, last, "--store", str(folder / "store")])
    assert done.exit_code in (1, 2), done.output
    assert said in done.output.splitlines()[-1]


def test_a_pipe_is_no_list_of_words_and_a_mark_begins_no_manifest(folder):
    os.mkfifo(folder / "pipe")
    begin = '[[source]]\nname = "s"\nformat = "jsonl"\npath = "notes.jsonl"\n[[level]]\nname = "raw"\n[signals]\nheuristics = true\n'
    path = folder / "marked.toml"
    path.write_bytes(f'\ufeffname = "marked"\n{begin}'.replace("\n", "\r\n").encode())
    assert load_manifest(path).name == "marked"
    path.write_text(f'name = "marked"\n{begin}word_lists = {{ slurs = "pipe" }}\n')
    with pytest.raises(ManifestError, match="pipe is a pipe or a device; name a file"):
        load_manifest(path)
