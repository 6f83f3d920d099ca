"""What every change of one knob cost, and where a structure stops gaining from its context."""

from __future__ import annotations

import numpy as np

from curate.manifest.factors import BASE, STUDY
from curate.quantities import short_count
from train import fits

WILD = 5  # times the median spread of seeds


def factors_finding(name: str, asked: dict, runs: list[dict]) -> dict:
    """What every change costs in bits per byte, with intervals over seeds and documents; failures by name."""
    from curate.report.finding import finding, table

    title = f"Which factor mattered on held-out {name} text"
    done, chosen = at_best_rate([run for run in runs if name in run.get("losses", {})])
    lost = list(dict.fromkeys((r["factor"], _told_at(r), r["failed"]) for r in runs if "failed" in r))
    if BASE not in {run["level"] for run in done}:
        return finding(STUDY, title, name, ["The runs of the base are not there yet."])
    wild = _wild(name, done)
    grid = _grid(name, asked, [run for run in done if run["level"] not in wild])
    one = done[0]["losses"][name]
    per_nat = one["bits_per_byte"] / one["nats_per_token"]
    factor_of = {run["level"]: run["factor"] for run in done}
    calm = [(level, BASE) for level in grid.levels if level != BASE]
    told = fits.differences(grid, calm, asked["tokens"]) if calm else []
    for level in wild:
        alone = _grid(name, asked, [run for run in done if run["level"] in (level, BASE)])
        told = [*told, fits.difference(alone, level, BASE, asked["tokens"])]
    rows = [
        {"factor": factor_of[d.level], "change": d.level, "bits": d.value * per_nat, "low": d.low * per_nat,
         "high": d.high * per_nat, "distinguishable": d.distinguishable, **_looked(name, d.level, done)}
        for d in told
    ]  # fmt: skip
    reach: dict[str, float] = {}
    for row in rows:
        reach[row["factor"]] = max(reach.get(row["factor"], 0.0), abs(row["bits"]))
    rows.sort(key=lambda row: (-reach[row["factor"]], row["factor"], -abs(row["bits"])))
    base = fits.mean(grid, BASE, asked["tokens"])
    own = _looked(name, BASE, done)
    sentences = [
        f"The base, {short_count(asked['tokens'])} tokens of {asked['level']}, ends at {base.value * per_nat:.3f} "
        f"[{base.low * per_nat:.3f}, {base.high * per_nat:.3f}] bits per byte on held-out {name} text, over "
        f"{asked['seeds']} seeds. One knob at a time: "
        + "; ".join(f"{f} moved it by up to {_signed(_largest(rows, f))}" for f in reach_order(reach)) + ".",
        *_rate_sentences(asked, chosen),
        *(f"{change} ({factor}) has a run without a result: {why}." for factor, change, why in lost),
    ]  # fmt: skip
    cells = [[BASE, "", "", own["said"], own["parameters"]]] + [
        [r["change"], r["factor"], _signed(r) + ("" if r["distinguishable"] else ", not distinguishable"),
         r["said"], r["parameters"]]
        for r in rows
    ]  # fmt: skip
    uses = _context_uses(name, done)
    columns = ["Change", "Factor", "Bits per byte more than the base", "Next words named first", "Parameters"]
    caption = (
        f"Every change of one knob, {asked['seeds']} seeds each, the same seeds and documents in all"
        + (f". Seeds differ far more than elsewhere, so compared alone: {', '.join(wild)}" if wild else "")
    )
    tables = [table(caption, columns, cells), *_positions(uses)]
    return finding(STUDY, title, name, sentences, tables, rows=rows, base=base.value * per_nat,
                   failed=[list(one) for one in lost], caveats=grid.caveats)  # fmt: skip


def structures_finding(name: str, runs: list[dict]) -> dict | None:
    """Where the structures among the changes stop gaining from their context."""
    from curate.report.context import context_finding

    done, _ = at_best_rate([run for run in runs if name in run.get("losses", {})])
    return context_finding(name, BASE, _context_uses(name, done))


