"""Figures for the report: SVG text that takes its colours and fonts from the page around it.

Matplotlib draws with placeholder colours, which become CSS variables (`var(--level-1)`), so one figure
serves a light and a dark page. Levels differ by colour, marker and dash, so that no reader depends on
colour. The same input gives the same bytes. The price: text is measured in matplotlib's own font and set in
the page's, so labels stand where a few per cent more or less do no harm.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Callable
from typing import Any

import matplotlib
import matplotlib.font_manager
from matplotlib.figure import Figure

from curate.quantities import short_count

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
DASHES: tuple[Any, ...] = (
    "-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1)), (0, (8, 3)), (0, (2, 3)),
    (0, (8, 2, 1, 2, 1, 2)),
)  # fmt: skip
# Okabe and Ito's colours, darkened or lightened until each has a contrast of 3 : 1 with its paper.
LIGHT = ("#0072b2", "#c94f00", "#008a64", "#b3578e", "#8a6d00", "#3f86b8", "#7f3c8d", "#444444")
DARK = ("#56b4e9", "#f0883e", "#2fc79a", "#e59ec4", "#d9c34a", "#9ecbe8", "#c39bd3", "#bbbbbb")
PLACEHOLDERS = {f"#0000{i:02x}": f"var(--level-{i})" for i in range(1, len(MARKERS) + 1)}
INK, GRID, PAPER = "#0000f1", "#0000f2", "#0000f3"
PLACEHOLDERS |= {INK: "var(--ink)", GRID: "var(--rule)", PAPER: "var(--paper)"}
TOLD = "told: "  # begins the id of what says its own figures where a pointer rests on it
PLAIN = {"--ink": "#222", "--rule": "#ddd", "--paper": "#fff"}
PIXELS = 3  # a point of a figure, in a PNG
RATE_TICKS = (1, 2, 0.5, 5, 0.2, 10, 0.1, 20, 50, 1.5, 3, 0.7, 0.3, 0.8, 1.2, 0.9, 1.1)  # the first that fit
TORNADO_TICKS = (-10, -1, -0.1, 0, 0.1, 1, 10)
STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "curate", "font.size": 11, "axes.edgecolor": GRID,
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    "grid.color": GRID, "grid.linewidth": 0.7,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "legend.frameon": False,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
    "text.parse_math": False,  # a level may be called "$"
}  # fmt: skip


def loss_curves(series: dict[str, dict], label: str) -> str:
    """Loss against tokens, a curve a level with its band, and a point with its interval for every cell."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.9), layout="constrained")
        axes = figure.add_subplot()
        for number, (name, one) in enumerate(series.items()):
            _level(axes, number, name, one)
        ticks = sorted({point["tokens"] for one in series.values() for point in one["points"]})
        axes.set_xscale("log")
        axes.set_xticks(ticks, [short_count(t) for t in ticks])
        axes.minorticks_off()
        axes.grid(True, axis="y")
        axes.tick_params(length=0)
        axes.set_xlabel("training tokens")
        axes.set_ylabel("nats per token")
        axes.legend(loc="upper right", handlelength=3)
        return _svg(figure, label)


def _level(axes: Any, number: int, name: str, series: dict) -> None:
    colour, marker = _colour(number), MARKERS[number % len(MARKERS)]
    dash = DASHES[number % len(DASHES)]
    if series["curve"]:
        tokens, loss, low, high = zip(*series["curve"], strict=True)
        axes.fill_between(tokens, low, high, color=colour, alpha=0.13, linewidth=0)
        axes.plot(tokens, loss, color=colour, linestyle=dash, linewidth=1.6)
    points = series["points"]
    sizes, mean = [p["tokens"] for p in points], [p["mean"] for p in points]
    spread = [[max(0, p["mean"] - p["low"]) for p in points], [max(0, p["high"] - p["mean"]) for p in points]]
    axes.errorbar(sizes, mean, spread, color=colour, capsize=2.5, linestyle="none", linewidth=1.1)
    trigrams = [(p["tokens"], p["trigram"]) for p in points if p["trigram"]]
    for tokens, loss in trigrams:
        (drawn,) = axes.plot(tokens, loss, color=colour, marker="_", markersize=11, linestyle="none")
        drawn.set_gid(f"{TOLD}{name}, a trigram of {short_count(tokens)} tokens: {loss:.3f}")
    # Drawn empty: only so that the legend shows marker and dash together.
    axes.plot([], [], color=colour, marker=marker, linestyle=dash, linewidth=1.6, label=_visible(name))
    for point in points:
        (drawn,) = axes.plot(
            point["tokens"], point["mean"], color=colour, marker=marker, markersize=6.5, markeredgecolor=PAPER,
            linestyle="none",
        )  # fmt: skip
        figure = f"{point['mean']:.3f} [{point['low']:.3f}, {point['high']:.3f}]"
        drawn.set_gid(f"{TOLD}{name}, {short_count(point['tokens'])} tokens: {figure}")


