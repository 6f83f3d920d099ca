"""Documents that nobody may train on any more: out of every level, holdout and index, and the proof that they are.

What is named goes on the manifest's list (`duplicates.forgotten`) before anything is built, so that every later build of
it leaves the same out. Selection alone is done again: no text is read but that of documents that may be near one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.corpora.built import Annotated, Built
from curate.corpora.corpus import RECORD, open_arrow
from curate.corpora.history import Version, committed, on_disk
from curate.corpora.lock import corpus_directory
from curate.duplicates.forgotten import NAMED, Forgotten, entry_of, hashed, is_in, read_list, way_of
from curate.duplicates.index_folder import Folder, open_folder
from curate.duplicates.index_redis import is_url
from curate.duplicates.resolve import near_to, signatures_at
from curate.engine import Engine
from curate.errors import CurateError, Mismatch
from curate.manifest.reader import load_manifest, parse_manifest
from curate.sources.pool import gather
from curate.spec.manifest import FORGOTTEN, INDEX, Manifest
from curate.steps import annotate_all, build
from curate.store import LOCKS, Store, listed, lock_digest, read_record, remembered, write_json
from train.files import write_whole

MOST_SAID = 5  # names that are nowhere
LIST, PROOF = ".forgotten.jsonl", ".absence.json"  # beside the manifest


def forget(
    store: Store, path: Path, names: Iterable[str], field: str, indexes: Iterable[str], engine: Engine
) -> dict[str, Any]:
    """The proof of absence, which also lies beside the manifest. `names`: ids, values of `field`, or files that name one a
    line; none: what is on the list already is looked for again. Raises CurateError where a name is nowhere."""
    manifest = load_manifest(path)
    wanted = _wanted(names)
    known = [*indexes, *manifest.pooled.get(INDEX, {}).get(INDEX, [])]
    folders = [_folder(where) for where in dict.fromkeys(known)]
    listed = _list_of(manifest)
    if not wanted and not listed.entries:
        raise CurateError(f"{path}: nothing is forgotten; name ids, values of {field}, or a file of them")
    versions = _versions(store, manifest)
    if wanted:
        a = annotate_all(store, manifest, engine)
        listed = listed.with_more(_entries(a, listed, wanted, field))
        listed.write()
        manifest = _naming(manifest, listed)
    built = build(store, manifest, engine)
    removed = {folder.name: _removed(built, listed, folder) for folder in folders}
    gone = _gone(built, listed)
    digest = lock_digest(built.lock)
    proof = {
        "lock": f"{built.lock['name']}@{digest[:12]}",
        "list": built.lock["pool"][FORGOTTEN],
        "documents": [{k: v for k, v in entry.items() if k != NAMED} for entry in listed.named],
        "dropped": int(built.annotated.values.forgotten().sum()),
        "absence": _absence(built, listed),
        "indexes": removed,
        "models": sorted(manifest.recipes),
        "were_in": list(_were_in(store, [v for v in versions if v.digest != digest], gone)),
    }
    write_json(manifest.path.with_suffix(PROOF), proof)
    return proof


# ---- what is named ------------------------------------------------------------------------------------------


def _wanted(names: Iterable[str]) -> list[str]:
    wanted: list[str] = []
    for name in names:
        wanted += listed(Path(name), "an id or an address") if Path(name).is_file() else [name]
    return list(dict.fromkeys(name for name in wanted if name))


def _list_of(manifest: Manifest) -> Forgotten:
    """The manifest's list, maybe a new one."""
    path = manifest.path.with_suffix(LIST)
    near, normalise = manifest.holdout.near, manifest.families["text_hash"]["normalise"]
    parameters = {"file": str(path), "near": near, "normalise": normalise}
    parameters = manifest.pooled.get(FORGOTTEN, parameters)
    if Path(parameters["file"]).exists():
        return read_list(parameters)
    return Forgotten(path, way_of(near, normalise), ())


def _naming(manifest: Manifest, listed: Forgotten) -> Manifest:
    """The manifest, which names the list from now on."""
    if FORGOTTEN in manifest.pooled:
        return manifest
    text = f'{manifest.text.rstrip()}\n\n[forget]\nfile = "{listed.path.name}"\n'
    changed = parse_manifest(manifest.path, text)
    write_whole(manifest.path, lambda file: file.write(text.encode()))
    return changed