def at_best_rate(runs: list[dict]) -> tuple[list[dict], dict[str, float]]:
    """(the runs of every change at the best of its rates, that share of the usual rate by change).

    Best by the loss on what was learned from, at the end, over the seeds that ran at every rate.
    """
    tried: dict[str, dict[float, list[dict]]] = {}
    for run in runs:
        tried.setdefault(run["level"], {}).setdefault(run.get("rate_share", 1.0), []).append(run)
    kept, chosen = [], {}
    for change, at in tried.items():
        whole = {rate: some for rate, some in at.items() if len(some) == max(map(len, at.values()))}
        best = min(
            whole, key=lambda rate: np.mean([_tail(run) for run in whole[rate]]) if len(whole) > 1 else 0.0
        )
        kept += whole[best]
        if len(at) > 1:
            chosen[change] = best
    return kept, chosen


def _told_at(run: dict) -> str:
    share = run.get("rate_share", 1.0)
    return run["level"] + ("" if share == 1 else f" at {share:g} times the usual rate")


def _tail(run: dict) -> float:
    return run["train_loss"]["tail"]


def _rate_sentences(asked: dict, chosen: dict[str, float]) -> list[str]:
    if not chosen:
        return ["Each change keeps the rate of the base, unless the rate is the change."]
    rates = asked["rates"]
    own = [f"{change} {share:g}" for change, share in chosen.items()]
    told = [
        f"Each at the best of {len(rates)} rates by the loss on the text it learned from, as a share of the usual rate: "
        f"{', '.join(own)}."
    ]
    at_end = [change for change, share in chosen.items() if share in (min(rates), max(rates))]
    if at_end:
        told.append(
            f"The best rate stands at an end of those tried for {', '.join(at_end)}: a further one may be better."
        )
    return told


def _wild(name: str, runs: list[dict]) -> list[str]:
    """Changes whose seeds differ far more than is usual: their noise must not widen the others' intervals."""
    losses: dict[str, list[float]] = {}
    for run in runs:
        losses.setdefault(run["level"], []).append(run["losses"][name]["nats_per_token"])
    spread = {level: float(np.std(some)) for level, some in losses.items() if len(some) > 1}
    usual = float(np.median(list(spread.values()))) if spread else 0.0
    return [level for level, one in spread.items() if level != BASE and one > WILD * usual > 0]


def reach_order(reach: dict[str, float]) -> list[str]:
    return sorted(reach, key=lambda factor: -reach[factor])


def _largest(rows: list[dict], factor: str) -> dict:
    return max((r for r in rows if r["factor"] == factor), key=lambda r: abs(r["bits"]))


def _signed(row: dict) -> str:
    return f"{row['bits']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]".replace("-", "\u2212")


def _grid(name: str, asked: dict, runs: list[dict]) -> fits.Grid:
    """All at the base's tokens, whatever they were trained on: here other tokens are a change like any other."""
    from curate.report.answers import grid_of

    return grid_of(name, [run | {"size": asked["tokens"], "tags": {}} for run in runs])


def _looked(name: str, level: str, runs: list[dict]) -> dict:
    mine = [run for run in runs if run["level"] == level]
    shares = [used["accuracy"] for run in mine if (used := run.get("context_use", {}).get(name))]
    accuracy = float(np.mean(shares)) if shares else None
    said = "" if accuracy is None else f"{100 * accuracy:.1f} %"
    return {"accuracy": accuracy, "said": said, "parameters": f"{mine[0]['parameters']:,}"}


def _positions(shown: dict[str, list[tuple[int, dict]]]) -> list[dict]:
    """Loss by position as a table."""
    from curate.report.finding import table

    if not shown:
        return []
    rows = [
        [level, *(f"{x:.2f}" for x in np.mean([used["nats"] for _, used in some], 0))]
        for level, some in shown.items()
    ]
    caption = "Nats per token by how many tokens stand before it, in documents as long as the window, mean over seeds"
    return [table(caption, ["Position", *_spans(next(iter(shown.values()))[0][1]["edges"])], rows)]


def _spans(edges: list[int]) -> list[str]:
    return [f"{a} to {b - 1}" if b > a + 1 else str(a) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _context_uses(name: str, runs: list[dict]) -> dict[str, list[tuple[int, dict]]]:
    """What the base and every change of the mixer, the window or the position do with their context, by change."""
    shown: dict[str, list[tuple[int, dict]]] = {}
    for run in runs:
        knob = run["level"].partition(" = ")[0]
        used = run.get("context_use", {}).get(name)
        if used and knob in (BASE, "model.mixer", "model.window", "model.position", "order"):
            shown.setdefault(run["level"], []).append((run["seed"], used))
    lengths = {used["length"] for some in shown.values() for _, used in some}
    return shown if len(lengths) == 1 else {}
