"""The end token of a tokenizer from elsewhere: `<|endoftext|>` of GPT-2, `</s>` of Llama, or none at all.

All of curate ends documents in `<|end|>`. So a copy of the tokenizer is made in which the user's token bears that name, or
in which it is added. Ids stay what they were, and whoever hands a tokenizer on gives the token its name back.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from train.files import write_whole
from train.tokens.bpe import END

WAS = "was"  # key of an added token in the copy: its name in the user's file


def with_end(tokenizer: Path, end: str | None, out: Path) -> None:
    """Write the copy whose `<|end|>` is this token; `<|end|>` itself is added where it is lacking, None takes what is there.

    Raises ValueError where there is no such token.
    """
    try:
        loaded = Tokenizer.from_file(str(tokenizer))
    except Exception as error:  # the library raises bare Exception
        raise ValueError(f"{tokenizer}: not a tokenizer.json ({error})") from None
    content = tokenizer.read_bytes()
    if end == END and loaded.token_to_id(END) is None:
        loaded.add_special_tokens([END])
        content = loaded.to_str(pretty=True).encode()
    elif end not in (None, END):
        content = _renamed(tokenizer, json.loads(content), str(end), END, loaded.token_to_id(str(end)))
    elif loaded.token_to_id(END) is None:
        known = [token["content"] for token in json.loads(content)["added_tokens"] if token["special"]]
        names = f"one of {', '.join(known[:8])}" if known else f'"{END}", which is then added'
        raise ValueError(
            f"{tokenizer}: it has no token {END} to end documents in; name its own with end: {names}"
        )
    write_whole(out, lambda file: file.write(content))


def end_of(tokenizer: Path) -> tuple[str, int]:
    """(name in the user's file, id) of the end token of a copy, or of a tokenizer that curate trained."""
    token = next(t for t in json.loads(tokenizer.read_bytes())["added_tokens"] if t["content"] == END)
    return token.get(WAS, END), token["id"]


def as_it_was(tokenizer: Path) -> bytes:
    """The tokenizer.json with the end token under the name that its user knows."""
    name, number = end_of(tokenizer)
    content = tokenizer.read_bytes()
    return content if name == END else _renamed(tokenizer, json.loads(content), END, name, number)


def _renamed(path: Path, shape: dict[str, Any], old: str, new: str, number: int | None) -> bytes:
    if number is None:
        raise ValueError(f'{path}: end = "{old}": it has no such token; write "{END}" to add one')
    if any(token["content"] == new for token in shape["added_tokens"]):
        raise ValueError(f"{path}: it has a token {new} already, which ends documents")
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    token = next((t for t in shape["added_tokens"] if t["content"] == old), None)
    if token is None:
        token = plain | {"id": number}
        shape["added_tokens"] = sorted([*shape["added_tokens"], token], key=lambda t: t["id"])
    token |= {"content": new, "special": True} | ({WAS: old} if new == END else {})
    if new != END:
        token.pop(WAS, None)
    vocabulary = shape["model"]["vocab"]
    if isinstance(vocabulary, dict):
        if old in vocabulary:
            vocabulary[new] = vocabulary.pop(old)
    else:  # Unigram: a list of pieces with their scores
        for piece in vocabulary:
            piece[0] = new if piece[0] == old else piece[0]
    return (json.dumps(shape, ensure_ascii=False, indent=2) + "\n").encode()
