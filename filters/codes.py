"""Language codes: whatever people and models write, as one code.

`no`, `nob`, `nob_Latn`, `__label__no` are all "no"; `zh`, `zho`, `cmn`, `cmn_Hani`, `zh-CN` are all "zh". The
tables behind it are CLDR's, through `langcodes`: the shortest ISO 639 code, the macrolanguage where one
member stands for it. Script and region are dropped, since models for whole documents rarely tell them apart.
"""

from __future__ import annotations

import difflib
from functools import lru_cache

OWN = {
    "nb": "no", "nob": "no",  # lid.176 calls Bokmål `no`, beside `nn`
    "sh": "sh", "hbs": "sh", "bih": "bh", "bh": "bh", "eml": "eml", "als": "als",  # codes of Wikipedia in lid.176
    "zxx": "zxx", "mul": "mul",
}  # fmt: skip
COMMON = ("en de fr es pt it nl sv no nn da fi pl cs ru uk bg el tr ar he fa hi bn zh ja ko vi th id").split()


@lru_cache(maxsize=4096)
def canonical(code: str) -> str:
    """The one code of a language. Raises ValueError, with close ones, where nothing has this code."""
    import langcodes

    plain = code.strip().removeprefix("__label__").replace("_", "-")
    first = plain.split("-")[0].lower()
    if first in OWN:
        return OWN[first]
    try:
        language = langcodes.Language.get(plain)
        known = first.isascii() and first.isalpha() and 2 <= len(first) <= 3 and language.is_valid()
    except (langcodes.LanguageTagError, ValueError):
        known = False
    if not known:
        close = difflib.get_close_matches(first, COMMON, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else "write ISO 639 codes such as en, de, zh"
        raise ValueError(f'"{code}" is no language code; {hint}')
    short = language.prefer_macrolanguage().language or first
    return OWN.get(short, short)
