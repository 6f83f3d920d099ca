"""Runs as they lie on the disk: light to import, for whoever only reads records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from train.files import Damaged, open_sealed, set_aside

RECORD = "run.json"
FAILED = "failed.json"  # why the last attempt at a cell ended
CELL_LOCK = "cell.lock"  # held by whoever trains it
WEIGHTS = ".safetensors"


def finished_run(folder: Path) -> dict[str, Any] | None:
    """The record of a finished run, or None. A folder that is damaged is set aside: the run is trained again.

    Of weights only the size is compared; `train.run.load_run`, which reads them, compares their bytes.
    """
    try:
        return open_sealed(folder / RECORD, besides=WEIGHTS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Damaged as error:
        set_aside(folder, error.path)
        return None
