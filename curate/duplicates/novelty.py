"""What is lost with a duplicate: the share of its n-grams that nothing which stays of its cluster has.

The signal `duplicate_novelty` is against the document that stands for the cluster in the whole pool. A level that
bounds it asks again, of the documents that its other rules let through: of each cluster the most preferred stays, and
then each whose novelty against all that stay already is at least the bound. So no document that goes has a larger share
of n-grams that stand in none that stays. For this alone judging reads texts: those of clusters of several documents.
"""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np

from curate.duplicates.answers import Question, answers
from curate.signals.values import Values
from curate.sources.pool import gather, gather_pieces
from curate.spec.manifest import DUPLICATES
from curate.store import Part
from filters.duplicates.leaders import Scheme
from filters.duplicates.novelty import novelty

VERSION = 1
MOST = 64_000_000  # bytes of text held at once by one worker; a cluster of more is held whole
Task = tuple[list[Part], np.ndarray, np.ndarray, np.ndarray, float, dict]


def novelties(
    values: Values, cluster: np.ndarray, reached: np.ndarray, parameters: dict, least: float = math.inf
) -> np.ndarray:
    """float64 [documents]: the novelty of those reached (see `filters.duplicates.novelty`); 1 for all others.

    `cluster` int [documents], `reached` bool [documents], `parameters` of the family of duplicates.
    """
    pool = values.pool
    several = reached & (np.bincount(cluster[reached], minlength=len(pool))[cluster] > 1)
    rows = np.flatnonzero(several).astype(cluster.dtype)
    rows = rows[np.lexsort((pool.rank[rows], cluster[rows]))]
    first = _first_of_equals(values, rows, parameters["normalise"])
    copy = first != np.arange(len(rows))
    different = rows[~copy]
    scheme = Scheme(**(parameters["near"] or asdict(Scheme())))
    how = {"ngram": scheme.ngram, "unit": scheme.unit}
    novelty = np.ones(len(pool))

    def task(some: np.ndarray) -> Task:
        return pool.parts, *pool.at(some), cluster[some], least, how

    question = Question(["novelty", VERSION, str(least), how], [float], task, _of, MOST)
    (novelty[different],) = answers(question, values, different, cluster[different])
    of = novelty[rows[first[copy]]]
    novelty[rows[copy]] = np.where(of >= min(least, 1), 0.0, of)  # of what stays nothing is new
    return novelty


def _first_of_equals(values: Values, rows: np.ndarray, normalise: str) -> np.ndarray:
    """int64 [rows]: the first of these rows with the same text, byte by byte."""
    if normalise != "bytes" or not len(rows):
        return np.arange(len(rows))
    hashes = gather(values.signals.families["text_hash"], *values.pool.at(rows), "text_hash")
    _, first, group = np.unique(
        np.frombuffer(hashes.buffers()[1], "S16"), return_index=True, return_inverse=True
    )
    return first[group]


def _of(task: Task) -> list[np.ndarray]:
    parts, part, row, cluster, least, how = task
    texts, places = gather_pieces(parts, part, row, "text")
    return [novelty(texts, cluster, least, places=places, **how)]


def novel_of_clusters(values: Values, reached: np.ndarray, least: float) -> np.ndarray:
    """float64 [documents]: the novelty of those reached where all of at least so much stay."""
    parameters = values.signals.versions[DUPLICATES]["parameters"]
    return novelties(values, values.clusters(), reached, parameters, least)
