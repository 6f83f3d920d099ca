"""Tokenizer and packed tokens: nothing is lost, nothing damaged passes."""

from __future__ import annotations

import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from train.files import Damaged
from train.tokens import END, Packed, encode, load_tokenizer, train_tokenizer
from train.tokens.losses import RoundTrip, round_trip

HOSTILE = [
    "",
    " ",
    "\n\n\n",
    "a\r\nb\rc\u2028d\u0085e",
    "\x00\x01\x7f",
    "汉字没有空格" * 20,
    "e\u0301 n\u0303 \u202eright to left\u202c",
    "👩‍👩‍👧‍👦🏳️‍🌈",
    f"before {END} after",
    f"{END}{END}",
    "x" * 100_000,
    "3.14159 1000000 ٣٤",
    "\ufeffbom \ufffd",
    "  leading and trailing  \t ",
]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    modules = (argparse, json, pathlib, subprocess)
    docs = [value.__doc__ for module in modules for value in vars(module).values()]
    docs = [doc for doc in docs if isinstance(doc, str)]
    return sorted(set(docs))


@pytest.fixture(scope="module")
def tokenizer(texts, tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(texts, 600, path)
    return path


def test_the_same_texts_give_the_same_tokenizer_in_another_process(texts, tokenizer, tmp_path):
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    script = (
        "import json, sys; from train.tokens import train_tokenizer;"
        "print(train_tokenizer(json.load(open(sys.argv[1])), 600, sys.argv[2]))"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "texts.json"), str(tmp_path / "again.json")]
    printed = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.strip()
    assert printed == hashlib.sha256(tokenizer.read_bytes()).hexdigest()
    assert (tmp_path / "again.json").read_bytes() == tokenizer.read_bytes()


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_any_text_comes_back(tokenizer, text):
    ids, offsets = encode(tokenizer, [text])
    loaded = load_tokenizer(tokenizer)
    assert offsets.tolist() == [0, len(ids)]
    assert loaded.decode(ids[:-1].tolist(), skip_special_tokens=False) == text


def test_no_text_can_forge_a_boundary(tokenizer):
    ids, offsets = encode(tokenizer, HOSTILE)
    end = load_tokenizer(tokenizer).token_to_id(END)
    assert np.flatnonzero(ids == end).tolist() == (offsets[1:] - 1).tolist()


def test_numbers_are_spelled_digit_by_digit(tokenizer):
    ids, _ = encode(tokenizer, ["2024"])
    assert len(ids) == 5  # four digits and the end


def test_arrow_slices_and_lists_encode_alike(tokenizer):
    column = pa.array(["skipped", *HOSTILE, None], pa.large_string()).slice(1)
    from_arrow, from_list = encode(tokenizer, column), encode(tokenizer, [*HOSTILE, ""])
    for ours, theirs in zip(from_arrow, from_list, strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
    assert from_arrow[0].dtype == np.uint16


def test_an_impossible_vocabulary_is_refused(tmp_path):
    with pytest.raises(ValueError, match="257"):
        train_tokenizer(["text"], 100, tmp_path / "t.json")
    with pytest.raises(ValueError, match="give more text"):
        train_tokenizer(["text"], 5000, tmp_path / "t.json")
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_that_is_none_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.json"):
        encode(tmp_path / "nowhere.json", ["a"])
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ValueError, match="bad.json"):
        encode(tmp_path / "bad.json", ["a"])


def test_truncation_padding_and_dropout_of_a_file_are_turned_off(tokenizer, tmp_path):
    other = Tokenizer.from_file(str(tokenizer))
    other.model.dropout = 0.5
    other.enable_truncation(5)
    other.enable_padding(length=9, pad_id=0, pad_token="!")
    other.save(str(tmp_path / "t.json"))
    for ours, theirs in zip(encode(tmp_path / "t.json", HOSTILE), encode(tokenizer, HOSTILE), strict=True):
        assert np.array_equal(ours, theirs)


def made(model, **parts) -> Tokenizer:
    made = Tokenizer(model)
    made.add_special_tokens([END])
    for name, part in parts.items():
        setattr(made, name, part)
    return made


