"""Looking at documents, and at what two choices of them do not share."""

from __future__ import annotations

import hashlib
import json

import pytest
from click.testing import CliRunner

from curate.cli import main

MANIFEST = """
name = "two"

[[source]]
name = "notes"
format = "jsonl"
path = "notes.jsonl"
{more}
[[level]]
name = "raw"

[[level]]
name = "long"
on = "raw"
keep = {{ word_count = [{least}, inf] }}

[[level]]
name = "short"
on = "raw"
keep = {{ word_count = [0, 6], digit_character_ratio = [0, 0.9] }}

[sizes]
tokens = ["1k"]

[holdout]
tokens = "10"

[tokenizer]
vocabulary = 258
"""


def curate(*arguments, store):
    return CliRunner().invoke(main, [*map(str, arguments), "--store", str(store)])


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    texts = [" ".join(f"word{i}" for i in range(n)) + "." * (n > 9) for n in range(1, 41)]
    lines = [json.dumps({"text": text}) for text in [*texts, "1", "22", "333"]]
    (folder / "notes.jsonl").write_text("\n".join(lines))
    (folder / "two.toml").write_text(MANIFEST.format(more="", least=4))
    (folder / "three.toml").write_text(MANIFEST.format(more="limit = 30\n", least=8))
    return folder, folder / "store"


def differing(project, *arguments):
    done = curate("diff", *arguments, "--json", store=project[1])
    found = json.loads(done.stdout)
    only = any(level[side]["documents"] for level in found["levels"] for side in ("only_a", "only_b"))
    assert done.exit_code == int(only), done.output
    return found


def test_two_levels_differ_by_the_documents_of_one_and_the_rule_of_the_other(project):
    (found,) = differing(project, "long", "short", "--of", project[0] / "two.toml")["levels"]
    assert found["both"] == 3  # of 4, 5 and 6 words
    assert found["only_a"]["documents"] == 34
    (group,) = found["only_a"]["dropped_by"]
    assert (group["rule"], group["documents"]) == ("short.word_count", 34)
    assert all(example["value"] > 6 for example in group["examples"])
    (group,) = found["only_b"]["dropped_by"]
    assert (group["rule"], found["only_b"]["documents"]) == ("long.word_count", 3)


def test_a_level_is_compared_with_a_profile_that_the_manifest_never_names(project):
    (found,) = differing(project, "raw", "fineweb-v1", "--of", project[0] / "two.toml")["levels"]
    assert found["only_b"]["documents"] == 0
    assert {g["rule"].partition(".")[0] for g in found["only_a"]["dropped_by"]} == {"fineweb-v1"}
    total = sum(group["documents"] for group in found["only_a"]["dropped_by"])
    assert total == found["only_a"]["documents"] > 0


def test_a_level_does_not_differ_from_itself(project):
    (found,) = differing(project, "long", "long", "--of", project[0] / "two.toml")["levels"]
    assert (found["both"], found["only_a"]["documents"], found["only_b"]["documents"]) == (37, 0, 0)


def test_two_manifests_differ_level_by_level_and_by_what_one_never_read(project):
    folder, _ = project
    answer = differing(project, folder / "two.toml", folder / "three.toml")
    levels = {level["level"]: level for level in answer["levels"]}
    assert [g["rule"] for g in levels["raw"]["only_a"]["dropped_by"]] == ["not read"]
    assert {g["rule"]: g["documents"] for g in levels["long"]["only_a"]["dropped_by"]} == {
        "not read": 10,
        "long.word_count": 4,
    }
    told = curate("diff", folder / "two.toml", folder / "three.toml", store=project[1]).output
    assert "level long: 23 documents in both" in told


def test_a_lock_is_compared_as_it_was_asked_and_says_what_has_changed_since(project):
    folder, store = project
    assert curate("build", folder / "two.toml", store=store).exit_code == 0
    lock = folder / "two.lock.json"
    then = json.loads(lock.read_text())
    then["sources"]["notes"]["digest"] = "another"
    then["manifest"]["text"] = then["manifest"]["text"].replace("[4, inf]", "[5, inf]")
    then["manifest"]["sha256"] = hashlib.sha256(then["manifest"]["text"].encode()).hexdigest()
    (folder / "old.lock.json").write_text(json.dumps(then))
    answer = differing(project, lock, folder / "old.lock.json")
    assert [note.partition(": ")[2] for note in answer["notes"]] == ['source "notes" has changed since']
    long = next(level for level in answer["levels"] if level["level"] == "long")
    assert (long["only_a"]["documents"], long["only_b"]["documents"]) == (1, 0)


