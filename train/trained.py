"""A finished run, to ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import safetensors.torch

from train.config import ModelConfig, current_names
from train.evaluate import Scores, evaluate, score_documents
from train.files import open_sealed
from train.machine import choose_device
from train.model.transformer import Transformer
from train.records import RECORD
from train.tokens.encoder import encode
from train.tokens.packed import Packed


@dataclass(frozen=True)
class TrainedRun:
    """The model of a finished run, its record (run.json), and the folder where it lies.

    run = load_run(".curate/runs/raw-seed-0-.../400000")
    run.loss(["A text.", "Another."]).nats_per_token
    """

    directory: Path
    model: Transformer
    record: dict[str, Any]

    def losses(self, texts: pa.LargeStringArray | Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(nats float64 [n], tokens int64 [n]) of texts read one by one, their end tokens included."""
        ids, offsets = encode(self.tokenizer, texts)
        nats = score_documents(self.model, ids, offsets, self.record["end"], self.record["cell"]["precision"])
        return nats, np.diff(offsets)

    def loss(self, texts: Packed | str | Sequence[str]) -> Scores:
        """Loss of texts read one by one, or of packed tokens as training scores its holdouts. Raises ValueError for none."""
        if isinstance(texts, Packed):
            return evaluate(self.model, texts, self.record["cell"]["precision"])
        texts = [texts] if isinstance(texts, str) else list(texts)
        size = sum(len(text.encode()) for text in texts)
        if not size:
            raise ValueError("an empty text has no loss")
        nats, tokens = self.losses(texts)
        return Scores(nats, int(tokens.sum()), size)

    @property
    def tokenizer(self) -> Path:
        """Raises FileNotFoundError where the run has none."""
        path = self.directory / "tokenizer.json"
        if not path.exists():
            raise FileNotFoundError(f"{path}: the run has no tokenizer; score packed tokens instead")
        return path


def load_run(directory: str | Path, device: str = "auto") -> TrainedRun:
    """Raises FileNotFoundError where there is no finished run, Damaged where it is not what was written."""
    directory = Path(directory)
    if not (directory / RECORD).exists():
        raise FileNotFoundError(f"{directory}: no finished run ({RECORD} is missing); train it first")
    record = open_sealed(directory / RECORD)
    model = Transformer(ModelConfig(**current_names(ModelConfig, record["model"])))
    model.load_state_dict(safetensors.torch.load_file(directory / "model.safetensors"))
    return TrainedRun(directory, model.to(choose_device(device)).eval(), record)
