"""What a tokenizer loses of texts: decode(encode(text)) should be the text, or a loss is not of the text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from train.tokens.bpe import encode_batch, load_tokenizer

LEAST_LETTERS = 0.99  # of letters and digits: with fewer, what is left is another text


@dataclass(frozen=True)
class RoundTrip:
    """Of some texts, encoded and decoded. `letters`: share of letters and digits that come back, at most 1."""

    texts: int
    changed: int
    letters: float
    unknown: float  # share of tokens that stand for what the vocabulary lacks


def round_trip(tokenizer: str | Path | Tokenizer, texts: Sequence[str]) -> RoundTrip:
    """Letters are counted, not compared: who lower-cases or composes accents changes a text and loses none of it."""
    loaded = load_tokenizer(tokenizer)
    unknown_id = _unknown_id(loaded)
    changed = before = after = tokens = unknown = 0
    for text, encoded in zip(texts, encode_batch(loaded, list(texts)), strict=True):
        known = [token for token in encoded.ids if token != unknown_id]
        back = loaded.decode(known, skip_special_tokens=False)
        changed += back != text
        before += _letters(text)
        after += min(_letters(text), _letters(back))
        tokens += len(encoded.ids)
        unknown += len(encoded.ids) - len(known)
    return RoundTrip(len(texts), changed, after / before if before else 1.0, unknown / max(1, tokens))


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    """Of the token for what the vocabulary lacks: most models name it, Unigram has its number."""
    model = json.loads(tokenizer.to_str())["model"]
    if model.get("unk_token") is not None:
        return tokenizer.token_to_id(model["unk_token"])
    return model.get("unk_id")
