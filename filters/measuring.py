"""Signals of a column of texts, in one call: `filters.measure`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from filters.arrow import any_column, batches, text_column
from filters.family import Family
from filters.heuristics import word_lists
from filters.names import did_you_mean
from filters.registry import FAMILIES, FAMILY_OF, OF_THE_POOL


def measure(
    texts: Any,
    names: str | Sequence[str],
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    columns: Mapping[str, Any] | None = None,
) -> pa.Table:
    """A table with a column for each signal and a row for each text; a missing text has null in every column.

        filters.measure(["One text.", "Another."], ["word_count", "language"])

    `texts`: an Arrow array, chunked array or column of a table, a polars or pandas series, a column of `datasets`, or
    a list of strings. `names`: signals, or families for all of theirs (`filters.SIGNALS`, `filters.FAMILIES`); what is
    both, such as "language", is the signal.

    `options` are parameters of families: `{"quality": {"model": "quality.bin"}}`; the family `word_list.NAME` takes
    `{"list": FILE}`. `columns` are what a family takes beside the texts: `{"url": addresses}`. Raises ValueError that
    says what is unknown or lacking, and TypeError where `texts` holds no text.
    """
    column = any_column(texts)
    options, beside = dict(options or {}), {name: any_column(c) for name, c in (columns or {}).items()}
    for name, more in beside.items():
        if len(more) != len(column):
            raise ValueError(f'columns["{name}"] has {len(more)} rows, texts has {len(column)}')
    owners = _signals(names)
    families: dict[str, Family] = {}
    for owner in owners.values():
        _add(owner, options, beside, families)
    for name in options:
        if name not in families:
            raise ValueError(
                f'options for "{name}", of which no signal is asked{did_you_mean(name, families)}'
            )
    measured = _measured(text_column(column), families, options, beside)
    rows = pa.array(np.arange(len(column)), mask=column.is_null().to_numpy(zero_copy_only=False))
    return pa.table({name: measured[name].take(rows) for name in owners})


def _signals(names: str | Sequence[str]) -> dict[str, str]:
    """Signal -> its family, in the order in which they are named."""
    owners: dict[str, str] = {}
    for name in [names] if isinstance(names, str) else names:
        if name in FAMILY_OF:
            owners[name] = FAMILY_OF[name]
        elif name in FAMILIES or name.startswith(word_lists.PREFIX):
            owners |= {signal.name: name for signal in _family(name).signals}
        elif name in OF_THE_POOL or any(name == s.name for f in OF_THE_POOL.values() for s in f.signals):
            raise ValueError(
                f'"{name}" compares all documents of a pool with each other, it is not measured text by text: '
                "see near_duplicates, repeats and most_alike in filters.duplicates.leaders, .repeats and .meaning"
            )
        else:
            close = did_you_mean(name, {*FAMILY_OF, *FAMILIES}, listed=FAMILIES)
            raise ValueError(f'there is no signal or family "{name}"{close}')
    return owners


def _family(name: str) -> Family:
    return word_lists.family(name) if name.startswith(word_lists.PREFIX) else FAMILIES[name]


def _add(name: str, options: Mapping, beside: Mapping, families: dict[str, Family]) -> None:
    """Add a family, behind those of which it takes signals. Raises ValueError where it lacks something."""
    if name in families:
        return
    family = _family(name)
    for taken in family.takes:
        if taken in FAMILY_OF and taken not in beside:
            _add(FAMILY_OF[taken], options, beside, families)
        elif taken not in beside:
            raise ValueError(f'{name} takes a column "{taken}": give columns={{"{taken}": ...}}')
    _check_options(name, family, options.get(name, {}))
    families[name] = family


def _check_options(name: str, family: Family, given: Mapping[str, Any]) -> None:
    parameters = list(inspect.signature(family.measure).parameters.values())[1 + len(family.takes) :]
    known = [p.name for p in parameters]
    for option in given if all(p.kind != p.VAR_KEYWORD for p in parameters) else ():
        if option not in known:
            raise ValueError(f'{name} has no option "{option}"{did_you_mean(option, known)}')
    needed = [p.name for p in parameters if p.default is p.empty and p.kind != p.VAR_KEYWORD]
    lacking = [option for option in needed if option not in given]
    files = [p.name for p in parameters if p.default == ""]  # one of them is needed
    if files and not any(given.get(option) for option in files):
        lacking += files[:1]
    if lacking:
        raise ValueError(f'{name} needs an option: give options={{"{name}": {{"{lacking[0]}": FILE}}}}')


def _measured(
    texts: pa.LargeStringArray, families: Mapping[str, Family], options: Mapping, beside: Mapping
) -> dict[str, pa.ChunkedArray]:
    """Every column of these families, measured batch by batch so that what one finds in a text is there for the next."""
    pieces_of: dict[str, list[pa.Array]] = {}
    ordered = sorted(families.values(), key=lambda family: not family.first)
    for first, last in batches(texts):
        some = texts.slice(first, last - first)
        here = {name: column.slice(first, last - first) for name, column in beside.items()}
        for family in ordered:
            taken = {name: here[name] for name in family.takes}
            measured = family.measure(some, **taken, **options.get(family.name, {}))
            here = measured | here
            for name, column in measured.items():
                pieces_of.setdefault(name, []).append(column)
    return {name: pa.chunked_array(pieces) for name, pieces in pieces_of.items()}
