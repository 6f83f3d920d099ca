"""Topics: agreement with what is known of documents, nearness of versions of one work, MB of text per CPU-second.

    CURATE_DATA=FOLDER python tests/bench/bench_topics.py

And of its English documents, by vectors of 256 numbers: how many have one before them that is so similar in meaning, how many
of these share less than half of their shingles, and MB of text per CPU-second that are compared.

Learned from 13 % of the families of web_mix.parquet (some 18 MB) and asked about as many others, by two seeds. Where
scikit-learn is installed, its k-means of TF-IDF, as it is and in 64 dimensions by its SVD, does the same beside it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from bench_models import megabytes, seconds

from filters.arrow import utf8
from filters.duplicates.leaders import signatures
from filters.duplicates.meaning import most_alike
from filters.models import topics

SHARE = 130  # of a thousand families


def counts_of(found: np.ndarray, known: np.ndarray) -> np.ndarray:
    """float64 [topics, kinds]: shares of documents."""
    a, b = (np.unique(labels, return_inverse=True)[1] for labels in (found, known))
    shares = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(shares, (a, b), 1 / len(a))
    return shares


def agreement(found: np.ndarray, known: np.ndarray) -> str:
    """Mutual information over the mean entropy, and the share of documents of their topic's commonest kind."""
    shares = counts_of(found, known)
    rows, columns, there = shares.sum(1), shares.sum(0), shares > 0
    mutual = (shares[there] * np.log((shares / np.outer(rows, columns))[there])).sum()
    entropy = -(rows @ np.log(rows) + columns @ np.log(columns)) / 2
    return f"NMI {mutual / entropy:.3f}, purity {shares.max(1).sum():.3f}"


def nearness(vectors: np.ndarray, family: np.ndarray) -> float:
    """How often two documents of one family are nearer than two others."""
    chance = np.random.default_rng(0)
    own = [rows for f in np.unique(family[family != ""]) if len(rows := np.flatnonzero(family == f)) > 1]
    same = np.array([chance.choice(rows, 2, replace=False) for rows in own for _ in range(3)])
    other = chance.integers(len(vectors), size=(20_000, 2))
    other = other[
        (other[:, 0] != other[:, 1])
        & ((family[other[:, 0]] != family[other[:, 1]]) | (family[other[:, 0]] == ""))
    ]
    near, far = ((vectors[a] * vectors[b]).sum(1) for a, b in (same.T, other.T))
    far.sort()
    return float((np.searchsorted(far, near) + np.searchsorted(far, near, "right")).mean() / 2 / len(far))


def beside(learned: list[str], others: list[str], seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Topics and vectors of the others by scikit-learn."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    weights = TfidfVectorizer(max_features=topics.WORDS, min_df=topics.FEWEST, sublinear_tf=True)
    here, there = weights.fit_transform(learned), weights.transform(others)
    plain = KMeans(64, random_state=seed, n_init=1).fit(here).predict(there)
    found = {"TF-IDF and k-means": (plain, there.toarray())}
    factors = TruncatedSVD(64, random_state=seed)
    here, there = (topics.unit(x) for x in (factors.fit_transform(here), factors.transform(there)))
    return found | {
        "the same in 64 dimensions": (KMeans(64, random_state=seed, n_init=1).fit(here).predict(there), there)
    }


def alike(texts: pa.Array) -> None:
    """Semantic near-duplicates among these."""
    chance = np.random.default_rng(0)
    sample = texts.take(pa.array(np.sort(chance.permutation(len(texts))[:6000])))
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "model"
        taken, _ = seconds(lambda: topics.train(sample, path, dimension=256))
        used, answers = seconds(lambda: topics.measure(texts, path), 3)
    known = answers["topic_vector"].is_valid().to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(known)[np.argsort(-np.diff(utf8(texts)[0])[known], kind="stable")]
    vectors = np.zeros((len(texts), 256), np.float32)
    vectors[known] = answers["topic_vector"].flatten().to_numpy().reshape(-1, 256)
    most_alike(vectors[rows[:300]])
    compared, (earlier, cosine) = seconds(lambda: most_alike(topics.unit(vectors[rows])))
    print(
        f"English, 256 numbers: {megabytes(sample):.0f} MB learned in {taken:.1f} CPU-s, {megabytes(texts) / used:.0f} MB/CPU-s, "
        f"{len(texts):,} documents compared in {compared:.1f} CPU-s, {megabytes(texts) / compared:.0f} MB/CPU-s"
    )
    signed = signatures(texts)
    jaccard = (signed[rows] == signed[rows[earlier]]).mean(1)
    for least in (0.8, 0.9, 0.95):
        near = (earlier >= 0) & (cosine >= least)
        print(
            f"  {least} and more: {near.mean():.3f}, of these unlike in words {(near & (jaccard < 0.5)).sum() / near.sum():.2f}"
        )


def main() -> None:
    folder = os.environ.get("CURATE_DATA")
    if not folder:
        sys.exit("CURATE_DATA is not set: name the folder that holds web_mix.parquet")
    table = pq.read_table(
        Path(folder) / "web_mix.parquet", columns=["id", "text", "kind", "sub", "lang", "family"]
    )
    table = table.set_column(1, "text", table["text"].cast(pa.large_string()))
    named = zip(table["family"].to_pylist(), table["id"].to_pylist(), strict=True)
    place = np.array([zlib.crc32((family or id).encode()) % 1000 for family, id in named])
    learned, others = (table.filter(pa.array(place // SHARE == side)) for side in (0, 1))
    texts, asked = (side["text"].combine_chunks() for side in (learned, others))
    known = {
        name: np.array([x or "" for x in others[name].to_pylist()])
        for name in ("kind", "sub", "lang", "family")
    }
    for seed in (0, 1):
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "model"
            topics.measure(asked[:1], (topics.train(texts[:200], path), path)[1])
            taken, _ = seconds(lambda: topics.train(texts, path, seed=seed))  # noqa: B023
            used, answers = seconds(lambda: topics.measure(asked, path), 3)  # noqa: B023
            model = topics._model(path)
            vectors = topics.unit(topics._sums(asked, model.keys, model.table, model.vectors_WD))
        print(
            f"seed {seed}: {megabytes(texts):.0f} MB learned in {taken:.1f} CPU-s, {megabytes(asked) / used:.0f} MB/CPU-s"
        )
        found = {"topics": (np.array([x or "" for x in answers["topic_terms"].to_pylist()]), vectors)}
        try:
            found |= beside(texts.to_pylist(), asked.to_pylist(), seed)
        except ImportError:
            print("scikit-learn is not installed")
        for name, (labels, own) in found.items():
            agreed = "; ".join(
                f"{field} {agreement(labels, known[field])}" for field in ("kind", "sub", "lang")
            )
            print(
                f"  {name}: {agreed}; one family is nearer in {nearness(own, known['family']):.4f} of pairs"
            )

    english = table.filter(pc.equal(table["lang"], "en"))
    alike(english["text"].combine_chunks())


if __name__ == "__main__":
    main()
