"""The loss on each part of a holdout: what comes from each source, what each level keeps."""

from __future__ import annotations

import numpy as np

from curate.results.answers import finite
from curate.results.finding import finding, table
from curate.results.scores import at_most_tokens, first_setting, grid_of, levels_of, packed_holdout
from curate.results.words import difference_text, figure_text, text_of
from train import fits
from train.tokens.packed import Packed

KINDS = {"source": "from {}", "level": "kept by {}"}


def groups_finding(name: str, lock: dict, runs: list[dict]) -> list[dict]:
    """Of the levels at the largest size that all have, in the first setting of the grid;
    nothing without parts."""
    runs = [run for run in runs if any(run.get("losses_by", {}).get(name, {}).values())]
    runs = at_most_tokens(first_setting(runs))
    if not runs:
        return []
    levels, size = levels_of(lock, runs), runs[0]["size"]
    groups = [(kind, group) for kind in KINDS for group in runs[0]["losses_by"][name].get(kind, {})]
    parts = [_part(name, levels, runs, *group, 1 - 0.05 / len(groups)) for group in groups]
    title = f"Loss by source and by level, on {text_of(name)}"
    caption = (
        f"Nats per token after {size:,} tokens, with intervals that hold all {len(parts)} rows at once; a document may be "
        "kept by several levels"
    )
    gap = [f"{levels[-1]} against {levels[0]}"] if len(levels) > 1 else []
    columns = ["Held-out text", "Documents", "Share of all nats", *levels, *gap]
    rows = [
        [part["text"], f"{part['documents']:,}", f"{part['share']:.0%}", *(figure_text(*m) for m in part["means"].values())]
        + [difference_text(part["difference"]) if part["difference"] else "" for _ in gap]
        for part in parts
    ]  # fmt: skip
    return [
        finding("groups", title, name, _sentences(levels, parts), [table(caption, columns, rows)],
                tokens=size, parts=parts)
    ]  # fmt: skip


def _part(name: str, levels: list[str], runs: list[dict], kind: str, group: str, confidence: float) -> dict:
    grid = _grid(name, runs, kind, group, confidence)
    means = {level: fits.mean(grid, level, grid.tokens[-1]) for level in levels}
    difference = fits.differences(grid, [(levels[-1], levels[0])]) if len(levels) > 1 else []
    first = runs[0]["losses_by"][name][kind][group]
    everything = runs[0]["losses"][name]
    return {
        "kind": kind, "group": group, "text": KINDS[kind].format(group),
        "documents": first["documents"], "tokens": first["tokens"],
        "share": first["nats_per_token"] * first["tokens"] / (everything["nats_per_token"] * everything["tokens"]),
        "means": {level: [mean.value, mean.low, mean.high] for level, mean in means.items()},
        "difference": finite(vars(difference[0])) if difference else None,
    }  # fmt: skip


def _grid(name: str, runs: list[dict], kind: str, group: str, confidence: float) -> fits.Grid:
    """As of the whole holdout, of these documents alone."""
    packed = packed_holdout(name, runs[0])
    of: np.ndarray | None = None
    if packed is not None and (packed / "groups.json").is_file():
        of = np.array(Packed.open(packed).groups[kind][group])
    return grid_of(
        name, runs, of is not None, of=of, loss=lambda run: run["losses_by"][name][kind][group]["nats_per_token"],
        place=lambda run: (run["level"], run["size"]), confidence=confidence,
    )  # fmt: skip


def _sentences(levels: list[str], parts: list[dict]) -> list[str]:
    """About the sources, or about levels where all is of one source."""
    parts = [part for part in parts if part["kind"] == "source"] or parts
    last, first = levels[-1], levels[0]
    hardest = max(parts, key=lambda part: part["means"][last][0])
    figure = figure_text(*hardest["means"][last])
    sentences = [f"To {last}, held-out text {hardest['text']} is the hardest: {figure} nats per token."]
    gaps = [(part, part["difference"]) for part in parts if part["difference"]]
    clear = [(part, gap) for part, gap in gaps if gap["distinguishable"]]
    for verb, sign in (("helps", -1), ("harms", 1)):
        some = [f"{part['text']} ({difference_text(gap)})" for part, gap in clear if gap["value"] * sign > 0]
        if some:
            sentences.append(f"Training on {last} instead of {first} {verb} on text {', '.join(some)}.")
    if gaps and not clear:
        sentences.append(f"On no part of it are {last} and {first} distinguishable.")
    return sentences
