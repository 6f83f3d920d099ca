"""Studies: further runs that a manifest asks for beside its grid, each to answer one question.

    [attribution] level = "filtered"     what each rule is worth: leave-one-out and add-one corpora
    [repetition]  epochs = [1, 4, 16]    equal raw pool and equal compute, small corpora repeated
    [mixture]     runs = 8               shares of sources by regression, and a confirming run
    [overtaking]  most = "4M"            runs where more dirty text is foretold to overtake clean text
    [[factor]]    model.mixer = ["lstm"] what else matters: one knob at a time off a base (`curate.manifest.factors`)

A study is cheap since its corpora are selections: derived levels are judged from signals that are there already, and
shares of sources are another order of documents that are encoded already. They are trained on, not written as
data sets; the lock tells how many documents each has. `curate.runs.trials` says which cells follow.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from curate.errors import did_you_mean
from curate.manifest.asked import DUPLICATE, EDITED_BYTES, Level
from curate.manifest.factors import GRID_KNOBS, Factors, factors
from curate.manifest.profiles import Bound, Edit, Rule
from curate.manifest.tables import Tables

PARTS = ("rule", "profile", "level")
WAYS = ("without", "only")


@dataclass(frozen=True)
class Attribution:
    """`without`: `level` but for one part of its rules. `only`: `base` and one part. All at `tokens`."""

    level: str
    base: str
    parts: str
    ways: tuple[str, ...]
    tokens: int
    seeds: int
    matched_sources: bool
    knobs: dict


@dataclass(frozen=True)
class Mixture:
    """`runs` corpora of `level`, sources in shares from a Dirichlet distribution, judged on one `holdout`."""

    level: str
    runs: int
    tokens: int
    seeds: int
    concentration: float
    holdout: str
    knobs: dict


@dataclass(frozen=True)
class Repetition:
    """From the part of the raw pool that has `tokens` of the first level: what every level makes of it, trained
    for `epochs` times `tokens`, so that all have seen as much."""

    levels: tuple[str, ...]
    tokens: int
    epochs: tuple[int, ...]
    budgets: tuple[int, ...]
    seeds: int
    knobs: dict


@dataclass(frozen=True)
class Overtaking:
    """Where `dirty` is foretold to overtake `clean_tokens` of `clean`, runs look for it, at most of `most` tokens."""

    dirty: str
    clean: str
    clean_tokens: int
    most: int
    holdout: str
    seeds: int
    knobs: dict


@dataclass(frozen=True)
class Studies:
    attribution: Attribution | None = None
    mixture: Mixture | None = None
    repetition: Repetition | None = None
    overtaking: Overtaking | None = None
    factors: Factors | None = None
    seed_noise: float | None = None  # nats: what is believed of a run's noise before any was trained

    def as_json(self) -> dict:
        return {k: v for k, v in asdict(self).items() if v is not None}


class StudyTables(Tables):
    """The tables of the studies, checked."""

    def __init__(
        self, path, tree: dict, levels: tuple[Level, ...], sizes: tuple[int, ...], grid: dict, holdouts
    ):
        super().__init__(path, tree)
        self.levels = {level.name: level for level in levels}
        self.sizes, self.grid, self.holdouts = sizes, grid, holdouts

    def studies(self) -> Studies:
        told = {name: getattr(self, name)(self.table(name)) for name in STUDIES if name in self.tree}
        if "factor" in self.tree or "base" in self.tree:
            told["factors"] = factors(self)
        power = self.table("power")
        self.known("[power]", power, ("seed_noise",))
        noise = power.get("seed_noise")
        if noise is not None and (
            not isinstance(noise, int | float) or isinstance(noise, bool) or not 0 < noise < 100
        ):
            raise self.fail("[power]", f"seed_noise = {noise!r}: nats per token, above 0")
        return Studies(**told, seed_noise=noise)

    def attribution(self, table: dict) -> Attribution:
        where = "[attribution]"
        self.known(where, table, ("level", "base", "parts", "ways", "matched_sources", *COMMON))
        level = self.level(where, table, "level", list(self.levels)[-1])
        chain = self.chain(level)
        base = self.level(where, table, "base", chain[0])
        if base not in chain or base == level:
            raise self.fail(
                where, f'base = "{base}" is no level under "{level}"; it stands on {", ".join(chain[:-1])}'
            )
        parts = self.one_of(where, table, "parts", PARTS)
        ways = self.strings(where, table, "ways") or WAYS
        for way in ways:
            if way not in WAYS:
                raise self.fail(
                    where, f'ways: "{way}" is not one of {", ".join(WAYS)}{did_you_mean(way, WAYS)}'
                )
        matched = self.typed(where, table, "matched_sources", bool, False)
        return Attribution(level, base, parts, ways, matched_sources=matched, **self.common(where, table))

    def mixture(self, table: dict) -> Mixture:
        where = "[mixture]"
        self.known(where, table, ("level", "runs", "concentration", "holdout", *COMMON))
        level = self.level(where, table, "level", list(self.levels)[-1])
        runs = self.typed(where, table, "runs", int, 8)
        if not 4 <= runs <= 512:
            raise self.fail(
                where, f"runs = {runs} is not in 4..512; twice the number of sources is a beginning"
            )
        concentration = table.get("concentration", 1.0)
        if not isinstance(concentration, int | float) or not 0 < concentration <= 100:
            raise self.fail(where, f"concentration = {concentration!r}: above 0 and at most 100; 1 is usual")
        holdout = self.holdout(where, table)
        return Mixture(
            level, runs, concentration=float(concentration), holdout=holdout, **self.common(where, table)
        )

    def overtaking(self, table: dict) -> Overtaking:
        where = "[overtaking]"
        self.known(where, table, ("dirty", "clean", "clean_tokens", "most", "holdout", "seeds", *GRID_KNOBS))
        levels = self.grid["levels"]
        dirty, clean = (self.level(where, table, key, levels[i]) for key, i in (("dirty", 0), ("clean", -1)))
        if dirty == clean or not {dirty, clean} <= set(levels):
            raise self.fail(where, f'dirty = "{dirty}", clean = "{clean}": name two levels of [grid]')
        clean_tokens = self.count(where, "clean_tokens", table.get("clean_tokens", max(self.sizes)))
        most = self.count(where, "most", table.get("most", 4 * max(self.sizes)))
        if clean_tokens > max(self.sizes) or most <= clean_tokens:
            raise self.fail(
                where,
                f"clean_tokens = {clean_tokens:,} is above the largest of [sizes], or most = {most:,} not above the largest",
            )
        common = self.common(where, table)
        del common["tokens"]
        return Overtaking(dirty, clean, clean_tokens, most, self.holdout(where, table), **common)

    def holdout(self, where: str, table: dict) -> str:
        holdout = self.typed(where, table, "holdout", str, self.holdouts[-1])
        if holdout not in self.holdouts:
            raise self.fail(where, f'holdout = "{holdout}" is not one of {", ".join(self.holdouts)}')
        return holdout

    def repetition(self, table: dict) -> Repetition:
        where = "[repetition]"
        self.known(where, table, ("levels", "epochs", "budgets", *COMMON))
        levels = self.strings(where, table, "levels") or tuple(self.grid["levels"])
        for name in levels:
            self.level(where, {"levels": name}, "levels", name)
        epochs = table.get("epochs", [1, 2, 4, 8])
        if (
            not isinstance(epochs, list)
            or not epochs
            or not all(type(e) is int and 0 < e <= 10_000 for e in epochs)
        ):
            raise self.fail(
                where, f"epochs = {epochs!r}: whole numbers of passes over the first level's tokens"
            )
        given = table.get("budgets", [])
        budgets = tuple(
            self.count(where, "budgets", b) for b in (given if isinstance(given, list) else [given])
        )
        return Repetition(
            levels, epochs=tuple(sorted(set(epochs))), budgets=budgets, **self.common(where, table)
        )

    def common(self, where: str, table: dict) -> dict:
        """tokens, seeds and the knobs of the model, which are the grid's where the study says nothing."""
        from train.grid import expand

        tokens = self.count(where, "tokens", table.get("tokens", max(self.sizes)))
        if tokens > max(self.sizes):
            raise self.fail(
                where, f"tokens = {tokens:,} is more than the largest of [sizes], {max(self.sizes):,}"
            )
        seeds = self.typed(where, table, "seeds", int, self.grid.get("seeds", 1))
        knobs = {k: v for k, v in self.grid.items() if k in GRID_KNOBS}
        for name in GRID_KNOBS:
            if name in table:
                mine = table[name]
                both = isinstance(mine, dict) and isinstance(knobs.get(name), dict)
                knobs[name] = knobs[name] | mine if both else mine
        try:
            settings = expand(knobs | {"seeds": seeds})
        except ValueError as error:
            raise self.fail(where, str(error)) from None
        if len(settings) > seeds:
            raise self.fail(where, "a knob is an axis of the grid; name one value of it here")
        return {"tokens": tokens, "seeds": seeds, "knobs": knobs}

    def level(self, where: str, table: dict, key: str, default: str) -> str:
        name = self.typed(where, table, key, str, default)
        if name not in self.levels:
            raise self.fail(where, f'{key} = "{name}" is no level{did_you_mean(name, self.levels)}')
        return name

    def one_of(self, where: str, table: dict, key: str, choices: tuple[str, ...]) -> str:
        value = self.typed(where, table, key, str, choices[0])
        if value not in choices:
            raise self.fail(where, f'{key} = "{value}": choose one of {", ".join(choices)}')
        return value

    def chain(self, name: str) -> list[str]:
        on = self.levels[name].on
        return [*(self.chain(on) if on else []), name]


