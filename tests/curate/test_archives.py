"""Archives of files are read as folders are: the same documents, whatever packs them; what cannot be read is counted."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.engine import open_engine
from curate.sources.documents import open_source
from curate.sources.members import HEADER_BYTES
from curate.spec.manifest import Source
from curate.store import Store

TAR = {"tar": bytes, "tar.gz": gzip.compress, "tgz": gzip.compress, "tar.bz2": bz2.compress, "tar.xz": lzma.compress,
       "tar.zst": lambda raw: pa.compress(raw, "zstd", asbytes=True)}  # fmt: skip


def jsonl(*texts: str) -> bytes:
    return b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts)


FILES = {
    "jsonl": {"b/second.jsonl": jsonl("one", "two"), "a.jsonl.gz": gzip.compress(jsonl("three")), "other.csv": b"x"},
    "text": {"b/1.txt": b"a letter", "a.md": "für alle".encode(), "empty.pdf": b""},
    "html": {"page.html": b"<html><body><p>" + b"A paragraph of a page that is long enough. " * 20 + b"</p></body></html>"},
    "mail": {"a.eml": b"From: a@b.c\nSubject: news\n\nIt is here.\n"},
    "parquet": {"a.parquet": pa.BufferOutputStream()},
}  # fmt: skip
pq.write_table(pa.table({"text": ["row"]}), FILES["parquet"]["a.parquet"])
FILES["parquet"]["a.parquet"] = FILES["parquet"]["a.parquet"].getvalue().to_pybytes()


def tar(files: dict[str, bytes], **more) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in more.get(name.partition(".")[0], {}).items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def read(folder: Path, name: str, raw: bytes, format: str = "jsonl", **more):
    """({place: text} in order, {cause: count})"""
    (folder / name).write_bytes(raw)
    source = Source("s", format, (str(folder / name),), **more)
    account = open_source(Store(folder / "store"), source, 1_000_000, open_engine("local", 1))
    table = pa.concat_tables([part.table() for part in account.parts])
    found = dict(zip(table["place"].to_pylist(), table["text"].to_pylist(), strict=True))
    return found, {cause: entry["count"] for cause, entry in account.failed.items()}


@pytest.mark.parametrize("format", FILES)
def test_a_member_of_any_archive_is_the_document_that_the_file_is(tmp_path, format):
    for name, content in FILES[format].items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(content)
    source = Source("s", format, (str(tmp_path / "folder"),))
    account = open_source(Store(tmp_path / "store"), source, 1_000_000, open_engine("local", 1))
    plain = pa.concat_tables([part.table() for part in account.parts])
    plain = dict(zip(plain["place"].to_pylist(), plain["text"].to_pylist(), strict=True))
    archives = {f"all.{ending}": pack(tar(FILES[format])) for ending, pack in TAR.items()}
    for name, raw in (archives | {"all.zip": zipped(FILES[format])}).items():
        found, failed = read(tmp_path, name, raw, format)
        assert {place.partition("!")[2]: text for place, text in found.items()} == plain
        assert {place.partition("!")[0] for place in found} == {name}
        assert not failed
        order = [place.partition("!")[2].partition(":")[0] for place in found]
        assert list(dict.fromkeys(order)) == [name for name in FILES[format] if name in order]


def test_members_that_cannot_be_read_are_counted_by_cause_and_the_others_read(tmp_path):
    content = jsonl("read")
    files = {"link.jsonl": b"", "/etc/a.jsonl": content, "x/../../b.jsonl": content, "pipe.jsonl": b"",
             "__MACOSX/._c.jsonl": content, "twice.jsonl": content, "d.jsonl": content}  # fmt: skip
    kinds = {"link": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "pipe": {"type": tarfile.FIFOTYPE}}
    raw = tar(files | {}, **kinds)
    twice = raw[: -2 * 512] if raw.endswith(b"\0" * 1024) else raw
    found, failed = read(tmp_path, "a.tar", raw)
    assert found == {"a.tar!twice.jsonl:1": "read", "a.tar!d.jsonl:1": "read"}
    assert failed == {"link": 1, "outside": 2, "not-a-file": 1, "hidden": 1}
    member = tar({"d.jsonl": content})
    end = len(twice.rstrip(b"\0")) // 512 * 512 + 512
    found, _ = read(tmp_path, "b.tar", twice[:end] + member)
    assert list(found)[-1] == "b.tar!d.jsonl#2:1"


def test_encrypted_overlapping_and_linked_members_of_a_zip_are_counted(tmp_path):
    raw = zipped({"a.jsonl": jsonl("x" * 1000), "b.jsonl": jsonl("read")})
    begin = raw.index(b"PK\x01\x02")
    locked = raw[:begin] + raw[begin:].replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00", 1
    )
    assert read(tmp_path, "locked.zip", locked) == ({"locked.zip!b.jsonl:1": "read"}, {"encrypted": 1})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.jsonl", jsonl("read"))
        link = zipfile.ZipInfo("link.jsonl")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("b.jsonl", jsonl("shared"))
        first = archive.infolist()[-1]
        for number in range(9):  # which share the bytes of the first
            copy = zipfile.ZipInfo(f"c{number}.jsonl")
            for name in ("CRC", "file_size", "compress_size", "header_offset"):
                setattr(copy, name, getattr(first, name))
            archive.filelist.append(copy)
    found, failed = read(tmp_path, "bomb.zip", out.getvalue())
    assert found == {"bomb.zip!a.jsonl:1": "read"}
    assert failed == {"link": 1, "bomb": 10}


def test_an_archive_that_is_cut_or_damaged_keeps_what_stands_before_and_says_so(tmp_path):
    raw = tar({f"{n}.jsonl": jsonl(*[f"text {n} {k} " * 20 for k in range(30)]) for n in range(5)})
    for name, cut in {
        "a.tar": raw[:12_000],
        "b.tar.gz": gzip.compress(raw)[:-200],
        "c.tar": raw[: 3 * 512],
    }.items():
        found, failed = read(tmp_path, name, cut)
        assert found
        assert failed["broken-file"] >= 1
    header = raw.index(b"3.jsonl")
    found, failed = read(tmp_path, "d.tar", raw[: header + 20] + b"\xff" * 40 + raw[header + 60 :])
    assert {place.partition(":")[0] for place in found} == {f"d.tar!{n}.jsonl" for n in range(3)}
    assert failed == {"broken-file": 1}
    whole = zipped({"a.jsonl": jsonl(*map(str, range(20_000))), "b.jsonl": jsonl("read")})
    found, failed = read(tmp_path, "e.zip", whole[:20_000] + b"\0" * 40 + whole[20_040:])
    assert "e.zip!b.jsonl:1" in found
    assert 5_000 < len(found) < 20_000
    assert failed["broken-file"] == 1


def test_no_header_and_no_member_is_held_whole_because_it_says_so(tmp_path):
    huge = tarfile.TarInfo("././@LongLink")
    huge.type, huge.size = tarfile.GNUTYPE_LONGNAME, 500_000_000
    assert huge.size > HEADER_BYTES
    bomb = tar({"a.jsonl": jsonl("read")})[:1024] + huge.tobuf(tarfile.GNU_FORMAT) + b"\0" * huge.size
    long = zipped({"a.jsonl": jsonl("read"), "b.jsonl": b"x" * 300_000_000, "c.jsonl": jsonl("read")})
    assert len(long) < 1_000_000
    bomb = gzip.compress(bomb, 1)
    tracemalloc.start()
    try:
        assert read(tmp_path, "a.tar.gz", bomb) == ({"a.tar.gz!a.jsonl:1": "read"}, {"broken-file": 1})
        found, failed = read(tmp_path, "b.zip", long, longest=100_000)
        assert (list(found), failed) == (["b.zip!a.jsonl:1", "b.zip!c.jsonl:1"], {"too-long": 1})
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


def test_which_members_are_read_is_said_as_of_a_folder(tmp_path):
    raw = zipped({"a.txt": b"one", "b.log": b"two", "notes/c.log": b"three"})
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_bytes(b"beside")
    found, _ = read(tmp_path / "in", "x.zip", raw, "text", include=("*.zip", "*.log"), exclude=("notes/*",))
    assert list(found.values()) == ["two"]


def test_an_archive_in_an_archive_is_counted(tmp_path):
    inner = zipped({"a.jsonl": jsonl("inner")})
    for name, raw in (("a.zip", zipped({"b.zip": inner, "c.jsonl": jsonl("outer")})),
                      ("a.tar", tar({"b.tar.gz": inner, "c.jsonl": jsonl("outer")}))):  # fmt: skip
        found, failed = read(tmp_path, name, raw)
        assert (list(found.values()), failed) == (["outer"], {"archive-in-archive": 1})
