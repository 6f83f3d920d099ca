"""Figures for the report: SVG text that takes its colours and fonts from the page around it.

Matplotlib draws with placeholder colours, which become CSS variables (`var(--level-1)`), so one figure
serves a light and a dark page. Levels differ by colour, marker and dash, so that no reader depends on
colour. The same input gives the same bytes.
"""

from __future__ import annotations

import io
import re
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from curate.quantities import short_count

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.5)),
    (0, (6, 2, 1, 2)),
    (0, (3, 1)),
    (0, (8, 3)),
    (0, (2, 3)),
    "-",
)
PLACEHOLDERS = {f"#0000{i:02x}": f"var(--level-{i})" for i in range(1, len(MARKERS) + 1)}
INK, GRID, PAPER = "#0000f1", "#0000f2", "#0000f3"
PLACEHOLDERS |= {INK: "var(--ink)", GRID: "var(--rule)", PAPER: "var(--paper)"}
PLAIN = {"--ink": "#222", "--rule": "#ddd", "--paper": "#fff"}
LIGHT = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#7f3c8d", "#444444")
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "curate", "font.size": 11, "axes.edgecolor": GRID, "text.color": INK,
    "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "grid.color": GRID, "grid.linewidth": 0.7,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "legend.frameon": False,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
}  # fmt: skip


def loss_curves(holdout: dict, title: str) -> str:
    """Loss against tokens, a curve a level with its band, and a point with its interval for every cell."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 4.1), layout="constrained")
        axes = figure.add_subplot()
        ticks: set[float] = set()
        for number, (level, series) in enumerate(holdout["levels"].items()):
            _level(axes, number, level, series)
            ticks |= {point["tokens"] for point in series["points"]}
        axes.set_xscale("log")
        axes.set_xticks(sorted(ticks), [short_count(t) for t in sorted(ticks)])
        axes.minorticks_off()
        axes.grid(True, axis="y")
        axes.tick_params(length=0)
        axes.set_xlabel("training tokens")
        axes.set_ylabel("nats per token")
        axes.set_title(title, loc="left", fontsize=12)
        axes.legend(loc="upper right", fontsize=10)
        return _svg(figure, f"{title}: loss against training tokens for each level")


def _level(axes: Any, number: int, level: str, series: dict) -> None:
    colour, marker = f"#0000{number % len(MARKERS) + 1:02x}", MARKERS[number % len(MARKERS)]
    if series["curve"]:
        tokens, loss, low, high = zip(*series["curve"], strict=True)
        axes.fill_between(tokens, low, high, color=colour, alpha=0.13, linewidth=0)
        axes.plot(tokens, loss, color=colour, linestyle=DASHES[number % len(DASHES)], linewidth=1.6)
    points = series["points"]
    mean = [p["mean"] for p in points]
    spread = [[p["mean"] - p["low"] for p in points], [p["high"] - p["mean"] for p in points]]
    axes.errorbar([p["tokens"] for p in points], mean, spread, color=colour, marker=marker, markersize=6, capsize=3,
                  markeredgecolor=PAPER, linestyle="none", linewidth=1.2, label=level)  # fmt: skip


def _svg(figure: Figure, label: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'xmlns:xlink="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
        rf'<svg viewBox="\1" role="img" aria-label="{label}">',
        svg,
        count=1,
    )
    for placeholder, variable in PLACEHOLDERS.items():
        svg = svg.replace(placeholder, variable)
    return svg.strip()


def standalone(svg: str) -> str:
    """The figure as a file of its own, for papers: plain colours, and the name space a viewer needs."""
    for i, colour in enumerate(LIGHT, 1):
        svg = svg.replace(f"var(--level-{i})", colour)
    for name, colour in PLAIN.items():
        svg = svg.replace(f"var({name})", colour)
    font = "font-family:Helvetica,Arial,sans-serif"
    return svg.replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" style="{font}" ', 1) + "\n"
