"""Every finding of the page: of the studies that were asked, then of the grid itself, on each holdout.

    {"module", "key", "title", "holdout", "sentences": [...], "tables": [{"caption", "columns", "rows"}], "figures": {...}}

`module` is where the sentences are made. Where the runs are too few for an answer, a sentence says what is missing.
"""

from __future__ import annotations

from curate.results.groups import groups_finding
from curate.results.influence import influence_finding
from curate.results.probes import probe_finding
from curate.results.surface import surface_finding
from curate.results.targets import targets_finding
from curate.results.transfer import transfer_finding
from curate.results.trust import trust_finding
from curate.results.tuning import tuned, tuning_finding
from curate.studies import registry
from curate.studies.axes import axes_finding
from curate.studies.study import of_study, scored

OF_THE_GRID = (
    axes_finding, influence_finding, groups_finding, surface_finding, trust_finding, transfer_finding,
)  # fmt: skip


def findings(lock: dict, runs: list[dict]) -> list[dict]:
    """Of all holdouts, in the order of the page."""
    every_run = of_study(runs, None)
    grid_runs, tried = tuned(every_run)
    answers = list[dict]()
    for holdout in lock["holdouts"]:
        answers += registry.findings(holdout, lock, runs)
        for make in OF_THE_GRID:
            made = make(holdout, lock, scored(grid_runs, holdout))
            answers += [{"module": make.__module__, **finding} for finding in made]
    together = (
        (tuning_finding, tuning_finding(every_run, tried, list(lock["holdouts"]))),
        (targets_finding, targets_finding(lock, grid_runs)),
        (probe_finding, probe_finding(grid_runs)),
    )
    return answers + [{"module": make.__module__, **found} for make, found in together if found]
