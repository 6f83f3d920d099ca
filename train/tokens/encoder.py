"""Texts to token ids: by compiled loops for tokenizers of our shape, by the library for all others.

The ids are the library's in both cases. Ours is a byte-level BPE whose words are those of `train.tokens.bpe.WORDS`, without
normalizer and without added tokens but special ones: what `train_tokenizer` writes, whoever wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer, pre_tokenizers

from train.tokens.bpe import WORDS, encode_batch, end_id, load_tokenizer, token_dtype, vocabulary_of

BATCH_BYTES = 8_000_000  # encoded at once by the library: enough to keep its threads busy, little memory
LARGEST_ID = (1 << 24) - 2  # that the compiled merges can hold
ODD = (
    "dropout",
    "unk_token",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "byte_fallback",
    "ignore_merges",
)
Texts: TypeAlias = pa.Array | pa.ChunkedArray | Sequence[str]


def encode(tokenizer: str | Path | Tokenizer, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
    """(ids uint16 or uint32 [tokens], offsets int64 [n + 1]): document i is `ids[offsets[i]:offsets[i + 1]]`,
    its `<|end|>` included. A missing text is empty, and bytes that are not UTF-8 are replaced."""
    return open_encoder(tokenizer).encode(texts)


def open_encoder(tokenizer: str | Path | Tokenizer) -> Encoder:
    """The encoder of a tokenizer; opened again for the same file, it still knows the words it has seen."""
    if isinstance(tokenizer, Tokenizer):
        return Encoder(load_tokenizer(tokenizer))
    path = Path(tokenizer)
    if not path.is_file():
        return Encoder(load_tokenizer(path))  # which says what is wrong
    stat = path.stat()
    return _opened(str(path.resolve()), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _opened(path: str, changed: int, size: int) -> Encoder:
    return Encoder(load_tokenizer(path))


class Encoder:
    """`encode` may be called from several threads at once. `slow` says why the library encodes, None where it need not."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.end = tokenizer, end_id(tokenizer)
        self.dtype = token_dtype(vocabulary_of(tokenizer))
        shape = json.loads(tokenizer.to_str())
        self.slow = why_slow(shape)
        self._merges = None if self.slow else Merges(shape["model"])
        self._idle: list[Words] = []  # tables of words that no thread is using now

    @staticmethod
    def compiled() -> bool:
        """Whether this machine has compiled the loops before; else the first call takes some seconds."""
        from train.tokens.fast_bpe import encode_documents

        folder = Path(str(encode_documents.stats.cache_path))
        return bool(encode_documents.signatures) or any(folder.glob("fast_bpe.encode_documents-*.nbi"))

    def encode(self, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
        """(ids, offsets) of texts that fit in memory, as `encode`."""
        pieces = list(self.pieces(texts))
        if len(pieces) == 1:
            ids, counts = pieces[0]
        else:
            ids = np.concatenate([np.zeros(0, self.dtype), *(ids for ids, _ in pieces)])
            counts = np.concatenate([np.zeros(0, np.int64), *(counts for _, counts in pieces)])
        return ids, offsets_of(counts)

    def pieces(self, texts: Texts) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(ids, tokens of each document) of a batch of documents after the other."""
        for batch in batches(texts):
            yield self._by_library(batch) if self._merges is None else self._compiled(batch, self._merges)

    def _compiled(self, texts: pa.LargeStringArray, merges: Merges) -> tuple[np.ndarray, np.ndarray]:
        from train.tokens.fast_bpe import encode_documents

        offsets, data = _bytes_of(texts)
        words = self._idle.pop() if self._idle else Words()
        out = np.empty(int(offsets[-1] - offsets[0]) + len(texts) + 4, np.uint32)
        ends = np.empty(len(texts), np.int64)
        try:
            size = encode_documents(
                data, offsets, np.uint32(self.end), *merges.tables, *words.tables, out, ends
            )
        finally:
            self._idle.append(words)
        return out[:size].astype(self.dtype), np.diff(ends, prepend=0)

    def _by_library(self, texts: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
        encoded = encode_batch(self.tokenizer, texts.to_pylist())
        ids = [np.array([*encoding.ids, self.end], self.dtype) for encoding in encoded]
        return np.concatenate(ids), np.array([len(one) for one in ids])


def why_slow(shape: dict[str, Any]) -> str | None:
    """Why a tokenizer.json is not of the shape that the compiled loops know; None where it is."""
    model, before = shape["model"], shape["pre_tokenizer"]
    if model.get("type") != "BPE":
        return f"its model is {model.get('type')}, not BPE"
    odd = [name for name in ODD if model.get(name)]
    if odd:
        return f"its model sets {odd[0]}"
    if shape["normalizer"] is not None:
        return "it normalizes text"
    if shape["truncation"] or shape["padding"]:
        return "it truncates or pads"
    if not _cuts_our_words(before):
        return "its pre-tokenizer cuts other words"
    if any(not token["special"] for token in shape["added_tokens"]):
        return "it has added tokens that are not special"
    if not set(pre_tokenizers.ByteLevel.alphabet()) <= set(model["vocab"]):
        return "its vocabulary lacks some bytes"
    if max(model["vocab"].values()) > LARGEST_ID:
        return "its vocabulary is too large"
    return None


def _cuts_our_words(before: dict[str, Any] | None) -> bool:
    if not before or before["type"] != "Sequence" or len(before["pretokenizers"]) != 2:
        return False
    split, byte_level = before["pretokenizers"]
    return (
        (split["type"], split.get("pattern"), split.get("behavior"), split.get("invert"))
        == ("Split", {"Regex": WORDS}, "Isolated", False)
        and byte_level["type"] == "ByteLevel"
        and not byte_level["add_prefix_space"]
        and not byte_level["use_regex"]
    )  # fmt: skip


def offsets_of(counts: np.ndarray) -> np.ndarray:
    """int64 [n + 1]: where each of these many begins, and where the last ends."""
    return np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))


class Merges:
    """A tokenizer's numbers for the compiled loops: classes of characters, id of each byte, rank of each pair."""

    def __init__(self, model: dict[str, Any]) -> None:
        from train.tokens.characters import character_classes
        from train.tokens.fast_bpe import table_of_pairs

        ids = model["vocab"]
        byte_ids = np.array([ids[letter] for letter in letters_of_bytes()], np.uint32)
        pairs = [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]
        merged = np.array([ids[left + right] for left, right in pairs] or [0], np.uint32)
        left_right = np.array([[ids[left], ids[right]] for left, right in pairs], np.uint64).reshape(-1, 2)
        self.tables = (character_classes(), byte_ids, table_of_pairs(left_right), merged)


class Words:
    """The words that one thread has encoded, and their tokens: some 20 MB, however many there are."""

    def __init__(self) -> None:
        from train.tokens.fast_bpe import LONG_BYTES, LONG_IDS, SLOTS

        self.tables = (
            np.zeros(4 * SLOTS, np.uint64),
            np.empty(LONG_BYTES, np.uint8),
            np.empty(LONG_IDS, np.uint32),
            np.zeros(2, np.int64),
        )


def letters_of_bytes() -> list[str]:
    """How a tokenizer.json writes each byte: itself where it is visible, else the next character from U+0100 on."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    unseen = iter(range(0x100, 0x200))
    return [chr(byte if byte in visible else next(unseen)) for byte in range(256)]


# ---- Columns of text ------------------------------------------------------------------------------------


def batches(texts: Texts) -> Iterator[pa.LargeStringArray]:
    """The texts as valid columns of some `BATCH_BYTES` (a longer text is a column of its own), without nulls."""
    for column in _columns(texts):
        column = _valid(column.fill_null("") if column.null_count else column)
        reach = np.cumsum(pc.binary_length(column).to_numpy()) // BATCH_BYTES
        cuts = np.flatnonzero(np.diff(reach)) + 1
        edges = [0, *cuts.tolist(), len(column)]
        yield from (column.slice(a, b - a) for a, b in zip(edges, edges[1:], strict=False) if b > a)


def byte_counts_of(texts: Texts) -> np.ndarray:
    """int64 [n]: bytes of each text as it stands in the source; 0 where it is missing."""
    sizes = [pc.fill_null(pc.binary_length(column), 0).to_numpy() for column in _columns(texts)]
    return np.concatenate([np.zeros(0, np.int64), *sizes])


def _columns(texts: Texts) -> Iterable[pa.LargeStringArray]:
    if isinstance(texts, str):
        raise TypeError("encode takes a list of texts, not one text; put it in a list")
    if isinstance(texts, pa.ChunkedArray):
        return (chunk.cast(pa.large_string()) for chunk in texts.chunks)
    if isinstance(texts, pa.Array):
        return [texts.cast(pa.large_string())]
    return [pa.array(texts, pa.large_string())]


def _valid(column: pa.LargeStringArray) -> pa.LargeStringArray:
    """Arrow does not check what it reads: bytes that are not UTF-8 become what `bytes.decode` puts for them."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise  # broken offsets: no text column at all
        raw = column.cast(pa.large_binary()).to_pylist()
        return pa.array([piece.decode(errors="replace") for piece in raw], pa.large_string())
    return column


def _bytes_of(column: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    """(offsets int64 [n + 1], data uint8), read-only: the bytes of text i are `data[offsets[i]:offsets[i + 1]]`."""
    _, offsets, data = column.buffers()
    starts = np.frombuffer(offsets, np.int64, len(column) + 1, 8 * column.offset).view()
    letters = (
        np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(1, np.uint8)
    ).view()
    starts.flags.writeable = letters.flags.writeable = False
    return starts, letters
