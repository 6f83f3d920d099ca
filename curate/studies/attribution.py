"""[attribution]: what each part of a level's rules is worth, by corpora without it and corpora with it alone.

[attribution]
level = "filtered"          # default: the last level
base = "raw"                # default: the level at the bottom of it
parts = "rule"              # or "profile", "level"
ways = ["without", "only"]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from curate.corpora.built import Built, token_shares
from curate.errors import did_you_mean
from curate.results.answers import finite
from curate.results.finding import finding, table
from curate.results.scores import grid_of
from curate.results.words import difference_text, text_of
from curate.spec.bounds import Bound, Edit, Rule
from curate.spec.manifest import DUPLICATE, EDITED_BYTES, Level, Manifest
from curate.studies.study import COMMON, Study, StudyTables, Trial, of_study, scored
from train import fits

PARTS = ("rule", "profile", "level")
WAYS = ("without", "only")
SHOWN = 4  # parts that a sentence names


@dataclass(frozen=True)
class Derived:
    """A level of an attribution: `level` without a part, or `base` with this part only."""

    level: Level
    part: str
    way: str


@dataclass(frozen=True, kw_only=True)
class Attribution(Study):
    """`without`: `level` but for one part of its rules. `only`: `base` and one part. All at `tokens`."""

    key, tables = "attribution", ("attribution",)
    level: str
    base: str
    parts: str
    ways: tuple[str, ...]
    tokens: int
    matched_sources: bool

    @classmethod
    def read(cls, tables: StudyTables) -> Attribution:
        where, table = "[attribution]", tables.table("attribution")
        tables.known(where, table, ("level", "base", "parts", "ways", "matched_sources", *COMMON))
        level = tables.level(where, table, "level", list(tables.levels)[-1])
        chain = tables.chain(level)
        base = tables.level(where, table, "base", chain[0])
        if base not in chain or base == level:
            below = ", ".join(chain[:-1])
            raise tables.fail(where, f'base = "{base}" is no level under "{level}"; it stands on {below}')
        ways = tables.strings(where, table, "ways") or WAYS
        for way in ways:
            if way not in WAYS:
                known = f"{', '.join(WAYS)}{did_you_mean(way, WAYS)}"
                raise tables.fail(where, f'ways: "{way}" is not one of {known}')
        return cls(
            level=level, base=base, parts=tables.one_of(where, table, "parts", PARTS), ways=ways,
            matched_sources=tables.typed(where, table, "matched_sources", bool, False),
            **tables.common(where, table),
        )  # fmt: skip

    def derived(self, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        return tuple(derived.level for derived in derive(self, levels))

    def mixed(self, levels: tuple[Level, ...]) -> set[str]:
        if not self.matched_sources:
            return set()
        return {self.base, self.level} | {level.name for level in self.derived(levels)}

    def outline(self, manifest: Manifest) -> list[Trial]:
        references = [self.trial(name, name, self.tokens) for name in (self.base, self.level)]
        return references + [
            self.trial(
                name := derived.level.name,
                name,
                self.tokens,
                about={"part": derived.part, "way": derived.way},
            )
            for derived in derive(self, manifest.levels)
        ]

    def trials(self, built: Built) -> list[Trial]:
        trials = super().trials(built)
        if not self.matched_sources:
            return trials
        shares = token_shares(built, self.level, self.tokens)
        return [replace(trial, shares=shares) for trial in trials]

    @classmethod
    def findings(cls, holdout: str, lock: dict, runs: list[dict]) -> list[dict]:
        asked, runs = lock["studies"][cls.key], of_study(scored(runs, holdout), cls.key)
        title = f"What each {asked['parts']} of {asked['level']} is worth on {text_of(holdout)}"
        if not {asked["base"], asked["level"]} <= {run["level"] for run in runs}:
            missing = f"The runs of {asked['base']} and {asked['level']} are not there yet."
            return [finding(cls.key, title, holdout, [missing])]
        figures = _figures(holdout, asked, runs)
        sentences = _sentences(holdout, asked, figures, len(lock["derived"]))
        return [finding(cls.key, title, holdout, sentences, [_table(asked, figures, lock["derived"])],
                        **figures, matched_sources=asked["matched_sources"])]  # fmt: skip


# ------------------------------------------------------------------------------------------- derived levels


def derive(study: Attribution, levels: tuple[Level, ...]) -> list[Derived]:
    """The levels of an attribution: nothing that is not a selection among what was measured, or an edit of it."""
    by_name = {level.name: level for level in levels}
    low, high = by_name[study.base], by_name[study.level]
    below = _rules(by_name, low)
    between = _between(by_name, high, low)
    derived = []
    for part, pieces in _parts(study.parts, between).items():
        for way, name in (("without", f"{high.name}-without-{part}"), ("only", f"{low.name}-with-{part}")):
            if way in study.ways:
                kept = [piece for _, piece in between if (piece in pieces) == (way == "only")]
                derived.append(Derived(_level_of(name, low, below, kept), part, way))
    return derived


def _rules(by_name: dict[str, Level], level: Level) -> list[Rule]:
    below = _rules(by_name, by_name[level.on]) if level.on else []
    return below + list(level.rules)


def _between(by_name: dict[str, Level], level: Level, base: Level) -> list[tuple[Level, Rule | Edit]]:
    """What stands between the base and the level: rules, and edits of the text, each with the level that adds it."""
    if level.name == base.name or not level.on:
        return []
    below = by_name[level.on]
    rules = [rule for rule in level.rules if rule.signal != EDITED_BYTES]
    edits = [edit for edit in level.edits if edit not in below.edits]
    pieces: list[Rule | Edit] = [*edits, *rules]
    return _between(by_name, below, base) + [(level, piece) for piece in pieces]


def _level_of(name: str, base: Level, below: list[Rule], pieces: list[Rule | Edit]) -> Level:
    """As a manifest's level is made: texts of which the edits leave nothing are dropped, duplicates last."""
    edits = [piece for piece in pieces if isinstance(piece, Edit)]
    rules = [piece for piece in pieces if isinstance(piece, Rule)]
    every = (*base.edits, *edits)
    if edits:
        rules.insert(0, Rule(f"{name}.{EDITED_BYTES}", EDITED_BYTES, Bound(low=1), every))
    return Level(name, None, (*below, *rules), (), every)


