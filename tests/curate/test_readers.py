"""Every format becomes documents; what cannot is counted by cause, with where it was."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.engine import open_engine
from curate.errors import InputError, NoInput
from curate.sources.documents import open_source
from curate.sources.inputs import digests, list_inputs
from curate.sources.pool import open_pool
from curate.spec.manifest import Source
from curate.store import Store

TEXTS = ["first text", "zweiter Text: ä ö ü", "第三", "fourth\nwith two lines"]


def read(tmp_path: Path, source: Source, part_bytes: int = 1_000_000):
    account = open_source(Store(tmp_path / "store"), source, part_bytes, open_engine("local", 1))
    table = pa.concat_tables([part.table() for part in account.parts], promote_options="permissive")
    return account, table


def jsonl(texts: list) -> bytes:
    return b"".join(json.dumps({"text": t, "id": f"n{i}"}).encode() + b"\n" for i, t in enumerate(texts))


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "jsonl.zst", "jsonl.bz2", "jsonl.xz"])
def test_json_lines_are_read_plain_and_compressed(tmp_path, ending):
    packed = {"gz": gzip.compress, "bz2": bz2.compress, "zst": zstd, "xz": lzma.compress}.get(
        ending.split(".")[-1], bytes
    )(jsonl(TEXTS))
    (tmp_path / f"a.{ending}").write_bytes(packed)
    _, table = read(tmp_path, Source("s", "jsonl", (str(tmp_path / f"a.{ending}"),)))
    assert table["text"].to_pylist() == TEXTS
    assert table["place"].to_pylist() == [f"a.{ending}:{i}" for i in (1, 2, 3, 4)]


def test_a_folder_is_read_with_every_compression_odd_names_and_links_to_files(tmp_path):
    folder = tmp_path / "in put"
    folder.mkdir()
    packs = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}
    for i, (ending, pack) in enumerate(packs.items()):
        (folder / f"ö 日本 {i}.jsonl{ending}").write_bytes(pack(jsonl([f"text {i}"])))
    (folder / "empty.jsonl").touch()
    os.symlink(folder / "ö 日本 0.jsonl", folder / "link.jsonl")
    os.symlink(folder / "nowhere", folder / "dangling.jsonl")
    os.symlink(tmp_path, folder / "loop")
    account, table = read(tmp_path, Source("s", "jsonl", (str(folder),)))
    assert sorted(table["text"].to_pylist()) == sorted(["text 0", *(f"text {i}" for i in range(5))])
    assert not account.failed


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + jsonl(TEXTS))
    account, table = read(tmp_path, Source("s", "jsonl", (str(tmp_path / "a.jsonl"),)))
    assert (table["text"].to_pylist(), account.failed) == (TEXTS, {})


def test_a_line_of_50_megabytes_is_counted_and_the_next_is_read(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(jsonl(["x" * 50_000_000, "next"]))
    account, table = read(tmp_path, Source("s", "jsonl", (str(tmp_path / "a.jsonl"),)))
    assert table["text"].to_pylist() == ["next"]
    assert account.failed["too-long"]["count"] == 1


@pytest.mark.parametrize("part_bytes", [1, 1_000_000])
def test_columns_whose_types_cannot_be_joined_are_named(tmp_path, part_bytes):
    pq.write_table(pa.table({"text": ["a"], "n": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["b"], "n": ["one"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r'source "s".*\bn\b.*(columns|alike)'):
        read(tmp_path, Source("s", "parquet", (str(tmp_path),), columns=("n",)), part_bytes)


def test_a_column_that_is_wider_or_missing_in_some_files_is_joined(tmp_path):
    tables = ({"n": pa.array([1], pa.int32())}, {"n": pa.array([2**40])}, {"n": pa.nulls(1)})
    for i, columns in enumerate(tables):
        pq.write_table(pa.table({"text": [f"t{i}"]} | columns), tmp_path / f"{i}.parquet")
    _, table = read(tmp_path, Source("s", "parquet", (str(tmp_path),), columns=("n",)))
    assert table["n"].to_pylist() == [1, 2**40, None]


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


BAD_ROWS = [
    (b"{not json", "not-json"),
    (b'["a"]', "not-an-object"),
    (b'{"other": 1}', "no-text"),
    (b'{"text": null}', "no-text"),
    (b'{"text": 7}', "text-not-a-string"),
    (b'{"text": ""}', "empty"),
    (b'{"text": "' + b"x" * 101 + b'"}', "too-long"),
    (b"[" * 100_000, "not-json"),
]


@pytest.mark.parametrize(("row", "cause"), BAD_ROWS, ids=[f"{c}-{i}" for i, (_, c) in enumerate(BAD_ROWS)])
def test_a_bad_row_is_counted_by_its_cause_with_its_place_and_the_others_are_read(tmp_path, row, cause):
    (tmp_path / "a.jsonl").write_bytes(jsonl(TEXTS[:1]) + row + b"\n\n" + jsonl(TEXTS[1:]))
    account, table = read(tmp_path, Source("s", "jsonl", (str(tmp_path / "a.jsonl"),), longest=100))
    assert table["text"].to_pylist() == TEXTS
    assert {c: e["count"] for c, e in account.failed.items()} == {cause: 1}
    assert account.failed[cause]["samples"][0]["at"] == "a.jsonl:2"


def test_text_that_is_not_utf8_is_repaired_counted_and_kept(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "caf\xe9"}\n{"text": "half \\ud800 pair"}\n')
    account, table = read(tmp_path, Source("s", "jsonl", (str(tmp_path / "a.jsonl"),)))
    assert table["text"].to_pylist() == ["caf\ufffd", "half \ufffd pair"]
    assert {c: e["count"] for c, e in account.repaired.items()} == {"not-utf-8": 1, "lone-surrogate": 1}
    assert not account.failed


def test_a_file_that_breaks_off_keeps_what_came_before_and_says_so(tmp_path):
    whole = gzip.compress(jsonl([f"text number {i}" for i in range(20_000)]))
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    account, table = read(tmp_path, Source("s", "jsonl", (str(tmp_path / "a.jsonl.gz"),)))
    assert 0 < table.num_rows < 20_000
    assert account.failed["broken-file"]["count"] == 1


@pytest.mark.parametrize("type", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_columnar_files_are_read_with_their_declared_columns(tmp_path, type):
    table = pa.table(
        {"text": pa.array([*TEXTS, None]).cast(type), "year": pa.array([1, 2, 3, 4, 5]), "more": ["x"] * 5}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    with pa.ipc.new_stream(str(tmp_path / "b.arrow"), table.schema) as writer:
        writer.write_table(table)
    for format, name in (("parquet", "a.parquet"), ("arrow", "a.arrow"), ("arrow", "b.arrow")):
        account, documents = read(tmp_path, Source("s", format, (str(tmp_path / name),), columns=("year",)))
        assert documents["text"].to_pylist() == TEXTS
        assert documents["year"].to_pylist() == [1, 2, 3, 4]
        assert documents.column_names == ["id", "text", "source", "place", "year"]
        assert account.failed["no-text"] == {
            "count": 1,
            "samples": [{"at": f"{name}:4", "why": '"text" is null'}],
        }


def test_bytes_that_are_not_utf8_inside_a_string_column_are_repaired(tmp_path):
    offsets, data = pa.py_buffer(np.array([0, 2, 4], np.int32)), pa.py_buffer(b"ok\xff\xfe")
    broken = pa.Array.from_buffers(pa.string(), 2, [None, offsets, data])
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), pa.schema({"text": pa.string()})) as writer:
        writer.write_table(pa.table({"text": broken}))
    account, table = read(tmp_path, Source("s", "arrow", (str(tmp_path / "a.arrow"),)))
    assert table["text"].to_pylist() == ["ok", "\ufffd\ufffd"]
    assert account.repaired["not-utf-8"]["count"] == 1


@pytest.mark.parametrize(("document", "expected"), [
    ("file", ["one\n\ntwo\nthree\r\n", "four"]),
    ("line", ["one", "two", "three", "four"]),
    ("paragraph", ["one", "two\nthree", "four"]),
])  # fmt: skip
def test_text_files_are_documents_by_file_line_or_paragraph(tmp_path, document, expected):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_bytes(b"one\n\ntwo\nthree\r\n")
    (tmp_path / "in" / "b.txt").write_bytes(b"four")
    (tmp_path / "in" / "c.log").write_bytes(b"not asked for")
    _, table = read(tmp_path, Source("s", "text", (str(tmp_path / "in"),), document=document))
    assert table["text"].to_pylist() == expected


def test_docstrings_carry_their_qualified_names(tmp_path):
    code = '"""Module."""\nclass A:\n    """Class."""\n    def f(self):\n        """  Method\n\n        more\n        """\n        def g():\n            "inner"\nif True:\n    def f():\n        "one"\nelse:\n    def f():\n        "two"\n'
    (tmp_path / "a.py").write_text(code)
    (tmp_path / "bad.py").write_text("def (:")
    account, table = read(tmp_path, Source("s", "python", (str(tmp_path),), exclude=("store/*",)))
    found = dict(zip(table["place"].to_pylist(), table["text"].to_pylist(), strict=True))
    assert found == {
        "a.py::<module>": "Module.", "a.py::A": "Class.", "a.py::A.f": "Method\n\nmore", "a.py::A.f.g": "inner",
        "a.py::f": "one", "a.py::f#2": "two",
    }  # fmt: skip
    assert account.failed["not-python"]["samples"][0]["at"] == "bad.py"


def test_a_saved_data_set_is_read_through_the_hub_reader(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"text": TEXTS, "n": [1, 2, 3, 4]}).save_to_disk(str(tmp_path / "set"))
    _, table = read(tmp_path, Source("s", "hub", (str(tmp_path / "set"),), columns=("n",), limit=3))
    assert table["text"].to_pylist() == TEXTS[:3]


def test_a_url_of_any_file_system_is_read(tmp_path):
    import fsspec

    with fsspec.open("memory://curate-test/a.jsonl.gz", "wb") as file:
        file.write(gzip.compress(jsonl(TEXTS)))
    _, table = read(tmp_path, Source("s", "jsonl", ("memory://curate-test/*.jsonl.gz",)))
    assert table["text"].to_pylist() == TEXTS


def test_an_id_depends_on_the_source_and_its_own_id_or_on_place_and_text(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(jsonl(TEXTS))
    source = Source("s", "jsonl", (str(tmp_path / "a.jsonl"),))
    _, by_place = read(tmp_path, source)
    _, small_parts = read(tmp_path, source, part_bytes=10)
    _, own = read(tmp_path, replace(source, id="id"))
    (tmp_path / "a.jsonl").write_bytes(b"".join(reversed(jsonl(TEXTS).splitlines(keepends=True))))
    _, moved = read(tmp_path, replace(source, id="id"))
    assert by_place["id"].to_pylist() == small_parts["id"].to_pylist()
    assert own["id"].to_pylist() == moved["id"].to_pylist()[::-1]
    assert len(set(by_place["id"].to_pylist() + own["id"].to_pylist())) == 8


def test_files_of_one_name_give_ids_in_common_only_for_equal_rows(tmp_path):
    """Next month's crawl has a `part-0` too."""
    ids = []
    for month, texts in (("01", ["an old page", "the same page"]), ("02", ["a new page", "the same page"])):
        (tmp_path / month).mkdir()
        (tmp_path / month / "part-0.jsonl").write_bytes(jsonl(texts))
        _, table = read(tmp_path, Source("crawl", "jsonl", (str(tmp_path / month),)))
        ids.append(table["id"].to_pylist())
    assert [a == b for a, b in zip(*ids, strict=True)] == [False, True]


