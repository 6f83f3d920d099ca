"""The end token of a tokenizer from elsewhere: `<|endoftext|>` of GPT-2, `</s>` of Llama, or none at all.

All of curate ends documents in `<|end|>`. So a copy of the tokenizer is made in which the user's token bears that name, or
in which it is added. Ids stay what they were, and whoever hands a tokenizer on gives the token its name back.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from train.tokens.bpe import END, read_tokenizer

WAS = "was"  # key of an added token in the copy: its name in the user's file
SPECIAL = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def with_end(tokenizer: Path, end: str | None) -> bytes:
    """The tokenizer.json whose `<|end|>` is this token; `<|end|>` itself is added where it is lacking, None takes what is
    there. Raises ValueError where there is no such token."""
    loaded = read_tokenizer(tokenizer)
    content, there = tokenizer.read_bytes(), loaded.token_to_id(END) is not None
    if end == END and not there:
        loaded.add_special_tokens([END])
        return loaded.to_str(pretty=True).encode()
    if end is None and not there:
        special = [token["content"] for token in json.loads(content)["added_tokens"] if token["special"]]
        names = f"one of {', '.join(special[:8])}" if special else f'"{END}", which is then added'
        raise ValueError(
            f"{tokenizer}: the tokenizer has no token {END} to end documents in; name its own: end = {names}"
        )
    if end in (None, END):
        return content
    number = loaded.token_to_id(str(end))
    if number is None or there:
        what = f"it has {END}, which ends documents" if there else f'no such token; write "{END}" to add one'
        raise ValueError(f'{tokenizer}: end = "{end}": {what}')
    return _renamed(content, str(end), END, number)


def end_of(tokenizer: Path) -> tuple[str, int]:
    """(name in the user's file, id) of the end token of a copy, or of a tokenizer that curate trained."""
    token = next(t for t in json.loads(tokenizer.read_bytes())["added_tokens"] if t["content"] == END)
    return token.get(WAS, END), token["id"]


def as_it_was(tokenizer: Path) -> bytes:
    """The tokenizer.json with the end token under the name that its user knows."""
    name, number = end_of(tokenizer)
    content = tokenizer.read_bytes()
    return content if name == END else _renamed(content, END, name, number)


def _renamed(content: bytes, old: str, new: str, number: int) -> bytes:
    shape: dict[str, Any] = json.loads(content)
    others = [token for token in shape["added_tokens"] if token["content"] != old]
    token = {"id": number, "content": new, **SPECIAL, **({WAS: old} if new == END else {})}
    shape["added_tokens"] = sorted([*others, token], key=lambda one: one["id"])
    vocabulary = shape["model"]["vocab"]
    if isinstance(vocabulary, dict):
        if old in vocabulary:
            vocabulary[new] = vocabulary.pop(old)
    else:  # Unigram: a list of pieces with their scores
        for piece in vocabulary:
            piece[0] = new if piece[0] == old else piece[0]
    return (json.dumps(shape, ensure_ascii=False, indent=2) + "\n").encode()
