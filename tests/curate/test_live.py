"""The grid while it runs: its table, its lines, its order, its trackers."""

from __future__ import annotations

import io
import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from curate.errors import CurateError, ManifestError
from curate.runs.cells import PlannedCell
from curate.runs.live import Live, Row, table
from curate.runs.tracking import open_tracker
from curate.runs.training import useful_first
from curate.runs.workers import devices
from train.files import seal_folder
from train.grid import Outcome, run_grid


@dataclass
class Cell:
    cell: dict
    directory: Path


def planned(folder: Path, level: str = "raw", seed: int = 0, **tags) -> Cell:
    return Cell({"level": level, "seed": seed, "sizes": [1000], "tags": tags}, folder / f"{level}-{seed}")


def tell(cell: Cell, done: int, **facts) -> None:
    cell.directory.mkdir(exist_ok=True)
    (cell.directory / "progress.json").write_text(json.dumps({"tokens_done": done, **facts}))


def test_a_row_shows_step_loss_speed_share_of_the_limit_and_time_left(tmp_path):
    row = Row(planned(tmp_path, **{"model.width": 64}), 1000.0)
    row.facts = {"tokens_done": 400, "step": 1234, "loss": 4.5678, "flops_per_token": 500}
    row.progress = [(10.0, 200.0), (14.0, 400.0)]
    head, line = table([row], 100_000.0, 120)
    assert head.split() == ["cell", "step", "loss", "tokens/s", "of", "limit", "done", "left"]
    assert line.split() == ["raw", "seed", "0", "width=64", "1,234", "4.568", "50", "25%", "40%", "12", "s"]
    assert max(map(len, table([row], 100_000.0, 30))) < 30


def test_a_terminal_gets_a_table_that_is_taken_away_at_the_end(tmp_path, monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    cell = planned(tmp_path)
    with Live([cell], [1000.0]) as live:
        tell(cell, 300, step=3, loss=5.0)
        live._look()
        live._draw()
        live.end(str(cell.directory), None)
    shown = screen.getvalue()
    assert "raw seed 0" in shown
    assert "5.000" in shown
    assert "30%" in shown
    assert "\x1b[3A\x1b[J" in shown
    assert shown.endswith("tokens in 0 s\n")


def test_elsewhere_there_is_a_line_a_cell_and_failures_have_their_reason(tmp_path, capsys):
    good, bad = planned(tmp_path), planned(tmp_path, seed=1)
    with Live([good, bad], [1000.0, 1000.0]) as live:
        live.end(str(good.directory), None)
        live.end(str(bad.directory), "diverged at step 7")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("train      raw seed 0: done; 1 of 2 cells")
    assert lines[1] == "failed: raw-1: diverged at step 7"


def test_what_an_earlier_session_trained_does_not_count_as_speed(tmp_path):
    cell = planned(tmp_path)
    with Live([cell], [1000.0]) as live:
        tell(cell, 900, step=9, loss=5.0)
        live._look()
        assert live.seconds_left() is None
        live.began -= 10
        tell(cell, 950, step=10, loss=5.0)
        row = live.rows[str(cell.directory)]
        row.progress = [(t - 5, done) for t, done in row.progress]
        live._look()
        assert live.seconds_left() == pytest.approx(10, abs=1)


def test_every_level_comes_at_the_first_seed_and_setting_before_the_others():
    tags = [{"width": 64}, {"width": 128}]
    cells = [PlannedCell({"level": level, "seed": seed, "tags": tag}, Path("x")) for level in ("raw", "unique") for seed in (0, 1) for tag in tags]  # fmt: skip
    order = [(p.cell["seed"], p.cell["tags"]["width"], p.cell["level"]) for p in useful_first(cells)]
    assert order == [(s, w, level) for s in (0, 1) for w in (64, 128) for level in ("raw", "unique")]


def test_devices_are_as_many_as_the_cores_hold_and_no_more_than_cells(monkeypatch):
    monkeypatch.setattr("curate.runs.workers._cuda_devices", lambda: 0)
    assert devices([{}] * 9, 4) == ["auto"] * 4
    assert devices([{"threads": 2}] * 9, 4) == ["auto"] * 2
    assert devices([{}], 4) == ["auto"]
    monkeypatch.setattr("curate.runs.workers._cuda_devices", lambda: 3)
    assert devices([{}] * 9, 8) == ["cuda:0", "cuda:1", "cuda:2"]
    assert devices([{"device": "cpu"}] * 9, 2) == ["auto"] * 2


def test_a_cell_whose_machine_failed_is_tried_once_more_and_then_named():
    tried = []

    def failing(function, items):
        for _, directory in items:
            tried.append(directory)
            yield Outcome(directory, None, "its process was ended by SIGKILL", retry=True)

    (outcome,) = run_grid([({}, Path("cell"))], failing)
    assert tried == ["cell", "cell"]
    assert outcome.reason == "its process was ended by SIGKILL"


def follow(tracker, folder: Path) -> Cell:
    """A cell that tells twice and ends with a held-out loss."""
    cell = planned(folder)
    with Live([cell], [1000.0], tracker) as live:
        tell(cell, 300, step=3, loss=5.0)
        live._look()
        (cell.directory / "1000").mkdir()
        record = {"losses": {"raw": {"nats_per_token": 4.0, "bits_per_byte": 1.5}}}
        seal_folder(cell.directory / "1000/run.json", record, [])
        live.end(str(cell.directory), None)
    return cell


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_tracker_gets_a_run_a_cell_with_losses_by_tokens(tmp_path, monkeypatch, name):
    logged, opened, finished = [], [], []

    class Run:
        log = staticmethod(lambda values, step: logged.append((step, values)))
        finish = staticmethod(lambda: finished.append(True))

    module = types.ModuleType(name)
    module.init = lambda **asked: opened.append(asked) or Run()
    monkeypatch.setitem(sys.modules, name, module)
    follow(open_tracker(name, "web", tmp_path), tmp_path)
    assert [(o["project"], o["name"], o.get("reinit")) for o in opened] == [("web", "raw seed 0", "create_new" if name == "wandb" else None)]  # fmt: skip
    assert (logged[0][0], logged[0][1]["loss"]) == (300, 5.0)
    assert logged[-1] == (300, {"nats_per_token/raw/1000": 4.0, "bits_per_byte/raw/1000": 1.5})
    assert finished == [True]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what tensorboard itself imports
def test_tensorboard_gets_files_that_it_can_read(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    follow(open_tracker("tensorboard", "web", tmp_path / "tracking"), tmp_path)
    events = EventAccumulator(str(tmp_path / "tracking/web/raw seed 0"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(300, 5.0)]
    assert [e.value for e in events.Scalars("nats_per_token/raw/1000")] == [4.0]


def test_a_tracker_that_is_unknown_or_not_installed_is_named_with_the_fix(tmp_path, monkeypatch):
    with pytest.raises(ManifestError, match='did you mean "wandb"'):
        open_tracker("wandv", "web", tmp_path)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(CurateError, match="pip install wandb"):
        open_tracker("wandb", "web", tmp_path)