@pytest.mark.parametrize("part_bytes", [10, 1_000_000])
@pytest.mark.parametrize("columns", [(), ("key",)])
def test_the_first_document_of_an_id_stays_and_later_ones_are_counted_with_both_places(
    tmp_path, part_bytes, columns
):
    rows = [("a", "one"), ("b", "two"), ("a", "three"), ("c", "four"), ("b", "five"), ("a", "six")]
    for name, mine in (("1", rows[:2]), ("2", rows[2:])):
        lines = (json.dumps({"key": key, "text": text, "id": key}) for key, text in mine)
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    source = Source("s", "jsonl", (str(tmp_path),), id="key", exclude=("store",), columns=columns)
    account, table = read(tmp_path, source, part_bytes)
    assert table["text"].to_pylist() == ["one", "two", "four"]
    assert (account.documents, account.bytes) == (3, 10)
    failed = account.failed["duplicate-id"]
    assert failed["count"] == 3
    assert failed["samples"][0] == {"at": "2.jsonl:1", "why": 'key "a" is that of 1.jsonl:1'}
    again, _ = read(tmp_path, source, part_bytes)
    assert [part.digest for part in again.parts] == [part.digest for part in account.parts]
    assert len(open_pool([account])) == 3


def test_a_row_without_the_id_that_the_source_has_is_counted(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"key": 1, "text": "one"}\n{"text": "two"}\n{"key": null, "text": "three"}'
    )
    account, table = read(tmp_path, Source("s", "jsonl", (str(tmp_path / "a.jsonl"),), id="key"))
    assert (table["text"].to_pylist(), account.failed["no-id"]["count"]) == (["one"], 2)


