"""Signals of the whole pool: the same in any cut, on any number of workers, in any budget of memory."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from naive_duplicates import shingles

from curate.commands.explain import explain
from curate.duplicates.alarms import alarms, duplicates_summary
from curate.engine import open_engine
from curate.errors import ManifestError
from curate.manifest.reader import load_manifest
from curate.steps import annotate_all, build
from curate.store import Store
from filters.duplicates.grouping import components, cut_of, cuts_of, pairs_of

MANIFEST = """
[[source]]
name = "good"
format = "jsonl"
path = "good.jsonl"
columns = ["stars"]

[[source]]
name = "bad"
format = "jsonl"
path = "bad.jsonl"

[parts]
bytes = "PARTS"

[signals]
near_duplicates = { similarity = 0.7 }
repeated_spans = { words = 20 }
repeated_lines = true
SIGNALS

[[level]]
name = "raw"

[[level]]
name = "clean"
on = "raw"
cut = ["repeated_spans", "repeated_line_spans"]
keep = { duplicate = false }

[sizes]
tokens = "1k"

[holdout]
tokens = "3k"

[tokenizer]
vocabulary = 300
"""


def write(folder: Path, parts: str = "3 kB", signals: str = "") -> Path:
    chance = random.Random(5)
    boiler = "All rights to this page are reserved by those who made it."
    passage = " ".join(f"passage{i}" for i in range(30))
    rows = []
    for k in range(120):
        words = [f"w{chance.randrange(900)}" for _ in range(40)]
        text = " ".join(words)
        rows += [f"{text}\n{boiler}\n", f"{text} x{k}."] if k % 4 == 0 else [text]
        if k % 6 == 1:
            rows.append(f"{text} {passage} end{k}")
        if k % 10 == 2:
            rows += [text, f"Paid {k} by Mr{k}: {text}", f"Paid {k + 1000} by Mr{k + 1000}: {text}"]
    half = len(rows) // 2
    folder.mkdir(parents=True, exist_ok=True)
    for name, mine in (("good", rows[::2]), ("bad", rows[1::2])):
        lines = [json.dumps({"text": text, "stars": i % 5}) for i, text in enumerate(mine)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    assert half > 50
    path = folder / "m.toml"
    path.write_text(MANIFEST.replace("PARTS", parts).replace("SIGNALS", signals))
    return path


COLUMNS = (
    "exact_duplicate_of", "near_duplicate_of", "near_duplicate_similarity", "duplicate_novelty", "duplicate_kind",
    "duplicate_cluster", "duplicate_cluster_size", "repeated_spans", "repeated_span_ratio", "repeated_line_spans", "repeated_line_ratio",
)  # fmt: skip


def table(folder: Path, parts: str, workers: int, memory: int | None, signals: str = "") -> dict:
    """Every pooled signal of every document, by id."""
    a = annotate_all(
        Store(folder / "store"),
        load_manifest(write(folder, parts, signals)),
        open_engine("local", workers, memory),
    )
    columns = [a.values.column(name).to_pylist() for name in COLUMNS]
    return dict(zip(a.pool.ids.to_pylist(), zip(*columns, strict=True), strict=True))


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict:
    return table(tmp_path_factory.mktemp("one"), "100 MB", 1, None)


@pytest.mark.parametrize(
    ("parts", "workers", "memory"),
    [("3 kB", 2, None), pytest.param("2 kB", 5, 2000, marks=pytest.mark.slow), ("9 kB", 1, 300)],
)
def test_any_cut_workers_and_memory_give_the_same(expected, tmp_path, monkeypatch, parts, workers, memory):
    for least in ("duplicates.resolve.LEAST", "duplicates.repeats.LEAST_SLICE"):
        monkeypatch.setattr(f"curate.{least}", 1)  # so that a small budget cuts these few documents, too
    assert table(tmp_path, parts, workers, memory) == expected


def test_every_kind_of_duplicate_and_repeat_is_found(expected):
    kinds = [row[COLUMNS.index("duplicate_kind")] for row in expected.values()]
    assert {"exact", "near", "template", None} == set(kinds)
    ratios = [row[COLUMNS.index("repeated_line_ratio")] for row in expected.values()]
    assert sum(0 < r < 1 for r in ratios) > 10


def test_the_occurrences_are_removed_when_the_spans_are_there(tmp_path):
    table(tmp_path, "3 kB", 1, None)
    assert [path.name for path in (tmp_path / "store" / "occurrences").iterdir()] == []


def test_a_level_that_cuts_repeats_has_them_once(tmp_path):
    built = build(Store(tmp_path / "store"), load_manifest(write(tmp_path)), open_engine("local", 2))
    import datasets

    texts = datasets.load_from_disk(str(next(c for c in built.corpora if c.level == "clean").path))["train"][
        "text"
    ][:]
    assert sum("passage1 passage2" in text for text in texts) <= 1
    assert sum("All rights" in text for text in texts) <= 1
    assert built.lock["signals"]["repeated_spans"]["parameters"] == {"words": 20}
    assert built.lock["pool"]["duplicates"]["near"]["similarity"] == 0.7


def test_alarms_name_the_source_the_cluster_and_the_stub():
    by_source = {
        "crawl": {"documents": 1000, "exact": 300, "template": 100, "near": 100},
        "books": {"documents": 1000, "exact": 10, "template": 0, "near": 40},
    }
    cluster = {
        "id": "ab12",
        "documents": 1500,
        "sources": {"crawl": 1500},
        "bytes": 5000,
        "begins": "All rights",
    }
    said = alarms({"by_source": by_source, "largest": [cluster, cluster | {"documents": 25, "bytes": 90}]})
    assert said == [
        'duplicates: source "crawl" loses 50% of its 1,000 documents, all others 5%',
        'duplicates: one document stands for 1,500 (ab12, begins "All rights"): read some of them',
        'duplicates: one document stands for 25 (ab12, begins "All rights"): a stub, likely a template',
    ]
    assert alarms({"by_source": {"books": by_source["books"]}, "largest": []}) == []


def test_a_build_says_which_pairs_its_bands_miss(tmp_path):
    path = write(tmp_path)
    path.write_text(path.read_text().replace("similarity = 0.7", "similarity = 0.5, bands = 14, rows = 8"))
    lock = build(Store(tmp_path / "store"), load_manifest(path), open_engine("local", 1)).lock
    assert sum("14 bands of 8 rows find 5% of the pairs" in line for line in lock["warnings"]) == 1


def test_the_lock_counts_every_kind_by_source(tmp_path):
    lock = build(Store(tmp_path / "store"), load_manifest(write(tmp_path)), open_engine("local", 1)).lock
    table = lock["duplicates"]["by_source"]
    assert sum(row["exact"] for row in table.values()) == 6
    assert sum(row["documents"] for row in table.values()) == lock["ledger"]["raw"]["good"]["in"] * 2
    assert lock["duplicates"]["largest"][0]["documents"] >= 3
    examples = lock["duplicates"]["examples"]
    assert examples[0]["why"] == "the least similar of all"
    assert all(e["similarity"] >= 0.7 and e["goes"] != e["stays"] for e in examples)
    assert any("[-" in e["differences"] or "{+" in e["differences"] for e in examples)


def representatives(folder: Path, signals: str):
    a = annotate_all(
        Store(folder / "store"), load_manifest(write(folder, signals=signals)), open_engine("local", 1)
    )
    cluster = a.values.clusters()
    sizes = np.bincount(cluster, minlength=len(cluster))
    return a, cluster, np.flatnonzero(sizes > 1)


def test_the_preferred_document_stands_for_its_exact_copies(tmp_path):
    a, cluster, stands = representatives(tmp_path, 'prefer = ["source", "shortest"]')
    assert len(stands) > 5
    for row in stands:
        members = np.flatnonzero(cluster == row)
        assert a.pool.source[row] == a.pool.source[members].min()
    by_words = tmp_path / "words"
    a, cluster, stands = representatives(by_words, 'prefer = ["low word_count"]')
    words = a.values.column("word_count").to_numpy()
    assert all(words[row] == words[cluster == row].min() for row in stands)


def annotated(folder: Path, keep: str, signals: str = ""):
    path = write(folder, signals=signals)
    cut = 'cut = ["repeated_spans", "repeated_line_spans"]\nkeep = { duplicate = false }'
    path.write_text(path.read_text().replace(cut, f"keep = {{ {keep} }}"))
    return annotate_all(Store(folder / "store"), load_manifest(path), open_engine("local", 1))


def texts_of(a) -> list[str]:
    return [text for part in a.pool.parts for text in part.table(["text"])["text"].to_pylist()]


def test_novelty_is_what_the_document_that_stands_for_it_does_not_say(tmp_path):
    a = annotated(tmp_path, "duplicate = false")
    texts, stands = texts_of(a), a.values.clusters()
    for row, novelty in enumerate(a.values.column("duplicate_novelty").to_pylist()):
        mine = shingles(texts[row])
        others = shingles(texts[stands[row]]) if stands[row] != row else set()
        assert novelty == len(mine - others) / len(mine)
    lost = duplicates_summary(a.pool, a.values)["novelty"]["by_source"]
    gone = a.pool.bytes[stands != np.arange(len(stands))].sum()
    assert sum(one["saved"][-1] for one in lost.values()) == gone
    assert 0 < sum(one["lost"][-1] for one in lost.values()) < 0.2 * gone


@pytest.mark.parametrize("more", ["", "word_count = [0, 45], "])
@pytest.mark.parametrize("least", [0.001, 0.08])
def test_a_level_drops_a_duplicate_only_where_what_stays_says_nearly_all_of_it(tmp_path, least, more):
    a = annotated(tmp_path, f"{more}duplicate_novelty = [{least}, 1]")
    judged, cluster, texts = a.judged["clean"], a.values.clusters(), texts_of(a)
    dropped = np.flatnonzero(judged.verdict == len(judged.rules) - 1)
    assert len(dropped) > 5
    stays: dict[int, list[int]] = {}
    for row in np.argsort(a.pool.rank):
        if judged.kept[row]:
            stays.setdefault(int(cluster[row]), []).append(int(row))
    assert max(map(len, stays.values())) > 1
    for row in dropped:
        said = set().union(*(shingles(texts[other]) for other in stays[int(cluster[row])]))
        assert len(shingles(texts[row]) - said) < least * len(shingles(texts[row]))
    for rows in stays.values():
        said = set()
        for row in rows:
            assert len(shingles(texts[row]) - said) >= least * len(shingles(texts[row]))
            said |= shingles(texts[row])


def test_explain_says_what_a_duplicate_adds_to_the_level(tmp_path):
    a = annotated(tmp_path, "duplicate_novelty = [0.1, 1]")
    judged = a.judged["clean"]
    goes = int(np.flatnonzero(judged.verdict == len(judged.rules) - 1)[0])
    why = explain(a, a.pool.ids[goes].as_py())
    rule = why.levels[1]["rules"][-1]
    assert why.levels[1]["dropped_by"] == rule["rule"] == "clean.duplicate_novelty"
    assert rule["value"] < 0.1
    assert rule["bound"] == "[0.1, 1]"
    assert why.duplicates["duplicate_novelty"] < 1


@pytest.mark.parametrize(
    ("keep", "says"),
    [
        ("duplicate_novelty = [0, 0.05]", "write [0.05, 1]"),
        ("duplicate_novelty = { top = 0.1 }", "write [0.05, 1]"),
        ("duplicate_novelty = false", "only duplicate takes it"),
        ("duplicate = false, duplicate_novelty = [0.05, 1]", "leave one of them out"),
    ],
)
def test_a_wrong_bound_on_novelty_is_named_with_the_fix(tmp_path, keep, says):
    with pytest.raises(ManifestError) as error:
        annotated(tmp_path, keep)
    assert says in str(error.value)


def test_exact_duplicates_alone_after_a_normalisation(tmp_path):
    path = write(tmp_path)
    text = path.read_text().replace(
        "near_duplicates = { similarity = 0.7 }", 'exact_duplicates = { normalise = "templates" }'
    )
    path.write_text(text)
    a = annotate_all(Store(tmp_path / "store"), load_manifest(path), open_engine("local", 1))
    assert set(a.values.column("duplicate_kind").to_pylist()) == {None, "exact"}
    templates = [r for r in a.values.column("exact_duplicate_of").to_pylist() if r]
    assert len(templates) >= 20


@pytest.mark.parametrize(
    ("signals", "says"),
    [
        (
            'prefer = ["newest"]',
            '"newest": write "high SIGNAL", "low SIGNAL", or one of longest, shortest, source',
        ),
        ('prefer = ["high language"]', "language is no number"),
        ('prefer = ["high wordcount"]', "there is no signal wordcount"),
        ("repeated_paragraphs = { words = 0 }", "words = 0 is not in 1..10000; 5 is usual"),
        ("repeated_paragraphs = 3", "write true or { words = 5 }"),
        ('exact_duplicates = { normalise = "word" }', 'normalise = "word": choose one of bytes, words'),
        ("exact_duplicates = { fold = 1 }", 'unknown key "fold"'),
    ],
)
def test_wrong_tables_are_named_with_the_fix(tmp_path, signals, says):
    with pytest.raises(ManifestError) as error:
        load_manifest(write(tmp_path, signals=signals))
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("near", "says"),
    [
        ('{ preset = "nemos" }', 'preset = "nemos": choose one of datatrove, dclm, nemo'),
        ("{ bands = 20 }", "bands and rows are given both or neither"),
        (
            "{ bands = 20, rows = 13, permutations = 128 }",
            "20 bands of 13 rows need 260 permutations, not 128",
        ),
        ('{ unit = "word" }', 'unit = "word": choose one of words, characters, templates'),
        ('{ sketch = "datasketch", unit = "characters" }', "is of words; leave unit out"),
        ("{ similarity = 80 }", "similarity = 80 is not in [0.3, 1); 0.8 is usual"),
        ('{ ngram = "5" }', "ngram = '5' is not a whole number"),
        ("{ permutations = 9 }", "permutations lie in 16..2048"),
        ("{ permutatons = 9 }", 'unknown key "permutatons" (did you mean "permutations"?)'),
        ("3", "write true or { similarity = 0.8 }"),
    ],
)
def test_wrong_schemes_are_named_with_the_fix(tmp_path, near, says):
    path = write(tmp_path)
    path.write_text(path.read_text().replace("{ similarity = 0.7 }", near))
    with pytest.raises(ManifestError) as error:
        load_manifest(path)
    assert says in str(error.value)


@pytest.mark.parametrize("preset", ["datatrove", "dclm", "nemo"])
def test_every_preset_finds_planted_copies(tmp_path, preset):
    path = write(tmp_path)
    path.write_text(path.read_text().replace("{ similarity = 0.7 }", f'{{ preset = "{preset}" }}'))
    a = annotate_all(Store(tmp_path / "store"), load_manifest(path), open_engine("local", 1))
    assert sum(k == "exact" for k in a.values.column("duplicate_kind").to_pylist()) == 6


def test_groups_equal_brute_force_however_keys_are_cut():
    chance = np.random.default_rng(3)
    n, bands = 500, 3
    keys = chance.integers(0, 2**64, (n, bands), np.uint64)
    keys[chance.integers(0, n, 200), chance.integers(0, bands, 200)] = keys[7, 1]
    keys[chance.integers(0, n, 60), 2] = keys[9, 2]
    names = list(range(n))
    for band in range(bands):
        for i in range(n):
            j = int(np.flatnonzero(keys[:, band] == keys[i, band])[0])
            low, high = sorted((names[i], names[j]))
            names = [low if name == high else name for name in names]
    for cuts in (1, 2, 16):
        pieces = [keys[:100], keys[100:101], keys[101:]]
        pairs = [
            pairs_of(*cut_of((np.ascontiguousarray(p[:, band]) for p in pieces), cut, cuts))
            for band in range(bands)
            for cut in range(cuts)
        ]
        assert components(n, pairs).tolist() == names
    assert cuts_of(100, 1 << 40) == 1
    assert cuts_of(10**9, 2**30) * 2**30 >= 40 * 10**9
