"""A corpus in the formats of other trainers, each opened by its own library, or by a reader written from its description."""

from __future__ import annotations

import json
import struct
import warnings

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import write_manifest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

import curate
from curate.cli import main
from curate.commands.export import FORMATS, export_corpus
from curate.engine import open_engine
from curate.errors import CurateError
from curate.manifest.reader import load_manifest
from curate.steps import build
from curate.store import Store
from train.tokens import encode

OUTSIDE = "the extra `outside` is not installed"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    manifest = load_manifest(write_manifest(folder))
    made = build(Store(folder / "store"), manifest, open_engine("local", 1)).corpora
    return next(c.path for c in made if c.level == "unique" and c.label == "8k")


@pytest.fixture(scope="module")
def expected(corpus):
    """[ids of each document, its end included]."""
    ids, offsets = encode(corpus / "tokenizer.json", curate.open_corpus(corpus)["text"][:])
    return [ids[a:b].tolist() for a, b in zip(offsets, offsets[1:], strict=False)]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A tokenizer as GPT-2's: byte-level, with an end token of its own."""
    path = tmp_path_factory.mktemp("gpt2") / "tokenizer.json"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=letters, show_progress=False
    )
    tokenizer.train_from_iterator(["the words of a text are of many kinds and say little"] * 9, trainer)
    tokenizer.save(str(path))
    return path


def exported(corpus, to, folder, **options):
    record = export_corpus(corpus, to, folder / to, **options)
    written = json.loads((folder / to / "export.json").read_text())
    assert {k: v for k, v in written.items() if k != "xxh3"} == {
        k: v for k, v in record.items() if k != "xxh3"
    }
    return folder / to, record


@pytest.mark.parametrize("to", ["parquet", "jsonl.zst"])
def test_tables_hold_every_column_of_every_document_in_order(corpus, tmp_path, to):
    import datasets

    folder, record = exported(corpus, to, tmp_path)
    data = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"), split="train")
    assert data.to_list() == curate.open_corpus(corpus).to_list()
    assert len(list((folder / "data").iterdir())) == len(
        json.loads((corpus / "corpus.json").read_text())["files"]
    )


def test_polars_and_duckdb_read_the_parquet_files(corpus, tmp_path):
    polars = pytest.importorskip("polars", reason=OUTSIDE)
    duckdb = pytest.importorskip("duckdb", reason=OUTSIDE)
    folder, _ = exported(corpus, "parquet", tmp_path)
    ids = curate.open_corpus(corpus)["id"][:]
    assert polars.scan_parquet(folder / "data/*.parquet").select("id").collect()["id"].to_list() == ids
    rows = duckdb.sql(f"select id from read_parquet('{folder}/data/*.parquet')").fetchall()
    assert [row[0] for row in rows] == ids


def megatron_documents(prefix):
    """A reader written from the description of Megatron's indexed data set."""
    index = prefix.with_suffix(".idx").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    version, code, sequences, documents = struct.unpack_from("<QBQQ", index, 9)
    assert version == 1
    dtype = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}[code]
    lengths = np.frombuffer(index, "<i4", sequences, 34)
    pointers = np.frombuffer(index, "<i8", sequences, 34 + 4 * sequences)
    ends = np.frombuffer(index, "<i8", documents, 34 + 12 * sequences)
    assert len(index) == 34 + 12 * sequences + 8 * documents
    assert ends.tolist() == list(range(sequences + 1))
    data = prefix.with_suffix(".bin").read_bytes()
    assert len(data) == pointers[-1] + lengths[-1] * np.dtype(dtype).itemsize
    return [np.frombuffer(data, dtype, n, p).tolist() for n, p in zip(lengths, pointers, strict=True)]


def test_megatron_files_are_as_their_description_says(corpus, expected, tmp_path):
    folder, record = exported(corpus, "megatron", tmp_path)
    assert megatron_documents(folder / "corpus_text_document") == expected
    assert record["dtype"] == "<u2"
    assert record["tokens"] == sum(map(len, expected))


