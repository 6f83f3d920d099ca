"""A corpus in the files that other trainers read. A format is a function that writes them, and an entry of FORMATS.

Documents keep the corpus's order, which is random already since ids are hashes, or take another one with a seed. In
formats of tokens the end token stands behind every document. Beside the files lie `tokenizer.json` and `export.json`, which
says what they hold: tokenizer, end token, type of the ids, order, and checksums.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import CurateError, require_training
from curate.quantities import short_count
from train.files import atomic, seal_folder

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

HF = "hf"  # of a run
RECORD = "export.json"
TOKENIZER = "tokenizer.json"
CHUNK_BYTES = 1 << 26  # of a file of tokens for LitGPT: what litdata writes
BATCH = 4096  # documents that are taken at once
PAGES = {"min_chunk_size": 32_768, "max_chunk_size": 131_072}  # bytes of a column in a page of Parquet


@dataclass(frozen=True)
class Documents:
    """What is exported: a corpus's table (memory-mapped), its order, and the tokenizer."""

    table: pa.Table
    files: int
    seed: int | None
    tokenizer: Path

    @cached_property
    def encoder(self) -> Any:
        from train.tokens.encoder import open_encoder

        return open_encoder(self.tokenizer)

    @cached_property
    def vocabulary(self) -> int:
        from train.tokens.bpe import vocabulary_of

        return vocabulary_of(self.encoder.tokenizer)

    @cached_property
    def rows(self) -> np.ndarray:
        import numpy as np

        count = len(self.table)
        return np.arange(count) if self.seed is None else np.random.default_rng(self.seed).permutation(count)

    def batches(self, rows: np.ndarray) -> Iterator[pa.Table]:
        for begin in range(0, len(rows), BATCH):
            some = rows[begin : begin + BATCH]
            yield self.table.take(some) if self.seed is not None else self.table.slice(some[0], len(some))

    def pieces(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(ids, tokens of each document) of some documents after the other."""
        for batch in self.batches(self.rows):
            yield from self.encoder.pieces(batch["text"])

    def gathered(self, tokens: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The same, joined until there are so many tokens."""
        import numpy as np

        waiting: list[tuple[np.ndarray, np.ndarray]] = []
        for piece in chain(self.pieces(), [None]):
            waiting += [piece] if piece else []
            if waiting and (piece is None or sum(len(ids) for ids, _ in waiting) >= tokens):
                ids, counts = map(np.concatenate, zip(*waiting, strict=True))
                yield ids, counts
                waiting = []

    def shards(self, folder: Path, ending: str) -> Iterator[tuple[Path, Iterator[pa.Table]]]:
        """(file, its documents), as many files as the corpus has, called as the hub does."""
        import numpy as np

        (folder / "data").mkdir()
        for number, rows in enumerate(np.array_split(self.rows, self.files)):
            name = f"train-{number:05d}-of-{self.files:05d}.{ending}"
            yield folder / "data" / name, self.batches(rows)

    def write_ids(self, path: Path, dtype: str) -> np.ndarray:
        """All ids, one behind the other. int64 [documents + 1]: where each document begins, and where the last ends."""
        import numpy as np

        counts = [np.zeros(1, np.int64)]
        with open(path, "ab") as file:
            for ids, count in self.pieces():
                file.write(ids.astype(dtype).data)
                counts.append(count)
        return np.cumsum(np.concatenate(counts))


def _parquet(folder: Path, documents: Documents) -> dict[str, Any]:
    for path, batches in documents.shards(folder, "parquet"):
        write_parquet(path, documents.table.schema, batches)
    return {}


def write_parquet(path: Path | Any, schema: pa.Schema, batches: Iterator[pa.Table]) -> None:
    """Parquet whose pages are cut where the content says, so that a few changed rows change a few pages."""
    import pyarrow.parquet as pq

    with pq.ParquetWriter(
        path, schema, compression="zstd", use_content_defined_chunking=PAGES, write_page_index=True
    ) as writer:
        for batch in batches:
            writer.write_table(batch)


def _jsonl(folder: Path, documents: Documents) -> dict[str, Any]:
    import pyarrow as pa

    for path, batches in documents.shards(folder, "jsonl.zst"):
        with pa.output_stream(path, compression="zstd") as file:
            for batch in batches:
                lines = (json.dumps(row, ensure_ascii=False, default=str) for row in batch.to_pylist())
                file.write("".join(f"{line}\n" for line in lines).encode())
    return {}


def _megatron(folder: Path, documents: Documents) -> dict[str, Any]:
    """Megatron-LM's indexed data set, as `preprocess_data.py --append-eod` writes it: a sequence a document."""
    import numpy as np

    dtype, code = ("<u2", 8) if documents.vocabulary < 65_500 else ("<i4", 4)
    begins = documents.write_ids(folder / "corpus_text_document.bin", dtype)
    count = len(begins) - 1
    with open(folder / "corpus_text_document.idx", "wb") as file:
        file.write(b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, code, count, count + 1))
        file.write(np.diff(begins).astype("<i4").data)
        file.write((begins[:-1] * np.dtype(dtype).itemsize).astype("<i8").data)
        file.write(np.arange(count + 1, dtype="<i8").data)
    return {"dtype": dtype, "tokens": int(begins[-1])}


