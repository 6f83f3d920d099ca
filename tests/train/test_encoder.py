"""The compiled encoder: the library's ids for every text, and the library itself for what it does not know."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import huge, invalid_column, texts
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from train.tokens.bpe import END, load_tokenizer, train_tokenizer
from train.tokens.characters import LETTER, MARK, NUMBER, SIGN, SPACE, character_classes
from train.tokens.encoder import Encoder, encode, open_encoder, why_slow

CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Learned from hostile text, so that merges reach into every script, white space and signs."""
    learned = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    prose = [
        "It's what we'll call the words' end; they'd SAY 'LL, I'VE told 1,234 times.\n\n  So be it!  "
    ] * 9
    train_tokenizer([*texts().values(), *prose], 900, learned)
    return learned


def by_library(path, column) -> tuple[np.ndarray, np.ndarray]:
    tokenizer = load_tokenizer(path)
    end = tokenizer.token_to_id(END)
    ids = [[*e.ids, end] for e in tokenizer.encode_batch_fast(list(column), add_special_tokens=False)]
    return np.concatenate(ids), np.cumsum([0, *map(len, ids)])


def assert_same(path, column) -> None:
    assert open_encoder(path).slow is None
    for ours, theirs in zip(encode(path, column), by_library(path, column), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("pattern", "kind"),
    [
        (r"\p{L}+", LETTER),
        (r"\p{M}+", MARK),
        (r"\p{N}+", NUMBER),
        (r"\s+", SPACE),
        (r"[^\s\p{L}\p{N}]+", SIGN),
    ],
)
def test_every_code_point_is_of_the_class_that_the_pattern_gives_it(pattern, kind):
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    theirs = np.zeros(0x110000, bool)
    for _, (begin, end) in split.pre_tokenize_str("".join(map(chr, CODES))):
        theirs[CODES[begin] : CODES[end - 1] + 1] = True
    assert np.array_equal(theirs[CODES], (character_classes()[CODES] & kind) > 0)


@pytest.mark.parametrize("shape", ["'{}x ", "'l{} ", "'{}e ", "'r{}a ", " {}b ", "\n{} ", "a{}1 "])
def test_every_character_is_cut_from_its_neighbours_as_the_library_cuts(path, shape):
    lines = [shape.format(chr(code)) for code in CODES if code < 0x3000 or code % 97 == 0]
    assert_same(path, lines)


def test_hostile_texts_get_the_ids_of_the_library(path):
    assert_same(path, list(texts().values()))


@pytest.mark.parametrize("alphabet", [
    "ab '\n", "'sStTlLvVeErRdDmM\u017f x", " \t\n\r\u00a0\u3000", "a1٣ .!\u0301-\n\r", "аб в\u0301中文 \n'ſ", "\0\x01a \ufffd😀 é\u0300",
], ids=range(6))  # fmt: skip
def test_random_texts_get_the_ids_of_the_library(path, alphabet):
    draw = random.Random(alphabet)
    assert_same(path, ["".join(draw.choices(alphabet, k=draw.randrange(80))) for _ in range(2000)])


def test_words_on_the_borders_of_the_table_get_the_ids_of_the_library(path):
    lengths = [*range(1, 40), *range(120, 136), 255, 256, 257, 400]
    words = [" " * ahead + ("ababcdeé" * 60)[:length] for length in lengths for ahead in (0, 1)]
    assert_same(path, words * 2)


def test_more_words_than_the_table_holds_get_the_ids_of_the_library(path):
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdeiknorst", k=draw.randrange(4, 60))) for _ in range(240_000)]
    assert_same(
        path, [" ".join(words[i : i + 4000]) for i in range(0, len(words), 4000)] + [" ".join(words[:4000])]
    )


