"""Figures of several panels or lines: probes by family, loss by position, settings against the first."""

from __future__ import annotations

import math
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from curate.quantities import short_count
from curate.report.charts import DASHES, GRID, INK, MARKERS, PAPER, STYLE, _colour, _svg, _visible

COLUMNS = 2


def probe_panels(figures: dict, label: str) -> str:
    """Share of questions answered right against tokens of text read first, a panel a family.

    Filled: after fine-tuning; hollow: zero-shot. The band is the fresh model, fine-tuned only; dotted is chance.
    """
    families = list(dict.fromkeys(row["family"] for row in figures["rows"]))
    names = list(dict.fromkeys(row["series"] for row in figures["rows"] if row["way"] != "scratch"))
    lines = -(-len(families) // COLUMNS)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.2, 0.7 + 2.5 * lines), layout="constrained")
        panels = figure.subplots(lines, min(COLUMNS, len(families)), sharex=True, squeeze=False).flatten()
        for axes, family in zip(panels, families, strict=False):
            rows = [row for row in figures["rows"] if row["family"] == family]
            _probe_panel(axes, family, rows, names)
        for axes in panels[len(families) :]:
            axes.set_axis_off()
        handles = [_legend_line(panels[0], number, name) for number, name in enumerate(names)]
        handles.append(panels[0].plot([], [], color=INK, linestyle=DASHES[1], label="from scratch")[0])
        handles.append(panels[0].plot([], [], color=INK, linestyle=DASHES[2], linewidth=1, label="chance")[0])
        figure.legend(handles=handles, loc="outside upper left", ncols=min(5, len(handles)), handlelength=3)
        return _svg(figure, label)


def _probe_panel(axes: Any, family: str, rows: list[dict], names: list[str]) -> None:
    sizes = sorted({row["size"] for row in rows if row["size"]})
    axes.axhline(rows[0]["chance"], color=INK, linewidth=1, linestyle=DASHES[2])
    for row in rows:
        if row["way"] == "scratch":
            accuracy = row["accuracy"]
            axes.axhspan(accuracy["low"], accuracy["high"], color=INK, alpha=0.1, linewidth=0)
            axes.axhline(accuracy["value"], color=INK, linestyle=DASHES[1], linewidth=1.2)
    for number, name in enumerate(names):
        for way in ("tuned", "zero-shot"):
            _probe_line(axes, number, len(names), [r for r in rows if (r["series"], r["way"]) == (name, way)])
    axes.set_xscale("log")
    axes.set_xticks(sizes, [short_count(size) for size in sizes])
    axes.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.3)
    axes.minorticks_off()
    axes.grid(True, axis="y")
    axes.tick_params(length=0)
    axes.set_title(family, loc="left", fontsize=11)
    axes.set_xlabel("tokens of text read first")
    axes.set_ylabel("share right")
    axes.label_outer()


def _probe_line(axes: Any, number: int, of: int, rows: list[dict]) -> None:
    if not rows:
        return
    colour, marker = _colour(number), MARKERS[number % len(MARKERS)]
    aside = 1.05 ** (number - (of - 1) / 2)  # levels stand beside each other, or one would hide the other
    sizes = [row["size"] * aside for row in rows]
    value = [row["accuracy"]["value"] for row in rows]
    ends = [
        [max(0.0, row["accuracy"]["value"] - row["accuracy"]["low"]) for row in rows],
        [max(0.0, row["accuracy"]["high"] - row["accuracy"]["value"]) for row in rows],
    ]
    zero_shot = rows[0]["way"] == "zero-shot"
    axes.errorbar(
        sizes, value, ends, color=colour, marker=marker, markersize=5.5, linewidth=0.8 if zero_shot else 1.6,
        elinewidth=0.9, linestyle=DASHES[number % len(DASHES)], markerfacecolor=PAPER if zero_shot else colour,
        markeredgecolor=colour,
    )  # fmt: skip


def _legend_line(axes: Any, number: int, name: str) -> Any:
    look = {"marker": MARKERS[number % len(MARKERS)], "linestyle": DASHES[number % len(DASHES)]}
    return axes.plot([], [], color=_colour(number), label=_visible(name), **look)[0]


def positions(figures: dict, label: str) -> str:
    """What a structure gains from its context: loss by position less that of a reference, a line a structure."""
    edges = list(zip(figures["edges"][:-1], figures["edges"][1:], strict=True))
    middles = [(a + b - 1) / 2 + 1 for a, b in edges]
    spans = [f"{a}–{b - 1}" if b > a + 1 else str(a) for a, b in edges]
    lines = {name: line | {"at": middles} for name, line in figures["lines"].items()}
    return _banded(
        lines, dict(zip(middles, spans, strict=True)), "tokens that stand before", figures["unit"], label
    )


def gaps(figures: dict, label: str) -> str:
    """What each further setting costs or saves against the first, at every size, a line a setting."""
    lines: dict[str, dict] = {}
    for row in figures["rows"]:
        line = lines.setdefault(row["level"], {"at": [], "value": [], "low": [], "high": []})
        line["at"].append(row["tokens"])
        for name in ("value", "low", "high"):
            line[name].append(math.nan if row[name] is None else row[name])  # an end that is not known
    sizes = {size: short_count(size) for line in lines.values() for size in line["at"]}
    return _banded(lines, sizes, "training tokens", f"nats more than {figures['first']}", label)


