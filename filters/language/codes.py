"""Language codes: one code for every way a language is written down.

`en`, `eng`, `eng_Latn` and `__label__en` ask for one language. The canonical code is ISO 639-1 where there is one,
else ISO 639-3; a standard variety without a two-letter code of its own stands under the code that corpora use for the
whole (`cmn` is `zh`, `arb` is `ar`). Script and region stay, as BCP 47 writes them (`zh-Hant`, `pt-BR`), but for the script
that a language is written in as a rule (`eng_Latn` is `en`, `hin_Latn` is `hi-Latn`). A code stands for its varieties
too: `zh` covers `zh-Hant`, see `covers`. Varieties that have a
code or that a model tells apart stay apart (`nb` and `nn` beside `no`, `yue`, `arz`, `ckb`). So ask with the
model's words: lid.176 answers `no` for Bokmål, GlotLID `nb`.

Price: a table by hand, `languages.txt`. It covers ISO 639-1 and all labels of lid.176.
"""

from __future__ import annotations

import difflib
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

SAME_SCRIPT = {"Hang": "Kore", "Hira": "Jpan", "Kana": "Jpan"}  # of models that name one part of it
LATIN = "Latn"  # usual for languages that the table does not have
# `als` is Tosk Albanian in ISO 639-3, but Alemannic in Wikipedia's addresses, so as a label of lid.176.
AMBIGUOUS = {"als": 'Alemannic in lid.176 but Tosk Albanian in ISO 639-3: write "gsw" or "sq"'}
_FORM = re.compile(r"(?P<language>[a-z]{2,3})([-_](?P<script>[a-z]{4}))?([-_](?P<region>[a-z]{2}|[0-9]{3}))?")


class Language(NamedTuple):
    """What a row of `languages.txt` says beside the canonical code."""

    name: str
    script: str  # the usual one; "" where several are
    others: list[str]  # codes for the same language


@cache
def languages() -> dict[str, Language]:
    """Every language of the table by its canonical code."""
    text = (Path(__file__).parent / "languages.txt").read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.splitlines() if not line.startswith("#")]
    return {code: Language(name, script, others.split()) for code, name, script, others in rows}


def canonical(code: str) -> str:
    """The one code of this language, with script and region where they say more.

    Takes BCP-47 (`zh-Hant-TW`), ISO 639-1, -2 and -3, a code with its script (`cmn_Hani`) and a label
    (`__label__en`), in any case. `ValueError` for anything else, with the codes that come close.
    """
    label = code.strip().lower()
    is_label = label.startswith("__label__")
    form = _FORM.fullmatch(label.removeprefix("__label__"))
    if form is None:
        raise ValueError(_unknown(code))
    language = form["language"]
    if language in AMBIGUOUS:
        if not is_label and not form["script"]:
            raise ValueError(f'language code "{code}" is {AMBIGUOUS[language]}')
        return _with_variety("sq" if form["script"] else "gsw", form)
    if language in _canonical_by_alias():
        return _with_variety(_canonical_by_alias()[language], form)
    raise ValueError(_unknown(code))


def _with_variety(language: str, form: re.Match[str]) -> str:
    """The code with the script, unless it is the usual one, and with the region."""
    script = (form["script"] or "").title()
    script = SAME_SCRIPT.get(script, script)
    if script == (languages()[language].script if language in languages() else LATIN):
        script = ""  # the usual one
    return "-".join(part for part in (language, script, (form["region"] or "").upper()) if part)


def covers(wanted: str, code: str) -> bool:
    """A document of this canonical code is of the language that is wanted, and of its script and region if any is."""
    language, *varieties = wanted.split("-")
    own, *its = code.split("-")
    return language == own and set(varieties) <= set(its)


def language_of(code: str) -> str:
    """A canonical code without script and region."""
    return code.partition("-")[0]


def canonical_of_label(label: str) -> str:
    """The code of a classifier's label; a label that names no language of the table stays as it is."""
    try:
        return canonical(f"__label__{label.removeprefix('__label__')}")
    except ValueError:
        form = _FORM.fullmatch(label.lower())
        return _with_variety(form["language"], form) if form and form["script"] else label


def name_of(code: str) -> str:
    """The English name of a canonical code's language, or the code itself where the table has none."""
    language = languages().get(language_of(code))
    return language.name if language else code


@cache
def _canonical_by_alias() -> dict[str, str]:
    return {alias: code for code, row in languages().items() for alias in (code, *row.others)}


def _unknown(code: str) -> str:
    close = " or ".join(f'"{near}" ({name_of(near)})' for near in _close(code))
    return f'"{code}" is no known language code' + (f"; did you mean {close}?" if close else "")


def _close(code: str) -> list[str]:
    """At most three canonical codes whose name or whose spellings are like this one."""
    wanted = re.split(r"[-_]", code.strip().lower().removeprefix("__label__"))[0]
    by_name = {name.lower(): near for near, (name, _, _) in languages().items()}
    if wanted in by_name:
        return [by_name[wanted]]
    by_word = {word.strip("()"): near for name, near in by_name.items() for word in name.split()}
    spellings = _canonical_by_alias() if len(wanted) <= 3 else {**by_name, **by_word}
    close = difflib.get_close_matches(wanted, spellings, n=6, cutoff=0.6)
    return list(dict.fromkeys(spellings[near] for near in close))[:3]
