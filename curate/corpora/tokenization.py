"""Tokens are annotations too: each document is encoded once for a tokenizer, every corpus gathers from that.

Encoding costs more than all signals together, so only what some corpus or holdout may need is encoded:
of each level the documents in ascending order of id, until the largest size is full. How far that is
nobody knows before encoding, so a first guess is doubled until it holds.

A chunk is of neighbouring small parts of documents, or of a range of ids of a large one, in the order of ids; its key
is the digest of its ids and of those parts. So where a source grows, what is new is encoded, and no more. `Tokens`
answers how many tokens a document has, and what they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from curate.corpora.units import Units, whole
from curate.engine import Engine, make_parts
from curate.errors import CurateError, ManifestError
from curate.progress import Progress, say
from curate.quantities import BYTES_A_TOKEN
from curate.remote import here
from curate.signals.edits import Edited
from curate.sources.cut import groups, mark_of
from curate.sources.pool import Pool, Runs, Within
from curate.spec.manifest import Manifest
from curate.store import Part, Store, digest_of, file_digest

VERSION = 2  # of tokenizers
STAGE, TOKENS_VERSION = "tokens", 3
TRIED_BYTES = 1_000_000  # of text that a tokenizer from elsewhere is tried on
CHUNK_BYTES = 4_000_000
# Of what fills a size at BYTES_A_TOKEN: the first guess; what it lacks is encoded in a second round.
MORE_TEXT = 1.25


@dataclass(frozen=True)
class Chunk:
    store: Store
    documents: list[Part]
    part: np.ndarray  # int32
    row: np.ndarray
    tokenizer: str
    key: str
    bytes: int
    edited: Edited

    @property
    def leaves(self) -> list[tuple[str, str]]:
        return [(STAGE, self.key)]


@dataclass
class Tokens:
    """What is encoded so far of the documents' text after some edits.

    `count` int [documents of the pool]: tokens with the end mark, 0 where not encoded.
    """

    tokenizer: str  # path
    sha256: str
    count: np.ndarray
    place: np.ndarray  # int: its row in all chunks, one behind the other
    bytes: np.ndarray  # int: of the text after the edits
    edited: Edited
    parts: list[Part] = field(default_factory=list)  # the chunks

    def of(self, units: Units, end: int) -> Iterator[np.ndarray]:
        """The token ids of these pieces, one array each; `end` is put after a piece that ends within its document."""
        opened: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        first, last = units.bounds(self.count)
        rows, place = [part.rows for part in self.parts], self.place[units.row]
        inside = units.piece + 1 < units.of
        mark = np.array([end])
        for number, row, a, b, cut in zip(
            *map(np.ndarray.tolist, (Runs(rows)[place], Within(rows)[place], first, last, inside)),
            strict=True,
        ):
            if number not in opened:
                column = self.parts[number].table(["tokens"])["tokens"].chunk(0)
                opened[number] = column.values.to_numpy(), column.offsets.to_numpy()
            ids, offsets = opened[number]
            piece = ids[offsets[row] + a : offsets[row] + b]
            yield np.concatenate([piece, mark.astype(ids.dtype)]) if cut else piece


def make_tokenizer(
    store: Store, manifest: Manifest, pool: Pool, usable: np.ndarray, edited: Edited
) -> tuple[str, str]:
    """(path, sha256) of the manifest's tokenizer: the given file, or one trained on documents no holdout has.

    `usable` bool [documents]: kept by the level it is trained on, and in no holdout; `edited`: its edits.
    """
    spec = manifest.tokenizer
    rows = pool.ordered(usable)
    rows = rows[: whole(rows).filling(pool.bytes, spec.bytes if not spec.path else TRIED_BYTES)]
    if spec.path:
        path = spec.path if spec.end is None else _with_end(store, spec.path, spec.end)
        _try(manifest, path, edited.texts(pool.parts, *pool.at(rows)).to_pylist())
        return path, file_digest(path)
    if manifest.base:
        sha256 = manifest.base["tokenizer"]["sha256"]
        return str(store.find("tokenizers", "*/tokenizer.json", sha256)), sha256
    from train.tokens import train_tokenizer

    (ids,) = pool.ids_of([rows])
    key = digest_of(["tokenizer", VERSION, spec.vocabulary, ids, pool.digest, *edited.identity])

    def make(path: Path) -> dict:
        with Progress("tokenizer", int(pool.bytes[rows].sum()), "B"):
            texts = edited.texts(pool.parts, *pool.at(rows))
            try:
                train_tokenizer((t.as_py() for t in texts), spec.vocabulary, path)
            except ValueError as error:
                raise ManifestError(f"{manifest.path}, [tokenizer]: {error}") from None
        return {}

    part, _ = store.file("tokenizers", key, f"{key}/tokenizer.json", make)
    return str(here(part.path)), part.digest


def _with_end(store: Store, path: str, end: str) -> str:
    """The copy of a tokenizer from elsewhere in which its end token is ours."""
    from train.tokens.ends import with_end

    key = digest_of(["tokenizer", VERSION, file_digest(path), end])
    part, _ = store.file(
        "tokenizers", key, f"{key}/tokenizer.json", lambda copy: {"bytes": copy.write_bytes(with_end(Path(path), end))}
    )  # fmt: skip
    return str(here(part.path))


def _try(manifest: Manifest, path: str, texts: list[str]) -> None:
    """A tokenizer from elsewhere: said where it changes texts, refused where it loses them."""
    from train.tokens.losses import LEAST_LETTERS, round_trip

    where = f"{manifest.path}, [tokenizer] {manifest.tokenizer.path}"
    try:
        found = round_trip(path, texts)
    except ValueError as error:
        raise ManifestError(f"{where}: {error}") from None
    if found.letters < LEAST_LETTERS:
        unknown = f", {found.unknown:.0%} of its tokens are unknown ones" if found.unknown else ""
        raise ManifestError(
            f"{where}: {1 - found.letters:.0%} of letters and digits do not come back from it{unknown}; "
            "a loss would not be that of the text; take one that knows every byte, or leave path out to train one"
        )
    if found.changed:
        say(
            f"warning: {where}: {found.changed:,} of {found.texts:,} texts come back changed "
            "(decode(encode(text)) is another text); losses per byte compare with no other tokenizer's"
        )


def tokenize(
    store: Store,
    pool: Pool,
    tokenizer: tuple[str, str],
    wanted: list[tuple[Units, int]],
    every: list[np.ndarray],
    engine: Engine,
    edited: Edited,
) -> Tokens:
    """Encode the documents of `every`, and of each order in `wanted` those that its first so many tokens lie in."""
    size = edited.sizes(pool.parts) if edited.edits else pool.bytes
    tokens = Tokens(
        *tokenizer, np.zeros(len(pool), pool.bytes.dtype), np.zeros_like(pool.order), size, edited
    )
    factor = MORE_TEXT
    need = np.zeros(len(pool), bool)
    for rows in every:
        need[rows] = True
    while True:
        for units, budget in wanted:
            reach = budget * BYTES_A_TOKEN * factor
            need[units.row[: units.filling(size, reach)]] = True
        _encode(store, pool, tokens, pool.ordered(need & (tokens.count == 0)), engine)
        if not any(_is_short(units, budget, tokens) for units, budget in wanted):
            return tokens
        factor *= 2


def _is_short(units: Units, budget: int, tokens: Tokens) -> bool:
    there = units.encoded(tokens.count)
    return len(there) < len(units) and int(there.lengths(tokens.count).sum()) < budget


def _encode(store: Store, pool: Pool, tokens: Tokens, rows: np.ndarray, engine: Engine) -> None:
    if not len(rows):
        return
    pieces = _pieces(pool, rows)
    chunks = []
    for piece, ids in zip(pieces, pool.ids_of(pieces), strict=True):
        parts = np.unique(pool.part[piece]).tolist()
        made_of = [[pool.parts[i].digest for i in parts], ids, *tokens.edited.identity_in(parts)]
        key = digest_of([STAGE, TOKENS_VERSION, tokens.sha256, *made_of])
        size = int(pool.bytes[piece].sum())
        chunks.append(Chunk(store, pool.parts, *pool.at(piece), tokens.tokenizer, key, size, tokens.edited))
    make_parts(
        engine, "tokenize", encode_chunk, chunks, memory=8, prepare=lambda todo: warm_up(tokens.tokenizer)
    )
    first = sum(part.rows for part in tokens.parts)
    tokens.place[np.concatenate(pieces)] = np.arange(first, first + len(rows), dtype=rows.dtype)
    for piece, chunk in zip(pieces, chunks, strict=True):
        part = store.parts(STAGE, store.made(STAGE, chunk.key))[0]
        tokens.count[piece] = part.table(["count"])["count"].to_numpy()
        tokens.parts.append(part)


def _pieces(pool: Pool, rows: np.ndarray) -> list[np.ndarray]:
    """These rows, chunk by chunk, each in their order."""
    part = pool.part[rows]
    sizes = np.bincount(part, pool.bytes[rows], len(pool.parts)).astype(np.int64)
    chunk = np.empty(len(pool.parts), np.int64)
    bits = np.empty(len(pool.parts), np.uint64)
    for number, some in enumerate(groups((mark_of(p.digest) for p in pool.parts), sizes, CHUNK_BYTES)):
        chunk[some], bits[some] = number, (int(sizes[some].sum()) // CHUNK_BYTES).bit_length()
    cell = (pool.places[rows] >> np.uint64(32) >> (np.uint64(32) - bits[part])).astype(np.int64)
    order = np.lexsort((cell, chunk[part]))
    ends = np.flatnonzero(np.diff(chunk[part][order]) | np.diff(cell[order])) + 1
    return np.split(rows[order], ends)


def warm_up(tokenizer: str | Path) -> None:
    """Compile the encoder by one thread where this machine has not yet, and say what will take long."""
    from train.tokens.encoder import open_encoder

    encoder = open_encoder(tokenizer)
    if encoder.slow:
        say(f"tokenize   by the library, some twenty times slower: {Path(tokenizer).name}: {encoder.slow}")
    elif not encoder.compiled():
        with Progress("compile", 1, "encoder, once on this machine") as progress:
            encoder.encode([""])
            progress.add(1)


def encode_chunk(chunk: Chunk) -> int:
    from train.tokens import encode

    texts = chunk.edited.texts(chunk.documents, chunk.part, chunk.row)
    try:
        ids, offsets = encode(here(chunk.tokenizer), texts)
    except ValueError as error:
        raise CurateError(f"{chunk.tokenizer}: {error}") from None
    column = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(ids))
    table = pa.table({"tokens": column, "count": np.diff(offsets)})
    part = chunk.store.write_part(STAGE, f"{chunk.key}.arrow", table)
    chunk.store.finish(STAGE, chunk.key, [part])
    return chunk.bytes
