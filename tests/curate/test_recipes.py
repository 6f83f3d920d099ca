"""The recipes for who adds a format or a study: one entry, one file and one line, and everything knows of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import pyarrow as pa
from click.testing import CliRunner
from conftest import MANIFEST, write_manifest

from curate.cli import main
from curate.commands.plan import plan
from curate.manifest.reader import load_manifest
from curate.report.findings import findings
from curate.results.finding import finding
from curate.sources.formats import FORMATS, Format
from curate.sources.opening import opened
from curate.sources.rows import Input, Problems, Rows
from curate.spec.manifest import Source
from curate.store import Store
from curate.studies import registry
from curate.studies.study import COMMON, Study, Trial, of_study, scored


def _fortunes(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
    rows = Rows(source)
    for item in inputs:
        with opened(item) as file:
            for number, piece in enumerate(file.read().decode().split("\n%\n"), 1):
                rows.add(f"{item.name}:{number}", piece)
    yield rows.table()


def test_a_format_is_one_entry(tmp_path, monkeypatch):
    """No other place names it: a manifest may ask for it, its files are found, planned, read and recorded."""
    monkeypatch.setitem(
        FORMATS, "fortune", Format("fortune", _fortunes, 5e7, ("*.fortune",), fields=((), ()))
    )
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a.fortune").write_text(
        "\n%\n".join(f"Saying {i} of wise people, long ago." for i in range(400))
    )
    (tmp_path / "old" / "notes.md").write_text("no fortune")
    source = '[[source]]\nname = "wisdom"\nformat = "fortune"\npath = "old"\n'
    manifest = write_manifest(tmp_path, MANIFEST.replace("[parts]", f"{source}\n[parts]"))
    where = ["--store", str(tmp_path / "store"), "--workers", "1", "--json"]
    planned = json.loads(
        CliRunner().invoke(main, ["plan", str(manifest), "--sample", "0", *where[:4], "--json"]).stdout
    )
    assert [(s["name"], s["files"]) for s in planned["sources"] if s["format"] == "fortune"] == [
        ("wisdom", 1)
    ]
    lock = json.loads(CliRunner().invoke(main, ["build", str(manifest), *where]).stdout)
    assert lock["sources"]["wisdom"]["documents"] == 400


@dataclass(frozen=True, kw_only=True)
class Depths(Study):
    key, tables = "depths", ("depths",)
    depths: tuple[int, ...]
    tokens: int

    @classmethod
    def read(cls, tables) -> Depths:
        table = tables.table("depths")
        tables.known("[depths]", table, ("depths", *COMMON))
        return cls(depths=tuple(table["depths"]), **tables.common("[depths]", table))

    def outline(self, manifest) -> list[Trial]:
        return [self.trial(f"depth {d}", "raw", self.tokens, model={"depth": d}) for d in self.depths]

    @classmethod
    def findings(cls, holdout, lock, runs) -> list[dict]:
        best = min(
            of_study(scored(runs, holdout), cls.key),
            key=lambda run: run["losses"][holdout]["nats_per_token"],
        )
        return [finding(cls.key, "Depths", holdout, [f"The best is {best['level']}."])]


def test_a_study_is_one_file_and_one_line(tmp_path, monkeypatch):
    """Its table is read, its cells are planned, what was asked stands in the lock, its finding on the page."""
    monkeypatch.setitem(registry.STUDIES, "depths", Depths)
    manifest = load_manifest(
        write_manifest(tmp_path, MANIFEST + '[depths]\ndepths = [1, 2]\ntokens = "4k"\n')
    )
    planned = {part.name: part.cells for part in plan(Store(tmp_path / "store"), manifest).training}
    assert planned == {"grid": 6, "depths": 4}
    assert registry.as_json(manifest)["depths"]["depths"] == (1, 2)
    built = SimpleNamespace(annotated=SimpleNamespace(manifest=manifest))
    assert [trial.name for trial in registry.trials(built)] == ["depth 1", "depth 2"]
    runs = [
        {"study": "depths", "level": trial.name, "losses": {"raw": {"nats_per_token": 4.0 - number}}}
        for number, trial in enumerate(registry.trials(built))
    ]
    lock = {"holdouts": {"raw": {}}, "studies": {"depths": {}}, "levels": []}
    (said,) = findings(lock, runs)
    assert (said["sentences"], said["module"]) == (["The best is depth 2."], __name__)
