"""The grid: a manifest's cells trained, and what came of them.

Cells run in processes of this machine (`curate.runs.workers`) or as Ray tasks; what they have done they write beside
their runs, so a killed grid continues, and a finished one costs a look at its records.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow.compute as pc

from curate.claims import CLAIMS, claim, looks
from curate.corpora.built import Built
from curate.corpora.corpus import corpus_record, open_data
from curate.corpora.tokenization import warm_up
from curate.engine import Engine, Local, Needs
from curate.errors import CurateError, Unfinished
from curate.remote import here, keep_folder, remote_at
from curate.runs.cells import (
    PACKED,
    RUNS,
    PlannedCell,
    is_trained,
    last_failure,
    planned_cells,
    records,
    sharing,
    trial_cells,
)
from curate.runs.live import Live
from curate.runs.tracking import Tracker
from curate.runs.workers import Workers, devices
from curate.store import Store, digest_of, write_json
from curate.studies import registry
from curate.studies.study import Trial
from filters.duplicates.leaders import resembling
from train import VERSION
from train.grid import Item, Outcome, expand, run_grid, work_tokens, wrong_batch
from train.records import FAILED, RECORD
from train.tokens import Packed, train_tokenizer

CELL_MEMORY = 1_500_000_000  # bytes that a small cell takes, most of them PyTorch


def train(built: Built, tracker: Tracker | None = None) -> list[dict]:
    """Train what is not finished; returns a record for every run, those of failed cells with their reason.

    Once the runs of a mixture are there, they recommend one more; those of the grid foretell where others are to look, and
    say whether further seeds would tell levels apart.
    """
    manifest, engine = built.annotated.manifest, built.annotated.engine
    planned = planned_cells(built)
    failed = _train_shared(useful_first(_once(planned)), engine, tracker)
    while registry.waits(manifest) or manifest.looks:
        trained = {p.directory for p in planned}
        planned = planned_cells(built)
        further = [p for p in planned if p.directory not in trained]
        if not further:
            break
        failed |= _train_shared(useful_first(_once(further)), engine, tracker)
    return records(planned, failed)


def write_cells(built: Built) -> list[Path]:
    """`cell.json` in the directory of every unfinished cell, for `python -m train.run` there; the runs it leaves are
    those that a report looks for."""
    store = built.annotated.store
    if store.url:
        raise CurateError(f"{store.url}: curate train --cells takes a folder; name one with --store")
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


def train_trials(built: Built, trials: list[Trial]) -> list[dict]:
    """As `train`, for these alone."""
    planned = sharing([cell for trial in trials for cell in trial_cells(built, trial)])
    return records(planned, _train(_unfinished(planned), built.annotated.engine))


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


def _train_shared(planned: list[PlannedCell], engine: Engine, tracker: Tracker | None) -> dict[str, str]:
    """As `_train`, of these cells the engine's share. Then, while it waits, those that no other process trains.

    Raises Unfinished where it does not wait, and others have cells left.
    """
    cells = _once(planned)
    failed = _train(_unfinished(engine.share.own(cells)), engine, tracker)
    again = looks()

    def lost(p: PlannedCell) -> bool:
        return str(p.directory) in failed or bool(last_failure(p.directory))

    # Unshared it has none left: a cell that another process trains is waited for.
    while engine.share.of > 1 and (left := [p for p in _unfinished(cells) if not lost(p)]):
        if not engine.share.waits:
            raise Unfinished(
                f"train waits for {len(left):,} of {len(cells):,} cells; run the same command again"
            )
        free = [p for p in left if not is_trained(p.directory)]
        failed |= _train(free[: max(1, engine.workers)], engine, tracker)
        if not free:
            next(again)
    return failed


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
        on = workers.map if isinstance(engine, Local) else _tasks(engine)
        for outcome in run_grid(
            [(p.cell, p.directory) for p in todo], lambda function, items: on(partial(kept, function), items)
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


def kept(train: Callable[[Item], Outcome], item: Item) -> Outcome:
    """Train a cell wherever its store is: what it reads is fetched before, and its runs are sent after. Checkpoints stay on
    this machine: with it goes the cell at work, no more."""
    cell, directory = item
    remote = remote_at(directory)
    if remote is None:
        return train(item)
    own = remote.own(directory)
    try:
        with claim(remote.cache / CLAIMS, f"{RUNS}-{own.name}", True, remote):
            held = {name: str(here(place)) for name, place in cell["holdouts"].items()}
            read = {n: str(here(cell[n])) for n in ("packed", "cooldown_packed", "trunk") if n in cell}
            runs = [here(own / str(size)) for size in cell["sizes"]]  # some may be another machine's
            outcome = train((cell | read | {"holdouts": held}, str(own)))
            for run in (run for run in runs if (run / RECORD).exists()):
                keep_folder(run)
            if (own / FAILED).exists():
                remote.put(remote.name(own / FAILED), own / FAILED)
    except CurateError as error:
        return Outcome(directory, None, str(error), retry=True)
    return replace(outcome, directory=directory)


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
    record = corpus_record(corpus)
    try:
        expand({"model": setting.get("model", {})})
    except ValueError as error:  # before anything is made
        raise CurateError(str(error).replace("model.", "--")) from None
    digest = digest_of([PACKED, record["digest"], setting.get("vocabulary", 4096)])
    folder = _pack_corpus(store, corpus, f"corpus-{digest[:12]}", setting.get("vocabulary", 4096))
    packed = Packed.open(folder / "train")
    if wrong := wrong_batch([packed.meta["tokens"] - 1], setting):  # the last target is one token further
        what = f"{packed.meta['tokens']:,} tokens to train on"
        raise CurateError(f"{corpus}: {what}, {wrong.partition(';')[0]}; use a larger corpus or less --depth")
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
    # A finished run is recognised, or refused, there.
    for reason in _train([planned], engine, tracker).values():
        raise CurateError(f"{corpus}: {reason}")
    return directory / str(packed.meta["tokens"]), planned.there()[0]


def _pack_corpus(store: Store, corpus: Path, name: str, vocabulary: int) -> Path:
    """The folder of packed tokens `train` and `holdout` of a corpus, and of the tokenizer that was trained on the former."""
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
            warm_up(here(tokenizer.path))
            with suppress(FileExistsError):  # another process has just written the same
                Packed.of_texts(folder / part, column, tokenizer.path)
        keep_folder(folder / part)
    return folder
