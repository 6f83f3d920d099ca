"""Profiles: published sets of bounds, TOML beside the manifest or shipped with `filters`."""

from __future__ import annotations

import hashlib
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

from curate.errors import did_you_mean
from curate.spec.bounds import Bound, Profile, Rule, bound_by_language, parse_bound, parse_edits


def shipped_profiles() -> dict[str, Any]:
    folder = files("filters") / "profiles"
    return {f.name.removesuffix(".toml"): f for f in folder.iterdir() if f.name.endswith(".toml")}


def load_profile(name: str, beside: Path) -> Profile:
    """A profile by name: `NAME.toml` beside the manifest first, then the shipped ones."""
    own = [p for p in (beside / f"{name}.toml", beside / "profiles" / f"{name}.toml") if p.is_file()]
    shipped = shipped_profiles()
    if not own and name not in shipped:
        raise ValueError(f'there is no profile "{name}"{did_you_mean(name, shipped)}')
    text = (own[0] if own else shipped[name]).read_text(encoding="utf-8")
    try:
        tree = tomllib.loads(text)
    except ValueError as error:
        raise ValueError(f'profile "{name}": not TOML: {error}') from None
    unknown = set(tree) - {"name", "source", "keep", "language", "cut", "mask"}
    if unknown or not isinstance(tree.get("keep"), dict):
        raise ValueError(
            f'profile "{name}": write name, source and a table [keep] with a bound for each signal'
        )
    try:
        bounds = {s: parse_bound(s, value) for s, value in tree["keep"].items()}
        bounds |= _by_language(bounds, tree.get("language", {}))
        edits = parse_edits(tree)
    except ValueError as error:
        raise ValueError(f'profile "{name}": {error}') from None
    rules = tuple(Rule(f"{name}.{signal}", signal, bound) for signal, bound in bounds.items())
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Profile(name, str(tree.get("source", "")), rules, digest, edits)


def _by_language(shared: dict[str, Bound], tables: dict) -> dict[str, Bound]:
    """Tables `[language.de]` of bounds, turned round: for each signal its bounds by language."""
    turned: dict[str, dict] = {}
    for code, table in tables.items():
        if not isinstance(table, dict):
            raise ValueError(f"language.{code} = {table!r}: write a table [language.{code}] of bounds")
        for signal, value in table.items():
            if signal in shared:
                raise ValueError(f"{signal} is bound in [keep] and in [language.{code}]; keep one of them")
            turned.setdefault(signal, {})[code] = value
    return {signal: bound_by_language(signal, values) for signal, values in turned.items()}
