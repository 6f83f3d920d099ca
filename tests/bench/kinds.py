"""What share of each kind of text every published profile keeps: the table in `filters/AGREEMENT.md`.

    CURATE_DATA=FOLDER python tests/bench/kinds.py

Reads web_mix.parquet, whose column `kind` says where a document is from. A second row of a profile is of the same texts with
lines that end in "\n" only, where that changes what it keeps by a hundredth or more.
"""

from __future__ import annotations

import os
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters import FAMILIES

KINDS = ("docs", "books", "multi", "mail_ham", "page", "boilerplate", "noise", "mail_spam")
PROFILES = (
    "gopher-quality", "gopher-repetition", "c4", "c4-paper", "c4-any-ending", "fineweb", "fineweb-paper", "fineweb-v1",
    "fineweb-2", "dolma-1.6", "dclm", "olmo3",
)  # fmt: skip
ON_TEXT = (
    "words",
    "lines",
    "repetition",
    "c4",
    "c4_paper",
    "dclm",
    "madlad",
    "unicode_words",
    "unicode_repetition",
    "private",
    "language",
)


def signals(texts: pa.Array) -> dict[str, np.ndarray]:
    columns: dict[str, pa.Array] = {}
    for name in ON_TEXT:
        columns |= FAMILIES[name].measure(texts)
    columns |= FAMILIES["stop_words"].measure(texts, language=columns["language"])
    return {
        name: column.to_numpy(zero_copy_only=False)
        for name, column in columns.items()
        if not name.endswith("spans")
    }


def passes(values: np.ndarray, bound: list) -> np.ndarray:
    if isinstance(bound[0], str):
        return np.isin(values.astype(str), bound)
    numbers = values.astype(float)  # missing: NaN, which no bound keeps
    return (numbers >= bound[0]) & (numbers <= bound[1])


def kept(profile: str, values: dict[str, np.ndarray]) -> np.ndarray:
    told = tomllib.loads((files("filters") / "profiles" / f"{profile}.toml").read_text())
    keep = np.logical_and.reduce([passes(values[name], bound) for name, bound in told["keep"].items()])
    for code, bounds in told.get("language", {}).items():
        other = values["language"] != code
        for name, bound in bounds.items():
            keep &= other | passes(values[name], bound)
    return keep


def row(name: str, keep: np.ndarray, kind: np.ndarray) -> str:
    return (
        f"| {name} | "
        + " | ".join(f"{keep[kind == k].mean():.0%}" for k in KINDS)
        + f" | {keep.mean():.0%} |"
    )


def main() -> None:
    if not (folder := os.environ.get("CURATE_DATA")):
        sys.exit("name the data by CURATE_DATA")
    table = pq.read_table(Path(folder) / "web_mix.parquet", columns=["text", "kind"]).combine_chunks()
    texts, kind = table["text"].cast(pa.large_string()), np.array(table["kind"].to_pylist())
    wanted = np.isin(kind, KINDS)
    texts, kind = texts.filter(pa.array(wanted)).combine_chunks(), kind[wanted]
    unix = pc.replace_substring(pc.replace_substring(texts, "\r\n", "\n"), "\r", "\n")
    as_read, other = signals(texts), signals(unix)
    print("| profile | " + " | ".join(KINDS) + " | all |\n|---|" + "---|" * (len(KINDS) + 1))
    print("| *documents* | " + " | ".join(f"{(kind == k).sum():,}" for k in KINDS) + f" | {len(kind):,} |")
    for profile in PROFILES:
        keep, then = kept(profile, as_read), kept(profile, other)
        print(row(profile, keep, kind))
        if max(abs(keep[kind == k].mean() - then[kind == k].mean()) for k in KINDS) >= 0.01:
            print(row("— lines ending in \\n", then, kind))


if __name__ == "__main__":
    main()
