"""A pool of documents with what was measured of it and who was judged how: what every later step starts from."""

from __future__ import annotations

from dataclasses import dataclass

from curate.corpora.selection import Judged, Values
from curate.engine import Engine
from curate.manifest.asked import Manifest
from curate.signals.annotate import Signals
from curate.sources.documents import SourceDocuments
from curate.sources.pool import Pool
from curate.store import Store


@dataclass
class Annotated:
    """Documents with their signals, judged by every level."""

    manifest: Manifest
    store: Store
    engine: Engine
    sources: list[SourceDocuments]
    pool: Pool
    signals: Signals
    values: Values
    judged: dict[str, Judged]  # the manifest's levels
    everything: dict[str, Judged]  # and those that are derived for studies
