"""The grid: a manifest's cells trained on its corpora, each under its key, and what came of them.

A level's largest corpus is packed once; a cell walks through it and leaves one run a size
(`train.run`). Cells run in processes of this machine (`curate.runs.workers`) or as Ray tasks; what they have done they
write beside their runs, so a killed grid continues, and a finished one costs a look at its records.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.claims import is_locked, looks
from curate.corpora.built import Built
from curate.corpora.draws import Block, Reading, block
from curate.corpora.targets import TargetTexts, pack_target
from curate.corpora.units import Units, whole
from curate.engine import Engine, Local, Needs
from curate.errors import CurateError, Unfinished
from curate.runs.live import Live
from curate.runs.tracking import Tracker
from curate.runs.workers import Workers, devices
from curate.spec.manifest import PER_SEED
from curate.store import Store, digest_of, remembered, write_json
from curate.studies import registry
from curate.studies.study import Trial, flat
from train import VERSION
from train.grid import APART, Item, Outcome, expand, ladders, run_grid, step_tokens, work_tokens
from train.records import CELL_LOCK, finished_run

PACKED = "packed"
MOST_OF_A_NAME = 100  # bytes of a folder's name, besides its key
RUNS = "runs"
CELL_MEMORY = 1_500_000_000  # bytes that a small cell takes, most of them PyTorch


@dataclass(frozen=True)
class PlannedCell:
    cell: dict[str, Any]
    directory: Path
    study: dict = field(default_factory=dict)  # of a study: what its records are called and said to be
    missing: list[dict] = field(default_factory=list)  # records of what cannot be trained
    shared: float = 0.0  # share of what it reads that other seeds read too

    def finished(self) -> list[dict] | None:
        """The records of its runs, if all sizes are there."""
        found = self.there()
        return found if len(found) == len(self.cell["sizes"]) else None

    def there(self) -> list[dict]:
        """The records of the sizes that are finished."""
        about = {"documents_shared": self.shared}
        folders = [self.directory / str(size) for size in self.cell["sizes"]]
        return [
            run | about | {"directory": str(folder)} | self.study
            for folder in folders
            if (run := finished_run(folder)) is not None
        ]


def planned_cells(built: Built) -> list[PlannedCell]:
    """Every cell of the grid and of the studies, packing what they read where it is not packed yet."""
    built.annotated.manifest.check_trains()
    trials = registry.trials(built)
    planned = grid_cells(built) + [cell for trial in trials for cell in trial_cells(built, trial)]
    further = registry.further(built, records(planned))
    planned = sharing(planned + [cell for trial in further for cell in trial_cells(built, trial)])
    cells = [p for p in planned if not p.missing]
    folders = {p.directory for p in cells} | {Path(p.cell["packed"]) for p in cells}
    folders |= {Path(p.cell[name]) for p in cells for name in ("trunk", "cooldown_packed") if name in p.cell}
    folders |= {Path(path) for p in cells for path in p.cell["holdouts"].values()}
    used = [f"{folder.parent.name}/{folder.name}" for folder in folders]
    built.annotated.store.remember(built.lock, built.lock_path, used)
    return planned


def sharing(planned: list[PlannedCell]) -> list[PlannedCell]:
    """The same cells, those that train the same in one directory: that of the first, which may be the grid's."""
    first: dict[str, Path] = {}
    return [
        p if p.missing else replace(p, directory=first.setdefault(_trains(p), p.directory)) for p in planned
    ]


def _trains(p: PlannedCell) -> str:
    """What a cell's runs depend on, whatever they are called and wherever their trunk is kept."""
    named = ("level", "trunk") if p.cell.get("tags") else ("level", "trunk", "tags")
    return digest_of({name: value for name, value in p.cell.items() if name not in named})


