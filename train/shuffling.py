"""Orders that look like none: a hash of numbers, the same in every version of every library and on every machine."""

from __future__ import annotations

import numpy as np


def shuffled(first: int, last: int, seed: int, epoch: int) -> np.ndarray:
    """The numbers first..last-1 in the order of a hash of (seed, epoch, number): the same in every version
    of every library, and on every machine."""
    numbers = np.arange(first, last, dtype=np.uint64)
    salt = mixed(np.array([seed % (1 << 64)], np.uint64)) ^ mixed(np.array([epoch + (1 << 32)], np.uint64))
    return first + np.argsort(mixed(mixed(numbers) ^ salt), kind="stable")


def mixed(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: every output bit depends on every input bit. Wraps around at 2^64."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
