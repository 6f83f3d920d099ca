"""How often a level writes what is left of a duplicate cluster, by its size: `curate.duplicates.rehydration`."""

from __future__ import annotations

from typing import Any

from curate.spec.manifest import Weights

PRESETS = {"fineweb-2": {"1": 1, "2": 2, "3": 3, "5": 5, "100": 8, "1000": 1}}
MOST = 100  # copies of a document


def parse_weights(given: Any) -> Weights:
    """Raises ValueError that says what to write."""
    example = f'write weights = "{next(iter(PRESETS))}", or {{ 1 = 1, 2 = 2, 1000 = 1 }}'
    if isinstance(given, str):
        if given not in PRESETS:
            raise ValueError(f'weights = "{given}": {example}')
        given = PRESETS[given]
    if not isinstance(given, dict):
        raise ValueError(f"weights = {given!r}: {example}")
    if not all(key.isdecimal() and int(key) >= 1 for key in given):
        raise ValueError(f"weights: sizes of clusters are whole numbers from 1; {example}")
    for key, weight in given.items():
        if isinstance(weight, bool) or not isinstance(weight, int) or not 1 <= weight <= MOST:
            raise ValueError(f"weights: {key} = {weight!r} is no whole number in 1..{MOST}")
    weights = tuple(sorted((int(key), weight) for key, weight in given.items()))
    if not weights or weights[0][0] != 1:
        raise ValueError("weights: say what a cluster of one document weighs: 1 = 1")
    return weights