def grid_cells(built: Built) -> list[PlannedCell]:
    a = built.annotated
    settings = expand({k: v for k, v in a.manifest.grid.items() if k != "levels"})
    reading = _reading(built, a.manifest.grid.get("seeds", 1), max(a.manifest.sizes))
    planned = []
    for level in a.manifest.grid["levels"]:
        for seed, mine in _by_seed(settings).items():
            read = block(a.pool, built.units[level], built.tokens[level], a.manifest.sizes, seed, reading)
            if not read.ends:
                continue
            packed, key = _pack_block(built, level, f"{level}-seed-{seed}", read)
            for setting in mine:
                knobs = {**setting, "tags": varying(setting, settings)}
                for sizes in ladders(sorted(read.ends), setting):
                    cell = {"level": level, "sizes": sizes, **knobs}
                    judges = scored_on(built) | _apart(built, level)
                    directory = _directory(built, f"{level}-seed-{seed}", cell, key, judges)
                    planned.append(PlannedCell(cell | _paths(packed, judges), directory, shared=read.shared))
    return planned


def trial_cells(built: Built, trial: Trial) -> list[PlannedCell]:
    """A cell a seed."""
    a, level, planned = built.annotated, trial.trunk or trial.level, list[PlannedCell]()
    tokens = built.tokens[level]
    reading = _reading(built, trial.seeds, max(*a.manifest.sizes, trial.tokens))
    known = {"study": trial.study, "level": trial.name, **trial.about}
    if trial.shares is not None:
        known["shares"] = dict(zip(a.pool.sources, trial.shares, strict=True))
    for setting in expand({k: v for k, v in trial.knobs.items() if k != "epochs"}):
        seed = setting["seed"]
        read = block(a.pool, built.units[level], tokens, (trial.tokens,), seed, reading, trial.shares)
        after = _cooldown_block(built, trial, seed, read) if trial.branches and read.ends else None
        if not read.ends or (after and not after.ends):
            where = "of the cool-down's own" if read.ends else "in these shares"
            lengths = (after or read).units.lengths(built.tokens[trial.level].count)
            why = f"only {int(lengths.sum()):,} tokens {where}"
            lost = {"seed": seed, "size": trial.tokens, "tags": {}, "failed": why, "impossible": True}
            planned.append(PlannedCell({"sizes": []}, a.store.folder(RUNS), known, [lost]))
            continue
        name = f"{trial.study}-{trial.name}-seed-{seed}"
        packed, key = _pack_block(built, level, name, read)
        cell = {"sizes": [trial.tokens], **setting}
        if "epochs" in trial.knobs:
            cell["epochs"] = trial.knobs["epochs"]
        judges, paths = scored_on(built) | (_apart(built, trial.level) if trial.apart else {}), {}
        if trial.trunk:
            trunk_name = f"trunk-{trial.study}-{level}-seed-{seed}"
            paths["trunk"] = str(_directory(built, trunk_name, cell | {"part": "trunk"}, key, {}))
        if after:
            cooldown, cooldown_key = _pack_block(built, trial.level, name, after)
            paths["cooldown_packed"], key = str(cooldown), digest_of([key, cooldown_key])
        directory = _directory(built, name, cell, key, judges)
        about = known | {"packed_key": key}
        planned.append(
            PlannedCell(cell | _paths(packed, judges) | paths, directory, about, shared=read.shared)
        )
    return planned


def _cooldown_block(built: Built, trial: Trial, seed: int, trunk: Block) -> Block:
    """What a trial reads while the rate falls: text of its own level, of documents that its trunk has not read."""
    units = built.units[trial.level]
    seen = trunk.units.row[: trunk.ends[trial.tokens]]
    fresh = units.take(~np.isin(units.row, seen))
    step = step_tokens({k: v for k, v in trial.knobs.items() if k != "seeds"})
    size = math.ceil(trial.tokens * trial.knobs.get("epochs", 1) * trial.cooldown) + 2 * step
    reading = _reading(built, trial.seeds, size)
    return block(built.annotated.pool, fresh, built.tokens[trial.level], (size,), seed, reading)


