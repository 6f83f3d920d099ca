"""Formats of source code: python."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator

import pyarrow as pa

from curate.sources.characters import without_surrogates
from curate.sources.formats.format import Format
from curate.sources.opening import read_at_most
from curate.sources.rows import Input, Problems, Rows
from curate.spec.manifest import Source

CODE_BYTES = 16_000_000  # a file is no longer: parsed, it takes a hundred times as much


def _python(source: Source, inputs: Iterable[Input], problems: Problems) -> Iterator[pa.Table]:
    """Docstrings of modules, classes and functions, under their qualified names, indentation cleaned as PEP 257 says."""
    rows = Rows(source)
    for item in inputs:
        code = read_at_most(item, CODE_BYTES, problems)
        if code is None:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the escapes in other people's strings
                tree = ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            problems.fail("not-python", item.name, f"{type(error).__name__}: {error}")
            continue
        seen: dict[str, int] = {}
        for name, text in _docstrings(tree, ""):
            seen[name] = seen.get(name, 0) + 1  # overloads and branches define a name several times
            at = f"{item.name}::{name}" + (f"#{seen[name]}" if seen[name] > 1 else "")
            rows.add(at, without_surrogates(text, at, problems))
        if rows.full():
            yield rows.table()
    yield rows.table()


def _docstrings(tree: ast.AST, inside: str) -> Iterator[tuple[str, str]]:
    """Depth first, in the order of the source, without recursion (generated code nests deeply)."""
    todo = [(tree, inside)]
    while todo:
        node, inside = todo.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inside = f"{inside}.{node.name}".lstrip(".") if hasattr(node, "name") else inside
            text = ast.get_docstring(node)
            if text is not None:
                yield inside or "<module>", text
        elif not isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            continue
        todo.extend((child, inside) for child in reversed(list(ast.iter_child_nodes(node))))


PYTHON = Format("python", _python, 4e6, ("*.py",), fields=((), ()))
