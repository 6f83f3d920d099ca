"""An n-gram language model: interpolated modified Kneser-Ney smoothing, estimated in seconds.

Chen & Goodman 1998 (TR-10-98, section 3), as KenLM (Heafield et al. 2013) estimates it: an n-gram of the highest order
counts how often it occurs, a shorter one in how many different words it follows; counts of 1, 2 and more
are discounted by what the counts of counts say, and the mass goes to the shorter context. An n-gram that is
pruned gives all its mass to the shorter context too, so probabilities still sum to one.

A sequence is a line: BEGIN, its symbols, END. Symbols and n-grams are 64-bit hashes; two of some millions of
n-grams share one with a probability of some 1e-6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from filters.reproducible import agreed
from filters.text.compiled import inlined, loop
from filters.text.units import mix

BEGIN, END = np.uint64(1), np.uint64(2)  # no hash of a symbol is likely to be so small
FACTOR = np.uint64(0x9E3779B97F4A7C15)
FALLBACK = (0.5, 1.0, 1.5)  # discounts where a text is too small or too regular to estimate them
ENTRY = np.dtype([("key", np.uint64), ("logp", np.float32), ("backoff", np.float32)])
NO_ENTRY = np.int64(-1)


@dataclass(frozen=True)
class Estimate:
    """Every n-gram that was kept, by ascending key: the natural logs of its probability and of its backoff weight."""

    order: int
    entries: np.ndarray  # ENTRY [n-grams of all orders]
    unknown: float  # natural log of the probability of a symbol that was never seen
    vocabulary: int  # different symbols, END and the unknown one included
    grams: tuple[int, ...]  # kept n-grams by order


@loop
def gram_keys(symbols, begins, order, keys):
    """Fill keys[n - 1, i] with the key of the n-gram that ends at symbol i, 0 where it would begin before its line.

    `begins[i]`: where the line of symbol i begins.
    """
    for i in range(len(symbols)):
        key = np.uint64(0)
        for n in range(1, order + 1):
            at = i - n + 1
            if at < begins[i]:
                keys[n - 1, i] = 0
            else:
                key = extended(key, symbols[at])
                keys[n - 1, i] = key


@inlined
def extended(key, symbol):
    """The key of an n-gram with one more symbol before it; 0 is the empty one, and never anything else."""
    return mix(np.uint64(np.uint64(key * FACTOR) + symbol)) | np.uint64(1)


@dataclass(frozen=True)
class _Order:
    """The different n-grams of one order, by ascending key."""

    keys: np.ndarray  # uint64
    last: np.ndarray  # int64: where one of its occurrences ends in the text
    raw: np.ndarray  # int64: occurrences


def estimate(symbols: np.ndarray, begins: np.ndarray, order: int = 3, min_count: int = 1) -> Estimate:
    """A model of lines of symbols: uint64, each line BEGIN, symbols, END; `begins` as in `gram_keys`.

    n-grams of order 3 and more that occur fewer than `min_count` times are pruned.
    """
    grams = np.empty((order, len(symbols)), np.uint64)
    gram_keys(symbols, begins, order, grams)
    orders = [_order(grams[n]) for n in range(order)]
    counts = [_adjusted(n, orders, grams, symbols, begins) for n in range(order)]
    probability: list[np.ndarray] = []
    backoff = [np.ones(len(of_order.keys)) for of_order in orders]
    kept = [
        np.ones(len(of_order.keys), bool) if n < 2 else of_order.raw >= min_count
        for n, of_order in enumerate(orders)
    ]
    vocabulary = len(orders[0].keys)  # BEGIN is never predicted; the unknown symbol takes its place
    unknown = 0.0
    for n, of_order in enumerate(orders):
        spent = counts[n] - _discounts(counts[n])
        if n == 0:
            total = float(counts[0].sum())
            left = 1 - spent.sum() / total
            unknown = left / vocabulary
            probability.append(spent / total + unknown)
            continue
        context = np.searchsorted(orders[n - 1].keys, grams[n - 1][of_order.last - 1])
        size = len(orders[n - 1].keys)
        total_of = np.bincount(context, counts[n], size)
        spent_of = np.bincount(context, np.where(kept[n], spent, 0.0), size)
        left_of = 1 - np.divide(spent_of, total_of, out=np.zeros(size), where=total_of > 0)
        backoff[n - 1] = left_of
        suffix = np.searchsorted(orders[n - 1].keys, grams[n - 1][of_order.last])
        probability.append(spent / total_of[context] + left_of[context] * probability[n - 1][suffix])
    # BEGIN has no probability, only a weight: its adjusted count is 0.
    entries = [
        _entries(o.keys, p, b, k) for o, p, b, k in zip(orders, probability, backoff, kept, strict=True)
    ]
    together = np.concatenate(entries)
    together = together[np.argsort(together["key"], kind="stable")]
    return Estimate(order, together, float(agreed(np.log(unknown))), vocabulary, tuple(map(len, entries)))


def _order(keys: np.ndarray) -> _Order:
    different, last, raw = np.unique(keys, return_index=True, return_counts=True)
    begin = int(len(different) > 0 and different[0] == 0)  # 0: no n-gram of this length ends there
    return _Order(different[begin:], last[begin:], raw[begin:])


def _adjusted(
    n: int, orders: list[_Order], grams: np.ndarray, symbols: np.ndarray, begins: np.ndarray
) -> np.ndarray:
    """Different symbols before each n-gram of order n + 1; occurrences where it is the longest or begins a line."""
    own = orders[n]
    if n + 1 == len(orders):
        return own.raw.astype(float)
    longer = orders[n + 1]
    suffix = np.searchsorted(own.keys, grams[n][longer.last])
    before = np.bincount(suffix, minlength=len(own.keys)).astype(float)
    at_begin = own.last - n == begins[own.last]
    adjusted = np.where(at_begin, own.raw, before)
    if n == 0:
        adjusted = np.where(symbols[own.last] == BEGIN, 0, adjusted)
    return adjusted.astype(float)


def _discounts(counts: np.ndarray) -> np.ndarray:
    """What is taken off each count: by whether it is 1, 2 or more (0 takes nothing)."""
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in (1, 2, 3, 4))
    discounts = FALLBACK
    if n1 and n2 and n3:
        y = n1 / (n1 + 2 * n2)
        estimated = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        if all(0 <= d <= k for k, d in enumerate(estimated, 1)):
            discounts = estimated
    return np.array([0.0, *discounts])[np.minimum(counts, 3).astype(int)]


def _entries(keys: np.ndarray, probability: np.ndarray, backoff: np.ndarray, kept: np.ndarray) -> np.ndarray:
    entries = np.zeros(int(kept.sum()), ENTRY)
    entries["key"] = keys[kept]
    with np.errstate(
        divide="ignore"
    ):  # a context that is always followed by the same may leave nothing: -inf
        entries["logp"] = np.log(probability[kept])
        entries["backoff"] = np.maximum(np.log(backoff[kept]), -100)
    return entries


# ------------------------------------------------------------------------------------------------- looking up


def table_of(entries: np.ndarray) -> np.ndarray:
    """ENTRY [a power of two]: open addressing by key, half empty; a key of 0 is a free slot."""
    table = np.zeros(1 << max(4, int(2 * len(entries) - 1).bit_length()), ENTRY)
    _fill(entries, table)
    return table


@loop
def _fill(entries, table):
    last = np.uint64(len(table) - 1)
    for i in range(len(entries)):
        slot = (entries[i].key >> np.uint64(7)) & last
        while table[slot].key != 0:
            slot = (slot + np.uint64(1)) & last
        table[slot] = entries[i]


@inlined
def find(table, key):
    """The slot of this n-gram, or -1."""
    last = np.uint64(len(table) - 1)
    slot = (key >> np.uint64(7)) & last
    while table[slot].key != key:
        if table[slot].key == 0:
            return NO_ENTRY
        slot = (slot + np.uint64(1)) & last
    return np.int64(slot)


@inlined
def log_probability(table, order, unknown, symbols, begin, i, weights, known):
    """(natural log of p(symbol i | the symbols before it in its line), contexts known from here on).

    `weights[n]` is the log of the backoff weight of the n symbols before i, for n up to `known`; on return it
    holds those of the symbols up to i, for the next call.
    """
    key, longest, logp = np.uint64(0), 0, unknown
    fresh = weights[order:]  # the second half of the scratch space
    n = 1
    while n <= order and i - n + 1 >= begin:
        key = extended(key, symbols[i - n + 1])
        slot = find(table, key)
        if slot < 0:
            break
        logp = np.float64(table[slot].logp)
        fresh[n - 1] = table[slot].backoff
        longest = n
        n += 1
    # The longest n-gram that is there has longest - 1 symbols of context; the longer contexts that are known pay to leave.
    for length in range(max(longest, 1), known + 1):
        logp += weights[length - 1]
    known = min(longest, order - 1)
    for length in range(known):
        weights[length] = fresh[length]
    return logp, known