def _reading(built: Built, seeds: int, stride: int) -> Reading:
    return Reading(seeds, stride, built.annotated.manifest.documents == PER_SEED)


def _by_seed(settings: list[dict]) -> dict[int, list[dict]]:
    seeds: dict[int, list[dict]] = {}
    for setting in settings:
        seeds.setdefault(setting["seed"], []).append(setting)
    return seeds


def _directory(built: Built, name: str, cell: dict, key: str, judges: dict[str, tuple[Path, str]]) -> Path:
    holdouts = {name: key for name, (_, key) in judges.items()}
    return named_by_key(built.annotated.store.folder(RUNS), name, digest_of([VERSION, cell, key, holdouts]))


def named_by_key(folder: Path, name: str, key: str) -> Path:
    """`NAME-KEY`, or what lies there under this key already: two studies that ask for the same share it, whatever
    either calls it."""
    readable = re.sub(r"[^\w.+-]+", "-", name).strip("-").encode()[:MOST_OF_A_NAME].decode(errors="ignore")
    return next(iter(sorted(folder.glob(f"*-{key[:12]}"))), folder / f"{readable}-{key[:12]}")


def _paths(packed: Path, judges: dict[str, tuple[Path, str]]) -> dict:
    return {"packed": str(packed), "holdouts": {name: str(path) for name, (path, _) in judges.items()}}


def _apart(built: Built, level: str) -> dict[str, tuple[Path, str]]:
    """As a holdout, what the level's runs choose their settings by; none where there is nothing to choose."""
    if level not in built.holdouts.apart:
        return {}
    if level not in built.packed_apart:
        rows = whole(built.holdouts.apart[level])
        built.packed_apart[level] = _pack(built, level, f"apart-{level}", rows)
    return {APART: built.packed_apart[level]}


def scored_on(built: Built) -> dict[str, tuple[Path, str]]:
    """(directory, key) of the packed tokens of every holdout and target, packed when first asked for."""
    if not built.packed_holdouts:
        built.packed_holdouts |= {
            name: _pack(
                built,
                name,
                f"holdout-{name}",
                whole(rows),
                _groups(built, rows),
                built.holdouts.groups[name].family[rows],
            )
            for name, rows in built.holdouts.rows.items()
        }
        built.packed_holdouts |= {name: _pack_target(built, texts) for name, texts in built.targets.items()}
    return built.packed_holdouts


def _pack_target(built: Built, texts: TargetTexts) -> tuple[Path, str]:
    from train.tokens import Packed

    tokenizer = next(iter(built.tokens.values()))
    key = digest_of([PACKED, tokenizer.sha256, texts.digest])
    path = named_by_key(built.annotated.store.folder(PACKED), texts.target.name, key)
    if not Packed.is_whole(path):
        # Another process may have just written the same.
        with built.annotated.store.claim(PACKED, path.name), suppress(FileExistsError):
            pack_target(path, texts, tokenizer.tokenizer)
    return path, key


def _groups(built: Built, rows: np.ndarray) -> dict[str, dict[str, list[int]]]:
    """Which documents of a holdout come from each source, and which each level keeps; what is all of them tells nothing."""
    a = built.annotated
    kinds = {
        "source": {name: a.pool.source[rows] == number for number, name in enumerate(a.pool.sources)},
        "level": {name: judged.kept[rows] for name, judged in a.judged.items()},
    }
    return {
        kind: {name: np.flatnonzero(of).tolist() for name, of in groups.items() if of.any() and not of.all()}
        for kind, groups in kinds.items()
    }


def varying(setting: dict, settings: list[dict]) -> dict:
    """The knobs of a setting, besides the seed, that are an axis of the grid: `{"model.width": 64}`."""
    others = [dict(flat(s)) for s in settings]
    return {k: v for k, v in flat(setting) if k != "seed" and any(o.get(k) != v for o in others)}


