"""What was asked: a manifest, read from TOML, checked whole before anything is done.

Every mistake is one sentence that says where, what and the fix. Checks that need to look at the disk
(do the files exist?) belong to `curate plan`; checks that need only the text of the manifest are here.
"""

from __future__ import annotations

import hashlib
import math
import sysconfig
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import ManifestError, did_you_mean
from curate.profiles import Bound, Edit, Profile, Rule, load_profile, parse_bound, parse_edits
from curate.quantities import parse_count, short_count

if TYPE_CHECKING:
    from filters import Signal

FORMATS = ("jsonl", "parquet", "arrow", "text", "python", "hub")
DUPLICATE = "duplicate"  # resolved by a level among the documents it is built on, not measured in one pass
DUPLICATE_SIGNALS = (DUPLICATE, "duplicate_cluster_size", "near_duplicate_similarity")
EDITED_BYTES = "edited_byte_count"  # what is left of a text after a level's edits: nothing left, nothing kept
HEURISTICS = ("words", "lines", "repetition")
ON_DEMAND: dict[str, dict] = {
    "language": {"model": "lid.176"}
}  # what a family is given that a level asks for first
NEEDS_A_TABLE = (
    "fingerprints",
    "quality",
    "perplexity",
    "contamination",
)  # families that cannot guess what they need


@dataclass(frozen=True)
class Source:
    """Where documents come from. `path` entries have their placeholders filled in and are absolute or URLs."""

    name: str
    format: str
    path: tuple[str, ...]
    text: str = "text"  # the field or column that holds the text
    id: str | None = None  # a field with the source's own ids; else the place in the source
    columns: tuple[str, ...] = ()  # further fields to carry along
    include: tuple[str, ...] = ()  # text, python: globs below a folder
    exclude: tuple[str, ...] = ()
    document: str = "file"  # text: a document is a "file", a "line" or a "paragraph"
    longest: int = 10_000_000  # bytes; longer documents are counted as failed, never cut silently
    limit: int | None = None  # at most so many documents (hub streams)
    split: str = "train"  # hub
    config: str | None = None  # hub
    revision: str | None = None  # hub
    license: str = "unknown"
    packages: str | None = None  # the folder of installed packages whose versions the lock records

    def definition(self) -> dict:
        """What decides the content of its documents, given the files: part of their key."""
        skip = {"path", "license", "packages", "include", "exclude"}
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in skip}


@dataclass(frozen=True)
class Level:
    """A named quality level: the documents of level `on` that pass every rule. `rules` in the order of judging.

    `edits` are what its documents' text loses, those of the levels below included. Signals are of the whole text.
    """

    name: str
    on: str | None
    rules: tuple[Rule, ...]
    profiles: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()


@dataclass(frozen=True)
class Holdout:
    tokens: int
    levels: tuple[str, ...]


@dataclass(frozen=True)
class TokenizerSpec:
    vocabulary: int = 4096
    train_on: str | None = None  # a level
    bytes: int = 10_000_000  # of text it is trained on
    path: str | None = None  # an existing tokenizer.json instead


@dataclass(frozen=True)
class Manifest:
    name: str
    path: Path
    text: str
    sources: tuple[Source, ...]
    families: dict[str, dict]  # family of signals -> its parameters
    near_duplicates: dict | None
    levels: tuple[Level, ...]
    sizes: tuple[int, ...]
    holdout: Holdout
    tokenizer: TokenizerSpec
    grid: dict
    part_bytes: int
    profiles: dict[str, str] = field(default_factory=dict)  # name -> sha256 of the profile used

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def lock_path(self) -> Path:
        return self.path.with_suffix(".lock.json")

    def level(self, name: str) -> Level:
        return next(level for level in self.levels if level.name == name)

    def rules_of(self, level: Level) -> list[tuple[Level, Rule]]:
        """Every rule a document of this level has passed, those of the levels below first."""
        below = self.rules_of(self.level(level.on)) if level.on else []
        return below + [(level, rule) for rule in level.rules]


