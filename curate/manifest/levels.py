"""The tables [[level]]: which documents a level keeps, what it cuts of them, and how often it writes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from curate.errors import did_you_mean
from curate.manifest.measured import Measured
from curate.manifest.profiles import load_profile
from curate.manifest.weights import parse_weights
from curate.spec.bounds import Bound, Rule, parse_edits
from curate.spec.manifest import DUPLICATE, EDITED_BYTES, FORGOTTEN, NOVELTY, Level, Weights
from curate.spec.tables import Tables


class LevelTables(Tables):
    """`measured` learns which signals the levels need; `base` is an earlier lock, or empty. `profiles`: name -> sha256 of
    those that they name."""

    def __init__(self, path: Path, tree: dict, measured: Measured, base: dict):
        super().__init__(path, tree)
        self.measured, self.base = measured, base
        self.profiles: dict[str, str] = {}
        self.made: dict[str, Level] = {}

    def levels(self) -> tuple[Level, ...]:
        for table in self.tables("level"):
            level = self._level(table)
            if level.name in self.made:
                raise self.taken_twice("level", level.name)
            self.made[level.name] = level
        if not self.made:
            raise self.fail("", 'no level; add at least [[level]] name = "raw"')
        return tuple(self.made.values())

    def _level(self, table: dict) -> Level:
        name = self.has_name("level", table)
        where = f'level "{name}"'
        self.known(where, table, ("name", "on", "keep", "profiles", "cut", "mask", "weights"))
        on = self.typed(where, table, "on", str)
        if on is not None and on not in self.made:
            hint = did_you_mean(on, self.made) if self.made else " (it is the first)"
            raise self.fail(where, f'on = "{on}" is no level above it{hint}')
        keep = self.typed(where, table, "keep", dict, {})
        rules = [
            self.measured.rule(where, name, signal, value)
            for signal, value in keep.items()
            if signal not in (DUPLICATE, NOVELTY)
        ]
        below = self.made[on].edits if on else ()
        edits = list(below)
        profiles = self.strings(where, table, "profiles")
        with self.failing(where):
            for profile in (load_profile(each, beside=self.path.parent) for each in profiles):
                self.profiles[profile.name] = profile.digest
                rules += profile.rules
                edits += profile.edits
        rules = [self._settled(where, rule) for rule in rules]
        with self.failing(where):
            edits = list(dict.fromkeys([*edits, *parse_edits(table)]))
        if len(edits) > len(below):
            rules.append(Rule(f"{name}.{EDITED_BYTES}", EDITED_BYTES, Bound(low=1), tuple(edits)))
        rules += self._duplicates(where, name, keep)
        if on is None and FORGOTTEN in self.measured.pooled:
            rules.insert(0, Rule(FORGOTTEN, FORGOTTEN, Bound(0.0, 0.0)))
        for rule in rules:
            if not rule.edits:
                self.measured.check_rule(where, rule, rule.name.rpartition(".")[0] in profiles)
        for edit in edits:
            self.measured.check_edit(where, edit.signal)
        return Level(name, on, tuple(rules), profiles, tuple(edits), self._weights(where, table, on, rules))

    def _settled(self, where: str, rule: Rule) -> Rule:
        """`top = 0.3` as the number that it came to in the lock of [base], so that months compare."""
        if rule.bound.top is None or not self.base:
            return rule
        then = [
            r["bound"][0] for level in self.base["levels"] for r in level["rules"] if r["rule"] == rule.name
        ]
        if not then:
            raise self.fail(
                where, f"{rule.name}: the lock of [base] has no such rule; write the number itself"
            )
        return replace(rule, bound=Bound(low=then[0], sampled=rule.bound.sampled))

    def _duplicates(self, where: str, name: str, keep: dict) -> list[Rule]:
        """Judged last: the best of a cluster is chosen among what all other rules let through."""
        if DUPLICATE in keep and NOVELTY in keep:
            raise self.fail(
                where, f"{DUPLICATE} = false drops whatever {NOVELTY} keeps; leave one of them out"
            )
        if keep.get(DUPLICATE, False) is not False:
            raise self.fail(where, f"duplicate = {keep[DUPLICATE]!r}: the only useful value is false")
        if DUPLICATE in keep:
            return [Rule(f"{name}.{DUPLICATE}", DUPLICATE, Bound(label="false"))]
        if NOVELTY not in keep:
            return []
        bound = self.measured.rule(where, name, NOVELTY, keep[NOVELTY]).bound
        if not 0 < bound.low <= 1 <= bound.high:
            wanted = "write [0.05, 1] to drop duplicates less than 5 % of whose n-grams are new"
            raise self.fail(where, f"{NOVELTY} = {keep[NOVELTY]}: {wanted}")
        return [Rule(f"{name}.{NOVELTY}", DUPLICATE, bound)]

    def _weights(self, where: str, table: dict, on: str | None, rules: list[Rule]) -> Weights:
        """The level's own, or those of the level below. A level with weights has dropped duplicates."""
        if "weights" not in table:
            return self.made[on].weights if on else ()
        in_force = list(rules)
        while on:
            in_force += self.made[on].rules
            on = self.made[on].on
        if not any(rule.name.endswith(f".{DUPLICATE}") for rule in in_force):
            raise self.fail(where, "weights are for what stands for others; add keep = { duplicate = false }")
        with self.failing(where):
            return parse_weights(table["weights"])
