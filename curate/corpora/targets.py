"""Targets: text that the user cares about. Every run is scored on it, and no corpus holds anything like it.

A target is read as a source is, but is no part of the pool. Its documents are what loss is measured on; of questions
(prompt and answer) the answer alone, behind its prompt; of questions with choices also whether the right one is the
likeliest. What is kept out of every corpus: a text that equals a target's, one that is a near-duplicate of it, and one
that shares a run of 13 words with it (as Brown et al. 2020, arXiv:2005.14165, look for their benchmarks).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.corpora.groups import groups_of
from curate.corpora.resembling import resembling
from curate.corpora.units import whole
from curate.errors import CurateError
from curate.quantities import BYTES_A_TOKEN
from curate.signals.values import Values
from curate.sources.documents import SourceDocuments, read_sources
from curate.sources.pool import open_pool
from curate.spec.manifest import Manifest, Target
from curate.store import digest_of
from train.tokens import Packed
from train.tokens.encoder import encode

VERSION = 1
RUN = 13  # words in a row


@dataclass(frozen=True)
class TargetTexts:
    """The documents of a target that are scored, in their random order. Of questions a row is a prompt with one choice."""

    target: Target
    account: SourceDocuments
    prompts: list[str]  # empty, where loss is of the whole text
    answers: list[str]
    question: np.ndarray  # int64 [rows]: 0, 1, 2 ...
    right: np.ndarray  # int64 [rows]: 1 where the answer is the right one
    group: np.ndarray  # int64 [questions]: what is resampled together

    @property
    def whole(self) -> list[str]:
        """What may stand in no corpus: texts, prompts with their right answers."""
        rows = np.flatnonzero(self.right)
        return [_joined(self.prompts[i], self.answers[i]) for i in rows]

    def as_json(self) -> dict:
        """What the lock says of it."""
        return {
            "target": self.target.source.name,
            "documents": int(self.question.max()) + 1 if len(self.question) else 0,
            "groups": int(self.group.max()) + 1 if len(self.group) else 0,
            "bytes": sum(len(text.encode()) for text in self.whole),
            "digest": self.digest,
            "source": self.account.as_json(),
        }

    @property
    def digest(self) -> str:
        return digest_of([VERSION, self.prompts, self.answers, self.question.tolist(), self.right.tolist()])


@dataclass(frozen=True)
class Judges:
    """All targets of a manifest. `held` bool [documents of the pool]: resembles one; `counts`: documents, by why."""

    texts: dict[str, TargetTexts]
    held: np.ndarray
    counts: dict[str, int]


def open_targets(manifest: Manifest, values: Values) -> Judges:
    """Read them, and find what resembles them in the pool.

    Raises CurateError where a row is no question.
    """
    if not manifest.targets:
        return Judges({}, np.zeros(len(values.pool), bool), {})
    sources = [target.source for target in manifest.targets]
    accounts = read_sources(values.store, sources, manifest.part_bytes, values.engine)
    texts = {t.name: _texts(t, account) for t, account in zip(manifest.targets, accounts, strict=True)}
    every = [text for one in texts.values() for text in one.whole]
    column = pa.array(every, pa.large_string())
    found = resembling(values, manifest.holdout.near, column, RUN)
    held = found.near | found.shares
    counts = {
        "the same or nearly": int(found.near.sum()),
        f"{RUN} words in common": int((held & ~found.near).sum()),
    }
    return Judges(texts, held, counts)


# ---- Reading ----------------------------------------------------------------------------------------------


def _texts(target: Target, account: SourceDocuments) -> TargetTexts:
    pool = open_pool([account])
    rows = pool.order[: whole(pool.order).filling(pool.bytes, target.tokens * BYTES_A_TOKEN)]
    columns = [pool.gather(rows, name).to_pylist()
               for name in ("text", *filter(None, (target.answer, target.choices)))]  # fmt: skip
    code = groups_of(pool, [account], np.arange(len(pool)), None).family[rows]
    group = np.unique(code, return_inverse=True)[1].reshape(-1)
    count = len(rows)
    if target.answer is None:
        return TargetTexts(
            target, account, [""] * count, columns[0], np.arange(count), np.ones(count, np.int64), group
        )
    places = pool.gather(rows, "place").to_pylist()
    prompts, answers, question, right = [], [], [], []
    for number, (place, prompt, *rest) in enumerate(zip(places, *columns, strict=True)):
        where = f'target "{target.source.name}", {place}'
        given, which = _choices(where, target, *rest)
        prompts += [prompt] * len(given)
        answers += given
        question += [number] * len(given)
        right += [int(k == which) for k in range(len(given))]
    return TargetTexts(target, account, prompts, answers, np.array(question), np.array(right), group)


def _choices(where: str, target: Target, answer: Any, choices: Any = None) -> tuple[list[str], int]:
    """(all choices, which is right). An answer names the right choice by its number, its letter or its text."""
    if answer is None or answer == "":
        raise CurateError(f'{where}: no "{target.answer}"; every question needs its answer')
    if target.choices is None:
        return [str(answer)], 0
    given = _listed(choices)
    if given is None or len(given) < 2 or not all(isinstance(c, str) and c for c in given):
        raise CurateError(f'{where}: "{target.choices}" = {choices!r} is no list of two or more texts')
    answer = str(answer)
    if answer in given:
        return given, given.index(answer)
    number = int(answer) if answer.isdecimal() else ord(answer.upper()) - ord("A") if len(answer) == 1 else -1
    if not 0 <= number < len(given):
        raise CurateError(
            f'{where}: "{target.answer}" = {answer!r} names none of its {len(given)} choices: write its text, its number '
            f"from 0 or its letter"
        )
    return given, number


def _listed(choices: Any) -> list | None:
    """A list as Arrow or as JSON has it."""
    if isinstance(choices, str):
        try:
            choices = json.loads(choices)
        except ValueError:
            return None
    return choices if isinstance(choices, list) else None


def _joined(prompt: str, answer: str) -> str:
    """A prompt and its answer, with one space between them where neither brings any."""
    space = "" if not prompt or prompt[-1].isspace() or answer[:1].isspace() else " "
    return f"{prompt}{space}{answer}"


# ---- Packing ----------------------------------------------------------------------------------------------


def pack_target(path: Path, texts: TargetTexts, tokenizer: str) -> None:
    """The packed tokens that runs are scored on. Prompt and answer are encoded apart, so that the answer has the same
    tokens behind every prompt."""
    if texts.target.answer is None:
        whole = pa.array(texts.answers, pa.large_string())
        ids, offsets = encode(tokenizer, whole)
        sizes = pc.binary_length(whole).to_numpy()
        Packed.write(path, ids, offsets, sizes, tokenizer=tokenizer, resample=texts.group)
        return
    behind = [_joined(p, a)[len(p) :] for p, a in zip(texts.prompts, texts.answers, strict=True)]
    (prompts, starts), (answers, edges) = (
        encode(tokenizer, pa.array(t, pa.large_string())) for t in (texts.prompts, behind)
    )
    pieces, first = [], np.diff(starts) - 1  # the prompt goes without its end mark
    for i in range(len(behind)):
        pieces += [prompts[starts[i] : starts[i + 1] - 1], answers[edges[i] : edges[i + 1]]]
    offsets = np.concatenate([[0], np.cumsum(first + np.diff(edges))])
    scored = np.stack([first, texts.question, texts.right], 1)
    sizes = np.array([len(text.encode()) for text in behind])
    Packed.write(
        path, np.concatenate(pieces), offsets, sizes, tokenizer=tokenizer, resample=texts.group, scored=scored
    )