@pytest.mark.parametrize(("source", "said"), [
    (Source("s", "jsonl", ("nowhere/*.jsonl",)), "no file"),
    (Source("s", "parquet", ("a.parquet",), text="content"), 'has no column "content"; it has text'),
    (Source("s", "jsonl", ("a.jsonl",)), "no document in 1 files (not-json: 1)"),
])  # fmt: skip
def test_a_source_that_gives_nothing_is_an_error_that_says_why(tmp_path, monkeypatch, source, said):
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"text": TEXTS}), "a.parquet")
    Path("a.jsonl").write_text("{oops")
    with pytest.raises(InputError) as caught:
        read(tmp_path, source)
    assert said in str(caught.value)


def test_two_folders_with_equal_names_inside_give_different_places(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(folder)
    source = Source("s", "text", (str(tmp_path / "one"), str(tmp_path / "two")))
    assert [i.name for i in list_inputs(source).files] == ["one/a.txt", "two/a.txt"]


def test_a_changed_file_has_another_digest_and_an_untouched_one_is_not_read_again(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("one")
    store, source = Store(tmp_path / "store"), Source("s", "text", (str(path),))
    first = digests(store, source, list_inputs(source).files)
    with monkeypatch.context() as patch:
        patch.setattr("curate.sources.inputs.file_digest", lambda path: pytest.fail("was read again"))
        assert digests(store, source, list_inputs(source).files) == first
    path.write_text("two!")
    assert digests(store, source, list_inputs(source).files) != first


def test_lines_end_as_the_source_asks_and_what_that_changed_is_counted(tmp_path):
    texts = ["one\r\n\r\ntwo\rthree\n", "plain\n"]
    (tmp_path / "a.jsonl").write_bytes(jsonl(texts))
    source = Source("s", "jsonl", (str(tmp_path / "a.jsonl"),))
    _, table = read(tmp_path, source)
    assert table["text"].to_pylist() == texts
    account, table = read(tmp_path, replace(source, newlines="unix"))
    assert table["text"].to_pylist() == ["one\n\ntwo\nthree\n", "plain\n"]
    assert account.repaired["newlines"]["count"] == 1


def test_columns_of_one_name_are_refused_by_it(tmp_path):
    pq.write_table(
        pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["text", "text"]), tmp_path / "a.parquet"
    )
    with pytest.raises(NoInput, match='several columns "text"'):
        read(tmp_path, Source("s", "parquet", (str(tmp_path),)))


def test_a_date_that_no_calendar_has_is_null_and_counted(tmp_path):
    days = pa.array([1, 2**30], pa.int32()).cast(pa.date32())
    pq.write_table(pa.table({"text": ["a", "b"], "day": days}), tmp_path / "a.parquet")
    account, table = read(tmp_path, Source("s", "parquet", (str(tmp_path / "a.parquet"),), columns=("day",)))
    assert table["day"].null_count == 1
    assert account.repaired["out-of-range"]["count"] == 1


def test_ids_that_differ_in_halves_of_pairs_are_two_and_the_lock_stays_utf8(tmp_path):
    rows = ['{"text": "one", "id": "\\ud800"}', '{"text": "two", "id": "\\udfff"}', '{"\\ud800": "no text"}']
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    account, table = read(tmp_path, Source("s", "jsonl", (str(tmp_path / "a.jsonl"),), id="id"))
    assert table["text"].to_pylist() == ["one", "two"]
    assert json.dumps(account.failed, ensure_ascii=False).encode("utf-8")  # which a half would not be
    assert account.failed["no-text"]["samples"][0]["why"].endswith("fields: \\ud800")


@pytest.mark.parametrize(
    "type", [pa.month_day_nano_interval(), pa.list_(pa.month_day_nano_interval()), pa.decimal32(5)]
)
def test_columns_of_types_that_corpora_have_no_name_for_are_carried_as_json(tmp_path, type):
    from datasets import Features

    value = {"decimal32": 3}.get(str(type).partition("(")[0], (1, 2, 3))
    column = pa.array([[value] if pa.types.is_list(type) else value] * 2, type)
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file:
        table = pa.table({"text": TEXTS[:2], "c": column})
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    _, found = read(tmp_path, Source("s", "arrow", (str(tmp_path / "a.arrow"),), columns=("c",)))
    assert Features.from_arrow_schema(found.schema)["c"].dtype == "string"
    assert "3" in found["c"][0].as_py()


@pytest.mark.parametrize(
    "how",
    [
        {"use_dictionary": False},
        {"data_page_version": "2.0", "use_dictionary": False},
        {"dictionary_pagesize_limit": 1 << 30},
    ],
)
def test_a_page_that_cannot_be_held_is_refused_before_it_is_decoded(tmp_path, monkeypatch, how):
    from curate.sources.formats import columnar

    monkeypatch.setattr(columnar, "HELD_BYTES", 100_000)
    table = pa.table({"text": [f"word {i} " * 100 for i in range(400)], "a.b": ["x" * 1000] * 400})
    (tmp_path / "pages").mkdir()
    pq.write_table(
        table, tmp_path / "pages/large.parquet", data_page_size=1 << 30, write_batch_size=10, **how
    )
    pq.write_table(
        table,
        tmp_path / "pages/small.parquet",
        data_page_size=1 << 12,
        write_batch_size=10,
        use_dictionary=False,
    )
    account, found = read(tmp_path, Source("s", "parquet", (str(tmp_path / "pages"),)))
    assert len(found) == 400
    assert account.failed["broken-file"]["count"] == 1
    assert '"text" has a page of ' in account.failed["broken-file"]["samples"][0]["why"]


@pytest.mark.parametrize(("pack", "said"), [
    (lambda raw: gzip.compress(gzip.compress(raw)), "packed twice"), (lambda raw: lzma.compress(raw, lzma.FORMAT_ALONE), "not known"),
    (zlib.compress, "not known"), (lambda raw: b"\x1f\x9d\x90" + raw, "not known"),
], ids=["twice", "lzma", "zlib", "compress"])  # fmt: skip
@pytest.mark.parametrize("format", ["text", "jsonl"])
def test_what_is_packed_in_another_way_is_no_text_and_says_so(tmp_path, format, pack, said):
    (tmp_path / "a").write_bytes(pack(jsonl(TEXTS) * 20))
    with pytest.raises(InputError, match=f"broken-file: 1.*{said}"):
        read(tmp_path, Source("s", format, (str(tmp_path / "a"),)))