def _parts(parts: str, between: list[tuple[Level, Rule | Edit]]) -> dict[str, list[Rule | Edit]]:
    """Part -> its rules and edits. A profile's are one part; duplicates and edits stand for themselves beside it."""
    groups: dict[str, list[Rule | Edit]] = {}
    for level, piece in between:
        name = f"{level.name}.{piece.signal}" if isinstance(piece, Edit) else piece.name
        alone = parts == "rule" or isinstance(piece, Edit) or piece.signal == DUPLICATE
        part = level.name if parts == "level" else name if alone else name.rpartition(".")[0]
        groups.setdefault(part, []).append(piece)
    return groups


# ------------------------------------------------------------------------------------------- the finding


def _figures(holdout: str, asked: dict, runs: list[dict]) -> dict[str, Any]:
    """`whole`: all rules together; `parts`: nats that each costs when left out, or saves alone, the most first;
    `idle`: parts that change no document."""
    low, high = asked["base"], asked["level"]
    same = _same_corpora(runs, {low, high})
    grid = grid_of(holdout, [run for run in runs if run["level"] not in same])
    pairs, parts, idle = [(low, high)], {}, []
    for level, (part, way) in sorted(
        {r["level"]: (r["part"], r["way"]) for r in runs if "part" in r}.items()
    ):
        if level in same:
            idle.append({"part": part, "way": way, "same_as": same[level]})
        elif level in grid.levels:
            pair = (level, high) if way == "without" else (low, level)
            pairs.append(pair)
            parts[pair] = {"part": part, "way": way}
    whole, *rest = fits.differences(grid, pairs, asked["tokens"])
    rows = [
        finite(vars(gap.together)) | parts[gap.level, gap.than]
        for gap in sorted(rest, key=lambda gap: -gap.value)
    ]
    return {
        "whole": finite(vars(whole.together)),
        "parts": rows,
        "idle": idle,
        "caveats": grid.caveats,
        "seeds_differ": grid.noise is not None,
    }


def _same_corpora(runs: list[dict], references: set[str]) -> dict[str, str]:
    """Level -> the reference that it is identical to, document for document."""
    keys = {run["packed_key"]: run["level"] for run in runs if run["level"] in references}
    return {
        run["level"]: keys[run["packed_key"]]
        for run in runs
        if run["level"] not in references and run["packed_key"] in keys
    }


def _sentences(holdout: str, asked: dict, figures: dict, derived: int) -> list[str]:
    rows, idle = figures["parts"], figures["idle"]
    clear = [row for row in rows if row["distinguishable"]]
    sentences = [_whole_sentence(holdout, asked, figures["whole"])]
    helpful, harmful = ([row for row in clear if row["value"] > 0],
                        [row for row in clear[::-1] if row["value"] < 0])  # fmt: skip
    for some, verb in ((helpful, "helps"), (harmful, "harms")):
        if some:
            how = {"without": "when it alone is left out", "only": "when it alone is applied"}
            parts = [f"{r['part']} ({difference_text(r)} nats {how[r['way']]})" for r in some[:SHOWN]]
            sentences.append(f"What clearly {verb}: {'; '.join(parts)}.")
    if len(clear) < len(rows):
        reason = "" if figures["seeds_differ"] else " (one seed only)"
        unclear = f"{len(rows) - len(clear)} of {len(rows)} comparisons"
        sentences.append(
            f"{unclear} are not distinguishable from 0 after correcting for their number{reason}."
        )
    if idle:
        parts = sorted({row["part"] for row in idle})
        same = f"{len(parts)} changed nothing at all (the same documents)"
        sentences.append(f"{same}: {', '.join(parts[: 2 * SHOWN])}.")
    if missing := derived - len(rows) - len(idle):
        sentences.append(f"{missing} of the {derived} corpora have no run; nothing stands in for them.")
    return sentences


def _whole_sentence(holdout: str, asked: dict, whole: dict) -> str:
    clear = "" if whole["distinguishable"] else ", which is not distinguishable from 0"
    matched = " with the same shares of sources" if asked["matched_sources"] else ""
    return (
        f"On {text_of(holdout)}, all rules between {asked['base']} and {asked['level']} together are worth "
        f"{difference_text(whole)} nats per token at {asked['tokens']:,} tokens{matched}{clear}."
    )


def _table(asked: dict, figures: dict, derived: dict) -> dict:
    low, high = asked["base"], asked["level"]
    rows = [
        [
            row["part"],
            {"without": "left out", "only": "alone"}[row["way"]],
            difference_text(row),
            "not distinguishable"
            if not row["distinguishable"]
            else "worth it"
            if row["value"] > 0
            else "harmful",
            f"{derived[row['level'] if row['way'] == 'without' else row['than']]['documents']:,}",
        ]
        for row in figures["parts"]
    ]
    caption = (
        f"At {asked['tokens']:,} tokens. Left out: loss of {high} without it, minus that of {high}. Alone: loss of "
        f"{low}, minus that of {low} with it. Above 0 it helps. Intervals hold all {len(rows) + 1} comparisons at "
        "once"
    )
    columns = ["Part", "How", "Worth, nats per token", "Verdict", "Documents of that corpus"]
    return table(caption, columns, rows)
