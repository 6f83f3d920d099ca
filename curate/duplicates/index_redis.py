"""An index in a Redis database, which several machines fill and ask at once: `redis://host:port/db`.

Buckets are those of datasketch's `MinHashLSH` with its own Redis storage, so a program that uses datasketch can ask the
same index (and finds something with `sketch = "datasketch"`, whose signatures are datasketch's). Its keys are
`ID:HASH`, the id of a document and the hash of its text. Beside its buckets, all in the one database:

    curate:record    hash: comparison (JSON), documents (how many), sha1 (chained over all entries as they came)
    curate:entries   hash: ID:HASH -> NUMBER:SIGNATURE, numbered in the order in which they came
    curate:texts     hash: text hash -> ID:HASH of the first to come
    curate:from      list: what was added by which manifest and level

A document exists when it has an entry. Its buckets are filled before that, and a script writes entries, numbers and
the chained hash in one step, so two programs that add at once never share a number, one that is killed leaves whole
documents, and the same command adds the rest. Entries are never written over: the first N documents stay what they
are, and a build that has opened the index at N documents asks for those only.

The price: datasketch keeps a set a bucket, 10 kB a document of 18 bands in the server, and one client adds 2,000 and looks
up 4,000 documents a second, where a folder does 50,000 and more.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from curate.addresses import VARIABLES, check_no_secret
from curate.duplicates.matches import MOST_OF_A_BUCKET, VERSION, Signatures, most_similar
from curate.duplicates.resolve import flat
from curate.engine import map_parts
from curate.errors import CurateError
from curate.progress import Progress
from curate.signals.values import Values
from curate.store import Part, digest_of

PREFIX = "curate"
RECORD, ENTRIES, TEXTS, FROM = (f"{PREFIX}:{name}" for name in ("record", "entries", "texts", "from"))
AT_ONCE = 1000  # documents added or asked for in one exchange
SECONDS_TO_CONNECT = 5
PASSWORD = VARIABLES["redis"]  # that redis-cli reads, too
ADD = """
local number = tonumber(redis.call('HGET', KEYS[1], 'documents') or '0')
local chain = redis.call('HGET', KEYS[1], 'sha1') or ''
local before = number
for i = 1, #ARGV, 3 do
    local key, text, signature = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    if redis.call('HSETNX', KEYS[2], key, string.format('%d:', number) .. signature) == 1 then
        redis.call('HSETNX', KEYS[3], text, key)
        chain = redis.sha1hex(chain .. key .. signature)
        number = number + 1
    end
