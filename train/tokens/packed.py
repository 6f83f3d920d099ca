"""Packed tokens: a directory that a run memory-maps.

    tokens.bin      ids, little-endian uint16 (uint32 where the vocabulary has more than 65,536)
    documents.npy   int64 [n + 1]: document i is tokens[documents[i]:documents[i + 1]], its end included
    bytes.npy       int64 [n]: UTF-8 bytes of each document's text, for bits per byte
    meta.json       counts, types and digests; written last
    tokenizer.json  the tokenizer, where it was given: then the directory explains itself
    groups.json     where given, kind -> name -> numbers of documents: {"source": {"books": [0, 3]}}; of a holdout,
                    whose loss is then told of each
    scored.npy      where given, int64 [n, 3]: of questions, the first token of each document that is scored, the number of
                    its question, and 1 where it is the right answer; bytes are then those of the answer
    resample.npy    where given, int64 [n]: documents with one number are resampled together

A directory appears under its name only when all of it is on the disk. Opening compares every byte with what was written,
once a process; what differs raises `train.files.Damaged`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from train.files import (
    Damaged,
    atomic,
    file_digest,
    open_sealed,
    read_json,
    say_damaged,
    seal_folder,
    write_array,
    write_json,
    write_whole,
)
from train.tokens.bpe import end_id, load_tokenizer, token_dtype, vocabulary_of
from train.tokens.encoder import Texts, byte_counts_of, offsets_of, open_encoder

META = "meta.json"


Groups = dict[str, dict[str, list[int]]]


@dataclass(frozen=True)
class Packed:
    """An opened directory of packed tokens; `tokens`, `documents` and `bytes` are memory-mapped."""

    path: Path
    meta: dict

    @classmethod
    def write(
        cls,
        path: str | Path,
        ids: np.ndarray | Iterable[np.ndarray],
        offsets: np.ndarray | Callable[[], np.ndarray],
        byte_counts: np.ndarray,
        *,
        tokenizer: str | Path | None = None,
        vocabulary: int | None = None,
        end: int | None = None,
        groups: Groups | None = None,
        resample: np.ndarray | None = None,
        scored: np.ndarray | None = None,
    ) -> Packed:
        """Write and open. `ids` may come in pieces, so that a corpus need not fit in memory; then `offsets` may be a
        function that is called when all have come.

        Vocabulary and end id are the tokenizer's; give them by hand only where there is none.
        """
        path = Path(path)
        if tokenizer is not None:
            loaded = load_tokenizer(tokenizer)
            vocabulary, end = vocabulary_of(loaded), end_id(loaded)
        if vocabulary is None or end is None:
            raise ValueError(f"{path}: give the tokenizer, or both vocabulary and end")
        if cls.is_whole(path):
            raise FileExistsError(f"{path}: exists already; packed tokens are never overwritten")
        with atomic(path, cls.is_whole) as temporary:
            temporary.mkdir()
            _write_files(
                temporary,
                ids,
                offsets,
                byte_counts,
                tokenizer,
                vocabulary,
                end,
                groups,
                {"resample": resample, "scored": scored},
            )
        return cls.open(path)

    @classmethod
    def of_texts(cls, path: str | Path, texts: Texts, tokenizer: str | Path) -> Packed:
        """Encode and write, batch by batch: memory for a few megabytes of text at a time."""
        counts = [np.zeros(0, np.int64)]

        def ids() -> Iterator[np.ndarray]:
            for piece, sizes in open_encoder(tokenizer).pieces(texts):
                counts.append(sizes)
                yield piece

        sizes = byte_counts_of(texts)
        return cls.write(path, ids(), lambda: offsets_of(np.concatenate(counts)), sizes, tokenizer=tokenizer)

    @classmethod
    def open(cls, path: str | Path) -> Packed:
        path = Path(path)
        if not (path / META).is_file():
            raise FileNotFoundError(f"{path}: no packed tokens ({META} is missing); pack the corpus first")
        return cls(path, open_sealed(path / META))

    @classmethod
    def is_whole(cls, path: Path) -> bool:
        """Whether all of it is there as it was written; what is damaged is said."""
        try:
            cls.open(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except Damaged as error:
            say_damaged(error.path, "these tokens are packed again")
            return False
        return True

    @cached_property
    def tokens(self) -> np.ndarray:
        if not self.meta["tokens"]:  # an empty file cannot be mapped
            return np.zeros(0, self.meta["dtype"])
        return np.memmap(self.path / "tokens.bin", self.meta["dtype"], "r")

    @cached_property
    def documents(self) -> np.ndarray:
        return np.load(self.path / "documents.npy")

    @cached_property
    def bytes(self) -> np.ndarray:
        return np.load(self.path / "bytes.npy")

    @property
    def vocabulary(self) -> int:
        return self.meta["vocabulary"]

    @property
    def end(self) -> int:
        return self.meta["end"]

    @property
    def tokenizer_path(self) -> Path | None:
        path = self.path / "tokenizer.json"
        return path if path.exists() else None

    @property
    def groups(self) -> Groups:
        path = self.path / "groups.json"
        return read_json(path) if path.exists() else {}

    @cached_property
    def scored(self) -> np.ndarray | None:
        path = self.path / "scored.npy"
        return np.load(path) if path.exists() else None

    @property
    def units(self) -> np.ndarray:
        return scored_tokens(self.path)

    def prefix_sha256(self, tokens: int) -> str:
        """Digest of the first tokens alone: equal for every corpus that begins alike."""
        digest = hashlib.sha256()
        for start in range(0, tokens, 1 << 24):
            digest.update(self.tokens[start : min(tokens, start + (1 << 24))].tobytes())
        return digest.hexdigest()


def scored_tokens(folder: Path) -> np.ndarray:
    """int64: the tokens that each loss on these packed tokens is of: of a document, or of the right answer to a question."""
    sizes = np.diff(np.load(folder / "documents.npy"))
    if not (folder / "scored.npy").exists():
        return sizes
    first, _, right = np.load(folder / "scored.npy").T
    return (sizes - first)[right == 1]


def _check_offsets(offsets: np.ndarray, tokens: int, where: Path) -> None:
    if offsets.ndim != 1 or not len(offsets) or offsets[0] != 0 or (np.diff(offsets) < 1).any():
        raise ValueError(f"{where}: offsets must begin at 0 and grow: every document has an end token")
    if offsets[-1] != tokens:
        raise ValueError(f"{where}: offsets end at {offsets[-1]:,}, but there are {tokens:,} tokens")


def _write_files(
    folder: Path,
    ids,
    offsets,
    byte_counts,
    tokenizer,
    vocabulary: int,
    end: int,
    groups: Groups | None,
    arrays: dict[str, np.ndarray | None],
) -> None:
    byte_counts = np.asarray(byte_counts, np.int64)
    dtype = token_dtype(vocabulary)
    tokens = 0

    def write(file):
        nonlocal tokens
        for piece in [ids] if isinstance(ids, np.ndarray) else ids:
            if len(piece) and int(piece.max()) >= vocabulary:
                raise ValueError(f"token id {int(piece.max())} is outside the vocabulary of {vocabulary}")
            tokens += len(piece)
            file.write(np.ascontiguousarray(piece, dtype))

    write_whole(folder / "tokens.bin", write)
    offsets = np.asarray(offsets() if callable(offsets) else offsets, np.int64)
    _check_offsets(offsets, tokens, folder / "documents.npy")
    if len(byte_counts) != len(offsets) - 1:
        raise ValueError(f"{len(byte_counts)} byte counts for {len(offsets) - 1} documents")
    write_array(folder / "documents.npy", offsets)
    write_array(folder / "bytes.npy", byte_counts)
    names = ["tokens.bin", "documents.npy", "bytes.npy"]
    if tokenizer is not None:
        content = Path(tokenizer).read_bytes()
        write_whole(folder / "tokenizer.json", lambda file: file.write(content))
        names.append("tokenizer.json")
    if groups is not None:
        write_json(folder / "groups.json", groups)
        names.append("groups.json")
    for name, array in arrays.items():
        if array is not None:
            write_array(folder / f"{name}.npy", np.asarray(array, np.int64))
            names.append(f"{name}.npy")
    digests = {name: file_digest(folder / name) for name in names}
    meta = {
        "vocabulary": vocabulary,
        "dtype": dtype.str,
        "tokens": tokens,
        "documents": len(byte_counts),
        "bytes": int(byte_counts.sum()),
        "tokenizer_sha256": digests.get("tokenizer.json"),
        "end": end,
        "sha256": digests,
    }
    seal_folder(folder / META, meta, names)