def _nanotron(folder: Path, documents: Documents) -> dict[str, Any]:
    """datatrove's tokenized file: ids, the end of every document (uint64), and two lines about them."""
    dtype = "<u2" if documents.vocabulary <= 1 << 16 else "<u4"
    begins = documents.write_ids(folder / "corpus.ds", dtype)
    (folder / "corpus.ds.index").write_bytes(begins[1:].astype("<u8").data)
    total = int(begins[-1])
    about = f"{TOKENIZER}|{dtype[-1]}\n{total}\n{short_count(total)} tokens"
    (folder / "corpus.ds.metadata").write_text(about)
    return {"dtype": dtype, "tokens": total}


def _litgpt(folder: Path, documents: Documents) -> dict[str, Any]:
    """litdata's chunks for `TokensLoader`: number of documents, where each begins and the last ends (uint32), ids."""
    import numpy as np

    chunks: list[dict[str, Any]] = []
    for ids, counts in documents.gathered(CHUNK_BYTES // 4):
        head = 4 * (len(counts) + 2)
        offsets = head + 4 * np.concatenate([[0], np.cumsum(counts)])
        name, size = f"chunk-0-{len(chunks)}.bin", int(offsets[-1])
        with open(folder / name, "wb") as file:
            file.write(struct.pack("<I", len(counts)) + offsets.astype("<u4").tobytes())
            file.write(ids.astype("<i4").data)
        chunks.append({"chunk_bytes": size, "chunk_size": len(counts), "dim": len(ids), "filename": name})
    leaf = json.dumps([1, {"type": None, "context": None, "children_spec": []}])
    config = {
        "chunk_bytes": CHUNK_BYTES, "chunk_size": None, "compression": None, "data_format": ["no_header_tensor:16"],
        "data_spec": leaf, "encryption": None, "item_loader": "TokensLoader",
    }  # fmt: skip
    (folder / "index.json").write_text(json.dumps({"chunks": chunks, "config": config}, sort_keys=True))
    return {"dtype": "<i4", "tokens": sum(chunk["dim"] for chunk in chunks)}


def _numpy(folder: Path, documents: Documents) -> dict[str, Any]:
    """tokens.npy, and documents.npy: where each begins, and where the last ends."""
    import numpy as np

    dtype = "<u2" if documents.vocabulary <= 1 << 16 else "<u4"

    def head(count: int) -> None:
        header = {"descr": dtype, "fortran_order": False, "shape": (count,)}
        with open(folder / "tokens.npy", "r+b" if count else "wb") as file:
            # As long for every count: room to grow is part of it.
            np.lib.format.write_array_header_1_0(file, header)

    head(0)
    begins = documents.write_ids(folder / "tokens.npy", dtype)
    head(int(begins[-1]))
    np.save(folder / "documents.npy", begins)
    return {"dtype": dtype, "tokens": int(begins[-1])}


# By name: what writes it, and returns facts for `export.json`; and what reads it.
FORMATS: dict[str, tuple[Callable[[Path, Documents], dict[str, Any]], str]] = {
    "parquet": (_parquet, "datasets, polars, DuckDB and Spark"),
    "jsonl.zst": (_jsonl, "datasets, datatrove and dolma"),
    "megatron": (_megatron, "Megatron-LM and NeMo, by the prefix corpus_text_document"),
    "nanotron": (_nanotron, "nanotron and datatrove (DatatroveFolderDataset)"),
    "litgpt": (_litgpt, "LitGPT (LitData) and litdata.StreamingDataset with TokensLoader"),
    "numpy": (_numpy, "numpy.load, memory-mapped"),
}


def export_corpus(
    corpus: Path, to: str, out: Path, tokenizer: Path | None = None, end: str | None = None, seed: int | None = None
) -> dict[str, Any]:  # fmt: skip
    """Write the folder and return its record. `tokenizer`: in place of the corpus's own; `end`: its end token, which stands
    behind every document. Raises CurateError."""
    from curate.corpora.corpus import corpus_record, open_data
    from train.tokens.ends import as_it_was, end_of, with_end

    record = corpus_record(corpus)
    if out.exists() and any(out.iterdir()):
        raise CurateError(f"{out}: exists and is not empty; name another folder with --out")
    data = open_data(corpus).data.table
    with atomic(out) as folder:
        folder.mkdir()
        try:
            (folder / TOKENIZER).write_bytes(with_end(tokenizer or corpus / TOKENIZER, end))
        except (FileNotFoundError, ValueError) as error:
            raise CurateError(f"--tokenizer {error}") from None
        documents = Documents(data, len(record["files"]), seed, folder / TOKENIZER)
        facts = FORMATS[to][0](folder, documents)
        text, number = end_of(folder / TOKENIZER)
        facts["corpus"] = {k: record[k] for k in ("manifest", "level", "size", "digest", "documents")}
        facts["order"] = "of the corpus, by hash of id" if seed is None else f"shuffled with seed {seed}"
        if "dtype" in facts:
            facts["tokenizer"] = {"file": TOKENIZER, "vocabulary": documents.vocabulary}
            facts["end"] = {"token": text, "id": number, "place": "behind every document"}
        (folder / TOKENIZER).write_bytes(as_it_was(folder / TOKENIZER))
        files = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        return seal_folder(folder / RECORD, {"format": to, **facts}, files)


def export_any(
    folder: Path, to: str | None, out: Path | None, tokenizer: Path | None, end: str | None, seed: int | None
) -> tuple[dict[str, Any], str]:
    """(answer, text) of a corpus or a run, whichever the folder is. Raises CurateError."""
    if (folder / "corpus.json").exists():
        if to is None or to == HF:
            raise CurateError(f"{folder} is a corpus; write --to {', '.join(FORMATS)} (hf is for a run)")
        out = out or folder.with_name(f"{folder.name}-{to}")
        facts = export_corpus(folder, to, out, tokenizer, end, seed)
        return {"folder": str(out), **facts}, f"{out}: for {FORMATS[to][1]}"
    if (to or HF) != HF or tokenizer or end or seed is not None:
        raise CurateError(f"{folder} is no corpus; of a run there is --to {HF} alone")
    require_training()
    from train.export import export_hf

    try:
        out = export_hf(folder, out or folder / HF)
    except (ValueError, OSError) as error:
        raise CurateError(str(error)) from None
    return {"folder": str(out)}, f"{out}: AutoModelForCausalLM.from_pretrained opens it"
