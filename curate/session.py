"""Where results live and what does the work: what the command line's shared options and the Python face both say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from curate.engine import Engine
    from curate.store import Store


@dataclass
class Session:
    store: str | Path = ".curate"  # folder of all results
    workers: int | None = None  # threads or processes; None: every core
    memory: int | None = None  # bytes that finding duplicates may take; None: half of the machine's
    engine: str = "local"  # or "ray"

    def open_store(self) -> Store:
        from curate.store import Store

        return Store(Path(self.store))

    def open_engine(self) -> Engine:
        from curate.engine import open_engine

        return open_engine(self.engine, self.workers, self.memory)
