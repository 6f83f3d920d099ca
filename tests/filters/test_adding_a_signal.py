"""The recipe for a new signal holds: a line in its family's file, a line in the plain definition, and nothing else.

It is followed here on a copy of the code: a tally and a signal are added to `heuristics/lines.py`, the twin to
`naive.py`. Then the signal is measured, equals its twin, stands in the generated page, and a level can bound it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

RECIPE = {
    "filters/heuristics/lines.py": (
        ('"LINES", "BULLETS", "ELLIPSES",', '"LINES", "BULLETS", "ELLIPSES", "SHOUTS",'),
        (
            "    tally[Tally.BULLETS] += first == 0x2D",
            "    tally[Tally.SHOUTS] += page[end - 1] == 0x21\n    tally[Tally.BULLETS] += first == 0x2D",
        ),
        (
            "SIGNALS = (\n",
            'SIGNALS = (\n    ratio("shouted_line_ratio", Tally.SHOUTS, Tally.LINES, \'lines that end in "!" / lines\'),\n',
        ),
    ),
    "tests/filters/naive.py": (
        (
            '        "line_count": len(lines),\n',
            '        "shouted_line_ratio": mean([line.rstrip().endswith("!") for line in lines]),\n        "line_count": len(lines),\n',
        ),
    ),
}

MEASURED = """
import sys
sys.path[:0] = ["tests", "tests/filters"]
import hostile, naive, pyarrow as pa
from filters import FAMILIES, SIGNALS
texts = [*hostile.texts().values(), "Stop!\\nNo. \\nWell! \\n\\n"]
measured = FAMILIES["lines"].measure(pa.array(texts, pa.large_string()))
assert measured["shouted_line_ratio"].to_pylist()[-1] == 0.5
for i, text in enumerate(texts):
    assert naive.lines(text) == {name: column[i].as_py() for name, column in measured.items()}, text
print(SIGNALS["shouted_line_ratio"].says)
"""

MANIFEST = """
name = "shouts"

[[source]]
name = "notes"
format = "jsonl"
path = "notes.jsonl"

[[level]]
name = "calm"
keep = { BOUND }

[sizes]
tokens = ["1k"]
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    ignored = shutil.ignore_patterns("__pycache__")
    for room in ("curate", "filters", "train", "tests/filters"):
        shutil.copytree(ROOT / room, folder / room, ignore=ignored)
    shutil.copy(ROOT / "tests" / "hostile.py", folder / "tests" / "hostile.py")
    for name, edits in RECIPE.items():
        text = (folder / name).read_text(encoding="utf-8")
        for before, after in edits:
            assert text.count(before) == 1, f"{name} says {before!r} otherwise now: follow it here"
            text = text.replace(before, after)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(folder / "kernels")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_it_is_measured_as_its_plain_definition_says(copy):
    done = run(copy, "-c", MEASURED)
    assert done.stdout.strip() == 'lines that end in "!" / lines', done.stderr


def test_it_stands_in_the_page_of_signals(copy):
    page = run(copy, "-m", "curate.cli", "signals", "--markdown").stdout
    assert (
        '| `shouted_line_ratio` | ratio | 0 to 1 | 0 | lines that end in "!" / lines |' in page.splitlines()
    )


def plan(folder: Path, bound: str) -> subprocess.CompletedProcess:
    (folder / "notes.jsonl").write_text(
        "\n".join(json.dumps({"text": f"Note {k}!\n" * 9}) for k in range(50))
    )
    (folder / "shouts.toml").write_text(MANIFEST.replace("BOUND", bound))
    return run(folder, "-m", "curate.cli", "plan", "shouts.toml")


def test_a_manifest_knows_its_name(copy):
    done = plan(copy, "shouted_line_rati = [0, 0.5]")
    assert done.returncode == 2
    assert 'did you mean "shouted_line_ratio"?' in done.stderr


@pytest.mark.slow  # all heuristics are compiled for the copy
def test_a_level_can_bound_it(copy):
    done = plan(copy, "shouted_line_ratio = [0, 0.5]")
    assert "calm.shouted_line_ratio = [0, 0.5] alone drops 50 of 50 documents" in done.stdout
    done = plan(copy, "shouted_line_ratio = [0, 1.5]")
    assert "calm.shouted_line_ratio = [0, 1.5] can never fire" in done.stdout
