"""Holdouts: groups of documents that no corpus may contain, and a sample of each that loss is measured on.

Groups (`corpora.groups`) are drawn in a fixed random order until the holdout has its budget. Of each a sample is scored,
whole duplicate clusters at a time, of at most a fortieth of the budget (of a package that is cut in folders all
together): so no author and no template decides what a
holdout says, and what is common in a group is as common in its sample. A cluster above a twentieth of the budget is
passed over: one licence in a thousand copies is no sample. A group above a twentieth of the level stays in the corpora,
where it is a part of what a level is. No tokenizer exists yet (it must not see the holdouts), so a token counts as
BYTES_A_TOKEN bytes; the lock states the tokens that it came to.

Then every document of the pool that equals a scored one, or is a near-duplicate of it, whatever its group, is kept out of
all corpora as well. That is looked for whether or not a manifest asks for duplicates. Documents that share a run of 50 words
with a scored one stay, and are counted: what a model says of them is partly memory.

Where runs choose among settings, text of each level is held apart for that choice in the same way, from other groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from curate.corpora.groups import Groups, by_document, groups_of
from curate.corpora.resembling import resembling
from curate.corpora.selection import Judged
from curate.errors import CurateError
from curate.quantities import BYTES_A_TOKEN
from curate.signals.values import Values
from curate.sources.documents import SourceDocuments
from curate.sources.pool import Pool, gather
from curate.spec.manifest import Manifest

LARGEST_CLUSTER = 1 / 20  # of the budget
OF_A_GROUP = 1 / 40  # of the budget: what is scored of a group, or one cluster where that is more
LARGEST_GROUP = 1 / 20  # of a level's text
MOST_HELD = 1 / 2  # of a level's text: a holdout that leaves nothing to train on measures nothing
RUN = 50  # words in a row that a training document and a scored one should not share
MORE = 16  # times the text that is wanted: what is looked at first, and each time that it was too little
FEW_GROUPS = 20  # with fewer an interval over groups says little


@dataclass
class Holdouts:
    rows: dict[str, np.ndarray]  # level -> pool rows that are scored, by ascending id
    apart: dict[str, np.ndarray]  # level -> pool rows that choose how runs of the level are trained
    groups: dict[str, Groups]  # level -> what was held out and is resampled together
    held: np.ndarray  # bool [documents]: not in any corpus
    similar: int  # documents held out only because they resemble a scored one
    # bool [documents]: not held out, but has a run of RUN words in common with a scored one.
    shares: np.ndarray


def hold_out(
    manifest: Manifest, sources: list[SourceDocuments], values: Values, judged: dict[str, Judged]
) -> Holdouts:
    """Raises CurateError where a level is too small to hold anything out."""
    pool, cluster = values.pool, values.clusters()
    if not manifest.holdout.levels and not manifest.apart:
        nothing = np.zeros(len(pool), bool)
        return Holdouts({}, {}, {}, nothing, 0, nothing)
    grouped = groups_of(pool, sources, cluster, manifest.holdout.group)
    scored, apart = dict[str, np.ndarray](), dict[str, np.ndarray]()
    groups, held = dict[str, Groups](), np.zeros(len(pool), bool)
    for drawn, levels in ((scored, manifest.holdout.levels), (apart, manifest.apart)):
        free = ~held  # what chooses shares no group with what is scored
        for name in levels:
            mine, chosen = _draw(manifest, name, judged[name].kept & free, cluster, grouped, pool)
            drawn[name] = pool.ordered(chosen)
            if drawn is scored:
                groups[name] = mine
            named = mine.named()
            held |= named & np.isin(mine.code, mine.code[chosen & named])
            held |= np.isin(cluster, cluster[chosen])
    every = np.unique(np.concatenate([*scored.values(), *apart.values()]))
    texts = pool.gather(every, "text")
    found = resembling(values, manifest.holdout.near, texts, RUN)
    hashes = gather(values.signals.families["text_hash"], pool.part[every], pool.row[every], "text_hash")
    same = pc.is_in(values.text_hashes, value_set=hashes).to_numpy()
    similar = (found.near | same) & ~held
    return Holdouts(
        scored, apart, groups, held | similar, int(similar.sum()), found.shares & ~(held | similar)
    )


def _draw(
    manifest: Manifest, level: str, kept: np.ndarray, cluster: np.ndarray, grouped: Groups, pool: Pool
) -> tuple[Groups, np.ndarray]:
    """(how documents are grouped here, bool [documents] those that are scored). Documents stand alone where there are
    too few groups to draw from, unless groups were asked for."""
    asked = manifest.holdout
    chosen = _sample(kept, cluster, grouped, pool, asked.tokens * BYTES_A_TOKEN)
    many = len(np.unique(grouped.family[chosen]))
    if many >= FEW_GROUPS or not grouped.named().any() or (asked.group is not None and many):
        return grouped, chosen
    if asked.group is not None:
        raise CurateError(
            f'{manifest.path}, [holdout]: level "{level}" has no {asked.group} of at most {LARGEST_GROUP:.0%} of its text '
            f'to hold out; write group = "document", or add text'
        )
    alone = by_document(pool, cluster)
    chosen = _sample(kept, cluster, alone, pool, asked.tokens * BYTES_A_TOKEN)
    if not chosen.any():
        raise CurateError(
            f'{manifest.path}, [holdout]: level "{level}" has no cluster small enough for '
            f"{asked.tokens:,} tokens; ask for more tokens or more text"
        )
    return alone, chosen


def _sample(kept: np.ndarray, cluster: np.ndarray, groups: Groups, pool: Pool, budget: int) -> np.ndarray:
    """bool [documents]: the documents of a level that are scored, of whole clusters in drawn groups.

    Corpora grow from the near end of the order, so holdouts are drawn from the far one: of ever more of it, until it is
    enough.
    """
    rows, whole = np.flatnonzero(kept), int(pool.bytes[kept].sum())
    place, share = groups.place(groups.code[rows]), MORE * budget / max(1, whole)
    while True:
        far = rows[place >= np.uint64(max(0, 1 - share) * 2.0**64)]
        chosen, enough = _sample_of(far, cluster, groups, pool, budget, whole)
        if enough or share >= 1:
            return chosen
        share *= MORE


def _sample_of(
    rows: np.ndarray, cluster: np.ndarray, groups: Groups, pool: Pool, budget: int, whole: int
) -> tuple[np.ndarray, bool]:
    """(as `_sample`, whether more groups would change nothing) of these rows, all of their groups; `whole`: bytes of the
    level."""
    size, chosen = pool.bytes[rows], np.zeros(len(pool), bool)
    # A unit is what a cluster has in a group: it is scored whole or not at all.
    pair, first_row, unit = np.unique(
        np.stack([groups.code[rows], cluster[rows]], 1), axis=0, return_index=True, return_inverse=True
    )
    first_row = rows[first_row]
    of_unit = np.bincount(unit.reshape(-1), size, len(pair))
    _, number = np.unique(pair[:, 0], return_inverse=True)  # units of a group are side by side
    of_group = np.bincount(number, of_unit)[number]
    named = pair[:, 0] >= groups.alone
    possible = (of_unit <= budget * LARGEST_CLUSTER) & (~named | (of_group <= whole * LARGEST_GROUP))
    order = np.lexsort((pool.places[pair[:, 1]], pair[:, 0], groups.place(pair[:, 0])))[::-1]
    order = order[possible[order]]
    fits = _fits(groups.family[first_row[order]], of_unit[order], budget * OF_A_GROUP)
    order = order[fits]
    if not len(order):
        return chosen, False
    # Groups are numbered as they were drawn.
    group = pair[order, 0]
    number = np.cumsum(np.r_[True, group[1:] != group[:-1]]) - 1
    scored = np.bincount(number, of_unit[order])
    first = np.unique(number, return_index=True)[1]
    held = np.where(named, of_group, of_unit)[order][first]
    scored, held = np.cumsum(scored[scored > 0]), np.cumsum(held)
    enough = int(np.searchsorted(scored, budget)) + 1
    bearable = max(1, int(np.searchsorted(held, whole * MOST_HELD, "right")))
    drawn = np.unique(number)[: min(enough, bearable)]
    chosen[rows] = np.isin(unit.reshape(-1), order[np.isin(number, drawn)])
    return chosen, bool(scored[-1] >= budget or held[-1] > whole * MOST_HELD)


def _fits(family: np.ndarray, size: np.ndarray, most: float) -> np.ndarray:
    """bool: the first of each family, and those with which, and those before it, its family has at most so many bytes."""
    order = np.argsort(family, kind="stable")
    before = np.cumsum(size[order]) - size[order]
    begins = np.r_[True, family[order][1:] != family[order][:-1]] if len(family) else np.zeros(0, bool)
    before -= before[begins][np.cumsum(begins) - 1] if len(family) else before
    fits = np.empty(len(family), bool)
    fits[order] = (before == 0) | (before + size[order] <= most)
    return fits
