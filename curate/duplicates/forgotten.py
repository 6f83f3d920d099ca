"""What a manifest is to forget: a list of hashes and signatures, no text and no address, that every build obeys.

`[forget] file` names it, and `curate forget` writes it. One JSON object a line: first how texts are hashed and signed, then

    {"id", "text_hash", "signature"}    a document that was named
    {"id", "text_hash"}                 one that was near it when it was named, its text compared
    {"field", "sha256"}                 an address: of whatever has it in this field, now or later

A document is forgotten where its id, the hash of its text or the hash of its address is listed, and where its signature
says that it is as similar to a named one as near-duplicates are. No text is kept, so that similarity is estimated
(standard error sqrt(s (1 - s) / permutations)). Nothing is read but what was measured already: ids, hashes, signatures.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.duplicates.index_folder import closest, with_bands
from curate.duplicates.resolve import shares_a_band
from curate.errors import CurateError
from curate.signals.values import Values
from curate.sources.pool import Pool
from curate.spec.manifest import FORGOTTEN
from curate.store import Part, atomic, digest_of
from filters.duplicates.leaders import Scheme, band_keys

VERSION = 1
NAMED, ADDRESS = "signature", "field"  # keys that entries of these kinds alone have


@dataclass(frozen=True)
class Forgotten:
    path: Path
    way: dict  # how texts are hashed and signed
    entries: tuple[dict, ...]

    @property
    def digest(self) -> str:
        return digest_of([self.way, self.entries])

    @cached_property
    def ids(self) -> pa.Array:
        return pa.array([entry["id"] for entry in self.entries if "id" in entry], pa.string())

    @cached_property
    def named(self) -> list[dict]:
        return [entry for entry in self.entries if NAMED in entry]

    @cached_property
    def hashes(self) -> pa.Array:
        raw = [bytes.fromhex(entry["text_hash"]) for entry in self.entries if "id" in entry]
        return pa.array(raw, pa.binary(16))

    @cached_property
    def addresses(self) -> dict[str, set[str]]:
        """By field, sha256 of each."""
        found: dict[str, set[str]] = {}
        for entry in self.entries:
            if ADDRESS in entry:
                found.setdefault(entry[ADDRESS], set()).add(entry["sha256"])
        return found

    @cached_property
    def signatures(self) -> np.ndarray:
        """uint32 [distinct signatures, permutations]; of texts with a shingle: without one all are alike."""
        raw = b"".join(base64.b64decode(entry[NAMED]) for entry in self.named)
        signed = np.frombuffer(raw, "<u4").reshape(-1, self.way["signing"]["permutations"])
        return np.unique(signed[(signed != signed[:, :1]).any(axis=1)], axis=0)

    def with_more(self, entries: Iterable[dict]) -> Forgotten:
        """Sorted, each once: the same list whatever came first. What was named stays named."""
        known: dict[tuple, dict] = {}
        for entry in (*self.entries, *entries):
            key = (entry.get(ADDRESS, ""), entry.get("id") or entry["sha256"])
            known[key] = known.get(key, {}) | entry
        return Forgotten(self.path, self.way, tuple(known[key] for key in sorted(known)))

    def write(self) -> None:
        lines = [{FORGOTTEN: VERSION, **self.way}, *self.entries]
        with atomic(self.path, lambda _: False) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def matches(self, values: Values, near: dict) -> dict[str, np.ndarray]:
        """By why, bool [documents of the pool]: `id`, `text`, `address`, and `near` by signature."""
        pool, hashes = values.pool, values.text_hashes.combine_chunks()
        address = np.zeros(len(pool), bool)
        for field, listed in self.addresses.items():
            address |= is_in(address_hashes(pool, field), pa.array(sorted(listed)))
        return {
            "id": is_in(pool.ids, self.ids), "text": is_in(hashes, self.hashes), "address": address,
            "near": self.near_to(values, near),
        }  # fmt: skip

    def near_to(self, values: Values, near: dict) -> np.ndarray:
        if not len(self.signatures):
            return np.zeros(len(values.pool), bool)
        column = pa.FixedSizeListArray.from_arrays(
            pa.array(self.signatures.reshape(-1)), self.signatures.shape[1]
        )
        sketches = with_bands(pa.table({NAMED: column}), list(Scheme(**near).cut))
        return closest(values, near, sketches.select)[0] >= 0

    def resembles(self, rows: pa.Table, cut: list[int], similarity: float) -> np.ndarray:
        """bool [rows]: of an index's rows those whose signature says that they are as similar to a named document."""
        shares = np.zeros(len(rows), bool)
        if len(self.signatures) and len(rows):
            shares = shares_a_band(rows.select, band_keys(self.signatures, *cut))
        for row in np.flatnonzero(shares):
            equal = self.signatures == np.array(rows[NAMED][int(row)].as_py(), np.uint32)
            shares[row] = equal.mean(axis=1).max() >= similarity
        return shares