def _entries(a: Annotated, listed: Forgotten, wanted: list[str], field: str) -> list[dict]:
    """What the list is to hold of these names. Raises CurateError where one is nowhere."""
    pool, signals = a.pool, a.signals
    asked = pa.array(wanted, pa.string())
    values = pool.field(field, pa.string())
    named = is_in(pool.ids, asked) | is_in(values, asked)
    addresses = set(values.filter(pa.array(named)).to_pylist()) & set(wanted)
    there = {*listed.ids.to_pylist(), *pool.ids.filter(pa.array(named)).to_pylist(), *addresses}
    there |= {one for one in wanted if hashed(one) in listed.addresses.get(field, ())}
    if nowhere := [one for one in wanted if one not in there]:
        more = f" and {len(nowhere) - MOST_SAID:,} more" if len(nowhere) > MOST_SAID else ""
        raise CurateError(
            f"{', '.join(nowhere[:MOST_SAID])}{more}: no document has this id, nor this {field}; nothing was forgotten. "
            f"Ids are whole, as `curate explain` prints them; --field names another field that sources carry"
        )
    rows = np.flatnonzero(named)
    place = pool.part[rows], pool.row[rows]
    near = np.zeros(len(pool), bool)
    if len(rows):
        texts = gather(pool.parts, *place, "text")
        near = near_to(a.values, a.manifest.holdout.near, texts) & ~named
    hashes = signals.column("text_hash", "text_hash").combine_chunks()

    def entries(which: np.ndarray, signed: Iterable[np.ndarray | None]) -> list[dict]:
        columns = (column.take(pa.array(which)).to_pylist() for column in (pool.ids, hashes))
        return [entry_of(*one) for one in zip(*columns, signed, strict=True)]

    also = np.flatnonzero(near)
    return [
        *entries(rows, signatures_at(signals, *place) if len(rows) else []),
        *entries(also, [None] * len(also)),
        *({"field": field, "sha256": hashed(one)} for one in addresses),
    ]


def _gone(built: Built, listed: Forgotten) -> pa.Array:
    """The ids of all that is forgotten, listed or in the pool."""
    a = built.annotated
    return pa.concat_arrays([listed.ids, *a.pool.ids.filter(pa.array(a.values.forgotten())).chunks])


# ---- indexes ------------------------------------------------------------------------------------------------


def _folder(where: str) -> Folder:
    if is_url(where):
        raise CurateError(
            f"{where}: documents cannot be removed from an index in Redis; empty its database, fill it again with "
            "`curate index` once they are forgotten, and leave it out here"
        )
    return open_folder(Path(where))


def _removed(built: Built, listed: Forgotten, folder: Folder) -> int:
    """How many documents an index has no more."""
    way = {"signing": folder.comparison["signing"], "normalise": folder.comparison["normalise"]}
    if way != listed.way:
        raise CurateError(
            f"{folder.where}: it hashes texts in another way; forget with the manifest that fills it"
        )
    ids = _gone(built, listed)

    def is_gone(rows: pa.Table) -> np.ndarray:
        same = is_in(rows["id"], ids) | is_in(rows["text_hash"], listed.hashes)
        return same | listed.resembles(rows, folder.comparison["cut"], folder.comparison["similarity"])

    return folder.remove(is_gone)


# ---- the proof ----------------------------------------------------------------------------------------------


def _absence(built: Built, listed: Forgotten) -> dict[str, Any]:
    """What was looked through, and how many of it a document of the list is in: 0, or Mismatch is raised.

    Ids are read of the corpora's files; hashes and signatures are those that were measured of these documents.
    """
    a = built.annotated
    pool = a.pool
    stands = np.zeros(len(pool), bool)
    for corpus in built.corpora:
        rows = pc.index_in(open_arrow(corpus.path)["id"], value_set=pool.ids)
        stands[rows.to_numpy()] = True
    corpora = int(stands.sum())
    for rows in (*built.rows.values(), *built.holdouts.rows.values(), *built.holdouts.apart.values()):
        stands[rows] = True
    matches = listed.matches(a.values, a.manifest.holdout.near)
    still = {why: int((mask & stands).sum()) for why, mask in matches.items()}
    if any(still.values()):
        raise Mismatch(
            f"{listed.path}: what it names still stands in {built.lock_path}: {still}; remove the store and build"
        )
    return {
        "corpora": {f"{c.level} {c.label}": c.digest for c in built.corpora},
        "documents_of_corpora": corpora, "documents_of_levels_and_holdouts": int(stands.sum()),
        "similarity": a.manifest.holdout.near["similarity"], "still_there": still,
    }  # fmt: skip


