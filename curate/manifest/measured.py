"""The table [signals]: which families are measured, with what, and whether a rule on one of them can hold.

A family is measured because [signals] names it, or because a level bounds, cuts or masks a signal of it.
Some families need a model that is made of this manifest's own documents first: a *recipe* says which
documents those are. What a recipe yields is measured after everything else, so it may choose its
documents by any other signal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from curate.errors import did_you_mean
from curate.manifest.pooled import PoolTables, fingerprints
from curate.signals import custom
from curate.signals.families import (
    DISTILLED,
    WORD_LIST,
    family_of,
    of_the_pool,
    shipped,
    shipped_signals,
    signals_of,
)
from curate.signals.loss import check_run
from curate.spec.bounds import Rule, is_number, parse_bound
from curate.spec.manifest import (
    BESIDE,
    DUPLICATE,
    DUPLICATE_SIGNALS,
    DUPLICATES,
    FORGOTTEN,
    INDEX,
    OF_EVALUATIONS,
    SEMANTIC,
)
from curate.spec.tables import Tables
from filters.duplicates.repeats import WORDS
from filters.files import read_list
from filters.heuristics.blocklists import read_domains
from filters.language.codes import covers, language_of
from filters.language.documents import find_model, model_codes
from train.files import on_disk

if TYPE_CHECKING:
    from curate.spec.manifest import Source
    from filters import Signal

HEURISTICS = ("words", "lines", "repetition")
LANGUAGE_MODEL = "lid.176"
OF_LANGUAGE = ("language", "line_languages")  # families that ask a language model
URL_LISTS = "url_lists"
LOSS = "loss"
FINGERPRINTS = ("text_hash", "signatures")  # measured where duplicates are looked for
PREFERENCES = ("longest", "shortest", "source")
SAMPLE_BYTES = 20_000_000  # of text that a model is made of, where nothing else is said


@dataclass(frozen=True)
class Recipe:
    """What a family's model can be made of: samples of documents, settings of the training, and with what the
    model is asked then (parameters of `measure`)."""

    samples: tuple[str, ...] = ()
    settings: dict[str, type] = field(default_factory=dict)
    asked: dict[str, type] = field(default_factory=dict)


RECIPES = {
    "quality": Recipe(
        ("positive", "negative"),
        {
            "dimension": int, "epochs": int, "learning_rate": float, "word_ngrams": int, "buckets": int,
            "seed": int,
        },
        {"label": str},
    ),
    "perplexity": Recipe(("train",), {"order": int, "min_count": int}, {"unlikely": float}),
    "contamination": Recipe((), {"ngram": int}),
    "evaluation_overlap": Recipe((), dict.fromkeys(OF_EVALUATIONS, str)),
    "robots": Recipe(asked={"agents": tuple}),
    "target_likeness": Recipe(("target", "raw")),
    "topics": Recipe(("train",), {"topics": int, "dimension": int, "seed": int}),
}  # fmt: skip
LIMITS = {
    "order": (2, 8), "ngram": (2, 1000), "word_ngrams": (1, 8), "dimension": (1, 10_000), "epochs": (1, 1000),
    "topics": (2, 4096),
}  # fmt: skip
# Of [signals]: what is more than true or false.
SPECIAL = (
    "heuristics", *OF_LANGUAGE, *RECIPES, "near_duplicates", "exact_duplicates", "prefer", INDEX, "custom", "distilled",
    "word_lists", URL_LISTS, LOSS,
)  # fmt: skip
# What a level must not ask for before the manifest says how: what to write.
NEEDED = {
    INDEX: 'is not measured; add index = "DIRECTORY" to [signals]',
    DUPLICATES: "is not measured; add near_duplicates = true to [signals]",
    FORGOTTEN: "needs [forget], which bounds it; leave it out here",
    SEMANTIC: f"is not measured; add {SEMANTIC} = true to [signals]",
    **{
        name: f"is not measured; add {name} = {{ ... }} to [signals]"
        for name in (*RECIPES, *FINGERPRINTS, URL_LISTS, LOSS)
    },
}
CUSTOM: dict[str, Any] = {
    "version": 1, "low": -math.inf, "high": math.inf, "unit": "number", "labels": False,
}  # fmt: skip


SOURCE = "source"  # the field that every document has, and that a level may bound as it may those that its source carries


class Measured(Tables):
    """What [signals] asks for; grows as levels ask for more.

    `families` maps a family to the parameters of its `measure`, `recipes` a family to what its model is made of.
    """

    def __init__(
        self, path: Path, tree: dict, sources: tuple[Source, ...], beside: dict[str, tuple[Source, ...]]
    ):
        super().__init__(path, tree)
        self.sources, self.beside = [source.name for source in sources], beside
        self.columns = {column for source in sources for column in source.columns}
        self.families: dict[str, dict] = {}
        self.recipes: dict[str, dict] = {}
        where, table = "[signals]", self.table("signals")
        # Families that need no parameters: true measures them.
        plain = [
            name for name in shipped() if name not in {*HEURISTICS, *FINGERPRINTS, *SPECIAL, *of_the_pool()}
        ]
        pooled = [name for name in of_the_pool() if name != DUPLICATES]
        self.known(where, table, (*SPECIAL, *pooled, *plain))
        self.refused = {name for name, value in table.items() if value is False}
        if self.typed(where, table, "heuristics", bool, True):
            self.families |= {name: {} for name in HEURISTICS}
        for name in plain:
            if self.typed(where, table, name, bool, False):
                self._carries(where, name)
                self.families[name] = {}
        for name in OF_LANGUAGE:
            given = self.options(table, name, ("model", "fold"), f'{{ model = "{LANGUAGE_MODEL}" }}')
            if given is not None:
                self.families[name] = self._language(name, given)
        self._custom(table)
        self._lists(table)
        if table.get(LOSS, False) is not False:
            self.families[LOSS] = {"run": self._run(table[LOSS])}
        self.pooled = PoolTables(self.path, self.tree).pooled(table)
        self.families |= fingerprints(self.pooled)
        for name in RECIPES:
            if table.get(name, False) is not False:
                self._modelled(name, table[name])
        self._distilled(table)
        if SEMANTIC in self.pooled:
            self._check_vectors(f"[signals] {SEMANTIC}", self.pooled[SEMANTIC]["vectors"])
        for family, parameters in list(self.families.items()):
            for taken in parameters.get("takes", ()):
                self._check_taken(f"[signals.{family}]", taken)
        self.prefer = self._prefer(table)

    # ------------------------------------------------------------------------------------- families with parameters

    def _language(self, name: str, given: dict) -> dict:
        where = f"[signals] {name}"
        model = self._file(where, given.get("model", LANGUAGE_MODEL))
        with self.failing(where, OSError):
            find_model(model)
        fold = self.typed(where, given, "fold", bool, False)
        return {"model": model} | ({"fold": True} if fold else {})

    def _file(self, where: str, model: Any) -> str:
        """A path beside the manifest where there is such a file, else the name as it is."""
        if not isinstance(model, str):
            raise self.fail(where, f"{model!r} is no path of a file")
        beside = self.path.parent / model
        if beside.exists() and not (on_disk(beside) or beside.is_dir()):
            raise self.fail(where, f"{beside} is a pipe or a device; name a file")
        return str(beside) if beside.exists() else model

    def _custom(self, table: dict) -> None:
        """[signals.custom.NAME]: signals measured by the user's functions."""
        for name, given in (self.typed("[signals]", table, "custom", dict, {}) or {}).items():
            where = f"[signals.custom.{name}]"
            if not isinstance(given, dict):
                raise self.fail(where, 'write a table with function = "module:function"')
            self._check_name(where, name)
            self.known(where, given, (*CUSTOM, "function", "takes", *custom.LISTS))
            kinds = {"version": int, "unit": str, "labels": bool, "function": str}
            kinds |= dict.fromkeys(custom.LISTS, bool)
            for key, kind in kinds.items():
                self.typed(where, given, key, kind)
            takes = self.strings(where, given, "takes")
            limits = [given.get(key, CUSTOM[key]) for key in ("low", "high")]
            if not all(map(is_number, limits)) or not limits[0] <= limits[1]:
                raise self.fail(where, "low and high are two numbers, the lower one first")
            folder = str(self.path.parent.absolute())
            with self.failing(where):
                custom.code_of(given.get("function", ""), folder)
            parameters = {k: v for k, v in given.items() if k not in ("takes", *custom.LISTS)} | {
                "folder": folder
            }
            parameters |= {"takes": takes} if takes else {}
            parameters |= {key: True for key in custom.LISTS if given.get(key)}
            self.families[custom.PREFIX + name] = CUSTOM | parameters

    def _check_name(self, where: str, name: str) -> None:
        """Of a signal that the manifest makes."""
        if name in shipped_signals() or name in DUPLICATE_SIGNALS or not name.isidentifier():
            raise self.fail(where, "the name is a shipped signal's or no identifier; choose another")

    def _check_vectors(self, where: str, name: str) -> None:
        """The signal holds a vector of each document; it is measured from now on."""
        if not pa.types.is_list(self.signal(where, "", name).type):
            raise self.fail(
                where, f"{name} is no vector; take topic_vector, or a custom signal with vectors = true"
            )

    def _check_taken(self, where: str, name: str) -> None:
        """A signal that a function takes is one that documents have by themselves; it is measured from now on."""
        self.signal(where, "takes: ", name)
        owner = signals_of(self.families).get(name)
        if owner is None or owner in RECIPES:
            raise self.fail(where, f"takes: {name} is known only once all documents are; take another signal")

    def _lists(self, table: dict) -> None:
        """url_lists = { domains = FILE, words = FILE } and [signals.word_lists] NAME = FILE."""
        where = f"[signals] {URL_LISTS}"
        given = self.typed("[signals]", table, URL_LISTS, dict, {})
        self.known(where, given, ("domains", "words"))
        if URL_LISTS in table:
            if not given:
                raise self.fail(where, 'names no list; write { domains = "FILE" }')
            self._carries(where, URL_LISTS)
            self.families[URL_LISTS] = {key: self._list(where, key, given[key]) for key in given}
        where = "[signals.word_lists]"
        for name, path in self.typed("[signals]", table, "word_lists", dict, {}).items():
            if not name.isidentifier() or f"{name}_count" in shipped_signals():
                raise self.fail(where, f"{name}: a shipped signal's name or no identifier; choose another")
            self.families[WORD_LIST + name] = {"list": self._list(where, name, path)}

    def _list(self, where: str, key: str, given: Any) -> str:
        """The path of a list, which exists, has entries, and each of them a letter or digit."""
        path = self._file(where, given)
        with self.failing(where, (OSError, ValueError), about=f"{key} = {path}: "):
            entries = read_domains(path) if key == "domains" else read_list(path).to_pylist()
        if not entries:
            raise self.fail(where, f"{key} = {path}: the list is empty; write an entry a line")
        for entry in entries:
            if not any(map(str.isalnum, entry)):
                raise self.fail(
                    where, f'{key} = {path}: the entry "{entry}" has no letter or digit; remove it'
                )
        return path

    def _run(self, given: Any) -> str:
        """The directory of a finished run."""
        where = f"[signals] {LOSS}"
        if not isinstance(given, dict) or set(given) != {"run"}:
            raise self.fail(where, f'{LOSS} = {given!r}: write {{ run = "DIRECTORY" }}')
        run = self._file(where, given["run"])
        with self.failing(where):
            check_run(run)
        return run

    def _carries(self, where: str, family: str) -> None:
        """A field that the family reads beside the text is carried by some source."""
        for taken in shipped()[family].takes:
            if taken not in shipped_signals() and taken not in self.columns:
                raise self.fail(
                    where,
                    f'{family} reads the field {taken}; add columns = ["{taken}"] to the sources that have it',
                )

    def _prefer(self, table: dict) -> tuple[str, ...]:
        """Which of several duplicates stays: by the first entry in which they differ."""
        where = "[signals] prefer"
        given = self.strings("[signals]", table, "prefer")
        for entry in given:
            way, _, name = entry.rpartition(" ")
            if not way and name in PREFERENCES:
                continue
            if way not in ("high", "low"):
                raise self.fail(
                    where, f'"{entry}": write "high SIGNAL", "low SIGNAL", or one of {", ".join(PREFERENCES)}'
                )
            signal = self.signal(where, "", name)
            if signal.low is None or name in DUPLICATE_SIGNALS:
                raise self.fail(where, f'"{entry}": {name} is no number that documents have by themselves')
        return given

    # ------------------------------------------------------------------------------------- families with a model

    def _modelled(self, name: str, given: Any) -> None:
        """A family with a model: the file of one, or the recipe to make it."""
        where = f"[signals] {name}"
        self._carries(where, name)
        recipe = RECIPES[name]
        given = {} if given is True else given
        if not isinstance(given, dict):
            raise self.fail(where, f"{name} = {given!r}: write a table")
        keys = ("model",) if "model" in given else (*recipe.samples, *recipe.settings, "bytes", "model")
        self.known(where, given, (*keys, *recipe.asked))
        settings, asked = ({k: self._setting(where, given, k, kind) for k, kind in kinds.items() if k in given}
                           for kinds in (recipe.settings, recipe.asked))  # fmt: skip
        if "model" in given:
            model = self._file(where, given["model"])
            if not Path(model).is_file():
                raise self.fail(
                    where, f"model = {model}: no such file; leave it out to make one from documents"
                )
            self.families[name] = asked | {"model": model}
            return
        made: dict[str, Any] = {"settings": settings}
        if recipe.samples:
            made["bytes"] = self.count(where, "bytes", given.get("bytes", SAMPLE_BYTES))
            made["samples"] = {key: self._sample(where, key, given.get(key)) for key in recipe.samples}
            self._choose_something(where, made["samples"])
        elif not self.beside[name]:
            raise self.fail(
                where, f"names no text to look in; add [[{BESIDE[name]}]] with name, format and path"
            )
        carried = {column for source in self.beside.get(name, ()) for column in source.columns}
        for key in settings.keys() & {*OF_EVALUATIONS}:
            if settings[key] not in carried:
                need = f'add columns = ["{settings[key]}"] to [[{BESIDE[name]}]]'
                raise self.fail(where, f"no text carries the field {settings[key]}; {need}")
        self.families[name] = asked
        self.recipes[name] = made

    def _distilled(self, table: dict) -> None:
        """[signals.distilled.NAME]: what a judge said of some documents, learned to be foretold for all."""
        for name, given in (self.typed("[signals]", table, "distilled", dict, {}) or {}).items():
            where = f"[signals.distilled.{name}]"
            self._check_name(where, name)
            if not isinstance(given, dict) or len(given.keys() & {"label", "score"}) != 1:
                raise self.fail(
                    where, 'write label = "FIELD" or score = "FIELD", the field of what was judged'
                )
            self.known(where, given, ("label", "score", "from", "id", "bytes"))
            file, id = self.typed(where, given, "from", str), self.typed(where, given, "id", str, "id")
            field = self.typed(where, given, "label" if "label" in given else "score", str)
            if file is None and field not in self.columns:
                raise self.fail(
                    where, f'no source carries the field {field}; add columns = ["{field}"], or from = "FILE"'
                )
            path = None if file is None else self._file(where, file)
            if path is not None and not Path(path).is_file():
                raise self.fail(where, f"from = {path}: no such file")
            family = DISTILLED + name
            self.families[family] = {"labels": "label" in given}
            self.recipes[family] = {
                "from": path, "id": id, "field": field, "as": "U" if "label" in given else "f8",
                "bytes": self.count(where, "bytes", given.get("bytes", SAMPLE_BYTES)),
            }  # fmt: skip

    def _setting(self, where: str, given: dict, key: str, kind: type) -> Any:
        value = given[key]
        if kind is tuple:
            return self.strings(where, given, key)
        if kind is not float:
            self.typed(where, given, key, kind)
        elif not is_number(value):
            raise self.fail(where, f"{key} = {value!r} is not a number")
        if kind is not str and (not 0 <= value < 2**31 or value == 0 and key != "seed"):
            raise self.fail(where, f"{key} = {value} is not positive, or too large")
        least, most = LIMITS.get(key, (value, value))
        if not least <= value <= most:
            raise self.fail(where, f"{key} = {value} is not in {least}..{most}")
        return float(value) if kind is float else value

    def _sample(self, where: str, key: str, given: Any) -> dict | None:
        """Documents by their source, by bounds on their signals, or by both."""
        if given is None:
            return None
        example = '{ source = "books" } or { keep = { core_word_count = [500, inf] } }'
        if not isinstance(given, dict) or not given:
            raise self.fail(where, f"{key} = {given!r}: write {example}")
        self.known(f"{where} {key}", given, ("source", "keep", "target"))
        if "target" in given:
            return self._of_target(f"{where} {key}", given)
        chosen = self.strings(f"{where} {key}", given, "source")
        for name in chosen:
            self.among(f"{where} {key}", "", name, self.sources, "source")
        keep = self.typed(f"{where} {key}", given, "keep", dict, {})
        for signal, value in keep.items():
            if (
                signal in DUPLICATE_SIGNALS
                or signal in self._made()
                or isinstance(value, dict)
                and value.keys() & {"top", "sample"}
            ):
                raise self.fail(f"{where} {key}", f"{signal}: bound what is measured of a document alone")
            self.check_rule(f"{where} {key}", self.rule(f"{where} {key}", key, signal, value))
        return {"source": list(chosen), "keep": keep}

    def _of_target(self, where: str, given: dict) -> dict:
        """The texts of a [[target]], which are no documents."""
        name, names = given["target"], [str(target.get("name")) for target in self.tables("target")]
        if len(given) > 1:
            raise self.fail(where, "write either target or source and keep")
        return {"target": self.among(where, "", name, names, "[[target]]")}

    def _made(self) -> set[str]:
        """Signals that need a model to be made first."""
        return {signal for signal, (family, _) in shipped_signals().items() if family in self.recipes}

    def _choose_something(self, where: str, samples: dict) -> None:
        first, *others = samples
        if samples[first] is None:
            raise self.fail(
                where, f'{first} is missing; write {first} = {{ source = "..." }}, or model = "FILE"'
            )
        if "target" in samples[first]:
            return
        if others and samples[others[0]] is None and len(self.sources) < 2 and not samples[first]["keep"]:
            raise self.fail(where, f"{first} is every document; name {others[0]} too")

    # ------------------------------------------------------------------------------------- rules

    def rule(self, where: str, level: str, signal: str, value: Any) -> Rule:
        if value is False and signal != DUPLICATE:
            raise self.fail(
                where, f"{signal} = false: only {DUPLICATE} takes it{did_you_mean(signal, [DUPLICATE])}"
            )
        with self.failing(where):
            return Rule(f"{level}.{signal}", signal, parse_bound(signal, value))

    def check_rule(self, where: str, rule: Rule, published: bool = False) -> None:
        """The signal exists, is measured, and can take a value inside the bound.

        A published profile may name languages that this language model never answers, a user should not.
        """
        if rule.signal in DUPLICATE_SIGNALS:
            if DUPLICATES not in self.pooled:
                raise self.fail(where, f"{rule.signal} {NEEDED[DUPLICATES]}")
            return
        known = shipped_signals().keys() | signals_of(self.families | self.pooled)
        if rule.signal in (SOURCE, *self.columns) and rule.signal not in known:
            self._check_field(where, rule)
            return
        signal = self.signal(where, f"{rule.name}: ", rule.signal)
        if rule.bound.of_languages and not published:
            self._check_codes(where, rule, rule.bound.labels or ())
        if rule.bound.by_language:
            self.signal(where, f"{rule.name}: ", "language")
            if not published:
                self._check_codes(where, rule, [code for code, _ in rule.bound.by_language])
            for code, bound in rule.bound.by_language:
                self._check_bound(where, Rule(f"{rule.name}, {code}", rule.signal, bound), signal)
        else:
            self._check_bound(where, rule, signal)

    def _check_field(self, where: str, rule: Rule) -> None:
        """A field that documents carry from their sources is bounded by labels or by numbers."""
        labels = rule.bound.labels
        if rule.bound.by_language or labels is not None and not all(isinstance(x, str) for x in labels):
            raise self.fail(
                where, f'{rule.name}: write labels, such as ["a", "b"], or two numbers [low, high]'
            )
        if rule.signal == SOURCE:
            if labels is None:
                raise self.fail(
                    where, f'{rule.name}: write the names of sources, such as ["{self.sources[0]}"]'
                )
            for name in labels:
                self.among(where, f"{rule.name}: ", name, self.sources, "source")

    def check_edit(self, where: str, name: str) -> None:
        signal = self.signal(where, "", name)
        if not _is_spans(signal):
            raise self.fail(where, f"{name} counts {signal.unit}, it has no spans to cut or mask")

    def signal(self, where: str, what: str, name: str) -> Signal:
        """The signal; its family, and those it takes signals of, are measured from now on if they can be."""
        owner, all_signals = signals_of(self.families | self.pooled), shipped_signals()
        family = owner.get(name) or all_signals.get(name, (None,))[0]
        if family is None:
            close = did_you_mean(name, [*owner, *all_signals, *DUPLICATE_SIGNALS])
            hint = close if "did you mean" in close else "; `curate signals` lists them all"
            raise self.fail(where, f"{what}there is no signal {name}{hint}")
        if family not in self.families and family not in self.pooled:
            option = "heuristics" if family in HEURISTICS else family
            if option in self.refused:
                raise self.fail(where, f"{name} is not measured; add {option} = true to [signals]")
            if self.beside.get(family):
                self._modelled(family, True)
            elif family in NEEDED:
                raise self.fail(where, f"{name} {NEEDED[family]}")
            elif family in of_the_pool():
                kind = family.removeprefix("repeated_")
                self.pooled[family] = {"words": WORDS[kind]}
            else:
                self._carries(where, family)
                self.families[family] = {"model": LANGUAGE_MODEL} if family in OF_LANGUAGE else {}
            for taken in shipped()[family].takes:
                if taken in all_signals:
                    self.signal(where, what, taken)
        parameters = (self.families | self.pooled)[family]
        return next(s for s in family_of(family, parameters).signals if s.name == name)

    def _check_bound(self, where: str, rule: Rule, signal: Signal) -> None:
        bound = rule.bound
        if _is_spans(signal):
            raise self.fail(
                where, f"{rule.name}: spans cannot be bounded; cut or mask them, or bound their number"
            )
        if pa.types.is_list(signal.type):
            raise self.fail(where, f"{rule.name}: vectors cannot be bounded; bound semantic_similarity")
        if (signal.low is None) != (bound.labels is not None) and bound.top is None:
            wanted = 'a list of labels, such as ["en"]' if signal.low is None else "two numbers [low, high]"
            raise self.fail(where, f"{rule.name}: {signal.name} takes {wanted}")
        if signal.low is None and bound.top is not None:
            raise self.fail(where, f"{rule.name}: {signal.name} is no number, so none of it is the top")
        if bound.labels is None and bound.top is None:
            low, high = signal.low or 0, math.inf if signal.high is None else signal.high
            if bound.high < low or bound.low > high:
                raise self.fail(
                    where,
                    f"{rule.name} = {bound.text()} keeps nothing: {signal.name} lies in [{low:g}, {high:g}]",
                )

    def _check_codes(self, where: str, rule: Rule, codes: Iterable[str]) -> None:
        """The language model can give the answers that are asked for; where it is not installed, annotating says so."""
        family = "line_languages" if rule.signal == "main_line_language" else "language"
        model = self.families[family]["model"]
        try:
            answers = model_codes(model)
        except (OSError, ValueError):
            return
        for code in codes:
            if any(covers(code, answer) for answer in answers):
                continue
            language = language_of(code)
            if language in answers:
                hint = f'; it says "{language}" whatever the script or region: write that, or take a model that tells them'
            else:
                hint = '; it says "no"' if code == "nb" and "no" in answers else did_you_mean(code, answers)
            raise self.fail(where, f'{rule.name}: {model} never answers "{code}"{hint}')


def _is_spans(signal: Signal) -> bool:
    """Stretches of text; how many there are is counted in spans too, and is a number like others."""
    return signal.empty == []