end
redis.call('HSET', KEYS[1], 'documents', number, 'sha1', chain)
return number - before
"""


def is_url(where: str) -> bool:
    return where.startswith(("redis://", "rediss://"))


def _options(url: str) -> dict[str, Any]:
    """What redis.Redis is made with. Raises CurateError."""
    parts = urlsplit(url)
    try:
        if not parts.hostname or not re.fullmatch(r"/?\d*", parts.path) or parts.query or parts.fragment:
            raise ValueError
        port = parts.port or 6379
    except ValueError:
        raise CurateError(f"{url}: write redis://HOST:PORT/DB, as in redis://localhost:6379/0") from None
    try:
        check_no_secret(url)
    except ValueError as error:
        raise CurateError(str(error)) from None
    options = {"host": parts.hostname, "port": port, "db": int(parts.path.strip("/") or 0)}
    options |= {"username": parts.username, "password": os.environ.get(PASSWORD)}
    return {key: value for key, value in options.items() if value is not None} | (
        {"ssl": True} if parts.scheme == "rediss" else {}
    )


@contextmanager
def _redis(url: str) -> Iterator[Any]:
    """A connection; whatever it meets becomes a CurateError that names the server."""
    options = _options(url)
    try:
        import redis
    except ImportError:
        raise CurateError(
            f'{_place(options)}: the package redis is not installed; pip install "curate-lm[redis]"'
        ) from None
    try:
        with redis.Redis(**options, socket_connect_timeout=SECONDS_TO_CONNECT) as connection:
            yield connection
    except redis.exceptions.ConnectionError as error:
        raise CurateError(f"{_place(options)}: no Redis server answers there ({error}); start it") from None
    except redis.exceptions.RedisError as error:
        raise CurateError(f"{_place(options)}: the Redis server says: {error}") from None


def _place(options: dict[str, Any]) -> str:
    return f"redis://{options['host']}:{options['port']}/{options['db']}"


def open_redis(url: str, new: dict | None = None) -> Database:
    """Raises CurateError where no server answers, and where its database holds no index."""
    place = _place(_options(url))
    with _redis(url) as connection:
        if new is not None:
            connection.hsetnx(RECORD, "comparison", json.dumps({"version": VERSION} | new))
        held = connection.hgetall(RECORD)
    if b"comparison" not in held:
        raise CurateError(f"{place}: no index; `curate index MANIFEST {place}` makes one")
    try:
        said = json.loads(held[b"comparison"])
        version = said.pop("version")
        count, chain = int(held.get(b"documents", 0)), held.get(b"sha1", b"").decode()
    except (ValueError, KeyError, AttributeError):
        raise CurateError(f"{place}: the key {RECORD} is damaged; make the index again") from None
    if version != VERSION:
        raise CurateError(f"{place}: an index of version {version}, this is version {VERSION}; make it again")
    return Database(url, said, count, chain)


@dataclass(frozen=True)
class Database:
    url: str
    comparison: dict
    documents: int
    chain: str  # of the documents, in the order in which they came

    @property
    def where(self) -> str:
        return _place(_options(self.url))

    @property
    def name(self) -> str:
        return "redis"

    @property
    def digest(self) -> str:
        return digest_of([self.comparison, self.documents, self.chain])

    @property
    def origins(self) -> list[dict]:
        with _redis(self.url) as connection:
            return [json.loads(row) for row in connection.lrange(FROM, 0, -1)]

    def add(self, rows: pa.Table, signatures: Signatures, origin: dict) -> tuple[Database, int]:
        """Those that it has not, in their order."""
        added = 0
        with _redis(self.url) as connection, Progress("redis index", len(rows), "documents") as progress:
            script, buckets = connection.register_script(ADD), Buckets(self)
            for begin in range(0, len(rows), AT_ONCE):
                some = rows.slice(begin, AT_ONCE)
                keys, hashes = _keys(some)
                asked = connection.pipeline(transaction=False)
                for key in keys:
                    asked.hexists(ENTRIES, key)
                new = np.flatnonzero(~np.array(asked.execute(), bool)).tolist()
                signed = flat(signatures(np.arange(begin, begin + len(some))))
                buckets.insert([keys[i] for i in new], signed[new])
                arguments = [part for i in new for part in (keys[i], hashes[i], signed[i].tobytes())]
                added += script(keys=[RECORD, ENTRIES, TEXTS], args=arguments) if new else 0
                progress.add(len(some))
            if added:
                connection.rpush(FROM, json.dumps(origin | {"documents": added}, sort_keys=True))
        return open_redis(self.url), added

    def match(self, values: Values, near: dict) -> tuple[pa.Array, np.ndarray]:
        """As that of a folder."""
        pool, families = values.pool, values.signals.families
        parts = zip(families["signatures"], families["text_hash"], strict=True)
        with Progress("redis index", len(pool), "documents") as progress:
            own = set(map(str.encode, pool.ids.to_pylist()))
            tasks = [(self, signatures, hashes, own) for signatures, hashes in parts]
            answers = map_parts(values.engine, _match_part, tasks, done=lambda a: progress.add(len(a[0])))
        return pa.concat_arrays([ids for ids, _ in answers]), np.concatenate([found for _, found in answers])


def _keys(rows: pa.Table) -> tuple[list[bytes], list[bytes]]:
    """(ID:HASH, the text's hash) of each row"""
    hashes = rows["text_hash"].to_pylist()
    ids = rows["id"].to_pylist()
    return [f"{id}:{h.hex()}".encode() for id, h in zip(ids, hashes, strict=True)], hashes


class Buckets:
    """datasketch's MinHashLSH over its Redis storage."""

    def __init__(self, index: Database):
        from datasketch import MinHash, MinHashLSH

        signing, (bands, self.rows) = index.comparison["signing"], index.comparison["cut"]
        if bands < 2:
            raise CurateError(f"{index.where}: datasketch's storage takes two bands and more, not {bands}")
        scheme = "legacy" if signing["sketch"] == "datasketch-legacy" else "affine32"
        # What the permutations are plays no part in storage; making them anew a document would take most of the time.
        permutations = MinHash(signing["permutations"], signing["seed"], scheme=scheme).permutations
        self.made_with = {"seed": signing["seed"], "permutations": permutations, "scheme": scheme}
        self.sketch = MinHash
        config = {"type": "redis", "basename": PREFIX.encode(), "redis": _options(index.url)}
        cut = {"num_perm": signing["permutations"], "params": (bands, self.rows)}
        self.lsh = MinHashLSH(**cut, storage_config=config, prepickle=False)

    def insert(self, keys: list[bytes], signatures: np.ndarray) -> None:
        with self.lsh.insertion_session() as session:
            for key, values in zip(keys, signatures, strict=True):
                session.insert(key, self.sketch(hashvalues=values, **self.made_with), check_duplication=False)

    def sharing(self, signatures: np.ndarray) -> Iterator[list[set[bytes]]]:
        """For each band, the keys that share each signature's bucket: what `MinHashLSH.query` asks, for many at once."""
        values = np.stack([self.sketch(hashvalues=row, **self.made_with).hashvalues for row in signatures])
        for band, table in enumerate(self.lsh.hashtables):
            own = np.ascontiguousarray(values[:, band * self.rows : (band + 1) * self.rows]).byteswap()
            yield table.getmany(*[row.tobytes() for row in own])


# ---- Looking documents up ---------------------------------------------------------------------------------


def _match_part(task: tuple[Database, Part, Part, set[bytes]]) -> tuple[pa.Array, np.ndarray]:
    """As `Index.match`, of the documents of one part."""
    index, signatures, hashes, own_ids = task
    ids: list[str | None] = []
    found = [np.empty(0)]
    signed, text = signatures.table(["signature"])["signature"], hashes.table(["text_hash"])["text_hash"]
    with _redis(index.url) as connection:
        buckets = Buckets(index)
        for begin in range(0, signatures.rows, AT_ONCE):
            asked = Asked(index, connection, buckets, own_ids)
            own, similarity = asked.match(
                flat(signed.slice(begin, AT_ONCE)), text.slice(begin, AT_ONCE).to_pylist()
            )
            ids += own
            found.append(similarity)
    return pa.array(ids, pa.string()), np.concatenate(found)


@dataclass
class Asked:
    """One exchange: entries by their keys, as far as the index held them when it was opened."""

    index: Database
    connection: Any
    buckets: Buckets
    own: set[bytes]  # ids of the documents that ask: none of them was seen before

    def match(self, signatures: np.ndarray, hashes: list[bytes]) -> tuple[list[str | None], np.ndarray]:
        shared = list(self.buckets.sharing(signatures))
        equal = self.connection.hmget(TEXTS, hashes)
        self._read({key for band in shared for keys in band for key in keys} | set(filter(None, equal)))
        pairs = {
            (row, number)
            for band in shared
            for row, keys in enumerate(band)
            for number in sorted(self.numbers[key] for key in keys if key in self.numbers)[:MOST_OF_A_BUCKET]
        }
        rows, others = np.array(sorted(pairs), np.int64).reshape(-1, 2).T
        theirs = self.signatures[[self.place[number] for number in others.tolist()]]
        estimate = (
            (signatures[rows] == theirs.reshape(len(rows), -1)).mean(axis=1) if len(rows) else np.empty(0)
        )
        best, found = most_similar(len(hashes), rows, others, estimate, self.index.comparison["similarity"])
        for row, key in enumerate(equal):
            if key in self.numbers:
                best[row], found[row] = self.numbers[key], 1.0
        return [self._id(number) for number in best.tolist()], found

    def _read(self, keys: set[bytes]) -> None:
        asked = list(keys)
        entries = self.connection.hmget(ENTRIES, asked) if asked else []
        split = [(key, *entry.split(b":", 1)) for key, entry in zip(asked, entries, strict=True) if entry]
        known = [
            (key, int(number), signed) for key, number, signed in split
            if int(number) < self.index.documents and key.rsplit(b":", 1)[0] not in self.own
        ]  # fmt: skip
        self.numbers = {key: number for key, number, _ in known}
        self.place = {number: place for place, (_, number, _) in enumerate(known)}
        self.known = [key for key, _, _ in known]
        joined = b"".join(signed for _, _, signed in known)
        self.signatures = (
            np.frombuffer(joined, np.uint32).reshape(len(known), -1) if known else np.empty((0, 0))
        )

    def _id(self, number: int) -> str | None:
        return self.known[self.place[number]].rsplit(b":", 1)[0].decode() if number >= 0 else None
