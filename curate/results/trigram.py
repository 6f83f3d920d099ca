"""Beside every run of the grid and of [value]: what a trigram makes of the same text, learned from what the run has read.

A model that does not beat statistics of three tokens has not been trained in a way that its data could matter much. The
trigram takes a second for some hundred thousand tokens. It is kept beside the run's record: a report makes it once.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curate.remote import here
from curate.results.words import text_of
from curate.store import read_json, write_json
from filters.models.token_ngrams import TokenTrigram
from train.tokens.packed import Packed

VERSION = 1  # of what is kept
KEPT = "trigram.json"
MOST = 20_000_000  # tokens, beyond which the tables of a trigram would fill memory
WITH_ONE = (None, "value")  # studies, and the grid, whose runs stand beside a trigram
MASKED = "masked"  # a loss of another question than that of the next token


def with_trigrams(runs: list[dict]) -> list[dict]:
    """The runs, those that should with `trigram`: holdout -> nats per token, where their tokens are still there."""
    memory: dict[tuple, dict[str, float]] = {}
    return [run | {"trigram": known} if (known := _trigram(run, memory)) else run for run in runs]


def _trigram(run: dict, memory: dict[tuple, dict[str, float]]) -> dict[str, float]:
    cell = run.get("cell", {})
    if run.get("study") not in WITH_ONE or "losses" not in run or not run.get("directory"):
        return {}
    if cell.get("loss") == MASKED or run["size"] > MOST:
        return {}
    folders = texts_among({name: here(path) for name, path in cell.get("holdouts", {}).items()})
    here(cell.get("packed", ""))
    if not all((path / "meta.json").is_file() for path in [Path(cell.get("packed", "")), *folders.values()]):
        return {}
    path = Path(run["directory"]) / KEPT
    try:
        kept = read_json(path)
        if kept["version"] == VERSION and set(kept["losses"]) == set(folders):
            return kept["losses"]
    except (OSError, KeyError, TypeError, ValueError):  # not there, or of something else: it is made anew
        pass
    key = (cell["packed"], run["size"], *map(str, folders.values()))
    if key not in memory:
        memory[key] = _losses(Path(cell["packed"]), run["size"], folders)
    write_json(path, {"version": VERSION, "losses": memory[key]})
    return memory[key]


def _losses(packed: Path, size: int, holdouts: dict[str, Path]) -> dict[str, float]:
    read = Packed.open(packed)
    nats = trigram_nats(read.tokens, read.documents, size, read.end, read.vocabulary, holdouts)
    return {
        name: float(mine.sum()) / Packed.open(holdouts[name]).meta["tokens"] for name, mine in nats.items()
    }


def trigram_nats(
    tokens: np.ndarray, documents: np.ndarray, size: int, end: int, vocabulary: int, holdouts: dict[str, Path]
) -> dict[str, np.ndarray]:
    """By holdout the nats of its documents, float64, by a trigram of the first `size` tokens."""
    read = np.unique(np.minimum(documents, size))
    trigram = TokenTrigram(np.asarray(tokens[: read[-1]]), read, end, vocabulary)
    held = {name: Packed.open(folder) for name, folder in holdouts.items()}
    return {name: trigram.nats(np.asarray(one.tokens), one.documents) for name, one in held.items()}


def texts_among(holdouts: dict[str, Path]) -> dict[str, Path]:
    """Those that are no questions, whose answers a trigram cannot read behind their prompt."""
    return {name: path for name, path in holdouts.items() if not (path / "scored.npy").exists()}


def trigram_warning(name: str, holdout: dict) -> str | None:
    """Where the trigram has the lower loss."""
    cells = [(s, p) for s, series in holdout["levels"].items() for p in series["points"] if p["trigram"]]
    beaten = [(s, p) for s, p in cells if p["trigram"] < p["mean"]]
    if not beaten:
        return None
    series, point = max(beaten, key=lambda at: at[1]["mean"] - at[1]["trigram"])
    return (
        f"these models have not yet learned more than statistics of three tokens: on {text_of(name)} a trigram of the "
        f"same tokens has a lower loss in {len(beaten)} of {len(cells)} cells ({series} at {point['tokens']:,} tokens: "
        f"{point['trigram']:.2f} against {point['mean']:.2f} nats per token); more passes or a better rate may mend it"
    )
