"""Custom signals: a Python function of the user `RecordBatch -> Array`, named in the manifest.

    [signals.custom.shouting]
    function = "my_signals:shouting"     # my_signals.py beside the manifest, or an installed module
    version = 1
    low = 0
    high = 1

    takes = ["word_count"]               # further columns of the batch: other signals of the same documents

With `labels = true` it returns words, with `spans = true` stretches of each text, as lists of {start, end} in bytes of
UTF-8, which a level may cut or mask, with `vectors = true` lists of numbers, by which `semantic_duplicates` compares.

It is measured in the same pass as all others, and stored under a key that holds its version and the
digest of its module's file: an edited function is measured anew. Nothing is run before it is measured: neither reading a
manifest nor `curate verify` runs a line of it, and `curate plan` names the file.
"""

from __future__ import annotations

import importlib
import importlib.util
import site
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import CurateError
from curate.store import file_digest
from filters.arrow import utf8
from filters.columns import SPANS, VECTORS

PREFIX = "custom."  # of the names of their families
LISTS = ("spans", "vectors")  # keys of what returns lists


def code_of(function: str, folder: str) -> Path:
    """The file of the function's module: beside the manifest, or of an installed package. Nothing of it is run.

    Raises ValueError saying what is wrong and the fix.
    """
    module, colon, name = function.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), name)):
        raise ValueError(f'function = "{function}": write "module:function"')
    beside = Path(folder) / f"{module}.py"
    if beside.is_file():
        if beside.resolve().parent != Path(folder).resolve():
            raise ValueError(
                f'function = "{function}": {beside} is a link to another folder; put the file itself there'
            )
        return beside
    found = _installed(module)
    if found is None:
        raise ValueError(
            f'function = "{function}": cannot import {module}: it is neither beside the manifest ({beside}) nor an '
            "installed package"
        )
    return found


def _installed(module: str) -> Path | None:
    """The file of a module of an installed package, found without running its packages. What merely lies in the current
    folder, or on PYTHONPATH, is not installed."""
    where: Sequence[str] = _installed_folders()
    spec = None
    for end in range(len(module.split("."))):
        spec = PathFinder.find_spec(".".join(module.split(".")[: end + 1]), where)
        if spec is None:
            return None
        where = list(spec.submodule_search_locations or ())
    return Path(spec.origin) if spec is not None and spec.origin else None


def _installed_folders() -> list[str]:
    """Where packages are installed to, and the folders that an editable installation names there."""
    folders = [
        folder for folder in (*site.getsitepackages(), site.getusersitepackages()) if Path(folder).is_dir()
    ]
    linked = [
        str(Path(folder, line.strip()))
        for folder in folders
        for file in sorted(Path(folder).glob("*.pth"))
        for line in file.read_text(errors="replace").splitlines()
        if line.strip() and not line.startswith(("#", "import ", "import\t"))
    ]
    return folders + linked


def load(function: str, folder: str) -> tuple[Callable, str]:
    """(the function, sha256 of its module's file): this runs the module. Raises ValueError as `code_of`, and where the
    module or the function is not what was asked for."""
    file = code_of(function, folder)
    module_name, _, name = function.partition(":")
    try:
        if file.parent == Path(folder):
            module = _load_file(file)
        else:
            _check_not_shadowed(module_name)
            module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module does wrong, the message names it
        raise ValueError(f'function = "{function}": cannot import {module_name}: {error!r}') from None
    found = getattr(module, name, None)
    if not callable(found):
        raise ValueError(f'function = "{function}": {module_name} has no function {name}')
    return found, file_digest(file)


def load_all(families: dict[str, dict]) -> None:
    """The functions of these families, before anything long begins. Raises ValueError that names the signal."""
    for name, parameters in families.items():
        if name.startswith(PREFIX):
            try:
                load(parameters["function"], parameters["folder"])
            except ValueError as error:
                raise ValueError(f"[signals.{name}]: {error}") from None


def _check_not_shadowed(module: str) -> None:
    """Raises ImportError where Python would take the package from elsewhere than where it is installed."""
    package = module.partition(".")[0]
    ours, theirs = PathFinder.find_spec(package, _installed_folders()), importlib.util.find_spec(package)
    if ours is None or theirs is None or ours.origin != theirs.origin:
        elsewhere = theirs.origin if theirs else "nowhere"
        raise ImportError(f"{elsewhere} stands ahead of the installed package; run in another folder")


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


def measure(signal: str, parameters: dict, documents: pa.Table, beside: dict) -> pa.Array:
    """The function's values for these documents, checked. `beside`: signals that it takes, which stand in the place of
    fields of their names. Raises CurateError where values are not what was declared."""
    for name, column in beside.items():
        documents = documents.drop_columns([name] if name in documents.column_names else [])
        documents = documents.append_column(name, column)
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
    check = next((check for key, check in CHECKS.items() if parameters.get(key)), _check_range)
    check(where, parameters, values, documents)
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


def _check_spans(where: str, parameters: dict, values: pa.Array, documents: pa.Table) -> None:
    """Of each text they ascend, do not overlap, are not empty, and end where characters do."""
    offsets, data = utf8(documents["text"])
    counts = np.diff(values.offsets.to_numpy())
    rows = np.repeat(np.arange(len(values)), counts)
    flat = values.flatten()
    start, end = (flat.field(name).to_numpy(zero_copy_only=False) for name in ("start", "end"))
    size = np.diff(offsets)[rows]
    first = np.diff(rows, prepend=-1) > 0
    before = np.where(first, 0, np.concatenate([[0], end[:-1]]))
    bad = ~((before <= start) & (start < end) & (end <= size))  # NaN, a missing end, is none of it
    for places in (start, end):
        inside = ~bad & (places < size)
        at = np.where(inside, offsets[rows] + np.where(inside, places, 0).astype(np.int64), 0)
        bad |= inside & ((data[at] & 0xC0) == 0x80)
    if bad.any():
        k = int(np.argmax(bad))
        raise CurateError(
            f"{where} returned the span {start[k]:g} to {end[k]:g} for document {documents['id'][int(rows[k])]} of "
            f"{size[k]} bytes: spans ascend, do not overlap, are not empty, and count bytes from one character to another"
        )


def _check_vectors(where: str, parameters: dict, values: pa.Array, documents: pa.Table) -> None:
    finite = np.isfinite(pc.list_flatten(values).to_numpy(zero_copy_only=False).astype(float))
    sizes = pc.unique(pc.list_value_length(values).drop_null()).to_pylist()
    if not finite.all() or len(sizes) > 1 or 0 in sizes:
        raise CurateError(
            f"{where} returned vectors of {sorted(sizes)} numbers, {int((~finite).sum())} of them none or too large: a "
            "vector has as many numbers as all others, none of them above 65,504"
        )


CHECKS = {"spans": _check_spans, "vectors": _check_vectors}


def type_of(parameters: dict) -> pa.DataType:
    if parameters.get("spans"):
        return SPANS
    if parameters.get("vectors"):
        return VECTORS
    return pa.string() if parameters.get("labels") else pa.float64()
