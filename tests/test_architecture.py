"""The rooms keep apart: who may import whom, and what a command may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("curate", "filters", "train")
LAZY = (
    "curate",
    "filters",
    "train",
    "filters.registry",
)  # faces: what a name stands for is loaded when asked


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [("filters", {"curate", "train", "torch", "click"}), ("train", {"curate", "filters", "click"})],
)
def test_a_room_imports_none_of_the_rooms_above_it(room, forbidden):
    for path in (ROOT / room).rglob("*.py"):
        assert not imported(path) & forbidden, path


def test_no_module_bears_the_name_of_a_standard_module():
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            assert path.stem not in sys.stdlib_module_names - {"__init__"}, path


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def needs(path: Path, modules: set[str]) -> set[str]:
    """Files whose names it takes, inside functions and for annotations too."""
    taken = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            taken |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return (taken & modules) - {module_of(path)}


def all_needs() -> dict[str, set[str]]:
    paths = {module_of(path): path for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    return {name: needs(path, set(paths)) for name, path in paths.items()}


def assert_no_circle(left: dict[str, set[str]]) -> None:
    while left:
        free = {name for name, needed in left.items() if not needed & set(left)}
        assert free, f"a circle among {sorted(left)}"
        left = {name: needed for name, needed in left.items() if name not in free}


def test_no_files_need_each_other_in_a_circle():
    left = all_needs()
    for face in LAZY:  # what they offer is loaded when it is first asked for
        left[face] = set()
    assert_no_circle(left)


def test_no_folders_need_each_other_in_a_circle():
    """A folder may be taken from by those above it only; a file beside the folders counts as one."""

    def folder(module: str) -> str:
        return ".".join(module.split(".")[:2])

    between: dict[str, set[str]] = {}
    for module, needed in all_needs().items():
        if module not in LAZY:
            between.setdefault(folder(module), set()).update(map(folder, needed))
    assert_no_circle({name: needed - {name} for name, needed in between.items()})


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["plan", "--help"]])
def test_help_loads_neither_torch_nor_numba(arguments):
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['curate', *{arguments!r}]\n"
        "try: runpy.run_module('curate.cli', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numba', 'pyarrow', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