def _pack_block(built: Built, level: str, name: str, read: Block) -> tuple[Path, str]:
    return _pack(built, level, name, read.units.take(slice(max(read.ends.values()))))


def _pack(
    built: Built,
    level: str,
    name: str,
    units: Units,
    groups: dict | None = None,
    together: np.ndarray | None = None,
) -> tuple[Path, str]:
    """(directory, key) of the packed tokens of these pieces as the level has them, in this order. `together`: documents
    with the same number are resampled together."""
    from train.tokens import Packed, load_tokenizer
    from train.tokens.bpe import end_id

    a, tokens = built.annotated, built.tokens[level]
    key = digest_of(
        [
            PACKED, tokens.sha256, a.pool.ids.take(pa.array(units.row)).to_pylist(), a.pool.digest,
            *([] if (units.of == 1).all() else [[units.piece.tolist(), units.of.tolist()]]),
            *tokens.edited.identity,
            *([] if groups is None else [groups]),
            *([] if together is None else [together.tolist()]),
        ]
    )  # fmt: skip
    path = named_by_key(a.store.folder(PACKED), name, key)
    if not Packed.is_whole(path):
        end = end_id(load_tokenizer(tokens.tokenizer))
        offsets = np.concatenate([[0], np.cumsum(units.lengths(tokens.count))])
        # Another process may have just written the same.
        with a.store.claim(PACKED, path.name), suppress(FileExistsError):
            if not Packed.is_whole(path):
                Packed.write(
                    path, tokens.of(units, end), offsets, units.sizes(tokens.bytes), tokenizer=tokens.tokenizer,
                    groups=groups, resample=together,
                )  # fmt: skip
    return path, key


def train(built: Built, engine: Engine, tracker: Tracker | None = None) -> list[dict]:
    """Train what is not finished; returns a record for every run, those of failed cells with their reason.

    Once the runs of a mixture are there, they recommend one more; those of the grid foretell where others are to look.
    """
    planned = planned_cells(built)
    failed = _train_shared(useful_first(_once(planned)), engine, tracker)
    again = planned_cells(built) if registry.waits(built.annotated.manifest) else planned
    if len(again) > len(planned):
        failed |= _train_shared(again[len(planned) :], engine, tracker)
    return records(again, failed)


def write_cells(built: Built) -> list[Path]:
    """`cell.json` in the directory of every unfinished cell, for `python -m train.run` there; the runs it leaves are
    those that a report looks for."""
    written = []
    for planned in useful_first(_unfinished(planned_cells(built))):
        cell = planned.cell
        holdouts = {name: str(Path(path).resolve()) for name, path in cell["holdouts"].items()}
        named = ("packed", "trunk", "cooldown_packed")
        places = {name: str(Path(cell[name]).resolve()) for name in named if name in cell}
        whole = cell | places | {"holdouts": holdouts}
        written.append(planned.directory / "cell.json")
        write_json(written[-1], whole)
    return written


def train_trials(built: Built, asked: list[Trial], engine: Engine) -> list[dict]:
    """As `train`, for these alone."""
    planned = sharing([cell for trial in asked for cell in trial_cells(built, trial)])
    return records(planned, _train(_unfinished(planned), engine))


def _once(planned: list[PlannedCell]) -> list[PlannedCell]:
    """Each directory once, though two studies ask for it; called as the first of them, and with a trunk if one has it."""
    cells: dict[Path, PlannedCell] = {}
    for p in planned:
        if not p.missing:
            first = cells.setdefault(p.directory, p)
            cells[p.directory] = replace(first, cell=p.cell | first.cell)
    return list(cells.values())


def _unfinished(planned: list[PlannedCell]) -> list[PlannedCell]:
    return [p for p in _once(planned) if p.finished() is None]


