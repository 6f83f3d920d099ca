"""The tokenizer: byte-level BPE, learned from text and read from a file.

The tokenizer is a standard `tokenizer.json`. Text is cut in words first (contractions, letters with the
sign ahead of them, single digits, runs of signs, white space) and merges never cross a cut. All 256
bytes are in the vocabulary, so any text comes back exactly. Every document ends in `<|end|>`; the same
characters inside a text are encoded as plain text, so no document can forge a boundary.

`train.tokens.encoder` turns texts into ids with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tokenizers import Encoding, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from train.files import write_whole

END = "<|end|>"
SMALLEST_VOCABULARY = 257  # the bytes and <|end|>

WORDS = (
    r"'(?i:[sdmt]|ll|ve|re)"  # contractions
    r"|[^\r\n\p{L}\p{N}]?\p{L}[\p{L}\p{M}]*"  # letters and their marks, with one sign or space ahead
    r"|\p{N}"  # digits, singly: numbers of any length are spelled alike
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"  # signs
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"  # line ends; white space but for the space ahead of a word
)


def train_tokenizer(texts: Iterable[str], vocabulary: int, path: str | Path) -> str:
    """Learn `vocabulary` tokens, write them to `path`, return the file's sha256. Same texts, same bytes."""
    if vocabulary < SMALLEST_VOCABULARY:
        raise ValueError(f"vocabulary = {vocabulary}: the bytes and {END} alone are {SMALLEST_VOCABULARY}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() < vocabulary:
        raise ValueError(
            f"vocabulary = {vocabulary}: these texts hold only {tokenizer.get_vocab_size()} tokens worth "
            f"merging; give more text or ask for fewer tokens"
        )
    written = tokenizer.to_str(pretty=True).encode()
    write_whole(Path(path), lambda file: file.write(written))
    return hashlib.sha256(written).hexdigest()


def load_tokenizer(tokenizer: str | Path | Tokenizer) -> Tokenizer:
    """A tokenizer that has `<|end|>` and treats these characters inside a text as text, and all of a text, the same every
    time: a file may hold truncation, padding and dropout, which are for whoever wrote it."""
    if not isinstance(tokenizer, Tokenizer):
        tokenizer = read_tokenizer(Path(tokenizer))
    end_id(tokenizer)
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if isinstance(tokenizer.model, models.BPE):
        tokenizer.model.dropout = None
    return tokenizer


def read_tokenizer(path: Path) -> Tokenizer:
    """As the file says. Raises FileNotFoundError, and ValueError where it is none."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such tokenizer; train one with train_tokenizer")
    try:
        loaded = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise ValueError(f"{path}: not a tokenizer.json ({error})") from None
    size, tokens = vocabulary_of(loaded), loaded.get_vocab_size()
    if size > 2 * tokens:
        raise ValueError(
            f"{path}: ids up to {size - 1:,} for {tokens:,} tokens; number them without such gaps"
        )
    return loaded


def vocabulary_of(tokenizer: Tokenizer) -> int:
    """How many ids a model must know: one more than the largest; a file may leave some out."""
    return 1 + max(tokenizer.get_vocab().values(), default=-1)


def encode_batch(tokenizer: Tokenizer, texts: list[str]) -> list[Encoding]:
    """By the library, without its special tokens. Raises ValueError where it has no token for something."""
    try:
        return tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    except Exception as error:  # as above
        raise ValueError(
            f"the tokenizer cannot encode every text: {error}; take one that knows every byte, or train one"
        ) from None


def end_id(tokenizer: Tokenizer) -> int:
    end = tokenizer.token_to_id(END)
    if end is None:
        raise ValueError(f"the tokenizer has no token {END}, which has to end every document")
    return end


def token_dtype(vocabulary: int) -> np.dtype:
    """Little-endian uint16 where the ids fit, uint32 where they do not."""
    return np.dtype("<u2" if vocabulary <= 1 << 16 else "<u4")
