"""A manifest is checked whole before anything is done, and every mistake names place and fix."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import MANIFEST, write_manifest

from curate.errors import ManifestError
from curate.manifest.profiles import load_profile, shipped_profiles
from curate.manifest.reader import load_manifest
from curate.quantities import parse_count, short_bytes, short_count, short_time
from curate.spec.bounds import parse_bound

SHIPPED = sorted((Path(__file__).parents[2] / "manifests").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_shipped_manifest_is_sound(path):
    manifest = load_manifest(path)
    assert manifest.levels[0].on is None
    for level in manifest.levels:
        assert (level.name == "raw") == (not level.rules and level.on is None)


def test_a_level_gathers_the_rules_of_the_levels_below(manifest):
    loaded = load_manifest(manifest)
    names = [rule.name for _, rule in loaded.rules_of(loaded.level("unique"))]
    assert names[:2] == ["long.word_count", "long.language"]
    assert names[-1] == "unique.duplicate"
    assert any(name.startswith("gopher-repetition.") for name in names)


MISTAKES = [
    ('name = "small"', 'nmae = "small"', 'unknown key "nmae" (did you mean "name"?)'),
    ('format = "jsonl"', 'format = "json"', 'did you mean "jsonl"'),
    ("word_count = [8, inf]", "word_count = [9, 3]", "swap the bounds"),
    ("word_count = [8, inf]", "word_cuont = [8, inf]", 'did you mean "word_count"'),
    (
        "word_count = [8, inf]",
        "bullet_line_ratio = [2, 3]",
        "keeps nothing: bullet_line_ratio lies in [0, 1]",
    ),
    ("word_count = [8, inf]", 'word_count = ["en"]', "takes two numbers"),
    ('language = ["en"]', 'source = ["nots"]', 'did you mean "notes"'),
    ('language = ["en"]', "source = [0, 1]", "write the names of sources"),
    ('language = ["en"]', "language = [0, 1]", "takes a list of labels"),
    ('language = ["en"]', 'language = ["englsh"]', "is no known language code"),
    ("language = true", "language = false", "add language = true to [signals]"),
    ("near_duplicates = { similarity = 0.8 }", "", "add near_duplicates = true"),
    ("similarity = 0.8", "similarity = 8", "not in [0.3, 1)"),
    ('on = "raw"', 'on = "rwa"', 'did you mean "raw"'),
    ('"gopher-repetition"', '"gopher-repetitoin"', 'did you mean "gopher-repetition"'),
    ('name = "unique"', 'name = "long"', "taken twice"),
    ("duplicate = false", "duplicates = false", 'did you mean "duplicate"'),
    ("duplicate = false", "duplicate = true", "only useful value is false"),
    ('tokens = ["4k", "8k", "16k"]', 'tokens = ["lots"]', "is no quantity"),
    ('tokens = ["4k", "8k", "16k"]', 'tokens = ["4k", "4000"]', "named twice"),
    ('from = ["raw", "unique"]', 'from = ["rew"]', 'did you mean "raw"'),
    ("vocabulary = 400", "vocabulary = 40", "at least 257"),
    ("width = 32", "widht = 32", "did you mean width"),
    ("seeds = 2", "seeds = 0", "[1, 1000]"),
    ("batch = 8", "batch = 800", "a batch of 25,600 tokens is larger than the smallest size, 4,000"),
    ('"4k", "8k", "16k"', '"4k", "4050"', "two sizes are as many batches"),
    ("[grid]", "[attribution]\ntokens = 100\n[grid]", "tokens = 100: a batch of 256 tokens is larger"),
    ("width = 32", "width = [32, 32]", "names a value twice"),
    ("width = 32", 'width = "wide"', "must be a whole number"),
    ('name = "unique"', 'name = "a/b"', "without /"),
    ('on = "raw"', 'on = "unique"', "is no level above it"),
    ('path = "notes.jsonl"', 'path = "notes.jsonl"\ncolumns = ["id"]', 'has a "id" already'),
    ("language = true", 'language = { model = "nowhere.ftz" }', "no such file"),
    ("[grid]", '[grid]\nlevels = ["row"]', 'did you mean "raw"'),
    ('path = "notes.jsonl"', 'path = "{packages}/notes.jsonl"', "placeholders are {site-packages}, {stdlib}"),
    ('path = "notes.jsonl"', 'path = "notes.jsonl"\nlongest = "3 GB"', "at most 2,000,000,000"),
    ("[signals]", "[signals", "not TOML"),
]


@pytest.mark.parametrize(
    ("right", "wrong", "said"), MISTAKES, ids=[wrong or said for _, wrong, said in MISTAKES]
)
def test_a_mistake_is_one_error_that_says_where_what_and_the_fix(tmp_path, right, wrong, said):
    assert right in MANIFEST
    path = write_manifest(tmp_path, MANIFEST.replace(right, wrong, 1))
    with pytest.raises(ManifestError) as caught:
        load_manifest(path)
    message = str(caught.value)
    assert said in message
    assert str(path) in message
    assert "\n" not in message or "TOML" in message


def test_a_manifest_that_is_not_there_is_named_with_one_that_is(manifest):
    with pytest.raises(ManifestError, match='did you mean "small.toml"'):
        load_manifest(manifest.with_name("smal.toml"))


def test_a_profile_beside_the_manifest_comes_before_a_shipped_one(tmp_path):
    (tmp_path / "fineweb.toml").write_text('name = "fineweb"\n[keep]\nword_count = [3, inf]\n')
    assert [r.name for r in load_profile("fineweb", tmp_path).rules] == ["fineweb.word_count"]
    assert len(load_profile("fineweb", tmp_path / "elsewhere").rules) > 2


def test_every_shipped_profile_bounds_known_signals_with_its_source():
    from filters.registry import SIGNALS

    for name in shipped_profiles():
        profile = load_profile(name, Path("nowhere"))
        assert profile.name == name
        assert profile.source
        assert {rule.signal for rule in profile.rules} <= set(SIGNALS)


@pytest.mark.parametrize("name", shipped_profiles())
def test_every_shipped_profile_can_be_named_by_a_level(tmp_path, name):
    level = f'[[level]]\nname = "published"\non = "raw"\nprofiles = ["{name}"]\n\n[tokenizer]'
    manifest = load_manifest(write_manifest(tmp_path, MANIFEST.replace("[tokenizer]", level, 1)))
    assert manifest.level("published").rules


@pytest.mark.parametrize(
    "value", [[1], [1, 2, 3], "en", 3, [], [1, "a"], {"top": 2}, {"best": 0.1}, [float("nan"), 1], [True, 2]]
)
def test_a_bound_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match="word_count"):
        parse_bound("word_count", value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5M", 500_000),
        ("100k", 100_000),
        (7, 7),
        ("64 MB", 64_000_000),
        ("1_000", 1000),
        ("2B", 2_000_000_000),
    ],
)
def test_counts_are_read_as_people_write_them(text, value):
    assert parse_count(text) == value


def test_quantities_are_written_short():
    assert (short_count(999_999), short_bytes(999_600), short_count(999)) == ("1M", "1 MB", "999")
    assert (short_count(1_234_567), short_count(100_000), short_bytes(2_500_000), short_time(75)) == (
        "1.23M", "100k", "2.5 MB", "75 s",
    )  # fmt: skip
