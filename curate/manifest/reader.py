"""What was asked: a manifest, read from TOML, checked whole before anything is done.

Every mistake is one sentence that says where, what and the fix. Checks that need to look at the disk
(do the files exist?) belong to `curate plan`; checks that need only the text of the manifest are here.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

from curate.addresses import check_no_secret
from curate.corpora.draws import piece_tokens
from curate.corpora.lock import read_lock
from curate.errors import CurateError, ManifestError, did_you_mean
from curate.manifest.levels import LevelTables
from curate.manifest.measured import Measured
from curate.manifest.pooled import near_scheme
from curate.manifest.sources import SourceTables
from curate.quantities import short_count
from curate.spec.manifest import (
    BESIDE,
    DOCUMENT,
    FOLDER,
    HOST,
    LOOKS,
    PACKAGE,
    PER_SEED,
    SHARED,
    Holdout,
    Manifest,
    Source,
    TokenizerSpec,
)
from curate.spec.tables import Tables
from curate.studies import registry
from curate.studies.study import StudyTables
from train.files import on_disk
from train.grid import expand, tunes, wrong_batch

TABLES = (
    "name", "source", *dict.fromkeys(BESIDE.values()), "target", "signals", "level", "sizes", "holdout", "tokenizer", "grid",
    "forget", "draw", "parts", "power",
)  # fmt: skip
READING = ("documents", "pieces", "until")  # of [grid]: what is no knob of a model
ALL = "all"  # a size: the whole level
TOLD_APART = "told apart"  # of [grid] until
NONE = "none"  # of `holdout`: nothing is held out
HELD_OUT = 200_000  # tokens of a holdout
DEEP_KEY = re.compile(r"""(?<![\w.-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){100}""")  # a.b.c


def load_manifest(path: str | Path) -> Manifest:
    """Read and check a manifest. Raises ManifestError on the first mistake."""
    path = Path(path)
    try:
        if path.exists() and not (on_disk(path) or path.is_dir()):
            raise OSError("a pipe or a device; name a file")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        others = [p.name for p in path.parent.glob("*.toml") if p.exists()]
        near = did_you_mean(path.name, others) if others else ""
        what = "a link that leads to no file" if path.is_symlink() else "no such manifest"
        raise ManifestError(f"{path}: {what}{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        what = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "cannot be read"
        raise ManifestError(f"{path}: {what}: {error}") from None
    return parse_manifest(path, text)


def parse_manifest(path: Path, text: str) -> Manifest:
    """A manifest whose text is here already; files are looked for beside `path`. Raises ManifestError."""
    try:
        if DEEP_KEY.search(text):  # such a key of 20,000 names takes gigabytes to read
            raise RecursionError
        tree = tomllib.loads(text)
        holds_nul = r"\x00" in repr(tree)
    except ValueError as error:  # a number of too many digits is no TOMLDecodeError
        raise ManifestError(f"{path}: not TOML: {error}") from None
    except RecursionError:
        raise ManifestError(f"{path}: its tables nest too deeply") from None
    try:
        check_no_secret(text)
    except ValueError as error:
        raise ManifestError(f"{path}: {error}") from None
    if holds_nul:
        raise ManifestError(f"{path}: a string holds the character NUL (\\u0000); remove it")
    return _Reader(path, text, tree).manifest()


class _Reader(Tables):
    """One manifest being read: every method checks one table and raises where it does not hold."""

    def __init__(self, path: Path, text: str, tree: dict):
        super().__init__(path, tree)
        self.text = text

    def manifest(self) -> Manifest:
        self.known("", self.tree, (*TABLES, *registry.tables()))
        base = self.base_lock()
        name = self.named("", self.typed("", self.tree, "name", str, self.path.stem))
        of_sources = SourceTables(self.path, self.tree)
        sources = of_sources.sources("source")
        of_tables = {table: of_sources.sources(table) for table in BESIDE.values()}
        beside = {family: of_tables[table] for family, table in BESIDE.items()}
        if not sources:
            raise self.fail("", "no source; add a [[source]] with name, format and path")
        measured = Measured(self.path, self.tree, sources, beside)
        of_levels = LevelTables(self.path, self.tree, measured, base)
        levels = of_levels.levels()
        names = [level.name for level in levels]
        sizes, whole_levels = self.sizes(self.table("sizes"))
        grid = self.grid(self.table("grid"), names, sizes)
        looks = self.looks(self.table("grid"), grid)
        holdout, targets = (
            self.holdout(names, sources, sizes, near_scheme(measured.pooled)),
            of_sources.targets(),
        )
        judges = (*holdout.levels, *(target.name for target in targets))
        if not (sizes and judges) and any(table in self.tree for table in registry.tables()):
            raise self.fail("", "a study needs budgets in [sizes], and a [holdout] or a [[target]]")
        studies = registry.read_studies(StudyTables(self.path, self.tree, levels, sizes, grid, judges))
        derived = tuple(level for study in studies.values() for level in study.derived(levels))
        shard = self.table("sizes").get("shard", Manifest.shard_bytes)
        chosen_apart = [*(grid["levels"] if tunes(grid) else ())]
        chosen_apart += [name for study in studies.values() for name in study.chosen_apart]
        return Manifest(
            name=name, path=self.path, text=self.text, sources=sources, families=measured.families,
            recipes=measured.recipes, beside=beside, pooled=measured.pooled, prefer=measured.prefer, levels=levels,
            sizes=sizes, whole_levels=whole_levels, shard_bytes=self.count("[sizes]", "shard", shard), holdout=holdout,
            targets=targets, tokenizer=self.tokenizer(self.table("tokenizer"), names), grid=grid,
            derived=self.unique("derived level", derived), studies=studies,
            mixed=frozenset().union(*(study.mixed(levels) for study in studies.values())),
            study_tokens=max((study.most_tokens for study in studies.values()), default=0), draw=self.draw(),
            documents=self.choice("[grid]", self.table("grid"), "documents", PER_SEED, SHARED),
            apart=tuple(dict.fromkeys(chosen_apart)), pieces=self.pieces(self.table("grid"), sizes, grid),
            most_seeds=max(grid.get("seeds", 1), *(study.seeds for study in studies.values()), *looks, 1),
            looks=looks, base=base, seed_noise=self.seed_noise(self.table("power")),
            part_bytes=self.part_bytes(self.table("parts")), profiles=of_levels.profiles,
        )  # fmt: skip

    def base_lock(self) -> dict:
        """[base] lock: taken out of the table, whose other keys are a study's."""
        table = self.table("base")
        named = self.typed("[base]", table, "lock", str)
        if named is None:
            return {}
        rest = {key: value for key, value in table.items() if key != "lock"}
        self.tree = {k: v for k, v in self.tree.items() if k != "base"} | ({"base": rest} if rest else {})
        with self.failing("[base] lock", CurateError):
            return read_lock(self.path.parent / named)

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

    def holdout(
        self, levels: list[str], sources: tuple[Source, ...], sizes: tuple[int, ...], near: dict
    ) -> Holdout:
        given = self.tree.get("holdout", {} if sizes else NONE)
        if given == NONE:
            return Holdout(HELD_OUT, (), near)
        if isinstance(given, str):
            raise self.fail("", f'holdout = "{given}": write "{NONE}" to hold nothing out, or [holdout]')
        table = self.table("holdout")
        self.known("[holdout]", table, ("tokens", "from", "group"))
        chosen = self.strings("[holdout]", table, "from") or (levels[0],)
        for name in chosen:
            self.among("[holdout]", "from: ", name, levels)
        tokens = self.count("[holdout]", "tokens", table.get("tokens", HELD_OUT))
        group = self.typed("[holdout]", table, "group", str)
        known = {PACKAGE, HOST, FOLDER, DOCUMENT, *(name for source in sources for name in source.columns)}
        if group is not None and group not in known:
            what = f'group = "{group}": no source carries this field in its columns'
            raise self.fail("[holdout]", f"{what}{did_you_mean(group, known)}")
        return Holdout(tokens, chosen, near, group)

    def tokenizer(self, table: dict, levels: list[str]) -> TokenizerSpec:
        where = "[tokenizer]"
        self.known(where, table, [f.name for f in fields(TokenizerSpec)])
        path, end = (self.typed(where, table, key, str) for key in ("path", "end"))
        if path:
            from train.tokens.ends import with_end

            path = str(self.path.parent / path)
            if not Path(path).is_file():
                raise self.fail(where, f"path = {path}: no such file; leave it out to train one")
            with self.failing(where, about="path = "):
                with_end(Path(path), end)
        elif end is not None:
            raise self.fail(
                where, f'end = "{end}" is of a tokenizer that path names; name one, or leave it out'
            )
        train_on = self.typed(where, table, "train_on", str, levels[0])
        self.among(where, "train_on = ", train_on, levels)
        vocabulary = self.typed(where, table, "vocabulary", int, TokenizerSpec.vocabulary)
        if not 257 <= vocabulary <= 1_000_000:
            raise self.fail(where, f"vocabulary = {vocabulary}: at least 257 (the bytes and the end mark)")
        amount = self.count(where, "bytes", table.get("bytes", TokenizerSpec.bytes))
        return TokenizerSpec(vocabulary, train_on, amount, path, end)

    def grid(self, table: dict, levels: list[str], sizes: tuple[int, ...]) -> dict:
        chosen = self.strings("[grid]", table, "levels") or tuple(levels)
        for name in chosen:
            self.among("[grid]", "levels: ", name, levels)
        knobs = {k: v for k, v in table.items() if k not in ("levels", *READING)}
        with self.failing("[grid]"):
            for setting in expand(knobs):
                # Said before hours of building. Of a batch by the dial `curate plan` says it, since who only builds trains
                # on none.
                if "batch" in setting and (wrong := wrong_batch(sizes, setting)):
                    raise ValueError(f"batch = {setting['batch']}: {wrong}")
        return {"levels": list(chosen), **knobs}

    def draw(self) -> int:
        draw = self.typed("", self.tree, "draw", int, 0)
        if not 0 <= draw < 2**32:
            raise self.fail("", f"draw = {draw}: a whole number from 0; each draws other documents")
        return draw

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