def exchange_rates(rates: list[dict], of: str, label: str) -> str:
    """A row a level: tokens of `of` that one of its tokens is worth. Hollow: not distinguishable from 1."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 0.9 + 0.42 * len(rates)), layout="constrained")
        axes = figure.add_subplot()
        bounds = [x for rate in rates for x in (rate["low"], rate["high"], rate["rate"]) if x]
        left, right = min([0.8, *bounds]) / 1.15, max([1.25, *bounds]) * 1.15
        axes.axvline(1, color=INK, linewidth=0.8, linestyle=(0, (2, 3)))
        for row, rate in enumerate(rates):
            _rate(axes, row, rate, left, right)
        axes.set_xscale("log")
        axes.set_xlim(left, right)
        axes.set_ylim(len(rates) - 0.5, -0.5)
        ticks = _rate_ticks(left, right)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_yticks(range(len(rates)), [_visible(rate["level"]) for rate in rates])
        axes.grid(True, axis="x")
        axes.tick_params(length=0)
        axes.set_xlabel(f"tokens of {of} that one token is worth")
        return _svg(figure, label)


def tornado(rows: list[dict], label: str) -> str:
    """A bar a change of the base, in bits per byte, with its interval; factors in the order of their largest change.

    Above 0 the change is worse than the base. Hollow: not distinguishable from it. The axis is linear to 0.1 and
    logarithmic beyond, so that small changes show beside ruin.
    """
    factors = list(dict.fromkeys(row["factor"] for row in rows))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.9 + 0.3 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for place, row in enumerate(rows):
            colour = _colour(factors.index(row["factor"]))
            fill = colour if row["distinguishable"] else PAPER
            axes.barh(place, row["bits"], height=0.62, facecolor=fill, edgecolor=colour, linewidth=1.3)
            if row["low"] is not None:
                axes.plot([row["low"], row["high"]], [place, place], color=INK, linewidth=1.2)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_xscale("symlog", linthresh=0.1)
        ends = [x for row in rows for x in (row["low"], row["high"], row["bits"]) if x is not None]
        ticks = [t for t in TORNADO_TICKS if min(ends) <= t <= max(ends)]
        axes.set_xticks(ticks, [f"{tick:+g}".replace("-", "\u2212") if tick else "0" for tick in ticks])
        axes.minorticks_off()
        axes.set_ylim(len(rows) - 0.5, -0.5)
        names = [f"{row['change']} · {row['factor']}" for row in rows]
        axes.set_yticks(range(len(rows)), [_visible(name) for name in names])
        axes.grid(True, axis="x")
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        axes.set_xlabel("bits per byte more than the base")
        return _svg(figure, label)


def histogram(spread: dict, label: str) -> str:
    """Bars of documents by a signal, those outside of the bounds in another colour, and a line at each bound."""
    edges, counts = spread["edges"], spread["counts"]
    low, high = (
        math.inf * sign if limit is None else limit
        for limit, sign in zip(spread["keeps"], (-1, 1), strict=True)
    )
    width, height, base = 480, 96, 76
    scale = math.log1p if spread["logarithmic"] else float

    def x(value: float) -> float:
        first, last = scale(edges[0]), scale(edges[-1])
        return width * (min(max(scale(value), first), last) - first) / (last - first)

    top = math.sqrt(max(counts))  # the square root shows small bars beside large ones
    bars = []
    for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if count:
            tall = max(1.0, (base - 12) * math.sqrt(count) / top)
            colour = "var(--level-1)" if low <= (left + right) / 2 <= high else "var(--level-2)"
            bars.append(
                f'<rect x="{x(left):.1f}" y="{base - tall:.1f}" width="{max(1.0, x(right) - x(left) - 1):.1f}" '
                f'height="{tall:.1f}" fill="{colour}"><title>{left:.4g} to {right:.4g}: {count:,}</title></rect>'
            )
    lines = [
        f'<line x1="{x(at):.1f}" x2="{x(at):.1f}" y1="0" y2="{base}" stroke="var(--ink)" stroke-dasharray="3 2"/>'
        for at in spread["bounds"]
    ]
    anchors = {edges[0]: "start", edges[-1]: "end"}
    marks = [
        f'<text x="{x(at):.1f}" y="{base + 15}" text-anchor="{anchors.get(at, "middle")}">{at:.4g}</text>'
        for at in _apart([*spread["bounds"], edges[0], edges[-1]], x)
    ]
    ground = f'<line x1="0" x2="{width}" y1="{base}" y2="{base}" stroke="var(--rule)"/>'
    return (
        f'<svg class="histogram" viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(label)}" '
        f'font-size="11" fill="var(--ink)">{"".join(bars)}{ground}{"".join(lines)}{"".join(marks)}</svg>'
    )


def _apart(values: list[float], x: Callable[[float], float]) -> list[float]:
    """The values whose labels stand clear of those before them."""
    chosen: list[float] = []
    for value in values:
        if all(abs(x(value) - x(other)) > 48 for other in chosen):
            chosen.append(value)
    return chosen


def _rate_ticks(left: float, right: float) -> list[float]:
    """Round rates, no two nearer than a seventh of the axis."""
    apart, ticks = math.log(right / left) / 7, list[float]()
    for tick in RATE_TICKS:
        if left < tick < right and all(abs(math.log(tick / other)) > apart for other in ticks):
            ticks.append(tick)
    return sorted(ticks)


def _rate(axes: Any, row: int, rate: dict, left: float, right: float) -> None:
    colour = _colour(rate["colour"])
    low, high = rate["low"] or left, rate["high"] or right
    axes.plot([low, high], [row, row], color=colour, linewidth=2)
    for open_end, x, arrow in ((not rate["low"], left * 1.02, "<"), (not rate["high"], right / 1.02, ">")):
        if open_end:  # the runs cannot tell how far
            axes.plot([x], [row], color=colour, marker=arrow, markersize=7, linestyle="none", clip_on=False)
    marker, fill = MARKERS[rate["colour"] % len(MARKERS)], colour if rate["distinguishable"] else PAPER
    (drawn,) = axes.plot([rate["rate"]], [row], color=colour, marker=marker, markersize=8,
                         markerfacecolor=fill, markeredgewidth=1.5)  # fmt: skip
    high_told = "∞" if rate["high"] is None else f"{rate['high']:.2f}"
    drawn.set_gid(f"{TOLD}{rate['level']}: {rate['rate']:.2f} [{rate['low']:.2f}, {high_told}]")


def _colour(number: int) -> str:
    return f"#0000{number % len(MARKERS) + 1:02x}"


def _visible(name: str) -> str:
    """Matplotlib hides labels that begin with an underscore; an empty character before it shows them."""
    return f"\u200b{name}" if name.startswith("_") else name


def _svg(figure: Figure, label: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font-size: \1px", svg)
    box = re.search(r'viewBox="([^"]*)"', svg)
    assert box, "matplotlib states the size of a figure"
    svg = re.sub(f'<g id="{TOLD}([^"]*)">', r"<g><title>\1</title>", svg)
    opening = f'<svg viewBox="{box[1]}" role="img" aria-label="{html.escape(label)}">'
    svg = opening + svg[svg.index(">") + 1 :]
    for placeholder, variable in PLACEHOLDERS.items():
        svg = svg.replace(placeholder, variable)
    return svg.strip()


def inside_page(svg: str, name: str) -> str:
    """With names of its own, since several figures share the page and all begin at `figure_1`."""
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)


def standalone(svg: str) -> str:
    """The figure as a file of its own, for papers: plain colours, and the name space a viewer needs."""
    for i, colour in enumerate(LIGHT, 1):
        svg = svg.replace(f"var(--level-{i})", colour)
    for name, colour in PLAIN.items():
        svg = svg.replace(f"var({name})", colour)
    font = "font-family:Helvetica,Arial,sans-serif"
    return svg.replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" style="{font}" ', 1) + "\n"


def png(standalone_svg: str) -> bytes:
    """The figure as pixels, on white, in the font that its text was measured in: the same on every machine."""
    import resvg_py

    return resvg_py.svg_to_bytes(
        svg_string=standalone_svg, zoom=PIXELS, background="white", skip_system_fonts=True,
        font_files=[matplotlib.font_manager.findfont("DejaVu Sans")],
        font_family="DejaVu Sans", sans_serif_family="DejaVu Sans",
    )  # fmt: skip
