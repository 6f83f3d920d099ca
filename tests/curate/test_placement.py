"""Threads by measurement: they double while the cells together grow faster, and what was found is not measured again."""

from __future__ import annotations

import numpy as np
import pytest

from curate.runs.placement import choose_threads, flops_a_second, throughput
from train.tokens import Packed


@pytest.fixture
def cells(tmp_path):
    ids = np.random.default_rng(0).integers(1, 30, 4000)
    packed = Packed.write(tmp_path / "data", ids, [0, 4000], [4000], vocabulary=30, end=0)
    shapes = ({"depth": 1, "width": 16}, {"depth": 2, "width": 32})
    return [
        {"packed": str(packed.path), "sizes": [640], "model": shape, "context": 16, "threads": 0}
        for shape in shapes
    ]


def measured(speed_of, asked):
    def measure(step, processes, threads):
        asked.append((step[0].width, processes, threads))
        return speed_of(processes, threads)

    return measure


def test_two_cells_on_two_cores_keep_a_thread_each_where_that_is_faster(cells, tmp_path):
    asked: list = []
    threads = choose_threads(cells, 2, tmp_path / "threads.json", measured(lambda p, t: p * t**0.4, asked))
    assert threads == 1
    assert asked == [(32, 2, 1), (32, 1, 2)]  # the larger of the two cells


def test_a_cell_alone_takes_as_many_threads_as_make_it_faster(cells, tmp_path):
    speeds = {1: 1.0, 2: 1.7, 4: 2.5, 8: 2.5}
    measure = measured(lambda processes, threads: speeds[threads], [])
    assert choose_threads(cells[:1], 8, tmp_path / "threads.json", measure) == 4


def test_what_was_measured_is_remembered_for_that_many_cores_and_that_size(cells, tmp_path):
    asked: list = []
    measure = measured(lambda processes, threads: processes * threads, asked)
    for _ in range(2):
        choose_threads(cells, 2, tmp_path / "threads.json", measure)
    assert len(asked) == 2
    choose_threads(cells, 4, tmp_path / "threads.json", measure)
    choose_threads(cells[:1], 2, tmp_path / "threads.json", measure)
    assert len(asked) == 2 + 3 + 2


def test_the_speed_of_a_core_is_measured_once_for_a_model(tmp_path, monkeypatch):
    asked: list = []
    monkeypatch.setattr("curate.runs.placement.throughput", lambda *step: asked.append(step) or 1000.0)
    known = tmp_path / "rates.json"
    small, large = {"model": {"depth": 1, "width": 32}}, {"model": {"depth": 2, "width": 64}}
    rates = [flops_a_second(setting, 400, known) for setting in (small, small, large)]
    assert rates[0] == rates[1] < rates[2], "six operations a parameter and token"
    assert [step[1:] for step in asked] == [(1, 1), (1, 1)]


@pytest.mark.slow
def test_processes_side_by_side_tell_their_speed(cells):
    from curate.runs.placement import _step

    assert throughput(_step(cells[0]), 2, 1) > 0


def test_a_grid_asks_for_its_cells_without_a_number_alone(cells, tmp_path, monkeypatch):
    from curate.runs import training
    from curate.runs.cells import PlannedCell

    given = cells[0] | {"threads": 3}
    monkeypatch.setattr(
        "curate.runs.placement.choose_threads", lambda cells, cores, known: len(cells) * cores
    )
    planned = [PlannedCell(cell, tmp_path / "cell") for cell in (*cells, given)]
    assert [p.cell["threads"] for p in training._with_threads(planned, 4)] == [8, 8, 3]


def test_a_machine_too_busy_to_measure_is_no_reason_to_wait_nor_to_remember(cells, tmp_path, monkeypatch):
    from curate.runs.placement import _step

    monkeypatch.setattr("curate.runs.placement.START_SECONDS", 0.01)
    assert throughput(_step(cells[0]), 1, 1) == 0.0
    known, setting = tmp_path / "rates.json", {"model": {"depth": 1, "width": 32}}
    assert flops_a_second(setting, 400, known) == 0.0
    monkeypatch.setattr("curate.runs.placement.throughput", lambda *step: 1000.0)
    assert flops_a_second(setting, 400, known) > 0
