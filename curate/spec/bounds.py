"""Rules: bounds over signals, alone or as a named, published set (a profile)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from filters.language.codes import canonical, covers

LANGUAGE_SIGNALS = ("language", "main_line_language")


@dataclass(frozen=True)
class Bound:
    """What a signal may be: in [low, high] (inclusive), one of `labels`, or among the `top` fraction.

    With `by_language` a document is bound by the entry of its language; one without an entry is not bound. Codes of
    languages cover their varieties: `zh` is `zh-Hant` too, and of two entries the more exact one counts.
    """

    low: float = -math.inf
    high: float = math.inf
    labels: tuple[str, ...] | None = None
    top: float | None = None
    label: str | None = None  # how it reads where it is none of these
    by_language: tuple[tuple[str, Bound], ...] = ()
    sampled: bool = False  # the signal is the logarithm of a weight, by which documents are drawn
    of_languages: bool = False  # the labels are codes of languages

    def for_language(self, language: str | None) -> Bound:
        """The bound on one document of this language (null: unknown)."""
        if not self.by_language:
            return self
        own = [entry for entry in self.by_language if language and covers(entry[0], language)]
        return max(own, key=lambda entry: entry[0].count("-"))[1] if own else Bound()

    def accepted(self, values: Iterable[str | None]) -> list[str]:
        """Those of these values that are among the labels."""
        labels, known = self.labels or (), [value for value in values if value is not None]
        if not self.of_languages:
            return [value for value in known if value in labels]
        return [value for value in known if any(covers(label, value) for label in labels)]

    def text(self) -> str:
        if self.label is not None:
            return self.label
        if self.by_language:
            return ", ".join(f"{code}: {bound.text()}" for code, bound in self.by_language)
        if self.labels is not None:
            return " | ".join(self.labels)
        if self.top is not None:
            return f"{'sample' if self.sampled else 'top'} {self.top:g}"
        return f"[{self.low:g}, {self.high:g}]"

    def as_json(self) -> Any:
        if self.by_language:
            return {"by_language": {code: bound.as_json() for code, bound in self.by_language}}
        if self.labels is not None or self.label is not None:
            return list(self.labels) if self.labels is not None else self.label
        if self.top is not None:
            return {"sample" if self.sampled else "top": self.top}
        return [None if math.isinf(x) else x for x in (self.low, self.high)]


@dataclass(frozen=True)
class Edit:
    """Spans that a level cuts out of its documents, or puts a mask in the place of."""

    signal: str
    mask: str = ""

    def text(self) -> str:
        return f"{self.signal} -> {self.mask}" if self.mask else f"{self.signal} cut"


@dataclass(frozen=True)
class Rule:
    """A bound on a signal, under the name by which the ledger knows it: `gopher-quality.core_word_count`."""

    name: str
    signal: str
    bound: Bound
    edits: tuple[Edit, ...] = ()  # the signal is of the text after these


@dataclass(frozen=True)
class Profile:
    name: str
    source: str
    rules: tuple[Rule, ...]
    digest: str
    edits: tuple[Edit, ...] = ()


def parse_bound(signal: str, value: Any) -> Bound:
    """[low, high], a list of labels, {top = 0.1}, {sample = 0.1}, or a bound for each language: {en = [..], de = [..]}.

    Raises ValueError saying what is wrong and the fix.
    """
    if isinstance(value, dict) and value and not value.keys() & {"top", "sample"}:
        return bound_by_language(signal, value)
    if isinstance(value, dict):
        share = next(iter(value.values()), None)
        if len(value) != 1 or not isinstance(share, float) or not 0 < share < 1:
            raise ValueError(
                f"{signal} = {value}: write {{ top = 0.1 }} for the best tenth, or {{ sample = 0.1 }} for a tenth drawn by "
                "a signal that is the logarithm of a weight"
            )
        return Bound(top=share, sampled="sample" in value)
    if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        return _of_labels(signal, value)
    if not isinstance(value, list) or len(value) != 2 or not all(map(is_number, value)):
        raise ValueError(
            f"{signal} = {value!r}: write [low, high] (inf where a side is open) or a list of labels"
        )
    low, high = map(float, value)
    if math.isnan(low) or math.isnan(high):
        raise ValueError(f"{signal} = {value}: nan bounds nothing; use inf for an open side")
    if low > high:
        raise ValueError(f"{signal} = [{low:g}, {high:g}] keeps nothing; swap the bounds")
    return Bound(low, high)


def bound_by_language(signal: str, value: dict) -> Bound:
    """{"en": [0.7, 1], ...} with any code or alias of a language. Raises ValueError."""
    try:
        codes = [canonical(code) for code in value]
    except ValueError as error:
        raise ValueError(
            f"{signal} = {value}: neither {{ top = 0.1 }} nor bounds by language: {error}"
        ) from None
    bounds = [parse_bound(signal, one) for one in value.values()]
    return Bound(by_language=tuple(zip(codes, bounds, strict=True)))


def parse_edits(table: dict) -> tuple[Edit, ...]:
    """`cut = ["a_spans"]` and `mask = ["b_spans"]` or `mask = { b_spans = "[gone]" }`. Raises ValueError.

    A mask that is not given is the name of what was there: `email_spans` becomes `[EMAIL]`.
    """
    cut, mask = table.get("cut", []), table.get("mask", {})
    cut = [cut] if isinstance(cut, str) else cut
    if isinstance(mask, str | list):
        named = [mask] if isinstance(mask, str) else mask
        if not all(isinstance(name, str) for name in named):
            raise ValueError(f"mask = {mask!r}: write a list of span signals")
        mask = {name: f"[{str(name).removesuffix('_spans').upper()}]" for name in named}
    if not isinstance(cut, list) or not all(isinstance(name, str) for name in cut):
        raise ValueError(f"cut = {cut!r}: write a list of span signals")
    if not isinstance(mask, dict) or not all(isinstance(text, str) and text for text in mask.values()):
        raise ValueError(f'mask = {mask!r}: write a list of span signals, or {{ email_spans = "[EMAIL]" }}')
    return (*(Edit(name) for name in cut), *(Edit(name, text) for name, text in mask.items()))


def _of_labels(signal: str, labels: list[str]) -> Bound:
    if signal not in LANGUAGE_SIGNALS:
        return Bound(labels=tuple(labels))
    return Bound(labels=tuple(canonical(label) for label in labels), of_languages=True)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
