"""Near duplicates: exact where they decide, the same in any cut, never through a chain."""

from __future__ import annotations

import random
import time

import hostile
import naive_duplicates as naive
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filters.duplicates.exact import content_hashes
from filters.duplicates.leaders import (
    Scheme,
    band_keys,
    bands_and_rows,
    batches,
    candidate_components,
    jaccard,
    leaders,
    likely,
    near_duplicates,
    recall,
    signatures,
    similar_to,
)
from filters.duplicates.novelty import novelty
from filters.duplicates.shingles import shingle_sets
from filters.text.units import UNITS


def column(texts: list[str]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


def variants(seed: int, bases: int = 12, of_each: int = 6, words: int = 60) -> list[str]:
    """Families of documents that differ in a few words: similarities from 0.3 to 1."""
    chance = random.Random(seed)
    texts = []
    for base in range(bases):
        original = [f"w{base}x{chance.randrange(500)}" for _ in range(words)]
        for changes in range(of_each):
            mine = list(original)
            for _ in range(changes):
                mine[chance.randrange(words)] = f"new{chance.randrange(10**6)}"
            texts.append(" ".join(mine))
    chance.shuffle(texts)
    return texts


def cluster(texts: list[str], similarity: float = 0.8, bands: tuple[int, int] | None = None):
    scheme = Scheme(similarity=similarity)
    signed = signatures(column(texts), **scheme.signing)
    return leaders(column(texts), signed, band_keys(signed, *(bands or scheme.cut)), scheme)


def test_jaccard_equals_the_naive_definition_on_hostile_text():
    texts = [t for t in hostile.texts() if len(t) < 5000]
    left, right = np.triu_indices(len(texts))
    found = jaccard(column(texts), left, right)
    expected = [
        naive.jaccard(naive.shingles(texts[i]), naive.shingles(texts[j]))
        for i, j in zip(left, right, strict=True)
    ]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("seed", range(4))
def test_leaders_equal_brute_force_where_every_pair_shares_a_band(seed):
    texts = variants(seed)
    signed = signatures(column(texts))
    everyone = np.zeros((len(texts), 1), np.uint64)
    leader, similarity = leaders(column(texts), signed, everyone, Scheme(similarity=0.6))
    expected = naive.leaders(texts, 0.6)
    assert leader.tolist() == [j for j, _ in expected]
    np.testing.assert_allclose(similarity, [s for _, s in expected], rtol=1e-6)
    assert len(set(leader.tolist())) < len(texts)


def test_nothing_is_joined_through_a_chain():
    words = [f"word{i}" for i in range(400)]
    chain = [" ".join(words[10 * i : 10 * i + 200]) for i in range(20)]  # each .83 similar to the next
    leader, similarity = cluster(chain)
    for i, j in enumerate(leader):
        assert naive.jaccard(naive.shingles(chain[i]), naive.shingles(chain[j])) >= 0.8
    assert len(set(leader.tolist())) > 5
    assert (similarity >= 0.8 - 1e-6).all()


def test_components_clustered_apart_give_the_same_as_all_together():
    texts = variants(9)
    signed = signatures(column(texts))
    keys = band_keys(signed, *Scheme().cut)
    together, _ = leaders(column(texts), signed, keys)
    component = candidate_components(keys)
    for name in np.unique(component):
        rows = np.flatnonzero(component == name)
        apart, _ = leaders(column(texts).take(pa.array(rows)), signed[rows], keys[rows])
        assert rows[apart].tolist() == together[rows].tolist()


def test_shuffled_documents_in_the_same_order_of_preference_give_the_same_clusters():
    texts = variants(3)
    expected = near_duplicates(column(texts))["duplicate_of"].to_pylist()
    places = np.random.default_rng(0).permutation(len(texts))  # places[i]: which text now stands at i
    moved = near_duplicates(column([texts[p] for p in places]), order=np.argsort(places))[
        "duplicate_of"
    ].to_pylist()
    assert [None if moved[i] is None else int(places[moved[i]]) for i in np.argsort(places)] == expected


@pytest.mark.parametrize("of_each", [6, 90])  # buckets below and above CROWD
def test_what_is_not_likely_stays_and_need_not_be_read(of_each):
    texts = variants(5, bases=6, of_each=of_each)
    signed = signatures(column(texts))
    keys = band_keys(signed, 64, 2)  # so few rows that most that share a band are unlike
    together, similarity = leaders(column(texts), signed, keys)
    compared = np.flatnonzero(likely(signed, keys))
    assert len(compared) < len(texts)
    own, found = leaders(column(texts).take(pa.array(compared)), signed[compared], keys[compared])
    expected = np.arange(len(texts))
    expected[compared] = compared[own]
    assert together.tolist() == expected.tolist()
    assert similarity[compared].tolist() == found.tolist()


def test_texts_in_pieces_give_the_same_as_all_at_once_whatever_is_compared_at_once(monkeypatch):
    texts = [*variants(4), "", *variants(6, bases=3)]
    order = np.random.default_rng(2).permutation(len(texts))
    expected = near_duplicates(column(texts), order=order)
    monkeypatch.setattr("filters.duplicates.leaders.AT_ONCE", 1000)
    pieces = [column(texts[:1]), column([]), column(texts[1:50]), pa.array(texts[50:])]
    assert near_duplicates(iter(pieces), order=order) == expected
    assert (
        near_duplicates(pa.chunked_array([p.cast(pa.large_string()) for p in pieces]), order=order)
        == expected
    )


def test_batches_are_whole_components_and_as_large_as_asked():
    component = np.random.default_rng(3).integers(0, 9, 100)
    sizes = np.arange(100)
    found = list(batches(component, sizes, 1200))
    assert sorted(np.concatenate(found).tolist()) == list(range(100))
    assert all((np.diff(rows) > 0).all() for rows in found)
    held = [set(component[rows]) for rows in found]
    assert sum(map(len, held)) == len(np.unique(component))
    assert all(sizes[rows].sum() <= 1200 or len(names) == 1 for rows, names in zip(found, held, strict=True))
    assert any(len(names) > 1 for names in held)


def test_a_slice_and_a_memory_map_are_signed_as_the_whole(tmp_path):
    texts = [*variants(1), *hostile.texts()]
    whole = signatures(column(texts))
    assert (signatures(column(texts).slice(7, 30)) == whole[7:37]).all()
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), pa.schema({"t": pa.large_string()})) as writer:
        writer.write_table(pa.table({"t": column(texts)}))
    with pa.memory_map(str(tmp_path / "a.arrow")) as file:
        mapped = pa.ipc.open_file(file).read_all()["t"]
        assert (signatures(mapped) == whole).all()
        assert content_hashes(mapped).to_pylist() == content_hashes(column(texts)).to_pylist()