def is_in(column: pa.Array | pa.ChunkedArray, listed: pa.Array) -> np.ndarray:
    """bool [rows]"""
    return np.asarray(pc.is_in(column, value_set=listed.cast(column.type)))


def address_hashes(pool: Pool, field: str) -> pa.Array:
    """sha256 (hex) of what each document has in a field; null where it has nothing."""
    values = pool.field(field, pa.string()).to_pylist()
    return pa.array([one if one is None else hashed(one) for one in values], pa.string())


def hashed(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()


def entry_of(id: str, text_hash: bytes, signature: np.ndarray | None = None) -> dict[str, str]:
    entry = {"id": id, "text_hash": text_hash.hex()}
    if signature is None:
        return entry
    return entry | {NAMED: base64.b64encode(signature.astype("<u4").tobytes()).decode()}


def way_of(near: dict, normalise: str) -> dict:
    """How this manifest hashes and signs texts: two that differ cannot be compared."""
    return {"signing": Scheme(**near).signing, "normalise": normalise}


def read_list(parameters: dict) -> Forgotten:
    """Raises CurateError where it is gone, damaged, or of other hashes than those that are measured."""
    path, way = Path(parameters["file"]), way_of(parameters["near"], parameters["normalise"])
    try:
        head, *entries = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        version, theirs = head.pop(FORGOTTEN), head
        found = Forgotten(path, way, tuple(entries))
        if (version, theirs) == (VERSION, way):
            _ = found.ids, found.hashes, found.addresses, found.signatures
    except FileNotFoundError:
        raise CurateError(f"{path}: no such list; put it back, or what it names comes back") from None
    except (ValueError, KeyError, TypeError, AttributeError, pa.ArrowException):
        raise CurateError(f"{path}: damaged; put back the list that `curate forget` wrote") from None
    if (version, theirs) != (VERSION, way):
        raise CurateError(
            f"{path}: documents are hashed and signed in another way than when the list was written; put "
            "near_duplicates and exact_duplicates in [signals] back, or forget with a list of another name"
        )
    return found


def find_forgotten(values: Values, parameters: dict) -> list[Part]:
    """The signal beside each part of the pool: computed once for this list and this pool."""
    listed, pool = read_list(parameters), values.pool
    carried = {name for part in pool.parts for name in part.table().column_names}
    if missing := sorted(set(listed.addresses) - carried):
        raise CurateError(
            f'{listed.path}: it names addresses by the field "{missing[0]}", which no source carries now; add it to columns'
        )
    made_of = [values.signals.versions[name] for name in ("text_hash", "signatures")]
    key = digest_of([FORGOTTEN, VERSION, listed.digest, parameters["near"], pool.digest, made_of])

    def match() -> Iterable[pa.Table]:
        matches = listed.matches(values, parameters["near"]).values()
        return values.cut_at_parts(pa.table({FORGOTTEN: np.logical_or.reduce(list(matches)).astype(float)}))

    return values.beside_parts(FORGOTTEN, key, match)


def in_lock(parameters: dict) -> dict:
    """What the lock says of the list."""
    listed = read_list(parameters)
    addresses = sum(map(len, listed.addresses.values()))
    return {
        "file": listed.path.name, "sha256": listed.digest, "named": len(listed.named),
        "near_them": len(listed.ids) - len(listed.named), "addresses": addresses,
    }  # fmt: skip