def test_documents_are_compared_by_text_and_own_ids_tell_what_changed(tmp_path):
    """Months hold the same texts at other places, and other texts under the same ids."""
    texts = {f"k{n}": " ".join(f"word{i}" for i in range(n, n + 3 + n % 9)) for n in range(40)}
    later = {key: text for key, text in texts.items() if key not in ("k1", "k2")} | {
        "k3": "another text " * 9,
        "k50": "new text " * 9,
    }
    for month, rows in (("one", texts), ("two", dict(reversed(later.items())))):
        (tmp_path / month).mkdir()
        lines = [json.dumps({"text": text, "key": key}) for key, text in rows.items()]
        (tmp_path / month / "notes.jsonl").write_text("\n".join(lines))
        for name, more in (("keyed", 'id = "key"\n'), ("placed", "")):
            (tmp_path / month / f"{name}.toml").write_text(MANIFEST.format(more=more, least=4))
    for name, changed in (("keyed", 1), ("placed", 0)):
        pair = [tmp_path / month / f"{name}.toml" for month in ("one", "two")]
        answer = differing((tmp_path, tmp_path / "store"), *pair)
        raw = next(level for level in answer["levels"] if level["level"] == "raw")
        assert raw["both"] == 37, name
        for side, gone in (("only_a", 3), ("only_b", 2)):
            groups = {g["rule"]: g["documents"] for g in raw[side]["dropped_by"]}
            rest = {"not read": gone - changed} | ({"changed under one id": 1} if changed else {})
            assert groups == rest, (name, side)
    same = curate("diff", pair[0], pair[0], store=tmp_path / "store")
    assert same.exit_code == 0


def test_what_cannot_be_compared_is_one_clear_error(project):
    folder, store = project
    for arguments, words in (
        (("long", "short"), "--of MANIFEST"),
        (("long", "shrot", "--of", folder / "two.toml"), 'did you mean "short"'),
        ((folder / "none.lock.json", folder / "two.toml"), "no lock"),
    ):
        done = curate("diff", *arguments, store=store)
        assert (done.exit_code, words in done.output) == (1, True), done.output


def test_a_corpus_is_shown_by_a_sample_that_the_seed_alone_decides(project):
    folder, store = project
    assert curate("build", folder / "two.toml", store=store).exit_code == 0
    corpus = next((store / "corpora").glob("raw-1k-*"))
    first, again, other = (
        curate("show", corpus, "--count", 3, "--seed", seed, "--json", store=store).stdout
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert {"id", "source", "place", "tokens", "text"} == set(json.loads(first)["sample"][0])
    assert "tokens" in curate("show", corpus, store=store).output


def test_what_a_level_keeps_and_what_a_rule_drops_is_shown(project):
    folder, store = project
    manifest = folder / "two.toml"
    kept = json.loads(curate("show", manifest, "--level", "long", "--count", 9, "--json", store=store).stdout)
    assert (kept["documents"], len(kept["sample"])) == (37, 9)
    assert all(len(document["text"].split()) >= 4 for document in kept["sample"])
    arguments = (manifest, "--level", "short", "--rule", "digit_character_ratio")
    dropped = json.loads(curate("show", *arguments, "--json", store=store).stdout)
    assert sorted(document["text"] for document in dropped["sample"]) == ["1", "22", "333"]
    assert all(document["value"] == 1.0 for document in dropped["sample"])
    assert "digit_character_ratio 1" in curate("show", *arguments, store=store).output


def test_what_cannot_be_shown_is_one_clear_error(project):
    folder, store = project
    for arguments, words in (
        ((folder / "two.toml", "--level", "lng"), 'did you mean "long"'),
        ((folder / "two.toml", "--rule", "word_cuont"), "no such rule"),
        ((folder,), "no corpus directory"),
        ((folder, "--level", "raw"), "is a corpus"),
    ):
        done = curate("show", *arguments, store=store)
        assert (done.exit_code, words in done.output) == (1, True), done.output
