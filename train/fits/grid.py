"""All runs on one holdout, and replicates of them, from which every interval comes.

A replicate is the whole grid with two independent kinds of noise added to every run:

- *documents*: the holdout is a sample. Documents are drawn with replacement, the same draw for all runs, so
  whatever is hard for every model cancels in a difference. Needs the losses of single documents; without them
  it is left out and `Grid.caveats` says so.
- *seeds*: as `noise` models it, by trunk.

One seed tells nothing about training noise: then nothing is called distinguishable.

Shapes: N replicate, L level, D size in tokens, S seed, R run, I holdout document.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from train.fits.laws import FitError
from train.fits.noise import SeedNoise, seed_noise

FEW_DOCUMENTS = 30  # below this a bootstrap over documents is too narrow


@dataclass(frozen=True)
class Point:
    """One run on one holdout: its loss, and where known the nats of every holdout document in their order."""

    level: str
    tokens: int
    seed: int
    loss: float
    document_nats: np.ndarray | None = None


class Grid:
    """All runs on one holdout, and replicates of them. Same points and `rng_seed`: same intervals.

    `document_units` is the length of every holdout document in what the loss is per: tokens, or bytes. Else
    the total is taken as fixed, which widens intervals where documents differ much in length.
    """

    def __init__(
        self,
        points: Iterable[Point],
        document_units: np.ndarray | None = None,
        draws: int = 1000,
        rng_seed: int = 0,
        confidence: float = 0.95,
    ):
        self.points = sorted(points, key=lambda point: (point.tokens, point.level, point.seed))
        if not self.points:
            raise FitError("no runs to fit; train some first")
        self.levels = list(dict.fromkeys(point.level for point in self.points))
        self.tokens = sorted({point.tokens for point in self.points})
        self.seeds = sorted({point.seed for point in self.points})
        self.draws, self.rng_seed, self.confidence = draws, rng_seed, confidence
        self.loss_LDS = np.full((len(self.levels), len(self.tokens), len(self.seeds)), np.nan)
        for point in self.points:
            self._place(point)
        self.units = document_units

    def _place(self, point: Point) -> None:
        place, name = self._index(point), f"{point.level}, {point.tokens} tokens, seed {point.seed}"
        if not (math.isfinite(point.loss) and point.loss > 0):
            raise FitError(f"{name}: loss {point.loss}; leave it out")
        if not np.isnan(self.loss_LDS[place]):
            raise FitError(f"{name}: two runs; keep one model a grid")
        self.loss_LDS[place] = point.loss

    def _index(self, point: Point) -> tuple[int, int, int]:
        return self.levels.index(point.level), self.tokens.index(point.tokens), self.seeds.index(point.seed)

    @cached_property
    def documents(self) -> int | None:
        """Holdout documents to resample; None where a run lacks them or their number differs."""
        counts = {None if point.document_nats is None else len(point.document_nats) for point in self.points}
        if self.units is not None:
            counts.add(len(self.units))
        return counts.pop() if len(counts) == 1 else None

    @cached_property
    def noise(self) -> SeedNoise | None:
        return seed_noise(self.loss_LDS)

    @property
    def caveats(self) -> list[str]:
        """What the intervals leave out, in words."""
        left_out = []
        if self.noise is None:
            left_out.append(
                "one seed only: the noise of training is unknown, so nothing is called distinguishable"
            )
        if self.documents is None:
            left_out.append(
                "losses of single documents are missing: intervals leave out the choice of holdout documents"
            )
        elif self.documents < FEW_DOCUMENTS:
            left_out.append(f"{self.documents} held-out groups only: intervals are too narrow")
        return left_out

    @cached_property
    def replicates_NLDS(self) -> np.ndarray:
        """Row 0 is the grid as measured, the others are grids that might have been; missing runs stay NaN."""
        seeds_rng = np.random.default_rng(self.rng_seed).spawn(2)[0]
        added_NLDS = self.document_replicates_NLDS
        if self.noise is not None:
            added_NLDS = self.noise.draw(seeds_rng, added_NLDS.shape) + added_NLDS
        floor = 1e-3 * np.nanmin(self.loss_LDS)  # heavy tails must not give a negative loss
        return np.concatenate([self.loss_LDS[None], np.maximum(self.loss_LDS + added_NLDS, floor)])

    @cached_property
    def document_replicates_NLDS(self) -> np.ndarray:
        """What other holdout documents would add to every loss; zeros where single documents are not known."""
        added_NLDS, documents = np.zeros((self.draws, *self.loss_LDS.shape)), self.documents
        if not documents:
            return added_NLDS
        rng = np.random.default_rng(self.rng_seed).spawn(2)[1]
        nats_RI = np.array([point.document_nats for point in self.points], dtype=float)
        losses = np.array([point.loss for point in self.points])
        units_I = np.full(documents, 1.0) if self.units is None else np.asarray(self.units, dtype=float)
        places = tuple(np.array([self._index(point) for point in self.points]).T)
        for n in range(0, self.draws, 100):  # blocks, since a holdout of 100,000 documents would fill memory
            rows = min(100, self.draws - n)
            counts_NI = rng.multinomial(documents, np.full(documents, 1 / documents), rows).astype(float)
            length_N = counts_NI @ units_I / units_I.sum() if self.units is not None else np.ones(rows)
            ratio_NR = counts_NI @ nats_RI.T / nats_RI.sum(1) / length_N[:, None]
            added_NLDS[(slice(n, n + rows), *places)] = losses * (ratio_NR - 1)
        return added_NLDS

    def interval(self, values_N: np.ndarray) -> tuple[float, float]:
        """As `interval`, at the grid's confidence."""
        return interval(values_N, self.confidence)

    def means_ND(self, level: str, partner: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(tokens, means over seeds) of a level; where the partner ran too, over the seeds both have."""
        mine = self._present(level)
        if partner is not None:
            both = mine & self._present(partner)
            mine = np.where(both.any(1, keepdims=True), both, mine)
        known = mine.any(1)
        values_NDS = self.replicates_NLDS[:, self.levels.index(level)]
        sums_ND = np.where(mine, values_NDS, 0.0).sum(2)[:, known]
        return np.array(self.tokens, dtype=float)[known], sums_ND / mine.sum(1)[known]

    def mean_N(self, level: str, tokens: int) -> np.ndarray:
        """Mean over the seeds of a cell."""
        tokens_D, loss_ND = self.means_ND(level)
        if tokens not in tokens_D:
            raise FitError(f'no run of level "{level}" with {tokens} tokens')
        return loss_ND[:, tokens_D == tokens][:, 0]

    def _present(self, level: str) -> np.ndarray:
        if level not in self.levels:
            raise FitError(f'no run of level "{level}"; there are {", ".join(self.levels)}')
        return ~np.isnan(self.loss_LDS[self.levels.index(level)])


def interval(values_N: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Percentiles over replicates. The first row is the measured value: the interval reaches as far as that, where
    replicates of a bent figure all lie on one side of it."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(values_N[1:], [tail, 1 - tail], method="nearest")
    return min(float(low), float(values_N[0])), max(float(high), float(values_N[0]))