# ---- where they were ----------------------------------------------------------------------------------------


def _versions(store: Store, manifest: Manifest) -> list[Version]:
    """Every lock that is known: in git's history, where builds in this store wrote one, and beside the manifest."""
    known = {path.stem for path in store.folder(LOCKS).glob("*.json")}
    accounts = [
        store.account(digest) for digest in known.union(store.remote.keys(LOCKS) if store.remote else ())
    ]
    places = {Path(place) for account in accounts for place in account.get("lock", ())}
    here = manifest.path.absolute().parent
    found = [*committed(here), *on_disk(sorted({*places, manifest.lock_path.absolute()}))]
    return list({version.digest: version for version in reversed(found)}.values())


def _were_in(store: Store, versions: list[Version], gone: pa.Array) -> Iterable[dict]:
    """The versions whose corpora hold one of these ids, or cannot be looked through."""
    held: dict[str, int | None] = {}
    for version in versions:
        corpora, unknown, levels = {}, [], set()
        for corpus in version.lock["corpora"]:
            name, digest = f"{corpus['level']} {corpus['size']}", corpus["digest"]
            if digest not in held:
                held[digest] = _holds(store, version.lock, corpus, gone)
            if held[digest] is None:
                unknown.append(name)
            elif held[digest]:
                corpora[name] = {"documents": held[digest], "digest": digest}
                levels.add(corpus["level"])
        if corpora or unknown:
            account = store.account(version.digest)
            yield {
                "version": version.label, "commit": version.commit, "date": version.date, "corpora": corpora,
                "not_in_the_store": unknown, "runs": list(_runs(store, account.get("used", ()), levels)),
                "published": account.get("published", []),
            }  # fmt: skip


def _holds(store: Store, lock: dict, corpus: dict, gone: pa.Array) -> int | None:
    """How many of these documents; None where the corpus is not in the store."""
    try:
        folder = corpus_directory(store, corpus)
    except CurateError:
        return None
    count = 0
    for file in read_record(folder / RECORD)["files"]:
        with pa.memory_map(str(folder / file["name"])) as source, pa.ipc.open_stream(source) as reader:
            count += sum(int(is_in(batch["id"], gone).sum()) for batch in reader)
    return count


def _runs(store: Store, used: Iterable[str], levels: set[str]) -> Iterable[dict]:
    """The runs of a lock, and whether a corpus of their level holds one of the documents. Where every seed reads documents
    of its own, the others may have read one too."""
    for name in sorted(name for name in used if name.startswith("runs/")):
        found = {path.parent.name: remembered(path) for path in (store.root / name).glob("*/run.json")}
        if remote := store.remote:  # those that other machines trained
            folder = remote.name(store.root / name)
            for size in set(remote.keys(folder)) - set(found):
                found[size] = json.loads(remote.read(f"{folder}/{size}/run.json") or b"{}")
        for size, run in sorted(found.items()):
            level = run.get("level", "")
            yield {"run": f"{name}/{size}", "level": level, "level_held": level in levels}


def forget_text(path: Path, proof: dict[str, Any]) -> str:
    listed, absence = proof["list"], proof["absence"]
    lines = [
        f"listed: {listed['named']:,} documents, {listed['near_them']:,} near them, {listed['addresses']:,} addresses",
        f"dropped: {proof['dropped']:,} documents of the sources, by {listed['file']}",
        f"absent: none of {absence['documents_of_corpora']:,} documents in {len(absence['corpora'])} corpora, nor of what "
        f"is held out, has their ids, texts or addresses, or is {absence['similarity']:g} similar to one",
        *(f"index {name}: {count:,} documents removed" for name, count in proof["indexes"].items()),
    ]
    if proof["models"]:
        lines.append(
            f"models that may have learned of them, and are what they were: {', '.join(proof['models'])}"
        )
    for version in proof["were_in"]:
        if version["corpora"]:
            held = ", ".join(f"{name} ({one['documents']:,})" for name, one in version["corpora"].items())
            lines.append(f"were in {version['version']}: {held}; {len(version['runs']):,} runs")
            lines += [f"    published: {place}" for place in version["published"]]
        if version["not_in_the_store"]:
            lines.append(
                f"unknown of {version['version']}: {', '.join(version['not_in_the_store'])} are not in the store"
            )
    return "\n".join([*lines, f"proof: {path.with_suffix(PROOF)}"])
