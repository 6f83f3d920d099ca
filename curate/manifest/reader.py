"""What was asked: a manifest, read from TOML, checked whole before anything is done.

Every mistake is one sentence that says where, what and the fix. Checks that need to look at the disk
(do the files exist?) belong to `curate plan`; checks that need only the text of the manifest are here.
"""

from __future__ import annotations

import re
import sysconfig
import tomllib
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path

from curate.addresses import check_no_secret
from curate.corpora.draws import piece_tokens
from curate.corpora.lock import read_lock
from curate.errors import CurateError, ManifestError, did_you_mean
from curate.manifest.measured import Measured
from curate.manifest.pooled import near_scheme
from curate.manifest.profiles import load_profile
from curate.manifest.weights import parse_weights
from curate.quantities import short_count
from curate.sources.formats import FORMATS
from curate.spec.bounds import Bound, Edit, Profile, Rule, parse_edits
from curate.spec.manifest import (
    ANSWER,
    AS_THEY_ARE,
    BESIDE,
    DOCUMENT,
    DUPLICATE,
    EDITED_BYTES,
    FOLDER,
    FORGOTTEN,
    HOST,
    LOOKS,
    NOVELTY,
    PACKAGE,
    PER_SEED,
    RESILIPARSE,
    SHARED,
    TRAFILATURA,
    Holdout,
    Level,
    Manifest,
    Source,
    Target,
    TokenizerSpec,
    Weights,
)
from curate.spec.tables import Tables
from curate.studies import registry
from curate.studies.study import StudyTables
from train.grid import tunes, wrong_batch

# Columns that every document has by itself.
OF_DOCUMENTS = ("id", "text", "source", "place", "own_id", "tokens", "copies")
READING = ("documents", "pieces", "until")  # of [grid]: what is no knob of a model
MOST_BYTES = 2_000_000_000  # of a document
ALL = "all"  # a size: the whole level
TOLD_APART = "told apart"  # of [grid] until
NONE = "none"  # of `holdout`: nothing is held out
HELD_OUT = 200_000  # tokens of a holdout