def useful_first(planned: list[PlannedCell]) -> list[PlannedCell]:
    """In the order that makes a report useful early: every level at seed 0 and the first setting, then the others. Of
    cells that share a trunk one comes early, since the others wait for it."""
    tags = [str(p.cell.get("tags", {})) for p in planned]
    place = {tag: number for number, tag in reversed(list(enumerate(tags)))}
    first = {p.cell.get("trunk", p.directory): p.directory for p in reversed(planned)}

    def order(p: PlannedCell) -> tuple[bool, int, int]:
        waits = first[p.cell.get("trunk", p.directory)] != p.directory
        return waits, p.cell.get("seed", 0), place[str(p.cell.get("tags", {}))]

    return sorted(planned, key=order)


def records(planned: list[PlannedCell], failed: dict[str, str] | None = None) -> list[dict]:
    """What there is of every planned run: its record, or why there is none."""
    found = []
    for p in planned:
        there = p.there()
        found += there + [p.study | missing for missing in p.missing]
        for size in set(p.cell["sizes"]) - {run["size"] for run in there}:
            reason = (failed or {}).get(str(p.directory)) or last_failure(p.directory) or "not trained yet"
            place = {k: p.cell.get(k) for k in ("level", "seed")} | {"tags": p.cell.get("tags", {})}
            found.append(place | {"size": size, "failed": reason} | p.study)
    return found


def last_failure(directory: Path) -> str | None:
    """Why the last attempt at a cell ended."""
    return remembered(directory / "failed.json").get("reason")


def _train_shared(planned: list[PlannedCell], engine: Engine, tracker: Tracker | None) -> dict[str, str]:
    """As `_train`, of these cells the engine's share. Then, while it waits, those that no other process trains.

    Raises Unfinished where it does not wait, and others have cells left.
    """
    cells = _once(planned)
    failed = _train(_unfinished(engine.share.own(cells)), engine, tracker)
    again = looks()
    # Unshared it has none left: a cell that another process trains is waited for.
    while engine.share.of > 1 and (left := _left(cells, failed)):
        if not engine.share.waits:
            raise Unfinished(
                f"train waits for {len(left):,} of {len(cells):,} cells; run the same command again"
            )
        free = [p for p in left if not is_locked(p.directory / CELL_LOCK)]
        failed |= _train(free[: max(1, engine.workers)], engine, tracker)
        if not free:
            next(again)
    return failed


def _left(cells: list[PlannedCell], failed: dict[str, str]) -> list[PlannedCell]:
    """Neither finished nor failed, here or elsewhere."""
    return [p for p in _unfinished(cells) if str(p.directory) not in failed and not last_failure(p.directory)]


def _train(todo: list[PlannedCell], engine: Engine, tracker: Tracker | None = None) -> dict[str, str]:
    """Directory -> reason of the cells that failed."""
    failed: dict[str, str] = {}
    if not todo:
        return failed
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise CurateError(
            "under torchrun every process would train the whole grid; `curate train MANIFEST --cells` writes its "
            "cells, and `torchrun -m train.run CELL` trains one"
        )
    todo = _with_threads(todo, engine.workers)
    cells = [p.cell for p in todo]
    with (
        Live(todo, [work_tokens(cell["sizes"], cell) for cell in cells], tracker) as live,
        Workers(devices(cells, engine.workers), live.say) as workers,
    ):
        live.matrix_rate = lambda: workers.matrix_rate
        here = isinstance(engine, Local)
        for outcome in run_grid(
            [(p.cell, p.directory) for p in todo], workers.map if here else _tasks(engine)
        ):
            live.end(outcome.directory, outcome.reason)
            if outcome.runs is None:
                failed[outcome.directory] = outcome.reason or "unknown"
    return failed