def isoflops(figures: dict, label: str) -> str:
    """Loss against parameters, a line for each compute that bought it."""
    levels = {curve["level"] for curve in figures["rows"]}
    lines = {
        f"{curve['level']}, {curve['flops']:.2g} FLOPs"
        if len(levels) > 1
        else f"{curve['flops']:.2g} FLOPs": curve
        for curve in figures["rows"]
    }
    sizes = {at: short_count(at) for curve in figures["rows"] for at in curve["at"]}
    return _banded(lines, sizes, "parameters", "nats per token", label, zero=False)


def _banded(
    lines: dict[str, dict], ticks: dict[float, str], across: str, up: str, label: str, zero: bool = True
) -> str:
    """Lines with bands, around 0 as a rule, over a logarithmic scale."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.9), layout="constrained")
        axes = figure.add_subplot()
        for number, (name, line) in enumerate(lines.items()):
            colour = _colour(number)
            if None not in line["low"]:
                axes.fill_between(
                    line["at"], line["low"], line["high"], color=colour, alpha=0.13, linewidth=0
                )
            axes.plot(
                line["at"], line["value"], color=colour, marker=MARKERS[number % len(MARKERS)], markersize=5,
                linestyle=DASHES[number % len(DASHES)], linewidth=1.6, label=_visible(name),
            )  # fmt: skip
        if zero:
            axes.axhline(0, color=GRID, linewidth=1, zorder=1)
        axes.set_xscale("log")
        axes.set_xticks(list(ticks), list(ticks.values()), rotation=30 if len(ticks) > 8 else 0)
        axes.minorticks_off()
        axes.grid(True, axis="y")
        axes.tick_params(length=0)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.legend(loc="best", handlelength=3)
        return _svg(figure, label)


WAYS = {"without": ("s", "left out"), "only": ("o", "alone")}  # marker, word


def worths(figures: dict, label: str) -> str:
    """A row a part, the one that is worth most first: what leaving it out costs, and what it saves alone.

    Colour says the verdict (worth it, harmful, neither); hollow: not distinguishable from 0 among all comparisons.
    """
    rows = figures["parts"]
    parts = sorted(
        {row["part"] for row in rows}, key=lambda part: -max(r["value"] for r in rows if r["part"] == part)
    )
    ways = [way for way in WAYS if any(row["way"] == way for row in rows)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 1.2 + 0.36 * len(parts)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0, color=INK, linewidth=0.8, linestyle=(0, (2, 3)))
        for row in rows:
            aside = 0.14 * (2 * ways.index(row["way"]) - 1) if len(ways) > 1 else 0
            _worth(axes, parts.index(row["part"]) + aside, row)
        handles = [
            axes.plot(
                [], [], color=INK, marker=WAYS[way][0], markersize=6, linestyle="none", label=WAYS[way][1]
            )[0]
            for way in ways
        ]
        axes.set_ylim(len(parts) - 0.5, -0.5)
        axes.set_yticks(range(len(parts)), [_visible(part) for part in parts])
        axes.grid(True, axis="x")
        axes.tick_params(length=0)
        axes.set_xlabel("nats per token that it is worth")
        figure.legend(handles=handles, loc="outside upper right", ncols=2, handlelength=1)
        return _svg(figure, label)


def _worth(axes: Any, place: float, row: dict) -> None:
    clear = bool(row["corrected"])
    colour = (_colour(0) if row["value"] > 0 else _colour(1)) if clear else INK
    axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1.8 if clear else 1.0)
    axes.plot(
        [row["value"]], [place], color=colour, marker=WAYS[row["way"]][0], markersize=7, markeredgewidth=1.4,
        markerfacecolor=colour if clear else PAPER,
    )  # fmt: skip


def lost_with_duplicates(by_source: dict[str, dict]) -> str:
    """Share of each source's text that nothing else says, against the share that goes, as the bound on novelty grows."""
    series = {name: one for name, one in by_source.items() if one["saved"][-1]}
    series = dict(sorted(series.items(), key=lambda item: -item[1]["saved"][-1])[: len(MARKERS)])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.4), layout="constrained")
        axes = figure.add_subplot()
        for number, (name, one) in enumerate(series.items()):
            saved, lost = (
                [100 * size / one["bytes"] for size in (0, *one[key])] for key in ("saved", "lost")
            )
            axes.plot(saved, lost, color=_colour(number), marker=MARKERS[number], linestyle=DASHES[number],
                      markersize=4, linewidth=1.6, label=_visible(name))  # fmt: skip
        axes.grid(True)
        axes.tick_params(length=0)
        axes.set_xlabel("% of the source's text that goes")
        axes.set_ylabel("% of its text that is lost")
        axes.legend(loc="upper left", handlelength=3)
        return _svg(figure, "What is lost with duplicates, by source")
