"""The cells of a manifest's grid and studies: what each reads, packed, and the key that its runs lie under.

A level's largest corpus is packed once, and so is every holdout; a cell walks through its block and leaves one run a size
(`train.run`). Cells that train the same share a directory, whoever asks for them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.claims import is_locked, leased
from curate.corpora.built import Built
from curate.corpora.draws import Block, Reading, block
from curate.corpora.targets import TargetTexts, pack_target
from curate.corpora.units import Units, whole
from curate.remote import here, keep_folder, receipt_of, remote_at
from curate.results.trust import wants_more
from curate.spec.manifest import PER_SEED
from curate.store import digest_of, remembered
from curate.studies import registry
from curate.studies.study import Trial, flat
from train import VERSION
from train.grid import APART, expand, ladders, step_tokens, with_decay
from train.records import CELL_LOCK, FAILED, finished_run
from train.tokens import Packed, load_tokenizer
from train.tokens.bpe import end_id

PACKED = "packed"
MOST_OF_A_NAME = 100  # bytes of a folder's name, besides its key
RUNS = "runs"


@dataclass(frozen=True)
class PlannedCell:
    cell: dict[str, Any]
    directory: Path
    study: dict = field(default_factory=dict)  # of a study: what its records are called and said to be
    missing: list[dict] = field(default_factory=list)  # records of what cannot be trained
    shared: float = 0.0  # share of what it reads that other seeds read too
    looks: int = 0  # how often its grid looks whether its levels are told apart

    def finished(self) -> list[dict] | None:
        """The records of its runs, if all sizes are there."""
        found = self.there()
        return found if len(found) == len(self.cell["sizes"]) else None

    def there(self) -> list[dict]:
        """The records of the sizes that are finished."""
        about = {"documents_shared": self.shared} | ({"looks": self.looks} if self.looks else {})
        places = {name: self.cell[name] for name in ("packed", "holdouts") if name in self.cell}
        folders = [self.directory / str(size) for size in self.cell["sizes"]]
        return [
            run | about | {"cell": run.get("cell", {}) | places} | {"directory": str(folder)} | self.study
            for folder in folders
            if (run := finished_run(here(folder))) is not None
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

    def place(cell: dict, own: Path) -> Path:
        """By what its runs depend on, whatever they are called and wherever their trunk is kept."""
        named = ("level", "trunk") if cell.get("tags") else ("level", "trunk", "tags")
        return first.setdefault(digest_of({k: v for k, v in cell.items() if k not in named}), own)

    return [p if p.missing else replace(p, directory=place(p.cell, p.directory)) for p in planned]


def grid_cells(built: Built) -> list[PlannedCell]:
    """As far as the runs that are there say that more seeds are worth it, where the grid is trained until levels are
    told apart."""
    looks = built.annotated.manifest.looks
    if not looks:
        return _cells_of_grid(built, {})
    for seeds in looks:
        planned = _cells_of_grid(built, {"seeds": seeds})
        if seeds == looks[-1] or not wants_more(built.lock, records(planned), looks[-1]):
            break
    return planned


def _cells_of_grid(built: Built, more: dict) -> list[PlannedCell]:
    a = built.annotated
    looks, knobs = a.manifest.looks, {k: v for k, v in a.manifest.grid.items() if k != "levels"} | more
    settings = expand(knobs)
    reading = _reading(built, max(knobs.get("seeds", 1), *looks, 1), max(a.manifest.sizes))
    planned = []
    for level in a.manifest.grid["levels"]:
        for seed, mine in _by_seed(settings).items():
            read = block(a.pool, built.units[level], built.tokens[level], a.manifest.sizes, seed, reading)
            if not read.ends:
                continue
            packed, key = _pack_block(built, level, f"{level}-seed-{seed}", read)
            for setting in mine:
                tagged = {**setting, "tags": varying(setting, settings)}
                for sizes in ladders(sorted(read.ends), setting):
                    cell = with_decay({"level": level, "sizes": sizes, **tagged})
                    judges = scored_on(built) | _apart(built, level)
                    directory = _directory(built, f"{level}-seed-{seed}", cell, key, judges)
                    whole = cell | _paths(packed, judges)
                    planned.append(PlannedCell(whole, directory, shared=read.shared, looks=len(looks)))
    return planned


def trial_cells(built: Built, trial: Trial) -> list[PlannedCell]:
    """A cell a seed."""
    pool, known = built.annotated.pool, {"study": trial.study, "level": trial.name, **trial.about}
    if trial.shares is not None:
        known["shares"] = dict(zip(pool.sources, trial.shares, strict=True))
    settings = expand({k: v for k, v in trial.knobs.items() if k != "epochs"})
    return [_trial_cell(built, trial, setting, known) for setting in settings]


def _trial_cell(built: Built, trial: Trial, setting: dict, known: dict) -> PlannedCell:
    a, level, seed = built.annotated, trial.trunk or trial.level, setting["seed"]
    reading = _reading(built, trial.seeds, max(*a.manifest.sizes, trial.tokens))
    read = block(
        a.pool, built.units[level], built.tokens[level], (trial.tokens,), seed, reading, trial.shares
    )
    after = _cooldown_block(built, trial, seed, read) if trial.branches and read.ends else None
    if not read.ends:
        return _impossible(built, trial, seed, known, read, level, "in these shares")
    if after and not after.ends:
        return _impossible(built, trial, seed, known, after, trial.level, "that the trunk has not read")
    name = f"{trial.study}-{trial.name}-seed-{seed}"
    packed, key = _pack_block(built, level, name, read)
    passes = {k: v for k, v in trial.knobs.items() if k == "epochs"}
    cell = with_decay({"sizes": [trial.tokens], **setting, **passes})
    judges, paths = scored_on(built) | (_apart(built, trial.level) if trial.apart else {}), {}
    if trial.trunk:
        trunk = f"trunk-{trial.study}-{level}-seed-{seed}"
        paths["trunk"] = str(_directory(built, trunk, cell | {"part": "trunk"}, key, {}))
    if after:
        cooldown, cooldown_key = _pack_block(built, trial.level, name, after)
        paths["cooldown_packed"], key = str(cooldown), digest_of([key, cooldown_key])
    directory = _directory(built, name, cell, key, judges)
    cell |= _paths(packed, judges) | paths
    return PlannedCell(cell, directory, known | {"packed_key": key}, shared=read.shared)


def _impossible(
    built: Built, trial: Trial, seed: int, known: dict, short: Block, level: str, where: str
) -> PlannedCell:
    """What a level has too little text for."""
    why = f"only {int(short.units.lengths(built.tokens[level].count).sum()):,} tokens {where}"
    lost = {"seed": seed, "size": trial.tokens, "tags": {}, "failed": why, "impossible": True}
    return PlannedCell({"sizes": []}, built.annotated.store.folder(RUNS), known, [lost])


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
        for name, rows in built.holdouts.rows.items():
            families = built.holdouts.groups[name].family[rows]
            packed = _pack(built, name, f"holdout-{name}", whole(rows), _groups(built, rows), families)
            built.packed_holdouts[name] = packed
        built.packed_holdouts |= {name: _pack_target(built, texts) for name, texts in built.targets.items()}
    return built.packed_holdouts


def _pack_target(built: Built, texts: TargetTexts) -> tuple[Path, str]:
    tokenizer = next(iter(built.tokens.values()))
    key = digest_of([PACKED, tokenizer.sha256, texts.digest])
    return _once(built, texts.target.name, key, lambda path: pack_target(path, texts, tokenizer.tokenizer))


def _once(built: Built, name: str, key: str, write: Callable[[Path], object]) -> tuple[Path, str]:
    """(directory, key) of packed tokens, written where they are not there."""
    store = built.annotated.store
    path = named_by_key(store.folder(PACKED), name, key)
    if receipt_of(path) is None and not Packed.is_whole(path):
        # Another process may have just written the same.
        with store.claim(PACKED, path.name), suppress(FileExistsError):
            if not Packed.is_whole(path):
                write(path)
    keep_folder(path)
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

    def write(path: Path) -> None:
        ids = tokens.of(units, end_id(load_tokenizer(tokens.tokenizer)))
        offsets = np.concatenate([[0], np.cumsum(units.lengths(tokens.count))])
        Packed.write(
            path,
            ids,
            offsets,
            units.sizes(tokens.bytes),
            tokenizer=tokens.tokenizer,
            groups=groups,
            resample=together,
        )

    return _once(built, name, key, write)


def records(planned: list[PlannedCell], failed: dict[str, str] | None = None) -> list[dict]:
    """What there is of every planned run: its record, or why there is none."""
    found = []
    for p in planned:
        there = p.there()
        for run in there:  # those that an earlier attempt trained here and did not send
            keep_folder(Path(run["directory"]))
        found += there + [p.study | missing for missing in p.missing]
        for size in set(p.cell["sizes"]) - {run["size"] for run in there}:
            reason = (failed or {}).get(str(p.directory)) or last_failure(p.directory) or "not trained yet"
            place = {k: p.cell.get(k) for k in ("level", "seed")} | {"tags": p.cell.get("tags", {})}
            found.append(place | {"size": size, "failed": reason} | p.study)
    return found


def is_trained(directory: Path) -> bool:
    """Whether a process is at work on this cell."""
    remote = remote_at(directory)
    return is_locked(directory / CELL_LOCK) or bool(remote and leased(remote, f"{RUNS}-{directory.name}"))


def last_failure(directory: Path) -> str | None:
    """Why the last attempt at a cell ended."""
    remote = remote_at(directory)
    if remote and not (directory / FAILED).exists():
        with suppress(FileNotFoundError):
            remote.record(directory / FAILED)
    return remembered(directory / FAILED).get("reason")