def _with_threads(todo: list[PlannedCell], cores: int) -> list[PlannedCell]:
    """The same cells, with a number for `threads = 0`."""
    asked = [p.cell for p in todo if p.cell.get("threads") == 0]
    if not asked:
        return todo
    from curate.runs.placement import choose_threads

    threads = choose_threads(asked, cores, todo[0].directory.parent / "threads.json")  # of this machine
    return [replace(p, cell=p.cell | {"threads": threads}) if p.cell.get("threads") == 0 else p for p in todo]


def _tasks(engine: Engine) -> Callable[..., Iterator[Outcome]]:
    def needs(item: Item) -> Needs:
        cell = item[0]
        return Needs(cell.get("threads") or 1, CELL_MEMORY, cell.get("device", "auto") in ("auto", "cuda"))

    def lost(item: Item, reason: str) -> Outcome:
        return Outcome(item[1], None, reason, retry=True)

    def on_engine(function: Callable, items: list) -> Iterator[Outcome]:
        done = engine.unordered(function, items, processes=True, needs=needs, lost=lost)
        return (result for _, result in done)

    return on_engine


def train_corpus(
    store: Store,
    corpus: Path,
    setting: dict,
    out: Path | None,
    engine: Engine,
    tracker: Tracker | None = None,
) -> tuple[Path, dict]:
    """One run on one corpus directory, a twentieth of its documents held out. Returns its directory and record."""
    from curate.corpora.corpus import corpus_record
    from train.tokens import Packed

    record = corpus_record(corpus)
    digest = digest_of([PACKED, record["digest"], setting.get("vocabulary", 4096)])
    folder = _pack_corpus(store, corpus, f"corpus-{digest[:12]}", setting.get("vocabulary", 4096))
    packed = Packed.open(folder / "train")
    cell = {k: v for k, v in setting.items() if k != "vocabulary"} | {
        "packed": str(folder / "train"),
        "holdouts": {"holdout": str(folder / "holdout")},
        "level": record["level"],
        "sizes": [packed.meta["tokens"]],
        "seed": setting.get("seed", 0),
        "tags": {},
    }
    directory = out or store.folder(RUNS) / f"corpus-{digest_of([VERSION, digest, setting])[:12]}"
    planned = PlannedCell(cell, directory)
    for reason in _train(
        [planned], engine, tracker
    ).values():  # a finished run is recognised, or refused, there
        raise CurateError(f"{corpus}: {reason}")
    return directory / str(packed.meta["tokens"]), planned.there()[0]


def _pack_corpus(store: Store, corpus: Path, name: str, vocabulary: int) -> Path:
    """The folder of packed tokens `train` and `holdout` of a corpus, and of the tokenizer that was trained on the former."""
    from curate.corpora.corpus import open_data
    from curate.corpora.tokenization import warm_up
    from filters.duplicates.leaders import resembling
    from train.tokens import Packed, train_tokenizer

    data = open_data(corpus).with_format("arrow")
    texts, ids = data[:]["text"], data[:]["id"]
    end = len(texts) - max(1, len(texts) // 20)
    # Further copies, with weights.
    held = pc.is_in(ids.slice(0, end), value_set=ids.slice(end).combine_chunks())
    held = pc.or_(held, resembling(texts.slice(end), texts.slice(0, end)))
    trained = texts.slice(0, end).filter(pc.invert(held))
    if not len(trained):
        raise CurateError(
            f"{corpus}: every document resembles the twentieth that is held out; use a larger corpus"
        )

    def make(path: Path) -> dict:
        try:
            train_tokenizer((t.as_py() for t in trained), vocabulary, path)
        except ValueError as error:
            raise CurateError(f"{corpus}: --{error}") from None
        return {}

    tokenizer, _ = store.file(PACKED, name, f"{name}/tokenizer.json", make)
    folder = store.folder(PACKED) / name
    for part, column in (("train", trained), ("holdout", texts.slice(end))):
        if not Packed.is_whole(folder / part):
            warm_up(tokenizer.path)
            with suppress(FileExistsError):  # another process has just written the same
                Packed.of_texts(folder / part, column, tokenizer.path)
    return folder
