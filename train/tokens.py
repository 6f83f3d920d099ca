"""The door to tokens: learn a tokenizer, encode texts, pack ids on disk."""

from train.bpe import END, load_tokenizer, token_dtype, train_tokenizer
from train.encoder import encode
from train.packed import Packed

__all__ = ["END", "Packed", "encode", "load_tokenizer", "token_dtype", "train_tokenizer"]
