"""What a level's documents read after its edits: spans that were measured once are cut or masked on the way out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.signals.annotate import Signals
from curate.sources.pool import gather
from curate.spec.bounds import Edit
from curate.store import Part
from filters.edits import edit, edited_sizes


@dataclass(frozen=True)
class Edited:
    """The edits of a level, and for each the parts where its spans lie; none where the text stays as it is."""

    edits: tuple[Edit, ...]
    parts: tuple[tuple[Part, ...], ...]

    @property
    def identity(self) -> list:
        """What the edited text depends on besides the documents: nothing where there is no edit."""
        return self.identity_in(range(len(self.parts[0]) if self.parts else 0))

    def identity_in(self, numbers: Sequence[int]) -> list:
        """The same of the text in these parts of documents."""
        return [
            [edit.signal, edit.mask, [parts[i].digest for i in numbers]]
            for edit, parts in zip(self.edits, self.parts, strict=True)
        ]

    def texts(self, documents: list[Part], part: np.ndarray, row: np.ndarray) -> pa.Array:
        """The edited texts at these (part, row) places, in their order."""
        return self.of(gather(documents, part, row, "text"), part, row)

    def of(self, texts: pa.Array, part: np.ndarray, row: np.ndarray) -> pa.Array:
        """These texts, which lie at these places, edited."""
        if not self.edits or not len(texts):
            return texts
        both = zip(self.edits, self.parts, strict=True)
        spans = [gather(list(own), part, row, e.signal) for e, own in both]
        return edit(texts, spans, [e.mask for e in self.edits])

    def sizes(self, documents: list[Part]) -> np.ndarray:
        """int64 [documents of all parts]: bytes of each text after the edits."""
        masks = [e.mask for e in self.edits]
        found = []
        for number, part in enumerate(documents):
            texts = part.table(["text"])["text"].combine_chunks()
            columns = [
                own[number].table([e.signal])[e.signal] for e, own in zip(self.edits, self.parts, strict=True)
            ]
            found.append(edited_sizes(texts, columns, masks))
        return np.concatenate(found)


def edited(edits: tuple[Edit, ...], signals: Signals) -> Edited:
    return Edited(edits, tuple(tuple(signals.families[signals.owner[e.signal]]) for e in edits))