FEW = {"one": 0, "two": 1, "[UNK]": 2}
LETTERS = {letter: number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz ")}
TEXTS = ["one two three four", "ONE, two. thr\u00e9e?"] * 20


def test_a_tokenizer_of_ours_loses_nothing(tokenizer):
    assert round_trip(tokenizer, [*HOSTILE, *TEXTS]) == RoundTrip(len(HOSTILE) + len(TEXTS), 0, 1.0, 0.0)


@pytest.mark.parametrize(("tokenizer", "unknown"), [
    (made(models.WordLevel(FEW, "[UNK]"), pre_tokenizer=pre_tokenizers.Whitespace()), True),
    (made(models.Unigram([("one", -1.0), ("<unk>", -2.0)], 1, False)), True),
    (made(models.BPE(LETTERS, [])), False),  # what it lacks it leaves out
    (made(models.BPE(LETTERS, []), normalizer=normalizers.Replace(Regex("[aeiou]"), "")), False),
], ids=["word-level", "unigram", "no-bytes", "normalizer"])  # fmt: skip
def test_what_a_tokenizer_loses_is_counted(tokenizer, unknown):
    found = round_trip(tokenizer, TEXTS)
    assert found.changed > 0
    assert found.letters < 0.99
    assert (found.unknown > 0) == unknown


def test_who_changes_letters_and_keeps_their_number_is_said_to_change_texts_only(tokenizer):
    lower = Tokenizer.from_file(str(tokenizer))
    lower.normalizer = normalizers.Lowercase()
    assert round_trip(lower, TEXTS) == RoundTrip(40, 20, 1.0, 0.0)


@pytest.mark.parametrize(
    "model",
    [models.WordLevel(FEW, "none"), models.Unigram([("one", -1.0)], None, False)],
    ids=["word-level", "unigram"],
)
def test_a_text_that_a_tokenizer_cannot_encode_is_said(model):
    with pytest.raises(ValueError, match="cannot encode every text"):
        encode(made(model), TEXTS)
    with pytest.raises(ValueError, match="cannot encode every text"):
        round_trip(made(model), TEXTS)


def saved(path: Path, vocabulary: dict[str, int]) -> Path:
    """The words are written here: `save` itself takes seconds where ids leave numbers out."""
    written = json.loads(
        made(models.WordLevel(FEW, "one"), pre_tokenizer=pre_tokenizers.WhitespaceSplit()).to_str()
    )
    written["model"]["vocab"] = vocabulary
    path.write_text(json.dumps(written))
    return path


def test_ids_may_leave_some_numbers_out_and_not_most(tmp_path):
    few = saved(tmp_path / "few.json", FEW | {f"w{k}": k + 20_000 for k in range(50_000)} | {"three": 70_000})
    ids, _ = encode(few, ["one three w0"])
    assert ids.tolist() == [0, 70_000, 20_000, load_tokenizer(few).token_to_id(END)]
    assert Packed.of_texts(tmp_path / "packed", ["one three"], few).vocabulary == 70_001
    with pytest.raises(ValueError, match=r"ids up to 2,000,000,000 for 5 tokens"):
        load_tokenizer(saved(tmp_path / "t.json", FEW | {"three": 2_000_000_000}))


def packed(path, tokenizer) -> Packed:
    texts = ["one two three", "", "four"]
    ids, offsets = encode(tokenizer, texts)
    return Packed.write(path, ids, offsets, [len(t.encode()) for t in texts], tokenizer=tokenizer)


def test_packed_tokens_come_back_memory_mapped(tokenizer, tmp_path):
    ids, offsets = encode(tokenizer, ["one two three", "", "four"])
    found = packed(tmp_path / "p", tokenizer)
    assert isinstance(found.tokens, np.memmap)
    assert np.array_equal(found.tokens, ids)
    assert np.array_equal(found.documents, offsets)
    assert found.bytes.tolist() == [13, 0, 4]
    assert found.meta["tokenizer_sha256"] == hashlib.sha256(tokenizer.read_bytes()).hexdigest()
    assert found.tokenizer_path.read_bytes() == tokenizer.read_bytes()
    assert (tmp_path / "p/tokens.bin").read_bytes() == ids.astype("<u2").tobytes()
    assert [p.name for p in tmp_path.iterdir()] == ["p"]  # nothing temporary is left


def test_pieces_give_the_same_bytes_as_the_whole(tmp_path):
    ids, offsets = np.arange(100, dtype=np.uint32) % 7, np.array([0, 60, 100])
    whole = Packed.write(tmp_path / "whole", ids, offsets, [50, 30], vocabulary=7, end=0)
    pieces = Packed.write(
        tmp_path / "pieces", iter([ids[:31], ids[31:]]), offsets, [50, 30], vocabulary=7, end=0
    )
    assert whole.meta == pieces.meta


def test_a_large_vocabulary_is_stored_in_32_bits(tmp_path):
    found = Packed.write(tmp_path / "p", np.array([70_000, 1]), [0, 2], [3], vocabulary=70_001, end=1)
    assert found.tokens.dtype == np.uint32
    assert found.tokens.tolist() == [70_000, 1]


def cut(path):
    path.write_bytes(path.read_bytes()[:-2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


FILES = ["tokens.bin", "documents.npy", "bytes.npy", "tokenizer.json", "meta.json"]


@pytest.mark.parametrize("damage", [cut, flip, zero, Path.unlink])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_directory_is_refused_by_name_and_packed_again(tokenizer, tmp_path, damage, name):
    whole = packed(tmp_path / "p", tokenizer)
    damage(tmp_path / "p" / name)
    with pytest.raises((Damaged, FileNotFoundError), match=name):
        Packed.open(tmp_path / "p")
    assert packed(tmp_path / "p", tokenizer).meta == whole.meta
    assert [p.name for p in tmp_path.iterdir()] == ["p"]


@pytest.mark.parametrize(
    ("ids", "offsets", "byte_counts", "message"),
    [
        ([1, 2, 9], [0, 3], [5], "id 9 is outside"),
        ([1, 2, 3], [0, 2], [5], "offsets end at 2"),
        ([1, 2, 3], [0, 2, 2, 3], [5, 0, 1], "grow"),
        ([1, 2, 3], [0, 3], [5, 6], "2 byte counts for 1 documents"),
    ],
)
def test_inconsistent_input_is_never_packed(tmp_path, ids, offsets, byte_counts, message):
    with pytest.raises(ValueError, match=message):
        Packed.write(tmp_path / "p", np.array(ids), offsets, byte_counts, vocabulary=5, end=0)
    assert list(tmp_path.iterdir()) == []


def test_packed_tokens_are_never_overwritten(tokenizer, tmp_path):
    packed(tmp_path / "p", tokenizer)
    with pytest.raises(FileExistsError, match="never overwritten"):
        packed(tmp_path / "p", tokenizer)