def test_short_and_wordless_documents_are_handled_exactly():
    texts = ["two words", "two words", "two other", "", "", "!!!", "???", "x", "你好世界再见", "你好世界再见"]
    found = near_duplicates(column(texts))["duplicate_of"].to_pylist()
    assert found == [None, 0, None, None, 3, None, None, None, None, 8]


def test_a_bucket_of_thousands_of_near_identical_documents_is_quick():
    base = " ".join(f"licence{i}" for i in range(300))
    texts = [f"{base} {i}" for i in range(5000)]
    cluster(texts[:3])  # compiled
    begin = time.process_time()
    leader, _ = cluster(texts)
    assert (leader == 0).all()
    assert time.process_time() - begin < 20  # a quadratic pass would take minutes


def stubs(count: int) -> list[str]:
    """Pages of one template with words of their own: each .73 similar to every other."""
    template = [f"template{i}" for i in range(250)]
    return [
        " ".join([*template[:125], *(f"own{k}x{i}" for i in range(40)), *template[125:]])
        for k in range(count)
    ]


def test_a_bucket_of_thousands_of_stubs_that_all_stay_is_quick():
    texts = column(stubs(3000))
    signed, everyone = signatures(texts), np.zeros((3000, 1), np.uint64)
    assert 0.7 < jaccard(texts, np.array([0]), np.array([1]))[0] < 0.8
    leaders(texts.slice(0, 3), signed[:3], everyone[:3])  # compiled
    begin = time.process_time()
    leader, _ = leaders(texts, signed, everyone)
    assert leader.tolist() == list(range(3000))
    assert time.process_time() - begin < 2  # comparing 4.5 million pairs of sets takes longer


