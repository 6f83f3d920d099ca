"""Checks that every table of a manifest needs: known keys, types, counts; each says where, what and the fix."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curate.errors import ManifestError, did_you_mean
from curate.quantities import parse_count, parse_tokens

FORMER = {"own": "custom"}  # keys that were called otherwise
TOKENS = ("tokens", "clean_tokens", "most", "budgets")  # keys whose quantities are of tokens
KINDS = {str: "string", int: "whole number", bool: "true or false", dict: "table"}


class Tables:
    """A manifest's tree being read: every method checks one value and raises where it does not hold."""

    def __init__(self, path: Path, tree: dict):
        self.path, self.tree = path, tree

    def fail(self, where: str, what: str) -> ManifestError:
        return ManifestError(f"{self.path}{', ' + where if where else ''}: {what}")

    @contextmanager
    def failing(
        self, where: str, errors: type[Exception] | tuple[type[Exception], ...] = ValueError, about: str = ""
    ) -> Iterator[None]:
        """What these errors say is wrong here."""
        try:
            yield
        except errors as error:
            raise self.fail(where, f"{about}{error}") from None

    def among(self, where: str, what: str, name: str, names: Collection[str], kind: str = "level") -> str:
        """A name that must be one of these. `what` stands before it in the message."""
        if name not in names:
            raise self.fail(where, f'{what}"{name}" is no {kind}{did_you_mean(str(name), map(str, names))}')
        return name

    def choice(self, where: str, table: Mapping, key: str, *choices: str) -> str:
        """One of these words, the first where nothing is said."""
        value = self.typed(where, table, key, str, choices[0])
        if value not in choices:
            *most, last = (f'"{choice}"' for choice in choices)
            raise self.fail(where, f'{key} = "{value}": write {", ".join(most)} or {last}')
        return value

    def known(self, where: str, table: Mapping, allowed: Iterable[str]) -> None:
        allowed = set(allowed)
        for key in table:
            if key not in allowed:
                now = FORMER.get(key)
                hint = f' (it is called "{now}" now)' if now in allowed else did_you_mean(key, allowed)
                raise self.fail(where, f'unknown key "{key}"{hint}')

    def typed(self, where: str, table: Mapping, key: str, kind: type, default: Any = None) -> Any:
        value = table.get(key, default)
        if value is not None and (
            not isinstance(value, kind) or isinstance(value, bool) and kind is not bool
        ):
            raise self.fail(where, f"{key} = {value!r} is not a {KINDS.get(kind, kind.__name__)}")
        return value

    def options(self, table: Mapping, name: str, allowed: Iterable[str], example: str) -> dict | None:
        """What [signals] says of a family that may be true, false or a table: None where it is not asked for."""
        given = table.get(name, False)
        if given is False:
            return None
        given = {} if given is True else given
        if not isinstance(given, dict):
            raise self.fail("[signals]", f"{name} = {given!r}: write true or {example}")
        self.known(f"[signals] {name}", given, allowed)
        return given

    def count(self, where: str, key: str, value: Any) -> int:
        with self.failing(where, about=f"{key}: "):
            return (parse_tokens if key in TOKENS else parse_count)(value)

    def strings(self, where: str, table: Mapping, key: str) -> tuple[str, ...]:
        value = table.get(key, [])
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self.fail(where, f"{key} = {value!r} is neither a string nor a list of strings")
        for one in value:
            if not one or value.count(one) > 1:
                wrong = "an empty name" if not one else f'"{one}" is named twice'
                raise self.fail(where, f"{key} = {value!r}: {wrong}")
        return tuple(value)

    def tables(self, key: str) -> list[dict]:
        value = self.tree.get(key, [])
        if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
            raise self.fail("", f'"{key}" is a list of tables: write [[{key}]]')
        return value

    def named(self, where: str, name: str) -> str:
        """A name that becomes part of file names and of other names."""
        if (
            not name.strip()
            or name[0] in ". "
            or not name.isprintable()
            or set(name) & set("/\\:")
            or len(name) > 100
        ):
            raise self.fail(
                where,
                f"name = {name!r}: write up to 100 characters without /, \\ or :, the first one no dot or space",
            )
        return name

    def has_name(self, kind: str, table: Mapping) -> str:
        """The name that every table of this kind has."""
        name = self.typed(kind, table, "name", str)
        if not name:
            raise self.fail(kind, 'has no name; add name = "..."')
        return self.named(kind, name)

    def table(self, key: str) -> dict:
        value = self.tree.get(key, {})
        if not isinstance(value, dict):
            raise self.fail("", f'"{key}" is a table: write [{key}]')
        return value

    def unique(self, kind: str, named: tuple) -> tuple:
        names = [x.name for x in named]
        for name in names:
            if names.count(name) > 1:
                raise self.taken_twice(kind, name)
        return named

    def taken_twice(self, kind: str, name: str) -> ManifestError:
        return self.fail(f'{kind} "{name}"', "the name is taken twice; names are unique")