COMMON = ("tokens", "seeds", *GRID_KNOBS)
STUDIES = ("attribution", "mixture", "repetition", "overtaking")


# ------------------------------------------------------------------------------------------- derived levels


@dataclass(frozen=True)
class Derived:
    """A level of an attribution: `level` without a part, or `base` with this part only."""

    level: Level
    part: str
    way: str


def derived_levels(studies: Studies, levels: tuple[Level, ...]) -> tuple[Level, ...]:
    asked = studies.attribution
    return tuple(one.level for one in derived(asked, levels)) if asked else ()


def derived(asked: Attribution, levels: tuple[Level, ...]) -> list[Derived]:
    """The levels of an attribution: nothing that is not a selection among what was measured, or an edit of it."""
    by_name = {level.name: level for level in levels}
    low, high = by_name[asked.base], by_name[asked.level]
    under = _rules(by_name, low)
    own = _own(by_name, high, low)
    found = []
    for part, pieces in _parts(asked.parts, own).items():
        for way, name in (("without", f"{high.name}-without-{part}"), ("only", f"{low.name}-with-{part}")):
            if way in asked.ways:
                kept = [piece for _, piece in own if (piece in pieces) == (way == "only")]
                found.append(Derived(_level_of(name, low, under, kept), part, way))
    return found


