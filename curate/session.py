"""Where results live and what does the work: what the command line's shared options and the Python face both say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from curate.corpora.built import Annotated, Built
    from curate.engine import Engine
    from curate.spec.manifest import Manifest
    from curate.store import Store


@dataclass
class Session:
    store: str | Path = ".curate"  # folder of all results, or a URL
    workers: int | None = None  # threads or processes; None: every core
    memory: int | None = None  # bytes that finding duplicates may take; None: half of the machine's
    engine: str = "local"  # or "ray"
    share: tuple[int, int] = (0, 1)  # (3, 64): of every 64 tasks the fourth
    wait: bool = False  # with a share: take over what nobody does, and wait for the rest

    def open_store(self, makes: bool = True) -> Store:
        from curate.store import open_store

        store = open_store(self.store, self._waits and makes, makes)
        if store.remote:
            store.remote.check()
        # On a cluster other machines are told where it is.
        return replace(store, root=store.root.absolute()) if self.engine == "ray" else store

    def open_engine(self) -> Engine:
        from curate.engine import Share, open_engine

        return open_engine(self.engine, self.workers, self.memory, Share(*self.share, self._waits))

    def annotate(self, manifest: str | Path | Manifest) -> Annotated:
        from curate.steps import annotate_all

        return annotate_all(self.open_store(), loaded(manifest), self.open_engine())

    def build(self, manifest: str | Path | Manifest, lock: Path | None = None) -> Built:
        from curate.steps import build

        return build(self.open_store(), loaded(manifest), self.open_engine(), lock_path=lock)

    @property
    def _waits(self) -> bool:
        return self.wait or self.share[1] == 1


def loaded(manifest: str | Path | Manifest) -> Manifest:
    """A manifest by its path, or as it was loaded before."""
    from curate.manifest.reader import load_manifest
    from curate.spec.manifest import Manifest

    return manifest if isinstance(manifest, Manifest) else load_manifest(manifest)
