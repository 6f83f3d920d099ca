"""What runs read: pieces of long documents, a block of them for every seed, another draw where one is asked for."""

from __future__ import annotations

import math
from itertools import combinations, permutations
from statistics import mean, stdev
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from conftest import MANIFEST, write_manifest

from curate.corpora.draws import Reading, block, in_pieces, piece_tokens
from curate.corpora.units import Units, whole
from curate.engine import open_engine
from curate.errors import ManifestError
from curate.manifest.reader import load_manifest
from curate.pipeline import run_all
from curate.results.agreement import agree, answers
from curate.results.trust import trust_finding
from curate.results.words import statement
from curate.runs.cells import named_by_key, planned_cells
from curate.sources.pool import places_of, remixed
from curate.steps import build
from curate.store import Store, read_json
from train.tokens import Packed

N = 3000


def repeatability(reports: list[dict]):
    """By answer, over repetitions with other documents: in how many intervals the mean of all lies, the share of ordered
    pairs in which an interval holds the other's value (0.83 is what to expect of honest 95 % intervals of equal width), and how
    much repetitions spread against what intervals say (1 is honest, more is too narrow)."""
    found = {}
    every = [answers(facts) for facts in reports]
    for key in every[0]:
        mine = [one[key] for one in every if key in one and math.isfinite(one[key][0])]
        if len(mine) < 2:
            continue
        middle = mean(value for value, _, _ in mine)
        half = [(high - low) / 2 for _, low, high in mine if math.isfinite(high - low)]
        pairs = [a[1] <= b[0] <= a[2] for a, b in permutations(mine, 2)]
        spread = stdev(value for value, _, _ in mine)
        found[key] = {
            "repetitions": len(mine),
            "mean": middle,
            "intervals_with_the_mean": sum(low <= middle <= high for _, low, high in mine),
            "pairs": sum(pairs) / len(pairs),
            "spread": spread,
            "spread_against_intervals": spread / (mean(half) / 1.96) if half else None,
        }
    return found


@pytest.fixture(scope="module")
def level():
    """A pool of documents, some long, with the tokens that they would have."""
    rng = np.random.default_rng(0)
    ids = pa.array(sorted(xxhash.xxh3_128_hexdigest(str(i).encode()) for i in range(N)))
    count = np.where(rng.random(N) < 0.02, 20_000, rng.integers(20, 400, N))
    pool = SimpleNamespace(ids=ids, places=places_of(ids, 0), source=np.arange(N) % 2, draw=0)
    return pool, SimpleNamespace(count=count), count * 4


def parts(units: Units) -> set[tuple[int, int]]:
    return set(zip(units.row.tolist(), units.piece.tolist(), strict=True))


def test_a_place_is_the_beginning_of_the_id_and_another_draw_is_another_order(level):
    pool, _, _ = level
    assert pool.places.tolist() == [int(id[:16], 16) for id in pool.ids.to_pylist()]
    assert places_of(pool.ids.slice(7, 3), 0).tolist() == pool.places[7:10].tolist()
    assert (remixed(pool.places, 0) == pool.places).all()
    first, second = (np.argsort(places_of(pool.ids, draw)) for draw in (1, 2))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


def test_pieces_hold_every_token_once_and_long_documents_everywhere(level):
    pool, tokens, size = level
    units = in_pieces(pool, np.arange(N), size, 1000)
    short = units.of == 1
    for source in (0, 1):
        mine = units.row[short & (pool.source[units.row] == source)]
        assert (np.diff(mine) > 0).all(), "short documents of a source keep their order"
    first, end = units.bounds(tokens.count)
    assert (end - first).max() <= 1000
    assert np.bincount(units.row, end - first, N).tolist() == tokens.count.tolist()
    long_tokens = np.where(short, 0, end - first)
    quarters = [part.sum() for part in np.array_split(long_tokens, 4)]
    assert max(quarters) < 1.2 * min(quarters)


