"""Every family and every signal by its name. Loading it loads numba, so `filters` does so on first use.

A new family is one line here.
"""

from __future__ import annotations

from filters import (
    c4,
    characters,
    compression,
    contamination,
    dclm,
    duplicates,
    exact,
    language,
    line_languages,
    lines,
    markup,
    perplexity,
    private,
    quality,
    repeats,
    repetition,
    stop_words,
    unicode_words,
    urls,
    words,
)
from filters.family import Family, Signal

_FAMILIES = (
    words.FAMILY,
    lines.FAMILY,
    repetition.FAMILY,
    unicode_words.FAMILY,
    repetition.UNICODE,
    stop_words.FAMILY,
    c4.FAMILY,
    dclm.FAMILY,
    characters.FAMILY,
    markup.FAMILY,
    compression.FAMILY,
    urls.FAMILY,
    urls.OWN,
    urls.LISTS,
    contamination.FAMILY,
    language.FAMILY,
    line_languages.FAMILY,
    quality.FAMILY,
    perplexity.FAMILY,
    private.FAMILY,
    exact.FAMILY,
    duplicates.SIGNATURES,
)
_OF_THE_POOL = (
    duplicates.DUPLICATES,
    duplicates.INDEXED,
    *repeats.REPEATS,
)  # measured over all documents together


def _by_name(families: tuple[Family, ...]) -> tuple[dict[str, Family], dict[str, Signal]]:
    signals: dict[str, Signal] = {}
    for family in families:
        for signal in family.signals:
            assert signal.name not in signals, f"two families measure {signal.name}"
            signals[signal.name] = signal
    return {family.name: family for family in families}, signals


FAMILIES, SIGNALS = _by_name(_FAMILIES)
OF_THE_POOL, _ = _by_name(_OF_THE_POOL)
FAMILY_OF = {signal.name: family.name for family in _FAMILIES for signal in family.signals}
