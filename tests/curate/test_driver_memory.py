"""What the process that drives a build holds of every document, and that holding less of each changes no answer."""

import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.corpora import holdout
from curate.corpora.groups import by_document
from curate.engine import open_engine
from curate.manifest.reader import load_manifest
from curate.sources import pool as pools
from curate.steps import build
from curate.store import Store

DOCUMENTS = 200_000
LIMIT = 100  # bytes a document; the whole pool was once held in five hundred and more
MANIFEST = """
name = "many"
[[source]]
name = "notes"
format = "parquet"
path = "{folder}/*.parquet"
columns = ["url"]
[signals]
exact_duplicates = true
[parts]
bytes = "500kB"
[tokenizer]
vocabulary = 300
bytes = "20kB"
[[level]]
name = "raw"
[[level]]
name = "longer"
on = "raw"
keep = {{ word_count = [{least}, inf] }}
[[level]]
name = "unique"
on = "longer"
keep = {{ duplicate = false }}
[sizes]
tokens = ["10k", "20k"]
[holdout]
tokens = "5k"
from = ["raw", "unique"]
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """A folder with many documents of some three words; of one in ten the text stands twice, and hosts have twenty."""
    folder, random = tmp_path_factory.mktemp("many"), np.random.default_rng(3)
    words = np.array(["".join(word) for word in random.choice(list("etaoinshrdlu"), (1000, 5))])
    drawn = words[random.integers(0, 1000, (DOCUMENTS, 4))]
    texts = [" ".join(row[: 2 + k % 3]) + f" {k - (k % 10 == 0)}" for k, row in enumerate(drawn.tolist())]
    urls = [f"https://h{h}.example/{k}" for k, h in enumerate(random.integers(0, DOCUMENTS // 20, DOCUMENTS))]
    pq.write_table(pa.table({"text": texts, "url": urls}), folder / "notes.parquet")
    return folder


def built(folder: Path, least: int):
    path = folder / "many.toml"
    path.write_text(MANIFEST.format(folder=folder, least=least))
    return build(Store(folder / "store"), load_manifest(path), open_engine("local", 1))


def test_selecting_again_holds_at_most_a_hundred_bytes_a_document(many, monkeypatch):
    monkeypatch.setattr(pools, "AT_ONCE", 1 << 14)
    built(many, 3)
    before, arrow = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    tracemalloc.start()
    pa.set_memory_pool(arrow)
    try:
        lock = built(many, 4).lock
        held = tracemalloc.get_traced_memory()[1] + arrow.max_memory()
    finally:
        pa.set_memory_pool(before)
        tracemalloc.stop()
    assert sum(row["documents"] for row in lock["duplicates"]["by_source"].values()) == DOCUMENTS
    assert held / DOCUMENTS < LIMIT


def test_documents_whose_ids_begin_alike_are_in_the_order_of_whole_ids(tmp_path):
    ids = [f"{k % 3:016x}{9 - k:016x}" for k in range(9)]
    parts = [
        Store(tmp_path).write_part("documents", f"{begin}.arrow", pa.table({"id": ids[begin : begin + 3]}))
        for begin in (0, 3, 6)
    ]
    order = pools.order_of_ids(parts, pools.places_of(pa.array(ids), 0))
    assert [ids[row] for row in order] == sorted(ids)
    twice = Store(tmp_path).write_part("documents", "twice.arrow", pa.table({"id": ids[:1]}))
    with pytest.raises(AssertionError, match="two documents one place"):
        pools.order_of_ids([*parts, twice], pools.places_of(pa.array([*ids, ids[0]]), 0))


@dataclass
class Sizes:
    """What of a pool a holdout is drawn by."""

    bytes: np.ndarray
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.bytes)


@pytest.mark.parametrize("budget", [2_000, 30_000, 10_000_000])
def test_a_holdout_drawn_from_ever_more_groups_is_that_drawn_from_all(monkeypatch, budget):
    random, count = np.random.default_rng(0), 4000
    cluster = np.minimum(np.arange(count), random.integers(0, count, count))
    cluster = cluster[cluster]
    places = random.integers(0, 2**64, count, dtype=np.uint64)
    pool = Sizes(random.integers(20, 400, count), places)
    alone = by_document(pool, cluster)
    named = alone.__class__(
        np.where(random.random(count) < 0.5, count + random.integers(0, 300, count), cluster),
        np.where(random.random(count) < 0.5, count, cluster), count, places,
        random.integers(0, 2**64, 300, dtype=np.uint64), (),
    )  # fmt: skip
    for groups in (alone, named):
        drawn = []
        for more in (1.5, 1e9):
            monkeypatch.setattr(holdout, "MORE", more)
            drawn.append(holdout._sample(np.ones(count, bool), cluster, groups, pool, budget))
        assert drawn[0].any() or budget < 10_000
        assert (drawn[0] == drawn[1]).all()