@pytest.mark.parametrize("longest", [1000, 10**9])
def test_every_stretch_of_what_is_read_holds_each_source_in_its_share(level, longest):
    pool, tokens, size = level
    source = np.searchsorted([0.7, 0.95, 0.99], np.random.default_rng(1).random(N))
    size = np.minimum(size, 8000)
    units = in_pieces(SimpleNamespace(**vars(pool) | {"source": source}), np.arange(N), size, longest)
    assert sorted(units.row[units.piece == 0]) == list(range(N))
    read, of = units.sizes(size), source[units.row]
    wanted = np.bincount(of, read) / read.sum()
    long = read.max()
    for begin in range(0, len(units) - len(units) // 10, 97):
        stretch = slice(begin, begin + len(units) // 10)
        held = np.bincount(of[stretch], read[stretch], len(wanted))
        assert np.abs(held - wanted * held.sum()).max() <= 3 * long


def test_copies_of_a_long_document_stand_at_places_of_their_own(level):
    pool, tokens, size = level
    rows = np.sort(np.concatenate([np.arange(N), np.flatnonzero(tokens.count == 20_000)]))
    units = in_pieces(pool, rows, size, 1000)
    assert len(units) == sum(-(-size[row] // 4000) for row in rows)
    both = np.flatnonzero((units.row == rows[np.argmax(tokens.count[rows])]) & (units.piece == 3))
    assert len(both) == 2
    assert both[1] - both[0] > 1


def test_seeds_read_disjoint_blocks_whose_sizes_nest(level):
    pool, tokens, size = level
    units = in_pieces(pool, np.arange(N), size, 1000)
    sizes = (50_000, 100_000, 200_000)
    blocks = [block(pool, units, tokens, sizes, seed, Reading(3, 200_000)) for seed in range(3)]
    for read in blocks:
        assert read.shared == 0
        for want, end in read.ends.items():
            got = read.units.take(slice(end)).lengths(tokens.count).sum()
            assert want <= got <= want + 1001
        assert sorted(read.ends.values()) == [read.ends[want] for want in sizes]
    largest = [parts(read.units.take(slice(read.ends[200_000]))) for read in blocks]
    assert all(not a & b for a, b in combinations(largest, 2))


def test_a_level_too_small_is_read_round_as_far_apart_as_can_be_and_says_so(level):
    pool, tokens, size = level
    units = in_pieces(pool, np.arange(N), size, 1000)
    total = int(units.lengths(tokens.count).sum())
    want = total // 2
    blocks = [block(pool, units, tokens, (want,), seed, Reading(3, want)) for seed in range(3)]
    assert {round(read.shared, 2) for read in blocks} == {round(1 - total / (3 * want), 2)}
    mine = [parts(read.units.take(slice(read.ends[want]))) for read in blocks]
    overlap = [len(a & b) / len(a) for a, b in combinations(mine, 2)]
    assert max(overlap) < 0.4, "two halves a third apart share a third"
    assert set.union(*mine) == parts(units)
    shared = [
        block(pool, units, tokens, (want,), seed, Reading(3, want, per_seed=False)) for seed in range(3)
    ]
    assert {read.shared for read in shared} == {1.0}
    assert len({tuple(read.units.row) for read in shared}) == 1
    assert block(pool, whole(np.arange(9)), tokens, (10**9,), 0, Reading(2, 10**9)).ends == {}


def test_pieces_are_a_fiftieth_of_the_smallest_size_and_no_less_than_two_windows():
    assert piece_tokens((50_000, 400_000), 256) == 768
    assert piece_tokens((10_000,), 256) == 512


def test_the_cells_of_a_grid_read_blocks_of_their_own_or_all_the_first(tmp_path):
    store, engine = Store(tmp_path / "store"), open_engine("local", 1)

    def read(text: str) -> dict[str, list[bytes]]:
        built = build(store, load_manifest(write_manifest(tmp_path, text)), engine)
        cells: dict[str, list[bytes]] = {}
        for planned in planned_cells(built):
            tokens = Packed.open(planned.cell["packed"]).tokens
            cells.setdefault(planned.cell["level"], []).append(bytes(tokens[:2000].tobytes()))
        return cells

    apart = read(MANIFEST)
    assert all(a != b for a, b in apart.values())
    together = read(MANIFEST.replace("[grid]", '[grid]\ndocuments = "shared"'))
    assert all(a == b for a, b in together.values())
    other = read(MANIFEST.replace('name = "small"', 'name = "small"\ndraw = 3'))
    assert all(set(other[name]).isdisjoint(apart[name]) for name in apart)


@pytest.mark.parametrize(("text", "complaint"), [
    ('documents = "mine"', 'write "per seed" or "shared"'), ("pieces = 0", "pieces"),
])  # fmt: skip
def test_a_mistake_in_how_runs_read_says_what_to_write(tmp_path, text, complaint):
    with pytest.raises(ManifestError, match=complaint):
        load_manifest(write_manifest(tmp_path, MANIFEST.replace("[grid]", f"[grid]\n{text}")))


def test_the_headline_says_where_seeds_shared_their_documents():
    gap = {"value": -0.1, "low": -0.2, "high": -0.05, "tokens": 10, "distinguishable": True}
    answer = {"level": "b", "of": "a", "rate": None, "difference": gap}
    holdout = {"levels": {"b": {"setting": ""}}, "exchange": [answer]}
    assert "documents shared" not in (statement("raw", holdout | {"documents_shared": 0.0}) or "")
    assert "documents shared: seeds read 40%" in (statement("raw", holdout | {"documents_shared": 0.4}) or "")


@pytest.mark.parametrize(("seeds", "shared", "said"), [
    ((0, 1), 0.0, "they also cover which documents"), ((0, 1), 1.0, "every seed reads the same ones"),
    ((0, 1), 0.3, "share what they read (a 30%"), ((0,), 0.0, "as one seed read one choice"),
])  # fmt: skip
def test_the_page_says_whether_intervals_hold_the_choice_of_documents(seeds, shared, said):
    runs = [
        {"level": level, "size": size, "seed": seed, "tags": {}, "documents_shared": shared, "parameters": 1,
         "losses": {"raw": {"nats_per_token": 5 - number - size / 1e4 + seed / 100 * (1 + number)}}}
        for number, level in enumerate("ab") for size in (1000, 2000) for seed in seeds
    ]  # fmt: skip
    levels = {"levels": [{"name": "a"}, {"name": "b"}]}
    trust = next(f for f in trust_finding("raw", levels, runs) if f["key"] == "trust")
    assert said in trust["sentences"][0]


def test_names_of_folders_fit_whatever_script_a_level_is_called_in(tmp_path):
    path = named_by_key(tmp_path, "attribution-" + "水" * 100, "0123456789abcdef")
    assert len(path.name.encode()) <= 120
    path.mkdir()
    assert named_by_key(tmp_path, "another", "0123456789abcdef") == path


# ---- Whether answers hold when they are asked again ---------------------------------------------------------


def test_two_answers_agree_where_they_differ_by_less_than_both_intervals_allow():
    assert agree((1.0, 0.8, 1.2), (1.2, 1.0, 1.4))
    assert not agree((1.0, 0.9, 1.1), (1.2, 1.1, 1.3))
    assert agree((1.0, 0.9, math.inf), (5.0, 4.9, 5.1)), "an end that is not known holds everything"


def test_repetitions_tell_honest_intervals_from_narrow_ones():
    rng = np.random.default_rng(0)

    def report(half: float) -> dict:
        value = rng.normal(-0.3, 0.05)
        gap = {"value": value, "low": value - half, "high": value + half}
        return {
            "holdouts": {
                "raw": {"exchange": [{"level": "clean", "of": "raw", "rate": None, "difference": gap}]}
            }
        }

    honest, narrow = (repeatability([report(half) for _ in range(200)]) for half in (0.098, 0.033))
    key = "raw", "clean", "raw", "difference"
    assert 0.78 < honest[key]["pairs"] < 0.88
    assert honest[key]["spread_against_intervals"] == pytest.approx(1, abs=0.15)
    assert honest[key]["intervals_with_the_mean"] > 180
    assert narrow[key]["pairs"] < 0.5
    assert narrow[key]["spread_against_intervals"] > 2.5


REPEATED = """
draw = DRAW
[[source]]
name = "docstrings"
format = "python"
path = "{stdlib}"
exclude = ["site-packages/*"]
[[source]]
name = "pages"
format = "text"
path = "{stdlib}"
include = ["*.txt", "*.html", "*.rst", "*.c", "*.h", "*.pem", "*.xml"]
exclude = ["site-packages/*"]
longest = "100 kB"
[[level]]
name = "raw"
[[level]]
name = "prose"
on = "raw"
keep = { word_count = [20, inf], alphabetic_word_ratio = [0.7, 1] }
[tokenizer]
vocabulary = 2048
bytes = "1 MB"
[sizes]
tokens = ["25k", "50k"]
[holdout]
tokens = "15k"
from = ["raw", "prose"]
[grid]
seeds = 3
model = { depth = 2, width = 48 }
context = 64
"""


@pytest.mark.slow
def test_an_experiment_that_is_repeated_with_other_documents_gives_the_same_answer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reports = []
    for draw in range(12):
        (tmp_path / "m.toml").write_text(REPEATED.replace("DRAW", str(draw)))
        outcome = run_all(Store(tmp_path / "store"), tmp_path / "m.toml", open_engine("local", 2))
        reports.append(read_json(outcome.page.parent / "report.json"))
    found = {key: one for key, one in repeatability(reports).items() if key[-1] == "difference"}
    print(found)
    assert found
    for key, one in found.items():
        assert one["intervals_with_the_mean"] >= 11, (key, one)
        assert one["pairs"] >= 0.75, (key, one)
