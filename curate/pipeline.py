"""`curate run`: build, train, report, and whether anything had to be done."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from curate.corpora.built import Built
from curate.engine import Engine
from curate.manifest.reader import load_manifest
from curate.report.examples import examples, held_out_document
from curate.runs.cells import planned_cells, records
from curate.runs.tracking import open_tracker
from curate.runs.training import train
from curate.steps import build
from curate.store import Damaged, Store, digest_of, file_digest, read_json
from train.files import open_sealed, say_damaged, seal_folder


@dataclass
class Outcome:
    built: Built
    runs: list[dict]
    page: Path
    headline: str
    trained: int  # cells that had to be trained
    seconds: float

    def as_json(self) -> dict:
        return {
            "headline": self.headline, "report": str(self.page), "lock": str(self.built.lock_path),
            "runs": len(self.runs), "cells_trained": self.trained, "seconds": round(self.seconds, 1),
        }  # fmt: skip


def run_all(
    store: Store, path: Path, engine: Engine, track: str | None = None, lock_path: Path | None = None
) -> Outcome:
    begin = time.monotonic()
    manifest = load_manifest(path)
    manifest.check_trains()
    tracker = open_tracker(track, manifest.name, store.root / "tracking")
    built = build(store, manifest, engine, lock_path=lock_path)
    planned = planned_cells(built)
    unfinished = [p for p in planned if p.finished() is None]
    runs = train(built, tracker) if unfinished else records(planned)
    page, facts = write_report(built, runs, None)
    return Outcome(built, runs, page, facts["headline"], len(unfinished), time.monotonic() - begin)


def write_report(built: Built, runs: list[dict], out: Path | None) -> tuple[Path, dict]:
    """(page, facts). A report whose lock and runs have not changed is not made again."""
    manifest = built.annotated.manifest
    directory = out or Path("report") / manifest.name
    page = directory / "report.html"
    key = digest_of([_report_code(), built.lock, runs])
    made = directory / "made-from.json"
    if _made_from(made) == key:
        return page, read_json(directory / "report.json")
    from curate.report.facts import facts as gather
    from curate.report.layout import write
    from curate.results.trigram import with_trigrams

    by_level, duplicates = examples(built)
    shown = {"levels": by_level, "near_duplicates": duplicates, "held_out": partial(held_out_document, built)}
    facts = gather(built.lock, with_trigrams(runs), shown)
    write(directory, facts)
    seal_folder(made, {"key": key}, ["report.html", "report.json"])
    return page, facts


def _made_from(made: Path) -> str | None:
    """What the report there was made from; None where a new one is to be made."""
    try:
        return open_sealed(made)["key"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Damaged as error:
        say_damaged(error.path, "the report is made again")
        return None


def _report_code() -> list[str]:
    """Digests of what makes the page: a changed template or fit makes it again."""
    import train

    here = Path(__file__).parent
    folders = (here / "report", here / "results", here / "studies", Path(train.__file__).parent / "fits")
    sources = sorted(file for folder in folders for file in folder.rglob("*.*") if file.suffix != ".pyc")
    return [file_digest(path) for path in sources]