def _rules(by_name: dict[str, Level], level: Level) -> list[Rule]:
    below = _rules(by_name, by_name[level.on]) if level.on else []
    return below + list(level.rules)


def _own(by_name: dict[str, Level], level: Level, base: Level) -> list[tuple[Level, Rule | Edit]]:
    """What stands between the base and the level: rules, and edits of the text, each with the level that adds it."""
    if level.name == base.name or not level.on:
        return []
    below = by_name[level.on]
    rules = [rule for rule in level.rules if rule.signal != EDITED_BYTES]
    edits = [edit for edit in level.edits if edit not in below.edits]
    pieces: list[Rule | Edit] = [*edits, *rules]
    return _own(by_name, below, base) + [(level, piece) for piece in pieces]


def _level_of(name: str, base: Level, under: list[Rule], pieces: list[Rule | Edit]) -> Level:
    """As a manifest's level is made: texts of which the edits leave nothing are dropped, duplicates last."""
    edits = [piece for piece in pieces if isinstance(piece, Edit)]
    rules = [piece for piece in pieces if isinstance(piece, Rule)]
    every = (*base.edits, *edits)
    if edits:
        rules.insert(0, Rule(f"{name}.{EDITED_BYTES}", EDITED_BYTES, Bound(low=1), every))
    return Level(name, None, (*under, *rules), (), every)


def _parts(parts: str, own: list[tuple[Level, Rule | Edit]]) -> dict[str, list[Rule | Edit]]:
    """Part -> its rules and edits. A profile's are one part; duplicates and edits stand for themselves beside it."""
    groups: dict[str, list[Rule | Edit]] = {}
    for level, piece in own:
        name = f"{level.name}.{piece.signal}" if isinstance(piece, Edit) else piece.name
        alone = parts == "rule" or isinstance(piece, Edit) or piece.signal == DUPLICATE
        part = level.name if parts == "level" else name if alone else name.rpartition(".")[0]
        groups.setdefault(part, []).append(piece)
    return groups