@pytest.mark.parametrize("name", [*huge(0), "one word of many"])
def test_a_megabyte_of_one_kind_is_not_quadratic(path, name):
    text = (
        "".join(random.Random(1).choices("abcdeiknorst", k=1_000_000))
        if name == "one word of many"
        else huge()[name]
    )
    open_encoder(path).encode(["warm"])
    began = time.process_time()
    open_encoder(path).encode([text])
    assert time.process_time() - began < 5, "a quadratic loop takes minutes"
    assert_same(path, [text[:50_000]])


def test_real_text_gets_the_ids_of_the_library(path, data_folder):
    column = pq.read_table(data_folder / "web_mix_small.parquet", columns=["text"])["text"]
    assert_same(path, column.to_pylist()[:600])


def test_slices_chunks_and_memory_maps_encode_as_lists(path, tmp_path):
    plain = [*texts().values()]
    column = pa.array(["skipped", *plain, None], pa.large_string())
    with pa.OSFile(str(tmp_path / "texts.arrow"), "wb") as sink, pa.ipc.new_file(sink, pa.schema([("t", pa.large_string())])) as writer:  # fmt: skip
        writer.write_table(pa.table({"t": column}))
    mapped = pa.ipc.open_file(pa.memory_map(str(tmp_path / "texts.arrow"))).read_all()["t"]
    expected = encode(path, [*plain, ""])
    for given in (column.slice(1), mapped.slice(1), pa.chunked_array([column.slice(1, 5), column.slice(6)]), column.slice(1).cast(pa.string())):  # fmt: skip
        for ours, theirs in zip(encode(path, given), expected, strict=True):
            assert np.array_equal(ours, theirs)


def test_bytes_that_are_no_text_are_replaced_not_read_beyond(path):
    column = invalid_column()
    repaired = [piece.decode(errors="replace") for piece in column.cast(pa.large_binary()).to_pylist()]
    for ours, theirs in zip(encode(path, column), encode(path, repaired), strict=True):
        assert np.array_equal(ours, theirs)


def test_threads_share_an_encoder(path):
    plain = list(texts().values()) * 20
    expected = encode(path, plain)
    encoder = Encoder(load_tokenizer(path))
    with ThreadPoolExecutor(4) as pool:
        for ids, offsets in pool.map(encoder.encode, [plain] * 8):
            assert np.array_equal(ids, expected[0])
            assert np.array_equal(offsets, expected[1])


def gpt2_words(tokenizer: Tokenizer) -> None:
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def normalized(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = normalizers.NFC()


def with_a_word(tokenizer: Tokenizer) -> None:
    tokenizer.add_tokens([AddedToken("word", special=False)])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (gpt2_words, "other words"),
        (normalized, "normalizes"),
        (with_a_word, "added tokens"),
    ],
)
def test_another_tokenizer_is_left_to_the_library_with_the_reason(path, tmp_path, change, reason):
    tokenizer = Tokenizer.from_file(str(path))
    change(tokenizer)
    tokenizer.save(str(tmp_path / "other.json"))
    assert reason in open_encoder(tmp_path / "other.json").slow
    column = [*texts().values(), "a word e\u0301"]
    for ours, theirs in zip(encode(tmp_path / "other.json", column), by_library(tmp_path / "other.json", column), strict=True):  # fmt: skip
        assert np.array_equal(ours, theirs)


def test_a_model_that_is_not_plain_bpe_is_left_to_the_library():
    import json

    tokenizer = Tokenizer(models.WordLevel({"a": 0, END: 1, "?": 2}, unk_token="?"))
    tokenizer.add_special_tokens([END])
    assert "WordLevel" in why_slow(json.loads(tokenizer.to_str()))
    assert encode(tokenizer, ["a"])[0].tolist() == [0, 1]


def test_a_changed_file_is_another_tokenizer(path, tmp_path):
    target = tmp_path / "tokenizer.json"
    target.write_bytes(path.read_bytes())
    long, _ = encode(target, ["what the words say"])
    train_tokenizer(["nothing"] * 9, 257, target)
    short, _ = encode(target, ["what the words say"])
    assert len(short) == 19 > len(long)
