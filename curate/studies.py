"""Studies: further runs that a manifest asks for beside its grid, each to answer one question.

    [attribution] level = "filtered"     what each rule is worth: leave-one-out and add-one corpora
    [repetition]  epochs = [1, 4, 16]    equal raw pool and equal compute, small corpora repeated
    [mixture]     runs = 8               shares of sources by regression, and a confirming run
    [[factor]]    model.mixer = ["lstm"] what else matters: one knob at a time off a base (`curate.factors`)

A study is cheap since its corpora are selections: derived levels are judged from signals that are there already, and
shares of sources are another order of documents that are encoded already. They are trained on, not written as
data sets; the lock tells how many documents each has.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from curate.errors import did_you_mean
from curate.factors import GRID_KNOBS, Factors, Trial, factor_trials, factors
from curate.manifest import EDITED_BYTES, Level
from curate.measured import DUPLICATE
from curate.profiles import Rule
from curate.tables import Tables

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
class Studies:
    attribution: Attribution | None = None
    mixture: Mixture | None = None
    repetition: Repetition | None = None
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
        holdout = self.typed(where, table, "holdout", str, self.holdouts[-1])
        if holdout not in self.holdouts:
            raise self.fail(where, f'holdout = "{holdout}" is not one of {", ".join(self.holdouts)}')
        return Mixture(
            level, runs, concentration=float(concentration), holdout=holdout, **self.common(where, table)
        )

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
STUDIES = ("attribution", "mixture", "repetition")


# ------------------------------------------------------------------------------------------- derived levels


def derived_levels(studies: Studies, levels: tuple[Level, ...]) -> tuple[Level, ...]:
    """The levels of an attribution: nothing that is not a selection among what was measured."""
    asked = studies.attribution
    if not asked:
        return ()
    by_name = {level.name: level for level in levels}
    low, high = by_name[asked.base], by_name[asked.level]
    under, own = _rules(by_name, low), _rules(by_name, high)[len(_rules(by_name, low)) :]
    groups = _parts(asked.parts, own)
    found = []
    for part, names in groups.items():
        if "without" in asked.ways:
            left = [rule for level, rule in own if rule.name not in names]
            found.append(_derived(f"{high.name}-without-{part}", under, left, high))
        if "only" in asked.ways:
            alone = [rule for level, rule in own if rule.name in names]
            found.append(_derived(f"{low.name}-with-{part}", under, alone, low))
    return tuple(found)


def _derived(name: str, under: list, rules: list[Rule], edits_of: Level) -> Level:
    return Level(name, None, tuple([rule for _, rule in under] + rules), (), edits_of.edits)


def _rules(by_name: dict[str, Level], level: Level) -> list[tuple[Level, Rule]]:
    below = _rules(by_name, by_name[level.on]) if level.on else []
    return below + [(level, rule) for rule in level.rules]


def _parts(parts: str, own: list[tuple[Level, Rule]]) -> dict[str, set[str]]:
    """Part -> names of its rules. Edits of texts are the level's own in every corpus, so no part bounds what they leave."""
    groups: dict[str, set[str]] = {}
    for level, rule in own:
        if rule.signal == EDITED_BYTES:
            continue
        part = {"rule": rule.name, "profile": rule.name.rpartition(".")[0], "level": level.name}[parts]
        if parts == "profile" and rule.signal == DUPLICATE:
            part = rule.name
        groups.setdefault(part, set()).add(rule.name)
    return groups


# ------------------------------------------------------------------------------------------- trials


def trials(built: Any) -> list[Trial]:
    """Everything that the manifest's studies train on, references included."""
    studies = built.annotated.manifest.studies
    found: list[Trial] = []
    if studies.attribution:
        found += _attribution_trials(studies.attribution, built)
    if studies.mixture:
        found += mixture_trials(studies.mixture, built)
    if studies.repetition:
        found += _repetition_trials(studies.repetition, built)
    if studies.factors:
        found += factor_trials(studies.factors)
    return found


def _attribution_trials(asked: Attribution, built: Any) -> list[Trial]:
    knobs = asked.knobs | {"seeds": asked.seeds}
    names = [asked.base, asked.level, *(level.name for level in built.annotated.manifest.derived)]
    shares = token_shares(built, asked.level, asked.tokens) if asked.matched_sources else None
    return [Trial("attribution", name, name, asked.tokens, knobs, shares) for name in names]


def token_shares(built: Any, level: str, tokens: int) -> tuple[float, ...] | None:
    """By source: its share of the level's first `tokens` tokens."""
    from curate.corpus import cut

    a = built.annotated
    found = cut(a.pool, built.rows[level], built.tokens[level], (tokens,))
    if not found.ends:
        return None
    rows = found.rows[: found.ends[tokens]]
    counts = np.bincount(a.pool.source[rows], built.tokens[level].count[rows], len(a.pool.sources))
    return tuple(float(x) for x in counts / counts.sum())


def mixture_trials(asked: Mixture, built: Any) -> list[Trial]:
    """As the level has its sources, and `runs` times otherwise; weights follow from the manifest's text alone."""
    knobs = asked.knobs | {"seeds": asked.seeds}
    natural = token_shares(built, asked.level, asked.tokens)
    if natural is None:
        return []
    most = largest_shares(built, asked.level, asked.tokens)
    told = [Trial("mixture", "as it is", asked.level, asked.tokens, knobs, natural)]
    for number, shares in enumerate(dirichlet(asked, most), 1):
        told.append(Trial("mixture", f"mixture {number}", asked.level, asked.tokens, knobs, shares))
    return told


def largest_shares(built: Any, level: str, tokens: int) -> np.ndarray:
    """By source: the share it can have of so many tokens without repeating."""
    a, t = built.annotated, built.tokens[level]
    rows = np.flatnonzero(a.everything[level].kept & ~built.holdouts.held)
    return np.bincount(a.pool.source[rows], t.count[rows], len(a.pool.sources)) / tokens


def dirichlet(asked: Mixture, most: np.ndarray) -> list[tuple[float, ...]]:
    """Shares drawn by hash, the same every time, none above what its source holds; sources without text have none."""
    from curate.store import digest_of

    seed = int(digest_of(["mixture", asked.level, asked.concentration])[:15], 16)
    rng, some, found = np.random.default_rng(seed), most > 0, list[tuple[float, ...]]()
    for _ in range(1000 * asked.runs):
        shares = np.zeros(len(most))
        shares[some] = rng.dirichlet(np.full(int(some.sum()), asked.concentration))
        if (shares <= 0.98 * most).all():
            found.append(tuple(float(x) for x in shares))
        if len(found) == asked.runs:
            break
    return found


def _repetition_trials(asked: Repetition, built: Any) -> list[Trial]:
    judged, size = built.annotated.everything, built.annotated.pool.bytes
    whole = int(size[judged[asked.levels[0]].kept].sum())
    found = []
    for level in asked.levels:
        unique = round(asked.tokens * int(size[judged[level].kept].sum()) / whole)
        for epochs in asked.epochs:
            knobs = asked.knobs | {"seeds": asked.seeds, "epochs": epochs * asked.tokens / unique}
            about = {"of": level, "unique": unique, "trained": epochs * asked.tokens, "epochs": epochs}
            found.append(Trial("repetition", f"{level}, {epochs} x", level, unique, knobs, None, about))
    return found


def confirming(trial: Trial, shares: np.ndarray) -> Trial:
    return replace(trial, name="recommended", shares=tuple(float(x) for x in shares))
