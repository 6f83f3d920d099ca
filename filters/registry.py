"""Every family and every signal by its name. Loading it loads numba, so `filters` does so on first use.

A new family is one line here.
"""

from __future__ import annotations

from filters.duplicates import exact, leaders, meaning, repeats
from filters.heuristics import (
    blocklists,
    c4,
    characters,
    compressibility,
    dclm,
    lines,
    madlad,
    markup,
    private,
    repetition,
    stop_words,
    unicode_words,
    urls,
    words,
)
from filters.language import documents as language
from filters.language import lines as line_languages
from filters.models import contamination, overlap, perplexity, quality, robots, target_likeness, topics

_FAMILIES = (
    words.FAMILY,
    lines.FAMILY,
    repetition.FAMILY,
    unicode_words.FAMILY,
    repetition.UNICODE,
    stop_words.FAMILY,
    c4.FAMILY,
    c4.PAPER_FAMILY,
    dclm.FAMILY,
    madlad.FAMILY,
    characters.FAMILY,
    markup.FAMILY,
    compressibility.FAMILY,
    urls.FAMILY,
    urls.OWN,
    blocklists.FAMILY,
    contamination.FAMILY,
    overlap.FAMILY,
    robots.FAMILY,
    language.FAMILY,
    line_languages.FAMILY,
    quality.FAMILY,
    perplexity.FAMILY,
    target_likeness.FAMILY,
    topics.FAMILY,
    private.FAMILY,
    exact.FAMILY,
    leaders.SIGNATURES,
)
_OF_THE_POOL = (
    leaders.DUPLICATES,
    leaders.INDEXED,
    *repeats.REPEATS,
    meaning.FAMILY,
    leaders.FORGOTTEN,
)  # measured over all documents together


FAMILIES = {family.name: family for family in _FAMILIES}
OF_THE_POOL = {family.name: family for family in _OF_THE_POOL}
SIGNALS = {signal.name: signal for family in _FAMILIES for signal in family.signals}
assert len(SIGNALS) == sum(len(family.signals) for family in _FAMILIES), "two families measure one signal"
FAMILY_OF = {signal.name: family.name for family in _FAMILIES for signal in family.signals}