@pytest.mark.parametrize("count", [12, 30])  # a bucket of fewer and of more rows than CROWD
def test_stubs_among_copies_of_themselves_equal_brute_force(count):
    texts = [text + tail for text in stubs(count) for tail in ("", " and a few last words", "")]
    random.Random(2).shuffle(texts)
    everyone = np.zeros((len(texts), 1), np.uint64)
    for target in (0.7, 0.8, 1.0):
        leader, similarity = leaders(
            column(texts), signatures(column(texts)), everyone, Scheme(similarity=target)
        )
        expected = naive.leaders(texts, target)
        assert leader.tolist() == [j for j, _ in expected]
        np.testing.assert_allclose(similarity, [s for _, s in expected], rtol=1e-6)


def test_a_sketch_equals_its_definition_whatever_the_number_of_shingles_and_places():
    texts = [" ".join(f"w{i}" for i in range(n)) for n in (1, 2, 5, 6, 9, 40, 300)]
    for places in (16, 128, 1000):
        signed = signatures(column(texts), permutations=places, seed=3)
        for text, signature in zip(texts, signed, strict=True):
            offsets, shingles = shingle_sets(column([text]))
            assert signature.tolist() == naive.sketch(shingles.tolist(), places, 3)


@pytest.mark.parametrize("sketch", ["datasketch", "datasketch-legacy"])
def test_signatures_for_datasketch_are_the_librarys_own(sketch):
    from datasketch import MinHash

    texts = [
        *variants(4)[:20],
        *(t for t in hostile.texts() if len(t) < 3000),
        "İstanbul K_9 µ",
        "don’t Straße",
    ]
    for ngram, seed in ((5, 1), (3, 42)):
        ours = signatures(column(texts), 64, ngram, sketch=sketch, seed=seed)
        for text, signature in zip(texts, ours, strict=True):
            scheme = "legacy" if sketch == "datasketch-legacy" else "affine32"
            theirs = MinHash(num_perm=64, seed=seed, scheme=scheme)
            grams = naive.shingles(text, ngram)
            theirs.update_batch([g if isinstance(g, bytes) else " ".join(g).encode() for g in grams])
            assert signature.tolist() == theirs.hashvalues.tolist(), text[:80]


@pytest.mark.parametrize("unit", UNITS)
def test_shingles_of_every_unit_equal_the_naive_definition_on_hostile_text(unit):
    texts = [t for t in hostile.texts() if len(t) < 2000]
    texts += ["On 3 May Ada paid 12 to Bob Smith.", "On 14 June Eve paid 7 to Kim.", "a  b\n c", "A b C"]
    texts += [
        "a b c d " * 40,
        "x" * 63 + " y",
        "x" * 64,
        "eight888 nine99999 " * 9 + "sixteen_letters_",
        "é a" * 30,
    ]
    left, right = np.triu_indices(len(texts))
    sets = [naive.shingles(text, 3, unit) for text in texts]
    expected = [naive.jaccard(sets[i], sets[j]) for i, j in zip(left, right, strict=True)]
    np.testing.assert_allclose(jaccard(column(texts), left, right, 3, unit), expected)


def test_templates_differ_in_numbers_dates_and_names_only():
    texts = column(
        ["On 3 May Ada paid 12 euro to Bob Smith for it", "On 14 June Eve paid 7 euro to Kim for it"]
    )
    assert jaccard(texts, [0], [1], 3, "templates")[0] == 1
    assert jaccard(texts, [0], [1], 3)[0] < 0.1


def test_no_documents_have_no_duplicates():
    found = near_duplicates(column([]))
    assert found.num_rows == 0
    assert signatures(column([])).shape == (0, 128)


def test_wrong_parameters_are_named_with_what_to_write_instead():
    texts = column(["one text", "another"])
    signed = signatures(texts)
    with pytest.raises(ValueError, match="order must name each of the 2 rows once"):
        near_duplicates(texts, order=np.array([0, 0]))
    with pytest.raises(ValueError, match=r"similarity = 80 .* choose one in \(0, 1\]"):
        near_duplicates(texts, Scheme(similarity=80, bands=1, rows=1))
    with pytest.raises(ValueError, match="take more permutations or a higher similarity"):
        bands_and_rows(0.01, 112)
    with pytest.raises(ValueError, match="2 texts, 1 signatures, 2 rows of keys"):
        leaders(texts, signed[:1], np.zeros((2, 1), np.uint64))


