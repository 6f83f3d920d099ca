"""What bytes mean: encodings and their marks, packing, arrays of JSON, columns of any type, damage; and nothing unbounded."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from curate.engine import open_engine
from curate.sources import columns
from curate.sources.characters import MARK, wide_encoding
from curate.sources.documents import open_source
from curate.sources.formats import FORMATS
from curate.sources.rows import Input, Problems
from curate.sources.usable import usable, with_ids
from curate.spec.manifest import Source
from curate.store import Store

ENGLISH = "A first line of plain words.\nAnd a second one, with a name: Zoë.\n"
NO_ASCII = "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。" * 3
SCRIPTS = {"chinese": NO_ASCII, "japanese": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。", "korean": "나보기가역겨워가실때에는말없이고이보내드리오리다",
           "russian": "Мороз и солнце день чудесный", "hindi": "सारे　जहाँ　से　अच्छा　हिन्दोस्ताँ　हमारा",
           "arabic": "قفا　نبك　من　ذكرى　حبيب　ومنزل"}  # fmt: skip
CHINESE = "春眠不觉晓，处处闻啼鸟。\n夜来风雨声，花落知多少。\n"
RUSSIAN = "Мороз и солнце; день чудесный!\nЕщё ты дремлешь, друг прелестный.\n"
WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")


def read(tmp_path: Path, source: Source, part_bytes: int = 1_000_000):
    account = open_source(Store(tmp_path / "store"), source, part_bytes, open_engine("local", 1))
    table = pa.concat_tables([part.table() for part in account.parts], promote_options="permissive")
    return account, table


def of_bytes(tmp_path: Path, name: str, raw: bytes, format: str = "jsonl", **more):
    """(texts, problems) of one file."""
    (tmp_path / name).write_bytes(raw)
    source, problems = Source("s", format, (str(tmp_path / name),), **more), Problems()
    tables = FORMATS[format].read(source, [Input(str(tmp_path / name), name, len(raw), "")], problems)
    texts = [text for table in tables for text in usable(table, source, problems)["text"].to_pylist()]
    return texts, problems


def counts(table: dict) -> dict[str, int]:
    return {cause: entry["count"] for cause, entry in table.items()}


def rows(*texts: str) -> str:
    return "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)


# Encodings and marks


@pytest.mark.parametrize(
    "text", [ENGLISH, CHINESE, RUSSIAN, "a"], ids=["english", "chinese", "russian", "short"]
)
@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize("mark", [MARK, ""], ids=["marked", "unmarked"])
def test_utf16_and_utf32_are_read_or_counted_never_kept_full_of_zero_bytes(tmp_path, encoding, mark, text):
    raw = (mark + text).encode(encoding)
    for format, document, expected in (
        ("text", "file", [text]), ("text", "line", text.splitlines()), ("markdown", "file", [text]),
        ("jsonl", "file", [text]),
    ):  # fmt: skip
        given = (mark + rows(text)).encode(encoding) if format == "jsonl" else raw
        texts, problems = of_bytes(tmp_path, "a", given, format, document=document)
        if mark or len(text) > 1 or format == "jsonl":
            assert (texts, problems) == (expected, Problems()), format
        else:  # a letter alone is too little to know an encoding by
            assert texts == [] or not any("\0" in found for found in texts)


def test_binary_data_is_no_text(tmp_path):
    chance = random.Random(3)
    for raw in (
        bytes(chance.randrange(256) for _ in range(5000)) + bytes(1000),
        bytes(range(16)) * 50,
        b"\0" * 100,
    ):
        texts, problems = of_bytes(tmp_path, "a.txt", raw, "text")
        assert (texts, counts(problems.failed)) == ([], {"not-text": 1})


def test_a_zero_byte_in_a_long_text_stays_where_it_is(tmp_path):
    texts, problems = of_bytes(tmp_path, "a.txt", ENGLISH.encode() + b"\0end", "text")
    assert (texts, problems) == ([ENGLISH + "\0end"], Problems())


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("encoding", WIDE)
def test_utf16_without_a_single_ascii_character_is_recognised(tmp_path, encoding, script):
    text = SCRIPTS[script]
    assert not any(character.isascii() for character in text)
    assert of_bytes(tmp_path, "a.txt", text.encode(encoding), "text") == ([text], Problems())
    assert wide_encoding((text * 80).encode(encoding)[:4095]) == encoding  # whose last character is cut


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(NO_ASCII, "gb18030"), (NO_ASCII.replace("觉晓", "曉").replace("处处闻", "聞").replace("鸟", "鳥").replace("来风", "風").replace("声", "聲"), "big5"),
     (SCRIPTS["japanese"], "shift_jis"), (SCRIPTS["japanese"], "euc_jp"), (SCRIPTS["korean"], "euc_kr"), (SCRIPTS["japanese"], "iso2022_jp"),
     ("Морозисолнце" * 5, "cp1251"), ("Морозисолнце" * 5, "koi8_r"), *((text, "utf-8") for text in SCRIPTS.values()),
     ("\x1b[31mred\x1b[0m \x1b[1mbold\x1b[0m\n" * 50, "utf-8"), ("N\bNA\bAM\bME\bE\n" * 50, "utf-8")],
)  # fmt: skip
def test_text_of_another_encoding_without_ascii_is_not_taken_for_utf16(text, encoding):
    assert wide_encoding(text.encode(encoding)) is None
    assert wide_encoding((text * 40).encode(encoding)[:4095]) is None


@pytest.mark.parametrize(
    "raw", [b"caf\xe9 au lait", "Größe".encode("latin-1"), b"\x80\x81 bytes", b"\xffplain"]
)
def test_no_other_encoding_is_taken_for_utf16(raw):
    assert wide_encoding(raw) is None


def test_a_mark_is_no_part_of_a_text_wherever_it_comes_from(tmp_path):
    marked = MARK + ENGLISH
    pq.write_table(pa.table({"text": [marked, ENGLISH]}), tmp_path / "a.parquet")
    raw = {
        "text": marked.encode(), "markdown": marked.encode(), "jsonl": (MARK + rows(marked)).encode(),
        "parquet": (tmp_path / "a.parquet").read_bytes(), "python": f'{MARK}"""{MARK}Words."""'.encode(),
        "html": f"{MARK}<p>{MARK}Words of a page.".encode(),
        "wet": b"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Length: 8\r\n\r\n\xef\xbb\xbfWords\r\n\r\n",
    }  # fmt: skip
    for format, data in raw.items():
        texts, _ = of_bytes(tmp_path, "a", data, format)
        assert texts, format
        assert not any(MARK in text for text in texts), format


@pytest.mark.parametrize("document", ["file", "line", "paragraph"])
def test_marks_inside_joined_files_are_no_part_of_a_text(tmp_path, document):
    joined = (
        (MARK + "one\n\n").encode() + (MARK + "two\n\n").encode() + b"three\n\n" + (MARK + "four").encode()
    )
    texts, _ = of_bytes(tmp_path, "a.txt", joined, "text", document=document)
    assert "".join(texts).replace("\n", "") == "onetwothreefour"


def test_json_lines_joined_with_or_without_a_line_break_are_all_read(tmp_path):
    raw = (
        MARK + rows("one") + MARK + rows("two").strip() + MARK + rows("three").strip() + rows("four")
    ).encode()
    texts, problems = of_bytes(tmp_path, "a.jsonl", raw)
    assert (texts, problems) == (["one", "two", "three", "four"], Problems())
    (tmp_path / "same").mkdir()
    (tmp_path / "same" / "a.jsonl").write_text(rows("same").strip() + rows("same"))
    _, table = read(tmp_path, Source("s", "jsonl", (str(tmp_path / "same"),)))
    assert len(set(table["id"].to_pylist())) == 2


# Packing

PACKS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": lambda raw: pa.Codec("zstd").compress(raw, asbytes=True),
         "lz4": lambda raw: _lz4(raw), "none": bytes}  # fmt: skip


def _lz4(raw: bytes) -> bytes:
    sink = io.BytesIO()
    with pa.CompressedOutputStream(sink, "lz4") as stream:
        stream.write(raw)
        stream.flush()
        return _closed(stream, sink)


def _closed(stream, sink: io.BytesIO) -> bytes:
    sink.close = lambda: None
    stream.close()
    return sink.getvalue()


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.JSONL.GZ", "a.jsonl.zst", "a"])
@pytest.mark.parametrize("pack", PACKS)
def test_what_a_file_begins_with_says_how_it_is_packed(tmp_path, pack, name):
    texts, problems = of_bytes(tmp_path, name, PACKS[pack](rows("one", "two").encode()))
    assert (texts, problems) == (["one", "two"], Problems())


def test_packed_files_joined_into_one_are_all_read(tmp_path):
    for pack in ("gz", "bz2", "xz", "zst"):
        raw = PACKS[pack]((MARK + rows("one")).encode()) + PACKS[pack]((MARK + rows("two")).encode())
        assert of_bytes(tmp_path, "a", raw) == (["one", "two"], Problems()), pack


def test_zeros_between_streams_of_xz_end_nothing_and_other_bytes_are_counted(tmp_path):
    one, two = (lzma.compress(rows(word).encode()) for word in ("one", "two"))
    for zeros in (4, 4092, 10_000):
        raw = bytes(zeros).join((one, two)) + bytes(zeros)
        assert of_bytes(tmp_path, "a", raw) == (["one", "two"], Problems())
    texts, problems = of_bytes(tmp_path, "a", one + b"garbage" + two)
    assert (texts, counts(problems.failed)) == (["one"], {"broken-file": 1})


@pytest.mark.parametrize("pack", ["gz", "bz2", "xz", "lz4", "zst"])
def test_a_damaged_end_costs_no_row_before_it(tmp_path, pack):
    texts = [f"row {i} {i * i}" for i in range(5000)]
    whole = PACKS[pack](rows(*texts).encode())
    for damaged in (whole + bytes(512), whole + b"garbage", whole[:-1] if pack != "zst" else whole + b"x"):
        found, problems = of_bytes(tmp_path, "a", damaged)
        assert found == texts
        assert counts(problems.failed) in ({"broken-file": 1}, {})  # some libraries pass over what follows


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_of_a_cut_zst_file_every_whole_block_is_kept_and_the_cut_is_counted(tmp_path, share):
    chance = random.Random(0)
    texts = [" ".join(f"w{chance.randrange(5000)}" for _ in range(12)) for _ in range(10_000)]
    whole = PACKS["zst"](rows(*texts).encode())
    cut = whole[: int(len(whole) * share)]
    blocks = (
        zstandard.ZstdDecompressor().decompressobj().decompress(cut)
    )  # a block is whole or cannot be unpacked
    found, problems = of_bytes(tmp_path, "a.jsonl", cut)
    assert found == texts[: len(found)]
    assert len(found) == blocks.count(b"\n") > 0
    assert counts(problems.failed) == {"broken-file": 1}


def test_what_no_reader_of_text_can_read_is_named(tmp_path):
    for make, said in ((_zip, "zip"), (_tar, "tar"), (_parquet, "Parquet"), (_arrow, "Arrow")):
        for format in ("jsonl", "text", "python"):
            texts, problems = of_bytes(tmp_path, "a.jsonl", make(), format)
            assert texts == []
            assert said in problems.failed["broken-file"]["samples"][0]["why"]


def _zip() -> bytes:
    with zipfile.ZipFile(sink := io.BytesIO(), "w") as archive:
        archive.writestr("a.jsonl", rows("one"))
    return sink.getvalue()


def _tar() -> bytes:
    with tarfile.open(fileobj=(sink := io.BytesIO()), mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.jsonl"), io.BytesIO())
    return sink.getvalue()


def _parquet() -> bytes:
    pq.write_table(pa.table({"text": ["one"]}), sink := io.BytesIO())
    return sink.getvalue()


def _arrow() -> bytes:
    return bytes(arrow_bytes(pa.table({"text": ["one"]})))


def arrow_bytes(table: pa.Table) -> bytearray:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return bytearray(sink.getvalue().to_pybytes())


# Bounds

BOMB = """
import resource, sys
from curate.sources.formats import FORMATS
from curate.sources.rows import Input, Problems
from curate.spec.manifest import Source
from curate.sources.usable import usable
format, path = sys.argv[1:]
source, problems = Source("s", format, (path,), longest=1_000_000), Problems()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
texts = [t for table in FORMATS[format].read(source, [Input(path, "a", 1, "")], problems)
         for t in usable(table, source, problems)["text"].to_pylist()]