def load_manifest(path: str | Path) -> Manifest:
    """Read and check a manifest. Raises ManifestError on the first mistake."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = (
            did_you_mean(path.name, [p.name for p in path.parent.glob("*.toml")])
            if path.parent.is_dir()
            else ""
        )
        raise ManifestError(f"{path}: no such manifest{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        what = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "cannot be read"
        raise ManifestError(f"{path}: {what}: {error}") from None
    return parse_manifest(path, text)


def parse_manifest(path: Path, text: str) -> Manifest:
    """A manifest whose text is here already; files are looked for beside `path`. Raises ManifestError."""
    try:
        tree = tomllib.loads(text)
    except ValueError as error:  # a number of too many digits is no TOMLDecodeError
        raise ManifestError(f"{path}: not TOML: {error}") from None
    except RecursionError:
        raise ManifestError(f"{path}: brackets nest too deeply for a manifest") from None
    try:
        check_no_secret(text)
    except ValueError as error:
        raise ManifestError(f"{path}: {error}") from None
    if r"\x00" in repr(tree):
        raise ManifestError(f"{path}: a string holds the character NUL (\\u0000); remove it")
    return _Reader(path, text, tree).manifest()


class _Reader(Tables):
    """One manifest being read: every method checks one table and raises where it does not hold."""

    def __init__(self, path: Path, text: str, tree: dict):
        super().__init__(path, tree)
        self.text = text
        self.profiles: dict[str, str] = {}

    def manifest(self) -> Manifest:
        allowed = (
            "name", "source", *BESIDE.values(), "target", "signals", "level", "sizes", "holdout", "tokenizer", "grid",
            "forget", "draw", "parts", "power", *registry.tables(),
        )  # fmt: skip
        self.known("", self.tree, allowed)
        self.base = self.base_lock()
        name = self.named("", self.typed("", self.tree, "name", str, self.path.stem))
        sources = self.sources("source")
        beside = {family: self.sources(table) for family, table in BESIDE.items()}
        if not sources:
            raise self.fail("", "no source; add a [[source]] with name, format and path")
        self.measured = Measured(self.path, self.tree, sources, beside)
        levels: list[Level] = []
        for table in self.tables("level"):
            levels.append(self.level(table, levels))
        self.unique("level", tuple(levels))
        if not levels:
            raise self.fail("", 'no level; add at least [[level]] name = "raw"')
        made = tuple(levels)
        sizes, whole_levels = self.sizes(self.table("sizes"))
        grid = self.grid(self.table("grid"), levels, sizes)
        looks = self.looks(self.table("grid"), grid)
        holdout, targets = self.holdout(levels, sources, sizes), self.targets()
        judges = (*holdout.levels, *(target.name for target in targets))
        if not (sizes and judges) and any(table in self.tree for table in registry.tables()):
            raise self.fail("", "a study needs budgets in [sizes], and a [holdout] or a [[target]]")
        studies = registry.read_studies(StudyTables(self.path, self.tree, made, sizes, grid, judges))
        derived = self.unique("derived level", registry.derived_levels(studies, made))
        shard = self.table("sizes").get("shard", Manifest.shard_bytes)
        chosen_apart = [*(grid["levels"] if tunes(grid) else ()), *registry.chosen_apart(studies)]
        return Manifest(
            name=name, path=self.path, text=self.text, sources=sources, families=self.measured.families,
            recipes=self.measured.recipes, beside=beside, pooled=self.measured.pooled, prefer=self.measured.prefer,
            levels=made, sizes=sizes, whole_levels=whole_levels, shard_bytes=self.count("[sizes]", "shard", shard),
            holdout=holdout, targets=targets, tokenizer=self.tokenizer(self.table("tokenizer"), levels), grid=grid,
            derived=derived, studies=studies, mixed=registry.mixed_levels(studies, made),
            study_tokens=registry.most_tokens(studies), draw=self.draw(), documents=self.documents(self.table("grid")),
            apart=tuple(dict.fromkeys(chosen_apart)), pieces=self.pieces(self.table("grid"), sizes, grid),
            most_seeds=max(grid.get("seeds", 1), *(asked.seeds for asked in studies.values()), *looks, 1),
            looks=looks, base=self.base, seed_noise=self.seed_noise(self.table("power")),
            part_bytes=self.part_bytes(self.table("parts")), profiles=self.profiles,
        )  # fmt: skip

    def base_lock(self) -> dict:
        """[base] lock: taken out of the table, whose other keys are a study's."""
        table = self.table("base")
        named = self.typed("[base]", table, "lock", str)
        if named is None:
            return {}
        rest = {key: value for key, value in table.items() if key != "lock"}
        self.tree = {k: v for k, v in self.tree.items() if k != "base"} | ({"base": rest} if rest else {})
        try:
            return read_lock(self.path.parent / named)
        except CurateError as error:
            raise self.fail("[base] lock", str(error)) from None

    def settled(self, where: str, rule: Rule) -> Rule:
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

    def sources(self, kind: str) -> tuple[Source, ...]:
        """[[source]] and what models are made of beside the pool are written alike."""
        fields = {"columns": [*ANSWER]} if kind == "robots" else {}
        return self.unique(kind, tuple(self.source(kind, table | fields) for table in self.tables(kind)))

    def targets(self) -> tuple[Target, ...]:
        found = []
        own = ("tokens", "prompt", "answer", "choices")
        for table in self.tables("target"):
            where = f'target "{table.get("name", "")}"'
            self.known(where, table, [*(f.name for f in fields(Source)), *own])
            prompt, answer, choices = (
                self.typed(where, table, k, str) for k in ("prompt", "answer", "choices")
            )
            if (prompt is None) != (answer is None) or (choices and not prompt):
                raise self.fail(
                    where,
                    "a question has prompt and answer, and choices where there are some: name their fields",
                )
            tokens = self.count(where, "tokens", table.get("tokens", "0.1M"))
            about = {k: v for k, v in table.items() if k not in own}
            if prompt:
                if "text" in about:
                    raise self.fail(where, "a prompt stands in place of text; leave text out")
                about["text"] = prompt
                about["columns"] = [*self.strings(where, table, "columns"), *filter(None, (answer, choices))]
            found.append(Target(self.source("target", about), tokens, answer, choices))
        self.unique("target", tuple(target.source for target in found))
        return tuple(found)

    def source(self, kind: str, table: dict) -> Source:
        name = self.typed(kind, table, "name", str)
        if not name:
            raise self.fail(kind, 'has no name; add name = "..."')
        where = f'{kind} "{self.named(kind, name)}"'
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
        columns = self.columns(where, table, format)
        for column in columns:
            if column in OF_DOCUMENTS:
                raise self.fail(where, f'columns: every document has a "{column}" already; leave it out')
        texts = {k: self.typed(where, table, k, str) for k in ("id", "config", "revision", "packages")}
        return Source(
            name=name,
            format=format,
            path=tuple(self.filled(where, p, format) for p in path),
            text=self.typed(where, table, "text", str, "text"),
            columns=columns,
            include=self.strings(where, table, "include"),
            exclude=self.strings(where, table, "exclude"),
            document=document,
            newlines=self.newlines(where, table),
            extract=self.extract(where, table, format),
            longest=self.longest(where, table),
            limit=self.count(where, "limit", table["limit"]) if "limit" in table else None,
            split=self.typed(where, table, "split", str, "train"),
            license=self.typed(where, table, "license", str, "unknown"),
            **texts | {"packages": self.package_folder(path, texts["packages"])},
        )

    def longest(self, where: str, table: dict) -> int:
        size = self.count(where, "longest", table.get("longest", Source.longest))
        if size > MOST_BYTES:
            raise self.fail(where, f"longest = {size:,}: places in a text are 32-bit; at most {MOST_BYTES:,}")
        return size

    def newlines(self, where: str, table: dict) -> str:
        given = self.typed(where, table, "newlines", str, AS_THEY_ARE)
        if given not in (AS_THEY_ARE, "unix"):
            raise self.fail(where, f'newlines = "{given}": write "unix", or leave it out')
        return given

    def extract(self, where: str, table: dict, format: str) -> str:
        """What finds the text of pages: known, installed, and asked of a format that looks for it."""
        given = self.typed(where, table, "extract", str, RESILIPARSE)
        if given not in (RESILIPARSE, TRAFILATURA):
            raise self.fail(where, f'extract = "{given}": write "{RESILIPARSE}" or "{TRAFILATURA}"')
        if given != RESILIPARSE and not FORMATS[format].extraction:
            raise self.fail(where, f'extract: format "{format}" has no pages to find text in; leave it out')
        if given == TRAFILATURA and find_spec(TRAFILATURA) is None:
            need = f'extract = "{TRAFILATURA}" needs {TRAFILATURA}'
            raise self.fail(where, f'{need}: pip install "curate-lm[{TRAFILATURA}]"')
        return given

    def columns(self, where: str, table: dict, format: str) -> tuple[str, ...]:
        """The fields that are carried along, and that the reader of this format can be asked for."""
        if lacking := FORMATS[format].missing():
            need = f'format = "{format}" needs {", ".join(lacking)}'
            raise self.fail(where, f'{need}: pip install "curate-lm[web]"')
        fields = FORMATS[format].fields
        usual, others = fields or ((), ())
        given = self.strings(where, table, "columns") if "columns" in table else usual
        for name in (*given, *([table["id"]] if "id" in table else [])) if fields else ():
            if name not in usual + others:
                has = f"has {', '.join(usual + others)}" if usual else "has no fields"
                raise self.fail(where, f'"{name}": format "{format}" {has}; leave it out')
        return given

    def package_folder(self, path: tuple[str, ...], given: str | None) -> str | None:
        if given or any("{site-packages}" in p for p in path):
            return placeholders()["site-packages"] if given is None else given
        return None

    def filled(self, where: str, path: str, format: str) -> str:
        for name, value in placeholders().items():
            path = path.replace("{" + name + "}", value)
        if re.search(r"\{[\w-]+\}", path) and format != "hub" and not (self.path.parent / path).exists():
            raise self.fail(where, f'path = "{path}": placeholders are {{{"}, {".join(placeholders())}}}')
        if "://" in path or Path(path).is_absolute():
            return path
        beside = self.path.parent / path
        if format == "hub" and not beside.exists():
            return path  # the name of a data set on the hub
        return str(beside)

    def level(self, table: dict, earlier: list[Level]) -> Level:
        name = self.typed("level", table, "name", str)
        if not name:
            raise self.fail("level", 'has no name; add name = "..."')
        where = f'level "{self.named("level", name)}"'
        self.known(where, table, ("name", "on", "keep", "profiles", "cut", "mask", "weights"))
        names = [level.name for level in earlier]
        on = self.typed(where, table, "on", str)
        if on is not None and on not in names:
            hint = did_you_mean(on, names) if names else " (it is the first)"
            raise self.fail(where, f'on = "{on}" is no level above it{hint}')
        keep = self.typed(where, table, "keep", dict, {})
        rules = [
            self.measured.rule(where, name, signal, value)
            for signal, value in keep.items()
            if signal not in (DUPLICATE, NOVELTY)
        ]
        edits = list(next((level.edits for level in earlier if level.name == on), ()))
        profiles = self.strings(where, table, "profiles")
        for profile in profiles:
            loaded = self.profile(where, profile)
            rules += loaded.rules
            edits += loaded.edits
        rules = [self.settled(where, rule) for rule in rules]
        edits += self.edits(where, table)
        edits = list(dict.fromkeys(edits))
        if len(edits) > len(next((level.edits for level in earlier if level.name == on), ())):
            rules.append(Rule(f"{name}.{EDITED_BYTES}", EDITED_BYTES, Bound(low=1), tuple(edits)))
        rules += self.duplicates(where, name, keep)
        if on is None and FORGOTTEN in self.measured.pooled:
            rules.insert(0, Rule(FORGOTTEN, FORGOTTEN, Bound(0.0, 0.0)))
        for rule in rules:
            if not rule.edits:
                self.measured.check_rule(where, rule, rule.name.rpartition(".")[0] in profiles)
        for edit in edits:
            self.measured.check_edit(where, edit.signal)
        weights = self.weights(where, table, on, {level.name: level for level in earlier}, rules)
        return Level(name, on, tuple(rules), profiles, tuple(edits), weights)

    def duplicates(self, where: str, name: str, keep: dict) -> list[Rule]:
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

    def weights(self, where: str, table: dict, on: str | None, earlier: dict, rules: list[Rule]) -> Weights:
        """The level's own, or those of the level below. A level with weights has dropped duplicates."""
        if "weights" not in table:
            return earlier[on].weights if on else ()
        in_force = list(rules)
        while on:
            in_force += earlier[on].rules
            on = earlier[on].on
        if not any(rule.name.endswith(f".{DUPLICATE}") for rule in in_force):
            raise self.fail(where, "weights are for what stands for others; add keep = { duplicate = false }")
        try:
            return parse_weights(table["weights"])
        except ValueError as error:
            raise self.fail(where, str(error)) from None

    def edits(self, where: str, table: dict) -> tuple[Edit, ...]:
        try:
            return parse_edits(table)
        except ValueError as error:
            raise self.fail(where, str(error)) from None

    def profile(self, where: str, name: str) -> Profile:
        try:
            profile = load_profile(name, beside=self.path.parent)
        except ValueError as error:
            raise self.fail(where, str(error)) from None
        self.profiles[profile.name] = profile.digest
        return profile

    def sizes(self, table: dict) -> tuple[tuple[int, ...], bool]:
        """(budgets, whether whole levels become corpora too): those alone where no size is named."""
        self.known("[sizes]", table, ("tokens", "shard"))
        given = table.get("tokens", ALL)
        given = given if isinstance(given, list) else [given]
        sizes = tuple(self.count("[sizes]", "tokens", size) for size in given if size != ALL)
        if not given:
            raise self.fail("[sizes]", f'no size; write tokens = ["0.5M", "1M"], or "{ALL}" for whole levels')
        if len(set(sizes)) < len(sizes):
            raise self.fail("[sizes]", f"a size is named twice: {', '.join(map(short_count, sizes))}")
        return tuple(sorted(sizes)), ALL in given

    def holdout(self, levels: list[Level], sources: tuple[Source, ...], sizes: tuple[int, ...]) -> Holdout:
        near = near_scheme(self.measured.pooled)
        given = self.tree.get("holdout", {} if sizes else NONE)
        if given == NONE:
            return Holdout(HELD_OUT, (), near)
        if isinstance(given, str):
            raise self.fail("", f'holdout = "{given}": write "{NONE}" to hold nothing out, or [holdout]')
        table = self.table("holdout")
        self.known("[holdout]", table, ("tokens", "from", "group"))
        names = [level.name for level in levels]
        chosen = self.strings("[holdout]", table, "from") or (names[0],)
        for name in chosen:
            if name not in names:
                raise self.fail("[holdout]", f'from: "{name}" is no level{did_you_mean(name, names)}')
        tokens = self.count("[holdout]", "tokens", table.get("tokens", HELD_OUT))
        group = self.typed("[holdout]", table, "group", str)
        known = {
            PACKAGE,
            HOST,
            FOLDER,
            DOCUMENT,
            *(column for source in sources for column in source.columns),
        }
        if group is not None and group not in known:
            what = f'group = "{group}": no source carries this field in its columns'
            raise self.fail("[holdout]", f"{what}{did_you_mean(group, known)}")
        return Holdout(tokens, chosen, near, group)

    def tokenizer(self, table: dict, levels: list[Level]) -> TokenizerSpec:
        where = "[tokenizer]"
        self.known(where, table, [f.name for f in fields(TokenizerSpec)])
        names = [level.name for level in levels]
        path, end = (self.typed(where, table, key, str) for key in ("path", "end"))
        if path:
            path = str(self.path.parent / path)
            if not Path(path).is_file():
                raise self.fail(where, f"path = {path}: no such file; leave it out to train one")
            self.tokenizer_file(where, path, end)
        elif end is not None:
            raise self.fail(
                where, f'end = "{end}" is of a tokenizer that path names; name one, or leave it out'
            )
        train_on = self.typed(where, table, "train_on", str, names[0])
        if train_on not in names:
            raise self.fail(where, f'train_on = "{train_on}" is no level{did_you_mean(train_on, names)}')
        vocabulary = self.typed(where, table, "vocabulary", int, TokenizerSpec.vocabulary)
        if not 257 <= vocabulary <= 1_000_000:
            raise self.fail(where, f"vocabulary = {vocabulary}: at least 257 (the bytes and the end mark)")
        amount = self.count(where, "bytes", table.get("bytes", TokenizerSpec.bytes))
        return TokenizerSpec(vocabulary, train_on, amount, path, end)

    def tokenizer_file(self, where: str, path: str, end: str | None) -> None:
        from train.tokens.ends import with_end

        try:
            with_end(Path(path), end)
        except ValueError as error:
            raise self.fail(where, f"path = {error}") from None

    def grid(self, table: dict, levels: list[Level], sizes: tuple[int, ...]) -> dict:
        from train.grid import expand

        names = [level.name for level in levels]
        chosen = self.strings("[grid]", table, "levels") or tuple(names)
        for name in chosen:
            if name not in names:
                raise self.fail("[grid]", f'levels: "{name}" is no level{did_you_mean(name, names)}')
        knobs = {k: v for k, v in table.items() if k not in ("levels", *READING)}
        try:
            for setting in expand(knobs):
                _check_ladder(sizes, setting)
        except ValueError as error:
            raise self.fail("[grid]", str(error)) from None
        return {"levels": list(chosen), **knobs}

    def draw(self) -> int:
        draw = self.typed("", self.tree, "draw", int, 0)
        if not 0 <= draw < 2**32:
            raise self.fail("", f"draw = {draw}: a whole number from 0; each draws other documents")
        return draw

    def documents(self, table: dict) -> str:
        given = self.typed("[grid]", table, "documents", str, PER_SEED)
        if given not in (PER_SEED, SHARED):
            raise self.fail("[grid]", f'documents = "{given}": write "{PER_SEED}" or "{SHARED}"')
        return given

    def looks(self, table: dict, grid: dict) -> tuple[int, ...]:
        """Seeds after which the grid looks whether its levels are told apart; none where it is not asked to."""
        until, seeds = self.typed("[grid]", table, "until", str), grid.get("seeds", 1)
        if until is None:
            return ()
        if until != TOLD_APART:
            raise self.fail("[grid]", f'until = "{until}": write "{TOLD_APART}"')
        if seeds < 2 or len(grid["levels"]) < 2:
            raise self.fail(
                "[grid]", f'until = "{until}" needs two levels, and seeds = 2 or more to tell noise by'
            )
        return tuple(times * seeds for times in LOOKS)

    def pieces(self, table: dict, sizes: tuple[int, ...], grid: dict) -> int:
        """Tokens of the longest piece; 0 where documents are read whole."""
        given, context = table.get("pieces", bool(sizes)), grid.get("context", 256)
        if isinstance(given, bool):
            longest = max(context) if isinstance(context, list) else context
            return piece_tokens(sizes, longest) if given and sizes else 0
        return self.count("[grid]", "pieces", given)

    def seed_noise(self, table: dict) -> float | None:
        self.known("[power]", table, ("seed_noise",))
        noise = table.get("seed_noise")
        if noise is not None and (type(noise) not in (int, float) or not 0 < noise < 100):
            raise self.fail("[power]", f"seed_noise = {noise!r}: nats per token, above 0")
        return noise

    def part_bytes(self, table: dict) -> int:
        self.known("[parts]", table, ("bytes",))
        return self.count("[parts]", "bytes", table.get("bytes", "64 MB"))


def _check_ladder(sizes: tuple[int, ...], setting: dict) -> None:
    """What a cell would say of these sizes after hours of building (of a batch by the dial, `curate plan` does, since
    who only builds trains on none). Raises ValueError.
    """
    if "batch" in setting and (wrong := wrong_batch(sizes, setting)):
        raise ValueError(f"batch = {setting['batch']}: {wrong}")


def placeholders() -> dict[str, str]:
    """What `{...}` in a source's path stands for."""
    paths = sysconfig.get_paths()
    return {"site-packages": paths["purelib"], "stdlib": paths["stdlib"]}
