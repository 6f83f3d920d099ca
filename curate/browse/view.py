"""What the page of `curate browse` asks, answered from stored annotations as plain values for JSON.

No text is measured again. What may be shown to nobody (`curate forget`) is in no answer.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.commands.explain import explain
from curate.commands.show import shown
from curate.commands.sweep import numbers, own_bounds, without
from curate.corpora.built import Annotated
from curate.corpora.selection import KEPT, judge
from curate.differences import marked_difference
from curate.errors import CurateError, did_you_mean
from curate.quantities import BYTES_A_TOKEN
from curate.results.answers import finite
from curate.signals.families import described
from curate.spec.manifest import FORGOTTEN

EXCERPT = 300  # characters of a document in a list
LONGEST = 100_000  # characters of a document that is opened
COMPARED = 8_000  # characters of two near-duplicates that are compared
SCANNED = 200_000_000  # bytes of text that one question looks through at most
POINTS = 1_000  # values that a bound can be moved to
NEAREST = 4  # documents on either side of a bound


@dataclass(frozen=True)
class Reached:
    """Documents that a bound on a signal would judge: what the level keeps without its own rules on it."""

    value: np.ndarray  # float64 [documents], NaN where missing
    mask: np.ndarray  # bool [documents]: reached, and with a value
    missing: int  # reached, without a value


class View:
    """Answers about one manifest's documents. Who asks holds `one_at_a_time`: kernels do not run beside each other."""

    def __init__(self, a: Annotated):
        self.a = a
        self.shown = ~a.values.forgotten()
        self.one_at_a_time = threading.Lock()
        self.reached = lru_cache(maxsize=8)(self._reached)
        self.rows = lru_cache(maxsize=8)(self._rows)

    def overview(self) -> dict:
        """The manifest: sources, levels with what each of their own rules drops, signals that can be bounded."""
        a = self.a
        levels = []
        for name, judged in a.judged.items():
            dropped = np.bincount(judged.verdict[judged.verdict != KEPT], minlength=len(judged.rules))
            rules = [
                {"name": rule.name, "signal": rule.signal, "bound": rule.bound.text(), "documents": int(n)}
                for (level, rule), n in zip(judged.rules, dropped, strict=True)
                if level.name == name and rule.signal != FORGOTTEN
            ]  # fmt: skip
            levels.append({"name": name, "rules": rules} | self._amount(judged.kept & self.shown))
        says = {one["name"]: one for one in described()}
        signals = [
            {"name": name, "unit": says.get(name, {}).get("unit", ""), "says": says.get(name, {}).get("says", "")}
            for name in a.values.names() if pa.types.is_primitive(a.values.column(name).type)
        ]  # fmt: skip
        return {"name": a.manifest.name, "sources": a.pool.sources, "levels": levels, "signals": signals} | (
            self._amount(self.shown)
        )

    def documents(
        self, level: str, rule: str = "", source: str = "", search: str = "", after: int = 0, count: int = 50
    ) -> dict:
        """Documents that a level keeps, or that this rule drops in it, in random order; those with `search` in text or
        place in the pool's order, as far as one question looks. `next`: what to ask `after`; None at the end."""
        rows = self.rows(level, rule, source)
        if search:
            found, then = self._search(np.sort(rows), search, after, count)
        else:
            found, then = rows[after : after + count].tolist(), after + count
            then = then if then < len(rows) else None
        signal = next((r.signal for _, r in self._judged(level).rules if r.name == rule), None)
        listed = [self._listed(row, signal) for row in found]
        return {"documents": listed, "total": None if search else len(rows), "next": then}

    def signal(self, level: str, name: str) -> dict:
        """How a signal is spread over the documents that a bound on it would judge. `below` and `upto` count those that
        are less than each point, and not greater; so what lies within two points is known without asking."""
        reached = self.reached(level, name)
        value, size = reached.value[reached.mask], self.a.pool.bytes[reached.mask]
        by_value = np.argsort(value, kind="stable")
        value, size = value[by_value], np.concatenate([[0], np.cumsum(size[by_value])])
        points = np.unique(value)
        if len(points) > POINTS:
            # As many by rank as by distance: bounds lie in tails as well.
            ranks = np.linspace(0, len(points) - 1, POINTS // 2).round().astype(int)
            nearest = np.searchsorted(points, np.linspace(points[0], points[-1], POINTS // 2))
            points = points[np.unique(np.concatenate([ranks, nearest.clip(max=len(points) - 1)]))]
        below, upto = np.searchsorted(value, points, "left"), np.searchsorted(value, points, "right")
        level_asked = self.a.manifest.level(level)
        return {
            "points": points.tolist(),
            "below": {"documents": below.tolist(), "bytes": size[below].tolist()},
            "upto": {"documents": upto.tolist(), "bytes": size[upto].tolist()},
            "documents": len(value), "bytes": int(size[-1]), "missing": reached.missing,
            "now": own_bounds(self.a.manifest, level_asked, name), "bytes_a_token": BYTES_A_TOKEN,
        }  # fmt: skip

    def around(self, level: str, name: str, low: float = -np.inf, high: float = np.inf) -> dict:
        """What a bound keeps, and the documents nearest to it on either side."""
        reached = self.reached(level, name)
        value = reached.value
        inside = reached.mask & (value >= low) & (value <= high)
        ends = [end for end in (low, high) if np.isfinite(end)]
        distance = np.min([np.abs(value - end) for end in ends], axis=0) if ends else np.zeros(len(value))
        order = self.a.pool.order

        def nearest(mask: np.ndarray) -> list[dict]:
            rows = order[mask[order]]
            near = rows[np.argsort(distance[rows], kind="stable")[:NEAREST]] if ends else rows[:NEAREST]
            return [self._listed(int(row), name) for row in near]

        outside = reached.mask & ~inside
        return {"kept": self._amount(inside) | {"nearest": nearest(inside)},
                "dropped": self._amount(outside) | {"nearest": nearest(outside)}}  # fmt: skip

    def document(self, id: str) -> dict:
        """Every signal, every rule, the text in runs with the spans that lie on each, and what it duplicates."""
        row = self._row(id)
        found = explain(self.a, self.a.pool.ids[row].as_py())
        text = found.document.pop("text")
        scalars = {k: v for k, v in found.signals.items() if not isinstance(v, list)}
        spans = {k: v for k, v in found.signals.items() if isinstance(v, list) and v and "start" in v[0]}
        levels = [one | {"rules": [finite(rule) for rule in one["rules"]]} for one in found.levels]
        answer = {
            "document": {k: str(v) for k, v in found.document.items() if v is not None},
            "signals": finite(scalars), "levels": levels, "duplicates": finite(found.duplicates),
            "runs": _runs(text, spans), "left_out": max(0, len(text) - LONGEST),
        }  # fmt: skip
        stays = found.duplicates.get("near_duplicate_of")
        if stays is not None and self.shown[other := int(self.a.values.clusters()[row])]:
            against = self.a.pool.document(other, ["text"])["text"]
            answer["beside"] = {
                "id": self.a.pool.ids[other].as_py(),
                "texts": marked_difference(against[:COMPARED], text[:COMPARED]),
                "left_out": max(len(against), len(text)) > COMPARED,
            }
        return answer

    def _amount(self, mask: np.ndarray) -> dict[str, int]:
        size = int(self.a.pool.bytes[mask].sum())
        return {"documents": int(mask.sum()), "bytes": size, "tokens": round(size / BYTES_A_TOKEN)}

    def _judged(self, level: str):
        if level not in self.a.judged:
            raise CurateError(f"level {level}: no such level{did_you_mean(level, self.a.judged)}")
        return self.a.judged[level]

    def _rows(self, level: str, rule: str, source: str) -> np.ndarray:
        judged = self._judged(level)
        numbers_of = {r.name: k for k, (_, r) in enumerate(judged.rules)} | {"": KEPT}
        if rule not in numbers_of:
            raise CurateError(f"rule {rule}: no such rule{did_you_mean(rule, numbers_of)}")
        mask = (judged.verdict == numbers_of[rule]) & self.shown
        if source:
            if source not in self.a.pool.sources:
                raise CurateError(
                    f"source {source}: no such source{did_you_mean(source, self.a.pool.sources)}"
                )
            mask &= self.a.pool.source == self.a.pool.sources.index(source)
        order = self.a.pool.order
        return order[mask[order]]

    def _reached(self, level: str, name: str) -> Reached:
        a = self.a
        self._judged(level)
        value = numbers(a, name)
        unbound = without(a.manifest, a.manifest.level(level), name)
        alone = replace(a.manifest, levels=(), derived=(unbound,))
        kept = judge(alone, a.values)[unbound.name].kept & self.shown
        mask = kept & np.isfinite(value)
        if not mask.any():
            raise CurateError(f"signal {name}: no document that reaches it in level {level} has a value")
        return Reached(value, mask, int((kept & ~mask).sum()))

    def _search(self, rows: np.ndarray, words: str, after: int, count: int) -> tuple[list[int], int | None]:
        """The next rows from `after` on whose text, place or id has these words, upper or lower case."""
        match = partial(pc.match_substring, pattern=words, ignore_case=True)
        found: list[int] = []
        looked = 0
        for part, (begin, end) in zip(self.a.pool.parts, self.a.pool.part.ranges(), strict=True):
            here = rows[(rows >= max(begin, after)) & (rows < end)]
            if not len(here):
                continue
            if looked > SCANNED:
                return found, int(here[0])
            table = part.table(["id", "text", "place"]).take(here - begin)
            hit = [match(table[name]).fill_null(False).to_numpy() for name in table.column_names]
            found += here[np.logical_or.reduce(hit)].tolist()
            looked += int(self.a.pool.bytes[here].sum())
            if len(found) > count:
                return found[:count], found[count]
        return found, None

    def _row(self, id: str) -> int:
        rows = [row for row in self.a.pool.find(id) if self.shown[row]]
        if not rows:
            raise CurateError(f"no document has an id that begins with {id}")
        return rows[0]

    def _listed(self, row: int, signal: str | None) -> dict:
        listed = shown(self.a.pool, row, EXCERPT) | {"bytes": int(self.a.pool.bytes[row])}
        if signal in self.a.signals.owner:
            listed |= finite({"value": self.a.values.column(signal)[row].as_py()})
        return listed


def _runs(text: str, spans: dict[str, list[dict]]) -> list[dict[str, Any]]:
    """The text in runs, each with the names of the signals whose spans (in bytes of UTF-8) lie on it."""
    data = text[:LONGEST].encode()
    edges = {0, len(data)}
    for found in spans.values():
        edges |= {min(len(data), span[end]) for span in found for end in ("start", "end")}
    begins = sorted(edges)
    on: dict[int, list[str]] = {begin: [] for begin in begins}
    for name, found in spans.items():
        for span in found:
            for begin in begins[np.searchsorted(begins, span["start"]) :]:
                if begin >= span["end"]:
                    break
                if name not in on[begin]:
                    on[begin].append(name)
    return [
        {"text": data[begin:end].decode(errors="replace"), "spans": on[begin]}
        for begin, end in zip(begins, begins[1:], strict=False)
    ]
