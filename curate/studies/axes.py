"""Axes of the grid: what every further setting of its knobs is worth against the first, as text grows.

No study of its own: a knob that is a list in [grid] asks it. Axes that are tuned are gone here: each level stands at its
best there.
"""

from __future__ import annotations

from curate.quantities import short_count
from curate.results.answers import finite
from curate.results.finding import finding, table
from curate.results.scores import grid_of, series_name, setting
from curate.results.words import difference_text, text_of
from curate.studies import context
from train import fits

KEY = "axes"


def axes_finding(holdout: str, lock: dict, runs: list[dict]) -> list[dict]:
    """`runs` in the order of the manifest: the first setting is the one that the others are held against."""
    settings = list(dict.fromkeys(map(setting, runs)))
    if len(settings) < 2:
        return []
    grid = grid_of(holdout, runs)
    pairs = _pairs(runs, settings)
    # A seed reads the same in all settings. What is said first is of the most tokens, settled before any result is seen.
    largest = {(level, than): max(p[2] for p in pairs if p[:2] == (level, than)) for level, than, _ in pairs}
    firsts = fits.paired_differences(grid, [(*pair, size) for pair, size in largest.items()])
    rows: dict[str, list[fits.Difference]] = {}
    for gap in fits.paired_differences(grid, pairs):
        rows.setdefault(gap.level, []).append(gap.together)
    title = f"What the settings of the grid are worth on {text_of(holdout)}"
    sentences = [f"On {text_of(holdout)}, {_sentence(gap.together, rows[gap.level])}" for gap in firsts]
    figures = [finite(vars(gap)) for some in rows.values() for gap in some]
    main = finding(
        KEY, title, holdout, sentences, [_table(rows, settings[0])], rows=figures, first=settings[0], caveats=grid.caveats
    )  # fmt: skip
    levels = dict.fromkeys(run["level"] for run in runs)
    pictures = [
        _picture(holdout, settings[0], [run for run in runs if run["level"] == level]) for level in levels
    ]
    return [main, *filter(None, pictures)]


def _pairs(runs: list[dict], settings: list[str]) -> list[tuple[str, str, int]]:
    """Every level and size that both a further setting and the first have."""
    there = {(run["level"], setting(run), run["size"]): series_name(run) for run in runs}
    return [
        (name, there[level, settings[0], size], size)
        for (level, one, size), name in sorted(there.items(), key=lambda item: item[0][2])
        if one != settings[0] and (level, settings[0], size) in there
    ]


def _sentence(last: fits.Difference, gaps: list[fits.Difference]) -> str:
    """At the most tokens; and between which sizes the order turns, where it is clear on both sides."""
    gap, tokens = difference_text(vars(last)), short_count(last.tokens)
    sentence = f"{last.level} has {gap} nats per token against {last.than} at {tokens} tokens"
    if not last.distinguishable:
        sentence += ", not distinguishable"
    clear = [gap for gap in gaps if gap.distinguishable]
    turns = [
        (before, after)
        for before, after in zip(clear, clear[1:], strict=False)
        if before.value * after.value < 0
    ]
    if not turns:
        return f"{sentence}."
    before, after = turns[-1]
    ahead = "ahead" if before.value < 0 else "behind"
    return (
        f"{sentence}. It was {ahead} at {short_count(before.tokens)}: the order turns between that and "
        f"{short_count(after.tokens)}."
    )


def _table(rows: dict[str, list[fits.Difference]], first: str) -> dict:
    sizes = sorted({gap.tokens for some in rows.values() for gap in some})
    gaps = {(gap.level, gap.tokens): difference_text(vars(gap)) for some in rows.values() for gap in some}
    cells = [[name, *(gaps.get((name, size), "") for size in sizes)] for name in rows]
    caption = (
        f"Nats per token more than {first}, at so many tokens; intervals hold all of these at once, so they are wider than "
        "those of the sentences, whose size was settled before any run"
    )
    return table(caption, ["Setting", *map(short_count, sizes)], cells)


def _picture(holdout: str, first: str, runs: list[dict]) -> dict | None:
    """Loss by position at the most tokens, where the axis is one of what carries information between positions."""
    largest = max(run["size"] for run in runs)
    uses = context.uses(holdout, [run for run in runs if run["size"] == largest], setting)
    return context.context_finding(holdout, first, uses) if first in uses else None
