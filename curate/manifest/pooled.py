"""What [signals] asks of the whole pool: near and exact duplicates, repeats, indexes."""

from __future__ import annotations

from dataclasses import asdict, fields

from curate.duplicates.index import open_to_compare
from curate.duplicates.index_redis import is_url
from curate.errors import CurateError, did_you_mean
from curate.spec.manifest import DUPLICATES, FORGOTTEN, INDEX, SEMANTIC
from curate.spec.tables import Tables
from filters.duplicates.exact import NORMALISATIONS
from filters.duplicates.minhash import Scheme, scheme_of
from filters.duplicates.repeats import KINDS, WORDS

TOPIC_VECTOR = "topic_vector"
MOST_WORDS = 10_000  # of the shortest repeat that is looked for


def near_scheme(pooled: dict[str, dict]) -> dict:
    """How near-duplicates are looked for: as the manifest says, else as `Scheme` does by itself."""
    return pooled.get(DUPLICATES, {}).get("near") or asdict(Scheme())


def fingerprints(pooled: dict[str, dict]) -> dict[str, dict]:
    """The families of single documents by which duplicates are found, with their parameters. They are always measured:
    nothing that is held out may stand in a corpus, whatever else is asked for."""
    normalise = pooled.get(DUPLICATES, {}).get("normalise", "bytes")
    return {"text_hash": {"normalise": normalise}, "signatures": Scheme(**near_scheme(pooled)).signing}


class PoolTables(Tables):
    def pooled(self, table: dict) -> dict[str, dict]:
        """Family of the pool -> its parameters."""
        pooled: dict[str, dict] = {}
        near, normalise = self._near_duplicates(table), self._exact_duplicates(table)
        if near or normalise:
            pooled[DUPLICATES] = {"near": asdict(near) if near else None, "normalise": normalise or "bytes"}
        for kind in KINDS:
            words = self._repeated(table, kind)
            if words:
                pooled[f"repeated_{kind}"] = {"words": words}
        given = self.options(table, SEMANTIC, ("vectors",), f'{{ vectors = "{TOPIC_VECTOR}" }}')
        if given is not None:
            vectors = self.typed(f"[signals] {SEMANTIC}", given, "vectors", str, TOPIC_VECTOR)
            pooled[SEMANTIC] = {"vectors": vectors}
        named = self.strings("[signals]", table, INDEX)
        if named:
            if not near:
                raise self.fail("[signals] index", "documents are compared as near_duplicates says; add it")
            pooled[INDEX] = {INDEX: [self._index(one, pooled[DUPLICATES]) for one in named]}
        if "forget" in self.tree:
            normalise = pooled.get(DUPLICATES, {}).get("normalise", "bytes")
            pooled[FORGOTTEN] = {"file": self._list(), "near": near_scheme(pooled), "normalise": normalise}
        return pooled

    def _list(self) -> str:
        table = self.table("forget")
        self.known("[forget]", table, ("file",))
        name = self.typed("[forget]", table, "file", str)
        if not name or not (self.path.parent / name).is_file():
            raise self.fail(
                "[forget]", f"file = {name!r}: no such list; without it what was forgotten comes back"
            )
        return str(self.path.parent / name)

    def _near_duplicates(self, table: dict) -> Scheme | None:
        keys = ("preset", *(f.name for f in fields(Scheme)))
        given = self.options(table, "near_duplicates", keys, "{ similarity = 0.8 }")
        with self.failing("[signals] near_duplicates"):
            return None if given is None else scheme_of(given)

    def _exact_duplicates(self, table: dict) -> str | None:
        """How texts are normalised before they are compared."""
        where = "[signals] exact_duplicates"
        given = self.options(table, "exact_duplicates", ("normalise",), '{ normalise = "words" }')
        if given is None:
            return None
        normalise = self.typed(where, given, "normalise", str, "bytes")
        if normalise not in NORMALISATIONS:
            hint = did_you_mean(normalise, NORMALISATIONS)
            raise self.fail(
                where, f'normalise = "{normalise}": choose one of {", ".join(NORMALISATIONS)}{hint}'
            )
        return normalise

    def _repeated(self, table: dict, kind: str) -> int | None:
        """The least number of words of a repeat."""
        name, usual = f"repeated_{kind}", WORDS[kind]
        given = self.options(table, name, ("words",), f"{{ words = {usual} }}")
        if given is None:
            return None
        words = self.typed(f"[signals] {name}", given, "words", int, usual)
        if not 1 <= words <= MOST_WORDS:
            raise self.fail(
                f"[signals] {name}", f"words = {words} is not in 1..{MOST_WORDS}; {usual} is usual"
            )
        return words

    def _index(self, named: str, duplicates: dict) -> str:
        """The folder or URL of an index that compares documents as this manifest does."""
        where = named if is_url(named) else str(self.path.parent / named)
        with self.failing("[signals] index", CurateError):
            open_to_compare(where, duplicates)
        return where
