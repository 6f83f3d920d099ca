"""Names that a user writes: what a wrong one was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str], listed: Iterable[str] | None = None) -> str:
    """` (did you mean "x"?)` where something known is close, else the list of what is known, or of `listed`."""
    known = sorted(known)
    close = difflib.get_close_matches(str(word), known, n=1, cutoff=0.6)
    if close:
        return f' (did you mean "{close[0]}"?)'
    return f" (known: {', '.join(known if listed is None else sorted(listed))})"