def test_similar_to_finds_what_resembles_a_query_and_nothing_else():
    texts = variants(5)
    signed = signatures(column(texts))
    everyone = np.zeros((len(texts), 1), np.uint64)
    held = 10
    index, similarity = similar_to(
        column(texts[:held]),
        signed[:held],
        everyone[:held],
        column(texts[held:]),
        signed[held:],
        everyone[held:],
        Scheme(similarity=0.7),
    )
    for i, text in enumerate(texts[held:]):
        best = max(naive.jaccard(naive.shingles(text), naive.shingles(q)) for q in texts[:held])
        assert (index[i] >= 0) == (best >= 0.7)
        if best >= 0.7:
            assert similarity[i] == pytest.approx(best)


def test_bands_and_rows_follow_from_the_target():
    assert bands_and_rows(0.8, 128) == (18, 7)
    assert recall(0.8, 14, 8) == pytest.approx(0.924, abs=1e-3)
    for target in (0.5, 0.7, 0.9):
        assert recall(target, *bands_and_rows(target, 256)) >= 0.985


def test_signatures_estimate_jaccard_as_well_as_theory_and_datasketch():
    from datasketch import MinHash

    texts = variants(11, bases=30)
    left, right = np.triu_indices(len(texts), 1)
    true = jaccard(column(texts), left, right)
    some = np.flatnonzero(true > 0.1)
    signed = signatures(column(texts))
    ours = (signed[left[some]] == signed[right[some]]).mean(axis=1)
    sketches = []
    for text in texts:
        sketch = MinHash(num_perm=128, seed=1)
        sketch.update_batch([" ".join(s).encode() for s in naive.shingles(text)])
        sketches.append(sketch)
    theirs = np.array([sketches[left[k]].jaccard(sketches[right[k]]) for k in some])
    error = {
        name: np.sqrt(np.mean((estimate - true[some]) ** 2))
        for name, estimate in (("ours", ours), ("datasketch", theirs))
    }
    theory = np.sqrt(np.mean(true[some] * (1 - true[some]) / 128))
    assert error["ours"] < 1.1 * theory
    assert error["ours"] < 1.1 * error["datasketch"]


def test_bands_find_the_real_pairs_that_brute_force_finds(data_folder):
    documents = pq.read_table(data_folder / "web_mix_small.parquet", columns=["text"])["text"].to_pylist()
    sets = [naive.shingles(text) for text in documents]
    holders: dict = {}
    for i, mine in enumerate(sets):
        for shingle in mine:
            holders.setdefault(shingle, []).append(i)
    pairs = {(a, b) for rows in holders.values() if 1 < len(rows) < 100 for a in rows for b in rows if a < b}
    true = {p: s for p in pairs if (s := naive.jaccard(sets[p[0]], sets[p[1]])) >= 0.8}
    keys = band_keys(signatures(column(documents)), *Scheme().cut)
    found = sum((keys[a] == keys[b]).any() for a, b in true)
    assert len(true) > 200
    assert found >= 0.99 * len(true)
    table = near_duplicates(column(documents))
    for i, j in enumerate(table["duplicate_of"].to_pylist()):
        if j is not None:
            assert naive.jaccard(sets[i], sets[j]) >= 0.8


@pytest.mark.parametrize("least", [0.0, 0.05, 0.2, np.inf])
def test_novelty_equals_the_naive_definition_in_any_order_pieces_and_amount_at_once(least, monkeypatch):
    texts = variants(4) + variants(4)[::-1] + [t for t in hostile.texts() if len(t) < 5000]
    cluster = np.random.default_rng(1).integers(0, 9, len(texts))
    expected = naive.novelty(texts, cluster.tolist(), least)
    assert novelty(column(texts), cluster, least).tolist() == expected
    assert {0.0, 1.0} <= set(expected)
    assert len(set(expected)) > 10 or least == 0
    monkeypatch.setattr("filters.duplicates.novelty.AT_ONCE", 500)
    half = len(texts) // 2
    places = np.random.default_rng(2).permutation(len(texts))
    pieces = [column(texts[:half]).slice(0), column(["another", *texts[half:]]).slice(1)]
    shuffled = novelty(pieces, cluster[places], least, places=places)
    again = naive.novelty([texts[i] for i in places], cluster[places].tolist(), least)
    assert shuffled.tolist() == again


def test_novelty_of_no_documents_is_none():
    assert novelty(column([]), np.empty(0, np.int64)).tolist() == []
