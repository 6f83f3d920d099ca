"""Custom signals: a Python function of the user `RecordBatch -> Array`, named in the manifest.

    [signals.custom.shouting]
    function = "my_signals:shouting"     # my_signals.py beside the manifest, or an installed module
    version = 1
    low = 0
    high = 1

It is measured in the same pass as all others, and stored under a key that holds its version and the
digest of its module's file: an edited function is measured anew.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import CurateError
from curate.store import file_digest

PREFIX = "custom."  # of the names of their families


def load(function: str, folder: str) -> tuple[Callable, str]:
    """(the function, sha256 of its module's file). Raises ValueError saying what is wrong and the fix."""
    module_name, colon, name = function.partition(":")
    if not colon or not name:
        raise ValueError(f'function = "{function}": write "module:function"')
    beside = Path(folder) / f"{module_name}.py"
    try:
        module = _load_file(beside) if beside.is_file() else importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module does wrong, the message names it
        raise ValueError(f'function = "{function}": cannot import {module_name}: {error!r}') from None
    found = getattr(module, name, None)
    if not callable(found):
        raise ValueError(f'function = "{function}": {module_name} has no function {name}')
    return found, file_digest(str(module.__file__))


def _load_file(path: Path) -> Any:
    """The module in a file, under a name of its own: two manifests may have a `my_signals.py` each."""
    digest = file_digest(path)
    name = f"curate_custom_{path.stem}_{digest[:16]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None, path
        assert spec.loader is not None, path
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


def measure(signal: str, parameters: dict, documents: pa.Table) -> pa.Array:
    """The function's values for these documents, checked. Raises CurateError where they are not what was declared."""
    where = f"signal {signal} ({parameters['function']})"
    function, _ = load(parameters["function"], parameters["folder"])
    batch = documents.combine_chunks().to_batches()
    if not batch:
        return pa.array([], type_of(parameters))
    try:
        values = function(batch[0])
    except Exception as error:
        raise CurateError(f"{where} raised {error!r}; mend the function and run again") from error
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    try:
        values = pa.array(values)
        values = values if len(values) != len(documents) else values.cast(type_of(parameters))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise CurateError(f"{where} returned no column of {type_of(parameters)}: {error}") from None
    if len(values) != len(documents):
        raise CurateError(f"{where} returned {len(values)} values for {len(documents)} documents")
    _check_range(where, parameters, values, documents)
    return values


def _check_range(where: str, parameters: dict, values: pa.Array, documents: pa.Table) -> None:
    if parameters.get("labels"):
        return
    low, high = parameters["low"], parameters["high"]
    outside = pc.fill_null(pc.or_(pc.less(values, low), pc.greater(values, high)), False)
    if pc.any(outside).as_py():
        row = pc.index(outside, True).as_py()
        raise CurateError(
            f"{where} returned {values[row]} for document {documents['id'][row]}, outside of its range "
            f"[{low:g}, {high:g}]; mend the function or the range"
        )


def type_of(parameters: dict) -> pa.DataType:
    return pa.string() if parameters.get("labels") else pa.float64()