print(texts, {c: e["count"] for c, e in problems.failed.items()}, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
LONG = b"a" * 1_000_000


def _bomb(begin: bytes, end: bytes) -> bytes:
    sink = io.BytesIO()
    sink.close = lambda: None
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(begin)
        for _ in range(1000):
            stream.write(LONG)
        stream.write(end)
    return sink.getvalue()


def _warc_bomb() -> bytes:
    packer = __import__("zlib").compressobj(9, 8, 31)
    body = b"".join(packer.compress(LONG) for _ in range(1000)) + packer.flush()
    return b"".join(
        _answer(b"Content-Encoding: gzip\r\n", b)
        for b in (gzip.compress(b"<p>good"), body, gzip.compress(b"<p>good"))
    )


def _answer(head: bytes, body: bytes) -> bytes:
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" + head + b"\r\n" + body
    return b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: %d\r\n\r\n%s\r\n\r\n" % (len(block), block)


@pytest.mark.parametrize(("format", "make", "expected"), [
    ("jsonl", lambda: _bomb(b'{"text": "good"}\n{"text": "', b'"}\n{"text": "good"}'), ["good", "good"]),
    ("jsonl", lambda: _bomb(b'[{"text": "good"}, {"text": "', b'"}, {"text": "good"}]'), ["good", "good"]),
    ("text", lambda: _bomb(b"", b""), []),
    ("html", lambda: _bomb(b"<p>", b""), []),
    ("warc", _warc_bomb, ["good", "good"]),
], ids=["line", "element", "text", "page", "body"])  # fmt: skip
def test_a_gigabyte_in_a_few_kilobytes_is_counted_and_never_held(tmp_path, format, make, expected):
    if format in ("html", "warc"):
        pytest.importorskip("fastwarc")
    (tmp_path / "a").write_bytes(make())
    assert (tmp_path / "a").stat().st_size < 2_000_000
    done = subprocess.run(
        [sys.executable, "-c", BOMB, format, str(tmp_path / "a")], capture_output=True, text=True, check=True
    )
    said, _, megabytes = done.stdout.strip().rpartition(" ")
    assert said == f"{expected} {{'too-long': 1}}"
    assert int(megabytes) < 500


@pytest.mark.parametrize("document", ["line", "paragraph"])
def test_a_line_or_paragraph_without_end_is_counted_and_the_next_is_read(tmp_path, document):
    raw = b"one\n\n" + b"x" * 500 + b"\n\ntwo\n\n" + b"many words\n" * 50 + b"\nthree"
    texts, problems = of_bytes(tmp_path, "a.txt", raw, "text", document=document, longest=100)
    expected = {"line": (53, 1), "paragraph": (3, 2)}[document]
    assert (len(texts), problems.failed["too-long"]["count"]) == expected


def test_a_text_that_a_dictionary_holds_once_is_not_copied_for_all_its_rows(tmp_path):
    text = pa.array(["x" * 1_000_000]).take(pa.array([0] * 2000))
    pq.write_table(pa.table({"text": text.dictionary_encode()}), tmp_path / "a.parquet")
    source = Source("s", "parquet", (str(tmp_path / "a.parquet"),))
    tables = FORMATS["parquet"].read(source, [Input(source.path[0], "a", 1, "")], Problems())
    sizes = [table.num_rows for table in tables]
    assert (sum(sizes), max(sizes)) == (2000, 8)


REPEATED = """
import resource, sys
from curate.sources.formats import FORMATS
from curate.sources.rows import Input, Problems
from curate.spec.manifest import Source
format, path, text, *columns = sys.argv[1:]
source, problems = Source("s", format, (path,), text=text, columns=tuple(columns)), Problems()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = sum(len(table) for table in FORMATS[format].read(source, [Input(path, "a", 1, "")], problems))
print(rows, problems.failed, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def _repeated(kind: str) -> pa.Array:
    """One text of a megabyte in each of 800 rows."""
    once = pa.array(["word " * 200_000])
    same = pa.DictionaryArray.from_arrays(pa.array([0] * 800, pa.int32()), once)
    return {
        "dictionary": same,
        "list": pa.ListArray.from_arrays(pa.array(range(801), pa.int32()), same),
        "struct": pa.StructArray.from_arrays([same], ["inside"]),
        "run": pa.RunEndEncodedArray.from_arrays(pa.array([800], pa.int32()), once),
    }[kind]


@pytest.mark.parametrize(("format", "kind", "place"), [
    ("parquet", "dictionary", "text"), ("parquet", "struct", "text"), ("parquet", "dictionary", "x"), ("parquet", "list", "x"),
    ("arrow", "struct", "text"), ("arrow", "dictionary", "x"), ("arrow", "list", "x"), ("arrow", "run", "x"),
])  # fmt: skip
def test_what_a_file_holds_once_for_many_rows_is_never_held_for_all_of_them(tmp_path, format, kind, place):
    columns = {"text": ["few words"] * 800} | {place: _repeated(kind)}
    path = tmp_path / f"a.{format}"
    if format == "parquet":  # as writers do that know nothing of Arrow's types
        pq.write_table(pa.table(columns), path, store_schema=False, dictionary_pagesize_limit=10**8)
    else:
        with pa.ipc.new_file(path, pa.table(columns).schema) as file:
            file.write_table(pa.table(columns))
    named = ["text.inside"] if kind == "struct" else ["text", "x"] if place == "x" else ["text"]
    done = subprocess.run(
        [sys.executable, "-c", REPEATED, format, str(path), *named],
        capture_output=True,
        text=True,
        check=True,
    )
    said, _, megabytes = done.stdout.strip().rpartition(" ")
    assert said == "800 {}"
    assert path.stat().st_size < 5_000_000
    assert int(megabytes) < 400


def test_what_rows_carry_beside_their_text_fills_a_part_too(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.sources.rows.BATCH_BYTES", 100_000)
    rows_ = [json.dumps({"text": f"text {i}", "x": "word " * 10_000}) for i in range(50)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows_))
    source = Source("s", "jsonl", (str(tmp_path / "a.jsonl"),), columns=("x",))
    parts = open_source(Store(tmp_path / "store"), source, 50_000, open_engine("local", 1)).parts
    assert sum(part.rows for part in parts) == 50
    assert max(part.bytes for part in parts) < 2 * 8 * 50_000


# JSON


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("begin", ["", MARK, "\n  "])
def test_an_array_of_objects_is_read_however_it_is_broken_into_lines(tmp_path, indent, begin):
    texts = ['a "quoted\\ one"', "with ] and } and ,", "with\nlines", "日本", "x" * 70_000]
    given = [{"text": text, "more": [{"deep": [1, "]"]}], "id": i} for i, text in enumerate(texts)]
    raw = begin + json.dumps(given, indent=indent) + "\n" + json.dumps(given[:1], indent=indent)
    found, problems = of_bytes(tmp_path, "a.json", raw.encode())
    assert (found, problems) == ([*texts, texts[0]], Problems())
    account, table = read(tmp_path, Source("s", "jsonl", (str(tmp_path / "a.json"),)))
    assert table["place"].to_pylist()[:2] == ["a.json[0]", "a.json[1]"]


def test_a_bad_element_of_an_array_costs_no_other(tmp_path):
    raw = '[{"text": "one"},\n{"text": bad},\n{"text": "open},\n7, {"text": null}, {"other": 1},\n{"text": "two"}, ]'
    texts, problems = of_bytes(tmp_path, "a.json", raw.encode())
    assert texts[0] == "one"
    assert problems.failed["not-json"]["samples"][0]["at"] == "a.json[1]"
    texts, problems = of_bytes(tmp_path, "a.json", b'[{"text": "one"}, {"text": "two"}, {"text": "cu')
    assert (texts, counts(problems.failed)) == (["one", "two"], {"not-json": 1})
    assert of_bytes(tmp_path, "a.json", b"[]")[0] == []


def test_fields_inside_others_are_named_by_their_path(tmp_path):
    given = [
        {"doc": {"body": "one", "meta": {"lang": "en"}}, "a.b": "dotted"},
        {"doc": {"body": None}},
        {"doc": 7},
        {"doc": {"body": "two"}},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, given)))
    pq.write_table(pa.Table.from_pylist([given[0], given[1], {}, given[3]]), tmp_path / "a.parquet")
    for format in ("jsonl", "parquet"):
        source = Source(
            "s", format, (str(tmp_path / f"a.{format}"),), text="doc.body", columns=("doc.meta.lang", "a.b")
        )
        account, table = read(tmp_path, source)
        assert table["text"].to_pylist() == ["one", "two"]
        assert table["doc.meta.lang"].to_pylist() == ["en", None]
        assert table["a.b"].to_pylist() == ["dotted", None]
        assert counts(account.failed) == {"no-text": 2}


def test_a_null_is_told_apart_from_a_missing_field(tmp_path):
    _, problems = of_bytes(tmp_path, "a.jsonl", b'{"text": null}\n{"body": "x"}\n')
    assert [s["why"] for s in problems.failed["no-text"]["samples"]] == [
        '"text" is null',
        'no field "text"; fields: body',
    ]


# Columns

TEXTS = ["first text", "Größe", None, "third " * 9]
RAW = [text and text.encode() for text in TEXTS]
TEXT_COLUMNS = {
    "string": pa.array(TEXTS), "large": pa.array(TEXTS, pa.large_string()), "view": pa.array(TEXTS, pa.string_view()),
    "binary": pa.array(RAW), "large-binary": pa.array(RAW, pa.large_binary()), "binary-view": pa.array(RAW, pa.binary_view()),
    "dictionary": pa.array(TEXTS).dictionary_encode(), "dictionary-of-bytes": pa.array(RAW).dictionary_encode(),
}  # fmt: skip
OTHERS = {
    "list": (pa.array([["a"], [], None, ["b"]]), None),
    "list-of-views": (pa.array([["a"], [], None, ["b"]], pa.list_(pa.string_view())), None),
    "list-of-dictionaries": (
        pa.array([["a"], [], None, ["b"]], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
        None,
    ),
    "list-view": (
        pa.array([["a"], [], None, ["b"]], pa.list_view(pa.string())),
        ['["a"]', "[]", None, '["b"]'],
    ),
    "map": (
        pa.array([[("a", 1)], [], None, []], pa.map_(pa.string(), pa.int8())),
        ['[["a", 1]]', "[]", None, "[]"],
    ),
    "struct": (
        pa.array([{"a": b"x"}, {"a": None}, None, {"a": b"y"}]),
        [{"a": "x"}, {"a": None}, None, {"a": "y"}],
    ),
    "numbers": (pa.array([1, 2, None, 3]).dictionary_encode(), [1, 2, None, 3]),
    "times": (pa.array([1, 2, None, 3], pa.timestamp("s")), None),
    "spans-of-time": (pa.array([1, 2, None, 3], pa.duration("s")), None),
    "bytes": (pa.array([b"\xff", b"ok", None, b""]), ["\ufffd", "ok", None, ""]),
}


def write(path: Path, table: pa.Table) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        path.write_bytes(arrow_bytes(table))
    return path


@pytest.mark.parametrize("format", ["parquet", "arrow"])
@pytest.mark.parametrize("kind", TEXT_COLUMNS)
def test_strings_and_bytes_of_every_layout_are_texts_ids_and_fields(tmp_path, format, kind):
    table = pa.table({"text": TEXT_COLUMNS[kind], "key": TEXT_COLUMNS[kind], "body": ["a", "b", "c", "d"]})
    path = str(write(tmp_path / f"a.{format}", table))
    _, found = read(tmp_path, Source("s", format, (path,), columns=("key",)))
    assert found["text"].to_pylist() == found["key"].to_pylist() == [text for text in TEXTS if text]
    account, found = read(tmp_path, Source("t", format, (path,), text="body", id="key"))
    assert (found["text"].to_pylist(), counts(account.failed)) == (["a", "b", "d"], {"no-id": 1})


@pytest.mark.parametrize("format", ["parquet", "arrow"])
@pytest.mark.parametrize("kind", OTHERS)
def test_columns_of_every_type_are_carried_along(tmp_path, format, kind):
    column, expected = OTHERS[kind]
    path = write(tmp_path / f"a.{format}", pa.table({"text": ["a", "b", "c", "d"], "x": column}))
    _, found = read(tmp_path, Source("s", format, (str(path),), columns=("x",)))
    assert found["x"].to_pylist() == (column.to_pylist() if expected is None else expected)
    found.take(pa.array([3, 1]))  # what later steps do


def test_one_type_to_an_author_is_one_type_to_a_reader(tmp_path):
    for i, kind in enumerate(("string", "view", "binary", "dictionary", "large")):
        write(tmp_path / f"{i}.parquet", pa.table({"text": ["a"] * 4, "x": TEXT_COLUMNS[kind]}))
    _, found = read(tmp_path, Source("s", "parquet", (str(tmp_path),), columns=("x",), exclude=("store",)))
    assert found["x"].to_pylist() == TEXTS * 5


def test_ids_that_are_not_utf8_stay_different(tmp_path):
    path = write(tmp_path / "a.arrow", pa.table({"text": ["a", "b"], "key": [b"\xff", b"\xfe"]}))
    account, found = read(tmp_path, Source("s", "arrow", (str(path),), id="key"))
    assert (len(set(found["id"].to_pylist())), account.failed) == (2, {})


DAMAGED = """
import random, sys
from pathlib import Path
from curate.errors import CurateError
from curate.sources.formats import FORMATS
from curate.sources.rows import Input, Problems
from curate.sources.usable import usable, with_ids
from curate.spec.manifest import Source
path, format, seed = sys.argv[1:]
whole, chance = Path(path).read_bytes(), random.Random(int(seed))
damaged = path + ".damaged"
for _ in range(60):
    data = bytearray(whole)
    for _ in range(chance.choice([1, 1, 2, 10])):
        at = chance.randrange(len(data)) & ~3
        data[at : at + 4] = chance.choice([b"\\xff\\xff\\xff\\x7f", b"\\xff" * 4, b"\\0" * 4, chance.randbytes(4)])
    Path(damaged).write_bytes(data)
    source, problems = Source("s", format, (damaged,), columns=("x", "s.a"), id="key"), Problems()
    try:
        for table in FORMATS[format].read(source, [Input(damaged, "a", 1, "")], problems):
            with_ids(usable(table, source, problems), source).combine_chunks().to_pylist()
    except CurateError:
        pass
print("survived")
"""


@pytest.mark.parametrize("format", ["parquet", "arrow"])
@pytest.mark.parametrize("kind", ["string", "view", "dictionary"])
def test_a_damaged_column_is_counted_or_refused_and_never_trusted(tmp_path, format, kind):
    """In a process of its own: what is not checked ends it with a signal."""
    columns = {
        "text": TEXT_COLUMNS[kind],
        "x": OTHERS["list-of-dictionaries"][0],
        "key": ["a", "b", "c", "d"],
        "s": [{"a": t} for t in TEXTS],
    }
    table = pa.concat_tables([pa.table(columns)] * 10).combine_chunks()
    if format == "parquet":
        table = table.set_column(1, "x", TEXT_COLUMNS["dictionary"].take(pa.array(np.arange(40) % 4)))
    path = write(tmp_path / f"a.{format}", table)
    done = subprocess.run(
        [sys.executable, "-c", DAMAGED, str(path), format, "7"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, "survived"), done.stderr[-2000:]


def test_ids_of_documents_are_those_of_place_and_text(tmp_path):
    table = pa.table({"place": ["a:1", "a:1", "a:2"], "text": pa.array(["x", "y", "x"], pa.large_string())})
    ids = with_ids(table, Source("s", "jsonl", ()))["id"].to_pylist()
    assert len(set(ids)) == 3
    assert ids[1:] == with_ids(table.slice(1), Source("s", "jsonl", ()))["id"].to_pylist()


def test_a_dictionary_of_more_values_than_it_holds_is_damaged():
    values, sink = pa.array([f"{i}" for i in range(54_321)]), pa.BufferOutputStream()
    table = pa.table({"a": pa.DictionaryArray.from_arrays(pa.array([0, 1]), values)})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    raw = (
        sink.getvalue().to_pybytes().replace((54_321).to_bytes(8, "little"), (1 << 54).to_bytes(8, "little"))
    )
    column = pa.ipc.open_file(raw).get_batch(0)["a"]
    assert len(column.dictionary) == 1 << 54
    for read in (columns.text, columns.plain):
        with pytest.raises(pa.ArrowInvalid):
            read(column, pa.array(["a:0", "a:1"]), Problems())


@pytest.mark.parametrize("kind", ["list", "struct", "dictionary"])
def test_offsets_are_checked_where_strings_are_not_utf8_too(kind):
    """Arrow's own check ends at the first of these, and says nothing of offsets."""
    strings = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"a\xff")]
    )
    far = pa.py_buffer(np.array([0, 2**30, 2], np.int32))
    lists = pa.Array.from_buffers(pa.list_(pa.string()), 2, [None, far], children=[strings])
    damaged = {
        "list": lists,
        "struct": pa.StructArray.from_arrays([strings, lists], ["a", "b"]),
        "dictionary": pa.DictionaryArray.from_arrays(pa.array([0, 2**30]), strings, safe=False),
    }[kind]
    with pytest.raises(pa.ArrowInvalid):
        columns.plain(damaged, pa.array(["x:0", "x:1"]), Problems())