def test_megatron_core_opens_them(corpus, expected, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        indexed = pytest.importorskip(
            "megatron.core.datasets.indexed_dataset",
            reason="megatron-core is not installed",
            exc_type=ImportError,
        )
        folder, _ = exported(corpus, "megatron", tmp_path)
        data = indexed.IndexedDataset(str(folder / "corpus_text_document"), mmap=True)
    assert [data[i].tolist() for i in range(len(data))] == expected
    assert data.document_indices.tolist() == list(range(len(expected) + 1))


def test_nanotron_files_are_ids_and_the_ends_of_documents(corpus, expected, tmp_path):
    folder, record = exported(corpus, "nanotron", tmp_path)
    ids = np.fromfile(folder / "corpus.ds", record["dtype"])
    ends = np.fromfile(folder / "corpus.ds.index", "<u8").astype(np.int64)
    assert [part.tolist() for part in np.split(ids, ends)[:-1]] == expected
    name, total = (folder / "corpus.ds.metadata").read_text().splitlines()[:2]
    assert (name, int(total)) == ("tokenizer.json|2", len(ids))


def test_datatrove_opens_them(corpus, expected, tmp_path):
    dataset = pytest.importorskip("datatrove.utils.dataset", reason=OUTSIDE)
    folder, record = exported(corpus, "nanotron", tmp_path)
    windows = dataset.DatatroveFolderDataset(str(folder), 16, token_size=int(record["dtype"][-1]))
    flat = [id for document in expected for id in document]
    assert len(windows) == len(flat) // 17
    assert [windows[i]["input_ids"].tolist() for i in range(3)] == [
        flat[17 * i : 17 * i + 17] for i in range(3)
    ]


def litgpt_documents(folder):
    """A reader written from the description of litdata's chunks."""
    index = json.loads((folder / "index.json").read_text())
    assert index["config"]["data_format"] == ["no_header_tensor:16"]
    for chunk in index["chunks"]:
        data = (folder / chunk["filename"]).read_bytes()
        (count,) = struct.unpack_from("<I", data)
        offsets = np.frombuffer(data, "<u4", count + 1, 4)
        assert (count, len(data), int(offsets[-1])) == (chunk["chunk_size"], chunk["chunk_bytes"], len(data))
        assert chunk["dim"] == (offsets[-1] - offsets[0]) // 4
        yield from (
            np.frombuffer(data[a:b], "<i4").tolist() for a, b in zip(offsets, offsets[1:], strict=False)
        )


def test_litgpt_chunks_are_as_their_description_says(corpus, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("curate.commands.export.BATCH", 10)
    monkeypatch.setattr("curate.commands.export.CHUNK_BYTES", 6000)
    folder, _ = exported(corpus, "litgpt", tmp_path)
    assert list(litgpt_documents(folder)) == expected
    assert len(list(folder.glob("chunk-*.bin"))) > 2


def test_litdata_opens_them(corpus, expected, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        litdata = pytest.importorskip("litdata", reason=OUTSIDE)
        folder, _ = exported(corpus, "litgpt", tmp_path)
        data = litdata.StreamingDataset(
            str(folder), item_loader=litdata.TokensLoader(block_size=32), shuffle=False
        )
        blocks = [data[i].tolist() for i in range(len(data))]
    flat = [id for document in expected for id in document]
    assert blocks == [flat[i : i + 32] for i in range(0, len(flat) - 31, 32)]


def test_numpy_maps_the_ids_and_the_beginnings_of_documents(corpus, expected, tmp_path):
    folder, record = exported(corpus, "numpy", tmp_path)
    ids, begins = np.load(folder / "tokens.npy", mmap_mode="r"), np.load(folder / "documents.npy")
    assert ids.dtype == np.uint16
    assert [ids[a:b].tolist() for a, b in zip(begins, begins[1:], strict=False)] == expected
    assert len(ids) == record["tokens"]


def test_export_json_says_tokenizer_end_order_and_checksums(corpus, tmp_path):
    from train.files import open_sealed

    folder, record = exported(corpus, "numpy", tmp_path)
    assert record["end"] == {"token": "<|end|>", "id": 0, "place": "behind every document"}
    assert record["tokenizer"] == {"file": "tokenizer.json", "vocabulary": 400}
    assert record["corpus"]["digest"] == json.loads((corpus / "corpus.json").read_text())["digest"]
    assert record["order"] == "of the corpus, by hash of id"
    assert set(record["checks"]) == {"tokens.npy", "documents.npy", "tokenizer.json"}
    assert open_sealed(folder / "export.json") == {k: v for k, v in record.items() if k != "xxh3"}


def test_a_seed_gives_another_order_of_the_same_documents_every_time(corpus, expected, tmp_path):
    first, record = exported(corpus, "megatron", tmp_path / "a", seed=3)
    again, _ = exported(corpus, "megatron", tmp_path / "b", seed=3)
    mine = megatron_documents(first / "corpus_text_document")
    assert mine == megatron_documents(again / "corpus_text_document") != expected
    assert sorted(mine) == sorted(expected)
    assert record["order"] == "shuffled with seed 3"


def test_a_tokenizer_from_elsewhere_ends_documents_in_its_own_token(corpus, foreign, tmp_path):
    folder, record = exported(corpus, "numpy", tmp_path, tokenizer=foreign, end="<|endoftext|>")
    theirs = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert record["end"]["token"] == "<|endoftext|>"
    assert theirs.get_vocab() == Tokenizer.from_file(str(foreign)).get_vocab()
    ids, begins = np.load(folder / "tokens.npy"), np.load(folder / "documents.npy")
    assert (ids[begins[1:] - 1] == theirs.token_to_id("<|endoftext|>")).all()
    theirs.encode_special_tokens = True
    text = curate.open_corpus(corpus)[0]["text"]
    assert ids[: begins[1] - 1].tolist() == theirs.encode(text, add_special_tokens=False).ids


def test_an_end_token_that_is_lacking_is_named_or_added(corpus, foreign, tmp_path):
    with pytest.raises(
        CurateError,
        match=r"no token <\|end\|> to end documents in; name its own: end = one of <\|endoftext",
    ):
        export_corpus(corpus, "numpy", tmp_path / "a", foreign)
    with pytest.raises(CurateError, match='end = "</s>": no such token; write'):
        export_corpus(corpus, "numpy", tmp_path / "a", foreign, "</s>")
    assert not (tmp_path / "a").exists()
    record = export_corpus(corpus, "numpy", tmp_path / "a", foreign, "<|end|>")
    vocabulary = Tokenizer.from_file(str(foreign)).get_vocab_size()
    assert (record["end"]["id"], record["tokenizer"]["vocabulary"]) == (vocabulary, vocabulary + 1)


def test_the_command_tells_a_corpus_from_a_run(corpus, tmp_path):
    def said(*arguments):
        done = CliRunner().invoke(main, ["export", *map(str, arguments)])
        return done.exit_code, done.output

    assert said(corpus, "--to", "hf")[0] == 1
    assert f"is a corpus; write --to {', '.join(FORMATS)}" in said(corpus)[1]
    assert "is no corpus; of a run there is --to hf alone" in said(tmp_path, "--to", "numpy")[1]
    code, output = said(corpus, "--to", "numpy", "--out", tmp_path / "out")
    assert (code, output.strip()) == (0, f"{tmp_path}/out: for numpy.load, memory-mapped")
    assert (
        "exists and is not empty; name another folder"
        in said(corpus, "--to", "numpy", "--out", tmp_path / "out")[1]
    )


def test_a_build_with_a_tokenizer_from_elsewhere_ends_documents_in_its_token(foreign, tmp_path):
    from conftest import MANIFEST

    asked = f'[tokenizer]\npath = "{foreign}"\nend = "<|endoftext|>"\n'
    text = MANIFEST[: MANIFEST.index("[tokenizer]")] + asked + MANIFEST[MANIFEST.index("[sizes]") :]
    manifest = load_manifest(write_manifest(tmp_path, text))
    made = build(Store(tmp_path / "store"), manifest, open_engine("local", 1)).corpora[0].path
    record = export_corpus(made, "numpy", tmp_path / "out")
    assert record["end"]["token"] == "<|endoftext|>"
    assert record["tokens"] == json.loads((made / "corpus.json").read_text())["tokens"]
    with pytest.raises(CurateError, match="no token <.end.> to end documents in; name its own: end = one of"):
        load_manifest(write_manifest(tmp_path, text.replace('end = "<|endoftext|>"\n', "")))
    with pytest.raises(CurateError, match='end = "x" is of a tokenizer that path names; name one'):
        load_manifest(write_manifest(tmp_path, MANIFEST.replace("[tokenizer]", '[tokenizer]\nend = "x"')))