def load_manifest(path: str | Path) -> Manifest:
    """Read and check a manifest. Raises ManifestError on the first mistake."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        tree = tomllib.loads(text)
    except FileNotFoundError:
        near = (
            did_you_mean(path.name, [p.name for p in path.parent.glob("*.toml")])
            if path.parent.is_dir()
            else ""
        )
        raise ManifestError(f"{path}: no such manifest{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{path}: not TOML: {error}") from None
    return _Reader(path, text, tree).manifest()


class _Reader:
    """One manifest being read: every method checks one table and raises where it does not hold."""

    def __init__(self, path: Path, text: str, tree: dict):
        self.path, self.text, self.tree = path, text, tree
        self.profiles: dict[str, str] = {}
        self.refused: set[str] = set()  # families that [signals] says no to

    def fail(self, where: str, what: str) -> ManifestError:
        return ManifestError(f"{self.path}{', ' + where if where else ''}: {what}")

    def known(self, where: str, table: Mapping, allowed: Iterable[str]) -> None:
        allowed = set(allowed)
        for key in table:
            if key not in allowed:
                raise self.fail(where, f'unknown key "{key}"{did_you_mean(key, allowed)}')

    def typed(self, where: str, table: Mapping, key: str, kind: type, default: Any = None) -> Any:
        value = table.get(key, default)
        if value is not None and (
            not isinstance(value, kind) or isinstance(value, bool) and kind is not bool
        ):
            raise self.fail(where, f"{key} = {value!r} is not a {_plain(kind)}")
        return value

    def count(self, where: str, key: str, value: Any) -> int:
        try:
            return parse_count(value)
        except ValueError as error:
            raise self.fail(where, f"{key}: {error}") from None

    def strings(self, where: str, table: Mapping, key: str) -> tuple[str, ...]:
        value = table.get(key, [])
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self.fail(where, f"{key} = {value!r} is neither a string nor a list of strings")
        return tuple(value)

    def tables(self, key: str) -> list[dict]:
        value = self.tree.get(key, [])
        if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
            raise self.fail("", f'"{key}" is a list of tables: write [[{key}]]')
        return value

    def table(self, key: str) -> dict:
        value = self.tree.get(key, {})
        if not isinstance(value, dict):
            raise self.fail("", f'"{key}" is a table: write [{key}]')
        return value

    def manifest(self) -> Manifest:
        allowed = ("name", "source", "signals", "level", "sizes", "holdout", "tokenizer", "grid", "parts")
        self.known("", self.tree, allowed)
        name = self.typed("", self.tree, "name", str, self.path.stem)
        sources = self.unique("source", tuple(map(self.source, self.tables("source"))))
        if not sources:
            raise self.fail("", "no source; add a [[source]] with name, format and path")
        families, near = self.signals(self.table("signals"))
        levels: list[Level] = []
        for table in self.tables("level"):
            levels.append(self.level(table, levels, families, near))
        self.unique("level", tuple(levels))
        if not levels:
            raise self.fail("", 'no level; add at least [[level]] name = "raw"')
        return Manifest(
            name=name,
            path=self.path,
            text=self.text,
            sources=sources,
            families=families,
            near_duplicates=near,
            levels=tuple(levels),
            sizes=self.sizes(self.table("sizes")),
            holdout=self.holdout(self.table("holdout"), levels),
            tokenizer=self.tokenizer(self.table("tokenizer"), levels),
            grid=self.grid(self.table("grid"), levels),
            part_bytes=self.part_bytes(self.table("parts")),
            profiles=self.profiles,
        )

    def unique(self, kind: str, named: tuple) -> tuple:
        names = [x.name for x in named]
        for name in names:
            if names.count(name) > 1:
                raise self.fail(f'{kind} "{name}"', "the name is taken twice; names are unique")
        return named

    def source(self, table: dict) -> Source:
        name = self.typed("source", table, "name", str)
        if not name:
            raise self.fail("source", 'has no name; add name = "..."')
        where = f'source "{name}"'
        self.known(where, table, [f.name for f in fields(Source)])
        format = self.typed(where, table, "format", str)
        if format not in FORMATS:
            raise self.fail(where, f'format = "{format}" is not known{did_you_mean(format or "", FORMATS)}')
        path = self.strings(where, table, "path")
        if not path:
            raise self.fail(where, 'has no path; add path = "..." (a file, folder, glob, URL or data set)')
        document = self.typed(where, table, "document", str, "file")
        if document not in ("file", "line", "paragraph"):
            raise self.fail(where, f'document = "{document}": write "file", "line" or "paragraph"')
        texts = {k: self.typed(where, table, k, str) for k in ("id", "config", "revision", "packages")}
        return Source(
            name=name,
            format=format,
            path=tuple(self.filled(where, p, format) for p in path),
            text=self.typed(where, table, "text", str, "text"),
            columns=self.strings(where, table, "columns"),
            include=self.strings(where, table, "include"),
            exclude=self.strings(where, table, "exclude"),
            document=document,
            longest=self.count(where, "longest", table.get("longest", Source.longest)),
            limit=self.count(where, "limit", table["limit"]) if "limit" in table else None,
            split=self.typed(where, table, "split", str, "train"),
            license=self.typed(where, table, "license", str, "unknown"),
            **texts | {"packages": self.package_folder(path, texts["packages"])},
        )

    def package_folder(self, path: tuple[str, ...], given: str | None) -> str | None:
        if given or any("{site-packages}" in p for p in path):
            return placeholders()["site-packages"] if given is None else given
        return None

    def filled(self, where: str, path: str, format: str) -> str:
        for name, value in placeholders().items():
            path = path.replace("{" + name + "}", value)
        if "{" in path and format != "hub":
            raise self.fail(where, f'path = "{path}": placeholders are {{{"}, {".join(placeholders())}}}')
        if "://" in path or Path(path).is_absolute():
            return path
        beside = self.path.parent / path
        if format == "hub" and not beside.exists():
            return path  # the name of a data set on the hub
        return str(beside)

    def signals(self, table: dict) -> tuple[dict[str, dict], dict | None]:
        where = "[signals]"
        extra = self.extra_families()
        self.known(where, table, ("heuristics", "language", "near_duplicates", "own", *extra))
        families: dict[str, dict] = {}
        if self.typed(where, table, "heuristics", bool, True):
            families |= {name: {} for name in HEURISTICS}
        self.refused = {name for name, value in table.items() if value is False}
        families |= {name: {} for name in extra if self.typed(where, table, name, bool, False)}
        language = table.get("language", False)
        if language:
            given = {} if language is True else language
            if not isinstance(given, dict):
                raise self.fail(where, f'language = {given!r}: write true or {{ model = "lid.176" }}')
            self.known(f"{where} language", given, ("model",))
            model = self.typed(where, given, "model", str, "lid.176")
            beside = self.path.parent / model
            families["language"] = {"model": str(beside) if beside.is_file() else model}
        families |= self.own(table)
        near = self.near_duplicates(table.get("near_duplicates", False))
        if near:
            families["fingerprints"] = {k: near[k] for k in ("permutations", "ngram", "seed")}
        return families, near

    def extra_families(self) -> list[str]:
        """Shipped families that need no parameters and are no heuristics: true in [signals] measures them."""
        from filters.registry import FAMILIES

        named = {*HEURISTICS, *ON_DEMAND, *NEEDS_A_TABLE}
        return [name for name in FAMILIES if name not in named]

    def own(self, table: dict) -> dict[str, dict]:
        """[signals.own.NAME]: signals measured by the user's functions."""
        from curate import own
        from filters.registry import FAMILY_OF

        families = {}
        for name, given in (self.typed("[signals]", table, "own", dict, {}) or {}).items():
            where = f"[signals.own.{name}]"
            if not isinstance(given, dict):
                raise self.fail(where, 'write a table with function = "module:function"')
            if name in FAMILY_OF or name in DUPLICATE_SIGNALS or not name.isidentifier():
                raise self.fail(where, "the name is a shipped signal's or no identifier; choose another")
            defaults: dict[str, Any] = {
                "version": 1,
                "low": -math.inf,
                "high": math.inf,
                "unit": "number",
                "labels": False,
            }
            self.known(where, given, (*defaults, "function"))
            self.typed(where, given, "version", int)
            self.typed(where, given, "unit", str)
            self.typed(where, given, "labels", bool)
            function = self.typed(where, given, "function", str, "")
            limits = [given.get(key, defaults[key]) for key in ("low", "high")]
            if (
                not all(isinstance(x, int | float) and not isinstance(x, bool) for x in limits)
                or limits[0] > limits[1]
            ):
                raise self.fail(where, "low and high are two numbers, the lower one first")
            parameters = defaults | given | {"folder": str(self.path.parent.absolute())}
            try:
                own.load(function, str(self.path.parent.absolute()))
            except ValueError as error:
                raise self.fail(where, str(error)) from None
            families[own.PREFIX + name] = parameters
        return families

    def near_duplicates(self, given: Any) -> dict | None:
        where = "[signals] near_duplicates"
        if not given:
            return None
        given = {} if given is True else given
        if not isinstance(given, dict):
            raise self.fail(where, "write true or { similarity = 0.8 }")
        defaults = {"similarity": 0.8, "permutations": 112, "ngram": 5, "seed": 1}
        self.known(where, given, defaults)
        near = defaults | given
        for key, value in near.items():
            whole = key != "similarity"
            if not isinstance(value, int if whole else int | float) or isinstance(value, bool):
                raise self.fail(where, f"{key} = {value!r} is not a {'whole ' if whole else ''}number")
        if not 0.3 <= near["similarity"] < 1:
            raise self.fail(where, f"similarity = {near['similarity']} is not in [0.3, 1); 0.8 is usual")
        if not 16 <= near["permutations"] <= 1024 or not 1 <= near["ngram"] <= 100 or near["seed"] < 0:
            raise self.fail(where, "permutations lie in 16..1024, ngram in 1..100, seed is not negative")
        return near

    def level(self, table: dict, earlier: list[Level], families: dict, near: dict | None) -> Level:
        name = self.typed("level", table, "name", str)
        if not name:
            raise self.fail("level", 'has no name; add name = "..."')
        where = f'level "{name}"'
        self.known(where, table, ("name", "on", "keep", "profiles", "cut", "mask"))
        names = [level.name for level in earlier]
        on = self.typed(where, table, "on", str)
        if on and on not in names:
            hint = did_you_mean(on, names) if names else " (it is the first)"
            raise self.fail(where, f'on = "{on}" is no level above it{hint}')
        keep = self.typed(where, table, "keep", dict, {})
        rules = [
            self.rule(where, name, signal, value) for signal, value in keep.items() if signal != DUPLICATE
        ]
        edits = list(next((level.edits for level in earlier if level.name == on), ()))
        profiles = self.strings(where, table, "profiles")
        for profile in profiles:
            loaded = self.profile(where, profile)
            rules += loaded.rules
            edits += loaded.edits
        edits += self.edits(where, table)
        edits = list(dict.fromkeys(edits))
        if len(edits) > len(next((level.edits for level in earlier if level.name == on), ())):
            rules.append(Rule(f"{name}.{EDITED_BYTES}", EDITED_BYTES, Bound(low=1), tuple(edits)))
        if DUPLICATE in keep:  # last: the best of a cluster is chosen among what all other rules let through
            if keep[DUPLICATE] is not False:
                raise self.fail(where, f"duplicate = {keep[DUPLICATE]!r}: the only useful value is false")
            rules.append(Rule(f"{name}.{DUPLICATE}", DUPLICATE, Bound(label="false")))
        for rule in rules:
            if not rule.edits:
                self.check_rule(where, rule, families, near)
        for edit in edits:
            self.check_edit(where, edit, families)
        return Level(name, on, tuple(rules), profiles, tuple(edits))

    def edits(self, where: str, table: dict) -> tuple[Edit, ...]:
        try:
            return parse_edits(table)
        except ValueError as error:
            raise self.fail(where, str(error)) from None

    def rule(self, where: str, level: str, signal: str, value: Any) -> Rule:
        try:
            return Rule(f"{level}.{signal}", signal, parse_bound(signal, value))
        except ValueError as error:
            raise self.fail(where, str(error)) from None

    def profile(self, where: str, name: str) -> Profile:
        try:
            profile = load_profile(name, beside=self.path.parent)
        except ValueError as error:
            raise self.fail(where, str(error)) from None
        self.profiles[profile.name] = profile.digest
        return profile

    def check_rule(self, where: str, rule: Rule, families: dict, near: dict | None) -> None:
        """The signal exists, is measured, and can take a value inside the bound."""
        if rule.signal in DUPLICATE_SIGNALS:
            if not near:
                raise self.fail(
                    where, f"{rule.signal} is not measured; add near_duplicates = true to [signals]"
                )
            return
        signal = self.measured(where, f"{rule.name}: ", rule.signal, families)
        if rule.bound.by_language:
            self.measured(where, f"{rule.name}: ", "language", families)
            for code, bound in rule.bound.by_language:
                self.check_bound(where, Rule(f"{rule.name}, {code}", rule.signal, bound), signal)
        else:
            self.check_bound(where, rule, signal)

    def check_edit(self, where: str, edit: Edit, families: dict) -> None:
        signal = self.measured(where, "", edit.signal, families)
        if signal.unit != "spans":
            raise self.fail(where, f"{edit.signal} counts {signal.unit}, it has no spans to cut or mask")

    def measured(self, where: str, what: str, name: str, families: dict) -> Signal:
        """The signal; its family, and those it takes signals of, are measured from now on if they can be."""
        from curate.families import family_of, signals_of
        from filters.registry import FAMILIES, FAMILY_OF

        owner = signals_of(families)
        family = owner.get(name) or FAMILY_OF.get(name)
        if family is None:
            known = [*owner, *FAMILY_OF, *DUPLICATE_SIGNALS]
            close = did_you_mean(name, known)
            hint = close if "did you mean" in close else "; `curate signals` lists them all"
            raise self.fail(where, f"{what}there is no signal {name}{hint}")
        if family not in families:
            if family in NEEDS_A_TABLE:
                raise self.fail(where, f"{name} is not measured; add {family} = {{ ... }} to [signals]")
            option = "heuristics" if family in HEURISTICS else family
            if option in self.refused:
                raise self.fail(where, f"{name} is not measured; add {option} = true to [signals]")
            families[family] = ON_DEMAND.get(family, {})
            for taken in FAMILIES[family].takes:
                if taken in FAMILY_OF:
                    self.measured(where, what, taken, families)
        return next(s for s in family_of(family, families[family]).signals if s.name == name)

    def check_bound(self, where: str, rule: Rule, signal: Any) -> None:
        bound = rule.bound
        if signal.unit == "spans":
            raise self.fail(
                where, f"{rule.name}: spans cannot be bounded; cut or mask them, or bound their number"
            )
        if (signal.low is None) != (bound.labels is not None) and bound.top is None:
            wanted = 'a list of labels, such as ["en"]' if signal.low is None else "two numbers [low, high]"
            raise self.fail(where, f"{rule.name}: {signal.name} takes {wanted}")
        if bound.labels is None and bound.top is None:
            low, high = signal.low, math.inf if signal.high is None else signal.high
            if bound.high < low or bound.low > high:
                raise self.fail(
                    where,
                    f"{rule.name} = {bound.text()} keeps nothing: {signal.name} lies in [{low:g}, {high:g}]",
                )

    def sizes(self, table: dict) -> tuple[int, ...]:
        self.known("[sizes]", table, ("tokens",))
        given = table.get("tokens", [])
        given = given if isinstance(given, list) else [given]
        sizes = tuple(map(partial(self.count, "[sizes]", "tokens"), given))
        if not sizes:
            raise self.fail("[sizes]", 'no size; write tokens = ["0.5M", "1M"]')
        if len(set(sizes)) < len(sizes):
            raise self.fail("[sizes]", f"a size is named twice: {', '.join(map(short_count, sizes))}")
        return tuple(sorted(sizes))

    def holdout(self, table: dict, levels: list[Level]) -> Holdout:
        self.known("[holdout]", table, ("tokens", "from"))
        names = [level.name for level in levels]
        chosen = self.strings("[holdout]", table, "from") or (names[0],)
        for name in chosen:
            if name not in names:
                raise self.fail("[holdout]", f'from: "{name}" is no level{did_you_mean(name, names)}')
        return Holdout(self.count("[holdout]", "tokens", table.get("tokens", "0.2M")), chosen)

    def tokenizer(self, table: dict, levels: list[Level]) -> TokenizerSpec:
        where = "[tokenizer]"
        self.known(where, table, [f.name for f in fields(TokenizerSpec)])
        names = [level.name for level in levels]
        path = self.typed(where, table, "path", str)
        if path:
            path = str(self.path.parent / path)
            if not Path(path).is_file():
                raise self.fail(where, f"path = {path}: no such file; leave it out to train one")
        train_on = self.typed(where, table, "train_on", str, names[0])
        if train_on not in names:
            raise self.fail(where, f'train_on = "{train_on}" is no level{did_you_mean(train_on, names)}')
        vocabulary = self.typed(where, table, "vocabulary", int, TokenizerSpec.vocabulary)
        if not 257 <= vocabulary <= 1_000_000:
            raise self.fail(where, f"vocabulary = {vocabulary}: at least 257 (the bytes and the end mark)")
        amount = self.count(where, "bytes", table.get("bytes", TokenizerSpec.bytes))
        return TokenizerSpec(vocabulary, train_on, amount, path)

    def grid(self, table: dict, levels: list[Level]) -> dict:
        from train.grid import expand

        names = [level.name for level in levels]
        chosen = self.strings("[grid]", table, "levels") or tuple(names)
        for name in chosen:
            if name not in names:
                raise self.fail("[grid]", f'levels: "{name}" is no level{did_you_mean(name, names)}')
        knobs = {k: v for k, v in table.items() if k != "levels"}
        try:
            expand(knobs)
        except ValueError as error:
            raise self.fail("[grid]", str(error)) from None
        return {"levels": list(chosen), **knobs}

    def part_bytes(self, table: dict) -> int:
        self.known("[parts]", table, ("bytes",))
        return self.count("[parts]", "bytes", table.get("bytes", "64 MB"))


def placeholders() -> dict[str, str]:
    """What `{...}` in a source's path stands for."""
    paths = sysconfig.get_paths()
    return {"site-packages": paths["purelib"], "stdlib": paths["stdlib"]}


def _plain(kind: type) -> str:
    return {str: "string", int: "whole number", bool: "true or false", dict: "table"}.get(kind, kind.__name__)
