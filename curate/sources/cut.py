"""Where a long row of things is cut into groups, so that one more, one less or one changed moves no other border.

Whether a group ends behind a thing is for that thing to say, by its own mark (a hash) and size: the chance is its share
of half of the most that a group may hold, and one in USUAL besides, four where many wait. So borders hardly depend on where
the row begins, and two rows that differ in one place have the same groups soon after. Bounds on both sides hold the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import xxhash

USUAL, MANY = 16, 500  # things of a group: small ones cost by their number, not by their bytes
LITTLE = 500_000  # bytes: what is smaller costs by its number again


def mark_of(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode())


def groups(marks: Iterable[int], sizes: Iterable[int], most: int) -> Iterator[slice]:
    """Consecutive ranges. `marks` are uniform in 64 bits; `most`: bytes of a group without its last thing."""
    begin = total = end = 0
    least = min(LITTLE, most // 8)
    for end, (mark, size) in enumerate(zip(marks, sizes, strict=True), 1):
        total += size
        chosen = mark / 2**64 < 2 * size / most + (1 if end - begin < 2 * USUAL else 4) / USUAL
        if total >= most or end - begin >= MANY or total >= least and chosen:
            yield slice(begin, end)
            begin, total = end, 0
    if begin < end:
        yield slice(begin, end)
