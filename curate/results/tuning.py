"""Levels, or changes of a knob, each trained as is best for it.

Which learning rate, how many passes and how much weight decay are best differs from one level and size to the next, so
that a ranking under one setting may be a ranking of settings. Where an axis of the grid is one of these, every level is
taken at its best, size by size: the least loss that so many of its tokens buy, within what was tried.

Best is what has the least loss on text held apart for this choice alone, or on the text that was learned from where no
run reads it twice: held-out text chooses nothing. The least of several noisy losses is too low. So each seed is taken at
the setting that the *other* seeds choose: its own luck has no part in it, and where they choose differently the spread
between seeds says so.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from curate.results.finding import finding, table
from curate.results.scores import series_name
from curate.results.words import text_of
from train.grid import APART, TUNED

WORDS = {"epochs": "passes", "optimizer.learning_rate": "rate", "optimizer.weight_decay": "decay"}
EPOCHS = "epochs"

Setting = tuple[tuple[str, Any], ...]  # values of tuned knobs, by name


def at_best(
    runs: list[dict], name: Callable[[dict], Hashable], how: Callable[[dict], Hashable]
) -> tuple[list[dict], dict[Any, dict[Any, float]]]:
    """(the runs of every name at the best of its settings, losses by name and setting of those that have several).

    Of the settings with the most seeds, over the seeds that all of them have.
    """
    tried: dict[Any, dict[Any, dict[int, dict]]] = {}
    for run in runs:
        tried.setdefault(name(run), {}).setdefault(how(run), {})[run["seed"]] = run
    kept, losses = list[dict](), dict[Any, dict[Any, float]]()
    for key, every in tried.items():
        most = max(map(len, every.values()))
        settings = {one: by_seed for one, by_seed in every.items() if len(by_seed) == most}
        seeds = sorted(set.intersection(*map(set, settings.values())))
        if len(every) == 1 or not seeds:
            kept += next(iter(settings.values())).values()
            continue
        loss_HS = np.array([[loss_apart(by_seed[seed]) for seed in seeds] for by_seed in settings.values()])
        chosen = _by_the_others(loss_HS)
        kept += [list(settings.values())[one][seed] for one, seed in zip(chosen, seeds, strict=True)]
        losses[key] = dict(zip(settings, loss_HS.mean(1).tolist(), strict=True))
    return kept, losses


def _by_the_others(loss_HS: np.ndarray) -> list[int]:
    """For each seed the setting with the least mean loss over all other seeds."""
    seeds = loss_HS.shape[1]
    return [
        int(np.delete(loss_HS, seed, 1).mean(1).argmin()) if seeds > 1 else int(loss_HS[:, 0].argmin())
        for seed in range(seeds)
    ]


def loss_apart(run: dict) -> float:
    """What chooses: loss on the text held apart, else on the last of what was learned from."""
    apart = run.get("losses", {}).get(APART)
    return apart["nats_per_token"] if apart else run["train_loss"]["tail"]


def tuned(runs: list[dict]) -> tuple[list[dict], list[dict]]:
    """(the runs of a grid with every series and size at its best, as if tuned axes were none; what was tried).

    A row of what was tried: series, size, `losses` by setting, `best`. No rows where nothing was tuned, or where runs do not
    know a loss that may choose.
    """
    done = [run for run in runs if "losses" in run]
    varied = [knob for knob in TUNED if len({run.get("tags", {}).get(knob) for run in done}) > 1]
    apart = all(APART in run["losses"] for run in done)
    if not varied or not (apart or (EPOCHS not in varied and all("train_loss" in run for run in done))):
        return runs, []
    bare = [
        run | {"tags": {k: v for k, v in run["tags"].items() if k not in varied},
               "trained_with": tuple((knob, run["tags"][knob]) for knob in varied)}
        for run in done
    ]  # fmt: skip
    kept, losses = at_best(bare, lambda run: (series_name(run), run["size"]), lambda run: run["trained_with"])
    rows = [
        {"series": series, "size": size, "losses": by_setting, "best": min(by_setting, key=by_setting.__getitem__)}
        for (series, size), by_setting in losses.items()
    ]  # fmt: skip
    return kept, rows


def setting_text(one: Setting) -> str:
    return ", ".join(
        f"{value:g} {WORDS[knob]}" if knob == EPOCHS else f"{WORDS[knob]} {value:g}" for knob, value in one
    )


def tuning_note(tried: list[dict], series: tuple[str, str]) -> str:
    """`each trained as is best for it at 200,000 tokens (unique 8 passes, raw 4 passes)`; nothing where none was tuned."""
    rows = {row["series"]: row for row in tried if row["series"] in series}
    if len(rows) < len(set(series)):
        return ""
    size = max(row["size"] for row in rows.values())
    largest = {row["series"]: row for row in tried if row["size"] == size}
    settings = ", ".join(f"{s} {setting_text(largest[s]['best'])}" for s in series if s in largest)
    return f"each trained as is best for it ({settings} at {size:,} tokens)"


def tuning_finding(runs: list[dict], tried: list[dict], holdouts: list[str]) -> dict | None:
    """How each level was best trained, and whether levels rank alike however they are trained. `runs`: of the whole grid."""
    if not tried:
        return None
    settings = list(dict.fromkeys(one for row in tried for one in row["losses"]))
    rows = [[row["series"], f"{row['size']:,}", *(_loss_text(row, one) for one in settings)] for row in tried]
    apart = APART in next(run for run in runs if "losses" in run)["losses"]
    caption = (
        f"Nats per token on text {'held apart for this choice' if apart else 'learned from'}; * the least"
    )
    sentences = [
        *_best_sentences(tried, settings),
        *(text for name in holdouts if (text := _ranking_sentence(runs, tried, name))),
    ]
    columns = ["Level", "Tokens", *map(setting_text, settings)]
    return finding(
        "tuning", "How each level is best trained", "", sentences, [table(caption, columns, rows)],
        tried=[{**row, "best": dict(row["best"]), "losses": {setting_text(one): loss for one, loss in row["losses"].items()}}
               for row in tried],
    )  # fmt: skip


def _loss_text(row: dict, one: Setting) -> str:
    loss = row["losses"].get(one)
    return "no run" if loss is None else f"{loss:.3f}{'*' if one == row['best'] else ''}"


def _best_sentences(tried: list[dict], settings: list[Setting]) -> list[str]:
    size = max(row["size"] for row in tried)
    best = [f"{row['series']} after {setting_text(row['best'])}" for row in tried if row["size"] == size]
    sentences = [f"At {size:,} tokens least loss has {'; '.join(best)}, of {len(settings)} settings tried."]
    for place, knob in enumerate(knob for knob, _ in settings[0]):
        values = sorted({one[place][1] for one in settings})
        ends = {
            end: [f"{row['series']} at {row['size']:,}" for row in tried if row["best"][place][1] == end]
            for end in (values[0], values[-1])
            if len(values) > 1
        }
        sentences += [
            f"The {'least' if end == values[0] else 'most'} {WORDS[knob]} tried, {end:g}, is best for "
            f"{', '.join(some)}: beyond it loss may be lower still."
            for end, some in ends.items()
            if some
        ]
    return sentences


def _ranking_sentence(runs: list[dict], tried: list[dict], name: str) -> str:
    """Whether the levels rank alike by their loss on a holdout under every setting, at the largest size."""
    size = max(row["size"] for row in tried)
    losses: dict[Setting, dict[str, list[float]]] = {}
    for run in runs:
        if run["size"] == size and name in run.get("losses", {}):
            one = tuple((knob, run["tags"][knob]) for knob in TUNED if knob in run["tags"])
            loss = run["losses"][name]["nats_per_token"]
            losses.setdefault(one, {}).setdefault(run["level"], []).append(loss)
    order: dict[tuple[str, ...], list[str]] = {}
    for one, by_level in losses.items():
        ranking = tuple(sorted(by_level, key=lambda level: float(np.mean(by_level[level]))))  # noqa: B023
        order.setdefault(ranking, []).append(setting_text(one))
    if not order or len(next(iter(order))) < 2:
        return ""
    where = f"At {size:,} tokens on {text_of(name)}"
    if len(order) == 1:
        return f"{where} the levels rank alike under every setting: {' < '.join(next(iter(order)))}."
    rankings = "; ".join(
        f"{' < '.join(ranking)} with {' and '.join(some)}" for ranking, some in order.items()
    )
    return f"{where} the ranking turns with how the levels are trained, or is noise: {rankings}."
