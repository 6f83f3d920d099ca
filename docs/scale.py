"""Time, memory, disk, network and price of a build on machines that are not here, from rates measured on one core.

    python docs/scale.py                    # the tables of docs/howto/scale.md
    python docs/scale.py my-rates.toml      # the same, by your own rates and clusters

It multiplies; it has built none of these. A step takes as long as what binds it: its cores, the disks or the network. What
one process does for all parts (`alone`) takes as long on a thousand machines as on one, and needs its memory on one of them.
"""

from __future__ import annotations

import heapq
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

RATES = Path(__file__).with_name("rates.toml")
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


@dataclass(frozen=True)
class Step:
    """Bytes are a byte of text. `rate`: bytes of text that a core works on in a second."""

    name: str
    rate: float
    fetched: float = 0.0  # over the network
    read: float = 0.0  # from the shared file system
    written: float = 0.0
    alone: bool = False
    memory_a_document: float = 0.0  # bytes, on one machine


@dataclass(frozen=True)
class Cluster:
    name: str
    machines: int
    cores: int
    memory: float
    disk: float  # bytes a second of the shared file system, all machines together
    network: float  # bytes a second of a machine
    price: float  # of a machine and hour


@dataclass(frozen=True)
class Took:
    step: Step
    seconds: float
    binds: str


def takes(step: Step, text: float, documents: float, cluster: Cluster) -> Took:
    """How long a step takes on so many bytes of text, and what binds it."""
    cores = 1 if step.alone else cluster.machines * cluster.cores
    machines = 1 if step.alone else cluster.machines
    bounds = {
        "one process" if step.alone else "cores": text / step.rate / cores,
        "network": text * step.fetched / (cluster.network * machines),
        "file system": text * (step.read + step.written) / cluster.disk,
    }
    binds = max(bounds, key=bounds.__getitem__)
    seconds = bounds[binds]
    if documents * step.memory_a_document > cluster.memory:
        binds = f"memory: {size(documents * step.memory_a_document)} on one machine"
    return Took(step, seconds, binds)


def pages(rates: dict) -> Iterator[str]:
    """The tables, as Markdown."""
    steps = [Step(**step) for step in rates["step"]]
    pools = rates["pool"]
    yield f"By rates of {rates['machine']}."
    for cluster in (Cluster(**some) for some in rates["cluster"]):
        yield (
            f"**{cluster.name}**: machines: {cluster.machines:,}, each with {cluster.cores} cores, {size(cluster.memory)} "
            f"of memory and {size(cluster.network)} a second of network; a file system of {size(cluster.disk)} a second."
        )
        yield table(cluster, steps, pools, rates["document_bytes"])


def table(cluster: Cluster, steps: list[Step], pools: list[float], document_bytes: float) -> str:
    columns = [[takes(step, pool, pool / document_bytes, cluster) for step in steps] for pool in pools]
    lines = [
        f"| step | {' | '.join(size(pool) + ' of text' for pool in pools)} |",
        "|---|" + "---|" * len(pools),
    ]
    for step, row in zip(steps, zip(*columns, strict=True), strict=True):
        lines.append(
            f"| {step.name} | {' | '.join(f'{span(took.seconds)} ({took.binds})' for took in row)} |"
        )
    seconds = [sum(took.seconds for took in column) for column in columns]
    prices = [spent / HOUR * cluster.machines * cluster.price for spent in seconds]
    disk = sum(step.written for step in steps)
    lines.append(f"| together | {' | '.join(span(spent) for spent in seconds)} |")
    lines.append(f"| price | {' | '.join(f'{price:,.0f}' for price in prices)} |")
    lines.append(f"| written | {' | '.join(size(disk * pool) for pool in pools)} |")
    return "\n".join(lines)


# ---- machines that are slow, and machines that die -------------------------------------------------------------------


def makespan(
    tasks: int,
    machines: int,
    seconds: float,
    spread: float,
    days_to_failure: float,
    tries: int,
    seed: int = 0,
) -> tuple[float, int, int]:
    """(seconds until every task is done, tasks begun again, tasks given up) of equal parts on machines that differ.

    A machine's speed is log-normal with this `spread`. It dies after `days_to_failure` on average, with the task that it
    had; another machine takes its place at once, and the task is tried again when its turn comes, `tries` times in all.
    """
    rng = np.random.default_rng(seed)
    slowness = np.exp(rng.normal(0, spread, machines))
    dies = rng.exponential(days_to_failure * DAY, machines)
    waiting = [(0.0, machine) for machine in range(machines)]
    todo, again, given_up, end = [tries] * tasks, 0, 0, 0.0
    while todo:
        now, machine = heapq.heappop(waiting)
        left = todo.pop()
        done = now + seconds * slowness[machine]
        if done > dies[machine]:
            again += left > 1
            given_up += left == 1
            todo += [left - 1] if left > 1 else []
            done = dies[machine]
            slowness[machine] = float(np.exp(rng.normal(0, spread)))
            dies[machine] = done + rng.exponential(days_to_failure * DAY)
        heapq.heappush(waiting, (done, machine))
        end = max(end, done)
    return end, again, given_up


def simulated(rates: dict) -> str:
    """As Markdown: how long the slowest step takes where machines differ and die, against machines that are all alike."""
    asked = rates["simulation"]
    lines = [
        "| parts | machines die after | begun again | given up | of the time of equal machines |",
        "|---|---|---|---|---|",
    ]
    for tasks in asked["tasks"]:
        equal = asked["seconds"] * -(-tasks // asked["machines"])
        for days in asked["days_to_failure"]:
            end, again, given_up = makespan(
                tasks, asked["machines"], asked["seconds"], asked["spread"], days, asked["tries"]
            )
            lines.append(f"| {tasks:,} | {span(days * DAY)} | {again:,} | {given_up} | {end / equal:.2f} |")
    return "\n".join(lines)


def size(number: float) -> str:
    """`2.4 TB`."""
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    power = min(len(units) - 1, max(0, int(np.log10(max(number, 1)) // 3)))
    return f"{number / 1000**power:.3g} {units[power]}"


def span(seconds: float) -> str:
    """`3.5 h`."""
    for unit, of in (("days", DAY), ("h", HOUR), ("min", MINUTE)):
        if seconds >= (2 * of if unit == "days" else of):
            return f"{seconds / of:.2g} {unit}" if seconds < 100 * of else f"{seconds / of:,.0f} {unit}"
    return f"{seconds:.0f} s"


def main(path: Path = RATES) -> str:
    rates = tomllib.loads(path.read_text(encoding="utf-8"))
    return "\n\n".join([*pages(rates), simulated(rates)])


if __name__ == "__main__":
    print(main(*map(Path, sys.argv[1:])))
