"""The door to tokens: learn a tokenizer, encode texts, pack ids on disk."""

from train.tokens.bpe import END, load_tokenizer, token_dtype, train_tokenizer
from train.tokens.encoder import encode
from train.tokens.packed import Packed

__all__ = ["END", "Packed", "encode", "load_tokenizer", "token_dtype", "train_tokenizer"]
